/* marker.c: one thread that waits to be asked. */
#include "server/marker.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "server/source_link.h"

struct marker {
	struct source_link *link; /* NULL without a source */
	const struct log *log;
	pthread_t thread;
	bool thread_running;
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct checkpoint_job *jobs; /* to be finished after the next marker */
	bool wanted, owed, stopping;
	int64_t attempt_ms;
	uint64_t made;
};

static bool make(struct marker *m)
{
	struct source_connection *c = m->link ? source_link_take(m->link) : NULL;
	if (!c)
		return false;
	struct error err = {.code = ""};
	bool ok = source_marker(c, &err);
	source_link_return(m->link, ok);
	if (!ok)
		log_warn(m->log, "Making a marker for checkpoint requests failed, it will be made again: %s", err.message);
	return ok;
}

static void finish_jobs(struct checkpoint_job *jobs)
{
	for (struct checkpoint_job *j = jobs, *next; j; j = next) {
		next = j->next;
		j->outcome = OUTCOME_DONE;
		j->done(j);
	}
}

static void *run(void *arg)
{
	struct marker *m = arg;
	pthread_mutex_lock(&m->lock);
	while (!m->stopping || m->jobs) {
		if (!m->wanted && !m->jobs) {
			pthread_cond_wait(&m->work, &m->lock);
			continue;
		}
		struct checkpoint_job *jobs = m->jobs;
		m->jobs = NULL;
		m->wanted = false;
		m->attempt_ms = clock_mono_ms();
		m->owed = true;
		pthread_mutex_unlock(&m->lock);
		bool ok = make(m);
		finish_jobs(jobs);
		pthread_mutex_lock(&m->lock);
		m->owed = !ok;
		m->made += ok;
	}
	pthread_mutex_unlock(&m->lock);
	return NULL;
}

void marker_want(struct marker *m, struct checkpoint_job *jobs)
{
	pthread_mutex_lock(&m->lock);
	m->wanted = true;
	while (jobs) {
		struct checkpoint_job *next = jobs->next;
		jobs->next = m->jobs;
		m->jobs = jobs;
		jobs = next;
	}
	pthread_cond_signal(&m->work);
	pthread_mutex_unlock(&m->lock);
}

void marker_status(struct marker *m, int64_t *attempt_ms, bool *owed, uint64_t *made)
{
	pthread_mutex_lock(&m->lock);
	*attempt_ms = m->attempt_ms;
	*owed = m->owed;
	*made = m->made;
	pthread_mutex_unlock(&m->lock);
}

struct marker *marker_start(struct source *source, const struct log *log, void (*on_connected)(void *ctx), void *ctx)
{
	struct marker *m = xcalloc(1, sizeof(*m));
	m->log = log;
	m->owed = true; /* whoever stored what is pending may have died before its marker */
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->work, NULL);
	if (source)
		m->link = source_link_start(source, log, on_connected, ctx);
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	m->thread_running = (m->link || !source) && pthread_create(&m->thread, NULL, run, m) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!m->thread_running) {
		marker_free(m);
		return NULL;
	}
	return m;
}

void marker_stop(struct marker *m)
{
	if (!m->thread_running)
		return;
	pthread_mutex_lock(&m->lock);
	m->stopping = true;
	pthread_cond_signal(&m->work);
	pthread_mutex_unlock(&m->lock);
	if (m->link)
		source_link_cut(m->link);
	pthread_join(m->thread, NULL);
	m->thread_running = false;
}

void marker_free(struct marker *m)
{
	if (!m)
		return;
	marker_stop(m);
	source_link_free(m->link);
	pthread_mutex_destroy(&m->lock);
	pthread_cond_destroy(&m->work);
	free(m);
}
