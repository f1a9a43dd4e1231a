/*
 * rows_store.c: ids are drawn, and everything is written; see rows_internal.h.
 *
 * Statements take arrays, a few thousand rows each, and go through a pipeline, so that the server inserts while the next arrays are made.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "storage/digest.h"
#include "storage/postgres/rows_internal.h"
#include "value/json.h"

#define STATEMENT_BYTES (2u * 1024 * 1024)

static const char draw_block[] =
        "SELECT min(v), max(v), count(v) FROM (SELECT nextval('op_id_sequence') AS v FROM generate_series(1, $1::bigint)) AS d";
static const char draw_singly[] = "SELECT nextval('op_id_sequence') FROM generate_series(1, $1::bigint)";
static const char read_sequence[] = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM op_id_sequence";
static const char insert_ops[] =
        "INSERT INTO bucket_data (group_id, bucket_name, op_id, op, source_table, source_key, table_name, row_id, checksum, data)"
        " SELECT $1::int, b, o, CASE WHEN d IS NULL THEN 'REMOVE' ELSE 'PUT' END, t, k, y, i, c, d"
        " FROM unnest($2::text[], $3::bigint[], $4::text[], $5::bytea[], $6::text[], $7::text[], $8::bigint[], $9::text[])"
        " AS x (b, o, t, k, y, i, c, d)";
static const char insert_lookups[] =
        "INSERT INTO bucket_parameters (group_id, id, source_table, source_key, lookup, bucket_parameters)"
        " SELECT $1::int, o, t, k, l, r FROM unnest($2::bigint[], $3::text[], $4::bytea[], $5::bytea[], $6::text[])"
        " AS x (o, t, k, l, r)";
static const char put_incomplete[] =
        "INSERT INTO syncline_incomplete_rows (group_id, source_table, source_key, row_key, partial, image_digest)"
        " SELECT $1::int, t, k, r, p, d FROM unnest($2::text[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bytea[])"
        " AS x (t, k, r, p, d) ON CONFLICT (group_id, source_table, source_key) DO UPDATE SET row_key = EXCLUDED.row_key,"
        " partial = EXCLUDED.partial, image_digest = EXCLUDED.image_digest";
/* ---- ids --------------------------------------------------------------------------------------------------------------------------------------- */

static bool last_id(struct pg_conn *conn, uint64_t *last_op, struct error *err)
{
	PGresult *res = rows_run(conn, read_sequence, 0, NULL, err);
	if (!res)
		return false;
	*last_op = (uint64_t)rows_i64(res, 0, 0);
	PQclear(res);
	return true;
}

/* Somebody else draws as well: ids one by one, ascending. */
static bool draw_list(struct pg_rows *r, struct pg_conn *conn, struct error *err)
{
	char number[8];
	size_t count = r->work.ids;
	PGresult *res = rows_run(conn, draw_singly, 1, (struct pg_param[]){rows_int8(number, (int64_t)count)}, err);
	if (!res)
		return false;
	r->ids = xrealloc(r->ids, count * sizeof(*r->ids));
	for (size_t i = 0; i < count; i++)
		r->ids[i] = (uint64_t)rows_i64(res, (int)i, 0);
	PQclear(res);
	return true;
}

bool rows_draw_ids(struct pg_rows *r, struct pg_conn *conn, uint64_t *last_op, struct error *err)
{
	char number[8];
	free(r->ids);
	r->ids = NULL;
	if (!r->work.ids)
		return last_id(conn, last_op, err);
	PGresult *res = rows_run(conn, draw_block, 1, (struct pg_param[]){rows_int8(number, (int64_t)r->work.ids)}, err);
	if (!res)
		return false;
	r->first_id = (uint64_t)rows_i64(res, 0, 0);
	*last_op = (uint64_t)rows_i64(res, 0, 1);
	PQclear(res);
	if (*last_op - r->first_id + 1 == r->work.ids)
		return true;
	if (!draw_list(r, conn, err))
		return false;
	*last_op = r->ids[r->work.ids - 1];
	return true;
}

static int64_t id_of(const struct pg_rows *r, size_t rank)
{
	return (int64_t)(r->ids ? r->ids[rank] : r->first_id + rank);
}

/* ---- writing ------------------------------------------------------------------------------------------------------------------------------------ */

static void begin_arrays(struct pg_rows *r, const enum pg_array_of *types, size_t count)
{
	for (size_t i = 0; i < count; i++)
		pg_array_begin(&r->arrays[i], types[i]);
}

static bool statement_full(const struct pg_rows *r, size_t arrays)
{
	size_t total = 0;
	for (size_t i = 0; i < arrays; i++)
		total += r->arrays[i].bytes.n;
	return r->arrays[0].count >= STATEMENT_ROWS || total >= STATEMENT_BYTES;
}

/* Sends what the arrays have and empties them. */
static bool send_arrays(struct pg_rows *r, struct pg_conn *conn, const char *statement, int32_t stream,
                        const enum pg_array_of *types, size_t count, struct error *err)
{
	struct pg_param params[ROW_ARRAYS + 1];
	char number[4];
	if (!r->arrays[0].count)
		return true;
	params[0] = rows_int4(number, stream);
	for (size_t i = 0; i < count; i++)
		params[i + 1] = pg_array_param(&r->arrays[i]);
	bool ok = pg_pipeline_send(conn, statement, (int)count + 1, params, err);
	begin_arrays(r, types, count);
	return ok;
}

static bool write_ops(struct pg_rows *r, struct pg_conn *conn, int32_t stream, struct error *err)
{
	static const enum pg_array_of types[] = {PG_ARRAY_TEXT, PG_ARRAY_INT8, PG_ARRAY_TEXT, PG_ARRAY_BYTEA,
	                                         PG_ARRAY_TEXT, PG_ARRAY_TEXT, PG_ARRAY_INT8, PG_ARRAY_TEXT};
	struct pg_array *a = r->arrays;
	begin_arrays(r, types, 8);
	for (size_t i = 0; i < r->work.op_count; i++) {
		const struct row_op *op = &r->work.ops[i];
		pg_array_bytes(&a[0], op->bucket);
		pg_array_i64(&a[1], id_of(r, op->rank));
		pg_array_bytes(&a[2], slice_cstr(op->entry->table->id));
		pg_array_bytes(&a[3], op->entry->key);
		pg_array_bytes(&a[4], op->type);
		pg_array_bytes(&a[5], op->id);
		pg_array_i64(&a[6], (int64_t)op->checksum);
		pg_array_bytes(&a[7], op->data);
		if (statement_full(r, 8) && !send_arrays(r, conn, insert_ops, stream, types, 8, err))
			return false;
	}
	return send_arrays(r, conn, insert_ops, stream, types, 8, err);
}

static bool write_lookups(struct pg_rows *r, struct pg_conn *conn, int32_t stream, struct error *err)
{
	static const enum pg_array_of types[] = {PG_ARRAY_INT8, PG_ARRAY_TEXT, PG_ARRAY_BYTEA, PG_ARRAY_BYTEA, PG_ARRAY_TEXT};
	struct pg_array *a = r->arrays;
	begin_arrays(r, types, 5);
	for (size_t i = 0; i < r->work.lookup_count; i++) {
		const struct row_lookup_entry *l = &r->work.lookups[i];
		pg_array_i64(&a[0], id_of(r, l->rank));
		pg_array_bytes(&a[1], slice_cstr(l->entry->table->id));
		pg_array_bytes(&a[2], l->entry->key);
		pg_array_bytes(&a[3], l->lookup);
		pg_array_bytes(&a[4], l->results);
		if (statement_full(r, 5) && !send_arrays(r, conn, insert_lookups, stream, types, 5, err))
			return false;
	}
	return send_arrays(r, conn, insert_lookups, stream, types, 5, err);
}

static void gifts_json(struct buf *out, const struct row_state *s)
{
	buf_clear(out);
	buf_putc(out, '[');
	for (size_t i = 0; i < s->gift_count; i++) {
		if (i)
			buf_putc(out, ',');
		buf_lit(out, "{\"bucket\":");
		json_append_string(out, s->gifts[i].bucket);
		buf_lit(out, ",\"table\":");
		json_append_string(out, s->gifts[i].type);
		buf_lit(out, ",\"id\":");
		json_append_string(out, s->gifts[i].id);
		buf_putc(out, '}');
	}
	buf_putc(out, ']');
}

/* As the text of a bytea[]: an array within an array of arrays has no binary form of its own. */
static void lookups_text(struct buf *out, const struct row_state *s)
{
	static const char hex[] = "0123456789abcdef";
	buf_clear(out);
	buf_putc(out, '{');
	for (size_t i = 0; i < s->lookup_count; i++) {
		if (i)
			buf_putc(out, ',');
		buf_lit(out, "\"\\\\x");
		char *p = buf_reserve(out, 2 * s->lookups[i].n);
		for (size_t k = 0; k < s->lookups[i].n; k++) {
			*p++ = hex[(uint8_t)s->lookups[i].p[k] >> 4];
			*p++ = hex[(uint8_t)s->lookups[i].p[k] & 15];
		}
		out->n += 2 * s->lookups[i].n;
		buf_putc(out, '"');
	}
	buf_putc(out, '}');
}

enum image_fate { IMAGE_STAYS, IMAGE_INSERTED, IMAGE_REPLACED, IMAGE_DELETED };

static enum image_fate image_fate(const struct kept_row *e)
{
	if (!e->touched)
		return IMAGE_STAYS;
	if (!e->now.exists && !e->marker)
		return e->in_table ? IMAGE_DELETED : IMAGE_STAYS;
	return e->in_table ? IMAGE_REPLACED : IMAGE_INSERTED;
}

static bool write_images(struct pg_rows *r, struct pg_conn *conn, int32_t stream, enum image_fate fate, const char *statement,
                         bool v3, struct error *err)
{
	static const enum pg_array_of types[] = {PG_ARRAY_TEXT,  PG_ARRAY_BYTEA, PG_ARRAY_TEXT,
	                                         PG_ARRAY_BYTEA, PG_ARRAY_TEXT,  PG_ARRAY_INT8};
	struct pg_array *a = r->arrays;
	struct buf text = {0};
	size_t columns = v3 ? 6 : 5;
	bool ok = true;
	begin_arrays(r, types, columns);
	for (size_t i = 0; i < r->entry_count && ok; i++) {
		const struct kept_row *e = r->entries[i];
		if (e->table->stream != stream || image_fate(e) != fate)
			continue;
		pg_array_bytes(&a[0], slice_cstr(e->table->id));
		pg_array_bytes(&a[1], e->key);
		gifts_json(&text, &e->now);
		pg_array_bytes(&a[2], buf_slice(&text));
		pg_array_bytes(&a[3], e->now.exists ? e->now.image : SLICE("\5\0\0\0\0"));
		lookups_text(&text, &e->now);
		pg_array_bytes(&a[4], buf_slice(&text));
		if (v3 && e->marker)
			pg_array_i64(&a[5], id_of(r, e->rank));
		else if (v3)
			pg_array_bytes(&a[5], (struct slice){NULL, 0});
		if (statement_full(r, columns))
			ok = send_arrays(r, conn, statement, stream, types, columns, err);
	}
	buf_free(&text);
	return ok && send_arrays(r, conn, statement, stream, types, columns, err);
}

/* Keys of entries whose image goes, or (of the side table) that are complete again. */
static bool delete_keys(struct pg_rows *r, struct pg_conn *conn, int32_t stream, bool side, const char *statement,
                        struct error *err)
{
	static const enum pg_array_of types[] = {PG_ARRAY_TEXT, PG_ARRAY_BYTEA};
	begin_arrays(r, types, 2);
	for (size_t i = 0; i < r->entry_count; i++) {
		const struct kept_row *e = r->entries[i];
		bool goes =
		        side ? e->touched && !e->incomplete && e->table->incomplete == ROW_YES : image_fate(e) == IMAGE_DELETED;
		if (e->table->stream != stream || !goes)
			continue;
		pg_array_bytes(&r->arrays[0], slice_cstr(e->table->id));
		pg_array_bytes(&r->arrays[1], e->key);
		if (statement_full(r, 2) && !send_arrays(r, conn, statement, stream, types, 2, err))
			return false;
	}
	return send_arrays(r, conn, statement, stream, types, 2, err);
}

static bool write_incomplete(struct pg_rows *r, struct pg_conn *conn, int32_t stream, struct error *err)
{
	static const enum pg_array_of types[] = {PG_ARRAY_TEXT, PG_ARRAY_BYTEA, PG_ARRAY_BYTEA, PG_ARRAY_BYTEA, PG_ARRAY_BYTEA};
	begin_arrays(r, types, 5);
	for (size_t i = 0; i < r->entry_count; i++) {
		const struct kept_row *e = r->entries[i];
		uint8_t digest[32];
		if (e->table->stream != stream || !e->touched || !e->incomplete)
			continue;
		sha256_slices(&e->now.image, 1, digest);
		pg_array_bytes(&r->arrays[0], slice_cstr(e->table->id));
		pg_array_bytes(&r->arrays[1], e->key);
		pg_array_bytes(&r->arrays[2], e->row_key);
		pg_array_bytes(&r->arrays[3], e->partial);
		pg_array_bytes(&r->arrays[4], slice_make(digest, sizeof(digest)));
		if (statement_full(r, 5) && !send_arrays(r, conn, put_incomplete, stream, types, 5, err))
			return false;
	}
	return send_arrays(r, conn, put_incomplete, stream, types, 5, err);
}

static const struct row_table *some_table(const struct pg_rows *r, int32_t stream)
{
	const struct row_table *t = r->tables;
	while (t->stream != stream)
		t = t->next;
	return t;
}

/* No statement can be prepared within a pipeline. */
static bool prepare_all(struct pg_conn *conn, const struct row_statements *s, struct error *err)
{
	return rows_prepared(conn, insert_ops, err) && rows_prepared(conn, insert_lookups, err) &&
	       rows_prepared(conn, s->insert, err) && rows_prepared(conn, s->replace, err) &&
	       rows_prepared(conn, s->remove, err) && rows_prepared(conn, put_incomplete, err) &&
	       rows_prepared(conn, rows_complete, err);
}

static bool send_all(struct pg_rows *r, struct pg_conn *conn, int32_t stream, const struct row_statements *s, bool markers,
                     struct error *err)
{
	return write_ops(r, conn, stream, err) && write_lookups(r, conn, stream, err) &&
	       write_images(r, conn, stream, IMAGE_INSERTED, s->insert, markers, err) &&
	       write_images(r, conn, stream, IMAGE_REPLACED, s->replace, markers, err) &&
	       delete_keys(r, conn, stream, false, s->remove, err) && delete_keys(r, conn, stream, true, rows_complete, err) &&
	       write_incomplete(r, conn, stream, err);
}

bool rows_store(struct pg_rows *r, struct pg_conn *conn, int32_t stream, struct error *err)
{
	const struct row_table *t = some_table(r, stream);
	bool markers = t->version >= 3;
	const struct row_statements *s = rows_statements(t);
	if (!prepare_all(conn, s, err) || !pg_pipeline_begin(conn, err))
		return false;
	bool sent = send_all(r, conn, stream, s, markers, err);
	return pg_pipeline_end(conn, NULL, 0, sent ? err : NULL) && sent;
}
