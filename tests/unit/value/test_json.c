/* Reading and writing JSON trees, paths, json_each. */
#include "fixture.h"
#include "value/json.h"

static bool read_as(const char *text, enum json_numbers numbers, struct json_node *n)
{
	return json_read(slice_cstr(text), numbers, &arena, n, NULL);
}

static struct slice rewritten(const char *text, enum json_numbers numbers, unsigned style)
{
	struct json_node n;
	assert_true(read_as(text, numbers, &n));
	return json_to_text(&n, style, &arena);
}

static void text_is_rebuilt_in_canonical_form(void **state)
{
	(void)state;
	const char *const cases[][2] = {
	        {" [ 1 , -2 ,3.50, 1e3 , 1E-7, -0, -0.0 ] ", "[1,-2,3.5,1000.0,1e-7,0,0.0]"},
	        {"{\"b\":1,\"a\":[true,false,null]}", "{\"b\":1,\"a\":[true,false,null]}"},
	        {"\"\\u0041\\/\\n\\ud83d\\ude00\\u00e9\"", "\"A/\\n\xf0\x9f\x98\x80\xc3\xa9\""},
	        {"\"\\ud800\"", "\"\\ud800\""},
	        {"\"\\ude00\\ud83d\"", "\"\\ude00\\ud83d\""},
	        {"9007199254740993", "9007199254740993"},
	        {"123456789012345678901234567890", "123456789012345678901234567890"},
	        {"1e400", "null"},
	        {"{}", "{}"},
	        {"[[],{}]", "[[],{}]"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_slice(rewritten(cases[i][0], JSON_EXACT, JSON_STYLE_PLAIN), cases[i][1]);
}

static void doubles_only_mode_rounds_and_keeps_reals(void **state)
{
	(void)state;
	assert_slice(rewritten("[9007199254740993,5,true]", JSON_DOUBLES, JSON_STYLE_PLAIN), "[9007199254740992.0,5.0,true]");
	assert_slice(rewritten("[5,[5],1.5,true]", JSON_DOUBLES, JSON_STYLE_SHORT_NUMBERS), "[5,[5],1.5,true]");
	assert_slice(rewritten("{\"a\":5,\"b\":true}", JSON_DOUBLES, JSON_STYLE_BOOLEANS_AS_NUMBERS), "{\"a\":5.0,\"b\":1}");
}

static void anything_but_strict_json_is_refused(void **state)
{
	(void)state;
	const char *const cases[] = {"",
	                             " ",
	                             "[1,]",
	                             "{\"a\":1,}",
	                             "01",
	                             "-",
	                             "1.",
	                             ".5",
	                             "+1",
	                             "1e",
	                             "NaN",
	                             "Infinity",
	                             "nul",
	                             "truex",
	                             "'a'",
	                             "\"a",
	                             "\"\\x\"",
	                             "\"\\u12\"",
	                             "\"\\u12g4\"",
	                             "[1 2]",
	                             "{1:2}",
	                             "{\"a\" 1}",
	                             "1 2",
	                             "\xef\xbb\xbf"
	                             "1",
	                             "\"\n\"",
	                             "[",
	                             "{",
	                             "/**/1",
	                             "[1}",
	                             "\"\\",
	                             "\"a\\\"",
	                             "-01"};
	struct json_node n;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_false(read_as(cases[i], JSON_EXACT, &n));
		assert_false(read_as(cases[i], JSON_DOUBLES, &n));
	}
	assert_false(json_read(slice_make("\"\0\"", 3), JSON_EXACT, &arena, &n, NULL));
}

static void index_like_keys_come_first_in_order(void **state)
{
	(void)state;
	assert_slice(rewritten("{\"b\":1,\"10\":2,\"2\":3,\"01\":4,\"4294967294\":5,\"4294967295\":6,\"0\":7,\"-1\":8}",
	                       JSON_EXACT, 0),
	             "{\"0\":7,\"2\":3,\"10\":2,\"4294967294\":5,\"b\":1,\"01\":4,\"4294967295\":6,\"-1\":8}");
}

static void repeated_keys(void **state)
{
	(void)state;
	struct json_node n;
	assert_slice(rewritten("{\"a\":1,\"b\":2,\"a\":1}", JSON_EXACT, 0), "{\"a\":1,\"b\":2}");
	assert_slice(rewritten("{\"a\":[{}],\"\\u0061\":[{}]}", JSON_EXACT, 0), "{\"a\":[{}]}");
	assert_false(read_as("{\"a\":1,\"a\":2}", JSON_EXACT, &n));
	assert_false(read_as("{\"a\":1,\"a\":1.0}", JSON_EXACT, &n));
	assert_slice(rewritten("{\"a\":1,\"b\":2,\"a\":3,\"a\":4}", JSON_DOUBLES, 0), "{\"a\":4.0,\"b\":2.0}");
}

static void repeated_keys_in_large_objects(void **state)
{
	(void)state;
	struct buf text = {0};
	struct json_node n;
	buf_lit(&text, "{");
	for (int i = 0; i < 3000; i++)
		buf_printf(&text, "%s\"k%d\":%d", i ? "," : "", i % 1000, i % 1000);
	buf_lit(&text, "}");
	assert_true(json_read(buf_slice(&text), JSON_EXACT, &arena, &n, NULL));
	assert_int_equal(n.object.count, 1000);
	assert_slice(n.object.members[999].key, "k999");
	text.n--;
	buf_lit(&text, ",\"k5\":6}");
	assert_false(json_read(buf_slice(&text), JSON_EXACT, &arena, &n, NULL));
	assert_true(json_read(buf_slice(&text), JSON_DOUBLES, &arena, &n, NULL));
	assert_true(json_find(&n, SLICE("k5"))->r == 6);
	buf_free(&text);
}

static void nesting_is_bounded(void **state)
{
	(void)state;
	struct buf text = {0};
	struct json_node n;
	for (int i = 0; i < JSON_MAX_DEPTH; i++)
		buf_putc(&text, '[');
	for (int i = 0; i < JSON_MAX_DEPTH; i++)
		buf_putc(&text, ']');
	assert_true(json_read(buf_slice(&text), JSON_EXACT, &arena, &n, NULL));
	assert_int_equal(json_depth(&n), JSON_MAX_DEPTH);
	buf_clear(&text);
	for (int i = 0; i < 1000000; i++)
		buf_lit(&text, "{\"\":[");
	assert_false(json_read(buf_slice(&text), JSON_EXACT, &arena, &n, NULL));
	buf_free(&text);
}

static struct value arrow(const char *json, const char *path, bool as_json, bool fixed)
{
	struct value x = t(json), p = t(path), out;
	assert_true(json_arrow(&x, &p, as_json, fixed, &arena, &out, NULL));
	return out;
}

static void paths_depend_on_the_option(void **state)
{
	(void)state;
	const char *j = "{\"a\":{\"b\":[10,20]},\"a.b\":\"dotted\",\"n\":null,\"$x\":1}";
	assert_value(arrow(j, "a.b", false, false), t("[10,20]"));
	assert_value(arrow(j, "a.b", false, true), t("dotted"));
	assert_value(arrow(j, "$.a.b.1", false, true), I(20));
	assert_value(arrow(j, "$.a.b.1", false, false), I(20));
	assert_value(arrow(j, "$.a.b.01", false, true), NIL);
	assert_value(arrow(j, "$.a.b[0]", false, true), NIL);
	assert_value(arrow(j, "$.a.b.2", false, true), NIL);
	assert_value(arrow(j, "$x", true, true), arrow(j, "$", true, true));
	assert_value(arrow(j, "n", false, false), t("null"));
	assert_value(arrow(j, "n", false, true), NIL);
	assert_value(arrow(j, "n", true, false), NIL);
	assert_value(arrow(j, "n", true, true), t("null"));
	assert_value(arrow(j, "$.n.deeper", true, true), t("null"));
	assert_value(arrow("null", "anything", true, true), NIL);
	assert_value(arrow("[1.0,true,\"s\"]", "0", false, true), R(1));
	assert_value(arrow("[1.0,true,\"s\"]", "1", false, true), I(1));
	assert_value(arrow("[1.0,true,\"s\"]", "1", true, true), t("true"));
	assert_value(arrow("[1.0,true,\"s\"]", "2", true, true), t("\"s\""));
	assert_value(arrow("\"text\"", "length", false, true), NIL);
}

static void integers_beyond_64_bits_are_errors_as_values_only(void **state)
{
	(void)state;
	struct value x = t("{\"a\":12345678901234567890}"), p = t("a"), out;
	struct error err;
	assert_false(json_arrow(&x, &p, false, true, &arena, &out, &err));
	assert_true(json_arrow(&x, &p, true, true, &arena, &out, &err));
	assert_value(out, t("12345678901234567890"));
}

static void json_each_gives_keys_and_doubles(void **state)
{
	(void)state;
	struct json_each_row *rows;
	size_t n;
	struct value x = t("[5,true,null,{\"a\":1},\"s\"]");
	assert_true(json_each(&x, true, &arena, &rows, &n, NULL));
	assert_int_equal(n, 5);
	assert_value(rows[0].key, I(0));
	assert_value(rows[0].value, R(5));
	assert_value(rows[1].value, I(1));
	assert_value(rows[2].value, NIL);
	assert_value(rows[3].value, t("{\"a\":1.0}"));
	assert_value(rows[4].key, I(4));
	assert_true(json_each(&x, false, &arena, &rows, &n, NULL));
	assert_value(rows[2].value, t("null"));
	x = t("{\"b\":1,\"0\":2}");
	assert_true(json_each(&x, true, &arena, &rows, &n, NULL));
	assert_value(rows[0].key, t("0"));
	assert_value(rows[1].key, t("b"));
	x = t("7");
	assert_true(json_each(&x, true, &arena, &rows, &n, NULL));
	assert_int_equal(n, 1);
	assert_value(rows[0].key, NIL);
	x = NIL;
	assert_true(json_each(&x, true, &arena, &rows, &n, NULL));
	assert_int_equal(n, 0);
	const struct value bad[] = {ABSENT, I(1), t("[1"), b("[1]")};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(json_each(&bad[i], true, &arena, &rows, &n, NULL));
}

static void lookup_keys_make_integers_of_whole_numbers_at_the_top(void **state)
{
	(void)state;
	const char *const cases[][2] = {{"5", "5"}, {"5.5", "5.5"}, {"{\"a\":[1,2.5]}", "{\"a\":[1.0,2.5]}"}, {"true", "true"}};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct json_node n;
		struct buf out = {0};
		assert_true(read_as(cases[i][0], JSON_DOUBLES, &n));
		json_lookup_key(&out, &n);
		assert_slice(buf_slice(&out), cases[i][1]);
		buf_free(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(text_is_rebuilt_in_canonical_form),
	        cmocka_unit_test(doubles_only_mode_rounds_and_keeps_reals),
	        cmocka_unit_test(anything_but_strict_json_is_refused),
	        cmocka_unit_test(index_like_keys_come_first_in_order),
	        cmocka_unit_test(repeated_keys),
	        cmocka_unit_test(repeated_keys_in_large_objects),
	        cmocka_unit_test(nesting_is_bounded),
	        cmocka_unit_test(paths_depend_on_the_option),
	        cmocka_unit_test(integers_beyond_64_bits_are_errors_as_values_only),
	        cmocka_unit_test(json_each_gives_keys_and_doubles),
	        cmocka_unit_test(lookup_keys_make_integers_of_whole_numbers_at_the_top),
	};
	return cmocka_run_group_tests_name("json", tests, NULL, free_arena);
}
