/* The printed configuration: complete, readable by the reader that it came from, and without a secret in it. */
#include "fixture.h"

#include <jansson.h>

#include "config/schema.h"

#define SECRET "s3cr3t"

static const char everything[] =
        "replication:\n  connections:\n    - type: postgresql\n      uri: postgres://u:" SECRET
        "@db.test/d\n      client_private_key: " SECRET "\n      client_certificate: PEM\n      tls_servername: \"a\\\"b\"\n"
        "storage:\n  type: postgresql\n  uri: postgres://st.test/d?password=" SECRET "\n  username: u\n  password: " SECRET "\n"
        "client_auth:\n  audience: [a, 'b\"c']\n  jwks_uri: ['https://u:" SECRET "@h/x?token=" SECRET "', 'https://u:" SECRET
        "/" SECRET "@h/y', https://plain.test/z]\n  supabase: true\n  supabase_jwt_secret: " SECRET
        "\n  jwks:\n    keys:\n      - {kty: oct, alg: HS256, kid: dev, k: " SECRET
        "}\n      - {kty: RSA, kid: r, n: AQAB, e: AQAB, d: " SECRET "}\napi:\n  tokens: [" SECRET ", " SECRET
        "2]\nsync_config:\n  content: \"# " SECRET "\"\n"
        "telemetry: {disable_telemetry_sharing: true, internal_service_endpoint: 'https://u:" SECRET "@x'}\nmetadata: {a: " SECRET
        "}\n"
        "parameters: {a: " SECRET "}\n";

static void print_both(const char *text, void (*check)(const char *yaml, const char *json))
{
	struct fixture x;
	struct config *c = load_text(&x, text);
	struct buf yaml = {0}, json = {0};
	config_print(c, false, &yaml);
	config_print(c, true, &json);
	buf_putc(&yaml, '\0');
	buf_putc(&json, '\0');
	check(yaml.p, json.p);
	buf_free(&yaml);
	buf_free(&json);
	unload(&x, c);
}

static void check_no_secret(const char *yaml, const char *json)
{
	if (strstr(yaml, SECRET))
		fail_msg("%s", yaml);
	assert_null(strstr(json, SECRET));
	assert_non_null(strstr(yaml, "\"***\""));
}

static void check_urls(const char *yaml, const char *json)
{
	(void)json;
	assert_non_null(strstr(yaml, "https://***@h/x?..."));
	assert_non_null(strstr(yaml, "https://plain.test/z"));
}

static void check_readable(const char *yaml, const char *json)
{
	struct arena arena = {0};
	struct findings f = {.arena = &arena};
	const struct node *root = node_from_yaml(slice_cstr(yaml), &arena, &f);
	if (!root)
		fail_msg("%.*s in:\n%s", SLICE_ARG(buf_slice(&f.errors)), yaml);
	assert_int_equal(node_number(node_get(root, "port"), 0), 8080);
	assert_string_equal(node_text(node_at(root, "system.logging.level"), ""), "info");
	assert_non_null(node_at(root, "replication.connections"));
	findings_free(&f);
	arena_free(&arena);

	json_error_t e;
	json_t *j = json_loads(json, 0, &e);
	if (!j)
		fail_msg("line %d: %s in:\n%s", e.line, e.text, json);
	assert_int_equal(json_integer_value(json_object_get(j, "port")), 8080);
	assert_true(json_is_object(json_object_get(json_object_get(j, "healthcheck"), "probes")));
	json_decref(j);
}

static void check_connection(const char *yaml, const char *json)
{
	(void)yaml;
	json_t *j = json_loads(json, 0, NULL);
	json_t *c = json_array_get(json_object_get(json_object_get(j, "replication"), "connections"), 0);
	assert_string_equal(json_string_value(json_object_get(c, "hostname")), "db.test");
	assert_string_equal(json_string_value(json_object_get(c, "password")), "***");
	assert_string_equal(json_string_value(json_object_get(c, "tls_servername")), "a\"b");
	assert_int_equal(json_integer_value(json_object_get(c, "port")), 5432);
	json_decref(j);
}

static void no_secret_is_printed(void **state)
{
	(void)state;
	print_both(everything, check_no_secret);
	print_both("client_auth: {jwks_uri: 'https://u:" SECRET "@h/x?y'}\nstorage: {type: mongodb, uri: 'mongodb://u:" SECRET
	           "@h/d?authMechanismProperties=AWS_SESSION_TOKEN:" SECRET "'}\napi: {tokens: [" SECRET "]}\n",
	           check_no_secret);
	print_both(everything, check_urls);
}

static void both_forms_can_be_read(void **state)
{
	(void)state;
	print_both(everything, check_readable);
	print_both("port: 8080\n", check_readable);
	print_both("storage: {type: mongodb, uri: 'mongodb://h/d'}\n", check_readable);
}

static void the_effective_connection_is_shown(void **state)
{
	(void)state;
	print_both(everything, check_connection);
}

/* Keys that are another key's other name, whose parts are shown instead, or that have no effect. */
static bool is_shown_otherwise(const struct field *f)
{
	static const char *const names[] = {"uri",
	                                    "sync_rules",
	                                    "jwks",
	                                    "client_certificate",
	                                    "client_private_key",
	                                    "cacert",
	                                    "tls_servername",
	                                    "supabase_jwt_secret",
	                                    "map_size",
	                                    "tls",
	                                    "path",
	                                    "content",
	                                    "bulk_read_preference"};
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strcmp(f->name, names[i]) == 0)
			return true;
	return (f->flags & FIELD_UNUSED) != 0;
}

static void expect_fields(const struct field *fields, json_t *shown, const char *path)
{
	for (const struct field *f = fields; f->name; f++) {
		char below[200];
		json_t *value = json_object_get(shown, f->name);
		snprintf(below, sizeof(below), "%s.%s", path, f->name);
		if (!value && !is_shown_otherwise(f))
			fail_msg("%s is not shown", below);
		if (json_is_array(value) && f->type == FIELD_MAPS)
			value = json_array_get(value, 0);
		if (!json_is_object(value) || (!f->members && !f->members_of) || is_shown_otherwise(f))
			continue;
		struct arena arena = {0};
		struct findings findings = {.arena = &arena};
		char map[100];
		snprintf(map, sizeof(map), "{type: %s}", json_string_value(json_object_get(value, "type")));
		expect_fields(f->members ? f->members : f->members_of(node_from_yaml(slice_cstr(map), &arena, &findings)), value,
		              below);
		findings_free(&findings);
		arena_free(&arena);
	}
}

static void check_fields(const char *yaml, const char *json)
{
	(void)yaml;
	json_t *shown = json_loads(json, 0, NULL);
	expect_fields(config_fields, shown, "");
	json_decref(shown);
}

static void every_key_that_has_an_effect_is_shown(void **state)
{
	(void)state;
	print_both(everything, check_fields);
	print_both("replication: {connections: [{type: postgresql, uri: 'postgres://u:p@h/d'}]}\n", check_fields);
	print_both("replication: {connections: [{type: postgresql, uri: 'postgres://u:p@h/d'}]}\n"
	           "storage: {type: mongodb, uri: 'mongodb://h/d', username: u, password: p}\n",
	           check_fields);
}

static void check_short_numbers(const char *yaml, const char *json)
{
	(void)json;
	assert_non_null(strstr(yaml, "\"connect_timeout\": 0.2,"));
}

static void numbers_are_shown_as_short_as_they_were_written(void **state)
{
	(void)state;
	print_both("replication: {connections: [{type: postgresql, uri: 'postgres://u:p@h/d', connect_timeout: 0.2}]}\n",
	           check_short_numbers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(no_secret_is_printed),
	        cmocka_unit_test(both_forms_can_be_read),
	        cmocka_unit_test(the_effective_connection_is_shown),
	        cmocka_unit_test(every_key_that_has_an_effect_is_shown),
	        cmocka_unit_test(numbers_are_shown_as_short_as_they_were_written),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
