/*
 * route_stream.c: POST /sync/stream up to the first step. Order of the checks (sync-protocol 2): connection limit (routes.c), body,
 * validation, token, shutting down, sync config.
 */
#include "server/json_body.h"
#include "server/negotiate.h"
#include "server/routes.h"
#include "server/state.h"
#include "server/stream.h"
#include "server/stream_errors.h"
#include "server/token.h"

static bool parse(struct exchange *x, struct sync_request *request)
{
	struct error err = {.code = ""};
	struct slice details = {0}, text;
	if (!body_json_text(&x->request, &text, &x->response))
		return false;
	if (sync_request_parse(text.p ? text : SLICE("{}"), &x->request.arena, request, &details, &err))
		return true;
	if (err.code && slice_eq(slice_cstr(err.code), SLICE("PSYNC_S2001")))
		response_validation(&x->response, details);
	else
		response_bad_json(&x->response);
	return false;
}

static void log_start(const struct exchange *x, struct stream *stream, const struct sync_request *request)
{
	struct buf b = {0};
	struct slice agent = http_header(&x->request, SLICE("x-user-agent"));
	if (!agent.p)
		agent = http_header(&x->request, SLICE("user-agent"));
	token_log_fields(&b, &x->token, request, agent, stream->encoding == ENCODING_BSON);
	stream_log_start(stream, buf_slice(&b));
	buf_free(&b);
}

/* On a worker. Either x->response or x->stream is set. */
static void open_stream(struct task *task)
{
	struct exchange *x = exchange_of_task(task);
	struct server *s = x->server;
	struct sync_request request = {0};
	struct error err = {.code = ""};
	if (!parse(x, &request) || !token_check(x)) {
		exchange_finish(x);
		return;
	}
	if (atomic_load(&s->stopping)) {
		error_set(&err, "PSYNC_S2003", "Service temporarily unavailable");
		stream_error_response(&x->response, &err);
		exchange_finish(x);
		return;
	}
	struct session_options options = {
	        .user = {.subject = x->token.user_id, .client_id = request.client_id},
	        .token_payload = x->token.payload,
	        .expires_at_ms = x->token.expires_at_s * 1000,
	        .keepalive_lines = true,
	        .encoding = negotiate_lines(http_header(&x->request, SLICE("accept"))),
	        .limits = s->options.limits,
	};
	struct stream *stream = stream_new(s, x->net, &request, &options, SIZE_MAX, &err);
	if (!stream) {
		log_error(s->options.log, "Request failed [%s] %s", err.code, err.message);
		stream_error_response(&x->response, &err);
		exchange_finish(x);
		return;
	}
	bool gzip_too;
	enum content_coding coding = negotiate_coding(http_header(&x->request, SLICE("accept-encoding")), &gzip_too);
	stream->transfer = transfer_new(s->codings, coding, gzip_too);
	log_start(x, stream, &request);
	x->stream = stream;
	exchange_finish(x);
	stream_first_step(stream);
}

bool route_stream(struct exchange *x)
{
	exchange_to_worker(x, open_stream);
	return false;
}
