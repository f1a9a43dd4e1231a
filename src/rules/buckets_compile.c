/* buckets_compile.c: bucket definitions and events: YAML and SQL -> plan (sync-config 4, 5, 14, 15). */
#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "rules/buckets.h"
#include "rules/buckets_expr.h"

/* ---- one definition while compiling ----------------------------------------------------------------------------------- */

/* A parameter query with what its definition must know of it. */
struct compiled_query {
	struct parameter_query run;
	struct slice *names; /* of its bucket parameters, in order */
	size_t name_count;
	bool readable; /* not abandoned */
	bool has_lookup;
	struct row_source lookup;
};

struct definition_compiler {
	struct compiler *c;
	struct slice name;
	int priority; /* -1: not given */
	bool accept;  /* dangerous queries */
	struct compiled_query *queries;
	size_t query_count, query_cap;
	const struct compiled_query *naming; /* the query that names the parameters, NULL: none */
	struct row_source *sources;
	size_t source_count, source_cap;
};

static const char *const tag_dangerous = "!accept_potentially_dangerous_queries";

static bool parse(struct query *q)
{
	if (q->scalar && slice_eq(q->scalar->tag, slice_cstr(tag_dangerous))) {
		struct sql_range none = {0, 0};
		return query_abandon(q, "sql_syntax", &none, "the tag is not supported");
	}
	struct sql_fault fault;
	if (!sql_parse(q->sql, &q->c->scratch, &q->st, &fault))
		return query_abandon(q, fault.kind == SQL_FAULT_NOT_SELECT ? "sql_not_select" : "sql_syntax", &fault.range,
		                     "%.*s", SLICE_ARG(fault.message));
	if (q->st.several)
		return query_abandon(q, "sql_multiple_statements", &q->st.second, "only one statement is allowed");
	if (q->st.select->set_operation)
		return query_abandon(q, "sql_not_select", &q->st.select->range, "UNION and the like are not supported");
	return true;
}

static void report_clauses(struct query *q)
{
	for (size_t i = 0; i < q->st.select->clause_count; i++) {
		const struct sql_clause *clause = &q->st.select->clauses[i];
		if (clause->kind == SQL_CLAUSE_DISTINCT || clause->kind == SQL_CLAUSE_ALL)
			query_report_whole(q, DIAGNOSTIC_FATAL, "sql_clause_unsupported", "the clause is not supported");
		else
			query_report(q, DIAGNOSTIC_FATAL, "sql_clause_unsupported", clause->range, "the clause is not supported");
	}
}

static struct slice *copy_columns(struct query *q)
{
	struct slice *names = arena_array(q->c->arena, struct slice, q->column_count + 1);
	for (size_t i = 0; i < q->column_count; i++)
		names[i] = q->columns[i];
	return names;
}

/* ---- data queries ----------------------------------------------------------------------------------------------------- */

struct data_query {
	struct query q;
	struct buckets_scope scope;
	const struct compiled_query *naming; /* NULL: an event */
	struct output_column *columns;
	size_t column_count;
	bool has_id, star, explicit_id;
};

static bool data_from(struct data_query *d, struct row_source *out)
{
	const struct sql_select *select = d->q.st.select;
	const struct sql_from *from = select->from;
	if (select->from_count != 1 || from->kind != SQL_FROM_TABLE)
		return query_abandon(&d->q, "sql_single_table", select->from_count ? &from->full_range : NULL,
		                     "a data query reads exactly one table");
	if (!query_set_table(&d->q, from))
		return false;
	bool alias = sql_ident_given(&from->alias);
	struct slice name = alias ? from->alias.name : from->table.name;
	if (alias || !d->q.c->plan->patterns[d->q.pattern].table_wildcard)
		out->output_table = arena_copy(d->q.c->arena, name);
	d->scope = (struct buckets_scope){.q = &d->q, .mode = MODE_DATA, .row_name = name, .suffix = true};
	if (slice_eq(name, SLICE("bucket")))
		d->scope.bare_table = name;
	return true;
}

/* The parameters of the match against those of the definition: fills the key order. */
static bool cover_parameters(struct data_query *d, const struct operand_match *m, struct row_source *out)
{
	size_t names = d->naming->name_count, distinct = 0;
	uint32_t *keys = arena_array(d->q.c->arena, uint32_t, names + 1);
	for (size_t i = 0; i < names; i++) {
		bool found = false;
		for (size_t j = 0; j < m->use_count && !found; j++) {
			found = slice_eq(m->uses[j]->parameter.key, d->naming->names[i]);
			if (found)
				keys[i] = (uint32_t)j;
		}
		if (!found)
			return false;
		bool first = true;
		for (size_t j = 0; j < i; j++)
			first &= !slice_eq(d->naming->names[j], d->naming->names[i]);
		distinct += first;
	}
	out->key_parameters = keys;
	out->key_count = names;
	out->parameter_count = m->use_count;
	return distinct == m->use_count;
}

static void data_where(struct data_query *d, struct row_source *out)
{
	const struct sql_select *select = d->q.st.select;
	struct operand_match *m = buckets_match_always(&d->scope);
	if (select->where && d->naming) {
		struct operand w = buckets_compile_expr(&d->scope, select->where);
		if (w.kind == OPERAND_ERROR)
			return;
		m = buckets_as_match(&d->scope, &w);
		buckets_number_parameters(&d->scope, m);
	}
	out->match = m->tree;
	if (d->naming && !cover_parameters(d, m, out))
		query_report(&d->q, DIAGNOSTIC_FATAL, "bucket_parameters_not_covered", select->node_range,
		             "the query must use each bucket parameter, and no others");
}

static bool data_column(struct data_query *d, const struct sql_column *col)
{
	const struct sql_expr *e = col->expr;
	bool alias = sql_ident_given(&col->alias);
	if (e->kind == SQL_STAR) {
		if (alias) {
			query_report(&d->q, DIAGNOSTIC_FATAL, "star_not_allowed", e->range, "* cannot have an alias");
			return true;
		}
		d->columns[d->column_count++] = (struct output_column){0};
		d->has_id = d->star = true;
		return true;
	}
	if (!alias && e->kind != SQL_NAME)
		return query_abandon(&d->q, "alias_required", &e->range, "the expression needs an alias");
	struct operand o = buckets_compile_expr(&d->scope, e);
	if (o.kind == OPERAND_ERROR)
		return !d->q.abandoned;
	if (o.kind == OPERAND_MATCH || o.kind == OPERAND_PARAMETER) {
		query_report(&d->q, DIAGNOSTIC_FATAL, "match_in_expression", e->range, "bucket parameters cannot be selected");
		return true;
	}
	struct slice name = arena_copy(d->q.c->arena, alias ? col->alias.name : e->name.column.name);
	d->columns[d->column_count++] = (struct output_column){.name = name, .expr = o.expr};
	bool id = slice_eq(name, SLICE("id"));
	d->has_id |= id;
	d->explicit_id |= id;
	return true;
}

static void data_id(struct data_query *d)
{
	const struct sql_select *select = d->q.st.select;
	if (!d->naming)
		return;
	if (!d->has_id) {
		if (select->column_count)
			query_report(&d->q, DIAGNOSTIC_FATAL, "missing_id", select->columns[0].range,
			             "the query must return an id column");
		else
			query_report_whole(&d->q, DIAGNOSTIC_FATAL, "missing_id", "the query must return an id column");
	} else if (d->star && !d->explicit_id && d->q.known && !query_known_column(&d->q, SLICE("id"))) {
		query_report(&d->q, DIAGNOSTIC_WARNING, "missing_id", select->columns[0].range, "the table has no id column");
	}
}

static bool data_body(struct data_query *d, struct row_source *out)
{
	if (!parse(&d->q) || !data_from(d, out))
		return false;
	report_clauses(&d->q);
	data_where(d, out);
	const struct sql_select *select = d->q.st.select;
	d->columns = arena_array(d->q.c->arena, struct output_column, select->column_count + 1);
	for (size_t i = 0; i < select->column_count && !d->q.abandoned; i++)
		if (!data_column(d, &select->columns[i]))
			return false;
	if (d->q.abandoned)
		return false;
	data_id(d);
	return true;
}

/* Compiles a data query into a row source; false if it is not usable (then a fatal diagnostic was reported). */
static bool compile_data_query(struct compiler *c, struct ynode *scalar, const struct compiled_query *naming,
                               struct row_source *out)
{
	struct data_query d = {.naming = naming};
	query_init(&d.q, c, scalar);
	*out = (struct row_source){.dialect = DIALECT_BUCKETS};
	bool usable = data_body(&d, out) && out->match && !query_has_failed(&d.q);
	if (usable) {
		out->pattern = d.q.pattern;
		out->columns = d.columns;
		out->output_count = d.column_count;
		out->column_names = copy_columns(&d.q);
		out->column_count = d.q.column_count;
		row_source_finish(c, out);
	}
	buckets_scope_free(&d.scope);
	query_free(&d.q);
	return usable;
}

void compile_event(struct compiler *c, struct slice name, struct ynode *payloads)
{
	struct plan *p = c->plan;
	struct row_source *sources = arena_array(c->arena, struct row_source, payloads->count + 1);
	size_t count = 0;
	for (size_t i = 0; i < payloads->count; i++) {
		if (payloads->items[i]->kind != YNODE_SCALAR)
			diagnostic_node(c, DIAGNOSTIC_FATAL, "expected_scalar", payloads->items[i], "a query must be text");
		else if (compile_data_query(c, payloads->items[i], NULL, &sources[count]))
			count++;
	}
	p->events = xgrow(p->events, p->event_count, &c->event_cap, sizeof(*p->events));
	p->events[p->event_count++] =
	        (struct plan_event){.name = arena_copy(c->arena, name), .sources = sources, .source_count = count};
}

/* ---- parameter queries ------------------------------------------------------------------------------------------------ */

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
	if (!parse(&p->q) || !parameter_from(p))
		return false;
	report_clauses(&p->q);
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
	s->column_names = copy_columns(&p->q);
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

static const struct compiled_query *first_readable(const struct definition_compiler *def)
{
	for (size_t i = 0; i < def->query_count; i++)
		if (def->queries[i].readable)
			return &def->queries[i];
	return NULL;
}

static void compile_parameter_query(struct definition_compiler *def, struct ynode *scalar)
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

/* ---- the definition --------------------------------------------------------------------------------------------------- */

static void read_priority(struct definition_compiler *def, const struct ynode *node)
{
	const struct ynode *n = map_get(node, "priority");
	if (!n)
		return;
	double v = n->kind == YNODE_SCALAR && ynode_scalar_type(n) == YSCALAR_NUMBER ? ynode_number(n) : -1;
	if (v == 0 || v == 1 || v == 2 || v == 3)
		def->priority = (int)v;
	else
		diagnostic_node(def->c, DIAGNOSTIC_FATAL, "bad_priority", n, "the priority must be 0, 1, 2 or 3");
}

static void read_accept(struct definition_compiler *def, const struct ynode *node)
{
	const struct ynode *n = map_get(node, "accept_potentially_dangerous_queries");
	if (!n)
		return;
	if (n->kind == YNODE_SCALAR && ynode_scalar_type(n) == YSCALAR_BOOL)
		def->accept = ynode_bool(n);
	else
		diagnostic_node(def->c, DIAGNOSTIC_FATAL, n->kind == YNODE_SCALAR ? "bad_scalar_type" : "expected_scalar", n,
		                "must be true or false");
}

static void read_parameters(struct definition_compiler *def, const struct ynode *node)
{
	struct ynode *n = map_get(node, "parameters");
	if (!n) {
		compile_parameter_query(def, NULL);
	} else if (n->kind == YNODE_SCALAR) {
		if (ynode_scalar_type(n) == YSCALAR_NULL)
			diagnostic_node(def->c, DIAGNOSTIC_FATAL, "expected_scalar", n, "a query must be text");
		else
			compile_parameter_query(def, n);
	} else if (n->kind == YNODE_LIST) {
		for (size_t i = 0; i < n->count; i++)
			if (n->items[i]->kind == YNODE_SCALAR)
				compile_parameter_query(def, n->items[i]);
			else
				diagnostic_node(def->c, DIAGNOSTIC_FATAL, "expected_scalar", n->items[i], "a query must be text");
	} else {
		diagnostic_node(def->c, DIAGNOSTIC_FATAL, "expected_sequence", n,
		                "parameters must be a query or a list of queries");
	}
	def->naming = first_readable(def);
}

static void read_data_query(struct definition_compiler *def, struct ynode *item)
{
	if (item->kind != YNODE_SCALAR) {
		diagnostic_node(def->c, DIAGNOSTIC_FATAL, "expected_scalar", item, "a query must be text");
		return;
	}
	if (!def->naming) {
		struct query q;
		query_init(&q, def->c, item);
		query_report_whole(&q, DIAGNOSTIC_FATAL, "no_parameter_query", "the definition has no usable parameter query");
		return;
	}
	struct row_source source;
	if (!compile_data_query(def->c, item, def->naming, &source))
		return;
	def->sources = xgrow(def->sources, def->source_count, &def->source_cap, sizeof(*def->sources));
	def->sources[def->source_count++] = source;
}

static void read_data(struct definition_compiler *def, const struct ynode *node)
{
	const struct ynode *n = map_get(node, "data");
	if (!n)
		diagnostic_node(def->c, DIAGNOSTIC_FATAL, "missing_key", node, "data must be given");
	else if (n->kind != YNODE_LIST)
		diagnostic_node(def->c, DIAGNOSTIC_FATAL, "expected_sequence", n, "data must be a list");
	else
		for (size_t i = 0; i < n->count; i++)
			read_data_query(def, n->items[i]);
}

static void add_to_plan(struct definition_compiler *def)
{
	struct compiler *c = def->c;
	struct plan_stream *s = plan_add_stream(c);
	s->name = arena_copy(c->arena, def->name);
	s->kind = STREAM_DEFINITION;
	s->is_default = true;
	s->priority = def->priority >= 0 ? def->priority : 3;
	if (def->naming) {
		s->parameters = def->naming->names;
		s->parameter_count = def->naming->name_count;
	}
	uint32_t buckets = plan_add_definition(c, DEFINITION_BUCKETS, s->name, def->sources, def->source_count);
	struct parameter_query *queries = arena_array(c->arena, struct parameter_query, def->query_count + 1);
	for (size_t i = 0; i < def->query_count; i++) {
		struct compiled_query *q = &def->queries[i];
		queries[i] = q->run;
		if (q->has_lookup)
			queries[i].lookup = plan_add_definition(
			        c, DEFINITION_LOOKUP, arena_printf(c->arena, "%.*s#%u", SLICE_ARG(def->name), q->run.number),
			        &q->lookup, 1);
	}
	s->definition = buckets;
	s->queries = queries;
	s->variant_count = def->query_count;
}

void compile_bucket_definition(struct compiler *c, struct slice name, struct ynode *node)
{
	static const char *const keys[] = {"parameters", "data", "priority", "accept_potentially_dangerous_queries", NULL};
	if (node->kind != YNODE_MAP) {
		diagnostic_node(c, DIAGNOSTIC_FATAL, "expected_map", node, "a bucket definition must be a map");
		return;
	}
	struct definition_compiler def = {.c = c, .name = name, .priority = -1};
	read_priority(&def, node);
	read_accept(&def, node);
	read_parameters(&def, node);
	read_data(&def, node);
	map_check_keys(c, "unknown_key", node, keys);
	add_to_plan(&def);
	free(def.queries);
	free(def.sources);
}
