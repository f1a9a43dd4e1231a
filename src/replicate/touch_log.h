/*
 * touch_log.h: which keys of a table the stream has touched, as far as a chunk that is being read must know
 * (interleaved-snapshot 2 and 3).
 *
 * Pure data, replication thread only. xids are extended to 64 bits.
 *
 *   struct unsettled   transactions that were delivered but that no snapshot is known to see yet
 *   struct touch_log   per table that is being read: (xid, key, kind) of delivered transactions
 *   struct dirty_set   the keys of one log that are dirty for one chunk
 */
#ifndef SYNCLINE_REPLICATE_TOUCH_LOG_H
#define SYNCLINE_REPLICATE_TOUCH_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/slice.h"
#include "source/source.h"

/* The 64-bit id nearest to `near` whose low half is xid. */
uint64_t xid_extend(uint32_t xid, uint64_t near);

/* ---- unsettled transactions ------------------------------------------------------------------------------------------- */

struct unsettled_xact {
	uint64_t xid;
	uint64_t before_lsn; /* the boundary before it: what may be confirmed while it is unsettled */
};

struct unsettled {
	struct unsettled_xact *items; /* in delivery order */
	size_t count, cap;
};

void unsettled_free(struct unsettled *u);
void unsettled_add(struct unsettled *u, uint64_t xid, uint64_t before_lsn);
/* Removes what the snapshot sees. */
void unsettled_settle(struct unsettled *u, const struct xid_snapshot *s);
/* The most that may be confirmed to the server when everything up to lsn is durable. */
uint64_t unsettled_confirm_limit(const struct unsettled *u, uint64_t lsn);

/* ---- admission of a table's first snapshot ------------------------------------------------------------------------------ */

struct admission {
	uint64_t *xids; /* those that were unsettled when the log was switched on, or came again later without being applied */
	size_t count, cap;
};

void admission_take(struct admission *a, const struct unsettled *u);
/* Adding the xid that was added last once more does nothing. */
void admission_add(struct admission *a, uint64_t xid);
void admission_free(struct admission *a);
bool admission_admits(const struct admission *a, const struct xid_snapshot *s);
/* Does s see everything that x sees? For the exported snapshot of a new slot. */
bool snapshot_covers(const struct xid_snapshot *s, const struct xid_snapshot *x);

/* ---- touch log ------------------------------------------------------------------------------------------------------------ */

enum touch_kind {
	TOUCH_KEEPS_KEY, /* an update that keeps the key */
	TOUCH_OTHER,
};

struct touch_xact;

struct touch_log {
	struct touch_xact *first, *last; /* in delivery order */
	size_t bytes, limit;             /* limit 0: 16 MiB */
};

void touch_log_free(struct touch_log *log);
/* key is copied. Past the limit the transaction counts as having touched all keys. */
void touch_log_add(struct touch_log *log, uint64_t xid, struct slice key, enum touch_kind kind);
/* TRUNCATE, or a change of the relation. */
void touch_log_add_all(struct touch_log *log, uint64_t xid);
/* Entries of transactions that s sees are of no use to chunks with s or a later snapshot. */
void touch_log_forget(struct touch_log *log, const struct xid_snapshot *s);

enum dirtiness { KEY_CLEAN, KEY_UPDATED, KEY_DIRTY };

struct dirty_set {
	bool all; /* every key: the chunk must be read again */
	struct dirty_slot *slots;
	size_t mask; /* number of slots - 1; 0: empty */
};

/* What the delivered transactions that s does not see have touched. Lives in the arena. */
void dirty_set_build(struct dirty_set *d, const struct touch_log *log, const struct xid_snapshot *s, struct arena *arena);
/* KEY_UPDATED: only by updates that keep the key. */
enum dirtiness dirty_set_find(const struct dirty_set *d, struct slice key);

#endif
