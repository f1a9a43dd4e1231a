/*
 * hub_internal.h: the hub as its two files share it: hub.c keeps who is registered for what, hub_news.c tells them.
 */
#ifndef SYNCLINE_SYNC_HUB_INTERNAL_H
#define SYNCLINE_SYNC_HUB_INTERNAL_H

#include <pthread.h>

#include <uthash.h>

#include "sync/hub.h"

struct hub_entry {
	uint64_t key;
	struct hub_link *links;
	struct hub_entry **index; /* the table it is in */
	UT_hash_handle hh;
};

struct session_hub {
	struct storage *storage;
	void (*wake)(void *ctx, void *owner);
	void *wake_ctx;

	pthread_mutex_t announcing; /* taken before lock */
	pthread_mutex_t lock;
	struct checkpoint checkpoint;
	int64_t announced_us;
	uint64_t sequence;
	bool shutdown;
	uint32_t greatest_bucket; /* of those seen in news */
	struct hub_entry *buckets, *absent, *lookups, *users;
	struct hub_member *members;
	size_t member_count;
	/* Users acknowledged by news that overtook those of their checkpoint: the request thread sees it as soon as it is served, and the
	 * replication thread is still about to tell which buckets changed. Nobody may be shown it before that. */
	uint64_t *early_users;
	size_t early_count, early_cap;
	bool early_all; /* all of them */
	_Atomic uint64_t newest_op;
	_Atomic bool started; /* there is a checkpoint */

	struct line_cache *cache;
	struct hub_phases phases;

	pthread_mutex_t scratch_lock;
	struct scratch *scratch;
	size_t scratch_count;

	_Atomic uint64_t random, steps, lookups_read, wakes;
};

struct hub_entry *hub_entry_find(struct hub_entry *index, uint64_t key);
uint64_t hub_user_hash(const struct user_key *user);
/* The rest with the hub's lock held. */
void hub_set_checkpoint(struct session_hub *h, struct checkpoint c);
/* The bucket is among those that changed for its member. */
void hub_mark_bucket(struct hub_bucket_link *link);

#endif
