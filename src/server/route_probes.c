/* route_probes.c: the three probes (http-api-and-operations 3). They stand outside every queue. */
#include "base/clock.h"
#include "server/routes.h"
#include "server/state.h"

static bool answer(struct exchange *x, bool ok, int64_t touched_ms)
{
	struct server *s = x->server;
	char when[CLOCK_ISO_SIZE];
	clock_iso(touched_ms, when);
	x->response.status = ok ? 200 : 400;
	x->response.content_type = JSON_TYPE;
	buf_printf(&x->response.body, "{\"ready\":%s,\"started\":%s,\"touched_at\":\"%s\"}",
	           atomic_load(&s->is_ready) ? "true" : "false", atomic_load(&s->is_started) ? "true" : "false", when);
	return true;
}

/* Without replication in the process there is nothing that could be dead. */
static bool is_live(struct server *s, int64_t *touched_ms)
{
	*touched_ms = clock_wall_ms();
	return !s->options.is_live || s->options.is_live(s->options.probe_ctx, touched_ms);
}

bool route_probe_startup(struct exchange *x)
{
	int64_t touched;
	is_live(x->server, &touched);
	return answer(x, atomic_load(&x->server->is_started), touched);
}

bool route_probe_liveness(struct exchange *x)
{
	int64_t touched;
	bool live = is_live(x->server, &touched);
	return answer(x, live, touched);
}

bool route_probe_readiness(struct exchange *x)
{
	int64_t touched;
	is_live(x->server, &touched);
	return answer(x, atomic_load(&x->server->is_ready), touched);
}
