/*
 * write_checkpoints.h: the queue of one user's checkpoint requests (checkpoint-requests.md 3), as pure functions.
 *
 * A record holds every pending association (at most 64), the greatest acknowledged one with its head, and at most one id whose head
 * is not known yet. Ids and heads both grow along the queue. "Acknowledged" is never a flag: it is head <= position.
 *
 * Ids never go backwards for a removed user: when retention removes a record, the greatest id ever given stays as 8 bytes under a
 * 16-byte hash of the user (the "floor"), and the next *generated* id starts above it. A supplied id is taken as it is. A user of
 * whom nothing was ever removed starts at 1.
 */
#ifndef SYNCLINE_STORAGE_WRITE_CHECKPOINTS_H
#define SYNCLINE_STORAGE_WRITE_CHECKPOINTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/position.h"
#include "base/slice.h"
#include "storage/storage.h"

#define QUEUE_PENDING_MAX 64
#define REQUEST_ID_MAX ((uint64_t)INT64_MAX)

struct association {
	uint64_t id;
	struct position head;
	bool generated;
	int64_t since; /* wall clock ms of storing */
};

struct user_record {
	struct association entries[QUEUE_PENDING_MAX + 2]; /* ascending in id and head */
	size_t count;
	uint64_t unknown; /* greatest id whose head is not known; 0: none */
	bool unknown_generated;
	int64_t unknown_since;
	bool stamped;     /* temporary: retention applies */
	int64_t stamp_ms; /* wall clock of the last sign of life */
	uint64_t floor;   /* greatest id ever given */
};

/* Where clients are: valid false: nothing is served yet, so nothing is passed. */
struct served {
	bool valid;
	struct position position;
};

uint64_t user_greatest(const struct user_record *u);
/* One request by the table of section 3; id 0: generate. head NULL: not known. Answers the id that storage is at. */
uint64_t user_store(struct user_record *u, uint64_t id, const struct position *head, const struct served *p, int64_t now_ms);
/* The waiting id gets its head. */
void user_resolve(struct user_record *u, struct position head, const struct served *p, int64_t now_ms);
/* Another source behind the address: heads that are not passed mean nothing any more; the greatest id waits for a new one. */
bool user_forget_heads(struct user_record *u, const struct served *p, int64_t now_ms);
/* Another program stored this association since, by its own rules (stamped false: generated): it joins the queue, and no id at or above it is
 * acknowledged before its head. */
void user_adopt(struct user_record *u, uint64_t id, struct position head, bool stamped, int64_t stamp_ms, const struct served *p,
                int64_t now_ms);
uint64_t user_acknowledged(const struct user_record *u, struct position p);
bool user_pending(const struct user_record *u, const struct served *p);

/* Record format: version u8 (1), flags u8, stamp varint, floor varint, unknown varint, unknown since varint, count varint, entries
 * (id, era, lsn, since varints, generated u8). */
void user_encode(struct buf *out, const struct user_record *u);
bool user_decode(struct user_record *u, struct slice record, struct error *err);

/* The two fields of a user as one key without ambiguity: u8 (1: a client id is there), varint length, subject, client id. */
void user_key_encode(struct buf *out, const struct user_key *user);
bool user_key_decode(struct slice key, struct user_key *out);

#endif
