/* test_line_cache.c: what sessions share of data lines, and what they must not (sync-protocol 6, "encode once"). */
#include "sync/client.h" /* before fake.h: libjansson comes first */
#include "sync/fake.h"

#include <pthread.h>
#include <unistd.h>

#include "sync/line_cache.h"

static struct operations list_of(const char *text, uint64_t last_op, bool closed)
{
	struct operations list = {.block = block_new(strlen(text)), .count = 1, .last_op = last_op, .closed = closed};
	memcpy(list.block->bytes, text, strlen(text));
	list.block->n = strlen(text);
	list.bytes = slice_make(list.block->bytes, list.block->n);
	return list;
}

static void put(struct line_cache *c, struct line_key key, bool exact, const char *text, uint64_t last_op, bool closed)
{
	struct operations list = list_of(text, last_op, closed);
	line_cache_put(c, &key, exact, &list);
	block_unref(list.block);
}

static bool has(struct line_cache *c, struct line_key key, const char *text)
{
	struct operations list;
	if (!line_cache_find(c, &key, &list))
		return false;
	bool same = slice_eq(list.bytes, slice_cstr(text));
	block_unref(list.block);
	return same;
}

static void test_what_is_found(void **state)
{
	(void)state;
	struct line_cache *c = line_cache_new(1 << 20);
	/* Open: for this checkpoint only, another may have more. Closed: for whoever may see all of it. */
	put(c, (struct line_key){1, FORM_JSON_TEXT, 0, 10, 0}, true, "open", 7, false);
	put(c, (struct line_key){2, FORM_JSON_TEXT, 0, 10, 0}, true, "closed", 7, true);
	assert_true(has(c, (struct line_key){1, FORM_JSON_TEXT, 0, 10, 0}, "open"));
	assert_false(has(c, (struct line_key){1, FORM_JSON_TEXT, 0, 11, 0}, "open"));
	assert_false(has(c, (struct line_key){1, FORM_JSON_TEXT, 0, 9, 0}, "open"));
	assert_true(has(c, (struct line_key){2, FORM_JSON_TEXT, 0, 10, 0}, "closed"));
	assert_true(has(c, (struct line_key){2, FORM_JSON_TEXT, 0, 99, 0}, "closed"));
	assert_true(has(c, (struct line_key){2, FORM_JSON_TEXT, 0, 7, 0}, "closed"));
	assert_false(has(c, (struct line_key){2, FORM_JSON_TEXT, 0, 6, 0}, "closed"));
	/* Forms, buckets and positions never mix. */
	assert_false(has(c, (struct line_key){2, FORM_BSON, 0, 10, 0}, "closed"));
	assert_false(has(c, (struct line_key){2, FORM_JSON_NESTED, 0, 10, 0}, "closed"));
	assert_false(has(c, (struct line_key){3, FORM_JSON_TEXT, 0, 10, 0}, "closed"));
	assert_false(has(c, (struct line_key){2, FORM_JSON_TEXT, 1, 10, 0}, "closed"));
	/* Nor what was read before a compaction of the bucket with what is read after it. */
	assert_false(has(c, (struct line_key){2, FORM_JSON_TEXT, 0, 10, 1}, "closed"));
	put(c, (struct line_key){2, FORM_JSON_TEXT, 0, 10, 1}, true, "compacted", 6, true);
	assert_true(has(c, (struct line_key){2, FORM_JSON_TEXT, 0, 10, 1}, "compacted"));
	line_cache_free(c);
}

struct waiter {
	struct line_cache *c;
	struct line_key key;
	bool found, same, held;
};

static void *wait_for_list(void *arg)
{
	struct waiter *w = arg;
	struct line_claim claim;
	struct operations list;
	w->found = line_cache_find_or_claim(w->c, &w->key, &claim, &list);
	w->held = claim.held;
	if (w->found) {
		w->same = slice_eq(list.bytes, SLICE("made once"));
		block_unref(list.block);
	}
	line_cache_release(w->c, &claim);
	return NULL;
}

static void run_waiters(struct waiter *w, size_t count, struct line_claim *claim, const char *made)
{
	pthread_t threads[8];
	for (size_t i = 0; i < count; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, wait_for_list, &w[i]), 0);
	usleep(20000);
	if (made)
		put(w->c, claim->key, true, made, 7, true);
	line_cache_release(w->c, claim);
	for (size_t i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

static void test_a_list_is_made_by_one(void **state)
{
	(void)state;
	struct line_cache *c = line_cache_new(1 << 20);
	struct line_key key = {1, FORM_JSON_TEXT, 0, 10, 0}, other = {2, FORM_JSON_TEXT, 0, 10, 0};
	struct line_claim claim, another;
	struct operations list;
	struct waiter waiters[4];
	assert_false(line_cache_find_or_claim(c, &key, &claim, &list));
	assert_true(claim.held);
	/* Another list is nobody's yet. */
	assert_false(line_cache_find_or_claim(c, &other, &another, &list));
	assert_true(another.held);
	line_cache_release(c, &another);
	line_cache_release(c, &another);
	for (size_t i = 0; i < 4; i++)
		waiters[i] = (struct waiter){.c = c, .key = key};
	run_waiters(waiters, 4, &claim, "made once");
	for (size_t i = 0; i < 4; i++)
		assert_true(waiters[i].found && waiters[i].same && !waiters[i].held);
	/* Who made it had nothing to keep, or failed: the others make it, side by side. */
	assert_false(line_cache_find_or_claim(c, &other, &claim, &list));
	for (size_t i = 0; i < 4; i++)
		waiters[i] = (struct waiter){.c = c, .key = other};
	run_waiters(waiters, 2, &claim, NULL);
	assert_false(waiters[0].found || waiters[1].found);
	line_cache_free(c);
}

static void test_cuts(void **state)
{
	(void)state;
	struct line_cache *c = line_cache_new(1 << 20);
	put(c, (struct line_key){1, FORM_BSON, 500, 10000, 0}, true, "a", 1500, true);
	put(c, (struct line_key){1, FORM_BSON, 1500, 10000, 0}, true, "b", 2500, true);
	put(c, (struct line_key){1, FORM_BSON, 300, 10000, 0}, false, "not exact", 1500, true);
	put(c, (struct line_key){1, FORM_BSON, 200, 10000, 0}, true, "open", 250, false);
	assert_true(line_cache_next_cut(c, &(struct line_key){1, FORM_BSON, 0, 10000, 0}) == 500);
	assert_true(line_cache_next_cut(c, &(struct line_key){1, FORM_BSON, 500, 10000, 0}) == 1500);
	assert_true(line_cache_next_cut(c, &(struct line_key){1, FORM_BSON, 1500, 10000, 0}) == UINT64_MAX);
	assert_true(line_cache_next_cut(c, &(struct line_key){2, FORM_BSON, 0, 10000, 0}) == UINT64_MAX);
	assert_true(line_cache_next_cut(c, &(struct line_key){1, FORM_BSON, 0, 10000, 1}) == UINT64_MAX);
	assert_true(line_cache_next_cut(c, &(struct line_key){1, FORM_JSON_TEXT, 0, 10000, 0}) == UINT64_MAX);
	line_cache_free(c);
}

static void test_bounded(void **state)
{
	(void)state;
	struct line_cache *c = line_cache_new(100000);
	char *text = xmalloc(10001);
	memset(text, 'x', 10000);
	text[10000] = '\0';
	for (uint64_t i = 0; i < 50; i++) {
		put(c, (struct line_key){1, FORM_BSON, i, 10000, 0}, true, text, i + 1, true);
		assert_true(has(c, (struct line_key){1, FORM_BSON, 0, 10000, 0}, text)); /* in use: it stays */
	}
	struct line_cache_stats stats;
	line_cache_get_stats(c, &stats);
	assert_true(stats.bytes <= 100000);
	assert_int_equal(stats.entries, 9);
	assert_true(has(c, (struct line_key){1, FORM_BSON, 49, 10000, 0}, text));
	assert_false(has(c, (struct line_key){1, FORM_BSON, 1, 10000, 0}, text));
	assert_true(line_cache_next_cut(c, &(struct line_key){1, FORM_BSON, 0, 10000, 0}) == 42);
	/* What is handed out lives on. */
	struct operations list;
	assert_true(line_cache_find(c, &(struct line_key){1, FORM_BSON, 0, 10000, 0}, &list));
	line_cache_free(c);
	assert_int_equal(list.bytes.p[9999], 'x');
	block_unref(list.block);
	free(text);
	c = line_cache_new(0);
	put(c, (struct line_key){1, FORM_BSON, 0, 1, 0}, true, "x", 1, true);
	assert_false(has(c, (struct line_key){1, FORM_BSON, 0, 1, 0}, "x"));
	line_cache_free(c);
}

/* ---- sessions -------------------------------------------------------------------------------------------------------------------- */

#define FLEET 4

static struct plan plan = {
        .rules = {{.definition = 0, .keys = "[]", .priority = 3, .reason = {true, 0}}},
        .rule_count = 1,
        .streams = {{SLICE_INIT("lists"), true, NULL, 0}},
        .stream_count = 1,
};
static struct client fleet[FLEET];

static int setup(void **state)
{
	(void)state;
	struct storage *s = fake_new();
	fake_definition(s, "lists");
	fake_set_plan(s, &plan, 1);
	fleet[0] = (struct client){0};
	client_setup(&fleet[0], s);
	for (int i = 1; i < FLEET; i++)
		fleet[i] = (struct client){
		        .storage = s, .hub = fleet[0].hub, .now = NOW, .request = fleet[0].request, .options = fleet[0].options};
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (int i = 1; i < FLEET; i++)
		client_close(&fleet[i]);
	client_teardown(&fleet[0]);
	fake_free(fleet[0].storage);
	return 0;
}

static void put_many(size_t count)
{
	static char text[200];
	memset(text, 'y', sizeof(text) - 1);
	for (size_t i = 0; i < count; i++)
		fake_put(fleet[0].storage, 0, "[]", "x", text);
	fake_commit(fleet[0].storage);
}

/* All take one line at a time, side by side, so that the bucket is shared. */
static void run_together(void)
{
	bool more = true;
	while (more) {
		more = false;
		for (int i = 0; i < FLEET; i++)
			if (client_step(&fleet[i], SIZE_MAX, 1) == SESSION_MORE)
				more = true;
	}
}

static struct hub_stats hub_stats_now(void)
{
	struct hub_stats stats;
	session_hub_stats(fleet[0].hub, &stats);
	return stats;
}

static void test_a_fleet_is_served_from_one_encoding(void **state)
{
	(void)state;
	put_many(3500);
	for (int i = 0; i < FLEET; i++) {
		fleet[i].options.split_lines = i > 1;
		client_open(&fleet[i]);
	}
	run_together();
	for (int i = 0; i < FLEET; i++) {
		assert_int_equal(fleet[i].operations, 3500);
		assert_int_equal(fleet[i].data_lines, 4);
		assert_int_equal(fleet[i].completes, 1);
		assert_memory_equal(fleet[i].text.p, fleet[0].text.p, fleet[0].text.n);
	}
	/* Each list was read and encoded once, and found by the others. */
	struct hub_stats stats = hub_stats_now();
	assert_int_equal(stats.cache_misses, 4);
	assert_int_equal(stats.cache_hits, 4 * (FLEET - 1));
	put_many(1);
	run_together();
	assert_int_equal(hub_stats_now().cache_misses, 5);
	assert_int_equal(fleet[3].complete_op, 3501);
}

/* Positions in the same gap, and positions in the middle of others' lines, come together. */
static void test_resuming_readers_come_together(void **state)
{
	(void)state;
	put_many(5000);
	static const uint64_t after[FLEET] = {0, 700, 1234, 3999};
	static struct bucket_position positions[FLEET];
	for (int i = 0; i < FLEET; i++) {
		positions[i] = (struct bucket_position){SLICE("1#lists[]"), after[i]};
		fleet[i].request.buckets = &positions[i];
		fleet[i].request.bucket_count = 1;
		client_open(&fleet[i]);
		for (uint64_t op = 1; op <= after[i]; op++)
			client_find(&fleet[i], "1#lists[]")->sum += (uint32_t)(op * 2654435761u);
	}
	run_together();
	for (int i = 0; i < FLEET; i++) {
		assert_int_equal(fleet[i].completes, 1);
		assert_int_equal(fleet[i].operations, 5000 - after[i]);
	}
	assert_in_range(hub_stats_now().cache_misses, 5, 12);
	assert_true(hub_stats_now().cache_hits >= 5);
}

/* What one session alone reads is not kept. */
static void test_a_private_bucket_is_not_kept(void **state)
{
	(void)state;
	put_many(2000);
	client_open(&fleet[0]);
	client_run(&fleet[0]);
	assert_int_equal(hub_stats_now().cache_bytes, 0);
	assert_int_equal(hub_stats_now().cache_misses, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_what_is_found),
	        cmocka_unit_test(test_a_list_is_made_by_one),
	        cmocka_unit_test(test_cuts),
	        cmocka_unit_test(test_bounded),
	        TEST(test_a_fleet_is_served_from_one_encoding),
	        TEST(test_resuming_readers_come_together),
	        TEST(test_a_private_bucket_is_not_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
