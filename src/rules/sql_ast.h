/*
 * sql_ast.h: the syntax tree of one sync query, for both dialects (sync-config 7 and 8, sync-streams 4).
 *
 * The parser is permissive: it accepts the union of what the bucket-definition dialect and the stream dialect know, and also
 * the constructs that both refuse for a reason of their own (LIKE, LIMIT, a sub-select as a value ...), so that the compilers
 * can name the class of the fault and its exact place. What is a syntax error in both dialects is one here.
 *
 * Every node lives in the arena given to sql_parse; names and texts point into the SQL text where that is possible, else into
 * the arena. Positions are byte offsets into the SQL text. A node's range goes from its first to its last token: parentheses
 * around it are not included, nor those around its first or last operand (sync-config 6, "SQL node ranges").
 */
#ifndef SYNCLINE_RULES_SQL_AST_H
#define SYNCLINE_RULES_SQL_AST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "value/value.h"

struct sql_range {
	uint32_t start, end; /* [start, end) */
};

/* A name as written. Absent (name.p == NULL) where a field is optional. */
struct sql_ident {
	struct slice name;   /* unquoted: lower-cased; quoted: the text between the quotes, a doubled "" kept doubled */
	struct slice source; /* original spelling, quotes included */
	struct sql_range range;
	bool quoted;
};

static inline bool sql_ident_given(const struct sql_ident *id)
{
	return id->name.p != NULL;
}

/* Unquoted with an upper-case letter in its spelling (class identifier_case). */
bool sql_ident_has_upper_case(const struct sql_ident *id);

/* ---- expressions ------------------------------------------------------------------------------------------------------- */

enum sql_expr_kind {
	SQL_LITERAL,
	SQL_NAME,    /* column, table.column, schema.table.column */
	SQL_CALL,    /* f(args), schema.f(args); also ROW(..), EXISTS(..), ANY(..): plain calls of that name. substring(x) with
	                  * one argument is for the compilers to refuse (sync-config 11.1: sql_syntax) */
	SQL_STAR,    /* * or name.*, only as a column */
	SQL_UNARY,   /* NOT x, - x, + x */
	SQL_BINARY,  /* two operands; IN, LIKE and AT TIME ZONE too */
	SQL_IS,      /* x IS [NOT] NULL / TRUE / FALSE, ISNULL, NOTNULL */
	SQL_BETWEEN, /* x [NOT] BETWEEN low AND high */
	SQL_MEMBER,  /* x -> literal, x ->> literal */
	SQL_CAST,    /* CAST(x AS type), x::type, type 'literal' */
	SQL_CASE,
	SQL_LIST,        /* (a, b, ...) with two or more items */
	SQL_ARRAY,       /* ARRAY[a, b, ...] */
	SQL_SUBSELECT,   /* (SELECT ...) as a value */
	SQL_PARAMETER,   /* $1 */
	SQL_UNSUPPORTED, /* refused in both dialects (expression_unsupported); see enum sql_unsupported */
};

enum sql_unsupported {
	SQL_UNSUPPORTED_INDEX,          /* x[i] */
	SQL_UNSUPPORTED_KEYWORD_VALUE,  /* current_date, user, ... with or without arguments */
	SQL_UNSUPPORTED_DEFAULT,        /* DEFAULT */
	SQL_UNSUPPORTED_EXTRACT,        /* extract(x FROM y) */
	SQL_UNSUPPORTED_SUBSTRING_FROM, /* substring(x FROM y FOR z), substring(x FOR y) */
	SQL_UNSUPPORTED_OVERLAY,        /* overlay(x PLACING y FROM z) */
	SQL_UNSUPPORTED_ARRAY_SELECT,   /* ARRAY(SELECT ...), ARRAY(...) */
};

enum sql_literal_kind { SQL_LITERAL_NULL, SQL_LITERAL_BOOLEAN, SQL_LITERAL_INTEGER, SQL_LITERAL_DECIMAL, SQL_LITERAL_STRING };

enum sql_op {
	SQL_OP_OR,
	SQL_OP_AND,
	SQL_OP_EQ,
	SQL_OP_NE, /* != and <> */
	SQL_OP_LT,
	SQL_OP_LE,
	SQL_OP_GT,
	SQL_OP_GE,
	SQL_OP_ADD,
	SQL_OP_SUB,
	SQL_OP_MUL,
	SQL_OP_DIV,
	SQL_OP_CONCAT,
	SQL_OP_IN,
	SQL_OP_NOT_IN,
	SQL_OP_OVERLAP, /* && */
	SQL_OP_MOD,     /* the bit operators and % compile in streams, and fail at evaluation */
	SQL_OP_BIT_AND,
	SQL_OP_BIT_OR,
	SQL_OP_SHIFT_LEFT,
	SQL_OP_SHIFT_RIGHT,
	SQL_OP_LIKE,
	SQL_OP_NOT_LIKE,
	SQL_OP_ILIKE,
	SQL_OP_NOT_ILIKE,
	SQL_OP_OTHER, /* ^ # @> <@ ? ?| ?& #>> ~ ~* !~ !~* @@, AT TIME ZONE: unsupported everywhere; op_text says which */
};

enum sql_is { SQL_IS_NULL, SQL_IS_TRUE, SQL_IS_FALSE };

struct sql_select;

struct sql_case_when {
	struct sql_expr *when, *then;
};

struct sql_expr {
	enum sql_expr_kind kind;
	uint16_t height; /* of the tree below, 1 for a leaf; at most SQL_MAX_HEIGHT, so a recursive walk is safe */
	struct sql_range range;
	union {
		struct {
			enum sql_literal_kind kind;
			/* Value by the bucket-definition rules: integers through a double (sync-config 7), true/false 1/0. */
			struct value value;
			/* INTEGER only: value without the detour (sync-streams 4.4). */
			int64_t exact;
			bool value_overflow,
			        exact_overflow; /* the integer does not fit 64 bits; value and exact are then clamped */
		} literal;                      /* source text: sql_text(select, range) */
		struct {
			struct sql_ident schema, table; /* optional */
			struct sql_ident column;
		} name;
		struct {
			struct sql_ident schema; /* optional */
			struct sql_ident function;
			struct sql_expr **args;
			size_t arg_count;
			struct sql_select *select; /* EXISTS/ANY/SOME/ALL (SELECT ...), else NULL */
			bool star;                 /* f(*) */
			bool decorated;            /* DISTINCT, ALL, ORDER BY, FILTER or OVER was given */
		} call;
		struct {
			struct sql_ident qualifier; /* optional */
		} star;
		struct {
			char op; /* '!' for NOT, '-', '+' */
			struct sql_expr *operand;
		} unary;
		struct {
			enum sql_op op;
			struct sql_range op_range; /* NOT IN: from NOT to IN */
			struct slice op_text;
			struct sql_expr *left, *right;
		} binary;
		struct {
			enum sql_is what;
			bool negated;
			struct sql_expr *operand;
		} is;
		struct {
			bool negated;
			struct sql_expr *operand, *low, *high;
		} between;
		struct {
			bool as_json; /* -> (JSON text) against ->> (SQL value) */
			struct sql_expr *operand;
			struct sql_expr *key; /* SQL_LITERAL, a string or an integer */
		} member;
		struct {
			struct sql_expr *operand;
			struct slice type; /* lower-cased last name: "text", "integer", "int4", "text[]", "double precision" */
		} cast;
		struct {
			struct sql_expr *operand; /* NULL: searched CASE */
			struct sql_case_when *whens;
			size_t when_count;
			struct sql_expr *otherwise; /* NULL: none */
		} cases;
		struct {
			struct sql_expr **items;
			size_t count;
		} list; /* SQL_LIST and SQL_ARRAY */
		struct sql_select *subselect;
		enum sql_unsupported unsupported;
	};
};

/* ---- statements -------------------------------------------------------------------------------------------------------- */

struct sql_column {
	struct sql_expr *expr;  /* SQL_STAR for * and name.* */
	struct sql_ident alias; /* optional */
	struct sql_range range; /* with the alias; without one, expr->range */
};

enum sql_from_kind { SQL_FROM_TABLE, SQL_FROM_CALL, SQL_FROM_SUBSELECT };

enum sql_join {
	SQL_JOIN_FIRST, /* first item of FROM */
	SQL_JOIN_COMMA,
	SQL_JOIN_INNER, /* JOIN, INNER JOIN */
	SQL_JOIN_LEFT,
	SQL_JOIN_RIGHT,
	SQL_JOIN_FULL,
	SQL_JOIN_CROSS,
	SQL_JOIN_NATURAL, /* in any combination */
};

struct sql_from {
	enum sql_from_kind kind;
	enum sql_join join;
	struct sql_range range;      /* without the alias; a sub-select with its parentheses */
	struct sql_range full_range; /* with the alias and its column list */
	struct sql_ident schema;     /* table: optional */
	struct sql_ident table;
	struct sql_expr *call; /* SQL_CALL */
	struct sql_select *subselect;
	struct sql_ident alias;           /* optional */
	struct sql_ident *column_aliases; /* only for sub-selects */
	size_t column_alias_count;
	struct sql_expr *on; /* NULL: none */
	bool using_columns;  /* JOIN ... USING (...) */
	struct sql_range using_range;
};

enum sql_clause_kind {
	SQL_CLAUSE_DISTINCT, /* SELECT DISTINCT [ON (...)] */
	SQL_CLAUSE_ALL,      /* SELECT ALL */
	SQL_CLAUSE_GROUP_BY,
	SQL_CLAUSE_HAVING,
	SQL_CLAUSE_ORDER_BY,
	SQL_CLAUSE_LIMIT, /* LIMIT, OFFSET, FETCH: one clause for all of them */
	SQL_CLAUSE_FOR,
	SQL_CLAUSE_FOR_WAIT, /* SKIP LOCKED, NOWAIT */
};

/* A clause that the dialects refuse or ignore. The range is the one of sql_clause_unsupported (sync-config 6), except that
 * DISTINCT and ALL have their keyword's range here. */
struct sql_clause {
	enum sql_clause_kind kind;
	struct sql_range range;
};

struct sql_select {
	uint16_t height; /* of the highest expression in it */
	struct sql_column *columns;
	size_t column_count;
	struct sql_from *from;
	size_t from_count;
	struct sql_expr *where;     /* NULL: none */
	struct sql_clause *clauses; /* in the order written */
	size_t clause_count;
	bool set_operation;         /* UNION, INTERSECT or EXCEPT follows; the other operand is not kept */
	struct sql_range set_range; /* the word UNION, ... */
	struct sql_range range;     /* SELECT to the last token */
	struct sql_range
	        node_range; /* SELECT to the end of the last node: a parenthesis that closes its last operand is missing */
};

struct sql_statement {
	struct slice sql; /* the text that was parsed, and that ranges refer to */
	struct sql_select *select;
	bool several;            /* another statement follows after a ';' (it is not parsed) */
	struct sql_range second; /* its first to last token, up to the next ';' */
};

static inline struct slice sql_text(struct slice sql, struct sql_range r)
{
	return slice_make(sql.p + r.start, r.end - r.start);
}

#endif
