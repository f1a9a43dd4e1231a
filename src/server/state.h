/* state.h: the server's parts, for the files of this folder that need more than one of them. */
#ifndef SYNCLINE_SERVER_STATE_H
#define SYNCLINE_SERVER_STATE_H

#include <stdatomic.h>

#include "server/net_thread.h"
#include "server/requests.h"
#include "server/server.h"
#include "server/stream.h"
#include "server/worker_pool.h"

struct admin_queue;
struct tls_context;
struct transfer_codings;

struct server {
	struct server_options options; /* with the defaults filled in */
	int port;
	int net_count;
	struct net_thread *nets;
	struct worker_pool *pool; /* session steps */
	struct worker_pool
	        *verifiers; /* tokens: the same pool, or one of its own when a verification may wait for a key server */
	struct admin_queue *admin;
	struct session_hub *hub;
	struct requests *requests;
	struct request_metrics *request_metrics;
	struct transfer_codings *codings;
	struct tls_context *tls; /* NULL: plain */
	int64_t started_at_ms;
	_Atomic bool stopping, is_started, is_ready;
	_Atomic size_t stream_count;               /* HTTP streams, against max_connections */
	_Atomic size_t socket_count;               /* WebSocket connections, counted apart */
	_Atomic size_t open_streams[STREAM_KINDS]; /* sessions, for metrics */
	_Atomic uint64_t streams_opened;
	struct stream_totals totals;
	struct histogram *send_time;
};

#endif
