/*
 * request_reason.h: why a client waits for its checkpoint request, as one plain sentence (`syncline requests`, the admin route). A pure
 * function.
 */
#ifndef SYNCLINE_SERVER_REQUEST_REASON_H
#define SYNCLINE_SERVER_REQUEST_REASON_H

#include "base/buf.h"
#include "storage/request_list.h"

/* One open stream of the user. */
struct request_stream {
	uint64_t write_checkpoint; /* of the last line that was made */
	bool complete;             /* with its checkpoint_complete */
	size_t unsent_bytes;       /* made, and not taken by the client */
	bool no_credit;            /* WebSocket: the client has not asked for more lines */
};

struct request_facts {
	bool active;            /* a sync config is served */
	bool custom;            /* write checkpoints come with the data */
	struct position served; /* of the newest checkpoint */
	enum { SERVICE_ABSENT, SERVICE_SILENT /* it uses the store, and cannot be asked */, SERVICE_KNOWN } service;
	const char *source_error; /* ""; without a service: the last one that it stored */
	/* What follows is known only of a SERVICE_KNOWN. */
	bool has_source, connected, reading;
	uint64_t received; /* LSN that the stream has reached */
	double lag_s;
	const struct request_stream *streams;
	size_t stream_count;
};

/* WAL between what is served and a head; false: they do not compare (another source), or the head is passed. */
bool request_distance(const struct request_facts *f, const struct pending_request *p, uint64_t *bytes);

/* A word for programs, which stays the same for ever, and the sentence (appended). The words: none, custom, no_config, not_running,
 * not_known, no_source, source_down, head_unknown, held, lag, no_stream, sending, unread, sent. */
const char *request_reason(const struct request_facts *f, const struct user_requests *u, struct buf *text);

#endif
