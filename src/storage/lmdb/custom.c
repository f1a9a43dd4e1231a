/*
 * custom.c: write checkpoints that come with the data: in the environment of the data, so that they are written with their transaction.
 *
 *   custom: records by user (users.c)
 */
#include "storage/lmdb/lmdb.h"

/* Pages that a record of a random place dirties cost more than its bytes. */
#define RECORD_WEIGHT 64

int lmdb_custom_get(struct backend *base, struct slice user, struct slice *record, struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	return lmdb_users_get(b->txn, b->custom, user, record, err);
}

bool lmdb_custom_put(struct backend *base, struct slice user, struct slice record, struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	b->row_bytes += user.n + record.n + RECORD_WEIGHT;
	return lmdb_users_put(b->txn, b->custom, user, record, &b->value, err);
}

bool lmdb_custom_delete(struct backend *base, struct slice user, struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	b->row_bytes += RECORD_WEIGHT;
	return lmdb_users_delete(b->txn, b->custom, user, err);
}

bool lmdb_custom_scan(struct backend *base, struct buf *cursor, size_t max, struct arena *arena, struct scanned_row **rows,
                      size_t *count, struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	return lmdb_users_scan(b->txn, b->custom, cursor, max, arena, rows, count, err);
}

int lmdb_custom_read(struct backend *base, struct slice user, struct buf *record, struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	MDB_txn *txn;
	struct slice value;
	int rc = mdb_txn_begin(b->data, NULL, MDB_RDONLY, &txn);
	if (rc) {
		lmdb_fail(err, rc, "beginning a read");
		return -1;
	}
	int got = lmdb_users_get(txn, b->custom, user, &value, err);
	buf_clear(record);
	if (got > 0)
		buf_slice_append(record, value);
	mdb_txn_abort(txn);
	return got;
}
