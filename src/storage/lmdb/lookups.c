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
	const struct lookup_read *keys;
	size_t index; /* of the key at hand */
	uint64_t c;
	lookup_result_fn each;
	void *ctx;
	size_t emitted;
	struct buf scratch;
};

/* The newest entry of one row at or below the checkpoint. */
static bool emit(struct lookup_walk *w, MDB_val v)
{
	struct slice results;
	bool same;
	if (!v.mv_data)
		return true;
	if (!decode_entry(v, w->keys[w->index].key, &same, &w->scratch, &results))
		return false;
	if (!same || slice_eq(results, SLICE("[]")))
		return true;
	w->each(w->ctx, w->index, results);
	w->emitted++;
	return true;
}

static bool walk_key(struct lookup_walk *w, MDB_cursor *cursor, struct error *err)
{
	uint8_t prefix[LOOKUP_KEY], row[16] = {0};
	make_prefix(prefix, w->keys[w->index].definition, w->keys[w->index].key);
	MDB_val k = val(prefix, LOOKUP_KEY), v, best = {0, NULL};
	bool ok = true;
	int rc;
	for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE); !rc && ok; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
		const uint8_t *at = k.mv_data;
		if (k.mv_size != LOOKUP_KEY || memcmp(at, prefix, PREFIX_KEY) != 0)
			break;
		if (memcmp(at + PREFIX_KEY, row, 16) != 0) {
			ok = emit(w, best);
			best = (MDB_val){0, NULL};
			memcpy(row, at + PREFIX_KEY, 16);
		}
		if (be64_get(at + PREFIX_ROW) <= w->c)
			best = v;
	}
	if (!ok || !emit(w, best))
		return lmdb_damaged(err, "a lookup entry");
	return !rc || rc == MDB_NOTFOUND || lmdb_fail(err, rc, "lookups");
}

bool lmdb_read_lookups(struct storage_reader *base, const struct lookup_read *keys, size_t count, uint64_t c, size_t max_rows,
                       lookup_result_fn each, void *ctx, struct error *err)
{
	struct lmdb_reader *r = (struct lmdb_reader *)base;
	struct lookup_walk w = {.keys = keys, .c = c, .each = each, .ctx = ctx};
	MDB_cursor *cursor;
	int rc = mdb_cursor_open(r->txn, lmdb_of(base->backend)->lookups, &cursor);
	if (rc)
		return lmdb_fail(err, rc, "lookups");
	bool ok = true;
	for (; ok && w.index < count && w.emitted <= max_rows; w.index++)
		ok = walk_key(&w, cursor, err);
	mdb_cursor_close(cursor);
	buf_free(&w.scratch);
	return ok;
}

/* ---- compaction ---- */

struct dead_walk {
	struct arena *arena;
	struct slice *keys;
	size_t count;
	uint8_t newest[LOOKUP_KEY]; /* at or below the floor, of the row that is looked at */
	bool have_newest, newest_empty;
};

/* The row's entries end here: the newest one is needed only if it says something. */
static void end_row(struct dead_walk *w)
{
	if (w->have_newest && w->newest_empty)
		w->keys[w->count++] = arena_copy(w->arena, slice_make(w->newest, LOOKUP_KEY));
	w->have_newest = false;
}

static bool look_at(struct dead_walk *w, MDB_val k, MDB_val v, uint64_t floor, struct buf *scratch)
{
	struct slice results;
	struct decoder d = decoder_of(val_slice(v));
	if (k.mv_size != LOOKUP_KEY)
		return false;
	if (w->have_newest && memcmp(w->newest, k.mv_data, PREFIX_ROW) != 0)
		end_row(w);
	if (be64_get((const uint8_t *)k.mv_data + PREFIX_ROW) > floor)
		return true;
	if (w->have_newest)
		w->keys[w->count++] = arena_copy(w->arena, slice_make(w->newest, LOOKUP_KEY));
	decode_text(&d);
	if (d.bad || !lmdb_unpack(slice_make(d.p, (size_t)(d.end - d.p)), scratch, &results))
		return false;
	memcpy(w->newest, k.mv_data, LOOKUP_KEY);
	w->have_newest = true;
	w->newest_empty = slice_eq(results, SLICE("[]"));
	return true;
}

/* The cursor is the place to begin at. A step ends between two rows, so that each is seen whole. */
bool lmdb_lookups_dead(struct storage_reader *base, struct buf *at, uint64_t floor, size_t max, struct arena *arena,
                       struct slice **keys, size_t *count, bool *more, struct error *err)
{
	struct lmdb_reader *r = (struct lmdb_reader *)base;
	struct dead_walk w = {.arena = arena, .keys = arena_array(arena, struct slice, 4 * max + 2)};
	struct buf scratch = {0};
	uint8_t first[1] = {0}, row[PREFIX_ROW];
	MDB_cursor *cursor;
	MDB_val k = at->n ? val(at->p, at->n) : val(first, 1), v;
	int rc = mdb_cursor_open(r->txn, lmdb_of(base->backend)->lookups, &cursor);
	if (rc)
		return lmdb_fail(err, rc, "lookups");
	bool ok = true;
	size_t seen = 0;
	*more = false;
	for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE); !rc && ok; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
		bool other = k.mv_size != LOOKUP_KEY || !seen || memcmp(row, k.mv_data, PREFIX_ROW) != 0;
		/* A row with more entries than a step may hold goes on in the next one, from its newest entry seen. */
		if ((seen >= max && other) || w.count >= 4 * max) {
			*more = true;
			break;
		}
		ok = look_at(&w, k, v, floor, &scratch);
		if (ok && other)
			memcpy(row, k.mv_data, PREFIX_ROW);
		seen++;
	}
	if (*more && w.have_newest && memcmp(w.newest, k.mv_data, PREFIX_ROW) == 0) {
		buf_clear(at);
		buf_append(at, w.newest, LOOKUP_KEY);
	} else {
		end_row(&w);
		buf_clear(at);
		if (*more)
			buf_append(at, k.mv_data, k.mv_size);
	}
	mdb_cursor_close(cursor);
	buf_free(&scratch);
	*keys = w.keys;
	*count = w.count;
	if (!ok)
		return lmdb_damaged(err, "a lookup entry");
	return !rc || rc == MDB_NOTFOUND || lmdb_fail(err, rc, "lookups");
}

bool lmdb_lookups_delete(struct backend *base, const struct slice *keys, size_t count, struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	int rc = 0;
	for (size_t i = 0; i < count && (!rc || rc == MDB_NOTFOUND); i++) { /* the writer may have been faster */
		MDB_val k = val(keys[i].p, keys[i].n);
		rc = mdb_del(b->txn, b->lookups, &k, NULL);
	}
	return !rc || rc == MDB_NOTFOUND || lmdb_fail(err, rc, "lookups");
}
