/* Casts and operators. */
#include "fixture.h"
#include "value/cast.h"
#include "value/operators.h"

static struct value cast(struct value v, enum cast_type type)
{
	struct value out;
	assert_true(value_cast(&v, type, &arena, &out, NULL));
	return out;
}

static bool cast_fails(struct value v, enum cast_type type)
{
	struct value out;
	struct error err;
	return !value_cast(&v, type, &arena, &out, &err);
}

static void there_are_five_types(void **state)
{
	(void)state;
	enum cast_type type;
	for (enum cast_type i = CAST_TEXT; i <= CAST_BLOB; i++) {
		assert_true(cast_type_find(slice_cstr(cast_type_name(i)), &type));
		assert_int_equal(type, i);
	}
	assert_false(cast_type_find(SLICE("int"), &type));
	assert_false(cast_type_find(SLICE("text[]"), &type));
	assert_false(cast_type_find(SLICE(""), &type));
}

static void casts_to_integer(void **state)
{
	(void)state;
	assert_value(cast(R(-2.5), CAST_INTEGER), I(-3));
	assert_value(cast(R(2.9), CAST_INTEGER), I(2));
	assert_value(cast(t("2.5e3"), CAST_INTEGER), I(2));
	assert_value(cast(t("0x1F"), CAST_INTEGER), I(0));
	assert_value(cast(t("\xe2\x80\x83\t +12abc"), CAST_INTEGER), I(12));
	assert_value(cast(t("- 5"), CAST_INTEGER), I(0));
	assert_value(cast(b("17"), CAST_INTEGER), I(17));
	assert_value(cast(NIL, CAST_INTEGER), NIL);
	assert_value(cast(ABSENT, CAST_INTEGER), NIL);
	assert_true(cast_fails(R(NAN), CAST_INTEGER));
	assert_true(cast_fails(R(INFINITY), CAST_INTEGER));
	assert_true(cast_fails(R(1e19), CAST_INTEGER));
	assert_true(cast_fails(t("9223372036854775808"), CAST_INTEGER));
	assert_value(cast(t("-9223372036854775808"), CAST_INTEGER), I(INT64_MIN));
}

static void casts_to_real_and_numeric(void **state)
{
	(void)state;
	assert_value(cast(t(" -12.5e2x"), CAST_REAL), R(-1250));
	assert_value(cast(t(".5"), CAST_REAL), R(0.5));
	assert_value(cast(t("5."), CAST_REAL), R(5));
	assert_value(cast(t("."), CAST_REAL), R(0));
	assert_value(cast(t("5e"), CAST_REAL), R(5));
	assert_value(cast(t("-Infinityx"), CAST_REAL), R(-INFINITY));
	assert_value(cast(t("inf"), CAST_REAL), R(0));
	assert_value(cast(t("nan"), CAST_REAL), R(0));
	assert_value(cast(t("1e400"), CAST_REAL), R(INFINITY));
	assert_value(cast(t("1e-400"), CAST_REAL), R(0));
	assert_value(cast(t("-0"), CAST_REAL), R(-0.0));
	assert_value(cast(t("0.1234567890123456789012345678901234567890"), CAST_REAL), R(0.12345678901234568));
	assert_value(cast(I(INT64_MAX), CAST_REAL), R(0x1p63));
	assert_value(cast(t("12"), CAST_NUMERIC), I(12));
	assert_value(cast(t("1.0"), CAST_NUMERIC), R(1));
	assert_value(cast(t("5."), CAST_NUMERIC), R(5));
	assert_value(cast(t("5e"), CAST_NUMERIC), I(5));
	assert_value(cast(t("Infinity"), CAST_NUMERIC), I(0));
	assert_value(cast(t(""), CAST_NUMERIC), I(0));
	assert_value(cast(R(1.5), CAST_NUMERIC), R(1.5));
}

static void casts_to_text_and_blob(void **state)
{
	(void)state;
	assert_value(cast(R(1), CAST_TEXT), t("1"));
	assert_value(cast(R(1), CAST_BLOB), b("1"));
	assert_value(cast(b("\xff"), CAST_BLOB), b("\xff"));
	assert_value(cast(b("\xff"), CAST_TEXT), t("\xef\xbf\xbd"));
}

static struct value compare(enum compare_op op, struct value x, struct value y)
{
	struct value out;
	assert_true(op_compare(op, &x, &y, &out, NULL));
	return out;
}

static void comparisons(void **state)
{
	(void)state;
	assert_value(compare(COMPARE_EQ, I(1), R(1)), I(1));
	assert_value(compare(COMPARE_EQ, t("12"), I(12)), I(0));
	assert_value(compare(COMPARE_NE, NIL, I(1)), NIL);
	assert_value(compare(COMPARE_EQ, ABSENT, I(1)), NIL);
	assert_value(compare(COMPARE_EQ, R(NAN), R(NAN)), I(0));
	assert_value(compare(COMPARE_NE, R(NAN), I(1)), I(1));
	assert_value(compare(COMPARE_LE, I(1), R(NAN)), I(1));
	assert_value(compare(COMPARE_LT, I(1), R(NAN)), I(1));
	assert_value(compare(COMPARE_GE, R(NAN), I(1)), I(0));
	assert_value(compare(COMPARE_GT, t("a"), I(5)), I(1));
}

static struct value arith(enum arith_op op, struct value x, struct value y)
{
	struct value out;
	assert_true(op_arith(op, &x, &y, &arena, &out, NULL));
	return out;
}

static bool arith_fails(enum arith_op op, struct value x, struct value y)
{
	struct value out;
	struct error err;
	return !op_arith(op, &x, &y, &arena, &out, &err);
}

static void arithmetic(void **state)
{
	(void)state;
	assert_value(arith(ARITH_DIV, t("7"), t("2")), I(3));
	assert_value(arith(ARITH_DIV, t("7.0"), t("2")), R(3.5));
	assert_value(arith(ARITH_DIV, I(-7), I(2)), I(-3));
	assert_value(arith(ARITH_DIV, I(1), I(0)), NIL);
	assert_value(arith(ARITH_DIV, I(1), R(-0.0)), NIL);
	assert_value(arith(ARITH_ADD, I(1), NIL), NIL);
	assert_value(arith(ARITH_MUL, t("x"), I(5)), I(0));
	assert_value(arith(ARITH_SUB, I(1), R(0.5)), R(0.5));
	assert_true(arith_fails(ARITH_ADD, I(INT64_MAX), I(1)));
	assert_true(arith_fails(ARITH_SUB, I(INT64_MIN), I(1)));
	assert_true(arith_fails(ARITH_MUL, I(INT64_MAX), I(2)));
	assert_true(arith_fails(ARITH_DIV, I(INT64_MIN), I(-1)));
}

static void and_or_not_are_never_null(void **state)
{
	(void)state;
	struct value null = NIL, one = I(1), zero = I(0);
	assert_value(op_and(&null, &one), I(0));
	assert_value(op_or(&null, &zero), I(0));
	assert_value(op_or(&null, &one), I(1));
	assert_value(op_not(&null), I(1));
	assert_value(op_not(&one), I(0));
}

static void concatenation(void **state)
{
	(void)state;
	struct value x = R(1), y = t("a"), null = NIL, out;
	op_concat(&x, &y, &arena, &out);
	assert_value(out, t("1a"));
	op_concat(&x, &null, &arena, &out);
	assert_value(out, NIL);
	x = t("\xed\xa0\xbd");
	y = t("\xed\xb8\x80");
	op_concat(&x, &y, &arena, &out);
	assert_value(out, t("\xf0\x9f\x98\x80"));
}

static struct value in_json(struct value x, struct value y)
{
	struct value out;
	assert_true(op_in_json(&x, &y, &arena, &out, NULL));
	return out;
}

static void in_json_array(void **state)
{
	(void)state;
	struct value list = t("[1,2.0,\"a\",null,true,{\"k\":1.50},12345678901234567890,100000000000000000000]");
	assert_value(in_json(I(2), list), I(1));
	assert_value(in_json(R(1), list), I(1));
	assert_value(in_json(t("a"), list), I(1));
	assert_value(in_json(t("1"), list), I(0));
	assert_value(in_json(t("{\"k\":1.5}"), list), I(1));
	assert_value(in_json(NIL, list), NIL);
	assert_value(in_json(I(1), NIL), NIL);
	assert_value(in_json(R(1e20), list), I(1));
	assert_value(in_json(I(INT64_MAX), list), I(0));
	const struct value bad[] = {I(1), b("[1]"), t("{}"), t("[1"), t("1")};
	struct value x = I(1), out;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(op_in_json(&x, &bad[i], &arena, &out, NULL));
}

static void operators_of_streams(void **state)
{
	(void)state;
	struct value out, x = I(2), null = NIL, low = I(1), high = R(2), one = I(1);
	const struct value items[] = {I(1), NIL, t("2")};
	assert_true(op_in_list(&x, items, 3, &out, NULL));
	assert_value(out, NIL);
	assert_true(op_in_list(&x, items, 1, &out, NULL));
	assert_value(out, I(0));
	assert_true(op_in_list(&low, items, 3, &out, NULL));
	assert_value(out, I(1));
	assert_true(op_in_list(&null, items, 3, &out, NULL));
	assert_value(out, NIL);
	assert_true(op_between(&x, &low, &high, &out, NULL));
	assert_value(out, I(1));
	assert_true(op_between(&x, &low, &null, &out, NULL));
	assert_value(out, NIL);
	assert_true(op_is(&null, &one, &out, NULL));
	assert_value(out, I(0));
	assert_true(op_is(&null, &null, &out, NULL));
	assert_value(out, I(1));
	assert_true(op_is(&x, &one, &out, NULL));
	assert_value(out, I(0));
	struct value text = t("3.5x");
	assert_true(op_plus(&text, &arena, &out, NULL));
	assert_value(out, R(3.5));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(there_are_five_types),
	        cmocka_unit_test(casts_to_integer),
	        cmocka_unit_test(casts_to_real_and_numeric),
	        cmocka_unit_test(casts_to_text_and_blob),
	        cmocka_unit_test(comparisons),
	        cmocka_unit_test(arithmetic),
	        cmocka_unit_test(and_or_not_are_never_null),
	        cmocka_unit_test(concatenation),
	        cmocka_unit_test(in_json_array),
	        cmocka_unit_test(operators_of_streams),
	};
	return cmocka_run_group_tests_name("operators", tests, NULL, free_arena);
}
