/* WebSocket connections with RSocket over real sockets (sync-protocol 9). */
#define _GNU_SOURCE
#include "client.h"

#include "server/rsocket.h"
#include "server/websocket.h"

static struct server *server;

static int start_with(struct server_options o)
{
	server = fake_server(&o);
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
	o.max_connections = 1;
	o.max_body = 1000;
	o.window_bytes = 65536;
	return start_with(o);
}

static int stop(void **state)
{
	(void)state;
	server_stop(server, 500);
	server_free(server);
	assert_int_equal(fake_sync.live, 0);
	return 0;
}

static bool no_sessions(void)
{
	return fake_sync.live == 0;
}

/* ---- a client ---------------------------------------------------------------------------------------------------------------------- */

static void send_ws(struct client *c, int first, const void *payload, size_t n)
{
	struct buf b = {0};
	buf_putc(&b, (char)first);
	if (n < 126) {
		buf_putc(&b, (char)(0x80 | n));
	} else if (n < 65536) {
		buf_putc(&b, (char)(0x80 | 126));
		buf_putc(&b, (char)(n >> 8));
		buf_putc(&b, (char)n);
	} else {
		buf_putc(&b, (char)(0x80 | 127));
		for (int i = 7; i >= 0; i--)
			buf_putc(&b, (char)((uint64_t)n >> (8 * i)));
	}
	buf_append(&b, "\0\0\0\0", 4);
	buf_append(&b, payload, n);
	client_send_bytes(c, b.p, b.n);
	buf_free(&b);
}

static void send_frame(struct client *c, struct buf *frame)
{
	send_ws(c, 0x82, frame->p, frame->n);
	buf_free(frame);
}

static void u(struct buf *b, uint32_t v, int bytes)
{
	for (int i = bytes - 1; i >= 0; i--)
		buf_putc(b, (char)(v >> (8 * i)));
}

static struct buf frame_of(uint32_t stream, unsigned type, unsigned flags)
{
	struct buf b = {0};
	u(&b, stream, 4);
	u(&b, type << 10 | flags, 2);
	return b;
}

static void metadata_of(struct buf *b, struct slice m)
{
	u(b, (uint32_t)m.n, 3);
	buf_slice_append(b, m);
}

static void send_setup_as(struct client *c, unsigned flags, uint32_t lifetime, const char *mime, const char *data_mime,
                          struct slice metadata)
{
	struct buf b = frame_of(0, RSOCKET_SETUP, flags | (metadata.p ? RSOCKET_METADATA : 0));
	u(&b, 0x00010000, 4);
	u(&b, 20000, 4);
	u(&b, lifetime, 4);
	u(&b, (uint32_t)strlen(mime), 1);
	buf_append(&b, mime, strlen(mime));
	u(&b, (uint32_t)strlen(data_mime), 1);
	buf_append(&b, data_mime, strlen(data_mime));
	if (metadata.p)
		metadata_of(&b, metadata);
	send_frame(c, &b);
}

#define JSON "application/json"
#define BSON "application/bson"
#define GOOD "{\"token\":\"Token good-u1\",\"user_agent\":\"test\"}"

static void send_setup(struct client *c)
{
	send_setup_as(c, 0, 90000, JSON, JSON, SLICE(GOOD));
}

static void send_request_to(struct client *c, uint32_t id, uint32_t n, const char *path, const char *body)
{
	struct buf b = frame_of(id, RSOCKET_REQUEST_STREAM, RSOCKET_METADATA);
	char metadata[100];
	snprintf(metadata, sizeof(metadata), "{\"path\":\"%s\"}", path);
	u(&b, n, 4);
	metadata_of(&b, slice_cstr(metadata));
	buf_append(&b, body, strlen(body));
	send_frame(c, &b);
}

static void send_request(struct client *c, uint32_t id, uint32_t n)
{
	send_request_to(c, id, n, "/sync/stream", "{\"client_id\":\"c1\"}");
}

static void send_n(struct client *c, uint32_t id, uint32_t n)
{
	struct buf b = frame_of(id, RSOCKET_REQUEST_N, 0);
	u(&b, n, 4);
	send_frame(c, &b);
}

static void send_cancel(struct client *c, uint32_t id)
{
	struct buf b = frame_of(id, RSOCKET_CANCEL, 0);
	send_frame(c, &b);
}

static struct client open_socket(void)
{
	struct client c = client_open(server);
	client_send(&c, "GET /any/path?x=1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, "
	                "Upgrade\r\nSec-WebSocket-Version: 13\r\n"
	                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: a\r\n"
	                "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n");
	client_expect(&c, "\r\n\r\n");
	const char *text = client_text(&c);
	assert_memory_equal(text, "HTTP/1.1 101 Switching Protocols\r\n", 34);
	assert_non_null(strstr(text, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
	assert_null(strcasestr(text, "extensions"));
	assert_null(strcasestr(text, "protocol:"));
	client_forget(&c);
	return c;
}

static struct client open_rsocket(void)
{
	struct client c = open_socket();
	send_setup(&c);
	return c;
}

/* The next message; opcode -1 when the connection ended, -2 when nothing came within ms. */
static int receive(struct client *c, struct buf *payload, int ms)
{
	int64_t until = clock_mono_ms() + ms;
	for (;;) {
		const unsigned char *p = (const unsigned char *)c->in.p;
		size_t head = 2, n = c->in.n >= 2 ? p[1] & 0x7f : 0;
		if (c->in.n >= 4 && n == 126) {
			n = (size_t)p[2] << 8 | p[3];
			head = 4;
		} else if (c->in.n >= 10 && n == 127) {
			n = 0;
			for (int i = 0; i < 8; i++)
				n = n << 8 | p[2 + i];
			head = 10;
		} else if (n >= 126) {
			n = SIZE_MAX / 2;
		}
		if (c->in.n >= 2 && c->in.n >= head + n) {
			int opcode = p[0] & 0x0f;
			buf_clear(payload);
			buf_append(payload, p + head, n);
			memmove(c->in.p, c->in.p + head + n, c->in.n - head - n);
			c->in.n -= head + n;
			return opcode;
		}
		if (c->ended)
			return -1;
		if (clock_mono_ms() >= until)
			return -2;
		client_read(c, 20);
	}
}

static void expect_frame_at(struct client *c, uint32_t stream, unsigned type, unsigned flags, struct slice rest, int line)
{
	struct buf got = {0}, want = frame_of(stream, type, flags);
	buf_slice_append(&want, rest);
	int opcode = receive(c, &got, WAIT_MS);
	if (opcode != WS_BINARY || !slice_eq(buf_slice(&got), buf_slice(&want)))
		fail_msg("line %d: opcode %d, %zu bytes: %.*s", line, opcode, got.n, got.n > 10 ? (int)got.n - 10 : 0,
		         got.n > 10 ? got.p + 10 : "");
	buf_free(&got);
	buf_free(&want);
}
#define expect_frame(c, stream, type, flags, rest) expect_frame_at(c, stream, type, flags, rest, __LINE__)

static void expect_error_at(struct client *c, uint32_t stream, uint32_t code, const char *text, int line)
{
	struct buf rest = {0};
	u(&rest, code, 4);
	buf_append(&rest, text, strlen(text));
	expect_frame_at(c, stream, RSOCKET_ERROR, 0, buf_slice(&rest), line);
	buf_free(&rest);
}
#define expect_error(c, stream, code, text) expect_error_at(c, stream, code, text, __LINE__)

static void expect_close_at(struct client *c, int code, int line)
{
	struct buf got = {0};
	int opcode = receive(c, &got, WAIT_MS);
	int seen = got.n >= 2 ? (unsigned char)got.p[0] << 8 | (unsigned char)got.p[1] : 0;
	if (opcode != WS_CLOSE || seen != code)
		fail_msg("line %d: opcode %d code %d", line, opcode, seen);
	client_expect_end_at(c, line);
	buf_free(&got);
	client_close(c);
}
#define expect_close(c, code) expect_close_at(c, code, __LINE__)

static void expect_silence(struct client *c)
{
	struct buf got = {0};
	assert_int_equal(receive(c, &got, 120), -2);
	buf_free(&got);
}

/* Documents: an int32 length and filling. */
static struct slice document(unsigned n, char fill)
{
	static char bytes[4][200000];
	static int at;
	char *p = bytes[at = (at + 1) % 4];
	memset(p, fill, n);
	memcpy(p, &(uint32_t){n}, 4);
	return slice_make(p, n);
}

static void line(struct slice d)
{
	fake_line_bytes(d.p, d.n);
}

#define expect_payload(c, stream, document) expect_frame(c, stream, RSOCKET_PAYLOAD, RSOCKET_NEXT, document)

/* ---- tests --------------------------------------------------------------------------------------------------------------------------- */

static void lines_come_as_payloads(void **state)
{
	(void)state;
	struct slice a = document(27, 'a'), b = document(70000, 'b');
	line(a);
	struct client c = open_rsocket();
	send_request(&c, 1, 10);
	expect_payload(&c, 1, a);
	line(b);
	expect_payload(&c, 1, b);
	assert_string_equal(fake_sync.last_subject, "u1");
	assert_string_equal(fake_sync.last_client, "c1");
	assert_int_equal(fake_sync.last_encoding, ENCODING_BSON);
	/* After a CANCEL nothing more, but the connection is good for another. */
	send_cancel(&c, 1);
	wait_until(no_sessions);
	expect_silence(&c);
	send_request(&c, 3, 10);
	expect_payload(&c, 3, a);
	client_close(&c);
	wait_until(no_sessions);
}

static void documents_in_one_block_and_cut_blocks_become_frames(void **state)
{
	(void)state;
	/* One "line" of the fake holds two documents and a half, the next one the rest. */
	struct buf b = {0};
	buf_slice_append(&b, document(10, 'x'));
	buf_slice_append(&b, document(20, 'y'));
	struct slice z = document(3000, 'z');
	buf_append(&b, z.p, 1500);
	line(buf_slice(&b));
	line(slice_drop(z, 1500));
	struct client c = open_rsocket();
	send_request(&c, 1, 0x7fffffff);
	expect_payload(&c, 1, document(10, 'x'));
	expect_payload(&c, 1, document(20, 'y'));
	expect_payload(&c, 1, z);
	buf_free(&b);
	client_close(&c);
}

static void credits_hold_back_lines(void **state)
{
	(void)state;
	struct slice d[4] = {document(10, 'a'), document(11, 'b'), document(12, 'c'), document(13, 'd')};
	for (int i = 0; i < 4; i++)
		line(d[i]);
	struct client c = open_rsocket();
	send_request(&c, 1, 1);
	expect_payload(&c, 1, d[0]);
	expect_silence(&c);
	send_n(&c, 1, 2);
	expect_payload(&c, 1, d[1]);
	expect_payload(&c, 1, d[2]);
	expect_silence(&c);
	send_n(&c, 1, 0x7fffffff);
	expect_payload(&c, 1, d[3]);
	client_close(&c);
}

static void keepalives_are_echoed_and_pings_answered(void **state)
{
	(void)state;
	struct client c = open_rsocket();
	struct buf b = frame_of(0, RSOCKET_KEEPALIVE, RSOCKET_FOLLOWS), got = {0};
	buf_append(&b, "\0\0\0\0\0\0\0\5abc", 11);
	send_frame(&c, &b);
	expect_frame(&c, 0, RSOCKET_KEEPALIVE, 0, slice_make("\0\0\0\0\0\0\0\0abc", 11));
	b = frame_of(0, RSOCKET_KEEPALIVE, 0);
	buf_append(&b, "\0\0\0\0\0\0\0\0", 8);
	send_frame(&c, &b);
	expect_silence(&c);
	send_ws(&c, 0x89, "hello", 5);
	assert_int_equal(receive(&c, &got, WAIT_MS), WS_PONG);
	assert_true(slice_eq(buf_slice(&got), SLICE("hello")));
	send_ws(&c, 0x88,
	        "\x03\xe8"
	        "bye",
	        5);
	expect_close(&c, 1000);
	buf_free(&got);
}

static void silence_beyond_the_lifetime_closes(void **state)
{
	(void)state;
	struct client c = open_socket();
	send_setup_as(&c, 0, 1, JSON, JSON, SLICE(GOOD)); /* clamped to a second */
	int64_t began = clock_mono_ms();
	struct buf b = {0};
	for (int i = 0; i < 3; i++) {
		poll(NULL, 0, 500);
		b = frame_of(0, RSOCKET_KEEPALIVE, 0);
		buf_append(&b, "\0\0\0\0\0\0\0\0", 8);
		send_frame(&c, &b);
	}
	expect_close(&c, 0);
	int64_t took = clock_mono_ms() - began;
	assert_true(took >= 2400 && took < 4000);
}

static void refuse_setup(unsigned flags, const char *mime, struct slice metadata, uint32_t code, const char *text)
{
	struct client c = open_socket();
	send_setup_as(&c, flags, 90000, mime, JSON, metadata);
	send_request(&c, 1, 10);
	expect_error(&c, 0, code, text);
	expect_close(&c, 0);
	assert_int_equal(fake_sync.made, 0);
}

static void bad_setups_are_rejected(void **state)
{
	(void)state;
	refuse_setup(0, JSON, SLICE("{\"token\":\"Token abc\"}"), 3,
	             "[PSYNC_S2101] Token is not a well-formed JWT. Check the token format.");
	refuse_setup(0, JSON, SLICE("{\"token\":\"Token expired\"}"), 3, "[PSYNC_S2103] JWT has expired");
	refuse_setup(0, JSON, SLICE("{\"token\":\"\"}"), 3, "[PSYNC_S2106] No token provided");
	refuse_setup(0, JSON, SLICE("{\"token\":\"good-u1\"}"), 3, "[PSYNC_S2106] No valid token provided");
	refuse_setup(0, JSON, SLICE("{}"), 3, "[PSYNC_S2106] No token provided");
	refuse_setup(0, JSON, SLICE("{\"token\":5}"), 3, "[PSYNC_S2106] No token provided");
	refuse_setup(0, JSON, SLICE("nope"), 3, "[PSYNC_S2106] No token provided");
	refuse_setup(0, BSON, SLICE("{\"token\":\"Token good-u1\"}"), 3, "[PSYNC_S2106] No token provided");
	refuse_setup(0, JSON, (struct slice){0}, 3, "[PSYNC_S2101] No context meta data provided");
	refuse_setup(0, "text/plain", SLICE("x"), 3,
	             "[PSYNC_S2004] Unsupported Media Type\n  Expected JSON or BSON request, got text/plain");
	refuse_setup(RSOCKET_COMPLETE, JSON, SLICE(GOOD), 3, "Lease has to be disabled");
	struct client c = open_socket();
	struct buf b = frame_of(0, RSOCKET_SETUP, RSOCKET_FOLLOWS | RSOCKET_METADATA);
	buf_append(&b, "\0\1\0\0\0\0\x4e\x20\0\1\x5f\x90\0\2ab", 16);
	u(&b, 16, 1);
	buf_append(&b, JSON, 16);
	u(&b, 16, 1);
	buf_append(&b, JSON, 16);
	metadata_of(&b, SLICE(GOOD));
	send_frame(&c, &b);
	expect_error(&c, 0, 3, "No resume support");
	expect_close(&c, 0);
	c = open_socket();
	send_request(&c, 1, 10);
	expect_error(&c, 0, 2, "Unsupported setup");
	expect_close(&c, 0);
	c = open_socket();
	b = frame_of(0, RSOCKET_RESUME, 0);
	send_frame(&c, &b);
	expect_error(&c, 0, 4, "Resume is not enabled");
	expect_close(&c, 0);
	c = open_socket();
	send_ws(&c, 0x82, "abc", 3);
	expect_close(&c, 0);
	c = open_socket();
	send_ws(&c, 0x81, "abc", 3);
	expect_close(&c, WS_CODE_UNSUPPORTED);
}

static void bad_requests_leave_the_connection_usable(void **state)
{
	(void)state;
	struct slice d = document(10, 'a');
	line(d);
	struct client c = open_rsocket();
	send_request_to(&c, 1, 10, "/nope", "{}");
	expect_error(&c, 1, 0x201,
	             "[PSYNC_S2002] The path does not exist on this server\n  The path \"/nope\" does not exist on this server");
	send_request_to(&c, 3, 10, "/sync/stream", "{\"buckets\":[{\"name\":\"1\"}]}");
	expect_error(&c, 3, 0x201, "[PSYNC_S2001] Validation failed\n  [\"/buckets/0 must have required property 'after'\"]");
	send_request_to(&c, 5, 10, "/sync/stream", "nope");
	expect_error(&c, 5, 0x201, "[PSYNC_S2001] Validation failed");
	send_request_to(&c, 7, 10, "/sync/stream", "");
	expect_error(&c, 7, 0x201, "[PSYNC_S2001] Validation failed");
	struct buf b = frame_of(9, RSOCKET_REQUEST_STREAM, 0);
	u(&b, 10, 4);
	buf_append(&b, "{}", 2);
	send_frame(&c, &b);
	expect_error(&c, 9, 0x201, "[PSYNC_S2001] Validation failed\n  \"Metadata is not provided\"");
	b = frame_of(11, RSOCKET_REQUEST_STREAM, RSOCKET_METADATA);
	u(&b, 10, 4);
	metadata_of(&b, SLICE("{}"));
	send_frame(&c, &b);
	expect_error(&c, 11, 0x201, "[PSYNC_S2001] Validation failed");
	b = frame_of(13, RSOCKET_REQUEST_RESPONSE, 0);
	send_frame(&c, &b);
	expect_error(&c, 13, 0x202, "No available handler found");
	/* Unknown ids are ignored. */
	send_cancel(&c, 99);
	send_n(&c, 99, 1);
	b = frame_of(99, RSOCKET_PAYLOAD, RSOCKET_NEXT);
	send_frame(&c, &b);
	fake_sync.new_message = "words";
	fake_sync.new_code = "PSYNC_S2302";
	send_request(&c, 15, 10);
	expect_error(&c, 15, 0x201, "[PSYNC_S2302] No sync config available");
	fake_sync.new_code = NULL;
	send_request(&c, 17, 10);
	expect_payload(&c, 17, d);
	/* A failure of the running session. */
	fake_sync.fail_after = 1;
	fake_sync.step_message = "Too many buckets: 12 (limit of 10)";
	fake_sync.step_code = "PSYNC_S2305";
	line(d);
	expect_error(&c, 17, 0x201, "[PSYNC_S2001] Something went wrong\n  [PSYNC_S2305] Too many buckets: 12 (limit of 10)");
	fake_sync.step_code = NULL;
	/* A frame that has no place on a running stream. */
	send_request(&c, 19, 10);
	expect_payload(&c, 19, d);
	expect_payload(&c, 19, d);
	b = frame_of(19, RSOCKET_PAYLOAD, RSOCKET_NEXT);
	send_frame(&c, &b);
	expect_error(&c, 19, 0x203, "Unexpected frame type [10]");
	/* And one that has none on the connection. */
	b = frame_of(0, RSOCKET_LEASE, 0);
	send_frame(&c, &b);
	expect_error(&c, 0, 0x101, "Unexpected connection frame");
	expect_close(&c, 0);
	wait_until(no_sessions);
}

static void data_mime_is_checked_per_request(void **state)
{
	(void)state;
	struct client c = open_socket();
	send_setup_as(&c, 0, 90000, JSON, "text/plain", SLICE(GOOD));
	send_request(&c, 1, 10);
	expect_error(&c, 1, 0x201, "[PSYNC_S2004] Unsupported Media Type\n  Expected JSON or BSON request, got text/plain");
	client_close(&c);
}

static void requests_may_come_in_bson(void **state)
{
	(void)state;
	struct slice d = document(10, 'a');
	line(d);
	struct client c = open_socket();
	/* {"token":"Token good-u2"} */
	send_setup_as(&c, 0, 90000, BSON, BSON, slice_make("\x1e\0\0\0\x02token\0\x0e\0\0\0Token good-u2\0\0", 30));
	struct buf b = frame_of(1, RSOCKET_REQUEST_STREAM, RSOCKET_METADATA);
	u(&b, 10, 4);
	metadata_of(&b, slice_make("\x1c\0\0\0\x02path\0\x0d\0\0\0/sync/stream\0\0", 28));
	buf_append(&b,
	           "\x17\0\0\0\x02"
	           "client_id\0\x03\0\0\0b1\0\0",
	           23);
	send_frame(&c, &b);
	expect_payload(&c, 1, d);
	assert_string_equal(fake_sync.last_subject, "u2");
	assert_string_equal(fake_sync.last_client, "b1");
	client_close(&c);
}

static void requests_may_come_in_fragments_and_before_the_token_is_verified(void **state)
{
	(void)state;
	struct slice d = document(10, 'a');
	line(d);
	struct client c = open_rsocket();
	struct buf b = frame_of(1, RSOCKET_REQUEST_STREAM, RSOCKET_METADATA | RSOCKET_FOLLOWS);
	u(&b, 1, 4);
	metadata_of(&b, SLICE("{\"path\":\"/sync/stream\"}"));
	buf_append(&b, "{\"client", 8);
	send_frame(&c, &b);
	b = frame_of(1, RSOCKET_PAYLOAD, RSOCKET_NEXT | RSOCKET_FOLLOWS);
	buf_append(&b, "_id\":\"f", 7);
	send_frame(&c, &b);
	send_n(&c, 1, 1);
	b = frame_of(1, RSOCKET_PAYLOAD, RSOCKET_NEXT);
	buf_append(&b, "1\"}", 3);
	send_frame(&c, &b);
	expect_payload(&c, 1, d);
	assert_string_equal(fake_sync.last_client, "f1");
	/* Both credits count. */
	line(d);
	expect_payload(&c, 1, d);
	line(d);
	expect_silence(&c);
	client_close(&c);
}

static void several_streams_are_independent_up_to_four(void **state)
{
	(void)state;
	struct client c = open_rsocket();
	for (uint32_t id = 1; id <= 7; id += 2)
		send_request(&c, id, 10);
	send_request(&c, 7, 10); /* in use: ignored */
	send_request(&c, 9, 10);
	expect_error(&c, 9, 0x202, "[PSYNC_S2304] Too many streams on one connection");
	int64_t until = clock_mono_ms() + WAIT_MS;
	while (fake_sync.live < 4 && clock_mono_ms() < until)
		poll(NULL, 0, 2);
	assert_int_equal(fake_sync.live, 4);
	line(document(10, 'a'));
	struct buf got = {0};
	bool seen[10] = {0};
	for (int i = 0; i < 4; i++) {
		assert_int_equal(receive(&c, &got, WAIT_MS), WS_BINARY);
		seen[(unsigned char)got.p[3]] = true;
	}
	assert_true(seen[1] && seen[3] && seen[5] && seen[7]);
	buf_free(&got);
	client_close(&c);
	wait_until(no_sessions);
}

static void limits(void **state)
{
	(void)state;
	struct client a = open_rsocket(), b = open_rsocket();
	expect_error(&b, 0, 3, "[PSYNC_S2304] Maximum active concurrent connections limit has been reached");
	expect_close(&b, 0);
	/* A reassembled request has the limit of a body. */
	struct buf f = frame_of(1, RSOCKET_REQUEST_STREAM, RSOCKET_METADATA | RSOCKET_FOLLOWS);
	char filling[900];
	memset(filling, 'x', sizeof(filling));
	u(&f, 1, 4);
	metadata_of(&f, SLICE("{\"path\":\"/sync/stream\"}"));
	buf_append(&f, filling, sizeof(filling));
	send_frame(&a, &f);
	f = frame_of(1, RSOCKET_PAYLOAD, RSOCKET_NEXT | RSOCKET_FOLLOWS);
	buf_append(&f, filling, sizeof(filling));
	send_frame(&a, &f);
	expect_error(&a, 1, 0x201, "[PSYNC_S2001] Request body is too large");
	char *big = calloc(1, 100000);
	send_ws(&a, 0x82, big, 100000);
	free(big);
	expect_close(&a, WS_CODE_TOO_BIG);
	/* Its place is free again. */
	fake_line_bytes("\x05\0\0\0\0", 5);
	for (int i = 0;; i++) {
		struct client c = open_rsocket();
		struct buf got = {0};
		send_request_to(&c, 1, 1, "/sync/stream", "{}");
		assert_int_equal(receive(&c, &got, WAIT_MS), WS_BINARY);
		bool ok = got.p[4] == RSOCKET_PAYLOAD << 2;
		buf_free(&got);
		client_close(&c);
		if (ok)
			break;
		assert_true(i < 100);
		poll(NULL, 0, 10);
	}
}

static void expiry_without_credit_is_complete_all_the_same(void **state)
{
	(void)state;
	fake_auth.lifetime_s = 1;
	line(document(10, 'a'));
	struct client c = open_rsocket();
	send_request(&c, 1, 0);
	expect_frame(&c, 1, RSOCKET_PAYLOAD, RSOCKET_COMPLETE, SLICE(""));
	wait_until(no_sessions);
	client_close(&c);
}

/* The JavaScript SDK forgets lines that it has not looked at when COMPLETE comes. */
static void complete_keeps_a_distance_from_the_last_line(void **state)
{
	(void)state;
	struct slice d = document(10, 'a');
	fake_auth.lifetime_s = 0; /* the one line there is comes together with the end */
	line(d);
	struct client c = open_rsocket();
	send_request(&c, 1, 10);
	expect_payload(&c, 1, d);
	int64_t began = clock_mono_ms();
	expect_frame(&c, 1, RSOCKET_PAYLOAD, RSOCKET_COMPLETE, SLICE(""));
	assert_true(clock_mono_ms() - began >= 80);
	client_close(&c);
}

static void shutdown_completes_streams_and_closes_with_1001(void **state)
{
	(void)state;
	struct slice d = document(10, 'a');
	line(d);
	struct client a = open_rsocket(), idle = open_rsocket();
	send_request(&a, 1, 10);
	send_request(&a, 3, 10);
	struct buf got = {0};
	assert_int_equal(receive(&a, &got, WAIT_MS), WS_BINARY);
	assert_int_equal(receive(&a, &got, WAIT_MS), WS_BINARY);
	server_stop(server, 1000);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(receive(&a, &got, WAIT_MS), WS_BINARY);
		assert_int_equal(got.n, 6);
		assert_memory_equal(got.p + 4, "\x28\x40", 2);
	}
	expect_close(&a, 1001);
	expect_close(&idle, 1001);
	buf_free(&got);
}

static void a_client_that_only_asks_for_echoes_is_not_read_for_ever(void **state)
{
	(void)state;
	struct client c = open_rsocket();
	struct buf b = {0};
	/* 1,000 echoes of 4 KB that nobody reads: the server stops reading, so this send must block at some time. */
	struct timeval limit = {0, 300000};
	setsockopt(c.fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	int small = 4096;
	setsockopt(c.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	b = frame_of(0, RSOCKET_KEEPALIVE, RSOCKET_FOLLOWS);
	buf_append(&b, "\0\0\0\0\0\0\0\0", 8);
	for (int i = 0; i < 4096; i++)
		buf_putc(&b, 'k');
	struct buf message = {0};
	buf_putc(&message, (char)0x82);
	buf_putc(&message, (char)(0x80 | 126));
	u(&message, (uint32_t)b.n, 2);
	buf_append(&message, "\0\0\0\0", 4);
	buf_slice_append(&message, buf_slice(&b));
	size_t sent = 0;
	for (int i = 0; i < 20000; i++) {
		ssize_t n = send(c.fd, message.p, message.n, MSG_NOSIGNAL);
		if (n < 0)
			break;
		sent += (size_t)n;
	}
	assert_true(sent < 20000 * message.n);
	buf_free(&b);
	buf_free(&message);
	client_close(&c);
}

static void bad_handshakes_are_refused(void **state)
{
	(void)state;
	struct client c = exchange_text(
	        server, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\n"
	                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
	assert_non_null(strstr(client_text(&c), "HTTP/1.1 426 "));
	assert_non_null(strstr(client_text(&c), "Sec-WebSocket-Version: 13\r\n"));
	client_close(&c);
	c = exchange_text(
	        server,
	        "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n");
	assert_non_null(strstr(client_text(&c), "HTTP/1.1 400 "));
	client_close(&c);
	/* Another protocol than WebSocket is no upgrade. */
	c = exchange_text(server, "GET /probes/liveness HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n");
	assert_non_null(strstr(client_text(&c), "HTTP/1.1 200 "));
	client_close(&c);
}

static void clients_may_leave_at_any_moment(void **state)
{
	(void)state;
	line(document(10, 'a'));
	for (int i = 0; i < 60; i++) {
		struct client c = open_socket();
		if (i % 6 > 0)
			send_setup(&c);
		if (i % 6 > 1)
			send_request(&c, 1, 10);
		if (i % 6 > 2)
			send_cancel(&c, 1);
		if (i % 6 > 3)
			send_request(&c, 1, 10);
		if (i % 3)
			poll(NULL, 0, 1);
		client_close(&c);
	}
	wait_until(no_sessions);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(lines_come_as_payloads, start, stop),
	        cmocka_unit_test_setup_teardown(documents_in_one_block_and_cut_blocks_become_frames, start, stop),
	        cmocka_unit_test_setup_teardown(credits_hold_back_lines, start, stop),
	        cmocka_unit_test_setup_teardown(keepalives_are_echoed_and_pings_answered, start, stop),
	        cmocka_unit_test_setup_teardown(silence_beyond_the_lifetime_closes, start, stop),
	        cmocka_unit_test_setup_teardown(bad_setups_are_rejected, start, stop),
	        cmocka_unit_test_setup_teardown(bad_requests_leave_the_connection_usable, start, stop),
	        cmocka_unit_test_setup_teardown(data_mime_is_checked_per_request, start, stop),
	        cmocka_unit_test_setup_teardown(requests_may_come_in_bson, start, stop),
	        cmocka_unit_test_setup_teardown(requests_may_come_in_fragments_and_before_the_token_is_verified, start, stop),
	        cmocka_unit_test_setup_teardown(several_streams_are_independent_up_to_four, start, stop),
	        cmocka_unit_test_setup_teardown(limits, start_small, stop),
	        cmocka_unit_test_setup_teardown(expiry_without_credit_is_complete_all_the_same, start, stop),
	        cmocka_unit_test_setup_teardown(complete_keeps_a_distance_from_the_last_line, start, stop),
	        cmocka_unit_test_setup_teardown(shutdown_completes_streams_and_closes_with_1001, start, stop),
	        cmocka_unit_test_setup_teardown(a_client_that_only_asks_for_echoes_is_not_read_for_ever, start_small, stop),
	        cmocka_unit_test_setup_teardown(bad_handshakes_are_refused, start, stop),
	        cmocka_unit_test_setup_teardown(clients_may_leave_at_any_moment, start, stop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
