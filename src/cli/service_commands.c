/* service_commands.c: what commands can ask a running service by its control socket. */
#include "cli/compact_order.h"
#include "cli/service.h"
#include "server/request_report.h"

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

static struct slice text_of(const json_t *request, const char *key)
{
	const json_t *value = json_object_get(request, key);
	return slice_make(json_string_value(value), json_string_length(value));
}

static json_t *requests(void *ctx, const json_t *request, struct control_reply *reply, struct error *err)
{
	struct service *s = ctx;
	json_int_t limit = json_integer_value(json_object_get(request, "limit"));
	struct request_filter filter = {.subject = text_of(request, "user_id"),
	                                .client_id = text_of(request, "client_id"),
	                                .limit = limit > 0 && limit <= REPORT_MAX_LIMIT ? (size_t)limit : REPORT_DEFAULT_LIMIT};
	(void)reply;
	return request_report(s->storage, s->server, false, &filter, err);
}

static const struct control_command commands[] = {
        {"compact", compact},
        {"requests", requests},
};

void service_listen(struct service *s)
{
	struct error err = {.code = ""};
	s->control = control_start(s->config->storage.path, commands, sizeof(commands) / sizeof(*commands), s, &s->log, &err);
	if (!s->control)
		log_warn(&s->log, "Commands cannot reach this service: %s", err.message);
}
