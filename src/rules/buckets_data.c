/* buckets_data.c: data queries of bucket definitions -> row sources (sync-config 14). */
#include <stdlib.h>

#include "rules/buckets_definition.h"

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
	if (!buckets_parse(&d->q) || !data_from(d, out))
		return false;
	buckets_report_clauses(&d->q);
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

bool compile_data_query(struct compiler *c, struct ynode *scalar, const struct compiled_query *naming, struct row_source *out)
{
	struct data_query d = {.naming = naming};
	query_init(&d.q, c, scalar);
	*out = (struct row_source){.dialect = DIALECT_BUCKETS};
	bool usable = data_body(&d, out) && out->match && !query_has_failed(&d.q);
	if (usable) {
		out->pattern = d.q.pattern;
		out->columns = d.columns;
		out->output_count = d.column_count;
		out->column_names = buckets_copy_columns(&d.q);
		out->column_count = d.q.column_count;
		row_source_finish(c, out);
	}
	buckets_scope_free(&d.scope);
	query_free(&d.q);
	return usable;
}
