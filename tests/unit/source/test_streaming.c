/* test_streaming.c: the stream against a real server (PG_URI; skipped without). */
#include "reading_world.h"

/* Slots belong to the server: two runs at a time must not meet. */
static const char *slot_name(void)
{
	static char name[64];
	snprintf(name, sizeof(name), "syncline_streaming_%d", (int)getpid());
	return name;
}

static struct source_stream *stream;
static struct source_relation last_relation;
static struct arena relation_arena;

static void keep_relation(const struct source_relation *r)
{
	arena_reset(&relation_arena);
	last_relation = *r;
	last_relation.name = arena_copy(&relation_arena, r->name);
}

/* Events as text, up to and with the given number of commits. */
static char *stream_text(int commits)
{
	static struct buf out;
	struct error err = {0};
	struct stream_event e;
	int64_t until = clock_mono_ms() + 10000;
	buf_clear(&out);
	while (commits > 0 && clock_mono_ms() < until) {
		assert_ok(source_stream_next(stream, 100, &e, &err));
		switch (e.kind) {
		case STREAM_NOTHING:
			break;
		case STREAM_KEEPALIVE:
			if (e.reply_requested)
				assert_ok(source_stream_confirm(stream, 0, &err));
			break;
		case STREAM_BEGIN:
			assert_true(e.xid > 0 && e.final_lsn > 0);
			assert_in_range(e.commit_time_ms, clock_wall_ms() - 60000, clock_wall_ms() + 1000);
			buf_lit(&out, "B ");
			break;
		case STREAM_COMMIT:
			assert_true(e.lsn > 0);
			commits--;
			buf_lit(&out, "C\n");
			break;
		case STREAM_RELATION:
			keep_relation(&e.relation);
			buf_printf(&out, "R(%.*s %c", SLICE_ARG(e.relation.name), e.relation.replica_identity);
			for (size_t i = 0; i < e.relation.column_count; i++)
				buf_printf(&out, " %.*s%s", SLICE_ARG(e.relation.columns[i].name),
				           e.relation.columns[i].in_key ? "*" : "");
			buf_lit(&out, ") ");
			break;
		case STREAM_INSERT:
		case STREAM_UPDATE:
		case STREAM_DELETE:
			buf_putc(&out, e.kind == STREAM_INSERT ? 'I' : e.kind == STREAM_UPDATE ? 'U' : 'D');
			if (e.old_row) {
				buf_printf(&out, "%c(", e.old_is_key ? 'K' : 'O');
				put_row(&out, e.old_row, last_relation.column_count);
				buf_putc(&out, ')');
			}
			if (e.new_row) {
				buf_putc(&out, '(');
				put_row(&out, e.new_row, last_relation.column_count);
				buf_putc(&out, ')');
			}
			buf_putc(&out, ' ');
			break;
		case STREAM_TRUNCATE:
			buf_printf(&out, "T%zu ", e.truncated_count);
			break;
		case STREAM_MESSAGE:
			buf_printf(&out, "M%s%s ", e.marker ? "!" : "", e.transactional ? "t" : "");
			break;
		}
	}
	buf_putc(&out, '\0');
	return out.p;
}

static void open_stream(void)
{
	struct error err = {0};
	uint64_t start;
	struct xid_snapshot x;
	assert_ok(source_slot_create(f.source, slot_name(), &start, &x, &f.arena, &err));
	stream = source_stream_open(f.source, slot_name(), &err);
	if (!stream)
		fail_msg("%s", err.message);
}

static void close_stream(void)
{
	struct error err = {0};
	source_stream_close(stream);
	struct source_connection *c = connect_ok();
	assert_ok(source_slot_drop(c, slot_name(), &err));
	source_disconnect(c);
}

static void changes_are_streamed_as_they_were_made(void **state)
{
	(void)state;
	NEED_SERVER();
	fixture_sql(&f,
	            "CREATE TABLE t (id int PRIMARY KEY, v text, big text); ALTER TABLE t ALTER COLUMN big SET STORAGE EXTERNAL;"
	            "CREATE TABLE u (id int)");
	open_stream();
	fixture_sql(&f, "INSERT INTO t VALUES (1, NULL, 'b'), (2, 'x', '')");
	assert_string_equal(stream_text(1), "B R(t d id* v big) I(1,NULL,b) I(2,x,) C\n");
	fixture_sql(&f, "UPDATE t SET v = 'y' WHERE id = 1");
	fixture_sql(&f, "UPDATE t SET id = 3 WHERE id = 2");
	fixture_sql(&f, "DELETE FROM t WHERE id = 3");
	assert_string_equal(stream_text(3), "B U(1,y,b) C\nB UK(2,?,?)(3,x,) C\nB DK(3,?,?) C\n");
	fixture_sql(&f, "INSERT INTO t VALUES (4, 'v', repeat('z', 4000))");
	stream_text(1);
	fixture_sql(&f, "UPDATE t SET v = 'w' WHERE id = 4");
	assert_string_equal(stream_text(1), "B U(4,w,?) C\n");
	fixture_sql(&f, "BEGIN; INSERT INTO t VALUES (5, '5', ''); SAVEPOINT a; INSERT INTO t VALUES (6, '6', ''); ROLLBACK TO "
	                "a; COMMIT");
	assert_string_equal(stream_text(1), "B I(5,5,) C\n");
	fixture_sql(&f, "TRUNCATE t, u");
	char *text = stream_text(1);
	assert_true(strstr(text, "T2 C\n") != NULL);
	close_stream();
	fixture_sql(&f, "DROP TABLE t, u");
}

static void identity_full_sends_old_rows_and_fills_unchanged_values(void **state)
{
	(void)state;
	NEED_SERVER();
	fixture_sql(&f, "CREATE TABLE t (id int, big text); ALTER TABLE t ALTER COLUMN big SET STORAGE EXTERNAL; ALTER TABLE t "
	                "REPLICA IDENTITY FULL");
	open_stream();
	fixture_sql(&f, "INSERT INTO t VALUES (1, repeat('z', 3000)), (2, NULL)");
	stream_text(1);
	fixture_sql(&f, "UPDATE t SET id = id + 10");
	char *text = stream_text(1);
	assert_null(strchr(text, '?'));
	assert_true(strstr(text, "UO(2,NULL)(12,NULL)") != NULL);
	fixture_sql(&f, "DELETE FROM t WHERE id = 12");
	assert_string_equal(stream_text(1), "B DO(12,NULL) C\n");
	close_stream();
	fixture_sql(&f, "DROP TABLE t");
}

static void a_long_key_out_of_line_is_filled_from_the_old_key(void **state)
{
	(void)state;
	NEED_SERVER();
	fixture_sql(&f, "CREATE TABLE t (id text PRIMARY KEY, v int); ALTER TABLE t ALTER COLUMN id SET STORAGE EXTERNAL");
	open_stream();
	fixture_sql(&f, "INSERT INTO t VALUES (repeat('k', 2500), 1)");
	stream_text(1);
	fixture_sql(&f, "UPDATE t SET v = 2");
	char *text = stream_text(1);
	assert_true(strstr(text, ",2)") != NULL);
	assert_null(strstr(text, "(?,2)"));
	close_stream();
	fixture_sql(&f, "DROP TABLE t");
}

static void markers_and_messages_are_told_apart(void **state)
{
	(void)state;
	NEED_SERVER();
	if (PQserverVersion(f.pg) < 140000)
		skip();
	struct error err = {0};
	open_stream();
	struct source_connection *c = connect_ok();
	assert_ok(source_marker(c, &err));
	assert_string_equal(stream_text(1), "B M!t C\n");
	fixture_sql(&f, "SELECT pg_logical_emit_message(true, 'powersync', 'pong')");
	assert_string_equal(stream_text(1), "B Mt C\n");
	fixture_sql(&f, "SELECT pg_logical_emit_message(false, 'powersync', 'ping')");
	assert_ok(source_marker(c, &err));
	assert_string_equal(stream_text(1), "M! B M!t C\n");
	source_disconnect(c);
	close_stream();
}

static void a_changed_relation_is_sent_again(void **state)
{
	(void)state;
	NEED_SERVER();
	fixture_sql(&f, "CREATE TABLE t (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id * 2) STORED)");
	open_stream();
	fixture_sql(&f, "INSERT INTO t VALUES (1)");
	assert_string_equal(stream_text(1), "B R(t d id*) I(1) C\n");
	fixture_sql(&f, "ALTER TABLE t ADD COLUMN v numeric(5,2) DEFAULT 1");
	fixture_sql(&f, "INSERT INTO t VALUES (2)");
	char *text = stream_text(1);
	assert_true(strstr(text, "R(t d id* v) I(2,1.00) C\n") != NULL);
	close_stream();
	fixture_sql(&f, "DROP TABLE t");
}

static void confirming_moves_the_slot_and_survives_reopening(void **state)
{
	(void)state;
	NEED_SERVER();
	struct error err = {0};
	fixture_sql(&f, "CREATE TABLE t (id int PRIMARY KEY)");
	open_stream();
	struct source_connection *c = connect_ok();
	fixture_sql(&f, "INSERT INTO t VALUES (1)");
	struct stream_event e;
	uint64_t end = 0;
	while (!end) {
		assert_ok(source_stream_next(stream, 5000, &e, &err));
		end = e.kind == STREAM_COMMIT ? e.lsn : 0;
	}
	fixture_sql(&f, "INSERT INTO t VALUES (2)");
	assert_ok(source_stream_confirm(stream, end, &err));
	assert_ok(source_stream_confirm(stream, end - 1, &err)); /* never back */
	uint64_t confirmed = 0;
	enum slot_status status;
	for (int i = 0; i < 50 && confirmed != end; i++) {
		usleep(20000);
		assert_ok(source_slot_status(c, slot_name(), &status, &confirmed, &err));
	}
	assert_true(confirmed == end);
	source_stream_close(stream);
	stream = source_stream_open(f.source, slot_name(), &err);
	assert_non_null(stream);
	char *text = stream_text(1);
	assert_string_equal(text, "B R(t d id*) I(2) C\n");
	source_disconnect(c);
	close_stream();
	fixture_sql(&f, "DROP TABLE t");
}

static void a_stream_that_is_cut_says_why(void **state)
{
	(void)state;
	NEED_SERVER();
	struct error err = {0};
	open_stream();
	char sql[256];
	snprintf(sql, sizeof(sql), "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '%s'",
	         slot_name());
	fixture_sql(&f, sql);
	struct stream_event e;
	bool ok = true;
	for (int i = 0; ok && i < 50; i++)
		ok = source_stream_next(stream, 100, &e, &err);
	assert_false(ok);
	assert_string_equal(err.message, "terminating connection due to administrator command");
	assert_int_equal(source_classify(&err), SOURCE_RETRY);
	assert_false(source_stream_next(stream, 100, &e, &err));
	assert_false(source_stream_confirm(stream, 1, &err));
	close_stream();
}

static void a_dropped_publication_ends_the_stream(void **state)
{
	(void)state;
	NEED_SERVER();
	struct error err = {0};
	fixture_sql(&f, "CREATE TABLE t (id int PRIMARY KEY)");
	open_stream();
	fixture_sql(&f, "DROP PUBLICATION powersync; INSERT INTO t VALUES (1)");
	struct stream_event e;
	bool ok = true;
	for (int i = 0; ok && i < 50; i++)
		ok = source_stream_next(stream, 100, &e, &err);
	assert_false(ok);
	assert_string_equal(err.message, "publication \"powersync\" does not exist");
	assert_int_equal(source_classify(&err), SOURCE_SLOT_LOST);
	close_stream();
	fixture_sql(&f, "DROP TABLE t; CREATE PUBLICATION powersync FOR ALL TABLES");
}

int main(void)
{
	have_server = fixture_start(&f, "streaming");
	if (have_server)
		fixture_sql(&f, "CREATE PUBLICATION powersync FOR ALL TABLES");
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(changes_are_streamed_as_they_were_made),
	        cmocka_unit_test(identity_full_sends_old_rows_and_fills_unchanged_values),
	        cmocka_unit_test(a_long_key_out_of_line_is_filled_from_the_old_key),
	        cmocka_unit_test(markers_and_messages_are_told_apart),
	        cmocka_unit_test(a_changed_relation_is_sent_again),
	        cmocka_unit_test(confirming_moves_the_slot_and_survives_reopening),
	        cmocka_unit_test(a_stream_that_is_cut_says_why),
	        cmocka_unit_test(a_dropped_publication_ends_the_stream),
	};
	int failed = cmocka_run_group_tests_name("source: following a real server", tests, NULL, NULL);
	fixture_stop(&f);
	arena_free(&relation_arena);
	return failed;
}
