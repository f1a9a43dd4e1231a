/*
 * source.h: a source database as the replication engine sees it.
 *
 * A source can list its tables, read one in chunks, stream its committed transactions, tell its head and make a marker. Postgres
 * is the first (postgres/). Every connection object is used by one thread at a time; different objects may be used in parallel.
 * Errors: code PSYNC_S11xx where source-postgres 11.2a names one, else "" with the server's text. Passwords never get into one.
 */
#ifndef SYNCLINE_SOURCE_SOURCE_H
#define SYNCLINE_SOURCE_SOURCE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/log.h"
#include "base/slice.h"
#include "value/value.h"

/* ---- configuration ------------------------------------------------------------------------------------------------------ */

enum source_sslmode { SSLMODE_VERIFY_FULL, SSLMODE_VERIFY_CA, SSLMODE_DISABLE };

/* One entry of replication.connections, resolved (configuration 2.3). Strings are NUL-terminated and live as long as the config. */
struct source_config {
	const char *type; /* "postgresql" */
	const char *id, *tag;
	const char *hostname, *username, *password, *database;
	int port;
	enum source_sslmode sslmode;
	const char *cacert, *client_certificate, *client_private_key, *tls_servername; /* PEM texts; NULL if not given */
	const char *slot_name_prefix;
	double connect_timeout_s, snapshot_socket_timeout_s, heartbeat_interval_s, discovery_interval_s;
	int snapshot_readers;                /* connections that read tables at once */
	const char *application_name;        /* "syncline/0.1.0"; NULL: "syncline" */
	const char *const *reject_ip_ranges; /* CIDR texts or "local"; checked after each look-up of the name */
	size_t reject_ip_range_count;
};

struct source; /* configuration and caches; no connection of its own. Thread-safe. */

/* log and config outlive it. Does not connect. */
struct source *source_new(const struct source_config *config, const struct log *log);
void source_free(struct source *s);
/* Called about once a second on any thread that waits for the source in a call, so that a long wait is not taken for a hang. what: the
 * reason, where one is known, else NULL. Set before the source is used; fn must be quick. */
void source_on_wait(struct source *s, void (*fn)(void *ctx, const char *what), void *ctx);
/* For stopping: every connect, call and stream of this source that is waiting now or later fails at once. Any thread; final. */
void source_interrupt(struct source *s);

/* What came from the source since source_new. Any thread. */
struct source_traffic {
	uint64_t bytes;  /* of rows and messages */
	uint64_t chunks; /* portions that the network delivered */
};
void source_get_traffic(const struct source *s, struct source_traffic *out);

/* How a failed attempt should be retried (source-postgres 11.1). */
enum source_failure {
	SOURCE_RETRY,      /* soon, with back-off */
	SOURCE_RETRY_LATE, /* wrong password: no second attempt within 15 minutes */
	SOURCE_SLOT_LOST,  /* the slot is gone or invalidated: repair by re-reading */
};
enum source_failure source_classify(const struct error *err);

/* ---- ordinary connection: checks, catalogue, head, marker ---------------------------------------------------------------- */

/* A bare connection for somebody who brings his own statements: the storage on a database of the same kind (Postgres: a PGconn, non-
 * blocking, to be ended by PQfinish). */
void *source_connect_bare(struct source *s, struct error *err);

struct source_connection;
struct source_connection *source_connect(struct source *s, struct error *err);
void source_disconnect(struct source_connection *c);
/* Interrupts a call that is blocked on another thread and makes it and all later ones fail. Any thread, but not during or after
 * source_disconnect. The server ends the query within seconds (at once when it next sends). */
void source_connection_abort(struct source_connection *c);

/* wal_level, slots, senders, publication (source-postgres 2). Messages say what to run. */
bool source_check(struct source_connection *c, struct error *err);

struct source_identity {
	char system_id[64];  /* <system_identifier>.<database> */
	uint64_t insert_lsn; /* pg_current_wal_insert_lsn() */
	int server_version;  /* 150020 */
	uint32_t timeline;   /* a promotion begins another one; 0: not known */
};
bool source_identify(struct source_connection *c, struct source_identity *out, struct error *err);
/* Where the history of the server's timeline left an earlier one; *found false: that one is not among its ancestors. */
bool source_timeline_end(struct source *s, uint32_t timeline, uint32_t earlier, uint64_t *lsn, bool *found, struct error *err);

/* A set of transactions, as pg_current_snapshot() tells it (interleaved-snapshot F7): 64-bit ids. */
struct xid_snapshot {
	uint64_t xmin, xmax;
	uint64_t *in_progress; /* ascending; owned by the arena given to the call that filled it */
	size_t count;
};
static inline bool xid_visible(const struct xid_snapshot *s, uint64_t xid)
{
	if (xid < s->xmin)
		return true;
	if (xid >= s->xmax)
		return false;
	for (size_t i = 0; i < s->count; i++)
		if (s->in_progress[i] == xid)
			return false;
	return true;
}

/* Head for a checkpoint request (checkpoint-requests 2), and the snapshot of the same moment. snapshot may be NULL. */
bool source_head(struct source_connection *c, uint64_t *lsn, struct xid_snapshot *snapshot, struct arena *arena,
                 struct error *err);
/* A transactional message 'powersync'/'ping' in its own transaction, synchronous_commit = local (checkpoint-requests 2). */
bool source_marker(struct source_connection *c, struct error *err);

/* ---- tables --------------------------------------------------------------------------------------------------------------- */

struct source_column {
	struct slice name;
	uint32_t type_oid;
	int32_t type_modifier;
	int16_t attnum; /* 0 where unknown (from a Relation message) */
	bool in_key;    /* part of the replica identity */
	/* Hash of what a user-defined type is made of (labels, attributes ...); 0: a base type, or unknown (from a Relation message) */
	uint64_t type_shape;
};

/* A relation as it is now: from the catalogue, or from a Relation message. In column order; generated and unpublished ones left out. */
struct source_relation {
	uint32_t oid;
	struct slice schema, name;
	char replica_identity; /* d, i, f, n */
	const struct source_column *columns;
	size_t column_count;
};

struct source_table {
	struct source_relation relation;
	uint32_t relfilenode;
	double estimated_rows; /* reltuples; -1 when never analysed */
	const struct slice
	        *order_key; /* columns to read by: the primary key's, else a unique NOT NULL index's; none: order_key_count 0 */
	size_t order_key_count;
	bool row_security; /* PSYNC_S1145 applies */
	/* Hash of the publication and of the table's place in it; never 0 from the catalogue. With another one the stream may have left out
	 * changes in between. */
	uint64_t published_as;
};

/* A pattern of the sync config, without its connection tag. */
struct source_pattern {
	struct slice schema, table;
	bool schema_wildcard, table_wildcard;
};

/* Ordinary tables that match any pattern and are in the publication, each once, in name order (source-postgres 4). Patterns that
 * name nothing, and tables outside the publication, are logged. */
bool source_discover(struct source_connection *c, const struct source_pattern *patterns, size_t count, struct arena *arena,
                     struct source_table **tables, size_t *table_count, struct error *err);
/* One table by oid as it is now; *found false if it is gone or not published. */
bool source_describe(struct source_connection *c, uint32_t oid, struct arena *arena, struct source_table *out, bool *found,
                     struct error *err);

/* Is there a table with this oid and this name, published or not? */
bool source_table_exists(struct source_connection *c, uint32_t oid, struct slice schema, struct slice name, bool *exists,
                         struct error *err);

/* ---- rows and values --------------------------------------------------------------------------------------------------------- */

enum raw_kind { RAW_NULL, RAW_UNCHANGED, RAW_TEXT, RAW_VALUE };

/* A column as it came over the wire, in the server's text form. RAW_VALUE: as the rules see it, from a store that keeps rows like that; text is
 * the struct value. */
struct raw_value {
	enum raw_kind kind;
	struct slice text;
};
static inline struct value raw_mapped(const struct raw_value *v)
{
	struct value out;
	memcpy(&out, v->text.p, sizeof(out));
	return out;
}

/* Options of the sync config that change values (source-postgres 14). */
struct mapping_options {
	bool timestamps_iso8601;
	bool custom_postgres_types;
	int timestamp_digits; /* -1: default (6) */
};

/* Everything needed to map the columns of one relation: type descriptions resolved recursively. Immutable, any thread. */
struct value_mapper;
/* Loads types that are not known yet, over c. */
struct value_mapper *value_mapper_new(struct source_connection *c, const struct source_relation *r,
                                      const struct mapping_options *options, struct error *err);
void value_mapper_free(struct value_mapper *m);
/* raw[i] -> out[i]; RAW_UNCHANGED -> VALUE_UNKNOWN. Results point into raw's bytes or the arena. False: a value cannot be mapped at
 * all (nesting too deep); the row fails, replication goes on. */
bool value_mapper_row(const struct value_mapper *m, const struct raw_value *raw, struct arena *arena, struct value *out,
                      struct error *err);

/* What a store has of a column that the source left out, as the rules saw it once: true, if it is what the source would give. *out then refers to
 * *stored. Texts, bytea and arrays of base types are; composites, ranges, domains of arrays, and NaN and infinities within arrays are not: their types
 * may have changed, or the reference stored something else. same_options: it was mapped with this mapper's; else what depends on them is not, either. */
bool value_mapper_stored(const struct value_mapper *m, size_t column, const struct value *stored, bool same_options,
                         struct raw_value *out);

/* Order-preserving bytes of the key columns' raw values (int2/4/8 as 8 big-endian bytes with flipped sign, uuid as 16 bytes, others as
 * text with 0x00 escaped; a tag byte for NULL), for record keys; and the UUID v5 of the same for subkeys. key_columns: in_key. */
void source_row_key(const struct source_relation *r, const struct raw_value *raw, struct arena *arena, struct slice *bytes,
                    uint8_t uuid[16]);

/* Upper bound for the size of the row's tuple on disk. A row that was never above 2000 has no value out of line, so no update of it
 * can leave one out (TOAST); only above it does the engine keep an image. A row that was larger and shrank may keep an old value out of
 * line, and so may small values of a row that was read by a chunk: then RAW_UNCHANGED comes without an image, and the re-read helps. */
size_t source_row_size_bound(const struct source_relation *r, const struct raw_value *raw);

/* ---- chunks (interleaved-snapshot 4) --------------------------------------------------------------------------------------- */

struct chunk_request {
	const struct source_table *table;
	struct slice after; /* opaque position of the last chunk; n == 0: from the start */
	struct slice until; /* position of the last row wanted (source_split_table); n == 0: to the end */
	size_t max_rows, max_bytes;
	/* instead of a range: these keys (re-read of incomplete rows); raw values of the in_key columns, key after key */
	const struct raw_value *keys;
	size_t key_count;
};

enum chunk_outcome {
	CHUNK_ROWS,          /* rows may be empty when it is the last */
	CHUNK_TABLE_CHANGED, /* oid, relfilenode, columns or identity differ from the request's table: describe it anew */
	CHUNK_TABLE_GONE,
};

struct source_chunk {
	enum chunk_outcome outcome;
	struct xid_snapshot snapshot; /* S */
	uint64_t head_lsn;            /* H */
	struct raw_value *rows;       /* row_count * column_count, in the arena */
	size_t row_count, byte_count;
	bool last;         /* no rows behind it, in the range */
	bool restarted;    /* a position given did not fit the table any more: this is the table's beginning, not the range's */
	struct slice next; /* position for the next request, in the arena */
};

/* Reads one chunk in its own REPEATABLE READ transaction; one round trip. A position that does not fit the table any more (another
 * order key, ctid ranges after a rewrite) reads from the start, and to the end, which is always right. A table that cannot be locked within seconds
 * is an error; the connection stays usable after it, as after every error the server answers with. */
bool source_read_chunk(struct source_connection *c, const struct chunk_request *request, struct arena *arena,
                       struct source_chunk *out, struct error *err);

/* Positions that cut the table into at most `parts` ranges with about the same number of rows each, ascending, in the arena: a range
 * is read with one of them as `after` and the next as `until`. None for a small table. They come from a sample, and nothing but the
 * balance depends on them. */
bool source_split_table(struct source_connection *c, const struct source_table *table, size_t parts, struct arena *arena,
                        enum chunk_outcome *outcome, struct slice **positions, size_t *count, struct error *err);

/* All rows of a table in one snapshot, for tables without any identity (interleaved-snapshot 4): begin answers as soon as S and H
 * are known (it waits a tenth of a second for whoever holds the table), with no rows; next then gives the rows piece by piece, *out with rows, row_count, byte_count and last
 * only. The transaction stays open on c until the last piece; nothing else can be done with c before, and giving up means
 * source_disconnect. */
bool source_scan_begin(struct source_connection *c, const struct source_table *table, struct arena *arena,
                       struct source_chunk *out, struct error *err);
bool source_scan_next(struct source_connection *c, size_t max_rows, size_t max_bytes, struct arena *arena,
                      struct source_chunk *out, struct error *err);

/* ---- slot and stream ---------------------------------------------------------------------------------------------------------- */

enum slot_status { SLOT_MISSING, SLOT_VALID, SLOT_LOST };
bool source_slot_status(struct source_connection *c, const char *slot, enum slot_status *out, uint64_t *confirmed_lsn,
                        struct error *err);
/* Makes the slot; *snapshot: what its exported snapshot sees (X of interleaved-snapshot 3), in the arena. */
bool source_slot_create(struct source *s, const char *slot, uint64_t *start_lsn, struct xid_snapshot *snapshot,
                        struct arena *arena, struct error *err);
bool source_slot_drop(struct source_connection *c, const char *slot, struct error *err);
/* The same without waiting for whoever uses it; *in_use: that is why it failed. */
bool source_slot_try_drop(struct source_connection *c, const char *slot, bool *in_use, struct error *err);
/* Makes `to`, anew if it is there, with the positions of `from`, which may be in use. */
bool source_slot_copy(struct source_connection *c, const char *from, const char *to, struct error *err);

enum stream_event_kind {
	STREAM_NOTHING, /* the time-out passed */
	STREAM_BEGIN,
	STREAM_COMMIT,
	STREAM_RELATION, /* the relation that follows, also before its first change */
	STREAM_INSERT,
	STREAM_UPDATE,
	STREAM_DELETE,
	STREAM_TRUNCATE,
	STREAM_MESSAGE, /* logical message; marker: it is ours */
	STREAM_KEEPALIVE,
};

struct stream_event {
	enum stream_event_kind kind;
	/* BEGIN */
	uint32_t xid;
	uint64_t final_lsn;     /* of the commit record */
	int64_t commit_time_ms; /* since 1970; BEGIN and COMMIT */
	/* COMMIT: end of the transaction. KEEPALIVE: end of the server's WAL. MESSAGE: its own place */
	uint64_t lsn;
	/* RELATION */
	struct source_relation relation; /* slices live until the next event */
	/* changes: oid of the relation; old: NULL if not sent. column_count as in the last RELATION of that oid. Slices live until the
	 * next event. For a key-only old tuple (K) the other columns are RAW_UNCHANGED. What the old tuple tells of unchanged TOAST
	 * values is filled in already: RAW_UNCHANGED in new_row means that the message has no value. */
	uint32_t oid;
	const struct raw_value *new_row, *old_row;
	bool old_is_key;
	const uint32_t *truncated; /* TRUNCATE */
	size_t truncated_count;
	bool marker, transactional;
	bool reply_requested; /* KEEPALIVE: answer with stream_confirm at once */
};

struct source_stream;
/* START_REPLICATION from the slot's own position. */
struct source_stream *source_stream_open(struct source *s, const char *slot, struct error *err);
void source_stream_close(struct source_stream *st);
/* The socket, to be polled beside other things. */
int source_stream_fd(const struct source_stream *st);
/* The next event, waiting at most timeout_ms (0: only what is buffered). Strict parser: malformed messages are an error. */
bool source_stream_next(struct source_stream *st, int timeout_ms, struct stream_event *out, struct error *err);
/* Reports lsn as written, flushed and applied; never goes back. */
bool source_stream_confirm(struct source_stream *st, uint64_t lsn, struct error *err);
/* True if another complete message is already buffered (so that commits can be grouped). */
bool source_stream_pending(const struct source_stream *st);

#endif
