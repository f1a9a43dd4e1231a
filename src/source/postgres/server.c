/* server.c: what the server is and can do (source-postgres 2), its head, and our marker (checkpoint-requests 2). */
#include <stdlib.h>
#include <string.h>

#include "base/position.h"
#include "source/postgres/catalog.h"

#define OLDEST_VERSION 110000
/* Of the database's name in system_id: what fits beside 20 digits. The number tells servers apart. */
#define DATABASE_PART 42

/* Plain settings instead of a PL/pgSQL block, so that it also works where plpgsql is missing. */
static bool check_settings(struct link *l, struct error *err)
{
	if (l->version < OLDEST_VERSION)
		return error_set(err, "", "PostgreSQL 11 or newer is needed, this server is version %d", l->version / 10000);
	PGresult *r =
	        link_query(l,
	                   "SELECT pg_catalog.current_setting('wal_level'), pg_catalog.current_setting('max_replication_slots'),"
	                   " pg_catalog.current_setting('max_wal_senders'), pg_catalog.pg_is_in_recovery()",
	                   SHORT_TIMEOUT_MS, err);
	if (!r)
		return false;
	bool ok = true;
	if (pg_field_bool(r, 0, 3))
		ok = error_set(err, "", "the server is a standby; replication needs the primary");
	else if (strcmp(PQgetvalue(r, 0, 0), "logical") != 0)
		ok = error_set(
		        err, "",
		        "wal_level must be set to 'logical', your database has it set to '%s'. Please edit your config file and "
		        "restart PostgreSQL.",
		        PQgetvalue(r, 0, 0));
	for (int i = 1; ok && i <= 2; i++)
		if (pg_field_u64(r, 0, i) < 1)
			ok = error_set(
			        err, "",
			        "Your %s setting is too low, it must be greater than 1. Please edit your config file and restart "
			        "PostgreSQL.",
			        i == 1 ? "max_replication_slots" : "max_wal_senders");
	PQclear(r);
	return ok;
}

static bool check_publication(struct link *l, struct error *err)
{
	PGresult *r = catalog_publication(l, err);
	if (!r)
		return false;
	bool ok = true;
	if (PQntuples(r) == 0)
		ok = error_set(err, "PSYNC_S1141",
		               "Publication '" PUBLICATION "' does not exist. Run: `CREATE PUBLICATION " PUBLICATION
		               " FOR ALL TABLES`, or read the documentation for details.");
	else if (!pg_field_bool(r, 0, 0))
		ok = error_set(err, "PSYNC_S1142",
		               "Publication '" PUBLICATION
		               "' does not publish all changes. Create a publication using `WITH (publish = "
		               "\"insert, update, delete, truncate\")` (the default).");
	else if (pg_field_bool(r, 0, 1))
		ok = error_set(err, "PSYNC_S1143", "'" PUBLICATION "' uses publish_via_partition_root, which is not supported.");
	PQclear(r);
	return ok;
}

bool source_check(struct source_connection *c, struct error *err)
{
	return check_settings(&c->link, err) && check_publication(&c->link, err);
}

/* Needs the privilege to replicate and nothing else. */
static bool identify_by_replication(struct source *s, struct source_identity *out, const char *database, struct error *err)
{
	struct link l;
	if (!link_open(&l, s, LINK_REPLICATION, err))
		return false;
	PGresult *r = link_query(&l, "IDENTIFY_SYSTEM", SHORT_TIMEOUT_MS, err);
	if (r)
		snprintf(out->system_id, sizeof(out->system_id), "%s.%.*s", PQgetvalue(r, 0, 0), DATABASE_PART, database);
	PQclear(r);
	link_close(&l);
	return r != NULL;
}

/* The first eight digits of a WAL file's name are the timeline. */
static uint32_t timeline_of(struct link *l)
{
	struct error ignored;
	char digits[9] = "";
	PGresult *r = link_query(l, "SELECT pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn())", SHORT_TIMEOUT_MS,
	                         &ignored);
	if (r)
		snprintf(digits, sizeof(digits), "%s", PQgetvalue(r, 0, 0));
	PQclear(r);
	return (uint32_t)strtoul(digits, NULL, 16);
}

/* A line of a history file: parent timeline, tab, position where it was left, tab, reason. */
static bool history_line(struct slice line, uint32_t timeline, uint64_t *lsn)
{
	uint64_t number;
	size_t n = 0, end;
	while (n < line.n && line.p[n] != '\t')
		n++;
	for (end = n + 1; end < line.n && line.p[end] != '\t';)
		end++;
	return end < line.n && slice_parse_u64(slice_make(line.p, n), UINT32_MAX, &number) && number == timeline &&
	       lsn_parse(slice_make(line.p + n + 1, end - n - 1), lsn);
}

bool source_timeline_end(struct source *s, uint32_t timeline, uint32_t earlier, uint64_t *lsn, bool *found, struct error *err)
{
	struct link l;
	char sql[48];
	*found = false;
	if (!link_open(&l, s, LINK_REPLICATION, err))
		return false;
	snprintf(sql, sizeof(sql), "TIMELINE_HISTORY %u", timeline);
	PGresult *r = link_query(&l, sql, SHORT_TIMEOUT_MS, err);
	struct slice text = r && PQntuples(r) == 1 ? pg_field(r, 0, 1) : (struct slice){0};
	while (text.n && !*found) {
		const char *end = memchr(text.p, '\n', text.n);
		size_t n = end ? (size_t)(end - text.p) : text.n;
		*found = history_line(slice_make(text.p, n), earlier, lsn);
		text = slice_drop(text, end ? n + 1 : n);
	}
	PQclear(r);
	link_close(&l);
	return r != NULL;
}

bool source_identify(struct source_connection *c, struct source_identity *out, struct error *err)
{
	PGresult *r = link_query(&c->link, "SELECT pg_catalog.pg_current_wal_insert_lsn(), pg_catalog.current_database()",
	                         SHORT_TIMEOUT_MS, err);
	if (!r)
		return false;
	char database[DATABASE_PART + 1];
	snprintf(database, sizeof(database), "%s", PQgetvalue(r, 0, 1));
	bool ok = lsn_parse(pg_field(r, 0, 0), &out->insert_lsn);
	PQclear(r);
	if (!ok)
		return error_set(err, "PSYNC_S1120", "the server's WAL position cannot be read");
	out->server_version = c->link.version;
	out->timeline = timeline_of(&c->link);
	r = link_query(&c->link, "SELECT system_identifier FROM pg_catalog.pg_control_system()", SHORT_TIMEOUT_MS, err);
	if (!r) /* some managed services keep the function to themselves */
		return !c->link.broken && identify_by_replication(c->link.source, out, database, err);
	snprintf(out->system_id, sizeof(out->system_id), "%s.%s", PQgetvalue(r, 0, 0), database);
	PQclear(r);
	return true;
}

bool source_head(struct source_connection *c, uint64_t *lsn, struct xid_snapshot *snapshot, struct arena *arena,
                 struct error *err)
{
	PGresult *r = link_query(&c->link,
	                         c->link.version >= 130000
	                                 ? "SELECT pg_catalog.pg_current_wal_insert_lsn(), pg_catalog.pg_current_snapshot()"
	                                 : "SELECT pg_catalog.pg_current_wal_insert_lsn(), pg_catalog.txid_current_snapshot()",
	                         SHORT_TIMEOUT_MS, err);
	if (!r)
		return false;
	bool ok = lsn_parse(pg_field(r, 0, 0), lsn) && (!snapshot || snapshot_parse(pg_field(r, 0, 1), arena, snapshot));
	PQclear(r);
	return ok || error_set(err, "PSYNC_S1120", "the server's WAL position or snapshot cannot be read");
}

bool source_marker(struct source_connection *c, struct error *err)
{
	PGresult *r =
	        link_query(&c->link, "SELECT pg_catalog.pg_logical_emit_message(true, '" MARKER_PREFIX "', '" MARKER_CONTENT "')",
	                   SHORT_TIMEOUT_MS, err);
	PQclear(r);
	return r != NULL;
}
