/*
 * websocket.c (fuzz): client bytes through the WebSocket decoder, and its messages through the RSocket parser and the BSON reader: no
 * crash, memory bounded by what came, and the same messages whichever way the bytes were cut.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "server/bson_json.h"
#include "server/rsocket.h"
#include "server/websocket.h"

#define LIMIT 10000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void note(struct buf *log, enum ws_opcode opcode, struct slice payload)
{
	struct rsocket_frame f;
	struct buf json = {0};
	buf_printf(log, "%d %zu:", (int)opcode, payload.n);
	buf_slice_append(log, payload);
	if (rsocket_parse(payload, &f)) {
		assert(f.data.n <= payload.n && f.metadata.n <= payload.n);
		buf_printf(log, "[%u %u %u]", f.stream, f.type, f.flags);
		if (bson_to_json(f.data, &json) || bson_to_json(f.metadata, &json))
			buf_slice_append(log, buf_slice(&json));
		else
			buf_clear(&json);
	}
	if (bson_to_json(payload, &json))
		buf_putc(log, 'b');
	buf_free(&json);
}

static void read_all(struct buf *log, struct slice bytes, size_t step)
{
	struct ws_decoder d;
	ws_decoder_init(&d, LIMIT);
	bool failed = false;
	while (bytes.n && !failed) {
		struct slice piece = slice_make(bytes.p, step < bytes.n ? step : bytes.n), payload;
		bytes = slice_drop(bytes, piece.n);
		while (piece.n && !failed) {
			enum ws_opcode opcode;
			int code;
			enum ws_result result = ws_decode(&d, &piece, &opcode, &payload, &code);
			assert(d.message.n <= LIMIT);
			if (result == WS_MESSAGE || result == WS_CONTROL)
				note(log, opcode, payload);
			failed = result == WS_FAULT;
			if (failed)
				buf_printf(log, "fault %d", code);
		}
	}
	ws_decoder_free(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	struct buf whole = {0}, cut = {0};
	struct slice bytes = slice_make(data + 1, size - 1);
	read_all(&whole, bytes, bytes.n);
	read_all(&cut, bytes, data[0] % 64 + 1u);
	assert(slice_eq(buf_slice(&whole), buf_slice(&cut)));
	buf_free(&whole);
	buf_free(&cut);
	return 0;
}
