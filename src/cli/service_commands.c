/* service_commands.c: what commands can ask a running service by its control socket. */
#include "cli/compact_order.h"
#include "cli/service.h"

static bool asker_waits(void *ctx)
{
	return control_go_on(ctx);
}

static void tell_asker(void *ctx, json_t *values)
{
	control_progress(ctx, values);
}

static json_t *compact(void *ctx, const json_t *request, struct control_reply *reply, struct error *err)
{
	struct service *s = ctx;
	struct compact_way way = {
	        .in_use = true,
	        .go_on = asker_waits,
	        .progress = tell_asker,
	        .ctx = reply,
	};
	return compact_order_run(s->storage, request, &way, err);
}

static const struct control_command commands[] = {
        {"compact", compact},
};

void service_listen(struct service *s)
{
	struct error err = {.code = ""};
	s->control = control_start(s->config->storage.path, commands, sizeof(commands) / sizeof(*commands), s, &s->log, &err);
	if (!s->control)
		log_warn(&s->log, "Commands cannot reach this service: %s", err.message);
}
