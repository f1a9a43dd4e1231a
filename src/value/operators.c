/* operators.c: operators on values, sync-config 10 and sync-streams 4.4. */
#include "value/operators.h"

#include <stdio.h>
#include <string.h>

#include "value/cast.h"
#include "value/json.h"
#include "value/utf.h"

bool op_compare(enum compare_op op, const struct value *a, const struct value *b, struct value *out, struct error *err)
{
	int order;
	bool nan;
	if (value_is_null(a) || value_is_null(b)) {
		*out = value_null();
		return true;
	}
	if (!value_compare(a, b, &order, &nan, err))
		return false;
	/* With NaN the order is "less": = 0, != 1, < and <= 1, > and >= 0 (10.1). */
	const bool results[] = {
	        [COMPARE_EQ] = order == 0,
	        [COMPARE_NE] = order != 0,
	        [COMPARE_LT] = order<0, [COMPARE_LE] = order <= 0, [COMPARE_GT] = order> 0,
	        [COMPARE_GE] = order >= 0,
	};
	*out = value_integer(results[op]);
	return true;
}

static bool integer_arith(enum arith_op op, int64_t a, int64_t b, struct value *out, struct error *err)
{
	bool overflow = false;
	*out = value_integer(0);
	switch (op) {
	case ARITH_ADD:
		overflow = __builtin_add_overflow(a, b, &out->i);
		break;
	case ARITH_SUB:
		overflow = __builtin_sub_overflow(a, b, &out->i);
		break;
	case ARITH_MUL:
		overflow = __builtin_mul_overflow(a, b, &out->i);
		break;
	case ARITH_DIV:
		overflow = a == INT64_MIN && b == -1;
		if (!overflow)
			out->i = a / b;
		break;
	}
	return !overflow || error_set(err, "", "the result does not fit 64 bits");
}

bool op_arith(enum arith_op op, const struct value *a, const struct value *b, struct arena *arena, struct value *out,
              struct error *err)
{
	struct value x, y;
	if (value_is_null(a) || value_is_null(b)) {
		*out = value_null();
		return true;
	}
	if (!value_cast(a, CAST_NUMERIC, arena, &x, err) || !value_cast(b, CAST_NUMERIC, arena, &y, err))
		return false;
	if (op == ARITH_DIV && (y.kind == VALUE_INTEGER ? y.i == 0 : y.r == 0)) {
		*out = value_null();
		return true;
	}
	if (x.kind == VALUE_INTEGER && y.kind == VALUE_INTEGER)
		return integer_arith(op, x.i, y.i, out, err);
	double l = x.kind == VALUE_INTEGER ? (double)x.i : x.r, r = y.kind == VALUE_INTEGER ? (double)y.i : y.r;
	*out = value_real(op == ARITH_ADD ? l + r : op == ARITH_SUB ? l - r : op == ARITH_MUL ? l * r : l / r);
	return true;
}

bool op_plus(const struct value *a, struct arena *arena, struct value *out, struct error *err)
{
	return value_cast(a, CAST_NUMERIC, arena, out, err);
}

void op_concat(const struct value *a, const struct value *b, struct arena *arena, struct value *out)
{
	if (value_is_null(a) || value_is_null(b))
		*out = value_null();
	else
		*out = value_text(utf8_join(value_text_form(a, arena), value_text_form(b, arena), arena));
}

/* An integer of more than 64 bits equals no INTEGER, and a REAL only if that has the very same digits. */
static bool equals_big(const struct value *x, struct slice digits)
{
	char text[400];
	if (x->kind != VALUE_REAL)
		return false;
	int n = snprintf(text, sizeof(text), "%.0f", x->r);
	return n > 0 && slice_eq(digits, slice_make(text, (size_t)n));
}

bool op_in_json(const struct value *x, const struct value *y, struct arena *arena, struct value *out, struct error *err)
{
	struct json_node array;
	if (value_is_null(x) || value_is_null(y)) {
		*out = value_null();
		return true;
	}
	if (y->kind != VALUE_TEXT)
		return error_set(err, "", "the right side of IN is not the text of a JSON array");
	if (!json_read(y->s, JSON_EXACT, arena, &array, err))
		return error_prefix(err, "right side of IN: ");
	if (array.kind != JSON_KIND_ARRAY)
		return error_set(err, "", "the right side of IN is not a JSON array");
	*out = value_integer(0);
	for (size_t i = 0; i < array.array.count && !out->i; i++) {
		const struct json_node *item = &array.array.items[i];
		struct value v;
		int order;
		bool nan;
		if (item->kind == JSON_KIND_BIG_INTEGER) {
			out->i = equals_big(x, item->s);
			continue;
		}
		if (!json_to_value(item, arena, &v, err))
			return false;
		if (v.kind == VALUE_NULL)
			continue;
		if (!value_compare(x, &v, &order, &nan, err))
			return false;
		out->i = order == 0 && !nan;
	}
	return true;
}

bool op_in_list(const struct value *x, const struct value *items, size_t count, struct value *out, struct error *err)
{
	bool null_item = false;
	*out = value_null();
	if (value_is_null(x))
		return true;
	for (size_t i = 0; i < count; i++) {
		int order;
		bool nan;
		if (value_is_null(&items[i])) {
			null_item = true;
			continue;
		}
		if (!value_compare(x, &items[i], &order, &nan, err))
			return false;
		if (order == 0 && !nan) {
			*out = value_integer(1);
			return true;
		}
	}
	if (!null_item)
		*out = value_integer(0);
	return true;
}

bool op_between(const struct value *x, const struct value *low, const struct value *high, struct value *out, struct error *err)
{
	struct value above, below;
	*out = value_null();
	if (value_is_null(x) || value_is_null(low) || value_is_null(high))
		return true;
	if (!op_compare(COMPARE_GE, x, low, &above, err) || !op_compare(COMPARE_LE, x, high, &below, err))
		return false;
	*out = value_integer(above.i & below.i);
	return true;
}

bool op_is(const struct value *x, const struct value *y, struct value *out, struct error *err)
{
	if (!value_is_null(x) && !value_is_null(y))
		return op_compare(COMPARE_EQ, x, y, out, err);
	*out = value_integer(value_is_null(x) && value_is_null(y));
	return true;
}
