/* shutdown_guard.c: see shutdown_guard.h. */
#include "cli/shutdown_guard.h"

#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define LIMIT_MS 30000
#define REPEAT_MS 1000 /* signals that come sooner are the first one, sent twice */

static void *watch(void *argument)
{
	struct shutdown_guard *g = argument;
	const int64_t began = clock_mono_ms();
	int64_t left = LIMIT_MS;
	for (; left > 0; left = began + LIMIT_MS - clock_mono_ms()) {
		struct timespec wait = {.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000};
		if (sigtimedwait(&g->signals, NULL, &wait) == SIGINT && clock_mono_ms() - began >= REPEAT_MS) {
			log_warn(g->log, "Second SIGINT: exiting at once with code 1");
			_exit(1);
		}
	}
	log_error(g->log, "Not stopped after %d s: exiting with code 1", LIMIT_MS / 1000);
	_exit(1);
}

void shutdown_guard_start(struct shutdown_guard *g, const sigset_t *signals, const struct log *log)
{
	g->signals = *signals;
	g->log = log;
	g->running = pthread_create(&g->thread, NULL, watch, g) == 0;
}

void shutdown_guard_stop(struct shutdown_guard *g)
{
	if (!g->running)
		return;
	pthread_cancel(g->thread); /* sigtimedwait is a cancellation point */
	pthread_join(g->thread, NULL);
	g->running = false;
}
