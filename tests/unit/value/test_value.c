/* Truth, text form, comparison and key forms of values. */
#include "fixture.h"

static void truth_is_that_of_the_dialect(void **state)
{
	(void)state;
	const struct value yes[] = {I(1),
	                            I(-1),
	                            R(0.5),
	                            R(INFINITY),
	                            t("1"),
	                            t("1abc"),
	                            t("0x1"),
	                            t("-0xF"),
	                            t("1e-9"),
	                            t("  7"),
	                            t("+3"),
	                            t("\xc2\xa0\xef\xbb\xbf"
	                              "5"),
	                            t("0x0f"),
	                            t("00010"),
	                            t("9999999999999999999999")};
	const struct value no[] = {NIL,      ABSENT,    I(0),    R(0.0),  R(-0.0),  R(NAN),   b("1"),   t(""),    t("0"),
	                           t("0.9"), t("true"), t(".5"), t("0x"), t("0xg"), t("abc"), t("- 1"), t("0x0"), t("+")};
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
		assert_true(value_truth(&yes[i]));
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		assert_false(value_truth(&no[i]));
}

static void reals_print_as_in_javascript(void **state)
{
	(void)state;
	const struct {
		double r;
		const char *text;
	} cases[] = {
	        {0, "0"},
	        {-0.0, "0"},
	        {1, "1"},
	        {-1.5, "-1.5"},
	        {0.1, "0.1"},
	        {1e20, "100000000000000000000"},
	        {1e21, "1e+21"},
	        {123456789012345680000.0, "123456789012345680000"},
	        {1e-6, "0.000001"},
	        {1e-7, "1e-7"},
	        {1.5e300, "1.5e+300"},
	        {5e-324, "5e-324"},
	        {1.7976931348623157e308, "1.7976931348623157e+308"},
	        {2.2250738585072014e-308, "2.2250738585072014e-308"},
	        {1.0 / 3, "0.3333333333333333"},
	        {9007199254740993.0, "9007199254740992"},
	        {9007199254740994.0, "9007199254740994"},
	        {4.35, "4.35"},
	        {0.3, "0.3"},
	        {0.1 + 0.2, "0.30000000000000004"},
	        {2e-323, "2e-323"},
	        {0x1p-44, "5.684341886080802e-14"},
	        {-1.2345678901234566e-7, "-1.2345678901234566e-7"},
	        {52.52000659, "52.52000659"},
	        {100, "100"},
	        {1e15 + 0.5, "1000000000000000.5"},
	        {NAN, "NaN"},
	        {INFINITY, "Infinity"},
	        {-INFINITY, "-Infinity"},
	};
	char p[32];
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_slice(slice_make(p, format_real(p, cases[i].r, false)), cases[i].text);
	assert_slice(slice_make(p, format_real(p, 5, true)), "5.0");
	assert_slice(slice_make(p, format_real(p, -0.0, true)), "0.0");
	assert_slice(slice_make(p, format_real(p, 1e20, true)), "100000000000000000000.0");
	assert_slice(slice_make(p, format_real(p, 1e21, true)), "1e+21");
	assert_slice(slice_make(p, format_real(p, 0.5, true)), "0.5");
}

/* Every double must read back from its text, and no text of one digit less may. */
static void formatted_reals_read_back(void **state)
{
	(void)state;
	uint64_t seed = 88172645463325252u;
	for (int i = 0; i < 200000; i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		uint64_t bits = i % 4 == 0 ? seed & 0xfff0000000000000u : seed; /* powers of two among them */
		double r;
		char p[64];
		memcpy(&r, &bits, sizeof(r));
		if (!isfinite(r) || r == 0)
			continue;
		p[format_real(p, r, false)] = '\0';
		assert_true(strtod(p, NULL) == r);
		size_t digits = 0;
		for (const char *q = p; *q && *q != 'e'; q++)
			digits += *q >= '0' && *q <= '9';
		if (digits < 2 || digits > 17 || !strchr(p, 'e'))
			continue;
		snprintf(p, sizeof(p), "%.*e", (int)digits - 2, r);
		assert_false(strtod(p, NULL) == r);
	}
}

static void text_form_follows_the_kind(void **state)
{
	(void)state;
	const struct {
		struct value v;
		const char *text;
	} cases[] = {
	        {I(INT64_MIN), "-9223372036854775808"},
	        {I(0), "0"},
	        {R(1), "1"},
	        {t("x"), "x"},
	        {NIL, ""},
	        {ABSENT, ""},
	        {b("ab\xc3\xa9"), "ab\xc3\xa9"},
	        {b("\xef\xbb\xbfx"), "x"},
	        {b("a\xff"
	           "b"),
	         "a\xef\xbf\xbd"
	         "b"},
	        {b("\xe2\x82"), "\xef\xbf\xbd"},
	        {b("\xf0\x9f\x98"), "\xef\xbf\xbd"},
	        {b("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
	        {b("\xc0\xaf"), "\xef\xbf\xbd\xef\xbf\xbd"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_slice(value_text_form(&cases[i].v, &arena), cases[i].text);
}

static int order_of(struct value x, struct value y)
{
	int order;
	bool nan;
	assert_true(value_compare(&x, &y, &order, &nan, NULL));
	assert_false(nan);
	return order < 0 ? -1 : order > 0;
}

static void numbers_compare_exactly(void **state)
{
	(void)state;
	assert_int_equal(order_of(I(1), R(1.0)), 0);
	assert_int_equal(order_of(I(9007199254740993), R(9007199254740992.0)), 1);
	assert_int_equal(order_of(R(9007199254740992.0), I(9007199254740993)), -1);
	assert_int_equal(order_of(I(INT64_MAX), R(0x1p63)), -1);
	assert_int_equal(order_of(I(INT64_MIN), R(-0x1p63)), 0);
	assert_int_equal(order_of(I(INT64_MIN), R(-INFINITY)), 1);
	assert_int_equal(order_of(I(2), R(2.5)), -1);
	assert_int_equal(order_of(I(-2), R(-2.5)), 1);
	assert_int_equal(order_of(R(0.0), R(-0.0)), 0);
}

static void kinds_are_ordered_and_text_goes_by_utf16(void **state)
{
	(void)state;
	assert_int_equal(order_of(I(5), t("")), -1);
	assert_int_equal(order_of(R(NAN), t("a")), -1);
	assert_int_equal(order_of(t("z"), b("")), -1);
	assert_int_equal(order_of(b(""), R(1)), 1);
	assert_int_equal(order_of(t("abc"), t("abcd")), -1);
	assert_int_equal(order_of(t("12"), t("9")), -1);
	/* U+FFFF is below U+1F600 in bytes, above it in UTF-16; U+D7FF is below both. */
	assert_int_equal(order_of(t("a\xef\xbf\xbf"), t("a\xf0\x9f\x98\x80")), 1);
	assert_int_equal(order_of(t("\xee\x80\x80"), t("\xf0\x90\x80\x80")), 1);
	assert_int_equal(order_of(t("\xed\x9f\xbf"), t("\xf0\x90\x80\x80")), -1);
	assert_int_equal(order_of(t("\xf0\x90\x80\x80"), t("\xf0\x90\x80\x81")), -1);
}

static void blobs_and_nan_are_special(void **state)
{
	(void)state;
	struct value x = b("a"), y = b("a"), n = R(NAN), one = I(1);
	struct error err;
	int order;
	bool nan;
	assert_false(value_compare(&x, &y, &order, &nan, &err));
	assert_true(value_compare(&n, &one, &order, &nan, &err));
	assert_true(nan);
	assert_true(value_compare(&one, &n, &order, &nan, &err));
	assert_true(nan);
}

static void keys_print_numbers_in_their_own_ways(void **state)
{
	(void)state;
	const struct {
		struct value v;
		const char *json, *bucket, *lookup;
	} cases[] = {
	        {NIL, "null", "null", "null"},
	        {I(5), "5", "5", "5"},
	        {R(5), "5.0", "5", "5"},
	        {R(5.5), "5.5", "5.5", "5.5"},
	        {R(-0.0), "0.0", "0", "0"},
	        {R(1e21), "1e+21", "1e+21", "1000000000000000000000"},
	        {R(NAN), "null", "null", "null"},
	        {R(-INFINITY), "null", "null", "null"},
	        {t("a\"b"), "\"a\\\"b\"", "\"a\\\"b\"", "\"a\\\"b\""},
	        {I(INT64_MIN), "-9223372036854775808", "-9223372036854775808", "-9223372036854775808"},
	};
	struct buf out = {0};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		buf_clear(&out);
		value_json(&out, &cases[i].v);
		assert_slice(buf_slice(&out), cases[i].json);
		buf_clear(&out);
		value_bucket_key(&out, &cases[i].v);
		assert_slice(buf_slice(&out), cases[i].bucket);
		buf_clear(&out);
		value_lookup_key(&out, &cases[i].v);
		assert_slice(buf_slice(&out), cases[i].lookup);
	}
	buf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(truth_is_that_of_the_dialect), cmocka_unit_test(reals_print_as_in_javascript),
	        cmocka_unit_test(formatted_reals_read_back),    cmocka_unit_test(text_form_follows_the_kind),
	        cmocka_unit_test(numbers_compare_exactly),      cmocka_unit_test(kinds_are_ordered_and_text_goes_by_utf16),
	        cmocka_unit_test(blobs_and_nan_are_special),    cmocka_unit_test(keys_print_numbers_in_their_own_ways),
	};
	return cmocka_run_group_tests_name("value", tests, NULL, free_arena);
}
