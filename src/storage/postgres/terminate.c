/*
 * terminate.c: what is left of replaced streams goes, step by step (storage-semantics 1, storage-postgres 7 "clear").
 *
 * The replication thread takes such a stream's lock and drops its slot; the maintenance thread removes its data on a connection of the pool, in
 * short transactions of which each checks the lock as the writer's do. So a source that is never idle is no reason to keep it, and nothing is kept
 * waiting. Wherever this is cut, whoever replicates next finds the stream stopped, and goes on.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "storage/postgres/compact_buckets.h"
#include "storage/postgres/holder.h"
#include "storage/postgres/writer.h"

#define CLEAR_STEP 5000

/* ---- the replication thread ---------------------------------------------------------------------------------------------------------- */

static struct pg_leaving leaving(struct pg_store *store)
{
	pthread_mutex_lock(&store->lock);
	struct pg_leaving l = store->leaving;
	pthread_mutex_unlock(&store->lock);
	return l;
}

/* The first stopped stream whose lock is to be had; somebody else removes the others. */
static bool choose(struct pg_writer *w, const PGresult *r, char slot[64], struct error *err)
{
	char who[PG_HOLDER_WHO];
	w->stopped = (struct pg_leaving){0};
	for (int row = 0; row < PQntuples(r) && !w->stopped.id; row++) {
		int32_t found = (int32_t)strtol(PQgetvalue(r, row, 0), NULL, 10);
		snprintf(slot, 64, "%s", PQgetvalue(r, row, 1));
		if (!pg_holder_take(w->holder, found, slot, w->stopped.lock_id, who, err))
			return false;
		w->stopped.id = *w->stopped.lock_id ? found : 0;
	}
	return true;
}

/* Locks of streams of which nothing is left. */
static bool give_terminated(struct pg_writer *w, struct pg_conn *conn, struct error *err)
{
	PGresult *r = pg_query(
	        conn,
	        "SELECT r.id FROM sync_rules AS r JOIN locks AS l ON l.name = 'sync_rules_' || r.id || '_' || r.slot_name"
	        " WHERE r.state = 'TERMINATED'",
	        0, NULL, PG_TIMEOUT_MS, err);
	for (int row = 0; r && row < PQntuples(r); row++)
		pg_holder_give(w->holder, (int32_t)strtol(PQgetvalue(r, row, 0), NULL, 10));
	return pg_done(r);
}

bool pg_stopped_stream(struct storage *s, int32_t *id, char slot[64], struct error *err)
{
	struct pg_writer *w = pg_writer_of(s);
	*id = 0;
	if (leaving(w->store).id)
		return true;
	struct pg_conn *conn = pg_writer_ready(w, err) ? pg_writer_conn(w, err) : NULL;
	if (!conn || !give_terminated(w, conn, err))
		return false;
	PGresult *r = pg_query(conn, "SELECT id, slot_name FROM sync_rules WHERE state = 'STOP' ORDER BY id", 0, NULL,
	                       PG_TIMEOUT_MS, err);
	bool ok = r && choose(w, r, slot, err);
	PQclear(r);
	*id = ok ? w->stopped.id : 0;
	return ok;
}

void pg_remove_stream(struct storage *s, int32_t id)
{
	struct pg_writer *w = pg_writer_of(s);
	pthread_mutex_lock(&w->store->lock);
	if (w->stopped.id == id)
		w->store->leaving = w->stopped;
	pthread_mutex_unlock(&w->store->lock);
}

void pg_remove_nothing(struct pg_writer *w)
{
	pthread_mutex_lock(&w->store->lock);
	w->store->leaving = (struct pg_leaving){0};
	pthread_mutex_unlock(&w->store->lock);
}

/* ---- the maintenance thread ---------------------------------------------------------------------------------------------------------- */

/* One statement in a transaction that shares the lock's row; *ours false: it is somebody else's by now, or the stream is not stopped any more. */
static bool fenced_on(struct pg_conn *conn, const struct pg_leaving *l, const char *statement, bool *ours, long *rows,
                      struct error *err)
{
	char sql[400];
	snprintf(sql, sizeof(sql),
	         "BEGIN; SELECT 1 FROM sync_rules AS r JOIN locks AS l ON l.name = 'sync_rules_' || r.id || '_' || r.slot_name"
	         " WHERE r.id = %d AND r.state = 'STOP' AND l.lock_id = '%s'::uuid FOR SHARE OF l",
	         l->id, l->lock_id);
	*ours = false;
	PGresult *r = pg_query(conn, sql, 0, NULL, PG_TIMEOUT_MS, err);
	if (r)
		*ours = PQntuples(r) == 1;
	bool ok = r != NULL;
	PQclear(r);
	if (ok && *ours) {
		r = pg_query(conn, statement, 0, NULL, PG_TIMEOUT_MS, err);
		ok = r != NULL;
		*rows = r ? strtol(PQcmdTuples(r), NULL, 10) : 0;
		PQclear(r);
	}
	ok = ok && pg_command(conn, "COMMIT", err);
	if (!ok && !conn->broken)
		pg_command(conn, "ROLLBACK", NULL);
	return ok;
}

static bool fenced(struct pg_compaction *c, const struct pg_leaving *l, const char *statement, bool *ours, long *rows,
                   struct error *err)
{
	struct pg_conn *conn = pg_pool_take(c->store->pool, err);
	bool ok = conn && fenced_on(conn, l, statement, ours, rows, err);
	pg_pool_give(c->store->pool, conn);
	return ok;
}

static bool has_version_3(struct pg_compaction *c, bool *is, struct error *err)
{
	PGresult *r = pg_pool_texts(c->store->pool, "SELECT to_regclass('powersync.v3_current_data') IS NOT NULL", 0, NULL, err);
	*is = r && *PQgetvalue(r, 0, 0) == 't';
	return pg_done(r);
}

/* Until a step finds none: what a compaction that was under way leaves of a bucket goes as well. */
static bool clear_table(struct pg_compaction *c, const struct pg_leaving *l, const char *table, const char *column, bool *ours,
                        struct error *err)
{
	char sql[256];
	long rows = CLEAR_STEP;
	snprintf(sql, sizeof(sql), "DELETE FROM %s WHERE ctid = ANY (ARRAY (SELECT ctid FROM %s WHERE %s = %d LIMIT %d))", table,
	         table, column, l->id, CLEAR_STEP);
	while (*ours && rows && pg_compact_go_on(c)) {
		int64_t since = clock_mono_us();
		if (!fenced(c, l, sql, ours, &rows, err))
			return false;
		c->report->dropped += *ours ? (uint64_t)rows : 0;
		if (rows == CLEAR_STEP)
			pg_compact_rest(c, since);
	}
	return true;
}

/* The record is reset first: nothing of it is served or gone on with, wherever this is cut. */
static bool clear_stream(struct pg_compaction *c, const struct pg_leaving *l, bool *ours, struct error *err)
{
	static const char *const tables[][2] = {
	        {"bucket_data", "group_id"},      {"bucket_parameters", "group_id"},  {"current_data", "group_id"},
	        {"source_tables", "group_id"},    {"syncline_compacted", "group_id"}, {"syncline_incomplete_rows", "group_id"},
	        {"syncline_tables", "stream_id"}, {"syncline_streams", "stream_id"},
	};
	char sql[256];
	long rows;
	bool version_3;
	snprintf(sql, sizeof(sql),
	         "UPDATE sync_rules SET snapshot_done = false, last_checkpoint = NULL, last_checkpoint_lsn = NULL,"
	         " no_checkpoint_before = NULL WHERE id = %d",
	         l->id);
	if (!has_version_3(c, &version_3, err) || !fenced(c, l, sql, ours, &rows, err) ||
	    (version_3 && !clear_table(c, l, "v3_current_data", "group_id", ours, err)))
		return false;
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		if (!clear_table(c, l, tables[i][0], tables[i][1], ours, err))
			return false;
	snprintf(sql, sizeof(sql), "UPDATE sync_rules SET state = 'TERMINATED' WHERE id = %d", l->id);
	return !*ours || !pg_compact_go_on(c) || fenced(c, l, sql, ours, &rows, err);
}

static void left(struct pg_store *store, const struct pg_leaving *l)
{
	pthread_mutex_lock(&store->lock);
	if (strcmp(store->leaving.lock_id, l->lock_id) == 0)
		store->leaving = (struct pg_leaving){0};
	pthread_mutex_unlock(&store->lock);
}

bool pg_remove_stopped(struct pg_compaction *c, struct error *err)
{
	struct pg_leaving l = leaving(c->store);
	bool ours = true;
	if (!l.id)
		return true;
	bool ok = clear_stream(c, &l, &ours, err);
	if (!ok || (ours && !pg_compact_go_on(c)))
		return ok;
	if (ours)
		log_info(c->s->log, "Terminated replication stream %d", l.id);
	left(c->store, &l);
	return true;
}
