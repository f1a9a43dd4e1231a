/* json_body.h: the body of a request, by content type (http-api-and-operations 2.4), and one as a parsed object. */
#ifndef SYNCLINE_SERVER_JSON_BODY_H
#define SYNCLINE_SERVER_JSON_BODY_H

#include <jansson.h>
#include <stdbool.h>

#include "base/buf.h"
#include "server/http_request.h"
#include "server/http_response.h"

/* Is the content type this one, whatever its parameters? type: lower case. */
bool body_has_type(const struct http_request *q, struct slice type);
/* Checks content type and emptiness. True: *text is JSON to be parsed, or p == NULL when there is no body ({}). False: *r is the
 * answer (400 or 415; the latter also for text/plain, whose body would be lost silently: sync-protocol 2, checkpoint-requests 1). */
bool body_json_text(const struct http_request *q, struct slice *text, struct response *r);
void response_bad_json(struct response *r);

/* Numbers come as doubles, like in JavaScript; what is no object counts as {}. NULL: *r is the answer (400). */
json_t *body_json_object(const struct http_request *q, struct response *r);

/* A text from clients, the store or the source as a JSON string; what is not UTF-8 becomes U+FFFD. Any thread. */
json_t *json_text(struct slice s);

/* A list of validation texts, as a JSON array. */
struct complaints {
	struct buf text; /* empty: none */
};
void complain(struct complaints *c, const char *text);
/* Answers 400 with them, and frees them; false if there are none. */
bool complaints_answer(struct complaints *c, struct response *r);

#endif
