/* value.c: truth, text form, comparison and key forms of a value. */
#include "value/value.h"

#include <math.h>

#include "value/real.h"
#include "value/utf.h"

/* Leading white space, sign, then 0x and hex digits, or decimal digits; true if one of them is not 0. */
static bool text_truth(struct slice s)
{
	s = utf8_skip_space(s);
	if (s.n && (s.p[0] == '+' || s.p[0] == '-'))
		s = slice_drop(s, 1);
	bool hex = s.n > 2 && s.p[0] == '0' && (s.p[1] | 0x20) == 'x';
	for (size_t i = hex ? 2 : 0; i < s.n; i++) {
		char c = s.p[i];
		if (c >= '1' && c <= '9')
			return true;
		if (hex && (c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			return true;
		if (c != '0')
			return false;
	}
	return false;
}

bool value_truth(const struct value *v)
{
	switch (v->kind) {
	case VALUE_INTEGER:
		return v->i != 0;
	case VALUE_REAL:
		return v->r != 0 && !isnan(v->r);
	case VALUE_TEXT:
		return text_truth(v->s);
	default:
		return false;
	}
}

static size_t format_i64(char *p, int64_t i)
{
	*p = '-';
	size_t sign = i < 0;
	return sign + format_u64(p + sign, sign ? 0 - (uint64_t)i : (uint64_t)i);
}

struct slice value_text_form(const struct value *v, struct arena *arena)
{
	char *p;
	switch (v->kind) {
	case VALUE_INTEGER:
		p = arena_bytes(arena, 24);
		return slice_make(p, format_i64(p, v->i));
	case VALUE_REAL:
		p = arena_bytes(arena, 32);
		return slice_make(p, format_real(p, v->r, false));
	case VALUE_TEXT:
		return v->s;
	case VALUE_BLOB:
		return utf8_from_bytes(v->s, arena);
	default:
		return SLICE("");
	}
}

/* Exact: a double beyond the range of int64 is decided by its sign, any other by its whole part and then by the rest. */
static int compare_integer_real(int64_t i, double r)
{
	if (r >= 9223372036854775808.0)
		return -1;
	if (r < -9223372036854775808.0)
		return 1;
	double whole = trunc(r);
	int64_t w = (int64_t)whole;
	if (i != w)
		return i < w ? -1 : 1;
	return r > whole ? -1 : r < whole;
}

static int rank(const struct value *v)
{
	return v->kind == VALUE_TEXT ? 1 : v->kind == VALUE_BLOB ? 2 : 0;
}

bool value_compare(const struct value *a, const struct value *b, int *order, bool *nan, struct error *err)
{
	int ra = rank(a), rb = rank(b);
	*nan = false;
	if (ra != rb) {
		/* NaN only matters between numbers. */
		*order = ra < rb ? -1 : 1;
		return true;
	}
	if (ra == 2)
		return error_set(err, "", "binary values cannot be compared");
	if (ra == 1) {
		*order = utf16_compare(a->s, b->s);
	} else if (a->kind == VALUE_INTEGER && b->kind == VALUE_INTEGER) {
		*order = a->i < b->i ? -1 : a->i > b->i;
	} else {
		*nan = (a->kind == VALUE_REAL && isnan(a->r)) || (b->kind == VALUE_REAL && isnan(b->r));
		if (*nan)
			*order = -1;
		else if (a->kind == VALUE_INTEGER)
			*order = compare_integer_real(a->i, b->r);
		else if (b->kind == VALUE_INTEGER)
			*order = -compare_integer_real(b->i, a->r);
		else
			*order = a->r < b->r ? -1 : a->r > b->r;
	}
	return true;
}

static void append_real(struct buf *out, double r, bool with_point)
{
	if (!isfinite(r))
		buf_lit(out, "null");
	else
		out->n += format_real(buf_reserve(out, 32), r, with_point);
}

void value_json(struct buf *out, const struct value *v)
{
	switch (v->kind) {
	case VALUE_INTEGER:
		out->n += format_i64(buf_reserve(out, 24), v->i);
		break;
	case VALUE_REAL:
		append_real(out, v->r, true);
		break;
	case VALUE_TEXT:
		json_append_string(out, v->s);
		break;
	default:
		buf_lit(out, "null");
	}
}

void value_bucket_key(struct buf *out, const struct value *v)
{
	if (v->kind == VALUE_REAL)
		append_real(out, v->r, false);
	else
		value_json(out, v);
}

void value_lookup_key(struct buf *out, const struct value *v)
{
	if (v->kind == VALUE_REAL && real_is_whole(v->r))
		buf_whole_real(out, v->r);
	else
		value_json(out, v);
}
