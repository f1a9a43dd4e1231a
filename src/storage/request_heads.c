/*
 * request_heads.c: checkpoint requests whose head is not known: made while the source was away (checkpoint-requests 2), or by another source
 * behind the same address.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "storage/request_batch.h"
#include "storage/user_edit.h"

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
		ok = user_edit_load(s, t, w->items[i].key, &e, err);
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
		ok = user_edit_load(s, t, w->items[i].key, &e, err);
		w->items[i].outcome = (struct request_outcome){.any = false};
		if (!ok || !w->items[i].id || e.before.unknown != w->items[i].id)
			continue; /* a request that came after the head was read waits for the next one */
		user_resolve(&e.after, head, &p, s->wall_ms());
		w->items[i].outcome = request_outcome_of(&e.before, &e.after);
		ok = user_edit_store(s, t, &e, &scratch, err);
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
		ok = user_edit_load(s, t, users->items[i].key, &e, err);
		if (ok && e.found && user_forget_heads(&e.after, p, s->wall_ms()))
			ok = user_edit_store(s, t, &e, &scratch, err);
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
