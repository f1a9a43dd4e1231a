/* POST /sync/stream: checks before it starts, its lines, its ends, slow readers, limits, shutdown. */
#define _GNU_SOURCE
#include "client.h"

static struct server *server;

static int start_with(struct server_options o)
{
	server = fake_server(&o);
	server_set_ready(server, true, true);
	return 0;
}

static int start(void **state)
{
	(void)state;
	reset_fakes();
	return start_with(fake_options());
}

static int start_small(void **state)
{
	(void)state;
	reset_fakes();
	struct server_options o = fake_options();
	o.max_connections = 2;
	o.window_bytes = 64 * 1024;
	return start_with(o);
}

static int stop(void **state)
{
	(void)state;
	if (server)
		server_stop(server, 1000);
	server_free(server);
	server = NULL;
	assert_int_equal(fake_sync.live, 0);
	return 0;
}

#define HEADERS "Host: x\r\nAuthorization: Token good-u1\r\nContent-Type: application/json\r\n"

static void post(struct client *c, const char *headers, const char *body)
{
	char request[4096];
	snprintf(request, sizeof(request), "POST /sync/stream HTTP/1.1\r\n%sContent-Length: %zu\r\n\r\n%s", headers, strlen(body),
	         body);
	client_send(c, request);
}

static struct client open_stream(const char *body)
{
	struct client c = client_open(server);
	post(&c, HEADERS, body);
	return c;
}

static bool no_sessions(void)
{
	return fake_sync.live == 0;
}

/* ---- before it starts ------------------------------------------------------------------------------------------------------------ */

static void expect_refusal(const char *headers, const char *body, int status, const char *want)
{
	struct client c = client_open(server);
	char line[64];
	snprintf(line, sizeof(line), "HTTP/1.1 %d ", status);
	post(&c, headers, body);
	client_expect(&c, line);
	client_expect(&c, want);
	client_expect(&c, "access-control-allow-origin: *");
	assert_null(strstr(client_text(&c), "stack"));
	client_close(&c);
}

#define NO_TOKEN "Host: x\r\nContent-Type: application/json\r\n"

static void bad_bodies_are_refused_before_the_token(void **state)
{
	(void)state;
	expect_refusal(NO_TOKEN, "{nope", 400,
	               "{\"error\":{\"name\":\"FastifyError\",\"code\":\"FST_ERR_CTP_INVALID_JSON_BODY\",\"status\":400,"
	               "\"description\":\"Body is not valid "
	               "JSON but content-type is set to 'application/json'\"}}");
	expect_refusal(NO_TOKEN, "", 400,
	               "{\"error\":{\"name\":\"FastifyError\",\"code\":\"FST_ERR_CTP_EMPTY_JSON_BODY\",\"status\":400,"
	               "\"description\":\"Body cannot be empty "
	               "when content-type is set to 'application/json'\"}}");
	expect_refusal("Host: x\r\nContent-Type: application/xml\r\n", "{}", 415,
	               "{\"error\":{\"name\":\"FastifyError\",\"code\":\"FST_ERR_CTP_INVALID_MEDIA_TYPE\",\"status\":415,"
	               "\"description\":\"Unsupported Media Type\"}}");
	expect_refusal("Host: x\r\nContent-Type: application/x-www-form-urlencoded\r\n", "{}", 415,
	               "FST_ERR_CTP_INVALID_MEDIA_TYPE");
	expect_refusal(NO_TOKEN, "{\"buckets\":1}", 400,
	               "{\"error\":{\"code\":\"PSYNC_S2001\",\"status\":400,\"description\":\"Validation "
	               "failed\",\"details\":\"[\\\"/buckets: type must be "
	               "array\\\"]\",\"name\":\"ValidationError\"}}");
	assert_int_equal(fake_auth.verified, 0);
}

static void bad_tokens_are_401(void **state)
{
	(void)state;
	expect_refusal(NO_TOKEN, "{}", 401,
	               "{\"error\":{\"code\":\"PSYNC_S2106\",\"status\":401,\"description\":\"Authentication "
	               "required\",\"name\":\"AuthorizationError\"}}");
	expect_refusal(NO_TOKEN "Authorization: Basic abc\r\n", "{}", 401, "PSYNC_S2106");
	expect_refusal(NO_TOKEN "Authorization: Token xx\r\n", "{}", 401,
	               "{\"error\":{\"code\":\"PSYNC_S2101\",\"status\":401,\"description\":\"Token is not a well-formed JWT. "
	               "Check the token format.\","
	               "\"name\":\"AuthorizationError\"}}");
	expect_refusal(NO_TOKEN "Authorization: Bearer expired\r\n", "{}", 401, "\"description\":\"JWT has expired\"");
	expect_refusal(NO_TOKEN "Authorization: Bearer audience\r\n", "{}", 401,
	               "\"description\":\"Unexpected \\\"aud\\\" claim value: \\\"other\\\"\"");
	assert_int_equal(fake_sync.made, 0);
}

static void failures_before_the_first_line_have_a_status(void **state)
{
	(void)state;
	fake_sync.new_code = "PSYNC_S2302";
	fake_sync.new_message = "internal words";
	expect_refusal(HEADERS, "{}", 500,
	               "{\"error\":{\"code\":\"PSYNC_S2302\",\"status\":500,\"description\":\"No sync config "
	               "available\",\"name\":\"ServiceError\"}}");
	fake_sync.new_code = NULL;
	fake_sync.step_code = "PSYNC_S2305";
	fake_sync.step_message = "Too many buckets: 12 (limit of 10)";
	expect_refusal(HEADERS, "{}", 500,
	               "{\"error\":{\"code\":\"PSYNC_S2305\",\"description\":\"Too many buckets: 12 (limit of "
	               "10)\",\"name\":\"ServiceError\"}}");
	expect_refusal(HEADERS, "{}", 500, "x-accel-buffering: no\r\n");
	fake_sync.step_code = "PSYNC_S2404";
	fake_sync.step_message = "select secret from storage";
	struct client c = open_stream("{}");
	client_expect(&c, "{\"error\":{\"code\":\"PSYNC_S2001\",\"status\":500,\"description\":\"Something went "
	                  "wrong\",\"severity\":\"error\",\"name\":\"InternalServerError\"}}");
	assert_null(strstr(client_text(&c), "secret"));
	/* The connection goes on. */
	client_forget(&c);
	client_send(&c, "GET /probes/liveness HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(&c, "HTTP/1.1 200 OK");
	client_close(&c);
	wait_until(no_sessions);
}

static void over_the_limit_is_429_at_once_and_freed_at_once(void **state)
{
	(void)state;
	fake_line("{\"a\":1}\n");
	struct client a = open_stream("{}"), b = open_stream("{}");
	client_expect(&a, "{\"a\":1}");
	client_expect(&b, "{\"a\":1}");
	struct client c = open_stream("{}");
	client_expect(&c, "HTTP/1.1 429 Too Many Requests\r\n");
	client_expect(&c, "content-length: 0\r\n");
	assert_null(strstr(client_text(&c), "content-type"));
	/* Other routes have no such limit; and the refused client's connection is usable. */
	client_forget(&c);
	client_send(&c, "GET /probes/liveness HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(&c, "200 OK");
	client_close(&a);
	for (int i = 0;; i++) {
		client_forget(&c);
		post(&c, HEADERS, "{}");
		while (!strstr(client_text(&c), "\r\n\r\n"))
			client_read(&c, 100);
		if (strstr(client_text(&c), "200 OK"))
			break;
		assert_true(i < 200);
		poll(NULL, 0, 5);
	}
	client_close(&b);
	client_close(&c);
	wait_until(no_sessions);
}

/* ---- lines ----------------------------------------------------------------------------------------------------------------------- */

static void the_head_comes_with_the_first_line(void **state)
{
	(void)state;
	struct client c = open_stream("{\"client_id\":\"c1\"}");
	client_expect_silence(&c, 150);
	fake_line("{\"checkpoint\":{}}\n");
	client_expect(&c, "{\"checkpoint\":{}}\n\r\n");
	const char *text = client_text(&c);
	assert_memory_equal(text, "HTTP/1.1 200 OK\r\n", 17);
	assert_non_null(strstr(text, "content-type: application/x-ndjson\r\n"));
	assert_non_null(strstr(text, "x-accel-buffering: no\r\n"));
	assert_non_null(strstr(text, "Transfer-Encoding: chunked\r\n"));
	assert_non_null(strstr(text, "\r\n\r\n12\r\n{\"checkpoint\":{}}\n\r\n"));
	assert_null(strstr(text, "content-length"));
	assert_null(strstr(text, "cache-control"));
	assert_string_equal(fake_sync.last_subject, "u1");
	assert_string_equal(fake_sync.last_client, "c1");
	client_forget(&c);
	fake_line("{\"next\":1}\n");
	client_expect(&c, "b\r\n{\"next\":1}\n\r\n");
	client_close(&c);
	wait_until(no_sessions);
}

static void bson_is_chosen_by_accept(void **state)
{
	(void)state;
	fake_line_bytes("\x05\x00\x00\x00\x00", 5);
	struct client c = client_open(server);
	post(&c, HEADERS "Accept: application/vnd.powersync.bson-stream;q=0.9,application/x-ndjson;q=0.8\r\n", "{}");
	client_expect(&c, "content-type: application/vnd.powersync.bson-stream\r\n");
	assert_int_equal(fake_sync.last_encoding, ENCODING_BSON);
	client_close(&c);
}

static void compression_is_chosen_by_accept_encoding(void **state)
{
	(void)state;
	fake_line("{\"a\":1}\n");
	struct client c = client_open(server);
	post(&c, HEADERS "Accept-Encoding: gzip, deflate\r\n", "{}");
	client_expect(&c, "content-encoding: gzip\r\n");
	while (!memmem(client_text(&c), c.in.n, "\x1f\x8b\x08", 3))
		client_read(&c, 100);
	client_close(&c);
	c = client_open(server);
	post(&c, HEADERS "Accept-Encoding: gzip, zstd\r\n", "{}");
	client_expect(&c, "content-encoding: zstd\r\n");
	client_close(&c);
	fake_sync.step_code = "PSYNC_S2305";
	fake_sync.step_message = "Too many buckets: 12 (limit of 10)";
	c = client_open(server);
	post(&c, HEADERS "Accept-Encoding: gzip\r\n", "{}");
	client_expect(&c, "HTTP/1.1 500 ");
	client_expect(&c, "content-encoding: gzip\r\n");
	client_close(&c);
	/* What is found earlier is never compressed. */
	c = client_open(server);
	post(&c, NO_TOKEN "Accept-Encoding: gzip\r\n", "{}");
	client_expect(&c, "PSYNC_S2106");
	client_close(&c);
}

static void http_1_0_gets_no_chunks(void **state)
{
	(void)state;
	fake_line("{\"a\":1}\n");
	struct client c = client_open(server);
	client_send(&c, "POST /sync/stream HTTP/1.0\r\n" HEADERS "Content-Length: 2\r\n\r\n{}");
	client_expect(&c, "\r\n\r\n{\"a\":1}\n");
	assert_null(strstr(client_text(&c), "chunked"));
	fake_line("{\"b\":2}\n");
	client_expect(&c, "{\"a\":1}\n{\"b\":2}\n");
	client_close(&c);
}

static void a_hundred_streams_get_every_line(void **state)
{
	(void)state;
	struct client clients[100];
	for (int i = 0; i < 100; i++)
		clients[i] = open_stream("{}");
	char line[64];
	for (int k = 0; k < 50; k++) {
		snprintf(line, sizeof(line), "{\"n\":%d}\n", k);
		fake_line(line);
	}
	for (int i = 0; i < 100; i++) {
		client_expect(&clients[i], "{\"n\":49}\n");
		const char *at = client_text(&clients[i]);
		for (int k = 0; k < 50; k++) {
			snprintf(line, sizeof(line), "{\"n\":%d}\n", k);
			assert_non_null(at = strstr(at, line));
		}
		client_close(&clients[i]);
	}
	wait_until(no_sessions);
}

static void a_silent_key_server_does_not_hold_up_running_streams(void **state)
{
	(void)state;
	fake_line("{\"a\":1}\n");
	struct client running = open_stream("{}"), waiting[8];
	client_expect(&running, "{\"a\":1}\n");
	fake_auth.delay_ms = 500;
	for (int i = 0; i < 8; i++) {
		waiting[i] = client_open(server);
		post(&waiting[i], NO_TOKEN "Authorization: Token slow\r\n", "{}");
	}
	poll(NULL, 0, 50);
	int64_t began = clock_mono_ms();
	fake_line("{\"b\":2}\n");
	client_expect(&running, "{\"b\":2}\n");
	assert_true(clock_mono_ms() - began < 300);
	for (int i = 0; i < 8; i++) {
		client_expect(&waiting[i], "PSYNC_S2204");
		client_close(&waiting[i]);
	}
	client_close(&running);
}

/* ---- ends ------------------------------------------------------------------------------------------------------------------------ */

static void expiry_is_a_clean_end_and_the_connection_goes_on(void **state)
{
	(void)state;
	fake_auth.lifetime_s = 1;
	fake_line("{\"a\":1}\n");
	struct client c = open_stream("{}");
	client_expect(&c, "{\"a\":1}\n");
	client_expect(&c, "\r\n0\r\n\r\n");
	client_forget(&c);
	client_send(&c, "GET /probes/liveness HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(&c, "HTTP/1.1 200 OK");
	client_close(&c);
}

static void a_failure_later_cuts_the_body(void **state)
{
	(void)state;
	fake_line("{\"a\":1}\n");
	struct client c = open_stream("{}");
	client_expect(&c, "{\"a\":1}\n");
	fake_sync.fail_after = 1;
	fake_sync.step_message = "Too many buckets";
	fake_sync.step_code = "PSYNC_S2305";
	fake_line("{\"b\":1}\n");
	client_expect_end(&c);
	assert_null(strstr(client_text(&c), "0\r\n\r\n"));
	assert_null(strstr(client_text(&c), "Too many"));
	client_close(&c);
}

static void a_client_that_leaves_stops_the_work(void **state)
{
	(void)state;
	fake_sync.bulk_bytes = 1 << 30;
	fake_sync.bulk_block = 65536;
	struct client c = open_stream("{}");
	client_expect(&c, "200 OK");
	client_close(&c);
	wait_until(no_sessions);
	size_t steps = fake_sync.steps;
	poll(NULL, 0, 50);
	assert_int_equal(fake_sync.steps, steps);
}

static void half_closing_counts_as_leaving(void **state)
{
	(void)state;
	fake_line("{\"a\":1}\n");
	struct client c = open_stream("{}");
	client_expect(&c, "{\"a\":1}\n");
	shutdown(c.fd, SHUT_WR);
	client_expect_end(&c);
	wait_until(no_sessions);
	client_close(&c);
}

static void a_talkative_client_of_a_stream_is_cut(void **state)
{
	(void)state;
	fake_line("{\"a\":1}\n");
	struct client c = open_stream("{}");
	client_expect(&c, "{\"a\":1}\n");
	char noise[8192];
	memset(noise, 'x', sizeof(noise));
	client_send_bytes(&c, noise, sizeof(noise));
	client_expect_end(&c);
	client_close(&c);
	wait_until(no_sessions);
}

static void shutdown_ends_streams_with_the_last_chunk(void **state)
{
	(void)state;
	fake_line("{\"a\":1}\n");
	struct client a = open_stream("{}"), b = open_stream("{}"), idle = client_open(server), half = client_open(server);
	client_send(&half, "POST /sync/stre");
	client_expect(&a, "{\"a\":1}\n");
	client_expect(&b, "{\"a\":1}\n");
	int64_t began = clock_mono_ms();
	server_stop(server, 300);
	assert_true(clock_mono_ms() - began < 2000);
	client_expect_end(&a);
	client_expect_end(&b);
	client_expect_end(&idle);
	client_expect_end(&half);
	assert_non_null(strstr(client_text(&a), "\r\n0\r\n\r\n"));
	assert_non_null(strstr(client_text(&b), "\r\n0\r\n\r\n"));
	client_close(&a);
	client_close(&b);
	client_close(&idle);
	client_close(&half);
}

/* ---- slow readers ------------------------------------------------------------------------------------------------------------------ */

#define BULK (12 * 1024 * 1024)

static void a_slow_reader_costs_its_window_and_no_one_elses_time(void **state)
{
	(void)state;
	static const char first[] = "{\"first\":1}\n";
	fake_line(first);
	fake_sync.bulk_bytes = BULK;
	fake_sync.bulk_block = 10000;
	struct client slow = client_open(server);
	int small = 65536;
	setsockopt(slow.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	post(&slow, HEADERS, "{}");
	poll(NULL, 0, 300);
	size_t steps = fake_sync.steps;
	poll(NULL, 0, 200);
	assert_int_equal(fake_sync.steps, steps); /* it stands still */
	assert_true(steps < 500);
	/* Another one is served meanwhile. */
	fake_sync.bulk_bytes = 0;
	struct client quick = open_stream("{}");
	client_expect(&quick, first);
	client_close(&quick);
	/* And the slow one gets all of it, unharmed: chunks decode to the made-up bytes. */
	struct buf plain = {0};
	size_t at = 0;
	while (!memmem(client_text(&slow), slow.in.n, "\r\n\r\n", 4))
		client_read(&slow, 1000);
	at = (size_t)((char *)memmem(slow.in.p, slow.in.n, "\r\n\r\n", 4) - slow.in.p) + 4;
	while (plain.n < sizeof(first) - 1 + BULK) {
		char *eol = memmem(slow.in.p + at, slow.in.n - at, "\r\n", 2);
		size_t size = eol ? strtoul(slow.in.p + at, NULL, 16) : 0;
		size_t head = eol ? (size_t)(eol - slow.in.p) + 2 : 0;
		if (!eol || slow.in.n < head + size + 2) {
			memmove(slow.in.p, slow.in.p + at, slow.in.n - at);
			slow.in.n -= at;
			at = 0;
			if (!client_read(&slow, WAIT_MS))
				fail_msg("stopped at %zu", plain.n);
			continue;
		}
		buf_append(&plain, slow.in.p + head, size);
		at = head + size + 2;
	}
	assert_memory_equal(plain.p, first, sizeof(first) - 1);
	const char *bulk = plain.p + sizeof(first) - 1;
	size_t left = BULK;
	for (size_t i = 0; i < BULK; i += 10000) {
		size_t n = left < 10000 ? left : 10000;
		assert_int_equal(bulk[i + n - 1], '\n');
		assert_int_equal(bulk[i], n > 1 ? 'a' + (char)(left % 23) : '\n');
		left -= n;
	}
	buf_free(&plain);
	client_close(&slow);
	wait_until(no_sessions);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(bad_bodies_are_refused_before_the_token, start, stop),
	        cmocka_unit_test_setup_teardown(bad_tokens_are_401, start, stop),
	        cmocka_unit_test_setup_teardown(failures_before_the_first_line_have_a_status, start, stop),
	        cmocka_unit_test_setup_teardown(over_the_limit_is_429_at_once_and_freed_at_once, start_small, stop),
	        cmocka_unit_test_setup_teardown(the_head_comes_with_the_first_line, start, stop),
	        cmocka_unit_test_setup_teardown(bson_is_chosen_by_accept, start, stop),
	        cmocka_unit_test_setup_teardown(compression_is_chosen_by_accept_encoding, start, stop),
	        cmocka_unit_test_setup_teardown(http_1_0_gets_no_chunks, start, stop),
	        cmocka_unit_test_setup_teardown(a_hundred_streams_get_every_line, start, stop),
	        cmocka_unit_test_setup_teardown(a_silent_key_server_does_not_hold_up_running_streams, start, stop),
	        cmocka_unit_test_setup_teardown(expiry_is_a_clean_end_and_the_connection_goes_on, start, stop),
	        cmocka_unit_test_setup_teardown(a_failure_later_cuts_the_body, start, stop),
	        cmocka_unit_test_setup_teardown(a_client_that_leaves_stops_the_work, start, stop),
	        cmocka_unit_test_setup_teardown(half_closing_counts_as_leaving, start, stop),
	        cmocka_unit_test_setup_teardown(a_talkative_client_of_a_stream_is_cut, start, stop),
	        cmocka_unit_test_setup_teardown(shutdown_ends_streams_with_the_last_chunk, start, stop),
	        cmocka_unit_test_setup_teardown(a_slow_reader_costs_its_window_and_no_one_elses_time, start_small, stop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
