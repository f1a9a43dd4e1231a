/*
 * revisions.h: one integer for each family of operators and each way of writing values (incremental-deploy 1).
 *
 * Raise a number when a fix changes what the family gives for any input: the definitions that use it, and no others, get a new
 * identity and are filled again. Functions have theirs in the table of value/functions.c. Numbers only grow; 0 is never used.
 */
#ifndef SYNCLINE_RULES_REVISIONS_H
#define SYNCLINE_RULES_REVISIONS_H

enum {
	/* Operators. */
	REVISION_LOGIC = 1,     /* AND OR NOT, truth of a value */
	REVISION_NULL_TEST = 1, /* IS NULL, IS NOT NULL */
	REVISION_IS = 1,        /* IS, IS TRUE, IS FALSE */
	REVISION_COMPARE = 1,   /* = != < <= > >= */
	REVISION_BETWEEN = 1,
	REVISION_ARITHMETIC = 1, /* + - * /, unary + */
	REVISION_CONCAT = 1,     /* || and the text form of values */
	REVISION_IN_JSON = 1,    /* x IN array as text */
	REVISION_IN_LIST = 1,    /* x IN ARRAY[...] */
	REVISION_CASE = 1,
	REVISION_FAIL = 1,  /* operators that always fail */
	REVISION_ARROW = 1, /* -> ->> */
	/* Casts by target. */
	REVISION_CAST_TEXT = 1,
	REVISION_CAST_INTEGER = 1,
	REVISION_CAST_REAL = 1,
	REVISION_CAST_NUMERIC = 1,
	REVISION_CAST_BLOB = 1,
	/* Rows. */
	REVISION_JSON_EACH = 1,
	REVISION_MATCH_ARRAY = 1, /* elements of array matches (sync-config 13) */
	REVISION_DATA = 1,        /* values as JSON text of a row or result */
	REVISION_ID = 1,          /* the row's id */
	REVISION_KEY = 1,         /* values in bucket names and lookup keys */
	/* How the source maps its types: dates by their options, custom types, everything else. */
	REVISION_TYPES = 1,
	REVISION_TYPES_TIME = 1,
	REVISION_TYPES_CUSTOM = 1,
};

#endif
