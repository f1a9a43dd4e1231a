/* buckets_parameters.c: parameter queries of bucket definitions -> what the querier runs, and lookups (sync-config 15). */
#include <stdlib.h>

#include "base/alloc.h"
#include "rules/buckets_definition.h"

struct parameter_compiler {
	struct definition_compiler *def;
	struct query q;
	struct buckets_scope scope;
	struct compiled_query *out;
	struct operand argument, where;
	struct operand_match *match;
	struct parameter_column *columns;
	struct output_column *stored;
	size_t column_count, stored_count;
	bool priority_seen;
	bool auth, client;
};

static bool parameter_json_each(struct parameter_compiler *p, const struct sql_from *from)
{
	const struct sql_expr *call = from->call;
	if (!slice_eq(call->call.function.name, SLICE("json_each")))
		return query_abandon(&p->q, "table_function_undefined", &from->range, "json_each is the only table function");
	p->out->run.kind = PARAMETER_JSON_EACH;
	p->scope.row_name = sql_ident_given(&from->alias) ? from->alias.name : SLICE("json_each");
	p->scope.elements = true;
	if (call->call.arg_count == 0)
		return true;
	struct buckets_scope scope = {.q = &p->q, .mode = MODE_PARAMETER};
	p->argument = buckets_compile_expr(&scope, call->call.args[0]);
	buckets_scope_free(&scope);
	if (p->argument.kind == OPERAND_MATCH) {
		query_report(&p->q, DIAGNOSTIC_FATAL, "match_in_expression", call->call.args[0]->range,
		             "not allowed as an argument");
		p->argument.kind = OPERAND_ERROR;
	}
	p->out->run.argument = p->argument.expr;
	return !p->q.abandoned;
}

static bool parameter_from(struct parameter_compiler *p)
{
	const struct sql_select *select = p->q.st.select;
	const struct sql_from *from = select->from;
	p->scope = (struct buckets_scope){.q = &p->q, .mode = MODE_PARAMETER};
	if (select->from_count > 1)
		return query_abandon(&p->q, "sql_single_table", &from->full_range, "a parameter query reads at most one table");
	if (select->from_count == 0)
		return true;
	if (from->kind == SQL_FROM_SUBSELECT)
		return query_abandon(&p->q, "sql_subquery", &from->full_range, "subqueries are not supported");
	if (from->kind == SQL_FROM_CALL)
		return parameter_json_each(p, from);
	p->out->run.kind = PARAMETER_TABLE;
	if (sql_ident_given(&from->alias))
		query_report(&p->q, DIAGNOSTIC_FATAL, "table_alias_unsupported", from->full_range,
		             "table aliases are not supported here");
	if (!query_set_table(&p->q, from))
		return false;
	p->scope.row_name = sql_ident_given(&from->alias) ? from->alias.name : from->table.name;
	if (slice_eq(p->scope.row_name, SLICE("token_parameters")) || slice_eq(p->scope.row_name, SLICE("user_parameters")))
		p->scope.bare_table = p->scope.row_name;
	return true;
}

static void parameter_where(struct parameter_compiler *p)
{
	const struct sql_select *select = p->q.st.select;
	p->where = (struct operand){.kind = OPERAND_STATIC};
	if (select->where)
		p->where = buckets_compile_expr(&p->scope, select->where);
	if (p->q.abandoned || p->where.kind == OPERAND_ERROR)
		return;
	struct parameter_query *run = &p->out->run;
	if (run->kind != PARAMETER_TABLE) {
		if (select->where && (p->where.kind == OPERAND_MATCH || p->where.kind == OPERAND_ROW))
			query_report(&p->q, DIAGNOSTIC_FATAL, "match_in_expression", select->where->range, "not allowed here");
		run->where = select->where ? p->where.expr : NULL;
		return;
	}
	p->match = select->where ? buckets_as_match(&p->scope, &p->where) : buckets_match_always(&p->scope);
	buckets_number_parameters(&p->scope, p->match);
	size_t expanding = 0;
	struct match_parameter *parameters = arena_array(p->q.c->arena, struct match_parameter, p->match->use_count + 1);
	for (size_t i = 0; i < p->match->use_count; i++) {
		parameters[i] = p->match->uses[i]->parameter;
		expanding += parameters[i].expanding;
	}
	run->parameters = parameters;
	run->parameter_count = p->match->use_count;
	if (expanding > 1)
		query_report_whole(&p->q, DIAGNOSTIC_FATAL, "multiple_array_matches", "only one array parameter can be expanded");
}

static void parameter_priority(struct parameter_compiler *p, const struct sql_column *col)
{
	const struct sql_expr *e = col->expr;
	if (p->priority_seen || p->def->priority >= 0) {
		query_report_whole(&p->q, DIAGNOSTIC_FATAL, "priority_repeated", "the priority is given twice");
		return;
	}
	p->priority_seen = true;
	if (e->kind != SQL_LITERAL || e->literal.kind != SQL_LITERAL_INTEGER)
		query_report(&p->q, DIAGNOSTIC_FATAL, "priority_not_literal", e->range, "the priority must be a number");
	else if (e->literal.exact_overflow || e->literal.exact < 0 || e->literal.exact > 3)
		query_report(&p->q, DIAGNOSTIC_FATAL, "bad_priority", e->range, "the priority must be 0, 1, 2 or 3");
	else
		p->out->run.priority = (int)e->literal.exact;
}

static void parameter_column(struct parameter_compiler *p, const struct sql_column *col)
{
	const struct sql_expr *e = col->expr;
	bool alias = sql_ident_given(&col->alias);
	query_check_case(&p->q, &col->alias);
	struct slice name = arena_copy(p->q.c->arena, alias ? col->alias.name : e->name.column.name);
	if (slice_eq(name, SLICE("_priority"))) {
		parameter_priority(p, col);
		return;
	}
	struct operand o = buckets_compile_expr(&p->scope, e);
	p->out->names[p->out->name_count++] = name;
	if (o.kind == OPERAND_ERROR)
		return;
	bool table = p->out->run.kind == PARAMETER_TABLE;
	if (o.kind == OPERAND_MATCH || (o.kind == OPERAND_ROW && (!table || e->kind != SQL_NAME))) {
		query_report(&p->q, DIAGNOSTIC_FATAL, "match_in_expression", e->range,
		             "only plain columns and request values are allowed");
		return;
	}
	p->auth |= o.auth;
	p->client |= o.client;
	struct parameter_column *out = &p->columns[p->column_count++];
	*out = (struct parameter_column){.name = name, .request = o.expr};
	if (o.kind == OPERAND_ROW) {
		out->request = NULL;
		p->stored[p->stored_count++] = (struct output_column){.name = name, .expr = o.expr};
	}
}

static bool parameter_columns(struct parameter_compiler *p)
{
	const struct sql_select *select = p->q.st.select;
	struct arena *arena = p->q.c->arena;
	for (size_t i = 0; i < select->column_count; i++) {
		const struct sql_column *col = &select->columns[i];
		if (!sql_ident_given(&col->alias) && col->expr->kind != SQL_NAME && col->expr->kind != SQL_STAR)
			return query_abandon(&p->q, "alias_required", &col->expr->range, "the expression needs an alias");
	}
	for (size_t i = 0; i < select->column_count; i++)
		if (select->columns[i].expr->kind == SQL_STAR)
			return query_abandon(&p->q, "star_not_allowed", &select->columns[i].expr->range, "* is not allowed here");
	p->columns = arena_array(arena, struct parameter_column, select->column_count + 1);
	p->stored = arena_array(arena, struct output_column, select->column_count + 1);
	p->out->names = arena_array(arena, struct slice, select->column_count + 1);
	for (size_t i = 0; i < select->column_count && !p->q.abandoned; i++)
		parameter_column(p, &select->columns[i]);
	p->out->run.columns = p->columns;
	p->out->run.column_count = p->column_count;
	return !p->q.abandoned;
}

static void parameter_dangerous(struct parameter_compiler *p)
{
	bool auth = p->auth, client = p->client;
	switch (p->out->run.kind) {
	case PARAMETER_TABLE:
		auth |= p->match && p->match->auth;
		client |= p->match && p->match->client;
		break;
	case PARAMETER_JSON_EACH:
		auth |= p->argument.auth;
		client |= p->argument.client || p->where.client;
		break;
	case PARAMETER_STATIC:
		client |= p->where.client;
		break;
	}
	if (client && !auth && !p->def->accept)
		query_report_whole(&p->q, DIAGNOSTIC_WARNING, "dangerous_query",
		                   "the query gives access by what the client sends, without checking the token");
}

static bool parameter_body(struct parameter_compiler *p)
{
	if (!buckets_parse(&p->q) || !parameter_from(p))
		return false;
	buckets_report_clauses(&p->q);
	parameter_where(p);
	if (p->q.abandoned || !parameter_columns(p))
		return false;
	parameter_dangerous(p);
	return true;
}

/* The lookup source of a table query: stored columns come once each, the last value of a repeated name counts. */
static void parameter_lookup(struct parameter_compiler *p)
{
	struct row_source *s = &p->out->lookup;
	*s = (struct row_source){.dialect = DIALECT_BUCKETS, .pattern = p->q.pattern, .match = p->match->tree};
	s->parameter_count = p->match->use_count;
	s->key_count = p->match->use_count;
	s->columns = p->stored;
	s->output_count = p->stored_count;
	s->column_names = buckets_copy_columns(&p->q);
	s->column_count = p->q.column_count;
	row_source_finish(p->q.c, s);
	p->out->has_lookup = true;
}

static bool names_within(const struct compiled_query *q, const struct compiled_query *naming)
{
	for (size_t i = 0; i < q->name_count; i++) {
		bool found = false;
		for (size_t j = 0; j < naming->name_count && !found; j++)
			found = slice_eq(q->names[i], naming->names[j]);
		if (!found)
			return false;
	}
	return true;
}

void compile_parameter_query(struct definition_compiler *def, struct ynode *scalar)
{
	struct compiled_query out = {0};
	out.run.number = (uint32_t)def->query_count + 1;
	out.run.priority = def->priority >= 0 ? def->priority : 3;
	struct parameter_compiler p = {.def = def, .out = &out};
	query_init(&p.q, def->c, scalar);
	out.readable = parameter_body(&p);
	const struct compiled_query *naming = first_readable(def);
	if (out.readable && naming && !names_within(&out, naming)) {
		diagnostics_truncate(def->c->d, p.q.mark);
		query_report_whole(&p.q, DIAGNOSTIC_FATAL, "bucket_parameters_mismatch",
		                   "all parameter queries of a definition must return the same parameters");
	}
	if (out.readable && out.run.kind == PARAMETER_TABLE && p.match && !query_has_failed(&p.q))
		parameter_lookup(&p);
	buckets_scope_free(&p.scope);
	query_free(&p.q);
	def->queries = xgrow(def->queries, def->query_count, &def->query_cap, sizeof(*def->queries));
	def->queries[def->query_count++] = out;
}
