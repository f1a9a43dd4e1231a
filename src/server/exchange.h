/*
 * exchange.h: one request and its answer, on their way from the connection to a handler and back.
 *
 * A connection has at most one exchange in handling. The handler works on the net thread, or hands the exchange to a worker or the
 * batcher; exchange_finish brings it home. If the client leaves meanwhile the exchange lives on, without a connection, until
 * it comes back: so nobody needs to be stopped, and nothing is freed under a worker.
 */
#ifndef SYNCLINE_SERVER_EXCHANGE_H
#define SYNCLINE_SERVER_EXCHANGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "auth/auth.h"
#include "server/http_request.h"
#include "server/http_response.h"
#include "server/net_thread.h"
#include "server/request_log.h"
#include "server/requests.h"
#include "server/worker_pool.h"
#include "storage/request_list.h"

struct connection;
struct route;
struct server;
struct stream;
struct sync_request;

struct exchange {
	struct net_item item;
	struct task task;
	struct net_thread *net;
	struct server *server;
	struct connection *connection; /* net thread only; NULL: the client has left */
	_Atomic bool abandoned;        /* the same as a hint for other threads */
	bool away;                     /* handed to another thread, not yet back; net thread */
	const struct route *route;     /* NULL: none matched */
	struct http_request request;
	struct response response;
	int64_t began_us;
	char id[REQUEST_ID_SIZE]; /* of the request, for the log */
	bool stream_slot;         /* counts as one of max_concurrent_connections */
	bool refused;             /* over that limit: 429 once the body is here */
	/* what handlers keep */
	struct verified_token token;
	struct checkpoint_job job;
	struct {
		void (*run)(struct exchange *x); /* the second half of an admin route */
		struct slice text;               /* a sync config */
		bool content;                    /* sync_rules_content */
		const char *const *arguments;    /* of the SQL in text; in the request's arena */
		size_t argument_count;
		struct request_filter requests;
	} admin;
	struct sync_request *sync; /* in the request's arena */
	struct stream *stream;     /* set when the answer is a stream */
};

struct exchange *exchange_new(struct net_thread *n);
void exchange_reset(struct exchange *x); /* ready for the next request of its connection */
void exchange_free(struct exchange *x);

/* Net thread: gives x to a thread that verifies tokens, which calls run(&x->task); x is away until exchange_finish. */
void exchange_to_verifier(struct exchange *x, void (*run)(struct task *task));
/* Any thread: the answer is in x->response (or x->stream is set). x must not be touched any more. */
void exchange_finish(struct exchange *x);

/* Any thread that has x. name: class of the error; refusal: of a token; NULL: none. */
void exchange_log_failed(const struct exchange *x, const struct error *err, const char *name,
                         const struct token_refusal *refusal);
/* 429, because too many of its kind are at work. */
void exchange_log_overflow(const struct exchange *x);

static inline struct exchange *exchange_of_task(struct task *t)
{
	return (struct exchange *)((char *)t - offsetof(struct exchange, task));
}

#endif
