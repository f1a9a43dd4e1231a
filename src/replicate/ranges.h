/*
 * ranges.h: the ranges into which a table is cut while it is read, each with a reader of its own, and how far each one is.
 *
 * Replication thread only. A table that is not worth cutting is one range. Chunks of different ranges come in any order of their
 * snapshots, so an entry of the touch log is needed until every range under way is known to have a snapshot that sees it: the floor.
 */
#ifndef SYNCLINE_REPLICATE_RANGES_H
#define SYNCLINE_REPLICATE_RANGES_H

#include "base/buf.h"
#include "replicate/reader.h"
#include "source/source.h"

struct table_range {
	struct buf next;  /* position behind the last applied chunk; n == 0: from the start */
	struct buf until; /* n == 0: to the end */
	bool done;
	struct read_job *job;      /* whose results count; NULL: to be submitted */
	struct xid_snapshot floor; /* of the job's last applied chunk: later ones see all that it sees */
	bool has_floor;
};

struct table_ranges {
	struct table_range *items;
	size_t count; /* 0: not cut yet */
};

void ranges_free(struct table_ranges *r);
/* positions: from source_split_table; none: one range. */
void ranges_make(struct table_ranges *r, const struct slice *positions, size_t count);
/* Is there anything to go on from? */
bool ranges_begun(const struct table_ranges *r);
bool ranges_done(const struct table_ranges *r);
size_t ranges_running(const struct table_ranges *r);
/* One that is neither done nor has a job; NULL: none. */
struct table_range *ranges_waiting(struct table_ranges *r);
struct table_range *ranges_of_job(struct table_ranges *r, const struct read_job *job);
void range_cancel(struct table_range *range);
void ranges_cancel(struct table_ranges *r);

/* A chunk with this snapshot was applied. */
void range_raise_floor(struct table_range *range, const struct xid_snapshot *s);
/* What every chunk sees that is still to come; NULL: not known. */
const struct xid_snapshot *ranges_floor(const struct table_ranges *r);

/*
 * Progress as it is stored. One range: its position, as it is. Several: marked by the caller; count varint, then for each one: 1 if it is
 * done u8, next (varint length, bytes), until (the same).
 */
void ranges_encode(const struct table_ranges *r, struct buf *out);
/* False: damaged; then it is as if nothing had been read. */
bool ranges_decode(struct table_ranges *r, struct slice in, bool several);

#endif
