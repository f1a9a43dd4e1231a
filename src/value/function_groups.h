/* function_groups.h: the files behind functions.c, and what they share. Internal. */
#ifndef SYNCLINE_VALUE_FUNCTION_GROUPS_H
#define SYNCLINE_VALUE_FUNCTION_GROUPS_H

#include "value/functions.h"
#include "value/real.h"

/* Argument i; NULL if it is missing or absent. */
static inline const struct value *function_arg(const struct value *args, size_t n, size_t i)
{
	static const struct value null = {.kind = VALUE_NULL};
	return i < n && args[i].kind != VALUE_ABSENT ? &args[i] : &null;
}

typedef bool sql_function_call(struct function_context *ctx, const struct value *args, size_t n, struct value *out,
                               struct error *err);

/* function_date.c */
sql_function_call function_datetime, function_unixepoch;
/* function_geometry.c */
sql_function_call function_st_asgeojson, function_st_astext, function_st_x, function_st_y;
/* function_json.c */
sql_function_call function_json_extract, function_json_array_length, function_json_valid, function_json_keys;

#endif
