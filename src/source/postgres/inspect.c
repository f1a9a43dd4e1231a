/* inspect.c: see ../inspect.h. */
#include "source/inspect.h"

#include <stdlib.h>

#include "base/position.h"
#include "source/postgres/catalog.h"

_Static_assert(sizeof(SOURCE_PUBLICATION) == sizeof(PUBLICATION), "one name");

static struct slice copy(const PGresult *r, int row, int column, struct arena *arena)
{
	return arena_copy(arena, pg_field(r, row, column));
}

static int64_t number(const PGresult *r, int row, int column)
{
	int64_t v = 0;
	slice_parse_i64(pg_field(r, row, column), &v);
	return v;
}

bool source_try_replication(struct source *s, struct error *err)
{
	struct link l;
	if (!link_open(&l, s, LINK_REPLICATION, err))
		return false;
	link_close(&l);
	return true;
}

/* ---- settings ------------------------------------------------------------------------------------------------------------- */

static const char facts_sql[] =
        "SELECT current_user, pg_catalog.current_database(), pg_catalog.current_setting('wal_level'), "
        "pg_catalog.pg_is_in_recovery(),"
        " r.rolsuper, r.rolreplication, r.rolbypassrls, pg_catalog.current_setting('max_replication_slots'),"
        " (SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots), pg_catalog.current_setting('max_wal_senders'),"
        " (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_replication),"
        /* in MB, whatever unit it was written in */
        " COALESCE((SELECT setting::pg_catalog.int8 FROM pg_catalog.pg_settings WHERE name = 'max_slot_wal_keep_size'), -1)"
        " FROM pg_catalog.pg_roles r WHERE r.rolname = current_user";

static bool publication_facts(struct link *l, struct source_facts *out, struct error *err)
{
	PGresult *r = catalog_publication(l, err);
	if (!r)
		return false;
	out->publication = PQntuples(r) > 0;
	out->publication_whole = out->publication && pg_field_bool(r, 0, 0);
	out->publication_via_root = out->publication && pg_field_bool(r, 0, 1);
	PQclear(r);
	return true;
}

bool source_facts(struct source_connection *c, struct arena *arena, struct source_facts *out, struct error *err)
{
	PGresult *r = link_query(&c->link, facts_sql, SHORT_TIMEOUT_MS, err);
	if (!r)
		return false;
	if (PQntuples(r) != 1) {
		PQclear(r);
		return error_set(err, "PSYNC_S1120", "the server does not tell about its role");
	}
	int64_t keep = number(r, 0, 11);
	*out = (struct source_facts){
	        .version = c->link.version,
	        .user = copy(r, 0, 0, arena),
	        .database = copy(r, 0, 1, arena),
	        .wal_level = copy(r, 0, 2, arena),
	        .standby = pg_field_bool(r, 0, 3),
	        .superuser = pg_field_bool(r, 0, 4),
	        .may_replicate = pg_field_bool(r, 0, 5),
	        .bypasses_row_security = pg_field_bool(r, 0, 6),
	        .max_slots = pg_field_u64(r, 0, 7),
	        .used_slots = pg_field_u64(r, 0, 8),
	        .max_senders = pg_field_u64(r, 0, 9),
	        .used_senders = pg_field_u64(r, 0, 10),
	        .max_slot_wal_keep_bytes = keep < 0 ? -1 : keep * 1024 * 1024,
	};
	PQclear(r);
	return publication_facts(&c->link, out, err);
}

/* ---- tables --------------------------------------------------------------------------------------------------------------- */

enum { T_OID, T_SCHEMA, T_NAME, T_IDENTITY, T_PUBLISHED, T_READABLE, T_ROW_SECURITY, T_KEY };

/* One row a column of the replica identity; a table without any gives one with a null. */
static const char tables_sql[] =
        "SELECT c.oid, n.nspname, c.relname, c.relreplident,"
        " EXISTS (SELECT FROM pg_catalog.pg_publication pub WHERE pub.pubname = '" PUBLICATION "' AND %s),"
        " pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT'),"
        " c.relrowsecurity AND NOT (SELECT rolsuper OR rolbypassrls FROM pg_catalog.pg_roles WHERE rolname = current_user),"
        " a.attname"
        " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " LEFT JOIN LATERAL (SELECT (i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1] AS keys FROM pg_catalog.pg_index i"
        "  WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL"
        "  AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END LIMIT 1) ident ON "
        "true"
        " LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        "  AND (c.relreplident = 'f' OR a.attnum = ANY (ident.keys))"
        " WHERE c.relkind = 'r' AND ";

static void read_table(const PGresult *r, int first, int end, struct arena *arena, struct inspected_table *out)
{
	struct slice *key = arena_array(arena, struct slice, (size_t)(end - first));
	*out = (struct inspected_table){
	        .schema = copy(r, first, T_SCHEMA, arena),
	        .name = copy(r, first, T_NAME, arena),
	        .replica_identity = PQgetvalue(r, first, T_IDENTITY)[0],
	        .published = pg_field_bool(r, first, T_PUBLISHED),
	        .readable = pg_field_bool(r, first, T_READABLE),
	        .row_security = pg_field_bool(r, first, T_ROW_SECURITY),
	        .key = key,
	};
	for (int row = first; row < end; row++)
		if (!PQgetisnull(r, row, T_KEY))
			key[out->key_count++] = copy(r, row, T_KEY, arena);
}

bool source_inspect(struct source_connection *c, const struct source_pattern *pattern, struct arena *arena,
                    struct inspected_table **tables, size_t *count, struct error *err)
{
	struct buf sql = {0}, published = {0};
	catalog_published_sql(&published, c->link.version);
	buf_putc(&published, '\0');
	buf_printf(&sql, tables_sql, published.p);
	buf_free(&published);
	catalog_pattern_condition(&sql, pattern);
	buf_lit(&sql, " ORDER BY n.nspname, c.relname, pg_catalog.array_position(ident.keys, a.attnum), a.attnum");
	buf_putc(&sql, '\0');
	PGresult *r = link_query(&c->link, sql.p, SOCKET_TIMEOUT_MS, err);
	buf_free(&sql);
	if (!r)
		return false;
	int rows = PQntuples(r);
	*tables = arena_array(arena, struct inspected_table, (size_t)rows + 1);
	*count = 0;
	for (int first = 0, end; first < rows; first = end) {
		for (end = first + 1; end < rows && pg_field_u64(r, end, T_OID) == pg_field_u64(r, first, T_OID); end++)
			;
		read_table(r, first, end, arena, &(*tables)[(*count)++]);
	}
	PQclear(r);
	return true;
}

/* ---- slot ----------------------------------------------------------------------------------------------------------------- */

bool source_slot_facts(struct source_connection *c, const char *slot, struct arena *arena, struct source_slot *out,
                       struct error *err)
{
	struct buf sql = {0};
	buf_lit(&sql,
	        "SELECT pg_catalog.pg_current_wal_lsn() AS now, s.* FROM (SELECT) one LEFT JOIN pg_catalog.pg_replication_slots s"
	        " ON s.slot_name = ");
	sql_literal(&sql, slice_cstr(slot));
	buf_putc(&sql, '\0');
	PGresult *r = link_query(&c->link, sql.p, SHORT_TIMEOUT_MS, err);
	buf_free(&sql);
	if (!r)
		return false;
	/* From 13 on there are wal_status and safe_wal_size: taken when there. */
	int name = PQfnumber(r, "slot_name"), lsn = PQfnumber(r, "confirmed_flush_lsn"), status = PQfnumber(r, "wal_status"),
	    safe = PQfnumber(r, "safe_wal_size"), kept = PQfnumber(r, "restart_lsn");
	*out = (struct source_slot){.found = !PQgetisnull(r, 0, name)};
	lsn_parse(pg_field(r, 0, 0), &out->current_lsn);
	if (out->found && !PQgetisnull(r, 0, lsn))
		lsn_parse(pg_field(r, 0, lsn), &out->confirmed_lsn);
	if (out->found && !PQgetisnull(r, 0, kept))
		lsn_parse(pg_field(r, 0, kept), &out->kept_from_lsn);
	if (out->found && status >= 0 && !PQgetisnull(r, 0, status))
		out->wal_status = copy(r, 0, status, arena);
	if (out->found && safe >= 0 && !PQgetisnull(r, 0, safe)) {
		out->has_safe_size = true;
		out->safe_size = number(r, 0, safe);
	}
	PQclear(r);
	return true;
}

/* ---- schema --------------------------------------------------------------------------------------------------------------- */

static const char schema_sql[] =
        "SELECT c.oid, n.nspname, c.relname, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),"
        " CASE WHEN e.oid IS NULL THEN t.typname ELSE e.typname || '[]' END, a.atttypid"
        " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid"
        " LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'"
        " WHERE c.relkind = 'r' AND NOT pg_catalog.starts_with(n.nspname::pg_catalog.text, 'pg_') AND n.nspname <> "
        "'information_schema'"
        " AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, "
        "DELETE')"
        " ORDER BY n.nspname, c.relname, a.attnum";

/* Built-in types by oid: bool, int8, int2, int4, oid; float4, float8; bytea. Everything else arrives as text. */
static int sqlite_type(uint64_t oid)
{
	switch (oid) {
	case 16:
	case 20:
	case 21:
	case 23:
	case 26:
		return SQLITE_TYPE_INTEGER;
	case 700:
	case 701:
		return SQLITE_TYPE_REAL;
	case 17:
		return SQLITE_TYPE_BLOB;
	default:
		return SQLITE_TYPE_TEXT;
	}
}

bool source_schema(struct source_connection *c, struct arena *arena, struct schema_table **tables, size_t *count,
                   struct error *err)
{
	PGresult *r = link_query(&c->link, schema_sql, SOCKET_TIMEOUT_MS, err);
	if (!r)
		return false;
	int rows = PQntuples(r);
	*tables = arena_array(arena, struct schema_table, (size_t)rows + 1);
	struct schema_column *columns = arena_array(arena, struct schema_column, (size_t)rows + 1);
	*count = 0;
	for (int i = 0; i < rows; i++) {
		if (i == 0 || pg_field_u64(r, i, 0) != pg_field_u64(r, i - 1, 0))
			(*tables)[(*count)++] = (struct schema_table){copy(r, i, 1, arena), copy(r, i, 2, arena), columns, 0};
		if (PQgetisnull(r, i, 3))
			continue;
		*columns++ = (struct schema_column){copy(r, i, 3, arena), copy(r, i, 4, arena), copy(r, i, 5, arena),
		                                    sqlite_type(pg_field_u64(r, i, 6))};
		(*tables)[*count - 1].column_count++;
	}
	PQclear(r);
	return true;
}
