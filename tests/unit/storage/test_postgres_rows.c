/* Rows of the shared layout: what is written for them (storage-semantics 5.3), against a real Postgres. */
#include "storage/rows_fixture.h"

static void a_row_is_inserted_updated_and_deleted(void **state)
{
	NEEDS_POSTGRES;
	put_row(f, "n1", "one", PUTS(put("1#global[]", "n1", "{\"id\":\"n1\",\"title\":\"one\"}")));
	assert_true(pg_rows_queued(f->rows, 1));
	assert_false(pg_rows_queued(f->rows, 2));
	write_rows(f);
	assert_false(pg_rows_queued(f->rows, 1));
	assert_int_equal(f->last_op, 1);
	assert_string_equal(look(f, "SELECT encode(source_key, 'hex'), encode(data, 'hex'), buckets, lookups FROM current_data"),
	                    "1e00000005696400100000000437cbbe0673385b9ebb6a62810db11e3f00 "
	                    "1f00000002696400030000006e3100027469746c6500040000006f6e650000 "
	                    "[{\"id\": \"n1\", \"table\": \"notes\", \"bucket\": \"1#global[]\"}] {}");
	put_row(f, "n1", "two", PUTS(put("1#global[]", "n1", "{\"id\":\"n1\",\"title\":\"two\"}")));
	write_rows(f);
	delete_row(f, "n1");
	write_rows(f);
	assert_int_equal(f->last_op, 3);
	assert_string_equal(
	        look(f, "SELECT group_id, bucket_name, op_id, op, source_table, encode(source_key, 'hex'), table_name, row_id,"
	                " checksum, data, target_op FROM bucket_data ORDER BY op_id"),
	        "1 1#global[] 1 PUT " TABLE_ID
	        " 1e00000005696400100000000437cbbe0673385b9ebb6a62810db11e3f00 notes n1 1113522071 "
	        "{\"id\":\"n1\",\"title\":\"one\"} -"
	        "|1 1#global[] 2 PUT " TABLE_ID
	        " 1e00000005696400100000000437cbbe0673385b9ebb6a62810db11e3f00 notes n1 1608231430 "
	        "{\"id\":\"n1\",\"title\":\"two\"} -"
	        "|1 1#global[] 3 REMOVE " TABLE_ID
	        " 1e00000005696400100000000437cbbe0673385b9ebb6a62810db11e3f00 notes n1 42473914 - -");
	assert_string_equal(look(f, IMAGES), "");
}

static void what_a_row_no_longer_gives_is_removed(void **state)
{
	NEEDS_POSTGRES;
	put_row(f, "n1", "x", PUTS(put("b1[]", "n1", "1"), put("b2[]", "n1", "1")));
	write_rows(f);
	put_row(f, "n1", "y", PUTS(put("b2[]", "n1", "2"), put("b3[]", "n1", "2")));
	write_rows(f);
	assert_string_equal(look(f, OPS), "1 PUT b1[] n1 1|2 PUT b2[] n1 1|3 PUT b2[] n1 2|4 PUT b3[] n1 2|5 REMOVE b1[] n1 -");
	/* An insert over a stored row is an update, also when a transaction comes again. */
	put_row(f, "n1", "z", PUTS(put("b4[]", "n1", "3")));
	write_rows(f);
	assert_string_equal(look(f, OPS " OFFSET 5"), "6 PUT b4[] n1 3|7 REMOVE b2[] n1 -|8 REMOVE b3[] n1 -");
}

static void records_of_one_queue_see_each_other(void **state)
{
	NEEDS_POSTGRES;
	put_row(f, "n1", "x", PUTS(put("b1[]", "n1", "1")));
	delete_row(f, "n1");
	put_row(f, "n1", "y", PUTS(put("b2[]", "n1", "2")));
	put_row(f, "n2", "x", PUTS(put("b1[]", "n2", "1")));
	delete_row(f, "n2");
	write_rows(f);
	assert_string_equal(look(f, OPS),
	                    "1 PUT b1[] n1 1|2 REMOVE b1[] n1 -|3 PUT b2[] n1 2|4 PUT b1[] n2 1|5 REMOVE b1[] n2 -");
	assert_string_equal(look(f, "SELECT buckets -> 0 ->> 'bucket' FROM current_data"), "b2[]");
}

static void a_changed_key_removes_under_the_old_one_first(void **state)
{
	NEEDS_POSTGRES;
	put_row(f, "n1", "x", PUTS(put("b[]", "n1", "1")));
	put_row(f, "n2", "x", PUTS(put("b[]", "n2", "1")));
	write_rows(f);
	/* n1 takes the place of n2, which was not deleted: the stored row goes with it. */
	put_row(f, "n2", "y", PUTS(put("c[]", "n2", "2")), .old = source_key(f, "n1"));
	write_rows(f);
	assert_string_equal(look(f, OPS " OFFSET 2"), "3 REMOVE b[] n1 -|4 PUT c[] n2 2|5 REMOVE b[] n2 -");
	assert_string_equal(look(f, "SELECT count(*) FROM current_data"), "1");
	assert_string_equal(look(f, "SELECT count(DISTINCT source_key) FROM bucket_data WHERE op = 'REMOVE'"), "2");
}

static void an_incomplete_row_keeps_what_it_gave(void **state)
{
	NEEDS_POSTGRES;
	struct pg_stored_row stored;
	struct pg_incomplete_row *rows;
	size_t count;
	put_row(f, "n1", "x", PUTS(put("b[]", "n1", "1")));
	write_rows(f);
	struct pg_row partial = {.key = source_key(f, "n1"), .image = image_of(f, "n1", NULL)};
	pg_rows_put_incomplete(f->rows, &f->table, &partial, SLICE("key"), SLICE("wire"));
	OK(pg_rows_read(f->rows, f->conn, &f->table, partial.key, &f->arena, &stored, &f->err));
	assert_true(stored.found && stored.incomplete && slice_eq(stored.partial, SLICE("wire")));
	write_rows(f);
	assert_string_equal(look(f, OPS), "1 PUT b[] n1 1");
	assert_string_equal(look(f, "SELECT buckets -> 0 ->> 'bucket', encode(data, 'hex') FROM current_data"),
	                    "b[] 1000000002696400030000006e310000");
	OK(pg_rows_incomplete(f->rows, f->conn, &f->table, (struct slice){NULL, 0}, 10, &f->arena, &rows, &count, &f->err));
	assert_int_equal(count, 1);
	assert_true(slice_eq(rows[0].row_key, SLICE("key")) && slice_eq(rows[0].key, partial.key));
	OK(pg_rows_read(f->rows, f->conn, &f->table, partial.key, &f->arena, &stored, &f->err));
	assert_true(stored.found && stored.incomplete && slice_eq(stored.partial, SLICE("wire")));
	/* Read again, it is complete. */
	put_row(f, "n1", "z", PUTS(put("c[]", "n1", "2")), .compare = true);
	write_rows(f);
	assert_string_equal(look(f, OPS " OFFSET 1"), "2 PUT c[] n1 2|3 REMOVE b[] n1 -");
	OK(pg_rows_incomplete(f->rows, f->conn, &f->table, (struct slice){NULL, 0}, 10, &f->arena, &rows, &count, &f->err));
	assert_int_equal(count, 0);
	assert_string_equal(look(f, "SELECT count(*) FROM syncline_incomplete_rows"), "0");
}

/* The other program wrote the row meanwhile: what is kept for completing it is not used. */
static void a_row_that_another_wrote_is_not_incomplete(void **state)
{
	NEEDS_POSTGRES;
	struct pg_stored_row stored;
	struct pg_incomplete_row *rows;
	size_t count;
	struct pg_row partial = {.key = source_key(f, "n1"), .image = image_of(f, "n1", NULL)};
	pg_rows_put_incomplete(f->rows, &f->table, &partial, SLICE("key"), SLICE("wire"));
	write_rows(f);
	sql(f, "UPDATE current_data SET data = '\\x0500000000'");
	OK(pg_rows_incomplete(f->rows, f->conn, &f->table, (struct slice){NULL, 0}, 10, &f->arena, &rows, &count, &f->err));
	assert_int_equal(count, 0);
	OK(pg_rows_read(f->rows, f->conn, &f->table, partial.key, &f->arena, &stored, &f->err));
	assert_true(stored.found);
	assert_false(stored.incomplete);
}

static void rows_that_are_read_again_write_nothing(void **state)
{
	NEEDS_POSTGRES;
	struct pg_row_lookup lookup = {SLICE("BSON"), SLICE("[{\"a\":1}]")};
	put_row(f, "n1", "x", PUTS(put("b[]", "n1", "1")), LOOKUPS(lookup));
	put_row(f, "n1", "x", PUTS(put("b[]", "n1", "1")), LOOKUPS(lookup), .compare = true);
	write_rows(f);
	put_row(f, "n1", "x", PUTS(put("b[]", "n1", "1")), LOOKUPS(lookup), .compare = true);
	write_rows(f);
	assert_int_equal(f->last_op, 2);
	put_row(f, "n1", "y", PUTS(put("b[]", "n1", "1")), LOOKUPS(lookup), .compare = true);
	put_row(f, "n1", "y", PUTS(put("c[]", "n1", "1")), LOOKUPS(lookup), .compare = true);
	write_rows(f);
	assert_string_equal(look(f, OPS " OFFSET 1"), "3 PUT b[] n1 1|4 PUT c[] n1 1|5 REMOVE b[] n1 -");
}

static void lookups_that_are_gone_are_empty(void **state)
{
	NEEDS_POSTGRES;
	struct pg_row_lookup a = {SLICE("....A"), SLICE("[1]")}, b = {SLICE("....B"), SLICE("[2]")},
	                     c = {SLICE("....C"), SLICE("[3]")};
	put_row(f, "n1", "x", LOOKUPS(a, b));
	write_rows(f);
	put_row(f, "n1", "y", LOOKUPS(b, c));
	write_rows(f);
	assert_string_equal(look(f, ENTRIES), "1 A [1]|2 B [2]|3 B [2]|4 C [3]|5 A []");
	assert_string_equal(look(f, "SELECT lookups FROM current_data"), "{\"\\\\x2e2e2e2e42\",\"\\\\x2e2e2e2e43\"}");
	delete_row(f, "n1");
	write_rows(f);
	assert_string_equal(look(f, ENTRIES " OFFSET 5"), "6 B []|7 C []");
}

/* First all operations, then all lookup entries; a portion has 2000 records. */
static void ids_are_given_portion_by_portion(void **state)
{
	NEEDS_POSTGRES;
	struct pg_row_lookup lookup = {SLICE("....L"), SLICE("[]")};
	for (int i = 0; i < 2003; i++) {
		char id[16];
		snprintf(id, sizeof(id), "r%d", i);
		put_row(f, id, "x", PUTS(put("b[]", arena_cstr(&f->arena, slice_cstr(id)), "1")), LOOKUPS(lookup));
	}
	write_rows(f);
	assert_string_equal(look(f, "SELECT min(op_id), max(op_id) FROM bucket_data WHERE op_id <= 2000"), "1 2000");
	assert_string_equal(look(f, "SELECT min(op_id), max(op_id), count(*) FROM bucket_data WHERE op_id > 2000"),
	                    "4001 4003 3");
	assert_string_equal(look(f, "SELECT min(id), max(id), count(*) FROM bucket_parameters WHERE id < 4003"),
	                    "2001 4000 2000");
	assert_string_equal(look(f, "SELECT min(id), max(id) FROM bucket_parameters WHERE id > 4003"), "4004 4006");
	assert_string_equal(look(f, "SELECT row_id FROM bucket_data WHERE op_id IN (1, 2000, 4003) ORDER BY op_id"),
	                    "r0|r1999|r2002");
}

static void a_row_of_many_buckets(void **state)
{
	NEEDS_POSTGRES;
	enum { N = 3000 };
	struct pg_row_put *puts = xcalloc(N, sizeof(*puts));
	for (int i = 0; i < N; i++) {
		char name[16];
		snprintf(name, sizeof(name), "b[%d]", i);
		puts[i] = put(arena_cstr(&f->arena, slice_cstr(name)), "n1", "1");
	}
	struct pg_row row = {.key = source_key(f, "n1"), .image = image_of(f, "n1", "x"), .puts = puts, .put_count = N};
	pg_rows_put(f->rows, &f->table, &row);
	write_rows(f);
	row.puts = puts + 1;
	row.put_count = N - 2;
	row.image = image_of(f, "n1", "y");
	pg_rows_put(f->rows, &f->table, &row);
	write_rows(f);
	free(puts);
	assert_string_equal(look(f, "SELECT bucket_name FROM bucket_data WHERE op = 'REMOVE' ORDER BY op_id"), "b[0]|b[2999]");
	assert_string_equal(look(f, "SELECT jsonb_array_length(buckets) FROM current_data"), "2998");
}

/* Storage version 3: a deleted row leaves a marker, whose id comes before those of the operations. */
static void deletions_leave_markers_in_version_3(void **state)
{
	NEEDS_POSTGRES;
	f->table.version = 3;
#define MARKERS "SELECT pending_delete, encode(data, 'hex'), buckets FROM v3_current_data ORDER BY pending_delete, length(data)"
	put_row(f, "n1", "x", PUTS(put("b[]", "n1", "1")));
	write_rows(f);
	put_row(f, "n2", "x", PUTS(put("b[]", "n2", "1")));
	delete_row(f, "n1");
	delete_row(f, "never");
	delete_row(f, "back");
	delete_row(f, "never"); /* once more: one id for both */
	put_row(f, "back", "x", PUTS(put("b[]", "back", "1")));
	write_rows(f);
	assert_string_equal(look(f, OPS), "1 PUT b[] n1 1|4 PUT b[] n2 1|5 REMOVE b[] n1 -|6 PUT b[] back 1");
	assert_string_equal(look(f, MARKERS), "2 0500000000 []|3 0500000000 []"
	                                      "|- 1d00000002696400030000006e3200027469746c650002000000780000"
	                                      " [{\"id\": \"n2\", \"table\": \"notes\", \"bucket\": \"b[]\"}]"
	                                      "|- 1f00000002696400050000006261636b00027469746c650002000000780000"
	                                      " [{\"id\": \"back\", \"table\": \"notes\", \"bucket\": \"b[]\"}]");
	/* A marker is no stored row. */
	struct pg_stored_row stored;
	OK(pg_rows_read(f->rows, f->conn, &f->table, source_key(f, "n1"), &f->arena, &stored, &f->err));
	assert_false(stored.found);
	put_row(f, "n1", "y", PUTS(put("b[]", "n1", "2")));
	write_rows(f);
	assert_string_equal(look(f, OPS " OFFSET 4"), "7 PUT b[] n1 2");
	assert_string_equal(look(f, "SELECT count(*) FROM v3_current_data WHERE pending_delete IS NULL"), "3");
	size_t count;
	OK(pg_rows_truncate(f->rows, f->conn, &f->table, 10, &count, &f->err));
	assert_int_equal(count, 3);
	write_rows(f);
	assert_string_equal(look(f, "SELECT pending_delete FROM v3_current_data"), "3");
}

static void tables_are_truncated_in_steps(void **state)
{
	NEEDS_POSTGRES;
	size_t count;
	uint64_t all = 0;
	struct pg_row_lookup lookup = {SLICE("....L"), SLICE("[1]")};
	for (int i = 0; i < 25; i++) {
		char id[16];
		snprintf(id, sizeof(id), "r%d", i);
		put_row(f, id, "x", PUTS(put("b[]", arena_cstr(&f->arena, slice_cstr(id)), "1")), LOOKUPS(lookup));
	}
	write_rows(f);
	do {
		OK(pg_rows_truncate(f->rows, f->conn, &f->table, 10, &count, &f->err));
		write_rows(f);
		all += count;
	} while (count);
	assert_int_equal(all, 25);
	assert_string_equal(look(f, "SELECT op, count(*) FROM bucket_data GROUP BY 1 ORDER BY 1"), "PUT 25|REMOVE 25");
	assert_string_equal(look(f, "SELECT bucket_parameters, count(*) FROM bucket_parameters GROUP BY 1 ORDER BY 1"),
	                    "[1] 25|[] 25");
	assert_string_equal(look(f, IMAGES), "");
}

/* A table that was empty is not asked for rows that are read; that one came twice is noticed. */
static void a_row_that_is_read_twice_into_an_empty_table(void **state)
{
	NEEDS_POSTGRES;
	put_row(f, "n1", "x", PUTS(put("b[]", "n1", "1")), .compare = true);
	write_rows(f);
	put_row(f, "n2", "x", PUTS(put("b[]", "n2", "1")), .compare = true);
	put_row(f, "n1", "y", PUTS(put("c[]", "n1", "2")), .compare = true);
	write_rows(f);
	assert_string_equal(look(f, "SELECT op, bucket_name, row_id, coalesce(data, '-') FROM bucket_data ORDER BY op_id"),
	                    "PUT b[] n1 1|PUT b[] n2 1|PUT c[] n1 2|REMOVE b[] n1 -");
	/* What was streamed into it is known, so that it need not be noticed. */
	put_row(f, "n3", "s", PUTS(put("b[]", "n3", "1")));
	write_rows(f);
	put_row(f, "n3", "s", PUTS(put("b[]", "n3", "1")), .compare = true);
	write_rows(f);
	assert_string_equal(look(f, "SELECT count(*) FROM bucket_data WHERE row_id = 'n3'"), "1");
}

static void another_that_draws_ids_does_no_harm(void **state)
{
	NEEDS_POSTGRES;
	sql(f, "ALTER SEQUENCE op_id_sequence INCREMENT 3");
	put_row(f, "n1", "x", PUTS(put("b1[]", "n1", "1"), put("b2[]", "n1", "1")));
	write_rows(f);
	assert_string_equal(look(f, "SELECT op_id, bucket_name FROM bucket_data ORDER BY op_id"), "7 b1[]|10 b2[]");
	assert_int_equal(f->last_op, 10);
}

static void a_queue_that_gives_no_operations_tells_the_sequence(void **state)
{
	NEEDS_POSTGRES;
	f->last_op = 99;
	put_row(f, "n1", "x");
	write_rows(f);
	assert_int_equal(f->last_op, 0);
	assert_string_equal(look(f, "SELECT buckets, lookups FROM current_data"), "[] {}");
	f->last_op = 99;
	write_rows(f);
	assert_int_equal(f->last_op, 99);
}

static void two_streams_are_written_each_for_itself(void **state)
{
	NEEDS_POSTGRES;
	struct pg_row_table other = {2, 3, SLICE("other-table")};
	struct pg_row row = {.key = source_key(f, "n1"), .image = image_of(f, "n1", "x"), PUTS(put("2#b[]", "n1", "1"))};
	put_row(f, "n1", "x", PUTS(put("1#b[]", "n1", "1")));
	pg_rows_put(f->rows, &other, &row);
	write_rows(f);
	pg_rows_delete(f->rows, &other, row.key);
	write_rows(f);
	assert_string_equal(look(f, "SELECT group_id, op_id, op, bucket_name, source_table FROM bucket_data ORDER BY op_id"),
	                    "1 1 PUT 1#b[] " TABLE_ID "|2 2 PUT 2#b[] other-table|2 4 REMOVE 2#b[] other-table");
	assert_string_equal(look(f, "SELECT (SELECT count(*) FROM current_data), (SELECT pending_delete FROM v3_current_data)"),
	                    "1 3");
}

static void texts_that_postgres_cannot_hold_are_left_out(void **state)
{
	NEEDS_POSTGRES;
	f->log.fd = -1;
	struct pg_row_put nul = put("b[]", "n1", "1"), bad = put("b[]", "n1", "1");
	nul.object_id = slice_make("n\0001", 3);
	bad.data = slice_make("\xed\xa0\x80", 3);
	put_row(f, "n1", "x", PUTS(nul, put("c[]", "n1", "1"), bad));
	put_row(f, "n2", "x", PUTS(put("quote\"\\[]", "{\"},", "1")));
	write_rows(f);
	assert_string_equal(look(f, OPS), "1 PUT c[] n1 1|2 PUT quote\"\\[] {\"}, 1");
	delete_row(f, "n2");
	write_rows(f);
	assert_string_equal(look(f, OPS " OFFSET 2"), "3 REMOVE quote\"\\[] {\"}, -");
	f->log.fd = 2;
}

static void a_failed_write_leaves_nothing_and_is_done_again(void **state)
{
	NEEDS_POSTGRES;
	put_row(f, "n1", "x", PUTS(put("b[]", "n1", "1")));
	write_rows(f);
	put_row(f, "n1", "y", PUTS(put("b[]", "n1", "2")));
	sql(f, "ALTER TABLE bucket_data ADD CONSTRAINT no CHECK (op_id < 2)");
	begin(f);
	assert_false(pg_rows_write(f->rows, f->conn, &f->last_op, &f->err));
	assert_string_equal(f->err.code, "PSYNC_S2404");
	sql(f, "ROLLBACK");
	f->in_transaction = false;
	pg_rows_clear(f->rows);
	assert_int_equal(pg_rows_size(f->rows), 0);
	sql(f, "ALTER TABLE bucket_data DROP CONSTRAINT no");
	put_row(f, "n1", "y", PUTS(put("b[]", "n1", "2")));
	write_rows(f);
	assert_string_equal(look(f, "SELECT op, data FROM bucket_data ORDER BY op_id"), "PUT 1|PUT 2");
}

/* The connection dies in the middle of a batch: nothing of it is there. */
static void a_cut_connection_in_the_middle_of_a_write(void **state)
{
	NEEDS_POSTGRES;
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 5000; i++) {
			char id[16];
			snprintf(id, sizeof(id), "r%d", i);
			put_row(f, id, round ? "b" : "a",
			        PUTS(put("b[]", arena_cstr(&f->arena, slice_cstr(id)), round ? "2" : "1")));
		}
		begin(f);
		if (round == 1) { /* ends itself at the last row */
			sql(f, "CREATE FUNCTION pg_temp.cut() RETURNS trigger LANGUAGE plpgsql AS"
			       " $$ BEGIN IF NEW.op_id % 5000 = 4000 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END "
			       "IF; RETURN NEW; "
			       "END $$;"
			       " CREATE TRIGGER cut BEFORE INSERT ON bucket_data FOR EACH ROW EXECUTE FUNCTION pg_temp.cut()");
			assert_false(pg_rows_write(f->rows, f->conn, &f->last_op, &f->err));
			assert_true(f->conn->broken);
			pg_rows_clear(f->rows);
			rows_reconnect(f);
			OK(pg_rows_prepare(f->conn, &f->err));
			assert_string_equal(look(f, "SELECT count(*), count(DISTINCT row_id), max(data) FROM bucket_data"),
			                    "5000 5000 1");
		} else {
			write_rows(f);
		}
	}
	assert_string_equal(look(f, "SELECT count(*), count(DISTINCT row_id), max(data) FROM bucket_data"), "10000 5000 2");
	assert_string_equal(look(f, "SELECT count(*) FROM current_data"), "5000");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rows_begin, rows_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(a_row_is_inserted_updated_and_deleted),
	        TEST(what_a_row_no_longer_gives_is_removed),
	        TEST(records_of_one_queue_see_each_other),
	        TEST(a_changed_key_removes_under_the_old_one_first),
	        TEST(an_incomplete_row_keeps_what_it_gave),
	        TEST(a_row_that_another_wrote_is_not_incomplete),
	        TEST(rows_that_are_read_again_write_nothing),
	        TEST(lookups_that_are_gone_are_empty),
	        TEST(ids_are_given_portion_by_portion),
	        TEST(a_row_of_many_buckets),
	        TEST(deletions_leave_markers_in_version_3),
	        TEST(tables_are_truncated_in_steps),
	        TEST(a_row_that_is_read_twice_into_an_empty_table),
	        TEST(another_that_draws_ids_does_no_harm),
	        TEST(a_queue_that_gives_no_operations_tells_the_sequence),
	        TEST(two_streams_are_written_each_for_itself),
	        TEST(texts_that_postgres_cannot_hold_are_left_out),
	        TEST(a_failed_write_leaves_nothing_and_is_done_again),
	        TEST(a_cut_connection_in_the_middle_of_a_write),
	};
	return cmocka_run_group_tests(tests, rows_setup, rows_teardown);
}
