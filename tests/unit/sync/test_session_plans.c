/* test_session_plans.c: another sync config under a running stream (incremental-deploy 7). */
#include "sync/session_world.h"

static void test_plan_without_a_difference(void **state)
{
	(void)state;
	client_open(&client);
	client_run(&client);
	buf_clear(&client.text);
	struct plan other = basic_plan();
	fake_activate(client.storage, &other, 2);
	assert_int_equal(client.wakes, 1);
	assert_int_equal(client_run(&client), SESSION_IDLE);
	client_expect(&client, "");
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_commit(client.storage);
	client_run(&client);
	assert_int_equal(client.diffs, 1);
	assert_int_equal(client.complete_op, 1);
}

static void test_plan_with_other_buckets(void **state)
{
	(void)state;
	fake_put(client.storage, 2, "[]", "x", "{}");
	fake_commit(client.storage);
	client_open(&client);
	client_run(&client);
	struct plan other = basic_plan();
	other.rules[1].definition = 2; /* the same stream reads something else */
	fake_activate(client.storage, &other, 2);
	client_run(&client);
	assert_int_equal(client.checkpoints, 1);
	assert_int_equal(client.diffs, 1);
	assert_non_null(client_find(&client, "3#docs|0[]"));
	assert_null(client_find(&client, "2#alerts|0[]"));
	assert_int_equal(client.completes, 2);
	assert_int_equal(client.operations, 1);
}

static void test_plan_with_another_priority_or_stream(void **state)
{
	(void)state;
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_commit(client.storage);
	client_open(&client);
	client_run(&client);
	struct plan other = basic_plan();
	other.rules[0].priority = 0;
	fake_activate(client.storage, &other, 2);
	client_run(&client);
	assert_int_equal(client.checkpoints, 2);
	assert_int_equal(client.diffs, 0);
	assert_int_equal(client.completes, 2);
	assert_int_equal(client.operations, 1); /* nothing is sent again */
	assert_int_equal(client_find(&client, "1#lists|0[]")->priority, 0);
	struct plan third = other;
	third.streams[1].name = SLICE("renamed");
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_activate(client.storage, &third, 3);
	client_run(&client);
	assert_int_equal(client.checkpoints, 3);
	assert_int_equal(client.operations, 2);
	assert_int_equal(client.completes, 3);
	/* A line under the new plan goes on with the new priority. */
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_put(client.storage, 1, "[]", "x", "{}");
	fake_commit(client.storage);
	client_run(&client);
	assert_int_equal(client.completes, 4);
}

/* A plan that takes a bucket away: no further data line of it, no complete line for the old checkpoint. */
static void test_plan_in_the_middle_of_a_download(void **state)
{
	(void)state;
	put_many(0, 3000);
	put_many(1, 100);
	fake_commit(client.storage);
	client_open(&client);
	client_step(&client, SIZE_MAX, 2); /* checkpoint, alerts */
	struct plan other = basic_plan();
	other.rules[0].definition = 2;
	fake_activate(client.storage, &other, 2);
	client_run(&client);
	assert_int_equal(client.operations, 100);
	assert_null(client_find(&client, "1#lists|0[]"));
	assert_int_equal(client.completes, 1);
	assert_int_equal(client.complete_op, 3100);
}

/* The same buckets: the positions stay, and the client still gets its complete line. */
static void test_same_plan_in_the_middle_of_a_download(void **state)
{
	(void)state;
	put_many(0, 3000);
	fake_commit(client.storage);
	client_open(&client);
	client_step(&client, SIZE_MAX, 3);
	assert_int_equal(client.operations, 1000);
	struct plan other = basic_plan();
	fake_activate(client.storage, &other, 2);
	client_run(&client);
	assert_int_equal(client.operations, 3000);
	assert_int_equal(client.diffs, 1);
	assert_int_equal(client.completes, 1);
}

static void test_plan_that_cannot_be_resolved(void **state)
{
	(void)state;
	client_open(&client);
	client_run(&client);
	struct plan other = basic_plan();
	other.refuse = true;
	fake_activate(client.storage, &other, 2);
	assert_int_equal(client_run(&client), SESSION_END);
}

/* The plan that storage has by now is newer than the checkpoint in hand: nothing is sent until the news of it. */
static void test_plan_ahead_of_the_news(void **state)
{
	(void)state;
	struct plan other = basic_plan();
	fake_set_plan(client.storage, &other, 2);
	client_open(&client);
	assert_int_equal(client_run(&client), SESSION_IDLE);
	client_expect(&client, "");
	fake_activate(client.storage, &other, 2);
	assert_int_equal(client_run(&client), SESSION_IDLE);
	assert_int_equal(client.completes, 1);
}

/* Another program that shares the store activated a stream of its own, with a checkpoint of smaller op ids. Streams end, since op ids do not go
 * back in them; news of the former plan that come late change nothing; who connects is served. */
static void test_plan_whose_op_ids_are_smaller(void **state)
{
	(void)state;
	put_many(0, 5);
	fake_commit(client.storage);
	client_open(&client);
	client_run(&client);
	struct checkpoint former = client.storage->checkpoint;
	struct plan other = basic_plan();
	other.rules[0].definition = 2;
	client.storage->last_op = 2;
	fake_activate(client.storage, &other, 2);
	assert_int_equal(client_run(&client), SESSION_END);
	struct storage_news late = {.checkpoint = former, .everything = true};
	session_hub_news(client.hub, &late);
	session_free(client.session);
	client_open(&client);
	client.last_op = 0;
	assert_int_equal(client_run(&client), SESSION_IDLE);
	assert_int_equal(client.last_op, 2);
	assert_non_null(client_find(&client, "3#docs|0[]"));
	assert_int_equal(client.completes, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_plan_without_a_difference),
	        TEST(test_plan_with_other_buckets),
	        TEST(test_plan_with_another_priority_or_stream),
	        TEST(test_plan_in_the_middle_of_a_download),
	        TEST(test_same_plan_in_the_middle_of_a_download),
	        TEST(test_plan_that_cannot_be_resolved),
	        TEST(test_plan_ahead_of_the_news),
	        TEST(test_plan_whose_op_ids_are_smaller),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
