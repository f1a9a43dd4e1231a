/* ws_connection.c: handshake, messages in and out, keep-alive, closing. */
#include "server/ws_connection.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "server/bson_json.h"
#include "server/connection.h"
#include "server/state.h"
#include "server/ws_internal.h"

#define MAX_REPLIES (128 * 1024) /* answers to pings and keep-alives beyond the window: the client is not read any more */

/* ---- out ------------------------------------------------------------------------------------------------------------------------ */

static void send_message(struct ws_connection *w, enum ws_opcode opcode, struct slice payload)
{
	unsigned char head[WS_MAX_HEAD];
	struct piece pieces[2] = {{.p = head, .n = ws_frame_head(head, opcode, payload.n)}, {.p = payload.p, .n = payload.n}};
	connection_send(w->connection, pieces, payload.n ? 2 : 1);
}

static bool is_dead(const struct ws_connection *w)
{
	return w->phase == WS_ENDED || w->connection->state == CONNECTION_DEAD;
}

void ws_send_frame(struct ws_connection *w, struct slice frame)
{
	send_message(w, WS_BINARY, frame);
}

void ws_send_error(struct ws_connection *w, uint32_t stream, enum rsocket_error code, struct slice text)
{
	struct buf b = {0};
	rsocket_error(&b, stream, code, text);
	ws_send_frame(w, buf_slice(&b));
	buf_free(&b);
}

static void release(struct ws_connection *w)
{
	ws_streams_leave(w);
	if (w->verifying)
		w->verifying->ws = NULL;
	w->verifying = NULL;
	timer_clear(&w->connection->net->wheel, &w->lifetime);
	if (w->counted)
		atomic_fetch_sub(&w->connection->net->server->socket_count, 1);
	w->counted = false;
}

void ws_close(struct ws_connection *w, int code)
{
	struct connection *c = w->connection;
	if (is_dead(w))
		return;
	const char bytes[2] = {(char)(code >> 8), (char)code};
	w->phase = WS_ENDED;
	release(w);
	send_message(w, WS_CLOSE, slice_make(bytes, code ? 2 : 0));
	if (c->state != CONNECTION_DEAD)
		connection_finish(c, true);
}

void ws_refuse(struct ws_connection *w, enum rsocket_error code, struct slice text)
{
	if (is_dead(w))
		return;
	ws_send_error(w, 0, code, text);
	if (!is_dead(w))
		ws_close(w, 0);
}

void ws_connection_leave(struct ws_connection *w)
{
	release(w);
}

void ws_connection_free(struct ws_connection *w)
{
	ws_decoder_free(&w->decoder);
	arena_free(&w->arena);
	free(w);
}

void ws_connection_drain(struct ws_connection *w)
{
	if (w->stream_count == 0)
		ws_close(w, WS_CODE_GOING_AWAY);
}

void ws_connection_drained(struct ws_connection *w, size_t unsent)
{
	for (struct ws_stream *s = w->streams; s; s = s->next)
		if (s->stream)
			stream_drained(s->stream, unsent);
	if (w->paused && unsent <= stream_low_mark(w->connection->net->server)) {
		w->paused = false;
		event_add(&w->connection->read_event, NULL);
	}
}

/* ---- jobs ------------------------------------------------------------------------------------------------------------------------- */

struct ws_job *ws_job_new(struct ws_connection *w)
{
	struct ws_job *j = xcalloc(1, sizeof(*j));
	j->ws = w;
	j->net = w->connection->net;
	j->server = j->net->server;
	j->err.code = "";
	request_id_new(j->id, 's');
	return j;
}

void ws_job_free(struct ws_job *j)
{
	arena_free(&j->arena);
	buf_free(&j->data);
	buf_free(&j->error_text);
	free(j);
}

void ws_job_start(struct ws_job *j, struct worker_pool *pool, void (*run)(struct task *), void (*home)(struct net_item *))
{
	j->task.run = run;
	j->item.run = home;
	j->net->away++;
	worker_pool_push(pool, &j->task);
}

void ws_job_home(struct ws_job *j)
{
	j->net->away--;
}

bool ws_to_json(enum ws_mime mime, struct slice bytes, struct buf *out)
{
	if (mime == MIME_BSON)
		return bson_to_json(bytes, out);
	buf_slice_append(out, bytes);
	return bytes.n > 0;
}

void ws_unsupported_mime(struct buf *out, struct slice got)
{
	buf_printf(out, "[PSYNC_S2004] Unsupported Media Type\n  Expected JSON or BSON request, got %.*s", SLICE_ARG(got));
}

/* ---- in --------------------------------------------------------------------------------------------------------------------------- */

static void keepalive(struct ws_connection *w, const struct rsocket_frame *f)
{
	struct net_thread *n = w->connection->net;
	timer_set(&n->wheel, &w->lifetime, n->now_ms + w->lifetime_ms);
	if (!(f->flags & RSOCKET_FOLLOWS))
		return;
	struct buf b = {0};
	rsocket_keepalive_answer(&b, f->data);
	ws_send_frame(w, buf_slice(&b));
	buf_free(&b);
}

static void first_frame(struct ws_connection *w, const struct rsocket_frame *f)
{
	if (f->type == RSOCKET_SETUP && f->stream == 0)
		ws_setup(w, f);
	else if (f->type == RSOCKET_RESUME)
		ws_refuse(w, RSOCKET_REJECTED_RESUME, SLICE("Resume is not enabled"));
	else
		ws_refuse(w, RSOCKET_UNSUPPORTED_SETUP, SLICE("Unsupported setup"));
}

static void on_frame(struct ws_connection *w, struct slice message)
{
	struct rsocket_frame f;
	if (!rsocket_parse(message, &f)) {
		ws_close(w, w->phase == WS_BEFORE_SETUP ? 0 : WS_CODE_PROTOCOL);
	} else if (w->phase == WS_BEFORE_SETUP) {
		first_frame(w, &f);
	} else if (f.stream) {
		ws_stream_frame(w, &f);
	} else if (f.type == RSOCKET_KEEPALIVE) {
		keepalive(w, &f);
	} else if (!(f.flags & RSOCKET_IGNORE) && f.type != RSOCKET_METADATA_PUSH) {
		ws_refuse(w, RSOCKET_CONNECTION_ERROR, SLICE("Unexpected connection frame"));
	}
}

static void on_control(struct ws_connection *w, enum ws_opcode opcode, struct slice payload)
{
	if (opcode == WS_PING) {
		send_message(w, WS_PONG, payload);
	} else if (opcode == WS_CLOSE) {
		/* Echoes the code. */
		int code = payload.n >= 2 ? (unsigned char)payload.p[0] << 8 | (unsigned char)payload.p[1] : 0;
		ws_close(w, code);
	}
}

void ws_connection_input(struct ws_connection *w, struct slice bytes)
{
	struct connection *c = w->connection;
	while (!is_dead(w)) {
		enum ws_opcode opcode;
		struct slice payload;
		int code;
		enum ws_result result = ws_decode(&w->decoder, &bytes, &opcode, &payload, &code);
		if (result == WS_MORE)
			break;
		if (result == WS_FAULT)
			ws_close(w, code);
		else if (result == WS_CONTROL)
			on_control(w, opcode, payload);
		else if (opcode == WS_TEXT)
			ws_close(w, WS_CODE_UNSUPPORTED);
		else
			on_frame(w, payload);
	}
	if (c->state == CONNECTION_WEBSOCKET && !w->paused &&
	    connection_unsent(c) > c->net->server->options.window_bytes + MAX_REPLIES) {
		w->paused = true;
		event_del(&c->read_event);
	}
}

static void lifetime_over(struct timer_entry *entry)
{
	struct ws_connection *w = (struct ws_connection *)((char *)entry - offsetof(struct ws_connection, lifetime));
	ws_close(w, 0);
}

/* ---- handshake -------------------------------------------------------------------------------------------------------------------- */

bool ws_is_upgrade(const struct http_request *r)
{
	return slice_eq_nocase(http_header(r, SLICE("upgrade")), SLICE("websocket"));
}

bool ws_connection_begin(struct connection *c)
{
	struct exchange *x = c->exchange;
	struct server *s = c->net->server;
	char accept[WS_ACCEPT_SIZE];
	if (c->net->draining) {
		response_empty(&x->response, 503);
		return false;
	}
	if (!slice_eq(http_header(&x->request, SLICE("sec-websocket-version")), SLICE("13"))) {
		response_empty(&x->response, 426);
		x->response.extra_headers = "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n";
		return false;
	}
	if (!slice_eq(x->request.method, SLICE("GET")) ||
	    !ws_accept(http_header(&x->request, SLICE("sec-websocket-key")), accept)) {
		response_plain(&x->response, 400, "Bad Request", "Client Error");
		return false;
	}
	struct ws_connection *w = xcalloc(1, sizeof(*w));
	w->connection = c;
	w->lifetime.fire = lifetime_over;
	ws_decoder_init(&w->decoder, s->options.max_body + WS_MAX_METADATA + 1024);
	w->counted = true;
	w->over_limit = atomic_fetch_add(&s->socket_count, 1) >= s->options.max_connections;
	exchange_free(x);
	c->exchange = NULL;
	c->ws = w;
	c->state = CONNECTION_WEBSOCKET;
	timer_set(&c->net->wheel, &w->lifetime, c->net->now_ms + s->options.head_timeout_ms); /* until the SETUP */
	struct buf head = {0};
	buf_printf(&head,
	           "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
	           "%s\r\n\r\n",
	           accept);
	connection_send_bytes(c, head.p, head.n);
	buf_free(&head);
	if (c->state == CONNECTION_DEAD)
		return true;
	/* Frames that came with the request. */
	if (c->in.n) {
		struct buf early = c->in;
		c->in = (struct buf){0};
		ws_connection_input(w, buf_slice(&early));
		buf_free(&early);
	} else {
		buf_free(&c->in);
	}
	return true;
}
