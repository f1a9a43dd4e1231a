/*
 * rows_store.c: what is stored of rows is loaded, ids are drawn, everything is written; see rows_internal.h.
 *
 * Statements take arrays, a few thousand rows each, and go through a pipeline, so that the server inserts while the next arrays are
 * made. They reach their rows by key alone; the connection's settings keep the planner from anything else, whatever it thinks of a table
 * that grew by a million rows since it last looked.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/codec.h"
#include "storage/digest.h"
#include "storage/postgres/rows_internal.h"
#include "value/json.h"

/* What one statement writes at most: more would leave work_mem. */
#define STATEMENT_ROWS 4000
#define STATEMENT_BYTES (2u * 1024 * 1024)
/* Keys that are remembered while a table is read for the first time; beyond, everything is loaded. */
#define STREAMED_MAX (1u << 22)

/* ---- statements -------------------------------------------------------------------------------------------------------------------------- */

#define IMAGES_BY_KEY " c.group_id = $1::int AND c.source_table = x.t AND c.source_key = x.k"
#define LOAD(table, marker)                                                                                                      \
	"SELECT x.i, c.buckets::text, c.lookups, " marker ", sha256(c.data)"                                                     \
	" FROM unnest($2::text[], $3::bytea[]) WITH ORDINALITY AS x (t, k, i) JOIN " table " c ON" IMAGES_BY_KEY
#define LOAD_ONE(table, marker)                                                                                                  \
	"SELECT c.buckets::text, c.lookups, " marker                                                                             \
	", c.data, (SELECT i.partial FROM syncline_incomplete_rows i WHERE i.group_id = c.group_id AND"                          \
	" i.source_table = c.source_table AND i.source_key = c.source_key AND i.image_digest = sha256(c.data)) FROM " table      \
	" c WHERE c.group_id = $1::int AND c.source_table = $2::text AND c.source_key = $3::bytea"
#define INSERT_IMAGES(table, pending_name, pending, pending_array, conflict)                                                     \
	"INSERT INTO " table " (group_id, source_table, source_key, buckets, data, lookups" pending_name                         \
	") SELECT $1::int, t, k, b::jsonb, d, l::bytea[]" pending " FROM unnest($2::text[], $3::bytea[], $4::text[],"            \
	" $5::bytea[], $6::text[]" pending_array ") AS x (t, k, b, d, l" pending ")" conflict
#define REPLACE(more)                                                                                                            \
	" ON CONFLICT (group_id, source_table, source_key) DO UPDATE SET buckets = EXCLUDED.buckets, data = EXCLUDED.data,"      \
	" lookups = EXCLUDED.lookups" more
#define DELETE_BY_KEY(table) "DELETE FROM " table " c USING unnest($2::text[], $3::bytea[]) AS x (t, k) WHERE" IMAGES_BY_KEY
#define PROBE(table)                                                                                                             \
	"SELECT EXISTS (SELECT FROM " table " WHERE group_id = $1::int AND source_table = $2::text),"                            \
	" EXISTS (SELECT FROM syncline_incomplete_rows WHERE group_id = $1 AND source_table = $2)"
#define SCAN(table, live)                                                                                                        \
	"SELECT source_key, buckets::text, lookups FROM " table " WHERE group_id = $1::int AND source_table = $2::text" live     \
	" ORDER BY source_key LIMIT $3::bigint"
/* A row that somebody else has written since is not ours to complete. */
#define INCOMPLETE(table)                                                                                                        \
	"SELECT i.source_key, i.row_key FROM syncline_incomplete_rows i JOIN " table                                             \
	" c USING (group_id, source_table, source_key) WHERE i.group_id = $1::int AND i.source_table = $2::text"                 \
	" AND i.source_key > $3::bytea AND sha256(c.data) = i.image_digest ORDER BY i.source_key LIMIT $4::bigint"

/* Those that know the table of images, by the stream's version. */
struct image_statements {
	const char *load, *load_one, *probe, *scan, *incomplete, *insert, *replace, *remove;
};

#define MARKER "c.pending_delete IS NOT NULL"
static const struct image_statements statements[] = {
        {
                .load = LOAD("current_data", "false"),
                .load_one = LOAD_ONE("current_data", "false"),
                .probe = PROBE("current_data"),
                .scan = SCAN("current_data", ""),
                .incomplete = INCOMPLETE("current_data"),
                .insert = INSERT_IMAGES("current_data", "", "", "", ""),
                .replace = INSERT_IMAGES("current_data", "", "", "", REPLACE("")),
                .remove = DELETE_BY_KEY("current_data"),
        },
        {
                .load = LOAD("v3_current_data", MARKER),
                .load_one = LOAD_ONE("v3_current_data", MARKER),
                .probe = PROBE("v3_current_data"),
                .scan = SCAN("v3_current_data", " AND pending_delete IS NULL"),
                .incomplete = INCOMPLETE("v3_current_data"),
                .insert = INSERT_IMAGES("v3_current_data", ", pending_delete", ", p", ", $7::bigint[]", ""),
                .replace = INSERT_IMAGES("v3_current_data", ", pending_delete", ", p", ", $7::bigint[]",
                                         REPLACE(", pending_delete = EXCLUDED.pending_delete")),
                .remove = DELETE_BY_KEY("v3_current_data"),
        },
};

static const struct image_statements *statements_of(const struct row_table *t)
{
	return &statements[t->version >= 3];
}

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
static const char delete_incomplete[] = DELETE_BY_KEY("syncline_incomplete_rows");

bool pg_rows_prepare(struct pg_conn *conn, struct error *err)
{
	return pg_command(conn,
	                  "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;"
	                  " SET plan_cache_mode = force_generic_plan; SET jit = off",
	                  err);
}

/* ---- single statements ---------------------------------------------------------------------------------------------------------------------- */

static struct pg_param int4(char room[4], int32_t v)
{
	be32_put(room, (uint32_t)v);
	return (struct pg_param){room, 4};
}

static struct pg_param int8(char room[8], int64_t v)
{
	be64_put(room, (uint64_t)v);
	return (struct pg_param){room, 8};
}

static struct pg_param bytes(struct slice s)
{
	return (struct pg_param){s.p ? s.p : "", s.n};
}

static bool prepared(struct pg_conn *conn, const char *sql, struct error *err)
{
	char name[16];
	return pg_prepare(conn, sql, name, PG_TIMEOUT_MS, err);
}

static PGresult *run(struct pg_conn *conn, const char *sql, int count, const struct pg_param *params, struct error *err)
{
	PGresult *res = NULL;
	if (!prepared(conn, sql, err) || !pg_pipeline_begin(conn, err))
		return NULL;
	bool sent = pg_pipeline_send(conn, sql, count, params, err);
	return pg_pipeline_end(conn, &res, 1, sent ? err : NULL) && sent ? res : NULL;
}

struct slice rows_value(const PGresult *res, int row, int column)
{
	return slice_make(PQgetvalue(res, row, column), (size_t)PQgetlength(res, row, column));
}

static int64_t value_i64(const PGresult *res, int row, int column)
{
	return (int64_t)be64_get(PQgetvalue(res, row, column));
}

static bool value_bool(const PGresult *res, int row, int column)
{
	return PQgetvalue(res, row, column)[0] != 0;
}

bool rows_savepoint(struct pg_conn *conn, struct error *err)
{
	return pg_command(conn, "SAVEPOINT rows", err);
}

bool rows_back_to_savepoint(struct pg_conn *conn, struct error *err)
{
	return pg_command(conn, "ROLLBACK TO SAVEPOINT rows", err);
}

/* ---- what is stored ------------------------------------------------------------------------------------------------------------------------- */

static struct slice member(const struct json_node *n, struct slice name)
{
	const struct json_node *m = json_find(n, name);
	return m && m->kind == JSON_KIND_STRING ? m->s : (struct slice){NULL, 0};
}

bool rows_read_state(struct row_state *s, struct slice buckets, struct slice lookups, struct arena *arena, struct error *err)
{
	struct json_node list;
	struct slice *items;
	*s = (struct row_state){.exists = true};
	if (buckets.n > 2) {
		if (!json_read(arena_copy(arena, buckets), JSON_EXACT, arena, &list, NULL) || list.kind != JSON_KIND_ARRAY)
			return error_set(err, "PSYNC_S2404", "the store has a row whose buckets cannot be read");
		struct row_gift *gifts = arena_array(arena, struct row_gift, list.array.count);
		for (size_t i = 0; i < list.array.count; i++) {
			const struct json_node *n = &list.array.items[i];
			gifts[i] =
			        (struct row_gift){member(n, SLICE("bucket")), member(n, SLICE("table")), member(n, SLICE("id"))};
			if (!gifts[i].bucket.p || !gifts[i].type.p || !gifts[i].id.p)
				return error_set(err, "PSYNC_S2404", "the store has a row whose buckets cannot be read");
		}
		s->gifts = gifts;
		s->gift_count = list.array.count;
	}
	if (!pg_array_read(arena_copy(arena, lookups), arena, &items, &s->lookup_count))
		return error_set(err, "PSYNC_S2404", "the store has a row whose lookups cannot be read");
	s->lookups = items;
	return true;
}

/* Was the key written by anything but a reading, while the table is filled? */
static bool was_streamed(const struct row_table *t, uint64_t hash)
{
	for (size_t at = hash & (t->streamed_cap - 1); t->streamed_cap && t->streamed[at]; at = (at + 1) & (t->streamed_cap - 1))
		if (t->streamed[at] == hash)
			return true;
	return false;
}

static void note_streamed(struct row_table *t, uint64_t hash)
{
	if (was_streamed(t, hash))
		return;
	if (t->streamed_count >= STREAMED_MAX) {
		t->filled = ROW_YES;
		rows_table_free_streamed(t);
		return;
	}
	if (2 * (t->streamed_count + 1) > t->streamed_cap) {
		struct row_table old = *t;
		t->streamed_cap = old.streamed_cap ? old.streamed_cap * 2 : 256;
		t->streamed = xcalloc(t->streamed_cap, sizeof(*t->streamed));
		t->streamed_count = 0;
		for (size_t i = 0; i < old.streamed_cap; i++)
			if (old.streamed[i])
				note_streamed(t, old.streamed[i]);
		free(old.streamed);
	}
	size_t at = hash & (t->streamed_cap - 1);
	while (t->streamed[at])
		at = (at + 1) & (t->streamed_cap - 1);
	t->streamed[at] = hash;
	t->streamed_count++;
}

/* Is the table empty, and has it incomplete rows? Asked once. */
static bool probe(struct row_table *t, struct pg_conn *conn, struct error *err)
{
	char stream[4];
	if (t->filled != ROW_UNKNOWN)
		return true;
	PGresult *res = run(conn, statements_of(t)->probe, 2,
	                    (struct pg_param[]){int4(stream, t->stream), bytes(slice_cstr(t->id))}, err);
	if (!res)
		return false;
	t->filled = value_bool(res, 0, 0) ? ROW_YES : ROW_NO;
	t->incomplete = t->incomplete == ROW_YES || value_bool(res, 0, 1) ? ROW_YES : ROW_NO;
	PQclear(res);
	return true;
}

/* A row that is read for the first time into a table that was empty cannot be there already, if it was not streamed. If it is, after all
 * (it was read twice), inserting it fails, and everything is loaded instead. */
static bool assume_absent(const struct kept_row *e)
{
	return e->table->filled == ROW_NO && !e->streamed && !was_streamed(e->table, e->hash);
}

static bool take_loaded(struct pg_rows *r, struct kept_row *const *entries, const PGresult *res, struct error *err)
{
	for (int i = 0; i < PQntuples(res); i++) {
		struct kept_row *e = entries[value_i64(res, i, 0) - 1];
		if (!rows_read_state(&e->stored, rows_value(res, i, 1), rows_value(res, i, 2), &r->arena, err))
			return false;
		e->in_table = true;
		if (value_bool(res, i, 3))
			e->stored = (struct row_state){.exists = false};
		memcpy(e->stored.digest, PQgetvalue(res, i, 4), sizeof(e->stored.digest));
	}
	return true;
}

static bool load_some(struct pg_rows *r, struct pg_conn *conn, struct kept_row *const *entries, size_t count, struct error *err)
{
	struct pg_array *tables = &r->arrays[0], *keys = &r->arrays[1];
	char stream[4];
	pg_array_begin(tables, PG_ARRAY_TEXT);
	pg_array_begin(keys, PG_ARRAY_BYTEA);
	for (size_t i = 0; i < count; i++) {
		pg_array_bytes(tables, slice_cstr(entries[i]->table->id));
		pg_array_bytes(keys, entries[i]->key);
		entries[i]->loaded = true;
	}
	const struct row_table *t = entries[0]->table;
	PGresult *res = run(conn, statements_of(t)->load, 3,
	                    (struct pg_param[]){int4(stream, t->stream), pg_array_param(tables), pg_array_param(keys)}, err);
	if (!res)
		return false;
	bool ok = take_loaded(r, entries, res, err);
	PQclear(res);
	return ok;
}

bool rows_load(struct pg_rows *r, struct pg_conn *conn, int32_t stream, bool *assumed, struct error *err)
{
	struct kept_row **some = arena_array(&r->arena, struct kept_row *, STATEMENT_ROWS);
	size_t count = 0;
	*assumed = false;
	for (size_t i = 0; i < r->entry_count; i++) {
		struct kept_row *e = r->entries[i];
		if (e->table->stream != stream || e->loaded)
			continue;
		if (!probe(e->table, conn, err))
			return false;
		if (assume_absent(e)) {
			*assumed = true;
			continue;
		}
		if (e->table->filled == ROW_NO)
			note_streamed(e->table, e->hash);
		some[count++] = e;
		if (count == STATEMENT_ROWS) {
			if (!load_some(r, conn, some, count, err))
				return false;
			count = 0;
		}
	}
	return !count || load_some(r, conn, some, count, err);
}

bool rows_load_one(struct pg_rows *r, struct pg_conn *conn, struct kept_row *e, struct pg_stored_row *out, struct arena *arena,
                   struct error *err)
{
	char stream[4];
	PGresult *res =
	        run(conn, statements_of(e->table)->load_one, 3,
	            (struct pg_param[]){int4(stream, e->table->stream), bytes(slice_cstr(e->table->id)), bytes(e->key)}, err);
	if (!res)
		return false;
	bool ok = true;
	e->loaded = true;
	if (PQntuples(res)) {
		struct slice image = rows_value(res, 0, 3);
		ok = rows_read_state(&e->stored, rows_value(res, 0, 0), rows_value(res, 0, 1), &r->arena, err);
		e->in_table = true;
		sha256_slices(&image, 1, e->stored.digest);
		if (value_bool(res, 0, 2))
			e->stored = (struct row_state){.exists = false};
		*out = (struct pg_stored_row){.found = e->stored.exists, .image = arena_copy(arena, image)};
		if (!PQgetisnull(res, 0, 4)) {
			out->incomplete = true;
			out->partial = arena_copy(arena, rows_value(res, 0, 4));
		}
	}
	PQclear(res);
	return ok;
}

/* ---- ids --------------------------------------------------------------------------------------------------------------------------------------- */

static bool last_id(struct pg_conn *conn, uint64_t *last_op, struct error *err)
{
	PGresult *res = run(conn, read_sequence, 0, NULL, err);
	if (!res)
		return false;
	*last_op = (uint64_t)value_i64(res, 0, 0);
	PQclear(res);
	return true;
}

/* Somebody else draws as well: ids one by one, ascending. */
static bool draw_list(struct pg_rows *r, struct pg_conn *conn, struct error *err)
{
	char number[8];
	size_t count = r->work.ids;
	PGresult *res = run(conn, draw_singly, 1, (struct pg_param[]){int8(number, (int64_t)count)}, err);
	if (!res)
		return false;
	r->ids = xrealloc(r->ids, count * sizeof(*r->ids));
	for (size_t i = 0; i < count; i++)
		r->ids[i] = (uint64_t)value_i64(res, (int)i, 0);
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
	PGresult *res = run(conn, draw_block, 1, (struct pg_param[]){int8(number, (int64_t)r->work.ids)}, err);
	if (!res)
		return false;
	r->first_id = (uint64_t)value_i64(res, 0, 0);
	*last_op = (uint64_t)value_i64(res, 0, 1);
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
	params[0] = int4(number, stream);
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

static bool has_markers(const struct pg_rows *r, int32_t stream)
{
	for (const struct row_table *t = r->tables; t; t = t->next)
		if (t->stream == stream)
			return t->version >= 3;
	return false;
}

/* No statement can be prepared within a pipeline. */
static bool prepare_all(struct pg_conn *conn, const struct image_statements *s, struct error *err)
{
	return prepared(conn, insert_ops, err) && prepared(conn, insert_lookups, err) && prepared(conn, s->insert, err) &&
	       prepared(conn, s->replace, err) && prepared(conn, s->remove, err) && prepared(conn, put_incomplete, err) &&
	       prepared(conn, delete_incomplete, err);
}

static bool send_all(struct pg_rows *r, struct pg_conn *conn, int32_t stream, const struct image_statements *s, bool markers,
                     struct error *err)
{
	return write_ops(r, conn, stream, err) && write_lookups(r, conn, stream, err) &&
	       write_images(r, conn, stream, IMAGE_INSERTED, s->insert, markers, err) &&
	       write_images(r, conn, stream, IMAGE_REPLACED, s->replace, markers, err) &&
	       delete_keys(r, conn, stream, false, s->remove, err) &&
	       delete_keys(r, conn, stream, true, delete_incomplete, err) && write_incomplete(r, conn, stream, err);
}

bool rows_store(struct pg_rows *r, struct pg_conn *conn, int32_t stream, struct error *err)
{
	bool markers = has_markers(r, stream);
	const struct image_statements *s = &statements[markers];
	if (!prepare_all(conn, s, err) || !pg_pipeline_begin(conn, err))
		return false;
	bool sent = send_all(r, conn, stream, s, markers, err);
	return pg_pipeline_end(conn, NULL, 0, sent ? err : NULL) && sent;
}

/* ---- scans ---------------------------------------------------------------------------------------------------------------------------------------- */

bool pg_rows_incomplete(struct pg_rows *r, struct pg_conn *conn, const struct pg_row_table *table, struct slice after, size_t max,
                        struct arena *arena, struct pg_incomplete_row **rows, size_t *count, struct error *err)
{
	struct row_table *t = rows_table(r, table);
	char stream[4], limit[8];
	*rows = NULL;
	*count = 0;
	if (!probe(t, conn, err))
		return false;
	if (t->incomplete == ROW_NO)
		return true;
	PGresult *res =
	        run(conn, statements_of(t)->incomplete, 4,
	            (struct pg_param[]){int4(stream, t->stream), bytes(table->id), bytes(after), int8(limit, (int64_t)max)}, err);
	if (!res)
		return false;
	*count = (size_t)PQntuples(res);
	*rows = arena_array(arena, struct pg_incomplete_row, *count + 1);
	for (size_t i = 0; i < *count; i++)
		(*rows)[i] = (struct pg_incomplete_row){arena_copy(arena, rows_value(res, (int)i, 0)),
		                                        arena_copy(arena, rows_value(res, (int)i, 1))};
	PQclear(res);
	if (!*count && !after.n && !r->record_count)
		t->incomplete = ROW_NO;
	return true;
}

bool pg_rows_truncate(struct pg_rows *r, struct pg_conn *conn, const struct pg_row_table *table, size_t max, size_t *count,
                      struct error *err)
{
	struct row_table *t = rows_table(r, table);
	char stream[4], limit[8];
	*count = 0;
	if (!probe(t, conn, err))
		return false;
	PGresult *res = run(conn, statements_of(t)->scan, 3,
	                    (struct pg_param[]){int4(stream, t->stream), bytes(table->id), int8(limit, (int64_t)max)}, err);
	if (!res)
		return false;
	bool ok = true;
	for (int i = 0; i < PQntuples(res) && ok; i++) {
		struct kept_row *e = rows_entry(r, t, rows_value(res, i, 0));
		ok = rows_read_state(&e->stored, rows_value(res, i, 1), rows_value(res, i, 2), &r->arena, err);
		e->loaded = e->in_table = true;
		rows_forget(r, e);
	}
	*count = (size_t)PQntuples(res);
	PQclear(res);
	return ok;
}
