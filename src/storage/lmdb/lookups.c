/*
 * lookups.c: parameter lookup entries.
 *
 * lookups: definition u32 BE, first 16 bytes of SHA-256 of the key text, 16 bytes of the row's hash, op id u64 BE
 *          -> key text (varint length, bytes), then packed (flag u8 ...; lmdb_pack) results
 *
 * An entry holds from its op id on, until the next one of the same row. "[]" says that the row gives nothing any more.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "storage/digest.h"
#include "storage/lmdb/lmdb.h"

#define PREFIX_KEY 20
#define PREFIX_ROW 36
#define LOOKUP_KEY 44

static void make_prefix(uint8_t to[LOOKUP_KEY], uint32_t definition, struct slice key)
{
	uint8_t full[32];
	sha256_slices(&key, 1, full);
	be32_put(to, definition);
	memcpy(to + 4, full, 16);
	memset(to + PREFIX_KEY, 0, LOOKUP_KEY - PREFIX_KEY);
}

/* Entries of the same row and key that no reader can need any more. */
static int delete_older(struct lmdb_backend *b, const uint8_t key[LOOKUP_KEY], uint64_t floor)
{
	uint8_t at[LOOKUP_KEY], victim[LOOKUP_KEY];
	MDB_cursor *cursor;
	bool have_victim = false;
	memcpy(at, key, LOOKUP_KEY);
	be64_put(at + PREFIX_ROW, 0);
	MDB_val k = val(at, LOOKUP_KEY), v;
	int rc = mdb_cursor_open(b->txn, b->lookups, &cursor);
	if (rc)
		return rc;
	rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
	while (!rc && k.mv_size == LOOKUP_KEY && memcmp(k.mv_data, key, PREFIX_ROW) == 0 &&
	       be64_get((uint8_t *)k.mv_data + PREFIX_ROW) <= floor) {
		uint8_t current[LOOKUP_KEY];
		memcpy(current, k.mv_data, LOOKUP_KEY);
		if (have_victim) {
			/* A newer one at or below the floor stands for it. */
			MDB_val old = val(victim, LOOKUP_KEY);
			if ((rc = mdb_del(b->txn, b->lookups, &old, NULL)))
				break;
			k = val(current, LOOKUP_KEY);
			if ((rc = mdb_cursor_get(cursor, &k, &v, MDB_SET)))
				break;
		}
		memcpy(victim, current, LOOKUP_KEY);
		have_victim = true;
		rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	if (rc && rc != MDB_NOTFOUND)
		return rc;
	if (have_victim && floor == UINT64_MAX) { /* nobody reads yet */
		MDB_val old = val(victim, LOOKUP_KEY);
		return mdb_del(b->txn, b->lookups, &old, NULL);
	}
	return 0;
}

bool lmdb_lookup_put(struct backend *base, const struct backend_lookup *l, struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	uint8_t key[LOOKUP_KEY];
	make_prefix(key, l->definition, l->key);
	memcpy(key + PREFIX_KEY, l->row, 16);
	be64_put(key + PREFIX_ROW, l->op_id);
	int rc = l->may_have_older ? delete_older(b, key, l->floor) : 0;
	if (!rc) {
		buf_clear(&b->value);
		buf_text(&b->value, l->key);
		lmdb_pack(b, &b->value, l->results);
		MDB_val k = val(key, LOOKUP_KEY), v = val(b->value.p, b->value.n);
		rc = mdb_put(b->txn, b->lookups, &k, &v, 0);
		b->row_bytes += LOOKUP_KEY + b->value.n;
	}
	return !rc || lmdb_fail(err, rc, "lookups");
}

static bool decode_entry(MDB_val v, struct slice key, bool *same_key, struct buf *scratch, struct slice *results)
{
	struct decoder d = decoder_of(val_slice(v));
	*same_key = slice_eq(decode_text(&d), key);
	return !d.bad && lmdb_unpack(slice_make(d.p, (size_t)(d.end - d.p)), scratch, results);
}

struct lookup_walk {
	struct slice key;
	lookup_result_fn each;
	void *ctx;
	struct buf scratch;
};

/* The newest entry of one row at or below the checkpoint. */
static bool emit(struct lookup_walk *w, MDB_val v)
{
	struct slice results;
	bool same;
	if (!v.mv_data)
		return true;
	if (!decode_entry(v, w->key, &same, &w->scratch, &results))
		return false;
	if (same && !slice_eq(results, SLICE("[]")))
		w->each(w->ctx, results);
	return true;
}

bool lmdb_read_lookup(struct storage_reader *base, uint32_t definition, struct slice key, uint64_t c, lookup_result_fn each,
                      void *ctx, struct error *err)
{
	struct lmdb_reader *r = (struct lmdb_reader *)base;
	struct lookup_walk w = {.key = key, .each = each, .ctx = ctx};
	uint8_t prefix[LOOKUP_KEY], row[16] = {0};
	MDB_cursor *cursor;
	make_prefix(prefix, definition, key);
	MDB_val k = val(prefix, LOOKUP_KEY), v, best = {0, NULL};
	int rc = mdb_cursor_open(r->txn, lmdb_of(base->backend)->lookups, &cursor);
	if (rc)
		return lmdb_fail(err, rc, "lookups");
	bool ok = true;
	for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE); !rc && ok; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
		const uint8_t *at = k.mv_data;
		if (k.mv_size != LOOKUP_KEY || memcmp(at, prefix, PREFIX_KEY) != 0)
			break;
		if (memcmp(at + PREFIX_KEY, row, 16) != 0) {
			ok = emit(&w, best);
			best = (MDB_val){0, NULL};
			memcpy(row, at + PREFIX_KEY, 16);
		}
		if (be64_get(at + PREFIX_ROW) <= c)
			best = v;
	}
	ok = ok && emit(&w, best);
	mdb_cursor_close(cursor);
	buf_free(&w.scratch);
	if (!ok)
		return lmdb_damaged(err, "a lookup entry");
	return !rc || rc == MDB_NOTFOUND || lmdb_fail(err, rc, "lookups");
}
