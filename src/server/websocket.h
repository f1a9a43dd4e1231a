/*
 * websocket.h: the server's side of RFC 6455: handshake key, a decoder of client frames, frame heads.
 *
 * Pure: bytes in, messages out; no sockets. The decoder holds memory only while a message is incomplete.
 */
#ifndef SYNCLINE_SERVER_WEBSOCKET_H
#define SYNCLINE_SERVER_WEBSOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

enum ws_opcode { WS_CONTINUATION = 0, WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };

/* Codes of close frames. */
#define WS_CODE_GOING_AWAY 1001
#define WS_CODE_PROTOCOL 1002
#define WS_CODE_UNSUPPORTED 1003
#define WS_CODE_BAD_TEXT 1007
#define WS_CODE_TOO_BIG 1009

#define WS_ACCEPT_SIZE 29
/* Sec-WebSocket-Accept for a key; false: the key is not 16 bytes in base64. */
bool ws_accept(struct slice key, char out[WS_ACCEPT_SIZE]);

#define WS_MAX_HEAD 10
/* Head of an unmasked, final frame; answers its length. */
size_t ws_frame_head(unsigned char out[WS_MAX_HEAD], enum ws_opcode opcode, uint64_t payload);

struct ws_decoder {
	size_t max_message; /* bytes of a whole message */
	unsigned char head[14];
	size_t head_n, head_need;
	bool in_payload, final;
	enum ws_opcode opcode;         /* of the frame in hand */
	enum ws_opcode message_opcode; /* of the fragmented message; 0: none */
	unsigned char mask[4];
	uint64_t left, at; /* payload bytes to come, and how many have come */
	struct buf message;
	unsigned char control[125];
	size_t control_n;
};

enum ws_result {
	WS_MORE,
	WS_MESSAGE, /* *payload is a whole text or binary message (*opcode), valid until the next call */
	WS_CONTROL, /* *payload is that of a close, ping or pong */
	WS_FAULT,   /* *code is what to close with */
};

void ws_decoder_init(struct ws_decoder *d, size_t max_message);
void ws_decoder_free(struct ws_decoder *d);
/* Takes from *bytes what it needs, up to the end of one message. */
enum ws_result ws_decode(struct ws_decoder *d, struct slice *bytes, enum ws_opcode *opcode, struct slice *payload, int *code);

#endif
