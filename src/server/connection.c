/* connection.c: the life of one socket. */
#include "server/connection.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "server/http_stream.h"
#include "server/routes.h"
#include "server/state.h"
#include "server/tls.h"
#include "server/ws_connection.h"

#define MAX_AHEAD HTTP_MAX_HEAD /* bytes a client may send ahead of an answer before it is not read any more */
#define MAX_AHEAD_STREAM 4096   /* a stream's client has nothing to say */
#define MAX_LINGER_BYTES (4 * 1024 * 1024)
#define LINGER_MS 2000
#define COPY_BELOW 1024 /* smaller pieces are cheaper to copy than to refer to */
#define MAX_IOV 64
#define RECORDS_PER_TURN 16 /* of TLS that one connection writes before others have their turn */

static void advance(struct connection *c);

static struct slice received(const struct connection *c)
{
	return slice_make(c->in.p, c->in.n);
}

/* ---- opening and closing ---------------------------------------------------------------------------------------------------- */

static void set_timer(struct connection *c, int64_t ms)
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

/* ---- writing ---------------------------------------------------------------------------------------------------------------- */

size_t connection_unsent(const struct connection *c)
{
	return c->out ? evbuffer_get_length(c->out) : 0;
}

void connection_describe(const struct connection *c, struct connection_view *out)
{
	struct sockaddr_in a = {0};
	socklen_t size = sizeof(a);
	int queued = 0;
	char address[INET_ADDRSTRLEN] = "";
	*out = (struct connection_view){
	        .kind = c->state == CONNECTION_STREAM      ? "stream"
	                : c->state == CONNECTION_WEBSOCKET ? "websocket"
	                                                   : "request",
	        .tls = c->tls != NULL,
	        .unsent_bytes = connection_unsent(c),
	        .stream_fields = c->stream ? http_stream_fields(c->stream)
	                         : c->ws   ? ws_connection_fields(c->ws)
	                                   : NULL,
	};
	if (getpeername(c->fd, (struct sockaddr *)&a, &size) == 0 && inet_ntop(AF_INET, &a.sin_addr, address, sizeof(address)))
		snprintf(out->peer, sizeof(out->peer), "%s:%d", address, ntohs(a.sin_port));
	if (ioctl(c->fd, SIOCOUTQ, &queued) == 0 && queued > 0)
		out->unacknowledged_bytes = (size_t)queued;
}

/* A stream's client that takes nothing of what waits is cut at some time, if that is asked for. */
static void expect_progress(struct connection *c)
{
	int ms = c->net->server->options.write_timeout_ms;
	if (ms > 0 && (c->state == CONNECTION_STREAM || c->state == CONNECTION_WEBSOCKET))
		set_timer(c, ms);
}

static void after_flush(struct connection *c)
{
	if (c->tls)
		tls_goodbye(c->tls);
	if (c->linger) {
		c->state = CONNECTION_LINGERING;
		shutdown(c->fd, SHUT_WR);
		event_add(&c->read_event, NULL);
		set_timer(c, LINGER_MS);
		if (c->read_closed)
			connection_close(c);
	} else {
		connection_close(c);
	}
}

void connection_finish(struct connection *c, bool linger)
{
	if (c->state == CONNECTION_DEAD)
		return;
	c->state = CONNECTION_FLUSHING;
	c->linger = linger;
	if (connection_unsent(c) == 0)
		after_flush(c);
	else
		set_timer(c, c->net->server->options.idle_timeout_ms);
}

/* Some records out of what waits. A record that got EAGAIN is put together again next time, from the same bytes. */
static ssize_t write_records(struct connection *c)
{
	ssize_t sum = 0;
	for (int i = 0; i < RECORDS_PER_TURN && evbuffer_get_length(c->out); i++) {
		ev_ssize_t k = evbuffer_copyout(c->out, c->net->record, TLS_RECORD);
		ssize_t n = tls_write(c->tls, c->net->record, (size_t)k);
		if (n < 0)
			return sum || errno == EAGAIN ? sum : -1;
		evbuffer_drain(c->out, (size_t)n);
		sum += n;
	}
	return sum;
}

static void on_read(evutil_socket_t fd, short what, void *arg);

static void on_write(evutil_socket_t fd, short what, void *arg)
{
	struct connection *c = arg;
	c->net->now_ms = clock_mono_ms();
	if (c->tls && !tls_is_open(c->tls)) {
		event_del(&c->write_event);
		on_read(fd, what, arg);
		return;
	}
	if (!c->out) {
		event_del(&c->write_event);
		return;
	}
	ssize_t n = c->tls ? write_records(c) : evbuffer_write(c->out, fd);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		connection_close(c);
		return;
	}
	size_t left = evbuffer_get_length(c->out);
	if (left == 0) {
		evbuffer_free(c->out);
		c->out = NULL;
		event_del(&c->write_event);
		if (c->state == CONNECTION_FLUSHING) {
			after_flush(c);
			return;
		}
		if (c->state == CONNECTION_STREAM || c->state == CONNECTION_WEBSOCKET)
			timer_clear(&c->net->wheel, &c->timer);
	} else if (c->state == CONNECTION_FLUSHING && n > 0) {
		set_timer(c, c->net->server->options.idle_timeout_ms);
	} else if (n > 0) {
		expect_progress(c);
	}
	if (c->stream)
		http_stream_drained(c->stream, left);
	else if (c->ws)
		ws_connection_drained(c->ws, left);
	else if (left == 0 && c->state == CONNECTION_HEAD)
		advance(c);
}

static void block_done(const void *data, size_t n, void *block)
{
	(void)data, (void)n;
	block_unref(block);
}

static void keep(struct connection *c, const struct piece *piece, size_t skip)
{
	const char *p = (const char *)piece->p + skip;
	size_t n = piece->n - skip;
	if (!c->out) {
		c->out = evbuffer_new();
		event_add(&c->write_event, NULL);
		expect_progress(c);
	}
	if (piece->block && n >= COPY_BELOW && evbuffer_add_reference(c->out, p, n, block_done, piece->block) == 0)
		return;
	if (n)
		evbuffer_add(c->out, p, n);
	if (piece->block)
		block_unref(piece->block);
}

/* One record of what the pieces hold first. */
static ssize_t send_record(struct connection *c, const struct piece *pieces, size_t count)
{
	char *record = c->net->record;
	size_t n = 0;
	for (size_t i = 0; i < count && n < TLS_RECORD; i++) {
		size_t k = pieces[i].n < TLS_RECORD - n ? pieces[i].n : TLS_RECORD - n;
		memcpy(record + n, pieces[i].p, k);
		n += k;
	}
	return tls_write(c->tls, record, n);
}

/* How much of the pieces the socket takes now; -1: it is broken. */
static ssize_t send_now(struct connection *c, const struct piece *pieces, size_t count)
{
	if (c->tls) {
		ssize_t taken = send_record(c, pieces, count);
		return taken < 0 && errno == EAGAIN ? 0 : taken;
	}
	struct iovec iov[MAX_IOV];
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = count < MAX_IOV ? count : MAX_IOV};
	for (size_t i = 0; i < message.msg_iovlen; i++)
		iov[i] = (struct iovec){(void *)(uintptr_t)pieces[i].p, pieces[i].n};
	ssize_t n = sendmsg(c->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	return n;
}

void connection_send(struct connection *c, struct piece *pieces, size_t count)
{
	size_t i = 0, skip = 0;
	bool broken = c->state == CONNECTION_DEAD;
	while (!broken && !c->out && i < count) {
		ssize_t n = send_now(c, pieces + i, count - i);
		broken = n < 0;
		size_t end = count - i < MAX_IOV ? count : i + MAX_IOV;
		for (skip = n > 0 ? (size_t)n : 0; i < end && skip >= pieces[i].n; i++) {
			skip -= pieces[i].n;
			if (pieces[i].block)
				block_unref(pieces[i].block);
		}
		if (i < end)
			break;
	}
	for (; i < count; i++, skip = 0) {
		if (!broken)
			keep(c, &pieces[i], skip);
		else if (pieces[i].block)
			block_unref(pieces[i].block);
	}
	if (broken)
		connection_close(c);
}

void connection_send_bytes(struct connection *c, const void *p, size_t n)
{
	struct piece piece = {.p = p, .n = n};
	connection_send(c, &piece, 1);
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
	advance(c);
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
	advance(c);
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
	set_timer(c, c->net->server->options.body_timeout_ms);
}

/* False: waits for more. */
static bool advance_head(struct connection *c)
{
	size_t length = 0;
	/* An answer that the client does not take keeps the next request waiting. */
	if (c->out) {
		set_timer(c, c->net->server->options.idle_timeout_ms);
		return false;
	}
	enum http_result result = http_find_head(received(c), &c->scanned, &length);
	if (result == REQUEST_MORE) {
		if (c->read_closed)
			connection_finish(c, false);
		else if (c->in.n == 0) {
			buf_free(&c->in);
			set_timer(c, c->net->server->options.idle_timeout_ms);
		} else if (!c->timer.next) {
			set_timer(c, c->net->server->options.head_timeout_ms);
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
	set_timer(c, left < silence ? left : silence);
	return false;
}

/* Goes as far as the received bytes allow. */
static void advance(struct connection *c)
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
			set_timer(c, c->net->server->options.head_timeout_ms);
		buf_append(&c->in, p, n);
		advance(c);
		break;
	case CONNECTION_BODY:
		buf_append(&c->in, p, n);
		advance(c);
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

static void on_read(evutil_socket_t fd, short what, void *arg)
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
	event_assign(&c->read_event, n->base, fd, EV_READ | EV_PERSIST, on_read, c);
	event_assign(&c->write_event, n->base, fd, EV_WRITE | EV_PERSIST, on_write, c);
	c->next = n->connections;
	if (c->next)
		c->next->prev = c;
	n->connections = c;
	n->connection_count++;
	event_add(&c->read_event, NULL);
	set_timer(c, n->server->options.head_timeout_ms);
}
