/*
 * users.c: records by user, of requests and of write checkpoints that come with the data (custom.c).
 *
 *   encoded user (../write_checkpoints.h) -> record; an encoded user over USER_KEY_MAX bytes:
 *   u8 2, SHA-256 of it -> encoded user (varint length, bytes), record
 */
#include "storage/digest.h"
#include "storage/lmdb/lmdb.h"

#define USER_KEY_MAX 480

static MDB_val user_key(uint8_t scratch[33], struct slice user)
{
	if (user.n <= USER_KEY_MAX)
		return val(user.p, user.n);
	scratch[0] = 2;
	sha256_slices(&user, 1, scratch + 1);
	return val(scratch, 33);
}

int lmdb_users_get(MDB_txn *txn, MDB_dbi dbi, struct slice user, struct slice *record, struct error *err)
{
	uint8_t scratch[33];
	MDB_val k = user_key(scratch, user), v;
	int rc = mdb_get(txn, dbi, &k, &v);
	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc) {
		lmdb_fail(err, rc, "users");
		return -1;
	}
	*record = val_slice(v);
	if (user.n > USER_KEY_MAX) {
		struct decoder d = decoder_of(*record);
		if (!slice_eq(decode_text(&d), user)) {
			lmdb_damaged(err, "a checkpoint request");
			return -1;
		}
		*record = decode_rest(&d);
	}
	return 1;
}

bool lmdb_users_put(MDB_txn *txn, MDB_dbi dbi, struct slice user, struct slice record, struct buf *scratch_value,
                    struct error *err)
{
	uint8_t scratch[33];
	MDB_val k = user_key(scratch, user), v = val(record.p, record.n);
	if (user.n > USER_KEY_MAX) {
		buf_clear(scratch_value);
		buf_text(scratch_value, user);
		buf_slice_append(scratch_value, record);
		v = val(scratch_value->p, scratch_value->n);
	}
	int rc = mdb_put(txn, dbi, &k, &v, 0);
	return !rc || lmdb_fail(err, rc, "users");
}

bool lmdb_users_delete(MDB_txn *txn, MDB_dbi dbi, struct slice user, struct error *err)
{
	uint8_t scratch[33];
	MDB_val k = user_key(scratch, user);
	int rc = mdb_del(txn, dbi, &k, NULL);
	return !rc || rc == MDB_NOTFOUND || lmdb_fail(err, rc, "users");
}

bool lmdb_users_scan(MDB_txn *txn, MDB_dbi dbi, struct buf *at, size_t max, struct arena *arena, struct scanned_row **rows,
                     size_t *count, struct error *err)
{
	MDB_cursor *cursor;
	*rows = arena_array(arena, struct scanned_row, max);
	*count = 0;
	int rc = mdb_cursor_open(txn, dbi, &cursor);
	if (rc)
		return lmdb_fail(err, rc, "users");
	MDB_val k = val(at->p, at->n), v;
	bool skip = at->n > 0;
	rc = mdb_cursor_get(cursor, &k, &v, skip ? MDB_SET_RANGE : MDB_FIRST);
	if (!rc && skip && slice_eq(val_slice(k), buf_slice(at)))
		rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
	for (; !rc && *count < max; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
		struct scanned_row *row = &(*rows)[(*count)++];
		row->key = val_slice(k);
		row->record = val_slice(v);
		if (row->key.n == 33 && row->key.p[0] == 2) {
			struct decoder d = decoder_of(row->record);
			row->key = decode_text(&d);
			row->record = decode_rest(&d);
		}
		if (*count == max) {
			buf_clear(at);
			buf_append(at, k.mv_data, k.mv_size);
		}
	}
	mdb_cursor_close(cursor);
	return !rc || rc == MDB_NOTFOUND || lmdb_fail(err, rc, "users");
}
