/*
 * hub.h: what sessions and their hub know of each other (internal).
 *
 * The hub's lock guards its indexes, the checkpoint, and the fields of members that say so. Rule for not losing or mixing up news:
 * under one hold of the lock, news mark the members concerned *and* publish their checkpoint, and a session takes its marks and
 * the checkpoint together (hub_take). So whoever sees a checkpoint has also seen what changed up to it. What a session registers
 * later (buckets and lookups that it found while resolving) counts as changed if news came in between (sequence).
 */
#ifndef SYNCLINE_SYNC_HUB_H
#define SYNCLINE_SYNC_HUB_H

#include <stdatomic.h>

#include "sync/session.h"

enum hub_flag {
	HUB_WOKEN = 1 << 0,   /* wake was called and no step has begun since */
	HUB_BUCKETS = 1 << 1, /* some registered buckets changed: they are in the changed list */
	HUB_LOOKUPS = 1 << 2,
	HUB_USER = 1 << 3,
	HUB_ABSENT = 1 << 4, /* a bucket that had no operation so far may exist now */
	HUB_EVERYTHING = 1 << 5,
	HUB_PLAN = 1 << 6,
	HUB_SHUTDOWN = 1 << 7, /* stays set */
	HUB_NEWS = HUB_BUCKETS | HUB_LOOKUPS | HUB_USER | HUB_ABSENT | HUB_EVERYTHING | HUB_PLAN,
};

struct hub_entry;
struct hub_member;

/* One registration in one index; embedded in what it stands for. All fields: the hub's lock. A zeroed link is not registered. */
struct hub_link {
	struct hub_link *next, **previous;
	struct hub_entry *entry;
	struct hub_member *member;
};

struct hub_bucket_link {
	struct hub_link link; /* first: the hub goes back from one to the other */
	struct hub_bucket_link *changed_next;
	bool changed;
};

/* The hub's part of a session. */
struct hub_member {
	_Atomic unsigned flags;
	void *owner;                         /* wake's argument */
	struct hub_member *next, **previous; /* of all members; the hub's lock */
	struct hub_member *wake_next;        /* only inside one announcement */
	struct hub_bucket_link *changed;     /* the hub's lock */
	struct hub_link user;
	const struct user_key *user_key; /* the session's */
	_Atomic uint64_t told;           /* write checkpoint of the last line, times two, plus one once that was completed */
};

/* Time that phases of a session's work take, in seconds; NULL where nobody asks. */
struct hub_phases {
	struct histogram *line;   /* from the news of a checkpoint to its line */
	struct histogram *lookup; /* resolving the parameters of a request */
	struct histogram *encode; /* reading and encoding a list of operations */
};

/* What a step goes by. */
struct hub_view {
	struct checkpoint checkpoint;
	uint64_t sequence;    /* number of announcements so far */
	int64_t announced_us; /* monotonic time of the checkpoint's; 0: it was there at the start */
	unsigned flags;       /* taken; HUB_SHUTDOWN is left in place */
};

/* Buffers of a step, lent by the hub. */
struct scratch {
	struct scratch *next;
	struct arena arena;
	struct buf operations;
};

struct storage *hub_storage(struct session_hub *h);
const struct hub_phases *hub_phases(const struct session_hub *h);
struct line_cache *hub_cache(struct session_hub *h);
/* user lives as long as the member is there. */
void hub_add(struct session_hub *h, struct hub_member *m, const struct user_key *user);
/* Waits for an announcement that runs. The member's buckets and lookups must have been unlinked. */
void hub_remove(struct session_hub *h, struct hub_member *m);

/* Takes the marks; visit is called under the lock for each changed bucket. */
void hub_take(struct session_hub *h, struct hub_member *m, void (*visit)(struct hub_bucket_link *link), struct hub_view *out);
/* Op id of the newest checkpoint, at least as new as any that was taken before. */
uint64_t hub_newest_op(struct session_hub *h);

/* sequence: of the view under which the thing was found. */
void hub_link_bucket(struct session_hub *h, struct hub_member *m, struct hub_bucket_link *link, uint32_t number,
                     uint64_t sequence);
/* The same for a bucket that has no operation so far, and so no number: waits until it comes into being. hash: lookup_hash() of its
 * definition and keys. Unlinked like the others. */
void hub_link_absent(struct session_hub *h, struct hub_member *m, struct hub_bucket_link *link, uint64_t hash, uint64_t sequence);
void hub_unlink_bucket(struct session_hub *h, struct hub_bucket_link *link);
/* Do other sessions have this bucket, too? */
bool hub_bucket_is_shared(struct session_hub *h, const struct hub_bucket_link *link);
void hub_link_lookup(struct session_hub *h, struct hub_member *m, struct hub_link *link, uint64_t hash, uint64_t sequence);
void hub_unlink_lookup(struct session_hub *h, struct hub_link *link);

struct scratch *hub_scratch(struct session_hub *h);
void hub_scratch_return(struct session_hub *h, struct scratch *s);
uint64_t hub_random(struct session_hub *h);
void hub_count_step(struct session_hub *h, size_t lookups_read);

#endif
