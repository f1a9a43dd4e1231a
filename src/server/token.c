/* token.c: between auth/ and the routes. */
#include "server/token.h"

#include "base/clock.h"
#include "server/state.h"
#include "value/value.h"

bool token_verify(struct server *s, struct slice token, struct arena *arena, struct verified_token *out, struct error *err)
{
	struct slice detail = {0};
	if (key_store_verify(s->options.keys, token, clock_wall_ms() / 1000, arena, out, &detail, err))
		return true;
	log_error(s->options.log, "Request failed [%s] %s {\"tokenDetails\":\"%.*s\"}", err->code, err->message,
	          SLICE_ARG(detail));
	return false;
}

bool token_check(struct exchange *x)
{
	struct slice token;
	struct error err = {.code = ""};
	if (!auth_header_token(http_header(&x->request, SLICE("authorization")), &token, &err))
		log_error(x->server->options.log, "Request failed [%s] %s", err.code, err.message);
	else if (token_verify(x->server, token, &x->request.arena, &x->token, &err))
		return true;
	response_unauthorized(&x->response, &err);
	return false;
}

void token_log_fields(struct buf *b, const struct verified_token *t, const struct sync_request *request, struct slice agent,
                      bool bson)
{
	buf_lit(b, "\"user_id\":");
	json_append_string(b, t->user_id);
	if (request->client_id.p) {
		buf_lit(b, ",\"client_id\":");
		json_append_string(b, request->client_id);
	}
	if (agent.p) {
		buf_lit(b, ",\"user_agent\":");
		json_append_string(b, agent);
	}
	buf_printf(b, ",\"bson\":%s", bson ? "true" : "false");
	if (request->app_metadata.p) {
		buf_lit(b, ",\"app_metadata\":");
		buf_slice_append(b, request->app_metadata);
	}
}
