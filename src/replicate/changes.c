/* changes.c: events of the stream become rows in storage (source-postgres 9, storage-semantics 5.3). */
#include "base/clock.h"
#include "replicate/engine.h"
#include "replicate/image.h"

/* As in reader.c: below this no value can lie out of line. */
#define IMAGE_THRESHOLD 2000

static bool begin(struct attempt *a, const struct stream_event *e)
{
	a->in_xact = true;
	a->xact_touched = false;
	a->final_lsn = e->final_lsn;
	a->change_number = 0;
	a->xid = xid_extend(e->xid, a->newest_xid);
	a->commit_time_ms = e->commit_time_ms;
	/* What is durable is never applied twice; it is only noted as delivered (interleaved-snapshot 3). */
	a->skipping = e->final_lsn < a->skip_below;
	/* What a flush in the middle leaves behind must not show at an earlier boundary. */
	if (!a->skipping)
		/* The record's place may be the end of the transaction before it, which is such a boundary. */
		storage_in_transaction(a->storage, (struct position){a->era, e->final_lsn + 1});
	return true;
}

/* Everything that ends up to lsn has been delivered. */
static void delivered(struct attempt *a, uint64_t lsn)
{
	if (lsn > a->delivered)
		a->delivered = lsn;
}

static void end(struct attempt *a, uint64_t lsn)
{
	a->in_xact = false;
	if (a->xact_touched)
		unsettled_add(&a->unsettled, a->xid, a->delivered);
	delivered(a, lsn);
	if (lsn > a->at)
		a->at = lsn;
	if (!a->oldest_change_ms && !a->skipping)
		a->oldest_change_ms = a->commit_time_ms;
	a->skipping = false;
}

/* For a table that is being read. */
static void touch(struct attempt *a, struct table_state *t, const struct row_key *key, enum touch_kind kind)
{
	if (table_logs(t))
		touch_log_add(&t->log, a->xid, key->bytes, kind);
}

/*
 * A transaction that comes again below the applied position is not applied: when it was, another sync config may have been maintained,
 * so it cannot be said that the stream brought its rows. No snapshot that lacks it may be used for a table that is being read. (All such
 * transactions come before the first chunk is asked for.) Its rows may have other columns than the table has now.
 */
static void skip(struct attempt *a, uint32_t oid)
{
	bool known;
	struct table_state *t = tables_find(a, oid, &known);
	if (t)
		table_leaves_out(a, t);
}

static void written(struct attempt *a)
{
	if (!a->dirty || a->bulk)
		a->dirty_since_us = clock_mono_us();
	a->dirty = true;
	a->bulk = false;
}

/* A table of which only events are read keeps no records: an old image of another sync config must not fill in values one day. */
static bool keep_no_record(struct attempt *a, struct table_state *t, const struct row_key *key, const struct row_key *old,
                           struct error *err)
{
	return storage_delete_row(a->storage, t->binding->number, key, err) &&
	       (!old || storage_delete_row(a->storage, t->binding->number, old, err));
}

static bool write_complete_row(struct attempt *a, struct table_state *t, const struct row_key *key, const struct row_key *old,
                               const struct raw_value *row, struct error *err)
{
	struct row_contributions c = {0};
	struct slice image = {0};
	const struct source_relation *r = &t->binding->table.relation;
	bool unknown;
	if (row_too_large(r, row)) {
		log_warn(a->log, "[PSYNC_S1002] Row too large: a row of %.*s is beyond 15 MiB and is not synced",
		         SLICE_ARG(table_display(a, r)));
	} else {
		if (!events_apply(a, t->binding, row, CUSTOM_STREAM, &unknown, err))
			return false;
		binding_evaluate(t->binding, row, &a->arena, &c);
		if (!t->binding->sends_complete_rows && source_row_size_bound(r, row) >= IMAGE_THRESHOLD)
			image = image_encode(r, row, &a->arena);
	}
	if (t->binding->only_events)
		return keep_no_record(a, t, key, old, err);
	return storage_write_row(a->storage, t->binding->number, key, old, &c, image, ROW_STREAM, err);
}

static bool insert(struct attempt *a, struct table_state *t, const struct stream_event *e, struct error *err)
{
	struct row_key key = {.uuid_alone = false};
	if (t->keyless) {
		if (!keyless_takes(a, t, &key))
			return true;
	} else {
		binding_row_key(t->binding, e->new_row, &a->arena, &key);
		touch(a, t, &key, TOUCH_OTHER);
	}
	written(a);
	return write_complete_row(a, t, &key, NULL, e->new_row, err);
}

static bool remove_row(struct attempt *a, struct table_state *t, const struct stream_event *e, struct error *err)
{
	struct row_key key = {.uuid_alone = false};
	binding_row_key(t->binding, e->old_row, &a->arena, &key);
	touch(a, t, &key, TOUCH_OTHER);
	written(a);
	return storage_delete_row(a->storage, t->binding->number, &key, err);
}

/* Values that the source left out come from the kept image of the row (the decoder has used the old tuple already). *complete tells
 * whether all are known now. */
static bool fill_unchanged(struct attempt *a, struct table_state *t, const struct row_key *stored_under, struct raw_value *row,
                           bool *complete, struct error *err)
{
	const struct source_relation *r = &t->binding->table.relation;
	struct stored_row stored;
	*complete = true;
	for (size_t i = 0; i < r->column_count; i++)
		*complete &= row[i].kind != RAW_UNCHANGED;
	if (*complete)
		return true;
	if (!storage_read_row(a->storage, t->binding->number, stored_under, &a->arena, &stored, err))
		return false;
	/* What was stored before a gap in the stream may have changed in it. */
	*complete = stored.found && (t->no_gap || stored.epoch >= t->generation) &&
	            (image_fill(r, row, stored.image) || image_fill_values(t->binding, row, &stored));
	return true;
}

static bool update(struct attempt *a, struct table_state *t, const struct stream_event *e, struct error *err)
{
	const struct source_relation *r = &t->binding->table.relation;
	struct row_key key = {.uuid_alone = false}, old = key;
	bool complete;
	struct raw_value *row = arena_array(&a->arena, struct raw_value, r->column_count);
	memcpy(row, e->new_row, r->column_count * sizeof(*row));
	binding_row_key(t->binding, row, &a->arena, &key);
	bool moved = false;
	if (e->old_row) {
		binding_row_key(t->binding, e->old_row, &a->arena, &old);
		moved = !slice_eq(old.bytes, key.bytes);
	}
	touch(a, t, &key, moved ? TOUCH_OTHER : TOUCH_KEEPS_KEY);
	if (moved)
		touch(a, t, &old, TOUCH_OTHER);
	written(a);
	if (!fill_unchanged(a, t, moved ? &old : &key, row, &complete, err))
		return false;
	if (complete)
		return write_complete_row(a, t, &key, moved ? &old : NULL, row, err);
	bool unknown;
	if (!events_apply(a, t->binding, row, CUSTOM_STREAM, &unknown, err))
		return false;
	if (t->binding->only_events && !unknown)
		return keep_no_record(a, t, &key, moved ? &old : NULL, err);
	t->has_incomplete = true;
	waiting_rows_note(a, t);
	struct row_contributions known = {0};
	binding_values(t->binding, row, &a->arena, &known);
	return storage_write_incomplete_row(a->storage, t->binding->number, &key, moved ? &old : NULL,
	                                    image_encode(r, row, &a->arena), &known, err);
}

static bool truncate_table(struct attempt *a, uint32_t oid, struct error *err)
{
	bool known;
	uint64_t removed;
	struct table_state *t;
	if (!relations_change(a, oid, &t, &known, err))
		return false;
	if (!t)
		return true;
	if (table_logs(t))
		touch_log_add_all(&t->log, a->xid);
	if (t->keyless && !keyless_truncated(a, t))
		return true;
	written(a);
	t->truncated = true;
	return storage_truncate_table(a->storage, t->binding->number, &removed, err);
}

static bool truncate_tables(struct attempt *a, const struct stream_event *e, struct error *err)
{
	for (size_t i = 0; i < e->truncated_count; i++) {
		a->xact_touched = true;
		if (a->skipping)
			skip(a, e->truncated[i]);
		else if (!truncate_table(a, e->truncated[i], err))
			return false;
	}
	return true;
}

static bool row_change(struct attempt *a, const struct stream_event *e, struct error *err)
{
	bool known;
	struct table_state *t;
	a->xact_touched = true;
	a->change_number++;
	if (a->skipping) {
		skip(a, e->oid);
		return true;
	}
	if (!relations_change(a, e->oid, &t, &known, err))
		return false;
	if (!known)
		return error_set(err, "PSYNC_S1101", "Missing relation cache for %u", e->oid);
	if (!t || (t->keyless && e->kind != STREAM_INSERT))
		return true;
	if (e->kind != STREAM_INSERT && e->kind != STREAM_UPDATE && !e->old_row)
		return error_set(err, "PSYNC_S1101", "A delete without a key came for relation %u", e->oid);
	bool ok = e->kind == STREAM_INSERT   ? insert(a, t, e, err)
	          : e->kind == STREAM_UPDATE ? update(a, t, e, err)
	                                     : remove_row(a, t, e, err);
	return ok && attempt_flush_if_large(a, err);
}

bool change_apply(struct attempt *a, const struct stream_event *e, struct error *err)
{
	switch (e->kind) {
	case STREAM_BEGIN:
		return begin(a, e);
	case STREAM_COMMIT:
		end(a, e->lsn);
		return true;
	case STREAM_RELATION:
		if (!a->skipping)
			return relations_message(a, &e->relation, err);
		relations_set_aside(a, &e->relation);
		return true;
	case STREAM_INSERT:
	case STREAM_UPDATE:
	case STREAM_DELETE:
		return row_change(a, e, err);
	case STREAM_TRUNCATE:
		return truncate_tables(a, e, err);
	case STREAM_KEEPALIVE:
		/* All transactions that end before the server's position were delivered: an idle slot follows the WAL. */
		if (!a->in_xact)
			delivered(a, e->lsn);
		if (!a->in_xact && e->lsn > a->at)
			a->at = e->lsn;
		if (e->lsn > a->head_lsn)
			a->head_lsn = e->lsn;
		a->reply_now |= e->reply_requested;
		return true;
	case STREAM_MESSAGE:
	case STREAM_NOTHING:
		return true;
	}
	return true;
}
