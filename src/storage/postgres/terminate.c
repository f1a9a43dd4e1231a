/* terminate.c: what is left of replaced streams goes, step by step (storage-semantics 1, storage-postgres 7 "clear"). */
#include <stdio.h>
#include <stdlib.h>

#include "storage/postgres/holder.h"
#include "storage/postgres/writer.h"

#define CLEAR_STEP 5000

bool pg_stopped_stream(struct storage *s, int32_t *id, char slot[64], struct error *err)
{
	struct pg_writer *w = pg_writer_of(s);
	char lock_id[37], who[PG_HOLDER_WHO];
	struct pg_conn *conn = pg_writer_ready(w, err) ? pg_writer_conn(w, err) : NULL;
	*id = 0;
	PGresult *r = conn ? pg_query(conn, "SELECT id, slot_name FROM sync_rules WHERE state = 'STOP' ORDER BY id LIMIT 1", 0,
	                              NULL, PG_TIMEOUT_MS, err)
	                   : NULL;
	if (!r)
		return false;
	int32_t found = PQntuples(r) ? (int32_t)strtol(PQgetvalue(r, 0, 0), NULL, 10) : 0;
	snprintf(slot, 64, "%s", found ? PQgetvalue(r, 0, 1) : "");
	PQclear(r);
	if (!found)
		return true;
	if (!pg_holder_take(w->holder, found, slot, lock_id, who, err))
		return false;
	*id = *lock_id ? found : 0; /* else somebody else removes it */
	return true;
}

static bool delete_some(struct pg_conn *conn, const char *table, const char *column, int32_t id, bool *more, struct error *err)
{
	char sql[256];
	snprintf(sql, sizeof(sql), "DELETE FROM %s WHERE ctid = ANY (ARRAY (SELECT ctid FROM %s WHERE %s = %d LIMIT %d))", table,
	         table, column, id, CLEAR_STEP);
	PGresult *r = pg_query(conn, sql, 0, NULL, PG_TIMEOUT_MS, err);
	if (r)
		*more |= strtol(PQcmdTuples(r), NULL, 10) == CLEAR_STEP;
	PQclear(r);
	return r != NULL;
}

/* The record is reset first: nothing of it is served or gone on with, wherever this is cut. */
bool pg_remove_step(struct storage *s, int32_t id, bool *done, struct error *err)
{
	static const char *const tables[][2] = {
	        {"bucket_data", "group_id"},        {"bucket_parameters", "group_id"}, {"current_data", "group_id"},
	        {"v3_current_data", "group_id"},    {"source_tables", "group_id"},     {"syncline_incomplete_rows", "group_id"},
	        {"syncline_compacted", "group_id"}, {"syncline_tables", "stream_id"},  {"syncline_streams", "stream_id"},
	};
	struct pg_writer *w = pg_writer_of(s);
	char sql[256];
	bool more = false;
	struct pg_conn *conn = pg_writer_ready(w, err) ? pg_writer_conn(w, err) : NULL;
	snprintf(sql, sizeof(sql),
	         "UPDATE sync_rules SET snapshot_done = false, last_checkpoint = NULL, last_checkpoint_lsn = NULL,"
	         " no_checkpoint_before = NULL WHERE id = %d AND (snapshot_done OR last_checkpoint_lsn IS NOT NULL)",
	         id);
	if (!conn || !pg_command(conn, sql, err))
		return false;
	PGresult *r = pg_query(conn, "SELECT to_regclass('powersync.v3_current_data') IS NOT NULL", 0, NULL, PG_TIMEOUT_MS, err);
	if (!r)
		return false;
	bool version_3 = *PQgetvalue(r, 0, 0) == 't';
	PQclear(r);
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		if ((i != 3 || version_3) && !delete_some(conn, tables[i][0], tables[i][1], id, &more, err))
			return false;
	*done = !more;
	if (more)
		return true;
	snprintf(sql, sizeof(sql), "UPDATE sync_rules SET state = 'TERMINATED' WHERE id = %d AND state = 'STOP'", id);
	if (!pg_command(conn, sql, err))
		return false;
	pg_holder_give(w->holder, id);
	return true;
}
