/* The routes that ask for a checkpoint, and the batcher behind them (checkpoint-requests 1, 2, 6). */
#define _GNU_SOURCE
#include "client.h"

static struct server *server;

static int start(void **state)
{
	reset_fakes();
	struct server_options o = fake_options();
	o.keys_are_local = *state != NULL;
	server = fake_server(&o);
	int64_t until = clock_mono_ms() + WAIT_MS;
	while (!fake_source.connects && !fake_source.down && clock_mono_ms() < until)
		poll(NULL, 0, 1);
	poll(NULL, 0, 20);
	fake_source.heads = fake_source.markers = 0;
	return 0;
}

static int start_down(void **state)
{
	(void)state;
	reset_fakes();
	fake_source.down = true;
	struct server_options o = fake_options();
	server = fake_server(&o);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	server_stop(server, 1000);
	server_free(server);
	return 0;
}

static struct client call(const char *method, const char *target, const char *headers, const char *body)
{
	struct buf b = {0};
	buf_printf(&b, "%s %s HTTP/1.1\r\nHost: x\r\n%s", method, target, headers);
	if (body)
		buf_printf(&b, "Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(body));
	buf_printf(&b, "\r\n%s", body ? body : "");
	buf_append(&b, "", 1);
	struct client c = client_open(server);
	client_send(&c, b.p);
	client_expect(&c, "\r\n\r\n");
	buf_free(&b);
	return c;
}

#define TOKEN "Authorization: Token good-u1\r\n"

static void ask(const char *id, const char *want)
{
	char body[200], text[200];
	snprintf(body, sizeof(body), "{\"client_id\":\"c%s\",\"checkpoint_request_id\":%s,\"more\":{\"a\":1}}",
	         id[0] == '"' ? "t" : id, id);
	struct client c = call("POST", "/sync/checkpoint-request", TOKEN, body);
	client_expect(&c, "HTTP/1.1 200 OK\r\n");
	snprintf(text, sizeof(text), "\r\n\r\n{\"data\":{\"checkpoint_request_id\":\"%s\"}}", want);
	client_expect(&c, text);
	client_close(&c);
}

static void expect(const char *method, const char *target, const char *headers, const char *body, int status, const char *want)
{
	char line[64];
	struct client c = call(method, target, headers, body);
	snprintf(line, sizeof(line), "HTTP/1.1 %d ", status);
	client_expect(&c, line);
	if (want)
		client_expect(&c, want);
	assert_null(strstr(client_text(&c), "secret"));
	client_close(&c);
}

static void refuse(const char *body, const char *detail)
{
	char want[400];
	snprintf(want, sizeof(want),
	         "{\"error\":{\"code\":\"PSYNC_S2001\",\"status\":400,\"description\":\"Validation "
	         "failed\",\"details\":\"[\\\"%s\\\"]\",\"name\":"
	         "\"ValidationError\"}}",
	         detail);
	expect("POST", "/sync/checkpoint-request", TOKEN, body, 400, want);
	assert_int_equal(fake_storage.user_count, 0);
}

/* As refuse, whoever asked before. */
static void refuse_only(const char *body)
{
	expect("POST", "/sync/checkpoint-request", TOKEN, body, 400, "PSYNC_S2001");
}

static void ids_are_accepted(void **state)
{
	(void)state;
	ask("1", "1");
	ask("\"1\"", "1");
	ask("\"007\"", "7");
	ask("1e3", "1000");
	ask("9007199254740991", "9007199254740991");
	ask("\"9007199254740993\"", "9007199254740993");
	ask("\"9223372036854775807\"", "9223372036854775807");
}

static void ids_are_refused(void **state)
{
	(void)state;
	static const char *const out_of_range[] = {
	        "0", "\"0\"", "-1", "\"-1\"", "\"-0\"", "\"9223372036854775808\"", "\"99999999999999999999999\""};
	static const char *const no_integer[] = {"1.5",  "\"+1\"", "\" 7 \"", "\"0x10\"", "\"\"",  "\"abc\"",
	                                         "null", "true",   "[]",      "{}",       "\"-\"", "\"1\\u0000\""};
	static const char *const unsafe[] = {"9007199254740992", "9223372036854775807", "99999999999999999999999999"};
	char body[200];
	for (size_t i = 0; i < sizeof(out_of_range) / sizeof(*out_of_range); i++) {
		snprintf(body, sizeof(body), "{\"client_id\":\"c\",\"checkpoint_request_id\":%s}", out_of_range[i]);
		refuse(body, "/checkpoint_request_id: must be in the range 1 to 9223372036854775807");
	}
	for (size_t i = 0; i < sizeof(no_integer) / sizeof(*no_integer); i++) {
		snprintf(body, sizeof(body), "{\"client_id\":\"c\",\"checkpoint_request_id\":%s}", no_integer[i]);
		refuse(body, "/checkpoint_request_id: must be an integer, or a string of decimal digits");
	}
	for (size_t i = 0; i < sizeof(unsafe) / sizeof(*unsafe); i++) {
		snprintf(body, sizeof(body), "{\"client_id\":\"c\",\"checkpoint_request_id\":%s}", unsafe[i]);
		refuse(body, "/checkpoint_request_id: a number beyond 9007199254740991 must be sent as a string");
	}
}

static void client_ids_are_checked(void **state)
{
	(void)state;
	refuse("{\"checkpoint_request_id\":1}", " must have required property 'client_id'");
	refuse("{\"client_id\":\"a\"}", " must have required property 'checkpoint_request_id'");
	refuse("[]", " must have required property 'checkpoint_request_id'");
	refuse("{\"client_id\":5,\"checkpoint_request_id\":1}", "/client_id: type must be string");
	refuse("{\"client_id\":null,\"checkpoint_request_id\":1}", "/client_id: type must be string");
	refuse("{\"client_id\":5,\"checkpoint_request_id\":0}",
	       "/client_id: type must be string\\\",\\\"/checkpoint_request_id: must be in the range 1 to 9223372036854775807");
	refuse("{\"client_id\":\"a\\u0000b\",\"checkpoint_request_id\":1}", "/client_id: must not contain a NUL");
	char body[3000], id[1026];
	memset(id, 'x', 1025);
	id[1025] = '\0';
	snprintf(body, sizeof(body), "{\"client_id\":\"%s\",\"checkpoint_request_id\":1}", id);
	refuse(body, "/client_id: must not be longer than 1024 bytes");
	id[1024] = '\0';
	snprintf(body, sizeof(body), "{\"client_id\":\"%s\",\"checkpoint_request_id\":1}", id);
	expect("POST", "/sync/checkpoint-request", TOKEN, body, 200, "\"1\"");
	expect("POST", "/sync/checkpoint-request", TOKEN, "{\"client_id\":\"\",\"checkpoint_request_id\":3}", 200, "\"3\"");
	expect("POST", "/sync/checkpoint-request", TOKEN,
	       "{\"client_id\":\"\xd0\xba/\xf0\x9f\x94\x91'\\\"\",\"checkpoint_request_id\":4}", 200, "\"4\"");
}

static void large_bodies_and_other_types_are_refused(void **state)
{
	(void)state;
	struct buf body = {0};
	buf_printf(&body, "{\"client_id\":\"");
	for (size_t i = 0; i < (size_t)1 << 20; i++)
		buf_putc(&body, 'x');
	buf_printf(&body, "\",\"checkpoint_request_id\":1}");
	buf_append(&body, "", 1);
	expect("POST", "/sync/checkpoint-request", TOKEN, body.p, 413, "FST_ERR_CTP_BODY_TOO_LARGE");
	body.n = 600000; /* below the limit of bodies: the client id is what is too long */
	body.p[body.n++] = '"';
	buf_printf(&body, ",\"checkpoint_request_id\":1}");
	buf_append(&body, "", 1);
	expect("POST", "/sync/checkpoint-request", TOKEN, body.p, 400, "/client_id: must not be longer than 1024 bytes");
	expect("POST", "/sync/checkpoint-request", TOKEN "Content-Type: application/xml\r\nContent-Length: 4\r\n\r\n<a/>", NULL,
	       415, NULL);
	assert_int_equal(fake_storage.user_count, 0);
	buf_free(&body);
}

static void refusals_come_in_order(void **state)
{
	(void)state;
	static const char good[] = "{\"client_id\":\"c\",\"checkpoint_request_id\":1}";
	expect("POST", "/sync/checkpoint-request", "", "{bad", 400, "FST_ERR_CTP_INVALID_JSON_BODY");
	expect("POST", "/sync/checkpoint-request", "", "", 400, "FST_ERR_CTP_EMPTY_JSON_BODY");
	expect("POST", "/sync/checkpoint-request", "", "{}", 400, "PSYNC_S2001");
	expect("POST", "/sync/checkpoint-request", "", NULL, 400, "PSYNC_S2001");
	expect("POST", "/sync/checkpoint-request", "", good, 401, "PSYNC_S2106");
	expect("POST", "/sync/checkpoint-request", "Authorization: Token expired\r\n", good, 401, "PSYNC_S2103");
	expect("GET", "/sync/checkpoint-request", TOKEN, NULL, 404, "PSYNC_S2002");
	expect("GET", "/write-checkpoint2.json", "", NULL, 401, "PSYNC_S2106");
	expect("GET", "/write-checkpoint.json", "", NULL, 401, "PSYNC_S2106");
	fake_storage.checkpoint.valid = false;
	expect("POST", "/sync/checkpoint-request", TOKEN, good, 500,
	       "{\"error\":{\"code\":\"PSYNC_S2302\",\"description\":\"Cannot create Write Checkpoint since no sync config is "
	       "active.\",\"name\":\"ServiceError\"}}");
	fake_storage.checkpoint.valid = true;
	fake_storage.fail = true;
	expect("POST", "/sync/checkpoint-request", TOKEN, good, 500,
	       "{\"error\":{\"code\":\"PSYNC_S2001\",\"status\":500,\"description\":\"Something went "
	       "wrong\",\"severity\":\"error\",\"name\":\"InternalServerError\"}}");
}

/* The data brings the write checkpoints then (checkpoint-requests 7). */
static void custom_mode_refuses_requests(void **state)
{
	(void)state;
	fake_storage.custom = true;
	expect("POST", "/sync/checkpoint-request", TOKEN, "{\"client_id\":\"c\",\"checkpoint_request_id\":1}", 400,
	       "\"code\":\"PSYNC_S2001\"");
	expect("GET", "/write-checkpoint2.json?client_id=c", TOKEN, NULL, 400,
	       "when the current Write Checkpoint mode is set to ");
	expect("GET", "/write-checkpoint2.json?client_id=c", "", NULL, 401, "PSYNC_S2106");
	assert_int_equal(fake_storage.batches, 0);
}

static void legacy_route_generates(void **state)
{
	(void)state;
	expect("GET", "/write-checkpoint2.json?client_id=a%2Fb+c", TOKEN, NULL, 200, "{\"data\":{\"write_checkpoint\":\"1\"}}");
	assert_string_equal(fake_storage.users[0].client, "a/b c");
	expect("GET", "/write-checkpoint2.json?client_id=a%2Fb+c", TOKEN, NULL, 200, "{\"data\":{\"write_checkpoint\":\"2\"}}");
	expect("GET", "/write-checkpoint2.json", TOKEN, NULL, 200, "{\"data\":{\"write_checkpoint\":\"1\"}}");
	assert_false(fake_storage.users[1].has_client);
	expect("GET", "/write-checkpoint2.json?client_id=%zz", TOKEN, NULL, 400, "PSYNC_S2001");
	expect("GET", "/write-checkpoint2.json?client_id=a%00b", TOKEN, NULL, 400, "must not contain a NUL");
}

static bool head_was_read(void)
{
	return fake_source.heads > 0;
}

static void oldest_route_waits_for_the_position(void **state)
{
	(void)state;
	fake_source.head = 2000;
	struct client c = client_open(server);
	client_send(&c, "GET /write-checkpoint.json HTTP/1.1\r\nHost: x\r\n" TOKEN "\r\n");
	wait_until(head_was_read);
	client_expect_silence(&c, 100);
	assert_int_equal(fake_source.markers, 1);
	pthread_mutex_lock(&fake_storage.lock);
	fake_storage.checkpoint.position.lsn = 2000;
	fake_storage.checkpoint.op_id = 78;
	pthread_mutex_unlock(&fake_storage.lock);
	client_expect(&c, "{\"data\":{\"checkpoint\":\"78\"}}");
	client_close(&c);
}

static bool a_marker_was_made(void)
{
	return fake_source.markers > 0;
}

static void pending_requests_get_a_marker_and_passed_ones_none(void **state)
{
	(void)state;
	fake_source.head = 1000; /* the served position */
	ask("1", "1");
	ask("1", "1");
	poll(NULL, 0, 30);
	assert_int_equal(fake_source.markers, 0);
	fake_source.head = 2000;
	ask("2", "2");
	wait_until(a_marker_was_made);
	/* A retry of a pending one makes it again. */
	ask("2", "2");
	int64_t until = clock_mono_ms() + WAIT_MS;
	while (fake_source.markers < 2 && clock_mono_ms() < until)
		poll(NULL, 0, 1);
	assert_int_equal(fake_source.markers, 2);
}

static void a_thousand_at_once_share_a_handful_of_heads(void **state)
{
	(void)state;
	enum { COUNT = 1000 };
	static struct client clients[COUNT];
	fake_source.delay_us = 1000;
	for (int i = 0; i < COUNT; i++)
		clients[i] = client_open(server);
	for (int i = 0; i < COUNT; i++) {
		char body[100], request[400];
		snprintf(body, sizeof(body), "{\"client_id\":\"c%d\",\"checkpoint_request_id\":%d}", i, i + 1);
		snprintf(request, sizeof(request),
		         "POST /sync/checkpoint-request HTTP/1.1\r\nHost: x\r\n" TOKEN
		         "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
		         strlen(body), body);
		client_send(&clients[i], request);
	}
	for (int i = 0; i < COUNT; i++) {
		char want[100];
		snprintf(want, sizeof(want), "{\"data\":{\"checkpoint_request_id\":\"%d\"}}", i + 1);
		client_expect(&clients[i], want);
		client_close(&clients[i]);
	}
	assert_true(fake_source.heads < 200);
	assert_true(fake_source.markers <= fake_source.heads);
	assert_true(fake_storage.largest_batch > 1);
}

/* ---- the source is down ------------------------------------------------------------------------------------------------------------- */

static bool heads_are_filled(void)
{
	return fake_storage.fills > 0 && fake_source.markers > 0;
}

static void requests_are_answered_while_the_source_is_down(void **state)
{
	(void)state;
	ask("5", "5");
	pthread_mutex_lock(&fake_storage.lock);
	assert_true(fake_storage.users[0].unknown);
	pthread_mutex_unlock(&fake_storage.lock);
	assert_int_equal(fake_source.markers, 0);
	fake_source.down = false;
	wait_until(heads_are_filled);
	assert_int_equal(fake_storage.users[0].head.lsn, 5000);
	assert_int_equal(fake_storage.users[0].head.era, 1);
}

static bool nobody_waits_for_a_head(void)
{
	size_t n = 0;
	pthread_mutex_lock(&fake_storage.lock);
	for (size_t i = 0; i < fake_storage.user_count; i++)
		n += fake_storage.users[i].unknown;
	pthread_mutex_unlock(&fake_storage.lock);
	return n == 0;
}

/* More than one look finds: the others do not wait for the next one. */
static void all_that_came_while_the_source_was_down_get_heads_at_once(void **state)
{
	(void)state;
	pthread_mutex_lock(&fake_storage.lock);
	fake_storage.user_count = 3 * WAITING_HEADS_MAX;
	for (size_t i = 0; i < fake_storage.user_count; i++)
		fake_storage.users[i] = (struct fake_user){.id = 1, .unknown = true};
	pthread_mutex_unlock(&fake_storage.lock);
	fake_source.down = false;
	wait_until(nobody_waits_for_a_head);
	assert_in_range(fake_storage.fills, 3, 8);
}

static size_t markers_before;

static bool another_marker_was_made(void)
{
	return fake_source.markers > markers_before;
}

static void a_lost_connection_is_made_anew(void **state)
{
	(void)state;
	ask("1", "1");
	wait_until(a_marker_was_made);
	markers_before = fake_source.markers;
	fake_source.down = true;
	ask("2", "2");
	fake_source.down = false;
	wait_until(heads_are_filled);
	wait_until(another_marker_was_made);
	assert_true(fake_source.connects >= 3); /* there are two: for heads and for markers */
}

static void a_failed_marker_follows_by_itself(void **state)
{
	(void)state;
	fake_source.marker_fails = true;
	ask("1", "1");
	poll(NULL, 0, 30);
	assert_int_equal(fake_source.markers, 0);
	fake_source.marker_fails = false;
	wait_until(a_marker_was_made);
}

static void at_start_pending_ones_get_a_marker(void **state)
{
	(void)state;
	ask("1", "1");
	wait_until(a_marker_was_made);
	server_stop(server, 1000);
	server_free(server);
	fake_source.markers = 0;
	struct server_options o = fake_options();
	server = fake_server(&o);
	wait_until(a_marker_was_made);
}

static void another_source_behind_the_address_gives_no_heads(void **state)
{
	(void)state;
	snprintf(fake_storage.source.system_id, sizeof(fake_storage.source.system_id), "other.app");
	ask("1", "1");
	pthread_mutex_lock(&fake_storage.lock);
	assert_true(fake_storage.users[0].unknown);
	/* Replication has noticed: a new era, and the store now belongs to that source. */
	snprintf(fake_storage.source.system_id, sizeof(fake_storage.source.system_id), "sys.app");
	fake_storage.source.applied = (struct position){2, 100};
	pthread_mutex_unlock(&fake_storage.lock);
	ask("2", "2");
	assert_false(fake_storage.users[1].unknown);
	assert_int_equal(fake_storage.users[1].head.era, 2);
}

static void a_source_that_went_back_gives_no_heads(void **state)
{
	(void)state;
	fake_source.head = 900;
	ask("1", "1");
	assert_true(fake_storage.users[0].unknown);
}

/* ---- what is counted ---------------------------------------------------------------------------------------------------------------- */

static struct metrics *metrics;

static int start_counted(void **state)
{
	(void)state;
	reset_fakes();
	struct server_options o = fake_options();
	o.metrics = metrics = metrics_new();
	server = fake_server(&o);
	int64_t until = clock_mono_ms() + WAIT_MS;
	while (fake_source.connects < 2 && clock_mono_ms() < until)
		poll(NULL, 0, 1);
	return 0;
}

static int stop_counted(void **state)
{
	stop(state);
	metrics_free(metrics);
	return 0;
}

static void expect_metric(const char *line)
{
	struct buf text = {0};
	metrics_print(metrics, &text);
	buf_append(&text, "", 1);
	if (!strstr(text.p, line))
		fail_msg("no %s in\n%s", line, text.p);
	buf_free(&text);
}

static void outcomes_are_counted(void **state)
{
	(void)state;
	fake_source.head = 2000;
	ask("1", "1");
	ask("2", "2");
	ask("1", "1");
	wait_until(a_marker_was_made);
	refuse_only("{}");
	expect("GET", "/write-checkpoint2.json?client_id=%zz", TOKEN, NULL, 400, NULL);
	expect("GET", "/write-checkpoint2.json", "", NULL, 401, NULL);
	fake_storage.fail = true;
	expect("GET", "/write-checkpoint2.json", TOKEN, NULL, 500, NULL);
	fake_storage.fail = false;
	expect_metric("syncline_checkpoint_requests_total{outcome=\"stored\"} 2\n");
	expect_metric("syncline_checkpoint_requests_total{outcome=\"known\"} 1\n");
	expect_metric("syncline_checkpoint_requests_total{outcome=\"refused\"} 3\n");
	expect_metric("syncline_checkpoint_requests_total{outcome=\"failed\"} 1\n");
	expect_metric("syncline_checkpoint_requests_total{outcome=\"waited\"} 0\n");
	expect_metric("syncline_checkpoint_requests_pending 2\n");
	expect_metric("syncline_checkpoint_request_heads_total 4\n");
	expect_metric("syncline_checkpoint_request_batches_total 4\n");
	expect_metric("syncline_session_steps_total 0\n");
}

static void stopping_cuts_a_hanging_source(void **state)
{
	(void)state;
	fake_source.hangs = true;
	struct client c = client_open(server);
	client_send(&c, "GET /write-checkpoint2.json HTTP/1.1\r\nHost: x\r\n" TOKEN "\r\n");
	poll(NULL, 0, 50);
	int64_t began = clock_mono_ms();
	server_stop(server, 100);
	assert_true(clock_mono_ms() - began < 1500);
	assert_true(fake_source.aborts >= 1);
	client_close(&c);
}

static void clients_may_leave_while_their_request_is_with_the_batcher(void **state)
{
	(void)state;
	fake_source.delay_us = 20000;
	for (int i = 0; i < 20; i++) {
		struct client c = client_open(server);
		client_send(&c, "GET /write-checkpoint2.json HTTP/1.1\r\nHost: x\r\n" TOKEN "\r\n");
		if (i % 2)
			poll(NULL, 0, 3);
		client_close(&c);
	}
}

int main(void)
{
	static int local;
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(ids_are_accepted, start, stop),
	        cmocka_unit_test_prestate_setup_teardown(ids_are_accepted, start, stop, &local),
	        cmocka_unit_test_setup_teardown(ids_are_refused, start, stop),
	        cmocka_unit_test_setup_teardown(client_ids_are_checked, start, stop),
	        cmocka_unit_test_setup_teardown(large_bodies_and_other_types_are_refused, start, stop),
	        cmocka_unit_test_setup_teardown(outcomes_are_counted, start_counted, stop_counted),
	        cmocka_unit_test_setup_teardown(refusals_come_in_order, start, stop),
	        cmocka_unit_test_prestate_setup_teardown(refusals_come_in_order, start, stop, &local),
	        cmocka_unit_test_setup_teardown(custom_mode_refuses_requests, start, stop),
	        cmocka_unit_test_setup_teardown(legacy_route_generates, start, stop),
	        cmocka_unit_test_setup_teardown(oldest_route_waits_for_the_position, start, stop),
	        cmocka_unit_test_setup_teardown(pending_requests_get_a_marker_and_passed_ones_none, start, stop),
	        cmocka_unit_test_setup_teardown(a_thousand_at_once_share_a_handful_of_heads, start, stop),
	        cmocka_unit_test_setup_teardown(requests_are_answered_while_the_source_is_down, start_down, stop),
	        cmocka_unit_test_setup_teardown(all_that_came_while_the_source_was_down_get_heads_at_once, start_down, stop),
	        cmocka_unit_test_setup_teardown(a_lost_connection_is_made_anew, start, stop),
	        cmocka_unit_test_setup_teardown(a_failed_marker_follows_by_itself, start, stop),
	        cmocka_unit_test_setup_teardown(at_start_pending_ones_get_a_marker, start, stop),
	        cmocka_unit_test_setup_teardown(another_source_behind_the_address_gives_no_heads, start, stop),
	        cmocka_unit_test_setup_teardown(a_source_that_went_back_gives_no_heads, start, stop),
	        cmocka_unit_test_setup_teardown(stopping_cuts_a_hanging_source, start, stop),
	        cmocka_unit_test_prestate_setup_teardown(clients_may_leave_while_their_request_is_with_the_batcher, start, stop,
	                                                 &local),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
