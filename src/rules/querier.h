/*
 * querier.h: the inside of request -> buckets: what the files for bucket definitions and streams share.
 *
 * querier_new makes a list of units (a stream evaluated for one subscription, or for the default one) and lets the file of the
 * stream's kind prepare each: static buckets go into a set at once, what needs lookups is left behind as a dynamic part, which
 * querier_resolve runs again at each checkpoint.
 */
#ifndef SYNCLINE_RULES_QUERIER_H
#define SYNCLINE_RULES_QUERIER_H

#include "rules/plan.h"
#include "rules/request.h"

/* Combinations that one variant may give; beyond it the request has too many results, whatever the limits are. */
#define QUERIER_MAX_COMBINATIONS 100000

/* ---- sets of buckets -------------------------------------------------------------------------------------------------- */

struct bucket_draft {
	struct resolved_bucket bucket;
	size_t reason_cap;
};

/* Buckets by (definition, keys); in an arena. */
struct bucket_set {
	struct arena *arena;
	struct bucket_draft *items;
	size_t count, cap;
	uint32_t *slots; /* index + 1, 0 free */
	size_t slot_count;
};

/* The lowest priority number stays, reasons are appended, each once. keys must live as long as the set. */
void bucket_set_add(struct bucket_set *s, uint32_t definition, struct slice keys, int priority, struct bucket_reason reason);
/* NULL if the bucket is not in the set. */
struct bucket_draft *bucket_set_find(const struct bucket_set *s, uint32_t definition, struct slice keys);

/* ---- one resolution --------------------------------------------------------------------------------------------------- */

struct known_lookup {
	uint32_t definition;
	struct slice key;
	struct json_node *objects;
	size_t count;
};

struct resolver {
	const struct lookup_reader *reader;
	const struct resolve_limits *limits;
	struct arena *arena;
	struct error *err;
	struct known_lookup *lookups;
	size_t lookup_count, lookup_cap;
	uint32_t *slots;
	size_t slot_count;
	size_t results; /* objects read so far */
};

/* The objects stored under a key; asks the reader the first time. */
bool resolver_lookup(struct resolver *r, uint32_t definition, struct slice key, const struct json_node **objects, size_t *count);
/* Fails with the text for too many results. */
bool resolver_too_many(const struct resolver *r);

/* ---- units ------------------------------------------------------------------------------------------------------------ */

struct unit {
	const struct plan_stream *stream;
	uint32_t stream_index; /* in the list of streams of this request */
	struct bucket_reason reason;
	int priority;
	struct value subscription; /* JSON text of its parameters, NULL for the default subscription */
	const struct json_node *subscription_node;
};

struct dynamic_part {
	const struct unit *unit;
	bool (*run)(const struct dynamic_part *part, struct querier *q, struct resolver *r, struct bucket_set *out);
	struct dynamic_part *next;
};

struct stream_draft {
	struct resolved_stream stream;
	struct resolved_stream_error *errors;
	size_t error_cap;
};

struct querier {
	struct plan *plan;
	struct arena arena;
	struct request_data request;
	struct bucket_set fixed; /* static buckets */
	struct stream_draft *streams;
	size_t stream_count, stream_cap;
	struct dynamic_part *parts, **parts_end;
};

/* The environment of a unit's request expressions. */
struct eval_env unit_env(const struct querier *q, const struct unit *u, struct arena *arena, struct error *err);
void querier_add_part(struct querier *q, struct dynamic_part *part);
/* "Error evaluating bucket ids: ..." for the unit's stream, each (subscription) once. */
void querier_stream_error(struct querier *q, const struct unit *u, const char *message);

/* querier_buckets.c. False: the request fails. */
bool buckets_prepare(struct querier *q, const struct unit *u, struct error *err);
/* streams_querier.c */
bool streams_prepare(struct querier *q, const struct unit *u, struct error *err);
/* streams2_querier.c */
bool streams2_prepare(struct querier *q, const struct unit *u, struct error *err);

#endif
