/*
 * sql_parser.h: what the parts of the parser share. Internal.
 *
 * sql_parse.c: statements; sql_parse_expr.c: operators; sql_parse_primary.c: operands.
 */
#ifndef SYNCLINE_RULES_SQL_PARSER_H
#define SYNCLINE_RULES_SQL_PARSER_H

#include "rules/sql_parse.h"
#include "rules/sql_token.h"

struct sql_parser {
	struct slice sql;
	struct arena *arena;
	struct sql_token *tokens;
	size_t count, at;
	int nesting;
	struct sql_fault *fault;
	bool failed; /* the first fault stands */
};

static inline struct sql_token *sql_current(const struct sql_parser *p)
{
	return &p->tokens[p->at];
}

static inline struct sql_token *sql_ahead(const struct sql_parser *p, size_t n)
{
	return &p->tokens[p->at + n < p->count ? p->at + n : p->count - 1];
}

static inline struct sql_token *sql_next(struct sql_parser *p)
{
	struct sql_token *t = &p->tokens[p->at];
	if (t->kind != SQL_TOKEN_END)
		p->at++;
	return t;
}

static inline bool sql_token_is_word(const struct sql_token *t, enum sql_word w)
{
	return t->kind == SQL_TOKEN_WORD && t->word == w;
}

static inline bool sql_token_is_op(const struct sql_token *t, uint32_t op)
{
	return t->kind == SQL_TOKEN_OPERATOR && t->op == op;
}

static inline bool sql_token_is_name(const struct sql_token *t)
{
	return t->kind == SQL_TOKEN_QUOTED || (t->kind == SQL_TOKEN_WORD && !t->reserved);
}

static inline bool sql_at_word(const struct sql_parser *p, enum sql_word w)
{
	return sql_token_is_word(sql_current(p), w);
}

static inline bool sql_at_op(const struct sql_parser *p, uint32_t op)
{
	return sql_token_is_op(sql_current(p), op);
}

/* Takes the token if it is this one. */
static inline bool sql_take_word(struct sql_parser *p, enum sql_word w)
{
	return sql_at_word(p, w) && sql_next(p);
}

static inline bool sql_take_op(struct sql_parser *p, uint32_t op)
{
	return sql_at_op(p, op) && sql_next(p);
}

/* End of the last token taken. */
static inline uint32_t sql_previous_end(const struct sql_parser *p)
{
	return p->at ? p->tokens[p->at - 1].range.end : 0;
}

/* Sets the fault at a token unless there is one already; answers false. */
bool sql_fail_at(struct sql_parser *p, const struct sql_token *t, const char *message);
/* "syntax error at or near ..." at the current token. */
bool sql_fail(struct sql_parser *p);
bool sql_expect_word(struct sql_parser *p, enum sql_word w);
bool sql_expect_op(struct sql_parser *p, uint32_t op);
bool sql_parse_name(struct sql_parser *p, struct sql_ident *out);
struct sql_ident sql_ident_of(const struct sql_parser *p, const struct sql_token *t);

/* Guards every recursion; each enter that answers true needs a leave. */
bool sql_enter(struct sql_parser *p);
static inline void sql_leave(struct sql_parser *p)
{
	p->nesting--;
}

/* Nodes. sql_adopt takes a child's height into account and answers x, or NULL when the tree gets too high for those who walk it (or
 * x is NULL; a NULL child is fine). */
struct sql_expr *sql_new_expr(struct sql_parser *p, enum sql_expr_kind kind, uint32_t start, uint32_t end);
struct sql_expr *sql_adopt(struct sql_parser *p, struct sql_expr *x, const struct sql_expr *child);
struct sql_expr *sql_new_unsupported(struct sql_parser *p, enum sql_unsupported what, uint32_t start);
struct sql_expr *sql_new_cast(struct sql_parser *p, struct sql_expr *operand, struct slice type, uint32_t start);
/* Of a string, number, null, true or false token. */
struct sql_expr *sql_literal_of(struct sql_parser *p, const struct sql_token *t);

/* The type's lower-cased last name, with "[]" and the second words that belong to it. */
bool sql_parse_type(struct sql_parser *p, struct slice *out);
/* What stands between operators. NULL when it failed. */
struct sql_expr *sql_parse_primary(struct sql_parser *p);
/* NULL when it failed. */
struct sql_expr *sql_parse_expr(struct sql_parser *p);
/* A comma-separated list of at least one expression. */
bool sql_parse_exprs(struct sql_parser *p, struct sql_expr ***items, size_t *count);
/* name(args) or schema.name(args), the parser stands on the name; start: of the whole call. */
struct sql_expr *sql_parse_call(struct sql_parser *p, const struct sql_ident *schema, uint32_t start);
/* The items of ORDER BY; *first is the range of the first one. */
bool sql_parse_order_items(struct sql_parser *p, struct sql_range *first);
/* The parser stands on SELECT. NULL when it failed. */
struct sql_select *sql_parse_select(struct sql_parser *p);

#endif
