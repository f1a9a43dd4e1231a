/* test_request.c: which bodies are taken, what they mean, and the texts for those that are not (sync-protocol 2, trace 23). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "sync/session.h"

static struct arena arena;

static int teardown(void **state)
{
	(void)state;
	arena_free(&arena);
	return 0;
}

static struct sync_request parse(const char *body)
{
	struct sync_request r;
	struct slice details;
	struct error err;
	if (!sync_request_parse(slice_cstr(body), &arena, &r, &details, &err))
		fail_msg("%s: %s %.*s", body, err.message, SLICE_ARG(details));
	return r;
}

static void assert_slice(struct slice s, const char *expected)
{
	assert_non_null(s.p);
	assert_int_equal(s.n, strlen(expected));
	assert_memory_equal(s.p, expected, s.n);
}

static void assert_refused(const char *body, const char *expected)
{
	struct sync_request r;
	struct slice details;
	struct error err;
	assert_false(sync_request_parse(slice_cstr(body), &arena, &r, &details, &err));
	assert_string_equal(err.code, "PSYNC_S2001");
	assert_string_equal(err.message, "Validation failed");
	if (strlen(expected) != details.n || memcmp(details.p, expected, details.n) != 0)
		fail_msg("%s:\n  got %.*s\n want %s", body, SLICE_ARG(details), expected);
}

static void test_recorded_refusals(void **state)
{
	(void)state;
	assert_refused("{\"buckets\":\"x\"}", "[\"/buckets: type must be array\"]");
	assert_refused("{\"buckets\":{}}", "[\"/buckets: type must be array\"]");
	assert_refused("{\"buckets\":[{\"name\":\"a\"}]}", "[\"/buckets/0 must have required property 'after'\"]");
	assert_refused("{\"buckets\":[{\"name\":1}]}", "[\"/buckets/0 must have required property 'after'\"]");
	assert_refused("{\"buckets\":[{\"name\":\"a\",\"after\":5}]}", "[\"/buckets/0/after: type must be string\"]");
	assert_refused("{\"buckets\":[{\"name\":5,\"after\":\"1\"}]}", "[\"/buckets/0/name: type must be string\"]");
	assert_refused("{\"only\":[1]}", "[\"/only/0: type must be string\"]");
	assert_refused("{\"include_checksum\":\"true\"}", "[\"/include_checksum: type must be boolean\"]");
	assert_refused("{\"raw_data\":1}", "[\"/raw_data: type must be boolean\"]");
	assert_refused("{\"parameters\":[1]}", "[\"/parameters: type must be object\"]");
	assert_refused("{\"parameters\":\"x\"}", "[\"/parameters: type must be object\"]");
	assert_refused("{\"app_metadata\":{\"a\":1}}", "[\"/app_metadata/a: type must be string\"]");
	assert_refused("{\"client_id\":5}", "[\"/client_id: type must be string\"]");
	assert_refused("{\"client_id\":null}", "[\"/client_id: type must be string\"]");
	assert_refused("{\"streams\":null}", "[\"/streams: type must be object\"]");
	assert_refused("{\"streams\":{\"include_defaults\":true}}", "[\"/streams must have required property 'subscriptions'\"]");
	assert_refused("{\"streams\":{\"include_defaults\":null,\"subscriptions\":[]}}",
	               "[\"/streams/include_defaults: type must be boolean\"]");
	assert_refused("{\"buckets\":[{}],\"raw_data\":\"x\"}",
	               "[\"/buckets/0 must have required property 'after'\",\"/raw_data: type must be boolean\"]");
}

static void test_refused_subscriptions(void **state)
{
	(void)state;
	assert_refused("{\"streams\":{\"subscriptions\":[{\"stream\":\"by_id\",\"override_priority\":null}]}}",
	               "[\"/streams/subscriptions/0 must have required property 'parameters'\"]");
	assert_refused("{\"streams\":{\"subscriptions\":[{\"stream\":\"by_id\",\"parameters\":null}]}}",
	               "[\"/streams/subscriptions/0 must have required property 'override_priority'\"]");
	assert_refused(
	        "{\"streams\":{\"subscriptions\":[{\"stream\":\"by_id\",\"parameters\":null,\"override_priority\":\"1\"}]}}",
	        "[\"/streams/subscriptions/0/override_priority: type must be number\","
	        "\"/streams/subscriptions/0/override_priority: type must be null\","
	        "\"/streams/subscriptions/0/override_priority: anyOf must match a schema in anyOf\"]");
	assert_refused("{\"streams\":{\"subscriptions\":[{\"stream\":\"by_id\",\"parameters\":[],\"override_priority\":null}]}}",
	               "[\"/streams/subscriptions/0/parameters: type must be object\","
	               "\"/streams/subscriptions/0/parameters: type must be null\","
	               "\"/streams/subscriptions/0/parameters: anyOf must match a schema in anyOf\"]");
	const char *bad[] = {"7", "-1", "1.5", "4", "1e99", "123456789012345678901234567890"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		char body[256];
		snprintf(body, sizeof(body),
		         "{\"streams\":{\"subscriptions\":[{\"stream\":\"s\",\"parameters\":null,\"override_priority\":%s}]}}",
		         bad[i]);
		assert_refused(body, "[\"/streams/subscriptions/0/override_priority: must be an integer from 0 to 3\"]");
	}
	assert_refused("{\"streams\":{\"subscriptions\":[1]}}", "[\"/streams/subscriptions/0: type must be object\"]");
	assert_refused("{\"streams\":{\"subscriptions\":{}}}", "[\"/streams/subscriptions: type must be array\"]");
}

static void test_after(void **state)
{
	(void)state;
	const char *bad[] = {"x1", "1.5", "-1", "0x2", " 1", "9223372036854775808", "99999999999999999999999"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		char body[256];
		snprintf(body, sizeof(body), "{\"buckets\":[{\"name\":\"a\",\"after\":\"0\"},{\"name\":\"b\",\"after\":\"%s\"}]}",
		         bad[i]);
		assert_refused(body, "[\"/buckets/1/after: must be a decimal number up to 9223372036854775807\"]");
	}
	struct sync_request r = parse("{\"buckets\":[{\"name\":\"a\",\"after\":\"\"},{\"name\":\"b\",\"after\":\"007\"},"
	                              "{\"name\":\"c\",\"after\":\"9223372036854775807\",\"x\":1}]}");
	assert_int_equal(r.bucket_count, 3);
	assert_slice(r.buckets[0].name, "a");
	assert_true(r.buckets[0].after == 0);
	assert_true(r.buckets[1].after == 7);
	assert_true(r.buckets[2].after == INT64_MAX);
}

static void test_a_full_request(void **state)
{
	(void)state;
	struct sync_request r = parse(
	        "{\"buckets\":[{\"name\":\"1#lists|0[\\\"\\u00e9\\\"]\",\"after\":\"4\"}],\"include_checksum\":true,\"raw_data\":"
	        "true,"
	        "\"binary_data\":7,\"client_id\":\"c1\",\"parameters\":{\"a\":1,\"big\":9007199254740993,\"r\":1.5,\"s\":"
	        "\"\\u0001\",\"n\":[{}]},"
	        "\"streams\":{\"include_defaults\":false,\"subscriptions\":[{\"stream\":\"by_id\",\"parameters\":{\"id\":\"l1\"},"
	        "\"override_priority\":null},{\"stream\":\"x\",\"parameters\":null,\"override_priority\":2}]},"
	        "\"app_metadata\":{\"v\":\"1\"},\"unknown\":null}");
	assert_slice(r.buckets[0].name, "1#lists|0[\"\xc3\xa9\"]");
	assert_true(r.raw_data);
	assert_slice(r.client_id, "c1");
	assert_non_null(r.parameters.p);
	assert_false(r.include_defaults);
	assert_int_equal(r.subscription_count, 2);
	assert_slice(r.subscriptions[0].stream, "by_id");
	assert_slice(r.subscriptions[0].parameters, "{\"id\":\"l1\"}");
	assert_int_equal(r.subscriptions[0].override_priority, -1);
	assert_null(r.subscriptions[1].parameters.p);
	assert_int_equal(r.subscriptions[1].override_priority, 2);
	assert_slice(r.app_metadata, "{\"v\":\"1\"}");
}

static void test_defaults(void **state)
{
	(void)state;
	const char *empty[] = {"{}", "[]", "null", "\"a\"", " { } ", "{\"parameters\":null,\"app_metadata\":null}"};
	for (size_t i = 0; i < sizeof(empty) / sizeof(*empty); i++) {
		struct sync_request r = parse(empty[i]);
		assert_int_equal(r.bucket_count, 0);
		assert_false(r.raw_data);
		assert_null(r.client_id.p);
		assert_null(r.parameters.p);
		assert_null(r.app_metadata.p);
		assert_true(r.include_defaults);
		assert_int_equal(r.subscription_count, 0);
	}
	struct sync_request r = parse("{\"client_id\":\"\",\"streams\":{\"subscriptions\":[]}}");
	assert_slice(r.client_id, "");
	assert_true(r.include_defaults);
}

static void test_not_json(void **state)
{
	(void)state;
	const char *bad[] = {"{nope", "{", "{}x", "{\"a\":01}", "[1,]", "\xff"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct sync_request r;
		struct slice details;
		struct error err;
		assert_false(sync_request_parse(slice_cstr(bad[i]), &arena, &r, &details, &err));
		assert_string_equal(err.code, "FST_ERR_CTP_INVALID_JSON_BODY");
		assert_null(details.p);
		assert_false(sync_request_parse(SLICE(""), &arena, &r, &details, &err));
		assert_string_equal(err.code, "FST_ERR_CTP_EMPTY_JSON_BODY");
	}
}

static void test_metadata_is_cut(void **state)
{
	(void)state;
	struct buf body = {0};
	buf_lit(&body, "{\"app_metadata\":{");
	for (int i = 0; i < 30; i++) {
		buf_printf(&body, "%s\"k%02d\":\"", i ? "," : "", i);
		for (int k = 0; k < 150; k++)
			buf_lit(&body, "\xc3\xa9");
		buf_lit(&body, "\"");
	}
	buf_lit(&body, "}}");
	buf_putc(&body, '\0');
	struct sync_request r = parse(body.p);
	buf_free(&body);
	/* 20 times "k00":"(100 characters of two bytes)" with commas and braces */
	assert_int_equal(r.app_metadata.n, 20 * (5 + 1 + 2 + 200) + 19 + 2);
	assert_refused("{\"app_metadata\":{\"a/b~c\":[]}}", "[\"/app_metadata/a~1b~0c: type must be string\"]");
}

/* A large body of faults gives a bounded answer; deep nesting is refused, not recursed into. */
static void test_hostile_bodies(void **state)
{
	(void)state;
	struct buf body = {0};
	buf_lit(&body, "{\"buckets\":[1");
	for (int i = 0; i < 200000; i++)
		buf_lit(&body, ",1");
	buf_lit(&body, "]}");
	struct sync_request r;
	struct slice details;
	struct error err;
	assert_false(sync_request_parse(buf_slice(&body), &arena, &r, &details, &err));
	assert_true(details.n < 10000);
	buf_clear(&body);
	for (int i = 0; i < 500000; i++)
		buf_putc(&body, '[');
	assert_false(sync_request_parse(buf_slice(&body), &arena, &r, &details, &err));
	buf_free(&body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_teardown(test_recorded_refusals, teardown),
	        cmocka_unit_test_teardown(test_refused_subscriptions, teardown),
	        cmocka_unit_test_teardown(test_after, teardown),
	        cmocka_unit_test_teardown(test_a_full_request, teardown),
	        cmocka_unit_test_teardown(test_defaults, teardown),
	        cmocka_unit_test_teardown(test_not_json, teardown),
	        cmocka_unit_test_teardown(test_metadata_is_cut, teardown),
	        cmocka_unit_test_teardown(test_hostile_bodies, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
