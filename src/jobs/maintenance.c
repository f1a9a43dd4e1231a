/* maintenance.c: one thread that sleeps until the next job is due. */
#include "jobs/maintenance.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"

struct scheduled {
	struct maintenance_job job;
	int64_t due_ms; /* monotonic; under lock */
	unsigned failures;
};

struct maintenance {
	const struct log *log;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	_Atomic bool stopping;
	size_t count;
	struct scheduled jobs[];
};

bool maintenance_go_on(const struct maintenance *m)
{
	return !atomic_load(&m->stopping);
}

static int64_t next_pause(const struct scheduled *s)
{
	int64_t pause = MAINTENANCE_RETRY_MS;
	if (!s->failures)
		return s->job.interval_ms;
	for (unsigned i = 1; i < s->failures && pause < s->job.interval_ms; i++)
		pause *= 2;
	return pause < s->job.interval_ms ? pause : s->job.interval_ms;
}

/* Without the lock. */
static void run_job(struct maintenance *m, struct scheduled *s)
{
	struct error err = {.code = ""};
	if (s->job.run(s->job.ctx, m, &err)) {
		if (s->failures)
			log_info(m->log, "Maintenance: %s works again", s->job.name);
		s->failures = 0;
		return;
	}
	s->failures++;
	log_error(m->log, "Maintenance: %s failed, and is tried again in %.0f s: %s", s->job.name, (double)next_pause(s) / 1000,
	          err.message);
}

static struct scheduled *first_due(struct maintenance *m)
{
	struct scheduled *first = NULL;
	for (size_t i = 0; i < m->count; i++)
		if (!first || m->jobs[i].due_ms < first->due_ms)
			first = &m->jobs[i];
	return first;
}

static void wait_until(struct maintenance *m, int64_t mono_ms)
{
	struct timespec until = {.tv_sec = mono_ms / 1000, .tv_nsec = mono_ms % 1000 * 1000000};
	pthread_cond_timedwait(&m->changed, &m->lock, &until);
}

static void *run(void *arg)
{
	struct maintenance *m = arg;
	pthread_mutex_lock(&m->lock);
	while (maintenance_go_on(m)) {
		struct scheduled *s = first_due(m);
		if (s->due_ms > clock_mono_ms()) {
			wait_until(m, s->due_ms);
			continue;
		}
		s->due_ms = INT64_MAX; /* a wake-up during the run counts */
		pthread_mutex_unlock(&m->lock);
		run_job(m, s);
		int64_t due = clock_mono_ms() + next_pause(s);
		pthread_mutex_lock(&m->lock);
		if (due < s->due_ms)
			s->due_ms = due;
	}
	pthread_mutex_unlock(&m->lock);
	return NULL;
}

static void destroy(struct maintenance *m)
{
	pthread_cond_destroy(&m->changed);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

struct maintenance *maintenance_start(const struct maintenance_job *jobs, size_t count, const struct log *log, struct error *err)
{
	struct maintenance *m = xcalloc(1, sizeof(*m) + (count ? count : 1) * sizeof(*m->jobs));
	pthread_condattr_t attributes;
	m->log = log;
	m->count = count;
	for (size_t i = 0; i < count; i++)
		m->jobs[i] = (struct scheduled){.job = jobs[i], .due_ms = clock_mono_ms() + jobs[i].interval_ms};
	pthread_mutex_init(&m->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&m->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	int failed = count ? pthread_create(&m->thread, NULL, run, m) : 0;
	if (!failed)
		return m;
	error_set(err, "", "cannot start the maintenance thread: %s", strerror(failed));
	destroy(m);
	return NULL;
}

void maintenance_wake(struct maintenance *m, size_t job)
{
	pthread_mutex_lock(&m->lock);
	m->jobs[job].due_ms = clock_mono_ms();
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->lock);
}

void maintenance_stop(struct maintenance *m)
{
	if (!m)
		return;
	pthread_mutex_lock(&m->lock);
	atomic_store(&m->stopping, true);
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->lock);
	if (m->count)
		pthread_join(m->thread, NULL);
	destroy(m);
}
