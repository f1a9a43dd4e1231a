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

#include <string.h>

/* Combinations that one variant may give; beyond it the request has too many results, whatever the limits are. */
#define QUERIER_MAX_COMBINATIONS 100000

/* ---- helpers ---------------------------------------------------------------------------------------------------------- */

static inline uint64_t querier_hash(uint32_t definition, struct slice key)
{
	uint64_t h = 14695981039346656037u ^ definition;
	for (size_t i = 0; i < key.n; i++)
		h = (h ^ (unsigned char)key.p[i]) * 1099511628211u;
	return h ^ h >> 29;
}

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

/* What was read under one key. An object counts against the limit at most once, however often it is met. */
struct known_lookup {
	uint32_t definition;
	struct slice key;
	struct json_node *objects;
	bool *counted; /* by object; does not move */
	size_t count;
	uint32_t same_as;    /* index of the equal lookup whose objects these are; its own: it was read itself */
	bool read;           /* else it is wanted */
	bool asked;          /* by a query; else it was only read in place of an equal one */
	struct slice stream; /* that wanted it first */
};

/* Results counted so far for one stream and lookup, for the breakdown. */
struct result_tally {
	struct slice stream;
	uint32_t definition;
	size_t count;
};

struct resolver {
	const struct plan *plan;
	const struct lookup_reader *reader;
	const struct resolve_limits *limits;
	struct arena *arena;
	struct error *err;
	struct known_lookup *lookups;
	size_t lookup_count, lookup_cap;
	uint32_t *slots;
	size_t slot_count;
	size_t first_wanted; /* lookups before this one have been read */
	size_t call_count;   /* lookups that the query at hand wants and none before it did */
	size_t read;         /* objects read so far, counted or not */
	size_t results;      /* objects counted so far */
	struct slice stream; /* being evaluated */
	struct buf text;     /* for whoever works at the moment */
	struct result_tally *tallies;
	size_t tally_count, tally_cap;
	bool exceeded;
};

enum result_counting {
	COUNT_ALL,
	COUNT_DISTINCT, /* equal objects of the lookup are one */
	COUNT_LATER,    /* the caller counts those that matter */
};

/* A query begins whose number of lookups is limited by itself. */
void resolver_begin_call(struct resolver *r);
/* The objects under this key will be asked for; *waits is set if they have to be read first. */
bool resolver_want(struct resolver *r, uint32_t definition, struct slice key, bool *waits);
/* Reads what is wanted, all of it in one call of the reader. */
bool resolver_read(struct resolver *r);
/* The objects stored under a key, which was wanted and read. *out is valid until something is wanted, what it points to for good. */
bool resolver_lookup(struct resolver *r, uint32_t definition, struct slice key, enum result_counting counting,
                     const struct known_lookup **out);
/* Counts one object unless it was counted before. */
bool resolver_count(struct resolver *r, uint32_t definition, bool *counted);
/* Fails with the text for too many results. */
bool resolver_too_many(struct resolver *r);
/* For the log: the lookups that gave most results; the definitions with most buckets. */
struct slice resolver_breakdown(const struct resolver *r);
struct slice buckets_breakdown(const struct plan *plan, struct arena *arena, const struct resolved_bucket *buckets, size_t count);

/* ---- units ------------------------------------------------------------------------------------------------------------ */

struct unit {
	const struct plan_stream *stream;
	uint32_t stream_index; /* in the list of streams of this request */
	struct bucket_reason reason;
	int priority;
	struct value subscription; /* JSON text of its parameters, NULL for the default subscription */
	const struct json_node *subscription_node;
};

/*
 * What depends on lookups. All parts of a request go on side by side, so that what they want is read together: step wants (resolver_want) the
 * keys that are known, and is called again when they were read, until it waits for nothing more. Then the parts give their buckets, in order.
 */
struct dynamic_part {
	const struct unit *unit;
	/* *run: what the part keeps of this resolution, NULL at first; in the resolver's arena. */
	bool (*step)(const struct dynamic_part *part, struct resolver *r, void **run, bool *waits);
	bool (*finish)(const struct dynamic_part *part, struct resolver *r, void *run, struct bucket_set *out);
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
