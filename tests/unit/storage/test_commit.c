/* Transactions, checkpoints, news, restarts: storage.h, storage-semantics 6. */
#include "storage/fixture.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define PLAN "todos=a\nall=b\n?lists=c"
enum { TODOS = 1, ALL = 2, LISTS = 3 };

static void put(struct fixture *f, uint32_t t, const char *id, const char *data)
{
	write_puts_of(f, t, id, NULL, PUTS(entry(ALL, "[]", "t", id, data)));
}

static bool commit_as(struct fixture *f, uint64_t lsn, bool visible)
{
	bool durable;
	OK(storage_commit(f->s, (struct position){0, lsn}, visible, &durable, &f->err));
	return durable;
}

/* Somebody waits for the position. */
static void commit_wanted(struct fixture *f, uint64_t lsn)
{
	storage_want_position(f->s, (struct position){0, lsn});
	assert_true(commit_as(f, lsn, true));
}

static void there_is_no_checkpoint_before_a_plan_is_active(void **state)
{
	struct fixture *f = *state;
	assert_false(storage_checkpoint(f->s).valid);
	commit_as(f, 5, true);
	assert_false(storage_checkpoint(f->s).valid);
	activate(f, PLAN);
	assert_true(storage_checkpoint(f->s).valid);
	assert_int_equal(storage_checkpoint(f->s).op_id, 0);
	assert_int_equal(storage_checkpoint(f->s).position.lsn, 10);
}

static void a_position_alone_makes_no_checkpoint_unless_somebody_waits_for_it(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	forget_news(f);
	assert_false(commit_as(f, 500, true));
	assert_int_equal(storage_checkpoint(f->s).position.lsn, 10);
	assert_int_equal(f->news_count, 0);
	assert_int_equal(storage_durable_position(f->s).lsn, 10);
	struct source_state st;
	OK(storage_source_state(f->s, &st, &f->err));
	assert_int_equal(st.applied.lsn, 500);
	OK(storage_sync_position(f->s, &f->err));
	assert_int_equal(storage_durable_position(f->s).lsn, 500);
	storage_want_position(f->s, (struct position){0, 600});
	assert_false(commit_as(f, 550, true));
	assert_int_equal(storage_checkpoint(f->s).position.lsn, 10);
	assert_true(commit_as(f, 610, true));
	assert_int_equal(storage_checkpoint(f->s).position.lsn, 610);
	assert_int_equal(f->news_count, 1);
	assert_false(f->everything);
	assert_int_equal(f->bucket_count, 0);
	reopen(f);
	assert_int_equal(storage_checkpoint(f->s).position.lsn, 610);
}

static void a_commit_that_is_not_visible_shows_nothing_until_the_next_one(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	forget_news(f);
	put(f, t, "a", "{}");
	assert_true(commit_as(f, 20, false));
	assert_int_equal(f->news_count, 0);
	assert_int_equal(storage_checkpoint(f->s).op_id, 0);
	assert_int_equal(storage_checkpoint(f->s).position.lsn, 10);
	assert_string_equal(bucket(f, ALL, "[]"), "");
	/* Nothing more to write, but the checkpoint's op id must not be lost by a crash. */
	assert_true(commit_as(f, 30, true));
	assert_int_equal(f->news_count, 1);
	assert_int_equal(f->bucket_count, 1);
	assert_string_equal(bucket(f, ALL, "[]"), "PUT 1 t/a {}|");
	reopen(f);
	assert_int_equal(storage_checkpoint(f->s).op_id, 1);
}

static void flushed_work_is_durable_but_not_shown(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	put(f, t, "a", "{}");
	OK(storage_flush(f->s, &f->err));
	put(f, t, "b", "{}");
	assert_int_equal(storage_durable_position(f->s).lsn, 10);
	forget_news(f);
	reopen(f); /* "b" was in the open batch */
	assert_string_equal(bucket(f, ALL, "[]"), "");
	assert_string_equal(bucket_at(f, ALL, "[]", 100), "PUT 1 t/a {}|");
	/* Which buckets the flush changed is not known any more. */
	commit_as(f, 20, true);
	assert_true(f->everything);
	assert_string_equal(bucket(f, ALL, "[]"), "PUT 1 t/a {}|");
	forget_news(f);
	put(f, t, "c", "{}");
	commit_as(f, 30, true);
	assert_false(f->everything);
	assert_int_equal(f->bucket_count, 1);
}

static void half_a_transaction_is_shown_only_with_the_other_half(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	put(f, t, "before", "{}");
	commit_as(f, 20, true);
	storage_in_transaction(f->s, (struct position){0, 50});
	put(f, t, "a", "{}");
	OK(storage_flush(f->s, &f->err));
	reopen(f); /* killed in the middle */
	/* A boundary that comes before the transaction is sent again: positions move, its half is not shown. */
	storage_want_position(f->s, (struct position){0, 30});
	commit_as(f, 30, true);
	assert_int_equal(storage_checkpoint(f->s).position.lsn, 30);
	assert_int_equal(storage_checkpoint(f->s).op_id, 1);
	/* Nor is what was written after it. */
	put(f, t, "chunk", "{}");
	commit_as(f, 40, true);
	assert_int_equal(storage_checkpoint(f->s).op_id, 1);
	assert_string_equal(bucket(f, ALL, "[]"), "PUT 1 t/before {}|");
	put(f, t, "a", "{}");
	put(f, t, "b", "{}");
	commit_as(f, 50, true);
	assert_int_equal(storage_checkpoint(f->s).position.lsn, 50);
	assert_string_equal(bucket(f, ALL, "[]"), "PUT 1 t/before {}|PUT 2 t/a {}|PUT 3 t/chunk {}|PUT 4 t/a {}|PUT 5 t/b {}|");
	put(f, t, "c", "{}");
	commit_as(f, 60, true);
	assert_int_equal(storage_checkpoint(f->s).op_id, 6);
}

/* The flush took an earlier transaction along, which comes again and may have nothing to write then: a request at a position behind it must not be
 * acknowledged without it. */
static void before_the_end_of_a_half_nothing_is_shown_if_it_is_not_alone(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	put(f, t, "a", "{}");
	commit_as(f, 20, true);
	struct row_key key = row_key("a");
	storage_in_transaction(f->s, (struct position){0, 30});
	OK(storage_delete_row(f->s, t, &key, &f->err));
	storage_in_transaction(f->s, (struct position){0, 50});
	put(f, t, "b", "{}");
	OK(storage_flush(f->s, &f->err));
	reopen(f); /* killed in the middle */
	storage_in_transaction(f->s, (struct position){0, 30});
	OK(storage_delete_row(f->s, t, &key, &f->err));
	storage_want_position(f->s, (struct position){0, 40});
	commit_as(f, 40, true);
	assert_int_equal(storage_checkpoint(f->s).position.lsn, 20);
	reopen(f);
	storage_want_position(f->s, (struct position){0, 40});
	commit_as(f, 40, true);
	assert_int_equal(storage_checkpoint(f->s).position.lsn, 20);
	storage_in_transaction(f->s, (struct position){0, 50});
	put(f, t, "b", "{}");
	commit_as(f, 50, true);
	assert_int_equal(storage_checkpoint(f->s).position.lsn, 50);
	assert_string_equal(bucket(f, ALL, "[]"), "PUT 1 t/a {}|REMOVE 2 t/a|PUT 3 t/b {}|PUT 4 t/b {}|");
}

static void a_lower_position_makes_no_checkpoint(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	commit_as(f, 100, true);
	put(f, t, "a", "{}");
	commit_as(f, 50, true);
	assert_int_equal(storage_checkpoint(f->s).position.lsn, 100);
	assert_int_equal(storage_checkpoint(f->s).op_id, 0);
	commit_as(f, 101, true);
	assert_int_equal(storage_checkpoint(f->s).op_id, 1);
}

static void rollback_forgets_the_batch_and_op_ids_go_on(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	put(f, t, "a", "{}");
	OK(storage_flush(f->s, &f->err));
	put(f, t, "b", "{}");
	write_puts_of(f, t, "c", NULL, PUTS(entry(TODOS, "[\"new bucket\"]", "new type", "c", "{}")));
	uint32_t other = table(f, "other", 2);
	storage_rollback(f->s);
	uint32_t again = table(f, "another", 3);
	assert_int_equal(again, other); /* the number was never seen by anybody */
	put(f, t, "d", "{}");
	write_puts_of(f, again, "e", NULL, PUTS(entry(TODOS, "[\"other bucket\"]", "other type", "e", "{}")));
	commit(f);
	assert_string_equal(bucket(f, ALL, "[]"), "PUT 1 t/a {}|PUT 2 t/d {}|");
	assert_string_equal(bucket(f, TODOS, "[\"new bucket\"]"), "none");
	assert_string_equal(bucket(f, TODOS, "[\"other bucket\"]"), "PUT 3 other type/e {}|");
	reopen(f);
	assert_string_equal(bucket(f, TODOS, "[\"other bucket\"]"), "PUT 3 other type/e {}|");
	struct row_key key = row_key("b");
	struct stored_row row;
	OK(storage_read_row(f->s, t, &key, &f->arena, &row, &f->err));
	assert_false(row.found);
}

static void a_rollback_keeps_positions_that_were_announced(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	commit(f);
	commit_wanted(f, 700);
	put(f, t, "a", "{}");
	storage_rollback(f->s);
	assert_int_equal(storage_checkpoint(f->s).position.lsn, 700);
	commit_wanted(f, 710);
	assert_int_equal(storage_checkpoint(f->s).position.lsn, 710);
}

static const char *last_failure(struct fixture *f)
{
	char *text = arena_bytes(&f->arena, STORAGE_FAILURE_SIZE);
	storage_last_failure(f->s, text);
	return text;
}

static void a_reported_failure_stays_until_something_is_written(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	commit(f);
	assert_string_equal(last_failure(f), "");
	OK(storage_report_failure(f->s, SLICE("slot lost"), &f->err));
	reopen(f);
	assert_string_equal(last_failure(f), "slot lost");
	put(f, t, "a", "{}");
	OK(storage_report_failure(f->s, SLICE("slot lost"), &f->err)); /* nothing new: nothing is written */
	storage_rollback(f->s);
	assert_string_equal(last_failure(f), "slot lost");
	put(f, t, "a", "{}");
	OK(storage_flush(f->s, &f->err));
	assert_string_equal(last_failure(f), "");
	OK(storage_report_failure(f->s, SLICE("again"), &f->err));
	commit_wanted(f, 1000);
	assert_string_equal(last_failure(f), "");
	reopen(f);
	assert_string_equal(last_failure(f), "");
	/* Of a long one the beginning stays, with whole characters. */
	char *longer = arena_bytes(&f->arena, 5000);
	memset(longer, 'x', 5000);
	memcpy(longer + 4094, "\xe2\x82\xac", 3);
	OK(storage_report_failure(f->s, slice_make(longer, 5000), &f->err));
	assert_int_equal(strlen(last_failure(f)), 4094);
	reopen(f);
	assert_int_equal(strlen(last_failure(f)), 4094);
}

static void a_second_opener_is_refused(void **state)
{
	struct fixture *f = *state;
	struct storage_options o = {.path = slice_cstr(f->folder), .map_size = 1 << 30};
	assert_null(storage_open_lmdb(&o, &f->err));
	assert_non_null(strstr(f->err.message, "in use by another process"));
	assert_string_equal(f->err.code, "PSYNC_S1003");
	/* A child process as well; and the lock dies with its holder. */
	storage_close(f->s);
	f->s = NULL;
	int ready[2];
	assert_int_equal(pipe(ready), 0);
	pid_t child = fork();
	if (child == 0) {
		open_store(f);
		ssize_t n = write(ready[1], "x", 1);
		(void)n;
		pause();
	}
	char x;
	assert_int_equal(read(ready[0], &x, 1), 1);
	assert_null(storage_open_lmdb(&o, &f->err));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	close(ready[0]);
	close(ready[1]);
	open_store(f);
}

static void a_newer_format_is_refused(void **state)
{
	struct fixture *f = *state;
	uint8_t newer[4];
	be32_put(newer, STORE_FORMAT_VERSION + 1);
	OK(writer_begin(f->s, &f->err));
	OK(f->s->backend->ops->small_put(f->s->backend, SMALL_META, META_STATE, slice_make(newer, 4), &f->err));
	struct changed_buckets changed = {0};
	OK(f->s->backend->ops->write_commit(f->s->backend, &changed, &f->err));
	free(changed.items);
	f->s->open = f->s->dirty = false;
	storage_close(f->s);
	struct storage_options o = {.path = slice_cstr(f->folder), .map_size = 1 << 30};
	f->s = storage_open_lmdb(&o, &f->err);
	assert_null(f->s);
	assert_non_null(strstr(f->err.message, "newer version"));
	assert_string_equal(f->err.code, "PSYNC_S1005");
}

/* A limit of the size of files stands for the disk: both cut a write short. */
static void a_full_disk_is_named_and_room_ends_the_trouble(void **state)
{
	struct fixture *f = *state;
	struct rlimit before, small;
	struct stat st;
	char path[200];
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	put(f, t, "a", "{}");
	commit(f);
	uint64_t was = storage_checkpoint(f->s).op_id;
	snprintf(path, sizeof(path), "%s/data.mdb", f->folder);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = before;
	small.rlim_cur = (rlim_t)st.st_size + 5000;
	signal(SIGXFSZ, SIG_IGN);
	char *data = xmalloc(1 << 20);
	for (int i = 0; i < 1 << 20; i++)
		data[i] = (char)('a' + rand() % 26);
	data[(1 << 20) - 1] = '\0';
	put(f, t, "b", data);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	bool durable, ok = storage_commit(f->s, (struct position){0, 100}, true, &durable, &f->err);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_false(ok);
	assert_string_equal(f->err.code, "PSYNC_S2404");
	assert_non_null(strstr(f->err.message, "the disk is full"));
	storage_rollback(f->s);
	assert_int_equal(storage_checkpoint(f->s).op_id, was);
	put(f, t, "b", data);
	commit(f);
	assert_int_equal(storage_checkpoint(f->s).op_id, was + 1);
	free(data);
}

static void a_full_map_is_an_error_and_a_rollback_recovers(void **state)
{
	struct fixture *f = *state;
	storage_close(f->s);
	struct storage_options o = {.path = slice_cstr(f->folder), .map_size = 2 << 20, .log = &f->log};
	f->s = storage_open_lmdb(&o, &f->err);
	assert_non_null(f->s);
	storage_subscribe(f->s, note_news, f);
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	put(f, t, "a", "{}");
	commit(f);
	char *data = xmalloc(3 << 20);
	for (int i = 0; i < 3 << 20; i++)
		data[i] = (char)(' ' + rand() % 90);
	data[(3 << 20) - 1] = '\0';
	put(f, t, "b", data);
	free(data);
	bool durable;
	assert_false(storage_commit(f->s, (struct position){0, 1000}, true, &durable, &f->err));
	assert_non_null(strstr(f->err.message, "map size"));
	assert_string_equal(f->err.code, "PSYNC_S2404");
	/* Nothing goes on before the rollback. */
	assert_false(storage_commit(f->s, (struct position){0, 1000}, true, &durable, &f->err));
	storage_rollback(f->s);
	put(f, t, "c", "{}");
	commit(f);
	assert_string_equal(bucket(f, ALL, "[]"), "PUT 1 t/a {}|PUT 2 t/c {}|");
}

#define MANY_ROWS 8000

/* More than the store gathers before it puts operations into their tree. */
static void put_many(struct fixture *f, uint32_t t, char first)
{
	static const char *const keys[] = {"[\"c\"]", "[\"a\"]", "[\"b\"]"};
	char id[16], data[1600];
	memset(data, first, sizeof(data));
	data[sizeof(data) - 1] = '\0';
	for (int i = 0; i < MANY_ROWS; i++) {
		snprintf(id, sizeof(id), "%d", i);
		write_puts_of(f, t, id, NULL, PUTS(entry(TODOS, keys[i % 3], "t", id, data)));
		arena_reset(&f->arena);
	}
}

static size_t count_operations(struct fixture *f, const char *keys, char first)
{
	struct storage_reader *r = storage_read_begin(f->s, &f->err);
	assert_non_null(r);
	uint32_t number = reader_bucket(r, TODOS, slice_cstr(keys));
	struct bucket_checksum total;
	OK(reader_checksum(r, number, UINT64_MAX - 1, &total, &f->err));
	struct op_cursor *c = reader_ops(r, number, 0, UINT64_MAX, &f->err);
	struct op_view op;
	size_t count = 0;
	uint32_t sum = 0;
	uint64_t last = 0;
	while (op_cursor_next(c, &op, &f->err) > 0) {
		assert_true(op.op_id > last);
		assert_int_equal(op.data.p[0], first);
		last = op.op_id;
		sum += op.checksum;
		count++;
	}
	assert_int_equal(total.count, count);
	assert_int_equal(total.checksum, sum);
	op_cursor_close(c);
	storage_read_end(r);
	return count;
}

static void a_batch_beyond_what_is_gathered_is_committed_or_rolled_back_whole(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	commit(f);
	put_many(f, t, 'x');
	assert_true(storage_batch_size(f->s) > MANY_ROWS * 1600);
	storage_rollback(f->s);
	assert_int_equal(storage_batch_size(f->s), 0);
	assert_int_equal(count_operations(f, "[\"a\"]", 'x'), 0);
	t = table(f, "todos", 1);
	put_many(f, t, 'y');
	commit(f);
	assert_int_equal(count_operations(f, "[\"a\"]", 'y') + count_operations(f, "[\"b\"]", 'y') +
	                         count_operations(f, "[\"c\"]", 'y'),
	                 MANY_ROWS);
}

static void everything_survives_a_restart(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	OK(storage_set_source(f->s, "slot_1", "7123.postgres", &f->err));
	put(f, t, "a", "{\"v\":1}");
	OK(storage_table_progress(f->s, t, SLICE("last"), 77, &f->err));
	commit_as(f, 42, true);
	reopen(f);
	struct checkpoint c = storage_checkpoint(f->s);
	assert_true(c.valid && c.op_id == 1 && c.position.lsn == 42);
	struct source_state st;
	OK(storage_source_state(f->s, &st, &f->err));
	assert_string_equal(st.slot_name, "slot_1");
	assert_string_equal(st.system_id, "7123.postgres");
	assert_int_equal(st.applied.lsn, 42);
	assert_int_equal(table(f, "todos", 1), t);
	assert_string_equal(bucket(f, ALL, "[]"), "PUT 1 t/a {\"v\":1}|");
	put(f, t, "a", "{\"v\":2}");
	commit_as(f, 43, true);
	assert_string_equal(bucket(f, ALL, "[]"), "PUT 1 t/a {\"v\":1}|PUT 2 t/a {\"v\":2}|");
}

static void too_many_changed_buckets_are_not_listed(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	forget_news(f);
	for (int i = 0; i < 100001; i++) {
		char keys[32], id[16];
		snprintf(keys, sizeof(keys), "[%d]", i);
		snprintf(id, sizeof(id), "%d", i);
		write_puts_of(f, t, id, NULL, PUTS(entry(TODOS, keys, "t", id, "{}")));
	}
	commit(f);
	assert_true(f->everything);
	assert_int_equal(f->bucket_count, 0);
}

static void reader_keeps_its_snapshot(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	put(f, t, "a", "{}");
	commit(f);
	struct storage_reader *r = storage_read_begin(f->s, &f->err), *second = storage_read_begin(f->s, &f->err);
	assert_non_null(second);
	put(f, t, "a", "{}");
	commit(f);
	struct bucket_checksum sum;
	OK(reader_checksum(r, reader_bucket(r, ALL, SLICE("[]")), 100, &sum, &f->err));
	assert_int_equal(sum.count, 1);
	OK(reader_checksum(r, 999, 100, &sum, &f->err));
	assert_int_equal(sum.count, 0);
	storage_read_end(r);
	storage_read_end(second);
}

/* ---- tables ---- */

static void tables_are_resolved_by_identity(void **state)
{
	struct fixture *f = *state;
	struct table_key_column id = {SLICE("id"), 25}, other = {SLICE("id"), 23};
	struct table_identity t = {.schema = SLICE("public"), .name = SLICE("todos"), .oid = 5, .key = &id, .key_count = 1};
	struct stored_table a, b;
	uint32_t *drop;
	size_t count;
	OK(storage_resolve_table(f->s, &t, &f->arena, &a, &drop, &count, &f->err));
	assert_int_equal(count, 0);
	assert_int_equal(strlen(a.subkey_id), 36);
	OK(storage_resolve_table(f->s, &t, &f->arena, &b, &drop, &count, &f->err));
	assert_int_equal(a.number, b.number);
	assert_string_equal(a.subkey_id, b.subkey_id);
	/* Another identity, the same table renamed, another table under the name. */
	t.key = &other;
	OK(storage_resolve_table(f->s, &t, &f->arena, &b, &drop, &count, &f->err));
	assert_int_equal(count, 1);
	assert_int_equal(drop[0], a.number);
	OK(storage_drop_table(f->s, a.number, &f->err));
	t.name = SLICE("renamed");
	OK(storage_resolve_table(f->s, &t, &f->arena, &a, &drop, &count, &f->err));
	assert_int_equal(count, 1);
	assert_int_equal(drop[0], b.number);
	OK(storage_drop_table(f->s, b.number, &f->err));
	assert_false(storage_drop_table(f->s, b.number, &f->err));
	t.oid = 6;
	OK(storage_resolve_table(f->s, &t, &f->arena, &b, &drop, &count, &f->err));
	assert_int_equal(count, 1);
	assert_int_equal(drop[0], a.number);
}

static void progress_of_a_table_is_kept_until_it_is_done(void **state)
{
	struct fixture *f = *state;
	uint32_t t = table(f, "todos", 1);
	struct table_key_column key = {SLICE("id"), 25};
	struct table_identity id = {.schema = SLICE("public"), .name = SLICE("todos"), .oid = 1, .key = &key, .key_count = 1};
	struct stored_table st;
	uint32_t *drop;
	size_t count;
	OK(storage_table_progress(f->s, t, SLICE("k1000"), 1000, &f->err));
	OK(storage_table_progress(f->s, t, SLICE("k2"), 2000, &f->err));
	OK(storage_flush(f->s, &f->err));
	OK(storage_table_progress(f->s, t, SLICE("a longer one"), 3000, &f->err));
	storage_rollback(f->s);
	OK(storage_resolve_table(f->s, &id, &f->arena, &st, &drop, &count, &f->err));
	assert_true(slice_eq(st.last_key, SLICE("k2")) && st.rows_read == 2000 && !st.snapshot_done);
	OK(storage_table_done(f->s, t, 3, &f->err));
	commit(f);
	reopen(f);
	OK(storage_resolve_table(f->s, &id, &f->arena, &st, &drop, &count, &f->err));
	assert_true(st.last_key.n == 0 && st.snapshot_done && st.snapshot_epoch == 3);
	OK(storage_table_restart(f->s, t, &f->err));
	OK(storage_resolve_table(f->s, &id, &f->arena, &st, &drop, &count, &f->err));
	assert_true(!st.snapshot_done && st.snapshot_epoch == 3);
}

static void operations_of_a_dropped_table_stay_readable(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	put(f, t, "a", "{}");
	OK(storage_drop_table(f->s, t, &f->err));
	commit(f);
	reopen(f);
	assert_string_equal(bucket(f, ALL, "[]"), "PUT 1 t/a {}|REMOVE 2 t/a|");
	assert_int_not_equal(table(f, "todos", 1), t);
}

/* ---- era ---- */

static void a_new_era_sorts_after_the_old_one(void **state)
{
	struct fixture *f = *state;
	bool durable;
	activate(f, PLAN);
	commit_wanted(f, 5000);
	OK(storage_commit(f->s, (struct position){1, 3}, true, &durable, &f->err));
	assert_int_equal(storage_checkpoint(f->s).position.era, 1);
	assert_int_equal(storage_checkpoint(f->s).position.lsn, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	        T(there_is_no_checkpoint_before_a_plan_is_active),
	        T(a_position_alone_makes_no_checkpoint_unless_somebody_waits_for_it),
	        T(a_commit_that_is_not_visible_shows_nothing_until_the_next_one),
	        T(flushed_work_is_durable_but_not_shown),
	        T(half_a_transaction_is_shown_only_with_the_other_half),
	        T(before_the_end_of_a_half_nothing_is_shown_if_it_is_not_alone),
	        T(a_lower_position_makes_no_checkpoint),
	        T(rollback_forgets_the_batch_and_op_ids_go_on),
	        T(a_rollback_keeps_positions_that_were_announced),
	        T(a_reported_failure_stays_until_something_is_written),
	        T(a_second_opener_is_refused),
	        T(a_newer_format_is_refused),
	        T(a_full_disk_is_named_and_room_ends_the_trouble),
	        T(a_full_map_is_an_error_and_a_rollback_recovers),
	        T(a_batch_beyond_what_is_gathered_is_committed_or_rolled_back_whole),
	        T(everything_survives_a_restart),
	        T(too_many_changed_buckets_are_not_listed),
	        T(reader_keeps_its_snapshot),
	        T(tables_are_resolved_by_identity),
	        T(progress_of_a_table_is_kept_until_it_is_done),
	        T(operations_of_a_dropped_table_stay_readable),
	        T(a_new_era_sorts_after_the_old_one),
	};
	return cmocka_run_group_tests_name("commit", tests, NULL, NULL);
}
