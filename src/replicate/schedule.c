/*
 * schedule.c: what the readers do next (interleaved-snapshot 4).
 *
 * Every reader that is free gets a range: of the table with the fewest readers, so that many tables are read side by side, and one large
 * table by all of them. No more is handed out than can begin at once: while a job waits, nobody knows which touches it will need, and the
 * log could only grow. What is read by key is short and goes between two chunks of a range.
 */
#include "base/clock.h"
#include "replicate/engine.h"
#include "replicate/image.h"

#define ADMISSION_RETRY_MS 10
#define FIRST_RETRY_MS 200
#define LONGEST_RETRY_MS 10000
#define MAX_REREAD_KEYS 1000
#define SHORTEST_RESTART_MS 2000
/* Ranges for each reader: the last ones to end are then short. */
#define RANGES_A_READER 4
/* A table of fewer chunks is not cut. */
#define CUT_CHUNKS 4

void retry_later(struct table_state *t, int64_t delay_ms)
{
	table_cancel_jobs(t);
	t->retry_at_ms = clock_mono_ms() + delay_ms;
}

void retry_with_backoff(struct table_state *t)
{
	t->retry_delay_ms = t->retry_delay_ms ? t->retry_delay_ms * 2 : FIRST_RETRY_MS;
	if (t->retry_delay_ms > LONGEST_RETRY_MS)
		t->retry_delay_ms = LONGEST_RETRY_MS;
	retry_later(t, t->retry_delay_ms);
}

/* The catalogue is looked at anew, by a new attempt; but not again and again. */
void restart_or_back_off(struct attempt *a, struct table_state *t)
{
	if (clock_mono_ms() - a->r->restarted_at_ms > SHORTEST_RESTART_MS)
		a->restart_wanted = true;
	retry_with_backoff(t);
}

/* Columns of the catalogue where they are newer than the stream's. NULL without an error: not now. */
static struct binding *binding_for_job(struct attempt *a, struct table_state *t, struct error *err, bool *ok)
{
	struct source_table described;
	bool found;
	*ok = true;
	if (!t->describe_again) {
		if (t->phase != TABLE_REREADING)
			t->columns = columns_hash(&t->binding->table.relation);
		return binding_ref(t->binding);
	}
	if (!source_describe(a->connection, t->binding->table.relation.oid, &a->arena, &described, &found, err)) {
		*ok = false;
		return NULL;
	}
	if (!found || !relation_same_key(&described.relation, &t->binding->table.relation)) {
		restart_or_back_off(a, t);
		return NULL;
	}
	t->describe_again = !relation_same_columns(&described.relation, &t->binding->table.relation);
	struct binding *b =
	        binding_new(&a->plans, a->r->options.connection_tag, &described, t->binding->number, a->connection, a->log, err);
	*ok = b != NULL;
	if (b && t->phase != TABLE_REREADING)
		t->columns = columns_hash(&b->table.relation);
	if (b && !t->describe_again) {
		binding_unref(t->binding);
		t->binding = binding_ref(b);
	}
	return b;
}

/* The keys of rows that lack a value; their images have the key columns. *any false: there are none. */
static bool add_reread_keys(struct attempt *a, struct table_state *t, struct read_job *job, bool *any, struct error *err)
{
	const struct source_relation *r = &job->binding->table.relation;
	struct row_key *keys;
	size_t count, key_columns = 0, n = 0;
	if (!storage_incomplete_rows(a->storage, t->binding->number, (struct slice){0}, MAX_REREAD_KEYS, &job->arena, &keys,
	                             &count, err))
		return false;
	for (size_t i = 0; i < r->column_count; i++)
		key_columns += r->columns[i].in_key;
	struct raw_value *raw = arena_array(&job->arena, struct raw_value, key_columns * count);
	struct raw_value *row = arena_array(&job->arena, struct raw_value, r->column_count);
	for (size_t k = 0; k < count; k++) {
		struct stored_row stored;
		if (!storage_read_row(a->storage, t->binding->number, &keys[k], &job->arena, &stored, err))
			return false;
		for (size_t i = 0; i < r->column_count; i++)
			row[i] = (struct raw_value){.kind = RAW_UNCHANGED};
		image_fill(r, row, stored.image);
		for (size_t i = 0; i < r->column_count; i++)
			if (r->columns[i].in_key)
				raw[n++] = row[i];
	}
	job->keys = raw;
	job->row_keys = keys;
	job->key_count = count;
	*any = count > 0;
	return true;
}

static bool now_due(const struct table_state *t)
{
	return clock_mono_ms() >= t->retry_at_ms;
}

/* A table without identity: the reading begins here, with the stream at this boundary. */
static bool submit_scan(struct attempt *a, struct table_state *t, struct binding *b, struct error *err)
{
	enum keyless_outcome outcome;
	bool ok = keyless_begin(a, t, b, &outcome, err);
	binding_unref(b);
	if (!ok)
		return false;
	switch (outcome) {
	case KEYLESS_BEGUN:
		break;
	case KEYLESS_LATER:
		retry_later(t, ADMISSION_RETRY_MS);
		break;
	case KEYLESS_FAILED:
		log_warn(a->log, "Reading %.*s failed and is tried again: %s",
		         SLICE_ARG(table_display(a, &t->binding->table.relation)), t->error);
		retry_with_backoff(t);
		break;
	case KEYLESS_CHANGED:
		t->describe_again = true;
		retry_with_backoff(t);
		break;
	case KEYLESS_GONE:
		restart_or_back_off(a, t);
		break;
	}
	return true;
}

/* All rows are read: what is left from before a gap goes, then the table is complete. */
static bool range_done(struct attempt *a, struct table_state *t, struct error *err)
{
	if (!t->lost || t->phase == TABLE_SWEEPING)
		return table_complete(a, t, err);
	table_cancel_jobs(t);
	touch_log_free(&t->log);
	t->has_incomplete = false;
	t->phase = TABLE_SWEEPING;
	buf_clear(&t->sweep_after);
	return true;
}

static bool sweep(struct attempt *a, struct table_state *t, struct error *err)
{
	bool done;
	return generation_sweep(a, t, &done, err) && attempt_commit_if_large(a, err) && (!done || table_complete(a, t, err));
}

/* NULL with *ok: not now. */
static struct read_job *job_new(struct attempt *a, struct table_state *t, bool *ok, struct error *err)
{
	struct binding *b = binding_for_job(a, t, err, ok);
	if (!b) {
		if (*ok && now_due(t))
			retry_with_backoff(t);
		return NULL;
	}
	struct read_job *job = read_job_new(b, (struct slice){0});
	binding_unref(b);
	return job;
}

static void submit(struct attempt *a, struct table_state *t, struct read_job *job)
{
	t->job = job;
	reader_pool_submit(a->readers, job);
}

bool schedule_reread(struct attempt *a, struct table_state *t, struct error *err)
{
	bool ok, any;
	struct read_job *job = job_new(a, t, &ok, err);
	if (!job)
		return ok;
	if (!add_reread_keys(a, t, job, &any, err)) {
		read_job_unref(job);
		return false;
	}
	if (any) {
		submit(a, t, job);
		return true;
	}
	read_job_unref(job);
	return range_done(a, t, err);
}

/* Worth asking the source where to cut it? */
static bool may_be_large(const struct attempt *a, const struct table_state *t)
{
	double rows = t->binding->table.estimated_rows;
	return a->r->options.snapshot_readers > 1 && (rows < 0 || rows >= (double)(CUT_CHUNKS * a->r->options.chunk_rows));
}

/* The next range; or where the ranges are is asked for first. */
static bool submit_range(struct attempt *a, struct table_state *t, struct error *err)
{
	bool ok, cut = t->ranges.count == 0 && may_be_large(a, t);
	struct read_job *job = job_new(a, t, &ok, err);
	if (!job)
		return ok;
	if (cut) {
		job->split_parts = (size_t)(RANGES_A_READER * a->r->options.snapshot_readers);
		submit(a, t, job);
		return true;
	}
	if (t->ranges.count == 0)
		ranges_make(&t->ranges, NULL, 0);
	struct table_range *range = ranges_waiting(&t->ranges);
	buf_slice_append(&job->after, buf_slice(&range->next));
	buf_slice_append(&job->until, buf_slice(&range->until));
	range->job = job;
	reader_pool_submit(a->readers, job);
	return true;
}

static bool scan(struct attempt *a, struct table_state *t, struct error *err)
{
	bool ok;
	struct binding *b = binding_for_job(a, t, err, &ok);
	if (b)
		return submit_scan(a, t, b, err);
	if (ok && now_due(t))
		retry_with_backoff(t);
	return ok;
}

/* ---- whose turn it is ---- */

static size_t jobs_running(const struct attempt *a)
{
	size_t n = 0;
	for (const struct table_state *t = a->tables; t; t = t->next)
		n += table_jobs(t);
	return n;
}

bool schedule_room(const struct attempt *a)
{
	return jobs_running(a) < (size_t)a->r->options.snapshot_readers;
}

/* One more job would have something to read. */
static bool has_more(const struct table_state *t)
{
	if (t->job || (t->phase != TABLE_SCANNING && t->phase != TABLE_READING))
		return false;
	if (t->phase == TABLE_SCANNING || t->ranges.count == 0 || ranges_done(&t->ranges))
		return true;
	for (size_t i = 0; i < t->ranges.count; i++)
		if (!t->ranges.items[i].done && !t->ranges.items[i].job)
			return true;
	return false;
}

bool schedule_wants(const struct table_state *t, bool room)
{
	return t->phase == TABLE_REREADING ? !t->job : room && has_more(t);
}

static struct table_state *next_table(const struct attempt *a)
{
	struct table_state *best = NULL;
	for (struct table_state *t = a->tables; t; t = t->next)
		if (has_more(t) && now_due(t) && (!best || table_jobs(t) < table_jobs(best)))
			best = t;
	return best;
}

static bool begin_more(struct attempt *a, struct error *err)
{
	struct table_state *t;
	bool ok = true;
	while (ok && schedule_room(a) && (t = next_table(a))) {
		if (t->phase == TABLE_SCANNING) {
			ok = scan(a, t, err);
		} else if (ranges_done(&t->ranges)) { /* all of it was read before a restart */
			t->reading_whole = true;
			t->phase = TABLE_REREADING;
			ok = schedule_reread(a, t, err);
		} else {
			ok = submit_range(a, t, err);
		}
	}
	return ok;
}

/* Rows that became incomplete outside any reading: the touch log goes on, then they are read by key. */
static bool begin_reread(struct attempt *a, struct table_state *t, struct error *err)
{
	struct row_key *keys;
	size_t count;
	if (!storage_incomplete_rows(a->storage, t->binding->number, (struct slice){0}, 1, &a->arena, &keys, &count, err))
		return false;
	t->has_incomplete = t->rows_wait = count > 0;
	if (count == 0)
		return true;
	table_begin_reading(a, t);
	t->phase = TABLE_REREADING;
	return true;
}

bool schedule_readers(struct attempt *a, struct error *err)
{
	for (struct table_state *t = a->tables; t; t = t->next) {
		if (t->phase == TABLE_DONE && t->has_incomplete && !begin_reread(a, t, err))
			return false;
		if (t->phase == TABLE_SWEEPING && !sweep(a, t, err))
			return false;
		if (keyless_ended(t) && !table_complete(a, t, err))
			return false;
		if (t->phase == TABLE_REREADING && !t->job && now_due(t) && !schedule_reread(a, t, err))
			return false;
	}
	return begin_more(a, err);
}
