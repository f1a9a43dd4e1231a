/*
 * streams_expr.h: expressions of edition 3 while they are compiled, with the names resolved to sources (sync-streams 4).
 *
 * Nodes are shared (a column of a CTE is the same node wherever it is used) and live in the compiler's scratch arena. Each knows the
 * size and height of the tree it stands for; both are bounded, and so is the number of nodes of a config.
 */
#ifndef SYNCLINE_RULES_STREAMS_EXPR_H
#define SYNCLINE_RULES_STREAMS_EXPR_H

#include "rules/compile.h"

#define SX_MAX_SIZE 5000
#define SX_MAX_HEIGHT 2500
#define SX_MAX_NODES 400000
/* Nodes are shared, what is made of them for each variant is not: so much of that is allowed, counted in nodes. */
#define SX_MAX_WORK 1500000
#define SX_MAX_COLUMNS 2000

enum source_kind { SOURCE_TABLE, SOURCE_EACH };

/* A table or a json_each in the scope of a query. */
struct stream_source {
	enum source_kind kind;
	struct slice schema, name, alias; /* tables; schema and alias optional */
	bool quoted;                      /* a double quote occurs in the table reference */
	bool joined;                      /* its FROM has other items */
	bool distinct;                    /* read under SELECT DISTINCT: rows that give the same count as one result */
	struct query *q;
	struct sql_range range;
	uint32_t pattern;
	struct sx *argument;            /* json_each */
	struct stream_source *attached; /* json_each: the table that it is evaluated with; NULL: request data, or not decided */
	bool constant;                  /* json_each: the argument uses nothing */
};

enum sx_kind {
	SX_COLUMN,
	SX_TABLE_NAME, /* t.schema() ... */
	SX_OUTPUT,     /* key, value of a json_each */
	SX_REQUEST,    /* auth, connection, subscription: the JSON text */
	SX_LITERAL,
	SX_UNARY,
	SX_BINARY,
	SX_BETWEEN,
	SX_IN, /* first argument in the others */
	SX_CASE,
	SX_CAST,
	SX_CALL, /* function, ->, ->>, ps_json_contains */
};

enum sx_op {
	SX_OR,
	SX_AND,
	SX_EQ,
	SX_IS,
	SX_LT,
	SX_GT,
	SX_LE,
	SX_GE,
	SX_BIT_AND,
	SX_BIT_OR,
	SX_SHIFT_LEFT,
	SX_SHIFT_RIGHT,
	SX_ADD,
	SX_SUB,
	SX_MUL,
	SX_DIV,
	SX_MOD,
	SX_CONCAT,
	SX_NOT,  /* unary */
	SX_PLUS, /* unary */
};

struct sx {
	enum sx_kind kind;
	enum sx_op op;
	struct stream_source *source; /* COLUMN, TABLE_NAME, OUTPUT */
	enum request_source request;  /* REQUEST */
	enum table_name_part part;
	struct slice name;  /* input name of a leaf; canonical text of a literal; name of a function or type */
	bool string;        /* LITERAL: text, name is its content */
	struct value value; /* LITERAL */
	struct sx **args;
	uint32_t arg_count;
	bool has_operand, has_else; /* CASE */
	struct query *q;            /* where it was written */
	struct sql_range range;
	uint32_t size, height;
	/* Made when asked for. */
	struct slice signature;
	const struct sx **leaves;
	size_t leaf_count;
};

struct stream_cte {
	struct slice name;
	struct query q;
	struct ynode *key;
	bool usable, used;
};

struct stream_ctes {
	struct stream_cte *items;
	size_t count;
	struct stream_ctes *outer; /* the global ones */
};

/* Names that an expression may use. */
struct scope_item {
	struct slice name;
	struct stream_source *source; /* NULL: columns */
	struct slice *column_names;
	struct sx **columns;
	size_t column_count;
};

struct scope {
	struct scope *parent;
	struct scope_item *items;
	size_t count, cap;
};

struct stream_compiler {
	struct compiler *c;
	struct stream_ctes *ctes; /* visible in the query at hand */
	bool quiet;               /* no warnings */
	bool distinct;            /* inside the FROM of a SELECT DISTINCT */
	size_t nodes, work;
};

/* A condition that was collected: resolved, or to be resolved in a scope. */
struct stream_conditions {
	struct sx **items;
	size_t count, cap;
};

struct sx *sx_fail(struct stream_compiler *s, struct query *q, const char *kind, struct sql_range range, const char *message);
/* Counts work; false: reported, it was too much. */
bool sx_spend(struct stream_compiler *s, struct query *q, struct sql_range range, size_t work);
struct sx *sx_new(struct stream_compiler *s, enum sx_kind kind, struct query *q, struct sql_range range, struct sx *const *args,
                  size_t arg_count);
struct sx *sx_binary(struct stream_compiler *s, enum sx_op op, struct sx *a, struct sx *b);
struct sx *sx_not(struct stream_compiler *s, struct sx *a);

/* streams_scope.c: the sources of a SELECT and the conditions that come with them (ON, filters of CTEs and subqueries), in order.
 * parent: enclosing scope, NULL: none. ctes: are CTEs visible? */
struct scope *scope_from_select(struct stream_compiler *s, struct query *q, const struct sql_select *select, struct scope *parent,
                                bool ctes, struct stream_conditions *conditions);
/* A CTE or FROM-subquery as columns; its conditions are joined into one. NULL: fault. */
struct scope_item *scope_inline(struct stream_compiler *s, struct query *q, const struct sql_select *select,
                                const struct sql_ident *names, size_t name_count, bool ctes,
                                struct stream_conditions *conditions);
struct stream_cte *scope_cte(struct stream_compiler *s, struct slice name, bool ctes);
struct scope_item *scope_find(const struct scope *scope, struct slice name);
/* The only source that an unqualified name can mean; NULL: none or several. */
struct scope_item *scope_own(const struct scope *scope);
/* Checks what no SELECT may have; false: reported. */
bool select_check(struct stream_compiler *s, struct query *q, const struct sql_select *select);
/* Parses the query's text; false: reported. */
bool stream_query_parse(struct stream_compiler *s, struct query *q);

/* streams_expr.c: NULL: fault. */
struct sx *sx_compile(struct stream_compiler *s, struct query *q, const struct sql_expr *e, struct scope *scope, bool ctes);
struct sx *sx_scope_column(struct stream_compiler *s, struct query *q, struct sql_range range, struct scope_item *item,
                           struct slice name);
bool conditions_add(struct stream_compiler *s, struct stream_conditions *c, struct sx *e);
struct sx *sx_call(struct stream_compiler *s, struct query *q, struct sql_range range, struct slice name, struct sx *const *args,
                   size_t count);
bool sx_compile_args(struct stream_compiler *s, struct query *q, struct sql_expr *const *in, size_t count, struct scope *scope,
                     bool ctes, struct sx **out);

/* streams_sets.c: NULL: fault. */
/* row(...) */
bool sx_is_row_call(const struct sql_expr *e);
struct sx *sx_compile_in(struct stream_compiler *s, struct query *q, const struct sql_expr *e, struct scope *scope, bool ctes);
struct sx *sx_compile_overlap(struct stream_compiler *s, struct query *q, const struct sql_expr *e, struct scope *scope,
                              bool ctes);
struct stream_source *sx_json_each(struct stream_compiler *s, struct query *q, struct sql_range range, struct sx *argument);

/* streams_text.c (sync-streams 6) */
void sx_canonical(struct buf *out, const struct sx *e);
struct slice sx_signature(struct stream_compiler *s, struct sx *e);
struct slice source_signature(struct stream_compiler *s, struct stream_source *f);
bool sx_same(struct stream_compiler *s, struct sx *a, struct sx *b);
uint32_t sx_key_hash(struct stream_compiler *s, struct sx *e);
/* Leaves from left to right. */
const struct sx *const *sx_leaves(struct stream_compiler *s, struct sx *e, size_t *count);
struct slice sx_input_name(const struct sx *leaf);

/* streams_lower.c */
struct lowering {
	struct compiler *c;
	struct stream_source *const *functions; /* numbers of json_eachs; for request data: the one lookup */
	size_t function_count;
	struct slice *columns; /* slots */
	size_t column_count, column_cap;
};
const struct expr *sx_lower(struct lowering *l, const struct sx *e);
void lowering_free(struct lowering *l);

#endif
