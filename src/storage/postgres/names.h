/*
 * names.h: numbers of this process for what the shared layout names by text: definitions of streams, and buckets.
 *
 * A definition keeps its number until the store is closed. A bucket has one while somebody holds it, and for a minute after anybody asked for
 * it: an api node meets more buckets in its life than it can remember.
 */
#ifndef SYNCLINE_STORAGE_POSTGRES_NAMES_H
#define SYNCLINE_STORAGE_POSTGRES_NAMES_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/slice.h"
#include "rules/rules.h"

/* Immutable; lives as long as the names. */
struct pg_definition {
	uint32_t number;
	int32_t stream_id;
	enum definition_kind kind;
	struct slice
	        unique; /* DEFINITION_BUCKETS: "my_lists|0"; DEFINITION_LOOKUP: name of the lookup's scope ("lookup", "by_list") */
	struct slice query_id; /* DEFINITION_LOOKUP */
	struct slice head;     /* DEFINITION_BUCKETS: bucket names up to the keys, "1#my_lists|0" */
};

struct pg_names;

struct pg_names *pg_names_new(void);
void pg_names_free(struct pg_names *n);

/* Any thread, all of them. */
const struct pg_definition *pg_names_add_definition(struct pg_names *n, const struct pg_definition *d);
const struct pg_definition *pg_names_definition(struct pg_names *n, uint32_t number); /* NULL: no such number */

/* The number of the bucket, a new one if it has none. 0: there is no such definition. */
uint32_t pg_names_bucket(struct pg_names *n, uint32_t definition, struct slice keys);
/* The way back: the whole name in the arena, the keys are its end. False: the number was forgotten. */
bool pg_names_of_bucket(struct pg_names *n, uint32_t bucket, struct arena *arena, const struct pg_definition **definition,
                        struct slice *name);
void pg_names_hold(struct pg_names *n, uint32_t bucket);
void pg_names_release(struct pg_names *n, uint32_t bucket);

/*
 * How far a compaction is known to have gone: the op id of the bucket's CLEAR, which is its first operation; 0: there was none. Whoever reads
 * of a bucket notes what the same statement saw of that; it only rises.
 */
void pg_names_note_clear(struct pg_names *n, uint32_t bucket, uint64_t op_id);
uint64_t pg_names_clear(struct pg_names *n, uint32_t bucket);

/* Buckets that somebody holds, for looking what is new in them. */
struct pg_held_bucket {
	uint32_t number;
	int32_t stream_id;
	struct slice name;
};
/* All of them, in the arena; from here on it is noted which ones are newly held. */
void pg_names_held(struct pg_names *n, struct arena *arena, struct pg_held_bucket **out, size_t *count);
/* Numbers of those that somebody began to hold since pg_names_held, or since the last call. */
void pg_names_newly_held(struct pg_names *n, struct arena *arena, uint32_t **out, size_t *count);

#endif
