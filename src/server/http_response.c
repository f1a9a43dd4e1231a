/* http_response.c: builds heads and error bodies. */
#include "server/http_response.h"

#include <http_parser.h>

#include "value/value.h"

#define KEEP_ALIVE_HEADER "Keep-Alive: timeout=72\r\n"

void response_reset(struct response *r)
{
	struct buf body = r->body;
	buf_clear(&body);
	if (body.cap > 64 * 1024)
		buf_free(&body);
	*r = (struct response){.body = body};
}

static void member(struct buf *b, const char *name, struct slice text)
{
	if (b->p[b->n - 1] != '{')
		buf_putc(b, ',');
	buf_printf(b, "\"%s\":", name);
	json_append_string(b, text);
}

void response_error(struct response *r, const struct error_body *e)
{
	struct buf *b = &r->body;
	r->status = e->status;
	r->content_type = JSON_TYPE;
	buf_clear(b);
	buf_lit(b, "{\"error\":{");
	member(b, "code", slice_cstr(e->code));
	if (!e->omit_status)
		buf_printf(b, ",\"status\":%d", e->status);
	member(b, "description", e->description);
	if (e->details.p)
		member(b, "details", e->details);
	if (e->severity)
		member(b, "severity", slice_cstr(e->severity));
	member(b, "name", slice_cstr(e->name));
	buf_lit(b, "}}");
}

void response_not_found(struct response *r, struct slice method, struct slice target)
{
	struct buf details = {0};
	buf_printf(&details, "The path %.*s \"%.*s\" does not exist on this server", SLICE_ARG(method), SLICE_ARG(target));
	response_error(r, &(struct error_body){
	                          .status = 404,
	                          .code = "PSYNC_S2002",
	                          .description = SLICE("The path does not exist on this server"),
	                          .details = buf_slice(&details),
	                          .severity = "info",
	                          .name = "RouteNotFound",
	                  });
	buf_free(&details);
}

void response_validation(struct response *r, struct slice details)
{
	response_error(r, &(struct error_body){
	                          .status = 400,
	                          .code = "PSYNC_S2001",
	                          .description = SLICE("Validation failed"),
	                          .details = details,
	                          .name = "ValidationError",
	                  });
}

void response_unauthorized(struct response *r, const struct error *err)
{
	response_error(r, &(struct error_body){
	                          .status = 401,
	                          .code = err->code,
	                          .description = slice_cstr(err->message),
	                          .name = "AuthorizationError",
	                  });
}

void response_internal(struct response *r)
{
	response_error(r, &(struct error_body){
	                          .status = 500,
	                          .code = "PSYNC_S2001",
	                          .description = SLICE("Something went wrong"),
	                          .severity = "error",
	                          .name = "InternalServerError",
	                  });
}

void response_framework(struct response *r, int status, const char *code, const char *description)
{
	r->status = status;
	r->content_type = JSON_TYPE;
	buf_clear(&r->body);
	buf_printf(&r->body, "{\"error\":{\"name\":\"FastifyError\",\"code\":\"%s\",\"status\":%d,\"description\":", code,
	           status);
	json_append_string(&r->body, slice_cstr(description));
	buf_lit(&r->body, "}}");
}

void response_plain(struct response *r, int status, const char *error, const char *message)
{
	r->status = status;
	r->content_type = JSON_TYPE;
	buf_clear(&r->body);
	buf_printf(&r->body, "{\"error\":\"%s\",\"message\":\"%s\",\"statusCode\":%d}", error, message, status);
}

void response_empty(struct response *r, int status)
{
	buf_clear(&r->body);
	r->status = status;
	r->content_type = NULL;
}

void response_head(struct buf *b, const struct response *r, const struct response_framing *f)
{
	buf_printf(b, "HTTP/1.1 %d %s\r\n", r->status, http_status_str((enum http_status)r->status));
	if (r->content_type)
		buf_printf(b, "content-type: %s\r\n", r->content_type);
	if (r->content_encoding)
		buf_printf(b, "content-encoding: %s\r\n", r->content_encoding);
	if (r->extra_headers)
		buf_append(b, r->extra_headers, strlen(r->extra_headers));
	buf_lit(b, "access-control-allow-origin: *\r\naccess-control-expose-headers: Content-Type\r\n");
	if (f->chunked && !f->minor_0)
		buf_lit(b, "Transfer-Encoding: chunked\r\n");
	else if (!f->chunked && r->status != 204 && r->status >= 200)
		buf_printf(b, "content-length: %zu\r\n", r->body.n);
	else if (r->status == 204)
		buf_lit(b, "content-length: 0\r\n");
	buf_printf(b, "Date: %s\r\n", f->date);
	if (f->keep_alive)
		buf_lit(b, "Connection: keep-alive\r\n" KEEP_ALIVE_HEADER);
	else
		buf_lit(b, "Connection: close\r\n");
	buf_lit(b, "\r\n");
}
