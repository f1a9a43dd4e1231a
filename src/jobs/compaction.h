/*
 * compaction.h: compaction by itself (storage-semantics 9, incremental-deploy 8): buckets of which enough is dead, superseded lookups,
 * and what no sync config uses any more.
 */
#ifndef SYNCLINE_JOBS_COMPACTION_H
#define SYNCLINE_JOBS_COMPACTION_H

#include "base/log.h"
#include "jobs/maintenance.h"
#include "storage/compact.h"

struct compaction {
	struct storage *storage;
	const struct log *log;
	/* Buckets with at least so many dead operations that are at least this share of all. */
	uint64_t min_dead;
	double min_share;
	double defragment_share;            /* see compact.h */
	size_t compaction_job, removal_job; /* places in the list of jobs */
	/* The run's own: what its slices did, and when it began (monotonic; 0: none is under way). */
	struct compact_report total;
	int64_t began_ms;
};

/* Buckets and lookups. After half a minute it wakes itself for the rest, so that other jobs that are due come first. ctx: a struct
 * compaction, as below. */
bool compaction_run(void *ctx, struct maintenance *m, struct error *err);
/* What a deploy left over; cheap when there is nothing. On a shared store whole streams, which hold as much as what replaced them. */
#define REMOVAL_EVERY_MS 15000
#define SHARED_REMOVAL_EVERY_MS 1000
bool compaction_remove_dropped(void *ctx, struct maintenance *m, struct error *err);

#endif
