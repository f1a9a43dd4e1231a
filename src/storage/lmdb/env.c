/*
 * env.c: opening the folder, transactions, small records.
 *
 * data.mdb, named databases (formats in the files named):
 *   meta, tables, definitions, plans, strings   number u32 big-endian -> record (../state.c, ../tables.c, ../definitions.c; strings:
 *                                               text of an object type; meta 100: last bucket number, varint)
 *   ops                                         ops.c
 *   bucket_names, buckets                       buckets.c
 *   rows, incomplete, images                    rows.c
 *   lookups                                     lookups.c
 *   custom                                      custom.c
 * requests.mdb: requests.c
 *
 * Full sync and no writable map: a commit is on disk when it returns, and a stray pointer cannot reach the store. MDB_NOTLS: a read
 * transaction belongs to a reader, not to a thread.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "storage/lmdb/lmdb.h"
#include "storage/store_lock.h"

#define DEFAULT_MAP_SIZE ((uint64_t)1 << 40)
#define SMALLEST_MAP_SIZE ((uint64_t)16 << 20)
#define MAX_READERS 1024
#define MAX_DATABASES 16

static const char *const small_names[SMALL_KINDS] = {"meta", "tables", "definitions", "plans", "strings"};

bool lmdb_fail(struct error *err, int rc, const char *what)
{
	const char *hint = rc == MDB_MAP_FULL ? " (the store's map size is used up: raise it)"
	                   : rc == ENOSPC     ? " (the disk is full)"
	                   : rc == EIO ? " (the disk is full, or it fails)" /* LMDB says so of a write that came out short */
	                   : rc == ENOMEM
	                           ? " (the process is not given address space for the map: see storage.map_size, ulimit -v)"
	                           : "";
	return error_set(err, "PSYNC_S2404", "embedded store: %s: %s%s", what, mdb_strerror(rc), hint);
}

bool lmdb_damaged(struct error *err, const char *what)
{
	return error_set(err, "PSYNC_S2404", "the store is damaged: %s", what);
}

void lmdb_pack(struct lmdb_backend *b, struct buf *out, struct slice raw)
{
	if (raw.n > COMPRESS_ABOVE) {
		size_t before = out->n, room = ZSTD_compressBound(raw.n);
		buf_putc(out, 1);
		buf_varint(out, raw.n);
		char *to = buf_reserve(out, room);
		size_t n = ZSTD_compressCCtx(b->zstd, to, room, raw.p, raw.n, 1);
		if (!ZSTD_isError(n) && n < raw.n - raw.n / 8) {
			out->n += n;
			return;
		}
		out->n = before;
	}
	buf_putc(out, 0);
	buf_append(out, raw.p, raw.n);
}

bool lmdb_unpack(struct slice packed, struct buf *scratch, struct slice *out)
{
	struct decoder d = decoder_of(packed);
	if (decode_u8(&d) == 0) {
		*out = decode_rest(&d);
		return !d.bad;
	}
	uint64_t n = decode_varint(&d);
	struct slice rest = decode_rest(&d);
	if (d.bad || n > ((uint64_t)1 << 32))
		return false;
	buf_clear(scratch);
	char *to = buf_reserve(scratch, n);
	size_t got = ZSTD_decompress(to, n, rest.p, rest.n);
	scratch->n = n;
	*out = slice_make(to, n);
	return got == n;
}

/* ---- transactions ---- */

static bool write_begin(struct backend *base, struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	int rc = mdb_txn_begin(b->data, NULL, 0, &b->txn);
	if (rc) {
		b->txn = NULL;
		return lmdb_fail(err, rc, "beginning a write");
	}
	b->row_bytes = 0;
	return true;
}

static bool write_commit(struct backend *base, struct changed_buckets *changed, struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	if (!lmdb_batch_flush(b, err) || !lmdb_buckets_flush(b, err))
		return false;
	MDB_txn *txn = b->txn;
	b->txn = NULL; /* gone, whatever the commit says, and its cursors */
	b->row_cursor = NULL;
	int rc = mdb_txn_commit(txn);
	if (rc)
		return lmdb_fail(err, rc, "committing");
	lmdb_batch_clear(b);
	lmdb_buckets_committed(b, changed);
	return true;
}

static void write_abort(struct backend *base)
{
	struct lmdb_backend *b = lmdb_of(base);
	if (b->txn)
		mdb_txn_abort(b->txn);
	b->txn = NULL;
	b->row_cursor = NULL;
	lmdb_batch_clear(b);
	lmdb_buckets_rollback(b);
}

static size_t write_size(struct backend *base)
{
	const struct lmdb_backend *b = lmdb_of(base);
	return b->row_bytes + lmdb_batch_bytes(b);
}

/* ---- small records ---- */

static bool small_put(struct backend *base, enum small_kind kind, uint32_t number, struct slice value, struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	uint8_t key[4];
	be32_put(key, number);
	MDB_val k = val(key, 4), v = val(value.p, value.n);
	int rc = mdb_put(b->txn, b->small[kind], &k, &v, 0);
	return !rc || lmdb_fail(err, rc, small_names[kind]);
}

static bool small_delete(struct backend *base, enum small_kind kind, uint32_t number, struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	uint8_t key[4];
	be32_put(key, number);
	MDB_val k = val(key, 4);
	int rc = mdb_del(b->txn, b->small[kind], &k, NULL);
	return !rc || rc == MDB_NOTFOUND || lmdb_fail(err, rc, small_names[kind]);
}

static bool small_each(struct backend *base, enum small_kind kind, small_each_fn each, void *ctx, struct error *err)
{
	struct lmdb_backend *b = lmdb_of(base);
	MDB_txn *txn = b->txn;
	MDB_cursor *cursor;
	int rc = 0;
	if (!txn && (rc = mdb_txn_begin(b->data, NULL, MDB_RDONLY, &txn)))
		return lmdb_fail(err, rc, "beginning a read");
	bool ok = true;
	if ((rc = mdb_cursor_open(txn, b->small[kind], &cursor)) == 0) {
		MDB_val k, v;
		while (ok && (rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0)
			ok = k.mv_size == 4 ? each(ctx, be32_get(k.mv_data), val_slice(v), err)
			                    : lmdb_damaged(err, small_names[kind]);
		mdb_cursor_close(cursor);
	}
	if (txn != b->txn)
		mdb_txn_abort(txn);
	if (ok && rc && rc != MDB_NOTFOUND)
		return lmdb_fail(err, rc, small_names[kind]);
	return ok;
}

/* ---- readers ---- */

static struct storage_reader *read_begin(struct backend *base, struct error *err)
{
	struct lmdb_reader *r = xmalloc(sizeof(*r));
	r->base.backend = base;
	r->txn = lmdb_of(base)->look_data;
	int rc = r->txn ? mdb_txn_renew(r->txn) : mdb_txn_begin(lmdb_of(base)->data, NULL, MDB_RDONLY, &r->txn);
	if (rc) {
		free(r);
		lmdb_fail(err, rc, "beginning a read");
		return NULL;
	}
	return &r->base;
}

static void read_end(struct storage_reader *base)
{
	struct lmdb_reader *r = (struct lmdb_reader *)base;
	if (r->txn == lmdb_of(base->backend)->look_data)
		mdb_txn_reset(r->txn);
	else
		mdb_txn_abort(r->txn);
	free(r);
}

/* ---- opening ---- */

static bool make_folder(const char *path, struct error *err)
{
	char part[4096];
	size_t n = strlen(path);
	if (n == 0 || n + 16 >= sizeof(part))
		return error_set(err, "PSYNC_S2404", "the path of the store is empty or too long");
	for (size_t i = 1; i <= n; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdir(part, 0700) && errno != EEXIST)
			return error_set(err, "PSYNC_S2404", "cannot make the store's folder %s: %s", part, strerror(errno));
	}
	return true;
}

struct env_request {
	const char *folder, *name;
	uint64_t map_size;
	bool may_shrink; /* nobody asked for that size */
	unsigned flags;
	const struct log *log;
};

static int try_env(MDB_env **env, const char *file, uint64_t map_size, unsigned flags)
{
	int rc = mdb_env_create(env);
	if (rc) {
		*env = NULL;
		return rc;
	}
	if (!(rc = mdb_env_set_mapsize(*env, map_size)) && !(rc = mdb_env_set_maxdbs(*env, MAX_DATABASES)) &&
	    !(rc = mdb_env_set_maxreaders(*env, MAX_READERS)))
		rc = mdb_env_open(*env, file, MDB_NOSUBDIR | MDB_NOTLS | flags, 0600);
	if (rc) {
		mdb_env_close(*env);
		*env = NULL;
	}
	return rc;
}

/* The default is as large as a store can ever get. Where a process may not have so much address space (RLIMIT_AS, containers, valgrind),
 * less must do, but never so little that the file has no room to grow. */
static bool open_env(MDB_env **env, const struct env_request *r, struct error *err)
{
	char file[4200];
	struct stat st = {0};
	uint64_t size = r->map_size;
	int dead = 0;
	snprintf(file, sizeof(file), "%s/%s", r->folder, r->name);
	uint64_t least = (stat(file, &st) == 0 ? 2 * (uint64_t)st.st_size : 0) + SMALLEST_MAP_SIZE;
	int rc = try_env(env, file, size, r->flags);
	while ((rc == ENOMEM || rc == EINVAL) && r->may_shrink && size / 2 >= least) {
		size /= 2;
		rc = try_env(env, file, size, r->flags);
	}
	if (!rc && size != r->map_size && size / 2 >= least) { /* the other half is for the rest of the program */
		mdb_env_close(*env);
		size /= 2;
		rc = try_env(env, file, size, r->flags);
	}
	if (!rc)
		rc = mdb_reader_check(*env, &dead);
	if (rc) {
		lmdb_fail(err, rc, "opening");
		return error_prefix(err, "%s: ", file);
	}
	if (size != r->map_size)
		log_warn(r->log,
		         "%s can grow to %llu MiB only: the process is not given address space for more (ulimit -v, or the "
		         "container's limit)",
		         file, (unsigned long long)(size >> 20));
	return true;
}

int lmdb_keep_place(MDB_env *env, MDB_txn **look)
{
	int rc = mdb_txn_begin(env, NULL, MDB_RDONLY, look);
	if (rc)
		*look = NULL;
	else
		mdb_txn_reset(*look);
	return rc;
}

static bool open_databases(struct lmdb_backend *b, bool read_only, struct error *err)
{
	struct {
		const char *name;
		MDB_dbi *dbi;
	} all[] = {{"ops", &b->ops},        {"bucket_names", &b->bucket_names}, {"buckets", &b->buckets},
	           {"rows", &b->rows},      {"incomplete", &b->incomplete},     {"images", &b->images},
	           {"lookups", &b->lookups}};
	MDB_txn *txn;
	unsigned create = read_only ? 0 : MDB_CREATE;
	int rc = mdb_txn_begin(b->data, NULL, read_only ? MDB_RDONLY : 0, &txn);
	if (rc)
		return lmdb_fail(err, rc, "opening the databases");
	for (int i = 0; !rc && i < SMALL_KINDS; i++)
		rc = mdb_dbi_open(txn, small_names[i], create, &b->small[i]);
	for (size_t i = 0; !rc && i < sizeof(all) / sizeof(*all); i++)
		rc = mdb_dbi_open(txn, all[i].name, create, all[i].dbi);
	/* Nothing of what a store is opened for looking for is in here, and an older store does not have it. */
	if (!rc && !read_only)
		rc = mdb_dbi_open(txn, "custom", MDB_CREATE, &b->custom);
	if (rc) {
		mdb_txn_abort(txn);
		return lmdb_fail(err, rc, "opening the databases");
	}
	rc = mdb_txn_commit(txn);
	if (!rc && read_only)
		rc = lmdb_keep_place(b->data, &b->look_data);
	return !rc || lmdb_fail(err, rc, "opening the databases");
}

static void lmdb_close(struct backend *base)
{
	struct lmdb_backend *b = lmdb_of(base);
	if (b->txn)
		mdb_txn_abort(b->txn);
	lmdb_buckets_free(b);
	lmdb_batch_free(b);
	buf_free(&b->value);
	buf_free(&b->unpacked);
	ZSTD_freeCCtx(b->zstd);
	if (b->look_data)
		mdb_txn_abort(b->look_data);
	if (b->look_requests)
		mdb_txn_abort(b->look_requests);
	if (b->data)
		mdb_env_close(b->data);
	if (b->requests)
		mdb_env_close(b->requests);
	if (b->lock_fd >= 0)
		close(b->lock_fd);
	free((void *)(uintptr_t)base->ops);
	free(b);
}

/* One table of functions for both halves. */
static const struct backend_ops *make_ops(void)
{
	struct backend_ops *ops = xmalloc(sizeof(*ops));
	*ops = lmdb_requests_ops;
	ops->close = lmdb_close;
	ops->write_begin = write_begin;
	ops->write_commit = write_commit;
	ops->write_abort = write_abort;
	ops->write_size = write_size;
	ops->small_put = small_put;
	ops->small_delete = small_delete;
	ops->small_each = small_each;
	ops->custom_get = lmdb_custom_get;
	ops->custom_put = lmdb_custom_put;
	ops->custom_delete = lmdb_custom_delete;
	ops->custom_scan = lmdb_custom_scan;
	ops->custom_read = lmdb_custom_read;
	ops->row_get = lmdb_row_get;
	ops->row_put = lmdb_row_put;
	ops->row_delete = lmdb_row_delete;
	ops->row_mark_incomplete = lmdb_row_mark_incomplete;
	ops->image_get = lmdb_image_get;
	ops->image_put = lmdb_image_put;
	ops->image_delete = lmdb_image_delete;
	ops->rows_scan = lmdb_rows_scan;
	ops->bucket_number = lmdb_bucket_number;
	ops->bucket_definition = lmdb_bucket_definition;
	ops->op_add = lmdb_op_add;
	ops->lookup_put = lmdb_lookup_put;
	ops->buckets_scan = lmdb_buckets_scan;
	ops->read_ops_back = lmdb_read_ops_back;
	ops->ops_move = lmdb_ops_move;
	ops->ops_clear = lmdb_ops_clear;
	ops->op_again = lmdb_op_again;
	ops->bucket_compacted = lmdb_bucket_compacted;
	ops->bucket_drop = lmdb_bucket_drop;
	ops->lookups_drop = lmdb_lookups_drop;
	ops->lookups_dead = lmdb_lookups_dead;
	ops->lookups_delete = lmdb_lookups_delete;
	ops->sizes = lmdb_sizes;
	ops->release_pages = lmdb_release_pages;
	ops->migrate = lmdb_migrate;
	ops->read_begin = read_begin;
	ops->read_end = read_end;
	ops->read_bucket = lmdb_read_bucket;
	ops->read_bucket_name = lmdb_read_bucket_name;
	ops->read_checksum = lmdb_read_checksum;
	ops->read_ops = lmdb_read_ops;
	ops->read_lookups = lmdb_read_lookups;
	return ops;
}

struct backend *lmdb_backend_open(const struct storage_options *options, bool read_only, struct names *types,
                                  struct names *tables, struct error *err)
{
	struct lmdb_backend *b = xcalloc(1, sizeof(*b));
	char *path = xstrdup(options->path);
	uint64_t map = options->map_size ? options->map_size : DEFAULT_MAP_SIZE;
	uint64_t requests_map = map / 16 < SMALLEST_MAP_SIZE ? SMALLEST_MAP_SIZE : map / 16;
	b->base.ops = make_ops();
	b->base.types = types;
	b->base.tables = tables;
	b->log = options->log;
	b->migrating = options->migrating;
	b->migrating_ctx = options->migrating_ctx;
	b->lock_fd = -1;
	b->zstd = ZSTD_createCCtx();
	lmdb_batch_open(b);
	struct env_request data = {.folder = path,
	                           .name = "data.mdb",
	                           .map_size = map,
	                           .may_shrink = !options->map_size,
	                           .flags = read_only ? MDB_RDONLY : 0,
	                           .log = options->log};
	struct env_request requests = data;
	requests.name = "requests.mdb";
	requests.map_size = requests_map;
	bool ok = (read_only || (make_folder(path, err) && (b->lock_fd = store_lock_take(path, options->command, err)) >= 0)) &&
	          open_env(&b->data, &data, err) && open_env(&b->requests, &requests, err) && open_databases(b, read_only, err) &&
	          lmdb_requests_open(b, read_only, err) && lmdb_buckets_open(b, err);
	free(path);
	if (ok)
		return &b->base;
	lmdb_close(&b->base);
	return NULL;
}
