/*
 * rows_fixture.h: the tables of the shared layout in a database of their own on the server of PG_URI, and short ways to queue rows and to
 * look at what is stored. Without PG_URI the tests skip.
 */
#ifndef TESTS_STORAGE_ROWS_FIXTURE_H
#define TESTS_STORAGE_ROWS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "postgres_server.h"
#include "storage/digest.h"
#include "storage/postgres/bson.h"
#include "storage/postgres/migrations.h"
#include "storage/postgres/rows.h"
#include "storage/postgres/side.h"

#define UNUSED __attribute__((unused))
#define TABLE_ID "65a1f0c2b7d84e1f9a3c0001"

struct rows_fixture {
	PGconn *admin;
	char database[64];
	struct log log;
	struct pg_conn *conn;
	struct pg_rows *rows;
	struct pg_row_table table;
	struct arena arena;
	struct error err;
	uint64_t last_op;
	bool in_transaction;
};

#define OK(call)                                                                                                                 \
	do {                                                                                                                     \
		if (!(call))                                                                                                     \
			fail_msg("%s: %s", #call, f->err.message);                                                               \
	} while (0)

static void *open_connection(void *ctx, struct error *err)
{
	struct rows_fixture *f = ctx;
	(void)err;
	return connect_to(f->database);
}

UNUSED static void rows_reconnect(struct rows_fixture *f)
{
	struct storage_postgres options = {.connect = open_connection, .connect_ctx = f};
	pg_close(f->conn);
	f->conn = pg_open(&options, &f->err);
	assert_non_null(f->conn);
	f->in_transaction = false;
}

static void admin_sql(struct rows_fixture *f, const char *format)
{
	char sql[256];
	snprintf(sql, sizeof(sql), format, f->database);
	PGresult *r = PQexec(f->admin, sql);
	if (PQresultStatus(r) != PGRES_COMMAND_OK)
		fail_msg("%s: %s", sql, PQerrorMessage(f->admin));
	PQclear(r);
}

UNUSED static void sql(struct rows_fixture *f, const char *text)
{
	OK(pg_command(f->conn, text, &f->err));
}

UNUSED static int rows_setup(void **state)
{
	const char *uri = getenv("PG_URI");
	struct rows_fixture *f = xcalloc(1, sizeof(*f));
	*state = f;
	if (!uri || !*uri)
		return 0;
	f->log = (struct log){.level = LOG_ERROR, .fd = 2};
	f->admin = connect_to(NULL);
	snprintf(f->database, sizeof(f->database), "syncline_rows_%d", (int)getpid());
	admin_sql(f, "CREATE DATABASE %s TEMPLATE template0 ENCODING 'UTF8'");
	rows_reconnect(f);
	sql(f, "CREATE SCHEMA IF NOT EXISTS powersync");
	OK(pg_migrate_up(f->conn, &f->log, &f->err));
	OK(pg_side_prepare(f->conn, &f->log, &f->err));
	sql(f, "CREATE TABLE v3_current_data (group_id integer NOT NULL, source_table text NOT NULL, source_key bytea NOT NULL,"
	       " CONSTRAINT unique_v3_current_data_id PRIMARY KEY (group_id, source_table, source_key), buckets jsonb NOT NULL,"
	       " data bytea NOT NULL, lookups bytea[] NOT NULL, pending_delete bigint)");
	OK(pg_rows_prepare(f->conn, &f->err));
	return 0;
}

/* Before each test: empty tables and an empty queue. */
UNUSED static int rows_begin(void **state)
{
	struct rows_fixture *f = *state;
	if (!f->admin)
		return 0;
	sql(f, "TRUNCATE bucket_data, bucket_parameters, current_data, v3_current_data, syncline_incomplete_rows");
	sql(f, "ALTER SEQUENCE op_id_sequence INCREMENT 1 RESTART");
	f->rows = pg_rows_new(&f->log);
	f->table = (struct pg_row_table){1, 2, SLICE(TABLE_ID)};
	f->last_op = 0;
	return 0;
}

UNUSED static int rows_end(void **state)
{
	struct rows_fixture *f = *state;
	if (f->in_transaction)
		rows_reconnect(f);
	pg_rows_free(f->rows);
	f->rows = NULL;
	return 0;
}

UNUSED static int rows_teardown(void **state)
{
	struct rows_fixture *f = *state;
	if (f->admin) {
		pg_close(f->conn);
		admin_sql(f, "DROP DATABASE %s WITH (FORCE)");
		PQfinish(f->admin);
	}
	arena_free(&f->arena);
	free(f);
	return 0;
}

#define NEEDS_POSTGRES                                                                                                           \
	struct rows_fixture *f = *state;                                                                                         \
	if (!f->admin)                                                                                                           \
	skip()

/* ---- writing ---- */

UNUSED static void begin(struct rows_fixture *f)
{
	if (!f->in_transaction)
		sql(f, "BEGIN");
	f->in_transaction = true;
}

UNUSED static void write_rows(struct rows_fixture *f)
{
	begin(f);
	OK(pg_rows_write(f->rows, f->conn, &f->last_op, &f->err));
	sql(f, "COMMIT");
	f->in_transaction = false;
}

UNUSED static struct slice source_key(struct rows_fixture *f, const char *id)
{
	struct slice name = SLICE("id");
	struct value v = value_text(slice_cstr(id));
	uint8_t uuid[16];
	struct buf out = {0};
	bson_replica_uuid(&name, &v, 1, uuid);
	bson_source_key(&out, uuid);
	struct slice key = arena_copy(&f->arena, buf_slice(&out));
	buf_free(&out);
	return key;
}

UNUSED static struct slice image_of(struct rows_fixture *f, const char *id, const char *title)
{
	struct slice names[] = {SLICE("id"), SLICE("title")};
	struct value values[] = {value_text(slice_cstr(id)),
	                         title ? value_text(slice_cstr(title)) : (struct value){.kind = VALUE_UNKNOWN}};
	struct buf out = {0};
	bson_row(&out, names, values, 2);
	struct slice image = arena_copy(&f->arena, buf_slice(&out));
	buf_free(&out);
	return image;
}

UNUSED static struct pg_row_put put(const char *bucket, const char *id, const char *data)
{
	struct pg_row_put p = {slice_cstr(bucket), SLICE("notes"), slice_cstr(id), slice_cstr(data), 0};
	struct put_entry e = {.object_type = p.object_type, .object_id = p.object_id, .data = p.data};
	put_entry_digest(&e);
	p.checksum =
	        (uint32_t)e.digest[0] | (uint32_t)e.digest[1] << 8 | (uint32_t)e.digest[2] << 16 | (uint32_t)e.digest[3] << 24;
	return p;
}

#define PUTS(...)                                                                                                                \
	.puts = (const struct pg_row_put[]){__VA_ARGS__},                                                                        \
	.put_count = sizeof((const struct pg_row_put[]){__VA_ARGS__}) / sizeof(struct pg_row_put)
#define LOOKUPS(...)                                                                                                             \
	.lookups = (const struct pg_row_lookup[]){__VA_ARGS__},                                                                  \
	.lookup_count = sizeof((const struct pg_row_lookup[]){__VA_ARGS__}) / sizeof(struct pg_row_lookup)
/* put_row(f, id, title, more fields of struct pg_row) */
#define put_row(f, id, title, ...)                                                                                               \
	pg_rows_put(f->rows, &f->table, &(struct pg_row){.key = source_key(f, id), .image = image_of(f, id, title), __VA_ARGS__})

UNUSED static void delete_row(struct rows_fixture *f, const char *id)
{
	pg_rows_delete(f->rows, &f->table, source_key(f, id));
}

/* ---- looking ---- */

/* Rows of the answer, columns joined by blanks, rows by bars. Lives as long as the fixture. */
UNUSED static const char *look(struct rows_fixture *f, const char *query)
{
	PGresult *r = pg_query(f->conn, query, 0, NULL, PG_TIMEOUT_MS, &f->err);
	if (!r)
		fail_msg("%s: %s", query, f->err.message);
	struct buf out = {0};
	for (int i = 0; i < PQntuples(r); i++) {
		for (int k = 0; k < PQnfields(r); k++)
			buf_printf(&out, "%s%s", k ? " " : i ? "|" : "", PQgetisnull(r, i, k) ? "-" : PQgetvalue(r, i, k));
	}
	PQclear(r);
	const char *text = arena_cstr(&f->arena, buf_slice(&out));
	buf_free(&out);
	return text;
}

#define OPS "SELECT op_id, op, bucket_name, row_id, coalesce(data, '-') FROM bucket_data ORDER BY op_id"
#define IMAGES "SELECT encode(data, 'hex'), buckets, lookups FROM current_data ORDER BY source_table, source_key"
#define ENTRIES "SELECT id, encode(substring(lookup from 5), 'escape'), bucket_parameters FROM bucket_parameters ORDER BY id"

#endif
