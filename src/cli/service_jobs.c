/* service_jobs.c: the jobs of the maintenance thread. */
#include "cli/service.h"

static void live_users(void *ctx, struct arena *arena, struct user_key **users, size_t *count)
{
	struct service *s = ctx;
	server_live_users(s->server, arena, users, count);
}

bool service_start_jobs(struct service *s, struct error *err)
{
	int64_t retention_ms = s->config->api.checkpoint_request_retention_minutes * 60000;
	s->retention = (struct retention){.storage = s->storage, .live_users = live_users, .ctx = s};
	const struct maintenance_job jobs[] = {
	        {"retention of checkpoint requests", retention_interval_ms(retention_ms), retention_run, &s->retention},
	};
	s->maintenance = maintenance_start(jobs, sizeof(jobs) / sizeof(*jobs), &s->log, err);
	return s->maintenance != NULL;
}
