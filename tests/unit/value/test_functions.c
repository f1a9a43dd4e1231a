/* The 21 functions. */
#include "fixture.h"

static bool try_call(const char *name, const struct value *args, size_t n, bool fixed, struct value *out)
{
	struct function_context ctx = {&arena, fixed};
	struct error err;
	const struct sql_function *f = sql_function_find(slice_cstr(name));
	assert_non_null(f);
	return f->call(&ctx, args, n, out, &err);
}

static struct value call(const char *name, const struct value *args, size_t n)
{
	struct value out;
	assert_true(try_call(name, args, n, false, &out));
	return out;
}
#define F(name, ...) call(name, (struct value[]){__VA_ARGS__}, sizeof((struct value[]){__VA_ARGS__}) / sizeof(struct value))

static bool fails(const char *name, const struct value *args, size_t n)
{
	struct value out;
	return !try_call(name, args, n, false, &out);
}
#define FAILS(name, ...) fails(name, (struct value[]){__VA_ARGS__}, sizeof((struct value[]){__VA_ARGS__}) / sizeof(struct value))

static void only_these_exist_by_exact_name(void **state)
{
	(void)state;
	const char *const others[] = {"Upper",  "UPPER", "coalesce", "substr",    "round",
	                              "random", "count", "",         "json_each", "nullif"};
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_null(sql_function_find(slice_cstr(others[i])));
	assert_false(sql_function_find(SLICE("json_valid"))->in_streams);
	assert_int_equal(sql_function_find(SLICE("substring"))->min_args, 2);
}

/* Missing arguments are absent ones: nothing may crash, whatever the count. */
static void missing_arguments_are_null(void **state)
{
	(void)state;
	const char *const names[] = {"upper",    "lower",        "substring",         "length",    "uuid_blob",
	                             "instr",    "json_extract", "json_array_length", "json_keys", "unixepoch",
	                             "datetime", "st_asgeojson", "st_astext",         "st_x",      "st_y"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_value(call(names[i], NULL, 0), NIL);
	assert_value(call("hex", NULL, 0), t(""));
	assert_value(call("base64", NULL, 0), t(""));
	assert_value(call("json_valid", NULL, 0), I(0));
	assert_value(call("typeof", NULL, 0), t("null"));
	assert_value(call("ifnull", NULL, 0), ABSENT);
	assert_value(call("iif", NULL, 0), ABSENT);
}

static void case_mapping_is_full_unicode(void **state)
{
	(void)state;
	assert_value(F("upper", t("stra\xc3\x9f"
	                          "e \xef\xac\x81")),
	             t("STRASSE FI"));
	assert_value(F("lower", t("\xc4\xb0"
	                          "A")),
	             t("i\xcc\x87"
	               "a"));
	/* Final sigma: at the end of a word, also behind an apostrophe; not alone, not before a letter. */
	assert_value(F("lower", t("\xce\x9f\xce\xa3")), t("\xce\xbf\xcf\x82"));
	assert_value(F("lower", t("\xce\xa3")), t("\xcf\x83"));
	assert_value(F("lower", t("\xce\x9f\xce\xa3\xce\x9f")), t("\xce\xbf\xcf\x83\xce\xbf"));
	assert_value(F("lower", t("A'\xce\xa3'")), t("a'\xcf\x82'"));
	assert_value(F("upper", t("\xf0\x90\x90\xa8")), t("\xf0\x90\x90\x80"));
	assert_value(F("upper", t("\xff"
	                          "a\xc3")),
	             t("\xff"
	               "A\xc3"));
	assert_value(F("upper", R(1e21)), t("1E+21"));
}

static void lengths_count_utf16_units(void **state)
{
	(void)state;
	assert_value(F("length", t("a\xf0\x9f\x98\x80"
	                           "b")),
	             I(4));
	assert_value(F("length", R(1)), I(1));
	assert_value(F("length", b("a\xff")), I(2));
	assert_value(F("length", t("")), I(0));
}

static void substrings(void **state)
{
	(void)state;
	struct value s = t("abcdef");
	assert_value(F("substring", s, I(2), I(3)), t("bcd"));
	assert_value(F("substring", s, I(2)), t("bcdef"));
	assert_value(F("substring", s, I(0)), t("abcdef"));
	assert_value(F("substring", s, I(0), I(2)), t("a"));
	assert_value(F("substring", s, I(-2)), t("ef"));
	assert_value(F("substring", s, I(-9), I(3)), t("abc"));
	assert_value(F("substring", s, I(4), I(-2)), t("bc"));
	assert_value(F("substring", s, I(9), I(-5)), t("def"));
	assert_value(F("substring", s, I(99)), t(""));
	assert_value(F("substring", s, I(INT64_MAX), I(INT64_MAX)), t(""));
	assert_value(F("substring", s, I(INT64_MIN), I(INT64_MIN)), t(""));
	assert_value(F("substring", s, t("2x"), R(1.9)), t("b"));
	assert_value(F("substring", s, I(1), NIL), NIL);
	assert_value(F("substring", s, I(1), ABSENT), t("abcdef"));
	/* Cutting a pair leaves lone halves. */
	struct value pair = t("a\xf0\x9f\x98\x80"
	                      "b");
	assert_value(F("substring", pair, I(2), I(2)), t("\xf0\x9f\x98\x80"));
	assert_value(F("substring", pair, I(1), I(2)), t("a\xed\xa0\xbd"));
	assert_value(F("substring", pair, I(3), I(2)), t("\xed\xb8\x80"
	                                                 "b"));
	assert_value(F("substring", pair, I(3), I(1)), t("\xed\xb8\x80"));
	assert_true(FAILS("substring", s, R(NAN)));
}

static void positions(void **state)
{
	(void)state;
	assert_value(F("instr",
	               t("a\xf0\x9f\x98\x80"
	                 "b"),
	               t("b")),
	             I(4));
	assert_value(F("instr", t("abc"), t("")), I(1));
	assert_value(F("instr", t(""), t("x")), I(0));
	assert_value(F("instr", b("\x01\xff\x02"), b("\x02")), I(3));
	assert_value(F("instr", b("ab"), t("b")), I(2));
	assert_value(F("instr", I(1234), I(34)), I(3));
	assert_value(F("instr", NIL, t("")), NIL);
}

static void bytes_as_text(void **state)
{
	(void)state;
	assert_value(F("hex", b("\x01\xfe")), t("01FE"));
	assert_value(F("hex", R(1)), t("31"));
	assert_value(F("hex", NIL), t(""));
	assert_value(F("base64", t("a")), t("YQ=="));
	assert_value(F("base64", t("ab")), t("YWI="));
	assert_value(F("base64", b("\xff\xff\xfe")), t("///+"));
}

static void uuids(void **state)
{
	(void)state;
	struct value out = F("uuid_blob", t("6BA7B810-9dad-11d1-80b4-00c04fd430c8"));
	assert_int_equal(out.kind, VALUE_BLOB);
	assert_int_equal(out.s.n, 16);
	assert_memory_equal(out.s.p, "\x6b\xa7\xb8\x10\x9d\xad\x11\xd1\x80\xb4\x00\xc0\x4f\xd4\x30\xc8", 16);
	assert_int_equal(F("uuid_blob", t("00000000-0000-0000-0000-000000000000")).s.n, 16);
	assert_int_equal(F("uuid_blob", t("ffffffff-ffff-ffff-ffff-FFFFFFFFFFFF")).s.n, 16);
	const char *const bad[] = {"",
	                           "6ba7b8109dad11d180b400c04fd430c8",
	                           "6ba7b810-9dad-01d1-80b4-00c04fd430c8",
	                           "6ba7b810-9dad-91d1-80b4-00c04fd430c8",
	                           "6ba7b810-9dad-11d1-c0b4-00c04fd430c8",
	                           "6ba7b810-9dad-11d1-80b4-00c04fd430c8 ",
	                           "6ba7b81g-9dad-11d1-80b4-00c04fd430c8"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(FAILS("uuid_blob", t(bad[i])));
}

static void chosen_arguments_are_handed_on(void **state)
{
	(void)state;
	assert_value(F("ifnull", NIL, ABSENT), ABSENT);
	assert_value(F("ifnull", ABSENT, I(1)), I(1));
	assert_value(F("ifnull", t("x"), I(1)), t("x"));
	assert_value(F("iif", t("1"), I(1), I(2)), I(1));
	assert_value(F("iif", NIL, I(1), I(2)), I(2));
	assert_value(F("iif", I(0), I(1)), ABSENT);
	assert_value(F("typeof", ABSENT), t("null"));
	assert_value(F("typeof", b("")), t("blob"));
	assert_value(F("typeof", R(1)), t("real"));
}

static void json_functions(void **state)
{
	(void)state;
	assert_value(F("json_valid", t("{\"a\":[]}")), I(1));
	assert_value(F("json_valid", t("{a:1}")), I(0));
	assert_value(F("json_valid", t("12345678901234567890")), I(1));
	assert_value(F("json_valid", I(5)), I(1));
	assert_value(F("json_keys", t("{\"b\":1,\"1\":2}")), t("[\"1\",\"b\"]"));
	assert_true(FAILS("json_keys", t("[1]")));
	assert_true(FAILS("json_keys", t("null")));
	assert_value(F("json_array_length", t("[1,2]")), I(2));
	assert_value(F("json_array_length", t("{}")), I(0));
	assert_value(F("json_array_length", t("{\"a\":[1,2,3]}"), t("$.a")), I(3));
	assert_value(F("json_array_length", t("{\"a\":1}"), t("$.b")), NIL);
	assert_true(FAILS("json_array_length", t("{\"a\":\"x\"}"), t("$.a")));
	assert_true(FAILS("json_array_length", t("[")));
	assert_value(F("json_extract", t("{\"a\":{\"b\":5}}"), t("$.a.b")), I(5));
	assert_true(FAILS("json_extract", t("{\"a\":1}"), t("a")));
	assert_value(F("json_extract", t("null"), t("a")), NIL);
	assert_value(F("json_extract", t("{\"a\":null}"), t("$.a")), t("null"));
	struct value out;
	assert_true(try_call("json_extract", (struct value[]){t("{\"a\":null}"), t("$.a")}, 2, true, &out));
	assert_value(out, NIL);
}

static void datetimes(void **state)
{
	(void)state;
	const struct {
		const char *in, *out;
	} cases[] = {
	        {"2020-01-02T03:04:05Z", "2020-01-02 03:04:05"},
	        {"2020-01-02 03:04", "2020-01-02 03:04:00"},
	        {"2020-01-02T03:04:05.6789+02:30", "2020-01-02 00:34:05"},
	        {"2020-02-31", "2020-03-02 00:00:00"},
	        {"2020-1-2", "2020-01-02 00:00:00"},
	        {"2020-05", "2020-05-01 00:00:00"},
	        {"2020-05-02:00", "2020-05-01 02:00:00"},
	        {"2020-01-01T24:00:00", "2020-01-02 00:00:00"},
	        {"+010000-01-01T00:00Z", "+010000-01-01 00:00:00"},
	        {"-004713-11-24T12:00:00Z", "-4713-11-24 12:00:00"},
	        {"2440587.5", "1970-01-01 00:00:00"},
	        {"0000-01-01", "0000-01-01 00:00:00"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_value(F("datetime", t(cases[i].in)), t(cases[i].out));
	const char *const bad[] = {"",
	                           "now",
	                           "2020-13-01",
	                           "2020-00-01",
	                           "2020-01-32",
	                           "2020-01-01T25:00",
	                           "2020-01-01T24:00:01",
	                           "2020-01-01T03",
	                           "03:04",
	                           "2020-01-01T03:60",
	                           "2020-01-01T03:04:05.",
	                           "2020-01-01Z5",
	                           "2020-W01-1",
	                           "-000000-01-01T00:00Z",
	                           "2020-01-01T00:00+24:00",
	                           "..",
	                           "1e5",
	                           "+999999-01-01"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_value(F("datetime", t(bad[i])), NIL);
	assert_value(F("datetime", I(0), t("unixepoch")), t("1970-01-01 00:00:00"));
	assert_value(F("datetime", R(-0.5), t("unixepoch"), t("subsec")), t("1969-12-31 23:59:59.500"));
	assert_value(F("datetime", R(2440587.5), t("subsecond")), t("1970-01-01 00:00:00.000"));
	assert_value(F("datetime", I(1), t("localtime")), NIL);
	assert_value(F("datetime", I(1), t("unixepoch"), t("x")), NIL);
	assert_value(F("datetime", I(1), NIL, t("x")), t("-4713-11-25 12:00:00"));
	assert_value(F("datetime", I(INT64_MAX), t("unixepoch")), NIL);
	assert_value(F("datetime", R(NAN)), NIL);
	assert_value(F("datetime", b("2020-01-01")), NIL);
}

static void unix_times(void **state)
{
	(void)state;
	assert_value(F("unixepoch", t("1970-01-01T00:00:01.999Z")), I(1));
	assert_value(F("unixepoch", t("1969-12-31T23:59:59.500Z")), I(-1));
	assert_value(F("unixepoch", t("1970-01-01T00:00:01.500Z"), t("subsec")), R(1.5));
	assert_value(F("unixepoch", I(5), t("unixepoch"), t("subsec")), R(5));
}

#define POINT_1_2 "0101000000000000000000F03F0000000000000040"

static void geometry(void **state)
{
	(void)state;
	assert_value(F("st_x", t(POINT_1_2)), R(1));
	assert_value(F("st_y", t(POINT_1_2 "zz")), R(2));
	assert_value(F("st_asgeojson", t(POINT_1_2)), t("{\"type\":\"Point\",\"coordinates\":[1.0,2.0]}"));
	assert_value(F("st_astext", t(POINT_1_2)), t("POINT(1 2)"));
	/* EWKB with SRID and Z, and big endian. */
	assert_value(F("st_astext", t("01010000A0E6100000000000000000F03F00000000000000400000000000000840")),
	             t("POINT Z (1 2 3)"));
	assert_value(F("st_asgeojson", t("01010000A0E6100000000000000000F03F00000000000000400000000000000840")),
	             t("{\"type\":\"Point\",\"coordinates\":[1.0,2.0,3.0]}"));
	assert_value(F("st_astext", t("00000000013FF00000000000004000000000000000")), t("POINT(1 2)"));
	assert_value(F("st_astext", t("010200000000000000")), t("LINESTRING EMPTY"));
	assert_value(F("st_asgeojson", t("010200000000000000")), t("{\"type\":\"LineString\",\"coordinates\":[]}"));
	assert_value(F("st_x", t("010200000000000000")), NIL);
	assert_value(F("st_astext", t("010400000001000000" POINT_1_2)), t("MULTIPOINT(1 2)"));
	assert_value(F("st_astext", t("010700000002000000" POINT_1_2 "010200000000000000")),
	             t("GEOMETRYCOLLECTION(POINT(1 2),LINESTRING EMPTY)"));
	assert_value(F("st_asgeojson", t("010700000001000000" POINT_1_2)),
	             t("{\"type\":\"GeometryCollection\",\"geometries\":[{\"type\":\"Point\",\"coordinates\":[1.0,2.0]}]}"));
	assert_value(F("st_astext", I(5)), NIL);
	const char *const bad[] = {"",
	                           "zz",
	                           "01",
	                           "0108000000",
	                           "0201000000",
	                           "0101000000000000000000F03F",
	                           "0102000000FFFFFFFF",
	                           "010400000001000000010200000000000000",
	                           "01B90F0000"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(FAILS("st_astext", t(bad[i])));
}

static void nested_geometry_is_bounded(void **state)
{
	(void)state;
	struct buf text = {0};
	for (int i = 0; i < 100000; i++)
		buf_lit(&text, "010700000001000000");
	struct value v = value_text(buf_slice(&text));
	assert_true(FAILS("st_astext", v));
	assert_true(FAILS("st_asgeojson", v));
	buf_free(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(only_these_exist_by_exact_name),
	        cmocka_unit_test(missing_arguments_are_null),
	        cmocka_unit_test(case_mapping_is_full_unicode),
	        cmocka_unit_test(lengths_count_utf16_units),
	        cmocka_unit_test(substrings),
	        cmocka_unit_test(positions),
	        cmocka_unit_test(bytes_as_text),
	        cmocka_unit_test(uuids),
	        cmocka_unit_test(chosen_arguments_are_handed_on),
	        cmocka_unit_test(json_functions),
	        cmocka_unit_test(datetimes),
	        cmocka_unit_test(unix_times),
	        cmocka_unit_test(geometry),
	        cmocka_unit_test(nested_geometry_is_bounded),
	};
	return cmocka_run_group_tests_name("functions", tests, NULL, free_arena);
}
