/*
 * compact.c: MOVE, CLEAR and lookups by the rules of storage-semantics 9, over any backend.
 *
 * What lies at or below the limit is changed by nobody but compaction, and one compaction runs at a time. So a bucket is read in
 * short snapshots without the writer's turn, and what was found is written in short transactions.
 */
#define _GNU_SOURCE
#include "storage/compact.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "storage/compact_run.h"
#include "storage/compact_walk.h"

#define CLEAR_STEP 5000
#define MOVE_STEP 2000
#define READ_STEP 10000
#define LOOKUP_STEP 2000
#define SCAN_STEP 1000
#define MEMORY ((size_t)64 << 20)
/* A bucket with fewer operations is small enough. */
#define DEFRAG_LEAST 20
/* No step of a session takes so long. */
#define STEP_MARGIN_MS 60000

/* ---- one bucket ---- */

struct bucket_walk {
	struct compact_run *run;
	uint32_t bucket;
	uint64_t limit;
	struct compact_walk walk;
};

/* For the decision whether rows are to be written again. */
static void note_op(struct defrag_walk *d, const struct compact_op *op, bool stays, struct slice first)
{
	if (!d)
		return;
	if (op->kind != OP_CLEAR && !stays)
		d->others++;
	else if (stays && first.p)
		defrag_put(d, op->op_id, first);
	else if (stays)
		d->incomplete = true;
}

static bool write_moves(struct bucket_walk *w, struct error *err)
{
	struct compact_run *r = w->run;
	if (!w->walk.move_count)
		return true;
	if (!compact_step_begin(r, err))
		return false;
	compact_touch(r, w->bucket);
	bool ok = r->ops->ops_move(r->s->backend, w->bucket, w->walk.moves, w->walk.move_count, err);
	ok = compact_step_end(r, ok, true, err);
	r->report->moved += ok ? w->walk.move_count : 0;
	w->walk.move_count = 0;
	return ok;
}

static bool walk_op(struct bucket_walk *w, const struct compact_op *op, struct error *err)
{
	struct slice first;
	bool stays = compact_walk_op(&w->walk, op, &first);
	note_op(w->run->defrag, op, stays, first);
	return w->walk.move_count < w->run->o.move_step || write_moves(w, err);
}

/* From the newest operation to the oldest. *complete: the first one was reached. */
static bool walk_back(struct bucket_walk *w, bool *complete, struct error *err)
{
	struct compact_run *r = w->run;
	uint64_t at = w->limit;
	*complete = false;
	while (compact_may_go_on(r)) {
		struct compact_op *ops;
		size_t count;
		arena_reset(&r->arena);
		struct storage_reader *reader = compact_settle(r, err) ? r->ops->read_begin(r->s->backend, err) : NULL;
		if (!reader)
			return false;
		bool ok = r->ops->read_ops_back(reader, w->bucket, at, r->o.read_step, &r->arena, &ops, &count, err);
		r->ops->read_end(reader);
		for (size_t i = 0; ok && i < count; i++)
			ok = walk_op(w, &ops[i], err);
		r->report->walked += count;
		if (!ok)
			return false;
		if (count < r->o.read_step || ops[count - 1].op_id <= 1) {
			*complete = true;
			return true;
		}
		at = ops[count - 1].op_id - 1;
	}
	return true;
}

/* Oldest first, each transaction leaves a CLEAR, which the next one takes in. */
static bool clear_run(struct bucket_walk *w, struct error *err)
{
	struct compact_run *r = w->run;
	bool more = w->walk.run_count > 0;
	while (more && compact_may_go_on(r)) {
		if (!compact_step_begin(r, err))
			return false;
		compact_touch(r, w->bucket);
		bool ok = r->ops->ops_clear(r->s->backend, w->bucket, w->walk.run_last, r->o.clear_step, &more,
		                            &r->report->cleared, err);
		if (!compact_step_end(r, ok, true, err))
			return false;
	}
	return true;
}

/* What is dead now is what was written above the limit, at most. */
static bool note_compacted(struct bucket_walk *w, struct error *err)
{
	struct compact_run *r = w->run;
	struct bucket_info info;
	size_t count;
	struct compact_op *ops;
	struct storage_reader *reader = r->ops->read_begin(r->s->backend, err);
	if (!reader)
		return false;
	arena_reset(&r->arena);
	size_t above = 0;
	bool ok = r->ops->buckets_scan(reader, w->bucket - 1, 1, &info, &count, err);
	if (ok && count && info.number == w->bucket && info.last_op > w->limit) {
		size_t max = info.dead < READ_STEP ? (size_t)info.dead : READ_STEP;
		ok = r->ops->read_ops_back(reader, w->bucket, UINT64_MAX, max, &r->arena, &ops, &above, err);
		while (ok && above && ops[above - 1].op_id <= w->limit)
			above--;
	}
	r->ops->read_end(reader);
	if (!ok || !count || info.number != w->bucket || info.dead <= above)
		return ok;
	if (!compact_step_begin(r, err))
		return false;
	ok = r->ops->bucket_compacted(r->s->backend, w->bucket, above, err);
	return compact_step_end(r, ok, true, err);
}

static void ask_for_rows(struct bucket_walk *w)
{
	struct compact_run *r = w->run;
	if (!r->defrag)
		return;
	struct defrag_request *q =
	        defrag_choose(r->defrag, w->bucket, w->limit, w->walk.run_count, r->o.min_dead, r->o.defragment_share);
	if (!q)
		return;
	r->report->asked += q->count;
	defrag_ask(r->s, q);
}

static bool compact_bucket(struct compact_run *r, uint32_t bucket, uint64_t limit, struct error *err)
{
	struct bucket_walk w = {.run = r, .bucket = bucket, .limit = limit, .walk = {.memory = r->o.memory}};
	bool complete;
	r->report->buckets++;
	if (r->defrag)
		r->defrag->puts = r->defrag->others = r->defrag->incomplete = 0;
	bool ok = walk_back(&w, &complete, err) && write_moves(&w, err);
	if (ok && complete)
		ask_for_rows(&w);
	ok = ok && (!complete || clear_run(&w, err)) && (!complete || r->report->stopped || note_compacted(&w, err));
	compact_walk_free(&w.walk);
	return ok;
}

/* ---- which buckets ---- */

static bool is_wanted(const struct compact_run *r, const struct bucket_info *b)
{
	if (r->defrag && !r->o.min_dead) /* how much lies between rows only a walk can tell */
		return b->count >= DEFRAG_LEAST;
	if (!b->count || !b->dead || b->dead < r->o.min_dead)
		return false;
	return (double)b->dead >= r->o.min_share * (double)b->count;
}

/* All of them that are wanted; counts their operations, or compacts them. */
static bool scan_buckets(struct compact_run *r, uint64_t limit, bool measure, struct error *err)
{
	struct bucket_info *infos = xmalloc(SCAN_STEP * sizeof(*infos));
	uint32_t after = 0;
	size_t count = SCAN_STEP;
	bool ok = true;
	while (ok && count == SCAN_STEP && compact_may_go_on(r)) {
		struct storage_reader *reader = compact_commit(r, err) ? r->ops->read_begin(r->s->backend, err) : NULL;
		ok = reader && r->ops->buckets_scan(reader, after, SCAN_STEP, infos, &count, err);
		if (reader)
			r->ops->read_end(reader);
		for (size_t i = 0; ok && i < count && compact_may_go_on(r); i++) {
			after = infos[i].number;
			if (!is_wanted(r, &infos[i]))
				continue;
			if (measure)
				r->report->total += infos[i].count;
			else
				ok = compact_bucket(r, after, limit, err);
		}
	}
	free(infos);
	return ok;
}

static bool compact_all(struct compact_run *r, uint64_t limit, struct error *err)
{
	return (!r->o.measure || scan_buckets(r, limit, true, err)) && scan_buckets(r, limit, false, err);
}

bool bucket_name_is_full(struct slice name)
{
	return memchr(name.p, '[', name.n) != NULL;
}

/* The name of the definition with this number, as the writer's list has it. */
static struct slice definition_name(struct storage *s, uint64_t number)
{
	struct slice name = {NULL, 0};
	turn_take(&s->turn);
	for (size_t i = 0; i < s->definition_count; i++)
		if (s->definitions[i].number == number && s->definitions[i].kind == DEFINITION_BUCKETS)
			name = s->definitions[i].name;
	turn_give(&s->turn);
	return name;
}

/* "7#by_owner[\"u1\"]": the number says which definition, the keys begin where its name ends. False with an error, or *bucket 0. */
static bool find_bucket(struct compact_run *r, struct slice name, uint32_t *bucket, struct error *err)
{
	const char *hash = memchr(name.p, '#', name.n);
	uint64_t number;
	*bucket = 0;
	if (!hash || !slice_parse_u64(slice_make(name.p, (size_t)(hash - name.p)), UINT32_MAX, &number))
		return true;
	if (!compact_commit(r, err))
		return false;
	struct slice tail = slice_drop(name, (size_t)(hash - name.p) + 1), known = definition_name(r->s, number);
	if (!known.p || !slice_starts(tail, known))
		return true;
	struct storage_reader *reader = r->ops->read_begin(r->s->backend, err);
	if (!reader)
		return false;
	*bucket = r->ops->read_bucket(reader, (uint32_t)number, slice_drop(tail, known.n));
	r->ops->read_end(reader);
	return true;
}

static bool compact_named(struct compact_run *r, uint64_t limit, struct error *err)
{
	bool ok = true;
	for (size_t i = 0; ok && i < r->o.name_count && compact_may_go_on(r); i++) {
		uint32_t bucket;
		ok = find_bucket(r, r->o.names[i], &bucket, err);
		if (ok && bucket)
			ok = compact_bucket(r, bucket, limit, err);
		else if (ok)
			r->report->unknown++;
	}
	return ok;
}

/* ---- lookups ---- */

static bool compact_lookups(struct compact_run *r, uint64_t floor, struct error *err)
{
	struct buf cursor = {0};
	bool more = true, ok = true;
	while (ok && more && compact_may_go_on(r)) {
		struct slice *keys;
		size_t count;
		arena_reset(&r->arena);
		struct storage_reader *reader = compact_commit(r, err) ? r->ops->read_begin(r->s->backend, err) : NULL;
		ok = reader && r->ops->lookups_dead(reader, &cursor, floor, LOOKUP_STEP, &r->arena, &keys, &count, &more, err);
		if (reader)
			r->ops->read_end(reader);
		if (!ok || !count)
			continue;
		ok = compact_step_begin(r, err);
		if (ok)
			ok = compact_step_end(r, r->ops->lookups_delete(r->s->backend, keys, count, err), true, err);
		r->report->lookups += ok ? count : 0;
	}
	buf_free(&cursor);
	return ok;
}

/* ---- a run ---- */

/* Unless the margin covers it, steps of sessions that went by an older checkpoint must be over before its lookups go. */
static bool may_compact_lookups(struct compact_run *r)
{
	return compact_may_go_on(r) && (r->o.margin_ms >= STEP_MARGIN_MS || compact_steps_over(r));
}

static bool run(struct compact_run *r, struct error *err)
{
	struct checkpoint c = checkpoint_announced(r->s);
	bool ok = true;
	if (c.valid) {
		uint64_t floor = checkpoint_floor(r->s, r->o.margin_ms);
		uint64_t limit = floor < c.op_id ? floor : c.op_id;
		if (r->o.max_op_id && r->o.max_op_id < limit)
			limit = r->o.max_op_id;
		if (limit && r->o.buckets)
			ok = r->o.name_count ? compact_named(r, limit, err) : compact_all(r, limit, err);
		ok = ok && compact_commit(r, err);
		if (ok && limit && r->o.lookups && may_compact_lookups(r))
			ok = compact_lookups(r, limit, err);
	}
	return ok && (!r->o.dropped || !compact_may_go_on(r) || compact_drop(r, err));
}

static uint64_t used_bytes(struct storage *s)
{
	struct storage_sizes sizes;
	struct error ignored;
	return storage_sizes(s, &sizes, &ignored) ? sizes.used : 0;
}

static bool run_alone(struct compact_run *r, struct error *err)
{
	uint64_t before = used_bytes(r->s), after;
	if (r->o.defragment_share > 0 && r->ops->op_again)
		r->defrag = xcalloc(1, sizeof(*r->defrag));
	bool ok = run(r, err);
	free(r->defrag);
	if (r->open)
		ok = compact_step_over(r, ok, ok ? err : NULL) && ok;
	after = used_bytes(r->s);
	r->report->freed = before > after ? before - after : 0;
	return ok;
}

bool storage_compact(struct storage *s, const struct compact_options *o, struct compact_report *out, struct error *err)
{
	struct compact_run r = {.s = s, .ops = s->backend->ops, .o = *o, .report = out};
	*out = (struct compact_report){0};
	r.o.clear_step = o->clear_step ? o->clear_step : CLEAR_STEP;
	r.o.move_step = o->move_step ? o->move_step : MOVE_STEP;
	r.o.read_step = o->read_step ? o->read_step : READ_STEP;
	r.o.memory = o->memory == SIZE_MAX ? 0 : o->memory ? o->memory : MEMORY;
	if (r.o.clear_step < 2) /* with one nothing would move on */
		r.o.clear_step = 2;
	while (pthread_mutex_trylock(&s->compact_lock) != 0) {
		if (!compact_may_go_on(&r))
			return true;
		compact_rest(COMPACT_LONGEST_REST_US);
	}
	int64_t began_ms = clock_mono_ms();
	bool ok = s->shared ? s->shared->compact(s, &r.o, out, err) : run_alone(&r, err);
	if (o->buckets || o->lookups || out->dropped || !ok) /* else it only looked */
		meter_note_compaction(s, out, ok, began_ms);
	pthread_mutex_unlock(&s->compact_lock);
	free(r.touched);
	arena_free(&r.arena);
	return ok;
}

bool storage_sizes(struct storage *s, struct storage_sizes *out, struct error *err)
{
	if (s->shared)
		return s->shared->sizes(s, out, err);
	return s->backend->ops->sizes(s->backend, out, err);
}

uint64_t storage_release_pages(struct storage *s)
{
	return s->backend->ops->release_pages ? s->backend->ops->release_pages(s->backend) : 0;
}
