/*
 * lmdb.h: the embedded store as the files of this folder share it.
 *
 * A folder with four files: data.mdb and requests.mdb (each with LMDB's own -lock file beside it) are two environments, so that a
 * checkpoint request never waits behind a bulk commit; "lock" is held with flock by the one process that may use the folder.
 */
#ifndef SYNCLINE_STORAGE_LMDB_H
#define SYNCLINE_STORAGE_LMDB_H

#include <lmdb.h>
#include <zstd.h>

#include "base/buf.h"
#include "storage/backend.h"
#include "base/codec.h"
#include "storage/names.h"

/* LMDB's longest key is 511 bytes. */
#define KEY_MAX_SIZE 511
/* A value above this takes pages of its own (notes-on-libraries 1), so it is compressed before that. */
#define COMPRESS_ABOVE 1800

struct lmdb_buckets;
struct lmdb_batch;

struct lmdb_backend {
	struct backend base; /* first */
	const struct log *log;
	void (*migrating)(void *ctx, double part); /* may be NULL */
	void *migrating_ctx;
	int lock_fd;
	MDB_env *data, *requests;
	MDB_dbi small[SMALL_KINDS], ops, bucket_names, buckets, rows, incomplete, images, lookups, custom;
	MDB_dbi users, heads, unknown, floors;
	MDB_txn *look_data, *look_requests; /* of a store opened for looking: its place among the readers (lmdb_keep_place) */
	/* -- writer */
	MDB_txn *txn;
	MDB_cursor *row_cursor; /* of this transaction; NULL until it is needed (rows.c) */
	size_t row_bytes;       /* written directly in this transaction */
	struct lmdb_buckets *cache;
	struct lmdb_batch *batch;
	struct buf value, unpacked; /* scratch */
	ZSTD_CCtx *zstd;
};

struct lmdb_reader {
	struct storage_reader base; /* first */
	MDB_txn *txn;
};

static inline struct lmdb_backend *lmdb_of(struct backend *b)
{
	return (struct lmdb_backend *)b;
}

static inline MDB_val val(const void *p, size_t n)
{
	return (MDB_val){n, (void *)(uintptr_t)p};
}

static inline struct slice val_slice(MDB_val v)
{
	return slice_make(v.mv_data, v.mv_size);
}

/* Fills err for a failed call of LMDB; answers false. */
bool lmdb_fail(struct error *err, int rc, const char *what);
bool lmdb_damaged(struct error *err, const char *what);

/* A value with a flag byte in front: 0 as it is, 1 zstd (then the length as a varint). Appends to out. */
void lmdb_pack(struct lmdb_backend *b, struct buf *out, struct slice raw);
/* Answers the text: within the value, or in scratch. */
bool lmdb_unpack(struct slice packed, struct buf *scratch, struct slice *out);

/* Who looks beside another process takes a place among the readers once, by a transaction that is renewed for each read, so one at a time:
 * taking it might wait for that process (../look.c). */
int lmdb_keep_place(MDB_env *env, MDB_txn **look);

/* ---- buckets.c */
bool lmdb_buckets_open(struct lmdb_backend *b, struct error *err);
void lmdb_buckets_free(struct lmdb_backend *b);
bool lmdb_bucket_number(struct backend *base, uint32_t definition, struct slice keys, uint32_t *number, struct error *err);
int lmdb_bucket_definition(struct backend *base, uint32_t number, uint32_t *definition, struct error *err);
/* So many operations were removed, without a change of the sum. */
bool lmdb_bucket_shrink(struct lmdb_backend *b, uint32_t number, uint64_t removed, struct error *err);
bool lmdb_bucket_compacted(struct backend *base, uint32_t number, uint64_t dead, struct error *err);
bool lmdb_buckets_scan(struct storage_reader *r, uint32_t after, size_t max, struct bucket_info *out, size_t *count,
                       struct error *err);
/* Its record and name; the operations are gone already. */
bool lmdb_bucket_forget(struct lmdb_backend *b, uint32_t number, struct error *err);
/* Adds one operation to the totals. */
bool lmdb_bucket_count(struct lmdb_backend *b, const struct backend_op *op, struct error *err);
bool lmdb_buckets_flush(struct lmdb_backend *b, struct error *err);
void lmdb_buckets_committed(struct lmdb_backend *b, struct changed_buckets *changed);
void lmdb_buckets_rollback(struct lmdb_backend *b);
uint32_t lmdb_read_bucket(struct storage_reader *r, uint32_t definition, struct slice keys);
bool lmdb_read_bucket_name(struct storage_reader *r, uint32_t bucket, uint32_t *definition, struct slice *keys);
struct bucket_totals {
	uint64_t count, last_op, dead;
	uint32_t sum;
};
/* 1, 0 or -1. */
int lmdb_bucket_totals(MDB_txn *txn, struct lmdb_backend *b, uint32_t number, struct bucket_totals *out, struct error *err);

/* ---- ops.c */
void lmdb_batch_open(struct lmdb_backend *b);
void lmdb_batch_free(struct lmdb_backend *b);
bool lmdb_op_add(struct backend *base, const struct backend_op *op, struct error *err);
bool lmdb_batch_flush(struct lmdb_backend *b, struct error *err);
void lmdb_batch_clear(struct lmdb_backend *b);
size_t lmdb_batch_bytes(const struct lmdb_backend *b);
bool lmdb_read_checksum(struct storage_reader *r, uint32_t bucket, uint64_t c, struct bucket_checksum *out, struct error *err);
struct op_cursor *lmdb_read_ops(struct storage_reader *r, uint32_t bucket, uint64_t after, uint64_t up_to, struct error *err);

/* ---- compact.c */
bool lmdb_read_ops_back(struct storage_reader *r, uint32_t bucket, uint64_t up_to, size_t max, struct arena *arena,
                        struct compact_op **ops, size_t *count, struct error *err);
bool lmdb_ops_move(struct backend *base, uint32_t bucket, const struct op_move *moves, size_t count, struct error *err);
int lmdb_op_again(struct backend *base, uint32_t bucket, uint64_t op_id, uint64_t new_op_id, uint64_t makes_dead,
                  struct error *err);
bool lmdb_ops_clear(struct backend *base, uint32_t bucket, uint64_t up_to, size_t max, bool *more, uint64_t *removed,
                    struct error *err);
bool lmdb_bucket_drop(struct backend *base, uint32_t bucket, size_t max, size_t *removed, bool *gone, struct error *err);
bool lmdb_lookups_drop(struct backend *base, uint32_t definition, size_t max, size_t *removed, struct error *err);
bool lmdb_lookups_dead(struct storage_reader *r, struct buf *cursor, uint64_t floor, size_t max, struct arena *arena,
                       struct slice **keys, size_t *count, bool *more, struct error *err);
bool lmdb_lookups_delete(struct backend *base, const struct slice *keys, size_t count, struct error *err);
bool lmdb_sizes(struct backend *base, struct storage_sizes *out, struct error *err);
uint64_t lmdb_release_pages(struct backend *base);

/* ---- migrate.c */
bool lmdb_migrate(struct backend *base, uint32_t from, struct error *err);

/* ---- rows.c */
int lmdb_row_get(struct backend *base, uint32_t table, struct slice key, struct slice *record, struct error *err);
bool lmdb_row_put(struct backend *base, uint32_t table, struct slice key, struct slice record, struct error *err);
bool lmdb_row_delete(struct backend *base, uint32_t table, struct slice key, struct error *err);
bool lmdb_row_mark_incomplete(struct backend *base, uint32_t table, struct slice key, bool incomplete, struct error *err);
int lmdb_image_get(struct backend *base, uint32_t table, struct slice key, struct slice *image, struct error *err);
bool lmdb_image_put(struct backend *base, uint32_t table, struct slice key, struct slice image, struct error *err);
bool lmdb_image_delete(struct backend *base, uint32_t table, struct slice key, struct error *err);
bool lmdb_rows_scan(struct backend *base, uint32_t table, bool only_incomplete, struct slice after, size_t max,
                    struct arena *arena, struct scanned_row **rows, size_t *count, struct error *err);

/* ---- lookups.c */
bool lmdb_lookup_put(struct backend *base, const struct backend_lookup *l, struct error *err);
bool lmdb_read_lookups(struct storage_reader *r, const struct lookup_read *keys, size_t count, uint64_t c, size_t max_rows,
                       lookup_result_fn each, void *ctx, struct error *err);

/* ---- requests.c */
bool lmdb_requests_open(struct lmdb_backend *b, bool read_only, struct error *err);
extern const struct backend_ops lmdb_requests_ops; /* only its request members are set */

/* ---- users.c */
/* 1, 0 or -1. The record lives as long as a value of txn. */
int lmdb_users_get(MDB_txn *txn, MDB_dbi dbi, struct slice user, struct slice *record, struct error *err);
bool lmdb_users_put(MDB_txn *txn, MDB_dbi dbi, struct slice user, struct slice record, struct buf *scratch, struct error *err);
bool lmdb_users_delete(MDB_txn *txn, MDB_dbi dbi, struct slice user, struct error *err);
bool lmdb_users_scan(MDB_txn *txn, MDB_dbi dbi, struct buf *at, size_t max, struct arena *arena, struct scanned_row **rows,
                     size_t *count, struct error *err);

/* ---- custom.c */
int lmdb_custom_get(struct backend *base, struct slice user, struct slice *record, struct error *err);
bool lmdb_custom_put(struct backend *base, struct slice user, struct slice record, struct error *err);
bool lmdb_custom_delete(struct backend *base, struct slice user, struct error *err);
bool lmdb_custom_scan(struct backend *base, struct buf *cursor, size_t max, struct arena *arena, struct scanned_row **rows,
                      size_t *count, struct error *err);
int lmdb_custom_read(struct backend *base, struct slice user, struct buf *record, struct error *err);

#endif
