/*
 * compile.h: what the compilers of bucket definitions, events and streams share: the growing plan, diagnostics with their place in
 * the YAML text, and SQL queries inside YAML scalars.
 */
#ifndef SYNCLINE_RULES_COMPILE_H
#define SYNCLINE_RULES_COMPILE_H

#include "rules/plan.h"
#include "rules/rules.h"
#include "rules/sql_parse.h"
#include "rules/yaml_tree.h"

/* Bucket sources and lookups of one config. */
#define MAX_DEFINITIONS 10000

struct compiler {
	struct plan *plan;
	struct arena *arena;  /* the plan's */
	struct arena scratch; /* freed after compiling */
	struct diagnostics *d;
	struct ydoc doc;
	struct slice default_schema;
	const struct known_table *known; /* NULL: the source schema is not known */
	size_t known_count;
	bool schema_known;
	size_t definition_cap, pattern_cap, stream_cap, event_cap;
	/* schema_violation and missing_key are reported last, if nothing else is wrong (sync-config 2). */
	const char *late[64];
	size_t late_count;
	bool too_many_definitions;
};

/* A text with more faults than this gets no further ones; warnings stop at half of it, so that faults always have room. */
#define MAX_DIAGNOSTICS 1000

/* ---- diagnostics ------------------------------------------------------------------------------------------------------ */

void diagnostic_add(struct compiler *c, enum diagnostic_level level, const char *class_name, size_t start, size_t end,
                    const char *format, ...) __attribute__((format(printf, 6, 7)));
/* Offsets that are not byte positions: reported as they are. */
void diagnostic_add_raw(struct compiler *c, enum diagnostic_level level, const char *class_name, size_t start, size_t end,
                        const char *message);
void diagnostic_node(struct compiler *c, enum diagnostic_level level, const char *class_name, const struct ynode *n,
                     const char *format, ...) __attribute__((format(printf, 5, 6)));
/* Forgets the diagnostics from a mark (an earlier count) on. */
void diagnostics_truncate(struct diagnostics *d, size_t mark);

/* ---- YAML maps -------------------------------------------------------------------------------------------------------- */

/* The value of a key in a map, NULL if missing. */
struct ynode *map_get(const struct ynode *map, const char *key);
/* Reports keys of the map that are not in the NULL-terminated list. */
void map_check_keys(struct compiler *c, const char *class_name, const struct ynode *map, const char *const *known);

/* ---- queries ---------------------------------------------------------------------------------------------------------- */

/* One SQL text: its statement, and where its diagnostics go. */
struct query {
	struct compiler *c;
	struct ynode *scalar; /* NULL: the text is not from the YAML (the query that stands for missing parameters) */
	struct slice sql;
	struct sql_statement st;
	size_t mark;    /* diagnostics before the query */
	bool abandoned; /* sync-config 6: only one diagnostic counts for it, further ones are dropped */
	/* The table of FROM. */
	uint32_t pattern;
	bool has_table;
	bool known; /* a known table matches */
	/* Columns read so far. */
	struct slice *columns;
	size_t column_count, column_cap;
};

void query_init(struct query *q, struct compiler *c, struct ynode *scalar);
void query_free(struct query *q);

void query_report(struct query *q, enum diagnostic_level level, const char *class_name, struct sql_range range,
                  const char *format, ...) __attribute__((format(printf, 5, 6)));
void query_report_whole(struct query *q, enum diagnostic_level level, const char *class_name, const char *format, ...)
        __attribute__((format(printf, 4, 5)));
/* Drops what was reported about the query, reports this and nothing more. range == NULL: the whole text. Answers false. */
bool query_abandon(struct query *q, const char *class_name, const struct sql_range *range, const char *format, ...)
        __attribute__((format(printf, 4, 5)));

/* Was a fatal fault reported since query_init? */
bool query_has_failed(const struct query *q);

/* Warns of an unquoted name with upper-case letters. */
void query_check_case(struct query *q, const struct sql_ident *id);
/* Slot of a column in the row source; more columns than any table has are a fault. */
#define MAX_QUERY_COLUMNS 2000
uint32_t query_column(struct query *q, struct slice name);
/* Warns if no known table of the query has the column. */
void query_check_column(struct query *q, struct slice name, struct sql_range range);
/* Has a known table of the query's pattern the column? */
bool query_known_column(const struct query *q, struct slice name);
/* Sets the pattern from a FROM table; false: abandoned (bad_schema). */
bool query_set_table(struct query *q, const struct sql_from *from);

/* ---- plan parts ------------------------------------------------------------------------------------------------------- */

uint32_t plan_add_pattern(struct compiler *c, struct slice tag, struct slice schema, struct slice table);
/* Adds a definition with its sources (copied) and computes content and hash. occurrence: editions 1 and 2. */
uint32_t plan_add_definition(struct compiler *c, enum definition_kind kind, struct slice name, const struct row_source *sources,
                             size_t count);
struct plan_stream *plan_add_stream(struct compiler *c);
/* Fills content and output_content of a source. */
void row_source_finish(struct compiler *c, struct row_source *s);
void match_print(struct buf *out, const struct match *m, const uint32_t *number);

/* ---- the compilers ---------------------------------------------------------------------------------------------------- */

/* buckets_compile.c */
void compile_bucket_definition(struct compiler *c, struct slice name, struct ynode *node);
void compile_event(struct compiler *c, struct slice name, struct ynode *payloads);
/* streams_compile.c; edition 3. with may be NULL. */
void compile_streams(struct compiler *c, struct ynode *streams, struct ynode *with);
/* streams2_compile.c; one stream of edition 2. */
void compile_stream_edition_2(struct compiler *c, struct slice name, struct ynode *key, struct ynode *node);

/* streams_querier.c */
void stream_variant_print(const struct stream_variant *v, struct buf *out);
/* streams2_querier.c */
void stream2_variant_print(const struct stream2_variant *v, struct buf *out);

#endif
