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

static bool parse(struct exchange *x)
{
	x->sync = arena_calloc(&x->request.arena, sizeof(*x->sync));
	struct error err = {.code = ""};
	struct slice details = {0}, text;
	if (!body_json_text(&x->request, &text, &x->response))
		return false;
	if (sync_request_parse(text.p ? text : SLICE("{}"), &x->request.arena, x->sync, &details, &err))
		return true;
	if (err.code && slice_eq(slice_cstr(err.code), SLICE("PSYNC_S2001")))
		response_validation(&x->response, details);
	else
		response_bad_json(&x->response);
	return false;
}

static void log_start(const struct exchange *x, struct stream *stream)
{
	struct buf b = {0};
	struct slice agent = http_header(&x->request, SLICE("x-user-agent"));
	if (!agent.p)
		agent = http_header(&x->request, SLICE("user-agent"));
	request_log_stream_fields(&b, &x->token, x->sync, agent, stream->encoding == ENCODING_BSON, x->id);
	stream_log_start(stream, buf_slice(&b));
	buf_free(&b);
}

/* On a worker. Either x->response or x->stream is set. */
static void open_stream(struct task *task)
{
	struct exchange *x = exchange_of_task(task);
	struct server *s = x->server;
	struct error err = {.code = ""};
	if (atomic_load(&s->stopping)) {
		error_set(&err, "PSYNC_S2003", "Service temporarily unavailable");
		stream_error_response(&x->response, &err);
		exchange_finish(x);
		return;
	}
	struct session_options options = {
	        .user = {.subject = x->token.user_id, .client_id = x->sync->client_id},
	        .token_payload = x->token.payload,
	        .expires_at_ms = x->token.expires_at_s * 1000,
	        .keepalive_lines = true,
	        .encoding = negotiate_lines(http_header(&x->request, SLICE("accept"))),
	        .limits = s->options.limits,
	};
	struct stream *stream = stream_new(s, STREAM_HTTP, x->net, x->sync, &options, SIZE_MAX, &err);
	if (!stream) {
		exchange_log_failed(x, &err, "ServiceError", NULL);
		stream_error_response(&x->response, &err);
		exchange_finish(x);
		return;
	}
	bool gzip_too;
	enum content_coding coding = negotiate_coding(http_header(&x->request, SLICE("accept-encoding")), &gzip_too);
	stream->transfer = transfer_new(s->codings, coding, gzip_too);
	log_start(x, stream);
	x->stream = stream;
	exchange_finish(x);
	stream_first_step(stream);
}

/* On a verifier. */
static void check(struct task *task)
{
	struct exchange *x = exchange_of_task(task);
	if (!parse(x) || !token_check(x)) {
		exchange_finish(x);
		return;
	}
	x->task.run = open_stream;
	worker_pool_push(x->server->pool, &x->task);
}

bool route_stream(struct exchange *x)
{
	exchange_to_verifier(x, check);
	return false;
}
