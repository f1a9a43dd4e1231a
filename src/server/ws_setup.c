/* ws_setup.c: the SETUP frame: who the client is, and how it writes its requests. */
#include <jansson.h>

#include "server/connection.h"
#include "server/state.h"
#include "server/token.h"
#include "server/ws_connection.h"
#include "server/ws_internal.h"

#define MIN_LIFETIME_MS 1000
#define MAX_LIFETIME_MS 600000

static enum ws_mime mime_of(struct slice text)
{
	if (slice_eq(text, SLICE("application/json")))
		return MIME_JSON;
	return slice_eq(text, SLICE("application/bson")) ? MIME_BSON : MIME_OTHER;
}

static struct slice text_member(const json_t *object, const char *name, struct arena *arena)
{
	const json_t *v = json_object_get(object, name);
	if (!json_is_string(v))
		return (struct slice){0};
	return arena_copy(arena, slice_make(json_string_value(v), json_string_length(v)));
}

/* text: "[CODE] description" */
static void refuse_token(struct ws_connection *w, const char *text)
{
	char id[REQUEST_ID_SIZE];
	struct buf fields = {0};
	request_id_new(id, 's');
	log_field_text(&fields, "name", SLICE("AuthorizationError"));
	log_field_text(&fields, "rid", slice_cstr(id));
	log_fields(w->connection->net->server->options.log, LOG_ERROR, buf_slice(&fields), "Request failed %s", text);
	buf_free(&fields);
	ws_refuse(w, RSOCKET_REJECTED_SETUP, slice_cstr(text));
}

/* On a worker. */
static void verify(struct task *task)
{
	struct ws_job *j = ws_job_of_task(task);
	struct token_refusal refusal;
	if (!token_verify(j->server, j->token_text, &j->arena, &j->token, &refusal, &j->err)) {
		buf_printf(&j->error_text, "[%s] %s", j->err.code, j->err.message);
		request_log_failed(j->server->options.log,
		                   &(struct request_failure){
		                           .err = &j->err, .name = "AuthorizationError", .id = j->id, .refusal = &refusal});
	}
	net_post(j->net, &j->item);
}

static void verified(struct net_item *item)
{
	struct ws_job *j = (struct ws_job *)item;
	struct ws_connection *w = j->ws;
	ws_job_home(j);
	if (w) {
		w->verifying = NULL;
		w->token = (struct verified_token){
		        .payload = arena_copy(&w->arena, j->token.payload),
		        .user_id = arena_copy(&w->arena, j->token.user_id),
		        .expires_at_s = j->token.expires_at_s,
		};
		if (j->error_text.n) {
			ws_refuse(w, RSOCKET_REJECTED_SETUP, buf_slice(&j->error_text));
		} else {
			w->phase = WS_OPEN;
			ws_streams_start(w);
		}
	}
	ws_job_free(j);
}

/* The token member, with its scheme word, and the user agent. False: refused. */
static bool read_metadata(struct ws_connection *w, struct slice metadata, struct ws_job *j)
{
	struct buf text = {0};
	json_t *object = NULL;
	struct slice token, header = {0};
	if (ws_to_json(w->metadata_mime, metadata, &text))
		object = json_loadb(text.p, text.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	header = text_member(object, "token", &j->arena);
	w->user_agent = text_member(object, "user_agent", &w->arena);
	json_decref(object);
	buf_free(&text);
	if (header.n == 0)
		refuse_token(w, "[PSYNC_S2106] No token provided");
	else if (!auth_header_token(header, &token, NULL))
		refuse_token(w, "[PSYNC_S2106] No valid token provided");
	else {
		j->token_text = token;
		return true;
	}
	return false;
}

static void set_lifetime(struct ws_connection *w, uint32_t ms)
{
	struct net_thread *n = w->connection->net;
	w->lifetime_ms = ms < MIN_LIFETIME_MS ? MIN_LIFETIME_MS : ms > MAX_LIFETIME_MS ? MAX_LIFETIME_MS : (int64_t)ms;
	timer_set(&n->wheel, &w->lifetime, n->now_ms + w->lifetime_ms);
}

void ws_setup(struct ws_connection *w, const struct rsocket_frame *f)
{
	if (f->flags & RSOCKET_COMPLETE) {
		ws_refuse(w, RSOCKET_REJECTED_SETUP, SLICE("Lease has to be disabled"));
		return;
	}
	if (f->flags & RSOCKET_FOLLOWS) {
		ws_refuse(w, RSOCKET_REJECTED_SETUP, SLICE("No resume support"));
		return;
	}
	if (w->over_limit) {
		refuse_token(w, "[PSYNC_S2304] Maximum active concurrent connections limit has been reached");
		return;
	}
	if (!f->metadata.p) {
		refuse_token(w, "[PSYNC_S2101] No context meta data provided");
		return;
	}
	w->metadata_mime = mime_of(f->metadata_mime);
	w->data_mime = mime_of(f->data_mime);
	w->data_mime_text = arena_copy(&w->arena, f->data_mime);
	if (w->metadata_mime == MIME_OTHER) {
		struct buf b = {0};
		ws_unsupported_mime(&b, f->metadata_mime);
		ws_refuse(w, RSOCKET_REJECTED_SETUP, buf_slice(&b));
		buf_free(&b);
		return;
	}
	struct ws_job *j = ws_job_new(w);
	if (!read_metadata(w, f->metadata, j)) {
		ws_job_free(j);
		return;
	}
	w->phase = WS_VERIFYING;
	w->verifying = j;
	set_lifetime(w, f->lifetime_ms);
	ws_job_start(j, j->server->verifiers, verify, verified);
}
