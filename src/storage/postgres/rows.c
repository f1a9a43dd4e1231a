/* rows.c: the queue of rows, and reading through it; see rows.h. */
#include "storage/postgres/rows.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/utf8.h"
#include "storage/postgres/rows_internal.h"

/* Memory that an emptied queue keeps. */
#define QUEUE_KEEP (32u * 1024 * 1024)
#define EMPTY_IMAGE ((struct slice){"\5\0\0\0\0", 5})

struct pg_rows *pg_rows_new(const struct log *log)
{
	struct pg_rows *r = xcalloc(1, sizeof(*r));
	r->log = log;
	return r;
}

void rows_table_free_streamed(struct row_table *t)
{
	free(t->streamed);
	t->streamed = NULL;
	t->streamed_count = t->streamed_cap = 0;
}

void pg_rows_free(struct pg_rows *r)
{
	if (!r)
		return;
	for (struct row_table *t = r->tables, *next; t; t = next) {
		next = t->next;
		rows_table_free_streamed(t);
		free(t);
	}
	for (size_t i = 0; i < ROW_ARRAYS; i++)
		pg_array_free(&r->arrays[i]);
	rows_work_free(&r->work);
	free(r->records);
	free(r->slots);
	free(r->entries);
	free(r->ids);
	arena_free(&r->arena);
	free(r);
}

void pg_rows_clear(struct pg_rows *r)
{
	if (r->slots)
		memset(r->slots, 0, r->slot_cap * sizeof(struct kept_row *));
	r->record_count = r->entry_count = r->stream_count = r->bytes = 0;
	arena_rewind(&r->arena, QUEUE_KEEP);
}

/* ---- entries --------------------------------------------------------------------------------------------------------------------------- */

struct row_table *rows_table(struct pg_rows *r, const struct pg_row_table *t)
{
	struct row_table **at = &r->tables, *found;
	for (; (found = *at); at = &found->next)
		if (found->stream == t->stream && slice_eq(slice_cstr(found->id), t->id))
			break;
	if (!found) {
		found = xcalloc(1, sizeof(*found));
		found->stream = t->stream;
		found->version = t->version;
		snprintf(found->id, sizeof(found->id), "%.*s", SLICE_ARG(t->id));
	} else {
		*at = found->next;
	}
	/* The one used last stands in front. */
	found->next = r->tables;
	r->tables = found;
	return found;
}

static uint64_t key_hash(const struct row_table *t, struct slice key)
{
	uint64_t h = (uint64_t)(uintptr_t)t;
	for (; key.n >= 8; key = slice_drop(key, 8)) {
		uint64_t v;
		memcpy(&v, key.p, 8);
		h = (h ^ v) * 0x9e3779b97f4a7c15u;
		h ^= h >> 29;
	}
	for (size_t i = 0; i < key.n; i++)
		h = (h ^ (uint8_t)key.p[i]) * 0x9e3779b97f4a7c15u;
	h ^= h >> 32;
	return h ? h : 1;
}

static size_t slot_of(const struct pg_rows *r, const struct row_table *t, struct slice key, uint64_t hash)
{
	size_t at = hash & (r->slot_cap - 1);
	while (r->slots[at] && (r->slots[at]->hash != hash || r->slots[at]->table != t || !slice_eq(r->slots[at]->key, key)))
		at = (at + 1) & (r->slot_cap - 1);
	return at;
}

static void grow_slots(struct pg_rows *r)
{
	size_t cap = r->slot_cap ? r->slot_cap * 2 : 1024;
	r->slots = xrealloc(r->slots, cap * sizeof(struct kept_row *));
	memset(r->slots, 0, cap * sizeof(struct kept_row *));
	r->slot_cap = cap;
	for (size_t i = 0; i < r->entry_count; i++) {
		struct kept_row *e = r->entries[i];
		r->slots[slot_of(r, e->table, e->key, e->hash)] = e;
	}
}

struct kept_row *rows_find(const struct pg_rows *r, const struct row_table *t, struct slice key)
{
	return r->slot_cap ? r->slots[slot_of(r, t, key, key_hash(t, key))] : NULL;
}

static void note_stream(struct pg_rows *r, int32_t stream)
{
	for (size_t i = 0; i < r->stream_count; i++)
		if (r->streams[i] == stream)
			return;
	if (r->stream_count < ROW_STREAMS)
		r->streams[r->stream_count++] = stream;
}

struct kept_row *rows_entry(struct pg_rows *r, struct row_table *t, struct slice key)
{
	uint64_t hash = key_hash(t, key);
	if (2 * (r->entry_count + 1) > r->slot_cap)
		grow_slots(r);
	size_t at = slot_of(r, t, key, hash);
	if (r->slots[at])
		return r->slots[at];
	struct kept_row *e = arena_calloc(&r->arena, sizeof(*e));
	e->table = t;
	e->key = arena_copy(&r->arena, key);
	e->hash = hash;
	r->slots[at] = e;
	r->entries = xgrow(r->entries, r->entry_count, &r->entry_cap, sizeof(struct kept_row *));
	r->entries[r->entry_count++] = e;
	return e;
}

/* ---- queueing --------------------------------------------------------------------------------------------------------------------------- */

static struct row_change *add_record(struct pg_rows *r, enum row_change_kind kind, struct kept_row *e, struct kept_row *former)
{
	r->records = xgrow(r->records, r->record_count, &r->record_cap, sizeof(*r->records));
	struct row_change *rec = &r->records[r->record_count++];
	*rec = (struct row_change){.kind = kind, .entry = e, .former = former != e ? former : NULL};
	note_stream(r, e->table->stream);
	if (rec->former) {
		rec->former->last = r->record_count;
		rec->former->gone = true;
	}
	e->last = r->record_count;
	e->gone = kind == CHANGE_DELETE || kind == CHANGE_FORGET;
	r->bytes += sizeof(*rec) + sizeof(*e) + e->key.n;
	return rec;
}

static bool storable(struct slice text)
{
	return !(text.n && memchr(text.p, 0, text.n)) && utf8_valid(text);
}

/* The first ones are logged, then every thousandth. */
static void leave_out(struct pg_rows *r, const struct row_table *t, struct slice id)
{
	uint64_t n = ++r->left_out;
	struct arena arena = {0};
	if (n > 10 && n % 1000)
		return;
	struct slice shown = utf8_shown(utf8_mend(id, &arena), 60, &arena);
	log_error(r->log,
	          "The storage database cannot hold a text of the row %.*s of the table %s (number %llu): it is not synced",
	          SLICE_ARG(shown), t->id, (unsigned long long)n);
	arena_free(&arena);
}

static void copy_puts(struct pg_rows *r, struct row_change *rec, const struct pg_row *row)
{
	rec->puts = arena_array(&r->arena, struct pg_row_put, row->put_count + 1);
	for (size_t i = 0; i < row->put_count; i++) {
		const struct pg_row_put *from = &row->puts[i], *before = i ? &row->puts[i - 1] : NULL;
		struct pg_row_put *to = &rec->puts[rec->put_count];
		if (!storable(from->bucket) || !storable(from->object_type) || !storable(from->object_id) ||
		    !storable(from->data)) {
			leave_out(r, rec->entry->table, from->object_id);
			continue;
		}
		/* Entries with the same columns have the same bytes. */
		bool same = before && rec->put_count && before->data.p == from->data.p && before->data.n == from->data.n;
		*to = (struct pg_row_put){.bucket = arena_copy(&r->arena, from->bucket),
		                          .object_type = arena_copy(&r->arena, from->object_type),
		                          .object_id = arena_copy(&r->arena, from->object_id),
		                          .data = same ? to[-1].data : arena_copy(&r->arena, from->data),
		                          .checksum = from->checksum};
		r->bytes += sizeof(*to) + to->bucket.n + to->object_type.n + 2 * to->object_id.n + to->data.n + 100;
		rec->put_count++;
	}
}

static void copy_lookups(struct pg_rows *r, struct row_change *rec, const struct pg_row *row)
{
	rec->lookups = arena_array(&r->arena, struct pg_row_lookup, row->lookup_count + 1);
	for (size_t i = 0; i < row->lookup_count; i++) {
		if (!storable(row->lookups[i].results)) {
			leave_out(r, rec->entry->table, row->lookups[i].results);
			continue;
		}
		struct pg_row_lookup *to = &rec->lookups[rec->lookup_count++];
		*to = (struct pg_row_lookup){arena_copy(&r->arena, row->lookups[i].lookup),
		                             arena_copy(&r->arena, row->lookups[i].results)};
		r->bytes += sizeof(*to) + to->lookup.n * 2 + to->results.n + 100;
	}
}

static struct row_change *add_row(struct pg_rows *r, enum row_change_kind kind, const struct pg_row_table *table,
                                  const struct pg_row *row)
{
	struct row_table *t = rows_table(r, table);
	struct kept_row *e = rows_entry(r, t, row->key), *former = row->old.n ? rows_entry(r, t, row->old) : NULL;
	e->streamed |= !row->compare;
	if (former)
		former->streamed = true;
	struct row_change *rec = add_record(r, kind, e, former);
	rec->compare = row->compare;
	rec->image = row->image.n ? arena_copy(&r->arena, row->image) : EMPTY_IMAGE;
	r->bytes += rec->image.n;
	return rec;
}

void pg_rows_put(struct pg_rows *r, const struct pg_row_table *table, const struct pg_row *row)
{
	struct row_change *rec = add_row(r, CHANGE_PUT, table, row);
	copy_puts(r, rec, row);
	copy_lookups(r, rec, row);
}

void pg_rows_put_incomplete(struct pg_rows *r, const struct pg_row_table *table, const struct pg_row *row, struct slice row_key,
                            struct slice partial)
{
	struct row_change *rec = add_row(r, CHANGE_INCOMPLETE, table, row);
	rec->row_key = arena_copy(&r->arena, row_key);
	rec->partial = arena_copy(&r->arena, partial);
	rec->entry->table->incomplete = ROW_YES;
}

void pg_rows_delete(struct pg_rows *r, const struct pg_row_table *table, struct slice key)
{
	struct kept_row *e = rows_entry(r, rows_table(r, table), key);
	e->streamed = true;
	add_record(r, CHANGE_DELETE, e, NULL);
}

void rows_forget(struct pg_rows *r, struct kept_row *e)
{
	e->streamed = true;
	add_record(r, CHANGE_FORGET, e, NULL);
}

size_t pg_rows_size(const struct pg_rows *r)
{
	return r->bytes;
}

bool pg_rows_queued(const struct pg_rows *r, int32_t stream)
{
	for (size_t i = 0; i < r->stream_count; i++)
		if (r->streams[i] == stream)
			return true;
	return false;
}

/* ---- writing ------------------------------------------------------------------------------------------------------------------------------ */

/* A table that was found empty had a row after all: what was assumed of its rows is loaded from now on. */
static void assume_nothing(struct pg_rows *r, int32_t stream)
{
	for (struct row_table *t = r->tables; t; t = t->next)
		if (t->stream == stream && t->filled == ROW_NO) {
			t->filled = ROW_YES;
			rows_table_free_streamed(t);
		}
}

static bool write_stream(struct pg_rows *r, struct pg_conn *conn, int32_t stream, uint64_t *last_op, struct error *err)
{
	for (;;) {
		bool assumed;
		if (!rows_load(r, conn, stream, &assumed, err) || (assumed && !rows_savepoint(conn, err)))
			return false;
		rows_apply(r, stream);
		if (!rows_draw_ids(r, conn, last_op, err))
			return false;
		if (rows_store(r, conn, stream, err))
			return true;
		if (!assumed || conn->broken || strcmp(conn->sqlstate, "23505") != 0 || !rows_back_to_savepoint(conn, err))
			return false;
		assume_nothing(r, stream);
	}
}

bool pg_rows_write(struct pg_rows *r, struct pg_conn *conn, uint64_t *last_op, struct error *err)
{
	for (size_t i = 0; i < r->stream_count; i++)
		if (!write_stream(r, conn, r->streams[i], last_op, err))
			return false;
	pg_rows_clear(r);
	return true;
}

/* ---- reading ------------------------------------------------------------------------------------------------------------------------------ */

bool pg_rows_read(struct pg_rows *r, struct pg_conn *conn, const struct pg_row_table *table, struct slice key,
                  struct arena *arena, struct pg_stored_row *out, struct error *err)
{
	struct row_table *t = rows_table(r, table);
	struct kept_row *e = rows_find(r, t, key);
	*out = (struct pg_stored_row){.found = false};
	if (!e || !e->last)
		return rows_load_one(r, conn, rows_entry(r, t, key), out, arena, err);
	if (e->gone)
		return true;
	const struct row_change *rec = &r->records[e->last - 1];
	out->found = true;
	out->image = arena_copy(arena, rec->image);
	out->incomplete = rec->kind == CHANGE_INCOMPLETE;
	out->partial = out->incomplete ? arena_copy(arena, rec->partial) : (struct slice){NULL, 0};
	return true;
}
