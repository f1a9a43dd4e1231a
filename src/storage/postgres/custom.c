/* custom.c: see custom.h. */
#include "storage/postgres/custom.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/codec.h"
#include "storage/custom.h"
#include "storage/postgres/requests.h"
#include "storage/postgres/request_users.h"

/* One id that waits for the transaction. */
struct queued {
	struct pg_user user;
	struct custom_checkpoint made;
	int32_t stream_id;
	uint8_t events[32];
};

struct pg_custom {
	struct pg_store *store;
	struct arena arena;
	struct queued *items;
	size_t count, cap;
};

struct pg_custom *pg_custom_new(struct pg_store *store)
{
	struct pg_custom *c = xcalloc(1, sizeof(*c));
	c->store = store;
	return c;
}

void pg_custom_clear(struct pg_custom *c)
{
	c->count = 0;
	arena_reset(&c->arena);
}

void pg_custom_free(struct pg_custom *c)
{
	if (!c)
		return;
	free(c->items);
	arena_free(&c->arena);
	free(c);
}

bool pg_custom_queued(const struct pg_custom *c)
{
	return c->count > 0;
}

/* ---- streams and their events ------------------------------------------------------------------------------------------------------- */

bool pg_custom_mode(struct storage *s)
{
	pthread_mutex_lock(&s->lock);
	bool on = s->active && s->active->events;
	pthread_mutex_unlock(&s->lock);
	return on;
}

/* The stream whose events have this number. */
static const struct pg_stream *stream_of(struct pg_store *store, uint64_t events)
{
	const struct pg_stream *both[] = {pg_store_active(store), pg_store_pending(store)};
	for (size_t i = 0; i < 2; i++)
		if (both[i] && both[i]->stored && both[i]->stored->events == events)
			return both[i];
	return NULL;
}

bool pg_custom_checkpoint(struct storage *s, const struct custom_checkpoint *made, struct error *err)
{
	struct pg_custom *c = pg_store_of(s)->custom;
	const struct pg_stream *stream = stream_of(c->store, made->events);
	struct buf key = {0};
	if (!stream)
		return error_set(err, "PSYNC_S1101", "a write checkpoint came for events that no stream has");
	c->items = xgrow(c->items, c->count, &c->cap, sizeof(*c->items));
	struct queued *q = &c->items[c->count++];
	*q = (struct queued){.made = *made, .stream_id = stream->id};
	plan_write_checkpoint_events(stream->plan, q->events);
	user_key_encode(&key, &made->user);
	q->user.key = arena_copy(&c->arena, buf_slice(&key));
	pg_user_name(&q->user, &c->arena);
	buf_free(&key);
	return true;
}

/* ---- records ------------------------------------------------------------------------------------------------------------------------ */

/* Of the user under these events, in the newest stream up to this one; 1, 0 or -1. */
static int read_record(const PGresult *r, struct custom_record *out, struct error *err)
{
	out->count = 0;
	if (!r)
		return -1;
	if (!PQntuples(r))
		return 0;
	return custom_decode(out, slice_make(PQgetvalue(r, 0, 0), (size_t)PQgetlength(r, 0, 0)), err) ? 1 : -1;
}

/* All of a record's entries are of the same events, whichever stream wrote them. */
static struct custom_tags tags_of(const struct custom_record *r, uint64_t tag, uint64_t out[CUSTOM_ENTRIES_MAX + 2])
{
	size_t n = 0;
	for (size_t i = 0; i < r->count; i++)
		out[n++] = r->entries[i].tag;
	out[n++] = tag;
	return (struct custom_tags){out, n, 0};
}

static const char read_sql[] =
        "SELECT record FROM syncline_custom WHERE user_key = $1 AND events = $2 AND group_id <= $3::integer"
        " ORDER BY group_id DESC LIMIT 1";

struct key_values {
	const char *values[6];
	int lengths[6], formats[6];
	char number[24];
	struct pg_values v;
};

static struct pg_values *key_values(struct key_values *k, struct slice key, const uint8_t events[32], int32_t stream_id)
{
	snprintf(k->number, sizeof(k->number), "%d", stream_id);
	k->values[0] = key.p;
	k->values[1] = (const char *)events;
	k->values[2] = k->number;
	k->lengths[0] = (int)key.n;
	k->lengths[1] = 32;
	k->lengths[2] = 0;
	k->formats[0] = k->formats[1] = 1;
	k->formats[2] = 0;
	k->v = (struct pg_values){
	        .count = 3, .values = k->values, .lengths = k->lengths, .formats = k->formats, .binary_result = true};
	return &k->v;
}

uint64_t pg_custom_acknowledged(struct storage *s, const struct user_key *user, struct position position)
{
	struct pg_store *store = pg_store_of(s);
	const struct pg_stream *active = pg_store_active(store);
	struct arena arena = {0};
	struct buf key = {0};
	struct pg_user *u = arena_calloc(&arena, sizeof(*u));
	struct custom_record r;
	struct key_values k;
	uint64_t tags[CUSTOM_ENTRIES_MAX + 2], id = 0;
	uint8_t events[32];
	struct error err = {.code = ""};
	if (!active || !active->plan || !plan_write_checkpoint_events(active->plan, events)) {
		arena_free(&arena);
		return 0;
	}
	user_key_encode(&key, user);
	u->key = buf_slice(&key);
	pg_user_name(u, &arena);
	PGresult *found = pg_pool_query(store->pool, read_sql, key_values(&k, u->row_key, events, active->id), &err);
	int got = read_record(found, &r, &err);
	PQclear(found);
	if (got > 0) {
		struct custom_tags t = tags_of(&r, 0, tags);
		const struct custom_entry *best = custom_best(&r, &t, true, position);
		id = best ? best->id : 0;
	} else if (got == 0 && u->text.p) { /* what the reference wrote has no position */
		k.values[0] = arena_cstr(&arena, u->text);
		k.values[1] = k.number;
		found = pg_pool_texts(store->pool,
		                      "SELECT write_checkpoint FROM custom_write_checkpoints WHERE user_id = $1 AND "
		                      "sync_rules_id = $2::integer",
		                      2, k.values, &err);
		id = found && PQntuples(found) ? strtoull(PQgetvalue(found, 0, 0), NULL, 10) : 0;
		got = found ? 0 : -1;
		PQclear(found);
	}
	if (got < 0)
		log_error(s->log, "Cannot read a write checkpoint: %s", err.message);
	buf_free(&key);
	arena_free(&arena);
	return id;
}

/* ---- writing ------------------------------------------------------------------------------------------------------------------------ */

static const char store_sql[] =
        "WITH kept AS (INSERT INTO syncline_custom (user_key, events, group_id, record, stamped_at)"
        " VALUES ($1, $2, $3::integer, $4, CASE WHEN $5::boolean THEN now() END) ON CONFLICT (user_key, events, group_id)"
        " DO UPDATE SET record = excluded.record, stamped_at = excluded.stamped_at),"
        " mirrored AS (INSERT INTO custom_write_checkpoints (user_id, write_checkpoint, sync_rules_id, checkpoint_requested_at)"
        " SELECT $6::text, $7::bigint, $3::integer, CASE WHEN $5::boolean THEN now() END WHERE $6::text IS NOT NULL"
        " ON CONFLICT (user_id, sync_rules_id) DO UPDATE SET write_checkpoint = excluded.write_checkpoint,"
        " checkpoint_requested_at = excluded.checkpoint_requested_at)"
        " SELECT 1";

static bool store_record(struct pg_conn *conn, const struct queued *q, const struct custom_record *r, struct error *err)
{
	struct buf record = {0};
	char stream[16], id[24];
	custom_encode(&record, r);
	snprintf(stream, sizeof(stream), "%d", q->stream_id);
	snprintf(id, sizeof(id), "%llu", (unsigned long long)q->made.id);
	const char *values[] = {
	        q->user.row_key.p, (const char *)q->events, stream, record.p, q->made.temporary ? "t" : "f", q->user.text.p, id};
	const int lengths[] = {(int)q->user.row_key.n, 32, 0, (int)record.n, 0, (int)q->user.text.n, 0};
	const int formats[] = {1, 1, 0, 1, 0, 1, 0};
	const struct pg_values v = {.count = 7, .values = values, .lengths = lengths, .formats = formats};
	PGresult *done = pg_prepared(conn, store_sql, &v, PG_TIMEOUT_MS, err);
	PQclear(done);
	buf_free(&record);
	return done != NULL;
}

static bool write_one(struct pg_custom *c, struct pg_conn *conn, const struct queued *q, const struct custom_bounds *bounds,
                      bool *wrote, struct error *err)
{
	struct custom_record r;
	struct key_values k;
	uint64_t room[CUSTOM_ENTRIES_MAX + 2];
	PGresult *found =
	        pg_prepared(conn, read_sql, key_values(&k, q->user.row_key, q->events, q->stream_id), PG_TIMEOUT_MS, err);
	int got = read_record(found, &r, err);
	PQclear(found);
	if (got < 0)
		return false;
	struct custom_tags tags = tags_of(&r, q->made.events, room);
	*wrote = q->made.origin == CUSTOM_STREAM || custom_says_more(&r, &tags, true, q->made.id, q->made.origin);
	if (!*wrote)
		return true;
	const struct custom_entry e = {.tag = q->made.events,
	                               .position = q->made.position,
	                               .id = q->made.id,
	                               .snapshot = q->made.origin == CUSTOM_SNAPSHOT,
	                               .temporary = q->made.temporary,
	                               .stamp_ms = c->store->s->wall_ms()};
	custom_add(&r, &e, &tags, bounds);
	return store_record(conn, q, &r, err);
}

/* Whom they concern, as for requests: the checkpoint at this position is news for these users. */
static bool tell_users(struct pg_conn *conn, struct position position, const struct buf *users, struct error *err)
{
	static const char sql[] =
	        "WITH head AS (INSERT INTO syncline_request_heads (lsn, id, stored_at, users)"
	        " VALUES ($1::bigint, (random() * 2147483647)::bigint, now(), $2) ON CONFLICT (lsn, id) DO UPDATE SET users ="
	        " syncline_request_heads.users || excluded.users RETURNING lsn, id)"
	        " SELECT pg_notify('" PG_REQUESTS_CHANNEL "', format('head %s %s', lsn, id)) FROM head";
	char lsn[24];
	const char *values[] = {lsn, users->p};
	const int lengths[] = {0, (int)users->n}, formats[] = {0, 1};
	const struct pg_values v = {.count = 2, .values = values, .lengths = lengths, .formats = formats};
	snprintf(lsn, sizeof(lsn), "%llu", (unsigned long long)position.lsn);
	PGresult *r = pg_prepared(conn, sql, &v, PG_TIMEOUT_MS, err);
	PQclear(r);
	return r != NULL;
}

bool pg_custom_write(struct pg_custom *c, struct pg_conn *conn, struct position applied, struct error *err)
{
	const struct custom_bounds bounds = {storage_served(c->store->s), applied};
	struct buf users = {0};
	struct position last = {0, 0};
	bool ok = true;
	for (size_t i = 0; ok && i < c->count; i++) {
		bool wrote;
		ok = write_one(c, conn, &c->items[i], &bounds, &wrote, err);
		if (!ok || !wrote)
			continue;
		buf_text(&users, c->items[i].user.key);
		if (position_cmp(c->items[i].made.position, last) > 0)
			last = c->items[i].made.position;
	}
	ok = ok && (!users.n || tell_users(conn, last, &users, err));
	buf_free(&users);
	return ok;
}

/* ---- retention ---------------------------------------------------------------------------------------------------------------------- */

#define OLD(column) column " < now() - ($1::bigint[])[1] * interval '1 millisecond'"

bool pg_custom_touch(struct storage *s, const struct user_key *users, size_t count, struct error *err)
{
	static const char sql[] =
	        "WITH mirrored AS (UPDATE custom_write_checkpoints SET checkpoint_requested_at = now() WHERE user_id = ANY "
	        "($2::text[]) AND " OLD(
	                "checkpoint_requested_at") ") UPDATE syncline_custom SET stamped_at = now() WHERE user_key = ANY "
	                                           "($3::bytea[]) AND " OLD("stamped_at");
	return !pg_custom_mode(s) || pg_users_by_steps(pg_store_of(s), sql, s->retention_ms / 2, users, count, err);
}

/* An id that came with the data is passed as soon as that is. What is not served yet is younger than any retention. */
bool pg_custom_expire(struct storage *s, struct error *err)
{
	static const char own[] = "DELETE FROM syncline_custom WHERE " OLD("stamped_at"),
	                  mirrored[] = "DELETE FROM custom_write_checkpoints WHERE " OLD("checkpoint_requested_at");
	struct pg_store *store = pg_store_of(s);
	return pg_done(pg_ms_query(store, own, s->retention_ms, NULL, 0, err)) &&
	       pg_done(pg_ms_query(store, mirrored, s->retention_ms, NULL, 0, err));
}
