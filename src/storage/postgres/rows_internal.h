/*
 * rows_internal.h: the queue of rows as its files share it.
 *
 *   rows.c        the queue, and reading through it
 *   rows_rules.c  records and what was stored -> operations, lookup entries, images (storage-semantics 5.3)
 *   rows_load.c   what is stored is read
 *   rows_sums.c   what rows without an image gave is read
 *   rows_store.c  ids are drawn, everything is written
 *   rows_statements.c  statements by storage version, and running single ones
 *
 * Everything but the tables lives in the queue's arena, and goes with the queue.
 */
#ifndef SYNCLINE_STORAGE_POSTGRES_ROWS_INTERNAL_H
#define SYNCLINE_STORAGE_POSTGRES_ROWS_INTERNAL_H

#include "storage/postgres/arrays.h"
#include "storage/postgres/rows.h"

enum row_tri { ROW_UNKNOWN, ROW_NO, ROW_YES };

/* A source table in one stream, as long as the process runs. */
struct row_table {
	struct row_table *next;
	int32_t stream;
	int version;
	char id[64];
	enum row_tri filled;     /* ROW_NO: it had no rows when this process first wrote to it; see rows_load */
	enum row_tri incomplete; /* has incomplete rows, perhaps */
	uint64_t *streamed; /* while it was not filled: hashes of keys that did not come by reading; open addressing, 0: none */
	size_t streamed_count, streamed_cap;
};

/* What a row gives, or gave. */
struct row_gift {
	struct slice bucket, type, id;
};

/* Checksum of the newest operation of a gift. */
struct row_sum {
	bool known;
	uint32_t sum;
};

/* Arrays are shared between states and never changed. */
struct row_state {
	bool exists; /* markers do not */
	const struct row_gift *gifts;
	size_t gift_count;
	const struct slice *lookups; /* BSON */
	size_t lookup_count;
	bool no_image;        /* the table keeps none */
	struct row_sum *sums; /* then: of the gifts; NULL: not loaded */
	bool image_known;     /* image counts, else its digest */
	struct slice image;
	uint8_t digest[32]; /* SHA-256 */
};

/* A row, by table and source_key. */
struct kept_row {
	struct row_table *table;
	struct slice key;
	uint64_t hash;
	bool streamed; /* some record of it is not a row that was read */
	bool loaded;   /* stored is known; else it is assumed that nothing is */
	bool in_table; /* there is a row or a marker in the database */
	struct row_state stored, now;
	bool touched; /* now is to be written */
	bool has_remove_sum;
	uint32_t remove_sum;
	/* storage version 3: now is a marker, made in this portion, with the id of this rank */
	bool marker;
	uint32_t portion;
	size_t rank;
	/* to be written to the side table */
	bool incomplete;
	struct slice row_key, partial;
	size_t last; /* the record that was queued last, counted from 1; 0: none */
	bool gone;   /* that one removes it */
};

enum row_change_kind { CHANGE_PUT, CHANGE_INCOMPLETE, CHANGE_DELETE, CHANGE_FORGET };

struct row_change {
	enum row_change_kind kind;
	bool compare;
	struct kept_row *entry, *former; /* former: under the old key; NULL: the same */
	struct slice image, row_key, partial;
	struct pg_row_put *puts;
	size_t put_count;
	struct pg_row_lookup *lookups;
	size_t lookup_count;
};

/* An operation or a lookup entry; rank: its place among the ids that are drawn. */
struct row_op {
	struct kept_row *entry;
	struct slice bucket, type, id, data; /* data.p == NULL: REMOVE */
	uint32_t checksum;
	size_t rank;
};
struct row_lookup_entry {
	struct kept_row *entry;
	struct slice lookup, results;
	size_t rank;
};

/* What one stream's records become. */
struct row_work {
	struct row_op *ops;
	size_t op_count, op_cap;
	struct row_lookup_entry *lookups;
	size_t lookup_count, lookup_cap;
	struct kept_row **markers;
	size_t marker_count, marker_cap;
	size_t ids;
	/* the portion */
	uint32_t portion;
	size_t portion_op, portion_lookup, portion_marker; /* where it begins */
	size_t records, images, images_deleted, bytes;
};

#define ROW_ARRAYS 9
#define ROW_STREAMS 8 /* written to in one queue: the active one and the pending one */

struct pg_rows {
	const struct log *log;
	struct row_table *tables;
	struct arena arena;
	struct row_change *records;
	size_t record_count, record_cap;
	struct kept_row **slots; /* open addressing */
	size_t slot_cap;
	struct kept_row **entries; /* in order of appearance */
	size_t entry_count, entry_cap;
	size_t bytes;
	int32_t streams[ROW_STREAMS];
	size_t stream_count;
	struct row_work work;
	struct pg_array arrays[ROW_ARRAYS];
	uint64_t *ids; /* drawn, by rank; only if they are no block */
	uint64_t first_id;
	uint64_t left_out; /* entries that Postgres cannot hold, for thinning out log lines */
};

/* ---- rows.c */
struct kept_row *rows_entry(struct pg_rows *r, struct row_table *t, struct slice key);
struct row_table *rows_table(struct pg_rows *r, const struct pg_row_table *t);
void rows_table_free_streamed(struct row_table *t);
/* Queues its removal for good. */
void rows_forget(struct pg_rows *r, struct kept_row *e);

/* ---- rows_rules.c */
/* Applies the stream's records to what is stored of their rows, all of it loaded. */
void rows_apply(struct pg_rows *r, int32_t stream);
void rows_work_free(struct row_work *w);

/* ---- rows_statements.c */
/* What one statement takes at most, also in bytes (rows_store.c): more would leave work_mem. */
#define STATEMENT_ROWS 4000
struct row_statements {
	const char *load, *load_one, *probe, *scan, *incomplete, *insert, *replace, *remove;
};
const struct row_statements *rows_statements(const struct row_table *t);
extern const char rows_complete[]; /* the rows are incomplete no more */
bool rows_prepared(struct pg_conn *conn, const char *sql, struct error *err);
/* A statement alone; NULL: failed. */
PGresult *rows_run(struct pg_conn *conn, const char *sql, int count, const struct pg_param *params, struct error *err);
/* Binary values: of parameters, with room for them, and of results. */
struct pg_param rows_int4(char room[4], int32_t v);
struct pg_param rows_int8(char room[8], int64_t v);
struct pg_param rows_bytes(struct slice s);
struct slice rows_value(const PGresult *res, int row, int column);
int64_t rows_i64(const PGresult *res, int row, int column);
bool rows_bool(const PGresult *res, int row, int column);
bool rows_savepoint(struct pg_conn *conn, struct error *err);
bool rows_back_to_savepoint(struct pg_conn *conn, struct error *err);

/* NULL: it is not in the queue. */
struct kept_row *rows_find(const struct pg_rows *r, const struct row_table *t, struct slice key);

/* ---- rows_sums.c */
/* Of the rows just loaded, those that are only compared. */
bool rows_load_sums(struct pg_rows *r, struct pg_conn *conn, struct kept_row *const *entries, size_t count, struct error *err);

/* ---- rows_load.c */
bool rows_load(struct pg_rows *r, struct pg_conn *conn, int32_t stream, bool *assumed, struct error *err);
/* What is stored under one key, whole. */
bool rows_load_one(struct pg_rows *r, struct pg_conn *conn, struct kept_row *e, struct pg_stored_row *out, struct arena *arena,
                   struct error *err);
/* buckets, lookups -> arrays in the arena. */
bool rows_read_state(struct row_state *s, struct slice buckets, struct slice lookups, struct arena *arena, struct error *err);

/* ---- rows_store.c */
bool rows_draw_ids(struct pg_rows *r, struct pg_conn *conn, uint64_t *last_op, struct error *err);
bool rows_store(struct pg_rows *r, struct pg_conn *conn, int32_t stream, struct error *err);

#endif
