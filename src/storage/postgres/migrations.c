/* migrations.c: see migrations.h. */
#include "storage/postgres/migrations.h"

#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "storage/postgres/lock.h"
#include "storage/postgres/side.h"

#define LOCK_WAIT_MS 180000

struct migration {
	const char *name, *up, *down;
};

static const struct migration migrations[] = {
        {"1684951997326-init",
         "CREATE SEQUENCE op_id_sequence AS bigint START WITH 1;"
         "CREATE SEQUENCE sync_rules_id_sequence AS integer START WITH 1;"
         "CREATE TABLE bucket_data ("
         " group_id integer NOT NULL, bucket_name text NOT NULL, op_id bigint NOT NULL, op text NOT NULL, source_table text,"
         " source_key bytea, table_name text, row_id text, checksum bigint NOT NULL, data text, target_op bigint,"
         " CONSTRAINT unique_id PRIMARY KEY (group_id, bucket_name, op_id));"
         "CREATE TABLE instance (id text PRIMARY KEY);"
         "CREATE TABLE sync_rules ("
         " id integer PRIMARY KEY, state text NOT NULL, snapshot_done boolean NOT NULL DEFAULT false, last_checkpoint bigint,"
         " last_checkpoint_lsn text, no_checkpoint_before text, slot_name text, last_checkpoint_ts timestamp with time zone,"
         " last_keepalive_ts timestamp with time zone, keepalive_op bigint, last_fatal_error text, content text NOT NULL);"
         "CREATE TABLE bucket_parameters ("
         " id bigint DEFAULT nextval('op_id_sequence') PRIMARY KEY, group_id integer NOT NULL, source_table text NOT NULL,"
         " source_key bytea NOT NULL, lookup bytea NOT NULL, bucket_parameters text NOT NULL);"
         "CREATE INDEX bucket_parameters_lookup_index ON bucket_parameters (group_id, lookup, id DESC);"
         "CREATE INDEX bucket_parameters_source_index ON bucket_parameters (group_id, source_table, source_key);"
         "CREATE TABLE current_data ("
         " group_id integer NOT NULL, source_table text NOT NULL, source_key bytea NOT NULL,"
         " CONSTRAINT unique_current_data_id PRIMARY KEY (group_id, source_table, source_key), buckets jsonb NOT NULL,"
         " data bytea NOT NULL, lookups bytea[] NOT NULL);"
         "CREATE TABLE source_tables ("
         " id text PRIMARY KEY, group_id integer NOT NULL, connection_id integer NOT NULL, relation_id jsonb,"
         " schema_name text NOT NULL, table_name text NOT NULL, replica_id_columns jsonb,"
         " snapshot_done boolean NOT NULL DEFAULT false);"
         "CREATE INDEX source_table_lookup ON source_tables (group_id, table_name);"
         "CREATE TABLE write_checkpoints (user_id text PRIMARY KEY, lsns jsonb NOT NULL, write_checkpoint bigint NOT NULL);"
         "CREATE TABLE custom_write_checkpoints ("
         " user_id text NOT NULL, write_checkpoint bigint NOT NULL, sync_rules_id integer NOT NULL,"
         " CONSTRAINT unique_user_sync PRIMARY KEY (user_id, sync_rules_id));",
         "DROP TABLE IF EXISTS bucket_data, bucket_parameters, sync_rules, instance, current_data, v3_current_data, "
         "source_tables,"
         " write_checkpoints, custom_write_checkpoints, connection_report_events, migrations;"
         "DROP SEQUENCE IF EXISTS op_id_sequence, sync_rules_id_sequence;"},
        {"1749024804042-snapshot-progress",
         "ALTER TABLE sync_rules ADD COLUMN snapshot_lsn text;"
         "ALTER TABLE source_tables ADD COLUMN snapshot_total_estimated_count integer,"
         " ADD COLUMN snapshot_replicated_count integer, ADD COLUMN snapshot_last_key bytea;",
         "ALTER TABLE sync_rules DROP COLUMN snapshot_lsn;"
         "ALTER TABLE source_tables DROP COLUMN snapshot_total_estimated_count, DROP COLUMN snapshot_replicated_count,"
         " DROP COLUMN snapshot_last_key;"},
        {"1756282360128-connection-reporting",
         "CREATE TABLE IF NOT EXISTS connection_report_events ("
         " id text PRIMARY KEY, user_agent text NOT NULL, client_id text NOT NULL, user_id text NOT NULL, sdk text NOT NULL,"
         " jwt_exp timestamp with time zone, connected_at timestamp with time zone NOT NULL,"
         " disconnected_at timestamp with time zone);"
         "CREATE INDEX IF NOT EXISTS sdk_list_index ON connection_report_events (connected_at, jwt_exp, disconnected_at);"
         "CREATE INDEX IF NOT EXISTS sdk_user_id_index ON connection_report_events (user_id);"
         "CREATE INDEX IF NOT EXISTS sdk_client_id_index ON connection_report_events (client_id);"
         "CREATE INDEX IF NOT EXISTS sdk_index ON connection_report_events (sdk);",
         "DROP TABLE IF EXISTS connection_report_events;"},
        {"1771232439485-storage-version", "ALTER TABLE sync_rules ADD COLUMN storage_version integer NOT NULL DEFAULT 1;",
         "ALTER TABLE sync_rules DROP COLUMN storage_version;"},
        {"1771424826685-current-data-pending-deletes", "SELECT 1;", "SELECT 1;"},
        {"1771491856000-sync-plan", "ALTER TABLE sync_rules ADD COLUMN sync_plan json;",
         "ALTER TABLE sync_rules DROP COLUMN sync_plan;"},
        {"1782950400000-checkpoint-requested-at",
         "ALTER TABLE write_checkpoints ADD COLUMN checkpoint_requested_at timestamp with time zone;"
         "ALTER TABLE custom_write_checkpoints ADD COLUMN checkpoint_requested_at timestamp with time zone;"
         "CREATE INDEX write_checkpoints_checkpoint_requested_at ON write_checkpoints (checkpoint_requested_at)"
         " WHERE checkpoint_requested_at IS NOT NULL;"
         "CREATE INDEX custom_write_checkpoints_checkpoint_requested_at ON custom_write_checkpoints (checkpoint_requested_at)"
         " WHERE checkpoint_requested_at IS NOT NULL;",
         "ALTER TABLE write_checkpoints DROP COLUMN checkpoint_requested_at;"
         "ALTER TABLE custom_write_checkpoints DROP COLUMN checkpoint_requested_at;"},
        {"1784900000000-source-metadata", "ALTER TABLE source_tables ADD COLUMN source_metadata jsonb;",
         "ALTER TABLE source_tables DROP COLUMN source_metadata;"},
};
#define MIGRATIONS (sizeof(migrations) / sizeof(migrations[0]))
#define STORAGE_VERSION 3 /* its place in the list */

/* ---- where the store is ------------------------------------------------------------------------------------------------------------ */

/* How many of the migrations are done: those before this one. */
static bool read_progress(struct pg_conn *c, size_t *done, struct error *err)
{
	*done = 0;
	PGresult *r =
	        pg_query(c,
	                 "SELECT last_run, (SELECT e ->> 'direction' FROM jsonb_array_elements(log) WITH ORDINALITY AS l (e, n)"
	                 " WHERE e ->> 'name' = last_run ORDER BY n DESC LIMIT 1) FROM migrations WHERE id = 1",
	                 0, NULL, PG_TIMEOUT_MS, err);
	if (!r)
		return false;
	bool ok = true;
	if (PQntuples(r) && !PQgetisnull(r, 0, 0)) {
		size_t i = 0;
		while (i < MIGRATIONS && strcmp(migrations[i].name, PQgetvalue(r, 0, 0)) != 0)
			i++;
		if (i == MIGRATIONS)
			ok = error_set(
			        err, "",
			        "The last run migration %s was not found in the given set of migrations: the store is of a newer "
			        "version",
			        PQgetvalue(r, 0, 0));
		*done = i + (strcmp(PQgetvalue(r, 0, 1), "up") == 0);
	}
	PQclear(r);
	return ok;
}

bool pg_migrations_done(struct pg_conn *c, struct error *err)
{
	size_t done = 0;
	PGresult *r =
	        pg_query(c, "SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = 'powersync' AND tablename = 'migrations'", 0,
	                 NULL, PG_TIMEOUT_MS, err);
	if (!r)
		return false;
	bool exists = PQntuples(r) == 1;
	PQclear(r);
	if (exists && !read_progress(c, &done, err))
		return false;
	if (done == MIGRATIONS)
		return pg_side_ready(c, err);
	return error_set(
	        err, "",
	        "The storage database lacks the migration %s, and migrations.disable_auto_migration is set: run 'syncline "
	        "migrate up'",
	        migrations[done].name);
}

/* ---- running them ------------------------------------------------------------------------------------------------------------------ */

static void now_text(char out[32])
{
	int64_t ms = clock_wall_ms();
	time_t s = (time_t)(ms / 1000);
	struct tm t;
	gmtime_r(&s, &t);
	size_t n = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &t);
	snprintf(out + n, 32 - n, ".%03dZ", (int)(ms % 1000));
}

static bool write_log(struct pg_conn *c, const char *name, const char *direction, struct error *err)
{
	char now[32];
	now_text(now);
	PGresult *r = pg_query(c,
	                       "INSERT INTO migrations AS m (id, last_run, log)"
	                       " VALUES (1, $1, jsonb_build_array(jsonb_build_object('name', $1::text, 'direction', $2::text, "
	                       "'timestamp', $3::text)))"
	                       " ON CONFLICT (id) DO UPDATE SET last_run = excluded.last_run, log = m.log || excluded.log",
	                       3, (const char *const[]){name, direction, now}, PG_TIMEOUT_MS, err);
	PQclear(r);
	return r != NULL;
}

/* A migration and its entry in the log, together or not at all. */
static bool run_one(struct pg_conn *c, const struct migration *m, bool up, const struct log *log, struct error *err)
{
	bool gone = !up && m == &migrations[0]; /* the log goes with the rest */
	bool ok = pg_command(c, "BEGIN", err) && pg_command(c, up ? m->up : m->down, err) &&
	          (gone || write_log(c, m->name, up ? "up" : "down", err)) && pg_command(c, "COMMIT", err);
	if (ok) {
		log_info(log, "Migration %s: %s", m->name, up ? "up" : "down");
		return true;
	}
	if (!c->broken)
		pg_command(c, "ROLLBACK", NULL);
	return error_prefix(err, "Migration %s (%s): ", m->name, up ? "up" : "down");
}

static bool may_undo_versions(struct pg_conn *c, struct error *err)
{
	PGresult *r = pg_query(c, "SELECT id, storage_version FROM sync_rules WHERE storage_version > 1 ORDER BY id LIMIT 1", 0,
	                       NULL, PG_TIMEOUT_MS, err);
	if (!r)
		return false;
	bool ok = PQntuples(r) == 0;
	if (!ok)
		error_set(err, "",
		          "The migrations down to %s are undone; it cannot be: replication stream %s has storage version %s",
		          migrations[STORAGE_VERSION].name, PQgetvalue(r, 0, 0), PQgetvalue(r, 0, 1));
	PQclear(r);
	return ok;
}

/* Two processes that make a schema or a table at the same time can meet in the catalogue, whatever IF NOT EXISTS says. */
static bool make_base(struct pg_conn *c, struct error *err)
{
	static const char sql[] = "CREATE SCHEMA IF NOT EXISTS powersync;"
	                          "CREATE TABLE IF NOT EXISTS locks"
	                          " (name text PRIMARY KEY, lock_id uuid NOT NULL, ts timestamp with time zone NOT NULL)";
	for (int attempt = 0; attempt < 5; attempt++) {
		if (pg_command(c, sql, err))
			return true;
		if (strcmp(c->sqlstate, "23505") != 0 && strncmp(c->sqlstate, "42P0", 4) != 0)
			return false;
	}
	return false;
}

static bool run_all(struct pg_conn *c, bool up, const struct log *log, struct error *err)
{
	size_t done;
	if (!pg_command(c, "CREATE TABLE IF NOT EXISTS migrations (id serial PRIMARY KEY, last_run text, log jsonb NOT NULL)",
	                err) ||
	    !read_progress(c, &done, err))
		return false;
	while (up && done < MIGRATIONS)
		if (!run_one(c, &migrations[done++], true, log, err))
			return false;
	while (!up && done > 0) {
		if (--done == STORAGE_VERSION && !may_undo_versions(c, err))
			return false;
		if (!run_one(c, &migrations[done], false, log, err))
			return false;
	}
	return true;
}

static bool migrate(struct pg_conn *c, bool up, const struct log *log, struct error *err)
{
	struct pg_lock lock;
	if (!make_base(c, err) || !pg_lock_wait(c, &lock, "migrations", LOCK_WAIT_MS, log, err))
		return false;
	bool ok = up ? run_all(c, true, log, err) && pg_side_prepare(c, log, err)
	             : pg_side_remove(c, err) && run_all(c, false, log, err);
	if (!c->broken)
		pg_lock_release(c, &lock, NULL);
	return ok;
}

bool pg_migrate_up(struct pg_conn *c, const struct log *log, struct error *err)
{
	return migrate(c, true, log, err);
}

bool pg_migrate_down(struct pg_conn *c, const struct log *log, struct error *err)
{
	return migrate(c, false, log, err);
}

bool storage_postgres_migrate(const struct storage_options *options, bool up, struct error *err)
{
	struct pg_conn *c = pg_open(&options->postgres, err);
	if (!c)
		return false;
	bool ok = migrate(c, up, options->log, err);
	pg_close(c);
	return ok;
}

bool storage_postgres_reachable(const struct storage_options *options, struct error *err)
{
	struct pg_conn *c = pg_open(&options->postgres, err);
	bool ok = c != NULL;
	pg_close(c);
	return ok;
}
