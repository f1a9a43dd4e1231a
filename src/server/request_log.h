/*
 * request_log.h: what is logged about requests, under an id that ties the lines of one request together (http-api-and-operations 8).
 *
 * Never tokens, bodies or row data. Any thread.
 */
#ifndef SYNCLINE_SERVER_REQUEST_LOG_H
#define SYNCLINE_SERVER_REQUEST_LOG_H

#include "base/buf.h"
#include "base/error.h"
#include "base/log.h"

struct exchange;
struct token_refusal;
struct sync_request;
struct verified_token;

/* "h/" (HTTP) or "s/" (RSocket) and a UUID version 7, which sorts by time. */
#define REQUEST_ID_SIZE 39
void request_id_new(char id[REQUEST_ID_SIZE], char kind);

/* "METHOD url" with duration_ms, method, path, rid, route and status. In the path, values of query members that look like secrets are
 * masked. */
void request_log_finished(const struct exchange *x);

/* A request that was refused or failed: "Request failed [CODE] description". */
struct request_failure {
	const struct error *err; /* err->detail is for the log only */
	const char *name;        /* class of the error, as in its body */
	const char *id, *route;
	const struct token_refusal *refusal; /* NULL: no token is the reason */
};
void request_log_failed(const struct log *log, const struct request_failure *f);

/* Who a stream belongs to, as fields: user_id, client_id, user_agent, bson, app_metadata, client_params, rid, route. */
void request_log_stream_fields(struct buf *fields, const struct verified_token *t, const struct sync_request *request,
                               struct slice agent, bool bson, const char *id);

#endif
