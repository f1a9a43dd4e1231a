/*
 * requests.c: write checkpoints, an environment of their own.
 *
 *   users:    as in users.c
 *   heads:    era u64 BE, lsn u64 BE, SHA-256 of the encoded user -> since i64 BE (wall clock ms), encoded user.
 *             Every pending association; passed ones go with later writes (heads_trim).
 *   unknown:  SHA-256 of the encoded user -> since, encoded user, as in heads
 *   floors:   first 16 bytes of SHA-256 of the encoded user -> greatest id ever given, u64 BE
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "storage/digest.h"
#include "storage/lmdb/lmdb.h"

#define HEAD_KEY 48

struct requests_txn {
	struct lmdb_backend *b;
	MDB_txn *txn;
	struct buf value;
};

bool lmdb_requests_open(struct lmdb_backend *b, bool read_only, struct error *err)
{
	MDB_txn *txn;
	unsigned create = read_only ? 0 : MDB_CREATE;
	int rc = mdb_txn_begin(b->requests, NULL, read_only ? MDB_RDONLY : 0, &txn);
	if (rc)
		return lmdb_fail(err, rc, "opening the requests");
	if ((rc = mdb_dbi_open(txn, "users", create, &b->users)) || (rc = mdb_dbi_open(txn, "heads", create, &b->heads)) ||
	    (rc = mdb_dbi_open(txn, "unknown", create, &b->unknown)) || (rc = mdb_dbi_open(txn, "floors", create, &b->floors))) {
		mdb_txn_abort(txn);
		return lmdb_fail(err, rc, "opening the requests");
	}
	rc = mdb_txn_commit(txn);
	if (!rc && read_only)
		rc = lmdb_keep_place(b->requests, &b->look_requests);
	return !rc || lmdb_fail(err, rc, "opening the requests");
}

static bool begin(struct backend *base, bool write, struct requests_txn **out, struct error *err)
{
	struct requests_txn *t = xcalloc(1, sizeof(*t));
	t->b = lmdb_of(base);
	t->txn = t->b->look_requests;
	int rc = t->txn ? mdb_txn_renew(t->txn) : mdb_txn_begin(t->b->requests, NULL, write ? 0 : MDB_RDONLY, &t->txn);
	if (rc) {
		free(t);
		return lmdb_fail(err, rc, "beginning a request");
	}
	*out = t;
	return true;
}

static void finish(struct requests_txn *t)
{
	buf_free(&t->value);
	free(t);
}

static bool commit(struct requests_txn *t, struct error *err)
{
	int rc = mdb_txn_commit(t->txn);
	finish(t);
	return !rc || lmdb_fail(err, rc, "committing requests");
}

static void abort_txn(struct requests_txn *t)
{
	if (t->txn == t->b->look_requests)
		mdb_txn_reset(t->txn);
	else
		mdb_txn_abort(t->txn);
	finish(t);
}

static int user_get(struct requests_txn *t, struct slice user, struct slice *record, struct error *err)
{
	return lmdb_users_get(t->txn, t->b->users, user, record, err);
}

static bool user_put(struct requests_txn *t, struct slice user, struct slice record, struct error *err)
{
	return lmdb_users_put(t->txn, t->b->users, user, record, &t->value, err);
}

static bool user_delete(struct requests_txn *t, struct slice user, struct error *err)
{
	return lmdb_users_delete(t->txn, t->b->users, user, err);
}

static bool users_scan(struct requests_txn *t, struct buf *at, size_t max, struct arena *arena, struct scanned_row **rows,
                       size_t *count, struct error *err)
{
	return lmdb_users_scan(t->txn, t->b->users, at, max, arena, rows, count, err);
}

/* ---- indexes ---- */

static void head_key(uint8_t key[HEAD_KEY], struct position head, struct slice user)
{
	be64_put(key, head.era);
	be64_put(key + 8, head.lsn);
	sha256_slices(&user, 1, key + 16);
}

static int put_index(struct requests_txn *t, MDB_dbi dbi, const uint8_t *key, size_t n, struct slice user, int64_t since)
{
	MDB_val k = val(key, n), v = {8 + user.n, NULL};
	int rc = mdb_put(t->txn, dbi, &k, &v, MDB_RESERVE);
	if (!rc) {
		be64_put(v.mv_data, (uint64_t)since);
		memcpy((char *)v.mv_data + 8, user.p, user.n);
	}
	return rc;
}

static bool head_put(struct requests_txn *t, struct position head, struct slice user, int64_t since, struct error *err)
{
	uint8_t key[HEAD_KEY];
	head_key(key, head, user);
	int rc = put_index(t, t->b->heads, key, HEAD_KEY, user, since);
	return !rc || lmdb_fail(err, rc, "heads");
}

static bool head_delete(struct requests_txn *t, struct position head, struct slice user, struct error *err)
{
	uint8_t key[HEAD_KEY];
	head_key(key, head, user);
	MDB_val k = val(key, HEAD_KEY);
	int rc = mdb_del(t->txn, t->b->heads, &k, NULL);
	return !rc || rc == MDB_NOTFOUND || lmdb_fail(err, rc, "heads");
}

static struct position head_of(MDB_val k)
{
	return (struct position){be64_get(k.mv_data), be64_get((uint8_t *)k.mv_data + 8)};
}

static bool heads_each(struct requests_txn *t, struct position after, struct position up_to, user_fn each, void *ctx,
                       struct error *err)
{
	uint8_t start[16];
	MDB_cursor *cursor;
	/* No key is as short as a bare position, so this stands before all heads that follow it. */
	be64_put(start, after.lsn == UINT64_MAX ? after.era + 1 : after.era);
	be64_put(start + 8, after.lsn == UINT64_MAX ? 0 : after.lsn + 1);
	MDB_val k = val(start, sizeof(start)), v;
	int rc = mdb_cursor_open(t->txn, t->b->heads, &cursor);
	if (rc)
		return lmdb_fail(err, rc, "heads");
	for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE); !rc; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
		if (k.mv_size != HEAD_KEY || v.mv_size < 8 || position_cmp(head_of(k), up_to) > 0)
			break;
		if (!each(ctx, slice_drop(val_slice(v), 8), (int64_t)be64_get(v.mv_data)))
			break;
	}
	mdb_cursor_close(cursor);
	return !rc || rc == MDB_NOTFOUND || lmdb_fail(err, rc, "heads");
}

static bool heads_trim(struct requests_txn *t, struct position up_to, size_t max, struct error *err)
{
	MDB_cursor *cursor;
	MDB_val k, v;
	int rc = mdb_cursor_open(t->txn, t->b->heads, &cursor);
	if (rc)
		return lmdb_fail(err, rc, "heads");
	for (size_t i = 0; i < max; i++) {
		rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST);
		if (rc || k.mv_size != HEAD_KEY || position_cmp(head_of(k), up_to) > 0)
			break;
		if ((rc = mdb_cursor_del(cursor, 0)))
			break;
	}
	mdb_cursor_close(cursor);
	return !rc || rc == MDB_NOTFOUND || lmdb_fail(err, rc, "heads");
}

static bool unknown_put(struct requests_txn *t, struct slice user, int64_t since, struct error *err)
{
	uint8_t key[32];
	sha256_slices(&user, 1, key);
	int rc = put_index(t, t->b->unknown, key, sizeof(key), user, since);
	return !rc || lmdb_fail(err, rc, "unknown");
}

static bool unknown_delete(struct requests_txn *t, struct slice user, struct error *err)
{
	uint8_t key[32];
	sha256_slices(&user, 1, key);
	MDB_val k = val(key, sizeof(key));
	int rc = mdb_del(t->txn, t->b->unknown, &k, NULL);
	return !rc || rc == MDB_NOTFOUND || lmdb_fail(err, rc, "unknown");
}

static bool unknown_each(struct requests_txn *t, user_fn each, void *ctx, struct error *err)
{
	MDB_cursor *cursor;
	MDB_val k, v;
	int rc = mdb_cursor_open(t->txn, t->b->unknown, &cursor);
	if (rc)
		return lmdb_fail(err, rc, "unknown");
	while (!(rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)))
		if (v.mv_size < 8 || !each(ctx, slice_drop(val_slice(v), 8), (int64_t)be64_get(v.mv_data)))
			break;
	mdb_cursor_close(cursor);
	return !rc || rc == MDB_NOTFOUND || lmdb_fail(err, rc, "unknown");
}

static bool floor_get(struct requests_txn *t, struct slice user, uint64_t *id, struct error *err)
{
	uint8_t key[32];
	sha256_slices(&user, 1, key);
	MDB_val k = val(key, 16), v;
	int rc = mdb_get(t->txn, t->b->floors, &k, &v);
	*id = !rc && v.mv_size == 8 ? be64_get(v.mv_data) : 0;
	return !rc || rc == MDB_NOTFOUND || lmdb_fail(err, rc, "floors");
}

static bool floor_put(struct requests_txn *t, struct slice user, uint64_t id, struct error *err)
{
	uint8_t key[32], value[8];
	sha256_slices(&user, 1, key);
	be64_put(value, id);
	MDB_val k = val(key, 16), v = val(value, 8);
	int rc = id ? mdb_put(t->txn, t->b->floors, &k, &v, 0) : mdb_del(t->txn, t->b->floors, &k, NULL);
	return !rc || rc == MDB_NOTFOUND || lmdb_fail(err, rc, "floors");
}

const struct backend_ops lmdb_requests_ops = {
        .requests_begin = begin,
        .requests_commit = commit,
        .requests_abort = abort_txn,
        .user_get = user_get,
        .user_put = user_put,
        .user_delete = user_delete,
        .users_scan = users_scan,
        .head_put = head_put,
        .head_delete = head_delete,
        .heads_each = heads_each,
        .heads_trim = heads_trim,
        .unknown_put = unknown_put,
        .unknown_delete = unknown_delete,
        .unknown_each = unknown_each,
        .floor_get = floor_get,
        .floor_put = floor_put,
};
