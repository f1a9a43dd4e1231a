/* server.c: life cycle. */
#include "server/server.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "server/admin_queue.h"
#include "server/connection.h"
#include "server/meter.h"
#include "server/request_metrics.h"
#include "server/state.h"
#include "server/stream.h"
#include "server/tls.h"
#include "server/transfer.h"

#define DEFAULT_BODY (1024 * 1024)
#define DEFAULT_WINDOW (256 * 1024)
#define DEFAULT_CONNECTIONS 200
#define ZSTD_CONTEXTS 64
#define VERIFIERS 4 /* each may wait 3 s for a key server; running streams must not */

/* ---- start -------------------------------------------------------------------------------------------------------------------- */

static void default_int(int *value, int otherwise)
{
	if (*value <= 0)
		*value = otherwise;
}

static void fill_defaults(struct server_options *o)
{
	int cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
	if (cores < 1)
		cores = 1;
	default_int(&o->net_threads, cores < 4 ? (cores + 1) / 2 : cores < 16 ? cores / 2 : 8);
	int workers = cores < 2 ? 2 : cores;
	default_int(&o->workers, workers < o->workers_at_least ? o->workers_at_least : workers);
	default_int(&o->head_timeout_ms, 20000);
	default_int(&o->body_timeout_ms, 30000);
	default_int(&o->idle_timeout_ms, 72000);
	if (o->max_body == 0)
		o->max_body = DEFAULT_BODY;
	if (o->window_bytes == 0)
		o->window_bytes = DEFAULT_WINDOW;
	if (o->max_connections == 0)
		o->max_connections = DEFAULT_CONNECTIONS;
}

/* A descriptor a client: the soft limit is often 1024, for the sake of programs that use select(). */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

/* SO_REUSEPORT lets a second process listen beside the first without an error; so somebody without it asks first. */
static bool port_is_free(int port, struct error *err)
{
	if (port == 0)
		return true;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	if (fd < 0)
		return error_set(err, "", "cannot make a socket: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_ANY)}};
	bool ok = bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 ||
	          error_set(err, "", "cannot listen on port %d: %s", port, strerror(errno));
	close(fd);
	return ok;
}

static bool start_threads(struct server *s, struct error *err)
{
	for (; s->net_count < s->options.net_threads; s->net_count++) {
		struct net_thread *n = &s->nets[s->net_count];
		if (!net_thread_init(n, s, s->port, err)) {
			s->net_count++; /* partly made: freed with the rest */
			return false;
		}
		if (s->port == 0)
			s->port = net_thread_port(n);
	}
	s->pool = worker_pool_new(s->options.workers);
	s->verifiers = s->options.keys_are_local ? s->pool : worker_pool_new(VERIFIERS);
	s->admin = admin_queue_new();
	if (!s->pool || !s->verifiers || !s->admin)
		return error_set(err, "", "cannot start a thread");
	s->requests = requests_start(
	        &(struct requests_options){.storage = s->options.storage, .source = s->options.source, .log = s->options.log},
	        err);
	if (!s->requests)
		return false;
	s->request_metrics = request_metrics_new(s->options.metrics, s->requests, s->options.storage, s->hub);
	storage_subscribe(s->options.storage, session_hub_news, s->hub);
	for (int i = 0; i < s->net_count; i++)
		if (!net_thread_start(&s->nets[i], err))
			return false;
	return true;
}

struct server *server_start(const struct server_options *options, struct error *err)
{
	if (!port_is_free(options->port, err))
		return NULL;
	struct server *s = xcalloc(1, sizeof(*s));
	s->options = *options;
	fill_defaults(&s->options);
	s->port = options->port;
	s->started_at_ms = clock_mono_ms();
	s->nets = xcalloc((size_t)s->options.net_threads, sizeof(*s->nets));
	raise_descriptor_limit();
	s->hub = session_hub_new(options->storage, stream_wake, NULL);
	session_hub_set_metrics(s->hub, options->metrics);
	s->send_time = metrics_histogram(options->metrics, "syncline_send_seconds", "",
	                                 "Time from the end of a step to the moment when the socket has taken all of a stream.",
	                                 metrics_work_bounds, metrics_work_bound_count);
	s->codings = transfer_codings_new(ZSTD_CONTEXTS);
	if (s->options.tls_certificate &&
	    !(s->tls = tls_context_new(s->options.tls_certificate, s->options.tls_private_key, err))) {
		server_free(s);
		return NULL;
	}
	if (!start_threads(s, err)) {
		server_free(s);
		return NULL;
	}
	server_meter_init(s);
	log_info(s->options.log, "Running on port %d", s->port);
	return s;
}

int server_port(const struct server *s)
{
	return s->port;
}

void server_set_ready(struct server *s, bool started, bool ready)
{
	atomic_store(&s->is_started, started);
	atomic_store(&s->is_ready, ready);
}

void server_live_users(struct server *s, struct arena *arena, struct user_key **users, size_t *count)
{
	session_hub_users(s->hub, arena, users, count);
}

void server_get_stats(struct server *s, struct server_stats *out)
{
	struct requests_stats r;
	struct hub_stats h;
	requests_get_stats(s->requests, &r);
	session_hub_stats(s->hub, &h);
	*out = (struct server_stats){
	        .streams_opened = atomic_load(&s->streams_opened),
	        .streams = atomic_load(&s->open_streams[STREAM_HTTP]) + atomic_load(&s->open_streams[STREAM_WEBSOCKET]),
	        .sockets = atomic_load(&s->socket_count),
	        .operations_synced = atomic_load(&s->totals.operations),
	        .data_synced_bytes = atomic_load(&s->totals.plain_bytes),
	        .data_sent_bytes = atomic_load(&s->totals.sent_bytes),
	        .checkpoint_requests = r.requests,
	        .request_batches = r.batches,
	        .heads_read = r.heads,
	        .markers_made = r.markers,
	        .source_connects = r.reconnects,
	        .session_steps = h.steps,
	        .lookups_read = h.lookups_read,
	        .session_wakes = h.wakes,
	};
}

/* ---- stop ---------------------------------------------------------------------------------------------------------------------- */

/* An order to a net thread, and its acknowledgement. */
struct order {
	struct net_item item;
	struct net_thread *net;
	void (*act)(struct net_thread *n, void *ctx);
	void *ctx;
	_Atomic bool done;
	_Atomic bool empty; /* no connection, nothing away */
};

static void carry_out(struct net_item *item)
{
	struct order *o = (struct order *)item;
	o->act(o->net, o->ctx);
	atomic_store(&o->empty, !o->net->connections && o->net->away == 0);
	atomic_store(&o->done, true);
}

static void sleep_ms(int ms)
{
	nanosleep(&(struct timespec){ms / 1000, (ms % 1000) * 1000000L}, NULL);
}

/* Runs act on every net thread, one after the other; true if each of them was empty after it. */
static bool on_all(struct server *s, void (*act)(struct net_thread *n, void *ctx), void *ctx)
{
	bool empty = true;
	for (int i = 0; i < s->net_count; i++) {
		struct order o = {.item.run = carry_out, .net = &s->nets[i], .act = act, .ctx = ctx};
		if (s->nets[i].thread_running)
			net_post(&s->nets[i], &o.item);
		else
			carry_out(&o.item);
		while (!atomic_load(&o.done))
			sleep_ms(1);
		empty &= atomic_load(&o.empty);
	}
	return empty;
}

struct visit {
	void (*see)(void *ctx, const struct connection_view *view);
	void *ctx;
};

static void visit_connections(struct net_thread *n, void *visit)
{
	const struct visit *v = visit;
	for (const struct connection *c = n->connections; c; c = c->next) {
		struct connection_view view;
		connection_describe(c, &view);
		v->see(v->ctx, &view);
	}
}

void server_each_connection(struct server *s, void (*see)(void *ctx, const struct connection_view *view), void *ctx)
{
	struct visit v = {see, ctx};
	on_all(s, visit_connections, &v);
}

static void stop_accepting(struct net_thread *n, void *ctx)
{
	(void)ctx;
	net_thread_stop_accepting(n);
	connection_drain_all(n);
}

static void nothing(struct net_thread *n, void *ctx)
{
	(void)n, (void)ctx;
}

static void close_connections(struct net_thread *n, void *ctx)
{
	(void)ctx;
	connection_close_all(n);
}

static void leave_loop(struct net_thread *n, void *ctx)
{
	(void)ctx;
	n->quit = true;
}

void server_stop(struct server *s, int timeout_ms)
{
	if (atomic_exchange(&s->stopping, true))
		return;
	int64_t deadline = clock_mono_ms() + timeout_ms;
	on_all(s, stop_accepting, NULL);
	session_hub_shutdown(s->hub);
	bool empty;
	while (!(empty = on_all(s, nothing, NULL)) && clock_mono_ms() < deadline)
		sleep_ms(5);
	if (!empty)
		on_all(s, close_connections, NULL);
	/* Whoever still has something of a net thread's gives it back before the thread goes. */
	if (s->requests)
		requests_stop(s->requests);
	if (s->options.admin && s->options.admin->source)
		source_interrupt(s->options.admin->source);
	admin_queue_free(s->admin);
	s->admin = NULL;
	if (s->verifiers != s->pool)
		worker_pool_free(s->verifiers); /* before the other: it hands on to it */
	worker_pool_free(s->pool);
	s->pool = s->verifiers = NULL;
	storage_subscribe(s->options.storage, NULL, NULL);
	on_all(s, leave_loop, NULL);
	for (int i = 0; i < s->net_count; i++)
		net_thread_join(&s->nets[i]);
}

void server_free(struct server *s)
{
	if (!s)
		return;
	server_stop(s, 0);
	for (int i = 0; i < s->net_count; i++)
		net_thread_free(&s->nets[i]);
	request_metrics_free(s->request_metrics);
	requests_free(s->requests);
	session_hub_free(s->hub);
	transfer_codings_free(s->codings);
	tls_context_free(s->tls);
	free(s->nets);
	free(s);
}
