/* role.c: taking the writer's role: locks, the streams that are written, and what is known of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/postgres/holder.h"
#include "storage/postgres/rows.h"
#include "storage/postgres/writer.h"

/* *got false: somebody else has it. */
static bool add_target(struct pg_writer *w, struct pg_stream *stream, bool *got, char *who, size_t who_size, struct error *err)
{
	struct pg_target *t = &w->targets[w->target_count];
	char holder[PG_HOLDER_WHO];
	*t = (struct pg_target){.stream = stream};
	if (!pg_holder_take(w->holder, stream->id, stream->slot_name, t->lock_id, holder, err))
		return false;
	*got = *t->lock_id != '\0';
	if (!*got) {
		snprintf(who, who_size, "%s", holder);
		return true;
	}
	w->target_count++;
	return true;
}

/* Locks of streams that are not written any more: whoever removes them takes them. */
static void give_others(struct pg_writer *w)
{
	pthread_mutex_lock(&w->store->lock);
	size_t count = w->store->stream_count;
	pthread_mutex_unlock(&w->store->lock);
	for (size_t i = 0; i < count; i++) {
		pthread_mutex_lock(&w->store->lock);
		int32_t id = w->store->streams[i]->id;
		pthread_mutex_unlock(&w->store->lock);
		bool written = false;
		for (size_t k = 0; k < w->target_count; k++)
			written |= w->targets[k].stream->id == id;
		if (!written)
			pg_holder_give(w->holder, id);
	}
}

static bool usable(const struct pg_stream *p)
{
	return p && p->stored;
}

static bool choose_targets(struct pg_writer *w, bool *held, char *who, size_t who_size, struct error *err)
{
	struct pg_stream *active = pg_store_active(w->store), *pending = pg_store_pending(w->store);
	bool got;
	*held = false;
	w->target_count = 0;
	w->has_active = false;
	if (w->only_stream) {
		struct pg_stream *only = pg_store_stream(w->store, w->only_stream);
		w->has_active = only == active;
		return add_target(w, only, held, who, who_size, err);
	}
	if (usable(active) && active->state == PG_STREAM_ACTIVE) {
		if (!add_target(w, active, &got, who, who_size, err))
			return false;
		if (!got)
			return true;
		w->has_active = true;
	}
	if (usable(pending) && !add_target(w, pending, &got, who, who_size, err))
		return false;
	*held = w->target_count > 0;
	if (!*held && !*who)
		snprintf(who, who_size, "there is no stream that can be replicated");
	return true;
}

/* A transaction whose COMMIT got no answer, of this process or of the one that held the role, may be under way still: it has the records of its
 * streams, so whoever wants them waits for it. What was read before is read again; *again: a stream is not any more what it was chosen for. */
static bool settle(struct pg_writer *w, bool *again, struct error *err)
{
	char sql[128];
	struct pg_conn *conn = pg_writer_conn(w, err);
	snprintf(sql, sizeof(sql), "SELECT 1 FROM sync_rules WHERE id IN (%d, %d) ORDER BY id FOR NO KEY UPDATE",
	         w->targets[0].stream->id, w->targets[w->target_count - 1].stream->id);
	if (!conn || !pg_command(conn, sql, err) || !pg_store_load(w->store, conn, err))
		return false;
	const struct pg_stream *active = pg_store_active(w->store), *pending = pg_store_pending(w->store);
	for (size_t i = 0; i < w->target_count && !*again; i++) {
		struct pg_target *t = &w->targets[i];
		if (!pg_target_load(w, t, err))
			return false;
		bool chosen_as_active = i == 0 && w->has_active;
		*again = t->stream != (chosen_as_active ? active : pending) || t->record.active != chosen_as_active;
	}
	return true;
}

/* A deploying stream beside the active one goes on from where both are. If it was filled by somebody else, from a slot of its own, that place is
 * another one: it begins anew. */
static bool fits(const struct pg_writer *w)
{
	return w->target_count < 2 || !w->has_active || (!pg_tables_any(w, 1) && !w->targets[1].record.resume.lsn) ||
	       position_cmp(w->targets[0].beside.applied, w->targets[1].beside.applied) == 0;
}

static bool prepare(struct pg_writer *w, bool *again, struct error *err)
{
	*again = false;
	if (!settle(w, again, err))
		return false;
	if (*again)
		return true;
	if (!pg_tables_load(w, err))
		return false;
	if (!fits(w)) {
		*again = true;
		log_info(w->s->log, "The deploying stream %d was filled from a slot of its own: it is deployed anew",
		         w->targets[1].stream->id);
		return pg_deploy_again(w, w->targets[1].stream, "STOP", err);
	}
	if (w->target_count == 2)
		w->targets[1].beside.applied = w->targets[0].beside.applied;
	/* A table was to be read again, and nothing says which. */
	if (w->has_active && !w->targets[0].record.snapshot_done && !pg_tables_unread(w, 0)) {
		pg_tables_read_again(w, 0);
		w->targets[0].reread = true;
	}
	return true;
}

static bool take(struct pg_writer *w, bool *held, char *who, size_t who_size, struct error *err)
{
	bool again = true;
	for (int i = 0; again && i < 3; i++) {
		struct pg_conn *conn = pg_writer_conn(w, err);
		again = false;
		if (!conn || !pg_holder_look(w->holder, err) || !pg_store_load(w->store, conn, err) ||
		    !choose_targets(w, held, who, who_size, err))
			return false;
		give_others(w);
		if (*held && !prepare(w, &again, err))
			return false;
	}
	return !again || error_set(err, "PSYNC_S1101", "The streams change while the role of the writer is taken");
}

bool pg_take_writer(struct storage *s, bool *held, char *who, size_t who_size, struct error *err)
{
	struct pg_writer *w = pg_writer_of(s);
	*who = '\0';
	pg_rollback(s);
	pg_remove_nothing(w);
	if (!w->holder)
		w->holder = pg_holder_start(&w->store->connection, s->log);
	if (w->fenced)
		pg_holder_give_all(w->holder);
	w->fenced = false;
	if (!take(w, held, who, who_size, err)) {
		w->target_count = 0;
		return false;
	}
	if (!*held) {
		pg_holder_give_all(w->holder);
		w->target_count = 0;
	}
	w->ready = *held;
	for (size_t i = 0; i < w->target_count; i++)
		if (w->targets[i].beside.flushed_op > w->persisted)
			w->persisted = w->targets[i].beside.flushed_op;
	w->applied = *held ? w->targets[0].beside.applied : (struct position){0, 0};
	pg_writer_publish(w);
	return true;
}

void pg_give_writer(struct storage *s)
{
	struct pg_writer *w = pg_writer_of(s);
	pg_rollback(s);
	pg_remove_nothing(w);
	w->ready = false;
	w->target_count = 0;
	pg_holder_stop(w->holder);
	w->holder = NULL;
}

bool pg_streams_changed(struct storage *s)
{
	const struct pg_writer *w = pg_writer_of(s);
	return w->holder && pg_holder_changed(w->holder);
}

bool pg_active_is_written(struct storage *s)
{
	return pg_writer_of(s)->has_active;
}
