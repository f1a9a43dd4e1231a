/* readers.c: see readers.h. Buckets and their operations. */
#include "storage/postgres/readers.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/codec.h"
#include "storage/postgres/bson.h"
#include "storage/postgres/readers_internal.h"

/* One statement answers what one line of data may have (sync-protocol 6, "Data lines"). */
#define BATCH_ROWS 1000
#define BATCH_BYTES 1048576
bool pg_stream_is_gone(struct error *err)
{
	return error_set(err, "PSYNC_S2302", "The replication stream was replaced while it was read");
}

int64_t pg_bigint(uint64_t v)
{
	return v > INT64_MAX ? INT64_MAX : (int64_t)v;
}

/* ---- readers ------------------------------------------------------------------------------------------------------------------------ */

struct storage_reader *pg_read_begin(struct backend *b, struct error *err)
{
	struct pg_reader *r = xcalloc(1, sizeof(*r));
	(void)err;
	r->base.backend = b;
	r->store = (struct pg_store *)b;
	return &r->base;
}

void pg_read_end(struct storage_reader *base)
{
	struct pg_reader *r = (struct pg_reader *)base;
	PQclear(r->ahead.rows);
	arena_free(&r->arena);
	free(r);
}

uint32_t pg_read_bucket(struct storage_reader *base, uint32_t definition, struct slice keys)
{
	return pg_names_bucket(((struct pg_reader *)base)->store->names, definition, keys);
}

bool pg_read_bucket_name(struct storage_reader *base, uint32_t bucket, uint32_t *definition, struct slice *keys)
{
	struct pg_reader *r = (struct pg_reader *)base;
	const struct pg_definition *d;
	struct slice name;
	if (!pg_names_of_bucket(r->store->names, bucket, &r->arena, &d, &name))
		return false;
	*definition = d->number;
	*keys = slice_drop(name, d->head.n);
	return true;
}

/* ---- operations ---------------------------------------------------------------------------------------------------------------------- */

/* First a row of kind '' with what stands around: the bucket's CLEAR, and whether the stream is whole. */
static const char ops_sql[] = "SELECT " PG_CLEAR_OF(
        "$1",
        "$2") "::bigint, ''::text, NULL::text, NULL::bytea, NULL::text, NULL::text,"
              " CASE WHEN " PG_STREAM_IS_WHOLE(
                      "$1") " THEN 1::bigint ELSE 0 END, NULL::text, NULL::bigint"
                            " UNION ALL SELECT " PG_OPS_COLUMNS " FROM"
                            " (SELECT o.*, sum(octet_length(data)) OVER (ORDER BY op_id ROWS BETWEEN UNBOUNDED PRECEDING "
                            "AND 1 PRECEDING) AS bytes FROM"
                            " (SELECT " PG_OPS_COLUMNS " FROM bucket_data"
                            " WHERE group_id = $1 AND bucket_name = $2 AND op_id > $3 AND op_id <= $4 ORDER BY op_id "
                            "LIMIT " PG_NUMBER_TEXT(BATCH_ROWS) ") o) p"
                                                                " WHERE bytes IS NULL OR bytes < " PG_NUMBER_TEXT(BATCH_BYTES);

struct cursor {
	struct op_cursor base; /* first */
	struct pg_store *store;
	uint32_t bucket;
	int32_t stream_id;
	struct slice name;
	uint64_t after, up_to;
	PGresult *rows;
	bool borrowed; /* they are the reader's, read ahead */
	int row, count;
	bool more; /* behind the rows at hand */
	uint8_t subkey[16];
	struct arena arena; /* the name */
};

uint64_t pg_number_at(const PGresult *r, int row, int column)
{
	return PQgetisnull(r, row, column) || PQgetlength(r, row, column) != 8 ? 0 : be64_get(PQgetvalue(r, row, column));
}

static struct slice text_at(const PGresult *r, int row, int column)
{
	return slice_make(PQgetvalue(r, row, column), (size_t)PQgetlength(r, row, column));
}

static void drop_rows(struct cursor *c)
{
	if (!c->borrowed)
		PQclear(c->rows);
	c->borrowed = false;
	c->rows = NULL;
}

static bool fetch(struct cursor *c, struct error *err)
{
	uint8_t group[4], after[8], up_to[8];
	be32_put(group, (uint32_t)c->stream_id);
	be64_put(after, (uint64_t)pg_bigint(c->after));
	be64_put(up_to, (uint64_t)pg_bigint(c->up_to));
	const char *values[] = {(const char *)group, c->name.p, (const char *)after, (const char *)up_to};
	const int lengths[] = {4, (int)c->name.n, 8, 8}, formats[] = {1, 1, 1, 1};
	const struct pg_values v = {.count = 4, .values = values, .lengths = lengths, .formats = formats, .binary_result = true};
	drop_rows(c);
	c->rows = pg_pool_query(c->store->pool, ops_sql, &v, err);
	c->row = 1;
	c->count = c->rows ? PQntuples(c->rows) : 0;
	if (!c->rows)
		return false;
	if (c->count == 0 || !pg_number_at(c->rows, 0, PG_OP_CHECKSUM))
		return pg_stream_is_gone(err);
	pg_names_note_clear(c->store->names, c->bucket, pg_number_at(c->rows, 0, PG_OP_ID));
	size_t bytes = 0;
	for (int i = 1; i < c->count; i++)
		bytes += (size_t)PQgetlength(c->rows, i, PG_OP_DATA);
	c->more = c->count > BATCH_ROWS || bytes >= BATCH_BYTES;
	if (c->count > 1)
		c->after = pg_number_at(c->rows, c->count - 1, PG_OP_ID);
	return true;
}

static bool kind_of(struct slice op, enum op_kind *out)
{
	static const struct {
		struct slice text;
		enum op_kind kind;
	} kinds[] = {{SLICE_INIT("PUT"), OP_PUT},
	             {SLICE_INIT("REMOVE"), OP_REMOVE},
	             {SLICE_INIT("MOVE"), OP_MOVE},
	             {SLICE_INIT("CLEAR"), OP_CLEAR}};
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (slice_eq(op, kinds[i].text)) {
			*out = kinds[i].kind;
			return true;
		}
	return false;
}

/* The two forms of storage-semantics 3. */
static bool set_subkey(struct cursor *c, struct op_view *out)
{
	struct slice key = text_at(c->rows, c->row, PG_OP_SOURCE_KEY), table = text_at(c->rows, c->row, PG_OP_SOURCE_TABLE);
	out->subkey_uuid = c->subkey;
	out->subkey_table = table.p;
	if (bson_source_key_uuid(key, c->subkey))
		return true;
	out->subkey_table = "";
	return bson_subkey_uuid(table, key, c->subkey);
}

static int cursor_next(struct op_cursor *base, struct op_view *out, struct error *err)
{
	struct cursor *c = (struct cursor *)base;
	if (c->row == c->count && c->more && !fetch(c, err))
		return -1;
	if (c->row == c->count)
		return 0;
	*out = (struct op_view){
	        .op_id = pg_number_at(c->rows, c->row, PG_OP_ID),
	        .checksum = (uint32_t)pg_number_at(c->rows, c->row, PG_OP_CHECKSUM),
	        .target_op = pg_number_at(c->rows, c->row, PG_OP_TARGET),
	};
	bool ok = kind_of(text_at(c->rows, c->row, PG_OP), &out->kind);
	if (ok && (out->kind == OP_PUT || out->kind == OP_REMOVE)) {
		out->object_type = text_at(c->rows, c->row, PG_OP_TABLE_NAME);
		out->object_id = text_at(c->rows, c->row, PG_OP_ROW_ID);
		out->data = out->kind == OP_PUT ? text_at(c->rows, c->row, PG_OP_DATA) : (struct slice){NULL, 0};
		ok = set_subkey(c, out);
	}
	c->row++;
	if (!ok) {
		error_set(err, "PSYNC_S2404", "the operation %llu in the storage database cannot be read",
		          (unsigned long long)out->op_id);
		return -1;
	}
	return 1;
}

static void cursor_close(struct op_cursor *base)
{
	struct cursor *c = (struct cursor *)base;
	drop_rows(c);
	arena_free(&c->arena);
	free(c);
}

static void take_ahead(struct cursor *c, const struct pg_reader *r, const struct pg_ahead_range *range)
{
	c->rows = r->ahead.rows;
	c->borrowed = true;
	c->row = range->row;
	c->count = range->end;
	c->more = range->more;
	if (c->row < c->count)
		c->after = pg_number_at(c->rows, c->count - 1, PG_OP_ID);
}

struct op_cursor *pg_read_ops(struct storage_reader *base, uint32_t bucket, uint64_t after, uint64_t up_to, struct error *err)
{
	struct pg_reader *r = (struct pg_reader *)base;
	const struct pg_definition *d;
	const struct pg_ahead_range *ahead = pg_ahead_find(r, bucket, after, up_to);
	struct cursor *c = xcalloc(1, sizeof(*c));
	c->base = (struct op_cursor){base->backend, cursor_next, cursor_close};
	c->store = r->store;
	c->bucket = bucket;
	c->after = after;
	c->up_to = up_to;
	bool ok = pg_names_of_bucket(r->store->names, bucket, &c->arena, &d, &c->name) ||
	          error_set(err, "PSYNC_S1101", "the bucket %u has no name any more", bucket);
	if (ok)
		c->stream_id = d->stream_id;
	if (ok && ahead)
		take_ahead(c, r, ahead);
	if (ok && (ahead || fetch(c, err)))
		return &c->base;
	cursor_close(&c->base);
	return NULL;
}
