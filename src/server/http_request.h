/*
 * http_request.h: one HTTP/1.x request: its head, strictly checked, and its body.
 *
 * The only file pair that knows the parser library (http-parser; llhttp has nearly the same calls). The library judges lengths,
 * codings and methods; what it lets pass is refused here: bare LF, folded header lines, blanks before the colon, versions other than
 * 1.0 and 1.1, control characters, repeated Host.
 */
#ifndef SYNCLINE_SERVER_HTTP_REQUEST_H
#define SYNCLINE_SERVER_HTTP_REQUEST_H

#include <http_parser.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/slice.h"

#define HTTP_MAX_HEAD (16 * 1024)
#define HTTP_MAX_HEADERS 100

struct http_header {
	struct slice name, value; /* value without blanks around it */
};

struct http_request {
	struct arena arena; /* head, and whatever handlers derive; lives as long as the request */
	http_parser parser;
	struct slice method, target; /* as sent */
	struct slice path, query;    /* of the target; query without '?', p == NULL if there is none */
	struct http_header *headers;
	size_t header_count;
	bool head_method; /* HEAD: same head as GET, no body */
	bool keep_alive;
	bool minor_0; /* HTTP/1.0: no chunked answers */
	bool upgrade; /* Upgrade header and "Connection: upgrade" */
	bool expect_continue;
	bool chunked;
	uint64_t body_left; /* of a Content-Length */
	bool complete;      /* head and body are here */
	struct buf body;
	size_t max_body;
	bool discard_body; /* read and forget */
};

enum http_result {
	REQUEST_MORE,        /* needs more bytes */
	REQUEST_HEAD,        /* the head is complete */
	REQUEST_COMPLETE,    /* the body is complete */
	REQUEST_BAD,         /* not HTTP, or not strictly: 400, close */
	REQUEST_NO_HOST,     /* 400 with an empty body, close */
	REQUEST_HEAD_LARGE,  /* 431, close */
	REQUEST_BODY_LARGE,  /* 413, close */
	REQUEST_EXPECTATION, /* Expect with something else than 100-continue: 417 */
};

/* A zeroed request is ready; _reset makes it so again and keeps its memory, _free gives it back. */
void http_request_reset(struct http_request *r);
void http_request_free(struct http_request *r);

/* Looks for the end of the head in what has been received of it so far. *scanned (0 at first) remembers how far it has looked.
 * *length: bytes of the head, with the empty line. REQUEST_MORE, REQUEST_HEAD or REQUEST_HEAD_LARGE. */
enum http_result http_find_head(struct slice received, size_t *scanned, size_t *length);
/* Parses a whole head; copies it. REQUEST_HEAD (a body follows), REQUEST_COMPLETE, or an error. */
enum http_result http_parse_head(struct http_request *r, struct slice head);
/* Takes body bytes; *used is how many belonged to this request. REQUEST_MORE, REQUEST_COMPLETE, REQUEST_BAD, REQUEST_BODY_LARGE. */
enum http_result http_feed_body(struct http_request *r, struct slice bytes, size_t *used);

/* First header of that name (lower case given); p == NULL if absent. */
struct slice http_header(const struct http_request *r, struct slice name);
/* Without blanks and tabs at its ends. */
struct slice http_trim(struct slice s);
bool slice_eq_nocase(struct slice a, struct slice b);
/* Percent-decoded value of a query member, the last of that name; false if absent. *bad: its escapes are broken. */
bool http_query(struct http_request *r, struct slice name, struct slice *value, bool *bad);
/* Walks over the members, decoded, in the request's arena; *rest begins as r->query. Those that cannot be decoded are passed over. */
bool http_query_next(struct http_request *r, struct slice *rest, struct slice *name, struct slice *value);
/* Are the percent escapes of the path well formed, and UTF-8 once decoded? */
bool http_path_ok(struct slice path);

#endif
