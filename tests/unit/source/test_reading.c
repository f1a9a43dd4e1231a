/* test_reading.c: chunks and scans against a real server (PG_URI; skipped without). */
#include "reading_world.h"

/* Reads the whole table in chunks of that many rows; one line a row, in the order read. */
static char *read_all(const char *name, size_t max_rows, size_t max_bytes, size_t *chunks)
{
	static struct buf out;
	struct error err = {0};
	struct source_connection *c = connect_ok();
	struct chunk_request request = {.table = describe(c, name), .max_rows = max_rows, .max_bytes = max_bytes};
	struct source_chunk chunk = {0};
	size_t columns = request.table->relation.column_count;
	buf_clear(&out);
	for (*chunks = 0; !chunk.last; (*chunks)++) {
		assert_ok(source_read_chunk(c, &request, &f.arena, &chunk, &err));
		assert_int_equal(chunk.outcome, CHUNK_ROWS);
		assert_true(chunk.head_lsn > 0);
		assert_true(chunk.snapshot.xmax > 0);
		for (size_t i = 0; i < chunk.row_count; i++) {
			put_row(&out, chunk.rows + i * columns, columns);
			buf_putc(&out, '\n');
		}
		request.after = chunk.next;
	}
	source_disconnect(c);
	buf_putc(&out, '\0');
	return out.p;
}

static void assert_reads(const char *name, const char *order, size_t max_rows)
{
	char sql[512];
	size_t chunks;
	snprintf(sql, sizeof(sql),
	         "SELECT string_agg(CASE WHEN k1 IS NULL THEN 'NULL,NULL' ELSE concat(k1, ',', k2) END, E'\\n' ORDER BY %s) || "
	         "E'\\n' FROM %s",
	         order, name);
	char *expected = strdup(fixture_value(&f, sql)), *got = read_all(name, max_rows, 1 << 20, &chunks);
	assert_string_equal(got, expected);
	free(expected);
}

static void every_kind_of_key_is_read_in_order(void **state)
{
	(void)state;
	NEED_SERVER();
	static const char *const cases[][2] = {
	        {"k1 int, k2 int, PRIMARY KEY (k2, k1)", "SELECT i, i % 3 FROM generate_series(-10, 10) i"},
	        {"k1 text, k2 int, PRIMARY KEY (k1)",
	         "SELECT chr(64 + i) || E'''\\\\\\t\\n' || i, i FROM generate_series(1, 23) i"},
	        {"k1 uuid, k2 int, PRIMARY KEY (k1)", "SELECT md5(i::text)::uuid, i FROM generate_series(1, 23) i"},
	        {"k1 timestamptz, k2 numeric, PRIMARY KEY (k1, k2)",
	         "SELECT '2026-01-01'::timestamptz + i % 3 * interval '1 us', i / 7.0 FROM generate_series(1, 23) i"},
	        {"k1 float8, k2 bytea, PRIMARY KEY (k1, k2)", "VALUES ('NaN'::float8, '\\x00'::bytea), ('-Infinity', '\\x01'), "
	                                                      "('Infinity', '\\x02'), (0.1, '\\x03'), (0.1, '\\x5c')"},
	        {"k1 mood, k2 bool, PRIMARY KEY (k1, k2)",
	         "SELECT m, b FROM unnest(enum_range(NULL::mood)) m, (VALUES (true), (false)) v(b)"},
	        {"k1 positive, k2 char(5), PRIMARY KEY (k1, k2)", "SELECT i % 5 + 1, i::text FROM generate_series(1, 23) i"},
	        {"k1 int[], k2 int4range, PRIMARY KEY (k1, k2)",
	         "SELECT ARRAY[i % 3, i], int4range(0, i) FROM generate_series(1, 23) i"},
	        {"k1 bit(3), k2 interval, PRIMARY KEY (k1, k2)",
	         "SELECT (i % 8)::bit(3), i * interval '7 h' FROM generate_series(1, 23) i"},
	        {"k1 citext, k2 int, PRIMARY KEY (k1)", "SELECT chr(64 + i + 32 * (i % 2)) , i FROM generate_series(1, 23) i"},
	        {"k1 citext, k2 int, PRIMARY KEY (k1, k2)", "SELECT chr(64 + i % 4), i FROM generate_series(1, 23) i"},
	        {"k1 pair, k2 int, PRIMARY KEY (k1, k2)", "SELECT ROW(i % 3, 'a,\"b')::pair, i FROM generate_series(1, 23) i"},
	};
	fixture_sql(&f, "CREATE TYPE mood AS ENUM ('sad', 'ok', 'Very ''happy'); CREATE DOMAIN positive AS int CHECK (VALUE > 0);"
	                "CREATE SCHEMA elsewhere; CREATE EXTENSION citext SCHEMA elsewhere; CREATE TYPE pair AS (a int, b text)");
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char sql[1024];
		snprintf(sql, sizeof(sql),
		         "SET search_path = public, elsewhere; CREATE TABLE t (%s); INSERT INTO t %s; ANALYZE t", cases[i][0],
		         cases[i][1]);
		fixture_sql(&f, sql);
		const char *order = strstr(cases[i][0], "PRIMARY KEY (") + 13;
		char columns[32];
		snprintf(columns, sizeof(columns), "%.*s", (int)(strchr(order, ')') - order), order);
		assert_reads("t", columns, 1);
		assert_reads("t", columns, 2);
		assert_reads("t", columns, 1000);
		fixture_sql(&f, "DROP TABLE t");
	}
	fixture_sql(&f, "RESET search_path");
}

static void a_table_without_order_is_read_by_pages(void **state)
{
	(void)state;
	NEED_SERVER();
	fixture_sql(&f,
	            "CREATE TABLE t (k1 int, k2 text); ALTER TABLE t REPLICA IDENTITY FULL;"
	            "INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 500) i; INSERT INTO t VALUES (NULL, NULL)");
	assert_reads("t", "ctid", 7);
	assert_reads("t", "ctid", 1000000);
	/* What comes behind the last page after the first chunk is the stream's. */
	struct error err = {0};
	struct source_connection *c = connect_ok();
	struct chunk_request request = {.table = describe(c, "t"), .max_rows = 100, .max_bytes = 1 << 20};
	struct source_chunk chunk = {0};
	size_t rows = 0;
	while (!chunk.last) {
		assert_ok(source_read_chunk(c, &request, &f.arena, &chunk, &err));
		rows += chunk.row_count;
		request.after = chunk.next;
		fixture_sql(&f, "INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 200) i");
	}
	assert_true(rows >= 501 && rows < 600);
	/* A rewrite is a change; with the new description reading starts anew. */
	request.after = slice_make(NULL, 0);
	assert_ok(source_read_chunk(c, &request, &f.arena, &chunk, &err));
	request.after = chunk.next;
	fixture_sql(&f, "VACUUM FULL t");
	assert_ok(source_read_chunk(c, &request, &f.arena, &chunk, &err));
	assert_int_equal(chunk.outcome, CHUNK_TABLE_CHANGED);
	request.table = describe(c, "t");
	assert_ok(source_read_chunk(c, &request, &f.arena, &chunk, &err));
	assert_int_equal(chunk.outcome, CHUNK_ROWS);
	assert_int_equal(chunk.rows[0].text.n, 1); /* row 1 */
	source_disconnect(c);
	fixture_sql(&f, "DROP TABLE t");
}

static void bytes_bound_a_chunk(void **state)
{
	(void)state;
	NEED_SERVER();
	fixture_sql(&f, "CREATE TABLE t (k1 int PRIMARY KEY, k2 text); INSERT INTO t SELECT i, repeat(md5(i::text), 8000) FROM "
	                "generate_series(1, 50) i");
	size_t chunks;
	struct error err = {0};
	struct source_connection *c = connect_ok();
	struct chunk_request request = {.table = describe(c, "t"), .max_rows = 10000, .max_bytes = 1 << 20};
	struct source_chunk chunk = {0};
	size_t rows = 0;
	for (chunks = 0; !chunk.last; chunks++) {
		assert_ok(source_read_chunk(c, &request, &f.arena, &chunk, &err));
		assert_true(chunk.byte_count < (1 << 20) + 300000);
		for (size_t i = 0; i < chunk.row_count; i++) {
			int64_t k;
			assert_true(slice_parse_i64(chunk.rows[2 * i].text, &k));
			assert_int_equal(k, ++rows);
		}
		request.after = chunk.next;
	}
	assert_int_equal(rows, 50);
	assert_true(chunks > 10);
	source_disconnect(c);
	fixture_sql(&f, "DROP TABLE t");
}

static void null_and_special_characters_come_through(void **state)
{
	(void)state;
	NEED_SERVER();
	fixture_sql(&f, "CREATE TABLE t (k1 int PRIMARY KEY, k2 text); INSERT INTO t VALUES (1, NULL), (2, ''), (3, "
	                "E'a\\tb\\nc\\\\d\\\\Ne\\r\\b\\f\\x0b'), "
	                "(4, '\\N'), (5, '\\.'), (6, 'é😀')");
	size_t chunks;
	assert_string_equal(read_all("t", 100, 100000, &chunks), "1,NULL\n2,\n3,a\tb\nc\\d\\Ne\r\b\f\v\n4,\\N\n5,\\.\n6,é😀\n");
	assert_int_equal(chunks, 1);
	fixture_sql(&f, "DROP TABLE t; CREATE TABLE t (); INSERT INTO t DEFAULT VALUES; INSERT INTO t DEFAULT VALUES");
	assert_string_equal(read_all("t", 1, 100000, &chunks), "\n\n");
	fixture_sql(&f, "DROP TABLE t");
}

static void keys_are_read_again(void **state)
{
	(void)state;
	NEED_SERVER();
	struct error err = {0};
	static const char *const tables[] = {
	        "CREATE TABLE t (v text, a int, b text, PRIMARY KEY (b, a))",
	        "CREATE TABLE t (v text, a elsewhere.citext, b mood, PRIMARY KEY (b, a))",
	        "CREATE TABLE t (v text DEFAULT NULL, a int, b text); ALTER TABLE t REPLICA IDENTITY FULL",
	        "CREATE TABLE t (v json, a int, b text); ALTER TABLE t REPLICA IDENTITY FULL",
	};
	for (size_t i = 0; i < sizeof(tables) / sizeof(*tables); i++) {
		fixture_sql(&f, tables[i]);
		bool moods = i == 1, full = i >= 2, json = i == 3;
		fixture_sql(&f, moods  ? "INSERT INTO t VALUES ('x', '1', 'sad'), ('y', '2', 'ok'), ('z', '3', 'Very ''happy')"
		                : json ? "INSERT INTO t VALUES (NULL, 1, 'sad'), ('{}', 2, 'ok'), ('[1]', 3, 'Very ''happy')"
		                       : "INSERT INTO t VALUES (NULL, 1, 'sad'), ('y', 2, 'ok'), ('z', 3, 'Very ''happy')");
		struct source_connection *c = connect_ok();
		struct raw_value keys[6], *k = keys;
		static const char *const values[2][3] = {{NULL, "1", "sad"}, {"z", "3", "Very 'happy"}};
		for (int row = 0; row < 2; row++)
			for (int column = full ? 0 : 1; column < 3; column++, k++)
				*k = values[row][column] ? (struct raw_value){RAW_TEXT, slice_cstr(json && row && !column
				                                                                           ? "[1]"
				                                                                           : values[row][column])}
				                         : (struct raw_value){.kind = RAW_NULL};
		struct chunk_request request = {
		        .table = describe(c, "t"), .max_rows = 100, .max_bytes = 100000, .keys = keys, .key_count = 2};
		struct source_chunk chunk;
		assert_ok(source_read_chunk(c, &request, &f.arena, &chunk, &err));
		assert_int_equal(chunk.row_count, 2);
		assert_true(chunk.last);
		source_disconnect(c);
		fixture_sql(&f, "DROP TABLE t");
	}
}

static void a_row_filter_applies_to_chunks(void **state)
{
	(void)state;
	NEED_SERVER();
	if (PQserverVersion(f.pg) < 150000)
		skip();
	fixture_sql(&f, "CREATE TABLE t (k1 int PRIMARY KEY, k2 text); INSERT INTO t SELECT i, i FROM generate_series(1, 10) i;"
	                "DROP PUBLICATION powersync; CREATE PUBLICATION powersync FOR TABLE t WHERE (k1 > 7 OR k1 = 1)");
	size_t chunks;
	assert_string_equal(read_all("t", 2, 100000, &chunks), "1,1\n8,8\n9,9\n10,10\n");
	fixture_sql(&f, "DROP TABLE t; DROP PUBLICATION powersync; CREATE PUBLICATION powersync FOR ALL TABLES");
}

static void a_changed_table_is_noticed(void **state)
{
	(void)state;
	NEED_SERVER();
	struct error err = {0};
	static const struct {
		const char *sql;
		enum chunk_outcome outcome;
	} cases[] = {
	        {"ALTER TABLE t ADD COLUMN v int", CHUNK_TABLE_CHANGED},
	        {"ALTER TABLE t DROP COLUMN k2", CHUNK_TABLE_CHANGED},
	        {"ALTER TABLE t RENAME COLUMN k2 TO other", CHUNK_TABLE_CHANGED},
	        {"ALTER TABLE t ALTER COLUMN k2 TYPE varchar(20)", CHUNK_TABLE_CHANGED},
	        {"ALTER TABLE t REPLICA IDENTITY FULL", CHUNK_TABLE_CHANGED},
	        {"ALTER TABLE t DROP CONSTRAINT t_pkey", CHUNK_TABLE_CHANGED},
	        {"DROP TABLE t; CREATE TABLE t (k1 int PRIMARY KEY, k2 text)", CHUNK_TABLE_GONE},
	        {"ALTER TABLE t RENAME TO renamed", CHUNK_TABLE_CHANGED},
	        {"DROP TABLE t", CHUNK_TABLE_GONE},
	        {"DROP TABLE t; CREATE VIEW t AS SELECT 1 AS k1, 'a'::text AS k2", CHUNK_TABLE_GONE},
	        {"DROP PUBLICATION powersync", CHUNK_TABLE_GONE},
	        {"DROP PUBLICATION powersync; CREATE PUBLICATION powersync", CHUNK_TABLE_GONE},
	        {"CREATE INDEX i ON t (k2)", CHUNK_ROWS},
	        {"INSERT INTO t VALUES (100, 'x')", CHUNK_ROWS},
	        {"GRANT SELECT ON t TO PUBLIC", CHUNK_ROWS},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		fixture_sql(
		        &f,
		        "DROP PUBLICATION IF EXISTS powersync; CREATE PUBLICATION powersync FOR ALL TABLES;"
		        "CREATE TABLE t (k1 int PRIMARY KEY, k2 text); INSERT INTO t SELECT i, i FROM generate_series(1, 10) i");
		struct source_connection *c = connect_ok(), *fresh = connect_ok();
		struct chunk_request request = {.table = describe(c, "t"), .max_rows = 3, .max_bytes = 100000};
		struct source_chunk chunk;
		assert_ok(source_read_chunk(c, &request, &f.arena, &chunk, &err));
		assert_int_equal(chunk.row_count, 3);
		request.after = chunk.next;
		fixture_sql(&f, cases[i].sql);
		assert_ok(source_read_chunk(c, &request, &f.arena, &chunk, &err));
		assert_int_equal(chunk.outcome, cases[i].outcome);
		assert_ok(source_read_chunk(fresh, &request, &f.arena, &chunk, &err));
		assert_int_equal(chunk.outcome, cases[i].outcome);
		uint64_t lsn;
		assert_ok(source_head(c, &lsn, NULL, NULL, &err)); /* the connection is fit for more */
		source_disconnect(c);
		source_disconnect(fresh);
		fixture_sql(&f, strstr(cases[i].sql, "VIEW") ? "DROP VIEW t" : "DROP TABLE IF EXISTS t, renamed");
	}
	fixture_sql(&f, "DROP PUBLICATION IF EXISTS powersync; CREATE PUBLICATION powersync FOR ALL TABLES");
}

static void a_chunk_sees_one_snapshot(void **state)
{
	(void)state;
	NEED_SERVER();
	struct error err = {0};
	fixture_sql(&f, "CREATE TABLE t (k1 int PRIMARY KEY, k2 text); INSERT INTO t VALUES (1, 'a')");
	struct source_connection *c = connect_ok();
	struct chunk_request request = {.table = describe(c, "t"), .max_rows = 3, .max_bytes = 100000};
	struct source_chunk chunk;
	PGconn *other = fixture_connect(getenv("PG_URI"), f.database);
	fixture_sql_on(other, "BEGIN; INSERT INTO t VALUES (2, 'b')");
	PGresult *r = PQexec(other, "SELECT pg_current_xact_id()");
	uint64_t xid = strtoull(PQgetvalue(r, 0, 0), NULL, 10);
	PQclear(r);
	assert_ok(source_read_chunk(c, &request, &f.arena, &chunk, &err));
	assert_int_equal(chunk.row_count, 1);
	assert_false(xid_visible(&chunk.snapshot, xid));
	fixture_sql_on(other, "COMMIT");
	assert_ok(source_read_chunk(c, &request, &f.arena, &chunk, &err));
	assert_int_equal(chunk.row_count, 2);
	assert_true(xid_visible(&chunk.snapshot, xid));
	PQfinish(other);
	source_disconnect(c);
	fixture_sql(&f, "DROP TABLE t");
}

static void a_scan_reads_all_in_one_snapshot(void **state)
{
	(void)state;
	NEED_SERVER();
	struct error err = {0};
	fixture_sql(&f,
	            "CREATE TABLE t (k1 int, k2 text); INSERT INTO t SELECT i, repeat('x', 50) FROM generate_series(1, 1000) i");
	struct source_connection *c = connect_ok();
	struct source_table *t = describe(c, "t");
	struct source_chunk chunk;
	assert_ok(source_scan_begin(c, t, &f.arena, &chunk, &err));
	assert_int_equal(chunk.outcome, CHUNK_ROWS);
	assert_true(chunk.head_lsn > 0);
	fixture_sql(&f, "INSERT INTO t SELECT i FROM generate_series(1, 1000) i");
	size_t rows = 0, pieces = 0;
	do {
		assert_ok(source_scan_next(c, 300, 100000, &f.arena, &chunk, &err));
		rows += chunk.row_count;
		pieces++;
	} while (!chunk.last);
	assert_int_equal(rows, 1000);
	assert_int_equal(pieces, 4);
	uint64_t lsn;
	assert_ok(source_head(c, &lsn, NULL, NULL, &err));
	fixture_sql(&f, "BEGIN; LOCK TABLE t");
	int64_t start = clock_mono_ms();
	assert_false(source_scan_begin(c, t, &f.arena, &chunk, &err));
	assert_true(clock_mono_ms() - start < 3000);
	assert_true(strstr(err.message, "lock timeout") != NULL);
	fixture_sql(&f, "COMMIT");
	assert_ok(source_scan_begin(c, t, &f.arena, &chunk, &err));
	source_disconnect(c); /* giving up in the middle */
	fixture_sql(&f, "DROP TABLE t");
}

static void a_locked_table_is_an_error_that_the_connection_survives(void **state)
{
	(void)state;
	NEED_SERVER();
	struct error err = {0};
	struct source_config config = f.config;
	config.snapshot_socket_timeout_s = 1; /* locks are waited for half as long */
	struct source *s = source_new(&config, &f.log);
	fixture_sql(&f, "CREATE TABLE t (k1 int PRIMARY KEY, k2 text); INSERT INTO t VALUES (1, 'a')");
	struct source_connection *c = source_connect(s, &err);
	assert_non_null(c);
	struct chunk_request request = {.table = describe(c, "t"), .max_rows = 4, .max_bytes = 100000};
	struct source_chunk chunk;
	fixture_sql(&f, "BEGIN; LOCK TABLE t");
	assert_false(source_read_chunk(c, &request, &f.arena, &chunk, &err));
	assert_string_equal(err.code, "PSYNC_S1120");
	assert_string_equal(err.message, "Postgres error while replicating: canceling statement due to lock timeout");
	fixture_sql(&f, "COMMIT");
	assert_ok(source_read_chunk(c, &request, &f.arena, &chunk, &err));
	assert_int_equal(chunk.row_count, 1);
	source_disconnect(c);
	source_free(s);
	fixture_sql(&f, "DROP TABLE t");
}

static void a_table_that_may_not_be_read_gives_the_servers_text(void **state)
{
	(void)state;
	NEED_SERVER();
	struct error err = {0};
	char role[64], sql[256];
	snprintf(role, sizeof(role), "syncline_nobody_%d", (int)getpid());
	snprintf(sql, sizeof(sql), "CREATE TABLE t (k1 int PRIMARY KEY); CREATE ROLE %s LOGIN PASSWORD 'postgres'", role);
	fixture_sql(&f, sql);
	struct source_config config = f.config;
	config.username = role;
	struct source *s = source_new(&config, &f.log);
	struct source_connection *c = source_connect(s, &err);
	if (c) { /* pg_hba.conf may keep it out */
		struct chunk_request request = {.table = describe(c, "t"), .max_rows = 4, .max_bytes = 100000};
		struct source_chunk chunk;
		assert_false(source_read_chunk(c, &request, &f.arena, &chunk, &err));
		assert_string_equal(err.message, "Postgres error while replicating: permission denied for table t");
		assert_null(source_stream_open(s, "any", &err)); /* no REPLICATION */
	}
	source_disconnect(c);
	source_free(s);
	snprintf(sql, sizeof(sql), "DROP TABLE t; DROP ROLE %s", role);
	fixture_sql(&f, sql);
}

static void a_connection_that_was_cut_fails_clearly(void **state)
{
	(void)state;
	NEED_SERVER();
	struct error err = {0};
	fixture_sql(&f, "CREATE TABLE t (k1 int PRIMARY KEY, k2 text); INSERT INTO t SELECT i, repeat('x', 1000) FROM "
	                "generate_series(1, 5000) i");
	struct source_connection *c = connect_ok();
	struct chunk_request request = {.table = describe(c, "t"), .max_rows = 4, .max_bytes = 100000};
	struct source_chunk chunk;
	assert_ok(source_scan_begin(c, request.table, &f.arena, &chunk, &err));
	fixture_sql(&f, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> "
	                "pg_backend_pid()");
	bool ok = true;
	for (int i = 0; ok && i < 100 && !(i && chunk.last); i++)
		ok = source_scan_next(c, 100, 1 << 20, &f.arena, &chunk, &err);
	if (!ok)
		assert_true(strlen(err.message) > 0);
	assert_false(source_read_chunk(c, &request, &f.arena, &chunk, &err));
	uint64_t lsn;
	assert_false(source_head(c, &lsn, NULL, NULL, &err));
	source_disconnect(c);
	fixture_sql(&f, "DROP TABLE t");
}

/* The SQL that servers of other versions would get, tried on this one: all but the newest columns are there. */
static void queries_for_older_servers_are_sound(void **state)
{
	(void)state;
	NEED_SERVER();
	static const int versions[] = {110000, 120000, 130000, 140000};
	fixture_sql(
	        &f,
	        "CREATE TABLE t (k1 int PRIMARY KEY, k2 mood[]); INSERT INTO t SELECT i, '{sad}' FROM generate_series(1, 10) i");
	for (size_t i = 0; i < sizeof(versions) / sizeof(*versions); i++) {
		struct error err = {0};
		struct source_connection *c = connect_ok();
		if (versions[i] > c->link.version)
			skip();
		c->link.version = versions[i];
		struct source_table *t = describe(c, "t");
		assert_int_equal(t->relation.column_count, 2);
		assert_true(t->relation.columns[0].in_key);
		struct chunk_request request = {.table = t, .max_rows = 4, .max_bytes = 100000};
		struct source_chunk chunk;
		assert_ok(source_check(c, &err));
		assert_ok(source_read_chunk(c, &request, &f.arena, &chunk, &err));
		assert_int_equal(chunk.row_count, 4);
		assert_true(chunk.snapshot.xmax > 0);
		struct mapping_options options = {true, true, -1};
		struct value_mapper *m = value_mapper_new(c, &t->relation, &options, &err);
		assert_non_null(m);
		struct value v[2];
		assert_ok(value_mapper_row(m, chunk.rows, &f.arena, v, &err));
		assert_true(slice_eq(v[1].s, SLICE("[\"sad\"]")));
		value_mapper_free(m);
		uint64_t lsn;
		assert_ok(source_head(c, &lsn, &chunk.snapshot, &f.arena, &err));
		source_disconnect(c);
	}
	fixture_sql(&f, "DROP TABLE t");
}

int main(void)
{
	have_server = fixture_start(&f, "reading");
	if (have_server)
		fixture_sql(&f, "CREATE PUBLICATION powersync FOR ALL TABLES");
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(every_kind_of_key_is_read_in_order),
	        cmocka_unit_test(a_table_without_order_is_read_by_pages),
	        cmocka_unit_test(bytes_bound_a_chunk),
	        cmocka_unit_test(null_and_special_characters_come_through),
	        cmocka_unit_test(keys_are_read_again),
	        cmocka_unit_test(a_row_filter_applies_to_chunks),
	        cmocka_unit_test(a_changed_table_is_noticed),
	        cmocka_unit_test(a_chunk_sees_one_snapshot),
	        cmocka_unit_test(a_scan_reads_all_in_one_snapshot),
	        cmocka_unit_test(a_locked_table_is_an_error_that_the_connection_survives),
	        cmocka_unit_test(a_table_that_may_not_be_read_gives_the_servers_text),
	        cmocka_unit_test(a_connection_that_was_cut_fails_clearly),
	        cmocka_unit_test(queries_for_older_servers_are_sound),
	};
	int failed = cmocka_run_group_tests_name("source: reading a real server", tests, NULL, NULL);
	fixture_stop(&f);
	return failed;
}
