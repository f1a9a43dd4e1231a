/* buckets_compile.c: bucket definitions and events: YAML and SQL -> plan (sync-config 4, 5). */
#include <stdlib.h>

#include "base/alloc.h"
#include "rules/buckets_definition.h"

/* ---- what its queries share ----------------------------------------------------------------------------------------------- */

static const char *const tag_dangerous = "!accept_potentially_dangerous_queries";

bool buckets_parse(struct query *q)
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

void buckets_report_clauses(struct query *q)
{
	for (size_t i = 0; i < q->st.select->clause_count; i++) {
		const struct sql_clause *clause = &q->st.select->clauses[i];
		if (clause->kind == SQL_CLAUSE_DISTINCT || clause->kind == SQL_CLAUSE_ALL)
			query_report_whole(q, DIAGNOSTIC_FATAL, "sql_clause_unsupported", "the clause is not supported");
		else
			query_report(q, DIAGNOSTIC_FATAL, "sql_clause_unsupported", clause->range, "the clause is not supported");
	}
}

struct slice *buckets_copy_columns(struct query *q)
{
	struct slice *names = arena_array(q->c->arena, struct slice, q->column_count + 1);
	for (size_t i = 0; i < q->column_count; i++)
		names[i] = q->columns[i];
	return names;
}

const struct compiled_query *first_readable(const struct definition_compiler *def)
{
	for (size_t i = 0; i < def->query_count; i++)
		if (def->queries[i].readable)
			return &def->queries[i];
	return NULL;
}

/* ---- events ------------------------------------------------------------------------------------------------------------------ */

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
