/* routes.c: exact paths, no trailing slash (http-api-and-operations 1). */
#include "server/routes.h"

#include "server/state.h"
#include "value/value.h"

#define MAX_YAML_BODY ((size_t)16 << 20)

struct route {
	const char *method;
	struct slice path;
	bool (*handle)(struct exchange *x);
	bool probe;  /* only there when the probes are switched on */
	bool stream; /* under the connection limit */
	bool yaml;   /* takes a sync config, which may be larger than other bodies */
};

static const struct route routes[] = {
        {.method = "POST", .path = SLICE_INIT("/sync/stream"), .handle = route_stream, .stream = true},
        {.method = "POST", .path = SLICE_INIT("/sync/checkpoint-request"), .handle = route_checkpoint_request},
        {.method = "GET", .path = SLICE_INIT("/write-checkpoint2.json"), .handle = route_write_checkpoint2},
        {.method = "GET", .path = SLICE_INIT("/write-checkpoint.json"), .handle = route_write_checkpoint},
        {.method = "POST", .path = SLICE_INIT("/api/admin/v1/diagnostics"), .handle = route_admin_diagnostics},
        {.method = "GET", .path = SLICE_INIT("/api/admin/v1/connections"), .handle = route_admin_connections},
        {.method = "GET", .path = SLICE_INIT("/api/admin/v1/checkpoint-requests"), .handle = route_admin_requests},
        {.method = "POST", .path = SLICE_INIT("/api/admin/v1/schema"), .handle = route_admin_schema},
        {.method = "POST", .path = SLICE_INIT("/api/admin/v1/validate"), .handle = route_admin_validate},
        {.method = "POST", .path = SLICE_INIT("/api/admin/v1/execute-sql"), .handle = route_admin_execute_sql},
        {.method = "POST", .path = SLICE_INIT("/api/sync-rules/v1/deploy"), .handle = route_rules_deploy, .yaml = true},
        {.method = "POST", .path = SLICE_INIT("/api/sync-rules/v1/validate"), .handle = route_rules_validate, .yaml = true},
        {.method = "GET", .path = SLICE_INIT("/api/sync-rules/v1/current"), .handle = route_rules_current},
        {.method = "POST", .path = SLICE_INIT("/api/sync-rules/v1/reprocess"), .handle = route_rules_reprocess},
        {.method = "POST", .path = SLICE_INIT("/api/admin/v1/reprocess"), .handle = route_admin_reprocess},
        {.method = "GET", .path = SLICE_INIT("/probes/startup"), .handle = route_probe_startup, .probe = true},
        {.method = "GET", .path = SLICE_INIT("/probes/liveness"), .handle = route_probe_liveness, .probe = true},
        {.method = "GET", .path = SLICE_INIT("/probes/readiness"), .handle = route_probe_readiness, .probe = true},
};

static bool method_fits(const struct route *r, struct slice method)
{
	return slice_eq(method, slice_cstr(r->method)) ||
	       (slice_eq(method, SLICE("HEAD")) && slice_eq(slice_cstr(r->method), SLICE("GET")));
}

const char *route_path(const struct route *r)
{
	return r->path.p;
}

size_t routes_body_limit(const struct exchange *x)
{
	size_t usual = x->server->options.max_body;
	return x->route && x->route->yaml && usual < MAX_YAML_BODY ? MAX_YAML_BODY : usual;
}

void routes_match(struct exchange *x)
{
	for (size_t i = 0; i < sizeof(routes) / sizeof(*routes); i++) {
		const struct route *r = &routes[i];
		if (slice_eq(x->request.path, r->path) && method_fits(r, x->request.method) &&
		    (!r->probe || x->server->options.probes))
			x->route = r;
	}
	if (!x->route || !x->route->stream)
		return;
	x->stream_slot = true;
	x->refused = atomic_fetch_add(&x->server->stream_count, 1) >= x->server->options.max_connections;
	x->request.discard_body = x->refused;
}

static bool preflight(struct exchange *x)
{
	struct response *r = &x->response;
	if (http_header(&x->request, SLICE("origin")).p && http_header(&x->request, SLICE("access-control-request-method")).p) {
		response_empty(r, 204);
		r->extra_headers = "access-control-allow-methods: GET,HEAD,POST\r\n"
		                   "access-control-allow-headers: Content-Type, Authorization, User-Agent, X-User-Agent\r\n"
		                   "access-control-max-age: 3600\r\n";
		return true;
	}
	r->status = 400;
	r->content_type = "text/plain";
	buf_lit(&r->body, "Invalid Preflight Request");
	return true;
}

static void bad_url(struct exchange *x)
{
	struct buf message = {0};
	struct response *r = &x->response;
	buf_printf(&message, "'%.*s' is not a valid url component", SLICE_ARG(x->request.path));
	r->status = 400;
	r->content_type = JSON_TYPE;
	buf_lit(&r->body, "{\"error\":\"Bad Request\",\"code\":\"FST_ERR_BAD_URL\",\"message\":");
	json_append_string(&r->body, buf_slice(&message));
	buf_lit(&r->body, ",\"statusCode\":400}");
	buf_free(&message);
}

bool routes_dispatch(struct exchange *x)
{
	if (slice_eq(x->request.method, SLICE("OPTIONS")))
		return preflight(x);
	if (x->refused) {
		exchange_log_overflow(x);
		response_empty(&x->response, 429);
		return true;
	}
	if (x->route)
		return x->route->handle(x);
	if (!http_path_ok(x->request.path))
		bad_url(x);
	else
		response_not_found(&x->response, x->request.method, x->request.target);
	return true;
}
