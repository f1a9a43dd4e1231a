/* chunks.c: what the readers fetched becomes rows in storage; tables and definitions are completed (interleaved-snapshot 5, 6, 8). */
#include <stdio.h>

#include "base/clock.h"
#include "replicate/engine.h"
#include "replicate/image.h"

#define ADMISSION_RETRY_MS 10
#define FIRST_RETRY_MS 200
#define LONGEST_RETRY_MS 10000
#define MAX_REREAD_KEYS 1000
#define SHORTEST_RESTART_MS 2000

static void retry_later(struct table_state *t, int64_t delay_ms)
{
	table_cancel_job(t);
	t->retry_at_ms = clock_mono_ms() + delay_ms;
}

static void retry_with_backoff(struct table_state *t)
{
	t->retry_delay_ms = t->retry_delay_ms ? t->retry_delay_ms * 2 : FIRST_RETRY_MS;
	if (t->retry_delay_ms > LONGEST_RETRY_MS)
		t->retry_delay_ms = LONGEST_RETRY_MS;
	retry_later(t, t->retry_delay_ms);
}

void note_snapshot(struct attempt *a, const struct xid_snapshot *s)
{
	unsettled_settle(&a->unsettled, s);
	if (s->xmax > a->newest_xid)
		a->newest_xid = s->xmax;
	/* Without a job no chunk is under way, and every later one sees what s sees. */
	for (struct table_state *t = a->tables; t; t = t->next)
		if (!t->job)
			touch_log_forget(&t->log, s);
}

/* The catalogue is looked at anew, by a new attempt; but not again and again. */
static void restart_or_back_off(struct attempt *a, struct table_state *t)
{
	if (clock_mono_ms() - a->r->restarted_at_ms > SHORTEST_RESTART_MS)
		a->restart_wanted = true;
	retry_with_backoff(t);
}

/* ---- submitting ---- */

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

static bool table_complete(struct attempt *a, struct table_state *t, struct error *err);

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
	table_cancel_job(t);
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

static bool submit(struct attempt *a, struct table_state *t, struct error *err)
{
	bool ok, any = true;
	struct binding *b = binding_for_job(a, t, err, &ok);
	if (!b) {
		if (ok && now_due(t))
			retry_with_backoff(t);
		return ok;
	}
	if (t->phase == TABLE_SCANNING)
		return submit_scan(a, t, b, err);
	struct read_job *job = read_job_new(b, t->phase == TABLE_READING ? buf_slice(&t->next_key) : (struct slice){0});
	binding_unref(b);
	if (t->phase == TABLE_REREADING && !add_reread_keys(a, t, job, &any, err)) {
		read_job_unref(job);
		return false;
	}
	if (!any) {
		read_job_unref(job);
		return range_done(a, t, err);
	}
	t->job = job;
	reader_pool_submit(a->readers, job);
	return true;
}

/* Rows that became incomplete outside any reading: the touch log goes on, then they are read by key. */
static bool begin_reread(struct attempt *a, struct table_state *t, struct error *err)
{
	struct row_key *keys;
	size_t count;
	if (!storage_incomplete_rows(a->storage, t->binding->number, (struct slice){0}, 1, &a->arena, &keys, &count, err))
		return false;
	t->has_incomplete = count > 0;
	if (count == 0)
		return true;
	table_begin_reading(a, t);
	t->phase = TABLE_REREADING;
	return true;
}

static bool submit_wanted(struct attempt *a, struct error *err)
{
	for (struct table_state *t = a->tables; t; t = t->next) {
		if (t->phase == TABLE_DONE && t->has_incomplete && !begin_reread(a, t, err))
			return false;
		if (t->phase == TABLE_SWEEPING && !sweep(a, t, err))
			return false;
		if (keyless_ended(t) && !table_complete(a, t, err))
			return false;
		if ((table_logs(t) || t->phase == TABLE_SCANNING) && !t->job && now_due(t) && !submit(a, t, err))
			return false;
	}
	return true;
}

/* ---- completion ---- */

static bool table_complete(struct attempt *a, struct table_state *t, struct error *err)
{
	uint32_t number = t->binding->number;
	/* A re-read by key alone tells nothing about the other rows' columns. */
	bool whole = t->phase != TABLE_REREADING || t->reading_whole;
	if (!storage_table_done(a->storage, number, t->epoch, err) ||
	    (whole && !storage_table_columns(a->storage, number, t->columns, err)))
		return false;
	if (whole)
		log_info(a->log, "Replicated %.*s: %llu rows", SLICE_ARG(table_display(a, &t->binding->table.relation)),
		         (unsigned long long)t->rows_read);
	table_cancel_job(t);
	keyless_end(t);
	touch_log_free(&t->log);
	if (t->phase != TABLE_SWEEPING)
		t->has_incomplete = false;
	t->phase = TABLE_DONE;
	t->never_complete = t->lost = t->reading_whole = false;
	t->error[0] = '\0';
	t->rows_read = 0;
	a->dirty = a->commit_wanted = true;
	a->bulk = false;
	return definitions_check(a, err);
}

static bool tables_of_definition_done(struct attempt *a, const struct stored_plan *plan, uint32_t d)
{
	const struct definition *def = plan_definition(plan->plan, d);
	struct slice tag = slice_cstr(a->r->options.connection_tag);
	for (struct table_state *t = a->tables; t; t = t->next) {
		const struct source_relation *r = &t->binding->table.relation;
		for (size_t p = 0; t->phase != TABLE_DONE && p < def->pattern_count; p++)
			if (table_pattern_matches(plan_pattern(plan->plan, def->patterns[p]), tag, r->schema, r->name))
				return false;
	}
	return true;
}

bool definitions_check(struct attempt *a, struct error *err)
{
	struct stored_plan *pending = storage_pending_plan(a->storage);
	if (!pending)
		return true;
	bool all = true, ok = true;
	for (uint32_t d = 0; d < pending->count && ok; d++) {
		if (pending->definitions[d].state != DEFINITION_FILLING)
			continue;
		if (tables_of_definition_done(a, pending, d))
			ok = storage_definition_ready(a->storage, pending->definitions[d].number, err);
		else
			all = false;
	}
	all = all && events_tables_done(a, pending);
	stored_plan_unref(pending);
	if (!ok || !all)
		return ok;
	/* While nothing may be shown there is no activation either; the table that is the cause brings us here again. */
	if (tables_withhold_checkpoints(a))
		return true;
	a->commit_wanted = true;
	if (!storage_activate_pending(a->storage, err) || !attempt_commit(a, err))
		return false;
	char lsn[LSN_TEXT_SIZE];
	lsn_format(a->at, lsn);
	log_info(a->log, "Activated the sync config at %s", lsn);
	return tables_rebind(a, err);
}

/* ---- applying ---- */

static bool write_clean(struct attempt *a, struct table_state *t, struct read_job *job, const struct chunk_row *row,
                        struct error *err)
{
	bool unknown;
	if (!row_too_large(&job->binding->table.relation, row->raw) &&
	    !(t->phase == TABLE_REREADING
	              ? events_catch_up(a, job->binding, &row->key, row->raw, err)
	              : events_apply(a, job->binding, row->raw, t->lost ? CUSTOM_REPAIR : CUSTOM_SNAPSHOT, &unknown, err)))
		return false;
	if (job->binding->only_events)
		return storage_delete_row(a->storage, t->binding->number, &row->key, err);
	return storage_write_row(a->storage, t->binding->number, &row->key, NULL, &row->contributions, row->image, ROW_COMPARE,
	                         err);
}

/* An update that keeps the key came without a value that the chunk's row has: nobody changed it since (interleaved-snapshot 6.1). */
static bool fill_from_chunk(struct attempt *a, struct table_state *t, struct read_job *job, const struct chunk_row *row,
                            struct error *err)
{
	const struct source_relation *r = &t->binding->table.relation, *chunk_r = &job->binding->table.relation;
	struct stored_row stored;
	if (!storage_read_row(a->storage, t->binding->number, &row->key, &a->arena, &stored, err))
		return false;
	if (!stored.found || !stored.incomplete)
		return true;
	struct raw_value *merged = arena_array(&a->arena, struct raw_value, r->column_count);
	for (size_t i = 0; i < r->column_count; i++)
		merged[i] = (struct raw_value){.kind = RAW_UNCHANGED};
	if (!image_fill(r, merged, stored.image) && !image_fill(r, merged, image_encode(chunk_r, row->raw, &a->arena)))
		return true;
	struct row_contributions c = {0};
	if (!row_too_large(r, merged)) {
		if (!events_catch_up(a, t->binding, &row->key, merged, err))
			return false;
		binding_evaluate(t->binding, merged, &a->arena, &c);
	}
	return storage_write_row(a->storage, t->binding->number, &row->key, NULL, &c, image_encode(r, merged, &a->arena),
	                         ROW_STREAM, err);
}

/* Keys that were asked for, are not there, and were not touched: the rows are gone. */
static bool remove_missing(struct attempt *a, struct table_state *t, const struct read_result *res, const struct dirty_set *dirty,
                           struct error *err)
{
	for (size_t k = 0; k < res->job->key_count; k++) {
		const struct row_key *key = &res->job->row_keys[k];
		bool found = false;
		for (size_t i = 0; i < res->chunk.row_count && !found; i++)
			found = slice_eq(res->rows[i].key.bytes, key->bytes);
		if (!found && dirty_set_find(dirty, key->bytes) == KEY_CLEAN &&
		    !storage_delete_row(a->storage, t->binding->number, key, err))
			return false;
	}
	return true;
}

static bool store_progress(struct attempt *a, struct table_state *t, const struct source_chunk *chunk, struct error *err)
{
	t->rows_read += chunk->row_count;
	pthread_mutex_lock(&a->r->status_lock);
	a->r->status.rows_read += chunk->row_count;
	pthread_mutex_unlock(&a->r->status_lock);
	if (chunk->row_count && !chunk->last)
		log_info(a->log, "Replicating %.*s %llu/~%.0f", SLICE_ARG(table_display(a, &t->binding->table.relation)),
		         (unsigned long long)t->rows_read, t->binding->table.estimated_rows);
	if (t->phase == TABLE_SCANNING)
		return true;
	buf_clear(&t->next_key);
	buf_slice_append(&t->next_key, chunk->next);
	return table_store_progress(a, t, err);
}

static bool admit(struct attempt *a, struct table_state *t, const struct xid_snapshot *s)
{
	if (!t->admitted && !admission_admits(&t->admission, s)) {
		int64_t now = clock_mono_ms();
		if (!t->waiting_since_ms)
			t->waiting_since_ms = now;
		if (!t->waiting_logged && now - t->waiting_since_ms > 1000) {
			t->waiting_logged = true;
			snprintf(t->error, sizeof(t->error),
			         "reading waits for transactions that are open on the source, or whose commit it withholds");
			log_warn(a->log,
			         "Reading %.*s waits for transactions that are still open on the source, or whose commit it "
			         "withholds from other sessions (usually for a standby)",
			         SLICE_ARG(table_display(a, &t->binding->table.relation)));
		}
		return false;
	}
	t->admitted = true;
	t->waiting_since_ms = 0;
	t->waiting_logged = false;
	return true;
}

static void chunk_written(struct attempt *a)
{
	if (!a->dirty) {
		a->dirty_since_us = clock_mono_us();
		a->bulk = true;
	}
	a->dirty = a->commit_wanted = true;
}

static bool apply_rows(struct attempt *a, struct table_state *t, struct read_result *res, const struct dirty_set *dirty,
                       struct error *err)
{
	for (size_t i = 0; i < res->chunk.row_count; i++) {
		const struct chunk_row *row = &res->rows[i];
		enum dirtiness d = dirty_set_find(dirty, row->key.bytes);
		bool ok = d == KEY_CLEAN     ? write_clean(a, t, res->job, row, err)
		          : d == KEY_UPDATED ? fill_from_chunk(a, t, res->job, row, err)
		                             : true;
		if (!ok)
			return false;
	}
	return remove_missing(a, t, res, dirty, err);
}

static bool apply_chunk(struct attempt *a, struct table_state *t, struct read_result *res, struct error *err)
{
	const struct xid_snapshot *s = &res->chunk.snapshot;
	struct dirty_set dirty;
	note_snapshot(a, s);
	if (!admit(a, t, s)) {
		retry_later(t, ADMISSION_RETRY_MS);
		return true;
	}
	dirty_set_build(&dirty, &t->log, s, &res->arena);
	if (dirty.all) {
		retry_later(t, ADMISSION_RETRY_MS);
		return true;
	}
	if (!apply_rows(a, t, res, &dirty, err))
		return false;
	touch_log_forget(&t->log, s);
	t->retry_delay_ms = 0;
	t->error[0] = '\0';
	chunk_written(a);
	if (t->phase == TABLE_READING && !store_progress(a, t, &res->chunk, err))
		return false;
	if (t->phase == TABLE_READING && !res->chunk.last)
		return true;
	/* The range is read, or some keys are: what is still incomplete is read by key until nothing is. */
	table_cancel_job(t);
	t->reading_whole |= t->phase == TABLE_READING;
	t->phase = TABLE_REREADING;
	t->retry_at_ms = 0;
	return submit(a, t, err);
}

/* A piece of a table without identity: the stream has passed the snapshot, and brings what it does not see. */
static bool apply_scanned(struct attempt *a, struct table_state *t, struct read_result *res, struct error *err)
{
	for (size_t i = 0; i < res->chunk.row_count; i++)
		if (!write_clean(a, t, res->job, &res->rows[i], err))
			return false;
	chunk_written(a);
	return store_progress(a, t, &res->chunk, err) && (!res->chunk.last || table_complete(a, t, err));
}

static bool apply_result(struct attempt *a, struct table_state *t, struct read_result *res, struct error *err)
{
	if (res->kind == RESULT_FAILED) {
		log_warn(a->log, "Reading %.*s failed and is tried again: %s",
		         SLICE_ARG(table_display(a, &t->binding->table.relation)), res->error.message);
		snprintf(t->error, sizeof(t->error), "%s", res->error.message);
		keyless_end(t);
		if (t->phase == TABLE_SCANNING)
			table_start_over(t);
		retry_with_backoff(t);
		return true;
	}
	switch (res->chunk.outcome) {
	case CHUNK_ROWS:
		return t->phase == TABLE_SCANNING ? apply_scanned(a, t, res, err) : apply_chunk(a, t, res, err);
	case CHUNK_TABLE_GONE:
		restart_or_back_off(a, t);
		return true;
	case CHUNK_TABLE_CHANGED:
		t->describe_again = true;
		if (t->phase == TABLE_READING)
			table_start_over(t);
		retry_with_backoff(t);
		return true;
	}
	return true;
}

static struct table_state *table_of_job(struct attempt *a, const struct read_job *job)
{
	for (struct table_state *t = a->tables; t; t = t->next)
		if (t->job == job)
			return t;
	return NULL;
}

static void take_results(struct attempt *a)
{
	struct read_result *taken = reader_pool_take(a->readers);
	if (!taken)
		return;
	if (a->results_last)
		a->results_last->next = taken;
	else
		a->results = taken;
	while (taken->next)
		taken = taken->next;
	a->results_last = taken;
}

static void note_head(struct attempt *a, const struct read_result *res)
{
	note_snapshot(a, &res->snapshot);
	if (res->head_lsn > a->head_lsn)
		a->head_lsn = res->head_lsn;
}

bool chunks_work(struct attempt *a, bool *applied, struct error *err)
{
	*applied = false;
	if (!submit_wanted(a, err))
		return false;
	take_results(a);
	struct read_result *waiting = NULL, *waiting_last = NULL;
	bool ok = true;
	while (a->results) {
		struct read_result *res = a->results;
		a->results = res->next;
		res->next = NULL;
		struct table_state *t = res->job ? table_of_job(a, res->job) : NULL;
		if (ok && t && res->kind == RESULT_CHUNK && res->chunk.outcome == CHUNK_ROWS && res->chunk.head_lsn > a->at) {
			/* The stream has not passed the chunk's head yet. */
			if (waiting_last)
				waiting_last->next = res;
			else
				waiting = res;
			waiting_last = res;
			continue;
		}
		if (ok && res->kind == RESULT_HEAD)
			note_head(a, res);
		else if (ok && t) {
			ok = apply_result(a, t, res, err);
			*applied = true;
		}
		reader_pool_done(a->readers, res);
		if (ok)
			ok = attempt_commit_if_large(a, err);
	}
	a->results = waiting;
	a->results_last = waiting_last;
	return ok;
}
