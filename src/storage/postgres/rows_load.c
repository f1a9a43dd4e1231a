/* rows_load.c: what is stored of rows is read; see rows_internal.h. */
#include <stdlib.h>

#include "base/alloc.h"
#include "storage/digest.h"
#include "storage/postgres/rows_internal.h"
#include "value/json.h"

/* Keys that are remembered while a table is read for the first time; beyond, everything is loaded. */
#define STREAMED_MAX (1u << 22)

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
	PGresult *res = rows_run(conn, rows_statements(t)->probe, 2,
	                         (struct pg_param[]){rows_int4(stream, t->stream), rows_bytes(slice_cstr(t->id))}, err);
	if (!res)
		return false;
	t->filled = rows_bool(res, 0, 0) ? ROW_YES : ROW_NO;
	t->incomplete = t->incomplete == ROW_YES || rows_bool(res, 0, 1) ? ROW_YES : ROW_NO;
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
		struct kept_row *e = entries[rows_i64(res, i, 0) - 1];
		if (!rows_read_state(&e->stored, rows_value(res, i, 1), rows_value(res, i, 2), &r->arena, err))
			return false;
		e->in_table = true;
		if (rows_bool(res, i, 3))
			e->stored = (struct row_state){.exists = false};
		memcpy(e->stored.digest, PQgetvalue(res, i, 4), sizeof(e->stored.digest));
		e->stored.no_image = rows_bool(res, i, 5);
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
	PGresult *res =
	        rows_run(conn, rows_statements(t)->load, 3,
	                 (struct pg_param[]){rows_int4(stream, t->stream), pg_array_param(tables), pg_array_param(keys)}, err);
	if (!res)
		return false;
	bool ok = take_loaded(r, entries, res, err);
	PQclear(res);
	return ok && rows_load_sums(r, conn, entries, count, err);
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
	PGresult *res = rows_run(conn, rows_statements(e->table)->load_one, 3,
	                         (struct pg_param[]){rows_int4(stream, e->table->stream), rows_bytes(slice_cstr(e->table->id)),
	                                             rows_bytes(e->key)},
	                         err);
	if (!res)
		return false;
	bool ok = true;
	e->loaded = true;
	if (PQntuples(res)) {
		struct slice image = rows_value(res, 0, 3);
		ok = rows_read_state(&e->stored, rows_value(res, 0, 0), rows_value(res, 0, 1), &r->arena, err);
		e->in_table = true;
		sha256_slices(&image, 1, e->stored.digest);
		if (rows_bool(res, 0, 2))
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
	PGresult *res = rows_run(conn, rows_statements(t)->incomplete, 4,
	                         (struct pg_param[]){rows_int4(stream, t->stream), rows_bytes(table->id), rows_bytes(after),
	                                             rows_int8(limit, (int64_t)max)},
	                         err);
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
	PGresult *res = rows_run(
	        conn, rows_statements(t)->scan, 3,
	        (struct pg_param[]){rows_int4(stream, t->stream), rows_bytes(table->id), rows_int8(limit, (int64_t)max)}, err);
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
