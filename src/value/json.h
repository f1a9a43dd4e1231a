/*
 * json.h: JSON text in (a tree in an arena) and out, by the rules of sync-config 12.
 *
 * Reading is strict RFC 8259 with a depth limit; work is linear in the text but for sorting (repeated keys, index-like keys).
 * Strings without escapes point into the text that was read, which must stay as long as the tree. A \ud800 without its other half
 * is kept in the three bytes that UTF-8 would have for it. Names keep clear of libjansson's.
 */
#ifndef SYNCLINE_VALUE_JSON_H
#define SYNCLINE_VALUE_JSON_H

#include "value/value.h"

#define JSON_MAX_DEPTH 1000

enum json_kind {
	JSON_KIND_NULL,
	JSON_KIND_BOOLEAN,
	JSON_KIND_INTEGER,
	JSON_KIND_BIG_INTEGER, /* beyond 64 bits: s is its digits with sign; an error as soon as it becomes a value */
	JSON_KIND_REAL,
	JSON_KIND_STRING,
	JSON_KIND_ARRAY,
	JSON_KIND_OBJECT,
};

struct json_member;

struct json_node {
	enum json_kind kind;
	union {
		bool b;
		int64_t i;
		double r;
		struct slice s;
		struct {
			struct json_node *items;
			size_t count;
		} array;
		struct {
			struct json_member
			        *members; /* index-like keys first, ascending; then in order of first appearance (12.1) */
			size_t count;
		} object;
	};
};

struct json_member {
	struct slice key;
	struct json_node value;
};

enum json_numbers {
	JSON_EXACT, /* integers keep full precision; a repeated key with another value is an error: source data (12.1) */
	JSON_DOUBLES, /* every number is a REAL; the last of repeated keys wins: tokens, client parameters, array matches (13, 15.1) */
};

bool json_read(struct slice text, enum json_numbers numbers, struct arena *arena, struct json_node *out, struct error *err);

/* Levels of arrays and objects: 0 for a scalar, 1 for [1]. */
size_t json_depth(const struct json_node *n);
/* Member by name, NULL if missing or n is no object. */
const struct json_node *json_find(const struct json_node *n, struct slice key);
bool json_same(const struct json_node *a, const struct json_node *b);

enum json_style {
	JSON_STYLE_PLAIN = 0,               /* 12.2: whole reals with ".0" */
	JSON_STYLE_SHORT_NUMBERS = 1,       /* numbers as in bucket names (16.1): no ".0", at every depth */
	JSON_STYLE_BOOLEANS_AS_NUMBERS = 2, /* true/false print as 1/0 (15.1, members of token and client parameters) */
};

void json_write(struct buf *out, const struct json_node *n, unsigned style);
struct slice json_to_text(const struct json_node *n, unsigned style, struct arena *arena);

/* As it stands in a lookup key (16.3): like JSON_STYLE_PLAIN, but a whole number at the top is written as an integer. */
void json_lookup_key(struct buf *out, const struct json_node *n);

/* A JSON element as an SQL value (10.6, 11.3): numbers, booleans 1/0, text, null NULL, arrays and objects their JSON text.
 * Error: an integer beyond 64 bits (9.4). */
bool json_to_value(const struct json_node *n, struct arena *arena, struct value *out, struct error *err);

/* x -> path (as_json) and x ->> path, 11.3. NULL or absent operands give NULL. fixed: the option fixed_json_extract. */
bool json_arrow(const struct value *x, const struct value *path, bool as_json, bool fixed, struct arena *arena, struct value *out,
                struct error *err);

/* The same on a tree that was read already. */
bool json_arrow_node(const struct json_node *root, struct slice path, bool as_json, bool fixed, struct arena *arena,
                     struct value *out, struct error *err);

/* The rows of json_each(x) (15.3, sync-streams 4.6): NULL none; not TEXT (absent included) or not JSON: error. Numbers are doubles
 * and stay REAL. JSON null is NULL if fixed, else the text "null". */
struct json_each_row {
	struct value key; /* INTEGER, TEXT or NULL */
	struct value value;
};

bool json_each(const struct value *x, bool fixed, struct arena *arena, struct json_each_row **rows, size_t *count,
               struct error *err);

#endif
