/* The WebSocket codec, alone and against an independent implementation (libwslay, when it is installed), and the RSocket codec. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wslay/wslay.h>

#include <cmocka.h>

#include "server/bson_json.h"
#include "server/rsocket.h"
#include "server/websocket.h"

/* ---- handshake --------------------------------------------------------------------------------------------------------------------- */

static void the_rfc_example_key(void **state)
{
	(void)state;
	char out[WS_ACCEPT_SIZE];
	assert_true(ws_accept(SLICE("dGhlIHNhbXBsZSBub25jZQ=="), out));
	assert_string_equal(out, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
	assert_false(ws_accept(SLICE("dGhlIHNhbXBsZSBub25jZQ"), out));
	assert_false(ws_accept(SLICE(""), out));
	assert_false(ws_accept(SLICE("!!!!IHNhbXBsZSBub25jZQ=="), out));
}

/* ---- decoder ----------------------------------------------------------------------------------------------------------------------- */

static void mask_frame(struct buf *b, int first, size_t claimed, int length_form, const char *payload, size_t n)
{
	static const unsigned char mask[4] = {0x37, 0xfa, 0x21, 0x3d};
	buf_putc(b, (char)first);
	size_t bytes = length_form == 126 ? 2 : length_form == 127 ? 8 : 0;
	buf_putc(b, (char)(0x80 | (bytes ? (unsigned)length_form : (unsigned)claimed)));
	for (size_t i = 0; i < bytes; i++)
		buf_putc(b, (char)((uint64_t)claimed >> (8 * (bytes - 1 - i))));
	buf_append(b, mask, 4);
	for (size_t i = 0; i < n; i++)
		buf_putc(b, (char)(payload[i] ^ mask[i & 3]));
}

static void frame(struct buf *b, int first, const char *payload, size_t n)
{
	mask_frame(b, first, n, n < 126 ? 0 : n < 65536 ? 126 : 127, payload, n);
}

/* Feeds in pieces of `step` bytes up to the first result that is not WS_MORE. */
static enum ws_result feed(struct ws_decoder *d, struct slice all, size_t step, struct buf *got, enum ws_opcode *opcode,
                           int *code)
{
	while (all.n) {
		struct slice piece = slice_make(all.p, step < all.n ? step : all.n), payload;
		all = slice_drop(all, piece.n);
		while (piece.n) {
			enum ws_result r = ws_decode(d, &piece, opcode, &payload, code);
			if (r == WS_MESSAGE || r == WS_CONTROL)
				buf_slice_append(got, payload);
			if (r != WS_MORE)
				return r;
		}
	}
	return WS_MORE;
}

static void masked_text_of_the_rfc(void **state)
{
	(void)state;
	struct ws_decoder d;
	struct slice bytes = SLICE("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), payload;
	enum ws_opcode opcode;
	int code;
	ws_decoder_init(&d, 1000);
	assert_int_equal(ws_decode(&d, &bytes, &opcode, &payload, &code), WS_MESSAGE);
	assert_int_equal(opcode, WS_TEXT);
	assert_true(slice_eq(payload, SLICE("Hello")));
	ws_decoder_free(&d);
}

static void messages_of_every_length_in_every_cut(void **state)
{
	(void)state;
	static const size_t lengths[] = {0, 1, 2, 125, 126, 127, 65535, 65536, 100000};
	static const size_t steps[] = {1, 2, 3, 7, 1000, 1000000};
	char *payload = malloc(100000);
	for (size_t i = 0; i < 100000; i++)
		payload[i] = (char)(i * 31);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++)
		for (size_t k = 0; k < sizeof(steps) / sizeof(*steps); k++) {
			struct ws_decoder d;
			struct buf in = {0}, got = {0};
			enum ws_opcode opcode;
			int code;
			ws_decoder_init(&d, 100000);
			frame(&in, 0x82, payload, lengths[i]);
			assert_int_equal(feed(&d, buf_slice(&in), steps[k], &got, &opcode, &code), WS_MESSAGE);
			assert_int_equal(opcode, WS_BINARY);
			assert_int_equal(got.n, lengths[i]);
			if (got.n)
				assert_memory_equal(got.p, payload, got.n);
			ws_decoder_free(&d);
			buf_free(&in);
			buf_free(&got);
		}
	free(payload);
}

static void fragments_with_a_ping_between(void **state)
{
	(void)state;
	struct ws_decoder d;
	struct buf in = {0};
	frame(&in, 0x02, "abc", 3);
	frame(&in, 0x89, "p", 1);
	frame(&in, 0x00, "", 0);
	frame(&in, 0x80, "def", 3);
	struct slice rest = buf_slice(&in), payload;
	enum ws_opcode opcode;
	int code;
	ws_decoder_init(&d, 6);
	assert_int_equal(ws_decode(&d, &rest, &opcode, &payload, &code), WS_CONTROL);
	assert_int_equal(opcode, WS_PING);
	assert_true(slice_eq(payload, SLICE("p")));
	assert_int_equal(ws_decode(&d, &rest, &opcode, &payload, &code), WS_MESSAGE);
	assert_int_equal(opcode, WS_BINARY);
	assert_true(slice_eq(payload, SLICE("abcdef")));
	assert_int_equal(rest.n, 0);
	ws_decoder_free(&d);
	buf_free(&in);
}

static void expect_fault(struct buf *in, int want)
{
	struct ws_decoder d;
	struct buf got = {0};
	enum ws_opcode opcode;
	int code = 0;
	ws_decoder_init(&d, 100);
	if (feed(&d, buf_slice(in), 3, &got, &opcode, &code) != WS_FAULT || code != want)
		fail_msg("code %d instead of %d", code, want);
	ws_decoder_free(&d);
	buf_free(&got);
	buf_clear(in);
}

static void broken_frames_are_faults(void **state)
{
	(void)state;
	struct buf b = {0};
	char big[200] = {0};
	buf_append(&b, "\x82\x01x", 3); /* unmasked */
	expect_fault(&b, WS_CODE_PROTOCOL);
	frame(&b, 0xc2, "a", 1); /* reserved bit */
	expect_fault(&b, WS_CODE_PROTOCOL);
	frame(&b, 0x83, "a", 1); /* reserved opcode */
	expect_fault(&b, WS_CODE_PROTOCOL);
	frame(&b, 0x80, "a", 1); /* continuation of nothing */
	expect_fault(&b, WS_CODE_PROTOCOL);
	frame(&b, 0x09, "a", 1); /* fragmented control */
	expect_fault(&b, WS_CODE_PROTOCOL);
	frame(&b, 0x89, big, 126); /* long control */
	expect_fault(&b, WS_CODE_PROTOCOL);
	frame(&b, 0x88, "a", 1); /* half a close code */
	expect_fault(&b, WS_CODE_PROTOCOL);
	frame(&b, 0x88, "\x03\xed", 2); /* 1005 on the wire */
	expect_fault(&b, WS_CODE_PROTOCOL);
	mask_frame(&b, 0x82, 5, 126, "hello", 5); /* not the shortest length */
	expect_fault(&b, WS_CODE_PROTOCOL);
	mask_frame(&b, 0x82, 5, 127, "hello", 5);
	expect_fault(&b, WS_CODE_PROTOCOL);
	mask_frame(&b, 0x82, (size_t)1 << 63, 127, "", 0);
	expect_fault(&b, WS_CODE_PROTOCOL);
	frame(&b, 0x82, big, 101);
	expect_fault(&b, WS_CODE_TOO_BIG);
	mask_frame(&b, 0x82, (size_t)1 << 40, 127, "", 0);
	expect_fault(&b, WS_CODE_TOO_BIG);
	frame(&b, 0x02, big, 60);
	frame(&b, 0x80, big, 60);
	expect_fault(&b, WS_CODE_TOO_BIG);
	frame(&b, 0x02, "a", 1); /* a new message inside a fragmented one */
	frame(&b, 0x82, "b", 1);
	expect_fault(&b, WS_CODE_PROTOCOL);
	buf_free(&b);
}

/* ---- the independent peer ------------------------------------------------------------------------------------------------------------ */

struct peer {
	wslay_event_context_ptr context;
	struct buf to_us;     /* what it wrote */
	struct slice from_us; /* what it has yet to read */
	struct buf received;
	size_t messages;
	uint8_t last_opcode;
};

static ssize_t peer_send(wslay_event_context_ptr c, const uint8_t *p, size_t n, int flags, void *data)
{
	(void)c, (void)flags;
	buf_append(&((struct peer *)data)->to_us, p, n);
	return (ssize_t)n;
}

static void (*set_error)(wslay_event_context_ptr, int);
static void set_error_by_name(wslay_event_context_ptr c)
{
	set_error(c, WSLAY_ERR_WOULDBLOCK);
}

static ssize_t peer_receive(wslay_event_context_ptr c, uint8_t *p, size_t n, int flags, void *data)
{
	(void)flags;
	struct peer *peer = data;
	if (peer->from_us.n == 0) {
		set_error_by_name(c);
		return -1;
	}
	if (n > peer->from_us.n)
		n = peer->from_us.n;
	memcpy(p, peer->from_us.p, n);
	peer->from_us = slice_drop(peer->from_us, n);
	return (ssize_t)n;
}

static int peer_mask(wslay_event_context_ptr c, uint8_t *p, size_t n, void *data)
{
	(void)c, (void)data;
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)rand();
	return 0;
}

static void peer_message(wslay_event_context_ptr c, const struct wslay_event_on_msg_recv_arg *arg, void *data)
{
	(void)c;
	struct peer *peer = data;
	buf_append(&peer->received, arg->msg, arg->msg_length);
	peer->last_opcode = arg->opcode;
	peer->messages++;
}

#define SYMBOL(name) __typeof__(&name) call_##name = (__typeof__(&name))dlsym(library, #name)

static void an_independent_client_agrees(void **state)
{
	(void)state;
	void *library = dlopen("libwslay.so.1", RTLD_NOW);
	if (!library)
		library = dlopen("libwslay.so", RTLD_NOW);
	if (!library)
		skip();
	SYMBOL(wslay_event_context_client_init);
	SYMBOL(wslay_event_context_free);
	SYMBOL(wslay_event_queue_msg);
	SYMBOL(wslay_event_send);
	SYMBOL(wslay_event_recv);
	set_error = (void (*)(wslay_event_context_ptr, int))dlsym(library, "wslay_event_set_error");
	const struct wslay_event_callbacks callbacks = {
	        .recv_callback = peer_receive,
	        .send_callback = peer_send,
	        .genmask_callback = peer_mask,
	        .on_msg_recv_callback = peer_message,
	};
	static const size_t lengths[] = {0, 1, 125, 126, 65535, 65536, 200000};
	unsigned char *payload = malloc(200000);
	for (size_t i = 0; i < 200000; i++)
		payload[i] = (unsigned char)(i * 7);
	struct peer peer = {0};
	assert_int_equal(call_wslay_event_context_client_init(&peer.context, &callbacks, &peer), 0);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		/* Its frames are read by ours. */
		struct wslay_event_msg message = {.opcode = WSLAY_BINARY_FRAME, .msg = payload, .msg_length = lengths[i]};
		assert_int_equal(call_wslay_event_queue_msg(peer.context, &message), 0);
		buf_clear(&peer.to_us);
		assert_int_equal(call_wslay_event_send(peer.context), 0);
		struct ws_decoder d;
		struct buf got = {0};
		enum ws_opcode opcode;
		int code;
		ws_decoder_init(&d, 300000);
		assert_int_equal(feed(&d, buf_slice(&peer.to_us), 4096, &got, &opcode, &code), WS_MESSAGE);
		assert_int_equal(got.n, lengths[i]);
		if (got.n)
			assert_memory_equal(got.p, payload, got.n);
		ws_decoder_free(&d);
		/* And ours by it. */
		unsigned char head[WS_MAX_HEAD];
		buf_clear(&got);
		buf_append(&got, head, ws_frame_head(head, WS_BINARY, lengths[i]));
		buf_append(&got, payload, lengths[i]);
		buf_clear(&peer.received);
		peer.from_us = buf_slice(&got);
		size_t before = peer.messages;
		assert_int_equal(call_wslay_event_recv(peer.context), 0);
		assert_int_equal(peer.messages, before + 1);
		assert_int_equal(peer.last_opcode, WSLAY_BINARY_FRAME);
		assert_int_equal(peer.received.n, lengths[i]);
		if (lengths[i])
			assert_memory_equal(peer.received.p, payload, lengths[i]);
		buf_free(&got);
	}
	call_wslay_event_context_free(peer.context);
	buf_free(&peer.to_us);
	buf_free(&peer.received);
	free(payload);
	dlclose(library);
}

/* ---- RSocket ------------------------------------------------------------------------------------------------------------------------ */

static struct buf from_hex(const char *text)
{
	struct buf b = {0};
	for (const char *p = text; *p; p++) {
		if (*p == ' ')
			continue;
		char two[3] = {p[0], p[1], 0};
		buf_putc(&b, (char)strtoul(two, NULL, 16));
		p++;
	}
	return b;
}

static void frames_of_the_recordings_parse(void **state)
{
	(void)state;
	struct rsocket_frame f;
	struct buf b = from_hex("0000000005000001000000004e2000015f90106170706c69636174696f6e2f6a736f6e106170706c69636174696f6e2f"
	                        "6a736f6e0000347b22746f6b65"
	                        "6e223a22546f6b656e20616263222c22757365725f6167656e74223a22746573742d636c69656e742f312e30227d");
	assert_true(rsocket_parse(buf_slice(&b), &f));
	assert_int_equal(f.type, RSOCKET_SETUP);
	assert_int_equal(f.flags, RSOCKET_METADATA);
	assert_int_equal(f.lifetime_ms, 90000);
	assert_true(slice_eq(f.metadata_mime, SLICE("application/json")));
	assert_true(slice_eq(f.data_mime, SLICE("application/json")));
	assert_true(slice_eq(f.metadata, SLICE("{\"token\":\"Token abc\",\"user_agent\":\"test-client/1.0\"}")));
	assert_int_equal(f.data.n, 0);
	for (size_t n = 0; n < b.n; n++) {
		struct rsocket_frame cut;
		if (rsocket_parse(slice_make(b.p, n), &cut))
			fail_msg("taken at %zu bytes", n);
	}
	buf_free(&b);
	b = from_hex("00000001 1900 0000000a 000017 7b2270617468223a222f73796e632f73747265616d227d 7b7d");
	assert_true(rsocket_parse(buf_slice(&b), &f));
	assert_int_equal(f.stream, 1);
	assert_int_equal(f.type, RSOCKET_REQUEST_STREAM);
	assert_int_equal(f.n, 10);
	assert_true(slice_eq(f.metadata, SLICE("{\"path\":\"/sync/stream\"}")));
	assert_true(slice_eq(f.data, SLICE("{}")));
	buf_free(&b);
	b = from_hex("00000001 2000 00000001");
	assert_true(rsocket_parse(buf_slice(&b), &f));
	assert_int_equal(f.type, RSOCKET_REQUEST_N);
	assert_int_equal(f.n, 1);
	buf_free(&b);
	b = from_hex("00000001 2400");
	assert_true(rsocket_parse(buf_slice(&b), &f));
	assert_int_equal(f.type, RSOCKET_CANCEL);
	buf_free(&b);
	b = from_hex("00000000 0c80 0000000000000000 616263");
	assert_true(rsocket_parse(buf_slice(&b), &f));
	assert_int_equal(f.type, RSOCKET_KEEPALIVE);
	assert_int_equal(f.flags, RSOCKET_FOLLOWS);
	assert_true(slice_eq(f.data, SLICE("abc")));
	buf_free(&b);
	b = from_hex("80000001 2400");
	assert_false(rsocket_parse(buf_slice(&b), &f));
	buf_free(&b);
}

static void frames_are_built_as_recorded(void **state)
{
	(void)state;
	struct buf b = {0}, want;
	rsocket_keepalive_answer(&b, SLICE("abc"));
	want = from_hex("000000000c000000000000000000616263");
	assert_true(slice_eq(buf_slice(&b), buf_slice(&want)));
	buf_free(&want);
	buf_clear(&b);
	rsocket_error(&b, 0, RSOCKET_REJECTED_SETUP, SLICE("[PSYNC_S2103] JWT has expired"));
	want = from_hex("000000002c00000000035b5053594e435f53323130335d204a5754206861732065787069726564");
	assert_true(slice_eq(buf_slice(&b), buf_slice(&want)));
	buf_free(&want);
	buf_clear(&b);
	rsocket_error(&b, 9, RSOCKET_REJECTED, SLICE("No available handler found"));
	want = from_hex("000000092c00000002024e6f20617661696c61626c652068616e646c657220666f756e64");
	assert_true(slice_eq(buf_slice(&b), buf_slice(&want)));
	buf_free(&want);
	buf_clear(&b);
	rsocket_complete(&b, 1);
	want = from_hex("000000012840");
	assert_true(slice_eq(buf_slice(&b), buf_slice(&want)));
	buf_free(&want);
	unsigned char head[RSOCKET_HEAD];
	rsocket_head(head, 1, RSOCKET_PAYLOAD, RSOCKET_NEXT);
	assert_memory_equal(head, "\0\0\0\x01\x28\x20", 6);
	buf_free(&b);
}

/* ---- BSON requests -------------------------------------------------------------------------------------------------------------------- */

static void bson_becomes_json(void **state)
{
	(void)state;
	static const struct {
		const char *hex, *json;
	} table[] = {
	        {"0500000000", "{}"},
	        {"1b000000 10 746f6b656e5f657870697265735f696e00 00000000 00", "{\"token_expires_in\":0}"},
	        {"0c000000 10 6100 ffffffff 00", "{\"a\":-1}"},
	        {"10000000 12 6100 ffffffffffffff7f 00", "{\"a\":9223372036854775807}"},
	        {"10000000 01 6100 000000000000f83f 00", "{\"a\":1.5}"},
	        {"10000000 01 6100 000000000000f07f 00", "{\"a\":null}"},
	        {"09000000 08 6100 01 00", "{\"a\":true}"},
	        {"08000000 0a 6100 00", "{\"a\":null}"},
	        {"08000000 06 6100 00", "{}"},
	        {"0f000000 02 6100 03000000 6222 00 00", "{\"a\":\"b\\\"\"}"},
	        {"14000000 04 6100 0c000000 10 3000 07000000 00 00", "{\"a\":[7]}"},
	        {"14000000 03 6100 0c000000 10 6200 07000000 00 00", "{\"a\":{\"b\":7}}"},
	};
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		struct buf b = from_hex(table[i].hex), out = {0};
		if (!bson_to_json(buf_slice(&b), &out) || !slice_eq(buf_slice(&out), slice_cstr(table[i].json)))
			fail_msg("%s: %.*s", table[i].json, (int)out.n, out.p);
		/* Cut anywhere it is no document. */
		for (size_t n = 0; n < b.n; n++) {
			buf_clear(&out);
			assert_false(bson_to_json(slice_make(b.p, n), &out));
		}
		buf_free(&b);
		buf_free(&out);
	}
	/* Depth has a bound. */
	struct buf deep = from_hex("0500000000"), out = {0};
	for (int i = 0; i < 40; i++) {
		struct buf outer = {0};
		uint32_t n = (uint32_t)deep.n + 8;
		buf_append(&outer, &n, 4);
		buf_append(&outer,
		           "\x03"
		           "a",
		           3);
		buf_slice_append(&outer, buf_slice(&deep));
		buf_putc(&outer, '\0');
		buf_free(&deep);
		deep = outer;
	}
	assert_false(bson_to_json(buf_slice(&deep), &out));
	buf_free(&deep);
	buf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_rfc_example_key),
	        cmocka_unit_test(masked_text_of_the_rfc),
	        cmocka_unit_test(messages_of_every_length_in_every_cut),
	        cmocka_unit_test(fragments_with_a_ping_between),
	        cmocka_unit_test(broken_frames_are_faults),
	        cmocka_unit_test(an_independent_client_agrees),
	        cmocka_unit_test(frames_of_the_recordings_parse),
	        cmocka_unit_test(frames_are_built_as_recorded),
	        cmocka_unit_test(bson_becomes_json),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
