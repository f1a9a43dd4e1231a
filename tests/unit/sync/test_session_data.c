/* test_session_data.c: data lines: their sizes, budgets, interruption, and buckets that are compacted meanwhile (sync-protocol 6). */
#define _GNU_SOURCE

#include "sync/session_world.h"

/* What was added is visible, and the client connects. */
static void commit_and_open(void)
{
	fake_commit(client.storage);
	client_open(&client);
}

/* The client connects to so many rows in one bucket. */
static void open_lists(size_t rows)
{
	only_lists();
	put_many(0, rows);
	commit_and_open();
}

/* Its first step sends the checkpoint line alone. */
static void open_lists_at_checkpoint(size_t rows)
{
	open_lists(rows);
	client_step(&client, SIZE_MAX, 1);
	assert_int_equal(client.checkpoints, 1);
	assert_int_equal(client.data_lines, 0);
}

/* Data lines that were sent, by the position that they begin behind. */
static void assert_line(const char *after, bool has_more)
{
	char text[80];
	snprintf(text, sizeof(text), "\"after\":\"%s\",\"has_more\":%s", after, has_more ? "true" : "false");
	if (!memmem(client.text.p, client.text.n, text, strlen(text)))
		fail_msg("no line with %s", text);
}

static void test_lines_of_a_thousand(void **state)
{
	(void)state;
	open_lists(2500);
	client_run(&client);
	assert_int_equal(client.data_lines, 3);
	assert_int_equal(client.operations, 2500);
	assert_line("0", true);
	assert_line("1000", true);
	assert_line("2000", false);
	assert_int_equal(client_find(&client, "1#lists|0[]")->position, 2500);
}

/* The reference does not know better: true on a line that happens to be the last. No empty line follows. */
static void test_exactly_a_thousand(void **state)
{
	(void)state;
	open_lists(1000);
	client_run(&client);
	assert_int_equal(client.data_lines, 1);
	assert_line("0", true);
}

/* Sizes of trace 16. */
static void test_large_rows(void **state)
{
	(void)state;
	only_lists();
	char *text = xmalloc(1500000);
	memset(text, 'b', 1500000);
	for (int i = 0; i < 6; i++)
		fake_op(client.storage, 0, "[]", OP_PUT, "x", slice_make(text, 400021));
	fake_op(client.storage, 0, "[]", OP_PUT, "x", slice_make(text, 1500000));
	fake_put(client.storage, 0, "[]", "x", "{}");
	commit_and_open();
	client_run(&client);
	assert_int_equal(client.data_lines, 5);
	assert_int_equal(client.operations, 8);
	assert_line("0", true);
	assert_line("2", true);
	assert_line("4", true);
	assert_line("6", true);
	assert_line("7", false);
	free(text);
}

/* A slow reader: one line a step, or as much as the window takes. Nothing is held open or lost in between. */
static void test_budgets(void **state)
{
	(void)state;
	put_many(0, 2500);
	put_many(1, 10);
	commit_and_open();
	assert_int_equal(client_step(&client, SIZE_MAX, 0), SESSION_MORE);
	assert_int_equal(client.text.n, 0);
	unsigned steps = 0;
	while (client_step(&client, SIZE_MAX, 1) == SESSION_MORE)
		steps++;
	assert_int_equal(steps, 7); /* checkpoint, alerts, partial, three of lists, complete */
	assert_int_equal(client.operations, 2510);
	client_close(&client);
	struct storage *s = client.storage;
	struct session_hub *hub = client.hub;
	client = (struct client){.storage = s, .hub = hub, .now = NOW, .request = client.request, .options = client.options};
	client_open(&client);
	steps = 0;
	while (client_step(&client, 150000, SIZE_MAX) == SESSION_MORE)
		steps++;
	assert_int_equal(client.completes, 1);
	assert_in_range(steps, 2, 3);
}

static void test_interruption(void **state)
{
	(void)state;
	put_many(0, 5000);
	fake_put(client.storage, 1, "[]", "x", "{}");
	commit_and_open();
	for (int i = 0; i < 3; i++)
		client_step(&client, SIZE_MAX, 1); /* checkpoint, alerts, partial */
	/* Before 1000 operations: the checkpoint is finished first, whatever comes. */
	fake_put(client.storage, 1, "[]", "x", "{}");
	fake_commit(client.storage);
	client_step(&client, SIZE_MAX, 1);
	assert_int_equal(client.operations, 1001);
	assert_int_equal(client.diffs, 0);
	/* From then on a change of ours cuts in, is sent at once, and the download goes on. */
	client_step(&client, SIZE_MAX, 1);
	assert_int_equal(client.diffs, 1);
	assert_int_equal(client.completes, 0);
	client_step(&client, SIZE_MAX, 1);
	assert_int_equal(client_find(&client, "2#alerts|0[]")->position, 5002);
	client_step(&client, SIZE_MAX, 1);
	assert_int_equal(client.partials, 2);
	client_step(&client, SIZE_MAX, 1);
	assert_int_equal(client_find(&client, "1#lists|0[]")->position, 2000);
	/* A change of others does not. */
	fake_put(client.storage, 2, "[]", "x", "{}");
	fake_commit(client.storage);
	client_step(&client, SIZE_MAX, 1);
	assert_int_equal(client.diffs, 1);
	/* A write checkpoint counts as a change. */
	fake_ack(client.storage, "u1", "c1", 9, 0);
	fake_commit(client.storage);
	client_step(&client, SIZE_MAX, 1);
	assert_int_equal(client.diffs, 2);
	assert_int_equal(client.write_checkpoint, 9);
	client_run(&client);
	assert_int_equal(client.completes, 1);
	assert_int_equal(client.operations, 5002);
	assert_int_equal(client.complete_op, 5003);
}

/* A bucket that was finished before the interruption is not sent, and not grouped, again. */
static void test_interruption_keeps_what_is_finished(void **state)
{
	(void)state;
	plan.rules[1].priority = 3;
	put_many(0, 1500);
	put_many(1, 1500);
	commit_and_open();
	client_step(&client, SIZE_MAX, 4); /* checkpoint, lists twice, alerts once */
	assert_int_equal(client.operations, 2500);
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_commit(client.storage);
	client_run(&client);
	assert_int_equal(client.operations, 3001);
	assert_int_equal(client.completes, 1);
	assert_int_equal(client.diffs, 1);
}

/* ---- stores on another machine ------------------------------------------------------------------------------------------------------ */

/* 45 buckets of three rows, and one of 500 between them, in as many reads as they have sizes. */
static void test_small_buckets_are_read_together(void **state)
{
	(void)state;
	static char keys[45][16];
	static const char *const users[] = {"u1", "u2", "u3"};
	struct fake_lookup *lookups = client.storage->lookups;
	client.storage->remote = true;
	for (size_t u = 0; u < 3; u++) {
		plan.rules[1 + u] = (struct fake_rule){
		        .definition = 2, .lookup = 3, .lookup_key = users[u], .priority = 3, .reason = {true, 1}};
		fake_set_lookup(client.storage, 3, users[u], NULL);
		for (size_t i = 0; i < 15; i++) {
			char *key = keys[u * 15 + i];
			snprintf(key, sizeof(keys[0]), "[\"d%02zu\"]", u * 15 + i);
			lookups[u].results[lookups[u].count++] = key;
			for (int k = 0; k < (u == 1 && i == 7 ? 500 : 3); k++)
				fake_put(client.storage, 2, key, "x", "{}");
		}
	}
	plan.rule_count = 4;
	put_many(0, 1);
	commit_and_open();
	client_run(&client);
	assert_int_equal(client.completes, 1);
	assert_int_equal(client.operations, 1 + 44 * 3 + 500);
	assert_int_equal(client.storage->ahead_calls, 2);
	assert_int_equal(client.storage->alone, 1);
}

/* Who has everything asks once for all of them; an empty bucket is not asked for. */
static void test_positions_are_looked_at_together(void **state)
{
	(void)state;
	struct bucket_position positions[] = {{SLICE("1#lists|0[]"), 4}, {SLICE("2#alerts|0[]"), 4}};
	client.storage->remote = true;
	plan.rules[0].priority = plan.rules[1].priority;
	plan.rules[2] = (struct fake_rule){.definition = 2, .keys = "[]", .priority = 1, .reason = {true, 0}};
	plan.rule_count = 3;
	put_many(0, 2);
	put_many(1, 2);
	put_many(0, 1);
	fake_commit(client.storage);
	put_many(2, 1); /* not visible yet */
	client.request.buckets = positions;
	client.request.bucket_count = 2;
	client_open(&client);
	client_find(&client, "1#lists|0[]")->sum = SUM(1) + SUM(2);
	client_find(&client, "2#alerts|0[]")->sum = SUM(3) + SUM(4);
	client_run(&client);
	assert_int_equal(client.completes, 1);
	assert_int_equal(client.operations, 1);
	assert_int_equal(client.storage->ahead_calls, 1);
	assert_int_equal(client.storage->ahead_count, 2);
	assert_int_equal(client.storage->alone, 0);
}

/* ---- compaction ------------------------------------------------------------------------------------------------------------------- */

static void test_invalidated_by_a_move(void **state)
{
	(void)state;
	open_lists_at_checkpoint(4);
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_commit(client.storage);
	fake_compact_move(&client.storage->buckets[0], 1, 5);
	client_run(&client);
	assert_int_equal(client.completes, 1);
	assert_int_equal(client.complete_op, 5);
	assert_int_equal(client.data_lines, 2);
}

/* The MOVE lies in an early line of a long download, in the first group: it is remembered, and no partial line is sent either. */
static void test_invalidation_is_remembered(void **state)
{
	(void)state;
	put_many(1, 3000);
	put_many(0, 10);
	commit_and_open();
	client_step(&client, SIZE_MAX, 1);
	fake_compact_move(fake_bucket(client.storage, 1, "[]"), 5, 3011);
	client_step(&client, SIZE_MAX, 3);
	assert_int_equal(client.operations, 3000);
	assert_int_equal(client_step(&client, SIZE_MAX, SIZE_MAX), SESSION_IDLE);
	assert_int_equal(client.partials, 0);
	assert_int_equal(client.completes, 0);
	assert_int_equal(client.operations, 3000);
	fake_put(client.storage, 1, "[]", "x", "{}");
	fake_commit(client.storage);
	client_run(&client);
	assert_int_equal(client.partials, 1);
	assert_int_equal(client.completes, 1);
	assert_int_equal(client.operations, 3011);
}

/* All operations up to the checkpoint went into a CLEAR above it, so that none is left to say so. */
static void test_cleared_beyond_the_checkpoint(void **state)
{
	(void)state;
	open_lists_at_checkpoint(4);
	fake_op(client.storage, 0, "[]", OP_REMOVE, "x", (struct slice){0});
	fake_put(client.storage, 0, "[]", "y", "{}");
	fake_commit(client.storage);
	fake_compact_clear(&client.storage->buckets[0], 4, 5);
	client_run(&client);
	assert_int_equal(client.completes, 1);
	assert_int_equal(client.complete_op, 6);
	assert_int_equal(client.operations, 2);
}

static void test_compacted_before(void **state)
{
	(void)state;
	only_lists();
	put_many(0, 6);
	fake_commit(client.storage);
	fake_compact_move(&client.storage->buckets[0], 3, 6);
	fake_compact_clear(&client.storage->buckets[0], 1, 6);
	client_open(&client);
	client_run(&client);
	assert_int_equal(client.completes, 1);
	assert_int_equal(client.operations, 5);
	assert_int_equal(client_find(&client, "1#lists|0[]")->count, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_lines_of_a_thousand),
	        TEST(test_exactly_a_thousand),
	        TEST(test_large_rows),
	        TEST(test_budgets),
	        TEST(test_interruption),
	        TEST(test_interruption_keeps_what_is_finished),
	        TEST(test_small_buckets_are_read_together),
	        TEST(test_positions_are_looked_at_together),
	        TEST(test_invalidated_by_a_move),
	        TEST(test_invalidation_is_remembered),
	        TEST(test_cleared_beyond_the_checkpoint),
	        TEST(test_compacted_before),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
