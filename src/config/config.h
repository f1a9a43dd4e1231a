/*
 * config.h: powersync.yaml as one plain struct, resolved and validated (configuration.md).
 *
 * Read once at start; immutable afterwards; any thread. All strings belong to the config.
 */
#ifndef SYNCLINE_CONFIG_CONFIG_H
#define SYNCLINE_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/log.h"
#include "base/slice.h"

enum config_role { ROLE_UNIFIED, ROLE_API, ROLE_SYNC };

/* replication.connections[0] and storage of type postgresql (configuration 2.3). Same members as struct source_config, which cli/
 * fills from it: this layer includes base only. */
struct config_postgres {
	const char *type, *id, *tag;
	const char *hostname, *username, *password, *database;
	int port;
	const char *sslmode; /* verify-full, verify-ca, disable */
	const char *cacert, *client_certificate, *client_private_key, *tls_servername;
	const char *const *reject_ip_ranges;
	size_t reject_ip_range_count;
	const char *slot_name_prefix;
	double connect_timeout_s;         /* 20 */
	double snapshot_socket_timeout_s; /* 30 */
	double heartbeat_interval_s;      /* 60 */
	double discovery_interval_s;      /* 10 */
	int snapshot_readers;             /* 2 */
	int max_pool_size;
	bool debug_api;
};

/* storage of type mongodb (configuration 2.4). */
struct config_mongodb {
	const char *uri;      /* without user name and password */
	const char *database; /* decoded, as the two below; those are "" when not given */
	const char *username, *password;
	const char *const *reject_ip_ranges;
	size_t reject_ip_range_count;
	int max_pool_size;                /* 8 */
	const char *bulk_read_preference; /* NULL: the driver's default */
	double clear_batch_throttle_rate; /* 0.2; 0..20 */
};

struct config_string_list {
	const char *const *items;
	size_t count;
};

struct config_warning {
	const char *message; /* unknown or unused key: path, line, suggestion */
	bool unknown;        /* a key that nobody knows: `syncline check` counts it as an error */
};

struct config {
	struct arena arena;
	const char *path;      /* NULL when it came from base64 */
	const char *name;      /* of the file, as the operator wrote it; NULL: base64 */
	const char *directory; /* for relative paths */

	bool has_source;
	struct config_postgres source;

	struct {
		const char *type;  /* "lmdb", "postgresql", "mongodb" */
		const char *path;  /* lmdb: absolute or relative to the working directory, resolved */
		uint64_t map_size; /* lmdb: bytes, 0 = default */
		struct {
			double interval_minutes; /* 0: not by itself */
			double min_operations;   /* dead ones of a bucket */
			double defragment_share; /* 0: never */
			double min_share;        /* of them among all, 0 to 1 */
		} compaction;                    /* lmdb */
		bool is_default;                 /* no storage section: the embedded store in its default folder */
		int default_storage_version;
		struct config_postgres postgres;
		struct {
			double max_estimated_size;          /* bytes, 5,000,000 */
			double max_record_count;            /* 2000 */
			double max_current_data_batch_size; /* bytes, 50,000,000 */
		} batch_limits;                             /* postgresql */
		struct config_mongodb mongodb;
		const char *mongodb_uri; /* mongodb.uri */
	} storage;

	int port;

	struct {
		struct slice text; /* by content, base64 or environment; p == NULL when by path or absent */
		const char *path;  /* resolved; opened when replication starts */
		bool exit_on_error;
		double keep_replaced_minutes; /* 10 (an addition of Syncline) */
	} sync_config;

	struct {
		struct config_string_list audience;
		const struct slice *static_keys; /* each a JSON object text */
		size_t static_key_count;
		struct config_string_list jwks_uris;
		struct config_string_list reject_ip_ranges; /* with "local" when block_local_jwks is set */
		bool block_local_jwks;                      /* also: no IPv6 */
		bool supabase;
		const char *supabase_jwt_secret;
		bool development_tokens; /* `syncline token` may sign with the symmetric keys (an addition of Syncline) */
		const char *
		        supabase_jwks_uri; /* derived (auth 2.1); NULL when supabase is off or the source is no Supabase database */
	} client_auth;

	struct {
		struct config_string_list tokens;
		double max_concurrent_connections;            /* 200 */
		double max_data_fetch_concurrency;            /* 10 */
		double max_buckets_per_connection;            /* 1000 */
		double max_parameter_query_results;           /* 1000 */
		int64_t checkpoint_request_retention_minutes; /* 60 */
		int64_t bucket_count_cache_ttl_minutes;       /* 60 */
		double stream_write_timeout_seconds;          /* 0: none (an addition of Syncline) */
	} api;

	/* TLS on the listening port (an addition of Syncline): PEM files; both NULL: plain. */
	struct {
		const char *certificate, *private_key;
	} tls;

	int prometheus_port; /* 0: off */
	bool disable_auto_migration;
	struct {
		bool use_http, use_filesystem, use_legacy;
		bool strict_readiness; /* not ready without source or config (an addition of Syncline) */
	} probes;
	struct {
		enum log_level level;
		bool json;
	} logging;

	struct config_warning *warnings;
	size_t warning_count;

	bool disable_telemetry_sharing;
	const struct node *document; /* the tree it was decoded from; for config_print and tests */
};

struct config_arguments {
	const char *config_path, *config_base64; /* -c, -c64; NULL if not given */
	const char *sync_base64;                 /* -sync64 */
	const char *working_directory;           /* NULL: the process's */
	bool keep_environment;                   /* .env is not looked at: needed once there are threads */
};

/* Finds, parses, decodes and resolves (configuration 1 to 3), reading the environment and a .env file. NULL: exit code 150; the message
 * names the key's path, line and column, and the allowed values or a suggestion. The error code is PSYNC_S.... or "". */
struct config *config_load(const struct config_arguments *arguments, struct error *err);
void config_free(struct config *c);

/* The file .env of the directory (NULL: the working directory) -> environment; variables that are already set stay. config_load does it
 * too; the command line calls it earlier, since PS_RUNNER_TYPE may stand there. Only while the process has one thread. */
void config_read_dotenv(const char *directory);

/* Is the log JSON (2.11)? configured: system.logging.format, NULL: none, or not known yet. The environment has its say. */
bool config_log_is_json(const char *configured);

/* Are they the same but for the sync config? */
bool config_same_but_sync_config(const struct config *a, const struct config *b);

/* The effective configuration for people (YAML) or programs (JSON), with every secret as "***". */
void config_print(const struct config *c, bool json, struct buf *out);

/* The JWKS URL of a Supabase project whose database is at the host (auth 2.1), in the arena; NULL: it is none. */
const char *config_supabase_jwks_uri(const char *hostname, struct arena *arena);

/* Exit code for a bad configuration (configuration 1.6). */
#define EXIT_BAD_CONFIG 150

#endif
