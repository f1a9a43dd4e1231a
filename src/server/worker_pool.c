/* worker_pool.c: a mutex, a list and a condition; tasks take 10 microseconds and up, so nothing finer is needed. */
#include "server/worker_pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/alloc.h"

struct worker_pool {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct task *first, *last;
	int idle, running;
	bool stopping;
	int thread_count;
	pthread_t threads[];
};

static struct task *next_task(struct worker_pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->running--;
	while (!p->first) {
		/* A running task may still queue another: the last one out tells the rest. */
		if (p->stopping && p->running == 0) {
			pthread_cond_broadcast(&p->work);
			pthread_mutex_unlock(&p->lock);
			return NULL;
		}
		p->idle++;
		pthread_cond_wait(&p->work, &p->lock);
		p->idle--;
	}
	struct task *t = p->first;
	p->first = t->next;
	if (!p->first)
		p->last = NULL;
	p->running++;
	pthread_mutex_unlock(&p->lock);
	return t;
}

static void *work(void *arg)
{
	struct worker_pool *p = arg;
	struct task *t;
	while ((t = next_task(p)))
		t->run(t);
	return NULL;
}

struct worker_pool *worker_pool_new(int threads)
{
	struct worker_pool *p = xcalloc(1, sizeof(*p) + sizeof(pthread_t) * (size_t)threads);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	p->running = threads; /* each gives its one back when it first asks */
	/* Signals are for the main thread. */
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	for (int i = 0; i < threads; i++)
		if (pthread_create(&p->threads[i], NULL, work, p) == 0)
			p->thread_count++;
		else
			p->running--;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (p->thread_count == 0) {
		worker_pool_free(p);
		return NULL;
	}
	return p;
}

void worker_pool_push(struct worker_pool *p, struct task *task)
{
	task->next = NULL;
	pthread_mutex_lock(&p->lock);
	if (p->last)
		p->last->next = task;
	else
		p->first = task;
	p->last = task;
	bool wake = p->idle > 0;
	pthread_mutex_unlock(&p->lock);
	if (wake)
		pthread_cond_signal(&p->work);
}

void worker_pool_free(struct worker_pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stopping = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (int i = 0; i < p->thread_count; i++)
		pthread_join(p->threads[i], NULL);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->work);
	free(p);
}
