/* streams_variant.c: a term -> keys, filters and lookups of each table (sync-streams 5). */
#include "rules/streams_variant.h"

struct resolver_state {
	struct stream_compiler *s;
	struct resolved_variant *v;
	struct sx **pending; /* NULL: taken */
	enum condition_kind *kinds;
	size_t count;
	struct stream_source **active; /* being resolved further up */
	size_t active_count, active_cap;
	struct resolved_source **lookups;
	size_t lookup_count, lookup_cap;
};

static struct resolved_source *resolve(struct resolver_state *r, struct stream_source *t, size_t depth);

/* json_eachs that the expression uses are evaluated together with the table. */
static void bring(struct resolver_state *r, struct resolved_source *t, struct sx *e)
{
	size_t count;
	const struct sx *const *leaves = sx_leaves(r->s, e, &count);
	for (size_t i = 0; i < count; i++) {
		struct stream_source *f = leaves[i]->kind == SX_OUTPUT ? leaves[i]->source : NULL;
		bool known = !f || f == t->source;
		for (size_t j = 0; j < t->function_count && !known; j++)
			known = t->functions[j] == f;
		if (known)
			continue;
		t->functions =
		        arena_grow(&r->s->c->scratch, t->functions, t->function_count, &t->function_cap, sizeof(*t->functions));
		t->functions[t->function_count++] = f;
	}
}

static struct resolved_source *lookup(struct resolver_state *r, struct stream_source *o, size_t depth)
{
	for (size_t i = 0; i < r->lookup_count; i++)
		if (r->lookups[i]->source == o)
			return r->lookups[i];
	struct resolved_source *t = resolve(r, o, depth + 1);
	if (!t)
		return NULL;
	r->lookups = arena_grow(&r->s->c->scratch, r->lookups, r->lookup_count, &r->lookup_cap, sizeof(*r->lookups));
	r->lookups[r->lookup_count++] = t;
	struct resolved_variant *v = r->v;
	while (v->stage_count < depth + 1) {
		v->stages = arena_grow(&r->s->c->scratch, v->stages, v->stage_count, &v->stage_cap, sizeof(*v->stages));
		v->stages[v->stage_count++] = (struct resolved_stage){0};
	}
	struct resolved_stage *stage = &v->stages[depth];
	stage->items = arena_grow(&r->s->c->scratch, stage->items, stage->count, &stage->cap, sizeof(*stage->items));
	stage->items[stage->count++] = t;
	return t;
}

/* The output of a lookup that gives e; equal outputs are one. */
static uint32_t output_of(struct resolver_state *r, struct resolved_source *t, struct sx *e)
{
	for (size_t i = 0; i < t->output_count; i++)
		if (sx_same(r->s, t->outputs[i], e))
			return (uint32_t)i;
	t->outputs = arena_grow(&r->s->c->scratch, t->outputs, t->output_count, &t->output_cap, sizeof(*t->outputs));
	t->outputs[t->output_count] = e;
	bring(r, t, e);
	return (uint32_t)t->output_count++;
}

static void add_key(struct resolver_state *r, struct resolved_source *t, struct sx *key, struct resolved_value value)
{
	bring(r, t, key);
	struct resolved_key *k = NULL;
	for (size_t i = 0; i < t->key_count && !k; i++)
		if (sx_same(r->s, t->keys[i].expr, key))
			k = &t->keys[i];
	if (!k) {
		t->keys = arena_grow(&r->s->c->scratch, t->keys, t->key_count, &t->key_cap, sizeof(*t->keys));
		k = &t->keys[t->key_count++];
		*k = (struct resolved_key){.expr = key, .hash = sx_key_hash(r->s, key)};
	}
	k->values = arena_grow(&r->s->c->scratch, k->values, k->value_count, &k->value_cap, sizeof(*k->values));
	k->values[k->value_count++] = value;
}

static void add_filter(struct resolver_state *r, struct resolved_source *t, struct sx *e)
{
	t->filters = arena_grow(&r->s->c->scratch, t->filters, t->filter_count, &t->filter_cap, sizeof(*t->filters));
	t->filters[t->filter_count++] = e;
	bring(r, t, e);
}

static bool is_active(const struct resolver_state *r, const struct stream_source *t)
{
	for (size_t i = 0; i < r->active_count; i++)
		if (r->active[i] == t)
			return true;
	return false;
}

/* An equality with one side on t: a key of t, the other side its value. false: reported. */
static bool resolve_equality(struct resolver_state *r, struct resolved_source *t, size_t index, size_t depth)
{
	struct sx *e = r->pending[index], *key = e->args[0], *other = e->args[1];
	struct owners a = owners_of(r->s, key), b = owners_of(r->s, other);
	if (a.source != t->source || a.request) {
		if (b.source != t->source || b.request)
			return true;
		key = e->args[1];
		other = e->args[0];
		b = a;
	}
	if (b.source && is_active(r, b.source))
		return true;
	if (t->source->kind == SOURCE_EACH)
		return sx_fail(r->s, e->q, "table-function-partition", e->range,
		               "a table function over request data cannot be compared with it") != NULL;
	r->pending[index] = NULL;
	struct resolved_value value = {.request = other};
	if (b.source) {
		value.request = NULL;
		value.lookup = lookup(r, b.source, depth);
		if (!value.lookup)
			return false;
		value.output = output_of(r, value.lookup, other);
	}
	add_key(r, t, key, value);
	return true;
}

/* By key hash, ties in the order of discovery. */
static void sort_keys(struct resolved_source *t)
{
	for (size_t i = 1; i < t->key_count; i++) {
		struct resolved_key k = t->keys[i];
		size_t at = i;
		for (; at > 0 && t->keys[at - 1].hash > k.hash; at--)
			t->keys[at] = t->keys[at - 1];
		t->keys[at] = k;
	}
}

static struct resolved_source *resolve(struct resolver_state *r, struct stream_source *t, size_t depth)
{
	struct resolved_source *out = arena_calloc(&r->s->c->scratch, sizeof(*out));
	out->source = t;
	r->active = arena_grow(&r->s->c->scratch, r->active, r->active_count, &r->active_cap, sizeof(*r->active));
	r->active[r->active_count++] = t;
	for (size_t i = 0; i < r->count; i++) {
		if (!r->pending[i])
			continue;
		if (r->kinds[i] == CONDITION_ROW && owners_of(r->s, r->pending[i]).source == t) {
			struct sx *e = r->pending[i];
			r->pending[i] = NULL;
			add_filter(r, out, e);
		} else if (r->kinds[i] == CONDITION_EQUAL && !resolve_equality(r, out, i, depth)) {
			return NULL;
		}
	}
	r->active_count--;
	sort_keys(out);
	return out;
}

/* Sources that nothing leads to, but that the request or their own conditions restrict: they only have to have a row. */
static bool existence_tests(struct resolver_state *r)
{
	for (size_t i = 0; i < r->count; i++) {
		struct sx *e = r->pending[i];
		if (!e)
			continue;
		struct stream_source *t = NULL;
		if (r->kinds[i] == CONDITION_ROW) {
			t = owners_of(r->s, e).source;
		} else if (r->kinds[i] == CONDITION_EQUAL) {
			struct owners a = owners_of(r->s, e->args[0]), b = owners_of(r->s, e->args[1]);
			if (a.request || b.request || !a.count || !b.count)
				t = a.source ? a.source : b.source;
		}
		if (t && !lookup(r, t, 0))
			return false;
	}
	return true;
}

static bool request_filters(struct resolver_state *r)
{
	struct resolved_variant *v = r->v;
	for (size_t i = 0; i < r->count; i++) {
		struct sx *e = r->pending[i];
		if (!e)
			continue;
		if (r->kinds[i] != CONDITION_REQUEST)
			return sx_fail(r->s, e->q, "unrelated-filter", e->range,
			               "the condition does not restrict the selected table") != NULL;
		v->request = arena_grow(&r->s->c->scratch, v->request, v->request_count, &v->request_cap, sizeof(*v->request));
		v->request[v->request_count++] = e;
	}
	return true;
}

struct resolved_variant *variant_resolve(struct stream_compiler *s, struct stream_source *primary, const struct stream_term *term)
{
	struct resolved_variant *v = arena_calloc(&s->c->scratch, sizeof(*v));
	struct resolver_state r = {.s = s, .v = v, .count = term->count};
	r.pending = arena_array(&s->c->scratch, struct sx *, term->count + 1);
	r.kinds = arena_array(&s->c->scratch, enum condition_kind, term->count + 1);
	for (size_t i = 0; i < term->count; i++) {
		r.pending[i] = term->atoms[i];
		r.kinds[i] = condition_kind(s, term->atoms[i]);
		if (r.kinds[i] == CONDITION_FAULT)
			return NULL;
	}
	v->root = resolve(&r, primary, 0);
	if (!v->root || !existence_tests(&r) || !request_filters(&r))
		return NULL;
	return v;
}
