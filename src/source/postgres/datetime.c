/* datetime.c: see datetime.h. */
#include "source/postgres/datetime.h"

#include <stdio.h>

#define MAX_DIGITS 6 /* of the source */

/* DATE TIME[.FRACTION][OFFSET], cut at its borders. */
struct parts {
	struct slice date, time, fraction, offset; /* fraction without its point; offset with its sign */
	bool has_fraction;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static struct slice take_while(struct slice *s, char also)
{
	size_t n = 0;
	while (n < s->n && (is_digit(s->p[n]) || s->p[n] == also))
		n++;
	struct slice taken = slice_make(s->p, n);
	*s = slice_drop(*s, n);
	return taken;
}

static bool split_time(struct slice s, bool with_offset, struct parts *out)
{
	out->time = take_while(&s, ':');
	if (out->time.n == 0)
		return false;
	if (s.n && s.p[0] == '.') {
		s = slice_drop(s, 1);
		out->has_fraction = true;
		out->fraction = take_while(&s, '0');
		if (out->fraction.n == 0)
			return false;
	}
	if (with_offset && s.n && (s.p[0] == '+' || s.p[0] == '-')) {
		struct slice sign = slice_make(s.p, 1);
		s = slice_drop(s, 1);
		out->offset = take_while(&s, ':');
		if (out->offset.n == 0)
			return false;
		out->offset = slice_make(sign.p, out->offset.n + 1);
	}
	return s.n == 0;
}

static bool split(struct slice s, bool with_offset, struct parts *out)
{
	*out = (struct parts){0};
	out->date = take_while(&s, '-');
	if (out->date.n == 0 || !s.n || s.p[0] != ' ')
		return false;
	return split_time(slice_drop(s, 1), with_offset, out);
}

/* ---- writing -------------------------------------------------------------------------------------------------------------- */

static char *put(char *p, struct slice s)
{
	if (s.n)
		memcpy(p, s.p, s.n);
	return p + s.n;
}

/* The fraction with the digits asked for: padded, or cut and not rounded. */
static char *put_fraction(char *p, struct slice fraction, const struct mapping_options *options)
{
	int digits =
	        options->timestamp_digits < 0 || options->timestamp_digits > MAX_DIGITS ? MAX_DIGITS : options->timestamp_digits;
	if (digits == 0)
		return p;
	*p++ = '.';
	for (int i = 0; i < digits; i++)
		*p++ = (size_t)i < fraction.n ? fraction.p[i] : '0';
	return p;
}

static struct value finish(char *start, char *end)
{
	return value_text(slice_make(start, (size_t)(end - start)));
}

static struct value write_timestamp(const struct parts *t, bool utc, const struct mapping_options *options, struct arena *arena)
{
	char *start = arena_bytes(arena, t->date.n + t->time.n + t->fraction.n + 12), *p = put(start, t->date);
	*p++ = options->timestamps_iso8601 ? 'T' : ' ';
	p = put(p, t->time);
	if (options->timestamps_iso8601) {
		p = put_fraction(p, t->fraction, options);
	} else if (t->has_fraction) {
		*p++ = '.';
		p = put(p, t->fraction);
	}
	if (utc)
		*p++ = 'Z';
	return finish(start, p);
}

/* 1, -1, or 0 if the text is not an infinity. */
static int infinity(struct slice s)
{
	if (slice_eq(s, SLICE("infinity")))
		return 1;
	return slice_eq(s, SLICE("-infinity")) ? -1 : 0;
}

static struct value write_infinity(int sign, bool utc, const struct mapping_options *options, struct arena *arena)
{
	struct parts t = {.date = sign > 0 ? SLICE("9999-12-31") : SLICE("0000-01-01"),
	                  .time = sign > 0 ? SLICE("23:59:59") : SLICE("00:00:00")};
	return write_timestamp(&t, utc, options, arena);
}

/* ---- types ---------------------------------------------------------------------------------------------------------------- */

struct value datetime_date(struct slice text)
{
	int sign = infinity(text);
	if (sign)
		return value_text(sign > 0 ? SLICE("9999-12-31") : SLICE("0000-01-01"));
	return value_text(text);
}

struct value datetime_time(struct slice text, const struct mapping_options *options, struct arena *arena)
{
	struct parts t = {0};
	if (!options->timestamps_iso8601 || !split_time(text, false, &t))
		return value_text(text);
	char *start = arena_bytes(arena, t.time.n + MAX_DIGITS + 1);
	return finish(start, put_fraction(put(start, t.time), t.fraction, options));
}

struct value datetime_timestamp(struct slice text, const struct mapping_options *options, struct arena *arena)
{
	struct parts t;
	int sign = infinity(text);
	if (sign)
		return write_infinity(sign, false, options, arena);
	if (!split(text, false, &t))
		return value_null();
	return options->timestamps_iso8601 ? write_timestamp(&t, false, options, arena) : value_text(text);
}

/* Days since 1970-01-01 in the Gregorian calendar, and back (H. Hinnant's algorithms, for years from 0 on). */
static int64_t days_from_civil(int64_t y, int64_t m, int64_t d)
{
	y -= m <= 2;
	int64_t era = (y >= 0 ? y : y - 399) / 400, yoe = y - era * 400;
	int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1, doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
	return era * 146097 + doe - 719468;
}

static void civil_from_days(int64_t z, int64_t *y, int64_t *m, int64_t *d)
{
	z += 719468;
	int64_t era = (z >= 0 ? z : z - 146096) / 146097, doe = z - era * 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365, doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int64_t mp = (5 * doy + 2) / 153;
	*d = doy - (153 * mp + 2) / 5 + 1;
	*m = mp + (mp < 10 ? 3 : -9);
	*y = yoe + era * 400 + (*m <= 2);
}

/* a<sep>b[<sep>c] of digits; missing parts are 0. */
static bool numbers(struct slice s, char separator, int64_t out[3])
{
	out[0] = out[1] = out[2] = 0;
	int part = 0;
	size_t digits = 0;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == separator) {
			if (digits == 0 || ++part > 2)
				return false;
			digits = 0;
		} else {
			if (!is_digit(s.p[i]) || ++digits > 9)
				return false;
			out[part] = out[part] * 10 + (s.p[i] - '0');
		}
	}
	return digits > 0;
}

/* Moves date and time to UTC; the parts then point into text. */
static bool to_utc(struct parts *t, char text[32])
{
	int64_t date[3], time[3], offset[3];
	if (!numbers(t->date, '-', date) || !numbers(t->time, ':', time) || !numbers(slice_drop(t->offset, 1), ':', offset))
		return false;
	if (date[0] > 9999999)
		return false;
	int64_t shift = offset[0] * 3600 + offset[1] * 60 + offset[2];
	int64_t seconds = days_from_civil(date[0], date[1], date[2]) * 86400 + time[0] * 3600 + time[1] * 60 + time[2];
	seconds -= t->offset.p[0] == '-' ? -shift : shift;
	int64_t days = seconds >= 0 ? seconds / 86400 : (seconds - 86399) / 86400, of_day = seconds - days * 86400;
	civil_from_days(days, &date[0], &date[1], &date[2]);
	if (date[0] < 0 || date[0] > 9999)
		return false;
	snprintf(text, 32, "%04d-%02d-%02d", (int)date[0], (int)date[1], (int)date[2]);
	snprintf(text + 16, 16, "%02d:%02d:%02d", (int)(of_day / 3600), (int)(of_day / 60 % 60), (int)(of_day % 60));
	t->date = slice_make(text, 10);
	t->time = slice_make(text + 16, 8);
	return true;
}

struct value datetime_timestamptz(struct slice text, const struct mapping_options *options, struct arena *arena)
{
	struct parts t;
	char moved[32];
	int sign = infinity(text);
	if (sign)
		return write_infinity(sign, true, options, arena);
	if (!split(text, true, &t))
		return value_null();
	/* The session is in UTC, so this is nearly always +00. */
	bool utc = t.offset.n == 0 || slice_eq(t.offset, SLICE("+00"));
	if (!utc && !to_utc(&t, moved))
		return value_null();
	size_t year_digits = 0;
	while (year_digits < t.date.n && t.date.p[year_digits] != '-')
		year_digits++;
	if (year_digits != 4)
		return value_null();
	return write_timestamp(&t, true, options, arena);
}
