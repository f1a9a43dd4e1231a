/*
 * operators.h: the operators of sync-config 10 and of sync-streams 4.4 on values. Pure; results of text live in the arena or in
 * the operands. Absent operands count as NULL. VALUE_UNKNOWN must not come here. Booleans are INTEGER 1 and 0.
 */
#ifndef SYNCLINE_VALUE_OPERATORS_H
#define SYNCLINE_VALUE_OPERATORS_H

#include "value/value.h"

enum compare_op { COMPARE_EQ, COMPARE_NE, COMPARE_LT, COMPARE_LE, COMPARE_GT, COMPARE_GE };
enum arith_op { ARITH_ADD, ARITH_SUB, ARITH_MUL, ARITH_DIV };

/* 10.1. NULL if an operand is NULL. COMPARE_NE is the bucket-definition form; streams put op_not around COMPARE_EQ. */
bool op_compare(enum compare_op op, const struct value *a, const struct value *b, struct value *out, struct error *err);

/* 10.3. Overflow of 64 bits is an error (9.4). */
bool op_arith(enum arith_op op, const struct value *a, const struct value *b, struct arena *arena, struct value *out,
              struct error *err);

/* Unary +: numbers as they are, else 0 + x (sync-streams 4.4). */
bool op_plus(const struct value *a, struct arena *arena, struct value *out, struct error *err);

/* 10.5. */
void op_concat(const struct value *a, const struct value *b, struct arena *arena, struct value *out);

/* x IN y, y a JSON array as text: 10.6. Also the scalar NOT IN of streams, which is op_not around it. */
bool op_in_json(const struct value *x, const struct value *y, struct arena *arena, struct value *out, struct error *err);

/* x IN ARRAY[...]: NULL if x is NULL; 1; else NULL if an item is NULL; else 0 (sync-streams 4.5). */
bool op_in_list(const struct value *x, const struct value *items, size_t count, struct value *out, struct error *err);

/* x BETWEEN low AND high: NULL if one of the three is NULL. */
bool op_between(const struct value *x, const struct value *low, const struct value *high, struct value *out, struct error *err);

/* x IS y, streams: NULLs are equal, never NULL. IS TRUE is op_is(x, 1). */
bool op_is(const struct value *x, const struct value *y, struct value *out, struct error *err);

/* 10.2: never NULL. */
static inline struct value op_and(const struct value *a, const struct value *b)
{
	return value_integer(value_truth(a) && value_truth(b));
}
static inline struct value op_or(const struct value *a, const struct value *b)
{
	return value_integer(value_truth(a) || value_truth(b));
}
static inline struct value op_not(const struct value *a)
{
	return value_integer(!value_truth(a));
}

#endif
