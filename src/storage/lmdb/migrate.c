/*
 * migrate.c: stores of older formats.
 *
 * 1 -> 2: an operation with bit 4 did not say who refers to it, and buckets had no count of dead operations. Each reference is
 * replaced by the text, then the bits are taken away, then (in one transaction, with the new version) the buckets are rewritten. Cut
 * anywhere, it begins again and finds less to do.
 */
#include "base/alloc.h"
#include "storage/internal.h"
#include "storage/lmdb/op_format.h"

#define STEP_BYTES (4u * 1024 * 1024)
#define OLD_BUCKET_HEAD 24

enum pass { INLINE_TEXTS, CLEAR_BITS };

/* An operation of format 1: as now, but with no list. */
static bool parse_old(struct slice value, struct stored_op *out)
{
	struct buf copy = {0};
	buf_slice_append(&copy, value);
	bool shared = copy.n && (copy.p[0] & OP_SHARED);
	if (shared)
		copy.p[0] = (char)(copy.p[0] & ~OP_SHARED);
	bool ok = op_parse(buf_slice(&copy), out);
	if (ok) { /* the slices are to lie in value */
		out->row.p = value.p + (out->row.p ? out->row.p - copy.p : 0);
		out->data.p = value.p + (out->data.p ? out->data.p - copy.p : 0);
		out->shared = shared;
	}
	buf_free(&copy);
	return ok;
}

/* The value that replaces an old one; empty: it stays. */
static bool convert(struct lmdb_backend *b, enum pass pass, MDB_val v, struct buf *out, struct error *err)
{
	struct stored_op op, owner;
	buf_clear(out);
	if (!parse_old(val_slice(v), &op))
		return lmdb_damaged(err, "an operation cannot be read");
	if (pass == CLEAR_BITS && op.shared) {
		buf_append(out, v.mv_data, v.mv_size);
		out->p[0] = (char)(out->p[0] & ~OP_SHARED);
	}
	if (pass == CLEAR_BITS || op.kind != OP_PUT || op.form != DATA_REFERENCE)
		return true;
	MDB_val k = val(op.data.p, OP_KEY), owned;
	if (mdb_get(b->txn, b->ops, &k, &owned) || !parse_old(val_slice(owned), &owner) || owner.form == DATA_REFERENCE)
		return lmdb_damaged(err, "data that an operation refers to is missing");
	buf_append(out, v.mv_data, v.mv_size - OP_KEY);
	out->p[0] = (char)((out->p[0] & 3) | owner.form << DATA_SHIFT);
	buf_slice_append(out, owner.data);
	return true;
}

/* How far the passes over the operations are. */
struct walk {
	enum pass pass;
	uint8_t at[OP_KEY];
	uint64_t seen, total;
};

static void tell(const struct lmdb_backend *b, double part)
{
	if (b->migrating)
		b->migrating(b->migrating_ctx, part);
}

/* One transaction, from the key in `at` on; *more: it ended before the last operation. */
static bool step(struct lmdb_backend *b, struct walk *w, bool *more, struct error *err)
{
	struct buf value = {0};
	MDB_cursor *cursor;
	MDB_val k = val(w->at, OP_KEY), v;
	size_t bytes = 0;
	*more = false;
	if (!b->base.ops->write_begin(&b->base, err))
		return false;
	int rc = mdb_cursor_open(b->txn, b->ops, &cursor);
	bool ok = !rc || lmdb_fail(err, rc, "ops");
	for (rc = ok ? mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE) : rc; ok && !rc;
	     rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
		if (k.mv_size != OP_KEY) {
			ok = lmdb_damaged(err, "an operation cannot be read");
			break;
		}
		memcpy(w->at, k.mv_data, OP_KEY);
		if ((*more = bytes >= STEP_BYTES) || !(ok = convert(b, w->pass, v, &value, err)))
			break;
		w->seen++;
		if (!value.n)
			continue;
		k = val(w->at, OP_KEY);
		v = val(value.p, value.n);
		bytes += value.n;
		if ((rc = mdb_cursor_put(cursor, &k, &v, MDB_CURRENT)))
			break;
	}
	if (ok && rc && rc != MDB_NOTFOUND)
		ok = lmdb_fail(err, rc, "ops");
	struct changed_buckets none = {0};
	ok = ok && b->base.ops->write_commit(&b->base, &none, err);
	if (!ok)
		b->base.ops->write_abort(&b->base);
	buf_free(&value);
	return ok;
}

/* Twice over all operations. */
static bool run_passes(struct lmdb_backend *b, struct error *err)
{
	struct walk w = {.pass = INLINE_TEXTS};
	MDB_stat stat = {0};
	if (!b->base.ops->write_begin(&b->base, err))
		return false;
	int rc = mdb_stat(b->txn, b->ops, &stat);
	b->base.ops->write_abort(&b->base);
	w.total = 2 * (uint64_t)stat.ms_entries;
	for (w.pass = INLINE_TEXTS; !rc && w.pass <= CLEAR_BITS; w.pass++) {
		memset(w.at, 0, sizeof(w.at));
		for (bool more = true; more;) {
			if (!step(b, &w, &more, err))
				return false;
			tell(b, w.total ? (double)w.seen / (double)w.total : 1);
		}
	}
	return !rc || lmdb_fail(err, rc, "migrating");
}

/* All of a bucket's operations count as dead: the next compaction looks at it. */
static int rewrite_buckets(struct lmdb_backend *b)
{
	struct buf value = {0};
	uint8_t zero[4] = {0}, key[4];
	MDB_cursor *cursor;
	MDB_val k = val(zero, 4), v;
	int rc = mdb_cursor_open(b->txn, b->buckets, &cursor);
	if (rc)
		return rc;
	for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE); !rc; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
		if (k.mv_size != 4 || v.mv_size < OLD_BUCKET_HEAD) {
			rc = MDB_CORRUPTED;
			break;
		}
		memcpy(key, k.mv_data, 4);
		buf_clear(&value);
		buf_append(&value, v.mv_data, 16);
		buf_append(&value, v.mv_data, 8); /* dead: the count */
		buf_append(&value, (const char *)v.mv_data + 16, v.mv_size - 16);
		k = val(key, 4);
		v = val(value.p, value.n);
		if ((rc = mdb_cursor_put(cursor, &k, &v, MDB_CURRENT)))
			break;
	}
	mdb_cursor_close(cursor);
	buf_free(&value);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

/* The state record begins with the version. */
static int set_version(struct lmdb_backend *b, uint32_t version)
{
	struct buf value = {0};
	uint8_t key[4];
	be32_put(key, META_STATE);
	MDB_val k = val(key, 4), v;
	int rc = mdb_get(b->txn, b->small[SMALL_META], &k, &v);
	if (!rc && v.mv_size >= 4) {
		buf_append(&value, v.mv_data, v.mv_size);
		be32_put(value.p, version);
		v = val(value.p, value.n);
		rc = mdb_put(b->txn, b->small[SMALL_META], &k, &v, 0);
	}
	buf_free(&value);
	return rc;
}

bool lmdb_migrate(struct backend *base, uint32_t from, struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	if (from != 1)
		return error_set(err, "PSYNC_S1005", "The store has a format that this version cannot migrate (%u)", from);
	log_info(b->log, "The store is of an older format: migrating it");
	if (!run_passes(b, err))
		return false;
	if (!base->ops->write_begin(base, err))
		return false;
	int rc = rewrite_buckets(b);
	if (!rc)
		rc = set_version(b, 2);
	struct changed_buckets none = {0};
	if (rc || !base->ops->write_commit(base, &none, err)) {
		base->ops->write_abort(base);
		return rc ? lmdb_fail(err, rc, "migrating") : false;
	}
	log_info(b->log, "The store was migrated");
	return true;
}
