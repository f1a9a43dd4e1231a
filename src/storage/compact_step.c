/* compact_step.c: the transactions of a compaction (compact_run.h). */
#define _GNU_SOURCE
#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "storage/compact_run.h"

/* Small steps are gathered into a transaction of about this length. */
#define STEP_US 4000

void compact_rest(int64_t us)
{
	struct timespec t = {.tv_nsec = (us > COMPACT_LONGEST_REST_US ? COMPACT_LONGEST_REST_US : us) * 1000};
	nanosleep(&t, NULL);
}

/* Not while the writer waits for our transaction: the answer may take its time. */
bool compact_may_go_on(struct compact_run *r)
{
	if (!r->open && !r->report->stopped && r->o.go_on && !r->o.go_on(r->o.ctx))
		r->report->stopped = true;
	return !r->report->stopped;
}

uint32_t storage_bucket_compactions(struct storage *s, uint32_t bucket)
{
	if (s->backend->ops->bucket_compactions)
		return s->backend->ops->bucket_compactions(s->backend, bucket);
	return atomic_load(&s->compactions[bucket % COMPACTION_COUNTERS]);
}

void compact_touch(struct compact_run *r, uint32_t bucket)
{
	if (r->touched_count && r->touched[r->touched_count - 1] == bucket)
		return;
	r->touched = xgrow(r->touched, r->touched_count, &r->touched_cap, sizeof(*r->touched));
	r->touched[r->touched_count++] = bucket;
}

bool compact_step_begin(struct compact_run *r, struct error *err)
{
	if (r->open)
		return true;
	turn_take(&r->s->turn);
	r->began_us = clock_mono_us();
	r->open = r->ops->write_begin(r->s->backend, err);
	r->dirty = false;
	if (!r->open)
		turn_give(&r->s->turn);
	return r->open;
}

bool compact_step_over(struct compact_run *r, bool ok, struct error *err)
{
	struct changed_buckets none = {0};
	bool wrote = ok && r->dirty;
	ok = ok && (!wrote || r->ops->write_commit(r->s->backend, &none, err));
	if (!ok || !wrote)
		r->ops->write_abort(r->s->backend);
	free(none.items);
	r->open = false;
	turn_give(&r->s->turn);
	for (size_t i = 0; i < r->touched_count; i++)
		atomic_fetch_add(&r->s->compactions[r->touched[i] % COMPACTION_COUNTERS], 1);
	r->touched_count = 0;
	if (r->o.gentle) /* at most half of the time is ours */
		compact_rest(clock_mono_us() - r->began_us);
	return ok;
}

bool compact_commit(struct compact_run *r, struct error *err)
{
	return !r->open || compact_step_over(r, true, err);
}

bool compact_settle(struct compact_run *r, struct error *err)
{
	return !r->open || clock_mono_us() - r->began_us < STEP_US || compact_step_over(r, true, err);
}

bool compact_step_end(struct compact_run *r, bool ok, bool wrote, struct error *err)
{
	r->dirty |= wrote;
	return ok ? compact_settle(r, err) : compact_step_over(r, false, err);
}
