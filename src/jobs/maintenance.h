/*
 * maintenance.h: the one thread for what must be done now and then while the service runs: retention of checkpoint requests, compaction.
 *
 * Jobs run one after the other, each at its own interval, counted from the end of its last run. A job that fails is tried again after
 * a pause that doubles with each failure in a row, from MAINTENANCE_RETRY_MS up to its interval.
 */
#ifndef SYNCLINE_JOBS_MAINTENANCE_H
#define SYNCLINE_JOBS_MAINTENANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/log.h"

#define MAINTENANCE_RETRY_MS 1000

struct maintenance;

struct maintenance_job {
	const char *name;    /* for the log: "retention of checkpoint requests" */
	int64_t interval_ms; /* above 0; the first run comes one interval after the start */
	/* On the maintenance thread, without any lock. What takes long asks maintenance_go_on between its steps and ends early, with true,
	 * when it says no. */
	bool (*run)(void *ctx, struct maintenance *m, struct error *err);
	void *ctx;
};

/* Copies the list; what it points to outlives the maintenance. NULL: the thread cannot be started. */
struct maintenance *maintenance_start(const struct maintenance_job *jobs, size_t count, const struct log *log, struct error *err);
/* False once maintenance_stop was called. Any thread. */
bool maintenance_go_on(const struct maintenance *m);
/* Runs the job as soon as the thread is free, whatever its interval says. job: its place in the list. Any thread. */
void maintenance_wake(struct maintenance *m, size_t job);
/* Waits for the job that runs. NULL does nothing. */
void maintenance_stop(struct maintenance *m);

#endif
