/* admin.c: see admin.h. */
#include "server/admin.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "server/state.h"

#define THREADS 2
/* At once and waiting (http-api-and-operations 2.6); probes do not count. */
#define MOST_REQUESTS 30

struct admin_queue {
	struct worker_pool *pool;
	_Atomic int count;
};

struct admin_queue *admin_queue_new(void)
{
	struct admin_queue *q = xcalloc(1, sizeof(*q));
	q->pool = worker_pool_new(THREADS);
	if (q->pool)
		return q;
	free(q);
	return NULL;
}

void admin_queue_free(struct admin_queue *q)
{
	if (!q)
		return;
	worker_pool_free(q->pool);
	free(q);
}

static void run_task(struct task *task)
{
	struct exchange *x = exchange_of_task(task);
	x->admin.run(x);
	atomic_fetch_sub(&x->server->admin->count, 1);
	exchange_finish(x);
}

static bool allowed(struct exchange *x)
{
	const struct server_options *o = &x->server->options;
	struct slice token;
	struct error err = {.code = ""};
	if (auth_header_token(http_header(&x->request, SLICE("authorization")), &token, &err) &&
	    auth_is_admin(o->admin_tokens, o->admin_token_count, token))
		return true;
	error_set(&err, "PSYNC_S2101", "Authorization failed");
	exchange_log_failed(x, &err, "AuthorizationError", NULL);
	response_unauthorized(&x->response, &err);
	return false;
}

bool admin_begin(struct exchange *x, void (*run)(struct exchange *x))
{
	struct admin_queue *q = x->server->admin;
	if (!allowed(x))
		return true;
	if (!q || atomic_fetch_add(&q->count, 1) >= MOST_REQUESTS) {
		if (q)
			atomic_fetch_sub(&q->count, 1);
		exchange_log_overflow(x);
		response_empty(&x->response, 429);
		return true;
	}
	x->admin.run = run;
	x->away = true;
	x->net->away++;
	x->task.run = run_task;
	worker_pool_push(q->pool, &x->task);
	return false;
}

/* ---- bodies ---------------------------------------------------------------------------------------------------------------------- */

json_t *admin_parameters(struct exchange *x)
{
	/* text/plain is accepted and ignored here (2.4) */
	bool ignored = body_has_type(&x->request, SLICE("text/plain"));
	json_t *body = ignored ? json_object() : body_json_object(&x->request, &x->response), *all;
	if (!body || !x->request.query.n)
		return body;
	all = json_object();
	for (struct slice rest = x->request.query, name, value; http_query_next(&x->request, &rest, &name, &value);)
		json_object_set_new(all, arena_cstr(&x->request.arena, name), json_text(value));
	json_object_update(all, body);
	json_decref(body);
	return all;
}

bool admin_yaml_body(struct exchange *x)
{
	if (body_has_type(&x->request, SLICE("application/yaml"))) {
		x->admin.text = buf_slice(&x->request.body);
		if (!x->admin.text.p)
			x->admin.text = SLICE("");
		return true;
	}
	json_t *body = admin_parameters(x);
	if (!body)
		return false;
	struct complaints c = {0};
	const json_t *content = json_object_get(body, "content");
	if (!content)
		complain(&c, " must have required property 'content'");
	else if (!json_is_string(content))
		complain(&c, "/content: type must be string");
	else
		x->admin.text =
		        arena_copy(&x->request.arena, slice_make(json_string_value(content), json_string_length(content)));
	json_decref(body);
	return !complaints_answer(&c, &x->response);
}

/* ---- answers --------------------------------------------------------------------------------------------------------------------- */

static int append(const char *bytes, size_t n, void *ctx)
{
	buf_append(ctx, bytes, n);
	return 0;
}

static void begin_answer(struct exchange *x)
{
	x->response.status = 200;
	x->response.content_type = JSON_TYPE;
	buf_clear(&x->response.body);
}

void admin_answer(struct exchange *x, json_t *data)
{
	begin_answer(x);
	buf_lit(&x->response.body, "{\"data\":");
	json_dump_callback(data, append, &x->response.body, JSON_COMPACT | JSON_ENCODE_ANY);
	buf_putc(&x->response.body, '}');
	json_decref(data);
}

void admin_answer_pretty(struct exchange *x, json_t *body)
{
	begin_answer(x);
	json_dump_callback(body, append, &x->response.body, JSON_INDENT(2));
	buf_putc(&x->response.body, '\n');
	json_decref(body);
}

void admin_failed(struct exchange *x, const struct error *err)
{
	exchange_log_failed(x, err, "InternalServerError", NULL);
	response_error(&x->response, &(struct error_body){
	                                     .status = 500,
	                                     .code = *err->code ? err->code : "PSYNC_S2001",
	                                     .description = SLICE("Something went wrong"),
	                                     .details = slice_cstr(err->message),
	                                     .severity = "error",
	                                     .name = "InternalServerError",
	                             });
}

void admin_refused(struct exchange *x, int status, const char *code, const char *description, const char *details)
{
	response_error(&x->response, &(struct error_body){
	                                     .status = status,
	                                     .code = code,
	                                     .description = slice_cstr(description),
	                                     .details = slice_cstr(details),
	                                     .name = "ServiceError",
	                             });
}

bool admin_need_source(struct exchange *x)
{
	if (x->server->options.admin && x->server->options.admin->source)
		return true;
	admin_failed(x, &(struct error){.code = "", .message = "No source connection is configured"});
	return false;
}
