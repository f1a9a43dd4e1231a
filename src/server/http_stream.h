/*
 * http_stream.h: a stream as the answer to POST /sync/stream: head with the first line, then one chunk for what each step gave.
 * Net thread only.
 */
#ifndef SYNCLINE_SERVER_HTTP_STREAM_H
#define SYNCLINE_SERVER_HTTP_STREAM_H

#include <stddef.h>

struct connection;
struct http_stream;

/* c->exchange has come home with a stream: the connection becomes its transport. */
void http_stream_begin(struct connection *c);
/* The connection is closing. */
void http_stream_leave(struct http_stream *h);
void http_stream_drained(struct http_stream *h, size_t unsent);

/* Who it is, as JSON members; NULL: not known. */
const char *http_stream_fields(const struct http_stream *h);

#endif
