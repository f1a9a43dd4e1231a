/* attempt.c: one attempt at replication: from checks and slot to the loop over the stream, until an error or a stop. */
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <sys/random.h>

#include "base/clock.h"
#include "replicate/engine.h"

/* Commits: at once when the stream is idle, else by size or age (notes of the storage on pages dirtied per commit). */
#define LARGE_BATCH (8u * 1024 * 1024)
#define BULK_BATCH (32u * 1024 * 1024)
#define BUSY_WINDOW_US 100000
#define BULK_WINDOW_US 500000
#define SHORTEST_GAP_US 3000
#define STATUS_INTERVAL_MS 1000
#define POSITION_INTERVAL_MS 10000
#define IDLE_POLL_MS 250
#define DISCOVERY_REST 9 /* times as long as a look at the catalogue took there is none */
#define TRIM_ABOVE (16u * 1024 * 1024)

struct position attempt_position(const struct attempt *a)
{
	return (struct position){a->era, a->at};
}

/* ---- commits and confirmation ---- */

static void committed(struct attempt *a, bool shown)
{
	a->announced = a->at;
	a->dirty = a->commit_wanted = a->bulk = false;
	if (shown) {
		a->shown = a->at;
		a->oldest_change_ms = 0;
		a->checkpoint_at_ms = clock_wall_ms();
	}
	a->last_commit_us = clock_mono_us();
}

bool attempt_commit(struct attempt *a, struct error *err)
{
	bool durable;
	if (!a->dirty && !a->commit_wanted && a->at <= a->announced && !storage_wants_commit(a->storage))
		return true;
	bool shown = !tables_withhold_checkpoints(a) && !waiting_rows_withhold(a);
	int64_t since_us = a->dirty ? a->dirty_since_us : 0;
	if (!storage_commit(a->storage, attempt_position(a), shown, &durable, err))
		return false;
	if (since_us)
		histogram_observe(a->r->batch_time, (double)(clock_mono_us() - since_us) / 1e6);
	committed(a, shown);
	return true;
}

bool attempt_commit_if_large(struct attempt *a, struct error *err)
{
	if (storage_batch_size(a->storage) < (a->bulk ? BULK_BATCH : LARGE_BATCH))
		return true;
	return attempt_commit(a, err);
}

bool attempt_flush_if_large(struct attempt *a, struct error *err)
{
	if (storage_batch_size(a->storage) < LARGE_BATCH)
		return true;
	return storage_flush(a->storage, err);
}

/* What a burst of work left free inside the heaps. */
static void give_back_memory(void)
{
	if (mallinfo2().fordblks > TRIM_ABOVE)
		malloc_trim(0);
}

/* Confirms what is durable, but never past a transaction that no snapshot has seen, or that may be one (interleaved-snapshot 3). */
static bool confirm(struct attempt *a, struct error *err)
{
	int64_t now = clock_mono_ms();
	if (now >= a->position_due_ms) {
		a->position_due_ms = now + POSITION_INTERVAL_MS;
		give_back_memory();
		if (!a->in_xact && !a->dirty && !storage_sync_position(a->storage, err))
			return false;
	}
	if (now < a->status_due_ms && !a->reply_now)
		return true;
	if (now >= a->status_due_ms)
		tables_publish_status(a);
	a->status_due_ms = now + STATUS_INTERVAL_MS;
	a->reply_now = false;
	struct position durable = storage_durable_position(a->storage);
	uint64_t lsn = durable.lsn < a->delivered ? durable.lsn : a->delivered;
	lsn = durable.era == a->era ? unsettled_confirm_limit(&a->unsettled, lsn) : 0;
	if (lsn > a->confirmed)
		a->confirmed = lsn;
	return a->confirmed == 0 || source_stream_confirm(a->stream, a->confirmed, err);
}

/* ---- the slot ---- */

static void new_slot_name(struct attempt *a, char *out, size_t size)
{
	uint16_t random = 0;
	ssize_t ignored = getrandom(&random, sizeof(random), 0);
	(void)ignored;
	snprintf(out, size, "%s1_%04x", a->r->options.slot_name_prefix, random);
}

/* Waits until an ordinary snapshot sees all that the new slot will not deliver (interleaved-snapshot 3, "new slot"). */
static bool wait_until_covered(struct attempt *a, const struct xid_snapshot *x, struct error *err)
{
	int64_t began = clock_mono_ms();
	bool logged = false;
	while (!atomic_load(&a->r->stopping)) {
		struct xid_snapshot s;
		uint64_t lsn;
		if (!source_head(a->connection, &lsn, &s, &a->arena, err))
			return false;
		if (snapshot_covers(&s, x))
			return true;
		if (!logged && clock_mono_ms() - began > 1000) {
			logged = true;
			log_warn(a->log, "Waiting for transactions whose commit the source still withholds from other sessions, "
			                 "usually for "
			                 "a standby");
		}
		replicator_touch(a->r);
		usleep(10000);
	}
	return error_set(err, "PSYNC_S1103", "Initial replication interrupted");
}

static bool create_slot(struct attempt *a, const char *name, struct error *err)
{
	struct xid_snapshot x;
	uint64_t start;
	bool durable;
	log_info(a->log, "Creating replication slot %s", name);
	if (!source_slot_create(a->r->options.source, name, &start, &x, &a->arena, err) || !wait_until_covered(a, &x, err))
		return false;
	a->at = start;
	a->dirty = true;
	return storage_commit(a->storage, attempt_position(a), false, &durable, err) && storage_sync_position(a->storage, err);
}

/* The store named the slot when the config was deployed; until its start is stored, whatever has the name is made anew. */
static bool make_named_slot(struct attempt *a, const struct source_identity *identity, const char *name, struct error *err)
{
	if (!storage_set_source(a->storage, name, identity->system_id, err) || !create_slot(a, name, err))
		return false;
	a->skip_below = a->delivered = a->announced = a->shown = a->at;
	a->slot_is_new = true;
	return true;
}

/* The name of a slot that is being made is stored with a mark in front: whatever stands there after a crash, it is made anew. */
static bool make_slot(struct attempt *a, const struct source_identity *identity, struct error *err)
{
	char name[64] = {SLOT_UNFINISHED};
	new_slot_name(a, name + 1, sizeof(name) - 1);
	replicator_slot(a->r, name);
	if (!storage_set_source(a->storage, name, identity->system_id, err) || !create_slot(a, name + 1, err) ||
	    !storage_set_source(a->storage, name + 1, identity->system_id, err))
		return false;
	a->skip_below = a->delivered = a->announced = a->shown = a->at;
	a->slot_is_new = true;
	return true;
}

/* What was replicated through the old slot has a gap behind it: everything is compared with the source; the last checkpoint is served
 * until that is done. */
static bool begin_repair(struct attempt *a, const struct source_state *state, bool other_source, struct error *err)
{
	if (other_source)
		log_warn(a->log, "The source is another one, or went back: comparing all tables with it");
	else
		log_warn(a->log, "Replication slot %s is missing or lost: comparing all tables with the source",
		         state->slot_name);
	return generation_begin(a, err);
}

/* A server that was promoted, or restored, may have left the WAL before the place up to which it was replicated: what came after that is
 * lost there, whatever its positions are by now. */
static bool went_back(struct attempt *a, const struct source_state *state, const struct source_identity *identity)
{
	uint64_t left;
	bool found, back = true;
	struct error failed;
	if (identity->insert_lsn < state->applied.lsn)
		return true;
	if (!state->timeline || !identity->timeline || identity->timeline == state->timeline)
		return false;
	if (identity->timeline > state->timeline) {
		if (source_timeline_end(a->r->options.source, identity->timeline, state->timeline, &left, &found, &failed))
			back = !found || left < state->applied.lsn;
		else
			log_warn(a->log, "The history of the source's timeline %u cannot be read: %s", identity->timeline,
			         failed.message);
	}
	log_info(a->log, "The source has gone from timeline %u to %u%s", state->timeline, identity->timeline,
	         back ? ", where changes that were replicated may be missing" : "");
	return back;
}

static bool ensure_slot(struct attempt *a, struct error *err)
{
	struct source_identity identity;
	struct source_state state;
	enum slot_status status = SLOT_MISSING;
	uint64_t confirmed = 0;
	if (!source_identify(a->connection, &identity, err) || !storage_source_state(a->storage, &state, err))
		return false;
	a->era = state.applied.era;
	a->at = a->skip_below = a->announced = a->shown = state.applied.lsn;
	bool fresh = state.applied.lsn == 0, unfinished = state.slot_name[0] == SLOT_UNFINISHED;
	const char *slot = state.slot_name + unfinished;
	/* The reference does not store which source it was; a slot of that name is there only. */
	bool known = !storage_is_shared(a->storage) || state.system_id[0];
	if (!fresh && !known && !storage_set_source(a->storage, slot, identity.system_id, err))
		return false;
	bool other_source =
	        !fresh && known && (strcmp(state.system_id, identity.system_id) != 0 || went_back(a, &state, &identity));
	if (slot[0] && !source_slot_status(a->connection, slot, &status, &confirmed, err))
		return false;
	/* Only what is durable is confirmed; a slot beyond that means that an older copy of the store was put back. */
	bool gap = status == SLOT_VALID && !fresh && confirmed > state.applied.lsn;
	if (gap)
		log_warn(a->log, "Replication slot %s is ahead of the store, which must have been restored from a backup", slot);
	a->delivered = a->confirmed = confirmed;
	if (status == SLOT_VALID && !fresh && !unfinished && !other_source && !gap && !a->r->slot_unusable)
		return storage_set_timeline(a->storage, identity.timeline, err);
	if (status != SLOT_MISSING && !source_slot_drop(a->connection, slot, err))
		return false;
	if (storage_is_shared(a->storage)) {
		a->r->slot_unusable = false;
		a->confirmed = 0;
		if (fresh)
			return storage_set_timeline(a->storage, identity.timeline, err) &&
			       make_named_slot(a, &identity, state.slot_name, err);
		return storage_restart_replication(a->storage, err) &&
		       error_set(err, "PSYNC_S1146",
		                 "Replication slot %s is missing or lost, or the source is another one: the sync "
		                 "config is processed again",
		                 slot);
	}
	/* An unfinished slot's repair was stored with its name. */
	if (!fresh && !unfinished && !begin_repair(a, &state, other_source, err))
		return false;
	a->era += !fresh && (other_source || unfinished);
	a->r->slot_unusable = false;
	a->confirmed = 0;
	return storage_set_timeline(a->storage, identity.timeline, err) && make_slot(a, &identity, err);
}

/* ---- the loop ---- */

static void update_status(struct attempt *a)
{
	struct replicator *r = a->r;
	pthread_mutex_lock(&r->status_lock);
	r->status.connected = true;
	r->status.position = a->at;
	r->status.lag_bytes = a->head_lsn > a->shown ? a->head_lsn - a->shown : 0;
	r->oldest_change_ms = a->oldest_change_ms;
	/* Past the place where it failed, or well for long enough there. */
	if (a->announced > r->failed_at || clock_mono_ms() - a->opened_ms > GOOD_ATTEMPT_MS)
		r->status.failures = 0;
	r->status.caught_up = r->status.caught_up || a->last_commit_us || a->at >= a->head_lsn;
	r->status.touched_at_ms = clock_wall_ms();
	lag_note(&r->lag, clock_mono_ms(), replicator_lag(r));
	pthread_mutex_unlock(&r->status_lock);
}

/* When what was gathered is to be committed though it is not much, with nothing more to come at once. */
static int64_t commit_due_us(const struct attempt *a)
{
	if (!a->dirty && !a->commit_wanted)
		return a->last_commit_us;
	if (a->bulk && !storage_position_acknowledges(a->storage, attempt_position(a)))
		return a->dirty_since_us + BULK_WINDOW_US;
	return a->last_commit_us + SHORTEST_GAP_US;
}

static int wait_time(const struct attempt *a)
{
	int64_t now = clock_mono_ms(), wait = IDLE_POLL_MS;
	bool replayed = attempt_replayed(a), room = schedule_room(a);
	for (const struct table_state *t = a->tables; replayed && t; t = t->next)
		if (schedule_wants(t, room) && t->retry_at_ms - now < wait)
			wait = t->retry_at_ms - now;
	for (const struct table_state *t = a->tables; replayed && t; t = t->next)
		if (t->phase == TABLE_SWEEPING || keyless_ended(t))
			wait = 0;
	if (a->dirty || a->commit_wanted) {
		int64_t due = (commit_due_us(a) - clock_mono_us() + 999) / 1000;
		if (due < wait)
			wait = due;
	}
	return wait < 0 ? 0 : (int)wait;
}

static void wait_for_something(struct attempt *a)
{
	struct pollfd fds[3] = {
	        {.fd = source_stream_fd(a->stream), .events = POLLIN},
	        {.fd = reader_pool_fd(a->readers), .events = POLLIN},
	        {.fd = a->r->wake_fd, .events = POLLIN},
	};
	/* A deploy waits for the end of the transaction; its wake-up stays until it is taken. */
	if (a->in_xact && atomic_load(&a->r->deploy_wanted))
		fds[2].fd = -1;
	poll(fds, 3, wait_time(a));
}

/* Now and then, at a boundary. */
static bool discovery_round(struct attempt *a, struct error *err)
{
	int64_t now = clock_mono_ms();
	if (now < a->discovery_due_ms)
		return true;
	if (storage_plans_expire(a->storage)) {
		bool expired;
		/* The stream is opened anew, with fewer tables to follow. */
		a->restart_wanted = true;
		return attempt_commit(a, err) && storage_expire_plans(a->storage, &expired, err);
	}
	if (!tables_look_again(a, err))
		return false;
	/* The stream waits meanwhile: of a catalogue that is slow to answer it must not wait most of the time. */
	int64_t took = clock_mono_ms() - now, interval = (int64_t)(a->r->options.discovery_interval_s * 1000);
	a->discovery_due_ms = now + took + (interval > DISCOVERY_REST * took ? interval : DISCOVERY_REST * took);
	return true;
}

/* Nothing more is buffered: chunks first, then what was gathered becomes a checkpoint. Small commits keep a short distance, so that a
 * burst of transactions becomes one checkpoint. */
static bool idle(struct attempt *a, struct error *err)
{
	bool applied = false;
	if (!a->in_xact) {
		if (!generation_drop_absent(a, err) || !chunks_work(a, &applied, err))
			return false;
		waiting_rows_look(a);
		if (clock_mono_us() >= commit_due_us(a) && !attempt_commit(a, err))
			return false;
		if (!discovery_round(a, err) || !removal_step(a, err))
			return false;
	}
	arena_reset(&a->arena);
	reader_pool_stream_at(a->readers, a->at, a->unsettled.count > 0);
	update_status(a);
	if (!confirm(a, err))
		return false;
	if (!source_stream_pending(a->stream)) {
		storage_pause(a->storage); /* what was read meanwhile must not hold up maintenance */
		wait_for_something(a);
	}
	return true;
}

/* At a boundary while more is coming. */
static bool busy_boundary(struct attempt *a, struct error *err)
{
	bool applied;
	reader_pool_stream_at(a->readers, a->at, true);
	if (!generation_drop_absent(a, err))
		return false;
	bool noted = a->rows_noted && attempt_replayed(a);
	a->rows_noted &= !noted;
	if ((a->results || noted || reader_pool_has_results(a->readers)) && !chunks_work(a, &applied, err))
		return false;
	int64_t now = clock_mono_us();
	/* Chunks bring transactions of their own: markers, so that the stream moves past them. */
	bool due = a->dirty && now - a->dirty_since_us > (a->bulk ? BULK_WINDOW_US : BUSY_WINDOW_US);
	/* A request that waits for a place in this backlog is acknowledged there, not at the backlog's end. */
	due = due ||
	      (now - a->last_commit_us >= SHORTEST_GAP_US && storage_position_acknowledges(a->storage, attempt_position(a)));
	if (!(due ? attempt_commit(a, err) : attempt_commit_if_large(a, err)))
		return false;
	update_status(a);
	return discovery_round(a, err) && removal_step(a, err) && confirm(a, err);
}

/* A new attempt sees other tables, or evaluates other plans: the stream tells it the columns of each relation anew. */
static bool must_restart(const struct attempt *a)
{
	return !a->in_xact && (a->restart_wanted || storage_streams_changed(a->storage) ||
	                       atomic_load_explicit(&a->r->deploy_wanted, memory_order_relaxed));
}

static bool stream_loop(struct attempt *a, struct error *err)
{
	struct stream_event e;
	uint64_t changes = 0; /* since the last commit */
	a->discovery_due_ms = clock_mono_ms() + (int64_t)(a->r->options.discovery_interval_s * 1000);
	while (!atomic_load(&a->r->stopping) && !must_restart(a)) {
		if (!source_stream_next(a->stream, 0, &e, err))
			return false;
		if (e.kind == STREAM_NOTHING) {
			if (!idle(a, err))
				return false;
			continue;
		}
		if (!change_apply(a, &e, err))
			return false;
		arena_reset(&a->arena);
		changes += e.kind == STREAM_INSERT || e.kind == STREAM_UPDATE || e.kind == STREAM_DELETE;
		if (a->reply_now && !confirm(a, err))
			return false;
		if (e.kind != STREAM_COMMIT)
			continue;
		pthread_mutex_lock(&a->r->status_lock);
		a->r->status.transactions++;
		a->r->status.changes += changes;
		pthread_mutex_unlock(&a->r->status_lock);
		changes = 0;
		if (!busy_boundary(a, err))
			return false;
	}
	/* What the next attempt need not be sent again: old descriptions of relations come with it. */
	a->status_due_ms = 0;
	return a->in_xact || (attempt_commit(a, err) && storage_sync_position(a->storage, err) && confirm(a, err));
}

/* ---- the attempt ---- */

static bool prepare(struct attempt *a, struct error *err)
{
	a->connection = source_connect(a->r->options.source, err);
	if (!a->connection || !source_check(a->connection, err) || !ensure_slot(a, err) || !tables_discover(a, err) ||
	    !definitions_check(a, err))
		return false;
	tables_publish_status(a); /* opening the stream may take long */
	struct source_state state;
	if (!storage_source_state(a->storage, &state, err))
		return false;
	a->stream = source_stream_open(a->r->options.source, state.slot_name, err);
	if (!a->stream)
		return false;
	a->r->stream_opened = true;
	replicator_slot(a->r, state.slot_name);
	a->opened_ms = clock_mono_ms();
	struct reader_options readers = {
	        .source = a->r->options.source,
	        .log = a->log,
	        .readers = a->r->options.snapshot_readers,
	        .chunk_rows = a->r->options.chunk_rows,
	        .chunk_bytes = a->r->options.chunk_bytes,
	        .heartbeat_interval_s = a->r->options.heartbeat_interval_s,
	        .look = slot_look,
	        .look_ctx = a->r,
	};
	a->readers = reader_pool_start(&readers, err);
	return a->readers != NULL;
}

static void attempt_end(struct attempt *a)
{
	for (struct read_result *res = a->results, *next; res; res = next) {
		next = res->next;
		reader_pool_done(a->readers, res);
	}
	for (struct table_state *t = a->tables; t; t = t->next)
		table_cancel_jobs(t);
	if (a->readers)
		reader_pool_stop(a->readers);
	if (a->stream)
		source_stream_close(a->stream);
	if (a->connection)
		source_disconnect(a->connection);
	if (a->announced) /* else it did not get as far as to know */
		a->r->attempt_position = a->announced;
	if (a->restart_wanted)
		a->r->restarted_at_ms = clock_mono_ms();
	tables_free(a);
	unsettled_free(&a->unsettled);
	arena_free(&a->arena);
	storage_rollback(a->storage);
	give_back_memory();
}

bool attempt_run(struct replicator *r, struct error *err)
{
	r->stream_opened = false;
	struct attempt a = {.r = r, .storage = r->options.storage, .log = r->options.log};
	bool ok = prepare(&a, err);
	if (ok) {
		log_info(a.log, "Streaming from the source");
		ok = stream_loop(&a, err);
	}
	attempt_end(&a);
	return ok;
}
