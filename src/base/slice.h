/*
 * slice.h: a piece of text or bytes that belongs to somebody else.
 *
 * A slice does not own its bytes and is not terminated by a NUL; it lives as long as the buffer, arena or message that it
 * points into. All of Syncline passes strings this way; a NUL is added only at the border to a library (arena_cstr).
 */
#ifndef SYNCLINE_BASE_SLICE_H
#define SYNCLINE_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
	const char *p;
	size_t n;
};

/* A slice of a string literal. */
#define SLICE(lit) ((struct slice){(lit), sizeof(lit) - 1})
#define SLICE_INIT(lit)                                                                                                          \
	{                                                                                                                        \
		(lit), sizeof(lit) - 1                                                                                           \
	}

/* For printf: "%.*s", SLICE_ARG(s). */
#define SLICE_ARG(s) (int)(s).n, (s).p

static inline struct slice slice_make(const void *p, size_t n)
{
	return (struct slice){p, n};
}

static inline struct slice slice_cstr(const char *s)
{
	return (struct slice){s, s ? strlen(s) : 0};
}

static inline bool slice_eq(struct slice a, struct slice b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Bytewise order, shorter first among equals. */
static inline int slice_cmp(struct slice a, struct slice b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int c = n ? memcmp(a.p, b.p, n) : 0;
	if (c)
		return c;
	return a.n < b.n ? -1 : a.n > b.n;
}

static inline bool slice_starts(struct slice s, struct slice prefix)
{
	return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

static inline bool slice_ends(struct slice s, struct slice suffix)
{
	return s.n >= suffix.n && (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}

static inline struct slice slice_drop(struct slice s, size_t n)
{
	return n >= s.n ? (struct slice){s.p + s.n, 0} : (struct slice){s.p + n, s.n - n};
}

/* Decimal digits only, at least one, no sign; false when empty, not a number, or beyond max. */
bool slice_parse_u64(struct slice s, uint64_t max, uint64_t *out);
/* Optional '-', then digits; false when out of the range of int64. */
bool slice_parse_i64(struct slice s, int64_t *out);

#endif
