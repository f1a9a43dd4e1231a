/* compact_buckets.h: one run of a compaction on the shared layout, as compact.c, compact_buckets.c and terminate.c share it. */
#ifndef SYNCLINE_STORAGE_POSTGRES_COMPACT_BUCKETS_H
#define SYNCLINE_STORAGE_POSTGRES_COMPACT_BUCKETS_H

#include "storage/compact.h"
#include "storage/postgres/store.h"

struct pg_compaction {
	struct storage *s;
	struct pg_store *store;
	struct compact_options o; /* steps and memory filled in */
	struct compact_report *report;
	int64_t stream; /* 0: none is active */
	uint64_t limit; /* nothing above is touched */
};

/* Between steps: false when the run is to end. */
bool pg_compact_go_on(struct pg_compaction *c);
/* A gentle run rests as long as the step took, one second at most. */
void pg_compact_rest(struct pg_compaction *c, int64_t since_us);

/* The named buckets, or all of the stream that are wanted. */
bool pg_compact_buckets(struct pg_compaction *c, struct error *err);
/* What is stored of the stream that leaves (store.h), if there is one. */
bool pg_remove_stopped(struct pg_compaction *c, struct error *err);

#endif
