/*
 * decode.c: the checked tree -> struct config, defaults filled in (configuration 2), range checks that belong to reading.
 *
 * Connection sections are only noted here; connection.c resolves them (configuration 3, step 6).
 */
#include <math.h>
#include <stdlib.h>

#include "config/load.h"
#include "config/supabase.h"

#define DEFAULT_FOLDER "syncline-data"

static bool both_given(struct config_load *l, const struct node *first, const struct node *second)
{
	findings_error(&l->findings, second->line, second->column,
	               "sync_config and sync_rules (line %d) are the same section under two names; keep sync_config",
	               first->line);
	return findings_report(&l->findings, l->err);
}

/* Configuration 1.4. */
static bool decode_sync_config(struct config_load *l, const struct node *root)
{
	struct config *c = l->config;
	const struct node *section = node_get(root, "sync_config"), *old = node_get(root, "sync_rules");
	if (section && old)
		return both_given(l, old, section);
	if (!section)
		section = old;
	c->sync_config.exit_on_error = node_flag(node_get(section, "exit_on_error"), true);
	const struct node *keep = node_get(section, "keep_replaced_minutes");
	c->sync_config.keep_replaced_minutes = node_number(keep, 10);
	if (!(c->sync_config.keep_replaced_minutes >= 0 && c->sync_config.keep_replaced_minutes <= 10080))
		return config_error_at(c, keep, l->err, "", "sync_config.keep_replaced_minutes must be a number from 0 to 10080");

	const struct node *path = node_get(section, "path"), *content = node_get(section, "content");
	const char *path_text = node_text(path, ""), *content_text = node_text(content, "");
	struct slice base64 = find_sync_config_base64(l);
	if (base64.p) {
		c->sync_config.text = base64;
	} else if (*path_text) {
		if (*content_text)
			findings_warn(&l->findings, content->line, content->column,
			              "sync_config.content is ignored, since sync_config.path is given");
		const char *base = l->directory ? l->directory : l->arguments->working_directory;
		c->sync_config.path = base ? path_resolve(&c->arena, base, path_text) : path_text;
	} else if (*content_text) {
		c->sync_config.text = content->text;
	}
	return true;
}

/* Beside the configuration file, like the other paths. */
static const char *decode_path(struct config_load *l, const struct node *n)
{
	const char *base = l->directory ? l->directory : l->arguments->working_directory, *text = node_text(n, NULL);
	return text && base ? path_resolve(&l->config->arena, base, text) : text;
}

/* Only the members that a key is made of: extra ones are ignored (2.6), and a private key's other half never gets further. */
static struct slice key_json(const struct node *key, struct arena *arena)
{
	static const char *const members[] = {"kty", "kid", "alg", "use", "crv", "n", "e", "k", "x", "y"};
	struct buf out = {0};
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		const struct node *v = node_get(key, members[i]);
		if (!v || v->kind != NODE_STRING)
			continue;
		buf_printf(&out, "%c\"%s\":", out.n ? ',' : '{', members[i]);
		buf_json_text(&out, v->text);
	}
	buf_putc(&out, '}');
	struct slice result = arena_copy(arena, buf_slice(&out));
	buf_free(&out);
	return result;
}

static bool decode_keys(struct config_load *l, const struct node *keys)
{
	struct config *c = l->config;
	size_t count = keys ? keys->list.count : 0;
	struct slice *out = arena_array(&c->arena, struct slice, count + 1);
	for (size_t i = 0; i < count; i++) {
		const struct node *k = node_get(keys->list.items[i], "k");
		if (k && k->text.n == 0) {
			l->stage = CONFIG_RESOLVE;
			return config_error_at(c, k, l->err, "", "client_auth.jwks.keys[%zu].k must not be empty", i);
		}
		out[i] = key_json(keys->list.items[i], &c->arena);
	}
	c->client_auth.static_keys = out;
	c->client_auth.static_key_count = count;
	return true;
}

static void add_local(struct config *c)
{
	struct config_string_list *list = &c->client_auth.reject_ip_ranges;
	const char **items = arena_array(&c->arena, const char *, list->count + 1);
	for (size_t i = 0; i < list->count; i++)
		items[i] = list->items[i];
	items[list->count++] = "local";
	list->items = items;
}

static bool decode_client_auth(struct config_load *l, const struct node *section)
{
	struct config *c = l->config;
	node_strings(node_get(section, "audience"), &c->arena, &c->client_auth.audience);
	node_strings(node_get(section, "jwks_uri"), &c->arena, &c->client_auth.jwks_uris);
	node_strings(node_get(section, "jwks_reject_ip_ranges"), &c->arena, &c->client_auth.reject_ip_ranges);
	c->client_auth.block_local_jwks = node_flag(node_get(section, "block_local_jwks"), false);
	if (c->client_auth.block_local_jwks)
		add_local(c);
	c->client_auth.supabase = node_flag(node_get(section, "supabase"), false);
	const struct node *secret = node_get(section, "supabase_jwt_secret");
	if (c->client_auth.supabase)
		c->client_auth.supabase_jwt_secret = node_text(secret, NULL);
	else if (secret)
		findings_warn(&l->findings, secret->line, secret->column,
		              "client_auth.supabase_jwt_secret has no effect without client_auth.supabase: true");
	c->client_auth.development_tokens = node_flag(node_get(section, "development_tokens"), false);
	return decode_keys(l, node_at(section, "jwks.keys"));
}

/* 2.7: the two keys that must be positive whole numbers. */
static bool whole_minutes(struct config_load *l, const struct node *parameters, const char *key, int64_t *out)
{
	const struct node *n = node_get(parameters, key);
	double v = node_number(n, 60);
	if (v < 1 || v != floor(v) || v > 9007199254740992.0) {
		l->stage = CONFIG_RESOLVE;
		return config_error_at(l->config, n, l->err, "",
		                       "api.parameters.%s must be a whole number of minutes, at least 1", key);
	}
	*out = (int64_t)v;
	return true;
}

static bool decode_api(struct config_load *l, const struct node *section)
{
	struct config *c = l->config;
	const struct node *p = node_get(section, "parameters");
	node_strings(node_get(section, "tokens"), &c->arena, &c->api.tokens);
	c->api.max_concurrent_connections = node_number(node_get(p, "max_concurrent_connections"), 200);
	c->api.max_data_fetch_concurrency = node_number(node_get(p, "max_data_fetch_concurrency"), 10);
	c->api.max_buckets_per_connection = node_number(node_get(p, "max_buckets_per_connection"), 1000);
	c->api.max_parameter_query_results = node_number(node_get(p, "max_parameter_query_results"), 1000);
	c->api.stream_write_timeout_seconds = node_number(node_get(p, "stream_write_timeout_seconds"), 0);
	return whole_minutes(l, p, "checkpoint_request_retention_minutes", &c->api.checkpoint_request_retention_minutes) &&
	       whole_minutes(l, p, "bucket_count_cache_ttl_minutes", &c->api.bucket_count_cache_ttl_minutes);
}

static int decode_port(const struct node *n, int otherwise)
{
	double v = node_number(n, otherwise);
	if (n && n->kind == NODE_STRING)
		number_from_prefix(n->text, &v);
	struct node number = {.kind = NODE_NUMBER, .number = v};
	return node_int(&number, otherwise);
}

bool config_log_is_json(const char *configured)
{
	const char *environment = getenv("NODE_ENV"), *format = getenv("PS_LOG_FORMAT");
	if (format && *format)
		return strcmp(format, "json") == 0;
	return configured ? strcmp(configured, "json") == 0 : environment && strcmp(environment, "production") == 0;
}

/* 2.11 and the variables of 1.5. */
static void decode_logging(struct config_load *l, const struct node *section)
{
	struct config *c = l->config;
	const char *level = getenv("PS_LOG_LEVEL");
	c->logging.json = config_log_is_json(node_text(node_get(section, "format"), NULL));
	log_level_parse(slice_cstr(node_text(node_get(section, "level"), "info")), &c->logging.level);
	if (level && *level && !log_level_parse(slice_cstr(level), &c->logging.level))
		findings_warn(&l->findings, 0, 0, "PS_LOG_LEVEL is not a log level and is ignored");
}

static void decode_probes(struct config *c, const struct node *probes)
{
	c->probes.use_http = node_flag(node_get(probes, "use_http"), false);
	c->probes.use_filesystem = node_flag(node_get(probes, "use_filesystem"), false);
	c->probes.strict_readiness = node_flag(node_get(probes, "strict_readiness"), false);
	c->probes.use_legacy = node_flag(node_get(probes, "use_legacy"), !probes);
}

static bool decode_map_size(struct config_load *l, const struct node *n)
{
	double v = node_number(n, 0);
	if (n && (v < 1024 * 1024 || v != floor(v) || v > 1e15)) {
		l->stage = CONFIG_RESOLVE;
		return config_error_at(l->config, n, l->err, "",
		                       "storage.map_size must be a whole number of bytes, at least 1048576");
	}
	l->config->storage.map_size = (uint64_t)v;
	return true;
}

/* A number of the section in [0, most]. */
static bool decode_limit(struct config_load *l, const struct node *section, const char *key, double fallback, double most,
                         double *out)
{
	const struct node *n = node_get(section, key);
	*out = node_number(n, fallback);
	if (*out >= 0 && *out <= most)
		return true;
	l->stage = CONFIG_RESOLVE;
	return config_error_at(l->config, n, l->err, "", "storage.compaction.%s must be a number from 0 to %.0f", key, most);
}

static bool decode_compaction(struct config_load *l, const struct node *section)
{
	struct config *c = l->config;
	return decode_limit(l, section, "interval_minutes", 10, 525600, &c->storage.compaction.interval_minutes) &&
	       decode_limit(l, section, "min_operations", 100, 1e15, &c->storage.compaction.min_operations) &&
	       decode_limit(l, section, "min_share", 0.2, 1, &c->storage.compaction.min_share) &&
	       decode_limit(l, section, "defragment_share", 0.5, 1, &c->storage.compaction.defragment_share);
}

static bool decode_storage(struct config_load *l, const struct node *section)
{
	struct config *c = l->config;
	c->storage.is_default = !section;
	c->storage.type = node_text(node_get(section, "type"), "lmdb");
	const struct node *version = node_get(section, "default_storage_version");
	double v = node_number(version, 2);
	if (v != 2 && v != 3) {
		l->stage = CONFIG_RESOLVE;
		return config_error_at(c, version, l->err, "", "storage.default_storage_version must be 2 or 3");
	}
	c->storage.default_storage_version = (int)v;

	const struct node *limits = node_get(section, "batch_limits");
	c->storage.batch_limits.max_estimated_size = node_number(node_get(limits, "max_estimated_size"), 5000000);
	c->storage.batch_limits.max_record_count = node_number(node_get(limits, "max_record_count"), 2000);
	c->storage.batch_limits.max_current_data_batch_size =
	        node_number(node_get(limits, "max_current_data_batch_size"), 50000000);
	if (strcmp(c->storage.type, "lmdb") != 0)
		return true;
	const char *path = node_text(node_get(section, "path"), "");
	c->storage.path = path_resolve(&c->arena, c->directory, *path ? path : DEFAULT_FOLDER);
	return decode_map_size(l, node_get(section, "map_size")) && decode_compaction(l, node_get(section, "compaction"));
}

static bool decode_replication(struct config_load *l, const struct node *section)
{
	const struct node *connections = node_get(section, "connections");
	l->config->has_source = connections && connections->list.count > 0;
	if (connections && connections->list.count > 1) {
		l->stage = CONFIG_RESOLVE;
		return config_error_at(l->config, connections->list.items[1], l->err, "",
		                       "replication.connections may hold one connection only");
	}
	return true;
}

/* The derived key source, and the two ways in which Supabase settings and source do not go together (configuration 3). */
static void decode_supabase(struct config_load *l, const struct node *root)
{
	struct config *c = l->config;
	const struct node *connections = node_at(root, "replication.connections");
	const struct node *source = c->has_source ? connections->list.items[0] : NULL;
	const struct node *flag = node_at(root, "client_auth.supabase");
	const char *uri = supabase_uri_of_source(source, &c->arena);
	if (c->client_auth.supabase)
		c->client_auth.supabase_jwks_uri = uri;
	if (c->client_auth.supabase && !uri)
		findings_warn(&l->findings, flag->line, flag->column,
		              "client_auth.supabase is true, but the source's host is not db.<project>.supabase.co: no "
		              "Supabase key source "
		              "can be derived");
	else if (!c->client_auth.supabase && uri)
		findings_warn(&l->findings, source->line, source->column,
		              "the source is a Supabase database, but client_auth.supabase is not true: tokens of Supabase "
		              "Auth are refused");
}

bool decode_config(struct config_load *l, const struct node *root)
{
	struct config *c = l->config;
	const struct node *telemetry = node_get(root, "telemetry");
	c->port = decode_port(node_get(root, "port"), 8080);
	c->tls.certificate = decode_path(l, node_at(root, "tls.certificate"));
	c->tls.private_key = decode_path(l, node_at(root, "tls.private_key"));
	c->prometheus_port = decode_port(node_get(telemetry, "prometheus_port"), 0);
	c->disable_telemetry_sharing = node_flag(node_get(telemetry, "disable_telemetry_sharing"), false);
	c->disable_auto_migration = node_flag(node_at(root, "migrations.disable_auto_migration"), false);
	decode_probes(c, node_at(root, "healthcheck.probes"));
	decode_logging(l, node_at(root, "system.logging"));
	if (!decode_sync_config(l, root) || !decode_replication(l, node_get(root, "replication")) ||
	    !decode_api(l, node_get(root, "api")) || !decode_client_auth(l, node_get(root, "client_auth")) ||
	    !decode_storage(l, node_get(root, "storage")))
		return false;
	decode_supabase(l, root);
	return true;
}
