/* request_retention.c: signs of life of users with a stream, and the end of records that had none for too long. */
#include "storage/user_edit.h"

/* Records that one step of the clean-up looks at. */
#define EXPIRE_STEP 1000
/* Records that one write of storage_touch_requests stamps: requests wait for it. */
#define TOUCH_STEP 500

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
		ok = user_edit_load(s, t, buf_slice(&key), &e, err);
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
			ok = user_edit_load(s, t, keys[i], &e, err);
			if (!ok || !e.found || !stamp_is_due(s, &e.after, now))
				continue;
			e.after.stamp_ms = now;
			ok = user_edit_store(s, t, &e, &scratch, err);
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
			ok = user_edit_load(s, t, keys[i], &e, err);
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
