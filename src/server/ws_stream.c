/* ws_stream.c: REQUEST_STREAM with its fragments, credits, and a session's lines as PAYLOAD frames. */
#include <jansson.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "server/connection.h"
#include "server/state.h"
#include "server/stream_errors.h"
#include "server/token.h"
#include "server/ws_connection.h"
#include "server/ws_internal.h"
#include "value/value.h"

#define UNLIMITED 0x7fffffffu /* RSocket: as many as you like */

/* COMPLETE makes the JavaScript SDK throw away lines that it has received and not yet looked at. The last line of a stream, which tells
 * that the token is over, gets so much time to be looked at; else the client comes back with the same token, again and again. */
#define COMPLETE_DELAY_MS 150

static struct ws_stream *find(struct ws_connection *w, uint32_t id)
{
	for (struct ws_stream *s = w->streams; s; s = s->next)
		if (s->id == id)
			return s;
	return NULL;
}

/* Ends all work of the stream; says nothing to the client. */
static void drop(struct ws_stream *s)
{
	struct ws_connection *w = s->ws;
	for (struct ws_stream **at = &w->streams; *at; at = &(*at)->next)
		if (*at == s) {
			*at = s->next;
			break;
		}
	w->stream_count--;
	if (s->opening)
		s->opening->target = NULL;
	if (s->stream)
		stream_detach(s->stream);
	timer_clear(&w->connection->net->wheel, &s->complete);
	buf_free(&s->metadata);
	buf_free(&s->data);
	free(s);
}

void ws_streams_leave(struct ws_connection *w)
{
	while (w->streams)
		drop(w->streams);
}

/* At shutdown the connection goes with its last stream. */
static void after_end(struct ws_connection *w)
{
	if (w->connection->net->draining)
		ws_connection_drain(w);
}

static void refuse(struct ws_stream *s, enum rsocket_error code, struct slice text)
{
	struct ws_connection *w = s->ws;
	uint32_t id = s->id;
	drop(s);
	ws_send_error(w, id, code, text);
	if (w->connection->state != CONNECTION_DEAD)
		after_end(w);
}

/* ---- lines ------------------------------------------------------------------------------------------------------------------------ */

struct piece_list {
	struct piece *items;
	size_t count, cap;
	struct buf heads; /* frame heads; their pieces hold offsets into it until all are there */
};

static void add_head(struct piece_list *l, struct ws_stream *s, uint64_t document)
{
	unsigned char head[WS_MAX_HEAD + RSOCKET_HEAD];
	size_t n = ws_frame_head(head, WS_BINARY, document + RSOCKET_HEAD);
	rsocket_head(head + n, s->id, RSOCKET_PAYLOAD, RSOCKET_NEXT);
	l->items = xgrow(l->items, l->count, &l->cap, sizeof(*l->items));
	l->items[l->count++] = (struct piece){.p = NULL, .n = n + RSOCKET_HEAD};
	buf_append(&l->heads, head, n + RSOCKET_HEAD);
}

/* Cuts a block at the ends of documents; each begins with its length. The first piece takes over the caller's reference. */
static void add_block(struct piece_list *l, struct ws_stream *s, struct block *b)
{
	size_t at = 0;
	bool owned = true;
	while (at < b->n) {
		if (s->document_left == 0) {
			if (b->n - at < 4)
				break;
			const unsigned char *p = (const unsigned char *)b->bytes + at;
			s->document_left = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint64_t)p[3] << 24;
			if (s->document_left < 5)
				break;
			add_head(l, s, s->document_left);
		}
		size_t n = b->n - at < s->document_left ? b->n - at : (size_t)s->document_left;
		if (!owned)
			block_ref(b);
		owned = false;
		l->items = xgrow(l->items, l->count, &l->cap, sizeof(*l->items));
		l->items[l->count++] = (struct piece){.p = b->bytes + at, .n = n, .block = b};
		s->document_left -= n;
		at += n;
	}
	if (owned)
		block_unref(b);
}

static void write_blocks(void *owner, struct block **blocks, size_t count, size_t bytes)
{
	(void)bytes;
	struct ws_stream *s = owner;
	struct piece_list l = {0};
	s->written_ms = s->ws->connection->net->now_ms;
	for (size_t i = 0; i < count; i++)
		add_block(&l, s, blocks[i]);
	size_t offset = 0;
	for (size_t i = 0; i < l.count; i++)
		if (!l.items[i].p) {
			l.items[i].p = l.heads.p + offset;
			offset += l.items[i].n;
		}
	connection_send(s->ws->connection, l.items, l.count);
	free(l.items);
	buf_free(&l.heads);
}

static size_t unsent(void *owner)
{
	return connection_unsent(((struct ws_stream *)owner)->ws->connection);
}

static void send_complete(struct ws_stream *s)
{
	struct ws_connection *w = s->ws;
	struct buf b = {0};
	rsocket_complete(&b, s->id);
	drop(s);
	ws_send_frame(w, buf_slice(&b));
	buf_free(&b);
	if (w->connection->state != CONNECTION_DEAD)
		after_end(w);
}

static void complete_due(struct timer_entry *entry)
{
	send_complete((struct ws_stream *)((char *)entry - offsetof(struct ws_stream, complete)));
}

static void stream_over(void *owner, const struct stream_end *e)
{
	struct ws_stream *s = owner;
	struct net_thread *n = s->ws->connection->net;
	s->stream = NULL;
	if (!e->clean) {
		struct buf b = {0};
		stream_error_text(&b, e->err);
		refuse(s, RSOCKET_APPLICATION_ERROR, buf_slice(&b));
		buf_free(&b);
	} else if (!n->draining && n->now_ms - s->written_ms < COMPLETE_DELAY_MS) {
		timer_set(&n->wheel, &s->complete, n->now_ms + COMPLETE_DELAY_MS);
	} else {
		send_complete(s);
	}
}

static const struct stream_transport transport = {.write = write_blocks, .end = stream_over, .unsent = unsent};

/* ---- opening ---------------------------------------------------------------------------------------------------------------------- */

/* On a worker: validation, then shutting down, then the sync config. */
static void open_stream(struct task *task)
{
	struct ws_job *j = ws_job_of_task(task);
	struct buf json = {0};
	struct sync_request request = {0};
	struct slice details = {0};
	if (!ws_to_json(j->data_mime, buf_slice(&j->data), &json) ||
	    !sync_request_parse(buf_slice(&json), &j->arena, &request, &details, &j->err)) {
		buf_lit(&j->error_text, "[PSYNC_S2001] Validation failed");
		if (details.p)
			buf_printf(&j->error_text, "\n  %.*s", SLICE_ARG(details));
	} else if (atomic_load(&j->server->stopping)) {
		buf_lit(&j->error_text, "[PSYNC_S2003] Service temporarily unavailable");
	} else {
		struct session_options options = {
		        .user = {.subject = j->token.user_id, .client_id = request.client_id},
		        .token_payload = j->token.payload,
		        .expires_at_ms = j->token.expires_at_s * 1000,
		        .encoding = ENCODING_BSON,
		        .limits = j->server->options.limits,
		};
		j->stream = stream_new(j->server, STREAM_WEBSOCKET, j->net, &request, &options, j->credits, &j->err);
		if (!j->stream) {
			request_log_failed(j->server->options.log,
			                   &(struct request_failure){
			                           .err = &j->err, .name = "ServiceError", .id = j->id, .route = "/sync/stream"});
			stream_error_text(&j->error_text, &j->err);
		} else {
			struct buf b = {0};
			request_log_stream_fields(&b, &j->token, &request, j->user_agent, true, j->id);
			stream_log_start(j->stream, buf_slice(&b));
			buf_free(&b);
		}
	}
	buf_free(&json);
	struct stream *stream = j->stream;
	net_post(j->net, &j->item);
	if (stream)
		stream_first_step(stream);
}

static void opened(struct net_item *item)
{
	struct ws_job *j = (struct ws_job *)item;
	struct ws_stream *s = j->target;
	ws_job_home(j);
	if (s) {
		s->opening = NULL;
		if (j->error_text.n) {
			refuse(s, RSOCKET_APPLICATION_ERROR, buf_slice(&j->error_text));
		} else {
			s->stream = j->stream;
			stream_attach(s->stream, &transport, s);
			stream_add_credits(s->stream, s->credits);
		}
	} else if (j->stream) {
		stream_detach(j->stream);
	}
	ws_job_free(j);
}

/* The metadata must be an object with the path; NULL, or what to refuse with. */
static const char *check_path(struct ws_stream *s, struct buf *text)
{
	struct buf json = {0};
	json_t *object = NULL;
	if (ws_to_json(s->ws->metadata_mime, buf_slice(&s->metadata), &json))
		object = json_loadb(json.p, json.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	buf_free(&json);
	const json_t *path = json_object_get(object, "path");
	struct slice p = json_is_string(path) ? slice_make(json_string_value(path), json_string_length(path)) : (struct slice){0};
	const char *fault = NULL;
	if (!p.p) {
		fault = "[PSYNC_S2001] Validation failed";
	} else if (!slice_eq(p, SLICE("/sync/stream"))) {
		buf_lit(text, "[PSYNC_S2002] The path does not exist on this server\n  The path ");
		json_append_string(text, p);
		buf_lit(text, " does not exist on this server");
		buf_putc(text, '\0');
		fault = text->p;
	}
	json_decref(object);
	return fault;
}

/* The request is whole and the token is good. */
static void start(struct ws_stream *s)
{
	struct ws_connection *w = s->ws;
	struct buf text = {0};
	const char *fault = NULL;
	if (!s->has_metadata) {
		fault = "[PSYNC_S2001] Validation failed\n  \"Metadata is not provided\"";
	} else if (!(fault = check_path(s, &text)) && w->data_mime == MIME_OTHER) {
		ws_unsupported_mime(&text, w->data_mime_text);
		buf_putc(&text, '\0');
		fault = text.p;
	}
	if (fault) {
		refuse(s, RSOCKET_APPLICATION_ERROR, slice_cstr(fault));
		buf_free(&text);
		return;
	}
	struct ws_job *j = ws_job_new(w);
	j->target = s;
	j->token = (struct verified_token){
	        .payload = arena_copy(&j->arena, w->token.payload),
	        .user_id = arena_copy(&j->arena, w->token.user_id),
	        .expires_at_s = w->token.expires_at_s,
	};
	j->user_agent = w->user_agent.p ? arena_copy(&j->arena, w->user_agent) : (struct slice){0};
	j->data = s->data;
	j->data_mime = w->data_mime;
	j->credits = s->credits;
	s->credits = 0;
	s->data = (struct buf){0};
	buf_free(&s->metadata);
	s->opening = j;
	ws_job_start(j, j->server->pool, open_stream, opened);
}

void ws_streams_start(struct ws_connection *w)
{
	for (struct ws_stream *s = w->streams, *next; s; s = next) {
		next = s->next;
		if (!s->assembling && !s->opening && !s->stream && !s->complete.next)
			start(s);
		if (w->phase == WS_ENDED || w->connection->state == CONNECTION_DEAD)
			return;
	}
}

/* ---- frames ------------------------------------------------------------------------------------------------------------------------ */

/* A part of the request; false: it is too large, and was refused. */
static bool take_fragment(struct ws_stream *s, const struct rsocket_frame *f)
{
	size_t limit = s->ws->connection->net->server->options.max_body;
	if (s->metadata.n + f->metadata.n > WS_MAX_METADATA || s->data.n + f->data.n > limit) {
		refuse(s, RSOCKET_APPLICATION_ERROR, SLICE("[PSYNC_S2001] Request body is too large"));
		return false;
	}
	s->has_metadata |= f->metadata.p != NULL;
	buf_slice_append(&s->metadata, f->metadata);
	buf_slice_append(&s->data, f->data);
	s->assembling = f->flags & RSOCKET_FOLLOWS;
	return true;
}

static void request_stream(struct ws_connection *w, const struct rsocket_frame *f)
{
	if (w->stream_count >= WS_MAX_STREAMS) {
		ws_send_error(w, f->stream, RSOCKET_REJECTED, SLICE("[PSYNC_S2304] Too many streams on one connection"));
		return;
	}
	struct ws_stream *s = xcalloc(1, sizeof(*s));
	s->ws = w;
	s->id = f->stream;
	s->complete.fire = complete_due;
	s->credits = f->n == UNLIMITED ? SIZE_MAX : f->n;
	s->next = w->streams;
	w->streams = s;
	w->stream_count++;
	if (take_fragment(s, f) && !s->assembling && w->phase == WS_OPEN)
		start(s);
}

static void add_credits(struct ws_stream *s, uint32_t n)
{
	size_t credits = n == UNLIMITED ? SIZE_MAX : n;
	if (s->stream)
		stream_add_credits(s->stream, credits);
	else
		s->credits = credits > SIZE_MAX - s->credits ? SIZE_MAX : s->credits + credits;
}

static void known_stream(struct ws_stream *s, const struct rsocket_frame *f)
{
	struct ws_connection *w = s->ws;
	switch (f->type) {
	case RSOCKET_REQUEST_N:
		add_credits(s, f->n);
		break;
	case RSOCKET_CANCEL:
	case RSOCKET_ERROR:
		drop(s);
		after_end(w);
		break;
	case RSOCKET_REQUEST_STREAM:
		break; /* an id in use again */
	case RSOCKET_PAYLOAD:
		if (s->assembling) {
			if (take_fragment(s, f) && !s->assembling && w->phase == WS_OPEN)
				start(s);
			break;
		}
		/* fall through */
	default:
		if (!(f->flags & RSOCKET_IGNORE)) {
			char text[40];
			int n = snprintf(text, sizeof(text), "Unexpected frame type [%u]", f->type);
			refuse(s, RSOCKET_CANCELED, slice_make(text, (size_t)n));
		}
	}
}

void ws_stream_frame(struct ws_connection *w, const struct rsocket_frame *f)
{
	struct ws_stream *s = find(w, f->stream);
	if (s)
		known_stream(s, f);
	else if (f->type == RSOCKET_REQUEST_STREAM)
		request_stream(w, f);
	else if (f->type == RSOCKET_REQUEST_RESPONSE || f->type == RSOCKET_REQUEST_CHANNEL)
		ws_send_error(w, f->stream, RSOCKET_REJECTED, SLICE("No available handler found"));
}

const char *ws_connection_fields(const struct ws_connection *w)
{
	for (const struct ws_stream *s = w->streams; s; s = s->next)
		if (s->stream && s->stream->log_fields)
			return s->stream->log_fields;
	return NULL;
}
