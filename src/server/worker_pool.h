/*
 * worker_pool.h: a fixed number of threads that run tasks in the order in which they came.
 *
 * Everything that may read storage, verify against a key server or take more than some microseconds runs here; net threads only
 * queue it. A task is intrusive: it lies in the object that it works for, and is in the queue at most once.
 */
#ifndef SYNCLINE_SERVER_WORKER_POOL_H
#define SYNCLINE_SERVER_WORKER_POOL_H

struct task {
	struct task *next;
	void (*run)(struct task *task); /* on a worker thread; may free the object, and may push the task again as its last act */
};

struct worker_pool;

struct worker_pool *worker_pool_new(int threads);
/* Any thread. */
void worker_pool_push(struct worker_pool *p, struct task *task);
/* Runs what is queued (and what that queues), then joins the threads. */
void worker_pool_free(struct worker_pool *p);

#endif
