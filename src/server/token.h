/* token.h: the client's token of a request: header, verification, refusal. */
#ifndef SYNCLINE_SERVER_TOKEN_H
#define SYNCLINE_SERVER_TOKEN_H

#include <stdbool.h>

#include "base/buf.h"
#include "server/exchange.h"
#include "sync/session.h"

/* Verifies the Authorization header into x->token. False: x->response is the 401, and it was logged (never the token). A worker, or the net
 * thread when the keys never need a fetch. */
bool token_check(struct exchange *x);
/* The same for a token text that came another way. */
bool token_verify(struct server *s, struct slice token, struct arena *arena, struct verified_token *out, struct error *err);
/* "user_id":..,"client_id":..,...: the fields that operators filter stream logs on (http-api-and-operations 8). */
void token_log_fields(struct buf *b, const struct verified_token *t, const struct sync_request *request, struct slice agent,
                      bool bson);

#endif
