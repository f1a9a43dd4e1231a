/*
 * source.c: how fast a table is read in chunks, mapped, and given keys; and how fast the stream is decoded from a backlog.
 *
 * Usage: PG_URI=postgres://user:password@host:port/database bench_source [rows]. Makes the table bench_items in that database and drops it. The
 * server must have wal_level=logical. Prints rows per second of: COPY thrown away, chunks, chunks + values + keys, stream.
 */
#include "../tests/unit/source/pg_fixture.h"
#include "base/clock.h"

#include <time.h>

/* CPU time of this process, which the server's speed and other load do not change. */
static double cpu_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_before;

static void report(const char *what, size_t rows, int64_t start_us)
{
	double s = (double)(clock_mono_us() - start_us) / 1e6;
	double cpu = cpu_s() - cpu_before;
	cpu_before = cpu_s();
	printf("{\"what\":\"%s\",\"rows\":%zu,\"seconds\":%.3f,\"rows_per_s\":%.0f,\"cpu_us_per_row\":%.2f}\n", what, rows, s,
	       (double)rows / s, cpu * 1e6 / (double)rows);
}

static void die(const struct error *err)
{
	fprintf(stderr, "%s\n", err->message);
	exit(1);
}

/* Maps the rows and makes their keys, as the engine would. */
static size_t use_rows(const struct value_mapper *m, const struct source_relation *r, const struct raw_value *rows, size_t count,
                       struct arena *arena)
{
	struct error err;
	size_t sum = 0;
	struct value *values = arena_array(arena, struct value, r->column_count);
	for (size_t i = 0; i < count; i++) {
		struct slice key;
		uint8_t uuid[16];
		if (!value_mapper_row(m, rows + i * r->column_count, arena, values, &err))
			die(&err);
		source_row_key(r, rows + i * r->column_count, arena, &key, uuid);
		sum += key.n + uuid[15] + source_row_size_bound(r, rows + i * r->column_count);
	}
	return sum;
}

static void read_chunks(struct source_connection *c, const struct source_table *t, const struct value_mapper *m, const char *what)
{
	struct error err;
	struct arena arena = {0};
	struct buf after = {0};
	struct chunk_request request = {.table = t, .max_rows = 10000, .max_bytes = 8 << 20};
	struct source_chunk chunk = {0};
	size_t rows = 0;
	int64_t start = clock_mono_us();
	while (!chunk.last) {
		arena_reset(&arena);
		if (!source_read_chunk(c, &request, &arena, &chunk, &err))
			die(&err);
		if (m)
			use_rows(m, &t->relation, chunk.rows, chunk.row_count, &arena);
		rows += chunk.row_count;
		buf_clear(&after);
		buf_slice_append(&after, chunk.next);
		request.after = buf_slice(&after);
	}
	report(what, rows, start);
	arena_free(&arena);
	buf_free(&after);
}

static void read_stream(struct fixture *f, const struct source_relation *r, const struct value_mapper *m, size_t rows)
{
	struct error err;
	struct arena arena = {0};
	struct stream_event e;
	size_t left = rows;
	struct source_stream *st = source_stream_open(f->source, "bench_source", &err);
	if (!st)
		die(&err);
	int64_t start = clock_mono_us();
	while (left) {
		if (!source_stream_next(st, 10000, &e, &err))
			die(&err);
		if (e.kind == STREAM_INSERT) {
			use_rows(m, r, e.new_row, 1, &arena);
			if (--left % 1000 == 0)
				arena_reset(&arena);
		}
	}
	report("stream, values and keys", rows, start);
	source_stream_close(st);
	arena_free(&arena);
}

int main(int argc, char **argv)
{
	size_t rows = argc > 1 ? strtoul(argv[1], NULL, 10) : 200000;
	struct fixture f;
	struct error err;
	char sql[1024];
	if (!fixture_start(&f, "bench")) {
		fprintf(stderr, "PG_URI is not set\n");
		return 1;
	}
	fixture_sql(
	        &f,
	        "CREATE TABLE items (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), owner_id text NOT NULL, title text NOT NULL,"
	        "body text NOT NULL, quantity int NOT NULL, price numeric(12,2) NOT NULL, done boolean NOT NULL,"
	        "created_at timestamptz NOT NULL, meta jsonb NOT NULL); CREATE PUBLICATION powersync FOR ALL TABLES");
	const char *insert =
	        "INSERT INTO items (owner_id, title, body, quantity, price, done, created_at, meta) SELECT 'user' || (i %% 1000),"
	        "'Item number ' || i, repeat(md5(i::text), 8), i, i / 7.0, i %% 3 = 0, '2026-01-01'::timestamptz + i * interval "
	        "'1 s',"
	        "jsonb_build_object('tags', jsonb_build_array('a', 'b', i), 'note', 'quoted \"text\" ' || i)"
	        " FROM generate_series(1, %zu) i";
	snprintf(sql, sizeof(sql), insert, rows);
	fixture_sql(&f, sql);
	fixture_sql(&f, "VACUUM ANALYZE items");
	struct source_connection *c = source_connect(f.source, &err);
	struct source_pattern p = {.schema = SLICE("public"), .table = SLICE("items")};
	struct source_table *t;
	size_t n;
	uint64_t lsn;
	struct xid_snapshot x;
	struct mapping_options options = {true, true, -1};
	if (!c || !source_discover(c, &p, 1, &f.arena, &t, &n, &err))
		die(&err);
	struct value_mapper *m = value_mapper_new(c, &t->relation, &options, &err);
	if (!m)
		die(&err);
	int64_t start = clock_mono_us();
	fixture_sql(&f, "COPY items TO '/dev/null'");
	report("limit: COPY on the server", rows, start);
	start = clock_mono_us();
	fixture_sql(&f, "SET jit = off; COPY (SELECT * FROM items ORDER BY id) TO '/dev/null'");
	report("limit: ordered COPY on the server", rows, start);
	for (int i = 0; i < 3; i++) {
		read_chunks(c, t, NULL, "chunks");
		read_chunks(c, t, m, "chunks, values and keys");
	}
	if (!source_slot_create(f.source, "bench_source", &lsn, &x, &f.arena, &err))
		die(&err);
	fixture_sql(&f, sql);
	read_stream(&f, &t->relation, m, rows);
	value_mapper_free(m);
	source_disconnect(c);
	fixture_stop(&f);
	return 0;
}
