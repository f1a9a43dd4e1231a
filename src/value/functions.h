/*
 * functions.h: the 21 SQL functions of sync-config 11, by name.
 *
 * Functions are pure and may be called from any thread. Missing arguments act as absent ones, extra ones are ignored (11);
 * checking the number of arguments is up to the stream compiler, which has the bounds here (sync-streams 4.4).
 */
#ifndef SYNCLINE_VALUE_FUNCTIONS_H
#define SYNCLINE_VALUE_FUNCTIONS_H

#include "value/value.h"

struct function_context {
	struct arena *arena;     /* results live here or in the arguments */
	bool fixed_json_extract; /* 11.3 */
};

#define SQL_FUNCTION_ANY_COUNT 255

struct sql_function {
	struct slice name;
	uint8_t min_args, max_args; /* allowed in streams; SQL_FUNCTION_ANY_COUNT: no upper bound */
	bool in_streams;            /* available in edition 3 (json_valid is not) */
	/* Raised when a fix changes a result: definitions that call the function are then filled again (incremental-deploy 1). */
	uint16_t revision;
	/* False: evaluation error of that row or request. The result may be VALUE_ABSENT (ifnull, iif: 11.1). */
	bool (*call)(struct function_context *ctx, const struct value *args, size_t n, struct value *out, struct error *err);
};

/* NULL: no such function. The name is compared exactly. */
const struct sql_function *sql_function_find(struct slice name);

#endif
