/* token.c: between auth/ and the routes. */
#include "server/token.h"

#include "base/clock.h"
#include "server/state.h"

bool token_verify(struct server *s, struct slice token, struct arena *arena, struct verified_token *out,
                  struct token_refusal *refusal, struct error *err)
{
	return key_store_verify(s->options.keys, token, clock_wall_ms() / 1000, arena, out, refusal, err);
}

bool token_check(struct exchange *x)
{
	struct slice token;
	struct token_refusal refusal = {{NULL, 0}, {NULL, 0}};
	struct error err = {.code = ""};
	if (auth_header_token(http_header(&x->request, SLICE("authorization")), &token, &err) &&
	    token_verify(x->server, token, &x->request.arena, &x->token, &refusal, &err))
		return true;
	exchange_log_failed(x, &err, "AuthorizationError", &refusal);
	response_unauthorized(&x->response, &err);
	return false;
}
