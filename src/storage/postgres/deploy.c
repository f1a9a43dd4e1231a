/* deploy.c: new streams: deploys, activation, and what comes of a stream that cannot be replicated any more (storage-semantics 1). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "storage/postgres/holder.h"
#include "storage/postgres/rows.h"
#include "storage/postgres/writer.h"

#define DEFAULT_VERSION 2
/* Key of the advisory lock under which one process at a time compares and deploys. */
#define DEPLOY_LOCK "pg_advisory_xact_lock(1937337955, 0)"

/* A deploy that did not get as far as its COMMIT did nothing. */
static bool end(struct pg_conn *conn, bool ok, struct error *err)
{
	ok = ok && pg_command(conn, "COMMIT", err);
	if (!ok && !conn->broken)
		pg_command(conn, "ROLLBACK", NULL);
	return ok;
}

/* Of the YAML, else of the service's configuration. */
static int version_of(const struct pg_writer *w, const struct plan *plan)
{
	int wanted = plan ? plan_options(plan)->storage_version : 0;
	if (!wanted)
		wanted = w->store->connection.default_version;
	return wanted ? wanted : DEFAULT_VERSION;
}

static bool make_version_3(struct pg_conn *conn, struct error *err)
{
	return pg_command(conn,
	                  "CREATE TABLE IF NOT EXISTS v3_current_data ("
	                  "group_id integer NOT NULL, source_table text NOT NULL, source_key bytea NOT NULL,"
	                  " CONSTRAINT unique_v3_current_data_id PRIMARY KEY (group_id, source_table, source_key),"
	                  " buckets jsonb NOT NULL, data bytea NOT NULL, lookups bytea[] NOT NULL, pending_delete bigint);"
	                  "CREATE INDEX IF NOT EXISTS v3_current_data_pending_deletes ON v3_current_data"
	                  " (group_id, pending_delete) WHERE pending_delete IS NOT NULL",
	                  err);
}

/* Within a transaction: what is deploying stops, and the text becomes a stream. */
static bool insert(struct pg_writer *w, struct pg_conn *conn, const struct plan *plan, struct slice content, struct error *err)
{
	char version[16], random[8];
	uint16_t digits = 0;
	struct arena arena = {0};
	int v = version_of(w, plan);
	if (v < 1 || v > 3)
		return error_set(err, "PSYNC_S1005", "Unsupported storage version %d", v);
	ssize_t ignored = getrandom(&digits, sizeof(digits), 0);
	(void)ignored;
	snprintf(version, sizeof(version), "%d", v);
	snprintf(random, sizeof(random), "%04x", digits);
	const char *prefix = w->store->connection.slot_name_prefix;
	bool ok = (v < 3 || make_version_3(conn, err)) &&
	          pg_command(conn, "UPDATE sync_rules SET state = 'STOP' WHERE state = 'PROCESSING'", err) &&
	          pg_done(pg_query(
	                  conn,
	                  "INSERT INTO sync_rules (id, state, content, slot_name, storage_version)"
	                  " SELECT n, 'PROCESSING', $1, $2 || n || '_' || $3, $4::integer"
	                  " FROM nextval('sync_rules_id_sequence') AS n",
	                  4, (const char *const[]){arena_cstr(&arena, content), prefix ? prefix : "powersync_", random, version},
	                  PG_TIMEOUT_MS, err));
	arena_free(&arena);
	return ok;
}

/* The text that a new one is compared with: of the deploying stream, else of the active one. */
static bool is_current(struct pg_conn *conn, struct slice text, bool *same, struct error *err)
{
	PGresult *r = pg_query(conn,
	                       "SELECT content FROM sync_rules WHERE state IN ('PROCESSING', 'ACTIVE', 'ERRORED')"
	                       " ORDER BY state = 'PROCESSING' DESC, id DESC LIMIT 1",
	                       0, NULL, PG_TIMEOUT_MS, err);
	*same = r && PQntuples(r) == 1 && slice_eq(slice_make(PQgetvalue(r, 0, 0), (size_t)PQgetlength(r, 0, 0)), text);
	return pg_done(r);
}

bool pg_deploy(struct storage *s, struct plan *plan, bool *unchanged, struct error *err)
{
	struct pg_writer *w = pg_writer_of(s);
	struct pg_conn *conn = pg_writer_conn(w, err);
	*unchanged = false;
	bool ok = conn && pg_command(conn, "BEGIN; SELECT " DEPLOY_LOCK, err) &&
	          is_current(conn, plan_text(plan), unchanged, err) &&
	          (*unchanged || insert(w, conn, plan, plan_text(plan), err));
	if (!conn || !end(conn, ok, err))
		return false;
	/* The role is taken anew, with the new stream, before anything else is written. */
	if (!*unchanged)
		w->ready = false;
	return pg_store_load(w->store, conn, err);
}

bool pg_activate_pending(struct storage *s, struct error *err)
{
	struct pg_writer *w = pg_writer_of(s);
	if (!pg_writer_ready(w, err))
		return false;
	if (w->target_count == (size_t)w->has_active)
		return error_set(err, "PSYNC_S1101", "there is no pending sync config to activate");
	w->activating = pg_tables_are_read(w, w->has_active, err);
	return w->activating;
}

bool pg_deploy_again(struct pg_writer *w, const struct pg_stream *stream, const char *state, struct error *err)
{
	char sql[128];
	struct pg_conn *conn = pg_writer_conn(w, err);
	snprintf(sql, sizeof(sql), "BEGIN; SELECT " DEPLOY_LOCK "; UPDATE sync_rules SET state = '%s' WHERE id = %d", state,
	         stream->id);
	return conn && end(conn, pg_command(conn, sql, err) && insert(w, conn, stream->plan, stream->content, err), err);
}

bool pg_restart_replication(struct storage *s, struct error *err)
{
	struct pg_writer *w = pg_writer_of(s);
	char sql[96];
	if (!pg_writer_ready(w, err))
		return false;
	/* The deploying one follows the slot of the active one: with that it is lost, too. */
	const struct pg_stream *active = w->has_active ? w->targets[0].stream : NULL;
	const struct pg_stream *newest = w->targets[w->target_count - 1].stream;
	w->ready = false;
	if (!pg_deploy_again(w, newest, newest == active ? "ERRORED" : "STOP", err))
		return false;
	if (!active || newest == active)
		return true;
	snprintf(sql, sizeof(sql), "UPDATE sync_rules SET state = 'ERRORED' WHERE id = %d AND state = 'ACTIVE'", active->id);
	return pg_command(w->conn, sql, err);
}

bool pg_report_failure(struct storage *s, struct slice text, struct error *err)
{
	static const char sql[] = "UPDATE sync_rules AS r SET last_fatal_error = $2 FROM locks AS l WHERE r.id = $1::integer"
	                          " AND l.name = 'sync_rules_' || r.id || '_' || r.slot_name AND l.lock_id = $3::uuid";
	struct pg_writer *w = pg_writer_of(s);
	struct arena arena = {0};
	char id[16];
	/* The record is that of whoever has the lock. */
	struct pg_conn *conn = w->target_count ? pg_writer_conn(w, err) : NULL;
	if (!conn)
		return !w->target_count;
	snprintf(id, sizeof(id), "%d", w->targets[0].stream->id);
	bool ok = pg_done(pg_query(conn, sql, 3, (const char *const[]){id, arena_cstr(&arena, text), w->targets[0].lock_id},
	                           PG_TIMEOUT_MS, err));
	arena_free(&arena);
	w->reported |= ok;
	return ok;
}

bool pg_redeploy(struct storage *s, struct error *err)
{
	struct pg_writer *w = pg_writer_of(s);
	const struct pg_stream *active = pg_store_active(w->store);
	w->ready = false;
	return active ? pg_deploy_again(w, active, active->state == PG_STREAM_ERRORED ? "ERRORED" : "ACTIVE", err)
	              : error_set(err, "PSYNC_S2302", "No active replication stream available");
}

bool pg_pending_slot(struct storage *s, char out[64])
{
	const struct pg_writer *w = pg_writer_of(s);
	bool any = w->target_count > (size_t)w->has_active;
	if (any)
		snprintf(out, 64, "%s", w->targets[w->target_count - 1].stream->slot_name);
	return any;
}
