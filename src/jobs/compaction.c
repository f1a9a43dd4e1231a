/* compaction.c: see compaction.h. */
#include "jobs/compaction.h"

#include "base/clock.h"

#define SLICE_MS 30000

struct slice_of_work {
	struct maintenance *m;
	int64_t until_ms;
};

static bool go_on(void *ctx)
{
	struct slice_of_work *w = ctx;
	return maintenance_go_on(w->m) && clock_mono_ms() < w->until_ms;
}

/* What a slice did is done: the next one finds the rest. */
static bool run_slice(struct compaction *c, struct maintenance *m, struct compact_options o, size_t job,
                      struct compact_report *out, struct error *err)
{
	struct slice_of_work w = {m, clock_mono_ms() + SLICE_MS};
	o.margin_ms = COMPACT_DEFAULT_MARGIN_MS;
	o.gentle = true;
	o.go_on = go_on;
	o.ctx = &w;
	if (!storage_compact(c->storage, &o, out, err))
		return false;
	if (out->stopped && maintenance_go_on(m))
		maintenance_wake(m, job);
	return true;
}

static void add_up(struct compact_report *total, const struct compact_report *r)
{
	total->buckets += r->buckets;
	total->moved += r->moved;
	total->cleared += r->cleared;
	total->lookups += r->lookups;
	total->asked += r->asked;
	total->freed += r->freed;
}

static void tell(const struct compaction *c)
{
	const struct compact_report *r = &c->total;
	if (!r->moved && !r->cleared && !r->lookups && !r->asked)
		return;
	log_info(c->log,
	         "Compacted %llu buckets: %llu operations superseded, %llu cleared, %llu lookup entries removed, %llu rows "
	         "written "
	         "again, %llu bytes free for use, %.1f s",
	         (unsigned long long)r->buckets, (unsigned long long)r->moved, (unsigned long long)r->cleared,
	         (unsigned long long)r->lookups, (unsigned long long)r->asked, (unsigned long long)r->freed,
	         (double)(clock_mono_ms() - c->began_ms) / 1000);
}

bool compaction_run(void *ctx, struct maintenance *m, struct error *err)
{
	struct compaction *c = ctx;
	struct compact_report r;
	struct compact_options o = {.buckets = true,
	                            .lookups = true,
	                            .min_dead = c->min_dead,
	                            .min_share = c->min_share,
	                            .defragment_share = c->defragment_share};
	if (!c->began_ms) {
		c->total = (struct compact_report){0};
		c->began_ms = clock_mono_ms();
	}
	if (!run_slice(c, m, o, c->compaction_job, &r, err))
		return false;
	add_up(&c->total, &r);
	if (r.stopped)
		return true;
	tell(c);
	c->began_ms = 0;
	return true;
}

bool compaction_remove_dropped(void *ctx, struct maintenance *m, struct error *err)
{
	struct compaction *c = ctx;
	struct compact_report r;
	if (!run_slice(c, m, (struct compact_options){.dropped = true}, c->removal_job, &r, err))
		return false;
	if (r.dropped)
		log_info(c->log, "Removed %llu operations, lookups and contributions that no sync config uses any more%s",
		         (unsigned long long)r.dropped, r.stopped ? "; going on" : "");
	return true;
}
