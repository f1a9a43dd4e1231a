/*
 * ws_internal.h: what the files of a WebSocket connection share: ws_connection.c (frames), ws_setup.c (SETUP and its token),
 * ws_stream.c (requests and their lines).
 */
#ifndef SYNCLINE_SERVER_WS_INTERNAL_H
#define SYNCLINE_SERVER_WS_INTERNAL_H

#include "auth/auth.h"
#include "base/arena.h"
#include "base/error.h"
#include "server/net_thread.h"
#include "server/request_log.h"
#include "server/rsocket.h"
#include "server/stream.h"
#include "server/timer_wheel.h"
#include "server/websocket.h"
#include "server/worker_pool.h"

#define WS_MAX_STREAMS 4
#define WS_MAX_METADATA (16 * 1024) /* as the head of an HTTP request */

enum ws_mime { MIME_OTHER, MIME_JSON, MIME_BSON };

enum ws_phase {
	WS_BEFORE_SETUP,
	WS_VERIFYING, /* the token is with a worker; requests wait */
	WS_OPEN,
	WS_ENDED, /* what still comes in is swallowed */
};

struct ws_connection {
	struct connection *connection;
	struct ws_decoder decoder;
	enum ws_phase phase;
	bool counted; /* in server->socket_count */
	bool over_limit;
	bool paused; /* not read while the client does not take what is sent */
	enum ws_mime metadata_mime, data_mime;
	struct slice data_mime_text; /* in the arena */
	int64_t lifetime_ms;
	struct timer_entry lifetime;
	struct arena arena; /* what the SETUP leaves */
	struct verified_token token;
	struct slice user_agent;
	struct ws_job *verifying;
	struct ws_stream *streams;
	size_t stream_count;
};

/* One request, from its first fragment to its last line. */
struct ws_stream {
	struct ws_stream *next;
	struct ws_connection *ws;
	uint32_t id;
	bool assembling; /* more fragments follow */
	bool has_metadata;
	struct buf metadata, data;   /* the request; freed once it is handed to a worker */
	size_t credits;              /* until the stream is there */
	struct ws_job *opening;      /* with a worker */
	struct stream *stream;       /* NULL before and after */
	uint64_t document_left;      /* bytes of the document in hand, when blocks cut it */
	int64_t written_ms;          /* last line; monotonic */
	struct timer_entry complete; /* set: over, but for the COMPLETE */
};

/* Work for a worker on behalf of a connection that may be gone when it comes home. */
struct ws_job {
	struct net_item item;
	struct task task;
	struct server *server;
	struct net_thread *net;
	struct ws_connection *ws; /* net thread; NULL: gone */
	struct ws_stream *target; /* net thread; NULL: cancelled (or the job is the SETUP's) */
	struct arena arena;
	struct slice token_text, user_agent;
	char id[REQUEST_ID_SIZE]; /* of the request, for the log */
	struct verified_token token;
	struct buf data; /* request body */
	enum ws_mime data_mime;
	size_t credits;
	struct stream *stream; /* result of opening */
	struct error err;
	struct buf error_text; /* set: the request is refused with it */
};

/* ---- ws_connection.c ---- */
/* One RSocket frame as a binary message. */
void ws_send_frame(struct ws_connection *w, struct slice frame);
void ws_send_error(struct ws_connection *w, uint32_t stream, enum rsocket_error code, struct slice text);
/* An RSocket error on stream 0, then the close frame without a code, then the end. */
void ws_refuse(struct ws_connection *w, enum rsocket_error code, struct slice text);
/* Close frame (code 0: none in it), then the end of the connection. */
void ws_close(struct ws_connection *w, int code);
struct ws_job *ws_job_new(struct ws_connection *w);
void ws_job_free(struct ws_job *j);
void ws_job_start(struct ws_job *j, struct worker_pool *pool, void (*run)(struct task *), void (*home)(struct net_item *));
/* On the net thread, first thing when a job is home. */
void ws_job_home(struct ws_job *j);
/* Text of a mime type, or of a request in it, as JSON. False: it is not. */
bool ws_to_json(enum ws_mime mime, struct slice bytes, struct buf *out);
void ws_unsupported_mime(struct buf *out, struct slice got);

static inline struct ws_job *ws_job_of_task(struct task *t)
{
	return (struct ws_job *)((char *)t - offsetof(struct ws_job, task));
}

/* ---- ws_setup.c ---- */
void ws_setup(struct ws_connection *w, const struct rsocket_frame *f);

/* ---- ws_stream.c ---- */
void ws_stream_frame(struct ws_connection *w, const struct rsocket_frame *f);
/* The token is good: starts what has waited. */
void ws_streams_start(struct ws_connection *w);
/* Lets go of all. */
void ws_streams_leave(struct ws_connection *w);

#endif
