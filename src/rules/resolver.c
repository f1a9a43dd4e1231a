/*
 * resolver.c: lookups of one resolution: each is read once, as many together as are known, and its objects are counted (sync-config 18,
 * sync-streams 11).
 *
 * Equal lookups of several definitions are one. Objects are counted where they matter, so that rows of other people, which an
 * intersection or a DISTINCT takes out again, do not use up a client's limit; what is read at all has a bound of its own.
 */
#include "rules/querier.h"

#include <stdlib.h>

#include "base/alloc.h"

/* Objects read in one resolution, whether they count or not. */
#define MAX_OBJECTS_READ QUERIER_MAX_COMBINATIONS
#define BREAKDOWN_LINES 10

bool resolver_too_many(struct resolver *r)
{
	size_t limit = r->limits ? r->limits->max_parameter_results : QUERIER_MAX_COMBINATIONS;
	r->exceeded = true;
	return error_set(r->err, "PSYNC_S2305", "Too many parameter query results (limit of %zu)", limit);
}

void resolver_begin_call(struct resolver *r)
{
	r->call_count = 0;
}

/* ---- counting --------------------------------------------------------------------------------------------------------- */

static void tally(struct resolver *r, uint32_t definition)
{
	struct result_tally *t = NULL;
	for (size_t i = r->tally_count; i-- > 0 && !t;)
		if (r->tallies[i].definition == definition && r->tallies[i].stream.p == r->stream.p)
			t = &r->tallies[i];
	if (!t) {
		r->tallies = arena_grow(r->arena, r->tallies, r->tally_count, &r->tally_cap, sizeof(*r->tallies));
		t = &r->tallies[r->tally_count++];
		*t = (struct result_tally){.stream = r->stream, .definition = definition};
	}
	t->count++;
}

bool resolver_count(struct resolver *r, uint32_t definition, bool *counted)
{
	if (*counted)
		return true;
	*counted = true;
	tally(r, definition);
	r->results++;
	return !r->limits || r->results <= r->limits->max_parameter_results;
}

static bool count_all(struct resolver *r, const struct known_lookup *l)
{
	bool within = true;
	/* Goes on to the end, so that the breakdown is complete. */
	for (size_t i = 0; i < l->count; i++)
		within &= resolver_count(r, l->definition, &l->counted[i]);
	return within || resolver_too_many(r);
}

/* Of equal objects the first one counts. */
static bool count_distinct(struct resolver *r, const struct known_lookup *l)
{
	size_t size = 16;
	bool within = true;
	while (size < l->count * 2)
		size *= 2;
	uint32_t *slots = arena_calloc(r->arena, sizeof(*slots) * size);
	struct slice *texts = arena_array(r->arena, struct slice, l->count + 1);
	for (size_t i = 0; i < l->count; i++) {
		texts[i] = json_to_text(&l->objects[i], JSON_STYLE_PLAIN, r->arena);
		size_t at = querier_hash(0, texts[i]) & (size - 1);
		while (slots[at] && !slice_eq(texts[slots[at] - 1], texts[i]))
			at = (at + 1) & (size - 1);
		if (slots[at])
			continue;
		slots[at] = (uint32_t)i + 1;
		within &= resolver_count(r, l->definition, &l->counted[i]);
	}
	return within || resolver_too_many(r);
}

/* ---- reading ---------------------------------------------------------------------------------------------------------- */

static size_t lookup_slot(const struct resolver *r, uint32_t definition, struct slice key)
{
	size_t at = querier_hash(definition, key) & (r->slot_count - 1);
	for (; r->slots[at]; at = (at + 1) & (r->slot_count - 1)) {
		const struct known_lookup *l = &r->lookups[r->slots[at] - 1];
		if (l->definition == definition && slice_eq(l->key, key))
			break;
	}
	return at;
}

static void grow_lookup_slots(struct resolver *r)
{
	if (r->lookup_count * 2 < r->slot_count)
		return;
	r->slot_count = r->slot_count ? r->slot_count * 2 : 16;
	r->slots = arena_calloc(r->arena, sizeof(*r->slots) * r->slot_count);
	for (size_t i = 0; i < r->lookup_count; i++)
		r->slots[lookup_slot(r, r->lookups[i].definition, r->lookups[i].key)] = (uint32_t)i + 1;
}

/* A result is an object, or the array of objects that one row stored. */
static bool parse_results(struct resolver *r, const struct slice *texts, size_t count, struct known_lookup *l)
{
	struct json_node *nodes = arena_array(r->arena, struct json_node, count + 1);
	size_t total = 0;
	for (size_t i = 0; i < count; i++) {
		if (!json_read(texts[i], JSON_EXACT, r->arena, &nodes[i], r->err))
			return error_prefix(r->err, "a stored lookup result cannot be read: ");
		total += nodes[i].kind == JSON_KIND_ARRAY ? nodes[i].array.count : 1;
	}
	r->read += total;
	l->objects = arena_array(r->arena, struct json_node, total + 1);
	l->counted = arena_calloc(r->arena, total + 1);
	for (size_t i = 0; i < count; i++)
		if (nodes[i].kind == JSON_KIND_ARRAY)
			for (size_t j = 0; j < nodes[i].array.count; j++)
				l->objects[l->count++] = nodes[i].array.items[j];
		else
			l->objects[l->count++] = nodes[i];
	return true;
}

/* The entry of the table, or NULL. */
static struct known_lookup *find_lookup(const struct resolver *r, uint32_t definition, struct slice key)
{
	size_t at = r->slot_count ? r->slots[lookup_slot(r, definition, key)] : 0;
	return at ? &r->lookups[at - 1] : NULL;
}

static void add_lookup(struct resolver *r, uint32_t definition, struct slice key)
{
	grow_lookup_slots(r);
	r->lookups = arena_grow(r->arena, r->lookups, r->lookup_count, &r->lookup_cap, sizeof(*r->lookups));
	r->lookups[r->lookup_count] = (struct known_lookup){
	        .definition = definition, .key = key, .same_as = (uint32_t)r->lookup_count, .stream = r->stream};
	r->slots[lookup_slot(r, definition, key)] = (uint32_t)r->lookup_count + 1;
	r->lookup_count++;
}

bool resolver_want(struct resolver *r, uint32_t definition, struct slice key, bool *waits)
{
	const struct known_lookup *known = find_lookup(r, definition, key);
	if (!known) {
		if (r->limits && r->call_count >= r->limits->max_parameter_results)
			return resolver_too_many(r);
		r->call_count++;
		struct slice copy = arena_copy(r->arena, key);
		uint32_t same = r->plan->definitions[definition].same_as;
		if (same != definition && !find_lookup(r, same, key))
			add_lookup(r, same, copy);
		add_lookup(r, definition, copy);
		if (same != definition)
			r->lookups[r->lookup_count - 1].same_as = (uint32_t)(find_lookup(r, same, key) - r->lookups);
		known = &r->lookups[r->lookup_count - 1];
	}
	*waits |= !known->read;
	return true;
}

/* More was read than a request may: everything counts, for the breakdown. */
static bool read_too_many(struct resolver *r)
{
	for (size_t i = r->first_wanted; i < r->lookup_count; i++) {
		r->stream = r->lookups[i].stream;
		count_all(r, &r->lookups[i]);
	}
	return resolver_too_many(r);
}

static bool take_answers(struct resolver *r, const struct lookup_read *keys, size_t count)
{
	for (size_t i = r->first_wanted, at = 0; i < r->lookup_count; i++) {
		struct known_lookup *l = &r->lookups[i];
		if (l->same_as == i && at < count && !parse_results(r, keys[at].results, keys[at].count, l))
			return false;
		at += l->same_as == i;
		l->read = true;
	}
	for (size_t i = r->first_wanted; i < r->lookup_count; i++) {
		const struct known_lookup *same = &r->lookups[r->lookups[i].same_as];
		r->lookups[i].objects = same->objects;
		r->lookups[i].counted = same->counted;
		r->lookups[i].count = same->count;
	}
	return true;
}

bool resolver_read(struct resolver *r)
{
	struct lookup_read *keys = arena_array(r->arena, struct lookup_read, r->lookup_count - r->first_wanted + 1);
	size_t count = 0, room = r->limits ? MAX_OBJECTS_READ - r->read : SIZE_MAX;
	for (size_t i = r->first_wanted; i < r->lookup_count; i++)
		if (r->lookups[i].same_as == i)
			keys[count++] = (struct lookup_read){.definition = r->lookups[i].definition, .key = r->lookups[i].key};
	if (count && !r->reader->read(r->reader->ctx, keys, count, room, r->arena, r->err))
		return false;
	if (!take_answers(r, keys, count))
		return false;
	if (r->limits && r->read > MAX_OBJECTS_READ)
		return read_too_many(r);
	r->first_wanted = r->lookup_count;
	return true;
}

bool resolver_lookup(struct resolver *r, uint32_t definition, struct slice key, enum result_counting counting,
                     const struct known_lookup **out)
{
	struct known_lookup *l = find_lookup(r, definition, key);
	if (!l || !l->read)
		return error_set(r->err, "PSYNC_S1101", "a lookup was not read ahead");
	l->asked = true;
	*out = l;
	if (counting == COUNT_ALL && !count_all(r, l))
		return false;
	return counting != COUNT_DISTINCT || count_distinct(r, l);
}

/* ---- what a count consists of ----------------------------------------------------------------------------------------- */

static int most_first(const void *a, const void *b)
{
	size_t x = ((const struct result_tally *)a)->count, y = ((const struct result_tally *)b)->count;
	return x < y ? 1 : x > y ? -1 : 0;
}

static void print_name(struct buf *out, const struct plan *plan, const struct result_tally *t)
{
	const struct plan_definition *d = &plan->definitions[t->definition];
	const struct table_pattern *p = d->public.pattern_count ? &plan->patterns[d->public.patterns[0]] : NULL;
	if (!t->stream.p) {
		buf_slice_append(out, d->public.name);
		return;
	}
	buf_slice_append(out, t->stream);
	if (p)
		buf_printf(out, " (lookup on %.*s%s.%.*s%s)", SLICE_ARG(p->schema), p->schema_wildcard ? "%" : "",
		           SLICE_ARG(p->table), p->table_wildcard ? "%" : "");
}

static struct slice print_tallies(const struct plan *plan, struct arena *arena, struct result_tally *items, size_t count)
{
	struct buf out = {0};
	size_t rest = 0;
	qsort(items, count, sizeof(*items), most_first);
	for (size_t i = 0; i < count; i++) {
		if (i >= BREAKDOWN_LINES) {
			rest += items[i].count;
			continue;
		}
		buf_printf(&out, "%s%zu from ", i ? ", " : "", items[i].count);
		print_name(&out, plan, &items[i]);
	}
	if (rest)
		buf_printf(&out, ", %zu from %zu others", rest, count - BREAKDOWN_LINES);
	struct slice text = arena_copy(arena, buf_slice(&out));
	buf_free(&out);
	return text;
}

struct slice resolver_breakdown(const struct resolver *r)
{
	struct result_tally *items = arena_array(r->arena, struct result_tally, r->tally_count + 1);
	if (r->tally_count)
		memcpy(items, r->tallies, sizeof(*items) * r->tally_count);
	return print_tallies(r->plan, r->arena, items, r->tally_count);
}

struct slice buckets_breakdown(const struct plan *plan, struct arena *arena, const struct resolved_bucket *buckets, size_t count)
{
	size_t *counts = arena_calloc(arena, sizeof(*counts) * (plan->definition_count + 1)), used = 0;
	struct result_tally *items = arena_array(arena, struct result_tally, plan->definition_count + 1);
	for (size_t i = 0; i < count; i++)
		counts[buckets[i].definition]++;
	for (size_t i = 0; i < plan->definition_count; i++)
		if (counts[i])
			items[used++] = (struct result_tally){.definition = (uint32_t)i, .count = counts[i]};
	return print_tallies(plan, arena, items, used);
}
