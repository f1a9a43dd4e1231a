/*
 * fake_storage.h: the parts of a storage that the server uses, in memory: write checkpoints per user (one association each, enough for
 * the batcher), waiting heads, the served position. Definitions; included once.
 */
#ifndef FAKE_STORAGE_H
#define FAKE_STORAGE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "storage/preview.h"
#include "storage/request_list.h"
#include "storage/storage.h"

struct fake_user {
	char subject[64];
	char client[1100];
	bool has_client;
	uint64_t id;
	struct position head;
	bool unknown;
};

static struct {
	pthread_mutex_t lock;
	struct checkpoint checkpoint;
	struct source_state source;
	struct fake_user *users; /* 16384 */
	size_t user_count;
	bool fail, custom;
	bool passed_at_once;
	_Atomic size_t batches, largest_batch, fills;
	int64_t oldest_pending_ms;
	int delay_ms;
	void (*callback)(void *ctx, const struct storage_news *news);
} fake_storage = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct checkpoint storage_checkpoint(struct storage *s)
{
	(void)s;
	pthread_mutex_lock(&fake_storage.lock);
	struct checkpoint c = fake_storage.checkpoint;
	pthread_mutex_unlock(&fake_storage.lock);
	return c;
}

bool storage_sizes(struct storage *s, struct storage_sizes *out, struct error *err)
{
	(void)s, (void)err;
	*out = (struct storage_sizes){0};
	return true;
}

void storage_subscribe(struct storage *s, void (*callback)(void *ctx, const struct storage_news *news), void *ctx)
{
	(void)s, (void)ctx;
	fake_storage.callback = callback;
}

bool storage_source_state(struct storage *s, struct source_state *out, struct error *err)
{
	(void)s, (void)err;
	pthread_mutex_lock(&fake_storage.lock);
	*out = fake_storage.source;
	pthread_mutex_unlock(&fake_storage.lock);
	return true;
}

static struct fake_user *fake_find_user(const struct user_key *key)
{
	for (size_t i = 0; i < fake_storage.user_count; i++) {
		struct fake_user *u = &fake_storage.users[i];
		if (slice_eq(slice_cstr(u->subject), key->subject) && u->has_client == (key->client_id.p != NULL) &&
		    slice_eq(slice_cstr(u->client), key->client_id))
			return u;
	}
	struct fake_user *u = &fake_storage.users[fake_storage.user_count++];
	*u = (struct fake_user){.has_client = key->client_id.p != NULL};
	snprintf(u->subject, sizeof(u->subject), "%.*s", SLICE_ARG(key->subject));
	snprintf(u->client, sizeof(u->client), "%.*s", SLICE_ARG(key->client_id));
	return u;
}

bool storage_request_checkpoints(struct storage *s, struct checkpoint_request *requests, size_t count, bool head_known,
                                 struct position head, struct error *err)
{
	(void)s;
	if (fake_storage.fail)
		return error_set(err, "PSYNC_S2404", "secret statement text");
	pthread_mutex_lock(&fake_storage.lock);
	fake_storage.batches++;
	if (count > fake_storage.largest_batch)
		fake_storage.largest_batch = count;
	for (size_t i = 0; i < count; i++) {
		struct fake_user *u = fake_find_user(&requests[i].user);
		uint64_t id = requests[i].id ? requests[i].id : u->id + 1;
		if (id > u->id) {
			u->id = id;
			u->head = head;
			u->unknown = !head_known;
			requests[i].fresh = true;
		}
		requests[i].stored_id = u->id;
		requests[i].pending = u->unknown || position_cmp(u->head, fake_storage.checkpoint.position) > 0;
	}
	pthread_mutex_unlock(&fake_storage.lock);
	if (fake_storage.delay_ms)
		nanosleep(&(struct timespec){0, fake_storage.delay_ms * 1000000L}, NULL);
	return true;
}

bool storage_heads_wait(struct storage *s)
{
	(void)s;
	return false;
}

struct waiting_heads *storage_waiting_heads(struct storage *s, size_t *count, struct error *err)
{
	(void)s, (void)err;
	*count = 0;
	pthread_mutex_lock(&fake_storage.lock);
	for (size_t i = 0; i < fake_storage.user_count; i++)
		*count += fake_storage.users[i].unknown && *count < WAITING_HEADS_MAX;
	pthread_mutex_unlock(&fake_storage.lock);
	return xcalloc(1, 1);
}

bool storage_fill_heads(struct storage *s, struct waiting_heads *w, struct position head, struct error *err)
{
	(void)s, (void)w, (void)err;
	pthread_mutex_lock(&fake_storage.lock);
	fake_storage.fills++;
	for (size_t i = 0, n = 0; i < fake_storage.user_count; i++)
		if (fake_storage.users[i].unknown && n++ < WAITING_HEADS_MAX) {
			fake_storage.users[i].unknown = false;
			fake_storage.users[i].head = head;
		}
	pthread_mutex_unlock(&fake_storage.lock);
	return true;
}

void waiting_heads_free(struct waiting_heads *w)
{
	free(w);
}

void storage_want_position(struct storage *s, struct position position)
{
	(void)s, (void)position;
}

void storage_last_failure(struct storage *s, char out[STORAGE_FAILURE_SIZE])
{
	(void)s;
	out[0] = '\0';
}

bool storage_custom_mode(struct storage *s)
{
	(void)s;
	return fake_storage.custom;
}

size_t storage_pending_requests(struct storage *s, int64_t *oldest_ms)
{
	(void)s;
	size_t n = 0;
	pthread_mutex_lock(&fake_storage.lock);
	for (size_t i = 0; i < fake_storage.user_count; i++)
		n += fake_storage.users[i].unknown ||
		     position_cmp(fake_storage.users[i].head, fake_storage.checkpoint.position) > 0;
	*oldest_ms = n ? fake_storage.oldest_pending_ms : 0;
	pthread_mutex_unlock(&fake_storage.lock);
	return n;
}

bool storage_count_requests(struct storage *s, struct request_counts *out, struct error *err)
{
	(void)s, (void)err;
	int64_t oldest;
	*out = (struct request_counts){.pending = storage_pending_requests(s, &oldest)};
	return true;
}

bool storage_list_requests(struct storage *s, const struct request_filter *filter, struct arena *arena,
                           struct user_requests **out, size_t *count, bool *more, struct error *err)
{
	(void)s, (void)filter, (void)arena, (void)err;
	*out = NULL;
	*count = 0;
	*more = false;
	return true;
}

/* No sync config is stored. */
struct stored_plan *storage_active_plan(struct storage *s)
{
	(void)s;
	return NULL;
}

struct stored_plan *storage_pending_plan(struct storage *s)
{
	(void)s;
	return NULL;
}

void storage_preview(struct storage *s, const struct plan *plan, struct plan_preview *out)
{
	(void)s;
	(void)plan;
	*out = (struct plan_preview){0};
}

void plan_preview_free(struct plan_preview *p)
{
	(void)p;
}

void stored_plan_unref(struct stored_plan *p)
{
	(void)p;
}

static inline void fake_storage_reset(void)
{
	free(fake_storage.users);
	fake_storage.users = xcalloc(16384, sizeof(struct fake_user));
	fake_storage.user_count = 0;
	fake_storage.batches = 0;
	fake_storage.largest_batch = 0;
	fake_storage.fills = 0;
	fake_storage.fail = fake_storage.custom = false;
	fake_storage.delay_ms = 0;
	fake_storage.oldest_pending_ms = 0;
	fake_storage.checkpoint = (struct checkpoint){.valid = true, .op_id = 77, .position = {1, 1000}, .plan_id = 1};
	fake_storage.source = (struct source_state){.system_id = "sys.app", .applied = {1, 1000}};
}

#endif
