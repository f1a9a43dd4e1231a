/* test_session.c: which lines a session writes, and when (sync-protocol 6). */
#include "sync/session_world.h"

static void test_first_sync_by_priority(void **state)
{
	(void)state;
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_put(client.storage, 1, "[]", "x", "{}");
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_commit(client.storage);
	client_open(&client);
	assert_int_equal(client_step(&client, SIZE_MAX, SIZE_MAX), SESSION_IDLE);
	char expected[4096];
	snprintf(expected, sizeof(expected),
	         "{\"checkpoint\":{\"last_op_id\":\"3\",\"buckets\":["
	         "{\"bucket\":\"1#lists|0[]\",\"checksum\":%d,\"count\":2,\"priority\":3,\"subscriptions\":[{\"default\":0}]},"
	         "{\"bucket\":\"2#alerts|0[]\",\"checksum\":%d,\"count\":1,\"priority\":1,\"subscriptions\":[{\"default\":1}]}]"
	         "," STREAMS "}}\n"
	         "{\"data\":{\"bucket\":\"2#alerts|0[]\",\"after\":\"0\",\"has_more\":false,\"data\":[" OP(
	                 2) "],\"next_after\":\"2\"}}\n"
	                    "{\"partial_checkpoint_complete\":{\"last_op_id\":\"3\",\"priority\":1}}\n"
	                    "{\"data\":{\"bucket\":\"1#lists|0[]\",\"after\":\"0\",\"has_more\":false,\"data\":[" OP(1) "," OP(
	                            3) "],\"next_after\":\"3\"}}\n"
	                               "{\"checkpoint_complete\":{\"last_op_id\":\"3\"}}\n",
	         (int)(SUM(1) + SUM(3)), (int)SUM(2), SUM(2), SUM(1), SUM(3));
	client_expect(&client, expected);
	struct session_stats stats;
	session_get_stats(client.session, &stats);
	assert_int_equal(stats.operations_sent, 3);
	assert_int_equal(stats.lines_sent, 5);
	assert_int_equal(stats.bucket_count, 2);
	assert_int_equal(stats.last_op_id, 3);
}

static void test_nothing_stored_yet(void **state)
{
	(void)state;
	only_lists();
	client_open(&client);
	assert_int_equal(client_run(&client), SESSION_IDLE);
	client_expect(&client,
	              "{\"checkpoint\":{\"last_op_id\":\"0\",\"buckets\":[{\"bucket\":\"1#lists|0[]\",\"checksum\":0,\"count\":0,"
	              "\"priority\":3,\"subscriptions\":[{\"default\":0}]}],\"streams\":[{\"name\":\"lists\",\"is_default\":true,"
	              "\"errors\":[]}]}}\n{\"checkpoint_complete\":{\"last_op_id\":\"0\"}}\n");
	/* The first operation of the bucket makes it known to the storage, and wakes the session. */
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_commit(client.storage);
	assert_int_equal(client.wakes, 1);
	assert_int_equal(client_run(&client), SESSION_IDLE);
	assert_int_equal(client.diffs, 1);
	assert_int_equal(client.complete_op, 1);
	assert_int_equal(client.operations, 1);
}

static void test_no_plan_and_no_checkpoint(void **state)
{
	(void)state;
	struct stored_plan *active = client.storage->active;
	client.storage->active = NULL;
	assert_null(session_new(client.hub, &client.request, &client.options, NULL, &client.err));
	assert_string_equal(client.err.code, "PSYNC_S2302");
	client.storage->active = active;
	plan.refuse = true;
	assert_null(session_new(client.hub, &client.request, &client.options, NULL, &client.err));
	assert_string_equal(client.err.code, "PSYNC_S2001");
}

static void test_resume(void **state)
{
	(void)state;
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_put(client.storage, 1, "[]", "x", "{}");
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_commit(client.storage);
	/* The last of a name that occurs twice wins; unknown ones are not mentioned; a position may be one without an operation. */
	struct bucket_position positions[] = {{SLICE("9#gone[]"), 7},
	                                      {SLICE("1#lists|0[]"), 3},
	                                      {SLICE("2#alerts|0[]"), 2},
	                                      {SLICE("1#lists|0[]"), 2},
	                                      {SLICE(""), 0}};
	client.request.buckets = positions;
	client.request.bucket_count = 5;
	client_open(&client);
	client_find(&client, "1#lists|0[]")->position = 2;
	client_find(&client, "1#lists|0[]")->sum = SUM(1);
	client_find(&client, "2#alerts|0[]")->sum = SUM(2);
	assert_int_equal(client_run(&client), SESSION_IDLE);
	assert_int_equal(client.operations, 1);
	assert_int_equal(client.data_lines, 1);
	assert_int_equal(client.partials, 1); /* a group without data gets its line */
	assert_int_equal(client.completes, 1);
	assert_int_equal(client.bucket_count, 2);
}

static void test_ahead_of_the_server(void **state)
{
	(void)state;
	only_lists();
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_commit(client.storage);
	struct bucket_position position = {SLICE("1#lists|0[]"), 1000};
	client.request.buckets = &position;
	client.request.bucket_count = 1;
	client_open(&client);
	client_find(&client, "1#lists|0[]")->sum = SUM(1);
	assert_int_equal(client_run(&client), SESSION_IDLE);
	assert_int_equal(client.data_lines, 0);
	assert_int_equal(client.completes, 1);
}

static void test_live_changes(void **state)
{
	(void)state;
	client_open(&client);
	client_run(&client);
	buf_clear(&client.text);
	fake_put(client.storage, 2, "[]", "x", "{}"); /* another's bucket */
	fake_commit(client.storage);
	client_run(&client); /* buckets of ours that have no operation yet may be the cause of a wake-up, but not of a line */
	client_expect(&client, "");
	fake_put(client.storage, 1, "[]", "x", "{}");
	fake_commit(client.storage);
	assert_int_equal(client_run(&client), SESSION_IDLE);
	char expected[2048];
	snprintf(expected, sizeof(expected),
	         "{\"checkpoint_diff\":{\"last_op_id\":\"2\",\"removed_buckets\":[],\"updated_buckets\":["
	         "{\"bucket\":\"2#alerts|0[]\",\"checksum\":%d,\"count\":1,\"priority\":1,\"subscriptions\":[{\"default\":1}]}]}}"
	         "\n"
	         "{\"data\":{\"bucket\":\"2#alerts|0[]\",\"after\":\"0\",\"has_more\":false,\"data\":[" OP(
	                 2) "],\"next_after\":\"2\"}}\n"
	                    "{\"checkpoint_complete\":{\"last_op_id\":\"2\"}}\n",
	         (int)SUM(2), SUM(2));
	client_expect(&client, expected);
	/* Two groups in one diff. */
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_put(client.storage, 1, "[]", "x", "{}");
	fake_commit(client.storage);
	client_run(&client);
	assert_int_equal(client.partials, 2);
	assert_int_equal(client.completes, 3);
	assert_int_equal(client.diffs, 2);
}

/* Intermediate checkpoints are skipped; the next line carries the newest op id, also if that is of others' changes. */
static void test_only_the_newest_checkpoint(void **state)
{
	(void)state;
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_put(client.storage, 1, "[]", "x", "{}");
	fake_commit(client.storage);
	client_open(&client);
	client_run(&client);
	for (int i = 0; i < 5; i++) {
		fake_put(client.storage, 0, "[]", "x", "{}");
		fake_commit(client.storage);
		assert_int_equal(client.wakes, 1); /* once for the step that is pending */
	}
	uint64_t other = fake_put(client.storage, 2, "[]", "x", "{}");
	fake_commit(client.storage);
	client_run(&client);
	assert_int_equal(client.diffs, 1);
	assert_int_equal(client.last_op, other);
	assert_int_equal(client.operations, 7);
}

static void test_news_of_others_cost_nothing(void **state)
{
	(void)state;
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_put(client.storage, 1, "[]", "x", "{}");
	fake_commit(client.storage);
	client_open(&client);
	client_run(&client);
	fake_put(client.storage, 2, "[]", "x", "{}");
	fake_set_lookup(client.storage, 3, "u2", NULL);
	fake_ack(client.storage, "u2", "c1", 5, 0);
	fake_ack(client.storage, "u1", "c2", 5, 0);
	fake_ack(client.storage, "u1", NULL, 5, 0);
	fake_commit(client.storage);
	assert_int_equal(client.wakes, 0);
	/* Of several buckets only the changed one is looked at: its checksum, and its operations. */
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_commit(client.storage);
	client.storage->reads = 0;
	client_run(&client);
	assert_int_equal(client.storage->reads, 2);
}

static void test_bucket_goes_and_returns(void **state)
{
	(void)state;
	use_members();
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_put(client.storage, 2, "[\"t1\"]", "x", "{}");
	fake_put(client.storage, 2, "[\"t2\"]", "x", "{}");
	fake_set_lookup(client.storage, 3, "u1", "[\"t1\"]", NULL);
	fake_commit(client.storage);
	client_open(&client);
	client_run(&client);
	assert_int_equal(client.bucket_count, 2);
	assert_int_equal(client.operations, 2);

	fake_set_lookup(client.storage, 3, "u1", "[\"t2\"]", "[\"t1\"]", NULL);
	fake_commit(client.storage);
	assert_int_equal(client.wakes, 1);
	client_run(&client);
	assert_int_equal(client.bucket_count, 3);
	assert_int_equal(client.operations, 3);
	buf_clear(&client.text);

	fake_set_lookup(client.storage, 3, "u1", NULL);
	fake_commit(client.storage);
	client_run(&client);
	client_expect(&client, "{\"checkpoint_diff\":{\"last_op_id\":\"6\",\"removed_buckets\":[\"3#docs|0[\\\"t1\\\"]\",\"3#"
	                       "docs|0[\\\"t2\\\"]\"],"
	                       "\"updated_buckets\":[]}}\n{\"checkpoint_complete\":{\"last_op_id\":\"6\"}}\n");
	/* Its operations wake nobody now; when it returns it is sent from 0. */
	fake_put(client.storage, 2, "[\"t1\"]", "x", "{}");
	fake_commit(client.storage);
	assert_int_equal(client.wakes, 0);
	fake_set_lookup(client.storage, 3, "u1", "[\"t1\"]", NULL);
	fake_commit(client.storage);
	client_run(&client);
	assert_int_equal(client.operations, 5);
	assert_int_equal(client.complete_op, 8);
	/* The same result from another lookup state: no line. */
	fake_set_lookup(client.storage, 3, "u1", "[\"t1\"]", NULL);
	fake_commit(client.storage);
	assert_int_equal(client.wakes, 1);
	unsigned diffs = client.diffs;
	client_run(&client);
	assert_int_equal(client.diffs, diffs);
}

static void test_too_many_buckets(void **state)
{
	(void)state;
	use_members();
	fake_set_lookup(client.storage, 3, "u1", "[1]", "[2]", NULL);
	fake_commit(client.storage);
	client.options.limits.max_buckets = 2;
	client_open(&client);
	assert_int_equal(client_run(&client), SESSION_FAILED);
	assert_string_equal(client.err.code, "PSYNC_S2305");
	assert_string_equal(client.err.message, "Too many buckets: 3 (limit of 2)");
	assert_string_equal(client.err.detail, "where they come from"); /* for the log alone */
	client_expect(&client, "");
	client_close(&client);
	/* The same later. */
	fake_set_lookup(client.storage, 3, "u1", "[1]", NULL);
	fake_commit(client.storage);
	client_open(&client);
	assert_int_equal(client_run(&client), SESSION_IDLE);
	fake_set_lookup(client.storage, 3, "u1", "[1]", "[2]", NULL);
	fake_commit(client.storage);
	assert_int_equal(client_run(&client), SESSION_FAILED);
	assert_string_equal(client.err.code, "PSYNC_S2305");
}

static void test_storage_failure(void **state)
{
	(void)state;
	client_open(&client);
	client.storage->fail = true;
	assert_int_equal(client_run(&client), SESSION_FAILED);
	client_expect(&client, "");
}

/* ---- write checkpoints -------------------------------------------------------------------------------------------------------------- */

static void test_write_checkpoint(void **state)
{
	(void)state;
	only_lists();
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_ack(client.storage, "u1", "c1", 3, 5);
	fake_commit(client.storage); /* position 2 */
	client_open(&client);
	client_run(&client);
	assert_int_equal(client.write_checkpoint, 0);
	buf_clear(&client.text);
	fake_ack(client.storage, "u1", "c1", 2, 3);
	fake_commit(client.storage); /* position 3: 2 is passed */
	assert_int_equal(client.wakes, 1);
	client_run(&client);
	client_expect(&client, "{\"checkpoint_diff\":{\"last_op_id\":\"1\",\"write_checkpoint\":\"2\",\"removed_buckets\":[],"
	                       "\"updated_buckets\":[]}}\n"
	                       "{\"checkpoint_complete\":{\"last_op_id\":\"1\"}}\n");
	/* Repeated on each line. */
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_commit(client.storage);
	client_run(&client);
	assert_int_equal(client.write_checkpoint, 2);
	/* Together with data, in one line. */
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_commit(client.storage); /* position 5 */
	client_run(&client);
	assert_int_equal(client.write_checkpoint, 3);
	/* The record is gone: still repeated, never less on this connection. */
	client.storage->ack_count = 0;
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_commit(client.storage);
	client_run(&client);
	assert_int_equal(client.write_checkpoint, 3);
	assert_int_equal(client.completes, 5);
}

/* ---- keep-alives --------------------------------------------------------------------------------------------------------------------- */

static void test_keepalives(void **state)
{
	(void)state;
	client.options.expires_at_ms = NOW + 90000;
	client_open(&client);
	client_run(&client);
	assert_int_equal(client.keepalives, 0);
	int64_t last = NOW;
	unsigned periodic = 0, warnings = 0;
	while (client.next < NOW + 90000) {
		assert_true(client.next > client.now);
		client.now = client.next - 1;
		client_run(&client);
		unsigned before = client.keepalives;
		client.now = client.next;
		client_run(&client);
		assert_int_equal(client.keepalives, before + 1);
		assert_int_equal(client.expires_in, (NOW + 90000 - client.now + 999) / 1000);
		if (client.now == NOW + 70000) {
			warnings++;
			continue;
		}
		assert_in_range(client.now - last, 18000, 22000);
		last = client.now;
		periodic++;
	}
	assert_int_equal(warnings, 1);
	assert_in_range(periodic, 4, 5);
	buf_clear(&client.text);
	client.now = NOW + 90000;
	assert_int_equal(client_run(&client), SESSION_END);
	client_expect(&client, "{\"token_expires_in\":0}\n");
}

/* The bound of a second is rounded up; a download does not keep a keep-alive back, and a keep-alive not the download. */
static void test_keepalive_inside_a_download(void **state)
{
	(void)state;
	put_many(0, 3000);
	fake_commit(client.storage);
	client_open(&client);
	client_step(&client, SIZE_MAX, 2);
	client.now += 23000;
	buf_clear(&client.text);
	client_step(&client, SIZE_MAX, 1);
	client_expect(&client, "{\"token_expires_in\":3577}\n");
	client_run(&client);
	assert_int_equal(client.completes, 1);
	assert_int_equal(client.keepalives, 1);
	/* A wall clock that goes back an hour does not silence the stream. */
	client.now -= 3600000;
	client_run(&client);
	assert_true(client.next <= client.now + 22000);
}

static void test_expired_at_the_start(void **state)
{
	(void)state;
	client.options.expires_at_ms = NOW;
	client_open(&client);
	assert_int_equal(client_run(&client), SESSION_END);
	client_expect(&client, "{\"token_expires_in\":0}\n");
	client_close(&client);
	/* Less than 20 s left: no warning at the start. */
	client.options.expires_at_ms = NOW + 5000;
	client_open(&client);
	client_run(&client);
	assert_int_equal(client.keepalives, 1); /* of the first stream */
	assert_true(client.next == NOW + 5000);
}

/* WebSocket: no periodic ones; at expiry the stream ends even without a credit. */
static void test_quiet_transport(void **state)
{
	(void)state;
	client.options.keepalive_lines = false;
	client.options.expires_at_ms = NOW + 90000;
	client_open(&client);
	client_run(&client);
	assert_true(client.next == NOW + 70000);
	client.now = NOW + 69999;
	client_run(&client);
	assert_int_equal(client.keepalives, 0);
	client.now = NOW + 70000;
	client_run(&client);
	assert_int_equal(client.keepalives, 1);
	assert_int_equal(client.expires_in, 20);
	assert_true(client.next == NOW + 90000);
	client.now = NOW + 90000;
	assert_int_equal(client_step(&client, SIZE_MAX, 0), SESSION_END);
	assert_int_equal(client.keepalives, 1);
}

static void test_shutdown(void **state)
{
	(void)state;
	client_open(&client);
	client_run(&client);
	session_hub_shutdown(client.hub);
	assert_int_equal(client.wakes, 1);
	buf_clear(&client.text);
	assert_int_equal(client_run(&client), SESSION_END);
	client_expect(&client, "");
	client_close(&client);
	client_open(&client);
	assert_int_equal(client_run(&client), SESSION_END);
}

/* ---- encodings ------------------------------------------------------------------------------------------------------------------------- */

static void test_nested_data(void **state)
{
	(void)state;
	only_lists();
	client.request.raw_data = false;
	fake_put(client.storage, 0, "[]", "x", "{\"r\":2.0}");
	fake_commit(client.storage);
	client_open(&client);
	client_run(&client);
	buf_putc(&client.text, '\0');
	assert_non_null(strstr(client.text.p, "\"data\":{\"r\":2.0}}"));
}

static void test_bson(void **state)
{
	(void)state;
	only_lists();
	client.options.encoding = ENCODING_BSON;
	put_many(0, 2500);
	fake_commit(client.storage);
	client_open(&client);
	struct session_output out = {0};
	assert_int_equal(session_step(client.session, NOW, SIZE_MAX, SIZE_MAX, &out, &client.next, &client.err), SESSION_IDLE);
	size_t documents = 0;
	for (size_t i = 0; i < out.count; i++) {
		size_t at = 0, before = documents;
		while (at < out.blocks[i]->n) {
			uint32_t size;
			memcpy(&size, out.blocks[i]->bytes + at, sizeof(size));
			assert_true(size >= 5);
			at += size;
			documents++;
		}
		assert_int_equal(at, out.blocks[i]->n);
		assert_int_equal(documents - before, out.blocks[i]->line_count);
		block_unref(out.blocks[i]);
	}
	assert_int_equal(documents, 5);
	free(out.blocks);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_first_sync_by_priority),
	        TEST(test_nothing_stored_yet),
	        TEST(test_no_plan_and_no_checkpoint),
	        TEST(test_resume),
	        TEST(test_ahead_of_the_server),
	        TEST(test_live_changes),
	        TEST(test_only_the_newest_checkpoint),
	        TEST(test_news_of_others_cost_nothing),
	        TEST(test_bucket_goes_and_returns),
	        TEST(test_too_many_buckets),
	        TEST(test_storage_failure),
	        TEST(test_write_checkpoint),
	        TEST(test_keepalives),
	        TEST(test_keepalive_inside_a_download),
	        TEST(test_expired_at_the_start),
	        TEST(test_quiet_transport),
	        TEST(test_shutdown),
	        TEST(test_nested_data),
	        TEST(test_bson),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
