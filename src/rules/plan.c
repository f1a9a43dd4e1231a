/* plan.c: the parts of a plan: patterns, definitions with their canonical texts, and its public face. */
#include "rules/plan.h"

#include <openssl/evp.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "rules/compile.h"
#include "rules/revisions.h"

/* ---- patterns --------------------------------------------------------------------------------------------------------- */

bool name_matches(struct slice pattern, bool wildcard, struct slice name)
{
	return wildcard ? slice_starts(name, pattern) : slice_eq(name, pattern);
}

bool table_pattern_matches(const struct table_pattern *p, struct slice connection_tag, struct slice schema, struct slice table)
{
	return slice_eq(p->connection_tag, connection_tag) && name_matches(p->schema, p->schema_wildcard, schema) &&
	       name_matches(p->table, p->table_wildcard, table);
}

static bool split_wildcard(struct slice *name)
{
	if (!name->n || name->p[name->n - 1] != '%')
		return false;
	name->n--;
	return true;
}

uint32_t plan_add_pattern(struct compiler *c, struct slice tag, struct slice schema, struct slice table)
{
	struct plan *p = c->plan;
	struct table_pattern t = {.connection_tag = tag, .schema = schema, .table = table};
	t.schema_wildcard = split_wildcard(&t.schema);
	t.table_wildcard = split_wildcard(&t.table);
	for (size_t i = 0; i < p->pattern_count; i++) {
		const struct table_pattern *o = &p->patterns[i];
		if (slice_eq(o->connection_tag, t.connection_tag) && slice_eq(o->schema, t.schema) &&
		    slice_eq(o->table, t.table) && o->schema_wildcard == t.schema_wildcard &&
		    o->table_wildcard == t.table_wildcard)
			return (uint32_t)i;
	}
	t.connection_tag = arena_copy(c->arena, t.connection_tag);
	t.schema = arena_copy(c->arena, t.schema);
	t.table = arena_copy(c->arena, t.table);
	p->patterns = xgrow(p->patterns, p->pattern_count, &c->pattern_cap, sizeof(*p->patterns));
	p->patterns[p->pattern_count] = t;
	return (uint32_t)p->pattern_count++;
}

static void print_pattern(struct buf *out, const struct table_pattern *p)
{
	json_append_string(out, p->connection_tag);
	buf_putc(out, '.');
	json_append_string(out, p->schema);
	buf_printf(out, "%s.", p->schema_wildcard ? "%" : "");
	json_append_string(out, p->table);
	buf_printf(out, "%s", p->table_wildcard ? "%" : "");
}

/* ---- canonical texts (incremental-deploy 1) --------------------------------------------------------------------------- */

/* number: what a parameter is called in the text; NULL: its own index. */
void match_print(struct buf *out, const struct match *m, const uint32_t *number)
{
	static const char *const names[] = {"always", "if", "equal", "contains", "inside", "each", "bare", "and", "or"};
	buf_printf(out, "(%s", names[m->kind]);
	if (m->kind == MATCH_CONTAINS || m->kind == MATCH_EACH)
		buf_printf(out, "@%d", m->kind == MATCH_EACH ? REVISION_JSON_EACH : REVISION_MATCH_ARRAY);
	switch (m->kind) {
	case MATCH_EQUAL:
	case MATCH_CONTAINS:
	case MATCH_INSIDE:
	case MATCH_EACH:
	case MATCH_BARE:
		buf_printf(out, " p%u", number ? number[m->parameter] : m->parameter);
		break;
	case MATCH_AND:
	case MATCH_OR:
		buf_putc(out, ' ');
		match_print(out, m->left, number);
		buf_putc(out, ' ');
		match_print(out, m->right, number);
		break;
	default:
		break;
	}
	if (m->row) {
		buf_putc(out, ' ');
		expr_print(out, m->row);
	}
	buf_putc(out, ')');
}

static void print_columns(struct buf *out, const struct row_source *s)
{
	for (size_t i = 0; i < s->output_count; i++) {
		const struct output_column *c = &s->columns[i];
		if (i)
			buf_putc(out, ',');
		if (!c->expr) {
			buf_putc(out, '*');
			continue;
		}
		json_append_string(out, c->name);
		buf_putc(out, '=');
		expr_print(out, c->expr);
	}
}

static void print_exprs(struct buf *out, const char *title, const struct expr *const *exprs, size_t count)
{
	if (!count)
		return;
	buf_printf(out, " %s", title);
	for (size_t i = 0; i < count; i++) {
		buf_putc(out, i ? ',' : ' ');
		expr_print(out, exprs[i]);
	}
}

static void print_match(struct buf *out, const struct row_source *s)
{
	uint32_t *number = xcalloc(s->parameter_count + 1, sizeof(*number));
	for (size_t i = 0; i < s->parameter_count; i++)
		number[i] = (uint32_t)i;
	for (size_t i = 0; s->key_parameters && i < s->key_count; i++)
		if (s->key_parameters[i] < s->parameter_count)
			number[s->key_parameters[i]] = (uint32_t)i;
	buf_lit(out, " where ");
	match_print(out, s->match, number);
	free(number);
}

void row_source_finish(struct compiler *c, struct row_source *s)
{
	struct buf out = {0};
	print_columns(&out, s);
	s->output_content = arena_copy(c->arena, buf_slice(&out));
	buf_clear(&out);
	buf_lit(&out, "from ");
	print_pattern(&out, &c->plan->patterns[s->pattern]);
	if (s->match)
		print_match(&out, s);
	if (s->function_count)
		buf_printf(&out, " json_each@%d", REVISION_JSON_EACH);
	print_exprs(&out, "each", s->functions, s->function_count);
	print_exprs(&out, "filter", s->filters, s->filter_count);
	print_exprs(&out, "key", s->keys, s->keys ? s->key_count : 0);
	buf_lit(&out, " give ");
	buf_slice_append(&out, s->output_content);
	if (s->output_table.p) {
		buf_lit(&out, " as ");
		json_append_string(&out, s->output_table);
	}
	s->content = arena_copy(c->arena, buf_slice(&out));
	buf_free(&out);
}

/* The effective options that change a value or its text. */
static void print_options(struct buf *out, const struct plan_options *o)
{
	buf_printf(out, "iso8601=%d digits=%d custom_types=%d fixed_json=%d\n", o->timestamps_iso8601,
	           o->timestamps_iso8601 ? o->timestamp_digits : -1, o->custom_postgres_types, o->fixed_json_extract);
	buf_printf(out, "types@%d time@%d custom@%d logic@%d data@%d id@%d key@%d\n", REVISION_TYPES, REVISION_TYPES_TIME,
	           o->custom_postgres_types ? REVISION_TYPES_CUSTOM : 0, REVISION_LOGIC, REVISION_DATA, REVISION_ID,
	           REVISION_KEY);
}

static int compare_slices(const void *a, const void *b)
{
	return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

static struct slice definition_content(struct compiler *c, enum definition_kind kind, const struct row_source *sources,
                                       size_t count)
{
	static const char *const dialects[] = {"bucket_definitions", "streams-2", "streams-3"};
	struct buf out = {0};
	buf_printf(&out, "%s %s\n", kind == DEFINITION_BUCKETS ? "buckets" : "lookup",
	           count ? dialects[sources[0].dialect] : "none");
	print_options(&out, &c->plan->options);
	struct slice *lines = xcalloc(count + 1, sizeof(*lines));
	for (size_t i = 0; i < count; i++)
		lines[i] = sources[i].content;
	qsort(lines, count, sizeof(*lines), compare_slices);
	for (size_t i = 0; i < count; i++) {
		if (i && slice_eq(lines[i], lines[i - 1]))
			continue;
		buf_slice_append(&out, lines[i]);
		buf_putc(&out, '\n');
	}
	free(lines);
	struct slice content = arena_copy(c->arena, buf_slice(&out));
	buf_free(&out);
	return content;
}

/* Editions 1 and 2 never share, so equal definitions are told apart by the order in which they come. Edition 3 has shared what it
 * takes for equal before; should two contents still be the same text, they must not get one identity either. */
static void hash_definition(struct compiler *c, struct plan_definition *d)
{
	unsigned occurrence = 1;
	struct slice content = d->public.content;
	EVP_Digest(content.p, content.n, d->content_hash, NULL, EVP_sha256(), NULL);
	d->same_as = (uint32_t)c->plan->definition_count;
	for (size_t i = 0; i < c->plan->definition_count; i++) {
		if (memcmp(c->plan->definitions[i].content_hash, d->content_hash, sizeof(d->content_hash)) != 0)
			continue;
		occurrence++;
		d->same_as = c->plan->definitions[i].same_as;
	}
	struct buf text = {0};
	buf_slice_append(&text, content);
	if (occurrence > 1)
		buf_printf(&text, "occurrence %u\n", occurrence);
	EVP_Digest(text.p, text.n, d->public.hash, NULL, EVP_sha256(), NULL);
	buf_free(&text);
}

uint32_t plan_add_definition(struct compiler *c, enum definition_kind kind, struct slice name, const struct row_source *sources,
                             size_t count)
{
	struct plan *p = c->plan;
	struct plan_definition d = {.source_count = count};
	if (p->definition_count >= MAX_DEFINITIONS) {
		if (p->definition_count == MAX_DEFINITIONS && !c->too_many_definitions)
			diagnostic_add_raw(c, DIAGNOSTIC_FATAL, "bad_option_value", 0, 10, "the config has too many definitions");
		c->too_many_definitions = true;
		return 0;
	}
	p->definitions = xgrow(p->definitions, p->definition_count, &c->definition_cap, sizeof(*p->definitions));
	struct row_source *copy = arena_array(c->arena, struct row_source, count + 1);
	uint32_t *patterns = arena_array(c->arena, uint32_t, count + 1);
	for (size_t i = 0; i < count; i++) {
		copy[i] = sources[i];
		copy[i].definition = (uint32_t)p->definition_count;
		bool seen = false;
		for (size_t j = 0; j < d.public.pattern_count; j++)
			seen |= patterns[j] == sources[i].pattern;
		if (!seen)
			patterns[d.public.pattern_count++] = sources[i].pattern;
	}
	d.sources = copy;
	d.public.kind = kind;
	d.public.name = arena_copy(c->arena, name);
	d.public.patterns = patterns;
	d.public.content = definition_content(c, kind, copy, count);
	hash_definition(c, &d);
	p->definitions[p->definition_count] = d;
	return (uint32_t)p->definition_count++;
}

struct plan_stream *plan_add_stream(struct compiler *c)
{
	struct plan *p = c->plan;
	p->streams = xgrow(p->streams, p->stream_count, &c->stream_cap, sizeof(*p->streams));
	struct plan_stream *s = &p->streams[p->stream_count++];
	*s = (struct plan_stream){.priority = 3};
	return s;
}

/* ---- public face ------------------------------------------------------------------------------------------------------ */

struct plan *plan_ref(struct plan *p)
{
	atomic_fetch_add_explicit(&p->references, 1, memory_order_relaxed);
	return p;
}

void plan_unref(struct plan *p)
{
	if (!p || atomic_fetch_sub_explicit(&p->references, 1, memory_order_acq_rel) != 1)
		return;
	free(p->definitions);
	free(p->patterns);
	free(p->streams);
	free(p->events);
	arena_free(&p->arena);
	free(p);
}

struct slice plan_text(const struct plan *p)
{
	return p->text;
}

const struct plan_options *plan_options(const struct plan *p)
{
	return &p->options;
}

size_t plan_definition_count(const struct plan *p)
{
	return p->definition_count;
}

const struct definition *plan_definition(const struct plan *p, uint32_t index)
{
	return &p->definitions[index].public;
}

size_t plan_pattern_count(const struct plan *p)
{
	return p->pattern_count;
}

const struct table_pattern *plan_pattern(const struct plan *p, uint32_t index)
{
	return &p->patterns[index];
}

bool plan_uses_table(const struct plan *p, struct slice connection_tag, struct slice schema, struct slice table)
{
	for (size_t i = 0; i < p->pattern_count; i++)
		if (table_pattern_matches(&p->patterns[i], connection_tag, schema, table))
			return true;
	return false;
}

size_t plan_stream_count(const struct plan *p)
{
	return p->stream_count;
}

struct slice plan_stream_name(const struct plan *p, uint32_t index)
{
	return p->streams[index].name;
}

bool plan_stream_is_default(const struct plan *p, uint32_t index)
{
	return p->streams[index].is_default;
}
