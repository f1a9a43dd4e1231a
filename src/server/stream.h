/*
 * stream.h: a session and the transport that carries its lines: who may step it, when, and how far ahead of the socket.
 *
 * A session is stepped by workers, at most one step at a time. Its blocks go to the net thread by reference. While
 * more than window bytes are unsent no step is made; below a quarter of it the next one follows. Wake-ups (news, timers, credits)
 * that come during a step are remembered. When the client leaves, the transport lets go at once and the session is freed by a worker.
 */
#ifndef SYNCLINE_SERVER_STREAM_H
#define SYNCLINE_SERVER_STREAM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "server/net_thread.h"
#include "server/timer_wheel.h"
#include "server/transfer.h"
#include "server/worker_pool.h"
#include "sync/session.h"

struct server;

enum stream_kind { STREAM_HTTP, STREAM_WEBSOCKET, STREAM_KINDS };

/* How a stream's end looks to its transport. */
struct stream_end {
	bool clean;      /* else err says why */
	bool any_output; /* false: an error status can still be sent */
	const struct error *err;
};

/* All on the net thread. */
struct stream_transport {
	/* Takes over the references; the array is the caller's. */
	void (*write)(void *owner, struct block **blocks, size_t count, size_t bytes);
	/* The stream is over; it is freed after the call. Not called after stream_detach. */
	void (*end)(void *owner, const struct stream_end *end);
	/* Bytes of this stream that the socket has not taken. */
	size_t (*unsent)(void *owner);
};

struct stream {
	struct net_item item;
	struct task task;
	struct timer_entry timer;
	struct server *server;
	struct net_thread *net;
	struct session *session;
	enum stream_kind kind;
	struct transfer *transfer; /* NULL: identity */
	enum line_encoding encoding;
	const struct stream_transport *transport; /* net thread */
	void *owner;     /* net thread; NULL before it is attached (no output comes earlier) and after it was let go */
	bool any_output; /* net thread */
	bool detached;   /* net thread */
	int64_t opened_ms, expires_at_ms;

	pthread_mutex_t lock; /* what follows; held for instants only */
	bool queued;          /* a step is queued or runs */
	bool again;           /* woken meanwhile */
	bool more;            /* the session stopped for lack of room or credit */
	bool cancelled, finished, posted;
	bool clean;
	struct block **pending; /* on their way to the net thread */
	size_t pending_count, pending_cap, pending_bytes;
	size_t socket_bytes;     /* unsent, as the net thread saw it last */
	int64_t unsent_since_us; /* monotonic; 0: everything is sent */
	size_t credits;          /* lines; SIZE_MAX: no such limit */
	int64_t next_ms;         /* wall clock; 0: none */
	struct error err;
	struct session_stats stats; /* at the end */
	uint64_t sent_bytes;        /* after compression */
	char *large_buckets;        /* at the end, as JSON; NULL when nothing is logged */
	char *log_fields;           /* who it is, as JSON members, for the log; NULL when nothing is logged */
	const char *close_reason;   /* for the log; net thread */
};

/* What happened in all streams, finished or not. */
struct stream_totals {
	_Atomic uint64_t operations, plain_bytes, sent_bytes;
	_Atomic uint64_t sent_by_coding[CODING_COUNT]; /* sums to sent_bytes */
};

/* Any thread. Makes the stream and its session; the caller is taken to run the first step: it calls stream_first_step, once, after
 * having posted whatever attaches the stream. NULL: the error of session_new. */
struct stream *stream_new(struct server *s, enum stream_kind kind, struct net_thread *n, const struct sync_request *request,
                          const struct session_options *options, size_t credits, struct error *err);
/* Worker thread, before the first step: logs that it has begun. fields: JSON members without braces. */
void stream_log_start(struct stream *s, struct slice fields);
/* Worker thread. */
void stream_first_step(struct stream *s);
/* Net thread: output goes to owner from now on. */
void stream_attach(struct stream *s, const struct stream_transport *transport, void *owner);
/* Net thread: the client has left. Nothing more is called; the stream frees itself. */
void stream_detach(struct stream *s);
/* Net thread: the socket took bytes and `unsent` are left. */
void stream_drained(struct stream *s, size_t unsent);
/* Net thread: the client asks for n more lines. */
void stream_add_credits(struct stream *s, size_t n);
/* Any thread: arranges for a step (the wake of the session hub). */
void stream_wake(void *ctx, void *stream);
/* Any thread, while the session lives: bytes made and not taken by the client; has it asked for no more lines? */
void stream_look(struct stream *s, size_t *unsent, bool *no_credit);
/* Unsent bytes at which the write side counts as drained. */
size_t stream_low_mark(const struct server *s);

#endif
