/*
 * retention.h: checkpoint requests that nobody needs any more go (checkpoint-requests 5).
 *
 * An open stream is proof of life, so first the records of users with one are stamped anew, then what is older than the retention and
 * not pending is removed.
 */
#ifndef SYNCLINE_JOBS_RETENTION_H
#define SYNCLINE_JOBS_RETENTION_H

#include "base/arena.h"
#include "jobs/maintenance.h"
#include "storage/storage.h"

struct retention {
	struct storage *storage;
	/* Users of the streams that this process holds open, in the arena. NULL: it holds none. */
	void (*live_users)(void *ctx, struct arena *arena, struct user_key **users, size_t *count);
	void *ctx;
	bool only_touch; /* another process removes */
};

/* How often the job should run: stamps are renewed at half the retention, so a few times in that; at most every 3 minutes. */
int64_t retention_interval_ms(int64_t retention_ms);
/* ctx: a struct retention. */
bool retention_run(void *ctx, struct maintenance *m, struct error *err);

#endif
