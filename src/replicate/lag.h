/*
 * lag.h: the replication lag as it is reported: the greatest of the last 30 s, in six buckets of 5 s (http-api-and-operations 10), so that a
 * scrape between two peaks sees them.
 */
#ifndef SYNCLINE_REPLICATE_LAG_H
#define SYNCLINE_REPLICATE_LAG_H

#include <stdint.h>

#define LAG_BUCKETS 6
#define LAG_BUCKET_MS 5000

/* Zeroed: nothing was noted yet. */
struct lag_window {
	double greatest[LAG_BUCKETS]; /* seconds */
	int64_t slot[LAG_BUCKETS];    /* the time / LAG_BUCKET_MS that the bucket stands for */
};

void lag_note(struct lag_window *w, int64_t mono_ms, double lag_s);
/* Seconds; 0: none in the window. */
double lag_greatest(const struct lag_window *w, int64_t mono_ms);

#endif
