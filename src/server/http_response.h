/*
 * http_response.h: answers: heads, JSON bodies and the error bodies of the protocol (http-api-and-operations 2.2 to 2.5).
 *
 * Every answer carries the CORS headers. Texts in error bodies are safe for clients: messages of internal failures never get here.
 */
#ifndef SYNCLINE_SERVER_HTTP_RESPONSE_H
#define SYNCLINE_SERVER_HTTP_RESPONSE_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"

#define JSON_TYPE "application/json; charset=utf-8"

struct response {
	int status;
	const char *content_type;     /* NULL: none */
	const char *content_encoding; /* NULL: none */
	const char *extra_headers;    /* whole lines with their CRLF; NULL */
	struct buf body;
	bool close; /* the connection ends with this answer */
};

/* Forgets the last answer, keeps the body's memory. */
void response_reset(struct response *r);

struct error_body {
	int status;       /* of the answer */
	bool omit_status; /* the body has no "status" member */
	const char *code;
	struct slice description;
	struct slice details; /* p == NULL: none */
	const char *severity; /* NULL: none */
	const char *name;
};
void response_error(struct response *r, const struct error_body *e);

/* Ready-made ones. */
void response_not_found(struct response *r, struct slice method, struct slice target); /* PSYNC_S2002 */
void response_validation(struct response *r, struct slice details);                    /* PSYNC_S2001; details: JSON array text */
void response_unauthorized(struct response *r, const struct error *err);               /* 401, code and text of err */
void response_internal(struct response *r);                                            /* 500 PSYNC_S2001, says nothing */
void response_framework(struct response *r, int status, const char *code, const char *description); /* FastifyError shape */
void response_plain(struct response *r, int status, const char *error, const char *message);        /* no "error" object */
void response_empty(struct response *r, int status);

struct response_framing {
	bool keep_alive;
	bool minor_0; /* the request was HTTP/1.0 */
	bool chunked; /* a stream: no content-length */
	const char *date;
};
/* Appends status line and headers, up to the empty line. */
void response_head(struct buf *out, const struct response *r, const struct response_framing *framing);

#endif
