/* reader.c: what a reader does: a job is fetched chunk by chunk and evaluated (interleaved-snapshot 4). */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "replicate/image.h"
#include "replicate/reader_pool.h"

/* A reader without work keeps its connection for so long: each new one costs the server a process that maps all its memory anew, and the
 * next range of a table usually comes at once. */
#define KEEP_CONNECTION_MS 1000
/* Below this no value of a row can lie out of line, so no update can leave it out (source.h). */
#define IMAGE_THRESHOLD 2000

/* Keys, contributions and images of the chunk's rows: the work that the replication thread need not do. */
static void evaluate_rows(struct reader_thread *t, struct read_job *job, struct read_result *r)
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
			binding_row_key(b, row->raw, &r->arena, &row->key);
		if (row_too_large(rel, row->raw)) {
			log_warn(b->log, "[PSYNC_S1002] Row too large: a row of %.*s.%.*s is beyond 15 MiB and is not synced",
			         SLICE_ARG(rel->schema), SLICE_ARG(rel->name));
			continue;
		}
		struct row_contributions c;
		binding_evaluate(b, row->raw, &t->scratch, &c);
		contributions_copy(&c, row->raw, &r->arena, &row->contributions);
		arena_reset(&t->scratch);
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
	if (!reader_connect(t, &r->error) || !source_read_chunk(t->connection, &request, &r->arena, &r->chunk, &r->error))
		return false;
	if (r->chunk.outcome != CHUNK_ROWS)
		return true;
	if (!nudge_if_needed(t, r->chunk.head_lsn, &r->error))
		return false;
	evaluate_rows(t, job, r);
	return true;
}

/* A piece of a whole table, on the job's own connection, which is the thread's for that time (so that a stop interrupts it). */
static bool scan_one(struct reader_thread *t, struct read_job *job, struct read_result *r)
{
	if (job->scan) {
		reader_disconnect(t);
		reader_adopt(t, job->scan);
		job->scan = NULL;
	}
	if (!t->connection)
		return error_set(&r->error, "", "the connection of the reading is lost");
	if (!source_scan_next(t->connection, t->pool->options.chunk_rows, t->pool->options.chunk_bytes, &r->arena, &r->chunk,
	                      &r->error))
		return false;
	r->chunk.head_lsn = job->head_lsn;
	evaluate_rows(t, job, r);
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
	if (!reader_connect(t, &r->error) ||
	    !source_split_table(t->connection, &job->binding->table, job->split_parts, &r->arena, &r->chunk.outcome,
	                        &r->positions, &r->position_count, &r->error)) {
		r->kind = RESULT_FAILED;
		reader_disconnect(t);
	}
	reader_post(t->pool, r);
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
			reader_disconnect(t);
		}
		reader_post(t->pool, r);
		if (more && !scan)
			run_keys_between(t);
	}
	if (scan && more)
		reader_disconnect(t); /* given up half way */
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
			reader_disconnect(t);
			pthread_mutex_lock(&p->lock);
		}
	}
	struct queued_job *q = p->stopping ? NULL : take_job(p);
	p->reading += q != NULL;
	pthread_mutex_unlock(&p->lock);
	return q;
}

void *reader_main(void *arg)
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
	reader_disconnect(t);
	arena_free(&t->scratch);
	return NULL;
}
