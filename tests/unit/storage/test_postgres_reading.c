/* What sessions read of the shared layout in few statements is what single ones read. Without PG_URI the tests skip. */
#include "storage/postgres_world.h"

#include "storage/postgres/bson.h"

#define CONFIG                                                                                                                   \
	"bucket_definitions:\\n  mine:\\n    parameters: SELECT id AS list_id FROM lists WHERE owner_id = request.user_id()\\n"  \
	"    data:\\n      - SELECT id FROM todos WHERE list_id = bucket.list_id"
#define UP_TO 100000

/* Definitions of the stream. */
struct numbers {
	uint32_t buckets, lookup;
};

static struct numbers begin(struct world *w)
{
	struct numbers n = {0, 0};
	activate_stream(w, 1, CONFIG);
	wait_for_stream(&w->a, 1);
	struct stored_plan *p = storage_active_plan(w->a.s);
	for (uint32_t i = 0; i < p->count; i++)
		*(plan_definition(p->plan, i)->kind == DEFINITION_BUCKETS ? &n.buckets : &n.lookup) = p->definitions[i].number;
	stored_plan_unref(p);
	return n;
}

static uint32_t bucket(struct world *w, struct numbers n, int number)
{
	char keys[32];
	snprintf(keys, sizeof(keys), "[\"l%d\"]", number);
	struct storage_reader *r = storage_read_begin(w->a.s, &w->err);
	uint32_t b = reader_bucket(r, n.buckets, slice_cstr(keys));
	storage_read_end(r);
	return b;
}

/* Operations of the bucket, every tenth id from `first` on; data of about `size` bytes. */
static void put(struct world *w, int number, int first, int count, int size)
{
	char sql[700];
	snprintf(sql, sizeof(sql),
	         "INSERT INTO bucket_data SELECT 1, '1#mine[\"l%d\"]', i, CASE WHEN i %% 70 = 0 THEN 'REMOVE' ELSE 'PUT' END,"
	         " '65a1f0c2-0000-4000-8000-000000000001',"
	         " '\\x1e00000005696400100000000437cbbe0673385b9ebb6a62810db11e3f00', 'todos', 't' || i, i,"
	         " CASE WHEN i %% 70 <> 0 THEN repeat('d', %d) END, NULL FROM generate_series(%d, %d, 10) i",
	         number, size, first, first + (count - 1) * 10);
	look(w, sql);
}

/* Everything of the range as text. */
static void read_all(struct world *w, struct storage_reader *r, uint32_t b, uint64_t after, struct buf *out)
{
	struct op_view op;
	struct op_cursor *c = reader_ops(r, b, after, UP_TO, &w->err);
	int got;
	OK(c != NULL);
	while ((got = op_cursor_next(c, &op, &w->err)) > 0)
		buf_printf(out, "%llu %d %u %.*s %zu %llu\n", (unsigned long long)op.op_id, op.kind, op.checksum,
		           SLICE_ARG(op.object_id), op.data.n, (unsigned long long)op.target_op);
	OK(got == 0);
	op_cursor_close(c);
}

static void assert_ahead(struct world *w, const struct op_range *ranges, size_t count, size_t max_bytes, size_t known)
{
	struct storage_reader *r = storage_read_begin(w->a.s, &w->err), *single = storage_read_begin(w->a.s, &w->err);
	struct buf ahead = {0}, alone = {0};
	OK(reader_ops_ahead(r, ranges, count, UP_TO, max_bytes, &w->err));
	for (size_t i = 0; i < count; i++) {
		assert_false(reader_ops_at_hand(r, ranges[i].bucket, ranges[i].after + 1, UP_TO));
		if (i < known)
			assert_true(reader_ops_at_hand(r, ranges[i].bucket, ranges[i].after, UP_TO));
		read_all(w, r, ranges[i].bucket, ranges[i].after, &ahead);
		read_all(w, single, ranges[i].bucket, ranges[i].after, &alone);
		buf_lit(&ahead, "--\n");
		buf_lit(&alone, "--\n");
	}
	buf_putc(&ahead, 0);
	buf_putc(&alone, 0);
	assert_string_equal(ahead.p, alone.p);
	buf_free(&ahead);
	buf_free(&alone);
	storage_read_end(r);
	storage_read_end(single);
}

#define BUCKETS 40

static void operations_read_ahead_are_those_read_alone(void **state)
{
	NEEDS_POSTGRES;
	struct numbers n = begin(w);
	struct op_range ranges[BUCKETS];
	for (int i = 0; i < BUCKETS; i++) {
		int count = i % 7 * 3;
		if (count)
			put(w, i, 1 + i, count, 100);
		ranges[i] = (struct op_range){bucket(w, n, i), 0, (size_t)count};
	}
	put(w, 12, 20001, 1500, 10); /* far more than expected */
	look(w, "INSERT INTO bucket_data (group_id, bucket_name, op_id, op, checksum, target_op) VALUES (1, '1#mine[\"l3\"]', "
	        "90000, "
	        "'MOVE', 5, 90001)");
	assert_ahead(w, ranges, BUCKETS, 1 << 20, BUCKETS);
	/* Positions within, and beyond the end. */
	for (int i = 0; i < BUCKETS; i++)
		ranges[i].after = (uint64_t)i * 4;
	ranges[5].after = UP_TO - 2;
	assert_ahead(w, ranges, BUCKETS, 1 << 20, BUCKETS);
	/* The limit of bytes cuts the answer; the rest is read alone. */
	assert_ahead(w, ranges, BUCKETS, 5000, 3);
	assert_ahead(w, ranges, BUCKETS, 0, 1);
	/* Rows are larger than they were of late, and then smaller: the limit of rows. */
	for (int i = 0; i < BUCKETS; i++)
		put(w, i, 50002 + i, 30, i < 20 ? 3000 : 1);
	for (int i = 0; i < BUCKETS; i++)
		ranges[i] = (struct op_range){ranges[i].bucket, 50000, 30};
	assert_ahead(w, ranges, 20, 1 << 20, 8);
	assert_ahead(w, ranges + 20, 20, 1 << 16, 2);
	assert_ahead(w, ranges, BUCKETS, 1 << 20, 8);
}

/* It counts what the statement saw, as with a single one. */
static void a_clear_is_noticed_when_it_is_read_ahead(void **state)
{
	NEEDS_POSTGRES;
	struct numbers n = begin(w);
	struct op_range ranges[] = {{bucket(w, n, 1), 0, 5}, {bucket(w, n, 2), 0, 5}};
	bool cleared;
	put(w, 1, 1, 5, 10);
	look(w, "INSERT INTO bucket_data (group_id, bucket_name, op_id, op, checksum) VALUES (1, '1#mine[\"l2\"]', 77, 'CLEAR', "
	        "-5)");
	struct storage_reader *r = storage_read_begin(w->a.s, &w->err);
	OK(reader_ops_ahead(r, ranges, 2, 50, 1 << 20, &w->err));
	OK(reader_cleared(r, ranges[0].bucket, 50, &cleared, &w->err));
	assert_false(cleared);
	OK(reader_cleared(r, ranges[1].bucket, 50, &cleared, &w->err));
	assert_true(cleared);
	storage_read_end(r);
}

/* ---- lookups ---------------------------------------------------------------------------------------------------------------------- */

static void store_lookup(struct world *w, int row, const char *key, int op_id, const char *results)
{
	char sql[700];
	struct buf bson = {0}, hex = {0};
	struct arena arena = {0};
	OK(bson_lookup(&bson, SLICE("mine"), SLICE("1"), slice_cstr(key), &arena, &w->err));
	for (size_t i = 0; i < bson.n; i++)
		buf_printf(&hex, "%02x", (unsigned char)bson.p[i]);
	buf_putc(&hex, 0);
	snprintf(sql, sizeof(sql), "INSERT INTO bucket_parameters VALUES (%d, 1, 't', '\\x%04x', '\\x%s', '%s')", op_id, row,
	         hex.p, results);
	look(w, sql);
	buf_free(&bson);
	buf_free(&hex);
	arena_free(&arena);
}

/* Numbers of results under u1, nobody's, u2 and u3. */
static void assert_results(struct world *w, struct numbers n, uint64_t c, const size_t wanted[4])
{
	struct arena arena = {0};
	struct lookup_read keys[4] = {{.definition = n.lookup, .key = SLICE("[\"u1\"]")},
	                              {.definition = n.lookup, .key = SLICE("[\"none\"]")},
	                              {.definition = n.lookup, .key = SLICE("[\"u2\"]")},
	                              {.definition = n.lookup, .key = SLICE("[\"u3\"]")}};
	struct storage_reader *r = storage_read_begin(w->a.s, &w->err);
	OK(reader_lookups(r, keys, 4, c, SIZE_MAX, &arena, &w->err));
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(keys[i].count, wanted[i]);
	if (wanted[3])
		assert_true(slice_eq(keys[3].results[0], SLICE("{\"id\":\"c\"}")));
	/* Not much more than allowed is read. */
	OK(reader_lookups(r, keys, 4, c, 1, &arena, &w->err));
	size_t total = 0;
	for (size_t i = 0; i < 4; i++)
		total += keys[i].count;
	assert_in_range(total, 2, 3);
	storage_read_end(r);
	arena_free(&arena);
}

static void many_keys_are_looked_up_at_once(void **state)
{
	NEEDS_POSTGRES;
	struct numbers n = begin(w);
	store_lookup(w, 1, "[\"u1\"]", 10, "[{\"id\":\"a\"}]");
	store_lookup(w, 2, "[\"u1\"]", 11, "[{\"id\":\"b\"},{\"id\":\"x\"}]");
	store_lookup(w, 3, "[\"u3\"]", 12, "[{\"id\":\"c\"}]");
	store_lookup(w, 2, "[\"u1\"]", 20, "[]");
	store_lookup(w, 2, "[\"u2\"]", 21, "[{\"id\":\"b\"}]");
	assert_results(w, n, 12, (const size_t[]){3, 0, 0, 1});
	assert_results(w, n, 20, (const size_t[]){1, 0, 0, 1});
	assert_results(w, n, UP_TO, (const size_t[]){1, 0, 1, 1});
}

/* Its data may be on the way out: no answer is better than half of one. */
static void a_stream_that_was_replaced_is_not_read(void **state)
{
	NEEDS_POSTGRES;
	struct numbers n = begin(w);
	struct op_range ranges[] = {{bucket(w, n, 1), 0, 5}, {bucket(w, n, 2), 0, 5}};
	struct lookup_read key = {.definition = n.lookup, .key = SLICE("[\"u1\"]")};
	struct arena arena = {0};
	put(w, 1, 1, 5, 10);
	store_lookup(w, 1, "[\"u1\"]", 10, "[{\"id\":\"a\"}]");
	look(w, "UPDATE sync_rules SET state = 'STOP'");
	struct storage_reader *r = storage_read_begin(w->a.s, &w->err);
	assert_false(reader_ops_ahead(r, ranges, 2, UP_TO, 1 << 20, &w->err));
	assert_string_equal(w->err.code, "PSYNC_S2302");
	assert_null(reader_ops(r, ranges[0].bucket, 0, UP_TO, &w->err));
	assert_string_equal(w->err.code, "PSYNC_S2302");
	assert_false(reader_lookups(r, &key, 1, UP_TO, SIZE_MAX, &arena, &w->err));
	assert_string_equal(w->err.code, "PSYNC_S2302");
	storage_read_end(r);
	arena_free(&arena);
}

/* ---- slow databases ------------------------------------------------------------------------------------------------------------------ */

struct slow_read {
	struct world *w;
	uint32_t bucket;
	struct error err;
};

static void *read_slowly(void *arg)
{
	struct slow_read *s = arg;
	struct storage_reader *r = storage_read_begin(s->w->a.s, &s->err);
	struct op_cursor *c = reader_ops(r, s->bucket, 0, UP_TO, &s->err);
	op_cursor_close(c);
	storage_read_end(r);
	return c;
}

static void wait_for_answer(struct world *w, const char *sql, const char *answer)
{
	for (int i = 0; strcmp(look(w, sql), answer) != 0; i++) {
		if (i == 2000)
			fail_msg("%s", sql);
		usleep(10000);
	}
}

/* The server gives a statement up before we give up its connection: nothing goes on there that nobody waits for. */
static void a_statement_has_a_limit_of_time_on_the_server(void **state)
{
	NEEDS_POSTGRES;
	struct numbers n = begin(w);
	struct slow_read s = {.w = w, .bucket = bucket(w, n, 1), .err = {.code = ""}};
	pthread_t thread;
	void *cursor;
	struct pg_conn *conn = pg_pool_take(pg_store_of(w->a.s)->pool, &w->err);
	OK(conn != NULL);
	int pid = PQbackendPID(conn->pg);
	PGresult *r = PQexec(conn->pg, "SELECT current_setting('statement_timeout'), "
	                               "current_setting('idle_in_transaction_session_timeout')");
	assert_string_equal(PQgetvalue(r, 0, 0), "29s");
	assert_string_equal(PQgetvalue(r, 0, 1), "1min");
	PQclear(r);
	pg_pool_give(pg_store_of(w->a.s)->pool, conn);
	look(w, "BEGIN; LOCK TABLE bucket_data IN ACCESS EXCLUSIVE MODE");
	assert_int_equal(pthread_create(&thread, NULL, read_slowly, &s), 0);
	wait_for_answer(w, "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'bucket_data'::regclass", "1");
	look(w, "SELECT count(pg_cancel_backend(pid)) FROM pg_locks WHERE NOT granted AND relation = 'bucket_data'::regclass");
	pthread_join(thread, &cursor);
	look(w, "COMMIT");
	assert_null(cursor);
	assert_string_equal(s.err.code, "PSYNC_S2403");
	conn = pg_pool_take(pg_store_of(w->a.s)->pool, &w->err);
	assert_int_equal(PQbackendPID(conn->pg), pid);
	pg_pool_give(pg_store_of(w->a.s)->pool, conn);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        PLAIN(operations_read_ahead_are_those_read_alone),
	        PLAIN(a_clear_is_noticed_when_it_is_read_ahead),
	        PLAIN(many_keys_are_looked_up_at_once),
	        PLAIN(a_stream_that_was_replaced_is_not_read),
	        PLAIN(a_statement_has_a_limit_of_time_on_the_server),
	};
	return cmocka_run_group_tests_name("postgres reading", tests, make_world, end_world);
}
