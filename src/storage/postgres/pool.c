/* pool.c: see pool.h. */
#include "storage/postgres/pool.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"

#define BACK_OFF_MIN_MS 100
#define BACK_OFF_MAX_MS 2000

struct pg_pool {
	const struct storage_postgres *options;
	unsigned max;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct pg_conn **idle; /* the one used last at the end */
	unsigned idle_count, open_count;
	uint64_t era; /* connections of older ones are not used again */
	int64_t back_off_ms, next_try_ms;
};

struct pg_pool *pg_pool_new(const struct storage_postgres *options, unsigned max)
{
	struct pg_pool *p = xcalloc(1, sizeof(*p));
	pthread_condattr_t attributes;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&p->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	pthread_mutex_init(&p->lock, NULL);
	p->options = options;
	p->max = max ? max : 1;
	p->idle = xcalloc(p->max, sizeof(*p->idle));
	return p;
}

void pg_pool_free(struct pg_pool *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < p->idle_count; i++)
		pg_close(p->idle[i]);
	free(p->idle);
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static void wait_until(struct pg_pool *p, int64_t mono_ms)
{
	struct timespec t = {.tv_sec = mono_ms / 1000, .tv_nsec = mono_ms % 1000 * 1000000};
	pthread_cond_timedwait(&p->changed, &p->lock, &t);
}

/* The lock is held, and again when it returns. */
static struct pg_conn *open_one(struct pg_pool *p, struct error *err)
{
	uint64_t era = p->era;
	p->open_count++;
	pthread_mutex_unlock(&p->lock);
	struct pg_conn *c = pg_open(p->options, err);
	pthread_mutex_lock(&p->lock);
	if (c) {
		c->era = era;
		p->back_off_ms = 0;
		return c;
	}
	p->open_count--;
	p->back_off_ms = p->back_off_ms ? p->back_off_ms * 2 : BACK_OFF_MIN_MS;
	if (p->back_off_ms > BACK_OFF_MAX_MS)
		p->back_off_ms = BACK_OFF_MAX_MS;
	p->next_try_ms = clock_mono_ms() + p->back_off_ms;
	pthread_cond_broadcast(&p->changed);
	return NULL;
}

struct pg_conn *pg_pool_take(struct pg_pool *p, struct error *err)
{
	int64_t until = clock_mono_ms() + PG_POOL_WAIT_MS;
	struct pg_conn *c = NULL;
	pthread_mutex_lock(&p->lock);
	for (;;) {
		int64_t now = clock_mono_ms();
		bool spaced = p->back_off_ms && now < p->next_try_ms;
		if (p->idle_count) {
			c = p->idle[--p->idle_count];
			break;
		}
		if (p->open_count < p->max && !spaced) {
			c = open_one(p, err);
			break;
		}
		if (now >= until) {
			error_set(err, "PSYNC_S2404", "%s",
			          spaced ? "The storage database cannot be reached"
			                 : "All connections to the storage database are in use (storage.max_pool_size)");
			break;
		}
		wait_until(p, spaced && p->next_try_ms < until ? p->next_try_ms : until);
	}
	pthread_mutex_unlock(&p->lock);
	return c;
}

void pg_pool_give(struct pg_pool *p, struct pg_conn *c)
{
	struct pg_conn **closing = NULL;
	unsigned count = 0;
	if (!c)
		return;
	/* Whoever gets it next must not find itself in somebody's transaction. */
	c->broken = c->broken || PQtransactionStatus(c->pg) != PQTRANS_IDLE;
	pthread_mutex_lock(&p->lock);
	if (c->broken && c->era == p->era) {
		closing = p->idle;
		count = p->idle_count;
		p->idle = xcalloc(p->max, sizeof(*p->idle));
		p->idle_count = 0;
		p->open_count -= count;
		p->era++;
	}
	bool keep = !c->broken && c->era == p->era;
	if (keep)
		p->idle[p->idle_count++] = c;
	else
		p->open_count--;
	pthread_cond_signal(&p->changed);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < count; i++)
		pg_close(closing[i]);
	free(closing);
	if (!keep)
		pg_close(c);
}

PGresult *pg_pool_query(struct pg_pool *p, const char *sql, const struct pg_values *values, struct error *err)
{
	for (int attempt = 0;; attempt++) {
		struct pg_conn *c = pg_pool_take(p, err);
		if (!c)
			return NULL;
		PGresult *r = pg_prepared(c, sql, values, PG_TIMEOUT_MS, err);
		bool again = !r && attempt == 0 && pg_may_retry(c);
		pg_pool_give(p, c);
		if (!again)
			return r;
	}
}

PGresult *pg_pool_texts(struct pg_pool *p, const char *sql, int count, const char *const *values, struct error *err)
{
	return pg_pool_query(p, sql, &(struct pg_values){.count = count, .values = values}, err);
}
