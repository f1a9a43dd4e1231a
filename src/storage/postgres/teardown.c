/* teardown.c: the end of a storage database (storage-semantics 1 "Teardown", storage-postgres 7). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "storage/postgres/connection.h"
#include "storage/postgres/holder.h"
#include "storage/postgres/migrations.h"
#include "storage/postgres/side.h"

/* A reader that does not end holds up the DROP no longer than this. */
#define LOCK_TIMEOUT "20s"

struct torn_stream {
	int32_t id;
	char slot_name[64];
	char lock_id[37];
};

struct teardown {
	const struct storage_options *options;
	struct pg_conn *conn;
	struct pg_holder *holder;
	struct torn_stream *streams;
	size_t count;
};

static bool store_exists(struct pg_conn *c, bool *exists, struct error *err)
{
	PGresult *r = pg_query(c, "SELECT to_regclass('powersync.sync_rules') IS NOT NULL", 0, NULL, PG_TIMEOUT_MS, err);
	*exists = r && *PQgetvalue(r, 0, 0) == 't';
	PQclear(r);
	return r != NULL;
}

static bool read_streams(struct teardown *t, struct error *err)
{
	PGresult *r = pg_query(t->conn, "SELECT id, slot_name FROM sync_rules WHERE state <> 'TERMINATED' ORDER BY id", 0, NULL,
	                       PG_TIMEOUT_MS, err);
	if (!r)
		return false;
	t->count = (size_t)PQntuples(r);
	t->streams = xcalloc(t->count + 1, sizeof(*t->streams));
	for (size_t i = 0; i < t->count; i++) {
		t->streams[i].id = (int32_t)strtol(PQgetvalue(r, (int)i, 0), NULL, 10);
		snprintf(t->streams[i].slot_name, sizeof(t->streams[i].slot_name), "%s", PQgetvalue(r, (int)i, 1));
	}
	PQclear(r);
	return true;
}

static bool take_streams(struct teardown *t, struct error *err)
{
	char who[PG_HOLDER_WHO];
	for (size_t i = 0; i < t->count; i++) {
		struct torn_stream *s = &t->streams[i];
		if (!pg_holder_take(t->holder, s->id, s->slot_name, s->lock_id, who, err))
			return false;
		if (!*s->lock_id)
			return error_set(err, "PSYNC_S1003", "Replication stream %d is locked by %s", (int)s->id, who);
	}
	return true;
}

/* In the transaction: nobody has taken a stream over, and none was made since. */
static bool still_ours(struct teardown *t, struct error *err)
{
	for (size_t i = 0; i < t->count; i++) {
		char name[128];
		const struct torn_stream *s = &t->streams[i];
		snprintf(name, sizeof(name), "sync_rules_%d_%s", (int)s->id, s->slot_name);
		PGresult *r = pg_query(t->conn, "SELECT 1 FROM locks WHERE name = $1 AND lock_id = $2::uuid FOR SHARE", 2,
		                       (const char *const[]){name, s->lock_id}, PG_TIMEOUT_MS, err);
		bool ours = r && PQntuples(r) == 1;
		PQclear(r);
		if (!r)
			return false;
		if (!ours)
			return error_set(err, "PSYNC_S1003", "Replication stream %d was taken over by another process",
			                 (int)s->id);
	}
	PGresult *r =
	        pg_query(t->conn, "SELECT id FROM sync_rules WHERE state <> 'TERMINATED' LIMIT 1", 0, NULL, PG_TIMEOUT_MS, err);
	bool none = r && PQntuples(r) == 0;
	if (r && !none)
		error_set(err, "PSYNC_S1003", "Replication stream %s was made by another process meanwhile", PQgetvalue(r, 0, 0));
	PQclear(r);
	return none;
}

/* Their slots are gone: whatever comes between, nobody follows them any more. */
static bool mark_terminated(struct teardown *t, struct error *err)
{
	for (size_t i = 0; i < t->count; i++) {
		char sql[96];
		snprintf(sql, sizeof(sql), "UPDATE sync_rules SET state = 'TERMINATED' WHERE id = %d", (int)t->streams[i].id);
		if (!pg_command(t->conn, sql, err))
			return false;
	}
	return true;
}

static bool drop_tables(struct teardown *t, struct error *err)
{
	static const char drop[] =
	        "DROP TABLE IF EXISTS bucket_data, bucket_parameters, sync_rules, instance, current_data, v3_current_data,"
	        " source_tables, write_checkpoints, custom_write_checkpoints, migrations;"
	        "DROP SEQUENCE IF EXISTS op_id_sequence, sync_rules_id_sequence";
	bool ok = pg_command(t->conn,
	                     "BEGIN; SET LOCAL lock_timeout = '" LOCK_TIMEOUT "'; LOCK TABLE sync_rules IN ACCESS EXCLUSIVE MODE",
	                     err) &&
	          mark_terminated(t, err) && still_ours(t, err) && pg_side_remove(t->conn, err) &&
	          pg_command(t->conn, drop, err) && pg_command(t->conn, "COMMIT", err);
	if (!ok && !t->conn->broken)
		pg_command(t->conn, "ROLLBACK", NULL);
	return ok;
}

static bool end_store(struct teardown *t, storage_slot_drop *drop_slot, void *ctx, struct error *err)
{
	/* First to the form of now: locks are noted in a side table. */
	if (!pg_migrate_up(t->conn, t->options->log, err) || !read_streams(t, err) || !take_streams(t, err))
		return false;
	for (size_t i = 0; i < t->count; i++)
		if (*t->streams[i].slot_name)
			drop_slot(ctx, t->streams[i].slot_name);
	return drop_tables(t, err);
}

bool storage_postgres_teardown(const struct storage_options *options, storage_slot_drop *drop_slot, void *ctx, bool *existed,
                               struct error *err)
{
	struct log quiet = {.level = LOG_ERROR, .json = options->log->json, .fd = options->log->fd}; /* lost locks: still_ours */
	struct teardown t = {.options = options, .conn = pg_open(&options->postgres, err)};
	bool ok = t.conn && store_exists(t.conn, existed, err);
	if (ok && *existed) {
		t.holder = pg_holder_start(&options->postgres, &quiet);
		ok = end_store(&t, drop_slot, ctx, err);
		pg_holder_stop(t.holder);
	}
	pg_close(t.conn);
	free(t.streams);
	return ok;
}
