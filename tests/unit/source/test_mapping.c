/* test_mapping.c: from the server's text to values, and keys of rows, without a server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "source/postgres/copy_text.h"
#include "source/postgres/datetime.h"
#include "source/postgres/link.h"
#include "source/postgres/mapping.h"

static struct arena arena;
static const struct mapping_options old_options = {false, false, -1}, new_options = {true, true, -1};

static void assert_slice(struct slice got, const char *expected)
{
	if (!slice_eq(got, slice_cstr(expected)))
		fail_msg("\"%.*s\" is not \"%s\"", SLICE_ARG(got), expected);
}

/* ---- COPY text -------------------------------------------------------------------------------------------------------------- */

static void copy_rows_are_cut_and_unescaped(void **state)
{
	(void)state;
	struct raw_value v[4];
	assert_true(copy_text_row(SLICE("1\tab\t\\N\t\n"), &arena, v, 4));
	assert_slice(v[0].text, "1");
	assert_slice(v[1].text, "ab");
	assert_int_equal(v[2].kind, RAW_NULL);
	assert_int_equal(v[3].kind, RAW_TEXT);
	assert_int_equal(v[3].text.n, 0);
	assert_true(copy_text_row(SLICE("a\\tb\\nc\\\\N\t\\\\N\t\\b\\f\\r\\v\tx\\101\\x41"), &arena, v, 4));
	assert_slice(v[0].text, "a\tb\nc\\N");
	assert_slice(v[1].text, "\\N");
	assert_slice(v[2].text, "\b\f\r\v");
	assert_slice(v[3].text, "xAA");
	assert_true(copy_text_row(SLICE("\n"), &arena, v, 1));
	assert_int_equal(v[0].text.n, 0);
	assert_true(copy_text_row(SLICE("\n"), &arena, v, 0));
}

static void copy_rows_of_another_width_are_refused(void **state)
{
	(void)state;
	struct raw_value v[4];
	assert_false(copy_text_row(SLICE("1\t2\n"), &arena, v, 3));
	assert_false(copy_text_row(SLICE("1\t2\t3\n"), &arena, v, 2));
	assert_false(copy_text_row(SLICE("1\n"), &arena, v, 0));
	assert_true(copy_text_row(SLICE("1\t2\\"), &arena, v, 2));
}

/* ---- dates and times -------------------------------------------------------------------------------------------------------- */

static const char *time_text(struct value v)
{
	if (v.kind == VALUE_NULL)
		return "NULL";
	assert_int_equal(v.kind, VALUE_TEXT);
	return arena_cstr(&arena, v.s);
}

static void timestamps_follow_the_options(void **state)
{
	(void)state;
	static const struct {
		const char *text, *off, *on, *seconds, *millis;
	} tz[] = {
	        {"2023-03-06 15:47:00.129999+00", "2023-03-06 15:47:00.129999Z", "2023-03-06T15:47:00.129999Z",
	         "2023-03-06T15:47:00Z", "2023-03-06T15:47:00.129Z"},
	        {"2023-03-06 15:47:00+00", "2023-03-06 15:47:00Z", "2023-03-06T15:47:00.000000Z", "2023-03-06T15:47:00Z",
	         "2023-03-06T15:47:00.000Z"},
	        {"2023-01-01 00:30:00.5+02", "2022-12-31 22:30:00.5Z", "2022-12-31T22:30:00.500000Z", "2022-12-31T22:30:00Z",
	         "2022-12-31T22:30:00.500Z"},
	        {"2024-02-28 23:30:00-00:44:30", "2024-02-29 00:14:30Z", "2024-02-29T00:14:30.000000Z", "2024-02-29T00:14:30Z",
	         "2024-02-29T00:14:30.000Z"},
	        {"infinity", "9999-12-31 23:59:59Z", "9999-12-31T23:59:59.000000Z", "9999-12-31T23:59:59Z",
	         "9999-12-31T23:59:59.000Z"},
	        {"-infinity", "0000-01-01 00:00:00Z", "0000-01-01T00:00:00.000000Z", "0000-01-01T00:00:00Z",
	         "0000-01-01T00:00:00.000Z"},
	        {"0044-03-15 12:00:00+00 BC", "NULL", "NULL", "NULL", "NULL"},
	        {"10022-09-08 21:19:28+00", "NULL", "NULL", "NULL", "NULL"},
	        {"06/03/2023 15:47:00 UTC", "NULL", "NULL", "NULL", "NULL"},
	        {"", "NULL", "NULL", "NULL", "NULL"},
	};
	struct mapping_options seconds = {true, true, 0}, millis = {true, true, 3};
	for (size_t i = 0; i < sizeof(tz) / sizeof(*tz); i++) {
		struct slice s = slice_cstr(tz[i].text);
		assert_string_equal(time_text(datetime_timestamptz(s, &old_options, &arena)), tz[i].off);
		assert_string_equal(time_text(datetime_timestamptz(s, &new_options, &arena)), tz[i].on);
		assert_string_equal(time_text(datetime_timestamptz(s, &seconds, &arena)), tz[i].seconds);
		assert_string_equal(time_text(datetime_timestamptz(s, &millis, &arena)), tz[i].millis);
	}
	assert_string_equal(time_text(datetime_timestamp(SLICE("10022-09-08 21:19:28"), &new_options, &arena)),
	                    "10022-09-08T21:19:28.000000");
	assert_string_equal(time_text(datetime_timestamp(SLICE("infinity"), &old_options, &arena)), "9999-12-31 23:59:59");
	assert_string_equal(time_text(datetime_timestamp(SLICE("0044-03-15 12:00:00 BC"), &old_options, &arena)), "NULL");
	assert_string_equal(time_text(datetime_time(SLICE("24:00:00"), &new_options, &arena)), "24:00:00.000000");
	assert_string_equal(time_text(datetime_time(SLICE("12:13:14.1"), &old_options, &arena)), "12:13:14.1");
	assert_string_equal(time_text(datetime_date(SLICE("-infinity"))), "0000-01-01");
	assert_string_equal(time_text(datetime_date(SLICE("0044-03-15 BC"))), "0044-03-15 BC");
}

/* ---- structures ------------------------------------------------------------------------------------------------------------- */

enum {
	INT4 = 23,
	TEXT = 25,
	JSON = 114,
	BYTEA = 17,
	INT4_ARRAY = 1007,
	FLOAT8 = 701,
	FLOAT8_ARRAY = 1022,
	TIMESTAMPTZ = 1184,
	TIMESTAMPTZ_ARRAY = 1185,
	TEXT_ARRAY = 1009,
	INT4RANGE = 3904,
	INT4MULTIRANGE = 4451,
	BOX = 603,
	BOX_ARRAY = 1020,
	PAIR = 20000,
	PAIR_ARRAY = 20001,
	DOMAIN = 20002,
	DEEP = 21000
};

static void add(struct type_catalog *t, struct pg_type type)
{
	if (!type.delimiter)
		type.delimiter = ',';
	type_catalog_add(t, &type);
}

static struct type_catalog *catalogue(void)
{
	struct type_catalog *t = xcalloc(1, sizeof(*t));
	static const uint32_t base[] = {INT4, TEXT, JSON, BYTEA, BOX, FLOAT8, TIMESTAMPTZ};
	for (size_t i = 0; i < sizeof(base) / sizeof(*base); i++)
		add(t, (struct pg_type){.oid = base[i], .kind = type_base_kind(base[i])});
	add(t, (struct pg_type){.oid = INT4_ARRAY, .kind = TYPE_ARRAY, .of_oid = INT4});
	add(t, (struct pg_type){.oid = FLOAT8_ARRAY, .kind = TYPE_ARRAY, .of_oid = FLOAT8});
	add(t, (struct pg_type){.oid = TIMESTAMPTZ_ARRAY, .kind = TYPE_ARRAY, .of_oid = TIMESTAMPTZ});
	add(t, (struct pg_type){.oid = TEXT_ARRAY, .kind = TYPE_ARRAY, .of_oid = TEXT});
	add(t, (struct pg_type){.oid = BOX_ARRAY, .kind = TYPE_ARRAY, .of_oid = BOX, .delimiter = ';'});
	add(t, (struct pg_type){.oid = INT4RANGE, .kind = TYPE_RANGE, .of_oid = INT4});
	add(t, (struct pg_type){.oid = INT4MULTIRANGE, .kind = TYPE_MULTIRANGE, .of_oid = INT4RANGE});
	static const struct type_attribute pair[] = {
	        {SLICE_INIT("a"), INT4, NULL}, {SLICE_INIT("b"), TEXT_ARRAY, NULL}, {SLICE_INIT("c"), BYTEA, NULL}};
	add(t, (struct pg_type){.oid = PAIR, .kind = TYPE_COMPOSITE, .attributes = pair, .attribute_count = 3});
	add(t, (struct pg_type){.oid = PAIR_ARRAY, .kind = TYPE_ARRAY, .of_oid = PAIR});
	add(t, (struct pg_type){.oid = DOMAIN, .kind = TYPE_DOMAIN, .of_oid = INT4_ARRAY});
	for (uint32_t i = 0; i < 20; i++) { /* each one with the next inside */
		struct type_attribute inner = {SLICE("x"), i < 19 ? DEEP + i + 1 : INT4, NULL};
		add(t, (struct pg_type){.oid = DEEP + i, .kind = TYPE_COMPOSITE, .attributes = &inner, .attribute_count = 1});
	}
	type_catalog_seal(t);
	return t;
}

static void assert_maps(const struct type_catalog *t, uint32_t oid, const char *text, const struct mapping_options *options,
                        const char *expected)
{
	struct value v;
	struct error err = {0};
	if (!map_value(type_find(t, oid), slice_cstr(text), options, &arena, &v, &err))
		fail_msg("%s: %s", text, err.message);
	assert_int_equal(v.kind, VALUE_TEXT);
	assert_slice(v.s, expected);
}

static void structures_become_json(void **state)
{
	(void)state;
	static const struct {
		uint32_t oid;
		const char *text, *off, *on; /* NULL: the text */
	} cases[] = {
	        {INT4_ARRAY, "{1,NULL,3}", "[1,null,3]", "[1,null,3]"},
	        {INT4_ARRAY, "{}", "[]", "[]"},
	        {INT4_ARRAY, "[0:1][2:3]={{1,2},{3,4}}", "[[1,2],[3,4]]", "[[1,2],[3,4]]"},
	        {TEXT_ARRAY, "{\"\",\"NULL\",null,\"a\\\"b\\\\c\",\"{d,e}\"}",
	         "[\"\",\"NULL\",\"null\",\"a\\\"b\\\\c\",\"{d,e}\"]", "[\"\",\"NULL\",\"null\",\"a\\\"b\\\\c\",\"{d,e}\"]"},
	        {DOMAIN, "{1}", "[1]", "[1]"},
	        {BOX_ARRAY, "{(2,2),(1,1);(4,4),(3,3)}", "[\"(2\",\"2)\",\"(1\",\"1);(4\",\"4)\",\"(3\",\"3)\"]",
	         "[\"(2,2),(1,1)\",\"(4,4),(3,3)\"]"},
	        {INT4RANGE, "[1,)", NULL, "{\"lower\":1,\"upper\":null,\"lower_exclusive\":0,\"upper_exclusive\":1}"},
	        {INT4RANGE, "empty", NULL, "empty"},
	        {INT4MULTIRANGE, "{}", NULL, "[]"},
	        {INT4MULTIRANGE, "{[1,2),(,\"5\"]}", NULL,
	         "[{\"lower\":1,\"upper\":2,\"lower_exclusive\":0,\"upper_exclusive\":1},{\"lower\":null,\"upper\":5,\"lower_"
	         "exclusive\":1,\"upper_"
	         "exclusive\":0}]"},
	        {PAIR, "(1,\"{x,\"\"y z\"\"}\",)", NULL, "{\"a\":1,\"b\":[\"x\",\"y z\"],\"c\":null}"},
	        {PAIR, "(,,\"\\\\x01\")", NULL, "{\"a\":null,\"b\":null}"},
	        {PAIR_ARRAY, "{\"(1,\\\"{\\\"\\\"a b\\\"\\\"}\\\",)\",NULL}", NULL,
	         "[{\"a\":1,\"b\":[\"a b\"],\"c\":null},null]"},
	        /* not what the server writes: unchanged */
	        {INT4_ARRAY, "{1,2", "{1,2", "{1,2"},
	        {INT4_ARRAY, "{1}x", "{1}x", "{1}x"},
	        {TEXT_ARRAY, "{\"a", "{\"a", "{\"a"},
	        {INT4RANGE, "[1,2", NULL, NULL},
	        {INT4RANGE, "[1;2]", NULL, NULL},
	        {INT4MULTIRANGE, "{[1,2)", NULL, NULL},
	        {PAIR, "(1,2)", NULL, NULL},
	        {PAIR, "(1,2,3,4)", NULL, NULL},
	        {PAIR, "", NULL, NULL},
	};
	struct type_catalog *t = catalogue();
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_maps(t, cases[i].oid, cases[i].text, &old_options, cases[i].off ? cases[i].off : cases[i].text);
		assert_maps(t, cases[i].oid, cases[i].text, &new_options, cases[i].on ? cases[i].on : cases[i].text);
	}
	type_catalog_free(t);
}

/* A composite with n others inside one another, quoted as the server does: doubled at each level. */
static struct slice nested(int n)
{
	struct buf b = {0};
	buf_lit(&b, "(1)");
	for (int i = 1; i < n; i++) {
		struct buf outer = {0};
		buf_lit(&outer, "(");
		bool quote = i > 0;
		if (quote)
			buf_putc(&outer, '"');
		for (size_t k = 0; k < b.n; k++) {
			if (b.p[k] == '"')
				buf_putc(&outer, '"');
			buf_putc(&outer, b.p[k]);
		}
		if (quote)
			buf_putc(&outer, '"');
		buf_lit(&outer, ")");
		buf_free(&b);
		b = outer;
	}
	struct slice s = arena_copy(&arena, buf_slice(&b));
	buf_free(&b);
	return s;
}

static void nesting_has_a_limit(void **state)
{
	(void)state;
	struct type_catalog *t = catalogue();
	struct value v;
	struct error err = {0};
	assert_true(map_value(type_find(t, DEEP + 9), nested(11), &new_options, &arena, &v, &err));
	assert_true(slice_starts(v.s, SLICE("{\"x\":{\"x\":")));
	assert_false(map_value(type_find(t, DEEP), nested(12), &new_options, &arena, &v, &err));
	assert_string_equal(err.code, "PSYNC_S1004");
	assert_string_equal(err.message, "json nested object depth exceeds the limit of 10");
	struct buf b = {0};
	for (int i = 0; i < 100000; i++)
		buf_putc(&b, '{');
	assert_false(map_value(type_find(t, INT4_ARRAY), buf_slice(&b), &new_options, &arena, &v, &err));
	buf_free(&b);
	type_catalog_free(t);
}

static void rows_are_mapped_by_column(void **state)
{
	(void)state;
	struct source_column columns[] = {{.name = SLICE("a"), .type_oid = INT4},
	                                  {.name = SLICE("b"), .type_oid = BYTEA},
	                                  {.name = SLICE("c"), .type_oid = 999999},
	                                  {.name = SLICE("d"), .type_oid = INT4_ARRAY}};
	struct source_relation r = {.columns = columns, .column_count = 4};
	struct value_mapper *m = value_mapper_from_types(catalogue(), &r, &new_options);
	struct raw_value raw[] = {{RAW_TEXT, SLICE("-5")}, {RAW_TEXT, SLICE("\\x00ff")}, {RAW_UNCHANGED, {0}}, {RAW_NULL, {0}}};
	struct value v[4];
	struct error err = {0};
	assert_true(value_mapper_row(m, raw, &arena, v, &err));
	assert_int_equal(v[0].kind, VALUE_INTEGER);
	assert_int_equal(v[0].i, -5);
	assert_int_equal(v[1].kind, VALUE_BLOB);
	assert_memory_equal(v[1].s.p, "\x00\xff", 2);
	assert_int_equal(v[2].kind, VALUE_UNKNOWN);
	assert_int_equal(v[3].kind, VALUE_NULL);
	raw[1].text = SLICE("\\000");
	assert_false(value_mapper_row(m, raw, &arena, v, &err));
	assert_string_equal(err.message, "column \"b\": bytea is not in hexadecimal form");
	value_mapper_free(m);
}

/* What a store has of a column, when its source leaves it out. */
static bool is_taken(uint32_t oid, struct value stored, bool same_options, struct raw_value *out)
{
	struct source_column column = {.name = SLICE("a"), .type_oid = oid};
	struct source_relation r = {.columns = &column, .column_count = 1};
	struct value_mapper *m = value_mapper_from_types(catalogue(), &r, &new_options);
	struct value back;
	struct error err = {0};
	bool taken = value_mapper_stored(m, 0, &stored, same_options, out);
	if (taken) {
		assert_true(value_mapper_row(m, out, &arena, &back, &err));
		assert_int_equal(back.kind, stored.kind);
		assert_true(stored.kind == VALUE_NULL || slice_eq(back.s, stored.s));
	}
	value_mapper_free(m);
	return taken;
}

static void stored_values_are_taken_where_they_last(void **state)
{
	(void)state;
	struct raw_value v;
	assert_true(is_taken(TEXT, value_text(SLICE("{a}")), false, &v));
	assert_int_equal(v.kind, RAW_TEXT);
	assert_true(is_taken(BYTEA, value_blob(SLICE("\x01\xff")), false, &v));
	assert_int_equal(v.kind, RAW_VALUE);
	assert_true(is_taken(TEXT_ARRAY, value_text(SLICE("[\"a\"]")), false, &v));
	assert_int_equal(v.kind, RAW_VALUE);
	assert_true(is_taken(PAIR, value_null(), false, &v));
	assert_int_equal(v.kind, RAW_NULL);
	assert_true(is_taken(FLOAT8_ARRAY, value_text(SLICE("[1.5,null,1e+21]")), false, &v));
	assert_false(is_taken(FLOAT8_ARRAY, value_text(SLICE("[1.5,NaN]")), true, &v));
	assert_false(is_taken(FLOAT8_ARRAY, value_text(SLICE("[-Infinity]")), true, &v));
	assert_true(is_taken(TIMESTAMPTZ_ARRAY, value_text(SLICE("[\"2026-01-01T00:00:00.000000Z\"]")), true, &v));
	assert_false(is_taken(TIMESTAMPTZ_ARRAY, value_text(SLICE("[\"2026-01-01T00:00:00.000000Z\"]")), false, &v));
	assert_false(is_taken(PAIR, value_text(SLICE("{}")), true, &v));
	assert_false(is_taken(DOMAIN, value_text(SLICE("[1]")), true, &v));
	assert_false(is_taken(999999, value_text(SLICE("x")), true, &v));
	assert_false(is_taken(TEXT, (struct value){.kind = VALUE_UNKNOWN}, true, &v));
}

/* ---- keys ------------------------------------------------------------------------------------------------------------------- */

static struct slice key_of(uint32_t type, const char *text, uint8_t uuid[16])
{
	struct source_column column = {.name = SLICE("k"), .type_oid = type, .in_key = true};
	struct source_relation r = {.columns = &column, .column_count = 1};
	struct raw_value v = text ? (struct raw_value){RAW_TEXT, slice_cstr(text)} : (struct raw_value){.kind = RAW_NULL};
	struct slice key;
	source_row_key(&r, &v, &arena, &key, uuid);
	return key;
}

static uint64_t random_state = 42;

static uint64_t random_u64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static int sign(int64_t v)
{
	return v < 0 ? -1 : v > 0;
}

static void keys_sort_like_their_values(void **state)
{
	(void)state;
	uint8_t uuid[16];
	for (int i = 0; i < 20000; i++) {
		char a[64], b[64];
		int64_t x = (int64_t)(random_u64() >> (random_u64() % 64)), y = (int64_t)(random_u64() >> (random_u64() % 64));
		if (random_u64() % 2)
			x = -x;
		snprintf(a, sizeof(a), "%lld", (long long)x);
		snprintf(b, sizeof(b), "%lld", (long long)y);
		assert_int_equal(sign(slice_cmp(key_of(20, a, uuid), key_of(20, b, uuid))), x < y ? -1 : x > y);
		char *texts[] = {a, b};
		for (int t = 0; t < 2; t++)
			snprintf(texts[t], sizeof(a), "%08x-0000-4000-8000-%012llx", (unsigned)(random_u64() % 3),
			         (unsigned long long)(random_u64() % 1000));
		assert_int_equal(sign(slice_cmp(key_of(2950, a, uuid), key_of(2950, b, uuid))), sign(strcmp(a, b)));
		for (int t = 0; t < 2; t++) {
			size_t n = random_u64() % 6;
			for (size_t k = 0; k < n; k++)
				texts[t][k] = (char)(1 + random_u64() % 3);
			texts[t][n] = '\0';
		}
		assert_int_equal(sign(slice_cmp(key_of(25, a, uuid), key_of(25, b, uuid))), sign(strcmp(a, b)));
		arena_reset(&arena);
	}
	assert_true(slice_cmp(key_of(20, NULL, uuid), key_of(20, "-9223372036854775808", uuid)) < 0);
}

static void keys_of_several_columns_do_not_run_into_one_another(void **state)
{
	(void)state;
	struct source_column columns[] = {{.type_oid = 25, .in_key = true}, {.type_oid = 25}, {.type_oid = 25, .in_key = true}};
	struct source_relation r = {.columns = columns, .column_count = 3};
	struct raw_value one[] = {{RAW_TEXT, SLICE("a")}, {RAW_TEXT, SLICE("x")}, {RAW_TEXT, SLICE("bc")}};
	struct raw_value two[] = {{RAW_TEXT, SLICE("ab")}, {RAW_TEXT, SLICE("y")}, {RAW_TEXT, SLICE("c")}};
	struct raw_value zero[] = {{RAW_TEXT, SLICE("a\0\0b")}, {RAW_NULL, {0}}, {RAW_TEXT, SLICE("c")}};
	struct slice a, b, c;
	uint8_t u[3][16];
	source_row_key(&r, one, &arena, &a, u[0]);
	source_row_key(&r, two, &arena, &b, u[1]);
	source_row_key(&r, zero, &arena, &c, u[2]);
	assert_true(slice_cmp(a, b) < 0 && slice_cmp(a, c) < 0 && slice_cmp(c, b) < 0);
	assert_memory_not_equal(u[0], u[1], 16);
	one[1].text = SLICE("other"); /* not in the key */
	source_row_key(&r, one, &arena, &b, u[1]);
	assert_true(slice_eq(a, b));
	assert_memory_equal(u[0], u[1], 16);
	assert_int_equal(u[0][6] >> 4, 5);
	assert_int_equal(u[0][8] >> 6, 2);
}

static void row_sizes_are_never_underestimated(void **state)
{
	(void)state;
	struct source_column columns[] = {{.type_oid = 25}, {.type_oid = INT4_ARRAY}, {.type_oid = 23}};
	struct source_relation r = {.columns = columns, .column_count = 3};
	struct raw_value raw[] = {{RAW_TEXT, SLICE("hello")}, {RAW_TEXT, SLICE("{1,2,3}")}, {RAW_TEXT, SLICE("7")}};
	size_t small = source_row_size_bound(&r, raw);
	/* header 24, text 1 + 5, array 24 + 12 behind its own header, int 4, alignment */
	assert_true(small >= 24 + 6 + 3 + 4 + 36 + 4);
	assert_true(small < 2000);
	raw[2] = (struct raw_value){.kind = RAW_UNCHANGED};
	assert_true(source_row_size_bound(&r, raw) > 2000);
}

/* ---- snapshots -------------------------------------------------------------------------------------------------------------- */

static void snapshots_are_parsed_strictly(void **state)
{
	(void)state;
	struct xid_snapshot s;
	assert_true(snapshot_parse(SLICE("10:20:"), &arena, &s));
	assert_true(xid_visible(&s, 9) && xid_visible(&s, 15) && !xid_visible(&s, 20));
	assert_true(snapshot_parse(SLICE("10:20:10,14"), &arena, &s));
	assert_int_equal(s.count, 2);
	assert_true(!xid_visible(&s, 10) && xid_visible(&s, 11) && !xid_visible(&s, 14));
	static const char *const bad[] = {
	        "", "10", "10:20", "10:20:a", "10:20:1,", "10:20:,1", ":20:", "10:20:1 ", "99999999999999999999:1:"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_false(snapshot_parse(slice_cstr(bad[i]), &arena, &s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(copy_rows_are_cut_and_unescaped),
	        cmocka_unit_test(copy_rows_of_another_width_are_refused),
	        cmocka_unit_test(timestamps_follow_the_options),
	        cmocka_unit_test(structures_become_json),
	        cmocka_unit_test(nesting_has_a_limit),
	        cmocka_unit_test(rows_are_mapped_by_column),
	        cmocka_unit_test(stored_values_are_taken_where_they_last),
	        cmocka_unit_test(keys_sort_like_their_values),
	        cmocka_unit_test(keys_of_several_columns_do_not_run_into_one_another),
	        cmocka_unit_test(row_sizes_are_never_underestimated),
	        cmocka_unit_test(snapshots_are_parsed_strictly),
	};
	int failed = cmocka_run_group_tests_name("source: values and keys", tests, NULL, NULL);
	arena_free(&arena);
	return failed;
}
