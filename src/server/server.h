/*
 * server.h: sockets. Net threads with one libevent loop each, a pool of workers for session steps, the routes, and the batcher of
 * checkpoint requests.
 *
 * Net threads never touch storage and never block. A connection stays on its net thread for life.
 */
#ifndef SYNCLINE_SERVER_SERVER_H
#define SYNCLINE_SERVER_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "auth/auth.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "source/source.h"
#include "storage/storage.h"
#include "sync/session.h"

struct server;

/* Replication as the admin routes tell it. */
struct server_replication {
	int64_t keepalive_at_ms;  /* wall clock when the source was last heard of; 0: never */
	int64_t checkpoint_at_ms; /* wall clock of the last commit that clients were shown; 0: none since the start */
	uint64_t failures;        /* attempts that failed one after another at one position of the stream */
	bool connected;
	bool reading;             /* tables are being read */
	uint64_t position;        /* LSN that the stream has reached */
	uint64_t lag_bytes;       /* WAL that is not served yet, as of the last look at the source's head */
	double lag_s;             /* age of the oldest transaction that was delivered and is not served yet; 0: none */
	char last_error[512];     /* "" while all is well */
	char config_problem[512]; /* why the sync config that should run does not; "" */
};

/* A source table that is being read, or cannot be. */
struct server_table {
	struct slice schema, name;
	uint64_t rows_read;
	double rows_estimated, eta_s; /* below 0: not known */
	const char *error;            /* "" */
};

/* What the admin routes need beside the rest (http-api-and-operations 4); lives as long as the server. */
struct server_admin {
	struct source *source; /* one of their own, which the server interrupts when it stops; NULL: none is configured */
	const char *connection_id, *connection_tag;
	const char *source_uri; /* postgresql://host:port/database, no user, no password */
	bool debug_api;         /* of the connection: execute-sql was asked for */
	/* What follows is called on admin threads. Does the configuration, as it was last read, name a sync config? Then deploying over
	 * HTTP is refused (PSYNC_S4105). */
	bool (*sync_config_configured)(void *ctx);
	void (*replication)(void *ctx, struct server_replication *out);
	/* Those of the kind above, in the arena. */
	void (*tables)(void *ctx, struct arena *arena, struct server_table **out, size_t *count);
	/* Makes the plan the one to deploy; stored when it returns, or as soon as a large transaction is over. */
	bool (*deploy)(void *ctx, struct plan *plan, struct error *err);
	/* Reads every table again and compares it; false: that is going on already. */
	bool (*reprocess)(void *ctx);
	void *ctx;
};

/* What keeps a service from doing all of its work though it runs; a set. */
enum server_trouble {
	TROUBLE_SOURCE_AWAY = 1 << 0,       /* the source does not deliver */
	TROUBLE_REPLICATION_STUCK = 1 << 1, /* attempts fail again and again at one position */
	TROUBLE_CONFIG_INVALID = 1 << 2,    /* the configured sync config cannot be used; an older one may be served */
	TROUBLE_NO_ACTIVE_CONFIG = 1 << 3,  /* nothing can be served yet */
};

struct server_options {
	int port;                 /* 0: any free one (tests); server_port tells */
	int net_threads, workers; /* 0: defaults from the number of cores */
	int workers_at_least;     /* however few cores there are: steps that wait for a store on another machine hold a worker */
	size_t max_connections;   /* api.parameters.max_concurrent_connections */
	size_t max_body;          /* bytes; 0: 1 MiB */
	size_t window_bytes;      /* unsent bytes per stream at which a session stops; 0: default */
	struct session_limits limits;
	int head_timeout_ms;  /* 0: 20 s; from a head's first byte to its end */
	int body_timeout_ms;  /* 0: 30 s without a byte of it; ten times that for the whole */
	int idle_timeout_ms;  /* 0: 72 s between requests, or for an answer that the client does not take; streams have none */
	int write_timeout_ms; /* 0: none; a stream whose client takes nothing of what waits for so long is cut */
	const char *tls_certificate, *tls_private_key; /* PEM files; NULL: plain */
	bool probes;                                   /* the three probe routes exist */
	const char *const *admin_tokens;
	size_t admin_token_count;
	const struct server_admin *admin;
	struct key_store *keys;
	bool keys_are_local; /* all keys are static, verification never waits: short requests are then verified on the net thread */
	struct storage *storage;
	struct source *source; /* NULL: no source configured; requests that need it fail with 500 */
	const struct log *log;
	struct metrics *metrics; /* may be NULL; printed only before server_free */
	/* Probe facts, asked on a worker or net thread; must not block (http-api-and-operations 3). */
	bool (*is_live)(void *ctx, int64_t *touched_at_ms);
	unsigned (*troubles)(void *ctx); /* set of server_trouble; NULL: never any */
	bool strict_readiness;           /* with one of them the service is not ready */
	void *probe_ctx;
};

/* Binds, listens and starts the threads. Subscribes its session hub to storage (storage_subscribe), and unsubscribes in server_stop:
 * stop what makes news (replication) before, or let it go on without an audience. What options point to must outlive the server. NULL: the
 * port is in use, or a thread could not be started. */
struct server *server_start(const struct server_options *options, struct error *err);
int server_port(const struct server *s);
void server_set_ready(struct server *s, bool started, bool ready);
/* Stops accepting, ends every stream cleanly (last chunk), waits for sockets to drain up to timeout_ms, then stops the threads. Once; the
 * thread that called server_start. */
void server_stop(struct server *s, int timeout_ms);
void server_free(struct server *s);

/* For metrics (http-api-and-operations 10) and tests. Any thread. */
struct server_stats {
	uint64_t streams_opened;                                        /* since the start */
	size_t streams;                                                 /* open now, of both transports */
	size_t sockets;                                                 /* open WebSockets, with or without streams */
	uint64_t operations_synced, data_synced_bytes, data_sent_bytes; /* since the start; sent: after compression */
	uint64_t checkpoint_requests, request_batches, heads_read, markers_made, source_connects;
	uint64_t session_steps, lookups_read, session_wakes;
};
void server_get_stats(struct server *s, struct server_stats *out);

/* Users with an open stream, in the arena: proof of life for their checkpoint requests (checkpoint-requests 5). Any thread. */
void server_live_users(struct server *s, struct arena *arena, struct user_key **users, size_t *count);

/* One open connection, for finding slow and stuck readers. */
struct connection_view {
	char peer[64];    /* address and port */
	const char *kind; /* "request" (or idle between requests), "stream" or "websocket" */
	bool tls;
	size_t unsent_bytes;         /* waiting here, because the kernel takes no more */
	size_t unacknowledged_bytes; /* taken by the kernel, not acknowledged by the peer's */
	const char *stream_fields;   /* who the stream's user is: JSON members, as in the log; NULL: not known. During the call */
};
/* Calls see for each, on the net threads, one after the other; it must be short. Any thread but these; not after server_stop. */
void server_each_connection(struct server *s, void (*see)(void *ctx, const struct connection_view *view), void *ctx);

#endif
