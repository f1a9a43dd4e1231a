/* request_report.c: looking at checkpoint requests of the shared layout (request_list.h). */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/codec.h"
#include "storage/postgres/arrays.h"
#include "storage/postgres/requests_internal.h"
#include "storage/request_listing.h"

/* Rows that one statement reads. */
#define SCAN_STEP PG_USERS_STEP
#define SCAN_STEP_TEXT "500"
_Static_assert(SCAN_STEP == 500, "the statements say so, too");

/* ---- sets of users ------------------------------------------------------------------------------------------------------------------ */

struct key_set {
	struct arena arena;
	struct slice *keys;
	size_t count, cap;
	uint32_t *slots; /* index + 1 */
	size_t slot_count;
};

static size_t *slot_of(const struct key_set *k, struct slice key, size_t *at)
{
	*at = lookup_hash(0, key) & (k->slot_count - 1);
	while (k->slots[*at] && !slice_eq(k->keys[k->slots[*at] - 1], key))
		*at = (*at + 1) & (k->slot_count - 1);
	return at;
}

static void set_grow(struct key_set *k)
{
	free(k->slots);
	k->slot_count = k->slot_count ? k->slot_count * 2 : 64;
	k->slots = xcalloc(k->slot_count, sizeof(*k->slots));
	for (size_t i = 0; i < k->count; i++) {
		size_t at;
		k->slots[*slot_of(k, k->keys[i], &at)] = (uint32_t)i + 1;
	}
}

static void set_add(struct key_set *k, struct slice key)
{
	size_t at;
	if (k->count * 2 >= k->slot_count)
		set_grow(k);
	if (k->slots[*slot_of(k, key, &at)])
		return;
	k->keys = xgrow(k->keys, k->count, &k->cap, sizeof(*k->keys));
	k->keys[k->count++] = arena_copy(&k->arena, key);
	k->slots[at] = (uint32_t)k->count;
}

static void set_free(struct key_set *k)
{
	free(k->keys);
	free(k->slots);
	arena_free(&k->arena);
}

static struct slice field(const PGresult *r, int row, int column)
{
	return slice_make(PQgetvalue(r, row, column), (size_t)PQgetlength(r, row, column));
}

/* Who may wait: those of heads that are not passed, oldest head first, then those who wait for a head. */
static bool find_waiting(struct pg_store *store, struct key_set *k, struct error *err)
{
	static const char sql[] =
	        "(SELECT users, NULL::bytea FROM syncline_request_heads WHERE lsn > ($1::bigint[])[1] ORDER BY lsn, id)"
	        " UNION ALL (SELECT NULL, coalesce(full_key, user_key) FROM syncline_requests"
	        " WHERE waiting_since IS NOT NULL ORDER BY waiting_since)";
	struct served p = storage_served(store->s);
	struct pg_array after = {0};
	pg_array_begin(&after, PG_ARRAY_INT8);
	pg_array_i64(&after, p.valid ? (int64_t)p.position.lsn : 0);
	PGresult *r = pg_arrays_query(store, sql, (struct pg_array *const[]){&after}, 1, err);
	pg_array_free(&after);
	for (int i = 0; r && i < PQntuples(r); i++) {
		struct decoder d = decoder_of(field(r, i, 0));
		while (!d.bad && d.p < d.end)
			set_add(k, decode_text(&d));
		if (!PQgetisnull(r, i, 1))
			set_add(k, field(r, i, 1));
	}
	PQclear(r);
	return r != NULL;
}

/* ---- looking, a step at a time ------------------------------------------------------------------------------------------------------ */

/* Calls for each of these users; until it answers false. */
static bool each_user(struct pg_store *store, const struct slice *keys, size_t count,
                      bool (*each)(void *ctx, const struct pg_user *u), void *ctx, struct error *err)
{
	bool ok = true, more = true;
	for (size_t at = 0; ok && more && at < count; at += SCAN_STEP) {
		size_t n = count - at < SCAN_STEP ? count - at : SCAN_STEP;
		struct arena arena = {0};
		struct pg_user *users = xcalloc(n, sizeof(*users));
		for (size_t i = 0; i < n; i++) {
			users[i].key = keys[at + i];
			pg_user_name(&users[i], &arena);
		}
		ok = pg_users_load(store, users, n, err);
		for (size_t i = 0; ok && more && i < n; i++)
			more = !users[i].found || each(ctx, &users[i]);
		free(users);
		arena_free(&arena);
	}
	return ok;
}

struct counting {
	struct storage *s;
	struct served served;
	struct request_counts counts;
	int64_t oldest;
};

static void count_one(struct counting *c, int64_t since)
{
	if (!c->counts.pending++ || since < c->oldest)
		c->oldest = since;
}

static bool count_user(void *ctx, const struct pg_user *u)
{
	struct counting *c = ctx;
	const struct user_record *r = &u->before;
	for (size_t i = 0; i < r->count; i++)
		if (!c->served.valid || position_cmp(r->entries[i].head, c->served.position) > 0)
			count_one(c, r->entries[i].since);
	if (r->unknown) {
		count_one(c, r->unknown_since);
		c->counts.headless++;
	}
	return true;
}

bool pg_count_requests(struct storage *s, struct request_counts *out, struct error *err)
{
	struct counting c = {.s = s, .served = storage_served(s)};
	struct key_set k = {.count = 0};
	bool ok = find_waiting(pg_store_of(s), &k, err) && each_user(pg_store_of(s), k.keys, k.count, count_user, &c, err);
	set_free(&k);
	int64_t age = s->wall_ms() - c.oldest;
	if (c.counts.pending)
		c.counts.oldest_age_ms = age > 1 ? age : 1;
	*out = c.counts;
	return ok;
}

/* ---- lists -------------------------------------------------------------------------------------------------------------------------- */

struct listing {
	struct request_listing list;
	bool only_pending;
};

static bool list_user(void *ctx, const struct pg_user *u)
{
	struct listing *l = ctx;
	return (l->only_pending && !user_pending(&u->before, &l->list.served)) ||
	       request_listing_add(&l->list, u->key, &u->before);
}

/* Keys of one step of a table in the order of its key; of write_checkpoints those that fit. */
static bool scan_step(struct pg_store *store, bool texts, struct buf *last, const struct request_filter *filter,
                      struct key_set *k, bool *more, struct error *err)
{
	static const char side[] =
	        "SELECT coalesce(full_key, user_key), user_key FROM syncline_requests WHERE user_key > ($1::bytea[])[1]"
	        " ORDER BY user_key LIMIT " SCAN_STEP_TEXT;
	static const char shared[] = "SELECT user_id, user_id FROM write_checkpoints WHERE user_id > ($1::text[])[1]"
	                             " ORDER BY user_id LIMIT " SCAN_STEP_TEXT;
	struct pg_array after = {0};
	struct buf key = {0};
	pg_array_begin(&after, texts ? PG_ARRAY_TEXT : PG_ARRAY_BYTEA);
	pg_array_bytes(&after, last->n ? buf_slice(last) : SLICE(""));
	PGresult *r = pg_arrays_query(store, texts ? shared : side, (struct pg_array *const[]){&after}, 1, err);
	pg_array_free(&after);
	*more = r && PQntuples(r) == SCAN_STEP;
	for (int i = 0; r && i < PQntuples(r); i++) {
		struct user_key user;
		buf_clear(&key);
		if (texts)
			pg_user_of_text(&key, field(r, i, 0));
		else
			buf_slice_append(&key, field(r, i, 0));
		if (user_key_decode(buf_slice(&key), &user) && request_filter_fits(filter, &user))
			set_add(k, buf_slice(&key));
		buf_clear(last);
		buf_slice_append(last, field(r, i, 1));
	}
	PQclear(r);
	buf_free(&key);
	return r != NULL;
}

/* Every record that fits: those of the side table, then those that only the reference has written. */
static bool list_fitting(struct listing *l, struct pg_store *store, struct error *err)
{
	bool ok = true;
	struct key_set seen = {.count = 0};
	size_t listed = 0;
	for (int texts = 0; ok && texts < 2 && !l->list.more; texts++) {
		struct buf last = {0};
		bool more = true;
		while (ok && more && !l->list.more) {
			ok = scan_step(store, texts, &last, l->list.filter, &seen, &more, err) &&
			     each_user(store, seen.keys + listed, seen.count - listed, list_user, l, err);
			listed = seen.count;
		}
		buf_free(&last);
	}
	set_free(&seen);
	return ok;
}

static bool list_one(struct listing *l, struct pg_store *store, struct error *err)
{
	struct user_key user = {l->list.filter->subject, l->list.filter->client_id};
	struct buf key = {0};
	user_key_encode(&key, &user);
	struct slice keys[] = {buf_slice(&key)};
	bool ok = each_user(store, keys, 1, list_user, l, err);
	buf_free(&key);
	return ok;
}

static bool list_waiting(struct listing *l, struct pg_store *store, struct error *err)
{
	struct key_set k = {.count = 0};
	l->only_pending = true;
	bool ok = find_waiting(store, &k, err) && each_user(store, k.keys, k.count, list_user, l, err);
	set_free(&k);
	return ok;
}

bool pg_list_requests(struct storage *s, const struct request_filter *filter, struct arena *arena, struct user_requests **out,
                      size_t *count, bool *more, struct error *err)
{
	struct listing l = {.list = {.arena = arena, .filter = filter, .served = storage_served(s)}};
	struct pg_store *store = pg_store_of(s);
	request_listing_begin(&l.list);
	bool ok = filter->subject.p && filter->client_id.p   ? list_one(&l, store, err)
	          : filter->subject.p || filter->client_id.p ? list_fitting(&l, store, err)
	                                                     : list_waiting(&l, store, err);
	*out = l.list.items;
	*count = l.list.count;
	*more = l.list.more;
	return ok;
}
