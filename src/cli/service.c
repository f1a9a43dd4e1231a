/* service.c: wires the layers together. The only place that knows them all. */
#include "cli/service.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/sync_config.h"
#include "cli/wiring.h"

/* SIGTERM to exit within 5 s: streams get most of it to drain. */
#define DRAIN_MS 2500
/* A control loop that gave no sign of life for this long is dead (http-api-and-operations 3). */
#define LIVENESS_MS 10000

static int fail(struct service *s, int code, const struct error *err)
{
	log_error(&s->log, "Fatal startup error - exiting with code %d. %s%s%s%s", code, *err->code ? "[" : "", err->code,
	          *err->code ? "] " : "", err->message);
	return code;
}

static bool open_storage(struct service *s, struct error *err)
{
	const struct config *c = s->config;
	if (strcmp(c->storage.type, "lmdb") != 0)
		return error_set(err, "", "storage.type: '%s' is not supported by this version; it supports 'lmdb', the embedded store",
		                 c->storage.type);
	struct storage_options options = wiring_storage_options(c, &s->log);
	s->storage = storage_open_lmdb(&options, err);
	if (s->storage)
		log_info(&s->log, "Embedded store in %s%s", c->storage.path,
		         c->storage.is_default ? " (the default: there is no storage section)" : "");
	return s->storage != NULL;
}

static bool open_keys(struct service *s, struct error *err)
{
	struct auth_config auth = wiring_auth_config(s->config);
	s->keys = key_store_new(&auth, &s->log, err);
	return s->keys != NULL;
}

static bool is_live(void *ctx, int64_t *touched_at_ms)
{
	struct service *s = ctx;
	struct replicator_status status;
	if (!s->replicator) {
		*touched_at_ms = clock_wall_ms();
		return true;
	}
	replicator_status(s->replicator, &status);
	*touched_at_ms = status.touched_at_ms;
	return clock_wall_ms() - status.touched_at_ms < LIVENESS_MS;
}

static bool start_server(struct service *s, struct error *err)
{
	const struct config *c = s->config;
	struct server_options options = {
		.port = c->port,
		.max_connections = wiring_limit(c->api.max_concurrent_connections),
		.limits = {wiring_limit(c->api.max_buckets_per_connection), wiring_limit(c->api.max_parameter_query_results)},
		.probes = c->probes.use_http || c->probes.use_legacy,
		.admin_tokens = c->api.tokens.items,
		.admin_token_count = c->api.tokens.count,
		.keys = s->keys,
		.storage = s->storage,
		.source = s->source,
		.log = &s->log,
		.is_live = is_live,
		.probe_ctx = s,
	};
	s->server = server_start(&options, err);
	return s->server != NULL;
}

static bool start_replication(struct service *s, struct error *err)
{
	if (!s->source || !s->plan)
		return true;
	struct replicator_options options = {
		.source = s->source,
		.connection_tag = s->source_config.tag,
		.slot_name_prefix = s->source_config.slot_name_prefix,
		.heartbeat_interval_s = s->source_config.heartbeat_interval_s,
		.storage = s->storage,
		.log = &s->log,
	};
	s->replicator = replicator_start(&options, s->plan, err);
	return s->replicator != NULL;
}

/* The configured sync config, compiled. A broken one ends the service if exit_on_error; else what the store has goes on being
 * replicated and served (configuration 2.5). */
static int load_plan(struct service *s)
{
	struct error err = {.code = ""};
	char *text = sync_config_read(s->config, &err);
	if (text)
		s->plan = sync_config_compile(text, sync_config_name(s->config), &s->log);
	else if (err.message[0])
		log_error(&s->log, "%s", err.message);
	bool named = text || err.message[0];
	free(text);
	if (s->plan)
		return 0;
	if (named && s->config->sync_config.exit_on_error) {
		log_error(&s->log, "The sync config is not usable (sync_config.exit_on_error is true): exiting with code 1");
		sleep(1);
		return 1;
	}
	struct slice stored = storage_active_plan_text(s->storage);
	struct diagnostics d = {0};
	if (stored.p)
		s->plan = plan_compile(stored, SLICE("public"), &d);
	diagnostics_free(&d);
	log_warn(&s->log, s->plan ? "Going on with the sync config in the store" : "There is no usable sync config: nothing is replicated");
	return 0;
}

int service_start(struct service *s)
{
	struct error err = {.code = ""};
	if (s->config->has_source) {
		s->source_config = wiring_source_config(s->config);
		s->source = source_new(&s->source_config, &s->log);
	}
	if (!open_keys(s, &err) || !open_storage(s, &err))
		return fail(s, EXIT_BAD_CONFIG, &err);
	int code = load_plan(s);
	if (code)
		return code;
	if (!start_server(s, &err) || !start_replication(s, &err))
		return fail(s, EXIT_BAD_CONFIG, &err);
	server_set_ready(s->server, true, true);
	log_info(&s->log, "Listening on port %d", server_port(s->server));
	return 0;
}

void service_stop(struct service *s)
{
	if (s->server)
		server_stop(s->server, DRAIN_MS);
	replicator_stop(s->replicator);
	if (s->server)
		server_free(s->server);
	replicator_free(s->replicator);
	if (s->storage)
		storage_close(s->storage);
	if (s->source)
		source_free(s->source);
	if (s->keys)
		key_store_free(s->keys);
	plan_unref(s->plan);
	config_free(s->config);
}
