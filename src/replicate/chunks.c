/* chunks.c: what the readers fetched becomes rows in storage; tables and definitions are completed (interleaved-snapshot 5, 6, 8). */
#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "replicate/engine.h"
#include "replicate/image.h"

#define ADMISSION_RETRY_MS 10
#define LOG_INTERVAL_MS 1000

void note_snapshot(struct attempt *a, const struct xid_snapshot *s)
{
	unsettled_settle(&a->unsettled, s);
	if (s->xmax > a->newest_xid)
		a->newest_xid = s->xmax;
	/* Without a job no chunk is under way, and every later one sees what s sees. */
	for (struct table_state *t = a->tables; t; t = t->next)
		if (table_jobs(t) == 0)
			touch_log_forget(&t->log, s);
}

/* ---- completion ---- */

bool table_complete(struct attempt *a, struct table_state *t, struct error *err)
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
	table_cancel_jobs(t);
	keyless_end(t);
	touch_log_free(&t->log);
	ranges_free(&t->ranges);
	t->relfilenode = t->binding->table.relfilenode ? t->binding->table.relfilenode : t->relfilenode;
	if (t->phase != TABLE_SWEEPING)
		t->has_incomplete = false;
	t->phase = TABLE_DONE;
	t->never_complete = t->lost = t->no_gap = t->reading_whole = t->rows_wait = false;
	reprocess_check(a);
	t->error[0] = '\0';
	t->rows_read = 0;
	a->dirty = a->commit_wanted = true;
	/* Nobody waits for one of many tables that are shown together. */
	if (a->has_active && !tables_withhold_checkpoints(a))
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

/* On a shared store each stream has a slot; that of the new one begins where the old one's is, and what was applied is left out. */
static bool slot_for_pending(struct attempt *a, struct error *err)
{
	char slot[64];
	struct source_state state;
	if (!storage_pending_slot(a->storage, slot))
		return true;
	if (!storage_source_state(a->storage, &state, err))
		return false;
	if (strcmp(slot, state.slot_name) == 0)
		return true;
	a->restart_wanted = true;
	return source_slot_copy(a->connection, state.slot_name, slot, err);
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
	/* Whoever sees the new sync config active must not be told that its tables are being read; the rest follows at once. */
	tables_publish_status(a);
	a->status_due_ms = 0;
	/* A sync config becomes active with a checkpoint, also while a row waits for being read again. */
	bool rows_wait = a->rows_wait;
	a->rows_wait = false;
	if (!storage_activate_pending(a->storage, err) || !slot_for_pending(a, err) || !attempt_commit(a, err))
		return false;
	a->rows_wait = rows_wait;
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

static void log_progress(struct attempt *a, const struct table_state *t, int64_t now_ms)
{
	double estimate = t->binding->table.estimated_rows, left = table_time_left(t, now_ms);
	char more[64] = "";
	if (left >= 0 && estimate > 0)
		snprintf(more, sizeof(more), " (%.0f %%, about %.0f s left)", fmin(100, 100 * (double)t->rows_read / estimate),
		         left);
	log_info(a->log, "Replicating %.*s %llu/~%.0f%s", SLICE_ARG(table_display(a, &t->binding->table.relation)),
	         (unsigned long long)t->rows_read, estimate, more);
}

/* range: NULL for a scan, which cannot be resumed. */
static bool store_progress(struct attempt *a, struct table_state *t, struct table_range *range, const struct source_chunk *chunk,
                           struct error *err)
{
	int64_t now = clock_mono_ms();
	t->rows_read += chunk->row_count;
	pthread_mutex_lock(&a->r->status_lock);
	a->r->status.rows_read += chunk->row_count;
	pthread_mutex_unlock(&a->r->status_lock);
	if (chunk->row_count && !chunk->last && now - t->logged_at_ms >= LOG_INTERVAL_MS) {
		t->logged_at_ms = now;
		log_progress(a, t, now);
	}
	if (!range)
		return true;
	buf_clear(&range->next);
	buf_slice_append(&range->next, chunk->next);
	range->done = chunk->last;
	return table_store_progress(a, t, err);
}

/* Asked for every chunk, because those of different ranges do not come in the order of their snapshots. */
static bool admit(struct attempt *a, struct table_state *t, const struct xid_snapshot *s)
{
	if (!admission_admits(&t->admission, s)) {
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

/* The chunk cannot be applied, and is read again; other ranges go on. */
static void read_again(struct table_state *t, struct table_range *range)
{
	if (!range) {
		retry_later(t, ADMISSION_RETRY_MS);
		return;
	}
	range_cancel(range);
	t->retry_at_ms = clock_mono_ms() + ADMISSION_RETRY_MS;
}

/* Entries of the touch log that no chunk needs any more. */
static void forget_touches(struct table_state *t, struct table_range *range, const struct xid_snapshot *s)
{
	const struct xid_snapshot *floor = s;
	if (range) {
		range_raise_floor(range, s);
		floor = ranges_floor(&t->ranges);
	}
	if (floor)
		touch_log_forget(&t->log, floor);
}

static bool apply_chunk(struct attempt *a, struct table_state *t, struct read_result *res, struct error *err)
{
	const struct xid_snapshot *s = &res->chunk.snapshot;
	struct table_range *range = ranges_of_job(&t->ranges, res->job);
	struct dirty_set dirty;
	note_snapshot(a, s);
	if (!admit(a, t, s)) {
		read_again(t, range);
		return true;
	}
	dirty_set_build(&dirty, &t->log, s, &res->arena);
	if (dirty.all) {
		read_again(t, range);
		return true;
	}
	if (!apply_rows(a, t, res, &dirty, err))
		return false;
	forget_touches(t, range, s);
	t->retry_delay_ms = 0;
	t->error[0] = '\0';
	chunk_written(a);
	if (range && !store_progress(a, t, range, &res->chunk, err))
		return false;
	if (range && range->done)
		range_cancel(range);
	if (range && !ranges_done(&t->ranges))
		return true;
	/* The ranges are read, or some keys are: what is still incomplete is read by key until nothing is. */
	table_cancel_jobs(t);
	t->reading_whole |= t->phase == TABLE_READING;
	t->phase = TABLE_REREADING;
	t->retry_at_ms = 0;
	return schedule_reread(a, t, err);
}

static bool apply_split(struct attempt *a, struct table_state *t, const struct read_result *res, struct error *err)
{
	table_cancel_jobs(t);
	ranges_make(&t->ranges, res->positions, res->position_count);
	return schedule_readers(a, err);
}

/* A piece of a table without identity: the stream has passed the snapshot, and brings what it does not see. */
static bool apply_scanned(struct attempt *a, struct table_state *t, struct read_result *res, struct error *err)
{
	for (size_t i = 0; i < res->chunk.row_count; i++)
		if (!write_clean(a, t, res->job, &res->rows[i], err))
			return false;
	chunk_written(a);
	return store_progress(a, t, NULL, &res->chunk, err) && (!res->chunk.last || table_complete(a, t, err));
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
	/* The position is of another time: ranges mean nothing then. */
	if (res->chunk.outcome == CHUNK_ROWS && res->chunk.restarted) {
		table_start_over(t);
		retry_later(t, 0);
		return true;
	}
	switch (res->chunk.outcome) {
	case CHUNK_ROWS:
		if (res->kind == RESULT_SPLIT)
			return apply_split(a, t, res, err);
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
		if (t->job == job || ranges_of_job(&t->ranges, job))
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
	if (attempt_replayed(a) && !schedule_readers(a, err))
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
