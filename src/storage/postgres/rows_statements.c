/*
 * rows_statements.c: the statements that know the table of images; see rows_internal.h.
 *
 * They reach their rows by key alone; the connection's settings keep the planner from anything else, whatever it thinks of a table that
 * grew by a million rows since it last looked.
 */
#include "base/codec.h"
#include "storage/postgres/rows_internal.h"

/* ---- statements -------------------------------------------------------------------------------------------------------------------------- */

#define IMAGES_BY_KEY " c.group_id = $1::int AND c.source_table = x.t AND c.source_key = x.k"
#define LOAD(table, marker)                                                                                                      \
	"SELECT x.i, c.buckets::text, c.lookups, " marker ", sha256(c.data), octet_length(c.data) = 5"                           \
	" FROM unnest($2::text[], $3::bytea[]) WITH ORDINALITY AS x (t, k, i) JOIN " table " c ON" IMAGES_BY_KEY
#define LOAD_ONE(table, marker)                                                                                                  \
	"SELECT c.buckets::text, c.lookups, " marker                                                                             \
	", c.data, (SELECT i.partial FROM syncline_incomplete_rows i WHERE i.group_id = c.group_id AND"                          \
	" i.source_table = c.source_table AND i.source_key = c.source_key AND i.image_digest = sha256(c.data)) FROM " table      \
	" c WHERE c.group_id = $1::int AND c.source_table = $2::text AND c.source_key = $3::bytea"
#define INSERT_IMAGES(table, pending_name, pending, pending_array, conflict)                                                     \
	"INSERT INTO " table " (group_id, source_table, source_key, buckets, data, lookups" pending_name                         \
	") SELECT $1::int, t, k, b::jsonb, d, l::bytea[]" pending " FROM unnest($2::text[], $3::bytea[], $4::text[],"            \
	" $5::bytea[], $6::text[]" pending_array ") AS x (t, k, b, d, l" pending ")" conflict
#define REPLACE(more)                                                                                                            \
	" ON CONFLICT (group_id, source_table, source_key) DO UPDATE SET buckets = EXCLUDED.buckets, data = EXCLUDED.data,"      \
	" lookups = EXCLUDED.lookups" more
#define DELETE_BY_KEY(table) "DELETE FROM " table " c USING unnest($2::text[], $3::bytea[]) AS x (t, k) WHERE" IMAGES_BY_KEY
#define PROBE(table)                                                                                                             \
	"SELECT EXISTS (SELECT FROM " table " WHERE group_id = $1::int AND source_table = $2::text),"                            \
	" EXISTS (SELECT FROM syncline_incomplete_rows WHERE group_id = $1 AND source_table = $2)"
#define SCAN(table, live)                                                                                                        \
	"SELECT source_key, buckets::text, lookups FROM " table " WHERE group_id = $1::int AND source_table = $2::text" live     \
	" ORDER BY source_key LIMIT $3::bigint"
/* A row that somebody else has written since is not ours to complete. */
#define INCOMPLETE(table)                                                                                                        \
	"SELECT i.source_key, i.row_key FROM syncline_incomplete_rows i JOIN " table                                             \
	" c USING (group_id, source_table, source_key) WHERE i.group_id = $1::int AND i.source_table = $2::text"                 \
	" AND i.source_key > $3::bytea AND sha256(c.data) = i.image_digest ORDER BY i.source_key LIMIT $4::bigint"

#define MARKER "c.pending_delete IS NOT NULL"
static const struct row_statements statements[] = {
        {
                .load = LOAD("current_data", "false"),
                .load_one = LOAD_ONE("current_data", "false"),
                .probe = PROBE("current_data"),
                .scan = SCAN("current_data", ""),
                .incomplete = INCOMPLETE("current_data"),
                .insert = INSERT_IMAGES("current_data", "", "", "", ""),
                .replace = INSERT_IMAGES("current_data", "", "", "", REPLACE("")),
                .remove = DELETE_BY_KEY("current_data"),
        },
        {
                .load = LOAD("v3_current_data", MARKER),
                .load_one = LOAD_ONE("v3_current_data", MARKER),
                .probe = PROBE("v3_current_data"),
                .scan = SCAN("v3_current_data", " AND pending_delete IS NULL"),
                .incomplete = INCOMPLETE("v3_current_data"),
                .insert = INSERT_IMAGES("v3_current_data", ", pending_delete", ", p", ", $7::bigint[]", ""),
                .replace = INSERT_IMAGES("v3_current_data", ", pending_delete", ", p", ", $7::bigint[]",
                                         REPLACE(", pending_delete = EXCLUDED.pending_delete")),
                .remove = DELETE_BY_KEY("v3_current_data"),
        },
};

const struct row_statements *rows_statements(const struct row_table *t)
{
	return &statements[t->version >= 3];
}

const char rows_complete[] = DELETE_BY_KEY("syncline_incomplete_rows");

bool pg_rows_prepare(struct pg_conn *conn, struct error *err)
{
	return pg_command(conn,
	                  "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;"
	                  " SET plan_cache_mode = force_generic_plan; SET jit = off",
	                  err);
}

/* ---- single statements ---------------------------------------------------------------------------------------------------------------------- */

struct pg_param rows_int4(char room[4], int32_t v)
{
	be32_put(room, (uint32_t)v);
	return (struct pg_param){room, 4};
}

struct pg_param rows_int8(char room[8], int64_t v)
{
	be64_put(room, (uint64_t)v);
	return (struct pg_param){room, 8};
}

struct pg_param rows_bytes(struct slice s)
{
	return (struct pg_param){s.p ? s.p : "", s.n};
}

bool rows_prepared(struct pg_conn *conn, const char *sql, struct error *err)
{
	char name[16];
	return pg_prepare(conn, sql, name, PG_TIMEOUT_MS, err);
}

PGresult *rows_run(struct pg_conn *conn, const char *sql, int count, const struct pg_param *params, struct error *err)
{
	PGresult *res = NULL;
	if (!rows_prepared(conn, sql, err) || !pg_pipeline_begin(conn, err))
		return NULL;
	bool sent = pg_pipeline_send(conn, sql, count, params, err);
	return pg_pipeline_end(conn, &res, 1, sent ? err : NULL) && sent ? res : NULL;
}

struct slice rows_value(const PGresult *res, int row, int column)
{
	return slice_make(PQgetvalue(res, row, column), (size_t)PQgetlength(res, row, column));
}

int64_t rows_i64(const PGresult *res, int row, int column)
{
	return (int64_t)be64_get(PQgetvalue(res, row, column));
}

bool rows_bool(const PGresult *res, int row, int column)
{
	return PQgetvalue(res, row, column)[0] != 0;
}

bool rows_savepoint(struct pg_conn *conn, struct error *err)
{
	return pg_command(conn, "SAVEPOINT rows", err);
}

bool rows_back_to_savepoint(struct pg_conn *conn, struct error *err)
{
	return pg_command(conn, "ROLLBACK TO SAVEPOINT rows", err);
}
