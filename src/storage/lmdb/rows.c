/*
 * rows.c: row records and images.
 *
 * Key of rows, incomplete and images: table u32 BE, then the row key; a row key over ROW_KEY_MAX bytes: its first ROW_KEY_MAX bytes
 * and its SHA-256 (no short key is as long as that).
 *   rows        -> full key (varint length, 0 when it stands in the key; bytes), record (../record.h)
 *   incomplete  -> nothing; the row is in rows
 *   images      -> flag u8 (0 as it is; 1 zstd after its length as a varint), image
 */
#include "base/arena.h"
#include "storage/digest.h"
#include "storage/lmdb/lmdb.h"

#define ROW_KEY_MAX 400

struct row_db_key {
	uint8_t bytes[4 + ROW_KEY_MAX + 32];
	size_t n;
};

static void make_key(struct row_db_key *out, uint32_t table, struct slice key)
{
	be32_put(out->bytes, table);
	size_t n = key.n > ROW_KEY_MAX ? ROW_KEY_MAX : key.n;
	if (n)
		memcpy(out->bytes + 4, key.p, n);
	out->n = 4 + n;
	if (key.n > ROW_KEY_MAX) {
		sha256_slices(&key, 1, out->bytes + out->n);
		out->n += 32;
	}
}

static bool split_value(MDB_val v, struct slice *full_key, struct slice *record)
{
	struct decoder d = decoder_of(val_slice(v));
	*full_key = decode_text(&d);
	*record = decode_rest(&d);
	return !d.bad;
}

/* One cursor for gets and puts of a transaction: rows of a chunk come in key order, so the next key nearly always lies on the page where
 * the last one was found, and the tree is not searched from its root. */
static MDB_cursor *row_cursor(struct lmdb_backend *b, struct error *err)
{
	int rc = b->row_cursor ? 0 : mdb_cursor_open(b->txn, b->rows, &b->row_cursor);
	if (!rc)
		return b->row_cursor;
	b->row_cursor = NULL;
	lmdb_fail(err, rc, "rows");
	return NULL;
}

int lmdb_row_get(struct backend *base, uint32_t table, struct slice key, struct slice *record, struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	struct row_db_key at;
	struct slice full;
	MDB_cursor *cursor = row_cursor(b, err);
	if (!cursor)
		return -1;
	make_key(&at, table, key);
	MDB_val k = val(at.bytes, at.n), v;
	int rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_KEY);
	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc)
		lmdb_fail(err, rc, "rows");
	else if (!split_value(v, &full, record) || (key.n > ROW_KEY_MAX && !slice_eq(full, key)))
		rc = 1, lmdb_damaged(err, "a row record");
	return rc ? -1 : 1;
}

bool lmdb_row_put(struct backend *base, uint32_t table, struct slice key, struct slice record, struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	struct row_db_key at;
	make_key(&at, table, key);
	bool is_long = key.n > ROW_KEY_MAX;
	MDB_val k = val(at.bytes, at.n), v = {1 + record.n, NULL};
	if (is_long)
		v.mv_size += key.n + VARINT_MAX;
	/* The length's varint has no fixed size: a long key's value is built first. */
	if (is_long) {
		buf_clear(&b->value);
		buf_text(&b->value, key);
		buf_slice_append(&b->value, record);
		v = val(b->value.p, b->value.n);
	}
	MDB_cursor *cursor = row_cursor(b, err);
	if (!cursor)
		return false;
	int rc = mdb_cursor_put(cursor, &k, &v, is_long ? 0 : MDB_RESERVE);
	if (rc)
		return lmdb_fail(err, rc, "rows");
	if (!is_long) {
		uint8_t *p = v.mv_data;
		*p = 0;
		memcpy(p + 1, record.p, record.n);
	}
	b->row_bytes += at.n + v.mv_size;
	return true;
}

static bool delete_key(struct lmdb_backend *b, MDB_dbi dbi, uint32_t table, struct slice key, struct error *err)
{
	struct row_db_key at;
	make_key(&at, table, key);
	MDB_val k = val(at.bytes, at.n);
	if (dbi == b->rows && b->row_cursor) { /* pages may be merged under it */
		mdb_cursor_close(b->row_cursor);
		b->row_cursor = NULL;
	}
	int rc = mdb_del(b->txn, dbi, &k, NULL);
	b->row_bytes += at.n;
	return !rc || rc == MDB_NOTFOUND || lmdb_fail(err, rc, "rows");
}

bool lmdb_row_delete(struct backend *base, uint32_t table, struct slice key, struct error *err)
{
	return delete_key(lmdb_of(base), lmdb_of(base)->rows, table, key, err);
}

bool lmdb_row_mark_incomplete(struct backend *base, uint32_t table, struct slice key, bool incomplete, struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	if (!incomplete)
		return delete_key(b, b->incomplete, table, key, err);
	struct row_db_key at;
	make_key(&at, table, key);
	MDB_val k = val(at.bytes, at.n), v = val("", 0);
	int rc = mdb_put(b->txn, b->incomplete, &k, &v, 0);
	b->row_bytes += at.n;
	return !rc || lmdb_fail(err, rc, "incomplete");
}

int lmdb_image_get(struct backend *base, uint32_t table, struct slice key, struct slice *image, struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	struct row_db_key at;
	make_key(&at, table, key);
	MDB_val k = val(at.bytes, at.n), v;
	int rc = mdb_get(b->txn, b->images, &k, &v);
	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc)
		lmdb_fail(err, rc, "images");
	else if (!lmdb_unpack(val_slice(v), &b->unpacked, image))
		rc = 1, lmdb_damaged(err, "an image");
	return rc ? -1 : 1;
}

bool lmdb_image_put(struct backend *base, uint32_t table, struct slice key, struct slice image, struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	struct row_db_key at;
	make_key(&at, table, key);
	buf_clear(&b->value);
	lmdb_pack(b, &b->value, image);
	MDB_val k = val(at.bytes, at.n), v = val(b->value.p, b->value.n);
	int rc = mdb_put(b->txn, b->images, &k, &v, 0);
	b->row_bytes += at.n + b->value.n;
	return !rc || lmdb_fail(err, rc, "images");
}

bool lmdb_image_delete(struct backend *base, uint32_t table, struct slice key, struct error *err)
{
	return delete_key(lmdb_of(base), lmdb_of(base)->images, table, key, err);
}

/* One row of a scan; k is its key in the database. 1, or -1. */
static int copy_row(struct lmdb_backend *b, MDB_val k, const MDB_val *value, struct arena *arena, struct scanned_row *out,
                    struct error *err)
{
	MDB_val v;
	struct slice full, record;
	if (value) {
		v = *value;
	} else {
		int rc = mdb_get(b->txn, b->rows, &k, &v);
		if (rc) {
			lmdb_fail(err, rc, "an incomplete row");
			return -1;
		}
	}
	if (!split_value(v, &full, &record)) {
		lmdb_damaged(err, "a row record");
		return -1;
	}
	out->key = arena_copy(arena, full.n ? full : slice_drop(val_slice(k), 4));
	out->record = arena_copy(arena, record);
	return 1;
}

bool lmdb_rows_scan(struct backend *base, uint32_t table, bool only_incomplete, struct slice after, size_t max,
                    struct arena *arena, struct scanned_row **rows, size_t *count, struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	struct row_db_key start;
	MDB_cursor *cursor;
	make_key(&start, table, after);
	*rows = arena_array(arena, struct scanned_row, max);
	*count = 0;
	int rc = mdb_cursor_open(b->txn, only_incomplete ? b->incomplete : b->rows, &cursor);
	if (rc)
		return lmdb_fail(err, rc, "rows");
	MDB_val k = val(start.bytes, start.n), v;
	bool ok = true;
	for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE); !rc && ok && *count < max;
	     rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
		if (k.mv_size < 4 || memcmp(k.mv_data, start.bytes, 4) != 0)
			break;
		if (after.n && k.mv_size == start.n && memcmp(k.mv_data, start.bytes, start.n) == 0)
			continue;
		ok = copy_row(b, k, only_incomplete ? NULL : &v, arena, &(*rows)[*count], err) > 0;
		*count += ok;
	}
	mdb_cursor_close(cursor);
	return ok && (!rc || rc == MDB_NOTFOUND || lmdb_fail(err, rc, "rows"));
}
