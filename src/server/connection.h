/*
 * connection.h: one client's socket: an event for reading and one for writing, the bytes that did not fit, and what it is at.
 *
 * One request at a time, then exactly one of: a whole answer, a stream, a WebSocket. What the client sends ahead waits, up to a limit.
 * Net thread only. A closed connection is freed at the end of the loop's turn, so callers may go on using it in the same callback.
 */
#ifndef SYNCLINE_SERVER_CONNECTION_H
#define SYNCLINE_SERVER_CONNECTION_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>

#include "base/buf.h"
#include "server/exchange.h"
#include "server/net_thread.h"
#include "server/timer_wheel.h"
#include "sync/session.h"

struct evbuffer;
struct http_stream;
struct tls;
struct ws_connection;

enum connection_state {
	CONNECTION_HEAD, /* waits for a request head, or is in the middle of one */
	CONNECTION_BODY,
	CONNECTION_HANDLING, /* the exchange is with its handler */
	CONNECTION_STREAM,
	CONNECTION_WEBSOCKET,
	CONNECTION_FLUSHING, /* closes when the output is written */
	CONNECTION_LINGERING, /* answered without reading all: swallows input for a moment, so that the answer is not lost to a reset */
	CONNECTION_DEAD,
};

struct connection {
	struct connection *prev, *next; /* list of the net thread */
	struct net_thread *net;
	int fd;
	enum connection_state state;
	bool linger;      /* FLUSHING becomes LINGERING */
	bool keep_alive;  /* after the answer in hand */
	bool read_closed; /* the client has shut down its sending side */
	struct event read_event, write_event;
	struct tls *tls;      /* NULL: plain */
	struct evbuffer *out; /* NULL: nothing waits */
	struct buf in;        /* received, not consumed */
	size_t scanned;       /* bytes of in that hold no end of a head */
	struct timer_entry timer;
	int64_t body_since_ms;
	size_t lingered;
	struct exchange *exchange; /* NULL between requests of an idle connection and during streams */
	struct http_stream *stream;
	struct ws_connection *ws;
};

void connection_accept(struct net_thread *n, int fd);
void connection_close(struct connection *c);
void connection_reap(struct net_thread *n);
void connection_close_all(struct net_thread *n);
/* Shutting down: closes idle ones, lets the others finish. */
void connection_drain_all(struct net_thread *n);

/* Bytes to send: copied, or, where block is set, taken over with one reference (the bytes lie in the block). */
struct piece {
	const void *p;
	size_t n;
	struct block *block;
};
/* Writes at once what the socket takes and keeps the rest. */
void connection_send(struct connection *c, struct piece *pieces, size_t count);
void connection_send_bytes(struct connection *c, const void *p, size_t n);
size_t connection_unsent(const struct connection *c);
struct connection_view;
void connection_describe(const struct connection *c, struct connection_view *out);

/* The exchange has come back with a whole answer. */
void connection_answer(struct connection *c);
/* A stream or WebSocket is over; close: cut here, else the connection goes on with the next request. */
void connection_next(struct connection *c, bool keep_alive);
/* Closes when everything is written. */
void connection_finish(struct connection *c, bool linger);

#endif
