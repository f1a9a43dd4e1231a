/*
 * inspect.h: a source as its operator wants to see it: settings, rights, the fitness of each table, the slot, the schema
 * (http-api-and-operations 4.1, 4.2). Reads the catalogue only; nothing of it is needed for replication.
 *
 * Texts and arrays are in the arena. Same threading and errors as source.h.
 */
#ifndef SYNCLINE_SOURCE_INSPECT_H
#define SYNCLINE_SOURCE_INSPECT_H

#include "source/source.h"

/* Fixed, as in the service that configurations come from (configuration 2.3). */
#define SOURCE_PUBLICATION "powersync"

struct source_facts {
	int version; /* 150020 */
	struct slice user, database, wal_level;
	bool standby;
	bool superuser, may_replicate, bypasses_row_security;
	uint64_t max_slots, used_slots, max_senders, used_senders;
	int64_t max_slot_wal_keep_bytes;                           /* -1: no limit, or a server before 13 */
	bool publication, publication_whole, publication_via_root; /* exists; publishes all four kinds of change; PSYNC_S1143 */
};
bool source_facts(struct source_connection *c, struct arena *arena, struct source_facts *out, struct error *err);

/* Opens a replication connection and closes it: may the role replicate, and does the server have a WAL sender left? That is what counts:
 * managed services give the right by roles of their own. False: *err has the server's words. */
bool source_try_replication(struct source *s, struct error *err);

/* One table that a pattern of the sync config matches. */
struct inspected_table {
	struct slice schema, name;
	char replica_identity; /* d, i, f, n */
	bool published, readable;
	bool row_security;       /* PSYNC_S1145 applies */
	const struct slice *key; /* columns of the replica identity; none: UPDATE and DELETE cannot be replicated */
	size_t key_count;
};
/* In name order. */
bool source_inspect(struct source_connection *c, const struct source_pattern *pattern, struct arena *arena,
                    struct inspected_table **tables, size_t *count, struct error *err);

/* What stands in the way of replicating a table, in the words that operators know (http-api-and-operations 4.1). */
struct table_problem {
	bool fatal; /* else a warning */
	struct slice message;
};
#define MAX_TABLE_PROBLEMS 4
size_t inspected_table_problems(const struct inspected_table *t, struct slice user, struct arena *arena,
                                struct table_problem out[MAX_TABLE_PROBLEMS]);
/* For a pattern that matched nothing: a warning. */
struct slice source_pattern_missing(const struct source_pattern *p, struct arena *arena);

/* The slot, as the server accounts for it. */
struct source_slot {
	bool found;
	struct slice wal_status; /* n == 0: a server before 13 */
	bool has_safe_size;
	int64_t safe_size; /* bytes; negative when the budget is overdrawn */
	uint64_t confirmed_lsn, current_lsn;
	uint64_t kept_from_lsn; /* the server keeps its WAL from here on because of the slot; 0: not known */
};
bool source_slot_facts(struct source_connection *c, const char *slot, struct arena *arena, struct source_slot *out,
                       struct error *err);

/* The answer to one statement: values as they would be synced, row after row. */
struct sql_answer {
	const struct slice *columns;
	size_t column_count, row_count;
	const struct value *values;
};
#define MAX_SQL_ARGUMENTS 1000
/*
 * Runs one statement that an operator wrote (http-api-and-operations 4.5), whatever it does; arguments for $1.. as text, NULL for NULL.
 * At most 10,000 rows and 8 MiB, and 30 s of silence. False: *err has the server's own words; then close the connection.
 */
bool source_run_sql(struct source_connection *c, const char *sql, const char *const *arguments, size_t count, struct arena *arena,
                    struct sql_answer *out, struct error *err);

/* Bits of sqlite_type (http-api-and-operations 4.2). */
enum { SQLITE_TYPE_BLOB = 1, SQLITE_TYPE_TEXT = 2, SQLITE_TYPE_INTEGER = 4, SQLITE_TYPE_REAL = 8 };

struct schema_column {
	struct slice name, type, short_type; /* "character varying(20)", "varchar"; arrays as "integer[]", "int4[]" */
	int sqlite_type;
};
struct schema_table {
	struct slice schema, name;
	const struct schema_column *columns;
	size_t column_count;
};
/* Ordinary tables outside the system's schemas that the role may use, in name order. */
bool source_schema(struct source_connection *c, struct arena *arena, struct schema_table **tables, size_t *count,
                   struct error *err);

#endif
