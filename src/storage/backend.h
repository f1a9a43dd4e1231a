/*
 * backend.h: what the backend-neutral rules of this folder need from a store.
 *
 * Two halves that share nothing but the folder: data (one writer, many readers) and write checkpoints ("requests"). A slice that a
 * backend hands out lives until the next write of the same transaction, or to the end of the reader.
 *
 * Return values: bool, false with *err filled; or int: 1 found, 0 not found, -1 error with *err filled.
 */
#ifndef SYNCLINE_STORAGE_BACKEND_H
#define SYNCLINE_STORAGE_BACKEND_H

#include "storage/storage.h"

struct backend;
struct requests_txn;

/* Small numbered records that are few enough to be read whole at open. */
enum small_kind { SMALL_META, SMALL_TABLES, SMALL_DEFINITIONS, SMALL_PLANS, SMALL_STRINGS, SMALL_KINDS };
/* Records of SMALL_META that the neutral code owns (state.c, custom.c, instance.c, failure.c); backends use numbers from 100 on. */
#define META_STATE 0
#define META_CUSTOM 1
#define META_INSTANCE 2
#define META_FAILURE 3

typedef bool (*small_each_fn)(void *ctx, uint32_t number, struct slice value, struct error *err);

/* One operation to be written. */
struct backend_op {
	uint32_t bucket;
	uint64_t op_id;
	enum op_kind kind; /* PUT or REMOVE */
	uint32_t checksum;
	uint32_t table;
	const uint8_t *uuid;
	uint32_t type; /* number of the object type */
	struct slice object_id;
	struct slice data;                 /* PUT: JSON text */
	const struct op_place *references; /* operations of the row that refer to this one's data */
	size_t reference_count;
	uint64_t same_data_op; /* not 0: the data is that of this operation, written before in the same row */
	uint32_t same_data_bucket;
	uint32_t makes_dead; /* operations of the bucket that a compaction can take away because of this one */
};

struct op_place {
	uint32_t bucket;
	uint64_t op_id;
};

struct backend_lookup {
	uint32_t definition;
	struct slice key;
	const uint8_t *row; /* 16 bytes: hash of table and row key */
	uint64_t op_id;
	struct slice results; /* [] when the row no longer gives any */
	bool may_have_older;  /* the row had an entry under this key before */
	uint64_t floor;       /* of the older entries keep the newest at or below this op id, and all above */
};

/* One operation as compaction sees it. */
struct compact_op {
	uint64_t op_id;
	enum op_kind kind;
	struct slice row; /* PUT, REMOVE: bytes that are equal for equal rows of the bucket */
};

struct op_move {
	uint64_t op_id, target;
};

struct bucket_info {
	uint32_t number, definition;
	uint64_t count, last_op;
	uint64_t dead; /* about as many can be taken away */
};

struct scanned_row {
	struct slice key, record;
};

/* Bucket numbers that a commit changed, appended to. */
struct changed_buckets {
	uint32_t *items;
	size_t count, cap;
};

/* index: of the key in the call. */
typedef void (*lookup_result_fn)(void *ctx, size_t index, struct slice results);
typedef bool (*user_fn)(void *ctx, struct slice user, int64_t since_wall_ms);

struct backend_ops {
	void (*close)(struct backend *b);

	/* -- the writer. write_begin opens the transaction; all others but small_each need it. */
	bool (*write_begin)(struct backend *b, struct error *err);
	bool (*write_commit)(struct backend *b, struct changed_buckets *changed, struct error *err); /* durable when it returns */
	void (*write_abort)(struct backend *b);
	size_t (*write_size)(struct backend *b);

	bool (*small_put)(struct backend *b, enum small_kind kind, uint32_t number, struct slice value, struct error *err);
	bool (*small_delete)(struct backend *b, enum small_kind kind, uint32_t number, struct error *err);
	bool (*small_each)(struct backend *b, enum small_kind kind, small_each_fn each, void *ctx, struct error *err);

	int (*row_get)(struct backend *b, uint32_t table, struct slice key, struct slice *record, struct error *err);
	bool (*row_put)(struct backend *b, uint32_t table, struct slice key, struct slice record, struct error *err);
	bool (*row_delete)(struct backend *b, uint32_t table, struct slice key, struct error *err);
	bool (*row_mark_incomplete)(struct backend *b, uint32_t table, struct slice key, bool incomplete, struct error *err);
	int (*image_get)(struct backend *b, uint32_t table, struct slice key, struct slice *image, struct error *err);
	bool (*image_put)(struct backend *b, uint32_t table, struct slice key, struct slice image, struct error *err);
	bool (*image_delete)(struct backend *b, uint32_t table, struct slice key, struct error *err);
	/* Up to max rows in key order with a key after `after` (n == 0: from the first), copied to the arena. */
	bool (*rows_scan)(struct backend *b, uint32_t table, bool only_incomplete, struct slice after, size_t max,
	                  struct arena *arena, struct scanned_row **rows, size_t *count, struct error *err);

	/* Number of the bucket, made if missing. */
	bool (*bucket_number)(struct backend *b, uint32_t definition, struct slice keys, uint32_t *number, struct error *err);
	int (*bucket_definition)(struct backend *b, uint32_t number, uint32_t *definition, struct error *err);
	bool (*op_add)(struct backend *b, const struct backend_op *op, struct error *err);
	bool (*lookup_put)(struct backend *b, const struct backend_lookup *l, struct error *err);

	/* Write checkpoints that come with the data, by encoded user (write_checkpoints.h). */
	int (*custom_get)(struct backend *b, struct slice user, struct slice *record, struct error *err);
	bool (*custom_put)(struct backend *b, struct slice user, struct slice record, struct error *err);
	bool (*custom_delete)(struct backend *b, struct slice user, struct error *err);
	/* As users_scan below, but the slices live until the next write. */
	bool (*custom_scan)(struct backend *b, struct buf *cursor, size_t max, struct arena *arena, struct scanned_row **rows,
	                    size_t *count, struct error *err);

	/* -- readers, any thread */
	/* What is durable of a user; a copy, in a read of its own. */
	int (*custom_read)(struct backend *b, struct slice user, struct buf *record, struct error *err);
	struct storage_reader *(*read_begin)(struct backend *b, struct error *err);
	void (*read_end)(struct storage_reader *r);
	uint32_t (*read_bucket)(struct storage_reader *r, uint32_t definition, struct slice keys);
	bool (*read_bucket_name)(struct storage_reader *r, uint32_t bucket, uint32_t *definition, struct slice *keys);
	bool (*read_checksum)(struct storage_reader *r, uint32_t bucket, uint64_t c, struct bucket_checksum *out,
	                      struct error *err);
	/* reader_checksums, reader_cleared, storage_bucket_hold (change 1) and release (-1),
	 * storage_bucket_compactions: NULL where the functions around them do. */
	bool (*read_checksums)(struct storage_reader *r, const uint32_t *buckets, size_t count, uint64_t c, bool fresh,
	                       struct bucket_checksum *out, struct error *err);
	bool (*read_cleared)(struct storage_reader *r, uint32_t bucket, uint64_t c);
	void (*bucket_hold)(struct backend *b, uint32_t bucket, int change);
	uint32_t (*bucket_compactions)(struct backend *b, uint32_t bucket);
	struct op_cursor *(*read_ops)(struct storage_reader *r, uint32_t bucket, uint64_t after, uint64_t up_to,
	                              struct error *err);
	/* reader_ops_ahead, reader_ops_at_hand; NULL: everything is at hand. */
	bool (*read_ops_ahead)(struct storage_reader *r, const struct op_range *ranges, size_t count, uint64_t up_to,
	                       size_t max_bytes, struct error *err);
	bool (*read_ops_at_hand)(struct storage_reader *r, uint32_t bucket, uint64_t after, uint64_t up_to);
	/* Calls once for each row that has results under one of the keys at c (never for an empty "[]"), key by key; no more once max_rows was
	 * passed. A store on another machine answers them all in one go. */
	bool (*read_lookups)(struct storage_reader *r, const struct lookup_read *keys, size_t count, uint64_t c, size_t max_rows,
	                     lookup_result_fn each, void *ctx, struct error *err);

	/* -- compaction and removal (compact.c, drop.c): readers' functions on any thread; those that take the backend need the
	 * transaction, and each does a bounded amount. */
	/* Buckets with a number above `after`, in order, at most max. */
	bool (*buckets_scan)(struct storage_reader *r, uint32_t after, size_t max, struct bucket_info *out, size_t *count,
	                     struct error *err);
	/* Operations at or below up_to, the newest first; in the arena. */
	bool (*read_ops_back)(struct storage_reader *r, uint32_t bucket, uint64_t up_to, size_t max, struct arena *arena,
	                      struct compact_op **ops, size_t *count, struct error *err);
	/* These operations become MOVEs, the sum stays; whoever refers to their data gets it first. */
	bool (*ops_move)(struct backend *b, uint32_t bucket, const struct op_move *moves, size_t count, struct error *err);
	/* The first operations up to up_to, at most max of them, become one CLEAR. A PUT among them is an error. *more: there are further
	 * ones; *removed is added to. */
	bool (*ops_clear)(struct backend *b, uint32_t bucket, uint64_t up_to, size_t max, bool *more, uint64_t *removed,
	                  struct error *err);
	/* The PUT is written again under a new op id, the newest of the bucket: 1; 0: it is no PUT (any more); or -1. NULL: cannot do it. */
	int (*op_again)(struct backend *b, uint32_t bucket, uint64_t op_id, uint64_t new_op_id, uint64_t makes_dead,
	                struct error *err);
	bool (*bucket_compacted)(struct backend *b, uint32_t bucket, uint64_t dead,
	                         struct error *err); /* at most so many are left */
	/* Removes up to max operations, and with the last of them the bucket (*gone). */
	bool (*bucket_drop)(struct backend *b, uint32_t bucket, size_t max, size_t *removed, bool *gone, struct error *err);
	bool (*lookups_drop)(struct backend *b, uint32_t definition, size_t max, size_t *removed, struct error *err);
	/* Keys of entries that nobody needs who reads at floor or later, among the next max behind the cursor (empty: the first). */
	bool (*lookups_dead)(struct storage_reader *r, struct buf *cursor, uint64_t floor, size_t max, struct arena *arena,
	                     struct slice **keys, size_t *count, bool *more, struct error *err);
	bool (*lookups_delete)(struct backend *b, const struct slice *keys, size_t count, struct error *err);
	bool (*sizes)(struct backend *b, struct storage_sizes *out, struct error *err);
	uint64_t (*release_pages)(struct backend *b); /* bytes that were given back; any thread. NULL: there are none */
	/* Brings the store from this format version to the newest, in transactions of its own; a crash in between does no harm. */
	bool (*migrate)(struct backend *b, uint32_t from, struct error *err);

	/* -- write checkpoints: one write transaction at a time (the caller's mutex), readers on any thread. `user` is the encoded
	 * user key (write_checkpoints.h). */
	bool (*requests_begin)(struct backend *b, bool write, struct requests_txn **out, struct error *err);
	bool (*requests_commit)(struct requests_txn *t, struct error *err); /* ends it, also when it fails */
	void (*requests_abort)(struct requests_txn *t);
	int (*user_get)(struct requests_txn *t, struct slice user, struct slice *record, struct error *err);
	bool (*user_put)(struct requests_txn *t, struct slice user, struct slice record, struct error *err);
	bool (*user_delete)(struct requests_txn *t, struct slice user, struct error *err);
	/* Up to max records in a fixed order; *cursor starts empty and says where to go on. The slices live to the end of t. */
	bool (*users_scan)(struct requests_txn *t, struct buf *cursor, size_t max, struct arena *arena, struct scanned_row **rows,
	                   size_t *count, struct error *err);
	/* Index of known heads. since: wall clock of storing. */
	bool (*head_put)(struct requests_txn *t, struct position head, struct slice user, int64_t since, struct error *err);
	bool (*head_delete)(struct requests_txn *t, struct position head, struct slice user, struct error *err);
	/* Users with a head in (after, up_to], in order of heads, until the callback answers false. */
	bool (*heads_each)(struct requests_txn *t, struct position after, struct position up_to, user_fn each, void *ctx,
	                   struct error *err);
	/* Forgets index entries at or below the position, at most max. */
	bool (*heads_trim)(struct requests_txn *t, struct position up_to, size_t max, struct error *err);
	/* Index of users who wait for a head. */
	bool (*unknown_put)(struct requests_txn *t, struct slice user, int64_t since, struct error *err);
	bool (*unknown_delete)(struct requests_txn *t, struct slice user, struct error *err);
	bool (*unknown_each)(struct requests_txn *t, user_fn each, void *ctx, struct error *err);
	/* Greatest id ever given to a user whose record was removed; 0: none. */
	bool (*floor_get)(struct requests_txn *t, struct slice user, uint64_t *id, struct error *err);
	bool (*floor_put)(struct requests_txn *t, struct slice user, uint64_t id, struct error *err); /* 0 deletes */
};

struct backend {
	const struct backend_ops *ops;
	struct names *types;  /* the storage's; for readers of operations */
	struct names *tables; /* subkey texts */
};

struct storage_reader {
	struct backend *backend;
};

struct op_cursor {
	struct backend *backend;
	int (*next)(struct op_cursor *c, struct op_view *out, struct error *err);
	void (*close)(struct op_cursor *c);
};

/* Opens the backend of lmdb/ (env.c). read_only: an existing store, without its lock; only reading functions may be used. */
struct backend *lmdb_backend_open(const struct storage_options *options, bool read_only, struct names *types,
                                  struct names *tables, struct error *err);

#endif
