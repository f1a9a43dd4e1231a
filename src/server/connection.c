/* connection.c: the life of one socket, and what comes in on it. */
#include "server/connection.h"

#include <errno.h>
#include <event2/buffer.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "server/connection_internal.h"
#include "server/http_stream.h"
#include "server/routes.h"
#include "server/state.h"
#include "server/tls.h"
#include "server/ws_connection.h"

#define MAX_AHEAD HTTP_MAX_HEAD /* bytes a client may send ahead of an answer before it is not read any more */
#define MAX_AHEAD_STREAM 4096   /* a stream's client has nothing to say */
#define MAX_LINGER_BYTES (4 * 1024 * 1024)

static struct slice received(const struct connection *c)
{
	return slice_make(c->in.p, c->in.n);
}

/* ---- opening and closing ---------------------------------------------------------------------------------------------------- */

void connection_set_timer(struct connection *c, int64_t ms)
{
	timer_set(&c->net->wheel, &c->timer, c->net->now_ms + ms);
}

void connection_close(struct connection *c)
{
	if (c->state == CONNECTION_DEAD)
		return;
	c->state = CONNECTION_DEAD;
	struct net_thread *n = c->net;
	event_del(&c->read_event);
	event_del(&c->write_event);
	timer_clear(&n->wheel, &c->timer);
	tls_free(c->tls);
	c->tls = NULL;
	close(c->fd);
	if (c->stream)
		http_stream_leave(c->stream);
	c->stream = NULL;
	if (c->ws)
		ws_connection_leave(c->ws);
	if (c->exchange && c->exchange->away) {
		atomic_store(&c->exchange->abandoned, true);
		c->exchange->connection = NULL;
	} else if (c->exchange) {
		exchange_free(c->exchange);
	}
	c->exchange = NULL;
	if (c->out)
		evbuffer_free(c->out);
	c->out = NULL;
	buf_free(&c->in);
	if (c->prev)
		c->prev->next = c->next;
	else
		n->connections = c->next;
	if (c->next)
		c->next->prev = c->prev;
	n->connection_count--;
	c->next = n->dead;
	n->dead = c;
}

void connection_reap(struct net_thread *n)
{
	while (n->dead) {
		struct connection *c = n->dead;
		n->dead = c->next;
		if (c->ws)
			ws_connection_free(c->ws);
		free(c);
	}
}

void connection_close_all(struct net_thread *n)
{
	while (n->connections)
		connection_close(n->connections);
}

void connection_drain_all(struct net_thread *n)
{
	n->draining = true;
	for (struct connection *c = n->connections, *next; c; c = next) {
		next = c->next;
		if (c->state == CONNECTION_HEAD && c->in.n == 0)
			connection_finish(c, false);
		else if (c->state == CONNECTION_WEBSOCKET)
			ws_connection_drain(c->ws);
	}
}

/* ---- answering -------------------------------------------------------------------------------------------------------------- */

/* Sends the answer of c->exchange and gets ready for the next request, or for the end. */
static void answer(struct connection *c, bool unread)
{
	struct exchange *x = c->exchange;
	struct response *r = &x->response;
	bool more = c->keep_alive && !r->close && !unread && !c->net->draining;
	struct buf head = {0};
	response_head(&head, r,
	              &(struct response_framing){
	                      .keep_alive = more,
	                      .minor_0 = x->request.minor_0,
	                      .date = net_thread_date(c->net),
	              });
	struct piece pieces[2] = {{.p = head.p, .n = head.n}, {.p = r->body.p, .n = x->request.head_method ? 0 : r->body.n}};
	request_log_finished(x);
	connection_send(c, pieces, pieces[1].n ? 2 : 1);
	buf_free(&head);
	if (c->state == CONNECTION_DEAD)
		return;
	exchange_reset(x);
	if (!more) {
		connection_finish(c, unread);
		return;
	}
	c->state = CONNECTION_HEAD;
	c->scanned = 0;
}

void connection_answer(struct connection *c)
{
	answer(c, false);
	connection_advance(c);
}

void connection_next(struct connection *c, bool keep_alive)
{
	if (c->state == CONNECTION_DEAD)
		return;
	if (!keep_alive || c->net->draining) {
		connection_finish(c, false);
		return;
	}
	c->state = CONNECTION_HEAD;
	c->scanned = 0;
	connection_advance(c);
}

/* An error found while reading: answered at once, and the connection ends, for what follows cannot be told apart. */
static void reject(struct connection *c, enum http_result fault)
{
	struct response *r = &c->exchange->response;
	if (fault == REQUEST_HEAD_LARGE)
		response_plain(r, 431, "Request Header Fields Too Large", "Exceeded maximum allowed HTTP header size");
	else if (fault == REQUEST_BODY_LARGE)
		response_framework(r, 413, "FST_ERR_CTP_BODY_TOO_LARGE", "Request body is too large");
	else if (fault == REQUEST_NO_HOST)
		response_empty(r, 400);
	else if (fault == REQUEST_EXPECTATION)
		response_empty(r, 417);
	else
		response_plain(r, 400, "Bad Request", "Client Error");
	answer(c, true);
}

/* ---- reading ---------------------------------------------------------------------------------------------------------------- */

static void consume(struct connection *c, size_t n)
{
	if (n == c->in.n) {
		buf_clear(&c->in);
		return;
	}
	memmove(c->in.p, c->in.p + n, c->in.n - n);
	c->in.n -= n;
}

static void dispatch(struct connection *c)
{
	struct exchange *x = c->exchange;
	c->state = CONNECTION_HANDLING;
	c->keep_alive = x->request.keep_alive;
	timer_clear(&c->net->wheel, &c->timer);
	if (x->request.upgrade && ws_is_upgrade(&x->request)) {
		if (!ws_connection_begin(c))
			answer(c, false);
		return;
	}
	if (routes_dispatch(x))
		answer(c, false);
}

/* The head is parsed: what to do about the body. */
static void begin_body(struct connection *c)
{
	struct exchange *x = c->exchange;
	size_t limit = routes_body_limit(x);
	if (!x->request.chunked && x->request.body_left > limit) {
		reject(c, REQUEST_BODY_LARGE);
		return;
	}
	x->request.max_body = limit + 1;
	if (x->request.expect_continue && c->in.n == 0) {
		static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
		connection_send_bytes(c, go_on, sizeof(go_on) - 1);
		if (c->state == CONNECTION_DEAD)
			return;
	}
	c->state = CONNECTION_BODY;
	c->body_since_ms = c->net->now_ms;
	connection_set_timer(c, c->net->server->options.body_timeout_ms);
}

/* False: waits for more. */
static bool advance_head(struct connection *c)
{
	size_t length = 0;
	/* An answer that the client does not take keeps the next request waiting. */
	if (c->out) {
		connection_set_timer(c, c->net->server->options.idle_timeout_ms);
		return false;
	}
	enum http_result result = http_find_head(received(c), &c->scanned, &length);
	if (result == REQUEST_MORE) {
		if (c->read_closed)
			connection_finish(c, false);
		else if (c->in.n == 0) {
			buf_free(&c->in);
			connection_set_timer(c, c->net->server->options.idle_timeout_ms);
		} else if (!c->timer.next) {
			connection_set_timer(c, c->net->server->options.head_timeout_ms);
		}
		return false;
	}
	if (!c->exchange)
		c->exchange = exchange_new(c->net);
	struct exchange *x = c->exchange;
	x->connection = c;
	x->began_us = clock_mono_us();
	request_id_new(x->id, 'h');
	if (result == REQUEST_HEAD)
		result = http_parse_head(&x->request, slice_make(c->in.p, length));
	if (result != REQUEST_HEAD && result != REQUEST_COMPLETE) {
		reject(c, result);
		return false;
	}
	consume(c, length);
	c->scanned = 0;
	routes_match(x);
	if (result == REQUEST_COMPLETE)
		dispatch(c);
	else
		begin_body(c);
	return true;
}

static bool advance_body(struct connection *c)
{
	size_t used = 0;
	if (c->in.n == 0)
		return false;
	enum http_result result = http_feed_body(&c->exchange->request, received(c), &used);
	if (result == REQUEST_BAD || result == REQUEST_BODY_LARGE) {
		reject(c, result);
		return false;
	}
	consume(c, used);
	if (result == REQUEST_COMPLETE) {
		dispatch(c);
		return true;
	}
	/* Slow is fine, silent is not; and nobody may drip for ever. */
	int64_t left = c->body_since_ms + 10 * (int64_t)c->net->server->options.body_timeout_ms - c->net->now_ms;
	int64_t silence = c->net->server->options.body_timeout_ms;
	connection_set_timer(c, left < silence ? left : silence);
	return false;
}

/* Goes as far as the received bytes allow. */
void connection_advance(struct connection *c)
{
	bool go_on = true;
	while (go_on) {
		if (c->state == CONNECTION_HEAD)
			go_on = advance_head(c);
		else if (c->state == CONNECTION_BODY)
			go_on = advance_body(c);
		else
			go_on = false;
	}
	if ((c->state == CONNECTION_HEAD || c->state == CONNECTION_BODY) && !c->read_closed)
		event_add(&c->read_event, NULL);
}

static void on_end_of_input(struct connection *c)
{
	c->read_closed = true;
	event_del(&c->read_event);
	switch (c->state) {
	case CONNECTION_HEAD:
		if (!c->out)
			connection_finish(c, false);
		break;
	case CONNECTION_HANDLING:
		/* A script may shut down its side and still wait for the answer; a stream's client would never be missed. */
		if (c->exchange && c->exchange->stream_slot)
			connection_close(c);
		break;
	case CONNECTION_FLUSHING:
	case CONNECTION_DEAD:
		break;
	default:
		connection_close(c);
	}
}

static void on_bytes(struct connection *c, const char *p, size_t n)
{
	switch (c->state) {
	case CONNECTION_HEAD:
		if (c->in.n == 0)
			connection_set_timer(c, c->net->server->options.head_timeout_ms);
		buf_append(&c->in, p, n);
		connection_advance(c);
		break;
	case CONNECTION_BODY:
		buf_append(&c->in, p, n);
		connection_advance(c);
		break;
	case CONNECTION_HANDLING:
		buf_append(&c->in, p, n);
		if (c->in.n > MAX_AHEAD)
			event_del(&c->read_event);
		break;
	case CONNECTION_STREAM:
		buf_append(&c->in, p, n);
		if (c->in.n > MAX_AHEAD_STREAM)
			connection_close(c);
		break;
	case CONNECTION_WEBSOCKET:
		ws_connection_input(c->ws, slice_make(p, n));
		break;
	case CONNECTION_FLUSHING:
	case CONNECTION_LINGERING:
		c->lingered += n;
		if (c->lingered > MAX_LINGER_BYTES)
			connection_close(c);
		break;
	case CONNECTION_DEAD:
		break;
	}
}

void connection_on_read(evutil_socket_t fd, short what, void *arg)
{
	(void)what;
	struct connection *c = arg;
	struct net_thread *net = c->net;
	net->now_ms = clock_mono_ms();
	ssize_t n = c->tls ? tls_read(c->tls, net->scratch, NET_SCRATCH) : recv(fd, net->scratch, NET_SCRATCH, MSG_DONTWAIT);
	if (n < 0 && c->tls && errno == EAGAIN && tls_wants_write(c->tls))
		event_add(&c->write_event, NULL);
	else if (n > 0)
		on_bytes(c, net->scratch, (size_t)n);
	else if (n == 0)
		on_end_of_input(c);
	else if (errno != EAGAIN && errno != EINTR)
		connection_close(c);
}

static void on_timer(struct timer_entry *entry)
{
	struct connection *c = (struct connection *)((char *)entry - offsetof(struct connection, timer));
	if (c->state == CONNECTION_BODY || (c->state == CONNECTION_HEAD && c->in.n && !c->out)) {
		if (!c->exchange)
			c->exchange = exchange_new(c->net);
		c->exchange->connection = c;
		response_plain(&c->exchange->response, 408, "Request Timeout", "Client Error");
		answer(c, true);
	} else {
		connection_close(c);
	}
}

void connection_accept(struct net_thread *n, int fd)
{
	struct connection *c = xcalloc(1, sizeof(*c));
	c->net = n;
	c->fd = fd;
	c->timer.fire = on_timer;
	if (n->server->tls && !(c->tls = tls_accept(n->server->tls, fd))) {
		close(fd);
		free(c);
		return;
	}
	event_assign(&c->read_event, n->base, fd, EV_READ | EV_PERSIST, connection_on_read, c);
	event_assign(&c->write_event, n->base, fd, EV_WRITE | EV_PERSIST, connection_on_write, c);
	c->next = n->connections;
	if (c->next)
		c->next->prev = c;
	n->connections = c;
	n->connection_count++;
	event_add(&c->read_event, NULL);
	connection_set_timer(c, n->server->options.head_timeout_ms);
}
