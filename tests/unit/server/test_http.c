/* HTTP as such: heads, limits, pipelining, errors, CORS, time-outs. */
#define _GNU_SOURCE
#include "client.h"

static struct server *server;

static int start(void **state)
{
	(void)state;
	reset_fakes();
	struct server_options o = fake_options();
	o.head_timeout_ms = 300;
	o.body_timeout_ms = 300;
	o.idle_timeout_ms = 600;
	server = fake_server(&o);
	server_set_ready(server, true, true);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	server_stop(server, 1000);
	server_free(server);
	assert_int_equal(fake_sync.live, 0);
	return 0;
}

static void expect_answer(const char *request, const char *status_line, const char *part)
{
	struct client c = exchange_text(server, request);
	if (strncmp(client_text(&c), status_line, strlen(status_line)) != 0 || (part && !strstr(client_text(&c), part)))
		fail_msg("%s\n-> %s\nwanted %s ... %s", request, client_text(&c), status_line, part);
	client_close(&c);
}

static void probes_answer(void **state)
{
	(void)state;
	expect_answer("GET /probes/liveness HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n",
	              "{\"ready\":true,\"started\":true,\"touched_at\":\"20");
	expect_answer("GET /probes/startup HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", NULL);
	expect_answer("GET /probes/readiness HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", NULL);
	server_set_ready(server, true, false);
	expect_answer("GET /probes/readiness HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 ", "\"ready\":false");
}

static void unknown_paths_and_methods_are_404(void **state)
{
	(void)state;
	expect_answer(
	        "GET /nope?x=1 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 Not Found\r\n",
	        "{\"error\":{\"code\":\"PSYNC_S2002\",\"status\":404,\"description\":\"The path does not exist on this server\","
	        "\"details\":\"The path GET \\\"/nope?x=1\\\" does not exist on this "
	        "server\",\"severity\":\"info\",\"name\":\"RouteNotFound\"}}");
	static const char *const others[] = {
	        "GET /sync/stream",   "DELETE /sync/stream", "TRACE /sync/stream",           "POST /sync/stream/",
	        "POST //sync/stream", "POST /SYNC/stream",   "PUT /sync/checkpoint-request", "POST /write-checkpoint2.json",
	        "HEAD /sync/stream",
	};
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		char request[200];
		snprintf(request, sizeof(request), "%s HTTP/1.1\r\nHost: x\r\n\r\n", others[i]);
		expect_answer(request, "HTTP/1.1 404 ", "access-control-allow-origin: *");
	}
}

static void head_has_no_body(void **state)
{
	(void)state;
	struct client c = exchange_text(server, "HEAD /probes/liveness HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_memory_equal(client_text(&c), "HTTP/1.1 200 OK\r\n", 17);
	assert_null(strstr(client_text(&c), "content-length: 0"));
	assert_non_null(strstr(client_text(&c), "content-length: "));
	assert_string_equal(client_text(&c) + c.in.n - 4, "\r\n\r\n");
	client_close(&c);
}

static void every_answer_has_cors_and_date(void **state)
{
	(void)state;
	expect_answer("GET /nope HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404",
	              "access-control-allow-origin: *\r\naccess-control-expose-headers: Content-Type\r\n");
	expect_answer("GET /nope HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404", "Date: ");
	expect_answer("OPTIONS /any HTTP/1.1\r\nHost: x\r\nOrigin: http://a\r\nAccess-Control-Request-Method: POST\r\n\r\n",
	              "HTTP/1.1 204 ",
	              "access-control-allow-methods: GET,HEAD,POST\r\naccess-control-allow-headers: Content-Type, Authorization, "
	              "User-Agent, "
	              "X-User-Agent\r\naccess-control-max-age: 3600\r\n");
	expect_answer("OPTIONS /any HTTP/1.1\r\nHost: x\r\nOrigin: http://a\r\nAccess-Control-Request-Method: POST\r\n\r\n",
	              "HTTP/1.1 204 ", "content-length: 0\r\n");
	expect_answer("OPTIONS /any HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 ", "Invalid Preflight Request");
}

static void malformed_heads_are_refused(void **state)
{
	(void)state;
	static const char *const bad[] = {
	        "nonsense\r\n\r\n",
	        "GET /probes/liveness HTTP/1.1\nHost: x\n\n",
	        "GET /probes/liveness HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
	        "GET /probes/liveness HTTP/2.0\r\nHost: x\r\n\r\n",
	        "GET /probes/liveness HTTP/1.2\r\nHost: x\r\n\r\n",
	        "GET /probes/liveness\r\nHost: x\r\n\r\n",
	        "GET  /probes/liveness HTTP/1.1\r\nHost: x\r\n\r\n",
	        "BREW /probes/liveness HTTP/1.1\r\nHost: x\r\n\r\n",
	        "GET /probes/liveness HTTP/1.1\r\nHost : x\r\n\r\n",
	        "GET /probes/liveness HTTP/1.1\r\nHost: x\r\nA: b\r\n folded\r\n\r\n",
	        "GET /probes/liveness HTTP/1.1\r\n Host: x\r\n\r\n",
	        "GET /probes/liveness HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
	        "GET /probes/liveness HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
	        "GET /probes/liveness HTTP/1.1\r\nHost: x\r\nA: \x01\r\n\r\n",
	        "POST /sync/stream HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
	        "POST /sync/stream HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
	        "POST /sync/stream HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
	        "POST /sync/stream HTTP/1.1\r\nHost: x\r\nContent-Length: -2\r\n\r\n{}",
	        "POST /sync/stream HTTP/1.1\r\nHost: x\r\nContent-Length: 2x\r\n\r\n{}",
	        "POST /sync/stream HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n{}",
	        "POST /sync/stream HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n{}",
	        "POST /sync/stream HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
	        "POST /sync/stream HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		expect_answer(bad[i], "HTTP/1.1 400 ",
		              "{\"error\":\"Bad Request\",\"message\":\"Client Error\",\"statusCode\":400}");
	expect_answer("GET /probes/liveness HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", "content-length: 0\r\n");
	expect_answer("GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 ",
	              "{\"error\":\"Bad Request\",\"code\":\"FST_ERR_BAD_URL\",\"message\":\"'/%zz' is not a valid url "
	              "component\",\"statusCode\":400}");
	expect_answer("GET /%ff HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 ", "FST_ERR_BAD_URL");
}

static void heads_have_limits(void **state)
{
	(void)state;
	struct buf b = {0};
	buf_lit(&b, "GET /probes/liveness HTTP/1.1\r\nHost: x\r\nA: ");
	for (int i = 0; i < 17000; i++)
		buf_putc(&b, 'x');
	buf_append(&b, "\r\n\r\n", 5);
	expect_answer(b.p, "HTTP/1.1 431 ",
	              "{\"error\":\"Request Header Fields Too Large\",\"message\":\"Exceeded maximum allowed HTTP header "
	              "size\",\"statusCode\":431}");
	buf_clear(&b);
	buf_lit(&b, "GET /probes/liveness HTTP/1.1\r\nHost: x\r\n");
	for (int i = 0; i < 100; i++)
		buf_printf(&b, "A%d: b\r\n", i);
	buf_append(&b, "\r\n", 3);
	expect_answer(b.p, "HTTP/1.1 431 ", NULL);
	buf_clear(&b);
	buf_lit(&b, "GET /probes/liveness HTTP/1.1\r\nHost: x\r\n");
	for (int i = 0; i < 99; i++)
		buf_printf(&b, "A%d: b\r\n", i);
	buf_append(&b, "\r\n", 3);
	expect_answer(b.p, "HTTP/1.1 200 ", NULL);
	buf_free(&b);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
	(void)state;
	struct client c = client_open(server);
	client_send(&c, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
	                "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
	                "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;ext=1\r\nx\r\n0\r\nTrailer: 1\r\n\r\n"
	                "GET /d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	                "GET /never HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect_end(&c);
	const char *at = client_text(&c);
	static const char *const paths[] = {"GET \\\"/a\\\"", "POST \\\"/b\\\"", "POST \\\"/c\\\"", "GET \\\"/d\\\""};
	for (size_t i = 0; i < 4; i++)
		assert_non_null(at = strstr(at, paths[i]));
	assert_null(strstr(at, "never"));
	client_close(&c);
}

static void a_head_may_come_byte_by_byte(void **state)
{
	(void)state;
	struct client c = client_open(server);
	const char *text = "\r\nPOST /x HTTP/1.1\r\nHost: y\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
	for (const char *p = text; *p; p++)
		client_send_bytes(&c, p, 1);
	client_expect(&c, "does not exist");
	client_close(&c);
}

static void slow_heads_and_bodies_time_out(void **state)
{
	(void)state;
	struct client a = client_open(server), b = client_open(server), idle = client_open(server);
	client_send(&a, "GET /probes/live");
	client_send(&b, "POST /sync/stream HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{");
	int64_t began = clock_mono_ms();
	/* Each byte of a head does not win time. */
	for (int i = 0; i < 20 && !a.ended; i++) {
		client_send(&a, "x");
		client_read(&a, 50);
	}
	client_expect_end(&a);
	assert_non_null(strstr(client_text(&a), "HTTP/1.1 408 "));
	assert_true(clock_mono_ms() - began < 1500);
	client_expect(&b, "HTTP/1.1 408 ");
	client_expect_end(&idle);
	client_close(&a);
	client_close(&b);
	client_close(&idle);
}

static void large_bodies_are_refused_without_losing_the_answer(void **state)
{
	(void)state;
	char *body = xmalloc(2000001);
	memset(body, 'x', 2000000);
	body[2000000] = '\0';
	struct client c = client_open(server);
	client_send(&c,
	            "POST /sync/stream HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2000000\r\n\r\n");
	client_send(&c, body);
	client_expect(&c, "HTTP/1.1 413 ");
	client_expect(&c, "{\"error\":{\"name\":\"FastifyError\",\"code\":\"FST_ERR_CTP_BODY_TOO_LARGE\",\"status\":413,"
	                  "\"description\":\"Request body is too large\"}}");
	client_close(&c);
	c = client_open(server);
	client_send(&c, "POST /sync/stream HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: "
	                "chunked\r\n\r\n1e8480\r\n");
	client_send(&c, body);
	client_expect(&c, "HTTP/1.1 413 ");
	client_close(&c);
	free(body);
}

static void expect_100_continue_is_answered(void **state)
{
	(void)state;
	struct client c = client_open(server);
	client_send(&c, "POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
	client_expect(&c, "HTTP/1.1 100 Continue\r\n\r\n");
	client_send(&c, "{}");
	client_expect(&c, "HTTP/1.1 404 ");
	client_close(&c);
	expect_answer("POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: magic\r\n\r\n{}", "HTTP/1.1 417 ", NULL);
}

static void http_1_0_closes_unless_asked(void **state)
{
	(void)state;
	struct client c = client_open(server);
	client_send(&c, "GET /probes/liveness HTTP/1.0\r\n\r\n");
	client_expect_end(&c);
	assert_non_null(strstr(client_text(&c), "Connection: close"));
	client_close(&c);
	c = client_open(server);
	client_send(&c, "GET /probes/liveness HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /x HTTP/1.0\r\n\r\n");
	client_expect_end(&c);
	assert_non_null(strstr(client_text(&c), "GET \\\"/x\\\""));
	client_close(&c);
}

static void a_second_server_on_the_port_fails(void **state)
{
	(void)state;
	struct server_options o = fake_options();
	struct error err = {.code = ""};
	o.port = server_port(server);
	assert_null(server_start(&o, &err));
	assert_non_null(strstr(err.message, "cannot listen"));
}

static size_t count_of(const char *text, const char *part)
{
	size_t n = 0;
	for (const char *p = text; (p = strstr(p, part)); p++)
		n++;
	return n;
}

static void thousands_of_requests_on_one_connection(void **state)
{
	(void)state;
	struct client c = client_open(server);
	for (int i = 0; i < 500; i++) {
		for (int k = 0; k < 10; k++)
			client_send(&c, "GET /probes/liveness HTTP/1.1\r\nHost: x\r\n\r\n");
		while (count_of(client_text(&c), "touched_at") < 10)
			if (!client_read(&c, WAIT_MS))
				fail_msg("no more answers");
		assert_int_equal(count_of(client_text(&c), "HTTP/1.1 200 OK"), 10);
		client_forget(&c);
	}
	client_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(probes_answer, start, stop),
	        cmocka_unit_test_setup_teardown(unknown_paths_and_methods_are_404, start, stop),
	        cmocka_unit_test_setup_teardown(head_has_no_body, start, stop),
	        cmocka_unit_test_setup_teardown(every_answer_has_cors_and_date, start, stop),
	        cmocka_unit_test_setup_teardown(malformed_heads_are_refused, start, stop),
	        cmocka_unit_test_setup_teardown(heads_have_limits, start, stop),
	        cmocka_unit_test_setup_teardown(pipelined_requests_are_answered_in_order, start, stop),
	        cmocka_unit_test_setup_teardown(a_head_may_come_byte_by_byte, start, stop),
	        cmocka_unit_test_setup_teardown(slow_heads_and_bodies_time_out, start, stop),
	        cmocka_unit_test_setup_teardown(large_bodies_are_refused_without_losing_the_answer, start, stop),
	        cmocka_unit_test_setup_teardown(expect_100_continue_is_answered, start, stop),
	        cmocka_unit_test_setup_teardown(http_1_0_closes_unless_asked, start, stop),
	        cmocka_unit_test_setup_teardown(a_second_server_on_the_port_fails, start, stop),
	        cmocka_unit_test_setup_teardown(thousands_of_requests_on_one_connection, start, stop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
