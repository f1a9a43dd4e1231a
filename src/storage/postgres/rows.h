/*
 * rows.h: source rows -> operations, lookup entries and images in the tables of the shared layout (storage-semantics 5.3 with the
 * *Syncline* rules, storage-postgres 2 and 7).
 *
 * Rows are queued as they come. pg_rows_write works on all of them at once, within the writer's open transaction: what is stored of
 * them is read with one statement, the rules are applied in memory, op ids are drawn as a block, and a handful of statements with
 * arrays write everything. Records of one queue see the effects of earlier ones.
 *
 * Op ids are in the order of the reference: in portions (its flush transactions: 2000 records, operations, lookup entries or images,
 * or 5,000,000 bytes as it estimates them), in each first the deletion markers of storage version 3, then the operations in
 * record order, then the lookup entries.
 *
 * The writer's thread alone. All texts are copied. A text that Postgres cannot hold (a NUL, bad UTF-8) leaves its entry out, which is
 * logged.
 */
#ifndef SYNCLINE_STORAGE_POSTGRES_ROWS_H
#define SYNCLINE_STORAGE_POSTGRES_ROWS_H

#include "storage/postgres/connection.h"

struct pg_rows;

/* A source table in one stream. */
struct pg_row_table {
	int32_t stream;
	int version;     /* the stream's storage version */
	struct slice id; /* source_tables.id */
};

struct pg_row_put {
	struct slice bucket; /* full name */
	struct slice object_type, object_id, data;
	uint32_t checksum;
};

struct pg_row_lookup {
	struct slice lookup;  /* BSON */
	struct slice results; /* JSON text */
};

struct pg_row {
	struct slice key;   /* source_key: BSON {id: replica id} */
	struct slice old;   /* the former one if it changed; n == 0: it did not */
	struct slice image; /* BSON of the row; n == 0: none is kept */
	const struct pg_row_put *puts;
	size_t put_count;
	const struct pg_row_lookup *lookups;
	size_t lookup_count;
	/* A row that was read: nothing is written if it is stored with this image and gives what it gave. */
	bool compare;
};

struct pg_rows *pg_rows_new(const struct log *log);
void pg_rows_free(struct pg_rows *r);
/* Settings of a connection that pg_rows_write and the others will be given; once, outside of a transaction. */
bool pg_rows_prepare(struct pg_conn *conn, struct error *err);

/* The row is now this. */
void pg_rows_put(struct pg_rows *r, const struct pg_row_table *table, const struct pg_row *row);
/* The row lacks a value: what it gave stays, the image has what is known. row_key and partial are the engine's own forms, for reading
 * the row again; they are kept in a side table. */
void pg_rows_put_incomplete(struct pg_rows *r, const struct pg_row_table *table, const struct pg_row *row, struct slice row_key,
                            struct slice partial);
/* It is gone. */
void pg_rows_delete(struct pg_rows *r, const struct pg_row_table *table, struct slice key);

/* Bytes that are queued, about. */
size_t pg_rows_size(const struct pg_rows *r);
/* Is something queued for the stream? */
bool pg_rows_queued(const struct pg_rows *r, int32_t stream);
/* Writes what is queued; *last_op: the sequence's last id then (0: none was ever drawn). After a failure the transaction must be rolled
 * back. Nothing queued: nothing is done, *last_op stays. */
bool pg_rows_write(struct pg_rows *r, struct pg_conn *conn, uint64_t *last_op, struct error *err);
/* Forgets the queue: the transaction was rolled back. */
void pg_rows_clear(struct pg_rows *r);

/* What is stored of a row, queued changes included. In the arena. */
struct pg_stored_row {
	bool found;
	struct slice image;   /* BSON; "0500000000" if none is kept */
	bool incomplete;      /* waits for being read again */
	struct slice partial; /* then: as given to pg_rows_put_incomplete */
};
bool pg_rows_read(struct pg_rows *r, struct pg_conn *conn, const struct pg_row_table *table, struct slice key,
                  struct arena *arena, struct pg_stored_row *out, struct error *err);

/* Incomplete rows behind `after` (a source_key; n == 0: from the first), at most max. In the arena. The queue must be written. */
struct pg_incomplete_row {
	struct slice key, row_key;
};
bool pg_rows_incomplete(struct pg_rows *r, struct pg_conn *conn, const struct pg_row_table *table, struct slice after, size_t max,
                        struct arena *arena, struct pg_incomplete_row **rows, size_t *count, struct error *err);

/* Queues the removal for good (no markers) of up to max stored rows; *count 0: there are none left. The queue must be written. */
bool pg_rows_truncate(struct pg_rows *r, struct pg_conn *conn, const struct pg_row_table *table, size_t max, size_t *count,
                      struct error *err);

#endif
