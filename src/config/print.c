/*
 * print.c: the effective configuration, for "is it what I meant?".
 *
 * Nothing that lets anybody in is printed: passwords, secrets, private keys and tokens are "***", and so is a user name and password
 * inside a URL. Queries of URLs are left out, since drivers take credentials there too. Certificates and inline texts are only
 * measured.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/url.h"
#include "config/load.h"

#define MASK "***"

struct printer {
	struct buf *out;
	bool json, first;
	int depth;
};

static void append_text(struct buf *out, struct slice s)
{
	buf_putc(out, '"');
	for (size_t i = 0; i < s.n; i++) {
		unsigned char ch = (unsigned char)s.p[i];
		if (ch == '"' || ch == '\\')
			buf_printf(out, "\\%c", ch);
		else if (ch < 0x20 || ch == 0x7F)
			buf_printf(out, "\\u%04x", ch);
		else
			buf_putc(out, (char)ch);
	}
	buf_putc(out, '"');
}

static void start_line(struct printer *p)
{
	if (p->json && !p->first)
		buf_putc(p->out, ',');
	if (p->out->n)
		buf_putc(p->out, '\n');
	for (int i = 0; i < p->depth; i++)
		buf_lit(p->out, "  ");
	p->first = false;
}

static void key(struct printer *p, const char *name)
{
	start_line(p);
	buf_printf(p->out, p->json ? "\"%s\": " : "%s: ", name);
}

static void open_map(struct printer *p, const char *name)
{
	start_line(p);
	buf_printf(p->out, p->json ? "\"%s\": {" : "%s:", name);
	p->depth++;
	p->first = true;
}

static void close_map(struct printer *p)
{
	p->depth--;
	p->first = true;
	if (p->json) {
		start_line(p);
		buf_putc(p->out, '}');
	}
	p->first = false;
}

/* What is not given is left out. */
static void text(struct printer *p, const char *name, const char *value)
{
	if (!value)
		return;
	key(p, name);
	append_text(p->out, slice_cstr(value));
}

static void secret(struct printer *p, const char *name, const char *value)
{
	text(p, name, value && *value ? MASK : value);
}

static void measured(struct printer *p, const char *name, struct slice value)
{
	char shown[64];
	snprintf(shown, sizeof(shown), "(%zu bytes)", value.n);
	text(p, name, value.p ? shown : NULL);
}

static void number(struct printer *p, const char *name, double v)
{
	char text[40];
	key(p, name);
	/* As short as it was written: 0.2, not 0.20000000000000001. */
	snprintf(text, sizeof(text), v == floor(v) && fabs(v) < 1e15 ? "%.0f" : "%.15g", v);
	if (strtod(text, NULL) != v)
		snprintf(text, sizeof(text), "%.17g", v);
	buf_printf(p->out, "%s", text);
}

static void flag(struct printer *p, const char *name, bool v)
{
	key(p, name);
	buf_printf(p->out, "%s", v ? "true" : "false");
}

enum shown {
	AS_IT_IS,
	AS_URL,
	AS_SECRET,
};

/* "scheme://user:password@host/path?query" gets "***" for its credentials and "..." for its query. */
static void append_url(struct buf *out, struct slice url)
{
	struct buf shown = {0};
	struct slice secret = url_credentials(url), rest = url;
	if (secret.n) {
		size_t before = (size_t)(secret.p - url.p);
		buf_append(&shown, url.p, before);
		buf_lit(&shown, MASK);
		rest = slice_drop(url, before + secret.n);
	}
	size_t end = 0;
	while (end < rest.n && rest.p[end] != '?' && rest.p[end] != '#')
		end++;
	buf_append(&shown, rest.p, end);
	if (end < rest.n)
		buf_lit(&shown, "?...");
	append_text(out, buf_slice(&shown));
	buf_free(&shown);
}

static void strings(struct printer *p, const char *name, const char *const *items, size_t count, enum shown as)
{
	key(p, name);
	buf_putc(p->out, '[');
	for (size_t i = 0; i < count; i++) {
		if (i)
			buf_lit(p->out, ", ");
		if (as == AS_URL)
			append_url(p->out, slice_cstr(items[i]));
		else
			append_text(p->out, as == AS_SECRET ? SLICE(MASK) : slice_cstr(items[i]));
	}
	buf_putc(p->out, ']');
}

static void print_postgres(struct printer *p, const struct config_postgres *c, bool source)
{
	text(p, "type", c->type);
	text(p, "id", c->id);
	text(p, "tag", c->tag);
	text(p, "hostname", c->hostname);
	number(p, "port", c->port);
	text(p, "database", c->database);
	text(p, "username", c->username);
	secret(p, "password", c->password);
	text(p, "sslmode", c->sslmode);
	measured(p, "cacert", slice_cstr(c->cacert));
	measured(p, "client_certificate", slice_cstr(c->client_certificate));
	secret(p, "client_private_key", c->client_private_key);
	text(p, "tls_servername", c->tls_servername);
	strings(p, "reject_ip_ranges", c->reject_ip_ranges, c->reject_ip_range_count, AS_IT_IS);
	number(p, "connect_timeout", c->connect_timeout_s);
	if (!source) {
		number(p, "max_pool_size", c->max_pool_size);
		return;
	}
	text(p, "slot_name_prefix", c->slot_name_prefix);
	number(p, "snapshot_socket_timeout", c->snapshot_socket_timeout_s);
	number(p, "heartbeat_interval_seconds", c->heartbeat_interval_s);
	number(p, "discovery_interval_seconds", c->discovery_interval_s);
	number(p, "snapshot_readers", c->snapshot_readers);
	flag(p, "debug_api", c->debug_api);
}

static void print_source(struct printer *p, const struct config *c)
{
	open_map(p, "replication");
	key(p, "connections");
	if (!c->has_source) {
		buf_lit(p->out, "[]");
		close_map(p);
		return;
	}
	/* A flow list in both forms: "[{" with the members below it. */
	bool json = p->json;
	buf_lit(p->out, "[{");
	p->json = true;
	p->first = true;
	p->depth++;
	print_postgres(p, &c->source, true);
	p->depth--;
	p->first = true;
	start_line(p);
	buf_lit(p->out, "}]");
	p->json = json;
	close_map(p);
}

static void print_storage(struct printer *p, const struct config *c)
{
	const struct config_mongodb *m = &c->storage.mongodb;
	open_map(p, "storage");
	if (strcmp(c->storage.type, "lmdb") == 0) {
		text(p, "type", c->storage.type);
		text(p, "path", c->storage.path);
		if (c->storage.map_size)
			number(p, "map_size", (double)c->storage.map_size);
		open_map(p, "compaction");
		number(p, "interval_minutes", c->storage.compaction.interval_minutes);
		number(p, "min_operations", c->storage.compaction.min_operations);
		number(p, "min_share", c->storage.compaction.min_share);
		number(p, "defragment_share", c->storage.compaction.defragment_share);
		close_map(p);
	} else if (strcmp(c->storage.type, "postgresql") == 0) {
		print_postgres(p, &c->storage.postgres, false);
		open_map(p, "batch_limits");
		number(p, "max_estimated_size", c->storage.batch_limits.max_estimated_size);
		number(p, "max_record_count", c->storage.batch_limits.max_record_count);
		number(p, "max_current_data_batch_size", c->storage.batch_limits.max_current_data_batch_size);
		close_map(p);
	} else {
		text(p, "type", c->storage.type);
		key(p, "uri");
		append_url(p->out, slice_cstr(m->uri));
		text(p, "database", m->database);
		text(p, "username", m->username);
		secret(p, "password", m->password);
		strings(p, "reject_ip_ranges", m->reject_ip_ranges, m->reject_ip_range_count, AS_IT_IS);
		number(p, "max_pool_size", m->max_pool_size);
		text(p, "bulk_read_preference", m->bulk_read_preference);
		number(p, "clear_batch_throttle_rate", m->clear_batch_throttle_rate);
	}
	number(p, "default_storage_version", c->storage.default_storage_version);
	close_map(p);
}

/* Of a static key only what tells it apart; its text is JSON that this layer wrote itself. */
static void print_keys(struct printer *p, const struct config *c)
{
	const struct node *keys = node_at(c->document, "client_auth.jwks.keys");
	static const char *const members[] = {"kty", "kid", "alg"};
	key(p, "jwks");
	buf_lit(p->out, "{\"keys\": [");
	for (size_t i = 0; keys && i < keys->list.count; i++) {
		buf_printf(p->out, "%s{", i ? ", " : "");
		for (size_t j = 0, shown = 0; j < 3; j++) {
			const char *value = node_text(node_get(keys->list.items[i], members[j]), NULL);
			if (!value)
				continue;
			buf_printf(p->out, "%s\"%s\": ", shown++ ? ", " : "", members[j]);
			append_text(p->out, slice_cstr(value));
		}
		buf_putc(p->out, '}');
	}
	buf_lit(p->out, "]}");
}

static void print_client_auth(struct printer *p, const struct config *c)
{
	open_map(p, "client_auth");
	strings(p, "audience", c->client_auth.audience.items, c->client_auth.audience.count, AS_IT_IS);
	strings(p, "jwks_uri", c->client_auth.jwks_uris.items, c->client_auth.jwks_uris.count, AS_URL);
	print_keys(p, c);
	strings(p, "jwks_reject_ip_ranges", c->client_auth.reject_ip_ranges.items, c->client_auth.reject_ip_ranges.count,
	        AS_IT_IS);
	flag(p, "block_local_jwks", c->client_auth.block_local_jwks);
	flag(p, "supabase", c->client_auth.supabase);
	secret(p, "supabase_jwt_secret", c->client_auth.supabase_jwt_secret);
	flag(p, "development_tokens", c->client_auth.development_tokens);
	close_map(p);
}

static void print_api(struct printer *p, const struct config *c)
{
	open_map(p, "api");
	strings(p, "tokens", c->api.tokens.items, c->api.tokens.count, AS_SECRET);
	open_map(p, "parameters");
	number(p, "max_concurrent_connections", c->api.max_concurrent_connections);
	number(p, "max_data_fetch_concurrency", c->api.max_data_fetch_concurrency);
	number(p, "max_buckets_per_connection", c->api.max_buckets_per_connection);
	number(p, "max_parameter_query_results", c->api.max_parameter_query_results);
	number(p, "checkpoint_request_retention_minutes", (double)c->api.checkpoint_request_retention_minutes);
	number(p, "bucket_count_cache_ttl_minutes", (double)c->api.bucket_count_cache_ttl_minutes);
	number(p, "stream_write_timeout_seconds", c->api.stream_write_timeout_seconds);
	close_map(p);
	close_map(p);
}

static void print_sync_config(struct printer *p, const struct config *c)
{
	open_map(p, "sync_config");
	if (c->sync_config.path)
		text(p, "path", c->sync_config.path);
	else if (c->sync_config.text.p)
		measured(p, "content", c->sync_config.text);
	flag(p, "exit_on_error", c->sync_config.exit_on_error);
	number(p, "keep_replaced_minutes", c->sync_config.keep_replaced_minutes);
	close_map(p);
}

static void print_operation(struct printer *p, const struct config *c)
{
	static const char *const levels[] = {"silly", "debug", "verbose", "http", "info", "warn", "error"};
	open_map(p, "telemetry");
	flag(p, "disable_telemetry_sharing", c->disable_telemetry_sharing);
	number(p, "prometheus_port", c->prometheus_port);
	close_map(p);
	open_map(p, "migrations");
	flag(p, "disable_auto_migration", c->disable_auto_migration);
	close_map(p);
	open_map(p, "healthcheck");
	open_map(p, "probes");
	flag(p, "use_http", c->probes.use_http);
	flag(p, "use_filesystem", c->probes.use_filesystem);
	flag(p, "use_legacy", c->probes.use_legacy);
	flag(p, "strict_readiness", c->probes.strict_readiness);
	close_map(p);
	close_map(p);
	open_map(p, "system");
	open_map(p, "logging");
	text(p, "level", levels[c->logging.level]);
	text(p, "format", c->logging.json ? "json" : "text");
	close_map(p);
	close_map(p);
}

void config_print(const struct config *c, bool json, struct buf *out)
{
	struct buf body = {0};
	struct printer p = {.out = &body, .json = json, .first = true, .depth = json};
	print_source(&p, c);
	print_storage(&p, c);
	number(&p, "port", c->port);
	if (c->tls.certificate) {
		open_map(&p, "tls");
		text(&p, "certificate", c->tls.certificate);
		text(&p, "private_key", c->tls.private_key);
		close_map(&p);
	}
	print_sync_config(&p, c);
	print_client_auth(&p, c);
	print_api(&p, c);
	print_operation(&p, c);
	if (json)
		buf_lit(out, "{\n");
	else
		buf_printf(out, "# %s\n", c->path ? c->path : "from base64");
	buf_slice_append(out, buf_slice(&body));
	buf_printf(out, json ? "\n}\n" : "\n");
	buf_free(&body);
}
