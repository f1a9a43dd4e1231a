/*
 * real.c: shortest decimal text of a double, and back.
 *
 * Formatting follows Raffaello Giulietti's Schubfach ("The Schubfach way to render doubles", 2021): with the power of ten chosen
 * so that the rounding interval of the double is between one and ten units wide, the shortest decimal inside it is one of four
 * candidates, which are told apart with three multiplications by a 128-bit power of ten. Among decimals of the same length the one
 * nearest to the double wins, as in JavaScript.
 */
#include "value/real.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "value/power_table.h"

static const double exact_powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                      1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

#define EXACT_INTEGER 0x1p53
#define FRACTION_BITS 52
#define EXPONENT_BIAS 1075

/* Digits without leading and trailing zeros; the value is 0.DIGITS * 10^point. */
struct decimal {
	char digits[24];
	int count, point;
};

/* m * 10^exponent */
static void set_digits(struct decimal *d, uint64_t m, int exponent)
{
	d->count = (int)format_u64(d->digits, m);
	d->point = d->count + exponent;
	while (d->count > 1 && d->digits[d->count - 1] == '0')
		d->count--;
}

/* The top of g * c, the lowest bit set if anything below it is not zero. */
static uint64_t round_to_odd(struct power_of_ten g, uint64_t c)
{
	uint64_t low = (uint64_t)((unsigned __int128)g.low * c >> 64);
	unsigned __int128 y = (unsigned __int128)g.high * c + low;
	return (uint64_t)(y >> 64) | ((uint64_t)y > 1);
}

/* v / 2^n, rounded down. */
static int floor_shift(int v, int n)
{
	return v >= 0 ? v >> n : -((-v + (1 << n) - 1) >> n);
}

/* r is positive and finite. */
static void shortest(struct decimal *d, double r)
{
	uint64_t bits;
	memcpy(&bits, &r, sizeof(bits));
	uint64_t fraction = bits & ((UINT64_C(1) << FRACTION_BITS) - 1), exponent = bits >> FRACTION_BITS;
	uint64_t c = exponent ? fraction | UINT64_C(1) << FRACTION_BITS : fraction;
	int q = (int)(exponent ? exponent : 1) - EXPONENT_BIAS;
	/* Below a power of two the doubles lie closer. */
	bool closer_below = fraction == 0 && exponent > 1;
	int k = floor_shift(q * 1262611 - (closer_below ? 524031 : 0), 22); /* floor(log10 of the interval's width) */
	int h = q + floor_shift(-k * 1741647, 19) + 1;
	struct power_of_ten g = powers_of_ten[-k - POWER_FIRST];
	/* Borders and value in quarters of 10^k; borders belong to the interval if c is even. */
	uint64_t lower = round_to_odd(g, (4 * c - 2 + closer_below) << h) + (c & 1);
	uint64_t middle = round_to_odd(g, 4 * c << h);
	uint64_t upper = round_to_odd(g, (4 * c + 2) << h) - (c & 1);
	uint64_t s = middle / 4, shorter = s / 10;
	if (s >= 10) {
		bool below = lower <= 40 * shorter, above = 40 * shorter + 40 <= upper;
		if (below != above) {
			set_digits(d, shorter + above, k + 1);
			return;
		}
	}
	bool below = lower <= 4 * s, above = 4 * s + 4 <= upper;
	if (below == above)
		above = middle > 4 * s + 2 || (middle == 4 * s + 2 && (s & 1));
	set_digits(d, s + above, k);
}

/* JavaScript's Number::toString. */
static size_t write_decimal(char *p, const struct decimal *d, bool with_point)
{
	char *start = p;
	int n = d->count, point = d->point;
	if (n <= point && point <= 21) {
		memcpy(p, d->digits, (size_t)n);
		memset(p + n, '0', (size_t)(point - n));
		p += point;
		if (with_point) {
			*p++ = '.';
			*p++ = '0';
		}
	} else if (0 < point && point <= 21) {
		memcpy(p, d->digits, (size_t)point);
		p[point] = '.';
		memcpy(p + point + 1, d->digits + point, (size_t)(n - point));
		p += n + 1;
	} else if (-6 < point && point <= 0) {
		*p++ = '0';
		*p++ = '.';
		memset(p, '0', (size_t)-point);
		memcpy(p - point, d->digits, (size_t)n);
		p += n - point;
	} else {
		int e = point - 1;
		*p++ = d->digits[0];
		if (n > 1) {
			*p++ = '.';
			memcpy(p, d->digits + 1, (size_t)(n - 1));
			p += n - 1;
		}
		*p++ = 'e';
		*p++ = e < 0 ? '-' : '+';
		p += format_u64(p, (uint64_t)(e < 0 ? -e : e));
	}
	return (size_t)(p - start);
}

static size_t put(char *p, struct slice text)
{
	memcpy(p, text.p, text.n);
	return text.n;
}

size_t format_real(char *p, double r, bool with_point)
{
	if (r == 0)
		return put(p, with_point ? SLICE("0.0") : SLICE("0"));
	if (isnan(r))
		return put(p, SLICE("NaN"));
	if (isinf(r))
		return put(p, r < 0 ? SLICE("-Infinity") : SLICE("Infinity"));
	struct decimal d;
	size_t sign = r < 0;
	*p = '-';
	r = fabs(r);
	if (r < EXACT_INTEGER && r == (double)(uint64_t)r)
		set_digits(&d, (uint64_t)r, 0);
	else
		shortest(&d, r);
	return sign + write_decimal(p + sign, &d, with_point);
}

bool real_is_whole(double r)
{
	return isfinite(r) && floor(r) == r;
}

void buf_whole_real(struct buf *out, double r)
{
	if (real_fits_i64(r))
		buf_i64(out, (int64_t)r);
	else
		buf_printf(out, "%.0f", r);
}

/* Clinger's fast path: mantissa and power of ten both exact. */
static bool parse_short(struct slice s, double *out)
{
	size_t i = 0, digits = 0;
	uint64_t m = 0;
	int64_t scale = 0;
	bool negative = s.n && s.p[0] == '-', point = false;
	i += s.n && (s.p[0] == '-' || s.p[0] == '+');
	for (; i < s.n && s.p[i] != 'e' && s.p[i] != 'E'; i++) {
		if (s.p[i] == '.') {
			point = true;
			continue;
		}
		if (m || s.p[i] != '0')
			digits++;
		if (digits > 18)
			return false;
		m = m * 10 + (uint64_t)(s.p[i] - '0');
		scale -= point;
	}
	if (i < s.n) {
		int64_t exponent;
		struct slice rest = slice_drop(s, i + 1);
		if (rest.n && rest.p[0] == '+')
			rest = slice_drop(rest, 1);
		if (rest.n > 6 || !slice_parse_i64(rest, &exponent))
			return false;
		scale += exponent;
	}
	if (m > (uint64_t)EXACT_INTEGER || scale < -22 || scale > 22)
		return false;
	double r = scale < 0 ? (double)m / exact_powers[-scale] : (double)m * exact_powers[scale];
	*out = negative ? -r : r;
	return true;
}

double real_parse(struct slice s)
{
	double r;
	if (parse_short(s, &r))
		return r;
	char small[128];
	char *text = s.n < sizeof(small) ? small : xmalloc(s.n + 1);
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	r = strtod(text, NULL);
	if (text != small)
		free(text);
	return r;
}
