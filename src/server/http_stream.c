/* http_stream.c: chunks of a stream. */
#include "server/http_stream.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "server/connection.h"
#include "server/negotiate.h"
#include "server/routes.h"
#include "server/state.h"
#include "server/stream.h"
#include "server/stream_errors.h"

struct http_stream {
	struct connection *connection;
	struct stream *stream; /* NULL: over */
	bool head_sent, keep_alive, minor_0, slot;
	const char *content_type, *content_encoding;
	int64_t began_us;
	const struct route *route;
	char id[REQUEST_ID_SIZE];
};

static void free_stream(struct http_stream *h)
{
	if (h->slot)
		atomic_fetch_sub(&h->connection->net->server->stream_count, 1);
	h->connection->stream = NULL;
	free(h);
}

static void append_head(struct http_stream *h, struct buf *out)
{
	h->head_sent = true;
	response_head(out,
	              &(struct response){
	                      .status = 200,
	                      .content_type = h->content_type,
	                      .content_encoding = h->content_encoding,
	                      .extra_headers = "x-accel-buffering: no\r\n",
	              },
	              &(struct response_framing){
	                      .keep_alive = h->keep_alive && !h->minor_0,
	                      .minor_0 = h->minor_0,
	                      .chunked = true,
	                      .date = net_thread_date(h->connection->net),
	              });
}

/* One chunk. Sending may find the connection broken, and then h is gone. */
static void write_blocks(void *owner, struct block **blocks, size_t count, size_t bytes)
{
	struct http_stream *h = owner;
	bool chunked = !h->minor_0;
	struct buf front = {0};
	if (!h->head_sent)
		append_head(h, &front);
	if (chunked)
		buf_printf(&front, "%zx\r\n", bytes);
	struct piece few[16], *pieces = count + 2 > 16 ? xmalloc(sizeof(*pieces) * (count + 2)) : few;
	size_t k = 0;
	if (front.n)
		pieces[k++] = (struct piece){.p = front.p, .n = front.n};
	for (size_t i = 0; i < count; i++)
		pieces[k++] = (struct piece){.p = blocks[i]->bytes, .n = blocks[i]->n, .block = blocks[i]};
	if (chunked)
		pieces[k++] = (struct piece){.p = "\r\n", .n = 2};
	connection_send(h->connection, pieces, k);
	buf_free(&front);
	if (pieces != few)
		free(pieces);
}

static size_t unsent(void *owner)
{
	return connection_unsent(((struct http_stream *)owner)->connection);
}

/* Failed before the first line: there is still a status to give. */
static void fail_early(struct http_stream *h, struct transfer *transfer, const struct error *err)
{
	struct connection *c = h->connection;
	struct exchange *x = c->exchange = exchange_new(c->net);
	x->connection = c;
	x->began_us = h->began_us;
	x->route = h->route;
	memcpy(x->id, h->id, sizeof(x->id));
	x->request.method = SLICE("POST");
	x->request.path = slice_cstr(route_path(h->route));
	x->request.minor_0 = h->minor_0;
	stream_error_response(&x->response, err);
	x->response.extra_headers = "x-accel-buffering: no\r\n";
	if (transfer) {
		x->response.content_encoding = h->content_encoding;
		transfer_encode_body(transfer, &x->response.body);
	}
	free_stream(h);
	connection_answer(c);
}

static void end(void *owner, const struct stream_end *e)
{
	struct http_stream *h = owner;
	struct connection *c = h->connection;
	struct transfer *transfer = h->stream->transfer;
	h->stream = NULL;
	if (!e->clean) {
		if (!h->head_sent) {
			fail_early(h, transfer, e->err);
			return;
		}
		connection_close(c); /* cut, without the last chunk; frees h */
		return;
	}
	struct buf last = {0};
	if (!h->head_sent)
		append_head(h, &last);
	if (!h->minor_0)
		buf_lit(&last, "0\r\n\r\n");
	bool keep_alive = h->keep_alive && !h->minor_0;
	free_stream(h);
	if (last.n)
		connection_send_bytes(c, last.p, last.n);
	buf_free(&last);
	connection_next(c, keep_alive);
}

static const struct stream_transport transport = {.write = write_blocks, .end = end, .unsent = unsent};

void http_stream_begin(struct connection *c)
{
	struct exchange *x = c->exchange;
	struct http_stream *h = xcalloc(1, sizeof(*h));
	h->connection = c;
	h->stream = x->stream;
	h->keep_alive = c->keep_alive;
	h->minor_0 = x->request.minor_0;
	h->slot = x->stream_slot;
	h->began_us = x->began_us;
	h->route = x->route;
	memcpy(h->id, x->id, sizeof(h->id));
	h->content_type = h->stream->encoding == ENCODING_BSON ? BSON_TYPE : NDJSON_TYPE;
	h->content_encoding = h->stream->transfer ? content_coding_name(transfer_coding(h->stream->transfer)) : NULL;
	x->stream_slot = false;
	x->stream = NULL;
	/* The request has done its work: an idle stream holds neither it nor a read buffer. */
	exchange_free(x);
	c->exchange = NULL;
	if (c->in.n == 0)
		buf_free(&c->in);
	c->state = CONNECTION_STREAM;
	c->stream = h;
	stream_attach(h->stream, &transport, h);
}

void http_stream_leave(struct http_stream *h)
{
	if (h->stream)
		stream_detach(h->stream);
	free_stream(h);
}

void http_stream_drained(struct http_stream *h, size_t left)
{
	if (h->stream)
		stream_drained(h->stream, left);
}

const char *http_stream_fields(const struct http_stream *h)
{
	return h->stream ? h->stream->log_fields : NULL;
}
