/* reader_pool.c: see reader.h and reader_pool.h. */
#include "replicate/reader_pool.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/alloc.h"

/* Chunks wait for the stream in memory, four times as large as on the wire. */
#define MAX_BYTES_UNDER_WAY (12u * 1024 * 1024)
/* Memory of a result that is kept for the next one: a chunk's rows with what they give are about four times its bytes. */
#define RESULT_KEEP (16u * 1024 * 1024)

/* ---- jobs and results ---- */

struct read_job *read_job_new(struct binding *b, struct slice after)
{
	struct read_job *job = xcalloc(1, sizeof(*job));
	atomic_init(&job->references, 1);
	job->binding = binding_ref(b);
	buf_slice_append(&job->after, after);
	return job;
}

static struct read_job *read_job_ref(struct read_job *job)
{
	atomic_fetch_add_explicit(&job->references, 1, memory_order_relaxed);
	return job;
}

void read_job_unref(struct read_job *job)
{
	if (!job || atomic_fetch_sub_explicit(&job->references, 1, memory_order_acq_rel) != 1)
		return;
	if (job->scan)
		source_disconnect(job->scan);
	binding_unref(job->binding);
	buf_free(&job->after);
	buf_free(&job->until);
	arena_free(&job->arena);
	free(job);
}

void result_free(struct read_result *r)
{
	read_job_unref(r->job);
	arena_free(&r->arena);
	free(r);
}

void results_free(struct read_result *r)
{
	for (struct read_result *next; r; r = next) {
		next = r->next;
		result_free(r);
	}
}

/* Bulk reading would otherwise ask the kernel for fresh pages all the time, and that costs as much as evaluating the rows. */
struct read_result *result_new(struct reader_pool *p, enum result_kind kind, struct read_job *job)
{
	struct read_result *r = NULL;
	if (kind == RESULT_CHUNK) {
		pthread_mutex_lock(&p->lock);
		r = p->used;
		if (r)
			p->used = r->next;
		pthread_mutex_unlock(&p->lock);
	}
	struct arena arena = r ? r->arena : (struct arena){0};
	if (!r)
		r = xmalloc(sizeof(*r));
	*r = (struct read_result){.kind = kind, .arena = arena, .job = job ? read_job_ref(job) : NULL};
	return r;
}

void reader_pool_done(struct reader_pool *p, struct read_result *r)
{
	bool chunk = r->job != NULL, keep = r->kind == RESULT_CHUNK;
	read_job_unref(r->job);
	r->job = NULL;
	if (keep)
		arena_rewind(&r->arena, RESULT_KEEP);
	pthread_mutex_lock(&p->lock);
	if (chunk) {
		p->under_way--;
		pthread_cond_broadcast(&p->changed);
	}
	keep = keep && (p->jobs || p->reading);
	if (keep) {
		r->next = p->used;
		p->used = r;
	}
	pthread_mutex_unlock(&p->lock);
	if (!keep)
		result_free(r);
}

void reader_post(struct reader_pool *p, struct read_result *r)
{
	uint64_t one = 1;
	pthread_mutex_lock(&p->lock);
	if (p->inbox_last)
		p->inbox_last->next = r;
	else
		p->inbox = r;
	p->inbox_last = r;
	pthread_mutex_unlock(&p->lock);
	ssize_t ignored = write(p->inbox_fd, &one, sizeof(one));
	(void)ignored;
}

struct read_result *reader_pool_take(struct reader_pool *p)
{
	uint64_t count;
	ssize_t ignored = read(p->inbox_fd, &count, sizeof(count));
	(void)ignored;
	pthread_mutex_lock(&p->lock);
	struct read_result *all = p->inbox;
	p->inbox = p->inbox_last = NULL;
	pthread_mutex_unlock(&p->lock);
	return all;
}

bool reader_pool_has_results(struct reader_pool *p)
{
	pthread_mutex_lock(&p->lock);
	bool any = p->inbox != NULL;
	pthread_mutex_unlock(&p->lock);
	return any;
}

void reader_pool_submit(struct reader_pool *p, struct read_job *job)
{
	struct queued_job *q = xcalloc(1, sizeof(*q));
	q->job = read_job_ref(job);
	pthread_mutex_lock(&p->lock);
	if (job->key_count) { /* short, and the completion of its table waits for it */
		q->next = p->jobs;
		p->jobs = q;
	} else if (p->jobs_last) {
		p->jobs_last->next = q;
	} else {
		p->jobs = q;
	}
	if (!q->next)
		p->jobs_last = q;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

int reader_pool_fd(const struct reader_pool *p)
{
	return p->inbox_fd;
}

void reader_pool_stream_at(struct reader_pool *p, uint64_t lsn, bool unsettled)
{
	atomic_store_explicit(&p->stream_lsn, lsn, memory_order_relaxed);
	atomic_store_explicit(&p->unsettled, unsettled, memory_order_relaxed);
}

/* ---- a thread's connection ---- */

bool reader_stopping(struct reader_pool *p)
{
	pthread_mutex_lock(&p->lock);
	bool s = p->stopping;
	pthread_mutex_unlock(&p->lock);
	return s;
}

void reader_adopt(struct reader_thread *t, struct source_connection *c)
{
	struct reader_pool *p = t->pool;
	pthread_mutex_lock(&p->lock);
	t->connection = c;
	if (p->stopping)
		source_connection_abort(c);
	pthread_mutex_unlock(&p->lock);
}

bool reader_connect(struct reader_thread *t, struct error *err)
{
	struct reader_pool *p = t->pool;
	if (t->connection)
		return true;
	struct source_connection *c = source_connect(p->options.source, err);
	if (!c)
		return false;
	reader_adopt(t, c);
	return true;
}

void reader_disconnect(struct reader_thread *t)
{
	pthread_mutex_lock(&t->pool->lock);
	struct source_connection *c = t->connection;
	t->connection = NULL;
	pthread_mutex_unlock(&t->pool->lock);
	if (c)
		source_disconnect(c);
}

struct timespec wall_after_ms(long ms)
{
	struct timespec at;
	clock_gettime(CLOCK_REALTIME, &at);
	at.tv_sec += ms / 1000;
	at.tv_nsec += ms % 1000 * 1000000L;
	at.tv_sec += at.tv_nsec / 1000000000L;
	at.tv_nsec %= 1000000000L;
	return at;
}

/* ---- life cycle ---- */

static bool start_thread(struct reader_pool *p, void *(*run)(void *), struct error *err)
{
	struct reader_thread *t = &p->threads[p->thread_count];
	t->pool = p;
	if (pthread_create(&t->thread, NULL, run, t) != 0)
		return error_set(err, "", "cannot start a thread for reading tables");
	p->thread_count++;
	return true;
}

struct reader_pool *reader_pool_start(const struct reader_options *options, struct error *err)
{
	struct reader_pool *p = xcalloc(1, sizeof(*p));
	p->options = *options;
	if (p->options.readers > MAX_READERS)
		p->options.readers = MAX_READERS;
	size_t most = MAX_BYTES_UNDER_WAY / (size_t)(p->options.readers + CHUNKS_AHEAD);
	if (p->options.chunk_bytes > most)
		p->options.chunk_bytes = most;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->changed, NULL);
	p->inbox_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	bool ok = p->inbox_fd >= 0 || error_set(err, "", "cannot make an eventfd");
	for (int i = 0; i < p->options.readers && ok; i++)
		ok = start_thread(p, reader_main, err);
	ok = ok && start_thread(p, watcher_main, err);
	if (!ok) {
		reader_pool_stop(p);
		return NULL;
	}
	return p;
}

void reader_pool_stop(struct reader_pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->stopping = true;
	for (int i = 0; i < p->thread_count; i++)
		if (p->threads[i].connection)
			source_connection_abort(p->threads[i].connection);
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	for (int i = 0; i < p->thread_count; i++)
		pthread_join(p->threads[i].thread, NULL);
	for (struct queued_job *q = p->jobs, *next; q; q = next) {
		next = q->next;
		read_job_unref(q->job);
		free(q);
	}
	results_free(p->inbox);
	results_free(p->used);
	if (p->inbox_fd >= 0)
		close(p->inbox_fd);
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->lock);
	free(p);
}
