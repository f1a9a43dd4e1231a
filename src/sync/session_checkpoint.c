/*
 * session_checkpoint.c: which checkpoint, checkpoint_diff or full line comes next (sync-protocol 6, steps 1 to 4; incremental-deploy 7).
 *
 * A draft is made of what the request resolves to at the newest checkpoint, and compared with what the client was told last. Only if
 * that gives a line is the session changed to match.
 */
#include "sync/session_internal.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"

/* A bucket of the draft. */
struct candidate {
	struct slice name, keys;
	uint32_t definition; /* number */
	uint32_t number, checksum;
	uint64_t count;
	struct session_bucket *known; /* NULL: the client was not told of it */
	int priority;
	const struct bucket_reason *reasons;
	size_t reason_count;
	bool updated;
};

struct draft {
	struct hub_view view;
	bool everything; /* nothing is known to be unchanged */
	bool switched;   /* to another plan */
	bool resolved;   /* resolution is filled */
	struct resolution resolution;
	struct candidate *candidates; /* by name */
	size_t count;
	struct slice *removed;
	size_t removed_count;
	size_t updated_count;
	uint64_t write_checkpoint;
	uint64_t streams_hash;
};

/* ---- news and plan ------------------------------------------------------------------------------------------------------------ */

static void mark_dirty(struct hub_bucket_link *link)
{
	((struct session_bucket *)link)->dirty = true;
}

/* The reader that is open may be older than the checkpoint that is taken now. */
static void take_news(struct step *t, struct hub_view *view)
{
	struct session *s = t->s;
	if (t->reader)
		storage_read_end(t->reader);
	t->reader = NULL;
	hub_take(s->hub, &s->member, mark_dirty, view);
	s->pending |= view->flags & HUB_NEWS;
}

/* A plan that became active after the checkpoint in hand is resolved at the checkpoint of its activation, not before: the news of it
 * are on their way. */
static enum outcome follow_plan(struct step *t, struct draft *d)
{
	struct session *s = t->s;
	s->plan_pending = false;
	if (d->view.checkpoint.plan_id == s->plan->id)
		return OUTCOME_NOTHING;
	struct stored_plan *plan = storage_active_plan(hub_storage(s->hub));
	if (!plan || plan->id != d->view.checkpoint.plan_id) {
		stored_plan_unref(plan);
		s->plan_pending = true;
		return OUTCOME_WAIT;
	}
	/* Op ids must not go back within a stream. */
	if (s->started && d->view.checkpoint.op_id < s->op_id) {
		stored_plan_unref(plan);
		return OUTCOME_END;
	}
	struct querier *querier = querier_new(plan->plan, &s->parameters, t->err);
	if (!querier) {
		stored_plan_unref(plan);
		return s->started ? OUTCOME_END : OUTCOME_FAILED;
	}
	querier_free(s->querier);
	stored_plan_unref(s->plan);
	s->plan = plan;
	s->querier = querier;
	s->dynamic = querier_is_dynamic(querier);
	d->switched = true;
	return OUTCOME_NOTHING;
}

/* ---- the draft ---------------------------------------------------------------------------------------------------------------- */

struct lookup_context {
	struct step *t;
	uint64_t op_id;
};

static bool read_lookups(void *ctx, struct lookup_read *keys, size_t count, size_t max_results, struct arena *arena,
                         struct error *err)
{
	struct lookup_context *c = ctx;
	c->t->lookups_read += count;
	return reader_plan_lookups(c->t->reader, c->t->s->plan, keys, count, c->op_id, max_results, arena, err);
}

static struct slice bucket_name(struct arena *arena, const struct stored_definition *d, struct slice keys)
{
	char *p = arena_bytes(arena, d->head.n + keys.n);
	memcpy(p, d->head.p, d->head.n);
	if (keys.n)
		memcpy(p + d->head.n, keys.p, keys.n);
	return slice_make(p, d->head.n + keys.n);
}

static int by_name(const void *a, const void *b)
{
	return slice_cmp(((const struct candidate *)a)->name, ((const struct candidate *)b)->name);
}

static bool resolve(struct step *t, struct draft *d)
{
	struct session *s = t->s;
	struct arena *arena = &t->scratch->arena;
	if (!s->querier && !(s->querier = querier_new(s->plan->plan, &s->parameters, t->err)))
		return false;
	struct lookup_context context = {t, d->view.checkpoint.op_id};
	struct lookup_reader reader = {&context, read_lookups};
	struct resolve_limits limits = {s->limits.max_parameter_results, s->limits.max_buckets};
	int64_t began_us = clock_mono_us();
	bool ok = querier_resolve(s->querier, &reader, &limits, arena, &d->resolution, t->err);
	histogram_observe(hub_phases(s->hub)->lookup, (double)(clock_mono_us() - began_us) / 1e6);
	if (!ok) {
		if (d->resolution.breakdown.n)
			error_detail(t->err, "%.*s", SLICE_ARG(d->resolution.breakdown));
		return false;
	}
	d->resolved = true;
	d->count = d->resolution.bucket_count;
	d->candidates = arena_calloc(arena, sizeof(*d->candidates) * (d->count + 1));
	for (size_t i = 0; i < d->count; i++) {
		const struct resolved_bucket *b = &d->resolution.buckets[i];
		const struct stored_definition *definition = &s->plan->definitions[b->definition];
		d->candidates[i] = (struct candidate){
		        .name = bucket_name(arena, definition, b->keys),
		        .keys = b->keys,
		        .definition = definition->number,
		        .priority = b->priority,
		        .reasons = b->reasons,
		        .reason_count = b->reason_count,
		};
	}
	qsort(d->candidates, d->count, sizeof(*d->candidates), by_name);
	return true;
}

/* Both lists are sorted by name. */
static void match_known(struct step *t, struct draft *d)
{
	struct session *s = t->s;
	d->removed = arena_array(&t->scratch->arena, struct slice, s->bucket_count + 1);
	size_t at = 0;
	for (size_t i = 0; i < s->bucket_count; i++) {
		struct slice name = session_bucket_name(s->buckets[i]);
		while (at < d->count && slice_cmp(d->candidates[at].name, name) < 0)
			at++;
		if (at < d->count && slice_eq(d->candidates[at].name, name))
			d->candidates[at].known = s->buckets[i];
		else
			d->removed[d->removed_count++] = name;
	}
}

static void repeat_known(struct step *t, struct draft *d)
{
	struct session *s = t->s;
	d->count = s->bucket_count;
	d->candidates = arena_calloc(&t->scratch->arena, sizeof(*d->candidates) * (d->count + 1));
	for (size_t i = 0; i < d->count; i++) {
		struct session_bucket *b = s->buckets[i];
		struct slice name = session_bucket_name(b);
		d->candidates[i] = (struct candidate){
		        .name = name,
		        .keys = slice_drop(name, b->keys_at),
		        .definition = b->definition,
		        .known = b,
		        .priority = b->priority,
		        .reasons = b->reasons,
		        .reason_count = b->reason_count,
		};
	}
}

/* What no news concerned is as it was sent. A bucket that comes into being above the checkpoint has the sum and count 0 at it. */
static bool needs_checksum(struct step *t, const struct draft *d, struct candidate *c)
{
	const struct session_bucket *known = c->known;
	bool changed = !known || known->dirty || d->everything;
	c->number = known ? known->number : 0;
	if (c->number == 0 && (!known || d->everything || (t->s->pending & HUB_ABSENT))) {
		c->number = reader_bucket(t->reader, c->definition, c->keys);
		changed = changed || c->number;
	}
	if (known && !changed) {
		c->checksum = known->checksum;
		c->count = known->count;
	}
	return !known || changed;
}

/* All that are needed in one call: a store on another machine answers them in one go. */
static bool read_checksums(struct step *t, struct draft *d)
{
	struct arena *arena = &t->scratch->arena;
	struct candidate **asked = arena_array(arena, struct candidate *, d->count + 1);
	uint32_t *numbers = arena_array(arena, uint32_t, d->count + 1);
	size_t count = 0, existing = 0;
	for (size_t i = 0; i < d->count; i++)
		if (needs_checksum(t, d, &d->candidates[i]))
			asked[count++] = &d->candidates[i];
	for (size_t i = 0; i < count; i++)
		if (asked[i]->number)
			numbers[existing++] = asked[i]->number;
	struct bucket_checksum *sums = arena_array(arena, struct bucket_checksum, existing + 1);
	if (existing && !reader_checksums(t->reader, numbers, existing, d->view.checkpoint.op_id, !t->s->started, sums, t->err))
		return false;
	for (size_t i = 0, at = 0; i < count; i++) {
		struct candidate *c = asked[i];
		const struct bucket_checksum sum = c->number ? sums[at++] : (struct bucket_checksum){0};
		c->checksum = sum.checksum;
		c->count = sum.count;
		c->updated = !c->known || sum.checksum != c->known->checksum || sum.count != c->known->count;
		d->updated_count += c->updated;
	}
	return true;
}

static uint64_t hash_streams(struct step *t, const struct draft *d)
{
	struct buf *text = &t->scratch->operations;
	buf_clear(text);
	ndjson_streams(text, d->resolution.streams, d->resolution.stream_count);
	uint64_t h = 0xcbf29ce484222325u;
	for (size_t i = 0; i < text->n; i++)
		h = (h ^ (unsigned char)text->p[i]) * 0x100000001b3u;
	return h;
}

static enum outcome make_draft(struct step *t, struct draft *d)
{
	struct session *s = t->s;
	if (!step_reader(t))
		return OUTCOME_FAILED;
	d->everything = !s->started || d->switched || (s->pending & HUB_EVERYTHING);
	if (d->everything || ((s->pending & HUB_LOOKUPS) && s->dynamic)) {
		if (!resolve(t, d))
			return s->started && d->switched ? OUTCOME_END : OUTCOME_FAILED;
		match_known(t, d);
		d->streams_hash = hash_streams(t, d);
	} else {
		repeat_known(t, d);
	}
	if (!read_checksums(t, d))
		return OUTCOME_FAILED;
	/* Together with the checkpoint, so that it never comes before its data; and never down on one connection. */
	d->write_checkpoint = storage_write_checkpoint(hub_storage(s->hub), &s->user, d->view.checkpoint.position);
	if (d->write_checkpoint < s->write_checkpoint)
		d->write_checkpoint = s->write_checkpoint;
	return OUTCOME_NOTHING;
}

/* ---- the decision ------------------------------------------------------------------------------------------------------------- */

static bool same_reasons(const struct candidate *c, const struct session_bucket *b)
{
	if (c->priority != b->priority || c->reason_count != b->reason_count)
		return false;
	for (size_t i = 0; i < c->reason_count; i++)
		if (c->reasons[i].is_default != b->reasons[i].is_default || c->reasons[i].index != b->reasons[i].index)
			return false;
	return true;
}

/* A diff cannot say that streams, a priority or a reason changed (incremental-deploy 7). */
static bool needs_full_line(const struct session *s, const struct draft *d)
{
	if (!s->started)
		return true;
	if (!d->switched)
		return false;
	if (d->streams_hash != s->streams_hash)
		return true;
	for (size_t i = 0; i < d->count; i++)
		if (d->candidates[i].known && !same_reasons(&d->candidates[i], d->candidates[i].known))
			return true;
	return false;
}

/* A download that the new plan or a compaction stopped gets its complete line from an empty diff, if need be. */
static bool needs_diff(const struct session *s, const struct draft *d)
{
	if (d->updated_count || d->removed_count || d->write_checkpoint != s->write_checkpoint)
		return true;
	return (d->switched && s->downloading) || (s->must_line && d->view.checkpoint.op_id > s->op_id);
}

static void write_line(struct step *t, const struct draft *d, bool full)
{
	struct line_bucket *buckets = arena_array(&t->scratch->arena, struct line_bucket, d->count + 1);
	struct checkpoint_line line = {
	        .diff = !full,
	        .last_op_id = d->view.checkpoint.op_id,
	        .write_checkpoint = d->write_checkpoint,
	        .buckets = buckets,
	        .streams = d->resolution.streams,
	        .stream_count = d->resolution.stream_count,
	        .removed = d->removed,
	        .removed_count = d->removed_count,
	};
	for (size_t i = 0; i < d->count; i++) {
		const struct candidate *c = &d->candidates[i];
		if (full || c->updated)
			buckets[line.bucket_count++] = (struct line_bucket){
			        .name = c->name,
			        .checksum = c->checksum,
			        .count = c->count,
			        .priority = c->priority,
			        .reasons = c->reasons,
			        .reason_count = c->reason_count,
			};
	}
	encode_checkpoint(t->s->encoding, step_line(t), &line);
	step_line_done(t);
	if (t->s->started && d->view.announced_us)
		histogram_observe(hub_phases(t->s->hub)->line, (double)(clock_mono_us() - d->view.announced_us) / 1e6);
}

/* ---- the session follows ------------------------------------------------------------------------------------------------------- */

static void set_number(struct session *s, struct session_bucket *b, uint32_t number, uint64_t sequence)
{
	if (b->number != number) {
		if (b->link.link.entry)
			hub_unlink_bucket(s->hub, &b->link);
		storage_bucket_hold(hub_storage(s->hub), number);
		storage_bucket_release(hub_storage(s->hub), b->number);
		b->number = number;
		hub_link_bucket(s->hub, &s->member, &b->link, number, sequence);
	} else if (number == 0 && !b->link.link.entry) {
		uint64_t hash = lookup_hash(b->definition, slice_drop(session_bucket_name(b), b->keys_at));
		hub_link_absent(s->hub, &s->member, &b->link, hash, sequence);
	}
}

/* A bucket for a candidate that was listed in the line. What it was before the line is replaced. */
static struct session_bucket *bucket_of(struct session *s, const struct draft *d, const struct candidate *c)
{
	struct session_bucket *old = c->known;
	if (old && same_reasons(c, old))
		return old;
	struct session_bucket *b = session_bucket_new(c->name, c->reasons, c->reason_count);
	b->priority = (int8_t)c->priority;
	b->definition = c->definition;
	b->keys_at = (uint32_t)(c->name.n - c->keys.n);
	if (old) {
		b->after = old->after;
		b->to_fetch = old->to_fetch;
		b->done = old->done;
		set_number(s, b, old->number, d->view.sequence);
		session_bucket_free(s, old);
	} else if (!s->started) {
		b->after = session_position(s, c->name);
	}
	return b;
}

static void drop_removed(struct session *s, const struct draft *d)
{
	size_t removed = 0, kept = 0;
	for (size_t i = 0; i < s->bucket_count; i++) {
		struct session_bucket *b = s->buckets[i];
		if (removed < d->removed_count && d->removed[removed].p == session_bucket_name(b).p) {
			session_bucket_free(s, b);
			removed++;
		} else {
			s->buckets[kept++] = b;
		}
	}
	s->bucket_count = kept;
}

/* Changes what is told to clients; the line that tells them was written. */
static void follow_line(struct session *s, const struct draft *d, bool full)
{
	drop_removed(s, d);
	if (d->count != s->bucket_count)
		s->buckets = xrealloc(s->buckets, sizeof(struct session_bucket *) * d->count);
	for (size_t i = 0; i < d->count; i++) {
		struct candidate *c = &d->candidates[i];
		struct session_bucket *b = full || c->updated ? bucket_of(s, d, c) : c->known;
		b->checksum = c->checksum;
		b->count = c->count;
		b->to_fetch = !s->started || c->updated || (b->to_fetch && !b->done);
		b->done = false;
		s->buckets[i] = b;
		c->known = b;
	}
	s->bucket_count = d->count;
	if (full)
		s->streams_hash = d->streams_hash;
	free(s->positions);
	s->positions = NULL;
	s->position_count = 0;
	s->started = true;
	s->op_id = d->view.checkpoint.op_id;
	s->write_checkpoint = d->write_checkpoint;
	s->downloading = true;
	s->invalidated = false;
	s->must_line = false;
	s->operations_for_line = 0;
	s->group_priority = -1;
}

static int by_hash(const void *a, const void *b)
{
	uint64_t x = ((const struct session_lookup *)a)->hash, y = ((const struct session_lookup *)b)->hash;
	return x < y ? -1 : x > y;
}

static bool same_lookups(const struct session *s, const struct session_lookup *list, size_t count)
{
	if (count != s->lookup_count)
		return false;
	for (size_t i = 0; i < count; i++)
		if (list[i].hash != s->lookups[i].hash)
			return false;
	return true;
}

/* Registers what the resolution asked for, in place of what the former one did. */
static void follow_lookups(struct session *s, const struct draft *d)
{
	size_t asked = s->dynamic ? d->resolution.lookup_count : 0, count = 0;
	struct session_lookup *list = asked ? xcalloc(asked, sizeof(*list)) : NULL;
	for (size_t i = 0; i < asked; i++) {
		const struct used_lookup *l = &d->resolution.lookups[i];
		list[i].hash = lookup_hash(s->plan->definitions[l->definition].number, l->key);
	}
	if (asked)
		qsort(list, asked, sizeof(*list), by_hash);
	for (size_t i = 0; i < asked; i++)
		if (!count || list[count - 1].hash != list[i].hash)
			list[count++].hash = list[i].hash;
	if (same_lookups(s, list, count)) {
		free(list);
		return;
	}
	session_drop_lookups(s);
	s->lookups = list;
	s->lookup_count = count;
	for (size_t i = 0; i < count; i++)
		hub_link_lookup(s->hub, &s->member, &list[i].link, list[i].hash, d->view.sequence);
}

/* Registrations that depend on the draft, whether it gave a line or not. */
static void follow_registrations(struct session *s, const struct draft *d)
{
	for (size_t i = 0; i < d->count; i++) {
		struct session_bucket *b = d->candidates[i].known;
		b->dirty = false;
		set_number(s, b, d->candidates[i].number, d->view.sequence);
	}
	if (d->resolved)
		follow_lookups(s, d);
	s->pending = 0;
}

/* Is there a reason to look at all? */
static bool anything_new(const struct session *s, const struct draft *d)
{
	return !s->started || d->switched || s->pending || (s->must_line && d->view.checkpoint.op_id > s->op_id);
}

enum outcome session_next_checkpoint(struct step *t)
{
	struct session *s = t->s;
	struct draft d = {0};
	take_news(t, &d.view);
	if (!d.view.checkpoint.valid)
		return OUTCOME_NOTHING;
	enum outcome o = follow_plan(t, &d);
	if (o != OUTCOME_NOTHING || !anything_new(s, &d))
		return o;
	o = make_draft(t, &d);
	if (o != OUTCOME_NOTHING)
		return o;
	bool full = needs_full_line(s, &d);
	if (full || needs_diff(s, &d)) {
		write_line(t, &d, full);
		follow_line(s, &d, full);
		o = OUTCOME_LINE;
	}
	follow_registrations(s, &d);
	querier_free(s->querier);
	s->querier = NULL;
	return o;
}
