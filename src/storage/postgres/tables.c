/*
 * tables.c: records of source tables (storage-semantics 5.1) in the streams that are written.
 *
 * The engine knows a table once; each stream that reads it has a record of its own, with an id of its own. What the reference has no column
 * for lies in syncline_tables, by the record's id. Its snapshot_last_key is not ours to write: several ranges do not fit in it, so it stays
 * NULL, and whoever of the two goes on with the other's half-read table reads it from the start.
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

/* ---- loading ------------------------------------------------------------------------------------------------------------------------- */

static struct pg_table *add(struct pg_writer *w, const struct table_identity *t)
{
	w->tables = xgrow(w->tables, w->table_count, &w->table_cap, sizeof(*w->tables));
	struct pg_table *table = &w->tables[w->table_count++];
	*table = (struct pg_table){.number = (uint32_t)w->table_count,
	                           .schema = arena_copy(&w->arena, t->schema),
	                           .name = arena_copy(&w->arena, t->name),
	                           .oid = t->oid,
	                           .key = arena_array(&w->arena, struct table_key_column, t->key_count + 1),
	                           .key_count = t->key_count};
	for (size_t i = 0; i < t->key_count; i++)
		table->key[i] = (struct table_key_column){arena_copy(&w->arena, t->key[i].name), t->key[i].type_oid};
	return table;
}

static bool is_compatible(const struct pg_table *r, const struct table_identity *t)
{
	struct table_identity known = {r->schema, r->name, r->oid, r->key, r->key_count};
	return table_identity_eq(&known, t);
}

static struct slice field(const PGresult *r, int row, int column)
{
	return slice_make(PQgetvalue(r, row, column), (size_t)PQgetlength(r, row, column));
}

static uint64_t number(const PGresult *r, int row, int column)
{
	return (uint64_t)strtoll(PQgetvalue(r, row, column), NULL, 10);
}

/* The columns of the replica identity stand in two arrays, in their order. */
static void load_key(const PGresult *names, struct table_identity *t, const char *id, struct arena *arena)
{
	size_t count = 0;
	for (int row = 0; row < PQntuples(names); row++)
		count += strcmp(PQgetvalue(names, row, 0), id) == 0;
	struct table_key_column *key = arena_array(arena, struct table_key_column, count + 1);
	t->key = key;
	t->key_count = 0;
	for (int row = 0; row < PQntuples(names); row++)
		if (strcmp(PQgetvalue(names, row, 0), id) == 0)
			key[t->key_count++] = (struct table_key_column){field(names, row, 1), (uint32_t)number(names, row, 2)};
}

static size_t target_of(const struct pg_writer *w, int32_t stream_id)
{
	size_t i = 0;
	while (i < w->target_count && w->targets[i].stream->id != stream_id)
		i++;
	return i;
}

/* Whatever the tag is: there is one source. */
static bool reads(const struct pg_stream *stream, const struct table_identity *t)
{
	for (uint32_t i = 0; i < plan_pattern_count(stream->plan); i++) {
		const struct table_pattern *p = plan_pattern(stream->plan, i);
		if (plan_uses_table(stream->plan, p->connection_tag, t->schema, t->name))
			return true;
	}
	return false;
}

/* Of several records of one stream that are alike, the one that is done counts; another stands for itself, and is dropped when the table is
 * looked at (storage-semantics 5.1, 3). */
static struct pg_table *place(struct pg_writer *w, const struct table_identity *t, size_t target)
{
	for (size_t i = 0; i < w->table_count; i++)
		if (is_compatible(&w->tables[i], t) && !w->tables[i].parts[target].stream_id)
			return &w->tables[i];
	return add(w, t);
}

static void load_table(struct pg_writer *w, const PGresult *r, int row, const PGresult *names, struct arena *arena)
{
	struct table_identity t = {.schema = field(r, row, 2), .name = field(r, row, 3), .oid = (uint32_t)number(r, row, 4)};
	size_t target = target_of(w, (int32_t)number(r, row, 1));
	if (target == w->target_count)
		return;
	load_key(names, &t, PQgetvalue(r, row, 0), arena);
	struct pg_table_part *p = &place(w, &t, target)->parts[target];
	bool known = !PQgetisnull(r, row, 7);
	*p = (struct pg_table_part){
	        .stream_id = w->targets[target].stream->id,
	        .snapshot_done = *PQgetvalue(r, row, 5) == 't',
	        .foreign = !known,
	        .rows_read = number(r, row, 6),
	        .snapshot_epoch = number(r, row, 7),
	        .generation = number(r, row, 8),
	        .columns = number(r, row, 9),
	        .published_as = number(r, row, 10),
	};
	snprintf(p->id, sizeof(p->id), "%s", PQgetvalue(r, row, 0));
	p->idle = !reads(w->targets[target].stream, &t);
	if (!known)
		p->snapshot_epoch = p->snapshot_done ? pg_stream_epoch(p->stream_id) : 0;
	size_t n;
	unsigned char *progress = PQunescapeBytea((const unsigned char *)PQgetvalue(r, row, 11), &n);
	if (progress)
		buf_append(&p->progress, progress, n);
	PQfreemem(progress);
}

static void forget(struct pg_writer *w)
{
	for (size_t i = 0; i < w->table_count; i++)
		for (size_t k = 0; k < PG_TARGETS_MAX; k++)
			buf_free(&w->tables[i].parts[k].progress);
	w->table_count = 0;
	arena_reset(&w->arena);
}

void pg_tables_free(struct pg_writer *w)
{
	forget(w);
	free(w->tables);
	arena_free(&w->arena);
}

bool pg_tables_load(struct pg_writer *w, struct error *err)
{
	static const char tables[] =
	        "SELECT t.id, t.group_id, t.schema_name, t.table_name, coalesce(t.relation_id ->> 'object_id', '0'),"
	        " t.snapshot_done, coalesce(t.snapshot_replicated_count, 0), y.snapshot_epoch, y.generation, y.columns,"
	        " y.published_as, coalesce(y.progress, '')"
	        " FROM source_tables AS t LEFT JOIN syncline_tables AS y ON y.id = t.id AND y.stream_id = t.group_id"
	        " WHERE t.group_id = ANY ($1::integer[]) ORDER BY t.group_id, t.snapshot_done DESC, t.id";
	static const char keys[] =
	        "SELECT t.id, c.value ->> 'name', coalesce(c.value ->> 'type_oid', '0') FROM source_tables AS t,"
	        " jsonb_array_elements(CASE WHEN jsonb_typeof(t.replica_id_columns) = 'array' THEN t.replica_id_columns"
	        " ELSE '[]' END) WITH ORDINALITY AS c (value, n) WHERE t.group_id = ANY ($1::integer[]) ORDER BY t.id, c.n";
	char ids[64];
	size_t length = 0;
	struct arena arena = {0};
	struct pg_conn *conn = pg_writer_conn(w, err);
	for (size_t i = 0; i < w->target_count; i++)
		length += (size_t)snprintf(ids + length, sizeof(ids) - length, "%c%d", i ? ',' : '{', w->targets[i].stream->id);
	snprintf(ids + length, sizeof(ids) - length, "%s}", length ? "" : "{");
	PGresult *r = conn ? pg_query(conn, tables, 1, (const char *const[]){ids}, PG_TIMEOUT_MS, err) : NULL;
	PGresult *k = r ? pg_query(conn, keys, 1, (const char *const[]){ids}, PG_TIMEOUT_MS, err) : NULL;
	if (k) {
		forget(w);
		for (int row = 0; row < PQntuples(r); row++)
			load_table(w, r, row, k, &arena);
	}
	bool ok = k != NULL;
	PQclear(k);
	PQclear(r);
	arena_free(&arena);
	return ok;
}

/* ---- writing ------------------------------------------------------------------------------------------------------------------------- */

static void append_array(struct buf *sql, const struct table_key_column *key, size_t count)
{
	buf_putc(sql, '[');
	for (size_t i = 0; i < count; i++) {
		buf_lit(sql, "{\"name\":");
		buf_json_text(sql, key[i].name);
		buf_printf(sql, ",\"type_oid\":%u}%s", key[i].type_oid, i + 1 < count ? "," : "");
	}
	buf_lit(sql, "]");
	buf_putc(sql, '\0');
}

static bool make_record(struct pg_conn *conn, const struct pg_table *t, const struct pg_table_part *p, struct error *err)
{
	char stream[16], relation[48];
	struct buf key = {0};
	struct arena arena = {0};
	snprintf(stream, sizeof(stream), "%d", p->stream_id);
	snprintf(relation, sizeof(relation), "{\"object_id\":%u}", t->oid);
	append_array(&key, t->key, t->key_count);
	bool ok = pg_done(pg_query(
	        conn,
	        "INSERT INTO source_tables (id, group_id, connection_id, relation_id, schema_name, table_name,"
	        " replica_id_columns) VALUES ($1, $2::integer, 1, $3::jsonb, $4, $5, $6::jsonb)",
	        6,
	        (const char *const[]){p->id, stream, relation, arena_cstr(&arena, t->schema), arena_cstr(&arena, t->name), key.p},
	        PG_TIMEOUT_MS, err));
	buf_free(&key);
	arena_free(&arena);
	return ok;
}

static bool delete_record(struct pg_conn *conn, const struct pg_table_part *p, struct error *err)
{
	const char *const id[] = {p->id};
	return pg_done(pg_query(conn, "DELETE FROM source_tables WHERE id = $1", 1, id, PG_TIMEOUT_MS, err)) &&
	       pg_done(pg_query(conn, "DELETE FROM syncline_tables WHERE id = $1", 1, id, PG_TIMEOUT_MS, err));
}

static bool store_record(struct pg_conn *conn, const struct pg_table_part *p, struct error *err)
{
	char stream[16], epoch[24], generation[24], columns[24], published[24], rows[24];
	snprintf(stream, sizeof(stream), "%d", p->stream_id);
	snprintf(epoch, sizeof(epoch), "%lld", (long long)p->snapshot_epoch);
	snprintf(generation, sizeof(generation), "%lld", (long long)p->generation);
	snprintf(columns, sizeof(columns), "%lld", (long long)p->columns);
	snprintf(published, sizeof(published), "%lld", (long long)p->published_as);
	snprintf(rows, sizeof(rows), "%lld", (long long)(p->rows_read > INT32_MAX ? INT32_MAX : p->rows_read));
	const char *const values[] = {p->id, stream, epoch, generation, columns, published, p->progress.n ? p->progress.p : ""};
	const int lengths[] = {0, 0, 0, 0, 0, 0, (int)p->progress.n}, formats[] = {0, 0, 0, 0, 0, 0, 1};
	static const char side[] =
	        "INSERT INTO syncline_tables AS y (id, stream_id, snapshot_epoch, generation, columns, published_as, progress)"
	        " VALUES ($1::text, $2::integer, $3::bigint, $4::bigint, $5::bigint, $6::bigint, $7::bytea)"
	        " ON CONFLICT (id) DO UPDATE SET stream_id = excluded.stream_id, snapshot_epoch = excluded.snapshot_epoch,"
	        " generation = excluded.generation, columns = excluded.columns, published_as = excluded.published_as,"
	        " progress = excluded.progress";
	const struct pg_values v = {.count = 7, .values = values, .lengths = lengths, .formats = formats};
	return pg_done(pg_prepared(conn, side, &v, PG_TIMEOUT_MS, err)) &&
	       pg_done(pg_query(
	               conn,
	               "UPDATE source_tables SET snapshot_done = $2::boolean, snapshot_total_estimated_count = NULL,"
	               " snapshot_replicated_count = CASE WHEN $2::boolean OR $3::integer = 0 THEN NULL ELSE $3::integer END,"
	               " snapshot_last_key = NULL WHERE id = $1",
	               3, (const char *const[]){p->id, p->snapshot_done ? "true" : "false", rows}, PG_TIMEOUT_MS, err));
}

bool pg_tables_write(struct pg_writer *w, struct pg_conn *conn, struct error *err)
{
	for (size_t i = 0; i < w->table_count; i++)
		for (size_t k = 0; k < w->target_count; k++) {
			const struct pg_table *t = &w->tables[i];
			const struct pg_table_part *p = &t->parts[k];
			if (p->made && !p->gone && !make_record(conn, t, p, err))
				return false;
			if (p->gone && !p->made && !delete_record(conn, p, err))
				return false;
			if (p->changed && !p->gone && !store_record(conn, p, err))
				return false;
		}
	return true;
}

void pg_tables_written(struct pg_writer *w)
{
	for (size_t i = 0; i < w->table_count; i++)
		for (size_t k = 0; k < PG_TARGETS_MAX; k++) {
			struct pg_table_part *p = &w->tables[i].parts[k];
			p->made = p->changed = false;
			if (p->gone) {
				buf_free(&p->progress);
				*p = (struct pg_table_part){0};
			}
		}
}

void pg_tables_keep_part(struct pg_writer *w, size_t target)
{
	for (size_t i = 0; i < w->table_count; i++)
		for (size_t k = 0; k < PG_TARGETS_MAX; k++) {
			struct pg_table_part *p = &w->tables[i].parts[k];
			if (k == target)
				continue;
			buf_free(&p->progress);
			*p = (struct pg_table_part){0};
		}
	for (size_t i = 0; target && i < w->table_count; i++) {
		w->tables[i].parts[0] = w->tables[i].parts[target];
		w->tables[i].parts[target] = (struct pg_table_part){0};
	}
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
		any = any || reads(w->targets[k].stream, identity);
	for (size_t k = 0; k < w->target_count; k++) {
		struct pg_table_part *p = &t->parts[k];
		if (p->stream_id || (any && !reads(w->targets[k].stream, identity)))
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
		if (!w->tables[i].dropped && is_compatible(&w->tables[i], t))
			kept = w->tables[i].number;
	if (!kept)
		kept = add(w, t)->number;
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
