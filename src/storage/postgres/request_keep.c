/*
 * request_keep.c: how long records of checkpoint requests are kept (checkpoint-requests 5).
 *
 * Stamps are the database's: of a user with a record in write_checkpoints the one there, of others the one in the side table. A record goes when
 * it is stamped, older than the retention and not pending; the greatest id ever given stays as its floor.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/codec.h"
#include "storage/postgres/arrays.h"
#include "storage/postgres/custom.h"
#include "storage/postgres/requests_internal.h"

/* Users that one step of the clean-up looks at. */
#define EXPIRE_STEP PG_USERS_STEP
/* A row of heads is of no use once it was passed for so long: nodes that are further behind were cut, and look at everybody. */
#define HEADS_KEPT "10 minutes"

/* ---- heads -------------------------------------------------------------------------------------------------------------------------- */

/* Any process may. */
static bool trim_heads(struct pg_requests *r, struct error *err)
{
	static const char sql[] = "DELETE FROM syncline_request_heads WHERE lsn <= ($1::bigint[])[1]"
	                          " AND stored_at < now() - interval '" HEADS_KEPT "'";
	struct served p = storage_served(r->s);
	if (!p.valid)
		return true;
	return pg_done(pg_ms_query(r->store, sql, (int64_t)p.position.lsn, NULL, 0, err));
}

/* ---- proof of life ------------------------------------------------------------------------------------------------------------------ */

bool pg_touch_requests(struct storage *s, const struct user_key *users, size_t count, struct error *err)
{
	static const char sql[] =
	        "WITH mirrored AS (UPDATE write_checkpoints SET checkpoint_requested_at = now() WHERE user_id = ANY ($2::text[])"
	        " AND checkpoint_requested_at < now() - ($1::bigint[])[1] * interval '1 millisecond')"
	        " UPDATE syncline_requests SET stamped_at = now() WHERE user_key = ANY ($3::bytea[])"
	        " AND stamped_at < now() - ($1::bigint[])[1] * interval '1 millisecond'";
	return pg_users_by_steps(pg_store_of(s), sql, s->retention_ms / 2, users, count, err) &&
	       pg_custom_touch(s, users, count, err) && trim_heads(pg_requests_of(s), err);
}

/* ---- removal ------------------------------------------------------------------------------------------------------------------------ */

struct expiry {
	struct pg_requests *r;
	struct arena arena;
	struct pg_array keys, versions, texts, hashes, floors;
	size_t count;
};

/* Old enough and not pending: to be removed, unless it changes in between. */
static bool look_at(void *ctx, size_t index, struct pg_user *u)
{
	struct expiry *e = ctx;
	struct storage *s = e->r->s;
	struct served p = storage_served(s);
	(void)index;
	if (!u->found || !u->before.stamped || s->wall_ms() - u->before.stamp_ms <= s->retention_ms ||
	    user_pending(&u->before, &p))
		return false;
	pg_array_bytes(&e->keys, u->row_key);
	pg_array_i64(&e->versions, u->version);
	pg_array_bytes(&e->texts, u->text);
	pg_array_bytes(&e->hashes, slice_make(u->hash, sizeof(u->hash)));
	pg_array_i64(&e->floors, (int64_t)u->before.floor);
	e->count++;
	return false;
}

static const char remove_sql[] =
        "WITH d AS MATERIALIZED (SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::text[], $4::bytea[], $5::bigint[])"
        " AS t (key, version, user_text, hash, floor)),"
        " gone AS (DELETE FROM syncline_requests u USING d WHERE u.user_key = d.key AND u.version = d.version RETURNING "
        "u.user_key),"
        " mirrored AS (DELETE FROM write_checkpoints w USING d WHERE w.user_id = d.user_text"
        " AND (d.version = 0 OR d.key IN (SELECT user_key FROM gone))"
        " AND w.checkpoint_requested_at < now() - ($6::bigint[])[1] * interval '1 millisecond' RETURNING d.key)"
        " INSERT INTO syncline_request_floors AS f (user_hash, id) SELECT d.hash, d.floor FROM d WHERE d.key IN"
        " (SELECT user_key FROM gone UNION SELECT key FROM mirrored) ORDER BY d.hash"
        " ON CONFLICT (user_hash) DO UPDATE SET id = greatest(f.id, excluded.id)";

static bool remove_users(struct expiry *e, struct error *err)
{
	struct pg_array age = {0};
	pg_array_begin(&age, PG_ARRAY_INT8);
	pg_array_i64(&age, e->r->s->retention_ms);
	PGresult *r = pg_arrays_query(e->r->store, remove_sql,
	                              (struct pg_array *const[]){&e->keys, &e->versions, &e->texts, &e->hashes, &e->floors, &age},
	                              6, err);
	pg_array_free(&age);
	PQclear(r);
	return r != NULL;
}

/* These keys, which were old enough a moment ago. */
static bool expire_keys(struct pg_requests *r, const struct slice *keys, size_t count, struct error *err)
{
	struct expiry e = {.r = r};
	const struct users_edit edit = {.r = r, .change = look_at, .ctx = &e};
	pg_array_begin(&e.keys, PG_ARRAY_BYTEA);
	pg_array_begin(&e.versions, PG_ARRAY_INT8);
	pg_array_begin(&e.texts, PG_ARRAY_TEXT);
	pg_array_begin(&e.hashes, PG_ARRAY_BYTEA);
	pg_array_begin(&e.floors, PG_ARRAY_INT8);
	bool ok = users_edit(&edit, keys, count, err) && (!e.count || remove_users(&e, err));
	pg_array_free(&e.keys);
	pg_array_free(&e.versions);
	pg_array_free(&e.texts);
	pg_array_free(&e.hashes);
	pg_array_free(&e.floors);
	return ok;
}

/* In the order of stamps, which have an index. The place where a step ended: ages are measured from `now`, the moment of the first one. */
struct expiry_scan {
	const char *first_sql, *next_sql;
	bool texts; /* the rows name users by text */
	char stamp[48];
	struct buf last;
};

static bool read_step(struct pg_requests *r, struct expiry_scan *scan, struct arena *arena, struct slice **keys, size_t *count,
                      struct error *err)
{
	struct pg_array stamp = {0}, last = {0};
	bool first = !scan->stamp[0];
	pg_array_begin(&stamp, PG_ARRAY_TEXT);
	pg_array_begin(&last, scan->texts ? PG_ARRAY_TEXT : PG_ARRAY_BYTEA);
	pg_array_bytes(&stamp, slice_cstr(scan->stamp));
	pg_array_bytes(&last, scan->last.p ? buf_slice(&scan->last) : SLICE(""));
	PGresult *rows = pg_ms_query(r->store, first ? scan->first_sql : scan->next_sql, r->s->retention_ms,
	                             (struct pg_array *const[]){&stamp, &last}, first ? 0 : 2, err);
	pg_array_free(&stamp);
	pg_array_free(&last);
	*count = rows ? (size_t)PQntuples(rows) : 0;
	*keys = arena_array(arena, struct slice, *count + 1);
	for (size_t i = 0; i < *count; i++) {
		struct slice name = slice_make(PQgetvalue(rows, (int)i, 0), (size_t)PQgetlength(rows, (int)i, 0));
		struct buf key = {0};
		if (scan->texts)
			pg_user_of_text(&key, name);
		else
			buf_append(&key, name.p, name.n);
		(*keys)[i] = arena_copy(arena, buf_slice(&key));
		buf_free(&key);
		if (i + 1 < *count)
			continue;
		buf_clear(&scan->last);
		buf_slice_append(&scan->last, slice_make(PQgetvalue(rows, (int)i, 1), (size_t)PQgetlength(rows, (int)i, 1)));
		snprintf(scan->stamp, sizeof(scan->stamp), "%s", PQgetvalue(rows, (int)i, 2));
	}
	PQclear(rows);
	return rows != NULL;
}

static bool expire_scan(struct pg_requests *r, struct expiry_scan *scan, struct error *err)
{
	size_t count = EXPIRE_STEP;
	bool ok = true;
	while (ok && count == EXPIRE_STEP) {
		struct arena arena = {0};
		struct slice *keys;
		ok = read_step(r, scan, &arena, &keys, &count, err) && expire_keys(r, keys, count, err);
		arena_free(&arena);
	}
	buf_free(&scan->last);
	return ok;
}

#define STEP_TEXT "500"
_Static_assert(EXPIRE_STEP == 500, "the statements say so, too");

bool pg_expire_requests(struct storage *s, struct error *err)
{
	struct pg_requests *r = pg_requests_of(s);
	struct expiry_scan mirrored = {
	        .texts = true,
	        .first_sql = "SELECT user_id, user_id, checkpoint_requested_at::text FROM write_checkpoints WHERE "
	                     "checkpoint_requested_at"
	                     " < now() - ($1::bigint[])[1] * interval '1 millisecond'"
	                     " ORDER BY checkpoint_requested_at, user_id LIMIT " STEP_TEXT,
	        .next_sql = "SELECT user_id, user_id, checkpoint_requested_at::text FROM write_checkpoints WHERE "
	                    "checkpoint_requested_at"
	                    " < now() - ($1::bigint[])[1] * interval '1 millisecond' AND (checkpoint_requested_at, user_id) >"
	                    " (($2::text[])[1]::timestamptz, ($3::text[])[1])"
	                    " ORDER BY checkpoint_requested_at, user_id LIMIT " STEP_TEXT};
	struct expiry_scan own = {
	        .first_sql =
	                "SELECT coalesce(full_key, user_key), user_key, stamped_at::text FROM syncline_requests WHERE stamped_at"
	                " < now() - ($1::bigint[])[1] * interval '1 millisecond' ORDER BY stamped_at, user_key LIMIT " STEP_TEXT,
	        .next_sql =
	                "SELECT coalesce(full_key, user_key), user_key, stamped_at::text FROM syncline_requests WHERE stamped_at"
	                " < now() - ($1::bigint[])[1] * interval '1 millisecond' AND (stamped_at, user_key) >"
	                " (($2::text[])[1]::timestamptz, ($3::bytea[])[1]) ORDER BY stamped_at, user_key LIMIT " STEP_TEXT};
	return expire_scan(r, &mirrored, err) && expire_scan(r, &own, err) && pg_custom_expire(s, err);
}
