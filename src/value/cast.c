/* cast.c: CAST, sync-config 10.4. */
#include "value/cast.h"

#include <math.h>

#include "value/real.h"
#include "value/utf.h"

static const char *const names[] = {"text", "integer", "real", "numeric", "blob"};

bool cast_type_find(struct slice name, enum cast_type *out)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (slice_eq(name, slice_cstr(names[i]))) {
			*out = (enum cast_type)i;
			return true;
		}
	}
	return false;
}

const char *cast_type_name(enum cast_type type)
{
	return names[type];
}

static size_t count_digits(struct slice s, size_t at)
{
	size_t n = 0;
	while (at + n < s.n && s.p[at + n] >= '0' && s.p[at + n] <= '9')
		n++;
	return n;
}

/* The number at the start of s: [+-](digits[.digits*] | .digits)([eE][+-]digits)?. */
struct number {
	size_t n;       /* its length with the sign, 0: none */
	size_t integer; /* length of the sign and the whole digits */
};

static struct number scan_number(struct slice s)
{
	size_t sign = s.n && (s.p[0] == '+' || s.p[0] == '-'), at = sign;
	size_t whole = count_digits(s, at), fraction = 0;
	struct number number = {.integer = whole ? sign + whole : 0};
	at += whole;
	if (at < s.n && s.p[at] == '.') {
		fraction = count_digits(s, at + 1);
		if (whole || fraction)
			at += 1 + fraction;
	}
	if (!whole && !fraction)
		return number;
	if (at < s.n && (s.p[at] == 'e' || s.p[at] == 'E')) {
		size_t e = at + 1;
		e += e < s.n && (s.p[e] == '+' || s.p[e] == '-');
		size_t digits = count_digits(s, e);
		if (digits)
			at = e + digits;
	}
	number.n = at;
	return number;
}

static bool parse_integer(struct slice digits, struct value *out, struct error *err)
{
	if (digits.n && digits.p[0] == '+')
		digits = slice_drop(digits, 1);
	*out = value_integer(0);
	if (digits.n == 0 || slice_parse_i64(digits, &out->i))
		return true;
	return error_set(err, "", "the integer does not fit 64 bits");
}

static bool cast_integer(const struct value *v, struct value *out, struct error *err)
{
	if (v->kind == VALUE_TEXT) {
		struct slice s = utf8_skip_space(v->s);
		return parse_integer(slice_make(s.p, scan_number(s).integer), out, err);
	}
	if (v->kind == VALUE_INTEGER) {
		*out = *v;
		return true;
	}
	double r = floor(v->r);
	if (!isfinite(r))
		return error_set(err, "", "a number that is not finite has no integer");
	if (!real_fits_i64(r))
		return error_set(err, "", "the integer does not fit 64 bits");
	*out = value_integer((int64_t)r);
	return true;
}

static void cast_real(const struct value *v, struct value *out)
{
	if (v->kind == VALUE_INTEGER) {
		*out = value_real((double)v->i);
	} else if (v->kind == VALUE_REAL) {
		*out = *v;
	} else {
		struct slice s = utf8_skip_space(v->s);
		size_t sign = s.n && (s.p[0] == '+' || s.p[0] == '-');
		struct number number = scan_number(s);
		if (slice_starts(slice_drop(s, sign), SLICE("Infinity")))
			*out = value_real(s.p[0] == '-' ? -INFINITY : INFINITY);
		else
			*out = value_real(number.n ? real_parse(slice_make(s.p, number.n)) : 0.0);
	}
}

static bool cast_numeric(const struct value *v, struct value *out, struct error *err)
{
	if (v->kind != VALUE_TEXT) {
		*out = *v;
		return true;
	}
	struct slice s = utf8_skip_space(v->s);
	struct number number = scan_number(s);
	if (number.n == number.integer)
		return parse_integer(slice_make(s.p, number.integer), out, err);
	*out = value_real(real_parse(slice_make(s.p, number.n)));
	return true;
}

bool value_cast(const struct value *v, enum cast_type type, struct arena *arena, struct value *out, struct error *err)
{
	struct value text;
	if (value_is_null(v)) {
		*out = value_null();
		return true;
	}
	if (type == CAST_TEXT) {
		*out = value_text(value_text_form(v, arena));
		return true;
	}
	if (type == CAST_BLOB) {
		*out = value_blob(v->kind == VALUE_BLOB ? v->s : value_text_form(v, arena));
		return true;
	}
	if (v->kind == VALUE_BLOB) {
		text = value_text(value_text_form(v, arena));
		v = &text;
	}
	if (type == CAST_INTEGER)
		return cast_integer(v, out, err);
	if (type == CAST_NUMERIC)
		return cast_numeric(v, out, err);
	cast_real(v, out);
	return true;
}
