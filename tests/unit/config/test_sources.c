/* Where the configuration comes from, what stands beside it, and what Syncline adds to the reference's keys. */
#include "fixture.h"

#include <sys/stat.h>

static void without_storage_the_embedded_store_lies_beside_the_file(void **state)
{
	(void)state;
	struct fixture x;
	struct config *c = load_text(&x, "port: 1\n");
	char expected[128];
	snprintf(expected, sizeof(expected), "%s/syncline-data", x.directory);
	assert_true(c->storage.is_default);
	assert_string_equal(c->storage.type, "lmdb");
	assert_string_equal(c->storage.path, expected);
	assert_int_equal(c->storage.map_size, 0);
	assert_int_equal(c->storage.default_storage_version, 2);
	unload(&x, c);
}

static void without_a_file_the_store_lies_in_the_working_directory(void **state)
{
	(void)state;
	struct error err;
	struct config_arguments arguments = {.config_base64 = "cG9ydDogMQo="};
	struct config *c = config_load(&arguments, &err);
	assert_non_null(c);
	assert_int_equal(c->port, 1);
	assert_null(c->path);
	assert_string_equal(c->storage.path, "syncline-data");
	config_free(c);
}

static void the_path_of_the_store_is_relative_to_the_file(void **state)
{
	(void)state;
	struct fixture x;
	char folder[128], expected[160];
	fixture_start(&x);
	snprintf(folder, sizeof(folder), "%s/etc", x.directory);
	assert_int_equal(mkdir(folder, 0700), 0);
	fixture_write(&x, "etc/c.yml", "storage: {type: lmdb, path: ../data/./buckets, map_size: 1073741824}\n");
	struct config *c = fixture_load(&x, "etc/c.yml");
	assert_non_null(c);
	snprintf(expected, sizeof(expected), "%s/data/buckets", x.directory);
	assert_false(c->storage.is_default);
	assert_string_equal(c->storage.path, expected);
	assert_int_equal(c->storage.map_size, 1073741824);
	unload(&x, c);

	c = load_text(&x, "storage: {type: lmdb, path: /var/lib/syncline}\n");
	assert_string_equal(c->storage.path, "/var/lib/syncline");
	unload(&x, c);
	refused("storage: {type: lmdb, map_size: 4096}\n", "storage.map_size", "1048576");
	refused("storage: {type: lmdb, map_size: 1048576.5}\n", "storage.map_size");
}

static void slot_prefixes_must_make_a_slot_name(void **state)
{
	(void)state;
	static const char format[] =
	        "replication: {connections: [{type: postgresql, uri: 'postgres://u:p@h/d', slot_name_prefix: '%s'}]}\n";
	static const char *const bad[] = {"Shop_", "shop-", "shop ", "sh\xC3\xB6p", "a234567890123456789012345678901234567890x"};
	struct fixture x;
	char text[300];
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(text, sizeof(text), format, bad[i]);
		refused(text, "replication.connections[0].slot_name_prefix", "c.yaml:1:");
	}
	snprintf(text, sizeof(text), format, "shop_2_");
	struct config *c = load_text(&x, text);
	assert_string_equal(c->source.slot_name_prefix, "shop_2_");
	unload(&x, c);
}

static void problems_of_a_connection_come_in_order(void **state)
{
	(void)state;
	static const struct {
		const char *members, *code;
	} cases[] = {
	        {"uri: 'x://h', port: 1, sslmode: verify-ca, heartbeat_interval_seconds: 1", "PSYNC_S1109"},
	        {"port: 1, sslmode: verify-ca, heartbeat_interval_seconds: 1", "PSYNC_S1110"},
	        {"sslmode: verify-ca, heartbeat_interval_seconds: 1", "PSYNC_S1104"},
	        {"heartbeat_interval_seconds: 1, reject_ip_ranges: [local]", "PSYNC_S1106"},
	        {"hostname: 10.0.0.1, heartbeat_interval_seconds: 1, reject_ip_ranges: [local]", "PSYNC_S1107"},
	        {"hostname: 10.0.0.1, username: u, heartbeat_interval_seconds: 1, reject_ip_ranges: [local]", "PSYNC_S1108"},
	        {"hostname: 10.0.0.1, username: u, password: p, heartbeat_interval_seconds: 1, reject_ip_ranges: [local]",
	         "PSYNC_S1105"},
	        {"hostname: 10.0.0.1, username: u, password: p, database: d, heartbeat_interval_seconds: 1, reject_ip_ranges: "
	         "[local]",
	         "PSYNC_S2203"},
	        {"hostname: h, username: u, password: p, database: d, heartbeat_interval_seconds: 1, reject_ip_ranges: [local]",
	         "PSYNC_S1109"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture x;
		char text[400];
		fixture_start(&x);
		snprintf(text, sizeof(text), "replication: {connections: [{type: postgresql, %s}]}\n", cases[i].members);
		fixture_write(&x, "c.yaml", text);
		assert_null(fixture_load(&x, "c.yaml"));
		assert_string_equal(x.err.code, cases[i].code);
		fixture_end(&x);
	}
}

static void passwords_with_special_characters_work_as_keys(void **state)
{
	(void)state;
	struct fixture x;
	struct config *c =
	        load_text(&x, "replication:\n  connections:\n    - type: postgresql\n      uri: postgres://h%5Fx.test/d%5fb\n"
	                      "      username: a@b\n      password: 'p:/@%40'\n");
	assert_string_equal(c->source.hostname, "h_x.test");
	assert_string_equal(c->source.database, "d_b");
	assert_string_equal(c->source.username, "a@b");
	assert_string_equal(c->source.password, "p:/@%40");
	unload(&x, c);
	refused("replication: {connections: [{type: postgresql, uri: 'postgres://u:p@x@h/d'}]}\n", "username and password");
}

static void a_dotenv_file_fills_in_what_the_environment_lacks(void **state)
{
	(void)state;
	struct fixture x;
	fixture_start(&x);
	fixture_write(
	        &x, ".env",
	        "# comment\n\nPS_DOT_A=plain # comment\nexport PS_DOT_B='single # \\n'\nPS_DOT_C=\"two\\nlines\"\nPS_DOT_D=\n"
	        "PS_DOT_E=from file\nPS_DOT_F=`back\"tick`\nnot a line\nPS_DOT_G: colon\nPS_DOT_H=\"over\ntwo\"\nPS_DOT_I=end");
	fixture_write(&x, "c.yaml",
	              "metadata: {a: !env PS_DOT_A, b: !env PS_DOT_B, c: !env PS_DOT_C, d: !env PS_DOT_D, e: !env PS_DOT_E, f: "
	              "!env PS_DOT_F, "
	              "g: !env PS_DOT_G, h: !env PS_DOT_H, i: !env PS_DOT_I}\n");
	setenv("PS_DOT_E", "from environment", 1);
	struct config *c = fixture_load(&x, "c.yaml");
	assert_non_null(c);
	const struct node *m = node_get(c->document, "metadata");
	assert_string_equal(node_text(node_get(m, "a"), NULL), "plain");
	assert_string_equal(node_text(node_get(m, "b"), NULL), "single # \\n");
	assert_string_equal(node_text(node_get(m, "c"), NULL), "two\nlines");
	assert_string_equal(node_text(node_get(m, "d"), NULL), "");
	assert_string_equal(node_text(node_get(m, "e"), NULL), "from environment");
	assert_string_equal(node_text(node_get(m, "f"), NULL), "back\"tick");
	assert_string_equal(node_text(node_get(m, "g"), NULL), "colon");
	assert_string_equal(node_text(node_get(m, "h"), NULL), "over\ntwo");
	assert_string_equal(node_text(node_get(m, "i"), NULL), "end");
	unload(&x, c);
}

static void env_works_on_keys_and_in_lists(void **state)
{
	(void)state;
	struct fixture x;
	setenv("PS_TEST_KEY", "port", 1);
	setenv("PS_TEST_VALUE", "7001", 1);
	struct config *c = load_text(
	        &x, "!env PS_TEST_KEY: !env \"PS_TEST_VALUE\"\nclient_auth: {audience: [!env PS_TEST_VALUE::string::x]}\n");
	assert_int_equal(c->port, 7001);
	assert_string_equal(c->client_auth.audience.items[0], "7001");
	unload(&x, c);
	unsetenv("PS_TEST_KEY");
	unsetenv("PS_TEST_VALUE");
}

static void numbers_are_those_of_yaml_1_2(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int port;
	} cases[] = {{"0x1F90", 8080}, {"0o17", 15},         {"1e3", 1000},  {"+5", 5},
	             {"012", 12},      {"!!str 8080", 8080}, {"' 80x'", 80}, {"!!int 9", 9}};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture x;
		char text[64];
		snprintf(text, sizeof(text), "port: %s\n", cases[i].text);
		struct config *c = load_text(&x, text);
		assert_int_equal(c->port, cases[i].port);
		unload(&x, c);
	}
	refused("port: .inf\n", "port must be a finite number");
	refused("api: {parameters: {max_concurrent_connections: 0b11}}\n", "must be a number, not text");
	refused("api: {parameters: {max_concurrent_connections: 1_000}}\n", "must be a number, not text");
	refused("port: !!int x\n", "does not fit its tag");
}

static void json_files_are_strict_json(void **state)
{
	(void)state;
	struct fixture x;
	fixture_start(&x);
	fixture_write(&x, "c.json", "{\"port\": 1, \"port\": 2, \"metadata\": {\"a\": \"\\ud83d\\ude42\\/\"}}");
	struct config *c = fixture_load(&x, "c.json");
	assert_non_null(c);
	assert_int_equal(c->port, 2);
	assert_string_equal(node_text(node_at(c->document, "metadata.a"), NULL), "\xF0\x9F\x99\x82/");
	config_free(c);
	static const char *const bad[] = {"{\"a\": 01}", "{\"a\": 1.}",      "{\"a\": .5}",  "{\"a\": 1,}",
	                                  "{'a': 1}",    "{\"a\": \"\n\"}",  "{\"a\": 1} x", "{\"a\": +1}",
	                                  "{\"a\"",      "{\"a\": \"\\x\"}", "[1",           "{\"a\": nul}"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		fixture_write(&x, "c.json", bad[i]);
		assert_null(fixture_load(&x, "c.json"));
		assert_non_null(strstr(x.err.message, "c.json:"));
		assert_non_null(strstr(x.err.message, "not valid JSON"));
	}
	fixture_write(&x, "c.json", "{\n  \"api\": {\"tokens\": 5}\n}");
	assert_null(fixture_load(&x, "c.json"));
	assert_non_null(strstr(x.err.message, "c.json:2:21: api.tokens"));
	fixture_end(&x);
}

static void block_local_jwks_is_the_range_local(void **state)
{
	(void)state;
	struct fixture x;
	struct config *c = load_text(&x, "client_auth: {block_local_jwks: true, jwks_reject_ip_ranges: [8.8.8.0/24]}\n");
	assert_true(c->client_auth.block_local_jwks);
	assert_int_equal(c->client_auth.reject_ip_ranges.count, 2);
	assert_string_equal(c->client_auth.reject_ip_ranges.items[1], "local");
	unload(&x, c);
}

static void supabase_and_the_source_are_held_together(void **state)
{
	(void)state;
	static const char source[] = "replication: {connections: [{type: postgresql, uri: 'postgres://u:p@%s:5432/d'}]}\n%s";
	struct fixture x;
	char text[300];
	snprintf(text, sizeof(text), source, "DB.abc_1.supabase.co", "client_auth: {supabase: true}\n");
	struct config *c = load_text(&x, text);
	assert_string_equal(c->client_auth.supabase_jwks_uri, "https://abc_1.supabase.co/auth/v1/.well-known/jwks.json");
	assert_int_equal(c->warning_count, 0);
	unload(&x, c);
	snprintf(text, sizeof(text), source, "db.abc.supabase.co", "");
	c = load_text(&x, text);
	assert_null(c->client_auth.supabase_jwks_uri);
	assert_true(warned(c, "client_auth.supabase is not true"));
	unload(&x, c);
	c = load_text(&x, "client_auth: {supabase: true}\n");
	assert_true(warned(c, "db.<project>.supabase.co"));
	unload(&x, c);
}

static void the_environment_overrides_logging(void **state)
{
	(void)state;
	struct fixture x;
	setenv("PS_LOG_LEVEL", "warn", 1);
	setenv("PS_LOG_FORMAT", "json", 1);
	struct config *c = load_text(&x, "system: {logging: {level: debug, format: text}}\n");
	assert_int_equal(c->logging.level, LOG_WARN);
	assert_true(c->logging.json);
	unload(&x, c);
	setenv("PS_LOG_LEVEL", "loud", 1);
	setenv("PS_LOG_FORMAT", "xml", 1);
	setenv("NODE_ENV", "production", 1);
	c = load_text(&x, "port: 1\n");
	assert_int_equal(c->logging.level, LOG_INFO);
	assert_false(c->logging.json);
	assert_true(warned(c, "PS_LOG_LEVEL"));
	unload(&x, c);
	unsetenv("PS_LOG_LEVEL");
	unsetenv("PS_LOG_FORMAT");
	c = load_text(&x, "port: 1\n");
	assert_true(c->logging.json);
	unload(&x, c);
	unsetenv("NODE_ENV");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(without_storage_the_embedded_store_lies_beside_the_file),
	        cmocka_unit_test(without_a_file_the_store_lies_in_the_working_directory),
	        cmocka_unit_test(the_path_of_the_store_is_relative_to_the_file),
	        cmocka_unit_test(slot_prefixes_must_make_a_slot_name),
	        cmocka_unit_test(problems_of_a_connection_come_in_order),
	        cmocka_unit_test(passwords_with_special_characters_work_as_keys),
	        cmocka_unit_test(a_dotenv_file_fills_in_what_the_environment_lacks),
	        cmocka_unit_test(env_works_on_keys_and_in_lists),
	        cmocka_unit_test(numbers_are_those_of_yaml_1_2),
	        cmocka_unit_test(json_files_are_strict_json),
	        cmocka_unit_test(block_local_jwks_is_the_range_local),
	        cmocka_unit_test(supabase_and_the_source_are_held_together),
	        cmocka_unit_test(the_environment_overrides_logging),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
