/* schema_tables.c: every key of the configuration (configuration 2.1 to 2.11). Defaults are in decode.c and connection.c. */
#include "config/schema.h"

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})
/* clang-format off */
#define END {.name = NULL}
/* Members of a standard format: others belong there and are ignored in silence. */
#define OPEN_END {.name = NULL, .flags = FIELD_OPEN}

#define POSTGRES_MEMBERS \
	{.name = "type", .type = FIELD_STRING, .flags = FIELD_REQUIRED}, \
	{.name = "uri", .type = FIELD_STRING}, \
	{.name = "hostname", .type = FIELD_STRING}, \
	{.name = "port", .type = FIELD_CONNECTION_PORT}, \
	{.name = "database", .type = FIELD_STRING}, \
	{.name = "username", .type = FIELD_STRING}, \
	{.name = "password", .type = FIELD_STRING}, \
	{.name = "sslmode", .type = FIELD_STRING, .allowed = WORDS("verify-full", "verify-ca", "disable")}, \
	{.name = "cacert", .type = FIELD_STRING}, \
	{.name = "client_certificate", .type = FIELD_STRING}, \
	{.name = "client_private_key", .type = FIELD_STRING}, \
	{.name = "tls_servername", .type = FIELD_STRING}, \
	{.name = "reject_ip_ranges", .type = FIELD_STRINGS}, \
	{.name = "connect_timeout", .type = FIELD_NUMBER}

/* A storage takes them, too; there they have no effect. */
#define SOURCE_MEMBERS(FLAGS) \
	{.name = "slot_name_prefix", .type = FIELD_STRING, .flags = (FLAGS)}, \
	{.name = "snapshot_socket_timeout", .type = FIELD_NUMBER, .flags = (FLAGS)}, \
	{.name = "heartbeat_interval_seconds", .type = FIELD_NUMBER, .flags = FIELD_NULLABLE | (FLAGS)}

#define CONNECTION_MEMBERS(FLAGS) \
	{.name = "id", .type = FIELD_STRING, .flags = (FLAGS)}, \
	{.name = "tag", .type = FIELD_STRING, .flags = (FLAGS)}, \
	{.name = "debug_api", .type = FIELD_BOOLEAN, .flags = (FLAGS)}
/* clang-format on */

static const struct field source_fields[] = {
        POSTGRES_MEMBERS,
        SOURCE_MEMBERS(0),
        CONNECTION_MEMBERS(0),
        {.name = "max_pool_size", .type = FIELD_NUMBER, .flags = FIELD_UNUSED},
        {.name = "discovery_interval_seconds", .type = FIELD_NUMBER},
        {.name = "snapshot_readers", .type = FIELD_NUMBER},
        END,
};

/* Of a type that is not supported: refused when the connection is resolved, so other members do not matter. */
static const struct field other_source_fields[] = {
        {.name = "type", .type = FIELD_STRING, .flags = FIELD_REQUIRED}, CONNECTION_MEMBERS(0), END};

static const struct field *source_members(const struct node *map)
{
	const struct node *type = node_get(map, "type");
	bool other = type && type->kind == NODE_STRING && !slice_eq(type->text, SLICE("postgresql"));
	return other ? other_source_fields : source_fields;
}

static const struct field replication_fields[] = {{.name = "connections", .type = FIELD_MAPS, .members_of = source_members}, END};

static const struct field batch_limit_fields[] = {
        {.name = "max_estimated_size", .type = FIELD_NUMBER},
        {.name = "max_record_count", .type = FIELD_NUMBER},
        {.name = "max_current_data_batch_size", .type = FIELD_NUMBER},
        END,
};

/* clang-format off */
#define STORAGE_MEMBER {.name = "default_storage_version", .type = FIELD_NUMBER}
/* clang-format on */

static const struct field storage_postgres_fields[] = {
        POSTGRES_MEMBERS,
        SOURCE_MEMBERS(FIELD_UNUSED),
        CONNECTION_MEMBERS(FIELD_UNUSED),
        STORAGE_MEMBER,
        {.name = "max_pool_size", .type = FIELD_NUMBER},
        {.name = "batch_limits", .type = FIELD_MAP, .members = batch_limit_fields},
        END,
};

static const struct field object_storage_fields[] = {
        {.name = "type", .type = FIELD_STRING, .flags = FIELD_REQUIRED, .allowed = WORDS("s3")},
        {.name = "bucket", .type = FIELD_STRING, .flags = FIELD_REQUIRED},
        {.name = "region", .type = FIELD_STRING},
        {.name = "prefix", .type = FIELD_STRING},
        {.name = "endpoint", .type = FIELD_STRING},
        {.name = "force_path_style", .type = FIELD_BOOLEAN},
        {.name = "access_key_id", .type = FIELD_STRING},
        {.name = "secret_access_key", .type = FIELD_STRING},
        {.name = "concurrency_limit", .type = FIELD_NUMBER},
        {.name = "inline_threshold_bytes", .type = FIELD_NUMBER},
        END,
};

static const struct field storage_mongodb_fields[] = {
        {.name = "type", .type = FIELD_STRING, .flags = FIELD_REQUIRED},
        {.name = "uri", .type = FIELD_STRING, .flags = FIELD_REQUIRED},
        {.name = "database", .type = FIELD_STRING},
        {.name = "username", .type = FIELD_STRING},
        {.name = "password", .type = FIELD_STRING},
        {.name = "reject_ip_ranges", .type = FIELD_STRINGS},
        {.name = "max_pool_size", .type = FIELD_NUMBER},
        {.name = "bulk_read_preference",
         .type = FIELD_STRING,
         .allowed = WORDS("primary", "primaryPreferred", "secondary", "secondaryPreferred", "nearest")},
        {.name = "clear_batch_throttle_rate", .type = FIELD_NUMBER},
        {.name = "object_storage", .type = FIELD_MAP, .flags = FIELD_UNUSED, .members = object_storage_fields},
        STORAGE_MEMBER,
        END,
};

static const struct field compaction_fields[] = {
        {.name = "interval_minutes", .type = FIELD_NUMBER},
        {.name = "min_operations", .type = FIELD_NUMBER},
        {.name = "min_share", .type = FIELD_NUMBER},
        {.name = "defragment_share", .type = FIELD_NUMBER},
        END,
};

static const struct field storage_lmdb_fields[] = {
        {.name = "type", .type = FIELD_STRING, .flags = FIELD_REQUIRED},
        {.name = "path", .type = FIELD_STRING},
        {.name = "map_size", .type = FIELD_NUMBER},
        {.name = "compaction", .type = FIELD_MAP, .members = compaction_fields},
        {.name = "max_pool_size", .type = FIELD_NUMBER, .flags = FIELD_UNUSED},
        {.name = "default_storage_version", .type = FIELD_NUMBER, .flags = FIELD_UNUSED},
        END,
};

static const struct field bad_storage_fields[] = {
        {.name = "type", .type = FIELD_STRING, .flags = FIELD_REQUIRED, .allowed = WORDS("lmdb", "postgresql", "mongodb")},
        END,
};

/* type decides which keys there are; without a usable type only that is reported. */
static const struct field *storage_members(const struct node *map)
{
	const struct node *type = node_get(map, "type");
	if (!type || type->kind != NODE_STRING)
		return bad_storage_fields;
	if (slice_eq(type->text, SLICE("postgresql")))
		return storage_postgres_fields;
	if (slice_eq(type->text, SLICE("mongodb")))
		return storage_mongodb_fields;
	if (slice_eq(type->text, SLICE("lmdb")))
		return storage_lmdb_fields;
	return bad_storage_fields;
}

static const struct field sync_config_fields[] = {
        {.name = "path", .type = FIELD_STRING},
        {.name = "content", .type = FIELD_STRING},
        {.name = "exit_on_error", .type = FIELD_BOOLEAN},
        {.name = "keep_replaced_minutes", .type = FIELD_NUMBER},
        END,
};

static const struct field rsa_fields[] = {
        {.name = "kty", .type = FIELD_STRING, .flags = FIELD_REQUIRED},
        {.name = "kid", .type = FIELD_STRING, .flags = FIELD_REQUIRED},
        {.name = "n", .type = FIELD_STRING, .flags = FIELD_REQUIRED},
        {.name = "e", .type = FIELD_STRING, .flags = FIELD_REQUIRED},
        {.name = "alg", .type = FIELD_STRING, .allowed = WORDS("RS256", "RS384", "RS512")},
        {.name = "use", .type = FIELD_STRING},
        OPEN_END,
};
static const struct field oct_fields[] = {
        {.name = "kty", .type = FIELD_STRING, .flags = FIELD_REQUIRED},
        {.name = "k", .type = FIELD_STRING, .flags = FIELD_REQUIRED},
        {.name = "alg", .type = FIELD_STRING, .flags = FIELD_REQUIRED, .allowed = WORDS("HS256", "HS384", "HS512")},
        {.name = "kid", .type = FIELD_STRING},
        {.name = "use", .type = FIELD_STRING},
        OPEN_END,
};
static const struct field okp_fields[] = {
        {.name = "kty", .type = FIELD_STRING, .flags = FIELD_REQUIRED},
        {.name = "crv", .type = FIELD_STRING, .flags = FIELD_REQUIRED, .allowed = WORDS("Ed25519", "Ed448")},
        {.name = "x", .type = FIELD_STRING, .flags = FIELD_REQUIRED},
        {.name = "alg", .type = FIELD_STRING, .flags = FIELD_REQUIRED, .allowed = WORDS("EdDSA")},
        {.name = "kid", .type = FIELD_STRING},
        {.name = "use", .type = FIELD_STRING},
        OPEN_END,
};
static const struct field ec_fields[] = {
        {.name = "kty", .type = FIELD_STRING, .flags = FIELD_REQUIRED},
        {.name = "crv", .type = FIELD_STRING, .flags = FIELD_REQUIRED, .allowed = WORDS("P-256", "P-384", "P-521")},
        {.name = "x", .type = FIELD_STRING, .flags = FIELD_REQUIRED},
        {.name = "y", .type = FIELD_STRING, .flags = FIELD_REQUIRED},
        {.name = "alg", .type = FIELD_STRING, .flags = FIELD_REQUIRED, .allowed = WORDS("ES256", "ES384", "ES512")},
        {.name = "kid", .type = FIELD_STRING},
        {.name = "use", .type = FIELD_STRING},
        OPEN_END,
};

static const struct field bad_key_fields[] = {
        {.name = "kty", .type = FIELD_STRING, .flags = FIELD_REQUIRED, .allowed = WORDS("RSA", "oct", "OKP", "EC")},
        END,
};

static const struct field *key_members(const struct node *map)
{
	static const struct {
		const char *name;
		const struct field *fields;
	} types[] = {{"RSA", rsa_fields}, {"oct", oct_fields}, {"OKP", okp_fields}, {"EC", ec_fields}};
	const struct node *type = node_get(map, "kty");
	for (size_t i = 0; type && type->kind == NODE_STRING && i < sizeof(types) / sizeof(types[0]); i++)
		if (slice_eq(type->text, slice_cstr(types[i].name)))
			return types[i].fields;
	return bad_key_fields;
}

static const struct field jwks_fields[] = {
        {.name = "keys", .type = FIELD_MAPS, .flags = FIELD_REQUIRED, .members_of = key_members}, END};

static const struct field client_auth_fields[] = {
        {.name = "audience", .type = FIELD_STRINGS},
        {.name = "jwks_uri", .type = FIELD_STRING_OR_STRINGS},
        {.name = "jwks", .type = FIELD_MAP, .members = jwks_fields},
        {.name = "block_local_jwks", .type = FIELD_BOOLEAN},
        {.name = "jwks_reject_ip_ranges", .type = FIELD_STRINGS},
        {.name = "supabase", .type = FIELD_BOOLEAN},
        {.name = "supabase_jwt_secret", .type = FIELD_STRING},
        {.name = "development_tokens", .type = FIELD_BOOLEAN},
        END,
};

static const struct field api_parameter_fields[] = {
        {.name = "max_concurrent_connections", .type = FIELD_NUMBER},
        {.name = "max_data_fetch_concurrency", .type = FIELD_NUMBER, .flags = FIELD_UNUSED},
        {.name = "max_buckets_per_connection", .type = FIELD_NUMBER},
        {.name = "max_parameter_query_results", .type = FIELD_NUMBER},
        {.name = "checkpoint_request_retention_minutes", .type = FIELD_NUMBER},
        {.name = "bucket_count_cache_ttl_minutes", .type = FIELD_NUMBER, .flags = FIELD_UNUSED},
        {.name = "stream_write_timeout_seconds", .type = FIELD_NUMBER},
        END,
};

static const struct field api_fields[] = {
        {.name = "tokens", .type = FIELD_STRINGS},
        {.name = "parameters", .type = FIELD_MAP, .members = api_parameter_fields},
        END,
};

static const struct field telemetry_fields[] = {
        {.name = "disable_telemetry_sharing", .type = FIELD_BOOLEAN, .flags = FIELD_REQUIRED},
        {.name = "prometheus_port", .type = FIELD_PORT},
        {.name = "internal_service_endpoint", .type = FIELD_STRING, .flags = FIELD_UNUSED},
        END,
};

static const struct field migration_fields[] = {{.name = "disable_auto_migration", .type = FIELD_BOOLEAN}, END};

static const struct field probe_fields[] = {
        {.name = "use_http", .type = FIELD_BOOLEAN},
        {.name = "use_filesystem", .type = FIELD_BOOLEAN},
        {.name = "use_legacy", .type = FIELD_BOOLEAN},
        {.name = "strict_readiness", .type = FIELD_BOOLEAN},
        END,
};
static const struct field healthcheck_fields[] = {{.name = "probes", .type = FIELD_MAP, .members = probe_fields}, END};

static const struct field logging_fields[] = {
        {.name = "level", .type = FIELD_STRING, .allowed = WORDS("silly", "debug", "verbose", "http", "info", "warn", "error")},
        {.name = "format", .type = FIELD_STRING, .allowed = WORDS("text", "json")},
        END,
};
static const struct field system_fields[] = {{.name = "logging", .type = FIELD_MAP, .members = logging_fields}, END};

static const struct field tls_fields[] = {
        {.name = "certificate", .type = FIELD_STRING, .flags = FIELD_REQUIRED},
        {.name = "private_key", .type = FIELD_STRING, .flags = FIELD_REQUIRED},
        END,
};

const struct field config_fields[] = {
        {.name = "replication", .type = FIELD_MAP, .members = replication_fields},
        {.name = "storage", .type = FIELD_MAP, .members_of = storage_members},
        {.name = "port", .type = FIELD_PORT},
        {.name = "tls", .type = FIELD_MAP, .members = tls_fields},
        {.name = "sync_config", .type = FIELD_MAP, .members = sync_config_fields},
        {.name = "sync_rules", .type = FIELD_MAP, .members = sync_config_fields},
        {.name = "client_auth", .type = FIELD_MAP, .members = client_auth_fields},
        {.name = "api", .type = FIELD_MAP, .members = api_fields},
        {.name = "telemetry", .type = FIELD_MAP, .members = telemetry_fields},
        {.name = "migrations", .type = FIELD_MAP, .members = migration_fields},
        {.name = "healthcheck", .type = FIELD_MAP, .members = healthcheck_fields},
        {.name = "system", .type = FIELD_MAP, .members = system_fields},
        {.name = "metadata", .type = FIELD_STRING_MAP, .flags = FIELD_UNUSED},
        {.name = "parameters", .type = FIELD_SCALAR_MAP, .flags = FIELD_UNUSED},
        END,
};
