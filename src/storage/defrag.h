/*
 * defrag.h: rows that hold up compaction are written again.
 *
 * A bucket whose first rows never change, while others do, becomes a few PUTs with a long tail of MOVEs between them, which no CLEAR can
 * take in: each new client downloads them all. When the first rows get operations of their own at the end of the bucket, the old ones are
 * superseded, and the next compaction makes one CLEAR of everything up to the first row that stays. For clients nothing changes but
 * that they receive these rows once more; so there must be several operations to gain for each.
 *
 * Compaction finds such rows; new operations can be given by the writer alone, at a boundary of the stream.
 */
#ifndef SYNCLINE_STORAGE_DEFRAG_H
#define SYNCLINE_STORAGE_DEFRAG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/slice.h"

struct storage;

/* Most rows of a bucket that are written again at once. */
#define DEFRAG_ROWS 1000

struct defrag_row {
	uint64_t op_id; /* its PUT */
	uint64_t newer; /* operations behind it that are no PUTs that stay */
	struct slice row;
};

/* What a walk from the newest operation to the oldest met: the oldest PUTs that stay, one more than may be written again. */
struct defrag_walk {
	struct defrag_row rows[DEFRAG_ROWS + 1]; /* a ring */
	uint64_t puts, others;                   /* all that were met */
	bool incomplete;                         /* a row could not be remembered: nothing can be said */
};

/* The row's bytes outlive the walk's evaluation. */
void defrag_put(struct defrag_walk *w, uint64_t op_id, struct slice row);

struct defrag_request {
	struct defrag_request *next;
	struct arena arena;
	uint32_t bucket;
	uint64_t limit; /* of the walk: newer operations of these rows may have come since */
	uint64_t gain;  /* operations that can be cleared afterwards */
	struct defrag_row *rows;
	size_t count;
};

/* Is it worth it? leading: of the others, those at the beginning, which are cleared anyway. NULL: no. */
struct defrag_request *defrag_choose(const struct defrag_walk *w, uint32_t bucket, uint64_t limit, uint64_t leading,
                                     uint64_t least, double share);

/* What waits for the writer. */
struct defrag {
	_Atomic bool due;
	struct defrag_request *first; /* the storage's lock */
	size_t waiting;
};

/* Takes the request. Any thread. */
void defrag_ask(struct storage *s, struct defrag_request *r);
/* The writer, with nothing written yet since the last commit: one request, in the open transaction. */
bool defrag_step(struct storage *s, struct error *err);
void defrag_free(struct storage *s);

#endif
