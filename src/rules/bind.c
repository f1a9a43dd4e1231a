/* bind.c: binding a plan to the columns of a relation. */
#include "rules/bind.h"

#include <stdlib.h>

#include "base/alloc.h"

struct binder {
	struct bound_table *b;
	const struct relation_columns *columns;
	size_t bucket_cap, lookup_cap, event_cap, output_cap;
};

static int32_t find_column(const struct relation_columns *c, struct slice name)
{
	for (size_t i = 0; i < c->count; i++)
		if (slice_eq(c->names[i], name))
			return (int32_t)i;
	return -1;
}

/* ---- outputs ---------------------------------------------------------------------------------------------------------- */

/* A canonical array index (sync-config 12.1): such members come first, in numeric order. */
static bool index_like(struct slice name, uint64_t *out)
{
	if (!name.n || name.n > 10 || (name.p[0] == '0' && name.n > 1))
		return false;
	return slice_parse_u64(name, 4294967294u, out);
}

struct member_draft {
	struct slice name;
	struct contribution *items;
	size_t count, cap;
	bool index;
	uint64_t number;
	size_t order;
};

struct drafts {
	struct member_draft *items;
	size_t count, cap;
};

static void contribute(struct drafts *d, struct slice name, struct contribution what)
{
	struct member_draft *m = NULL;
	for (size_t i = 0; i < d->count && !m; i++)
		if (slice_eq(d->items[i].name, name))
			m = &d->items[i];
	if (!m) {
		d->items = xgrow(d->items, d->count, &d->cap, sizeof(*d->items));
		m = &d->items[d->count];
		*m = (struct member_draft){.name = name, .order = d->count};
		m->index = index_like(name, &m->number);
		d->count++;
	}
	/* An explicit column hides everything before it. */
	if (!what.star)
		m->count = 0;
	m->items = xgrow(m->items, m->count, &m->cap, sizeof(*m->items));
	m->items[m->count++] = what;
}

static int compare_members(const void *x, const void *y)
{
	const struct member_draft *a = x, *b = y;
	if (a->index != b->index)
		return a->index ? -1 : 1;
	if (a->index)
		return a->number < b->number ? -1 : a->number > b->number;
	return a->order < b->order ? -1 : a->order > b->order;
}

static void draft_members(struct drafts *d, const struct binder *x, const struct row_source *s, const int32_t *slots)
{
	for (size_t i = 0; i < s->output_count; i++) {
		const struct output_column *c = &s->columns[i];
		if (c->expr) {
			bool plain = c->expr->kind == EXPR_COLUMN;
			contribute(d, c->name,
			           (struct contribution){.column = plain ? slots[c->expr->column.slot] : -1, .expr = c->expr});
			continue;
		}
		for (size_t j = 0; j < x->columns->count; j++) {
			struct slice name = x->columns->names[j];
			if (s->dialect != DIALECT_STREAMS_3 && name.n && name.p[0] == '_')
				continue;
			contribute(d, name, (struct contribution){.column = (int32_t)j, .star = true});
		}
	}
}

static void copy_member(struct bound_table *b, struct bound_output *out, const struct member_draft *d, struct output_member *m)
{
	struct buf fragment = {0};
	buf_putc(&fragment, ',');
	json_append_string(&fragment, d->name);
	buf_putc(&fragment, ':');
	m->fragment = arena_copy(&b->arena, buf_slice(&fragment));
	buf_free(&fragment);
	out->fragment_bytes += m->fragment.n;
	struct contribution *items = arena_array(&b->arena, struct contribution, d->count);
	for (size_t i = 0; i < d->count; i++)
		items[i] = d->items[i];
	m->contributions = items;
	m->contribution_count = d->count;
}

static uint32_t bind_output(struct binder *x, const struct row_source *s, const int32_t *slots, const struct table_names *names)
{
	struct bound_table *b = x->b;
	for (size_t i = 0; i < b->output_count; i++) {
		const struct bound_output *o = &b->outputs[i];
		/* The suffix depends on the pattern, so outputs that may use it are shared only among equal ones. */
		if (o->dialect == s->dialect && slice_eq(o->content, s->output_content) &&
		    slice_eq(o->names->suffix, names->suffix))
			return (uint32_t)i;
	}
	struct drafts d = {0};
	draft_members(&d, x, s, slots);
	if (d.count > 1)
		qsort(d.items, d.count, sizeof(*d.items), compare_members);
	struct bound_output o = {
	        .dialect = s->dialect, .content = s->output_content, .slots = slots, .names = names, .id_member = -1};
	o.members = arena_array(&b->arena, struct output_member, d.count + 1);
	o.member_count = d.count;
	for (size_t i = 0; i < d.count; i++) {
		copy_member(b, &o, &d.items[i], &o.members[i]);
		if (slice_eq(d.items[i].name, SLICE("id")))
			o.id_member = (int32_t)i;
		free(d.items[i].items);
	}
	free(d.items);
	b->outputs = xgrow(b->outputs, b->output_count, &x->output_cap, sizeof(*b->outputs));
	b->outputs[b->output_count] = o;
	return (uint32_t)b->output_count++;
}

/* ---- sources ---------------------------------------------------------------------------------------------------------- */

static bool source_matches(const struct binder *x, const struct row_source *s)
{
	const struct table_pattern *p = &x->b->plan->patterns[s->pattern];
	return table_pattern_matches(p, x->columns->connection_tag, x->columns->schema, x->columns->table);
}

static void note_used(struct binder *x, const struct row_source *s, const int32_t *slots)
{
	for (size_t i = 0; i < s->column_count; i++)
		if (slots[i] >= 0)
			x->b->used[slots[i]] = true;
	for (size_t i = 0; i < s->output_count; i++)
		for (size_t j = 0; !s->columns[i].expr && j < x->columns->count; j++)
			if (s->dialect == DIALECT_STREAMS_3 || !x->columns->names[j].n || x->columns->names[j].p[0] != '_')
				x->b->used[j] = true;
}

static struct bound_source bind_source(struct binder *x, const struct row_source *s)
{
	struct arena *arena = &x->b->arena;
	const struct table_pattern *p = &x->b->plan->patterns[s->pattern];
	int32_t *slots = arena_array(arena, int32_t, s->column_count + 1);
	for (size_t i = 0; i < s->column_count; i++)
		slots[i] = find_column(x->columns, s->column_names[i]);
	note_used(x, s, slots);
	struct table_names *names = arena_alloc(arena, sizeof(*names));
	names->schema = arena_copy(arena, x->columns->schema);
	names->name = arena_copy(arena, x->columns->table);
	names->suffix = p->table_wildcard ? slice_drop(names->name, p->table.n) : SLICE("");
	struct bound_source out = {.source = s, .slots = slots, .names = *names, .key_group = NO_KEY_GROUP};
	out.object_type = s->output_table.p ? s->output_table : names->name;
	out.output = bind_output(x, s, slots, names);
	return out;
}

static void bind_definitions(struct binder *x)
{
	struct bound_table *b = x->b;
	for (size_t i = 0; i < b->plan->definition_count; i++) {
		const struct plan_definition *d = &b->plan->definitions[i];
		for (size_t j = 0; j < d->source_count; j++) {
			if (!source_matches(x, &d->sources[j]))
				continue;
			struct bound_source s = bind_source(x, &d->sources[j]);
			if (d->public.kind == DEFINITION_BUCKETS) {
				b->buckets = xgrow(b->buckets, b->bucket_count, &x->bucket_cap, sizeof(*b->buckets));
				b->buckets[b->bucket_count++] = s;
			} else {
				b->lookups = xgrow(b->lookups, b->lookup_count, &x->lookup_cap, sizeof(*b->lookups));
				b->lookups[b->lookup_count++] = s;
			}
		}
	}
}

/* Different lists of key columns that are looked for; sources beyond them write their keys themselves. */
#define MAX_KEY_GROUPS 64

static bool plain_keys(const struct row_source *s)
{
	if (!s->keys || s->function_count)
		return false;
	for (size_t i = 0; i < s->key_count; i++)
		if (s->keys[i]->kind != EXPR_COLUMN)
			return false;
	return true;
}

static bool same_keys(const struct bound_source *a, const struct bound_source *b)
{
	if (a->source->key_count != b->source->key_count)
		return false;
	for (size_t i = 0; i < a->source->key_count; i++)
		if (a->slots[a->source->keys[i]->column.slot] != b->slots[b->source->keys[i]->column.slot])
			return false;
	return true;
}

static void group_keys(struct bound_table *b)
{
	struct bound_source **first = xcalloc(b->bucket_count + 1, sizeof(*first));
	for (size_t i = 0; i < b->bucket_count; i++) {
		struct bound_source *s = &b->buckets[i];
		if (!plain_keys(s->source))
			continue;
		size_t group = 0;
		while (group < b->key_group_count && !same_keys(first[group], s))
			group++;
		if (group == MAX_KEY_GROUPS)
			continue;
		if (group == b->key_group_count)
			first[b->key_group_count++] = s;
		s->key_group = (uint32_t)group;
	}
	free(first);
}

static void bind_events(struct binder *x)
{
	struct bound_table *b = x->b;
	for (size_t i = 0; i < b->plan->event_count; i++) {
		const struct plan_event *e = &b->plan->events[i];
		for (size_t j = 0; j < e->source_count; j++) {
			if (!source_matches(x, &e->sources[j]))
				continue;
			struct bound_event bound = {.name = e->name, .source = bind_source(x, &e->sources[j])};
			b->events = xgrow(b->events, b->event_count, &x->event_cap, sizeof(*b->events));
			b->events[b->event_count++] = bound;
			break;
		}
	}
}

struct bound_table *plan_bind(struct plan *p, const struct relation_columns *columns)
{
	if (!plan_uses_table(p, columns->connection_tag, columns->schema, columns->table))
		return NULL;
	struct bound_table *b = xcalloc(1, sizeof(*b));
	b->plan = plan_ref(p);
	b->column_count = columns->count;
	b->used = arena_calloc(&b->arena, columns->count + 1);
	struct binder x = {.b = b, .columns = columns};
	bind_definitions(&x);
	group_keys(b);
	bind_events(&x);
	return b;
}

void bound_table_free(struct bound_table *b)
{
	if (!b)
		return;
	free(b->buckets);
	free(b->lookups);
	free(b->events);
	free(b->outputs);
	plan_unref(b->plan);
	arena_free(&b->arena);
	free(b);
}

bool bound_table_uses_column(const struct bound_table *b, size_t column)
{
	return column < b->column_count && b->used[column];
}
