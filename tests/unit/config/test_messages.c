/* What an operator reads when something is wrong: the key, its place, what is allowed, and never a secret. */
#include "fixture.h"

static void a_wrong_type_names_the_key_and_its_place(void **state)
{
	(void)state;
	refused("port: 8080\nmigrations:\n  disable_auto_migration: yes\n", "c.yaml:3:27:", "migrations.disable_auto_migration",
	        "true or false", "YAML 1.2");
	refused("api:\n  tokens:\n    - abc\n    - 123\n", "c.yaml:4:7:", "api.tokens[1] must be text", "quotes");
	refused("client_auth:\n", "c.yaml:1:", "client_auth must be a map, not null");
	refused("storage:\n  type: postgresql\n  port: [1]\n", "storage.port must be a port number, not a list");
	refused("metadata:\n  a: 1\n", "c.yaml:2:6:", "metadata.a must be text");
}

static void a_word_outside_its_list_shows_the_list(void **state)
{
	(void)state;
	refused("system:\n  logging:\n    level: wran\n", "c.yaml:3:12:", "system.logging.level",
	        "silly, debug, verbose, http, info, warn, error", "did you mean \"warn\"?");
	refused("storage:\n  type: postgres\n", "storage.type must be one of lmdb, postgresql, mongodb",
	        "did you mean \"postgresql\"?");
	refused("replication:\n  connections:\n    - type: postgresq\n", "replication.connections[0].type must be postgresql",
	        "misspelt");
	refused("replication:\n  connections:\n    - type: mysql\n", "other sources are not supported");
}

static void a_missing_key_points_at_its_misspelling(void **state)
{
	(void)state;
	refused("telemetry:\n  prometheus_port: 1\n", "telemetry.disable_telemetry_sharing is missing", "c.yaml:2:3:");
	refused("telemetry:\n  disable_telemetry_shering: true\n", "telemetry.disable_telemetry_sharing is missing",
	        "misspelt as \"disable_telemetry_shering\"", "c.yaml:2:3:");
}

static void several_errors_come_together(void **state)
{
	(void)state;
	refused("port: true\napi: 1\nstorage: abc\n", "c.yaml:1:7: port", "c.yaml:2:6: api", "c.yaml:3:10: storage");
	refused("a: 1\na: 2\nb: 1\nb: 2\n", "c.yaml:2:1:", "\"a\" is there twice", "c.yaml:4:1:");
}

static void many_errors_stay_readable(void **state)
{
	(void)state;
	struct buf text = {0};
	buf_lit(&text, "metadata:\n");
	for (int i = 0; i < 100; i++)
		buf_printf(&text, "  k%d: 1\n", i);
	buf_putc(&text, '\0');
	refused(text.p, "metadata.k0", "and 92 more");
	buf_free(&text);
}

static void unknown_keys_are_warned_about_and_ignored(void **state)
{
	(void)state;
	struct fixture x;
	struct config *c = load_text(&x, "prot: 1\napi:\n  paramters: {}\nsomething_else: 1\nclient_auth:\n  jwks:\n    keys:\n"
	                                 "      - {kty: oct, k: AAAA, alg: HS256, ext: true}\n");
	assert_int_equal(c->port, 8080);
	assert_int_equal(c->warning_count, 3);
	assert_true(warned(c, "c.yaml:1:1: prot is not a known key and is ignored; did you mean \"port\"?"));
	assert_true(warned(c, "c.yaml:3:3: api.paramters is not a known key and is ignored; did you mean \"parameters\"?"));
	assert_true(warned(c, "something_else is not a known key and is ignored"));
	unload(&x, c);
}

static void settings_without_effect_are_warned_about(void **state)
{
	(void)state;
	struct fixture x;
	struct config *c = load_text(&x, "parameters: {a: 1}\nmetadata: {region: eu}\nstorage: {type: lmdb, max_pool_size: 8}\n"
	                                 "api: {parameters: {max_data_fetch_concurrency: 10, bucket_count_cache_ttl_minutes: "
	                                 "60}}\ntelemetry: {disable_telemetry_sharing: true, internal_service_endpoint: x}\n"
	                                 "client_auth: {supabase_jwt_secret: s}\nsync_config: {path: a, content: b}\n");
	assert_true(warned(c, "parameters has no effect"));
	assert_true(warned(c, "metadata has no effect"));
	assert_true(warned(c, "storage.max_pool_size has no effect"));
	assert_true(warned(c, "api.parameters.max_data_fetch_concurrency has no effect"));
	assert_true(warned(c, "api.parameters.bucket_count_cache_ttl_minutes has no effect"));
	assert_true(warned(c, "telemetry.internal_service_endpoint has no effect"));
	assert_true(warned(c, "client_auth.supabase_jwt_secret has no effect"));
	assert_true(warned(c, "sync_config.content is ignored"));
	unload(&x, c);
}

#define SECRET "hunter2hunter2"

/* Each document has the secret where a message could quote it. */
static void secrets_are_never_quoted(void **state)
{
	(void)state;
	static const char *const documents[] = {
	        "storage: {type: postgresql, uri: 'mysql://u:" SECRET "@h/d'}\n",
	        "storage: {type: postgresql, uri: 'postgres://u:" SECRET "@h'}\n",
	        "storage: {type: postgresql, uri: 'postgres://u:" SECRET "@h:80/d'}\n",
	        "storage: {type: postgresql, uri: 'postgres://u:" SECRET "@x@h/d'}\n",
	        "storage: {type: postgresql, uri: 'postgres://h/d', username: u, password: [" SECRET "]}\n",
	        "storage: {type: mongodb, uri: 'mongo://u:" SECRET "@h/d'}\n",
	        "storage: {type: mongodb, uri: 'mongodb://u:" SECRET "@h'}\n",
	        "storage: {type: " SECRET "!}\n",
	        "port: " SECRET "\n",
	        "port: !env PS_TEST_SECRET\n",
	        "port: !env PS_TEST_SECRET::number\n",
	        "system: {logging: {level: !env PS_TEST_SECRET}}\n",
	        "api: {tokens: {" SECRET ": 1}}\n",
	        "client_auth: {jwks: {keys: [{kty: oct, alg: " SECRET "!, k: " SECRET "}]}}\n",
	        "client_auth: {supabase_jwt_secret: [" SECRET "]}\n",
	};
	setenv("PS_TEST_SECRET", SECRET, 1);
	for (size_t i = 0; i < sizeof(documents) / sizeof(documents[0]); i++) {
		struct fixture x;
		fixture_start(&x);
		fixture_write(&x, "c.yaml", documents[i]);
		struct config *c = fixture_load(&x, "c.yaml");
		assert_null(c);
		assert_true(x.err.message[0]);
		if (strstr(x.err.message, SECRET))
			fail_msg("%s", x.err.message);
		fixture_end(&x);
	}
	unsetenv("PS_TEST_SECRET");
}

static void yaml_errors_have_a_place(void **state)
{
	(void)state;
	refused("a: [\n", "c.yaml:2:1:", "not valid YAML");
	refused("a: *nowhere\n", "c.yaml:1:4:", "nowhere");
	refused("a: &a [*a]\n", "c.yaml:1:8:");
	refused("---\na: 1\n---\nb: 1\n", "more than one YAML document");
	refused("port: !env PS_NOT_THERE_1\nmetadata: {a: !env PS_NOT_THERE_2::number}\n", "c.yaml:1:7:", "PS_NOT_THERE_1",
	        "c.yaml:2:15:", "PS_NOT_THERE_2::number");
}

static void deep_and_wide_documents_are_refused(void **state)
{
	(void)state;
	struct buf text = {0};
	buf_lit(&text, "x: ");
	for (int i = 0; i < 200; i++)
		buf_putc(&text, '[');
	buf_putc(&text, '\0');
	refused(text.p, "nested too deeply");
	buf_clear(&text);
	for (int i = 0; i < 10050; i++)
		buf_printf(&text, "k%d: 1\n", i);
	buf_putc(&text, '\0');
	refused(text.p, "more than 10000 entries");
	buf_free(&text);
}

static void aliases_cost_what_is_written(void **state)
{
	(void)state;
	struct fixture x;
	struct buf text = {0};
	buf_lit(&text, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
	for (int i = 1; i < 30; i++)
		buf_printf(&text, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i, i - 1, i - 1, i - 1,
		           i - 1, i - 1, i - 1, i - 1, i - 1);
	buf_lit(&text, "client_auth: {jwks: {keys: [{kty: oct, k: AAAA, alg: HS256, other: *a29}]}}\n");
	buf_putc(&text, '\0');
	struct config *c = load_text(&x, text.p);
	assert_int_equal(c->client_auth.static_key_count, 1);
	assert_true(c->client_auth.static_keys[0].n < 100);
	unload(&x, c);
	buf_free(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_wrong_type_names_the_key_and_its_place),
	        cmocka_unit_test(a_word_outside_its_list_shows_the_list),
	        cmocka_unit_test(a_missing_key_points_at_its_misspelling),
	        cmocka_unit_test(several_errors_come_together),
	        cmocka_unit_test(many_errors_stay_readable),
	        cmocka_unit_test(unknown_keys_are_warned_about_and_ignored),
	        cmocka_unit_test(settings_without_effect_are_warned_about),
	        cmocka_unit_test(secrets_are_never_quoted),
	        cmocka_unit_test(yaml_errors_have_a_place),
	        cmocka_unit_test(deep_and_wide_documents_are_refused),
	        cmocka_unit_test(aliases_cost_what_is_written),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
