/* reader.c: see reader.h. */
#include "replicate/reader.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "replicate/image.h"

/* Chunks read but not yet applied, beyond one for each reader: enough that the server goes on sending during a commit. */
#define CHUNKS_AHEAD 2
#define WATCH_INTERVAL_MS 500
/* As often as metrics are usually scraped. */
#define LOOK_INTERVAL_MS 15000
/* A reader without work keeps its connection for so long: each new one costs the server a process that maps all its memory anew, and the
 * next range of a table usually comes at once. */
#define KEEP_CONNECTION_MS 1000
/* Below this no value of a row can lie out of line, so no update can leave it out (source.h). */
#define IMAGE_THRESHOLD 2000
#define MAX_READERS 16
/* Chunks wait for the stream in memory, three to four times as large as on the wire. */
#define MAX_BYTES_UNDER_WAY (8u * 1024 * 1024)
/* Memory of a result that is kept for the next one: a chunk's rows, evaluated, are about three times its bytes. */
#define RESULT_KEEP (16u * 1024 * 1024)

struct queued_job {
	struct queued_job *next;
	struct read_job *job;
};

struct reader_thread {
	struct reader_pool *pool;
	pthread_t thread;
	struct source_connection *connection; /* under the pool's lock while being opened, closed or aborted */
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

static void result_free(struct read_result *r)
{
	read_job_unref(r->job);
	arena_free(&r->arena);
	free(r);
}

static void results_free(struct read_result *r)
{
	for (struct read_result *next; r; r = next) {
		next = r->next;
		result_free(r);
	}
}

/* Bulk reading would otherwise ask the kernel for fresh pages all the time, and that costs as much as evaluating the rows. */
static struct read_result *result_new(struct reader_pool *p, enum result_kind kind, struct read_job *job)
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

static void post(struct reader_pool *p, struct read_result *r)
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

static bool stopping(struct reader_pool *p)
{
	pthread_mutex_lock(&p->lock);
	bool s = p->stopping;
	pthread_mutex_unlock(&p->lock);
	return s;
}

static void adopt_connection(struct reader_thread *t, struct source_connection *c)
{
	struct reader_pool *p = t->pool;
	pthread_mutex_lock(&p->lock);
	t->connection = c;
	if (p->stopping)
		source_connection_abort(c);
	pthread_mutex_unlock(&p->lock);
}

static bool ensure_connection(struct reader_thread *t, struct error *err)
{
	struct reader_pool *p = t->pool;
	if (t->connection)
		return true;
	struct source_connection *c = source_connect(p->options.source, err);
	if (!c)
		return false;
	adopt_connection(t, c);
	return true;
}

static void drop_connection(struct reader_thread *t)
{
	pthread_mutex_lock(&t->pool->lock);
	struct source_connection *c = t->connection;
	t->connection = NULL;
	pthread_mutex_unlock(&t->pool->lock);
	if (c)
		source_disconnect(c);
}

/* ---- reading ---- */

/* Keys, contributions and images of the chunk's rows: the work that the replication thread need not do. */
static void evaluate_rows(struct read_job *job, struct read_result *r)
{
	struct binding *b = job->binding;
	const struct source_relation *rel = &b->table.relation;
	r->rows = arena_array(&r->arena, struct chunk_row, r->chunk.row_count);
	for (size_t i = 0; i < r->chunk.row_count; i++) {
		struct chunk_row *row = &r->rows[i];
		*row = (struct chunk_row){.raw = r->chunk.rows + i * rel->column_count};
		if (b->keyless)
			keyless_row_key('S', 0, ++job->scanned, &r->arena, &row->key);
		else
			source_row_key(rel, row->raw, &r->arena, &row->key.bytes, row->key.uuid);
		if (row_too_large(rel, row->raw)) {
			log_warn(b->log, "[PSYNC_S1002] Row too large: a row of %.*s.%.*s is beyond 15 MiB and is not synced",
			         SLICE_ARG(rel->schema), SLICE_ARG(rel->name));
			continue;
		}
		binding_evaluate(b, row->raw, &r->arena, &row->contributions);
		if (!b->sends_complete_rows && source_row_size_bound(rel, row->raw) >= IMAGE_THRESHOLD)
			row->image = image_encode(rel, row->raw, &r->arena);
	}
}

/* Waits until a further chunk may be read. False: stop. */
static bool wait_for_room(struct reader_pool *p, struct read_job *job)
{
	pthread_mutex_lock(&p->lock);
	while (!p->stopping && !job->cancelled && p->under_way >= p->options.readers + CHUNKS_AHEAD)
		pthread_cond_wait(&p->changed, &p->lock);
	bool go = !p->stopping && !job->cancelled;
	if (go)
		p->under_way++;
	pthread_mutex_unlock(&p->lock);
	return go;
}

/* An idle source does not move past the chunk's head by itself (interleaved-snapshot 4, last item). */
static bool nudge_if_needed(struct reader_thread *t, uint64_t head_lsn, struct error *err)
{
	if (atomic_load_explicit(&t->pool->stream_lsn, memory_order_relaxed) >= head_lsn)
		return true;
	return source_marker(t->connection, err);
}

static bool read_one(struct reader_thread *t, struct read_job *job, struct slice after, struct read_result *r)
{
	struct chunk_request request = {.table = &job->binding->table,
	                                .after = after,
	                                .until = buf_slice(&job->until),
	                                .max_rows = t->pool->options.chunk_rows,
	                                .max_bytes = t->pool->options.chunk_bytes,
	                                .keys = job->keys,
	                                .key_count = job->key_count};
	if (!ensure_connection(t, &r->error) || !source_read_chunk(t->connection, &request, &r->arena, &r->chunk, &r->error))
		return false;
	if (r->chunk.outcome != CHUNK_ROWS)
		return true;
	if (!nudge_if_needed(t, r->chunk.head_lsn, &r->error))
		return false;
	evaluate_rows(job, r);
	return true;
}

/* A piece of a whole table, on the job's own connection, which is the thread's for that time (so that a stop interrupts it). */
static bool scan_one(struct reader_thread *t, struct read_job *job, struct read_result *r)
{
	if (job->scan) {
		drop_connection(t);
		adopt_connection(t, job->scan);
		job->scan = NULL;
	}
	if (!t->connection)
		return error_set(&r->error, "", "the connection of the reading is lost");
	if (!source_scan_next(t->connection, t->pool->options.chunk_rows, t->pool->options.chunk_bytes, &r->arena, &r->chunk,
	                      &r->error))
		return false;
	r->chunk.head_lsn = job->head_lsn;
	evaluate_rows(job, r);
	return true;
}

/* The next job, under the lock; NULL: none. */
static struct queued_job *take_job(struct reader_pool *p)
{
	struct queued_job *q = p->jobs;
	if (!q)
		return NULL;
	p->jobs = q->next;
	if (!p->jobs)
		p->jobs_last = NULL;
	return q;
}

static void run_chunks(struct reader_thread *t, struct read_job *job);

/* What is read by key does not wait for the end of a range. */
static void run_keys_between(struct reader_thread *t)
{
	struct reader_pool *p = t->pool;
	pthread_mutex_lock(&p->lock);
	struct queued_job *q = p->jobs && p->jobs->job->key_count && !p->stopping ? take_job(p) : NULL;
	pthread_mutex_unlock(&p->lock);
	if (!q)
		return;
	run_chunks(t, q->job);
	read_job_unref(q->job);
	free(q);
}

static void run_split(struct reader_thread *t, struct read_job *job)
{
	if (!wait_for_room(t->pool, job))
		return;
	struct read_result *r = result_new(t->pool, RESULT_SPLIT, job);
	if (!ensure_connection(t, &r->error) ||
	    !source_split_table(t->connection, &job->binding->table, job->split_parts, &r->arena, &r->chunk.outcome,
	                        &r->positions, &r->position_count, &r->error)) {
		r->kind = RESULT_FAILED;
		drop_connection(t);
	}
	post(t->pool, r);
}

/* Chunk after chunk to the end of the range, or the one chunk of a re-read. */
static void run_chunks(struct reader_thread *t, struct read_job *job)
{
	struct buf after = {0};
	bool more = true, scan = job->scan != NULL;
	buf_append(&after, job->after.p, job->after.n);
	while (more && wait_for_room(t->pool, job)) {
		struct read_result *r = result_new(t->pool, RESULT_CHUNK, job);
		if (scan ? scan_one(t, job, r) : read_one(t, job, buf_slice(&after), r)) {
			more = r->chunk.outcome == CHUNK_ROWS && !r->chunk.last && job->key_count == 0;
			buf_clear(&after);
			buf_slice_append(&after, r->chunk.next);
		} else {
			more = false;
			r->kind = RESULT_FAILED;
			drop_connection(t);
		}
		post(t->pool, r);
		if (more && !scan)
			run_keys_between(t);
	}
	if (scan && more)
		drop_connection(t); /* given up half way */
	buf_free(&after);
}

/* Nothing is kept for a table that may never come. */
static void job_ended(struct reader_pool *p)
{
	struct read_result *used = NULL;
	pthread_mutex_lock(&p->lock);
	if (--p->reading == 0 && !p->jobs) {
		used = p->used;
		p->used = NULL;
	}
	pthread_mutex_unlock(&p->lock);
	results_free(used);
}

static struct timespec wall_after_ms(long ms)
{
	struct timespec at;
	clock_gettime(CLOCK_REALTIME, &at);
	at.tv_sec += ms / 1000;
	at.tv_nsec += ms % 1000 * 1000000L;
	at.tv_sec += at.tv_nsec / 1000000000L;
	at.tv_nsec %= 1000000000L;
	return at;
}

/* The next job; NULL: stop. No connection is kept for long for a table that may never come. */
static struct queued_job *wait_for_job(struct reader_thread *t)
{
	struct reader_pool *p = t->pool;
	struct timespec until = wall_after_ms(KEEP_CONNECTION_MS);
	pthread_mutex_lock(&p->lock);
	while (!p->stopping && !p->jobs) {
		if (!t->connection) {
			pthread_cond_wait(&p->changed, &p->lock);
		} else if (pthread_cond_timedwait(&p->changed, &p->lock, &until) == ETIMEDOUT && !p->jobs && !p->stopping) {
			pthread_mutex_unlock(&p->lock);
			drop_connection(t);
			pthread_mutex_lock(&p->lock);
		}
	}
	struct queued_job *q = p->stopping ? NULL : take_job(p);
	p->reading += q != NULL;
	pthread_mutex_unlock(&p->lock);
	return q;
}

static void *reader_main(void *arg)
{
	struct reader_thread *t = arg;
	struct queued_job *q;
	while ((q = wait_for_job(t))) {
		if (!q->job->cancelled)
			(q->job->split_parts ? run_split : run_chunks)(t, q->job);
		read_job_unref(q->job);
		free(q);
		job_ended(t->pool);
	}
	drop_connection(t);
	return NULL;
}

/* ---- watching ---- */

static void watch_once(struct reader_thread *t, bool heartbeat)
{
	struct reader_pool *p = t->pool;
	struct error err;
	if (!atomic_load_explicit(&p->unsettled, memory_order_relaxed) && !heartbeat)
		return;
	struct read_result *r = result_new(p, RESULT_HEAD, NULL);
	if (!ensure_connection(t, &err) || !source_head(t->connection, &r->head_lsn, &r->snapshot, &r->arena, &err) ||
	    (heartbeat && !source_marker(t->connection, &err))) {
		log_debug(p->options.log, "Watching the source failed: %s", err.message);
		drop_connection(t);
		result_free(r);
		return;
	}
	post(p, r);
}

static void look(struct reader_thread *t)
{
	struct error ignored;
	if (!ensure_connection(t, &ignored) || !t->pool->options.look(t->pool->options.look_ctx, t->connection))
		drop_connection(t);
}

static void *watcher_main(void *arg)
{
	struct reader_thread *t = arg;
	struct reader_pool *p = t->pool;
	int64_t heartbeat_at = clock_mono_ms() + (int64_t)(p->options.heartbeat_interval_s * 1000), look_at = 0;
	while (!stopping(p)) {
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
	drop_connection(t);
	return NULL;
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
