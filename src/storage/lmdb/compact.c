/*
 * compact.c: what compaction and removal do to operations and lookups. Each function does a bounded amount within the writer's
 * transaction, or only reads.
 */
#define _GNU_SOURCE /* madvise */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "storage/lmdb/op_format.h"

/* ---- reading backwards ---- */

bool lmdb_read_ops_back(struct storage_reader *base, uint32_t bucket, uint64_t up_to, size_t max, struct arena *arena,
                        struct compact_op **ops, size_t *count, struct error *err)
{
	struct lmdb_reader *r = (struct lmdb_reader *)base;
	uint8_t key[OP_KEY];
	MDB_cursor *cursor;
	MDB_val k = val(key, OP_KEY), v;
	struct compact_op *out = *ops = arena_array(arena, struct compact_op, max + 1);
	*count = 0;
	op_key(key, bucket, up_to);
	int rc = mdb_cursor_open(r->txn, lmdb_of(base->backend)->ops, &cursor);
	if (rc)
		return lmdb_fail(err, rc, "ops");
	rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
	/* At or behind the place: one step back unless it is the operation itself. */
	if (rc == MDB_NOTFOUND)
		rc = mdb_cursor_get(cursor, &k, &v, MDB_LAST);
	else if (!rc && (k.mv_size != OP_KEY || memcmp(k.mv_data, key, OP_KEY) != 0))
		rc = mdb_cursor_get(cursor, &k, &v, MDB_PREV);
	bool ok = true;
	for (; !rc && ok && *count < max; rc = mdb_cursor_get(cursor, &k, &v, MDB_PREV)) {
		struct stored_op op;
		if (k.mv_size != OP_KEY || memcmp(k.mv_data, key, 4) != 0)
			break;
		ok = op_parse(val_slice(v), &op);
		if (ok)
			out[(*count)++] = (struct compact_op){.op_id = be64_get((const uint8_t *)k.mv_data + 4),
			                                      .kind = op.kind,
			                                      .row = arena_copy(arena, op.row)};
	}
	mdb_cursor_close(cursor);
	if (!ok)
		return lmdb_damaged(err, "an operation cannot be read");
	return !rc || rc == MDB_NOTFOUND || lmdb_fail(err, rc, "ops");
}

/* ---- texts that others refer to ---- */

struct place_list {
	struct op_place *items;
	size_t count, cap;
};

/* A copy of the stored operation, because the next write moves it: 1, 0 or -1. */
static int load_op(struct lmdb_backend *b, uint32_t bucket, uint64_t op_id, struct buf *copy, struct stored_op *op,
                   struct error *err)
{
	uint8_t key[OP_KEY];
	op_key(key, bucket, op_id);
	MDB_val k = val(key, OP_KEY), v;
	int rc = mdb_get(b->txn, b->ops, &k, &v);
	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc) {
		lmdb_fail(err, rc, "ops");
		return -1;
	}
	buf_clear(copy);
	buf_append(copy, v.mv_data, v.mv_size);
	if (!op_parse(buf_slice(copy), op)) {
		lmdb_damaged(err, "an operation cannot be read");
		return -1;
	}
	return 1;
}

static bool store_op(struct lmdb_backend *b, uint32_t bucket, uint64_t op_id, struct slice value, struct error *err)
{
	uint8_t key[OP_KEY];
	op_key(key, bucket, op_id);
	MDB_val k = val(key, OP_KEY), v = val(value.p, value.n);
	int rc = mdb_put(b->txn, b->ops, &k, &v, 0);
	return !rc || lmdb_fail(err, rc, "ops");
}

static void put_head(struct buf *out, const struct stored_op *op, bool shared)
{
	uint8_t sum[4];
	be32_put(sum, op->checksum);
	buf_putc(out, (char)((int)op->kind | op->form << DATA_SHIFT | (shared ? OP_SHARED : 0)));
	buf_append(out, sum, 4);
	buf_slice_append(out, op->row);
}

/* The operations that still refer to the one at this place. */
static bool referring(struct lmdb_backend *b, uint32_t bucket, uint64_t op_id, const struct stored_op *op, struct place_list *out,
                      struct error *err)
{
	uint8_t key[OP_KEY];
	struct decoder d = decoder_of(op->references);
	struct buf copy = {0};
	bool ok = true;
	op_key(key, bucket, op_id);
	for (uint64_t n = op->references.n ? decode_varint(&d) : 0; ok && n > 0; n--) {
		uint32_t to_bucket = (uint32_t)decode_varint(&d);
		uint64_t to_op = op_id + decode_varint(&d);
		struct stored_op to;
		int got = load_op(b, to_bucket, to_op, &copy, &to, err);
		ok = got >= 0;
		if (got <= 0 || to.kind != OP_PUT || to.form != DATA_REFERENCE || memcmp(to.data.p, key, OP_KEY) != 0)
			continue;
		out->items = xgrow(out->items, out->count, &out->cap, sizeof(*out->items));
		out->items[out->count++] = (struct op_place){to_bucket, to_op};
	}
	buf_free(&copy);
	return ok;
}

/* The first of them gets the text and the others. */
static bool inherit(struct lmdb_backend *b, const struct stored_op *op, const struct place_list *heirs, struct error *err)
{
	const struct op_place *first = &heirs->items[0];
	struct stored_op heir;
	struct buf copy = {0}, value = {0};
	bool ok = load_op(b, first->bucket, first->op_id, &copy, &heir, err) > 0;
	if (ok) {
		heir.form = op->form;
		put_head(&value, &heir, heirs->count > 1);
		if (heirs->count > 1)
			buf_varint(&value, heirs->count - 1);
		for (size_t i = 1; i < heirs->count; i++) {
			buf_varint(&value, heirs->items[i].bucket);
			buf_varint(&value, heirs->items[i].op_id - first->op_id);
		}
		buf_slice_append(&value, op->data);
		ok = store_op(b, first->bucket, first->op_id, buf_slice(&value), err);
	}
	for (size_t i = 1; ok && i < heirs->count; i++) {
		struct stored_op other;
		ok = load_op(b, heirs->items[i].bucket, heirs->items[i].op_id, &copy, &other, err) > 0;
		if (!ok)
			break;
		op_key((uint8_t *)copy.p + copy.n - OP_KEY, first->bucket, first->op_id);
		ok = store_op(b, heirs->items[i].bucket, heirs->items[i].op_id, buf_slice(&copy), err);
	}
	buf_free(&copy);
	buf_free(&value);
	return ok;
}

static bool give_text(struct lmdb_backend *b, uint32_t bucket, uint64_t op_id, const struct stored_op *op, struct error *err)
{
	struct place_list heirs = {0};
	if (!op->shared)
		return true;
	bool ok = referring(b, bucket, op_id, op, &heirs, err) && (!heirs.count || inherit(b, op, &heirs, err));
	free(heirs.items);
	return ok;
}

/* ---- MOVE and CLEAR ---- */

static size_t put_without_row(uint8_t to[5 + VARINT_MAX], enum op_kind kind, uint32_t checksum, uint64_t target)
{
	to[0] = (uint8_t)kind;
	be32_put(to + 1, checksum);
	return (size_t)(varint_put(to + 5, target) - to);
}

bool lmdb_ops_move(struct backend *base, uint32_t bucket, const struct op_move *moves, size_t count, struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	struct buf copy = {0};
	bool ok = true;
	for (size_t i = 0; ok && i < count; i++) {
		struct stored_op op;
		uint8_t value[5 + VARINT_MAX];
		int got = load_op(b, bucket, moves[i].op_id, &copy, &op, err);
		if (got == 0)
			lmdb_damaged(err, "an operation is missing");
		ok = got > 0;
		if (!ok || op.kind == OP_MOVE || op.kind == OP_CLEAR)
			continue;
		size_t n = put_without_row(value, OP_MOVE, op.checksum, moves[i].target);
		ok = give_text(b, bucket, moves[i].op_id, &op, err) &&
		     store_op(b, bucket, moves[i].op_id, slice_make(value, n), err);
	}
	buf_free(&copy);
	return ok;
}

bool lmdb_ops_clear(struct backend *base, uint32_t bucket, uint64_t up_to, size_t max, bool *more, uint64_t *removed,
                    struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	uint8_t key[OP_KEY], value[5 + VARINT_MAX];
	MDB_cursor *cursor;
	MDB_val k = val(key, OP_KEY), v;
	uint32_t sum = 0;
	uint64_t target = 0, last = 0;
	size_t count = 0;
	*more = false;
	op_key(key, bucket, 0);
	int rc = mdb_cursor_open(b->txn, b->ops, &cursor);
	if (rc)
		return lmdb_fail(err, rc, "ops");
	bool ok = true;
	for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE); !rc; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
		struct stored_op op;
		if (k.mv_size != OP_KEY || memcmp(k.mv_data, key, 4) != 0 || be64_get((const uint8_t *)k.mv_data + 4) > up_to)
			break;
		if ((*more = count == max))
			break;
		ok = op_parse(val_slice(v), &op);
		if (!ok || op.kind == OP_PUT) {
			ok = ok ? error_set(err, "PSYNC_S1101", "an operation to be cleared is a PUT")
			        : lmdb_damaged(err, "an operation cannot be read");
			break;
		}
		sum += op.checksum;
		if (op.target > target)
			target = op.target;
		last = be64_get((const uint8_t *)k.mv_data + 4);
		count++;
		if ((rc = mdb_cursor_del(cursor, 0)))
			break;
	}
	mdb_cursor_close(cursor);
	if (ok && rc && rc != MDB_NOTFOUND)
		return lmdb_fail(err, rc, "ops");
	if (!ok || !count)
		return ok;
	size_t n = put_without_row(value, OP_CLEAR, sum, target);
	*removed += count - 1;
	return store_op(b, bucket, last, slice_make(value, n), err) && lmdb_bucket_shrink(b, bucket, count - 1, err);
}

/* ---- again ---- */

/* The text as it is stored, wherever it lies; what *copy held is lost if that is elsewhere. */
static bool find_text(struct lmdb_backend *b, struct buf *copy, const struct stored_op *op, int *form, struct slice *text,
                      struct error *err)
{
	struct stored_op owner;
	*form = op->form;
	*text = op->data;
	if (op->form != DATA_REFERENCE)
		return true;
	const uint8_t *place = (const uint8_t *)op->data.p;
	if (load_op(b, be32_get(place), be64_get(place + 4), copy, &owner, err) <= 0 || owner.form == DATA_REFERENCE)
		return lmdb_damaged(err, "data that an operation refers to is missing");
	*form = owner.form;
	*text = owner.data;
	return true;
}

int lmdb_op_again(struct backend *base, uint32_t bucket, uint64_t op_id, uint64_t new_op_id, uint64_t makes_dead,
                  struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	struct buf copy = {0}, owner = {0}, value = {0};
	struct stored_op op;
	struct slice text;
	int form, got = load_op(b, bucket, op_id, &copy, &op, err);
	if (got > 0 && op.kind != OP_PUT)
		got = 0;
	if (got > 0) {
		bool ok = find_text(b, &owner, &op, &form, &text, err);
		if (ok) {
			op.form = form;
			put_head(&value, &op, false);
			buf_slice_append(&value, text);
			struct backend_op added = {.bucket = bucket,
			                           .op_id = new_op_id,
			                           .checksum = op.checksum,
			                           .makes_dead = (uint32_t)(makes_dead < UINT32_MAX ? makes_dead : UINT32_MAX)};
			ok = store_op(b, bucket, new_op_id, buf_slice(&value), err) && lmdb_bucket_count(b, &added, err);
		}
		got = ok ? 1 : -1;
	}
	buf_free(&copy);
	buf_free(&owner);
	buf_free(&value);
	return got;
}

/* ---- removal ---- */

bool lmdb_bucket_drop(struct backend *base, uint32_t bucket, size_t max, size_t *removed, bool *gone, struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	uint8_t key[OP_KEY];
	MDB_cursor *cursor;
	struct buf copy = {0};
	int rc = mdb_cursor_open(b->txn, b->ops, &cursor);
	if (rc)
		return lmdb_fail(err, rc, "ops");
	bool ok = true;
	*removed = 0;
	*gone = false;
	while (ok && *removed < max) {
		op_key(key, bucket, 0);
		MDB_val k = val(key, OP_KEY), v;
		rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
		if (rc == MDB_NOTFOUND || (!rc && (k.mv_size != OP_KEY || memcmp(k.mv_data, key, 4) != 0))) {
			*gone = true;
			break;
		}
		struct stored_op op;
		uint64_t op_id = rc ? 0 : be64_get((const uint8_t *)k.mv_data + 4);
		if (!rc && (((const uint8_t *)v.mv_data)[0] & OP_SHARED)) {
			ok = load_op(b, bucket, op_id, &copy, &op, err) > 0 && give_text(b, bucket, op_id, &op, err);
			op_key(key, bucket, op_id);
			k = val(key, OP_KEY);
			rc = ok ? mdb_cursor_get(cursor, &k, &v, MDB_SET) : 0;
		}
		if (ok && !rc)
			rc = mdb_cursor_del(cursor, 0);
		if (ok && rc)
			ok = lmdb_fail(err, rc, "ops");
		*removed += ok;
	}
	mdb_cursor_close(cursor);
	buf_free(&copy);
	return ok && (!*gone || lmdb_bucket_forget(b, bucket, err));
}

bool lmdb_lookups_drop(struct backend *base, uint32_t definition, size_t max, size_t *removed, struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	uint8_t prefix[4];
	MDB_cursor *cursor;
	*removed = 0;
	be32_put(prefix, definition);
	int rc = mdb_cursor_open(b->txn, b->lookups, &cursor);
	if (rc)
		return lmdb_fail(err, rc, "lookups");
	MDB_val k = val(prefix, 4), v;
	for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE); !rc && *removed < max;
	     rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
		if (k.mv_size < 4 || memcmp(k.mv_data, prefix, 4) != 0)
			break;
		if ((rc = mdb_cursor_del(cursor, 0)))
			break;
		++*removed;
	}
	mdb_cursor_close(cursor);
	return !rc || rc == MDB_NOTFOUND || lmdb_fail(err, rc, "lookups");
}

/* ---- sizes and memory ---- */

static bool add_size(struct lmdb_backend *b, MDB_txn *txn, MDB_dbi dbi, uint64_t *to, struct error *err)
{
	MDB_stat st;
	(void)b;
	int rc = mdb_stat(txn, dbi, &st);
	if (rc)
		return lmdb_fail(err, rc, "sizes");
	*to += (uint64_t)(st.ms_branch_pages + st.ms_leaf_pages + st.ms_overflow_pages) * st.ms_psize;
	return true;
}

bool lmdb_sizes(struct backend *base, struct storage_sizes *out, struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	MDB_txn *txn;
	MDB_envinfo info;
	MDB_stat st;
	*out = (struct storage_sizes){0};
	int rc = mdb_txn_begin(b->data, NULL, MDB_RDONLY, &txn);
	if (rc)
		return lmdb_fail(err, rc, "sizes");
	bool ok = add_size(b, txn, b->ops, &out->operations, err) && add_size(b, txn, b->buckets, &out->operations, err) &&
	          add_size(b, txn, b->bucket_names, &out->operations, err) && add_size(b, txn, b->lookups, &out->lookups, err) &&
	          add_size(b, txn, b->rows, &out->rows, err) && add_size(b, txn, b->images, &out->rows, err) &&
	          add_size(b, txn, b->incomplete, &out->rows, err);
	mdb_txn_abort(txn);
	if (ok && !mdb_env_info(b->data, &info) && !mdb_env_stat(b->data, &st))
		out->file = (uint64_t)(info.me_last_pgno + 1) * st.ms_psize;
	out->used = out->operations + out->lookups + out->rows;
	return ok;
}

/* Where the file is mapped; mdb_env_info tells it for fixed maps only. */
static void *map_address(MDB_env *env)
{
	char line[4500];
	struct stat file;
	mdb_filehandle_t fd;
	void *found = NULL;
	if (mdb_env_get_fd(env, &fd) || fstat(fd, &file))
		return NULL;
	FILE *maps = fopen("/proc/self/maps", "re");
	while (maps && !found && fgets(line, sizeof(line), maps)) {
		unsigned long start, inode;
		if (sscanf(line, "%lx-%*x %*s %*x %*x:%*x %lu", &start, &inode) == 2 && inode == file.st_ino)
			found = (void *)start;
	}
	if (maps)
		fclose(maps);
	return found;
}

/* The map is shared and read only, so nothing is lost (notes-on-libraries 1, "RSS"). */
uint64_t lmdb_release_pages(struct backend *base)
{
	struct lmdb_backend *b = lmdb_of(base);
	MDB_env *all[] = {b->data, b->requests};
	uint64_t bytes = 0;
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		MDB_envinfo info;
		MDB_stat st;
		void *map = map_address(all[i]);
		if (!map || mdb_env_info(all[i], &info) || mdb_env_stat(all[i], &st))
			continue;
		size_t size = (size_t)(info.me_last_pgno + 1) * st.ms_psize;
		if (madvise(map, size, MADV_DONTNEED) == 0)
			bytes += size;
	}
	return bytes;
}
