/* side.c: see side.h. */
#include "storage/postgres/side.h"

#include <string.h>

#include "storage/digest.h"
#include "storage/postgres/lock.h"

#define SIDE_VERSION "1"
#define INSTANCE_LOCK "instance-id-insertion-lock"
#define INSTANCE_WAIT_MS 120000

/* In the order of making. Owners of further ones add them here. */
static const struct side_table {
	const char *name, *sql;
} side_tables[] = {
        /* What the tables are good for: schema version, id of the store. */
        {"syncline_state", "CREATE TABLE syncline_state (name text PRIMARY KEY, value text NOT NULL)"},
        /*
         * Checkpoint requests of one user (requests.c). user_key: the subject and the client id as two fields, or a hash of them where they are too
         * long for an index; then full_key has them. record: the queue. waiting_since: a head is not known. stamped_at: of users who have no
         * record in write_checkpoints.
         */
        {"syncline_requests",
         "CREATE TABLE syncline_requests (user_key bytea PRIMARY KEY, full_key bytea, version integer NOT NULL, record bytea NOT "
         "NULL,"
         " waiting_since bigint, stamped_at timestamp with time zone) WITH (fillfactor = 70);"
         "CREATE INDEX syncline_requests_waiting ON syncline_requests (waiting_since) WHERE waiting_since IS NOT NULL;"
         "CREATE INDEX syncline_requests_stamped ON syncline_requests (stamped_at) WHERE stamped_at IS NOT NULL"},
        /* Who stored an association with this head: one row for each batch. */
        {"syncline_request_heads", "CREATE TABLE syncline_request_heads (lsn bigint, id bigint, stored_at timestamp with time "
                                   "zone NOT NULL, users bytea NOT NULL,"
                                   " PRIMARY KEY (lsn, id))"},
        /* Write checkpoints that come with the data, by user, events and stream (custom.c). */
        {"syncline_custom", "CREATE TABLE syncline_custom (user_key bytea, events bytea, group_id integer, record bytea NOT NULL,"
                            " stamped_at timestamp with time zone, PRIMARY KEY (user_key, events, group_id));"
                            "CREATE INDEX syncline_custom_stamped ON syncline_custom (stamped_at) WHERE stamped_at IS NOT NULL"},
        /* How far a bucket of a stream was compacted (compact_buckets.c); the empty name: the lookups. */
        {"syncline_compacted", "CREATE TABLE syncline_compacted (group_id integer, bucket_name text, op_id bigint NOT NULL,"
                               " PRIMARY KEY (group_id, bucket_name))"},
        /* Which checkpoints clients were given, and since when (compact.h). */
        {"syncline_checkpoints",
         "CREATE TABLE syncline_checkpoints (group_id integer, op_id bigint, seen_at timestamp with time zone NOT NULL,"
         " PRIMARY KEY (group_id, op_id))"},
        /* What is known of a stream beside its row (writer.h). keepalive_ts: as we left it; another one: the reference wrote since. */
        {"syncline_streams", "CREATE TABLE syncline_streams (stream_id integer PRIMARY KEY, slot_name text NOT NULL, "
                             "keepalive_ts timestamp with time "
                             "zone, applied text, partial_until text, flushed_op bigint NOT NULL, generation bigint NOT NULL, "
                             "system_id text NOT NULL, timeline bigint NOT NULL) WITH (fillfactor = 50)"},
        /* The same of a record of source_tables. */
        {"syncline_tables",
         "CREATE TABLE syncline_tables (id text PRIMARY KEY, stream_id integer NOT NULL, snapshot_epoch bigint NOT NULL, "
         "generation bigint NOT NULL, columns bigint NOT NULL, published_as bigint NOT NULL, progress bytea NOT NULL)"},
        /* Which rows of locks are those of Syncline nodes (holder.h). */
        {"syncline_locks", "CREATE TABLE syncline_locks (name text PRIMARY KEY, lock_id uuid NOT NULL)"},
        /* Greatest id ever given to a user whose record was removed; the key is half of a SHA-256. */
        {"syncline_request_floors", "CREATE TABLE syncline_request_floors (user_hash bytea PRIMARY KEY, id bigint NOT NULL)"},
        /* Rows that lack a value until they are read again: the engine's key and copy; image_digest: SHA-256 of the image that goes with it. */
        {"syncline_incomplete_rows",
         "CREATE TABLE syncline_incomplete_rows (group_id integer, source_table text, source_key bytea, row_key bytea NOT NULL,"
         " partial bytea NOT NULL, image_digest bytea NOT NULL, PRIMARY KEY (group_id, source_table, source_key))"},
};
#define SIDE_TABLES (sizeof(side_tables) / sizeof(side_tables[0]))

static bool read_text(struct pg_conn *c, const char *sql, const char *parameter, char *out, size_t size, struct error *err)
{
	PGresult *r = pg_query(c, sql, parameter ? 1 : 0, (const char *const[]){parameter}, PG_TIMEOUT_MS, err);
	if (!r)
		return false;
	snprintf(out, size, "%s", PQntuples(r) && !PQgetisnull(r, 0, 0) ? PQgetvalue(r, 0, 0) : "");
	PQclear(r);
	return true;
}

static bool state_get(struct pg_conn *c, const char *name, char *out, size_t size, struct error *err)
{
	return read_text(c, "SELECT value FROM syncline_state WHERE name = $1", name, out, size, err);
}

static bool state_put(struct pg_conn *c, const char *name, const char *value, struct error *err)
{
	PGresult *r = pg_query(c,
	                       "INSERT INTO syncline_state (name, value) VALUES ($1, $2)"
	                       " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
	                       2, (const char *const[]){name, value}, PG_TIMEOUT_MS, err);
	PQclear(r);
	return r != NULL;
}

static bool table_exists(struct pg_conn *c, const char *name, bool *exists, struct error *err)
{
	char found[8];
	bool ok = read_text(c, "SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = 'powersync' AND tablename = $1", name,
	                    found, sizeof(found), err);
	*exists = ok && *found;
	return ok;
}

/* ---- the store's id -------------------------------------------------------------------------------------------------------------- */

static bool instance_get(struct pg_conn *c, char *out, size_t size, struct error *err)
{
	return read_text(c, "SELECT id FROM instance LIMIT 1", NULL, out, size, err);
}

static bool insert_instance(struct pg_conn *c, char id[UUID_TEXT + 1], struct error *err)
{
	uuid_random_text(id);
	PGresult *r = pg_query(c, "INSERT INTO instance (id) VALUES ($1)", 1, (const char *const[]){id}, PG_TIMEOUT_MS, err);
	PQclear(r);
	return r != NULL;
}

/* The reference makes it when it first needs it, under this lock. */
static bool instance_make(struct pg_conn *c, const struct log *log, char *out, size_t size, struct error *err)
{
	struct pg_lock lock;
	char id[UUID_TEXT + 1];
	if (!instance_get(c, out, size, err))
		return false;
	if (*out)
		return true;
	if (!pg_lock_wait(c, &lock, INSTANCE_LOCK, INSTANCE_WAIT_MS, log, err))
		return false;
	bool ok = instance_get(c, out, size, err) && (*out || insert_instance(c, id, err));
	if (ok && !*out)
		snprintf(out, size, "%s", id);
	if (!c->broken)
		pg_lock_release(c, &lock, NULL);
	return ok;
}

/* ---- making and emptying --------------------------------------------------------------------------------------------------------- */

static bool check_version(struct pg_conn *c, struct error *err)
{
	char version[16];
	if (!state_get(c, "version", version, sizeof(version), err))
		return false;
	return !*version || strcmp(version, SIDE_VERSION) == 0 ||
	       error_set(err, "PSYNC_S1005", "The tables syncline_* are of a newer version (%s) than this program knows (%s)",
	                 version, SIDE_VERSION);
}

static bool make_tables(struct pg_conn *c, struct error *err)
{
	for (size_t i = 0; i < SIDE_TABLES; i++) {
		bool exists;
		if (!table_exists(c, side_tables[i].name, &exists, err) || (!exists && !pg_command(c, side_tables[i].sql, err)) ||
		    (i == 0 && !check_version(c, err)))
			return false;
	}
	return state_put(c, "version", SIDE_VERSION, err);
}

static bool empty_tables(struct pg_conn *c, struct error *err)
{
	for (size_t i = 1; i < SIDE_TABLES; i++) {
		char sql[128];
		snprintf(sql, sizeof(sql), "DELETE FROM %s", side_tables[i].name);
		if (!pg_command(c, sql, err))
			return false;
	}
	return true;
}

/* What was written beside another store, which has been torn down since, means nothing. */
static bool match_instance(struct pg_conn *c, const char *instance, const struct log *log, struct error *err)
{
	char known[64];
	if (!state_get(c, "instance", known, sizeof(known), err))
		return false;
	if (strcmp(known, instance) == 0)
		return true;
	if (*known)
		log_warn(log, "The tables syncline_* belong to a storage that is no more: they are emptied");
	return empty_tables(c, err) && state_put(c, "instance", instance, err);
}

bool pg_side_prepare(struct pg_conn *c, const struct log *log, struct error *err)
{
	char instance[64];
	if (!instance_make(c, log, instance, sizeof(instance), err))
		return false;
	bool ok = pg_command(c, "BEGIN", err) && make_tables(c, err) && match_instance(c, instance, log, err) &&
	          pg_command(c, "COMMIT", err);
	if (!ok && !c->broken)
		pg_command(c, "ROLLBACK", NULL);
	return ok;
}

bool pg_side_ready(struct pg_conn *c, struct error *err)
{
	char instance[64], known[64], version[16];
	bool exists = true;
	for (size_t i = 0; exists && i < SIDE_TABLES; i++)
		if (!table_exists(c, side_tables[i].name, &exists, err))
			return false;
	if (!exists)
		return error_set(
		        err, "",
		        "The storage database lacks tables syncline_*, and migrations.disable_auto_migration is set: run "
		        "'syncline migrate up'");
	if (!check_version(c, err) || !state_get(c, "version", version, sizeof(version), err) ||
	    !state_get(c, "instance", known, sizeof(known), err) || !instance_get(c, instance, sizeof(instance), err))
		return false;
	return (*version && *known && strcmp(known, instance) == 0) ||
	       error_set(err, "",
	                 "The tables syncline_* belong to another storage, and migrations.disable_auto_migration is set: run "
	                 "'syncline migrate up'");
}

bool pg_side_remove(struct pg_conn *c, struct error *err)
{
	for (size_t i = SIDE_TABLES; i > 0; i--) {
		char sql[128];
		snprintf(sql, sizeof(sql), "DROP TABLE IF EXISTS %s", side_tables[i - 1].name);
		if (!pg_command(c, sql, err))
			return false;
	}
	return true;
}
