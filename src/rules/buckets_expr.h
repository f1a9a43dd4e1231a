/*
 * buckets_expr.h: expressions of bucket definitions: which kind each subexpression is, and matches (sync-config 13).
 */
#ifndef SYNCLINE_RULES_BUCKETS_EXPR_H
#define SYNCLINE_RULES_BUCKETS_EXPR_H

#include "rules/compile.h"

enum operand_kind {
	OPERAND_ERROR, /* reported */
	OPERAND_STATIC,
	OPERAND_ROW,
	OPERAND_PARAMETER, /* bucket.x in data queries, a request value in parameter queries */
	OPERAND_MATCH,
};

/* A parameter while compiling; its number is given when the whole WHERE is known. */
struct match_use {
	struct match_parameter parameter;
	uint32_t number;
};

struct operand_match {
	struct match *tree;
	struct match_use **uses; /* in order of first appearance, each once */
	size_t use_count;
	size_t arrays;    /* array matches inside */
	size_t expanding; /* expanding matches inside */
	bool auth, client;
	bool cancels; /* holds an OR of matches: token uses to its left do not count (15.6) */
};

struct operand {
	enum operand_kind kind;
	const struct expr *expr; /* NULL for bucket.x and nameless parameters */
	const struct sql_expr *node;
	struct operand_match *match;
	bool auth, client; /* uses values of the token, of the client */
};

enum buckets_mode {
	MODE_DATA,
	MODE_PARAMETER,
	MODE_STREAM, /* edition 2: auth.x(), connection.x(), subscription.x() are the request values */
};

struct buckets_scope {
	struct query *q;
	enum buckets_mode mode;
	struct slice row_name;   /* p == NULL: no row */
	struct slice bare_table; /* bare columns are parameters of this table: bucket, token_parameters, user_parameters */
	bool elements;           /* rows are json_each elements: their columns count as request values */
	bool suffix;             /* _table_suffix is available */
	bool subscription;       /* set when values of the subscription are used */
	/* Parameters used so far in matches. */
	struct match_use **uses;
	size_t use_count, use_cap;
};

struct operand buckets_compile_expr(struct buckets_scope *s, const struct sql_expr *e);
/* AND, OR and NOT of values of one kind; error if they are not. */
struct operand buckets_combine_logic(struct buckets_scope *s, const struct sql_expr *e, const struct operand *operands,
                                     size_t count);
/* Any operand but an error as a match. */
struct operand_match *buckets_as_match(struct buckets_scope *s, const struct operand *o);
struct operand_match *buckets_match_always(struct buckets_scope *s);
/* Numbers the parameters of the final match in order and fills the tree with the numbers. */
void buckets_number_parameters(struct buckets_scope *s, struct operand_match *m);
void buckets_scope_free(struct buckets_scope *s);

#endif
