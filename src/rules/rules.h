/*
 * rules.h: the sync config as a compiled plan, and its three evaluations (sync-config.md, sync-streams.md).
 *
 *   row -> bucket entries and lookup entries      plan_bind, bound_evaluate
 *   request -> buckets                            querier_new, querier_resolve
 *
 * Everything here is a pure function of plain data: no I/O, no clock, no threads of its own. A plan is immutable once compiled and
 * may be used by any number of threads; it is reference counted. Queriers belong to one session.
 */
#ifndef SYNCLINE_RULES_RULES_H
#define SYNCLINE_RULES_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/slice.h"
#include "value/value.h"

/* ---- diagnostics ------------------------------------------------------------------------------------------------------ */

enum diagnostic_level { DIAGNOSTIC_WARNING, DIAGNOSTIC_FATAL };

struct diagnostic {
	enum diagnostic_level level;
	const char *class_name; /* static: "unknown_key", "sql_syntax", ... (sync-config 6; sync-streams: the [kind]) */
	struct slice message;   /* for people */
	size_t start, end;      /* UTF-16 code units from the start of the YAML text, [start, end) */
	size_t line, column;    /* 1-based, of start; column counts UTF-8 characters */
};

struct diagnostics {
	struct arena arena; /* owns the messages */
	struct diagnostic *items;
	size_t count, cap;
	bool fatal; /* one of them is fatal: there is no usable plan */
};

void diagnostics_free(struct diagnostics *d);

/* ---- plan ------------------------------------------------------------------------------------------------------------- */

/* Effective options of a config, those that change how the source maps values included (sync-config 3, source-postgres 14). */
struct plan_options {
	int edition;
	bool timestamps_iso8601;
	bool versioned_bucket_ids;
	bool fixed_json_extract;
	bool custom_postgres_types;
	int timestamp_digits; /* timestamp_max_precision: 0, 3, 6, 9; -1 when unset */
	int storage_version;  /* 0 when unset */
};

/* A table or a family of tables that the plan reads. */
struct table_pattern {
	struct slice connection_tag; /* "default" if none was written */
	struct slice schema, table;  /* without the trailing % of a wildcard */
	bool schema_wildcard, table_wildcard;
};

bool table_pattern_matches(const struct table_pattern *p, struct slice connection_tag, struct slice schema, struct slice table);

enum definition_kind { DEFINITION_BUCKETS, DEFINITION_LOOKUP };

/* A bucket source or a lookup source; the unit of incremental deploys (incremental-deploy 1). */
struct definition {
	enum definition_kind kind;
	struct slice name;    /* bucket name without keys ("by_owner", "todos|0"), or a readable name of the lookup */
	struct slice content; /* canonical text of everything that decides its output for a row; equal text means equal output */
	uint8_t hash[32];     /* SHA-256 of content (and of the occurrence number where editions 1 and 2 demand it) */
	const uint32_t *patterns; /* indexes into plan_patterns */
	size_t pattern_count;
};

struct plan;

/* Compiles the YAML text. Answers NULL when a diagnostic is fatal; warnings are in d either way. default_schema: "public" for
 * Postgres. The caller owns the reference. The text is kept (plan_text). */
struct plan *plan_compile(struct slice yaml, struct slice default_schema, struct diagnostics *d);

/* The same with the tables of the source at hand: adds warnings about unknown tables and columns (sync-config 6), never changes
 * the plan. known == NULL: the source is not known. */
struct known_table {
	struct slice connection_tag, schema, table;
	const struct slice *columns;
	size_t column_count;
};
struct plan *plan_compile_known(struct slice yaml, struct slice default_schema, const struct known_table *known,
                                size_t known_count, struct diagnostics *d);

struct plan *plan_ref(struct plan *p);
void plan_unref(struct plan *p);

struct slice plan_text(const struct plan *p);
const struct plan_options *plan_options(const struct plan *p);
size_t plan_definition_count(const struct plan *p);
const struct definition *plan_definition(const struct plan *p, uint32_t index);
size_t plan_pattern_count(const struct plan *p);
const struct table_pattern *plan_pattern(const struct plan *p, uint32_t index);
/* Does any definition or event read this table? */
bool plan_uses_table(const struct plan *p, struct slice connection_tag, struct slice schema, struct slice table);
/* Streams in the order of the "streams" list of a checkpoint; bucket definitions count as default streams. */
size_t plan_stream_count(const struct plan *p);
struct slice plan_stream_name(const struct plan *p, uint32_t index);
bool plan_stream_is_default(const struct plan *p, uint32_t index);
/* Readable dump of the whole plan, for logs, tests and the admin API. */
void plan_print(const struct plan *p, struct buf *out);

/* ---- rows ------------------------------------------------------------------------------------------------------------- */

/* The columns of one relation, in the order in which its rows come. */
struct relation_columns {
	struct slice connection_tag, schema, table;
	const struct slice *names;
	size_t count;
};

/* A plan bound to one relation: column references are indexes now. Immutable, any thread; holds a reference to the plan. */
struct bound_table;

/* NULL if nothing in the plan reads this relation. Bind again when the relation's columns change. */
struct bound_table *plan_bind(struct plan *p, const struct relation_columns *columns);
void bound_table_free(struct bound_table *b);
/* Columns whose value can change the result for this relation ('*' makes it all of them); count bits, true = used. */
bool bound_table_uses_column(const struct bound_table *b, size_t column);

struct row_entry {
	uint32_t definition; /* index into the plan */
	struct slice keys;   /* JSON array as it stands in the bucket name: [] or ["u1",5] */
	struct slice object_type, object_id;
	struct slice data; /* JSON text; entries with the same columns share the same bytes (compare data.p) */
};

struct row_lookup {
	uint32_t definition;
	struct slice key;     /* JSON array of the normalised values (sync-config 16.3), without name and query id */
	struct slice results; /* JSON array of objects, what a reader gets back */
};

struct row_fault {
	uint32_t definition;
	struct slice message; /* for the log */
};

struct evaluation {
	struct row_entry *entries;
	size_t entry_count;
	struct row_lookup *lookups;
	size_t lookup_count;
	struct row_fault *faults; /* queries that failed for this row and gave nothing (14.7) */
	size_t fault_count;
};

/* row: one value per column of the relation, no VALUE_UNKNOWN among the used ones. Everything in *out lives in the arena or in
 * the row's own bytes. Entries equal in (definition, keys, type, id) come once. */
void bound_evaluate(const struct bound_table *b, const struct value *row, struct arena *arena, struct evaluation *out);

/* What the event definitions make of the row (sync-config 5), one for each event that reads the table. */
struct row_event {
	struct slice name;
	struct slice data; /* JSON text; p == NULL: the evaluation failed */
};
void bound_events(const struct bound_table *b, const struct value *row, struct arena *arena, struct row_event **out,
                  size_t *count);

/* ---- write checkpoints that come with the data (checkpoint-requests 7) -------------------------------------------------- */

/* Has the plan an event write_checkpoints or checkpoint_requests? hash: of all that decides what these events make of a row. */
bool plan_write_checkpoint_events(const struct plan *p, uint8_t hash[32]);
/* Does one of these events read the table? */
bool plan_write_checkpoints_from(const struct plan *p, struct slice connection_tag, struct slice schema, struct slice table);

enum row_checkpoint_outcome {
	ROW_CHECKPOINT,
	ROW_CHECKPOINT_UNKNOWN, /* needs a value that the source did not send */
	ROW_CHECKPOINT_REFUSED, /* for the log: why */
};

struct row_write_checkpoint {
	enum row_checkpoint_outcome outcome;
	struct slice event;
	struct slice user_id;
	struct slice client_id; /* p == NULL: none, the user alone */
	uint64_t id;            /* 1 to 2^63 - 1 */
	bool temporary;         /* of checkpoint_requests: retention applies */
	struct slice why;
};

#define MAX_ROW_CHECKPOINTS 2 /* one of each event */

/* What these events make of a row, in the order of the config. Columns that they do not need may be VALUE_UNKNOWN. Slices live in the
 * arena, the row, or the bound table. */
size_t bound_write_checkpoints(const struct bound_table *b, const struct value *row, struct arena *arena,
                               struct row_write_checkpoint out[MAX_ROW_CHECKPOINTS]);
/* No definition reads the table: only events do. */
bool bound_only_events(const struct bound_table *b);

/* ---- requests --------------------------------------------------------------------------------------------------------- */

struct subscription_request {
	struct slice stream;
	struct slice parameters; /* JSON object text; p == NULL: none given */
	int override_priority;   /* -1: none */
};

struct request_parameters {
	struct slice token_payload;     /* JSON text of the verified JWT payload */
	struct slice client_parameters; /* JSON object text; p == NULL: {} */
	bool include_defaults;
	const struct subscription_request *subscriptions;
	size_t subscription_count;
};

struct bucket_reason {
	bool is_default; /* {"default": index into streams}, else {"sub": index into the request's subscriptions} */
	uint32_t index;
};

struct resolved_bucket {
	uint32_t definition;
	struct slice keys; /* JSON array */
	int priority;
	const struct bucket_reason *reasons;
	size_t reason_count;
};

struct resolved_stream_error {
	bool is_default; /* "subscription":"default", else the index */
	uint32_t subscription;
	struct slice message;
};

struct resolved_stream {
	struct slice name;
	bool is_default;
	const struct resolved_stream_error *errors;
	size_t error_count;
};

struct used_lookup {
	uint32_t definition;
	struct slice key;
};

struct resolution {
	struct resolved_bucket *buckets; /* each (definition, keys) once */
	size_t bucket_count;
	struct resolved_stream *streams;
	size_t stream_count;
	struct used_lookup *lookups; /* everything that was asked, each once: a change of one of them means resolve again */
	size_t lookup_count;
	struct slice
	        breakdown; /* after a limit was exceeded: for the log, what the count consists of, the largest first; else empty */
};

/* A key that is asked for, and what all source rows have stored under it, as of the caller's checkpoint: JSON texts. Each is what one row
 * stored (row_lookup.results, an array of objects) or one object of it. */
struct lookup_read {
	uint32_t definition; /* index in the plan */
	struct slice key;
	const struct slice *results; /* the reader's answer; in the arena */
	size_t count;
};

/* How a querier reads lookups: all keys that are known at one time, of all streams, in one call; there are as many calls as the longest join
 * has lookups. Never asked twice for one key in one resolution. */
struct lookup_reader {
	void *ctx;
	/* Once there are more than max_results texts in all, the rest may be left out: they will be refused. */
	bool (*read)(void *ctx, struct lookup_read *keys, size_t count, size_t max_results, struct arena *arena,
	             struct error *err);
};

/* What is counted as a parameter result: each stored object once, however many streams read it through equal lookups; under SELECT
 * DISTINCT equal objects of a lookup are one; of lookups that are intersected, only the objects that stand in the intersection. */
struct resolve_limits {
	size_t max_parameter_results; /* api.parameters.max_parameter_query_results; beyond: PSYNC_S2305 */
	size_t max_buckets;           /* api.parameters.max_buckets_per_connection; beyond: PSYNC_S2305 */
};

struct querier;

/* Evaluates the static part of a request. Copies what it needs from params; holds a reference to the plan. NULL with an error
 * when the request as a whole fails (sync-config 15.7); the code is PSYNC_S2305, PSYNC_S1004 or PSYNC_S2001. */
struct querier *querier_new(struct plan *p, const struct request_parameters *params, struct error *err);
void querier_free(struct querier *q);
/* True if some variant reads lookups, so that querier_resolve can give another result at another checkpoint. */
bool querier_is_dynamic(const struct querier *q);
/* The result lives in the arena. False: PSYNC_S2305 (the error's message is the text for the client, out->breakdown more for the
 * operator), or what the reader said; nothing else in *out counts then. */
bool querier_resolve(struct querier *q, const struct lookup_reader *reader, const struct resolve_limits *limits,
                     struct arena *arena, struct resolution *out, struct error *err);

#endif
