/* route_probes.c: the three probes (http-api-and-operations 3). They stand outside every queue. */
#include "base/clock.h"
#include "server/routes.h"
#include "server/state.h"

/* Words of the key "reasons"; the rest of what is known is not for the unauthenticated. */
static const struct {
	enum server_trouble trouble;
	const char *word;
} reasons[] = {
        {TROUBLE_SOURCE_AWAY, "source_away"},
        {TROUBLE_REPLICATION_STUCK, "replication_stuck"},
        {TROUBLE_CONFIG_INVALID, "config_invalid"},
        {TROUBLE_NO_ACTIVE_CONFIG, "no_active_config"},
};

static unsigned troubles(const struct server *s)
{
	return s->options.troubles ? s->options.troubles(s->options.probe_ctx) : 0;
}

/* Without a trouble the body is that of the reference. */
static void put_reasons(struct buf *body, unsigned set)
{
	bool first = true;
	for (size_t i = 0; i < sizeof(reasons) / sizeof(*reasons); i++) {
		if (!(set & reasons[i].trouble))
			continue;
		buf_printf(body, "%s\"%s\"", first ? ",\"reasons\":[" : ",", reasons[i].word);
		first = false;
	}
	if (!first)
		buf_putc(body, ']');
}

static bool is_ready(const struct server *s, unsigned set)
{
	return atomic_load(&s->is_ready) && !(s->options.strict_readiness && set);
}

static bool answer(struct exchange *x, bool ok, unsigned set, int64_t touched_ms)
{
	struct server *s = x->server;
	char when[CLOCK_ISO_SIZE];
	clock_iso(touched_ms, when);
	x->response.status = ok ? 200 : 400;
	x->response.content_type = JSON_TYPE;
	buf_printf(&x->response.body, "{\"ready\":%s,\"started\":%s,\"touched_at\":\"%s\"", is_ready(s, set) ? "true" : "false",
	           atomic_load(&s->is_started) ? "true" : "false", when);
	put_reasons(&x->response.body, set);
	buf_putc(&x->response.body, '}');
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
	return answer(x, atomic_load(&x->server->is_started), troubles(x->server), touched);
}

bool route_probe_liveness(struct exchange *x)
{
	int64_t touched;
	bool live = is_live(x->server, &touched);
	return answer(x, live, troubles(x->server), touched);
}

bool route_probe_readiness(struct exchange *x)
{
	int64_t touched;
	unsigned set = troubles(x->server);
	is_live(x->server, &touched);
	return answer(x, is_ready(x->server, set), set, touched);
}
