/*
 * plan.h: the inside of a compiled plan. Everything hangs in the plan's arena and is never changed after compiling.
 *
 * Rows: each definition has row sources; one is a query over one table pattern that turns a row into bucket entries or lookup
 * entries. Two forms exist: bucket definitions and edition 2 streams assign parameters by a match (sync-config 13); edition 3 has
 * filters and key expressions (sync-streams 7 and 8).
 * Requests: each stream (a bucket definition counts as one) has variants; their form is the business of the file that evaluates them.
 */
#ifndef SYNCLINE_RULES_PLAN_H
#define SYNCLINE_RULES_PLAN_H

#include <stdatomic.h>

#include "rules/expr.h"
#include "rules/rules.h"

enum dialect { DIALECT_BUCKETS, DIALECT_STREAMS_2, DIALECT_STREAMS_3 };

/* ---- matches ---------------------------------------------------------------------------------------------------------- */

/* A parameter of a match: what the request has to supply. */
struct match_parameter {
	struct slice key;         /* spelling: equal spelling is the same parameter */
	const struct expr *value; /* evaluated on the request; NULL for bucket.x */
	bool truth;               /* a bare parameter: its truth (0 or 1) is looked up */
	bool expanding;           /* row IN parameter: the value is a JSON array, one lookup per element */
};

enum match_kind {
	MATCH_ALWAYS,
	MATCH_CONDITION, /* true: one empty assignment */
	MATCH_EQUAL,     /* row = p; NULL and BLOB: none */
	MATCH_CONTAINS,  /* p IN row: one assignment per element of the JSON array */
	MATCH_INSIDE,    /* row IN p: NULL kept, BLOB: none */
	MATCH_EACH,      /* p IN row of edition 2: elements as SQL values, NULL ones skipped */
	MATCH_BARE,      /* p itself: p = 1 */
	MATCH_AND,
	MATCH_OR,
};

struct match {
	enum match_kind kind;
	uint32_t parameter; /* EQUAL, CONTAINS, INSIDE, EACH, BARE */
	const struct expr *row;
	const struct match *left, *right;
};

/* ---- row sources ------------------------------------------------------------------------------------------------------ */

struct output_column {
	struct slice name;
	const struct expr *expr; /* NULL: '*' */
};

struct row_source {
	uint32_t definition;
	uint32_t pattern;
	enum dialect dialect;
	/* Columns that the expressions read, by slot. */
	const struct slice *column_names;
	size_t column_count;
	/* Bucket definitions and edition 2. */
	const struct match *match;
	size_t parameter_count;
	const uint32_t *key_parameters; /* bucket sources: parameter of each key, in key order; lookups: key i is parameter i */
	/* Edition 3. */
	const struct expr *const *functions; /* the argument of each attached json_each */
	size_t function_count;
	const struct expr *const *filters;
	size_t filter_count;
	const struct expr *const *keys;
	size_t key_count; /* both forms */
	/* Bucket sources: the columns of the data; lookups: of the result objects. */
	const struct output_column *columns;
	size_t output_count;
	struct slice output_table;   /* p == NULL: the actual table's name */
	struct slice content;        /* canonical text of the source */
	struct slice output_content; /* of its columns alone */
};

struct plan_definition {
	struct definition public;
	const struct row_source *sources;
	size_t source_count;
	uint8_t content_hash[32]; /* without the occurrence number */
	uint32_t same_as;         /* the first definition with the same content: what rows give is the same for both */
};

/* ---- events ----------------------------------------------------------------------------------------------------------- */

struct plan_event {
	struct slice name;
	const struct row_source *sources; /* the first whose pattern matches counts */
	size_t source_count;
};

/* ---- requests --------------------------------------------------------------------------------------------------------- */

struct parameter_query; /* buckets.h */
struct stream_variant;  /* streams.h */
struct stream2_variant; /* streams2.h */

enum stream_kind { STREAM_DEFINITION, STREAM_EDITION_2, STREAM_EDITION_3 };

struct plan_stream {
	struct slice name;
	enum stream_kind kind;
	bool is_default;
	int priority;
	uint32_t definition;            /* STREAM_DEFINITION: its bucket source */
	const struct slice *parameters; /* STREAM_DEFINITION: names of the bucket parameters */
	size_t parameter_count;
	const struct parameter_query *queries; /* STREAM_DEFINITION */
	const struct stream_variant *const *variants;
	const struct stream2_variant *variants2; /* STREAM_EDITION_2 */
	size_t variant_count;                    /* of queries, variants or variants2 */
};

struct plan {
	atomic_size_t references;
	struct arena arena;
	struct slice text;
	struct plan_options options;
	struct plan_definition *definitions;
	size_t definition_count;
	struct table_pattern *patterns;
	size_t pattern_count;
	struct plan_stream *streams; /* in the order of the "streams" list */
	size_t stream_count;
	struct plan_event *events;
	size_t event_count;
};

bool name_matches(struct slice pattern, bool wildcard, struct slice name);

#endif
