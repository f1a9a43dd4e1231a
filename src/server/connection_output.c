/* connection_output.c: what goes out on a socket: at once as far as it takes it, the rest when it can be written again. */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/clock.h"
#include "server/connection.h"
#include "server/connection_internal.h"
#include "server/http_stream.h"
#include "server/state.h"
#include "server/tls.h"
#include "server/ws_connection.h"

#define COPY_BELOW 1024 /* smaller pieces are cheaper to copy than to refer to */
#define MAX_IOV 64
#define RECORDS_PER_TURN 16 /* of TLS that one connection writes before others have their turn */
#define LINGER_MS 2000

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
		connection_set_timer(c, ms);
}

static void after_flush(struct connection *c)
{
	if (c->tls)
		tls_goodbye(c->tls);
	if (c->linger) {
		c->state = CONNECTION_LINGERING;
		shutdown(c->fd, SHUT_WR);
		event_add(&c->read_event, NULL);
		connection_set_timer(c, LINGER_MS);
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
		connection_set_timer(c, c->net->server->options.idle_timeout_ms);
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

void connection_on_write(evutil_socket_t fd, short what, void *arg)
{
	struct connection *c = arg;
	c->net->now_ms = clock_mono_ms();
	if (c->tls && !tls_is_open(c->tls)) {
		event_del(&c->write_event);
		connection_on_read(fd, what, arg);
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
		connection_set_timer(c, c->net->server->options.idle_timeout_ms);
	} else if (n > 0) {
		expect_progress(c);
	}
	if (c->stream)
		http_stream_drained(c->stream, left);
	else if (c->ws)
		ws_connection_drained(c->ws, left);
	else if (left == 0 && c->state == CONNECTION_HEAD)
		connection_advance(c);
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
