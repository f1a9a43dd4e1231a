/*
 * compact.h: taking away history that no client needs (storage-semantics 9, incremental-deploy 8).
 *
 * Everything is done in short steps, each a transaction of its own, between which the replication thread has its turn, and each
 * leaves the store right: it may be cut anywhere, and readers need not be told. Any thread but the replication thread; one run at a
 * time, a second one waits.
 */
#ifndef SYNCLINE_STORAGE_COMPACT_H
#define SYNCLINE_STORAGE_COMPACT_H

#include "storage/storage.h"

struct compact_options {
	bool buckets, lookups, dropped;
	const struct slice *names; /* full bucket names; name_count 0: all buckets */
	size_t name_count;
	/* Only buckets with so many dead operations that make up at least this share of all. 0: every bucket that has any. */
	uint64_t min_dead;
	double min_share;
	/* Buckets in which at least this share of operations lies between rows that never change, where no CLEAR can take it: these rows
	 * are written again (defrag.h), at least min_dead operations at a time. With min_dead 0 every bucket is looked into for it. 0: none. */
	double defragment_share;
	/* Checkpoints that were handed out in the last so many ms stay valid. Older ones are void for a client that is still at them;
	 * it goes on to the newest. */
	int64_t margin_ms;
	uint64_t max_op_id;       /* 0: as far as the checkpoint and the margin allow */
	size_t clear_step;        /* operations of one transaction; 0: 5000 */
	size_t move_step;         /* 0: 2000 */
	size_t read_step;         /* 0: 10000 */
	size_t memory;            /* bytes for keys of rows; SIZE_MAX: 0, none at all; 0: 64 MiB */
	bool gentle;              /* rests between steps, for a store that is in use */
	bool measure;             /* fills in the report's total before the work begins */
	bool (*go_on)(void *ctx); /* asked between steps; NULL: yes */
	void *ctx;
};

#define COMPACT_DEFAULT_MARGIN_MS 120000

struct compact_report {
	uint64_t buckets; /* looked into */
	uint64_t moved;   /* operations that became MOVEs */
	uint64_t cleared; /* operations that went into CLEARs */
	uint64_t lookups; /* entries removed */
	uint64_t dropped; /* operations, lookups and contributions of definitions that no config uses any more */
	uint64_t unknown; /* names that mean no bucket */
	uint64_t asked;   /* rows that the writer is to write again */
	uint64_t freed;   /* bytes of pages that the store uses less, which the next writes take */
	bool stopped;     /* by go_on */
	/* Operations of the buckets that are looked into, and of those that were. */
	uint64_t total, walked;
};

/* *out can be looked at by go_on. Without an active sync config nothing but `dropped` is done. */
bool storage_compact(struct storage *s, const struct compact_options *o, struct compact_report *out, struct error *err);

/* A full bucket name has a '['. */
bool bucket_name_is_full(struct slice name);

#endif
