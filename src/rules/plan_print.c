/* plan_print.c: a plan as readable text, for logs, tests and the admin API. */
#include "rules/buckets.h"
#include "rules/compile.h"
#include "rules/streams2.h"

static void print_options(const struct plan *p, struct buf *out)
{
	const struct plan_options *o = &p->options;
	buf_printf(out, "edition %d", o->edition);
	buf_printf(out, "%s", o->timestamps_iso8601 ? ", timestamps_iso8601" : "");
	buf_printf(out, "%s", o->versioned_bucket_ids ? ", versioned_bucket_ids" : "");
	buf_printf(out, "%s", o->fixed_json_extract ? ", fixed_json_extract" : "");
	buf_printf(out, "%s", o->custom_postgres_types ? ", custom_postgres_types" : "");
	if (o->timestamp_digits >= 0)
		buf_printf(out, ", %d timestamp digits", o->timestamp_digits);
	buf_putc(out, '\n');
}

static void print_definition(const struct plan_definition *d, uint32_t index, struct buf *out)
{
	buf_printf(out, "%s %u \"%.*s\" ", d->public.kind == DEFINITION_BUCKETS ? "buckets" : "lookup", index,
	           SLICE_ARG(d->public.name));
	for (size_t i = 0; i < 8; i++)
		buf_printf(out, "%02x", d->public.hash[i]);
	buf_putc(out, '\n');
	for (size_t i = 0; i < d->source_count; i++) {
		buf_lit(out, "  ");
		buf_slice_append(out, d->sources[i].content);
		buf_putc(out, '\n');
	}
}

static void print_query(const struct parameter_query *q, struct buf *out)
{
	static const char *const kinds[] = {"static", "json_each", "table"};
	buf_printf(out, "  query %u: %s, priority %d", q->number, kinds[q->kind], q->priority);
	if (q->kind == PARAMETER_TABLE)
		buf_printf(out, ", lookup %u", q->lookup);
	if (q->argument) {
		buf_lit(out, ", each ");
		expr_print(out, q->argument);
	}
	if (q->where) {
		buf_lit(out, ", where ");
		expr_print(out, q->where);
	}
	for (size_t i = 0; i < q->parameter_count; i++) {
		buf_printf(out, "%s%s", i ? ", " : ", by ", q->parameters[i].expanding ? "each of " : "");
		expr_print(out, q->parameters[i].value);
	}
	buf_lit(out, " ->");
	for (size_t i = 0; i < q->column_count; i++) {
		buf_printf(out, "%s %.*s=", i ? "," : "", SLICE_ARG(q->columns[i].name));
		if (q->columns[i].request)
			expr_print(out, q->columns[i].request);
		else
			buf_lit(out, "stored");
	}
	buf_putc(out, '\n');
}

static void print_stream(const struct plan_stream *s, struct buf *out)
{
	static const char *const kinds[] = {"bucket definition", "stream (edition 2)", "stream"};
	buf_printf(out, "%s \"%.*s\"%s, priority %d", kinds[s->kind], SLICE_ARG(s->name), s->is_default ? ", default" : "",
	           s->priority);
	if (s->kind == STREAM_DEFINITION)
		buf_printf(out, ", buckets %u", s->definition);
	buf_putc(out, '\n');
	if (s->kind == STREAM_DEFINITION)
		for (size_t i = 0; i < s->variant_count; i++)
			print_query(&s->queries[i], out);
	for (size_t i = 0; s->kind == STREAM_EDITION_2 && i < s->variant_count; i++)
		stream2_variant_print(&s->variants2[i], out);
	for (size_t i = 0; s->kind == STREAM_EDITION_3 && i < s->variant_count; i++)
		stream_variant_print(s->variants[i], out);
}

void plan_print(const struct plan *p, struct buf *out)
{
	print_options(p, out);
	for (size_t i = 0; i < p->definition_count; i++)
		print_definition(&p->definitions[i], (uint32_t)i, out);
	for (size_t i = 0; i < p->stream_count; i++)
		print_stream(&p->streams[i], out);
	for (size_t i = 0; i < p->event_count; i++) {
		buf_printf(out, "event \"%.*s\"\n", SLICE_ARG(p->events[i].name));
		for (size_t j = 0; j < p->events[i].source_count; j++)
			buf_printf(out, "  %.*s\n", SLICE_ARG(p->events[i].sources[j].content));
	}
}
