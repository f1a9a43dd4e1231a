/*
 * compact_buckets.c: MOVE and CLEAR in the buckets of a stream (compact_buckets.h).
 *
 * How far a bucket was compacted lies in the side table syncline_compacted: what came since tells whether it is worth while again, by the index
 * alone. Without a threshold every bucket is walked through.
 */
#include "storage/postgres/compact_buckets.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "storage/compact_walk.h"
#include "storage/postgres/arrays.h"
#include "storage/postgres/request_users.h"

#define SCAN_STEP 200
#define CLEAR_ATTEMPTS 5

struct bucket {
	struct pg_compaction *c;
	const char *stream; /* number as text */
	struct slice name;
	struct compact_walk walk;
};

static uint64_t get_u64(const PGresult *r, int row, int column)
{
	return strtoull(PQgetvalue(r, row, column), NULL, 10);
}

static struct slice get_bytes(const PGresult *r, int row, int column)
{
	return slice_make(PQgetvalue(r, row, column), (size_t)PQgetlength(r, row, column));
}

/* ---- MOVE -------------------------------------------------------------------------------------------------------------------------- */

static bool write_moves(struct bucket *b, struct error *err)
{
	static const char sql[] =
	        "UPDATE bucket_data d SET op = 'MOVE', target_op = m.target, table_name = NULL, row_id = NULL, source_table = "
	        "NULL,"
	        " source_key = NULL, data = NULL FROM unnest($3::bigint[], $4::bigint[]) AS m (op_id, target)"
	        " WHERE d.group_id = ($1::bigint[])[1] AND d.bucket_name = ($2::text[])[1] AND d.op_id = m.op_id"
	        " AND d.op IN ('PUT', 'REMOVE')";
	struct pg_array stream = {0}, name = {0}, ops = {0}, targets = {0};
	int64_t since = clock_mono_us();
	if (!b->walk.move_count)
		return true;
	pg_array_begin(&stream, PG_ARRAY_INT8);
	pg_array_begin(&name, PG_ARRAY_TEXT);
	pg_array_begin(&ops, PG_ARRAY_INT8);
	pg_array_begin(&targets, PG_ARRAY_INT8);
	pg_array_i64(&stream, b->c->stream);
	pg_array_bytes(&name, b->name);
	for (size_t i = 0; i < b->walk.move_count; i++) {
		pg_array_i64(&ops, (int64_t)b->walk.moves[i].op_id);
		pg_array_i64(&targets, (int64_t)b->walk.moves[i].target);
	}
	PGresult *r = pg_arrays_query(b->c->store, sql, (struct pg_array *const[]){&stream, &name, &ops, &targets}, 4, err);
	if (r)
		b->c->report->moved += strtoull(PQcmdTuples(r), NULL, 10);
	PQclear(r);
	pg_array_free(&stream);
	pg_array_free(&name);
	pg_array_free(&ops);
	pg_array_free(&targets);
	b->walk.move_count = 0;
	pg_compact_rest(b->c, since);
	return r != NULL;
}

/* ---- the walk ---------------------------------------------------------------------------------------------------------------------- */

static enum op_kind kind_of(const char *text)
{
	return strcmp(text, "PUT") == 0      ? OP_PUT
	       : strcmp(text, "REMOVE") == 0 ? OP_REMOVE
	       : strcmp(text, "MOVE") == 0   ? OP_MOVE
	                                     : OP_CLEAR;
}

/* Bytes that are equal for equal rows: object type, object id, table and key of the source. */
static struct slice row_of(struct buf *out, const PGresult *r, int row)
{
	buf_clear(out);
	for (int column = 2; column < 6; column++)
		buf_text(out, get_bytes(r, row, column));
	return buf_slice(out);
}

static bool walk_rows(struct bucket *b, const PGresult *r, struct error *err)
{
	struct buf row = {0};
	bool ok = true;
	for (int i = 0; ok && i < PQntuples(r); i++) {
		struct slice first;
		struct compact_op op = {.op_id = get_u64(r, i, 0), .kind = kind_of(PQgetvalue(r, i, 1))};
		if (op.kind == OP_PUT || op.kind == OP_REMOVE)
			op.row = row_of(&row, r, i);
		compact_walk_op(&b->walk, &op, &first);
		ok = b->walk.move_count < b->c->o.move_step || write_moves(b, err);
	}
	buf_free(&row);
	return ok;
}

/* From the newest operation to the oldest. *complete: the first one was reached. */
static bool walk_back(struct bucket *b, bool *complete, struct error *err)
{
	static const char sql[] = "SELECT d.op_id::text, op, convert_to(coalesce(table_name, ''), 'UTF8'), "
	                          "convert_to(coalesce(row_id, ''), 'UTF8'),"
	                          " convert_to(coalesce(source_table, ''), 'UTF8'), coalesce(source_key, '') FROM bucket_data d"
	                          " WHERE group_id = $1::integer AND bucket_name = $2 AND op_id < $3::bigint ORDER BY d.op_id "
	                          "DESC LIMIT $4::bigint";
	char below[24], count[24];
	const char *values[] = {b->stream, b->name.p, below, count};
	const struct pg_values v = {.count = 4, .values = values, .binary_result = true};
	uint64_t at = b->c->limit + 1;
	*complete = false;
	snprintf(count, sizeof(count), "%zu", b->c->o.read_step);
	while (pg_compact_go_on(b->c)) {
		snprintf(below, sizeof(below), "%llu", (unsigned long long)at);
		PGresult *r = pg_pool_query(b->c->store->pool, sql, &v, err);
		bool ok = r && walk_rows(b, r, err);
		size_t n = r ? (size_t)PQntuples(r) : 0;
		if (ok && n)
			at = get_u64(r, (int)n - 1, 0);
		PQclear(r);
		if (!ok)
			return false;
		b->c->report->walked += n;
		if (n < b->c->o.read_step) {
			*complete = true;
			return true;
		}
	}
	return true;
}

/* ---- CLEAR ------------------------------------------------------------------------------------------------------------------------- */

/* One transaction: the oldest operations of the run become one CLEAR. The checksum is signed, as the reference writes it. */
static const char clear_sql[] =
        "WITH run AS MATERIALIZED (SELECT op_id FROM bucket_data WHERE group_id = $1::integer AND bucket_name = $2"
        " AND op_id <= $3::bigint ORDER BY op_id LIMIT $4::bigint),"
        " gone AS (DELETE FROM bucket_data d USING run WHERE d.group_id = $1::integer AND d.bucket_name = $2 AND d.op_id = "
        "run.op_id"
        " RETURNING d.op_id, d.op, d.checksum, d.target_op),"
        " sum AS (SELECT max(op_id) AS last, (((sum(checksum) % 4294967296) + 6442450944) % 4294967296 - 2147483648)::bigint AS "
        "checksum,"
        " max(target_op) AS target, count(*) AS n, count(*) FILTER (WHERE op = 'PUT') AS puts,"
        " count(*) FILTER (WHERE op <> 'CLEAR') AS others FROM gone),"
        " added AS (INSERT INTO bucket_data (group_id, bucket_name, op_id, op, checksum, target_op)"
        " SELECT $1::integer, $2, last, 'CLEAR', checksum, target FROM sum WHERE n > 0 RETURNING op_id)"
        " SELECT n, puts, others, last, (SELECT count(*) FROM added) FROM sum";

static bool clear_once(struct bucket *b, struct pg_conn *conn, uint64_t *last, struct error *err)
{
	char run_last[24], step[24];
	const char *values[] = {b->stream, b->name.p, run_last, step};
	const struct pg_values v = {.count = 4, .values = values};
	snprintf(run_last, sizeof(run_last), "%llu", (unsigned long long)b->walk.run_last);
	snprintf(step, sizeof(step), "%zu", b->c->o.clear_step);
	if (!pg_command(conn, "BEGIN ISOLATION LEVEL REPEATABLE READ", err))
		return false;
	PGresult *r = pg_prepared(conn, clear_sql, &v, PG_TIMEOUT_MS, err);
	bool ok = r != NULL;
	if (ok && get_u64(r, 0, 1))
		ok = error_set(err, "PSYNC_S1101", "Unexpected PUT operation in the leading run of the bucket %.*s",
		               SLICE_ARG(b->name));
	uint64_t cleared = ok ? get_u64(r, 0, 2) : 0;
	*last = ok && get_u64(r, 0, 0) ? get_u64(r, 0, 3) : b->walk.run_last;
	PQclear(r);
	if (ok && pg_command(conn, "COMMIT", err)) {
		b->c->report->cleared += cleared;
		return true;
	}
	if (!conn->broken)
		pg_command(conn, "ROLLBACK", NULL);
	return false;
}

/* Oldest first; each transaction leaves a CLEAR, which the next one takes in. */
static bool clear_run(struct bucket *b, struct error *err)
{
	uint64_t last = 0;
	bool ok = true;
	if (!b->walk.run_count)
		return true;
	for (int failures = 0; ok && last < b->walk.run_last && pg_compact_go_on(b->c);) {
		int64_t since = clock_mono_us();
		struct pg_conn *conn = pg_pool_take(b->c->store->pool, err);
		ok = conn && clear_once(b, conn, &last, err);
		if (!ok && conn && pg_may_retry(conn) && ++failures < CLEAR_ATTEMPTS)
			ok = true;
		pg_pool_give(b->c->store->pool, conn);
		pg_compact_rest(b->c, since);
	}
	return ok;
}

/* ---- one bucket -------------------------------------------------------------------------------------------------------------------- */

static bool note_compacted(struct bucket *b, struct error *err)
{
	static const char sql[] =
	        "INSERT INTO syncline_compacted (group_id, bucket_name, op_id) VALUES ($1::integer, $2, $3::bigint)"
	        " ON CONFLICT (group_id, bucket_name) DO UPDATE SET op_id = excluded.op_id";
	char limit[24];
	const char *values[] = {b->stream, b->name.p, limit};
	snprintf(limit, sizeof(limit), "%llu", (unsigned long long)b->c->limit);
	PGresult *r = pg_pool_texts(b->c->store->pool, sql, 3, values, err);
	PQclear(r);
	return r != NULL;
}

/* The name ends with a NUL. */
static bool compact_bucket(struct pg_compaction *c, const char *stream, struct slice name, struct error *err)
{
	struct bucket b = {.c = c, .stream = stream, .name = name, .walk = {.memory = c->o.memory}};
	bool complete;
	c->report->buckets++;
	bool ok = walk_back(&b, &complete, err) && write_moves(&b, err);
	ok = ok && (!complete || clear_run(&b, err)) && (!complete || c->report->stopped || note_compacted(&b, err));
	compact_walk_free(&b.walk);
	return ok;
}

/* ---- which buckets ----------------------------------------------------------------------------------------------------------------- */

/* The next buckets by name, each found by a descent of the index, with what came since it was compacted (at most $4 is counted) and whether that is
 * the share $5 of all its operations. */
static const char scan_sql[] =
        "WITH RECURSIVE b AS ((SELECT bucket_name AS name, 1 AS n FROM bucket_data WHERE group_id = $1::integer AND bucket_name "
        "> $2"
        " ORDER BY bucket_name LIMIT 1) UNION ALL SELECT (SELECT d.bucket_name FROM bucket_data d WHERE d.group_id = $1::integer"
        " AND d.bucket_name > b.name ORDER BY d.bucket_name LIMIT 1), b.n + 1 FROM b WHERE b.name IS NOT NULL AND b.n < 200),"
        " f AS (SELECT b.n, b.name, (SELECT count(*) FROM (SELECT 1 FROM bucket_data d WHERE d.group_id = $1::integer"
        " AND d.bucket_name = b.name AND d.op_id > coalesce(c.op_id, 0) AND d.op_id <= $3::bigint LIMIT $4::bigint) x) AS fresh"
        " FROM b LEFT JOIN syncline_compacted c ON c.group_id = $1::integer AND c.bucket_name = b.name WHERE b.name IS NOT NULL)"
        " SELECT name, fresh, CASE WHEN $5::float8 <= 0 OR fresh = 0 THEN 0 ELSE (SELECT count(*) FROM (SELECT 1 FROM "
        "bucket_data d"
        " WHERE d.group_id = $1::integer AND d.bucket_name = f.name LIMIT floor(fresh / $5::float8)::bigint + 1) x) END"
        " FROM f ORDER BY n";
#define FRESH_MAX "1000000"

static bool is_wanted(const struct pg_compaction *c, uint64_t fresh, uint64_t all)
{
	if (!c->o.min_dead)
		return true;
	return fresh >= c->o.min_dead && (double)fresh >= c->o.min_share * (double)all;
}

static bool compact_all(struct pg_compaction *c, const char *stream, struct error *err)
{
	struct buf after = {0};
	char limit[24], share[32];
	int found = SCAN_STEP;
	bool ok = true;
	snprintf(limit, sizeof(limit), "%llu", (unsigned long long)c->limit);
	snprintf(share, sizeof(share), "%.6f", c->o.min_dead ? c->o.min_share : 0);
	while (ok && found == SCAN_STEP && pg_compact_go_on(c)) {
		int64_t since = clock_mono_us();
		buf_putc(&after, '\0');
		const char *values[] = {stream, after.p, limit, FRESH_MAX, share};
		PGresult *r = pg_pool_texts(c->store->pool, scan_sql, 5, values, err);
		ok = r != NULL;
		found = r ? PQntuples(r) : 0;
		pg_compact_rest(c, since);
		for (int i = 0; ok && i < found && pg_compact_go_on(c); i++) {
			buf_clear(&after);
			buf_slice_append(&after, get_bytes(r, i, 0));
			if (is_wanted(c, get_u64(r, i, 1), get_u64(r, i, 2)))
				ok = compact_bucket(c, stream, get_bytes(r, i, 0), err);
		}
		PQclear(r);
	}
	buf_free(&after);
	return ok;
}

/* Named ones: those that are not of this stream are unknown. */
static bool compact_named(struct pg_compaction *c, const char *stream, struct error *err)
{
	bool ok = true;
	for (size_t i = 0; ok && i < c->o.name_count && pg_compact_go_on(c); i++) {
		char *name = xstrdup(c->o.names[i]);
		const char *values[] = {stream, name};
		PGresult *r = pg_pool_texts(c->store->pool,
		                            "SELECT 1 FROM bucket_data WHERE group_id = $1::integer AND bucket_name = $2 LIMIT 1",
		                            2, values, err);
		ok = r != NULL;
		if (ok && PQntuples(r))
			ok = compact_bucket(c, stream, slice_cstr(name), err);
		else if (ok)
			c->report->unknown++;
		PQclear(r);
		free(name);
	}
	return ok;
}

bool pg_compact_buckets(struct pg_compaction *c, struct error *err)
{
	char stream[24];
	snprintf(stream, sizeof(stream), "%lld", (long long)c->stream);
	return c->o.name_count ? compact_named(c, stream, err) : compact_all(c, stream, err);
}
