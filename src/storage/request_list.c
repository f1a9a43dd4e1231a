/* request_list.c: see request_list.h. */
#include "storage/request_list.h"

#include <string.h>

#include "storage/internal.h"
#include "storage/request_listing.h"

/* Records that one read transaction looks at. */
#define SCAN_STEP 1000

static bool list_key(struct request_listing *l, struct requests_txn *t, struct slice key, struct error *err)
{
	struct slice record;
	struct user_record u;
	int got = l->s->backend->ops->user_get(t, key, &record, err);
	if (got < 0 || (got && !user_decode(&u, record, err)))
		return false;
	if (got)
		request_listing_add(l, key, &u);
	return true;
}

/* ---- one user, one client --------------------------------------------------------------------------------------------------- */

static bool list_one(struct request_listing *l, const struct user_key *user, struct error *err)
{
	struct requests_txn *t;
	struct buf key = {0};
	if (!l->s->backend->ops->requests_begin(l->s->backend, false, &t, err))
		return false;
	user_key_encode(&key, user);
	bool ok = list_key(l, t, buf_slice(&key), err);
	l->s->backend->ops->requests_abort(t);
	buf_free(&key);
	return ok;
}

/* One step over the records; *more: there are some behind it, and room for them. */
static bool scan_step(struct request_listing *l, struct buf *cursor, bool *more, struct error *err)
{
	const struct backend_ops *ops = l->s->backend->ops;
	struct requests_txn *t;
	struct arena arena = {0};
	struct scanned_row *rows;
	size_t count = 0;
	if (!ops->requests_begin(l->s->backend, false, &t, err))
		return false;
	bool ok = ops->users_scan(t, cursor, SCAN_STEP, &arena, &rows, &count, err), room = true;
	for (size_t i = 0; ok && room && i < count; i++) {
		struct user_key user;
		struct user_record u;
		if (!user_key_decode(rows[i].key, &user) || !request_filter_fits(l->filter, &user))
			continue;
		ok = user_decode(&u, rows[i].record, err);
		room = !ok || request_listing_add(l, rows[i].key, &u);
	}
	ops->requests_abort(t);
	arena_free(&arena);
	*more = room && count == SCAN_STEP;
	return ok;
}

static bool list_fitting(struct request_listing *l, struct error *err)
{
	struct buf cursor = {0};
	bool more = true, ok = true;
	while (ok && more)
		ok = scan_step(l, &cursor, &more, err);
	buf_free(&cursor);
	return ok;
}

/* ---- those who wait --------------------------------------------------------------------------------------------------------- */

struct key_list {
	struct arena *arena;
	struct slice *keys;
	size_t count, limit;
};

/* A user has a head for each of its associations; those that follow each other are rare, so a look back over the list would cost more
 * than it saves: only a limited number is kept anyway. */
static bool add_key(void *ctx, struct slice user, int64_t since)
{
	struct key_list *l = ctx;
	(void)since;
	for (size_t i = 0; i < l->count; i++)
		if (slice_eq(l->keys[i], user))
			return true;
	l->keys[l->count++] = arena_copy(l->arena, user);
	return l->count < l->limit;
}

static bool list_waiting(struct request_listing *l, struct error *err)
{
	const struct backend_ops *ops = l->s->backend->ops;
	struct position after = l->served.valid ? l->served.position : (struct position){0, 0}, end = {UINT64_MAX, UINT64_MAX};
	struct key_list keys = {.arena = l->arena, .limit = l->filter->limit + 1};
	struct requests_txn *t;
	keys.keys = arena_array(l->arena, struct slice, keys.limit);
	if (!ops->requests_begin(l->s->backend, false, &t, err))
		return false;
	bool ok = ops->heads_each(t, after, end, add_key, &keys, err);
	if (ok && keys.count < keys.limit)
		ok = ops->unknown_each(t, add_key, &keys, err);
	for (size_t i = 0; ok && i < keys.count; i++)
		ok = list_key(l, t, keys.keys[i], err);
	ops->requests_abort(t);
	return ok;
}

bool storage_list_requests(struct storage *s, const struct request_filter *filter, struct arena *arena,
                           struct user_requests **out, size_t *count, bool *more, struct error *err)
{
	if (s->shared)
		return s->shared->list_requests(s, filter, arena, out, count, more, err);
	struct request_listing l = {.s = s, .arena = arena, .filter = filter, .served = storage_served(s)};
	struct user_key user = {filter->subject, filter->client_id};
	request_listing_begin(&l);
	bool ok = filter->subject.p && filter->client_id.p   ? list_one(&l, &user, err)
	          : filter->subject.p || filter->client_id.p ? list_fitting(&l, err)
	                                                     : list_waiting(&l, err);
	*out = l.items;
	*count = l.count;
	*more = l.more;
	return ok;
}

/* ---- counts ----------------------------------------------------------------------------------------------------------------- */

struct counting {
	size_t count;
	int64_t oldest_wall;
};

static bool count_one(void *ctx, struct slice user, int64_t since)
{
	struct counting *c = ctx;
	(void)user;
	if (!c->count++ || since < c->oldest_wall)
		c->oldest_wall = since;
	return true;
}

bool storage_count_requests(struct storage *s, struct request_counts *out, struct error *err)
{
	if (s->shared)
		return s->shared->count_requests(s, out, err);
	const struct backend_ops *ops = s->backend->ops;
	struct served p = storage_served(s);
	struct position after = p.valid ? p.position : (struct position){0, 0}, end = {UINT64_MAX, UINT64_MAX};
	struct counting c = {0};
	struct requests_txn *t;
	*out = (struct request_counts){0};
	if (!ops->requests_begin(s->backend, false, &t, err))
		return false;
	bool ok = ops->heads_each(t, after, end, count_one, &c, err);
	size_t with_head = c.count;
	ok = ok && ops->unknown_each(t, count_one, &c, err);
	ops->requests_abort(t);
	out->pending = c.count;
	out->headless = c.count - with_head;
	if (c.count) {
		int64_t age = s->wall_ms() - c.oldest_wall;
		out->oldest_age_ms = age > 1 ? age : 1;
	}
	return ok;
}
