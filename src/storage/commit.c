/*
 * commit.c: transactions of the one writer, and what the rest of the process is told of them.
 *
 * The order of a visible commit is: write and sync; set the served checkpoint; collect whose requests it passed; tell the
 * subscriber. A request that is stored while this goes on either is found by the collecting, or finds the new position itself
 * (requests.c), so nobody waits for news that never come.
 */
#include "base/clock.h"
#include "storage/internal.h"

/* ---- the transaction ---- */

bool writer_peek(struct storage *s, struct error *err)
{
	if (s->failed)
		return error_set(err, "PSYNC_S1101", "an earlier write failed; the transaction must be rolled back first");
	if (s->open)
		return true;
	turn_take(&s->turn);
	s->open = s->backend->ops->write_begin(s->backend, err);
	if (!s->open)
		turn_give(&s->turn);
	return s->open;
}

bool writer_begin(struct storage *s, struct error *err)
{
	if (!writer_peek(s, err))
		return false;
	s->dirty = true;
	return true;
}

bool writer_fail(struct storage *s)
{
	s->failed = true;
	return false;
}

/* What the writer knows is what is stored again. The turn is still held: nobody else has a transaction open. */
static void state_rollback(struct storage *s)
{
	/* Positions that were announced without a disk flush stay: they are boundaries that the source really passed. */
	struct position applied = s->state.applied, shown = s->state.checkpoint_position;
	s->state = s->committed;
	s->state.applied = applied;
	s->state.checkpoint_position = shown;
	types_rollback(s);
	definitions_rollback(s);
	struct error err;
	if (!tables_load(s, &err)) {
		log_error(s->log, "Cannot read the table records again: %s", err.message);
		s->failed = true;
	}
}

void storage_rollback(struct storage *s)
{
	if (s->shared) {
		s->shared->rollback(s);
		return;
	}
	bool was_dirty = s->dirty, was_open = s->open;
	if (was_open)
		s->backend->ops->write_abort(s->backend);
	s->open = s->dirty = s->failed = false;
	s->activating = false;
	s->transaction_end = (struct position){0, 0};
	if (was_dirty)
		state_rollback(s);
	if (was_open)
		turn_give(&s->turn);
}

size_t storage_batch_size(struct storage *s)
{
	if (s->shared)
		return s->shared->batch_size(s);
	return s->dirty ? s->backend->ops->write_size(s->backend) : 0;
}

/* Everything so far and this state, durable. */
static bool write_out(struct storage *s, const struct store_state *next, struct error *err)
{
	struct buf record = {0};
	state_encode(&record, next);
	int64_t began_us = clock_mono_us();
	bool ok = types_store(s, err) && failure_settle(s, err) &&
	          s->backend->ops->small_put(s->backend, SMALL_META, META_STATE, buf_slice(&record), err) &&
	          s->backend->ops->write_commit(s->backend, &s->news.buckets, err);
	buf_free(&record);
	if (!ok)
		return writer_fail(s);
	histogram_observe(s->meter.flush, (double)(clock_mono_us() - began_us) / 1e6);
	s->open = s->dirty = false;
	s->state = s->committed = *next;
	s->types_committed = next->type_count;
	definitions_committed(s);
	failure_settled(s);
	turn_give(&s->turn);
	return true;
}

/* A transaction that was opened for reading only must not stay open: it belongs to this thread. */
static void end_peek(struct storage *s)
{
	if (s->open && !s->dirty) {
		s->backend->ops->write_abort(s->backend);
		s->open = false;
		turn_give(&s->turn);
	}
}

void storage_pause(struct storage *s)
{
	end_peek(s);
}

bool storage_flush(struct storage *s, struct error *err)
{
	if (s->shared)
		return s->shared->flush(s, err);
	if (s->failed)
		return writer_peek(s, err);
	end_peek(s);
	if (!s->dirty)
		return true;
	struct store_state next = s->state;
	if (position_cmp(s->transaction_end, next.applied) > 0) {
		next.partial_until = s->transaction_end;
		next.partial_mixed = s->transaction_mixed;
	}
	if (!write_out(s, &next, err))
		return false;
	checkpoint_publish(s);
	return true;
}

void storage_in_transaction(struct storage *s, struct position end)
{
	if (s->shared)
		s->shared->in_transaction(s, end);
	/* Earlier transactions that no boundary has would be in the same flush. Coming again after a crash they may have nothing to write. */
	bool again = position_cmp(end, s->state.partial_until) == 0;
	s->transaction_mixed = again ? s->state.partial_mixed : s->dirty || s->state.op_seq > s->state.boundary_op;
	s->transaction_end = end;
}

bool storage_sync_position(struct storage *s, struct error *err)
{
	if (s->shared)
		return s->shared->sync_position(s, err);
	if (!s->failed && !custom_upkeep(s, err))
		return false;
	if (s->dirty)
		return storage_flush(s, err);
	end_peek(s);
	if (!s->failed && position_cmp(s->state.applied, s->committed.applied) == 0 &&
	    position_cmp(s->state.checkpoint_position, s->committed.checkpoint_position) == 0)
		return true;
	return writer_begin(s, err) && storage_flush(s, err);
}

/* ---- commits ---- */

/* Sets the served checkpoint and tells the subscriber. before: what was served until now. */
static void announce(struct storage *s, struct checkpoint before, bool activated)
{
	struct pending_news *n = &s->news;
	checkpoint_publish(s);
	checkpoint_sample(s);
	pthread_mutex_lock(&s->lock);
	bool subscribed = s->callback != NULL;
	struct storage_news news = {.checkpoint = s->checkpoint};
	pthread_mutex_unlock(&s->lock);
	if (subscribed) {
		struct arena arena = {0};
		struct requests_txn *txn = NULL;
		struct error err;
		struct position after = before.valid ? before.position : (struct position){0, 0};
		if (!requests_passed(s, after, news.checkpoint.position, &news.users, &news.user_count, &txn, &arena, &err)) {
			log_error(s->log, "Cannot find out whose checkpoint requests were passed: %s", err.message);
			n->everything = true;
		}
		news_fill(n, activated, &news, &arena);
		storage_tell(s, &news);
		if (txn)
			s->backend->ops->requests_abort(txn);
		arena_free(&arena);
	}
	checkpoint_note_announced(s);
	news_clear(n);
}

static bool commit_once(struct storage *s, struct position applied, bool visible, bool *durable, bool *boundary,
                        struct error *err)
{
	*durable = *boundary = false;
	if (s->failed)
		return writer_peek(s, err);
	if (!custom_upkeep(s, err))
		return false;
	end_peek(s);
	/* The first position of another source behind the address. Before anything of it is shown, old heads must be forgotten. */
	if (applied.era > s->state.applied.era && !requests_new_era(s, applied.era, err))
		return false;
	struct store_state next = s->state;
	if (position_cmp(applied, next.applied) > 0)
		next.applied = applied;
	/* Half of a transaction is in the store, from before a crash or an error: it is shown only together with the other half. Until the
	 * source has sent that, a checkpoint ends at the last boundary, and whatever else is written waits; if that half is not alone there is
	 * no checkpoint at all. */
	bool cut = position_cmp(applied, next.partial_until) < 0;
	uint64_t shown_op = cut ? next.boundary_op : next.op_seq;
	if (!cut) {
		next.partial_until = (struct position){0, 0};
		next.partial_mixed = false;
		next.boundary_op = next.op_seq;
	}
	/* What was written before the end of the half, and is hidden with it. */
	next.partial_mixed |= cut && s->dirty;
	bool make = visible && !(cut && next.partial_mixed) && (next.active_plan || s->activating) &&
	            position_cmp(applied, next.checkpoint_position) >= 0;
	bool activating = make && s->activating;
	/* Nothing but the position moved: clients learn of it only if it acknowledges something, and then it must be on disk first, or a
	 * crash would take the acknowledgement back. */
	bool shows = activating || !s->state.has_checkpoint || applied.era > next.checkpoint_position.era ||
	             shown_op > s->state.checkpoint_op || s->dirty;
	make = make && (shows || storage_position_acknowledges(s, applied));
	if (make) {
		next.has_checkpoint = true;
		next.checkpoint_op = shown_op > next.checkpoint_op ? shown_op : next.checkpoint_op;
		next.checkpoint_position = applied;
	}
	if (s->dirty || make) {
		if (!writer_begin(s, err) || (activating && !definitions_activate(s, &next, err)))
			return writer_fail(s);
		if (!write_out(s, &next, err))
			return false;
	} else {
		s->state = next;
	}
	s->transaction_end = (struct position){0, 0};
	*durable = position_cmp(s->state.applied, s->committed.applied) <= 0;
	news_bound(&s->news);
	struct checkpoint before = storage_checkpoint(s);
	if (activating)
		definitions_activated(s);
	if (make)
		announce(s, before, activating);
	else
		checkpoint_publish(s);
	*boundary = visible && !cut && next.active_plan;
	return true;
}

bool storage_wants_commit(struct storage *s)
{
	return atomic_load(&s->defrag.due);
}

/* What compaction asked for is written after the source's own, as a checkpoint of its own at the same position. */
bool storage_commit(struct storage *s, struct position applied, bool visible, bool *durable, struct error *err)
{
	if (s->shared)
		return s->shared->commit(s, applied, visible, durable, err);
	bool boundary;
	if (!commit_once(s, applied, visible, durable, &boundary, err))
		return false;
	if (!boundary || !atomic_load(&s->defrag.due))
		return true;
	return defrag_step(s, err) && commit_once(s, applied, visible, durable, &boundary, err);
}
