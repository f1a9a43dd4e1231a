/*
 * requests.c: checkpoint requests of all users (checkpoint-requests 2 to 5): batches, unknown heads, retention, who was passed.
 *
 * The rules of one user's queue are in write_checkpoints.c, those of a batch in request_batch.h. Everything that writes holds requests_lock.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "storage/internal.h"
#include "storage/request_batch.h"
#include "storage/request_list.h"

/* Index entries of passed heads that one write takes along. */
#define TRIM_HEADS 256
/* Records that one step of the clean-up looks at. */
#define EXPIRE_STEP 1000
/* Records that one write of storage_touch_requests stamps: requests wait for it. */
#define TOUCH_STEP 500

struct served storage_served(struct storage *s)
{
	struct checkpoint c = storage_checkpoint(s);
	return (struct served){c.valid, c.position};
}

/* After a crash the served position may be an older one, and what it passes then must be found again: index entries go only when they
 * are at or below the position that is on disk. */
static struct position durable_shown(struct storage *s)
{
	pthread_mutex_lock(&s->lock);
	struct position p = s->durable_shown;
	pthread_mutex_unlock(&s->lock);
	return p;
}

/* ---- one record in a write transaction ---- */

struct user_edit {
	struct slice key;
	bool found;
	struct user_record before, after;
};

static bool edit_load(struct storage *s, struct requests_txn *t, struct slice key, struct user_edit *e, struct error *err)
{
	const struct backend_ops *ops = s->backend->ops;
	struct slice record;
	e->key = key;
	e->before = (struct user_record){.count = 0};
	int got = ops->user_get(t, key, &record, err);
	if (got < 0 || (got && !user_decode(&e->before, record, err)) || (!got && !ops->floor_get(t, key, &e->before.floor, err)))
		return false;
	e->found = got;
	e->after = e->before;
	return true;
}

static const struct association *find_head(const struct user_record *u, struct position head)
{
	for (size_t i = 0; i < u->count; i++)
		if (position_cmp(u->entries[i].head, head) == 0)
			return &u->entries[i];
	return NULL;
}

/* Record and indexes. Heads grow along the queue, so a user has at most one entry for a head. */
static bool edit_store(struct storage *s, struct requests_txn *t, const struct user_edit *e, struct buf *scratch,
                       struct error *err)
{
	const struct backend_ops *ops = s->backend->ops;
	const struct user_record *a = &e->before, *b = &e->after;
	for (size_t i = 0; i < a->count; i++)
		if (!find_head(b, a->entries[i].head) && !ops->head_delete(t, a->entries[i].head, e->key, err))
			return false;
	for (size_t i = 0; i < b->count; i++)
		if (!find_head(a, b->entries[i].head) && !ops->head_put(t, b->entries[i].head, e->key, b->entries[i].since, err))
			return false;
	if (b->unknown && !a->unknown ? !ops->unknown_put(t, e->key, b->unknown_since, err)
	                              : a->unknown && !b->unknown && !ops->unknown_delete(t, e->key, err))
		return false;
	if (!e->found && a->floor && !ops->floor_put(t, e->key, 0, err))
		return false;
	buf_clear(scratch);
	user_encode(scratch, b);
	return ops->user_put(t, e->key, buf_slice(scratch), err);
}

/* ---- requests ---- */

static bool store_batch(struct storage *s, struct request_batch *b, const struct position *head, struct user_list *at_once,
                        struct error *err)
{
	struct served p = storage_served(s);
	struct requests_txn *t;
	struct buf scratch = {0};
	bool ok = true, wrote = false;
	int64_t now = s->wall_ms();
	if (!s->backend->ops->requests_begin(s->backend, true, &t, err))
		return false;
	for (size_t i = 0; ok && i < b->count; i++) {
		struct user_edit e;
		ok = edit_load(s, t, b->users[i].key, &e, err);
		if (!ok)
			break;
		request_batch_apply(&b->users[i], &e.after, head, &p, now);
		b->users[i].outcome = request_outcome_of(&e.before, &e.after);
		if (e.found && request_changes_nothing(&e.before, &e.after, s->retention_ms))
			continue;
		ok = edit_store(s, t, &e, &scratch, err);
		wrote = true;
	}
	buf_free(&scratch);
	if (ok && wrote)
		ok = s->backend->ops->heads_trim(t, durable_shown(s), TRIM_HEADS, err);
	if (!ok || !wrote)
		s->backend->ops->requests_abort(t);
	else
		ok = s->backend->ops->requests_commit(t, err);
	if (!ok)
		return false;
	p = storage_served(s);
	for (size_t i = 0; i < b->count; i++) {
		b->users[i].pending = request_is_pending(&b->users[i].outcome, &p);
		if (request_is_passed(&b->users[i].outcome, &p)) {
			user_list_add(at_once, b->users[i].key);
			requests_note_latency(s, now);
		}
	}
	return true;
}

bool storage_request_checkpoints(struct storage *s, struct checkpoint_request *requests, size_t count, bool head_known,
                                 struct position head, struct error *err)
{
	struct request_batch b = {.count = 0};
	struct user_list at_once = {.count = 0};
	if (!count)
		return true;
	if (!request_batch_check(s, requests, count, err))
		return false;
	if (s->shared)
		return s->shared->request_checkpoints(s, requests, count, head_known, head, err);
	request_batch_group(&b, requests, count);
	pthread_mutex_lock(&s->requests_lock);
	/* A head of the former source says nothing about this one. */
	bool known = head_known && head.era >= s->request_era;
	bool ok = store_batch(s, &b, known ? &head : NULL, &at_once, err);
	pthread_mutex_unlock(&s->requests_lock);
	if (ok) {
		request_batch_answer(&b, requests, count);
		user_list_tell(s, &at_once);
	}
	user_list_free(&at_once);
	arena_free(&b.arena);
	return ok;
}

/* ---- unknown heads ---- */

static bool collect_waiting(void *ctx, struct slice user, int64_t since)
{
	struct waiting_heads *w = ctx;
	(void)since;
	waiting_heads_add(w, user, 0);
	return true;
}

static bool collect_some(void *ctx, struct slice user, int64_t since)
{
	return collect_waiting(ctx, user, since) && ((struct waiting_heads *)ctx)->count < WAITING_HEADS_MAX;
}

bool storage_heads_wait(struct storage *s)
{
	return s->shared && s->shared->heads_wait(s);
}

struct waiting_heads *storage_waiting_heads(struct storage *s, size_t *count, struct error *err)
{
	if (s->shared)
		return s->shared->waiting_heads(s, count, err);
	const struct backend_ops *ops = s->backend->ops;
	struct waiting_heads *w = xcalloc(1, sizeof(*w));
	struct requests_txn *t;
	*count = 0;
	if (!ops->requests_begin(s->backend, false, &t, err)) {
		free(w);
		return NULL;
	}
	bool ok = ops->unknown_each(t, collect_some, w, err);
	for (size_t i = 0; ok && i < w->count; i++) {
		struct user_edit e;
		ok = edit_load(s, t, w->items[i].key, &e, err);
		w->items[i].id = ok ? e.before.unknown : 0;
	}
	ops->requests_abort(t);
	if (!ok) {
		waiting_heads_free(w);
		return NULL;
	}
	*count = w->count;
	return w;
}

static bool fill_heads(struct storage *s, struct waiting_heads *w, struct position head, struct user_list *at_once,
                       struct error *err)
{
	const struct backend_ops *ops = s->backend->ops;
	struct served p = storage_served(s);
	struct requests_txn *t;
	struct buf scratch = {0};
	bool ok = true;
	if (!ops->requests_begin(s->backend, true, &t, err))
		return false;
	for (size_t i = 0; ok && i < w->count; i++) {
		struct user_edit e;
		ok = edit_load(s, t, w->items[i].key, &e, err);
		w->items[i].outcome = (struct request_outcome){.any = false};
		if (!ok || !w->items[i].id || e.before.unknown != w->items[i].id)
			continue; /* a request that came after the head was read waits for the next one */
		user_resolve(&e.after, head, &p, s->wall_ms());
		w->items[i].outcome = request_outcome_of(&e.before, &e.after);
		ok = edit_store(s, t, &e, &scratch, err);
	}
	buf_free(&scratch);
	if (ok)
		ok = ops->requests_commit(t, err);
	else
		ops->requests_abort(t);
	p = storage_served(s);
	for (size_t i = 0; ok && i < w->count; i++)
		if (request_is_passed(&w->items[i].outcome, &p))
			user_list_add(at_once, w->items[i].key);
	return ok;
}

bool storage_fill_heads(struct storage *s, struct waiting_heads *w, struct position head, struct error *err)
{
	struct user_list at_once = {.count = 0};
	bool ok = true;
	if (!w->count)
		return true;
	if (s->shared)
		return s->shared->fill_heads(s, w, head, err);
	pthread_mutex_lock(&s->requests_lock);
	if (head.era >= s->request_era)
		ok = fill_heads(s, w, head, &at_once, err);
	pthread_mutex_unlock(&s->requests_lock);
	if (ok)
		user_list_tell(s, &at_once);
	user_list_free(&at_once);
	return ok;
}

/* ---- another source behind the same address ---- */

static bool add_user(void *ctx, struct slice user, int64_t since)
{
	struct waiting_heads *w = ctx;
	if (!w->count || !slice_eq(w->items[w->count - 1].key, user))
		collect_waiting(w, user, since);
	return true;
}

static bool forget_heads(struct storage *s, const struct served *p, const struct waiting_heads *users, struct requests_txn *t,
                         struct error *err)
{
	struct buf scratch = {0};
	bool ok = true;
	for (size_t i = 0; ok && i < users->count; i++) {
		struct user_edit e;
		ok = edit_load(s, t, users->items[i].key, &e, err);
		if (ok && e.found && user_forget_heads(&e.after, p, s->wall_ms()))
			ok = edit_store(s, t, &e, &scratch, err);
	}
	buf_free(&scratch);
	return ok;
}

bool requests_new_era(struct storage *s, uint64_t era, struct error *err)
{
	const struct backend_ops *ops = s->backend->ops;
	struct served p = storage_served(s);
	struct position after = p.valid ? p.position : (struct position){0, 0};
	struct waiting_heads users = {.count = 0};
	struct requests_txn *t;
	pthread_mutex_lock(&s->requests_lock);
	s->request_era = era;
	bool ok = ops->requests_begin(s->backend, true, &t, err);
	if (ok) {
		ok = ops->heads_each(t, after, (struct position){era - 1, UINT64_MAX}, add_user, &users, err) &&
		     forget_heads(s, &p, &users, t, err);
		if (ok)
			ok = ops->requests_commit(t, err);
		else
			ops->requests_abort(t);
	}
	pthread_mutex_unlock(&s->requests_lock);
	free(users.items);
	arena_free(&users.arena);
	return ok;
}

/* ---- reading ---- */

uint64_t storage_write_checkpoint(struct storage *s, const struct user_key *user, struct position position)
{
	if (s->shared)
		return s->shared->write_checkpoint(s, user, position);
	const struct backend_ops *ops = s->backend->ops;
	struct requests_txn *t;
	struct user_record r;
	struct slice record;
	struct buf key = {0};
	uint64_t id = 0;
	struct error err;
	if (custom_acknowledged(s, user, position, &id))
		return id;
	if (!ops->requests_begin(s->backend, false, &t, &err)) {
		log_error(s->log, "Cannot read a write checkpoint: %s", err.message);
		return 0;
	}
	user_key_encode(&key, user);
	int got = ops->user_get(t, buf_slice(&key), &record, &err);
	if (got > 0 && user_decode(&r, record, &err))
		id = user_acknowledged(&r, position);
	else if (got)
		log_error(s->log, "Cannot read a write checkpoint: %s", err.message);
	ops->requests_abort(t);
	buf_free(&key);
	return id;
}

void requests_note_latency(struct storage *s, int64_t since_ms)
{
	int64_t ms = s->wall_ms() - since_ms;
	histogram_observe(s->acknowledged, ms > 0 ? (double)ms / 1000 : 0);
}

struct passed_users {
	struct storage *storage;
	struct arena *arena;
	struct user_key *items;
	size_t count, cap;
};

static bool add_passed(void *ctx, struct slice user, int64_t since)
{
	struct passed_users *l = ctx;
	requests_note_latency(l->storage, since);
	if (l->count == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;
		struct user_key *items = arena_array(l->arena, struct user_key, cap);
		if (l->count)
			memcpy(items, l->items, l->count * sizeof(*items));
		l->items = items;
		l->cap = cap;
	}
	if (user_key_decode(user, &l->items[l->count]))
		l->count++;
	return true;
}

bool requests_passed(struct storage *s, struct position after, struct position up_to, const struct user_key **users,
                     size_t *count, struct requests_txn **txn, struct arena *arena, struct error *err)
{
	struct passed_users l = {.storage = s, .arena = arena};
	if (!s->backend->ops->requests_begin(s->backend, false, txn, err))
		return false;
	bool ok = s->backend->ops->heads_each(*txn, after, up_to, add_passed, &l, err);
	*users = l.items;
	*count = l.count;
	return ok;
}

static bool note_one(void *ctx, struct slice user, int64_t since)
{
	(void)user;
	(void)since;
	*(bool *)ctx = true;
	return false;
}

void storage_want_position(struct storage *s, struct position position)
{
	pthread_mutex_lock(&s->lock);
	if (position_cmp(position, s->wanted) > 0)
		s->wanted = position;
	pthread_mutex_unlock(&s->lock);
}

bool storage_position_acknowledges(struct storage *s, struct position position)
{
	if (s->shared)
		return s->shared->position_acknowledges(s, position);
	struct served p = storage_served(s);
	struct requests_txn *t;
	struct error err;
	pthread_mutex_lock(&s->lock);
	struct position wanted = s->wanted;
	pthread_mutex_unlock(&s->lock);
	bool any = p.valid && position_cmp(wanted, p.position) > 0 && position_cmp(wanted, position) <= 0;
	if (any || !p.valid || position_cmp(position, p.position) <= 0 ||
	    !s->backend->ops->requests_begin(s->backend, false, &t, &err))
		return any;
	if (!s->backend->ops->heads_each(t, p.position, position, note_one, &any, &err))
		log_error(s->log, "Cannot look for passed checkpoint requests: %s", err.message);
	s->backend->ops->requests_abort(t);
	return any;
}

size_t storage_pending_requests(struct storage *s, int64_t *oldest_ms)
{
	struct request_counts c;
	struct error err;
	*oldest_ms = 0;
	if (!storage_count_requests(s, &c, &err)) {
		log_error(s->log, "Cannot count the pending checkpoint requests: %s", err.message);
		return 0;
	}
	int64_t now = clock_mono_ms();
	if (c.pending)
		*oldest_ms = c.oldest_age_ms >= now ? 1 : now - c.oldest_age_ms;
	return c.pending;
}

/* ---- retention ---- */

static bool stamp_is_due(const struct storage *s, const struct user_record *u, int64_t now)
{
	return u->stamped && now - u->stamp_ms > s->retention_ms / 2;
}

/* The keys whose stamp is due; a read does not hold up requests. */
static bool due_users(struct storage *s, const struct user_key *users, size_t count, struct arena *arena, struct slice **due,
                      size_t *due_count, struct error *err)
{
	struct requests_txn *t;
	struct buf key = {0};
	int64_t now = s->wall_ms();
	*due = arena_array(arena, struct slice, count + 1);
	*due_count = 0;
	bool ok = s->backend->ops->requests_begin(s->backend, false, &t, err);
	if (!ok)
		return false;
	for (size_t i = 0; ok && i < count; i++) {
		struct user_edit e;
		buf_clear(&key);
		user_key_encode(&key, &users[i]);
		ok = edit_load(s, t, buf_slice(&key), &e, err);
		if (ok && e.found && stamp_is_due(s, &e.after, now))
			(*due)[(*due_count)++] = arena_copy(arena, buf_slice(&key));
	}
	s->backend->ops->requests_abort(t);
	buf_free(&key);
	return ok;
}

static bool touch_users(struct storage *s, const struct slice *keys, size_t count, struct error *err)
{
	const struct backend_ops *ops = s->backend->ops;
	struct requests_txn *t;
	struct buf scratch = {0};
	int64_t now = s->wall_ms();
	pthread_mutex_lock(&s->requests_lock);
	bool ok = ops->requests_begin(s->backend, true, &t, err);
	if (ok) {
		for (size_t i = 0; ok && i < count; i++) {
			struct user_edit e;
			ok = edit_load(s, t, keys[i], &e, err);
			if (!ok || !e.found || !stamp_is_due(s, &e.after, now))
				continue;
			e.after.stamp_ms = now;
			ok = edit_store(s, t, &e, &scratch, err);
		}
		if (ok)
			ok = ops->requests_commit(t, err);
		else
			ops->requests_abort(t);
	}
	pthread_mutex_unlock(&s->requests_lock);
	buf_free(&scratch);
	return ok;
}

bool storage_touch_requests(struct storage *s, const struct user_key *users, size_t count, struct error *err)
{
	if (s->shared)
		return s->shared->touch_requests(s, users, count, err);
	struct arena arena = {0};
	struct slice *due;
	size_t n;
	bool ok = due_users(s, users, count, &arena, &due, &n, err);
	for (size_t at = 0; ok && at < n; at += TOUCH_STEP)
		ok = touch_users(s, due + at, n - at < TOUCH_STEP ? n - at : TOUCH_STEP, err);
	arena_free(&arena);
	return ok && custom_touch(s, users, count, err);
}

static bool is_expired(const struct storage *s, const struct user_record *u, const struct served *p)
{
	return u->stamped && s->wall_ms() - u->stamp_ms > s->retention_ms && !user_pending(u, p);
}

/* Removes what of these keys is still expired; what it gave stays as the floor. */
static bool expire_users(struct storage *s, const struct slice *keys, size_t count, struct error *err)
{
	const struct backend_ops *ops = s->backend->ops;
	struct requests_txn *t;
	pthread_mutex_lock(&s->requests_lock);
	struct served p = storage_served(s);
	bool ok = ops->requests_begin(s->backend, true, &t, err);
	if (ok) {
		for (size_t i = 0; ok && i < count; i++) {
			struct user_edit e;
			ok = edit_load(s, t, keys[i], &e, err);
			if (!ok || !e.found || !is_expired(s, &e.before, &p))
				continue;
			for (size_t k = 0; ok && k < e.before.count; k++)
				ok = ops->head_delete(t, e.before.entries[k].head, keys[i], err);
			ok = ok && ops->user_delete(t, keys[i], err) && ops->floor_put(t, keys[i], e.before.floor, err);
		}
		if (ok)
			ok = ops->requests_commit(t, err);
		else
			ops->requests_abort(t);
	}
	pthread_mutex_unlock(&s->requests_lock);
	return ok;
}

/* One step: the expired ones among the next records. */
static bool expire_step(struct storage *s, struct buf *cursor, bool *more, struct error *err)
{
	const struct backend_ops *ops = s->backend->ops;
	struct served p = storage_served(s);
	struct requests_txn *t;
	struct arena arena = {0};
	struct scanned_row *rows;
	size_t count, expired = 0;
	if (!ops->requests_begin(s->backend, false, &t, err))
		return false;
	bool ok = ops->users_scan(t, cursor, EXPIRE_STEP, &arena, &rows, &count, err);
	struct slice *keys = arena_array(&arena, struct slice, EXPIRE_STEP);
	for (size_t i = 0; ok && i < count; i++) {
		struct user_record u;
		ok = user_decode(&u, rows[i].record, err);
		if (ok && is_expired(s, &u, &p))
			keys[expired++] = arena_copy(&arena, rows[i].key);
	}
	ops->requests_abort(t);
	*more = ok && count == EXPIRE_STEP;
	ok = ok && (!expired || expire_users(s, keys, expired, err));
	arena_free(&arena);
	return ok;
}

bool storage_expire_requests(struct storage *s, struct error *err)
{
	if (s->shared)
		return s->shared->expire_requests(s, err);
	struct buf cursor = {0};
	bool more = true, ok = true;
	while (ok && more)
		ok = expire_step(s, &cursor, &more, err);
	buf_free(&cursor);
	custom_expire(s);
	return ok;
}
