/* source_link.c: one thread that connects, and watches the calls of the borrower. */
#include "server/source_link.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"

#define FIRST_DELAY_MS 100
#define LONGEST_DELAY_MS 1000
#define LATE_DELAY_MS (15 * 60 * 1000) /* a wrong password must not lock the role out (source-postgres 11.1) */
#define LONGEST_CALL_MS 5000 /* head reads and markers take milliseconds; beyond this the source counts as unreachable */

struct source_link {
	struct source *source;
	const struct log *log;
	void (*on_connected)(void *ctx);
	void *ctx;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t change;
	struct source_connection *connection;
	int64_t lent_since_ms; /* 0: not lent */
	bool aborted;          /* the lent connection was cut */
	bool stopping;
	uint64_t generation;
};

static void wait_ms(struct source_link *l, int64_t ms)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_cond_timedwait(&l->change, &l->lock, &until);
}

static void abort_lent(struct source_link *l)
{
	if (l->lent_since_ms && !l->aborted)
		source_connection_abort(l->connection);
	l->aborted = true;
}

/* Under the lock; lets go of it while connecting. */
static void connect_once(struct source_link *l, int64_t *delay_ms, bool *down)
{
	struct error err = {.code = ""};
	pthread_mutex_unlock(&l->lock);
	struct source_connection *c = source_connect(l->source, &err);
	if (!c && !*down)
		log_warn(l->log, "Checkpoint requests wait for the source: %s", err.message);
	if (c && *down)
		log_info(l->log, "Checkpoint requests have reached the source again");
	pthread_mutex_lock(&l->lock);
	*down = !c;
	if (c) {
		l->connection = c;
		l->generation++;
		*delay_ms = FIRST_DELAY_MS;
		pthread_mutex_unlock(&l->lock);
		l->on_connected(l->ctx);
		pthread_mutex_lock(&l->lock);
		return;
	}
	int64_t until = clock_mono_ms() + (source_classify(&err) == SOURCE_RETRY_LATE ? LATE_DELAY_MS : *delay_ms);
	*delay_ms = *delay_ms * 2 > LONGEST_DELAY_MS ? LONGEST_DELAY_MS : *delay_ms * 2;
	while (!l->stopping && clock_mono_ms() < until)
		wait_ms(l, until - clock_mono_ms());
}

static void *run(void *arg)
{
	struct source_link *l = arg;
	int64_t delay_ms = FIRST_DELAY_MS;
	bool down = false;
	pthread_mutex_lock(&l->lock);
	while (!l->stopping) {
		if (!l->connection)
			connect_once(l, &delay_ms, &down);
		else if (l->lent_since_ms && clock_mono_ms() - l->lent_since_ms > LONGEST_CALL_MS) {
			abort_lent(l);
			wait_ms(l, 1000);
		} else
			wait_ms(l, 1000);
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

struct source_connection *source_link_take(struct source_link *l)
{
	pthread_mutex_lock(&l->lock);
	struct source_connection *c = l->stopping ? NULL : l->connection;
	if (c) {
		l->lent_since_ms = clock_mono_ms();
		l->aborted = false;
	}
	pthread_mutex_unlock(&l->lock);
	return c;
}

void source_link_return(struct source_link *l, bool ok)
{
	struct source_connection *drop = NULL;
	pthread_mutex_lock(&l->lock);
	l->lent_since_ms = 0;
	if (!ok || l->aborted) {
		drop = l->connection;
		l->connection = NULL;
		pthread_cond_signal(&l->change);
	}
	pthread_mutex_unlock(&l->lock);
	if (drop)
		source_disconnect(drop);
}

uint64_t source_link_generation(struct source_link *l)
{
	pthread_mutex_lock(&l->lock);
	uint64_t g = l->generation;
	pthread_mutex_unlock(&l->lock);
	return g;
}

struct source_link *source_link_start(struct source *s, const struct log *log, void (*on_connected)(void *ctx), void *ctx)
{
	struct source_link *l = xcalloc(1, sizeof(*l));
	*l = (struct source_link){.source = s, .log = log, .on_connected = on_connected, .ctx = ctx};
	pthread_mutex_init(&l->lock, NULL);
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&l->change, &monotonic);
	pthread_condattr_destroy(&monotonic);
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	int failed = pthread_create(&l->thread, NULL, run, l);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (failed) {
		free(l);
		return NULL;
	}
	return l;
}

void source_link_cut(struct source_link *l)
{
	pthread_mutex_lock(&l->lock);
	l->stopping = true;
	if (l->lent_since_ms)
		abort_lent(l);
	pthread_cond_broadcast(&l->change);
	pthread_mutex_unlock(&l->lock);
}

void source_link_free(struct source_link *l)
{
	if (!l)
		return;
	source_link_cut(l);
	pthread_join(l->thread, NULL);
	if (l->connection)
		source_disconnect(l->connection);
	pthread_mutex_destroy(&l->lock);
	pthread_cond_destroy(&l->change);
	free(l);
}
