/*
 * line_cache.h: encoded lists of operations, shared by the sessions that ask for the same (sync-protocol 6, "encode once").
 *
 * Bounded by bytes, least recently used first out. Any thread.
 *
 * A list stays right when its bucket is compacted: applying the operations of a bucket up to c as they were and those after c as they
 * are now gives the same rows and sum as all of them at any one time (storage-semantics 9). So a download may begin with older lists.
 * But new ones are not handed what is superseded: the key says how often the bucket had been compacted. What an entry must not do is
 * to end too early, so a list that ended because there was no more up to some checkpoint counts for that one only.
 */
#ifndef SYNCLINE_SYNC_LINE_CACHE_H
#define SYNCLINE_SYNC_LINE_CACHE_H

#include "sync/encode.h"
#include "sync/session.h"

struct line_cache;

/* The operations of one line. */
struct operations {
	struct block *block; /* the bytes, with line_count 0; NULL: they are in a buffer of the step */
	struct slice bytes;
	uint32_t count;
	uint16_t kinds[OP_KINDS]; /* how many of each kind; a line has 1,000 operations at most */
	uint64_t last_op;
	uint64_t target_op; /* greatest of them; 0: none */
	bool closed;        /* by a limit: more may follow */
};

/* Operations after `after`, of a reader that is entitled to those up to `up_to`. */
struct line_key {
	uint32_t bucket;
	enum operations_form form;
	uint64_t after, up_to;
	uint32_t compactions; /* storage_bucket_compactions, asked before the operations are read */
};

struct line_cache *line_cache_new(size_t max_bytes); /* 0: keeps nothing */
void line_cache_free(struct line_cache *c);

/* On a hit *out holds a reference to its block. */
bool line_cache_find(struct line_cache *c, const struct line_key *key, struct operations *out);
/* The same for whoever makes the list otherwise, and releases the claim then, put or not. Who comes in between waits for that, a second at most, so
 * that many sessions that begin together read and encode once. Nothing else may be waited for with a claim but storage. */
struct line_claim {
	bool held;
	struct line_key key;
	struct line_claim *next;
};
bool line_cache_find_or_claim(struct line_cache *c, const struct line_key *key, struct line_claim *claim, struct operations *out);
void line_cache_release(struct line_cache *c, struct line_claim *claim);
/* The same as line_cache_find without using it. */
bool line_cache_has(struct line_cache *c, const struct line_key *key);
/* out->block is set. exact: `after` is just before the first operation, so that other readers may cut their lines there. */
void line_cache_put(struct line_cache *c, const struct line_key *key, bool exact, const struct operations *list);
/* Where the next shared list of the bucket begins (its `after`); UINT64_MAX: nowhere. A line that ends there is followed by shared
 * ones, whatever position the reader began at. */
uint64_t line_cache_next_cut(struct line_cache *c, const struct line_key *key);

struct line_cache_stats {
	size_t bytes, entries;
	uint64_t hits, misses;
};
void line_cache_get_stats(struct line_cache *c, struct line_cache_stats *out);

#endif
