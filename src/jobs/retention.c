/* retention.c: stamps first, so that no record of an open stream can be found too old. */
#include "jobs/retention.h"

#define LONGEST_INTERVAL_MS 180000
#define SHORTEST_INTERVAL_MS 1000

int64_t retention_interval_ms(int64_t retention_ms)
{
	int64_t interval = retention_ms / 8;
	if (interval > LONGEST_INTERVAL_MS)
		return LONGEST_INTERVAL_MS;
	return interval < SHORTEST_INTERVAL_MS ? SHORTEST_INTERVAL_MS : interval;
}

bool retention_run(void *ctx, struct maintenance *m, struct error *err)
{
	struct retention *r = ctx;
	struct arena arena = {0};
	struct user_key *users = NULL;
	size_t count = 0;
	if (r->live_users)
		r->live_users(r->ctx, &arena, &users, &count);
	bool ok = storage_touch_requests(r->storage, users, count, err);
	arena_free(&arena);
	return ok && (r->only_touch || !maintenance_go_on(m) || storage_expire_requests(r->storage, err));
}
