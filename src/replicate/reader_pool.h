/*
 * reader_pool.h: inside the threads that read tables and watch the source (reader.h).
 *
 *   reader_pool.c  the queues between them and the replication thread, and their connections
 *   reader.c       what a reader does
 *   watcher.c      what the one that watches does
 */
#ifndef SYNCLINE_REPLICATE_READER_POOL_H
#define SYNCLINE_REPLICATE_READER_POOL_H

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "replicate/reader.h"

#define MAX_READERS 16
/* Chunks read but not yet applied, beyond one for each reader: enough that reading goes on during a commit. */
#define CHUNKS_AHEAD 4

struct queued_job {
	struct queued_job *next;
	struct read_job *job;
};

struct reader_thread {
	struct reader_pool *pool;
	pthread_t thread;
	struct source_connection *connection; /* under the pool's lock while being opened, closed or aborted */
	struct arena scratch;                 /* of the row that is evaluated */
};

struct reader_pool {
	struct reader_options options;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* jobs, room, stop */
	bool stopping;
	struct queued_job *jobs, *jobs_last;
	struct read_result *inbox, *inbox_last;
	int under_way, reading;   /* chunks; jobs */
	struct read_result *used; /* empty results whose memory serves again, at most as many as were under way at once */
	int inbox_fd;
	_Atomic uint64_t stream_lsn;
	_Atomic bool unsettled;
	struct reader_thread threads[MAX_READERS + 1]; /* the last one watches */
	int thread_count;
};

/* An empty result, which holds the job. */
struct read_result *result_new(struct reader_pool *p, enum result_kind kind, struct read_job *job);
void result_free(struct read_result *r);
void results_free(struct read_result *r);
/* Into the inbox. */
void reader_post(struct reader_pool *p, struct read_result *r);

bool reader_stopping(struct reader_pool *p);
/* From now on the thread's; a stop aborts it. */
void reader_adopt(struct reader_thread *t, struct source_connection *c);
bool reader_connect(struct reader_thread *t, struct error *err);
void reader_disconnect(struct reader_thread *t);

/* For pthread_cond_timedwait. */
struct timespec wall_after_ms(long ms);

/* Threads; the argument is the struct reader_thread. */
void *reader_main(void *arg);
void *watcher_main(void *arg);

#endif
