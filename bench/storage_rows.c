/*
 * storage_rows: rows into the tables of the shared Postgres layout, beside a plain COPY of the same operations and images.
 *
 *   PG_URI=postgres://... bench_storage_rows [ROWS] [ROWS A TRANSACTION]
 *
 * Works in a database of its own. "read" is the first reading of a table, "read again" one that finds everything as it is, "streamed"
 * are changes of all rows. One connection, of a superuser (COPY works on a file in the server's /tmp); the rows are made before the clock
 * runs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "storage/postgres/bson.h"
#include "storage/postgres/migrations.h"
#include "storage/postgres/rows.h"
#include "storage/postgres/side.h"

static char database[64];
static struct error err;

static void must(bool ok)
{
	if (ok)
		return;
	fprintf(stderr, "%s\n", err.message);
	exit(1);
}

static PGconn *connect_to(const char *name)
{
	const char *keywords[] = {"dbname", "dbname", NULL}, *values[] = {getenv("PG_URI"), name, NULL};
	return PQconnectdbParams(keywords, values, 1);
}

static void *open_connection(void *ctx, struct error *e)
{
	(void)ctx;
	(void)e;
	return connect_to(database);
}

static void admin(const char *format)
{
	char sql[256];
	PGconn *pg = connect_to(NULL);
	snprintf(sql, sizeof(sql), format, database);
	PGresult *r = PQexec(pg, sql);
	if (PQresultStatus(r) != PGRES_COMMAND_OK) {
		fprintf(stderr, "%s: %s", sql, PQerrorMessage(pg));
		exit(1);
	}
	PQclear(r);
	PQfinish(pg);
}

struct made_row {
	struct slice key, image, id, data, bucket;
};

static struct made_row *make_rows(size_t count, const char *title, struct arena *arena)
{
	struct made_row *rows = xcalloc(count, sizeof(*rows));
	struct slice names[] = {SLICE("id"), SLICE("owner"), SLICE("title")};
	struct buf b = {0};
	for (size_t i = 0; i < count; i++) {
		struct made_row *r = &rows[i];
		uint8_t uuid[16];
		r->id = arena_printf(arena, "%zu", i);
		r->bucket = arena_printf(arena, "1#by_owner[\"u%zu\"]", i % 100);
		struct slice owner = arena_printf(arena, "u%zu", i % 100), text = arena_printf(arena, "%s %0100zu", title, i);
		struct value values[] = {value_text(r->id), value_text(owner), value_text(text)};
		r->data = arena_printf(arena, "{\"id\":\"%.*s\",\"owner\":\"%.*s\",\"title\":\"%.*s\"}", SLICE_ARG(r->id),
		                       SLICE_ARG(owner), SLICE_ARG(text));
		bson_replica_uuid(names, values, 1, uuid);
		buf_clear(&b);
		bson_source_key(&b, uuid);
		r->key = arena_copy(arena, buf_slice(&b));
		buf_clear(&b);
		bson_row(&b, names, values, 3);
		r->image = arena_copy(arena, buf_slice(&b));
	}
	buf_free(&b);
	return rows;
}

static double run(struct pg_conn *conn, struct pg_rows *queue, const struct made_row *rows, size_t count, size_t batch,
                  bool compare)
{
	static const struct pg_row_table table = {1, 2, {"65a1f0c2-b7d8-4e1f-9a3c-000100020003", 36}};
	int64_t start = clock_mono_us();
	for (size_t i = 0; i < count; i += batch) {
		uint64_t last_op;
		for (size_t k = i; k < i + batch && k < count; k++) {
			struct pg_row_put put = {rows[k].bucket, SLICE("todos"), rows[k].id, rows[k].data, (uint32_t)k};
			struct pg_row row = {
			        .key = rows[k].key, .image = rows[k].image, .puts = &put, .put_count = 1, .compare = compare};
			pg_rows_put(queue, &table, &row);
		}
		must(pg_command(conn, "BEGIN", &err) && pg_rows_write(queue, conn, &last_op, &err) &&
		     pg_command(conn, "COMMIT", &err));
	}
	return (double)count / ((double)(clock_mono_us() - start) / 1e6);
}

/* The server copies from its own memory: nothing but the insertion of the same rows. */
static double copy(struct pg_conn *conn, size_t count)
{
	static const char *const tables[] = {"bucket_data", "current_data"};
	double seconds = 0;
	for (size_t t = 0; t < 2; t++) {
		char sql[256];
		snprintf(sql, sizeof(sql),
		         "CREATE TABLE again (LIKE %s INCLUDING INDEXES); COPY %s TO '/tmp/%s.copy' (FORMAT binary)", tables[t],
		         tables[t], database);
		must(pg_command(conn, sql, &err));
		snprintf(sql, sizeof(sql), "COPY again FROM '/tmp/%s.copy' (FORMAT binary)", database);
		int64_t start = clock_mono_us();
		must(pg_command(conn, sql, &err));
		seconds += (double)(clock_mono_us() - start) / 1e6;
		must(pg_command(conn, "DROP TABLE again", &err));
		snprintf(sql, sizeof(sql), "/tmp/%s.copy", database);
		unlink(sql); /* where the server runs here, and the user may */
	}
	return (double)count / seconds;
}

int main(int argc, char **argv)
{
	size_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 200000, batch = argc > 2 ? strtoull(argv[2], NULL, 10) : 20000;
	struct log log = {.level = LOG_ERROR, .fd = 2};
	struct arena arena = {0};
	struct storage_postgres options = {.connect = open_connection};
	if (!getenv("PG_URI") || !count || !batch) {
		fprintf(stderr, "usage: PG_URI=postgres://... bench_storage_rows [ROWS] [ROWS A TRANSACTION]\n");
		return 2;
	}
	snprintf(database, sizeof(database), "syncline_bench_%d", (int)getpid());
	admin("CREATE DATABASE %s");
	struct pg_conn *conn = pg_open(&options, &err);
	must(conn && pg_command(conn, "CREATE SCHEMA powersync", &err) && pg_migrate_up(conn, &log, &err) &&
	     pg_side_prepare(conn, &log, &err) && pg_rows_prepare(conn, &err));
	struct pg_rows *queue = pg_rows_new(&log);
	struct made_row *rows = make_rows(count, "first", &arena), *changed = make_rows(count, "second", &arena);
	double first = run(conn, queue, rows, count, batch, true), plain = copy(conn, count);
	printf("read        %8.0f rows/s, COPY %8.0f rows/s: ratio %.2f\n", first, plain, first / plain);
	printf("read again  %8.0f rows/s\n", run(conn, queue, rows, count, batch, true));
	double streamed = run(conn, queue, changed, count, batch, false);
	printf("streamed    %8.0f rows/s, ratio to COPY %.2f\n", streamed, streamed / plain);
	free(rows);
	free(changed);
	pg_rows_free(queue);
	pg_close(conn);
	arena_free(&arena);
	admin("DROP DATABASE %s WITH (FORCE)");
	return 0;
}
