/* query.c: an SQL text inside a YAML scalar, its table and its diagnostics. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "rules/compile.h"

void query_init(struct query *q, struct compiler *c, struct ynode *scalar)
{
	*q = (struct query){.c = c, .scalar = scalar, .mark = c->d->count};
	q->sql = scalar ? scalar->text : SLICE("SELECT");
}

void query_free(struct query *q)
{
	free(q->columns);
	q->columns = NULL;
}

static void report(struct query *q, enum diagnostic_level level, const char *class_name, size_t start, size_t end,
                   const char *format, va_list args)
{
	char text[400];
	vsnprintf(text, sizeof(text), format, args);
	diagnostic_add(q->c, level, class_name, start, end, "%s", text);
}

void query_report(struct query *q, enum diagnostic_level level, const char *class_name, struct sql_range range,
                  const char *format, ...)
{
	if (q->abandoned)
		return;
	va_list args;
	va_start(args, format);
	size_t start = q->scalar ? ynode_offset(&q->c->doc, q->scalar, range.start) : 0;
	size_t end = q->scalar ? ynode_offset(&q->c->doc, q->scalar, range.end) : 0;
	report(q, level, class_name, start, end, format, args);
	va_end(args);
}

/* Two classes measure the decoded text, which is shorter than the source when that has escapes (sync-config 6: keep). */
static size_t whole_end(struct query *q, const char *class_name, size_t start)
{
	if (strcmp(class_name, "bad_schema") == 0 || strcmp(class_name, "static_evaluation_failed") == 0)
		return start + q->sql.n;
	return ynode_offset(&q->c->doc, q->scalar, q->sql.n);
}

static void report_whole(struct query *q, enum diagnostic_level level, const char *class_name, const char *format, va_list args)
{
	size_t start = q->scalar ? ynode_offset(&q->c->doc, q->scalar, 0) : 0;
	report(q, level, class_name, start, q->scalar ? whole_end(q, class_name, start) : 0, format, args);
}

void query_report_whole(struct query *q, enum diagnostic_level level, const char *class_name, const char *format, ...)
{
	if (q->abandoned)
		return;
	va_list args;
	va_start(args, format);
	report_whole(q, level, class_name, format, args);
	va_end(args);
}

bool query_abandon(struct query *q, const char *class_name, const struct sql_range *range, const char *format, ...)
{
	if (q->abandoned)
		return false;
	diagnostics_truncate(q->c->d, q->mark);
	va_list args;
	va_start(args, format);
	if (range && q->scalar)
		report(q, DIAGNOSTIC_FATAL, class_name, ynode_offset(&q->c->doc, q->scalar, range->start),
		       ynode_offset(&q->c->doc, q->scalar, range->end), format, args);
	else
		report_whole(q, DIAGNOSTIC_FATAL, class_name, format, args);
	va_end(args);
	q->abandoned = true;
	return false;
}

bool query_has_failed(const struct query *q)
{
	for (size_t i = q->mark; i < q->c->d->count; i++)
		if (q->c->d->items[i].level == DIAGNOSTIC_FATAL)
			return true;
	return q->abandoned || q->c->d->count >= MAX_DIAGNOSTICS;
}

void query_check_case(struct query *q, const struct sql_ident *id)
{
	if (sql_ident_given(id) && sql_ident_has_upper_case(id))
		query_report(q, DIAGNOSTIC_WARNING, "identifier_case", id->range,
		             "unquoted identifiers are lower-cased: use \"%.*s\" to keep the case", SLICE_ARG(id->source));
}

uint32_t query_column(struct query *q, struct slice name)
{
	for (size_t i = 0; i < q->column_count; i++)
		if (slice_eq(q->columns[i], name))
			return (uint32_t)i;
	if (q->column_count >= MAX_QUERY_COLUMNS) {
		query_abandon(q, "sql_syntax", NULL, "the query uses too many columns");
		return 0;
	}
	q->columns = xgrow(q->columns, q->column_count, &q->column_cap, sizeof(*q->columns));
	q->columns[q->column_count] = arena_copy(q->c->arena, name);
	return (uint32_t)q->column_count++;
}

static bool table_has_column(const struct known_table *t, struct slice name)
{
	for (size_t i = 0; i < t->column_count; i++)
		if (slice_eq(t->columns[i], name))
			return true;
	return false;
}

bool query_known_column(const struct query *q, struct slice name)
{
	const struct table_pattern *p = &q->c->plan->patterns[q->pattern];
	for (size_t i = 0; i < q->c->known_count; i++) {
		const struct known_table *t = &q->c->known[i];
		if (table_pattern_matches(p, t->connection_tag, t->schema, t->table) && table_has_column(t, name))
			return true;
	}
	return false;
}

void query_check_column(struct query *q, struct slice name, struct sql_range range)
{
	if (q->has_table && q->known && !query_known_column(q, name))
		query_report(q, DIAGNOSTIC_WARNING, "column_not_found", range, "no column \"%.*s\" is known", SLICE_ARG(name));
}

static void check_table_known(struct query *q, const struct sql_from *from)
{
	if (!q->c->schema_known)
		return;
	const struct table_pattern *p = &q->c->plan->patterns[q->pattern];
	for (size_t i = 0; i < q->c->known_count && !q->known; i++) {
		const struct known_table *t = &q->c->known[i];
		q->known = table_pattern_matches(p, t->connection_tag, t->schema, t->table);
	}
	if (!q->known)
		query_report(q, DIAGNOSTIC_WARNING, "table_not_found", from->range, "no table \"%.*s\" is known",
		             SLICE_ARG(from->table.name));
}

bool query_set_table(struct query *q, const struct sql_from *from)
{
	struct slice tag = SLICE("default"), schema = q->c->default_schema;
	if (sql_ident_given(&from->schema)) {
		schema = from->schema.name;
		const char *dot = memchr(schema.p, '.', schema.n);
		if (dot) {
			tag = slice_make(schema.p, (size_t)(dot - schema.p));
			schema = slice_drop(schema, tag.n + 1);
			if (memchr(schema.p, '.', schema.n))
				return query_abandon(q, "bad_schema", NULL, "invalid schema %.*s", SLICE_ARG(from->schema.name));
		}
	} else if (!sql_ident_given(&from->alias)) {
		query_check_case(q, &from->table);
	}
	q->pattern = plan_add_pattern(q->c, tag, schema, from->table.name);
	q->has_table = true;
	check_table_known(q, from);
	return true;
}
