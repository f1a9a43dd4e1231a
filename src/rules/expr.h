/*
 * expr.h: a compiled expression, and its evaluation.
 *
 * The compilers turn syntax trees into these; an expression is immutable and lives in the plan's arena. Columns are slots of the row
 * source that the expression belongs to; a bound table says which column of the relation stands in a slot. Evaluation is a walk over the
 * tree without allocation but for new texts (arena).
 */
#ifndef SYNCLINE_RULES_EXPR_H
#define SYNCLINE_RULES_EXPR_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "value/cast.h"
#include "value/functions.h"
#include "value/json.h"
#include "value/operators.h"
#include "value/value.h"

struct request_data;

enum expr_kind {
	EXPR_LITERAL,
	EXPR_COLUMN,
	EXPR_TABLE_NAME, /* schema, name or suffix of the row's table */
	EXPR_ELEMENT,    /* output of a json_each */
	EXPR_REQUEST,    /* something of the token, the client's parameters or the subscription */
	EXPR_NOT,
	EXPR_PLUS,
	EXPR_IS_NULL, /* negated: IS NOT NULL */
	EXPR_AND,
	EXPR_OR,
	EXPR_COMPARE,
	EXPR_ARITH,
	EXPR_CONCAT,
	EXPR_IN_JSON, /* x IN y, y the text of a JSON array */
	EXPR_IS,
	EXPR_BETWEEN,
	EXPR_IN_LIST, /* first argument in the others */
	EXPR_CASE,    /* [operand,] when, then, ... [, else] */
	EXPR_CAST,
	EXPR_ARROW, /* x -> path, x ->> path */
	EXPR_CALL,
	EXPR_FAIL, /* an operator that compiles and then always fails (sync-streams 4.4) */
};

enum table_name_part { TABLE_NAME_SCHEMA, TABLE_NAME_NAME, TABLE_NAME_SUFFIX };

enum element_part { ELEMENT_KEY, ELEMENT_VALUE, ELEMENT_OTHER };

/* Where request values come from (sync-config 15.1; sync-streams 3 and 12). Texts are JSON. */
enum request_source {
	REQUEST_USER_ID,             /* request.user_id() */
	REQUEST_JWT,                 /* request.jwt(), auth.parameters() */
	REQUEST_CLIENT,              /* request.parameters(), connection.parameters() */
	REQUEST_SUBSCRIPTION,        /* subscription.parameters(); NULL for the default subscription */
	REQUEST_SUBSCRIPTION_OBJECT, /* the same of edition 2: {} for the default subscription */
	REQUEST_TOKEN_MEMBER,        /* token_parameters.x */
	REQUEST_CLIENT_MEMBER,       /* user_parameters.x */
	REQUEST_CLIENT_PARAMETER,    /* request.parameter('p'), connection.parameter('p') of edition 2 */
};

struct expr {
	enum expr_kind kind;
	bool negated;     /* EXPR_IS_NULL */
	bool as_json;     /* EXPR_ARROW: -> */
	bool has_operand; /* EXPR_CASE */
	bool has_else;    /* EXPR_CASE */
	uint32_t arg_count;
	const struct expr *const *args;
	union {
		struct {
			struct value value;
			struct slice text; /* as it stands in canonical texts */
		} literal;
		struct {
			uint32_t slot;
			struct slice name;
		} column;
		enum table_name_part part;
		struct {
			uint32_t function; /* index of the json_each in the environment */
			enum element_part part;
		} element;
		struct {
			enum request_source source;
			struct slice name; /* member or parameter */
		} request;
		enum compare_op compare;
		enum arith_op arith;
		enum cast_type cast;
		const struct sql_function *function;
		struct slice op_text; /* EXPR_FAIL */
	};
};

struct table_names {
	struct slice schema, name, suffix;
};

/* What an expression is evaluated on; a part that it does not use may be missing. */
struct eval_env {
	const struct value *row;
	const int32_t *slots; /* slot -> column of the row, -1: no such column */
	const struct table_names *table;
	const struct json_each_row *const *elements; /* by number of the json_each */
	const struct request_data *request;
	struct value subscription;                 /* JSON text, or NULL */
	const struct json_node *subscription_node; /* the same parsed, or NULL */
	struct arena *arena;
	bool fixed_json_extract;
	struct error *err; /* of the last evaluation that failed; may be NULL */
};

/* False: evaluation error, told in *env->err. */
bool expr_eval(const struct expr *e, struct eval_env *env, struct value *out);

/* Truth of the value in WHERE (sync-config 9.2). */
bool expr_truth(const struct expr *e, struct eval_env *env, bool *out);

/* ---- building --------------------------------------------------------------------------------------------------------- */

struct expr *expr_new(struct arena *arena, enum expr_kind kind, size_t arg_count);
/* args are copied into the arena. */
struct expr *expr_with(struct arena *arena, enum expr_kind kind, const struct expr *const *args, size_t arg_count);
struct expr *expr_literal(struct arena *arena, struct value v);

/* Appends the unambiguous text that definitions are compared by (incremental-deploy 1), revisions of functions included. */
void expr_print(struct buf *out, const struct expr *e);

#endif
