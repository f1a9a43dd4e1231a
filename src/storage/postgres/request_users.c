/* request_users.c: see request_users.h. */
#define _GNU_SOURCE
#include "storage/postgres/request_users.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/utf8.h"
#include "storage/digest.h"
#include "storage/postgres/arrays.h"
#include "storage/postgres/requests.h"

/* Longer keys do not fit into an index. */
#define KEY_MAX 1500
/* First byte of a hashed key; encoded keys begin with 0 or 1. */
#define HASHED_KEY 2

/* ---- names ------------------------------------------------------------------------------------------------------------------------- */

static bool has_slash(struct slice s)
{
	return s.n && memchr(s.p, '/', s.n);
}

/* May the user's record lie in write_checkpoints? */
static bool owns_text(const struct user_key *u)
{
	bool natural = u->client_id.p ? !has_slash(u->client_id) : !has_slash(u->subject);
	return natural && u->subject.n + u->client_id.n < KEY_MAX && utf8_valid(u->subject) && utf8_valid(u->client_id) &&
	       (!u->subject.n || !memchr(u->subject.p, '\0', u->subject.n)) &&
	       (!u->client_id.n || !memchr(u->client_id.p, '\0', u->client_id.n));
}

void pg_user_name(struct pg_user *u, struct arena *arena)
{
	struct user_key key;
	uint8_t digest[32];
	sha256_slices(&u->key, 1, digest);
	memcpy(u->hash, digest, sizeof(u->hash));
	u->row_key = u->key;
	if (u->key.n > KEY_MAX) {
		char *hashed = arena_bytes(arena, 1 + sizeof(digest));
		hashed[0] = HASHED_KEY;
		memcpy(hashed + 1, digest, sizeof(digest));
		u->row_key = slice_make(hashed, 1 + sizeof(digest));
		u->full_key = u->key;
	}
	if (!user_key_decode(u->key, &key) || !owns_text(&key))
		return;
	u->text = key.client_id.p ? arena_printf(arena, "%.*s/%.*s", SLICE_ARG(key.subject), SLICE_ARG(key.client_id))
	                          : arena_copy(arena, key.subject);
}

void pg_user_of_text(struct buf *key, struct slice text)
{
	struct user_key user = {text, {NULL, 0}};
	const char *slash = text.n ? memrchr(text.p, '/', text.n) : NULL;
	if (slash) {
		user.subject = slice_make(text.p, (size_t)(slash - text.p));
		user.client_id = slice_make(slash + 1, (size_t)(text.p + text.n - slash - 1));
	}
	user_key_encode(key, &user);
}

int pg_user_compare(const void *a, const void *b)
{
	const struct slice x = (*(struct pg_user *const *)a)->row_key, y = (*(struct pg_user *const *)b)->row_key;
	int order = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);
	return order ? order : x.n < y.n ? -1 : x.n > y.n;
}

/* ---- reading ----------------------------------------------------------------------------------------------------------------------- */

static const char load_sql[] =
        "SELECT u.version::bigint, u.record, (extract(epoch FROM now() - u.stamped_at) * 1000)::bigint, m.write_checkpoint, "
        "m.head,"
        " (extract(epoch FROM now() - m.stamp) * 1000)::bigint, f.id"
        " FROM unnest($1::bytea[], $2::text[], $3::bytea[]) WITH ORDINALITY AS d (key, user_text, hash, n)"
        " LEFT JOIN LATERAL (SELECT version, record, stamped_at FROM syncline_requests WHERE user_key = d.key OFFSET 0) u ON true"
        " LEFT JOIN LATERAL (SELECT write_checkpoint, lsns ->> '1' AS head, checkpoint_requested_at AS stamp FROM "
        "write_checkpoints"
        " WHERE user_id = d.user_text OFFSET 0) m ON true"
        " LEFT JOIN LATERAL (SELECT id FROM syncline_request_floors WHERE user_hash = d.hash AND u.version IS NULL OFFSET 0) f "
        "ON true"
        " ORDER BY d.n";
enum { LOAD_VERSION, LOAD_RECORD, LOAD_OWN_AGE, LOAD_ID, LOAD_HEAD, LOAD_AGE, LOAD_FLOOR };

static int64_t get_i64(const PGresult *r, int row, int column)
{
	return (int64_t)be64_get(PQgetvalue(r, row, column));
}

/* What the reference has of the user, if it is not what we wrote. */
static void adopt(struct pg_user *u, const PGresult *r, int row, const struct served *p, int64_t now)
{
	struct position head;
	struct user_record *b = &u->before;
	const struct association *newest = b->count ? &b->entries[b->count - 1] : NULL;
	uint64_t id = (uint64_t)get_i64(r, row, LOAD_ID);
	bool stamped = !PQgetisnull(r, row, LOAD_AGE);
	int64_t stamp = stamped ? now - get_i64(r, row, LOAD_AGE) : 0;
	if (PQgetisnull(r, row, LOAD_HEAD) || !pg_position_parse(PQgetvalue(r, row, LOAD_HEAD), &head)) {
		b->floor = id > b->floor ? id : b->floor; /* of another kind of source */
		return;
	}
	if (newest && newest->id == id && newest->head.lsn == head.lsn) {
		b->stamped = stamped;
		b->stamp_ms = stamp;
		return;
	}
	user_adopt(b, id, head, stamped, stamp, p, now);
	u->adopted = true;
}

static bool read_user(struct pg_user *u, const PGresult *r, int row, const struct served *p, int64_t now, struct error *err)
{
	u->before = (struct user_record){.count = 0};
	u->version = 0;
	u->adopted = u->lost = u->has_floor = false;
	if (!PQgetisnull(r, row, LOAD_VERSION)) {
		u->version = get_i64(r, row, LOAD_VERSION);
		struct slice record = slice_make(PQgetvalue(r, row, LOAD_RECORD), (size_t)PQgetlength(r, row, LOAD_RECORD));
		if (!user_decode(&u->before, record, err))
			return false;
		if (!PQgetisnull(r, row, LOAD_OWN_AGE))
			u->before.stamp_ms = now - get_i64(r, row, LOAD_OWN_AGE);
	}
	if (!PQgetisnull(r, row, LOAD_FLOOR)) {
		u->has_floor = true;
		u->before.floor = (uint64_t)get_i64(r, row, LOAD_FLOOR);
	}
	u->found = u->version || !PQgetisnull(r, row, LOAD_ID);
	if (!PQgetisnull(r, row, LOAD_ID))
		adopt(u, r, row, p, now);
	u->after = u->before;
	return true;
}

PGresult *pg_ms_query(struct pg_store *store, const char *sql, int64_t ms, struct pg_array *const *arrays, int count,
                      struct error *err)
{
	struct pg_array age = {0};
	struct pg_array *all[4] = {&age};
	pg_array_numbers(&age, &ms, 1);
	for (int i = 0; i < count; i++)
		all[i + 1] = arrays[i];
	PGresult *r = pg_arrays_query(store, sql, all, count + 1, err);
	pg_array_free(&age);
	return r;
}

static bool one_step(struct pg_store *store, const char *sql, int64_t ms, const struct user_key *users, size_t count,
                     struct error *err)
{
	struct arena arena = {0};
	struct pg_array texts = {0}, keys = {0};
	struct buf key = {0};
	pg_array_begin(&texts, PG_ARRAY_TEXT);
	pg_array_begin(&keys, PG_ARRAY_BYTEA);
	for (size_t i = 0; i < count; i++) {
		struct pg_user *u = arena_calloc(&arena, sizeof(*u));
		buf_clear(&key);
		user_key_encode(&key, &users[i]);
		u->key = arena_copy(&arena, buf_slice(&key));
		pg_user_name(u, &arena);
		pg_array_bytes(&texts, u->text);
		pg_array_bytes(&keys, u->row_key);
	}
	bool ok = pg_done(pg_ms_query(store, sql, ms, (struct pg_array *const[]){&texts, &keys}, 2, err));
	pg_array_free(&texts);
	pg_array_free(&keys);
	buf_free(&key);
	arena_free(&arena);
	return ok;
}

bool pg_users_by_steps(struct pg_store *store, const char *sql, int64_t ms, const struct user_key *users, size_t count,
                       struct error *err)
{
	bool ok = true;
	for (size_t at = 0; ok && at < count; at += PG_USERS_STEP)
		ok = one_step(store, sql, ms, users + at, count - at < PG_USERS_STEP ? count - at : PG_USERS_STEP, err);
	return ok;
}

bool pg_users_load(struct pg_store *store, struct pg_user *users, size_t count, struct error *err)
{
	struct pg_array keys = {0}, texts = {0}, hashes = {0};
	pg_array_begin(&keys, PG_ARRAY_BYTEA);
	pg_array_begin(&texts, PG_ARRAY_TEXT);
	pg_array_begin(&hashes, PG_ARRAY_BYTEA);
	for (size_t i = 0; i < count; i++) {
		pg_array_bytes(&keys, users[i].row_key);
		pg_array_bytes(&texts, users[i].text);
		pg_array_bytes(&hashes, slice_make(users[i].hash, sizeof(users[i].hash)));
	}
	PGresult *r = pg_arrays_query(store, load_sql, (struct pg_array *const[]){&keys, &texts, &hashes}, 3, err);
	struct served p = storage_served(store->s);
	int64_t now = store->s->wall_ms();
	bool ok = r != NULL;
	if (ok && PQntuples(r) != (int)count)
		ok = error_set(err, "PSYNC_S2404", "the storage database answered %d of %zu users", PQntuples(r), count);
	for (size_t i = 0; ok && i < count; i++)
		ok = read_user(&users[i], r, (int)i, &p, now, err);
	PQclear(r);
	pg_array_free(&keys);
	pg_array_free(&texts);
	pg_array_free(&hashes);
	return ok;
}

/* ---- heads ------------------------------------------------------------------------------------------------------------------------- */

void pg_heads_add(struct pg_heads *h, struct position head, struct slice key)
{
	size_t at = h->count;
	while (at && position_cmp(h->items[at - 1].head, head) != 0)
		at--;
	if (!at) {
		h->items = xgrow(h->items, h->count, &h->cap, sizeof(*h->items));
		h->items[h->count] = (struct pg_head){.head = head};
		at = ++h->count;
	}
	buf_text(&h->items[at - 1].users, key);
}

void pg_heads_free(struct pg_heads *h)
{
	for (size_t i = 0; i < h->count; i++)
		buf_free(&h->items[i].users);
	free(h->items);
}

/* ---- writing ----------------------------------------------------------------------------------------------------------------------- */

/* Ages in ms stand for stamps, so that the database's clock decides; NULL: none. */
static const char store_sql[] =
        "WITH d AS MATERIALIZED (SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::bytea[], $5::bigint[], "
        "$6::bigint[],"
        " $7::text[], $8::text[], $9::bigint[], $10::bigint[])"
        " AS t (key, full_key, version, record, waiting, own_age, user_text, head, id, age)),"
        " won AS (INSERT INTO syncline_requests AS u (user_key, full_key, version, record, waiting_since, stamped_at)"
        " SELECT key, full_key, version + 1, record, waiting, now() - own_age * interval '1 millisecond' FROM d"
        " ON CONFLICT (user_key) DO UPDATE SET version = excluded.version, record = excluded.record,"
        " waiting_since = excluded.waiting_since, stamped_at = excluded.stamped_at WHERE u.version = excluded.version - 1"
        " RETURNING u.user_key),"
        " mirrored AS (INSERT INTO write_checkpoints AS w (user_id, lsns, write_checkpoint, checkpoint_requested_at)"
        " SELECT d.user_text, jsonb_build_object('1', d.head), d.id, now() - d.age * interval '1 millisecond' FROM d JOIN won"
        " ON won.user_key = d.key WHERE d.user_text IS NOT NULL AND d.id IS NOT NULL ORDER BY d.user_text"
        " ON CONFLICT (user_id) DO UPDATE SET lsns = excluded.lsns, write_checkpoint = excluded.write_checkpoint,"
        " checkpoint_requested_at = excluded.checkpoint_requested_at),"
        " floors AS (DELETE FROM syncline_request_floors f USING unnest($11::bytea[]) AS g (hash) WHERE f.user_hash = g.hash),"
        " heads AS (INSERT INTO syncline_request_heads (lsn, id, stored_at, users)"
        " SELECT h.lsn, h.id, now(), h.users FROM unnest($12::bigint[], $13::bigint[], $14::bytea[]) AS h (lsn, id, users) WHERE "
        "EXISTS (SELECT 1 FROM won)"
        " RETURNING lsn, id),"
        " told AS (SELECT pg_notify('" PG_REQUESTS_CHANNEL "', format('head %s %s', lsn, id))::text AS t FROM heads"
        " UNION ALL SELECT pg_notify('" PG_REQUESTS_CHANNEL "', w.what)::text FROM unnest($15::text[]) AS w (what))"
        " SELECT user_key FROM won UNION ALL SELECT NULL FROM told WHERE t IS NULL";
#define STORE_COLUMNS 15

enum {
	S_KEY,
	S_FULL,
	S_VERSION,
	S_RECORD,
	S_WAITING,
	S_OWN_AGE,
	S_TEXT,
	S_HEAD,
	S_ID,
	S_AGE,
	S_FLOOR,
	S_HEAD_LSN,
	S_HEAD_ID,
	S_HEAD_USERS,
	S_NEWS
};
static const enum pg_array_of store_types[STORE_COLUMNS] = {PG_ARRAY_BYTEA, PG_ARRAY_BYTEA, PG_ARRAY_INT8,  PG_ARRAY_BYTEA,
                                                            PG_ARRAY_INT8,  PG_ARRAY_INT8,  PG_ARRAY_TEXT,  PG_ARRAY_TEXT,
                                                            PG_ARRAY_INT8,  PG_ARRAY_INT8,  PG_ARRAY_BYTEA, PG_ARRAY_INT8,
                                                            PG_ARRAY_INT8,  PG_ARRAY_BYTEA, PG_ARRAY_TEXT};

static void add_age(struct pg_array *a, bool stamped, int64_t age)
{
	if (stamped)
		pg_array_i64(a, age > 0 ? age : 0);
	else
		pg_array_bytes(a, (struct slice){NULL, 0});
}

static void add_user(struct pg_array *a, const struct pg_user *u, int64_t now, struct buf *scratch)
{
	const struct user_record *r = &u->after;
	const struct association *newest = r->count ? &r->entries[r->count - 1] : NULL;
	const struct slice none = {NULL, 0};
	char head[LSN_TEXT_SIZE];
	buf_clear(scratch);
	user_encode(scratch, r);
	pg_array_bytes(&a[S_KEY], u->row_key);
	pg_array_bytes(&a[S_FULL], u->full_key);
	pg_array_i64(&a[S_VERSION], u->version);
	pg_array_bytes(&a[S_RECORD], buf_slice(scratch));
	if (r->unknown)
		pg_array_i64(&a[S_WAITING], r->unknown_since);
	else
		pg_array_bytes(&a[S_WAITING], none);
	/* Of a waiting one that has no record in write_checkpoints yet, the stamp is kept here. */
	bool mirrored = u->text.p && newest;
	add_age(&a[S_OWN_AGE], r->stamped && !mirrored, now - r->stamp_ms);
	pg_array_bytes(&a[S_TEXT], u->text);
	if (mirrored) {
		lsn_format(newest->head.lsn, head);
		pg_array_bytes(&a[S_HEAD], slice_cstr(head));
		pg_array_i64(&a[S_ID], (int64_t)newest->id);
	} else {
		pg_array_bytes(&a[S_HEAD], none);
		pg_array_bytes(&a[S_ID], none);
	}
	add_age(&a[S_AGE], r->stamped && mirrored, now - r->stamp_ms);
	if (u->has_floor)
		pg_array_bytes(&a[S_FLOOR], slice_make(u->hash, sizeof(u->hash)));
}

static void note_won(struct pg_user **users, size_t count, const PGresult *r)
{
	for (size_t i = 0; i < count; i++)
		users[i]->lost = true;
	for (int row = 0; row < PQntuples(r); row++) {
		struct pg_user wanted = {.row_key = slice_make(PQgetvalue(r, row, 0), (size_t)PQgetlength(r, row, 0))};
		struct pg_user *key = &wanted;
		struct pg_user **found = bsearch(&key, users, count, sizeof(*users), pg_user_compare);
		if (found)
			(*found)->lost = false;
	}
}

bool pg_users_store(struct pg_store *store, struct pg_user **users, size_t count, struct pg_heads *heads, bool waiting,
                    struct error *err)
{
	struct pg_array a[STORE_COLUMNS] = {0};
	struct pg_array *all[STORE_COLUMNS];
	struct buf scratch = {0};
	int64_t now = store->s->wall_ms();
	for (size_t i = 0; i < STORE_COLUMNS; i++) {
		pg_array_begin(&a[i], store_types[i]);
		all[i] = &a[i];
	}
	for (size_t i = 0; i < count; i++)
		add_user(a, users[i], now, &scratch);
	for (size_t i = 0; i < heads->count; i++) {
		pg_array_i64(&a[S_HEAD_LSN], (int64_t)heads->items[i].head.lsn);
		pg_array_i64(&a[S_HEAD_ID], heads->items[i].id);
		pg_array_bytes(&a[S_HEAD_USERS], buf_slice(&heads->items[i].users));
	}
	if (waiting)
		pg_array_bytes(&a[S_NEWS], SLICE("waiting"));
	PGresult *r = pg_arrays_query(store, store_sql, all, STORE_COLUMNS, err);
	if (r)
		note_won(users, count, r);
	PQclear(r);
	buf_free(&scratch);
	for (size_t i = 0; i < STORE_COLUMNS; i++)
		pg_array_free(&a[i]);
	return r != NULL;
}
