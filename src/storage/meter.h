/* meter.h: what a storage counts of itself (http-api-and-operations 10). */
#ifndef SYNCLINE_STORAGE_METER_H
#define SYNCLINE_STORAGE_METER_H

#include "storage/compact.h"

struct storage_meter {
	struct counter *runs, *failures, *moved, *cleared, *lookups, *dropped, *freed, *milliseconds, *rewritten;
	struct gauge *last_run;
	struct histogram *flush; /* commits of the writer */
	struct gauge *operations, *lookup_bytes, *rows, *file, *used;
	int64_t measured_at_ms; /* monotonic; 0: never */
};

/* Registers everything; the sizes are read when the metrics are printed, at most once a minute. */
void meter_init(struct storage *s, struct metrics *m);
/* After a compaction, or what there was of it. */
void meter_note_compaction(struct storage *s, const struct compact_report *r, bool ok, int64_t began_mono_ms);

#endif
