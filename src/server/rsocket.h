/*
 * rsocket.h: frames of RSocket 1.0 as WebSocket messages carry them: one frame a message, without the length prefix (sync-protocol 9).
 * Pure; slices point into the message.
 */
#ifndef SYNCLINE_SERVER_RSOCKET_H
#define SYNCLINE_SERVER_RSOCKET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

enum rsocket_type {
	RSOCKET_SETUP = 1,
	RSOCKET_LEASE = 2,
	RSOCKET_KEEPALIVE = 3,
	RSOCKET_REQUEST_RESPONSE = 4,
	RSOCKET_REQUEST_FNF = 5,
	RSOCKET_REQUEST_STREAM = 6,
	RSOCKET_REQUEST_CHANNEL = 7,
	RSOCKET_REQUEST_N = 8,
	RSOCKET_CANCEL = 9,
	RSOCKET_PAYLOAD = 10,
	RSOCKET_ERROR = 11,
	RSOCKET_METADATA_PUSH = 12,
	RSOCKET_RESUME = 13,
	RSOCKET_EXT = 63,
};

#define RSOCKET_IGNORE 0x200
#define RSOCKET_METADATA 0x100
#define RSOCKET_FOLLOWS 0x80  /* on KEEPALIVE: respond; on SETUP: resume */
#define RSOCKET_COMPLETE 0x40 /* on SETUP: lease */
#define RSOCKET_NEXT 0x20

enum rsocket_error {
	RSOCKET_UNSUPPORTED_SETUP = 0x2,
	RSOCKET_REJECTED_SETUP = 0x3,
	RSOCKET_REJECTED_RESUME = 0x4,
	RSOCKET_CONNECTION_ERROR = 0x101,
	RSOCKET_APPLICATION_ERROR = 0x201,
	RSOCKET_REJECTED = 0x202,
	RSOCKET_CANCELED = 0x203,
};

struct rsocket_frame {
	uint32_t stream;
	unsigned type, flags;
	uint32_t n;                            /* credits: REQUEST_STREAM, REQUEST_CHANNEL, REQUEST_N */
	uint32_t lifetime_ms;                  /* SETUP */
	struct slice metadata_mime, data_mime; /* SETUP */
	struct slice metadata;                 /* p == NULL: none */
	struct slice data;
};

/* False: too short for what it says it is. */
bool rsocket_parse(struct slice message, struct rsocket_frame *out);

#define RSOCKET_HEAD 6
void rsocket_head(unsigned char out[RSOCKET_HEAD], uint32_t stream, enum rsocket_type type, unsigned flags);
/* Whole frames, appended. */
void rsocket_error(struct buf *out, uint32_t stream, enum rsocket_error code, struct slice text);
void rsocket_keepalive_answer(struct buf *out, struct slice data);
void rsocket_complete(struct buf *out, uint32_t stream);

#endif
