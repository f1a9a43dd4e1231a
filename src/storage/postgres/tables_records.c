/*
 * tables_records.c: records of source tables as the database has them: loaded when the role is taken, written with each transaction.
 *
 * What the reference has no column for lies in syncline_tables, by the record's id. Its snapshot_last_key is not ours to write: several ranges do not
 * fit in it, so it stays NULL, and whoever of the two goes on with the other's half-read table reads it from the start.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "storage/digest.h"
#include "storage/postgres/writer.h"

/* ---- loading ------------------------------------------------------------------------------------------------------------------------- */

struct pg_table *pg_tables_add(struct pg_writer *w, const struct table_identity *t)
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

bool pg_table_is(const struct pg_table *r, const struct table_identity *t)
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

/* The first row of `names` that has the id, which they are sorted by; the number of rows if none has. */
static int find_key(const PGresult *names, const char *id)
{
	int low = 0, high = PQntuples(names);
	while (low < high) {
		int middle = low + (high - low) / 2;
		if (strcmp(PQgetvalue(names, middle, 0), id) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The columns of the replica identity, in their order. */
static void load_key(const PGresult *names, struct table_identity *t, const char *id, struct arena *arena)
{
	int first = find_key(names, id), end = first;
	while (end < PQntuples(names) && strcmp(PQgetvalue(names, end, 0), id) == 0)
		end++;
	struct table_key_column *key = arena_array(arena, struct table_key_column, (size_t)(end - first) + 1);
	t->key = key;
	t->key_count = (size_t)(end - first);
	for (int row = first; row < end; row++)
		key[row - first] = (struct table_key_column){field(names, row, 1), (uint32_t)number(names, row, 2)};
}

static size_t target_of(const struct pg_writer *w, int32_t stream_id)
{
	size_t i = 0;
	while (i < w->target_count && w->targets[i].stream->id != stream_id)
		i++;
	return i;
}

/* Whatever the tag of the connection is: there is one source. */
bool pg_stream_reads_table(const struct pg_stream *stream, const struct table_identity *t)
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
		if (pg_table_is(&w->tables[i], t) && !w->tables[i].parts[target].stream_id)
			return &w->tables[i];
	return pg_tables_add(w, t);
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
	p->idle = !pg_stream_reads_table(w->targets[target].stream, &t);
	if (!known)
		p->snapshot_epoch = p->snapshot_done ? pg_stream_epoch(p->stream_id) : 0;
	/* Rows without a key have random ids there: those that were read cannot be known again, and go first. */
	if (!known && !p->snapshot_done && !t.key_count)
		p->generation = 1;
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
	        " ELSE '[]' END) WITH ORDINALITY AS c (value, n) WHERE t.group_id = ANY ($1::integer[]) ORDER BY t.id COLLATE "
	        "\"C\", c.n";
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
