/* streams_scope.c: FROM: tables, CTEs, subqueries and table functions as a scope of names (sync-streams 4.1, 4.2). */
#include <stdlib.h>
#include <strings.h>

#include "base/alloc.h"
#include "rules/streams_expr.h"

bool stream_query_parse(struct stream_compiler *s, struct query *q)
{
	struct sql_fault fault;
	if (!sql_parse(q->sql, &s->c->scratch, &q->st, &fault)) {
		query_report(q, DIAGNOSTIC_FATAL, fault.kind == SQL_FAULT_NOT_SELECT ? "not-a-select" : "sql-syntax", fault.range,
		             "%.*s", SLICE_ARG(fault.message));
		return false;
	}
	return select_check(s, q, q->st.select);
}

bool select_check(struct stream_compiler *s, struct query *q, const struct sql_select *select)
{
	for (size_t i = 0; i < select->from_count; i++) {
		const struct sql_from *from = &select->from[i];
		if (from->join > SQL_JOIN_INNER || from->using_columns) {
			sx_fail(s, q, "unsupported-join", from->full_range, "only inner joins with ON are supported");
			return false;
		}
	}
	for (size_t i = 0; i < select->clause_count; i++) {
		enum sql_clause_kind kind = select->clauses[i].kind;
		if (kind == SQL_CLAUSE_DISTINCT || kind == SQL_CLAUSE_ALL)
			continue;
		sx_fail(s, q, "unsupported-clause", select->clauses[i].range, "the clause is not supported");
		return false;
	}
	if (select->set_operation) {
		sx_fail(s, q, "not-a-select", select->range, "UNION and the like are not supported");
		return false;
	}
	return true;
}

/* ---- lookup of names -------------------------------------------------------------------------------------------------- */

static bool same_name(struct slice a, struct slice b)
{
	return a.n == b.n && strncasecmp(a.p, b.p, a.n) == 0;
}

struct scope_item *scope_find(const struct scope *scope, struct slice name)
{
	for (; scope; scope = scope->parent)
		for (size_t i = 0; i < scope->count; i++)
			if (same_name(scope->items[i].name, name))
				return &scope->items[i];
	return NULL;
}

struct scope_item *scope_own(const struct scope *scope)
{
	while (scope && !scope->count)
		scope = scope->parent;
	return scope && scope->count == 1 ? &scope->items[0] : NULL;
}

struct stream_cte *scope_cte(struct stream_compiler *s, struct slice name, bool ctes)
{
	for (struct stream_ctes *list = ctes ? s->ctes : NULL; list; list = list->outer)
		for (size_t i = 0; i < list->count; i++)
			if (slice_eq(list->items[i].name, name) && list->items[i].usable)
				return &list->items[i];
	return NULL;
}

/* ---- building --------------------------------------------------------------------------------------------------------- */

static void scope_add(struct stream_compiler *s, struct scope *scope, struct scope_item item)
{
	scope->items = arena_grow(&s->c->scratch, scope->items, scope->count, &scope->cap, sizeof(*scope->items));
	scope->items[scope->count++] = item;
}

/* The pattern of a table; false: a bad schema, reported. */
static bool table_pattern_of(struct stream_compiler *s, struct query *q, const struct sql_from *from, struct stream_source *t)
{
	struct slice tag = SLICE("default"), schema = t->schema.p ? t->schema : s->c->default_schema;
	const char *dot = t->schema.p ? memchr(schema.p, '.', schema.n) : NULL;
	if (dot) {
		tag = slice_make(schema.p, (size_t)(dot - schema.p));
		schema = slice_drop(schema, tag.n + 1);
		if (memchr(schema.p, '.', schema.n)) {
			sx_fail(s, q, "sql-syntax", from->range, "invalid schema");
			return false;
		}
	}
	t->pattern = plan_add_pattern(s->c, tag, schema, t->name);
	return true;
}

static struct stream_source *table_source(struct stream_compiler *s, struct query *q, const struct sql_from *from, bool joined)
{
	struct stream_source *t = arena_calloc(&s->c->scratch, sizeof(*t));
	struct slice text = sql_text(q->sql, from->full_range);
	*t = (struct stream_source){
	        .kind = SOURCE_TABLE,
	        .schema = from->schema.name,
	        .name = from->table.name,
	        .alias = from->alias.name,
	        .quoted = memchr(text.p, '"', text.n) != NULL,
	        .joined = joined,
	        .distinct = s->distinct,
	        .q = q,
	        .range = from->full_range,
	};
	return table_pattern_of(s, q, from, t) ? t : NULL;
}

static bool add_table(struct stream_compiler *s, struct query *q, const struct sql_select *select, const struct sql_from *from,
                      bool ctes, struct stream_conditions *conditions, struct scope_item *item)
{
	item->name = sql_ident_given(&from->alias) ? from->alias.name : from->table.name;
	struct stream_cte *cte = sql_ident_given(&from->schema) ? NULL : scope_cte(s, from->table.name, ctes);
	if (cte) {
		struct slice name = item->name;
		cte->used = true;
		struct scope_item *columns = scope_inline(s, &cte->q, cte->q.st.select, NULL, 0, false, conditions);
		if (!columns)
			return false;
		*item = *columns;
		item->name = name;
		return true;
	}
	item->source = table_source(s, q, from, select->from_count > 1);
	return item->source != NULL;
}

static bool add_function(struct stream_compiler *s, struct query *q, const struct sql_from *from, struct scope *scope, bool ctes,
                         struct scope_item *item)
{
	const struct sql_expr *call = from->call;
	if (sql_ident_given(&call->call.schema) || !slice_eq(call->call.function.name, SLICE("json_each")))
		return sx_fail(s, q, "unknown-function", from->range, "json_each is the only table function") != NULL;
	if (call->call.arg_count != 1)
		return sx_fail(s, q, "wrong-argument-count", from->range, "json_each takes one argument") != NULL;
	item->name = sql_ident_given(&from->alias) ? from->alias.name : call->call.function.name;
	item->source = sx_json_each(s, q, from->full_range, sx_compile(s, q, call->call.args[0], scope, ctes));
	return item->source != NULL;
}

static bool add_item(struct stream_compiler *s, struct query *q, const struct sql_select *select, const struct sql_from *from,
                     struct scope *scope, bool ctes, struct stream_conditions *conditions)
{
	struct scope_item item = {0};
	bool ok;
	switch (from->kind) {
	case SQL_FROM_TABLE:
		ok = add_table(s, q, select, from, ctes, conditions, &item);
		break;
	case SQL_FROM_CALL:
		ok = add_function(s, q, from, scope, ctes, &item);
		break;
	default: {
		struct scope_item *columns =
		        scope_inline(s, q, from->subselect, from->column_aliases, from->column_alias_count, ctes, conditions);
		ok = columns != NULL;
		if (ok)
			item = *columns;
		item.name = from->alias.name;
	}
	}
	if (!ok)
		return false;
	for (size_t i = 0; i < scope->count; i++)
		if (same_name(scope->items[i].name, item.name)) {
			sx_fail(s, q, "duplicate-table-name", from->full_range, "the name is used twice in FROM");
			return false;
		}
	scope_add(s, scope, item);
	return true;
}

static bool is_distinct(const struct sql_select *select)
{
	for (size_t i = 0; i < select->clause_count; i++)
		if (select->clauses[i].kind == SQL_CLAUSE_DISTINCT)
			return true;
	return false;
}

/* Where an ON condition has to go among the collected ones. */
struct pending_on {
	const struct sql_expr *on;
	size_t before; /* conditions collected before it */
};

struct scope *scope_from_select(struct stream_compiler *s, struct query *q, const struct sql_select *select, struct scope *parent,
                                bool ctes, struct stream_conditions *conditions)
{
	struct scope *scope = arena_calloc(&s->c->scratch, sizeof(*scope));
	scope->parent = parent;
	struct stream_conditions collected = {0};
	struct pending_on *pending = arena_array(&s->c->scratch, struct pending_on, select->from_count + 1);
	size_t pending_count = 0;
	bool distinct = s->distinct;
	s->distinct |= is_distinct(select);
	for (size_t i = 0; i < select->from_count; i++) {
		if (!add_item(s, q, select, &select->from[i], scope, ctes, &collected)) {
			s->distinct = distinct;
			return NULL;
		}
		if (select->from[i].on)
			pending[pending_count++] = (struct pending_on){select->from[i].on, collected.count};
	}
	s->distinct = distinct;
	/* ON conditions see all of FROM. */
	size_t at = 0;
	for (size_t i = 0; i < pending_count; i++) {
		for (; at < pending[i].before; at++)
			conditions_add(s, conditions, collected.items[at]);
		if (!conditions_add(s, conditions, sx_compile(s, q, pending[i].on, scope, ctes)))
			return NULL;
	}
	for (; at < collected.count; at++)
		conditions_add(s, conditions, collected.items[at]);
	return scope;
}

/* ---- CTEs and subqueries ---------------------------------------------------------------------------------------------- */

static bool inline_columns(struct stream_compiler *s, struct query *q, const struct sql_select *select,
                           const struct sql_ident *names, size_t name_count, struct scope *scope, bool ctes,
                           struct scope_item *out)
{
	if (select->column_count > SX_MAX_COLUMNS)
		return sx_fail(s, q, "unsupported-expression", select->range, "the query has too many columns") != NULL;
	out->column_names = arena_array(&s->c->scratch, struct slice, select->column_count + 1);
	out->columns = arena_array(&s->c->scratch, struct sx *, select->column_count + 1);
	for (size_t i = 0; i < select->column_count; i++) {
		const struct sql_column *col = &select->columns[i];
		if (col->expr->kind == SQL_STAR)
			return sx_fail(s, q, "star-not-allowed", col->range, "* is not allowed in a CTE or subquery") != NULL;
		out->column_names[i] = sql_ident_given(&col->alias)  ? col->alias.name
		                       : col->expr->kind == SQL_NAME ? col->expr->name.column.name
		                                                     : sql_text(q->sql, col->range);
		out->columns[i] = sx_compile(s, q, col->expr, scope, ctes);
		if (!out->columns[i])
			return false;
	}
	out->column_count = select->column_count;
	if (names && name_count != out->column_count)
		return sx_fail(s, q, "subquery-columns", select->range, "the number of column names differs") != NULL;
	for (size_t i = 0; names && i < name_count; i++)
		out->column_names[i] = names[i].name;
	for (size_t i = 0; i < out->column_count; i++)
		for (size_t j = 0; j < i; j++)
			if (slice_eq(out->column_names[i], out->column_names[j]))
				return sx_fail(s, q, "duplicate-subquery-column", select->columns[i].range,
				               "the column name is used twice") != NULL;
	return true;
}

struct scope_item *scope_inline(struct stream_compiler *s, struct query *q, const struct sql_select *select,
                                const struct sql_ident *names, size_t name_count, bool ctes, struct stream_conditions *conditions)
{
	if (!select_check(s, q, select))
		return NULL;
	struct scope_item *out = arena_calloc(&s->c->scratch, sizeof(*out));
	struct stream_conditions own = {0};
	struct scope *scope = scope_from_select(s, q, select, NULL, ctes, &own);
	if (!scope || !inline_columns(s, q, select, name_count ? names : NULL, name_count, scope, ctes, out))
		return NULL;
	if (select->where && !conditions_add(s, &own, sx_compile(s, q, select->where, scope, ctes)))
		return NULL;
	struct sx *filter = NULL;
	for (size_t i = 0; i < own.count; i++) {
		filter = filter ? sx_binary(s, SX_AND, filter, own.items[i]) : own.items[i];
		if (!filter)
			return NULL;
	}
	if (filter)
		conditions_add(s, conditions, filter);
	return out;
}
