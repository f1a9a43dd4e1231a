/* test_session_storage.c: sessions over the real rules and the embedded store: names, lookups, write checkpoints, deploys. */
#include "sync/storage_world.h"

static void test_rows_to_lines(void **state)
{
	struct fixture *f = *state;
	struct client *c = &f->client;
	write_row(f, NOTES, "n1", "a \"quoted\" note");
	write_row(f, LISTS, "l1", "u1");
	write_row(f, LISTS, "l2", "u2");
	write_row(f, TODOS, "t1", "l1");
	write_row(f, TODOS, "t2", "l2");
	commit(f);
	client_open(c);
	assert_int_equal(client_run(c), SESSION_IDLE);
	assert_int_equal(c->bucket_count, 2);
	assert_non_null(bucket_like(c, "notes[]"));
	assert_non_null(bucket_like(c, "mine[\"l1\"]"));
	assert_int_equal(c->operations, 2);
	assert_int_equal(c->completes, 1);

	/* Others' rows wake nobody; a new list brings its todos, and takes them away. */
	write_row(f, TODOS, "t3", "l2");
	commit(f);
	assert_int_equal(c->wakes, 0);
	write_row(f, LISTS, "l2", "u1");
	commit(f);
	assert_int_equal(c->wakes, 1);
	client_run(c);
	assert_int_equal(bucket_like(c, "mine[\"l2\"]")->count, 2);
	assert_int_equal(c->operations, 4);
	delete_row(f, TODOS, "t1");
	delete_row(f, LISTS, "l2");
	commit(f);
	client_run(c);
	assert_null(bucket_like(c, "mine[\"l2\"]"));
	assert_int_equal(c->operations, 5);
	assert_int_equal(c->completes, 3);
	/* Rows of the bucket that does not exist in the store before its first. */
	write_row(f, LISTS, "l3", "u1");
	commit(f);
	client_run(c);
	assert_int_equal(bucket_like(c, "mine[\"l3\"]")->count, 0);
	write_row(f, TODOS, "t8", "l4"); /* another list's first: nobody waits for it */
	commit(f);
	assert_int_equal(c->wakes, 0);
	write_row(f, TODOS, "t9", "l3");
	commit(f);
	assert_int_equal(c->wakes, 1);
	client_run(c);
	assert_int_equal(bucket_like(c, "mine[\"l3\"]")->count, 1);
	assert_true(c->last_op == c->complete_op);
}

static void test_acknowledged_request(void **state)
{
	struct fixture *f = *state;
	struct client *c = &f->client;
	client_open(c);
	client_run(c);
	struct checkpoint_request r = {.user = {SLICE("u1"), SLICE("c1")}, .id = 7};
	OK(storage_request_checkpoints(f->s, &r, 1, true, (struct position){0, f->lsn + 5}, &f->err));
	assert_true(r.pending);
	assert_int_equal(c->wakes, 0);
	write_row(f, NOTES, "n1", "x");
	commit(f);
	client_run(c);
	assert_int_equal(c->write_checkpoint, 7);
	assert_int_equal(c->operations, 1);
	/* One whose head is passed already is acknowledged at once. */
	r.id = 8;
	OK(storage_request_checkpoints(f->s, &r, 1, true, (struct position){0, f->lsn}, &f->err));
	assert_int_equal(c->wakes, 1);
	client_run(c);
	assert_int_equal(c->write_checkpoint, 8);
	/* With a position alone, which is announced without a disk flush. */
	r.id = 9;
	OK(storage_request_checkpoints(f->s, &r, 1, true, (struct position){0, f->lsn + 1}, &f->err));
	commit(f);
	client_run(c);
	assert_int_equal(c->write_checkpoint, 9);
	assert_int_equal(c->operations, 1);
}

/* incremental-deploy 7: what did not change costs nothing. */
static void test_deploys(void **state)
{
	struct fixture *f = *state;
	struct client *c = &f->client;
	write_row(f, NOTES, "n1", "x");
	write_row(f, LISTS, "l1", "u1");
	write_row(f, TODOS, "t1", "l1");
	commit(f);
	client_open(c);
	client_run(c);
	assert_int_equal(c->operations, 2);
	deploy(f, "# nothing else\n" CONFIG("3", ""));
	client_run(c);
	assert_int_equal(c->checkpoints, 1);
	assert_int_equal(c->diffs, 0);
	deploy(f, CONFIG("1", ""));
	client_run(c);
	assert_int_equal(c->checkpoints, 2);
	assert_int_equal(bucket_like(c, "notes[]")->priority, 1);
	deploy(f, CONFIG("1", "  more:\n    data:\n      - SELECT id FROM notes\n"));
	client_run(c);
	assert_int_equal(c->checkpoints, 3); /* a stream more: a diff cannot say so */
	assert_int_equal(c->bucket_count, 3);
	write_row(f, NOTES, "n2", "y");
	commit(f);
	client_run(c);
	assert_int_equal(bucket_like(c, "more[]")->count, 1);
	assert_int_equal(c->operations, 4);
	assert_true(c->last_op == c->complete_op);
}

/* incremental-deploy 7.4 and 7.6: in the middle of a download a deploy takes one bucket away and keeps the other. */
static void test_deploy_in_a_download(void **state)
{
	struct fixture *f = *state;
	struct client *c = &f->client;
	char text[2000], id[16];
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	write_row(f, LISTS, "l1", "u1");
	write_row(f, TODOS, "t1", "l1");
	for (int i = 0; i < 4000; i++) {
		snprintf(id, sizeof(id), "n%d", i);
		write_row(f, NOTES, id, text);
		arena_reset(&f->arena);
	}
	commit(f);
	client_open(c);
	for (int i = 0; i < 3; i++)
		assert_int_equal(client_step(c, 100000, SIZE_MAX), SESSION_MORE);
	uint64_t before = c->operations;
	assert_in_range(before, 1, 3999);
	assert_int_equal(c->completes, 0);
	/* The same without the notes. */
	deploy(f, "bucket_definitions:\n  mine:\n    parameters: SELECT id AS list_id FROM lists WHERE owner_id = "
	          "request.user_id()\n"
	          "    data:\n      - SELECT * FROM todos WHERE list_id = bucket.list_id\n");
	buf_clear(&c->text);
	assert_int_equal(client_run(c), SESSION_IDLE);
	assert_null(bucket_like(c, "notes[]"));
	assert_int_equal(bucket_like(c, "mine[\"l1\"]")->count, 1);
	assert_int_equal(c->operations, before + 1);
	assert_int_equal(c->completes, 1);
	assert_int_equal(c->complete_op, c->last_op);
}

/* Bulk, to see that a reader and a session of real size work together; the figure is for information. */
static void test_bulk(void **state)
{
	struct fixture *f = *state;
	struct client *c = &f->client;
	char text[400];
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	for (int i = 0; i < 20000; i++) {
		char id[16];
		snprintf(id, sizeof(id), "n%d", i);
		write_row(f, NOTES, id, text);
		if (i % 1000 == 999)
			OK(storage_flush(f->s, &f->err));
		if (i % 100 == 99)
			arena_reset(&f->arena);
	}
	commit(f);
	for (int round = 0; round < 3; round++) {
		client_open(c);
		int64_t us = 0;
		enum session_status status;
		do {
			struct session_output out = {0};
			int64_t start = clock_mono_us();
			status = session_step(c->session, NOW, 262144, SIZE_MAX, &out, &c->next, &c->err);
			us += clock_mono_us() - start;
			for (size_t i = 0; i < out.count; i++)
				block_unref(out.blocks[i]);
			free(out.blocks);
		} while (status == SESSION_MORE);
		assert_int_equal(status, SESSION_IDLE);
		struct session_stats stats;
		session_get_stats(c->session, &stats);
		assert_int_equal(stats.operations_sent, 20000);
		print_message("20000 operations in %lld us: %.0f a second\n", (long long)us, 20000.0 * 1e6 / (double)us);
		client_close(c);
	}
}

/* ---- what a request costs -------------------------------------------------------------------------------------------------------- */

enum { IDLE_STREAMS = 2000 };

struct idle {
	struct session *session;
	unsigned wakes;
	uint64_t lines;
};

static void idle_wake(void *ctx, void *owner)
{
	(void)ctx;
	((struct idle *)owner)->wakes++;
}

/* Steps whoever was woken, until there is nothing more to say. */
static void run_woken(struct fixture *f, struct idle *all)
{
	for (int i = 0; i < IDLE_STREAMS; i++) {
		while (all[i].wakes) {
			struct session_output out = {0};
			int64_t next;
			all[i].wakes = 0;
			assert_int_equal(session_step(all[i].session, NOW, SIZE_MAX, SIZE_MAX, &out, &next, &f->err),
			                 SESSION_IDLE);
			all[i].lines += out.lines;
			for (size_t k = 0; k < out.count; k++)
				block_unref(out.blocks[k]);
			free(out.blocks);
		}
	}
}

/* Two streams a user; the id of stream i is on the sync config's lookup, so that a step could read it. */
static void open_idle(struct fixture *f, struct session_hub *hub, struct idle *all)
{
	char subject[16], payload[40];
	for (int i = 0; i < IDLE_STREAMS; i++) {
		snprintf(subject, sizeof(subject), "u%d", i / 2);
		snprintf(payload, sizeof(payload), "{\"sub\":\"%s\"}", subject);
		f->client.options.user = (struct user_key){slice_cstr(subject), SLICE("c")};
		f->client.options.token_payload = slice_cstr(payload);
		all[i].session = session_new(hub, &f->client.request, &f->client.options, &all[i], &f->err);
		assert_non_null(all[i].session);
		all[i].wakes = 1;
	}
	run_woken(f, all);
}

static void expect_work(struct session_hub *hub, struct hub_stats *before, uint64_t wakes, uint64_t most_steps)
{
	struct hub_stats now;
	session_hub_stats(hub, &now);
	assert_int_equal(now.wakes - before->wakes, wakes);
	assert_in_range(now.steps - before->steps, wakes, most_steps);
	assert_int_equal(now.lookups_read - before->lookups_read, 0);
	*before = now;
}

static void test_a_request_costs_only_its_users_streams(void **state)
{
	struct fixture *f = *state;
	struct session_hub *hub = session_hub_new(f->s, idle_wake, NULL);
	struct idle *all = xcalloc(IDLE_STREAMS, sizeof(*all));
	struct hub_stats before;
	storage_subscribe(f->s, session_hub_news, hub);
	write_row(f, NOTES, "n1", "x");
	write_row(f, LISTS, "l1", "u7");
	commit(f);
	open_idle(f, hub, all);
	session_hub_stats(hub, &before);
	assert_int_equal(before.lookups_read, IDLE_STREAMS);
	uint64_t lines = all[14].lines;

	/* Passed already when it is stored; then one that a later position passes. */
	struct checkpoint_request r = {.user = {SLICE("u7"), SLICE("c")}, .id = 5};
	OK(storage_request_checkpoints(f->s, &r, 1, true, (struct position){0, f->lsn}, &f->err));
	run_woken(f, all);
	expect_work(hub, &before, 2, 2);
	r.id = 6;
	OK(storage_request_checkpoints(f->s, &r, 1, true, (struct position){0, f->lsn + 10}, &f->err));
	expect_work(hub, &before, 0, 0);
	commit(f);
	run_woken(f, all);
	expect_work(hub, &before, 2, 2);
	assert_int_equal(all[14].lines, lines + 4); /* twice a diff and its end */
	assert_int_equal(all[15].lines, lines + 4);
	/* A repeated, a stale and a foreign one wake nobody. */
	OK(storage_request_checkpoints(f->s, &r, 1, true, (struct position){0, f->lsn}, &f->err));
	r.id = 2;
	OK(storage_request_checkpoints(f->s, &r, 1, true, (struct position){0, f->lsn}, &f->err));
	r = (struct checkpoint_request){.user = {SLICE("u7"), SLICE("another")}, .id = 9};
	OK(storage_request_checkpoints(f->s, &r, 1, true, (struct position){0, f->lsn}, &f->err));
	run_woken(f, all);
	expect_work(hub, &before, 0, 0);

	for (int i = 0; i < IDLE_STREAMS; i++)
		session_free(all[i].session);
	storage_subscribe(f->s, NULL, NULL);
	session_hub_free(hub);
	free(all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_rows_to_lines), TEST(test_acknowledged_request),
	        TEST(test_deploys),       TEST(test_deploy_in_a_download),
	        TEST(test_bulk),          TEST(test_a_request_costs_only_its_users_streams),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
