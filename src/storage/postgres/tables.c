/*
 * tables.c: records of source tables (storage-semantics 5.1) in the streams that are written.
 *
 * The engine knows a table once; each stream that reads it has a record of its own, with an id of its own. How they are stored: tables_records.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "storage/digest.h"
#include "storage/postgres/rows.h"
#include "storage/postgres/writer.h"

/* Rows of a table that are removed in one transaction. */
#define TRUNCATE_STEP 2000
/* Epochs of a stream: its id, and how often changes of tables were lost in it. */
#define GENERATION_BITS 20

uint64_t pg_stream_epoch(int32_t stream_id)
{
	return (uint64_t)stream_id << GENERATION_BITS;
}

static bool waits(const struct pg_table_part *p)
{
	return p->stream_id && !p->gone && !p->idle && !p->snapshot_done;
}

static bool is_unread(const struct pg_table_part *p)
{
	return waits(p) && !p->snapshot_epoch;
}

static bool any_part(const struct pg_writer *w, size_t target, bool (*is)(const struct pg_table_part *p))
{
	for (size_t i = 0; i < w->table_count; i++)
		if (is(&w->tables[i].parts[target]))
			return true;
	return false;
}

bool pg_tables_unread(const struct pg_writer *w, size_t target)
{
	return any_part(w, target, is_unread);
}

bool pg_tables_waiting(const struct pg_writer *w, size_t target)
{
	return any_part(w, target, waits);
}

static bool is_there(const struct pg_table_part *p)
{
	return p->stream_id != 0;
}

bool pg_tables_are_read(const struct pg_writer *w, size_t target, struct error *err)
{
	struct buf names = {0};
	for (size_t i = 0; i < w->table_count; i++)
		if (is_unread(&w->tables[i].parts[target]))
			buf_printf(&names, "%s%.*s.%.*s", names.n ? ", " : "", SLICE_ARG(w->tables[i].schema),
			           SLICE_ARG(w->tables[i].name));
	bool ok = !names.n || error_set(err, "PSYNC_S1101", "tables are not read yet: %.*s", SLICE_ARG(buf_slice(&names)));
	buf_free(&names);
	return ok;
}

bool pg_tables_any(const struct pg_writer *w, size_t target)
{
	return any_part(w, target, is_there);
}

void pg_tables_read_again(struct pg_writer *w, size_t target)
{
	for (size_t i = 0; i < w->table_count; i++)
		w->tables[i].parts[target].snapshot_done = false;
}

/* ---- what the engine asks ------------------------------------------------------------------------------------------------------------ */

static struct pg_table *find(const struct pg_writer *w, uint32_t table, struct error *err)
{
	if (w->ready && table && table <= w->table_count && !w->tables[table - 1].dropped)
		return &w->tables[table - 1];
	error_set(err, "PSYNC_S1101", "table %u is not known to the store", table);
	return NULL;
}

const char *pg_writer_table_id(const struct pg_writer *w, uint32_t table, int32_t stream_id)
{
	const struct pg_table *t = find(w, table, NULL);
	for (size_t k = 0; t && k < w->target_count; k++)
		if (t->parts[k].stream_id == stream_id && !t->parts[k].idle)
			return t->parts[k].id;
	return NULL;
}

/* Over the streams that read the table. */
struct summary {
	bool any, done, foreign;
	uint64_t snapshot_epoch, generation, columns, published_as, rows_read;
	struct slice progress;
};

static struct summary summary_of(const struct pg_writer *w, const struct pg_table *t)
{
	struct summary s = {.done = true};
	for (size_t k = 0; k < w->target_count; k++) {
		const struct pg_table_part *p = &t->parts[k];
		if (!p->stream_id || p->gone)
			continue;
		s.done = s.done && p->snapshot_done;
		s.foreign = s.any ? s.foreign && p->foreign : p->foreign;
		/* The active stream's record tells whether it was ever read; the other one follows it. */
		if (!s.any) {
			s.snapshot_epoch = p->snapshot_epoch;
			s.columns = p->columns;
			s.published_as = p->published_as;
		} else if (p->snapshot_done) {
			s.snapshot_epoch = p->snapshot_epoch > s.snapshot_epoch ? p->snapshot_epoch : s.snapshot_epoch;
		}
		s.generation = p->generation > s.generation ? p->generation : s.generation;
		s.rows_read = p->rows_read;
		s.progress = buf_slice(&p->progress);
		s.any = true;
	}
	s.done = s.done && s.any;
	return s;
}

uint64_t pg_writer_table_generation(const struct pg_writer *w, uint32_t table)
{
	const struct pg_table *t = find(w, table, NULL);
	struct summary s = t ? summary_of(w, t) : (struct summary){0};
	return s.generation > s.snapshot_epoch ? s.generation : 0;
}

/* A stream that has no record yet gets one. What it shows must wait until the table is read (storage-semantics 6, "needs a snapshot again"). A
 * table that nobody reads has a record all the same (5.1); nothing waits for it. */
static void complete(struct pg_writer *w, struct pg_table *t, const struct table_identity *identity)
{
	bool any = false;
	for (size_t k = 0; k < w->target_count; k++)
		any = any || pg_stream_reads_table(w->targets[k].stream, identity);
	for (size_t k = 0; k < w->target_count; k++) {
		struct pg_table_part *p = &t->parts[k];
		if (p->stream_id || (any && !pg_stream_reads_table(w->targets[k].stream, identity)))
			continue;
		*p = (struct pg_table_part){.stream_id = w->targets[k].stream->id, .made = true, .changed = true, .idle = !any};
		uuid_random_text(p->id);
		w->dirty = true;
	}
}

static bool is_candidate(const struct pg_table *r, const struct table_identity *t)
{
	return !r->dropped && (r->oid == t->oid || (slice_eq(r->schema, t->schema) && slice_eq(r->name, t->name)));
}

bool pg_resolve_table(struct storage *s, const struct table_identity *t, struct arena *arena, struct stored_table *out,
                      uint32_t **drop, size_t *drop_count, struct error *err)
{
	struct pg_writer *w = pg_writer_of(s);
	uint32_t kept = 0;
	if (!pg_writer_ready(w, err))
		return false;
	for (size_t i = 0; i < w->table_count && !kept; i++)
		if (!w->tables[i].dropped && pg_table_is(&w->tables[i], t))
			kept = w->tables[i].number;
	if (!kept)
		kept = pg_tables_add(w, t)->number;
	complete(w, &w->tables[kept - 1], t);
	*drop = arena_array(arena, uint32_t, w->table_count);
	*drop_count = 0;
	for (size_t i = 0; i < w->table_count; i++)
		if (w->tables[i].number != kept && is_candidate(&w->tables[i], t))
			(*drop)[(*drop_count)++] = w->tables[i].number;
	struct summary sum = summary_of(w, &w->tables[kept - 1]);
	*out = (struct stored_table){.number = kept,
	                             .snapshot_done = sum.done,
	                             .snapshot_epoch = sum.snapshot_epoch,
	                             .last_key = arena_copy(arena, sum.progress),
	                             .rows_read = sum.rows_read,
	                             .generation = sum.generation,
	                             .columns = sum.columns,
	                             .published_as = sum.published_as,
	                             .adopted = sum.foreign && sum.snapshot_epoch};
	return true;
}

static bool each_part(struct storage *s, uint32_t table,
                      void (*change)(struct pg_writer *w, struct pg_table_part *p, const void *ctx), const void *ctx,
                      struct error *err)
{
	struct pg_writer *w = pg_writer_of(s);
	struct pg_table *t = find(w, table, err);
	if (!t)
		return pg_writer_ready(w, err) && false;
	for (size_t k = 0; k < w->target_count; k++)
		if (t->parts[k].stream_id && !t->parts[k].gone) {
			change(w, &t->parts[k], ctx);
			t->parts[k].changed = true;
			t->parts[k].foreign = false;
		}
	w->dirty = true;
	return true;
}

struct progress {
	struct slice last_key;
	uint64_t rows_read;
};

static void note_progress(struct pg_writer *w, struct pg_table_part *p, const void *ctx)
{
	const struct progress *g = ctx;
	(void)w;
	buf_clear(&p->progress);
	buf_slice_append(&p->progress, g->last_key);
	p->rows_read = g->rows_read;
}

bool pg_table_progress(struct storage *s, uint32_t table, struct slice last_key, uint64_t rows_read, struct error *err)
{
	return each_part(s, table, note_progress, &(struct progress){last_key, rows_read}, err);
}

static void start_over(struct pg_table_part *p)
{
	buf_clear(&p->progress);
	p->rows_read = 0;
}

static void note_done(struct pg_writer *w, struct pg_table_part *p, const void *ctx)
{
	(void)w;
	start_over(p);
	p->snapshot_done = true;
	p->snapshot_epoch = *(const uint64_t *)ctx;
}

bool pg_table_done(struct storage *s, uint32_t table, uint64_t epoch, struct error *err)
{
	return each_part(s, table, note_done, &epoch, err);
}

static void note_restart(struct pg_writer *w, struct pg_table_part *p, const void *ctx)
{
	(void)w;
	(void)ctx;
	start_over(p);
	p->snapshot_done = false;
}

bool pg_table_restart(struct storage *s, uint32_t table, struct error *err)
{
	return each_part(s, table, note_restart, NULL, err);
}

static void note_columns(struct pg_writer *w, struct pg_table_part *p, const void *ctx)
{
	(void)w;
	p->columns = *(const uint64_t *)ctx;
}

bool pg_table_columns(struct storage *s, uint32_t table, uint64_t columns, struct error *err)
{
	return each_part(s, table, note_columns, &columns, err);
}

static void note_published(struct pg_writer *w, struct pg_table_part *p, const void *ctx)
{
	(void)w;
	p->published_as = *(const uint64_t *)ctx;
}

bool pg_table_published(struct storage *s, uint32_t table, uint64_t published_as, struct error *err)
{
	return each_part(s, table, note_published, &published_as, err);
}

uint64_t pg_epoch(struct storage *s)
{
	const struct pg_writer *w = pg_writer_of(s);
	uint64_t epoch = 0;
	for (size_t i = 0; i < w->target_count; i++) {
		uint64_t e = pg_stream_epoch(w->targets[i].stream->id) + w->targets[i].beside.generation;
		epoch = e > epoch ? e : epoch;
	}
	return epoch;
}

bool pg_new_generation(struct storage *s, struct error *err)
{
	struct pg_writer *w = pg_writer_of(s);
	if (!pg_writer_ready(w, err))
		return false;
	for (size_t i = 0; i < w->target_count; i++)
		w->targets[i].beside.generation++;
	w->dirty = true;
	return true;
}

static void note_lost(struct pg_writer *w, struct pg_table_part *p, const void *ctx)
{
	note_restart(w, p, NULL);
	p->generation = *(const uint64_t *)ctx;
}

bool pg_table_lost(struct storage *s, uint32_t table, struct error *err)
{
	uint64_t epoch = pg_epoch(s);
	return each_part(s, table, note_lost, &epoch, err);
}

bool pg_table_names(struct storage *s, struct arena *arena, struct table_name **out, size_t *count, struct error *err)
{
	const struct pg_writer *w = pg_writer_of(s);
	*count = 0;
	if (!pg_writer_ready(w, err))
		return false;
	*out = arena_array(arena, struct table_name, w->table_count + 1);
	for (size_t i = 0; i < w->table_count; i++) {
		const struct pg_table *t = &w->tables[i];
		struct summary sum = summary_of(w, t);
		if (!t->dropped && sum.any)
			(*out)[(*count)++] = (struct table_name){t->number, t->oid, arena_copy(arena, t->schema),
			                                         arena_copy(arena, t->name), sum.generation > sum.snapshot_epoch};
	}
	return true;
}

/* ---- removal -------------------------------------------------------------------------------------------------------------------------- */

static bool truncate_part(struct pg_writer *w, const struct pg_table_part *p, int version, uint64_t *removed, struct error *err)
{
	const struct pg_row_table table = {.stream = p->stream_id, .version = version, .id = slice_cstr(p->id)};
	for (size_t count = 1; count;) {
		struct pg_conn *conn = pg_writer_conn(w, err);
		if (!conn || !pg_rows_truncate(w->rows, conn, &table, TRUNCATE_STEP, &count, err) ||
		    (count && !pg_writer_transact(w, PG_FLUSH, err)))
			return false;
		*removed += count;
	}
	return true;
}

bool pg_truncate_table(struct storage *s, uint32_t table, uint64_t *removed, struct error *err)
{
	struct pg_writer *w = pg_writer_of(s);
	*removed = 0;
	if (!pg_writer_ready(w, err) || (pg_writer_dirty(w) && !pg_writer_transact(w, PG_FLUSH, err)))
		return false;
	struct pg_table *t = find(w, table, err);
	for (size_t k = 0; t && k < w->target_count; k++)
		if (t->parts[k].stream_id && !truncate_part(w, &t->parts[k], w->targets[k].stream->version, removed, err))
			return false;
	return t != NULL;
}

bool pg_drop_table(struct storage *s, uint32_t table, struct error *err)
{
	struct pg_writer *w = pg_writer_of(s);
	uint64_t removed;
	if (!pg_truncate_table(s, table, &removed, err))
		return false;
	struct pg_table *t = find(w, table, err);
	for (size_t k = 0; t && k < w->target_count; k++)
		t->parts[k].gone = t->parts[k].stream_id != 0;
	if (t)
		t->dropped = w->dirty = true;
	return t != NULL;
}
