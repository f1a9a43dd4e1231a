/* sql_parse.c: statements. Expressions are in sql_parse_expr.c. */
#include "rules/sql_parse.h"

#include <string.h>

#include "rules/sql_parser.h"

bool sql_ident_has_upper_case(const struct sql_ident *id)
{
	if (id->quoted)
		return false;
	for (size_t i = 0; i < id->source.n; i++)
		if (id->source.p[i] >= 'A' && id->source.p[i] <= 'Z')
			return true;
	return false;
}

/* ---- shared with the expressions --------------------------------------------------------------------------------------- */

/* At the end of the text there is no token to point at: the range is the whole text. */
bool sql_fail_at(struct sql_parser *p, const struct sql_token *t, const char *message)
{
	if (p->failed)
		return false;
	p->failed = true;
	struct sql_range whole = {0, (uint32_t)p->sql.n};
	p->fault->kind = SQL_FAULT_SYNTAX;
	p->fault->range = t->kind == SQL_TOKEN_END ? whole : t->range;
	p->fault->message = slice_cstr(message);
	return false;
}

bool sql_fail(struct sql_parser *p)
{
	const struct sql_token *t = sql_current(p);
	if (p->failed)
		return false;
	if (t->kind == SQL_TOKEN_END)
		return sql_fail_at(p, t, "syntax error: unexpected end of the query");
	struct slice text = sql_text(p->sql, t->range);
	sql_fail_at(p, t, NULL);
	p->fault->message = arena_printf(p->arena, "syntax error at or near \"%.*s\"", (int)(text.n < 80 ? text.n : 80), text.p);
	return false;
}

bool sql_expect_word(struct sql_parser *p, enum sql_word w)
{
	return sql_take_word(p, w) || sql_fail(p);
}

bool sql_expect_op(struct sql_parser *p, uint32_t op)
{
	return sql_take_op(p, op) || sql_fail(p);
}

struct sql_ident sql_ident_of(const struct sql_parser *p, const struct sql_token *t)
{
	return (struct sql_ident){
	        .name = t->text,
	        .source = sql_text(p->sql, t->range),
	        .range = t->range,
	        .quoted = t->kind == SQL_TOKEN_QUOTED,
	};
}

bool sql_parse_name(struct sql_parser *p, struct sql_ident *out)
{
	if (!sql_token_is_name(sql_current(p)))
		return sql_fail(p);
	*out = sql_ident_of(p, sql_next(p));
	return true;
}

bool sql_enter(struct sql_parser *p)
{
	if (++p->nesting <= SQL_MAX_NESTING)
		return true;
	return sql_fail_at(p, sql_current(p), "the query is too deeply nested");
}

/* ---- columns ----------------------------------------------------------------------------------------------------------- */

/* [AS] alias; without AS it may be any word that is not reserved. */
static bool parse_alias(struct sql_parser *p, struct sql_ident *alias)
{
	if (sql_take_word(p, SQL_WORD_AS))
		return sql_parse_name(p, alias);
	return !sql_token_is_name(sql_current(p)) || sql_parse_name(p, alias);
}

static bool at_qualified_star(const struct sql_parser *p)
{
	return sql_token_is_name(sql_current(p)) && sql_token_is_op(sql_ahead(p, 1), SQL_OPERATOR(".")) &&
	       sql_token_is_op(sql_ahead(p, 2), SQL_OPERATOR("*"));
}

static bool parse_column(struct sql_parser *p, struct sql_column *out)
{
	uint32_t start = sql_current(p)->range.start;
	*out = (struct sql_column){0};
	if (sql_at_op(p, SQL_OPERATOR("*")) || at_qualified_star(p)) {
		out->expr = arena_calloc(p->arena, sizeof(*out->expr));
		out->expr->kind = SQL_STAR;
		out->expr->height = 1;
		if (!sql_take_op(p, SQL_OPERATOR("*"))) {
			out->expr->star.qualifier = sql_ident_of(p, sql_current(p));
			p->at += 3;
		}
		out->expr->range = (struct sql_range){start, sql_previous_end(p)};
	} else if (!(out->expr = sql_parse_expr(p))) {
		return false;
	}
	out->range = out->expr->range;
	if (!parse_alias(p, &out->alias))
		return false;
	if (sql_ident_given(&out->alias))
		out->range.end = out->alias.range.end;
	return true;
}

/* The list of columns may be empty. */
static bool at_end_of_columns(const struct sql_parser *p)
{
	const struct sql_token *t = sql_current(p);
	switch (t->kind) {
	case SQL_TOKEN_END:
		return true;
	case SQL_TOKEN_OPERATOR:
		return t->op == SQL_OPERATOR(";") || t->op == SQL_OPERATOR(")");
	case SQL_TOKEN_WORD:
		return t->word == SQL_WORD_FROM || t->word == SQL_WORD_WHERE || t->word == SQL_WORD_UNION ||
		       t->word == SQL_WORD_LIMIT || t->word == SQL_WORD_ORDER || t->word == SQL_WORD_GROUP ||
		       t->word == SQL_WORD_HAVING || t->word == SQL_WORD_OFFSET || t->word == SQL_WORD_FOR ||
		       t->word == SQL_WORD_INTERSECT || t->word == SQL_WORD_EXCEPT;
	default:
		return false;
	}
}

static void raise_height(struct sql_select *s, const struct sql_expr *x)
{
	if (x && s->height < x->height)
		s->height = x->height;
}

static bool parse_columns(struct sql_parser *p, struct sql_select *s)
{
	if (at_end_of_columns(p))
		return true;
	do {
		s->columns = arena_grow_list(p->arena, s->columns, s->column_count, sizeof(*s->columns));
		struct sql_column *column = &s->columns[s->column_count];
		if (!parse_column(p, column))
			return false;
		s->column_count++;
		raise_height(s, column->expr);
	} while (sql_take_op(p, SQL_OPERATOR(",")));
	return true;
}

/* ---- FROM -------------------------------------------------------------------------------------------------------------- */

/* [schema.]table or a call. */
static bool parse_from_name(struct sql_parser *p, struct sql_from *item)
{
	uint32_t start = sql_current(p)->range.start;
	for (bool first = true;; first = false) {
		bool call = sql_token_is_name(sql_current(p)) && sql_token_is_op(sql_ahead(p, 1), SQL_OPERATOR("("));
		if (call) {
			item->kind = SQL_FROM_CALL;
			item->call = sql_parse_call(p, sql_ident_given(&item->schema) ? &item->schema : NULL, start);
			return item->call != NULL;
		}
		if (!sql_parse_name(p, &item->table))
			return false;
		if (!first || !sql_at_op(p, SQL_OPERATOR(".")))
			break;
		item->schema = item->table;
		sql_next(p);
	}
	item->kind = SQL_FROM_TABLE;
	return true;
}

/* (c1, c2, ...) after the alias of a sub-select. */
static bool parse_column_aliases(struct sql_parser *p, struct sql_from *item)
{
	if (!sql_at_op(p, SQL_OPERATOR("(")))
		return true;
	if (item->kind != SQL_FROM_SUBSELECT)
		return sql_fail(p);
	do {
		sql_next(p);
		item->column_aliases =
		        arena_grow_list(p->arena, item->column_aliases, item->column_alias_count, sizeof(*item->column_aliases));
		if (!sql_parse_name(p, &item->column_aliases[item->column_alias_count]))
			return false;
		item->column_alias_count++;
	} while (sql_at_op(p, SQL_OPERATOR(",")));
	return sql_expect_op(p, SQL_OPERATOR(")"));
}

static bool parse_from_item(struct sql_parser *p, struct sql_from *item)
{
	uint32_t start = sql_current(p)->range.start;
	if (sql_take_op(p, SQL_OPERATOR("("))) {
		item->kind = SQL_FROM_SUBSELECT;
		if (!sql_at_word(p, SQL_WORD_SELECT))
			return sql_fail(p);
		item->subselect = sql_parse_select(p);
		if (!item->subselect || !sql_expect_op(p, SQL_OPERATOR(")")))
			return false;
	} else if (!parse_from_name(p, item)) {
		return false;
	}
	item->range = (struct sql_range){start, sql_previous_end(p)};
	if (!parse_alias(p, &item->alias))
		return false;
	if (sql_ident_given(&item->alias) && !parse_column_aliases(p, item))
		return false;
	item->full_range = (struct sql_range){start, sql_previous_end(p)};
	return true;
}

/* "," or the words of a join. *found is false if the FROM list ends here. */
static bool parse_join(struct sql_parser *p, enum sql_join *join, bool *found)
{
	*found = true;
	if (sql_take_op(p, SQL_OPERATOR(","))) {
		*join = SQL_JOIN_COMMA;
		return true;
	}
	bool natural = sql_take_word(p, SQL_WORD_NATURAL);
	*join = SQL_JOIN_INNER;
	if (sql_take_word(p, SQL_WORD_LEFT))
		*join = SQL_JOIN_LEFT;
	else if (sql_take_word(p, SQL_WORD_RIGHT))
		*join = SQL_JOIN_RIGHT;
	else if (sql_take_word(p, SQL_WORD_FULL))
		*join = SQL_JOIN_FULL;
	else if (sql_take_word(p, SQL_WORD_CROSS))
		*join = SQL_JOIN_CROSS;
	else if (!sql_take_word(p, SQL_WORD_INNER) && !natural && !sql_at_word(p, SQL_WORD_JOIN))
		*found = false;
	if (!*found)
		return true;
	if (*join == SQL_JOIN_LEFT || *join == SQL_JOIN_RIGHT || *join == SQL_JOIN_FULL)
		sql_take_word(p, SQL_WORD_OUTER);
	if (natural)
		*join = SQL_JOIN_NATURAL;
	return sql_expect_word(p, SQL_WORD_JOIN);
}

/* ON condition or USING (columns). */
static bool parse_join_condition(struct sql_parser *p, struct sql_from *item)
{
	uint32_t start = sql_current(p)->range.start;
	if (sql_take_word(p, SQL_WORD_ON)) {
		item->on = sql_parse_expr(p);
		return item->on != NULL;
	}
	if (!sql_take_word(p, SQL_WORD_USING))
		return true;
	struct sql_expr **columns;
	size_t count;
	item->using_columns = true;
	if (!sql_expect_op(p, SQL_OPERATOR("(")) || !sql_parse_exprs(p, &columns, &count) || !sql_expect_op(p, SQL_OPERATOR(")")))
		return false;
	item->using_range = (struct sql_range){start, sql_previous_end(p)};
	return true;
}

static bool parse_from(struct sql_parser *p, struct sql_select *s)
{
	if (!sql_take_word(p, SQL_WORD_FROM))
		return true;
	enum sql_join join = SQL_JOIN_FIRST;
	for (bool more = true; more;) {
		s->from = arena_grow_list(p->arena, s->from, s->from_count, sizeof(*s->from));
		struct sql_from *item = &s->from[s->from_count++];
		*item = (struct sql_from){.join = join};
		if (!parse_from_item(p, item))
			return false;
		if (join != SQL_JOIN_FIRST && join != SQL_JOIN_COMMA && !parse_join_condition(p, item))
			return false;
		raise_height(s, item->call);
		raise_height(s, item->on);
		if (item->subselect && s->height < item->subselect->height)
			s->height = item->subselect->height;
		if (!parse_join(p, &join, &more))
			return false;
	}
	return true;
}

/* ---- clauses that are refused later ------------------------------------------------------------------------------------ */

static void add_clause(struct sql_parser *p, struct sql_select *s, enum sql_clause_kind kind, struct sql_range range)
{
	s->clauses = arena_grow_list(p->arena, s->clauses, s->clause_count, sizeof(*s->clauses));
	s->clauses[s->clause_count++] = (struct sql_clause){kind, range};
}

/* DISTINCT [ON (...)] or ALL after SELECT. */
static bool parse_quantifier(struct sql_parser *p, struct sql_select *s)
{
	struct sql_range range = sql_current(p)->range;
	if (sql_take_word(p, SQL_WORD_ALL)) {
		add_clause(p, s, SQL_CLAUSE_ALL, range);
	} else if (sql_take_word(p, SQL_WORD_DISTINCT)) {
		add_clause(p, s, SQL_CLAUSE_DISTINCT, range);
		struct sql_expr **items;
		size_t count;
		if (sql_take_word(p, SQL_WORD_ON))
			return sql_expect_op(p, SQL_OPERATOR("(")) && sql_parse_exprs(p, &items, &count) &&
			       sql_expect_op(p, SQL_OPERATOR(")"));
	}
	return true;
}

/* LIMIT, OFFSET, FETCH in any order: one clause, from the first limit's value (or the word OFFSET, FETCH) on. */
static bool parse_limit(struct sql_parser *p, struct sql_select *s)
{
	struct sql_range range = {0, 0};
	bool found = false;
	for (;;) {
		struct sql_token *t = sql_current(p);
		bool limit = sql_take_word(p, SQL_WORD_LIMIT), offset = !limit && sql_take_word(p, SQL_WORD_OFFSET);
		if (!limit && !offset && !sql_take_word(p, SQL_WORD_FETCH))
			break;
		if (!found)
			range.start = limit ? sql_current(p)->range.start : t->range.start;
		found = true;
		if (!limit && !offset) {
			while (sql_current(p)->kind == SQL_TOKEN_WORD || sql_current(p)->kind == SQL_TOKEN_INTEGER)
				sql_next(p);
		} else if (!sql_take_word(p, SQL_WORD_ALL) && !sql_parse_expr(p)) {
			return false;
		}
		if (offset && !sql_take_word(p, SQL_WORD_ROW))
			sql_take_word(p, SQL_WORD_ROWS);
	}
	range.end = sql_previous_end(p);
	if (found)
		add_clause(p, s, SQL_CLAUSE_LIMIT, range);
	return true;
}

/* FOR UPDATE [SKIP LOCKED | NOWAIT], the words are taken as they come. */
static bool parse_for(struct sql_parser *p, struct sql_select *s)
{
	while (sql_take_word(p, SQL_WORD_FOR)) {
		struct sql_range range = sql_current(p)->range;
		if (sql_current(p)->kind != SQL_TOKEN_WORD)
			return sql_fail(p);
		while (sql_current(p)->kind == SQL_TOKEN_WORD && !sql_at_word(p, SQL_WORD_SKIP) &&
		       !sql_at_word(p, SQL_WORD_NOWAIT))
			sql_next(p);
		range.end = sql_previous_end(p);
		add_clause(p, s, SQL_CLAUSE_FOR, range);
		if (sql_current(p)->kind != SQL_TOKEN_WORD)
			continue;
		range.start = sql_current(p)->range.start;
		while (sql_current(p)->kind == SQL_TOKEN_WORD)
			sql_next(p);
		range.end = sql_previous_end(p);
		add_clause(p, s, SQL_CLAUSE_FOR_WAIT, range);
	}
	return true;
}

static bool parse_group_and_having(struct sql_parser *p, struct sql_select *s)
{
	if (sql_take_word(p, SQL_WORD_GROUP)) {
		struct sql_expr **items;
		size_t count;
		if (!sql_expect_word(p, SQL_WORD_BY) || !sql_parse_exprs(p, &items, &count))
			return false;
		add_clause(p, s, SQL_CLAUSE_GROUP_BY, items[0]->range);
	}
	if (sql_take_word(p, SQL_WORD_HAVING)) {
		struct sql_expr *x = sql_parse_expr(p);
		if (!x)
			return false;
		add_clause(p, s, SQL_CLAUSE_HAVING, x->range);
	}
	return true;
}

/* UNION, INTERSECT, EXCEPT: what follows only has to parse. */
static bool parse_set_operation(struct sql_parser *p, struct sql_select *s)
{
	if (!sql_at_word(p, SQL_WORD_UNION) && !sql_at_word(p, SQL_WORD_INTERSECT) && !sql_at_word(p, SQL_WORD_EXCEPT))
		return true;
	s->set_operation = true;
	s->set_range = sql_next(p)->range;
	if (!sql_take_word(p, SQL_WORD_ALL))
		sql_take_word(p, SQL_WORD_DISTINCT);
	return sql_parse_select(p) != NULL;
}

static bool parse_clauses(struct sql_parser *p, struct sql_select *s)
{
	if (!parse_group_and_having(p, s) || !parse_set_operation(p, s))
		return false;
	if (sql_take_word(p, SQL_WORD_ORDER)) {
		struct sql_range first;
		if (!sql_expect_word(p, SQL_WORD_BY) || !sql_parse_order_items(p, &first))
			return false;
		add_clause(p, s, SQL_CLAUSE_ORDER_BY, first);
	}
	return parse_limit(p, s) && parse_for(p, s);
}

/* ---- statements -------------------------------------------------------------------------------------------------------- */

static uint32_t node_end(const struct sql_select *s)
{
	if (s->clause_count)
		return s->range.end;
	if (s->where)
		return s->where->range.end;
	if (s->from_count && s->from[s->from_count - 1].on)
		return s->from[s->from_count - 1].on->range.end;
	if (s->from_count)
		return s->from[s->from_count - 1].full_range.end;
	return s->column_count ? s->columns[s->column_count - 1].range.end : s->range.end;
}

static bool parse_select_parts(struct sql_parser *p, struct sql_select *s)
{
	s->range.start = sql_current(p)->range.start;
	if (!sql_expect_word(p, SQL_WORD_SELECT) || !parse_quantifier(p, s) || !parse_columns(p, s) || !parse_from(p, s))
		return false;
	if (sql_take_word(p, SQL_WORD_WHERE) && !(s->where = sql_parse_expr(p)))
		return false;
	raise_height(s, s->where);
	if (!parse_clauses(p, s))
		return false;
	s->range.end = sql_previous_end(p);
	s->node_range = (struct sql_range){s->range.start, node_end(s)};
	return true;
}

struct sql_select *sql_parse_select(struct sql_parser *p)
{
	struct sql_select *s = arena_calloc(p->arena, sizeof(*s));
	if (!sql_enter(p) || !parse_select_parts(p, s))
		return NULL;
	sql_leave(p);
	return s;
}

/* The first word of a statement that is none of ours. */
static bool starts_other_statement(const struct sql_token *t)
{
	static const enum sql_word words[] = {
	        SQL_WORD_INSERT,   SQL_WORD_UPDATE,   SQL_WORD_DELETE,  SQL_WORD_CREATE,  SQL_WORD_DROP,       SQL_WORD_ALTER,
	        SQL_WORD_TRUNCATE, SQL_WORD_WITH,     SQL_WORD_VALUES,  SQL_WORD_GRANT,   SQL_WORD_REVOKE,     SQL_WORD_BEGIN,
	        SQL_WORD_COMMIT,   SQL_WORD_ROLLBACK, SQL_WORD_START,   SQL_WORD_SET,     SQL_WORD_SHOW,       SQL_WORD_EXPLAIN,
	        SQL_WORD_ANALYZE,  SQL_WORD_COPY,     SQL_WORD_VACUUM,  SQL_WORD_PREPARE, SQL_WORD_DEALLOCATE, SQL_WORD_COMMENT,
	        SQL_WORD_DO,       SQL_WORD_CALL,     SQL_WORD_REFRESH, SQL_WORD_RAISE,   SQL_WORD_REINDEX,
	};
	for (size_t i = 0; t->kind == SQL_TOKEN_WORD && i < sizeof(words) / sizeof(words[0]); i++)
		if (t->word == words[i])
			return true;
	return false;
}

/* What follows the first statement. */
static bool parse_rest(struct sql_parser *p, struct sql_statement *out)
{
	if (!sql_at_op(p, SQL_OPERATOR(";")))
		return sql_current(p)->kind == SQL_TOKEN_END || sql_fail(p);
	while (sql_take_op(p, SQL_OPERATOR(";")))
		;
	if (sql_current(p)->kind == SQL_TOKEN_END)
		return true;
	if (!sql_at_word(p, SQL_WORD_SELECT) && !starts_other_statement(sql_current(p)))
		return sql_fail(p);
	out->several = true;
	out->second.start = sql_current(p)->range.start;
	while (sql_current(p)->kind != SQL_TOKEN_END && !sql_at_op(p, SQL_OPERATOR(";")))
		sql_next(p);
	out->second.end = sql_previous_end(p);
	return true;
}

static bool start_parser(struct sql_parser *p, struct slice sql, struct arena *arena, struct sql_fault *fault)
{
	*p = (struct sql_parser){.sql = sql, .arena = arena, .fault = fault};
	*fault = (struct sql_fault){.kind = SQL_FAULT_SYNTAX};
	if (sql.n > SQL_MAX_BYTES) {
		fault->range = (struct sql_range){0, SQL_MAX_BYTES};
		fault->message = SLICE("the query is too long");
		return false;
	}
	struct sql_tokens tokens;
	const char *message;
	if (!sql_tokenize(sql, SQL_MAX_TOKENS, arena, &tokens, &fault->range, &message)) {
		fault->message = slice_cstr(message);
		return false;
	}
	p->tokens = tokens.items;
	p->count = tokens.count;
	return true;
}

bool sql_parse(struct slice sql, struct arena *arena, struct sql_statement *out, struct sql_fault *fault)
{
	struct sql_parser p;
	*out = (struct sql_statement){.sql = sql};
	if (!start_parser(&p, sql, arena, fault))
		return false;
	while (sql_take_op(&p, SQL_OPERATOR(";")))
		;
	if (starts_other_statement(sql_current(&p))) {
		*fault = (struct sql_fault){
		        SQL_FAULT_NOT_SELECT, {0, (uint32_t)sql.n}, SLICE("only SELECT statements are supported")};
		return false;
	}
	out->select = sql_parse_select(&p);
	return out->select && parse_rest(&p, out);
}

bool sql_parse_expression(struct slice sql, struct arena *arena, struct sql_expr **out, struct sql_fault *fault)
{
	struct sql_parser p;
	if (!start_parser(&p, sql, arena, fault))
		return false;
	*out = sql_parse_expr(&p);
	return *out && (sql_current(&p)->kind == SQL_TOKEN_END || sql_fail(&p));
}
