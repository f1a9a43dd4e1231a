/* watcher.c: the thread that watches the source: heads, so that delivered transactions are settled, and heartbeats. */
#include "base/clock.h"
#include "replicate/reader_pool.h"

#define WATCH_INTERVAL_MS 500
/* As often as metrics are usually scraped. */
#define LOOK_INTERVAL_MS 15000

static void watch_once(struct reader_thread *t, bool heartbeat)
{
	struct reader_pool *p = t->pool;
	struct error err;
	if (!atomic_load_explicit(&p->unsettled, memory_order_relaxed) && !heartbeat)
		return;
	struct read_result *r = result_new(p, RESULT_HEAD, NULL);
	if (!reader_connect(t, &err) || !source_head(t->connection, &r->head_lsn, &r->snapshot, &r->arena, &err) ||
	    (heartbeat && !source_marker(t->connection, &err))) {
		log_debug(p->options.log, "Watching the source failed: %s", err.message);
		reader_disconnect(t);
		result_free(r);
		return;
	}
	reader_post(p, r);
}

static void look(struct reader_thread *t)
{
	struct error ignored;
	if (!reader_connect(t, &ignored) || !t->pool->options.look(t->pool->options.look_ctx, t->connection))
		reader_disconnect(t);
}

void *watcher_main(void *arg)
{
	struct reader_thread *t = arg;
	struct reader_pool *p = t->pool;
	int64_t heartbeat_at = clock_mono_ms() + (int64_t)(p->options.heartbeat_interval_s * 1000), look_at = 0;
	while (!reader_stopping(p)) {
		if (clock_mono_ms() >= look_at) {
			look(t);
			look_at = clock_mono_ms() + LOOK_INTERVAL_MS;
		}
		bool heartbeat = clock_mono_ms() >= heartbeat_at;
		watch_once(t, heartbeat);
		if (heartbeat)
			heartbeat_at = clock_mono_ms() + (int64_t)(p->options.heartbeat_interval_s * 1000);
		struct timespec until = wall_after_ms(WATCH_INTERVAL_MS);
		pthread_mutex_lock(&p->lock);
		if (!p->stopping)
			pthread_cond_timedwait(&p->changed, &p->lock, &until);
		pthread_mutex_unlock(&p->lock);
	}
	reader_disconnect(t);
	return NULL;
}
