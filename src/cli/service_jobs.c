/* service_jobs.c: the jobs of the maintenance thread. */
#include "cli/service.h"

static void live_users(void *ctx, struct arena *arena, struct user_key **users, size_t *count)
{
	struct service *s = ctx;
	server_live_users(s->server, arena, users, count);
}

/* An interval of 0 switches compaction off. */
static int64_t compaction_interval_ms(const struct config *c)
{
	return (int64_t)(c->storage.compaction.interval_minutes * 60000);
}

bool service_start_jobs(struct service *s, struct error *err)
{
	int64_t retention_ms = s->config->api.checkpoint_request_retention_minutes * 60000;
	s->retention = (struct retention){.storage = s->storage, .live_users = live_users, .ctx = s};
	s->compaction = (struct compaction){.storage = s->storage,
	                                    .log = &s->log,
	                                    .min_dead = (uint64_t)s->config->storage.compaction.min_operations,
	                                    .min_share = s->config->storage.compaction.min_share,
	                                    .defragment_share = s->config->storage.compaction.defragment_share,
	                                    .removal_job = 1,
	                                    .compaction_job = 2};
	int64_t removal_ms = storage_is_shared(s->storage) ? SHARED_REMOVAL_EVERY_MS : REMOVAL_EVERY_MS;
	const struct maintenance_job jobs[] = {
	        {"retention of checkpoint requests", retention_interval_ms(retention_ms), retention_run, &s->retention},
	        {"removal of what a deploy left over", removal_ms, compaction_remove_dropped, &s->compaction},
	        {"compaction", compaction_interval_ms(s->config), compaction_run, &s->compaction},
	};
	/* Whoever replicates cleans up; the others say who lives. */
	s->retention.only_touch = s->role == ROLE_API;
	size_t count = sizeof(jobs) / sizeof(*jobs) - (compaction_interval_ms(s->config) == 0);
	if (s->role == ROLE_API)
		count = 1;
	s->maintenance = maintenance_start(jobs, count, &s->log, err);
	return s->maintenance != NULL;
}
