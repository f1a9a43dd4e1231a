/*
 * hub_news.c: an announcement, from storage's news to the sessions that it concerns.
 *
 * Members are marked under the hub's lock, in time proportional to their number, and wake is called afterwards, so that steps do not wait
 * for it. A second lock is held during a whole announcement and by whoever takes a member away: a session cannot disappear while it is
 * being woken.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "sync/hub_internal.h"

#define MAX_NEW_NAMES 4096 /* of one announcement; beyond, everybody who waits for a bucket looks for himself */

static void mark(struct hub_member *m, unsigned flag, struct hub_member **to_wake)
{
	if (atomic_fetch_or(&m->flags, flag | HUB_WOKEN) & HUB_WOKEN)
		return;
	m->wake_next = *to_wake;
	*to_wake = m;
}

static void mark_entry(struct hub_entry *e, unsigned flag, struct hub_member **to_wake)
{
	for (struct hub_link *l = e ? e->links : NULL; l; l = l->next) {
		if (flag == HUB_BUCKETS)
			hub_mark_bucket((struct hub_bucket_link *)l);
		mark(l->member, flag, to_wake);
	}
}

/* Buckets that came into being, by the hash of their names. */
struct new_buckets {
	uint64_t *hashes;
	size_t count;
	bool unknown; /* there are some, and the names are not at hand */
};

/* Bucket numbers come from an ascending sequence: only one beyond all that were seen can be new. Names are read before the lock is
 * taken, and only when somebody waits. */
static void read_new_names(struct session_hub *h, const struct storage_news *news, struct new_buckets *out)
{
	struct error ignored;
	uint32_t definition, greatest;
	struct slice keys;
	size_t fresh = 0;
	pthread_mutex_lock(&h->lock);
	greatest = h->greatest_bucket;
	bool waited_for = h->absent != NULL;
	pthread_mutex_unlock(&h->lock);
	for (size_t i = 0; i < news->bucket_count; i++)
		fresh += news->buckets[i] > greatest;
	if (!fresh)
		return;
	out->unknown = true;
	struct storage_reader *reader = waited_for && fresh <= MAX_NEW_NAMES ? storage_read_begin(h->storage, &ignored) : NULL;
	if (!reader)
		return;
	out->hashes = xmalloc(sizeof(*out->hashes) * fresh);
	for (size_t i = 0; i < news->bucket_count; i++)
		if (news->buckets[i] > greatest && reader_bucket_name(reader, news->buckets[i], &definition, &keys))
			out->hashes[out->count++] = lookup_hash(definition, keys);
	out->unknown = out->count < fresh;
	storage_read_end(reader);
}

static void mark_buckets(struct session_hub *h, const struct storage_news *news, const struct new_buckets *new,
                         struct hub_member **to_wake)
{
	struct hub_entry *e, *next;
	for (size_t i = 0; i < news->bucket_count; i++) {
		mark_entry(hub_entry_find(h->buckets, news->buckets[i]), HUB_BUCKETS, to_wake);
		if (news->buckets[i] > h->greatest_bucket)
			h->greatest_bucket = news->buckets[i];
	}
	for (size_t i = 0; i < new->count; i++)
		mark_entry(hub_entry_find(h->absent, new->hashes[i]), HUB_ABSENT, to_wake);
	if (new->unknown)
		HASH_ITER(hh, h->absent, e, next)
	mark_entry(e, HUB_ABSENT, to_wake);
}

static void mark_all(struct session_hub *h, unsigned flags, struct hub_member **to_wake)
{
	for (struct hub_member *m = h->members; m; m = m->next)
		mark(m, flags, to_wake);
}

/* News of the replication thread and of the request thread may cross, but op ids only rise: a checkpoint never goes back. Only that of
 * another plan may, where another program shares the store; then the storage has left the former plan. */
static bool is_newer(struct session_hub *h, const struct storage_news *news)
{
	const struct checkpoint *a = &news->checkpoint, *than = &h->checkpoint;
	if (!a->valid || !than->valid)
		return a->valid;
	if (a->plan_id != than->plan_id && news->everything)
		return a->plan_id == storage_checkpoint(h->storage).plan_id;
	return a->op_id != than->op_id ? a->op_id > than->op_id : position_cmp(a->position, than->position) > 0;
}

static void wake_all(struct session_hub *h, struct hub_member *to_wake)
{
	for (struct hub_member *m = to_wake; m; m = m->wake_next) {
		atomic_fetch_add_explicit(&h->wakes, 1, memory_order_relaxed);
		h->wake(h->wake_ctx, m->owner);
	}
}

static void keep_early_users(struct session_hub *h, const struct storage_news *news)
{
	h->early_all |= news->all_users;
	for (size_t i = 0; i < news->user_count; i++) {
		h->early_users = xgrow(h->early_users, h->early_count, &h->early_cap, sizeof(*h->early_users));
		h->early_users[h->early_count++] = hub_user_hash(&news->users[i]);
	}
}

static void mark_early_users(struct session_hub *h, struct hub_member **to_wake)
{
	if (h->early_all)
		mark_all(h, HUB_USER, to_wake);
	h->early_all = false;
	for (size_t i = 0; i < h->early_count; i++)
		mark_entry(hub_entry_find(h->users, h->early_users[i]), HUB_USER, to_wake);
	free(h->early_users);
	h->early_users = NULL;
	h->early_count = h->early_cap = 0;
}

void session_hub_news(void *hub, const struct storage_news *news)
{
	struct session_hub *h = hub;
	struct hub_member *to_wake = NULL;
	struct new_buckets new = {0};
	pthread_mutex_lock(&h->announcing);
	read_new_names(h, news, &new);
	pthread_mutex_lock(&h->lock);
	bool newer = is_newer(h, news);
	if (newer && news->only_users) {
		keep_early_users(h, news);
		pthread_mutex_unlock(&h->lock);
		pthread_mutex_unlock(&h->announcing);
		return;
	}
	bool plan = newer && news->checkpoint.plan_id != h->checkpoint.plan_id;
	if (newer) {
		hub_set_checkpoint(h, news->checkpoint);
		h->announced_us = clock_mono_us();
	}
	h->sequence++;
	if (news->everything || plan)
		mark_all(h, (news->everything ? HUB_EVERYTHING : 0) | (plan ? HUB_PLAN : 0), &to_wake);
	if (news->all_users)
		mark_all(h, HUB_USER, &to_wake);
	if (!news->only_users)
		mark_early_users(h, &to_wake);
	mark_buckets(h, news, &new, &to_wake);
	for (size_t i = 0; i < news->lookup_count; i++)
		mark_entry(hub_entry_find(h->lookups, news->lookups[i]), HUB_LOOKUPS, &to_wake);
	for (size_t i = 0; i < news->user_count; i++)
		mark_entry(hub_entry_find(h->users, hub_user_hash(&news->users[i])), HUB_USER, &to_wake);
	pthread_mutex_unlock(&h->lock);
	wake_all(h, to_wake);
	pthread_mutex_unlock(&h->announcing);
	free(new.hashes);
}

void session_hub_shutdown(struct session_hub *h)
{
	struct hub_member *to_wake = NULL;
	pthread_mutex_lock(&h->announcing);
	pthread_mutex_lock(&h->lock);
	h->shutdown = true;
	mark_all(h, HUB_SHUTDOWN, &to_wake);
	pthread_mutex_unlock(&h->lock);
	wake_all(h, to_wake);
	pthread_mutex_unlock(&h->announcing);
}
