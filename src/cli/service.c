/* service.c: wires the layers together. The only place that knows them all. */
#include "cli/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/probe_files.h"
#include "cli/shared_store.h"
#include "cli/store_wait.h"
#include "cli/sync_config.h"
#include "cli/wiring.h"
#include "storage/preview.h"

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

static bool open_shared(struct service *s, struct storage_options *options, struct error *err)
{
	storage_database_open(&s->database, s->config, &s->log, options);
	s->storage = storage_open_postgres(options, err);
	if (s->storage)
		log_info(&s->log, "Storage database %s on %s", s->config->storage.postgres.database,
		         s->config->storage.postgres.hostname);
	return s->storage != NULL;
}

static bool open_storage(struct service *s, struct error *err)
{
	const struct config *c = s->config;
	struct storage_options options = wiring_storage_options(c, &s->log);
	options.metrics = s->metrics;
	if (is_shared_store(c))
		return open_shared(s, &options, err);
	if (strcmp(c->storage.type, "lmdb") != 0)
		return error_set(err, "",
		                 "storage.type: '%s' is not supported by this version; it supports 'lmdb' and 'postgresql'",
		                 c->storage.type);
	if (s->role != ROLE_UNIFIED)
		return error_set(err, "", "the embedded store runs as 'unified'; a shared storage is needed for other roles");
	s->storage = store_open_when_free(&options, c->storage.path, &s->log, &s->stopped_early, err);
	if (s->storage)
		log_info(&s->log, "Embedded store in %s%s", c->storage.path,
		         c->storage.is_default ? " (the default: there is no storage section)" : "");
	return s->storage != NULL;
}

static bool open_keys(struct service *s, struct error *err)
{
	struct auth_config auth = wiring_auth_config(s->config);
	auth.keep_folder = is_shared_store(s->config) ? NULL : s->config->storage.path;
	s->keys = key_store_new(&auth, &s->log, err);
	return s->keys != NULL;
}

bool service_replicator_status(struct service *s, struct replicator_status *out, struct source_traffic *traffic)
{
	if (pthread_mutex_trylock(&s->replication_lock) != 0)
		return false;
	bool there = s->replicator != NULL;
	if (there)
		replicator_status(s->replicator, out);
	if (there && traffic)
		source_get_traffic(s->replication_source, traffic);
	pthread_mutex_unlock(&s->replication_lock);
	return there;
}

void service_replicator_tables(struct service *s, struct arena *arena, struct replicator_table **out, size_t *count)
{
	*out = NULL;
	*count = 0;
	if (pthread_mutex_trylock(&s->replication_lock) != 0)
		return;
	if (s->replicator)
		replicator_tables(s->replicator, arena, out, count);
	pthread_mutex_unlock(&s->replication_lock);
}

static bool is_live(void *ctx, int64_t *touched_at_ms)
{
	struct service *s = ctx;
	struct replicator_status status = {.touched_at_ms = clock_wall_ms()};
	service_replicator_status(s, &status, NULL); /* with nobody to ask nobody is dead */
	*touched_at_ms = status.touched_at_ms;
	return clock_wall_ms() - status.touched_at_ms < LIVENESS_MS;
}

/* From the third failure in a row at one position on, an error does not heal by itself. */
#define STUCK_FAILURES 3

static unsigned troubles(void *ctx)
{
	struct service *s = ctx;
	struct replicator_status r = {0};
	unsigned set = storage_checkpoint(s->storage).valid ? 0 : TROUBLE_NO_ACTIVE_CONFIG;
	if (service_replicator_status(s, &r, NULL)) {
		set |= r.connected || r.standing_by ? 0 : TROUBLE_SOURCE_AWAY;
		set |= r.failures >= STUCK_FAILURES ? TROUBLE_REPLICATION_STUCK : 0;
		set |= r.deploy_error[0] ? TROUBLE_CONFIG_INVALID : 0;
	}
	if (pthread_mutex_trylock(&s->replication_lock) == 0) {
		set |= s->config_problem[0] ? TROUBLE_CONFIG_INVALID : 0;
		pthread_mutex_unlock(&s->replication_lock);
	}
	return set;
}

static void tell_replication(void *ctx, struct server_replication *out)
{
	struct service *s = ctx;
	struct replicator_status status = {0};
	char failure[STORAGE_FAILURE_SIZE];
	storage_last_failure(s->storage, failure);
	pthread_mutex_lock(&s->replication_lock);
	if (s->replicator)
		replicator_status(s->replicator, &status);
	else /* of the process that replicates */
		snprintf(status.last_error, sizeof(status.last_error), "%s", failure);
	snprintf(out->config_problem, sizeof(out->config_problem), "%s",
	         s->config_problem[0] ? s->config_problem : status.deploy_error);
	pthread_mutex_unlock(&s->replication_lock);
	out->connected = status.connected;
	out->checkpoint_at_ms = status.checkpoint_at_ms;
	out->failures = status.failures;
	out->reading = status.snapshotting;
	out->position = status.position;
	out->lag_bytes = status.lag_bytes;
	out->lag_s = status.lag_s;
	out->keepalive_at_ms = status.connected ? status.touched_at_ms : 0;
	snprintf(out->last_error, sizeof(out->last_error), "%s", status.connected ? "" : status.last_error);
}

/* Those that are being read, and those that cannot be. */
static void tell_tables(void *ctx, struct arena *arena, struct server_table **out, size_t *count)
{
	struct service *s = ctx;
	struct replicator_table *tables;
	size_t all, n = 0;
	service_replicator_tables(s, arena, &tables, &all);
	*out = arena_array(arena, struct server_table, all + 1);
	for (size_t i = 0; i < all; i++)
		if (tables[i].reading || tables[i].error[0])
			(*out)[n++] = (struct server_table){.schema = tables[i].schema,
			                                    .name = tables[i].name,
			                                    .rows_read = tables[i].rows_read,
			                                    .rows_estimated = tables[i].rows_estimated,
			                                    .eta_s = tables[i].reading ? tables[i].eta_s : -1,
			                                    .error = tables[i].error};
	*count = n;
}

static int write_timeout_ms(double seconds)
{
	return seconds > 1e6 ? 1000000000 : seconds > 0 ? (int)(seconds * 1000) : 0;
}

/* Connections to a storage database that steps of sessions leave to others: requests, maintenance. */
#define CONNECTIONS_FOR_OTHERS 2

/* A step that waits for the database holds up no other as long as there are connections. */
static int workers_at_least(const struct service *s)
{
	return storage_is_shared(s->storage) ? s->config->storage.postgres.max_pool_size - CONNECTIONS_FOR_OTHERS : 0;
}

static bool start_server(struct service *s, struct error *err)
{
	const struct config *c = s->config;
	struct server_options options = {
	        .port = c->port,
	        .max_connections = wiring_limit(c->api.max_concurrent_connections),
	        .limits = {wiring_limit(c->api.max_buckets_per_connection), wiring_limit(c->api.max_parameter_query_results)},
	        .tls_certificate = c->tls.certificate,
	        .tls_private_key = c->tls.private_key,
	        .write_timeout_ms = write_timeout_ms(c->api.stream_write_timeout_seconds),
	        .probes = c->probes.use_http || c->probes.use_legacy,
	        .admin_tokens = c->api.tokens.items,
	        .admin_token_count = c->api.tokens.count,
	        .admin = &s->admin,
	        .workers_at_least = workers_at_least(s),
	        .keys = s->keys,
	        .keys_are_local =
	                !c->client_auth.jwks_uris.count && !(c->client_auth.supabase && c->client_auth.supabase_jwks_uri),
	        .storage = s->storage,
	        .source = s->source,
	        .log = &s->log,
	        .metrics = s->metrics,
	        .is_live = is_live,
	        .troubles = troubles,
	        .strict_readiness = c->probes.strict_readiness,
	        .probe_ctx = s,
	};
	s->server = server_start(&options, err);
	return s->server != NULL;
}

/* replication_lock is held. */
static bool start_replication(struct service *s, struct error *err)
{
	if (!s->source || !s->plan)
		return true;
	s->replication_source = source_new(&s->source_config, &s->log);
	struct replicator_options options = {
	        .source = s->replication_source,
	        .connection_tag = s->source_config.tag,
	        .slot_name_prefix = s->source_config.slot_name_prefix,
	        .heartbeat_interval_s = s->source_config.heartbeat_interval_s,
	        .discovery_interval_s = s->source_config.discovery_interval_s,
	        .snapshot_readers = s->source_config.snapshot_readers,
	        .storage = s->storage,
	        .log = &s->log,
	        .metrics = s->metrics,
	};
	s->replicator = replicator_start(&options, s->plan, err);
	return s->replicator != NULL;
}

static void stop_replication(struct service *s)
{
	replicator_stop(s->replicator);
	replicator_free(s->replicator);
	s->replicator = NULL;
	source_free(s->replication_source);
	s->replication_source = NULL;
}

/* How long a deploy waits for the replicator to take it, which it does between two transactions. */
#define DEPLOY_PATIENCE_MS 2000

/* Active, nothing pending, and nothing else asked for since: the stream need not be opened anew. */
static bool is_what_runs(struct service *s, const struct plan *plan)
{
	struct plan_preview p;
	storage_preview(s->storage, plan, &p);
	bool unchanged = p.unchanged;
	plan_preview_free(&p);
	return unchanged && slice_eq(plan_text(s->plan), plan_text(plan));
}

bool service_deploy(struct service *s, struct plan *plan, struct error *err)
{
	if (s->role == ROLE_API)
		return error_set(err, "", "This process only serves: sync configs are deployed by the one that replicates");
	if (!s->source)
		return error_set(err, "", "No source connection is configured");
	pthread_mutex_lock(&s->replication_lock);
	struct replicator *running = s->replicator;
	if (running && is_what_runs(s, plan)) {
		pthread_mutex_unlock(&s->replication_lock);
		log_info(&s->log, "Sync config unchanged");
		return true;
	}
	plan_unref(s->plan);
	s->plan = plan_ref(plan);
	bool ok = running || start_replication(s, err);
	if (running)
		replicator_deploy(running, plan);
	else if (!ok)
		stop_replication(s);
	pthread_mutex_unlock(&s->replication_lock);
	/* A replicator that runs does so until the service stops, which waits for those who deploy. */
	return ok && (!running || replicator_deploy_wait(running, DEPLOY_PATIENCE_MS, err) != DEPLOY_FAILED);
}

static bool deploy(void *ctx, struct plan *plan, struct error *err)
{
	return service_deploy(ctx, plan, err);
}

static bool sync_config_configured(void *ctx)
{
	struct service *s = ctx;
	return s->configured;
}

static bool reprocess(void *ctx)
{
	struct service *s = ctx;
	pthread_mutex_lock(&s->replication_lock);
	bool ok = s->replicator && replicator_reprocess(s->replicator);
	pthread_mutex_unlock(&s->replication_lock);
	return ok;
}

void service_config_problem(struct service *s, const char *text)
{
	pthread_mutex_lock(&s->replication_lock);
	snprintf(s->config_problem, sizeof(s->config_problem), "%s", text);
	pthread_mutex_unlock(&s->replication_lock);
}

static void fill_admin(struct service *s)
{
	const struct config_postgres *p = &s->config->source;
	bool v6 = p->hostname && strchr(p->hostname, ':');
	if (s->source)
		snprintf(s->source_uri, sizeof(s->source_uri), "postgresql://%s%s%s:%d/%s", v6 ? "[" : "", p->hostname,
		         v6 ? "]" : "", p->port, p->database);
	s->admin = (struct server_admin){
	        .source = s->admin_source,
	        .connection_id = s->source ? p->id : "default",
	        .connection_tag = s->source ? p->tag : "default",
	        .source_uri = s->source_uri,
	        .debug_api = s->source && p->debug_api,
	        .sync_config_configured = sync_config_configured,
	        .replication = tell_replication,
	        .tables = tell_tables,
	        .deploy = deploy,
	        .reprocess = reprocess,
	        .ctx = s,
	};
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
	s->configured = named;
	free(text);
	if (s->plan)
		return 0;
	if (named)
		service_config_problem(s, err.message[0] ? err.message : "The sync config is not usable: the log has its faults");
	if (named && s->config->sync_config.exit_on_error) {
		log_error(&s->log, "The sync config is not usable (sync_config.exit_on_error is true): exiting with code 1");
		sleep(1);
		return 1;
	}
	/* The newest: one that was deployed over HTTP may still be in its initial replication. */
	struct slice stored = storage_pending_plan_text(s->storage);
	if (!stored.p || named)
		stored = storage_active_plan_text(s->storage);
	struct diagnostics d = {0};
	if (stored.p)
		s->plan = plan_compile(stored, SLICE("public"), &d);
	diagnostics_free(&d);
	log_line(&s->log, named || !s->plan ? LOG_WARN : LOG_INFO, "%s",
	         s->plan ? "Going on with the sync config in the store"
	                 : "There is no usable sync config: nothing is replicated");
	return 0;
}

/* The port is open already: probes and admin routes ask for the replicator. */
static bool begin_replication(struct service *s, struct error *err)
{
	if (s->role == ROLE_API)
		return true;
	pthread_mutex_lock(&s->replication_lock);
	bool ok = s->replicator || start_replication(s, err); /* a deploy over HTTP may have been first */
	pthread_mutex_unlock(&s->replication_lock);
	return ok;
}

int service_start(struct service *s)
{
	pthread_mutex_init(&s->replication_lock, NULL);
	struct error err = {.code = ""};
	service_init_metrics(s);
	if (s->config->has_source) {
		s->source_config = wiring_source_config(s->config);
		s->source = source_new(&s->source_config, &s->log);
		s->admin_source = source_new(&s->source_config, &s->log);
	}
	if (!open_keys(s, &err) || !open_storage(s, &err))
		return s->stopped_early ? 0 : fail(s, EXIT_BAD_CONFIG, &err);
	key_store_ask(s->keys);
	int code = s->role == ROLE_API ? 0 : load_plan(s);
	if (code)
		return code;
	fill_admin(s);
	if (!start_server(s, &err) || !begin_replication(s, &err) || !service_start_jobs(s, &err) ||
	    !service_publish_metrics(s, &err))
		return fail(s, EXIT_BAD_CONFIG, &err);
	server_set_ready(s->server, true, true);
	log_info(&s->log, "Service started");
	if (s->config->probes.use_filesystem || s->config->probes.use_legacy)
		s->probe_files = probe_files_start(is_live, s);
	if (!is_shared_store(s->config)) /* commands go to the database */
		service_listen(s);
	return 0;
}

void service_stop(struct service *s)
{
	metrics_listener_stop(s->metrics_listener);
	probe_files_stop(s->probe_files);
	control_stop(s->control);
	maintenance_stop(s->maintenance);
	if (s->server)
		server_stop(s->server, DRAIN_MS);
	stop_replication(s);
	if (s->server)
		server_free(s->server);
	if (s->storage)
		storage_close(s->storage);
	storage_database_close(&s->database);
	source_free(s->source);
	source_free(s->admin_source);
	if (s->keys)
		key_store_free(s->keys);
	plan_unref(s->plan);
	metrics_free(s->metrics);
	config_free(s->config);
}
