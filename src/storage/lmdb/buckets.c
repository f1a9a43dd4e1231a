/*
 * buckets.c: bucket numbers and totals.
 *
 * bucket_names: u8 1, definition u32 BE, keys text -> number u32 BE
 *               u8 2, definition u32 BE, SHA-256 of the keys text (when it is over KEYS_IN_KEY bytes) -> number u32 BE, keys text
 * buckets:      number u32 BE -> count u64, last op id u64, dead u64, sum u32, definition u32 (big-endian all), keys text
 *
 * count and sum are over all operations that the database holds for the bucket, so a checksum at C is these less what is above C.
 *
 * dead: how many of them a compaction can probably take away: since the last one, a PUT that replaces one makes one, a REMOVE two.
 *
 * The writer keeps the buckets that it met in memory (a cache of what is stored, with the totals of the open batch added) and writes
 * the changed ones once per transaction.
 */
#include <stdlib.h>
#include <uthash.h>

#include "base/alloc.h"
#include "storage/digest.h"
#include "storage/lmdb/lmdb.h"

#define KEYS_IN_KEY 480
#define CACHE_MAX 200000
#define META_LAST_BUCKET 100
#define BUCKET_HEAD 32

struct cached_bucket {
	uint32_t number, definition;
	struct bucket_totals totals;
	bool dirty, fresh; /* fresh: its name is not stored yet */
	struct slice name; /* definition and keys, for the hash */
	struct cached_bucket *next_dirty;
	UT_hash_handle by_name, by_number;
};

/* Rows of a table go to few buckets again and again: those met last are found without hashing. */
#define RECENT 64

struct lmdb_buckets {
	struct cached_bucket *names, *numbers, *dirty;
	struct cached_bucket *recent_names[RECENT], *recent_numbers[RECENT]; /* by definition, by number; NULL or in the cache */
	struct arena arena;
	struct buf scratch;
	uint32_t last, last_committed;
};

static struct slice keys_of(const struct cached_bucket *c)
{
	return slice_drop(c->name, 4);
}

static bool load_last(void *ctx, uint32_t number, struct slice value, struct error *err)
{
	struct lmdb_buckets *cache = ctx;
	if (number != META_LAST_BUCKET)
		return true;
	struct decoder d = decoder_of(value);
	cache->last = cache->last_committed = (uint32_t)decode_varint(&d);
	return !d.bad || lmdb_damaged(err, "the last bucket number");
}

bool lmdb_buckets_open(struct lmdb_backend *b, struct error *err)
{
	b->cache = xcalloc(1, sizeof(*b->cache));
	return b->base.ops->small_each(&b->base, SMALL_META, load_last, b->cache, err);
}

static void clear_cache(struct lmdb_buckets *cache)
{
	HASH_CLEAR(by_name, cache->names);
	HASH_CLEAR(by_number, cache->numbers);
	memset(cache->recent_names, 0, sizeof(cache->recent_names));
	memset(cache->recent_numbers, 0, sizeof(cache->recent_numbers));
	cache->dirty = NULL;
	arena_reset(&cache->arena);
}

void lmdb_buckets_free(struct lmdb_backend *b)
{
	if (!b->cache)
		return;
	clear_cache(b->cache);
	arena_free(&b->cache->arena);
	buf_free(&b->cache->scratch);
	free(b->cache);
}

/* Key of bucket_names; answers its length. */
static size_t name_key(uint8_t key[KEY_MAX_SIZE], uint32_t definition, struct slice keys)
{
	be32_put(key + 1, definition);
	if (keys.n <= KEYS_IN_KEY) {
		key[0] = 1;
		if (keys.n)
			memcpy(key + 5, keys.p, keys.n);
		return 5 + keys.n;
	}
	key[0] = 2;
	sha256_slices(&keys, 1, key + 5);
	return 5 + 32;
}

/* The stored number: 1, 0 or -1. */
static int find_number(struct lmdb_backend *b, MDB_txn *txn, uint32_t definition, struct slice keys, uint32_t *number,
                       struct error *err)
{
	uint8_t key[KEY_MAX_SIZE];
	MDB_val k = val(key, name_key(key, definition, keys)), v;
	int rc = mdb_get(txn, b->bucket_names, &k, &v);
	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc) {
		lmdb_fail(err, rc, "bucket_names");
		return -1;
	}
	if (v.mv_size < 4 || (key[0] == 2 && !slice_eq(slice_drop(val_slice(v), 4), keys))) {
		lmdb_damaged(err, "a bucket name");
		return -1;
	}
	*number = be32_get(v.mv_data);
	return 1;
}

static int read_bucket_record(struct lmdb_backend *b, MDB_txn *txn, uint32_t number, MDB_val *v, struct error *err)
{
	uint8_t key[4];
	be32_put(key, number);
	MDB_val k = val(key, 4);
	int rc = mdb_get(txn, b->buckets, &k, v);
	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc)
		lmdb_fail(err, rc, "buckets");
	else if (v->mv_size < BUCKET_HEAD)
		lmdb_damaged(err, "a bucket");
	return rc || v->mv_size < BUCKET_HEAD ? -1 : 1;
}

static void decode_totals(const uint8_t *p, struct bucket_totals *out)
{
	out->count = be64_get(p);
	out->last_op = be64_get(p + 8);
	out->dead = be64_get(p + 16);
	out->sum = be32_get(p + 24);
}

int lmdb_bucket_totals(MDB_txn *txn, struct lmdb_backend *b, uint32_t number, struct bucket_totals *out, struct error *err)
{
	MDB_val v;
	int got = read_bucket_record(b, txn, number, &v, err);
	if (got > 0)
		decode_totals(v.mv_data, out);
	return got;
}

uint32_t lmdb_read_bucket(struct storage_reader *base, uint32_t definition, struct slice keys)
{
	struct lmdb_reader *r = (struct lmdb_reader *)base;
	uint32_t number;
	return find_number(lmdb_of(base->backend), r->txn, definition, keys, &number, NULL) == 1 ? number : 0;
}

bool lmdb_read_bucket_name(struct storage_reader *base, uint32_t bucket, uint32_t *definition, struct slice *keys)
{
	struct lmdb_reader *r = (struct lmdb_reader *)base;
	MDB_val v;
	if (read_bucket_record(lmdb_of(base->backend), r->txn, bucket, &v, NULL) != 1)
		return false;
	*definition = be32_get((const uint8_t *)v.mv_data + 28);
	*keys = slice_drop(val_slice(v), BUCKET_HEAD);
	return true;
}

/* ---- the writer's cache ---- */

static struct cached_bucket *cache_add(struct lmdb_buckets *cache, uint32_t number, uint32_t definition, struct slice keys)
{
	struct cached_bucket *c = arena_calloc(&cache->arena, sizeof(*c));
	char *name = arena_bytes(&cache->arena, 4 + keys.n);
	memcpy(name, &definition, 4);
	if (keys.n)
		memcpy(name + 4, keys.p, keys.n);
	c->number = number;
	c->definition = definition;
	c->name = slice_make(name, 4 + keys.n);
	HASH_ADD_KEYPTR(by_name, cache->names, c->name.p, c->name.n, c);
	HASH_ADD(by_number, cache->numbers, number, sizeof(c->number), c);
	return c;
}

static struct cached_bucket *cache_find(struct lmdb_buckets *cache, uint32_t definition, struct slice keys)
{
	struct cached_bucket *c, **recent = &cache->recent_names[definition % RECENT];
	if (*recent && (*recent)->definition == definition && slice_eq(keys_of(*recent), keys))
		return *recent;
	buf_clear(&cache->scratch);
	buf_append(&cache->scratch, &definition, 4);
	buf_append(&cache->scratch, keys.p, keys.n);
	HASH_FIND(by_name, cache->names, cache->scratch.p, cache->scratch.n, c);
	if (c)
		*recent = c;
	return c;
}

/* The bucket as the writer sees it; NULL with an error. */
static struct cached_bucket *cache_load(struct lmdb_backend *b, uint32_t number, struct error *err)
{
	struct cached_bucket **recent = &b->cache->recent_numbers[number % RECENT], *c = *recent;
	if (c && c->number == number)
		return c;
	HASH_FIND(by_number, b->cache->numbers, &number, sizeof(number), c);
	if (c)
		return *recent = c;
	MDB_val v;
	int got = read_bucket_record(b, b->txn, number, &v, err);
	if (got == 0)
		lmdb_damaged(err, "a bucket is missing");
	if (got <= 0)
		return NULL;
	const uint8_t *p = v.mv_data;
	c = cache_add(b->cache, number, be32_get(p + 28), slice_drop(val_slice(v), BUCKET_HEAD));
	decode_totals(p, &c->totals);
	return c;
}

bool lmdb_bucket_number(struct backend *base, uint32_t definition, struct slice keys, uint32_t *number, struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	struct lmdb_buckets *cache = b->cache;
	struct cached_bucket *c = cache_find(cache, definition, keys);
	if (!c) {
		uint32_t known;
		int got = find_number(b, b->txn, definition, keys, &known, err);
		if (got < 0)
			return false;
		if (got > 0) {
			c = cache_load(b, known, err);
		} else if (cache->last == UINT32_MAX) {
			return error_set(err, "PSYNC_S2404", "the store cannot hold more buckets");
		} else {
			c = cache_add(cache, ++cache->last, definition, keys);
			c->fresh = true;
		}
		if (!c)
			return false;
	}
	cache->recent_numbers[c->number % RECENT] = c; /* its operation follows */
	*number = c->number;
	return true;
}

int lmdb_bucket_definition(struct backend *base, uint32_t number, uint32_t *definition, struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	struct cached_bucket *c;
	MDB_val v;
	HASH_FIND(by_number, b->cache->numbers, &number, sizeof(number), c);
	if (!c) {
		int got = read_bucket_record(b, b->txn, number, &v, err);
		if (got <= 0)
			return got;
		c = cache_load(b, number, err);
	}
	if (c)
		*definition = c->definition;
	return c ? 1 : -1;
}

static void mark_dirty(struct lmdb_backend *b, struct cached_bucket *c)
{
	if (c->dirty)
		return;
	c->dirty = true;
	c->next_dirty = b->cache->dirty;
	b->cache->dirty = c;
}

bool lmdb_bucket_count(struct lmdb_backend *b, const struct backend_op *op, struct error *err)
{
	struct cached_bucket *c = cache_load(b, op->bucket, err);
	if (!c)
		return false;
	c->totals.count++;
	c->totals.dead += op->makes_dead;
	c->totals.sum += op->checksum;
	c->totals.last_op = op->op_id;
	mark_dirty(b, c);
	return true;
}

bool lmdb_bucket_shrink(struct lmdb_backend *b, uint32_t number, uint64_t removed, struct error *err)
{
	struct cached_bucket *c = cache_load(b, number, err);
	if (!c)
		return false;
	if (c->totals.count < removed)
		return lmdb_damaged(err, "a bucket counts fewer operations than it has");
	c->totals.count -= removed;
	mark_dirty(b, c);
	return true;
}

bool lmdb_bucket_compacted(struct backend *base, uint32_t number, uint64_t dead, struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	struct cached_bucket *c = cache_load(b, number, err);
	if (!c)
		return false;
	if (c->totals.dead > dead) {
		c->totals.dead = dead;
		mark_dirty(b, c);
	}
	return true;
}

/* ---- maintenance ---- */

bool lmdb_buckets_scan(struct storage_reader *base, uint32_t after, size_t max, struct bucket_info *out, size_t *count,
                       struct error *err)
{
	struct lmdb_reader *r = (struct lmdb_reader *)base;
	uint8_t key[4];
	MDB_cursor *cursor;
	*count = 0;
	if (after == UINT32_MAX)
		return true;
	be32_put(key, after + 1);
	MDB_val k = val(key, 4), v;
	int rc = mdb_cursor_open(r->txn, lmdb_of(base->backend)->buckets, &cursor);
	if (rc)
		return lmdb_fail(err, rc, "buckets");
	for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE); !rc && *count < max;
	     rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
		struct bucket_totals totals;
		if (k.mv_size != 4 || v.mv_size < BUCKET_HEAD) {
			mdb_cursor_close(cursor);
			return lmdb_damaged(err, "a bucket");
		}
		decode_totals(v.mv_data, &totals);
		out[(*count)++] = (struct bucket_info){.number = be32_get(k.mv_data),
		                                       .definition = be32_get((const uint8_t *)v.mv_data + 28),
		                                       .count = totals.count,
		                                       .dead = totals.dead,
		                                       .last_op = totals.last_op};
	}
	mdb_cursor_close(cursor);
	return !rc || rc == MDB_NOTFOUND || lmdb_fail(err, rc, "buckets");
}

bool lmdb_bucket_forget(struct lmdb_backend *b, uint32_t number, struct error *err)
{
	uint8_t key[KEY_MAX_SIZE], number_key[4];
	struct cached_bucket *c = cache_load(b, number, err);
	if (!c)
		return false;
	be32_put(number_key, number);
	MDB_val k = val(key, name_key(key, c->definition, keys_of(c)));
	int rc = mdb_del(b->txn, b->bucket_names, &k, NULL);
	if (!rc || rc == MDB_NOTFOUND) {
		k = val(number_key, 4);
		rc = mdb_del(b->txn, b->buckets, &k, NULL);
	}
	HASH_DELETE(by_name, b->cache->names, c);
	HASH_DELETE(by_number, b->cache->numbers, c);
	b->cache->recent_names[c->definition % RECENT] = b->cache->recent_numbers[number % RECENT] = NULL;
	return !rc || lmdb_fail(err, rc, "buckets");
}

static int compare_numbers(const void *a, const void *b)
{
	const struct cached_bucket *x = *(struct cached_bucket *const *)a, *y = *(struct cached_bucket *const *)b;
	return x->number < y->number ? -1 : x->number > y->number;
}

static int put_bucket(struct lmdb_backend *b, const struct cached_bucket *c)
{
	uint8_t key[KEY_MAX_SIZE], head[BUCKET_HEAD];
	struct slice keys = keys_of(c);
	be64_put(head, c->totals.count);
	be64_put(head + 8, c->totals.last_op);
	be64_put(head + 16, c->totals.dead);
	be32_put(head + 24, c->totals.sum);
	be32_put(head + 28, c->definition);
	buf_clear(&b->value);
	buf_append(&b->value, head, sizeof(head));
	buf_slice_append(&b->value, keys);
	be32_put(key, c->number);
	MDB_val k = val(key, 4), v = val(b->value.p, b->value.n);
	int rc = mdb_put(b->txn, b->buckets, &k, &v, 0);
	if (rc || !c->fresh)
		return rc;
	k = val(key, name_key(key, c->definition, keys));
	buf_clear(&b->value);
	be32_put(buf_reserve(&b->value, 4), c->number);
	b->value.n = 4;
	if (key[0] == 2)
		buf_slice_append(&b->value, keys);
	v = val(b->value.p, b->value.n);
	return mdb_put(b->txn, b->bucket_names, &k, &v, 0);
}

bool lmdb_buckets_flush(struct lmdb_backend *b, struct error *err)
{
	struct lmdb_buckets *cache = b->cache;
	size_t count = 0;
	for (struct cached_bucket *c = cache->dirty; c; c = c->next_dirty)
		count++;
	struct cached_bucket **sorted = xmalloc(count * sizeof(*sorted));
	size_t at = 0;
	for (struct cached_bucket *c = cache->dirty; c; c = c->next_dirty)
		sorted[at++] = c;
	qsort(sorted, count, sizeof(*sorted), compare_numbers);
	int rc = 0;
	for (size_t i = 0; !rc && i < count; i++)
		rc = put_bucket(b, sorted[i]);
	free(sorted);
	if (rc)
		return lmdb_fail(err, rc, "buckets");
	if (cache->last == cache->last_committed)
		return true;
	uint8_t last[VARINT_MAX];
	size_t n = (size_t)(varint_put(last, cache->last) - last);
	return b->base.ops->small_put(&b->base, SMALL_META, META_LAST_BUCKET, slice_make(last, n), err);
}

void lmdb_buckets_committed(struct lmdb_backend *b, struct changed_buckets *changed)
{
	struct lmdb_buckets *cache = b->cache;
	for (struct cached_bucket *c = cache->dirty; c; c = c->next_dirty) {
		changed->items = xgrow(changed->items, changed->count, &changed->cap, sizeof(*changed->items));
		changed->items[changed->count++] = c->number;
		c->dirty = c->fresh = false;
	}
	cache->dirty = NULL;
	cache->last_committed = cache->last;
	if (HASH_CNT(by_number, cache->numbers) > CACHE_MAX)
		clear_cache(cache);
}

void lmdb_buckets_rollback(struct lmdb_backend *b)
{
	if (!b->cache)
		return;
	/* An abort without any change (end of a read-only look) keeps the cache. */
	if (b->cache->dirty || b->cache->last != b->cache->last_committed)
		clear_cache(b->cache);
	b->cache->last = b->cache->last_committed;
}
