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
	struct arena arena; /* of a step */
	int64_t step_began_us;
};

/* Between steps: false when the run is to end. */
bool compact_may_go_on(struct compact_run *r);
/* The transaction of one step. end: commits if ok and something was written. */
bool compact_step_begin(struct compact_run *r, struct error *err);
bool compact_step_end(struct compact_run *r, bool ok, bool wrote, struct error *err);

/* ---- drop.c */
/* Waits until the steps of sessions that run now have ended. False: not in time, or the run is to end. */
bool compact_steps_over(struct compact_run *r);
bool compact_drop(struct compact_run *r, struct error *err);

#endif
