/* wiring.c: see wiring.h. */
#include "cli/wiring.h"

#include <string.h>

static struct source_config postgres_config(const struct config_postgres *p, const char *application_name)
{
	return (struct source_config){
	        .type = p->type,
	        .id = p->id,
	        .tag = p->tag,
	        .hostname = p->hostname,
	        .username = p->username,
	        .password = p->password,
	        .database = p->database,
	        .port = p->port,
	        .sslmode = strcmp(p->sslmode, "disable") == 0     ? SSLMODE_DISABLE
	                   : strcmp(p->sslmode, "verify-ca") == 0 ? SSLMODE_VERIFY_CA
	                                                          : SSLMODE_VERIFY_FULL,
	        .cacert = p->cacert,
	        .client_certificate = p->client_certificate,
	        .client_private_key = p->client_private_key,
	        .tls_servername = p->tls_servername,
	        .application_name = application_name,
	        .reject_ip_ranges = p->reject_ip_ranges,
	        .reject_ip_range_count = p->reject_ip_range_count,
	        .slot_name_prefix = p->slot_name_prefix,
	        .connect_timeout_s = p->connect_timeout_s,
	        .snapshot_socket_timeout_s = p->snapshot_socket_timeout_s,
	        .heartbeat_interval_s = p->heartbeat_interval_s,
	        .discovery_interval_s = p->discovery_interval_s,
	        .snapshot_readers = p->snapshot_readers,
	};
}

struct source_config wiring_source_config(const struct config *c)
{
	return postgres_config(&c->source, "syncline/" SYNCLINE_VERSION);
}

struct auth_config wiring_auth_config(const struct config *c)
{
	return (struct auth_config){
	        .audience = c->client_auth.audience.items,
	        .audience_count = c->client_auth.audience.count,
	        .static_keys = c->client_auth.static_keys,
	        .static_key_count = c->client_auth.static_key_count,
	        .jwks_uris = c->client_auth.jwks_uris.items,
	        .jwks_uri_count = c->client_auth.jwks_uris.count,
	        .reject_ip_ranges = c->client_auth.reject_ip_ranges.items,
	        .reject_ip_range_count = c->client_auth.reject_ip_ranges.count,
	        .block_ipv6 = c->client_auth.block_local_jwks,
	        .supabase = c->client_auth.supabase,
	        .supabase_jwt_secret = c->client_auth.supabase_jwt_secret,
	        .supabase_jwks_uri = c->client_auth.supabase_jwks_uri,
	};
}

struct storage_options wiring_storage_options(const struct config *c, const struct log *log)
{
	return (struct storage_options){
	        .path = slice_cstr(c->storage.path),
	        .map_size = c->storage.map_size,
	        .keep_format = c->disable_auto_migration,
	        .request_retention_ms = c->api.checkpoint_request_retention_minutes * 60000,
	        .retirement_ms = (int64_t)(c->sync_config.keep_replaced_minutes * 60000),
	        .log = log,
	};
}

size_t wiring_limit(double value)
{
	const double most = 4503599627370496.0; /* far beyond anything reachable, and exact as a double */
	return value > most ? (size_t)most : value >= 1 ? (size_t)value : 0;
}

static void *connect_storage(void *ctx, struct error *err)
{
	struct storage_database *d = ctx;
	return source_connect_bare(d->source, err);
}

void storage_database_open(struct storage_database *d, const struct config *c, const struct log *log,
                           struct storage_options *options)
{
	d->config = postgres_config(&c->storage.postgres, "syncline-storage/" SYNCLINE_VERSION);
	d->source = source_new(&d->config, log);
	options->postgres = (struct storage_postgres){
	        .connect = connect_storage,
	        .connect_ctx = d,
	        .max_pool_size = (unsigned)c->storage.postgres.max_pool_size,
	        .slot_name_prefix = c->has_source ? c->source.slot_name_prefix : NULL,
	        .default_version = c->storage.default_storage_version,
	};
}

void storage_database_close(struct storage_database *d)
{
	source_free(d->source);
	d->source = NULL;
}
