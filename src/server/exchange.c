/* exchange.c: the way of a request to its handler and home. */
#include "server/exchange.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "server/connection.h"
#include "server/http_stream.h"
#include "server/routes.h"
#include "server/state.h"
#include "server/stream.h"

static void come_home(struct net_item *item)
{
	struct exchange *x = (struct exchange *)((char *)item - offsetof(struct exchange, item));
	x->away = false;
	x->net->away--;
	if (!x->connection) {
		if (x->stream)
			stream_detach(x->stream);
		x->stream = NULL;
		exchange_free(x);
	} else if (x->stream) {
		http_stream_begin(x->connection);
	} else {
		connection_answer(x->connection);
	}
}

static void release_slot(struct exchange *x)
{
	if (x->stream_slot)
		atomic_fetch_sub(&x->server->stream_count, 1);
	x->stream_slot = false;
}

struct exchange *exchange_new(struct net_thread *n)
{
	struct exchange *x = xcalloc(1, sizeof(*x));
	x->net = n;
	x->server = n->server;
	x->item.run = come_home;
	return x;
}

void exchange_reset(struct exchange *x)
{
	release_slot(x);
	http_request_reset(&x->request);
	response_reset(&x->response);
	x->route = NULL;
	x->refused = false;
	x->token = (struct verified_token){0};
	x->job = (struct checkpoint_job){0};
	memset(&x->admin, 0, sizeof(x->admin));
	x->sync = NULL;
}

void exchange_free(struct exchange *x)
{
	release_slot(x);
	http_request_free(&x->request);
	buf_free(&x->response.body);
	free(x);
}

void exchange_to_verifier(struct exchange *x, void (*run)(struct task *task))
{
	x->away = true;
	x->net->away++;
	x->task.run = run;
	worker_pool_push(x->server->verifiers, &x->task);
}

void exchange_finish(struct exchange *x)
{
	net_post(x->net, &x->item);
}

void exchange_log_failed(const struct exchange *x, const struct error *err, const char *name, const struct token_refusal *refusal)
{
	request_log_failed(x->server->options.log, &(struct request_failure){
	                                                   .err = err,
	                                                   .name = name,
	                                                   .id = x->id,
	                                                   .route = x->route ? route_path(x->route) : NULL,
	                                                   .refusal = refusal,
	                                           });
}

void exchange_log_overflow(const struct exchange *x)
{
	struct buf fields = {0};
	log_field_json(&fields, "queue_overflow", SLICE("true"));
	log_field_text(&fields, "rid", slice_cstr(x->id));
	log_field_number(&fields, "status", 429);
	log_fields(x->server->options.log, LOG_WARN, buf_slice(&fields), "%.*s", SLICE_ARG(x->request.path));
	buf_free(&fields);
}
