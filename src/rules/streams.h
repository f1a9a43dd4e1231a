/*
 * streams.h: variants of streams as the querier runs them (sync-streams 9).
 *
 * This is all that the compiler of edition 3 (streams_*.c) hands to streams_querier.c; row sources, definitions and everything else go
 * into the plan as for bucket definitions.
 */
#ifndef SYNCLINE_RULES_STREAMS_H
#define SYNCLINE_RULES_STREAMS_H

#include "rules/plan.h"

/* A value of a key: of the request, or an output of a lookup. */
struct stream_value {
	const struct expr *request; /* NULL: lookup */
	uint32_t lookup, output;
};

/* A key takes what all of its values have in common; most have one. */
struct stream_key {
	const struct stream_value *values;
	size_t value_count;
};

struct stream_lookup {
	bool each;        /* a json_each over request data, else a parameter index */
	bool distinct;    /* equal results count as one */
	bool intersected; /* an output stands in a key with several values: only what is left of it counts */
	uint32_t output_count;
	uint32_t slot; /* place of its first output among all outputs of the variant */
	/* Parameter index. */
	uint32_t definition;
	const struct stream_key *keys;
	size_t key_count;
	/* json_each: expressions see its element as number 0. */
	const struct expr *argument;
	const struct expr *const *filters;
	size_t filter_count;
	const struct expr *const *outputs;
};

/* A key with several values; states in which they differ are dropped as soon as the lookups concerned have been joined. */
struct stream_check {
	const struct stream_key *key;
	uint32_t owner; /* the lookup that the key belongs to; UINT32_MAX: the bucket */
	uint32_t index; /* of the key there */
	uint32_t last;  /* the last lookup that gives a value of it */
};

struct stream_variant {
	uint32_t definition;               /* the bucket source */
	const struct expr *const *filters; /* request filters */
	size_t filter_count;
	const struct stream_lookup *lookups; /* in the order in which they can be run */
	size_t lookup_count;
	size_t slot_count; /* outputs of all lookups */
	/* slot_last[s]: the last lookup (index + 1) whose key reads the slot; lookup_count + 1 if a bucket key does; 0: nobody. */
	const uint32_t *slot_last;
	const struct stream_key *keys;
	size_t key_count;
	const struct stream_check *checks;
	size_t check_count;
	bool dynamic; /* some lookup is a parameter index */
};

#endif
