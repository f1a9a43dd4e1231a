/* The BSON texts of the Postgres layout, against bytes that the reference wrote. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>

#include "storage/postgres/bson.h"

static void assert_hex(const struct buf *b, const char *expected)
{
	struct buf hex = {0};
	for (size_t i = 0; i < b->n; i++)
		buf_printf(&hex, "%02x", (unsigned)(unsigned char)b->p[i]);
	buf_putc(&hex, '\0');
	assert_string_equal(hex.p, expected);
	buf_free(&hex);
}

static void source_key_of_a_row(void **state)
{
	(void)state;
	struct slice name = SLICE("id");
	struct value id = value_text(SLICE("n1"));
	uint8_t uuid[16], read[16];
	struct buf out = {0};
	bson_row(&out, &name, &id, 1);
	assert_hex(&out, "100000000269640003000000"
	                 "6e310000");
	bson_replica_uuid(&name, &id, 1, uuid);
	buf_clear(&out);
	bson_source_key(&out, uuid);
	assert_hex(&out, "1e00000005696400100000000437cbbe0673385b9ebb6a62810db11e3f00");
	assert_true(bson_source_key_uuid(buf_slice(&out), read));
	assert_memory_equal(uuid, read, 16);
	assert_false(bson_source_key_uuid(slice_make(out.p, out.n - 1), read));
	buf_free(&out);
}

static void image_of_a_row(void **state)
{
	(void)state;
	const struct slice names[] = {SLICE_INIT("id"), SLICE_INIT("group_id"), SLICE_INIT("n1"), SLICE_INIT("f2"),
	                              SLICE_INIT("f3")};
	const struct value values[] = {value_text(SLICE("m1")), value_integer(7), value_integer(314), value_real(314),
	                               value_real(3.14)};
	struct buf out = {0};
	bson_row(&out, names, values, 5);
	assert_hex(&out,
	           "4200000002696400030000006d31001267726f75705f6964000700000000000000126e31003a01000000000000106632003a010000"
	           "016633001f85eb51b81e094000");
	struct arena arena = {0};
	struct slice *read_names;
	struct value *read;
	size_t count;
	struct error err;
	assert_true(bson_row_read(buf_slice(&out), &arena, &read_names, &read, &count, &err));
	assert_int_equal(count, 5);
	for (size_t i = 0; i < count; i++) {
		assert_true(slice_eq(names[i], read_names[i]));
		assert_int_equal(values[i].kind, read[i].kind);
	}
	assert_true(read[3].r == 314 && read[4].r == 3.14 && read[2].i == 314);
	for (size_t n = 0; n < out.n; n++) /* nothing that was cut short is taken for a row */
		assert_false(bson_row_read(slice_make(out.p, n), &arena, &read_names, &read, &count, &err));
	arena_free(&arena);
	buf_free(&out);
}

static void values_that_are_not_known_are_left_out(void **state)
{
	(void)state;
	const struct slice names[] = {SLICE_INIT("a"), SLICE_INIT("b"), SLICE_INIT("c"), SLICE_INIT("d")};
	const struct value values[] = {
	        {.kind = VALUE_UNKNOWN}, value_null(), value_real(-0.0), value_blob(slice_make("\0\xff", 2))};
	struct buf out = {0};
	bson_row(&out, names, values, 4);
	assert_hex(&out, "1d000000"
	                 "0a6200"
	                 "0163000000000000000080"
	                 "0564000200000000"
	                 "00ff00");
	buf_free(&out);
}

static void lookup(const char *key, const char *name, const char *query, const char *expected)
{
	struct arena arena = {0};
	struct buf out = {0};
	struct error err;
	struct slice n, q, k;
	assert_true(bson_lookup(&out, slice_cstr(name), slice_cstr(query), slice_cstr(key), &arena, &err));
	assert_hex(&out, expected);
	assert_true(bson_lookup_read(buf_slice(&out), &arena, &n, &q, &k, &err));
	assert_true(slice_eq(n, slice_cstr(name)) && slice_eq(q, slice_cstr(query)) && slice_eq(k, slice_cstr(key)));
	buf_free(&out);
	arena_free(&arena);
}

static void lookups(void **state)
{
	(void)state;
	lookup("[\"u1\"]", "by_team", "1",
	       "2f000000046c0027000000023000080000"
	       "0062795f7465616d00023100020000003100023200030000007531000000");
	lookup("[314,314,3.14]", "m", "1",
	       "40000000046c0038000000023000020000006d000231000200000031001232003a010000000000001233003a010000000000000134001f85e"
	       "b5"
	       "1b81e09400000");
	lookup("[\"314\",314,3.14]", "m", "1",
	       "40000000046c0038000000023000020000006d0002310002000000310002320004000000333134001233003a010000000000000134001f85e"
	       "b5"
	       "1b81e09400000");
	lookup("[]", "lookup", "0", "24000000046c001c000000023000070000006c6f6f6b7570000231000200000030000000");
}

static void whole_reals_are_integers_in_lookups(void **state)
{
	(void)state;
	struct arena arena = {0};
	struct buf a = {0}, b = {0};
	struct error err;
	assert_true(bson_lookup(&a, SLICE("m"), SLICE("1"), SLICE("[5]"), &arena, &err));
	assert_true(bson_lookup(&b, SLICE("m"), SLICE("1"), SLICE("[5.0]"), &arena, &err));
	assert_true(slice_eq(buf_slice(&a), buf_slice(&b)));
	buf_clear(&b);
	assert_false(bson_lookup(&b, SLICE("m"), SLICE("1"), SLICE("{}"), &arena, &err));
	buf_free(&a);
	buf_free(&b);
	arena_free(&arena);
}

/* What is inside of arrays and objects comes back as it was. */
static void nested_values(void **state)
{
	(void)state;
	struct arena arena = {0};
	struct buf out = {0};
	struct error err;
	struct slice n, q, k, key = SLICE("[true,null,{\"a\":[1.0,2.5,\"x\"]},[]]");
	assert_true(bson_lookup(&out, SLICE("m"), SLICE("2"), key, &arena, &err));
	assert_true(bson_lookup_read(buf_slice(&out), &arena, &n, &q, &k, &err));
	assert_true(slice_eq(k, key));
	for (size_t i = 0; i < out.n; i++)
		assert_false(bson_lookup_read(slice_make(out.p, i), &arena, &n, &q, &k, &err));
	buf_free(&out);
	arena_free(&arena);
}

static void subkey_of_a_replica_id_that_is_no_uuid(void **state)
{
	(void)state;
	struct buf key = {0};
	uint8_t uuid[16];
	struct value id = value_text(SLICE("plain"));
	struct slice name = SLICE("id");
	bson_row(&key, &name, &id, 1);
	assert_false(bson_source_key_uuid(buf_slice(&key), uuid));
	assert_true(bson_subkey_uuid(SLICE("65a1f0c2b7d84e1f9a3c0001"), buf_slice(&key), uuid));
	struct buf text = {0};
	buf_append(&text, uuid, 16);
	assert_hex(&text, "2ae0fdc11f0f59f49a8433ec19de41b3");
	buf_free(&text);
	buf_free(&key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(source_key_of_a_row),
	        cmocka_unit_test(image_of_a_row),
	        cmocka_unit_test(values_that_are_not_known_are_left_out),
	        cmocka_unit_test(lookups),
	        cmocka_unit_test(whole_reals_are_integers_in_lookups),
	        cmocka_unit_test(nested_values),
	        cmocka_unit_test(subkey_of_a_replica_id_that_is_no_uuid),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
