/* compact.c: see compact.h. */
#include "storage/postgres/compact.h"

#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "storage/compact_walk.h"
#include "storage/postgres/compact_buckets.h"
#include "storage/postgres/store.h"

/* ---- the stream and the limit -------------------------------------------------------------------------------------------------------- */

/* Notes the checkpoint, and finds the limit: $1 margin in ms. */
static const char stream_sql[] =
        "WITH active AS (SELECT id, slot_name, last_checkpoint, last_checkpoint_ts FROM sync_rules WHERE state IN ('ACTIVE', "
        "'ERRORED')"
        " AND last_checkpoint IS NOT NULL ORDER BY id DESC LIMIT 1),"
        " noted AS (INSERT INTO syncline_checkpoints (group_id, op_id, seen_at) SELECT id, last_checkpoint, now() FROM active"
        " ON CONFLICT DO NOTHING),"
        " gone AS (DELETE FROM syncline_checkpoints c WHERE c.seen_at < now() - interval '1 day'"
        " OR NOT EXISTS (SELECT 1 FROM active WHERE id = c.group_id))"
        " SELECT a.id, a.last_checkpoint, CASE WHEN $1::bigint = 0 OR a.last_checkpoint_ts < now() - $1::bigint * interval '1 "
        "millisecond'"
        " THEN a.last_checkpoint ELSE coalesce((SELECT max(op_id) FROM syncline_checkpoints c WHERE c.group_id = a.id"
        " AND c.seen_at < now() - $1::bigint * interval '1 millisecond' AND c.op_id <= a.last_checkpoint), 0) END FROM active a";

static bool find_stream(struct pg_compaction *c, struct error *err)
{
	char margin[24];
	const char *values[] = {margin};
	snprintf(margin, sizeof(margin), "%lld", (long long)(c->o.margin_ms > 0 ? c->o.margin_ms : 0));
	PGresult *r = pg_pool_texts(c->store->pool, stream_sql, 1, values, err);
	if (!r)
		return false;
	c->stream = 0;
	if (PQntuples(r)) {
		c->stream = strtoll(PQgetvalue(r, 0, 0), NULL, 10);
		c->limit = strtoull(PQgetvalue(r, 0, 2), NULL, 10);
		if (c->o.max_op_id && c->o.max_op_id < c->limit)
			c->limit = c->o.max_op_id;
	}
	PQclear(r);
	return true;
}

/* ---- steps -------------------------------------------------------------------------------------------------------------------------- */

bool pg_compact_go_on(struct pg_compaction *c)
{
	if (!c->report->stopped && c->o.go_on && !c->o.go_on(c->o.ctx))
		c->report->stopped = true;
	return !c->report->stopped;
}

void pg_compact_rest(struct pg_compaction *c, int64_t since_us)
{
	int64_t us = clock_mono_us() - since_us;
	if (!c->o.gentle)
		return;
	if (us > 1000000)
		us = 1000000;
	struct timespec t = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
	nanosleep(&t, NULL);
}

/* ---- lookups ------------------------------------------------------------------------------------------------------------------------- */

/* Entries that came since the last time may have made older ones of the same row and lookup superfluous; each step looks at the next of them. An
 * entry is numbered by the sequence of the whole store, so they have an index. */
static const char lookups_sql[] =
        "WITH fresh AS MATERIALIZED (SELECT id, group_id, lookup, source_table, source_key FROM bucket_parameters"
        " WHERE id > $2::bigint AND id <= $3::bigint ORDER BY id LIMIT 2000),"
        " keys AS (SELECT DISTINCT lookup, source_table, source_key FROM fresh WHERE group_id = $1::integer),"
        " ranked AS (SELECT p.id, p.bucket_parameters, row_number() OVER (PARTITION BY p.source_table, p.source_key, p.lookup"
        " ORDER BY p.id DESC) AS n FROM keys k JOIN bucket_parameters p ON p.group_id = $1::integer"
        " AND p.source_table = k.source_table AND p.source_key = k.source_key AND p.lookup = k.lookup WHERE p.id <= $3::bigint),"
        " gone AS (DELETE FROM bucket_parameters p USING ranked d WHERE p.id = d.id AND (d.n > 1 OR d.bucket_parameters = '[]')"
        " RETURNING p.id)"
        " SELECT (SELECT max(id) FROM fresh), (SELECT count(*) FROM gone), (SELECT count(*) FROM fresh)";
#define LOOKUP_STEP 2000

static const char lookups_done_sql[] =
        "INSERT INTO syncline_compacted (group_id, bucket_name, op_id) VALUES ($1::integer, '', $2::bigint)"
        " ON CONFLICT (group_id, bucket_name) DO UPDATE SET op_id = greatest(syncline_compacted.op_id, excluded.op_id)";

static bool lookups_begin(struct pg_compaction *c, char after[24], struct error *err)
{
	char id[16];
	const char *values[] = {id};
	snprintf(id, sizeof(id), "%lld", (long long)c->stream);
	PGresult *r = pg_pool_texts(c->store->pool,
	                            "SELECT op_id FROM syncline_compacted WHERE group_id = $1::integer AND bucket_name = ''", 1,
	                            values, err);
	if (!r)
		return false;
	snprintf(after, 24, "%s", PQntuples(r) ? PQgetvalue(r, 0, 0) : "0");
	PQclear(r);
	return true;
}

static bool lookups_step(struct pg_compaction *c, const char *id, char after[24], const char *limit, bool *more,
                         struct error *err)
{
	const char *values[] = {id, after, limit};
	PGresult *r = pg_pool_texts(c->store->pool, lookups_sql, 3, values, err);
	if (!r)
		return false;
	*more = strtoull(PQgetvalue(r, 0, 2), NULL, 10) == LOOKUP_STEP;
	c->report->lookups += strtoull(PQgetvalue(r, 0, 1), NULL, 10);
	if (!PQgetisnull(r, 0, 0))
		snprintf(after, 24, "%s", PQgetvalue(r, 0, 0));
	PQclear(r);
	PGresult *done = pg_pool_texts(c->store->pool, lookups_done_sql, 2, values, err);
	PQclear(done);
	return done != NULL;
}

static bool compact_lookups(struct pg_compaction *c, struct error *err)
{
	char id[16], after[24], limit[24];
	bool more = true, ok = lookups_begin(c, after, err);
	snprintf(id, sizeof(id), "%lld", (long long)c->stream);
	snprintf(limit, sizeof(limit), "%llu", (unsigned long long)c->limit);
	while (ok && more && pg_compact_go_on(c)) {
		int64_t since = clock_mono_us();
		ok = lookups_step(c, id, after, limit, &more, err);
		if (more)
			pg_compact_rest(c, since);
	}
	return ok;
}

/* ---- a run --------------------------------------------------------------------------------------------------------------------------- */

/* Of streams that are no more. */
static bool forget_old_streams(struct pg_compaction *c, struct error *err)
{
	PGresult *r =
	        pg_pool_texts(c->store->pool,
	                      "DELETE FROM syncline_compacted WHERE NOT EXISTS (SELECT 1 FROM sync_rules WHERE id = group_id"
	                      " AND state IN ('ACTIVE', 'ERRORED', 'PROCESSING'))",
	                      0, NULL, err);
	PQclear(r);
	return r != NULL;
}

static bool run(struct pg_compaction *c, struct error *err)
{
	if (c->o.dropped && !pg_remove_stopped(c, err))
		return false;
	if (!c->o.buckets && !c->o.lookups)
		return true;
	if (!find_stream(c, err))
		return false;
	if (!c->stream || !c->limit)
		return true;
	return forget_old_streams(c, err) && (!c->o.buckets || pg_compact_buckets(c, err)) &&
	       (!c->o.lookups || !pg_compact_go_on(c) || compact_lookups(c, err));
}

bool pg_compact(struct storage *s, const struct compact_options *o, struct compact_report *out, struct error *err)
{
	struct pg_compaction c = {.s = s, .store = pg_store_of(s), .o = *o, .report = out};
	return run(&c, err);
}

/* ---- sizes --------------------------------------------------------------------------------------------------------------------------- */

bool pg_sizes(struct storage *s, struct storage_sizes *out, struct error *err)
{
	static const char sql[] =
	        "SELECT pg_total_relation_size('bucket_data'), pg_total_relation_size('bucket_parameters'),"
	        " pg_total_relation_size('current_data') + coalesce(pg_total_relation_size(to_regclass('v3_current_data')), 0),"
	        " pg_database_size(current_database()) WHERE EXISTS (SELECT 1 FROM sync_rules WHERE state IN ('ACTIVE', "
	        "'ERRORED'))";
	*out = (struct storage_sizes){0};
	PGresult *r = pg_pool_texts(pg_store_of(s)->pool, sql, 0, NULL, err);
	if (!r)
		return false;
	if (PQntuples(r)) {
		out->operations = strtoull(PQgetvalue(r, 0, 0), NULL, 10);
		out->lookups = strtoull(PQgetvalue(r, 0, 1), NULL, 10);
		out->rows = strtoull(PQgetvalue(r, 0, 2), NULL, 10);
		out->file = strtoull(PQgetvalue(r, 0, 3), NULL, 10);
		out->used = out->operations + out->lookups + out->rows;
	}
	PQclear(r);
	return true;
}
