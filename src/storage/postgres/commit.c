/* commit.c: flushes and commits as the engine asks for them (storage.h). */
#include <stdio.h>
#include <string.h>

#include "storage/postgres/custom.h"
#include "storage/postgres/rows.h"
#include "storage/postgres/writer.h"

bool pg_flush(struct storage *s, struct error *err)
{
	struct pg_writer *w = pg_writer_of(s);
	return !pg_writer_dirty(w) || pg_writer_transact(w, PG_FLUSH, err);
}

/* Would a commit make a checkpoint though nothing waits to be written? */
static bool shows(const struct pg_writer *w)
{
	const struct pg_record *k = &w->targets[0].record;
	return w->persisted || w->activating || (w->has_active && (k->has_pending || !k->has_checkpoint || !k->snapshot_done));
}

bool pg_commit(struct storage *s, struct position applied, bool visible, bool *durable, struct error *err)
{
	struct pg_writer *w = pg_writer_of(s);
	*durable = false;
	if (!pg_writer_ready(w, err))
		return false;
	if (position_cmp(applied, w->applied) > 0)
		w->applied = applied;
	/* What lies before the last checkpoint is shown with the next one. */
	visible = visible && position_cmp(applied, w->targets[0].record.position) >= 0;
	w->empty_wanted = visible && storage_position_acknowledges(s, w->applied);
	if ((pg_writer_dirty(w) || w->empty_wanted || (visible && shows(w))) &&
	    !pg_writer_transact(w, visible ? PG_COMMIT : PG_COMMIT_HIDDEN, err))
		return false;
	w->transaction_end = (struct position){0, 0};
	*durable = position_cmp(w->applied, w->targets[0].beside.applied) <= 0;
	pg_writer_publish(w);
	return true;
}

bool pg_sync_position(struct storage *s, struct error *err)
{
	struct pg_writer *w = pg_writer_of(s);
	bool behind = w->ready && (position_cmp(w->applied, w->targets[0].beside.applied) > 0 ||
	                           (w->applied.lsn && !pg_record_has_position(&w->targets[0].record)));
	return (!behind && !pg_writer_dirty(w)) || pg_writer_transact(w, PG_POSITION, err);
}

void pg_rollback(struct storage *s)
{
	struct pg_writer *w = pg_writer_of(s);
	pg_rows_clear(w->rows);
	pg_custom_clear(w->store->custom);
	w->dirty = w->activating = w->empty_wanted = false;
	w->transaction_end = (struct position){0, 0};
	w->persisted = 0;
	/* Records in memory may be ahead of what is stored: they are loaded with the next taking of the role. */
	w->ready = false;
}

size_t pg_batch_size(struct storage *s)
{
	return pg_rows_size(pg_writer_of(s)->rows);
}

void pg_in_transaction(struct storage *s, struct position end)
{
	struct pg_writer *w = pg_writer_of(s);
	bool again = w->target_count && position_cmp(end, w->targets[0].beside.partial_until) == 0;
	w->mixed = pg_rows_size(w->rows) > 0 || pg_custom_queued(w->store->custom) || (w->persisted && !again);
	w->transaction_end = end;
}

bool pg_set_source(struct storage *s, const char *system_id, struct error *err)
{
	struct pg_writer *w = pg_writer_of(s);
	if (!pg_writer_ready(w, err))
		return false;
	for (size_t i = 0; i < w->target_count; i++)
		snprintf(w->targets[i].beside.system_id, sizeof(w->targets[i].beside.system_id), "%s", system_id);
	w->dirty = true;
	return pg_flush(s, err);
}

bool pg_set_timeline(struct storage *s, uint32_t timeline, struct error *err)
{
	struct pg_writer *w = pg_writer_of(s);
	if (!pg_writer_ready(w, err))
		return false;
	for (size_t i = 0; i < w->target_count; i++) {
		w->dirty |= w->targets[i].beside.timeline != timeline;
		w->targets[i].beside.timeline = timeline;
	}
	return true;
}
