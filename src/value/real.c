/*
 * real.c: shortest decimal text of a double, and back.
 *
 * Most numbers that people store have few digits. If r * 10^k, rounded to an integer m below 10^15, gives r again by m / 10^k (one
 * correctly rounded division of two exact doubles), then m's digits are the shortest: two decimals of up to 15 digits never share
 * a double. Only the rest goes through the C library, with more and more digits until one reads back as r.
 */
#include "value/real.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static const double powers_of_ten[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                       1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

#define EXACT_INTEGER 0x1p53

/* Digits without leading and trailing zeros; the value is 0.DIGITS * 10^point. */
struct decimal {
	char digits[24];
	int count, point;
};

static void set_digits(struct decimal *d, uint64_t m, int scale)
{
	d->count = (int)format_u64(d->digits, m);
	d->point = d->count - scale;
	while (d->count > 1 && d->digits[d->count - 1] == '0')
		d->count--;
}

static bool few_digits(struct decimal *d, double r)
{
	for (int k = 0; k <= 22; k++) {
		double scaled = r * powers_of_ten[k];
		if (scaled >= 1e15)
			return false;
		uint64_t m = (uint64_t)(scaled + 0.5);
		if (m && (double)m / powers_of_ten[k] == r) {
			set_digits(d, m, k);
			return true;
		}
	}
	return false;
}

/* "d.ddde+xx" -> digits and point. */
static void read_scientific(struct decimal *d, const char *text)
{
	d->count = 0;
	const char *p = text;
	for (; *p != 'e'; p++)
		if (*p >= '0' && *p <= '9')
			d->digits[d->count++] = *p;
	d->point = atoi(p + 1) + 1;
	while (d->count > 1 && d->digits[d->count - 1] == '0')
		d->count--;
}

/* Does one step up or down in the last of the digits read back as r? Below a power of two the doubles lie closer than above, so
 * the nearest decimal of some length may miss while its neighbour above hits. */
static bool neighbour_reads_back(struct decimal *d, char *text, double r)
{
	char *last = strchr(text, 'e') - 1;
	for (int step = -1; step <= 1; step += 2) {
		char was = *last, now = (char)(was + step);
		if (now < '0' || now > '9')
			continue;
		*last = now;
		if (strtod(text, NULL) == r) {
			read_scientific(d, text);
			return true;
		}
		*last = was;
	}
	return false;
}

static void many_digits(struct decimal *d, double r)
{
	char text[40];
	int exponent;
	bool at_power_of_two = frexp(r, &exponent) == 0.5;
	for (int digits = r < DBL_MIN ? 1 : 15;; digits++) {
		snprintf(text, sizeof(text), "%.*e", digits - 1, r);
		if (digits >= 17 || strtod(text, NULL) == r)
			break;
		if (at_power_of_two && neighbour_reads_back(d, text, r))
			return;
	}
	read_scientific(d, text);
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

static size_t put(char *p, const char *text)
{
	size_t n = strlen(text);
	memcpy(p, text, n);
	return n;
}

size_t format_real(char *p, double r, bool with_point)
{
	if (r == 0)
		return put(p, with_point ? "0.0" : "0");
	if (isnan(r))
		return put(p, "NaN");
	if (isinf(r))
		return put(p, r < 0 ? "-Infinity" : "Infinity");
	struct decimal d;
	size_t sign = r < 0;
	*p = '-';
	r = fabs(r);
	if (r < EXACT_INTEGER && r == (double)(uint64_t)r)
		set_digits(&d, (uint64_t)r, 0);
	else if (!few_digits(&d, r))
		many_digits(&d, r);
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
	double r = scale < 0 ? (double)m / powers_of_ten[-scale] : (double)m * powers_of_ten[scale];
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
