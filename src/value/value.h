/*
 * value.h: the SQLite-like value that everything between source and client works with (sync-config 9).
 *
 * A value does not own its bytes: text and blobs point into the message, arena or store that they came from.
 */
#ifndef SYNCLINE_VALUE_VALUE_H
#define SYNCLINE_VALUE_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"

enum value_kind {
	VALUE_ABSENT,  /* the column is not in the row: NULL inside expressions, left out of output */
	VALUE_UNKNOWN, /* the source did not send it (unchanged TOAST): the row cannot be evaluated */
	VALUE_NULL,
	VALUE_INTEGER,
	VALUE_REAL,
	VALUE_TEXT, /* UTF-8 */
	VALUE_BLOB,
};

struct value {
	enum value_kind kind;
	union {
		int64_t i;
		double r;
		struct slice s;
	};
};

static inline struct value value_null(void)
{
	return (struct value){.kind = VALUE_NULL};
}
static inline struct value value_integer(int64_t i)
{
	return (struct value){.kind = VALUE_INTEGER, .i = i};
}
static inline struct value value_real(double r)
{
	return (struct value){.kind = VALUE_REAL, .r = r};
}
static inline struct value value_text(struct slice s)
{
	return (struct value){.kind = VALUE_TEXT, .s = s};
}
static inline struct value value_blob(struct slice s)
{
	return (struct value){.kind = VALUE_BLOB, .s = s};
}
/* NULL or absent. */
static inline bool value_is_null(const struct value *v)
{
	return v->kind == VALUE_NULL || v->kind == VALUE_ABSENT;
}

/* sync-config 9.2. */
bool value_truth(const struct value *v);

/* Text form, sync-config 9.3 (whole reals without ".0"); NULL gives an empty slice. May point into v or into the arena. */
struct slice value_text_form(const struct value *v, struct arena *arena);

/* Comparison of two values that are not NULL, sync-config 10.1. *order is <0, 0, >0; with NaN on either side *nan is set.
 * false: evaluation error (blob against blob). */
bool value_compare(const struct value *a, const struct value *b, int *order, bool *nan, struct error *err);

/* Appends the value as JSON (sync-config 12.2: whole reals with ".0"; NaN and infinities as null). Blobs and unknown or absent
 * values must be left out by the caller. */
void value_json(struct buf *out, const struct value *v);

/* Appends text as a JSON string with its quotes (12.2). The hot loop of the whole program. Text that is not UTF-8 is passed on as
 * it is, except that an encoded surrogate half is written as \udxxx. */
void json_append_string(struct buf *out, struct slice text);
#ifndef JANSSON_H
/* The same. Libjansson has a json_string of its own, hence the other name; files that use both include jansson.h first. */
static inline void json_string(struct buf *out, struct slice text)
{
	json_append_string(out, text);
}
#endif

/* Appends the value as it stands in a bucket name (16.1: INTEGER and REAL print alike, no ".0"). */
void value_bucket_key(struct buf *out, const struct value *v);

/* Appends the value as it stands in a lookup key (16.3: whole reals as integers). */
void value_lookup_key(struct buf *out, const struct value *v);

/* Shortest round-trip decimal in JavaScript's form (9.3); p has room for 32 bytes. with_point: add ".0" to whole numbers. */
size_t format_real(char *p, double r, bool with_point);

#endif
