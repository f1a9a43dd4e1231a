/* querier.c: requests to buckets: subscriptions, merging, limits (sync-config 15, 18; sync-streams 9, 10). */
#include "rules/querier.h"

#include <stdlib.h>

#include "base/alloc.h"

/* ---- sets of buckets -------------------------------------------------------------------------------------------------- */

static size_t bucket_slot(const struct bucket_set *s, uint32_t definition, struct slice keys)
{
	size_t at = querier_hash(definition, keys) & (s->slot_count - 1);
	for (; s->slots[at]; at = (at + 1) & (s->slot_count - 1)) {
		const struct resolved_bucket *b = &s->items[s->slots[at] - 1].bucket;
		if (b->definition == definition && slice_eq(b->keys, keys))
			break;
	}
	return at;
}

struct bucket_draft *bucket_set_find(const struct bucket_set *s, uint32_t definition, struct slice keys)
{
	if (!s->count)
		return NULL;
	size_t at = bucket_slot(s, definition, keys);
	return s->slots[at] ? &s->items[s->slots[at] - 1] : NULL;
}

static void grow_bucket_slots(struct bucket_set *s)
{
	if (s->count * 2 < s->slot_count)
		return;
	s->slot_count = s->slot_count ? s->slot_count * 2 : 16;
	s->slots = arena_calloc(s->arena, sizeof(*s->slots) * s->slot_count);
	for (size_t i = 0; i < s->count; i++)
		s->slots[bucket_slot(s, s->items[i].bucket.definition, s->items[i].bucket.keys)] = (uint32_t)i + 1;
}

static void add_reason(struct bucket_set *s, struct bucket_draft *d, struct bucket_reason reason)
{
	for (size_t i = 0; i < d->bucket.reason_count; i++)
		if (d->bucket.reasons[i].is_default == reason.is_default && d->bucket.reasons[i].index == reason.index)
			return;
	struct bucket_reason *reasons =
	        arena_grow(s->arena, (void *)d->bucket.reasons, d->bucket.reason_count, &d->reason_cap, sizeof(*reasons));
	reasons[d->bucket.reason_count++] = reason;
	d->bucket.reasons = reasons;
}

void bucket_set_add(struct bucket_set *s, uint32_t definition, struct slice keys, int priority, struct bucket_reason reason)
{
	struct bucket_draft *d = bucket_set_find(s, definition, keys);
	if (!d) {
		s->items = arena_grow(s->arena, s->items, s->count, &s->cap, sizeof(*s->items));
		d = &s->items[s->count];
		*d = (struct bucket_draft){.bucket = {.definition = definition, .keys = keys, .priority = priority}};
		grow_bucket_slots(s);
		s->slots[bucket_slot(s, definition, keys)] = (uint32_t)s->count + 1;
		s->count++;
	}
	if (priority < d->bucket.priority)
		d->bucket.priority = priority;
	add_reason(s, d, reason);
}

/* ---- units ------------------------------------------------------------------------------------------------------------ */

struct eval_env unit_env(const struct querier *q, const struct unit *u, struct arena *arena, struct error *err)
{
	return (struct eval_env){
	        .request = &q->request,
	        .subscription = u->subscription,
	        .subscription_node = u->subscription_node,
	        .arena = arena,
	        .fixed_json_extract = q->plan->options.fixed_json_extract,
	        .err = err,
	};
}

void querier_add_part(struct querier *q, struct dynamic_part *part)
{
	part->next = NULL;
	*q->parts_end = part;
	q->parts_end = &part->next;
}

void querier_stream_error(struct querier *q, const struct unit *u, const char *message)
{
	struct stream_draft *s = &q->streams[u->stream_index];
	for (size_t i = 0; i < s->stream.error_count; i++)
		if (s->errors[i].is_default == u->reason.is_default &&
		    (u->reason.is_default || s->errors[i].subscription == u->reason.index))
			return;
	s->errors = arena_grow(&q->arena, s->errors, s->stream.error_count, &s->error_cap, sizeof(*s->errors));
	s->errors[s->stream.error_count++] = (struct resolved_stream_error){
	        .is_default = u->reason.is_default,
	        .subscription = u->reason.index,
	        .message = arena_printf(&q->arena, "Error evaluating bucket ids: %s", message),
	};
	s->stream.errors = s->errors;
}

static bool prepare_unit(struct querier *q, const struct unit *u, struct error *err)
{
	switch (u->stream->kind) {
	case STREAM_DEFINITION:
		return buckets_prepare(q, u, err);
	case STREAM_EDITION_2:
		return streams2_prepare(q, u, err);
	case STREAM_EDITION_3:
		return streams_prepare(q, u, err);
	}
	return true;
}

static bool subscription_data(struct querier *q, struct unit *u, const struct subscription_request *s, struct error *err)
{
	struct json_node *node = arena_alloc(&q->arena, sizeof(*node));
	struct slice text = s->parameters.p ? arena_copy(&q->arena, s->parameters) : SLICE("{}");
	struct error json;
	if (!json_read(text, JSON_DOUBLES, &q->arena, node, &json))
		return error_set(err, "PSYNC_S2001", "the parameters of a subscription are not JSON");
	if (node->kind == JSON_KIND_NULL)
		json_read(SLICE("{}"), JSON_DOUBLES, &q->arena, node, &json);
	u->subscription_node = node;
	u->subscription = value_text(json_to_text(node, JSON_STYLE_PLAIN, &q->arena));
	return true;
}

static struct unit *new_unit(struct querier *q, const struct plan_stream *s)
{
	struct unit *u = arena_calloc(&q->arena, sizeof(*u));
	u->stream = s;
	u->stream_index = (uint32_t)q->stream_count - 1;
	u->priority = s->priority;
	u->subscription = value_null();
	return u;
}

static void add_stream(struct querier *q, const struct plan_stream *s)
{
	q->streams = arena_grow(&q->arena, q->streams, q->stream_count, &q->stream_cap, sizeof(*q->streams));
	q->streams[q->stream_count++] = (struct stream_draft){.stream = {.name = s->name, .is_default = s->is_default}};
}

/* Explicit subscriptions in request order, then the default one (sync-streams 9). */
static bool prepare_stream(struct querier *q, const struct plan_stream *s, const struct request_parameters *params,
                           struct error *err)
{
	size_t named = 0;
	for (size_t i = 0; i < params->subscription_count; i++)
		named += slice_eq(params->subscriptions[i].stream, s->name);
	bool by_default = s->is_default && params->include_defaults;
	if (!named && !by_default)
		return true;
	add_stream(q, s);
	for (size_t i = 0; i < params->subscription_count && s->kind != STREAM_DEFINITION && named; i++) {
		const struct subscription_request *r = &params->subscriptions[i];
		if (!slice_eq(r->stream, s->name))
			continue;
		struct unit *u = new_unit(q, s);
		u->reason = (struct bucket_reason){.index = (uint32_t)i};
		if (r->override_priority >= 0)
			u->priority = r->override_priority;
		if (!subscription_data(q, u, r, err) || !prepare_unit(q, u, err))
			return false;
	}
	/* Edition 2 evaluates the default subscription whenever the stream is evaluated at all (12). */
	if (!by_default && !(s->is_default && s->kind == STREAM_EDITION_2))
		return true;
	struct unit *u = new_unit(q, s);
	u->reason = (struct bucket_reason){.is_default = true, .index = u->stream_index};
	return prepare_unit(q, u, err);
}

struct querier *querier_new(struct plan *p, const struct request_parameters *params, struct error *err)
{
	struct querier *q = xcalloc(1, sizeof(*q));
	q->plan = plan_ref(p);
	q->fixed.arena = &q->arena;
	q->parts_end = &q->parts;
	bool ok = request_data_read(&q->request, params->token_payload, params->client_parameters, &q->arena, err);
	for (size_t i = 0; ok && i < p->stream_count; i++)
		ok = prepare_stream(q, &p->streams[i], params, err);
	if (ok)
		return q;
	querier_free(q);
	return NULL;
}

void querier_free(struct querier *q)
{
	if (!q)
		return;
	plan_unref(q->plan);
	arena_free(&q->arena);
	free(q);
}

bool querier_is_dynamic(const struct querier *q)
{
	return q->parts != NULL;
}

/* ---- resolving -------------------------------------------------------------------------------------------------------- */

/* Static buckets that no dynamic part gives, then the dynamic ones, which replace equal static ones (15.5). */
static void put_buckets(const struct querier *q, const struct bucket_set *dynamic, struct arena *arena, struct resolution *out)
{
	out->buckets = arena_array(arena, struct resolved_bucket, q->fixed.count + dynamic->count + 1);
	for (size_t i = 0; i < q->fixed.count; i++) {
		const struct resolved_bucket *b = &q->fixed.items[i].bucket;
		if (!bucket_set_find(dynamic, b->definition, b->keys))
			out->buckets[out->bucket_count++] = *b;
	}
	for (size_t i = 0; i < dynamic->count; i++)
		out->buckets[out->bucket_count++] = dynamic->items[i].bucket;
}

/* Static parts belong to the querier; the result is the caller's, so it gets copies. */
static void copy_buckets(struct arena *arena, struct resolution *out, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct resolved_bucket *b = &out->buckets[i];
		struct bucket_reason *reasons = arena_array(arena, struct bucket_reason, b->reason_count + 1);
		memcpy(reasons, b->reasons, sizeof(*reasons) * b->reason_count);
		b->reasons = reasons;
		b->keys = arena_copy(arena, b->keys);
	}
}

static void put_streams(const struct querier *q, struct arena *arena, struct resolution *out)
{
	out->streams = arena_array(arena, struct resolved_stream, q->stream_count + 1);
	out->stream_count = q->stream_count;
	for (size_t i = 0; i < q->stream_count; i++) {
		struct resolved_stream s = q->streams[i].stream;
		s.name = arena_copy(arena, s.name);
		struct resolved_stream_error *errors = arena_array(arena, struct resolved_stream_error, s.error_count + 1);
		for (size_t j = 0; j < s.error_count; j++) {
			errors[j] = s.errors[j];
			errors[j].message = arena_copy(arena, errors[j].message);
		}
		s.errors = errors;
		out->streams[i] = s;
	}
}

static void put_lookups(const struct resolver *r, struct arena *arena, struct resolution *out)
{
	out->lookups = arena_array(arena, struct used_lookup, r->lookup_count + 1);
	for (size_t i = 0; i < r->lookup_count; i++)
		if (r->lookups[i].asked)
			out->lookups[out->lookup_count++] = (struct used_lookup){r->lookups[i].definition, r->lookups[i].key};
}

/* Steps all parts until none waits, reading in between what they want. runs: by part, NULL at first. */
static bool run_parts(struct querier *q, struct resolver *r, void **runs, bool *waiting, size_t count)
{
	for (bool any = count > 0; any;) {
		size_t i = 0;
		any = false;
		for (struct dynamic_part *part = q->parts; part; part = part->next, i++) {
			if (!waiting[i])
				continue;
			waiting[i] = false;
			r->stream = part->unit->stream->name;
			if (!part->step(part, r, &runs[i], &waiting[i]))
				return false;
			any |= waiting[i];
		}
		if (any && !resolver_read(r))
			return false;
	}
	return true;
}

static bool resolve_parts(struct querier *q, struct resolver *r, struct bucket_set *out)
{
	size_t count = 0, i = 0;
	for (struct dynamic_part *part = q->parts; part; part = part->next)
		count++;
	void **runs = arena_calloc(r->arena, sizeof(*runs) * (count + 1));
	bool *waiting = arena_array(r->arena, bool, count + 1);
	memset(waiting, true, count);
	if (!run_parts(q, r, runs, waiting, count))
		return false;
	for (struct dynamic_part *part = q->parts; part; part = part->next, i++) {
		r->stream = part->unit->stream->name;
		if (!part->finish(part, r, runs[i], out))
			return false;
	}
	return true;
}

bool querier_resolve(struct querier *q, const struct lookup_reader *reader, const struct resolve_limits *limits,
                     struct arena *arena, struct resolution *out, struct error *err)
{
	*out = (struct resolution){0};
	struct resolver r = {.plan = q->plan, .reader = reader, .limits = limits, .arena = arena, .err = err};
	struct bucket_set dynamic = {.arena = arena};
	bool ok = resolve_parts(q, &r, &dynamic);
	buf_free(&r.text);
	if (!ok) {
		if (r.exceeded)
			out->breakdown = resolver_breakdown(&r);
		return false;
	}
	put_buckets(q, &dynamic, arena, out);
	if (limits && out->bucket_count > limits->max_buckets) {
		out->breakdown = buckets_breakdown(q->plan, arena, out->buckets, out->bucket_count);
		return error_set(err, "PSYNC_S2305", "Too many buckets: %zu (limit of %zu)", out->bucket_count,
		                 limits->max_buckets);
	}
	copy_buckets(arena, out, out->bucket_count);
	put_streams(q, arena, out);
	put_lookups(&r, arena, out);
	return true;
}
