/*
 * ops.c: bucket operations (format: op_format.h).
 *
 * Operations of a transaction are gathered in memory and put in order of (bucket, op id), so that a page is searched for once. The more,
 * the fuller the pages of small buckets; but what is gathered and what is in the transaction's pages is memory of its own.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "storage/lmdb/op_format.h"

struct batch_op {
	uint32_t bucket, length;
	uint64_t op_id;
	size_t offset;
};

struct lmdb_batch {
	struct batch_op *items, *sorted;
	size_t count, cap, sorted_cap;
	struct buf bytes;
	size_t put; /* bytes of this transaction that are in the tree already */
};

void lmdb_batch_open(struct lmdb_backend *b)
{
	b->batch = xcalloc(1, sizeof(*b->batch));
}

void lmdb_batch_free(struct lmdb_backend *b)
{
	free(b->batch->items);
	free(b->batch->sorted);
	buf_free(&b->batch->bytes);
	free(b->batch);
}

#define BATCH_BYTES (8u * 1024 * 1024)
/* Above this an operation was unusual, and its memory is given back. */
#define BATCH_KEEP (16u * 1024 * 1024)

static void forget_gathered(struct lmdb_batch *batch)
{
	batch->count = 0;
	buf_clear(&batch->bytes);
	if (batch->bytes.cap > BATCH_KEEP)
		buf_free(&batch->bytes);
}

void lmdb_batch_clear(struct lmdb_backend *b)
{
	forget_gathered(b->batch);
	b->batch->put = 0;
}

static size_t gathered_bytes(const struct lmdb_batch *batch)
{
	return batch->bytes.n + batch->count * OP_KEY;
}

size_t lmdb_batch_bytes(const struct lmdb_backend *b)
{
	return b->batch->put + gathered_bytes(b->batch);
}

static void put_data(struct lmdb_backend *b, struct buf *out, size_t head_at, const struct backend_op *op)
{
	int form = DATA_PLAIN;
	size_t before = out->n;
	if (op->same_data_op) {
		form = DATA_REFERENCE;
		uint8_t *p = (uint8_t *)buf_reserve(out, OP_KEY);
		be32_put(p, op->same_data_bucket);
		be64_put(p + 4, op->same_data_op);
		out->n += OP_KEY;
	} else if (op->data.n > COMPRESS_ABOVE) {
		size_t room = ZSTD_compressBound(op->data.n);
		buf_varint(out, op->data.n);
		char *to = buf_reserve(out, room);
		size_t n = ZSTD_compressCCtx(b->zstd, to, room, op->data.p, op->data.n, 1);
		if (!ZSTD_isError(n) && n < op->data.n - op->data.n / 8) {
			form = DATA_ZSTD;
			out->n += n;
		} else {
			out->n = before;
		}
	}
	if (form == DATA_PLAIN)
		buf_slice_append(out, op->data);
	out->p[head_at] = (char)(out->p[head_at] | form << DATA_SHIFT);
}

static void put_references(struct buf *out, const struct backend_op *op)
{
	if (!op->reference_count)
		return;
	buf_varint(out, op->reference_count);
	for (size_t i = 0; i < op->reference_count; i++) {
		buf_varint(out, op->references[i].bucket);
		buf_varint(out, op->references[i].op_id - op->op_id);
	}
}

bool lmdb_op_add(struct backend *base, const struct backend_op *op, struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	struct lmdb_batch *batch = b->batch;
	struct buf *out = &batch->bytes;
	if (!lmdb_bucket_count(b, op, err))
		return false;
	size_t start = out->n;
	uint8_t *p = (uint8_t *)buf_reserve(out, 64 + op->object_id.n), *from = p;
	*p++ = (uint8_t)((unsigned)op->kind | (op->reference_count ? OP_SHARED : 0));
	be32_put(p, op->checksum);
	p = varint_put(p + 4, op->table);
	memcpy(p, op->uuid, 16);
	p = varint_put(p + 16, op->type);
	p = varint_put(p, op->object_id.n);
	if (op->object_id.n)
		memcpy(p, op->object_id.p, op->object_id.n);
	out->n += (size_t)(p - from) + op->object_id.n;
	if (op->kind == OP_PUT) {
		put_references(out, op);
		put_data(b, out, start, op);
	}
	if (out->n - start > UINT32_MAX)
		return error_set(err, "PSYNC_S1002", "an operation of more than 4 GiB cannot be stored");
	batch->items = xgrow(batch->items, batch->count, &batch->cap, sizeof(*batch->items));
	batch->items[batch->count++] = (struct batch_op){op->bucket, (uint32_t)(out->n - start), op->op_id, start};
	return gathered_bytes(batch) < BATCH_BYTES || lmdb_batch_flush(b, err);
}

#define DIGIT_BITS 11
#define DIGITS (1u << DIGIT_BITS)

/* By bucket, digit by digit from the last; op ids came in their order, and each pass keeps the order of equals. */
static void sort_batch(struct lmdb_batch *batch)
{
	uint32_t all = 0;
	for (size_t i = 0; i < batch->count; i++)
		all |= batch->items[i].bucket;
	if (batch->sorted_cap < batch->cap) {
		batch->sorted_cap = batch->cap;
		batch->sorted = xrealloc(batch->sorted, batch->cap * sizeof(*batch->sorted));
	}
	for (unsigned shift = 0; shift < 32 && all >> shift; shift += DIGIT_BITS) {
		uint32_t starts[DIGITS] = {0};
		for (size_t i = 0; i < batch->count; i++)
			starts[batch->items[i].bucket >> shift & (DIGITS - 1)]++;
		for (uint32_t d = 0, at = 0; d < DIGITS; d++) {
			uint32_t n = starts[d];
			starts[d] = at;
			at += n;
		}
		for (size_t i = 0; i < batch->count; i++)
			batch->sorted[starts[batch->items[i].bucket >> shift & (DIGITS - 1)]++] = batch->items[i];
		struct batch_op *items = batch->items;
		batch->items = batch->sorted;
		batch->sorted = items;
	}
}

bool lmdb_batch_flush(struct lmdb_backend *b, struct error *err)
{
	struct lmdb_batch *batch = b->batch;
	MDB_cursor *cursor;
	if (!batch->count)
		return true;
	sort_batch(batch);
	int rc = mdb_cursor_open(b->txn, b->ops, &cursor);
	if (rc)
		return lmdb_fail(err, rc, "ops");
	for (size_t i = 0; !rc && i < batch->count; i++) {
		const struct batch_op *op = &batch->items[i];
		uint8_t key[OP_KEY];
		be32_put(key, op->bucket);
		be64_put(key + 4, op->op_id);
		MDB_val k = val(key, OP_KEY), v = val(batch->bytes.p + op->offset, op->length);
		rc = mdb_cursor_put(cursor, &k, &v, 0);
	}
	mdb_cursor_close(cursor);
	batch->put += gathered_bytes(batch);
	forget_gathered(batch);
	return !rc || lmdb_fail(err, rc, "ops");
}

/* ---- reading ---- */

bool lmdb_read_checksum(struct storage_reader *base, uint32_t bucket, uint64_t c, struct bucket_checksum *out, struct error *err)
{
	struct lmdb_reader *r = (struct lmdb_reader *)base;
	struct lmdb_backend *b = lmdb_of(base->backend);
	struct bucket_totals totals;
	int got = lmdb_bucket_totals(r->txn, b, bucket, &totals, err);
	*out = (struct bucket_checksum){0, 0};
	if (got <= 0)
		return got == 0;
	if (totals.last_op > c) {
		uint8_t key[OP_KEY];
		MDB_cursor *cursor;
		be32_put(key, bucket);
		be64_put(key + 4, c + 1);
		MDB_val k = val(key, OP_KEY), v;
		int rc = mdb_cursor_open(r->txn, b->ops, &cursor);
		if (rc)
			return lmdb_fail(err, rc, "ops");
		for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE); !rc; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
			if (k.mv_size != OP_KEY || v.mv_size < 5 || memcmp(k.mv_data, key, 4) != 0)
				break;
			totals.count--;
			totals.sum -= be32_get((const uint8_t *)v.mv_data + 1);
		}
		mdb_cursor_close(cursor);
		if (rc && rc != MDB_NOTFOUND)
			return lmdb_fail(err, rc, "ops");
	}
	*out = (struct bucket_checksum){totals.sum, totals.count};
	return true;
}

struct lmdb_op_cursor {
	struct op_cursor base; /* first */
	MDB_txn *txn;
	MDB_cursor *cursor;
	uint8_t start[OP_KEY];
	uint64_t up_to;
	bool started;
	struct buf text; /* of compressed data */
};

/* Data of the PUT whose decoder stands behind the object id. */
static bool read_data(struct lmdb_op_cursor *c, struct decoder *d, int form, struct slice *out, bool may_refer)
{
	if (form == DATA_PLAIN) {
		*out = decode_rest(d);
		return !d->bad;
	}
	if (form == DATA_ZSTD) {
		uint64_t n = decode_varint(d);
		struct slice rest = decode_rest(d);
		if (d->bad || n > UINT32_MAX)
			return false;
		buf_clear(&c->text);
		char *to = buf_reserve(&c->text, n);
		*out = slice_make(to, n);
		return ZSTD_decompress(to, n, rest.p, rest.n) == n;
	}
	struct slice key = decode_bytes(d, OP_KEY);
	if (d->bad || !may_refer)
		return false;
	MDB_val k = val(key.p, key.n), v;
	if (mdb_get(c->txn, lmdb_of(c->base.backend)->ops, &k, &v))
		return false;
	struct decoder owner = decoder_of(val_slice(v));
	uint8_t head = decode_u8(&owner);
	decode_bytes(&owner, 4);
	op_skip_row(&owner);
	if (head & OP_SHARED)
		op_skip_references(&owner);
	return !owner.bad && (head & 3) == OP_PUT && read_data(c, &owner, head >> DATA_SHIFT & 3, out, false);
}

static bool decode_op(struct lmdb_op_cursor *c, struct slice value, struct op_view *out)
{
	struct decoder d = decoder_of(value);
	uint8_t head = decode_u8(&d);
	struct slice sum = decode_bytes(&d, 4);
	if (d.bad)
		return false;
	out->kind = (enum op_kind)(head & 3);
	out->checksum = be32_get(sum.p);
	if (out->kind == OP_MOVE || out->kind == OP_CLEAR) {
		out->target_op = decode_varint(&d);
		return !d.bad;
	}
	uint32_t table = (uint32_t)decode_varint(&d);
	out->subkey_table = table ? names_get(c->base.backend->tables, table).p : "";
	out->subkey_uuid = (const uint8_t *)decode_bytes(&d, 16).p;
	out->object_type = names_get(c->base.backend->types, (uint32_t)decode_varint(&d));
	out->object_id = decode_text(&d);
	if (d.bad || !out->subkey_table || !out->object_type.p)
		return false;
	if (head & OP_SHARED)
		op_skip_references(&d);
	return out->kind != OP_PUT || read_data(c, &d, head >> DATA_SHIFT & 3, &out->data, true);
}

static int cursor_next(struct op_cursor *base, struct op_view *out, struct error *err)
{
	struct lmdb_op_cursor *c = (struct lmdb_op_cursor *)base;
	MDB_val k = val(c->start, OP_KEY), v;
	int rc = mdb_cursor_get(c->cursor, &k, &v, c->started ? MDB_NEXT : MDB_SET_RANGE);
	c->started = true;
	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc) {
		lmdb_fail(err, rc, "ops");
		return -1;
	}
	if (k.mv_size != OP_KEY || memcmp(k.mv_data, c->start, 4) != 0)
		return 0;
	*out = (struct op_view){.op_id = be64_get((const uint8_t *)k.mv_data + 4)};
	if (out->op_id > c->up_to)
		return 0;
	if (!decode_op(c, val_slice(v), out)) {
		lmdb_damaged(err, "an operation cannot be read");
		return -1;
	}
	return 1;
}

static void cursor_close(struct op_cursor *base)
{
	struct lmdb_op_cursor *c = (struct lmdb_op_cursor *)base;
	mdb_cursor_close(c->cursor);
	buf_free(&c->text);
	free(c);
}

struct op_cursor *lmdb_read_ops(struct storage_reader *base, uint32_t bucket, uint64_t after, uint64_t up_to, struct error *err)
{
	struct lmdb_reader *r = (struct lmdb_reader *)base;
	struct lmdb_op_cursor *c = xcalloc(1, sizeof(*c));
	c->base = (struct op_cursor){base->backend, cursor_next, cursor_close};
	c->txn = r->txn;
	c->up_to = up_to;
	be32_put(c->start, bucket);
	be64_put(c->start + 4, after == UINT64_MAX ? after : after + 1);
	int rc = mdb_cursor_open(r->txn, lmdb_of(base->backend)->ops, &c->cursor);
	if (rc) {
		free(c);
		lmdb_fail(err, rc, "ops");
		return NULL;
	}
	return &c->base;
}
