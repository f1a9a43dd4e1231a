/* requests.c: checkpoint requests on the shared layout: batches, unknown heads, what is acknowledged (requests.h). */
#include <stdlib.h>

#include "base/alloc.h"
#include "storage/postgres/custom.h"
#include "storage/postgres/requests_internal.h"

/* ---- batches ----------------------------------------------------------------------------------------------------------------------- */

struct storing {
	struct storage *s;
	struct request_batch batch;
	const struct position *head;
	struct user_list at_once;
};

static bool store_one(void *ctx, size_t index, struct pg_user *u)
{
	struct storing *t = ctx;
	struct batch_user *b = &t->batch.users[index];
	struct served p = storage_served(t->s);
	request_batch_apply(b, &u->after, t->head, &p, t->s->wall_ms());
	b->outcome = request_outcome_of(&u->before, &u->after);
	return !u->found || u->adopted || !request_changes_nothing(&u->before, &u->after, t->s->retention_ms);
}

/* The position that clients are served is read again: no commit comes for what it has passed. */
static void stored_one(void *ctx, size_t index, const struct pg_user *u)
{
	struct storing *t = ctx;
	struct batch_user *b = &t->batch.users[index];
	struct served p = storage_served(t->s);
	(void)u;
	b->pending = request_is_pending(&b->outcome, &p);
	if (request_is_passed(&b->outcome, &p)) {
		user_list_add(&t->at_once, b->key);
		requests_note_latency(t->s, t->s->wall_ms());
	}
}

static struct slice *user_keys(struct request_batch *b)
{
	struct slice *keys = arena_array(&b->arena, struct slice, b->count);
	for (size_t i = 0; i < b->count; i++)
		keys[i] = b->users[i].key;
	return keys;
}

bool pg_request_checkpoints(struct storage *s, struct checkpoint_request *requests, size_t count, bool head_known,
                            struct position head, struct error *err)
{
	struct storing t = {.s = s, .head = head_known ? &head : NULL};
	const struct users_edit edit = {.r = pg_requests_of(s), .change = store_one, .done = stored_one, .ctx = &t};
	request_batch_group(&t.batch, requests, count);
	pthread_mutex_lock(&s->requests_lock);
	bool ok = users_edit(&edit, user_keys(&t.batch), t.batch.count, err);
	pthread_mutex_unlock(&s->requests_lock);
	if (ok)
		request_batch_answer(&t.batch, requests, count);
	user_list_tell(s, &t.at_once);
	user_list_free(&t.at_once);
	arena_free(&t.batch.arena);
	return ok;
}

/* ---- unknown heads ----------------------------------------------------------------------------------------------------------------- */

struct waiting_heads *pg_waiting_heads(struct storage *s, size_t *count, struct error *err)
{
	static const char sql[] =
	        "SELECT coalesce(full_key, user_key), record FROM syncline_requests WHERE waiting_since IS NOT NULL"
	        " ORDER BY waiting_since LIMIT $1::bigint";
	char limit[24];
	const char *values[] = {limit};
	const struct pg_values v = {.count = 1, .values = values, .binary_result = true};
	struct waiting_heads *w = xcalloc(1, sizeof(*w));
	*count = 0;
	atomic_store(&pg_requests_of(s)->heads_wait, false);
	snprintf(limit, sizeof(limit), "%d", WAITING_HEADS_MAX);
	PGresult *r = pg_pool_query(pg_store_of(s)->pool, sql, &v, err);
	bool ok = r != NULL;
	for (int i = 0; ok && i < PQntuples(r); i++) {
		struct user_record u;
		ok = user_decode(&u, slice_make(PQgetvalue(r, i, 1), (size_t)PQgetlength(r, i, 1)), err);
		if (ok)
			waiting_heads_add(w, slice_make(PQgetvalue(r, i, 0), (size_t)PQgetlength(r, i, 0)), u.unknown);
	}
	PQclear(r);
	if (!ok) {
		waiting_heads_free(w);
		return NULL;
	}
	*count = w->count;
	return w;
}

bool pg_heads_wait(struct storage *s)
{
	return atomic_load(&pg_requests_of(s)->heads_wait);
}

struct filling {
	struct storage *s;
	struct waiting_heads *waiting;
	struct position head;
	struct user_list at_once;
};

/* A request that came after the head was read waits for the next one. */
static bool fill_one(void *ctx, size_t index, struct pg_user *u)
{
	struct filling *f = ctx;
	struct waiting_user *w = &f->waiting->items[index];
	struct served p = storage_served(f->s);
	w->outcome = (struct request_outcome){.any = false};
	if (!w->id || u->before.unknown != w->id)
		return false;
	user_resolve(&u->after, f->head, &p, f->s->wall_ms());
	w->outcome = request_outcome_of(&u->before, &u->after);
	return true;
}

static void filled_one(void *ctx, size_t index, const struct pg_user *u)
{
	struct filling *f = ctx;
	struct served p = storage_served(f->s);
	(void)u;
	if (request_is_passed(&f->waiting->items[index].outcome, &p))
		user_list_add(&f->at_once, f->waiting->items[index].key);
}

bool pg_fill_heads(struct storage *s, struct waiting_heads *w, struct position head, struct error *err)
{
	struct filling f = {.s = s, .waiting = w, .head = head};
	const struct users_edit edit = {.r = pg_requests_of(s), .change = fill_one, .done = filled_one, .ctx = &f};
	struct slice *keys = arena_array(&w->arena, struct slice, w->count);
	for (size_t i = 0; i < w->count; i++)
		keys[i] = w->items[i].key;
	pthread_mutex_lock(&s->requests_lock);
	bool ok = users_edit(&edit, keys, w->count, err);
	pthread_mutex_unlock(&s->requests_lock);
	user_list_tell(s, &f.at_once);
	user_list_free(&f.at_once);
	return ok;
}

/* ---- reading ----------------------------------------------------------------------------------------------------------------------- */

/* The session goes on without; it looks again when the database answers. */
static void failed(struct storage *s, const struct error *err)
{
	log_error(s->log, "Cannot read a write checkpoint: %s", err->message);
	atomic_store(&pg_requests_of(s)->look_again, true);
}

uint64_t pg_write_checkpoint(struct storage *s, const struct user_key *user, struct position position)
{
	struct arena arena = {0};
	struct buf key = {0};
	struct error err = {.code = ""};
	if (pg_custom_mode(s))
		return pg_custom_acknowledged(s, user, position);
	struct pg_user *u = arena_calloc(&arena, sizeof(*u));
	uint64_t id = 0;
	user_key_encode(&key, user);
	u->key = buf_slice(&key);
	pg_user_name(u, &arena);
	if (pg_users_load(pg_store_of(s), u, 1, &err))
		id = user_acknowledged(&u->before, position);
	else
		failed(s, &err);
	buf_free(&key);
	arena_free(&arena);
	return id;
}
