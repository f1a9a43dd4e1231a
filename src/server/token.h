/* token.h: the client's token of a request: header, verification, refusal. */
#ifndef SYNCLINE_SERVER_TOKEN_H
#define SYNCLINE_SERVER_TOKEN_H

#include <stdbool.h>

#include "server/exchange.h"

/* Verifies the Authorization header into x->token. False: x->response is the 401, and it was logged (never the token). A worker, or the net
 * thread when the keys never need a fetch. */
bool token_check(struct exchange *x);
/* The same for a token text that came another way, without the line in the log. *refusal: for that line. */
bool token_verify(struct server *s, struct slice token, struct arena *arena, struct verified_token *out,
                  struct token_refusal *refusal, struct error *err);

#endif
