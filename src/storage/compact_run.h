/* compact_run.h: one run of a compaction, as compact.c and drop.c share it. */
#ifndef SYNCLINE_STORAGE_COMPACT_RUN_H
#define SYNCLINE_STORAGE_COMPACT_RUN_H

#include "storage/compact.h"
#include "storage/internal.h"

struct compact_run {
	struct storage *s;
	const struct backend_ops *ops;
	struct compact_options o;
	struct compact_report *report;
	struct arena arena;         /* of a step */
	struct defrag_walk *defrag; /* of a bucket; NULL: none is wanted */
	/* The open transaction, if any; buckets whose operations it takes away. */
	bool open, dirty;
	int64_t began_us;
	uint32_t *touched;
	size_t touched_count, touched_cap;
};

/* Between steps: false when the run is to end. */
bool compact_may_go_on(struct compact_run *r);
/*
 * The transaction of a step. Small steps share one, because a commit costs more than they do: end leaves it open unless it has lasted
 * long enough, or the step failed. What takes time without writing calls compact_commit or compact_settle before: the writer waits.
 */
bool compact_step_begin(struct compact_run *r, struct error *err);
bool compact_step_end(struct compact_run *r, bool ok, bool wrote, struct error *err);
bool compact_commit(struct compact_run *r, struct error *err);
/* Commits if the transaction has lasted long enough. */
bool compact_settle(struct compact_run *r, struct error *err);
/* Ends the open transaction; not ok: gives it up. */
bool compact_step_over(struct compact_run *r, bool ok, struct error *err);
/* Operations of the bucket are taken away: sessions are to see it once that is committed. */
void compact_touch(struct compact_run *r, uint32_t bucket);
#define COMPACT_LONGEST_REST_US 50000
void compact_rest(int64_t us);

/* ---- drop.c */
/* Waits until the steps of sessions that run now have ended. False: not in time, or the run is to end. */
bool compact_steps_over(struct compact_run *r);
bool compact_drop(struct compact_run *r, struct error *err);

#endif
