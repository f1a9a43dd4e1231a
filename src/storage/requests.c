/*
 * requests.c: checkpoint requests of all users (checkpoint-requests 2 to 5): batches, and who was passed. Unknown heads: request_heads.c;
 * retention: request_retention.c.
 *
 * The rules of one user's queue are in write_checkpoints.c, those of a batch in request_batch.h. Everything that writes holds requests_lock.
 */
#include "base/clock.h"
#include "storage/request_batch.h"
#include "storage/request_list.h"
#include "storage/user_edit.h"

/* Index entries of passed heads that one write takes along. */
#define TRIM_HEADS 256

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
		ok = user_edit_load(s, t, b->users[i].key, &e, err);
		if (!ok)
			break;
		request_batch_apply(&b->users[i], &e.after, head, &p, now);
		b->users[i].outcome = request_outcome_of(&e.before, &e.after);
		if (e.found && request_changes_nothing(&e.before, &e.after, s->retention_ms))
			continue;
		ok = user_edit_store(s, t, &e, &scratch, err);
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
	l->items = arena_grow(l->arena, l->items, l->count, &l->cap, sizeof(*l->items));
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
