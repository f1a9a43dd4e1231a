/* function_date.c: datetime() and unixepoch(), sync-config 11.4. Times are milliseconds since 1970, UTC. */
#include <math.h>

#include "value/function_groups.h"

#define LARGEST_TIME 8.64e15
#define DAY_MS 86400000.0
#define JULIAN_1970 2440587.5

/* ---- calendar ---------------------------------------------------------------------------------------------------------- */

/* Days since 1970-01-01 of a proleptic Gregorian date; the day may lie beyond the month's end. */
static int64_t days_from_civil(int64_t y, int m, int64_t d)
{
	y -= m <= 2;
	int64_t era = (y >= 0 ? y : y - 399) / 400, yoe = y - era * 400;
	int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
	return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void civil_from_days(int64_t z, int64_t *y, int *m, int *d)
{
	z += 719468;
	int64_t era = (z >= 0 ? z : z - 146096) / 146097, doe = z - era * 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
	*d = (int)(doy - (153 * mp + 2) / 5 + 1);
	*m = (int)(mp < 10 ? mp + 3 : mp - 9);
	*y = yoe + era * 400 + (*m <= 2);
}

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

/* ---- reading ----------------------------------------------------------------------------------------------------------- */

struct cursor {
	const char *p, *end;
};

static bool take(struct cursor *c, char x)
{
	if (c->p >= c->end || *c->p != x)
		return false;
	c->p++;
	return true;
}

/* least to most digits. */
static bool take_number(struct cursor *c, int least, int most, int *out)
{
	int n = 0;
	*out = 0;
	while (n < most && c->p < c->end && *c->p >= '0' && *c->p <= '9') {
		*out = *out * 10 + (*c->p++ - '0');
		n++;
	}
	return n >= least;
}

struct date {
	int year, month, day, hour, minute, second, ms;
	int offset; /* minutes east of UTC */
};

static bool read_year(struct cursor *c, struct date *d)
{
	bool minus = take(c, '-'), signed_year = minus || take(c, '+');
	if (!take_number(c, signed_year ? 6 : 4, signed_year ? 6 : 4, &d->year) || (minus && d->year == 0))
		return false;
	if (minus)
		d->year = -d->year;
	return true;
}

/* hh:mm[:ss[.f+]] */
static bool read_time(struct cursor *c, struct date *d)
{
	if (!take_number(c, 1, 2, &d->hour) || !take(c, ':') || !take_number(c, 2, 2, &d->minute))
		return false;
	if (!take(c, ':'))
		return true;
	if (!take_number(c, 2, 2, &d->second))
		return false;
	if (!take(c, '.'))
		return true;
	int n = 0;
	for (; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++, n++)
		if (n < 3)
			d->ms = d->ms * 10 + (*c->p - '0');
	for (int i = n; i < 3; i++)
		d->ms *= 10;
	return n > 0;
}

/* [blank](Z | +hh:mm | -hh:mm | nothing), up to the end. */
static bool read_zone(struct cursor *c, struct date *d)
{
	int hours, minutes;
	take(c, ' ');
	if (c->p == c->end)
		return true;
	bool minus = *c->p == '-';
	if (take(c, 'Z') || take(c, 'z'))
		return c->p == c->end;
	if (!take(c, '+') && !take(c, '-'))
		return false;
	if (!take_number(c, 2, 2, &hours) || !take(c, ':') || !take_number(c, 2, 2, &minutes) || hours > 23 || minutes > 59)
		return false;
	d->offset = (hours * 60 + minutes) * (minus ? -1 : 1);
	return c->p == c->end;
}

/* What follows the month: -day [time] zone. */
static bool read_day(struct cursor c, struct date *d)
{
	if (!take(&c, '-') || !take_number(&c, 1, 2, &d->day))
		return false;
	if (c.end - c.p >= 2 && (*c.p == 'T' || *c.p == 't' || (*c.p == ' ' && c.p[1] >= '0' && c.p[1] <= '9'))) {
		c.p++;
		if (!read_time(&c, d))
			return false;
	}
	return read_zone(&c, d);
}

static bool read_date(struct slice s, double *t)
{
	struct cursor c = {s.p, s.p + s.n};
	struct date d = {0};
	if (!read_year(&c, &d) || !take(&c, '-') || !take_number(&c, 1, 2, &d.month))
		return false;
	struct date month_only = d;
	month_only.day = 1;
	if (!read_day(c, &d)) {
		/* "2020-01", "2020-01-05:00": no day, the rest is a zone. */
		d = month_only;
		if (!read_zone(&c, &d))
			return false;
	}
	bool midnight = d.hour == 24 && d.minute == 0 && d.second == 0 && d.ms == 0;
	if (d.month < 1 || d.month > 12 || d.day < 1 || d.day > 31 || d.minute > 59 || d.second > 59 ||
	    (d.hour > 23 && !midnight))
		return false;
	int64_t days = days_from_civil(d.year, d.month, 1) + d.day - 1;
	int64_t seconds = days * 86400 + d.hour * 3600 + d.minute * 60 + d.second - d.offset * 60;
	*t = (double)(seconds * 1000 + d.ms);
	return true;
}

/* Digits with at most one point. */
static bool is_plain_number(struct slice s)
{
	size_t digits = 0, points = 0;
	for (size_t i = 0; i < s.n; i++) {
		digits += s.p[i] >= '0' && s.p[i] <= '9';
		points += s.p[i] == '.';
	}
	return digits > 0 && points <= 1 && digits + points == s.n;
}

static bool read_text(struct slice s, double *t)
{
	if (is_plain_number(s)) {
		*t = (real_parse(s) - JULIAN_1970) * DAY_MS;
		return true;
	}
	/* A "Z" that is anywhere but at the end makes it unreadable, as without one; a missing zone is UTC. */
	return read_date(s, t);
}

/* The modifiers: NULL, "unixepoch", "subsec", "subsecond"; after "unixepoch" a second one. False: another one. */
static bool read_modifiers(struct function_context *ctx, const struct value *args, size_t n, bool *unix_time, bool *subsec)
{
	for (size_t i = 1; i < 3; i++) {
		const struct value *v = function_arg(args, n, i);
		struct slice m = value_text_form(v, ctx->arena);
		if (value_is_null(v))
			return true;
		if (slice_eq(m, SLICE("subsec")) || slice_eq(m, SLICE("subsecond"))) {
			*subsec = true;
			return true;
		}
		if (i == 2 || !slice_eq(m, SLICE("unixepoch")))
			return false;
		*unix_time = true;
	}
	return true;
}

/* False: the result is NULL. */
static bool read_arguments(struct function_context *ctx, const struct value *args, size_t n, int64_t *ms, bool *subsec)
{
	const struct value *x = function_arg(args, n, 0);
	bool unix_time = false;
	double t;
	*subsec = false;
	if (value_is_null(x) || x->kind == VALUE_BLOB || !read_modifiers(ctx, args, n, &unix_time, subsec))
		return false;
	if (x->kind == VALUE_TEXT) {
		if (!read_text(x->s, &t))
			return false;
	} else {
		double number = x->kind == VALUE_INTEGER ? (double)x->i : x->r;
		t = unix_time ? number * 1000 : (number - JULIAN_1970) * DAY_MS;
	}
	if (!(fabs(t) <= LARGEST_TIME))
		return false;
	*ms = (int64_t)t;
	return true;
}

/* ---- functions --------------------------------------------------------------------------------------------------------- */

bool function_datetime(struct function_context *ctx, const struct value *args, size_t n, struct value *out, struct error *err)
{
	(void)err;
	int64_t ms, year;
	int month, day;
	bool subsec;
	*out = value_null();
	if (!read_arguments(ctx, args, n, &ms, &subsec))
		return true;
	int64_t seconds = floor_div(ms, 1000), days = floor_div(seconds, 86400);
	int rest = (int)(seconds - days * 86400);
	civil_from_days(days, &year, &month, &day);
	struct buf text = {0};
	if (year > 9999)
		buf_printf(&text, "+%06lld", (long long)year);
	else
		buf_printf(&text, year < 0 ? "%lld" : "%04lld", (long long)year);
	buf_printf(&text, "-%02d-%02d %02d:%02d:%02d", month, day, rest / 3600, rest / 60 % 60, rest % 60);
	if (subsec)
		buf_printf(&text, ".%03d", (int)(ms - seconds * 1000));
	*out = value_text(arena_copy(ctx->arena, buf_slice(&text)));
	buf_free(&text);
	return true;
}

bool function_unixepoch(struct function_context *ctx, const struct value *args, size_t n, struct value *out, struct error *err)
{
	(void)err;
	int64_t ms;
	bool subsec;
	*out = value_null();
	if (!read_arguments(ctx, args, n, &ms, &subsec))
		return true;
	*out = subsec ? value_real((double)ms / 1000) : value_integer(floor_div(ms, 1000));
	return true;
}
