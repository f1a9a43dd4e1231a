/*
 * compact_walk.h: what a compaction finds in one bucket, from the newest operation to the oldest (storage-semantics 9): operations that become
 * MOVEs, and the leading run. The same on every store.
 */
#ifndef SYNCLINE_STORAGE_COMPACT_WALK_H
#define SYNCLINE_STORAGE_COMPACT_WALK_H

#include "base/arena.h"
#include "storage/backend.h"

struct seen_row;

/* Zeroed, with memory set: bytes for keys of rows; when they are used up, rows that were not seen yet are left as they are. */
struct compact_walk {
	size_t memory;
	struct seen_row *seen;
	struct arena rows;
	struct op_move *moves; /* found so far; the caller writes them and sets move_count to 0 */
	size_t move_count, move_cap;
	/* The leading run as far as the walk has come: what lies before the last PUT that stays. A former CLEAR is not counted. */
	uint64_t run_last, run_count;
};

/* The next older operation. True: it stays a PUT. *first: key of its row, if this is the newest operation of it and it is remembered, else p ==
 * NULL. */
bool compact_walk_op(struct compact_walk *w, const struct compact_op *op, struct slice *first);
void compact_walk_free(struct compact_walk *w);

#endif
