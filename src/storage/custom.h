/*
 * custom.h: write checkpoints that come with the data (checkpoint-requests 7): the record of one user, as pure functions.
 *
 * An entry says: from the checkpoint at `position` on, this id is acknowledged. It carries the tag of the events that made it (the
 * epoch at which they were first deployed), so that the ids of a sync config that is only being filled, or of one from before custom
 * checkpoints were switched off, do not count.
 *
 * Which entry counts: of those from the stream the one with the greatest position (of equal ones the one written last). Rows of a
 * snapshot have no place in the order of replication: they count only where the stream brought nothing, and of several the greatest id.
 *
 * A checkpoint of clients never lies between two entries that are both beyond the applied position, nor between two at or below the
 * served one, so a record needs few: the one that counts at the served checkpoint, at the applied boundary, and after the transaction
 * that is being written; each of them for the active sync config and for a pending one with other events.
 */
#ifndef SYNCLINE_STORAGE_CUSTOM_H
#define SYNCLINE_STORAGE_CUSTOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/position.h"
#include "base/slice.h"
#include "storage/write_checkpoints.h"

#define CUSTOM_ENTRIES_MAX 6

struct custom_entry {
	uint64_t tag;
	struct position position;
	uint64_t id;
	bool snapshot;  /* of a row that was read, not streamed */
	bool temporary; /* retention applies, from the stamp on */
	int64_t stamp_ms;
};

struct custom_record {
	struct custom_entry entries[CUSTOM_ENTRIES_MAX + 1]; /* in the order of writing */
	size_t count;
};

/* Whose entries count: those of the events of the active sync config and of the ones that it goes back to; and, apart from them, those of
 * a pending one with other events. */
struct custom_tags {
	const uint64_t *active; /* the last one is that of the active events */
	size_t active_count;    /* 0: the active sync config has none */
	uint64_t pending;       /* 0: none; may be the active one */
};

/* Where clients are, and the boundary that the store is at. */
struct custom_bounds {
	struct served served;
	struct position applied;
};

/* The entry that counts at the position for the active sync config (for_active) or the pending one; NULL: none. */
const struct custom_entry *custom_best(const struct custom_record *r, const struct custom_tags *tags, bool for_active,
                                       struct position p);
/* Adds e and drops what no checkpoint can show any more. */
void custom_add(struct custom_record *r, const struct custom_entry *e, const struct custom_tags *tags,
                const struct custom_bounds *bounds);
/* Does a row that was read, not streamed, say something new? */
bool custom_says_more(const struct custom_record *r, const struct custom_tags *tags, bool for_active, uint64_t id,
                      enum custom_origin origin);
/* Has retention removed the record? Also when none of its entries counts for anybody. */
bool custom_expired(const struct custom_record *r, const struct custom_tags *tags, const struct custom_bounds *bounds,
                    int64_t now_ms, int64_t retention_ms);
/* Is the stamp older than half of the retention? */
bool custom_stamp_due(const struct custom_record *r, int64_t now_ms, int64_t retention_ms);

/* Record format: version u8 (1), count varint, entries: tag varint, flags u8 (1 snapshot, 2 temporary), stamp varint (0 unless
 * temporary), era, lsn, id varints. */
void custom_encode(struct buf *out, const struct custom_record *r);
bool custom_decode(struct custom_record *r, struct slice record, struct error *err);

#endif
