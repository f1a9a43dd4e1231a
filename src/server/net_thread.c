/* net_thread.c: the loop. */
#include "server/net_thread.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "server/connection.h"
#include "server/state.h"
#include "server/tls.h"

#define BACKLOG 4096 /* libevent's own default of 128 makes mass reconnects wait for SYN retries (net.core.somaxconn caps it) */
#define ACCEPT_PAUSE_MS 200

/* A client that vanished (a phone without a network) is noticed within two minutes, also on a stream that has nothing to say. */
#define KEEPALIVE_IDLE_S 60
#define KEEPALIVE_INTERVAL_S 15
#define KEEPALIVE_PROBES 4

/* ---- queue ------------------------------------------------------------------------------------------------------------------ */

void net_post(struct net_thread *n, struct net_item *item)
{
	item->next = NULL;
	pthread_mutex_lock(&n->lock);
	bool empty = !n->first;
	if (empty)
		n->first = item;
	else
		n->last->next = item;
	n->last = item;
	pthread_mutex_unlock(&n->lock);
	if (empty) {
		uint64_t one = 1;
		ssize_t ignored = write(n->queue_fd, &one, sizeof(one)); /* fails only when it is set already */
		(void)ignored;
	}
}

static void run_queue(struct net_thread *n)
{
	pthread_mutex_lock(&n->lock);
	struct net_item *item = n->first;
	n->first = n->last = NULL;
	pthread_mutex_unlock(&n->lock);
	while (item) {
		struct net_item *next = item->next;
		item->run(item);
		item = next;
	}
}

static void on_queue(evutil_socket_t fd, short what, void *arg)
{
	(void)what;
	struct net_thread *n = arg;
	uint64_t count;
	ssize_t ignored = read(fd, &count, sizeof(count));
	(void)ignored;
	n->now_ms = clock_mono_ms();
	run_queue(n);
}

/* ---- time ------------------------------------------------------------------------------------------------------------------- */

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	struct net_thread *n = arg;
	n->now_ms = clock_mono_ms();
	timer_wheel_turn(&n->wheel, n->now_ms);
}

const char *net_thread_date(struct net_thread *n)
{
	int64_t now = clock_wall_ms() / 1000;
	if (now != n->date_s) {
		static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
		static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
		                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
		struct tm t;
		time_t seconds = (time_t)now;
		char clock[16], year[8];
		gmtime_r(&seconds, &t);
		strftime(year, sizeof(year), "%Y", &t);
		strftime(clock, sizeof(clock), "%H:%M:%S", &t);
		snprintf(n->date, sizeof(n->date), "%s, %02u %s %s %s GMT", days[t.tm_wday], (unsigned)t.tm_mday % 32u,
		         months[t.tm_mon], year, clock);
		n->date_s = now;
	}
	return n->date;
}

/* ---- accepting -------------------------------------------------------------------------------------------------------------- */

static void set_option(int fd, int level, int option, int value)
{
	setsockopt(fd, level, option, &value, sizeof(value));
}

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *address, int length, void *arg)
{
	(void)l, (void)address, (void)length;
	struct net_thread *n = arg;
	set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
	set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
	set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
	n->now_ms = clock_mono_ms();
	connection_accept(n, fd);
}

static void accept_again(struct timer_entry *entry)
{
	struct net_thread *n = (struct net_thread *)((char *)entry - offsetof(struct net_thread, accept_again));
	if (n->listener)
		evconnlistener_enable(n->listener);
}

/* Out of descriptors: an enabled listener would spin, so it rests for a moment. */
static void on_accept_error(struct evconnlistener *l, void *arg)
{
	struct net_thread *n = arg;
	log_warn(n->server->options.log, "Cannot accept a connection: %s", strerror(errno));
	evconnlistener_disable(l);
	timer_set(&n->wheel, &n->accept_again, clock_mono_ms() + ACCEPT_PAUSE_MS);
}

void net_thread_stop_accepting(struct net_thread *n)
{
	timer_clear(&n->wheel, &n->accept_again);
	if (n->listener)
		evconnlistener_free(n->listener);
	n->listener = NULL;
}

int net_thread_port(const struct net_thread *n)
{
	struct sockaddr_in a = {0};
	socklen_t size = sizeof(a);
	if (getsockname(evconnlistener_get_fd(n->listener), (struct sockaddr *)&a, &size) != 0)
		return 0;
	return ntohs(a.sin_port);
}

/* ---- life cycle --------------------------------------------------------------------------------------------------------------- */

bool net_thread_init(struct net_thread *n, struct server *s, int port, struct error *err)
{
	*n = (struct net_thread){.server = s, .queue_fd = -1, .date_s = -1};
	pthread_mutex_init(&n->lock, NULL);
	timer_wheel_init(&n->wheel, clock_mono_ms());
	n->accept_again.fire = accept_again;
	n->now_ms = clock_mono_ms();
	n->scratch = xmalloc(NET_SCRATCH);
	n->record = s->tls ? xmalloc(TLS_RECORD) : NULL;
	n->base = event_base_new();
	n->queue_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (!n->base || n->queue_fd < 0)
		return error_set(err, "", "cannot make an event loop: %s", strerror(errno));
	n->queue_event = event_new(n->base, n->queue_fd, EV_READ | EV_PERSIST, on_queue, n);
	n->tick_event = event_new(n->base, -1, EV_PERSIST, on_tick, n);
	const struct timeval tick = {0, WHEEL_TICK_MS * 1000};
	if (!n->queue_event || !n->tick_event || event_add(n->queue_event, NULL) != 0 || event_add(n->tick_event, &tick) != 0)
		return error_set(err, "", "cannot make an event loop");
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_ANY)}};
	n->listener = evconnlistener_new_bind(
	        n->base, on_accept, n, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE | LEV_OPT_REUSEABLE_PORT,
	        BACKLOG, (struct sockaddr *)&a, sizeof(a));
	if (!n->listener)
		return error_set(err, "", "cannot listen on port %d: %s", port, strerror(errno));
	evconnlistener_set_error_cb(n->listener, on_accept_error);
	return true;
}

static void *run(void *arg)
{
	struct net_thread *n = arg;
	while (!n->quit) {
		event_base_loop(n->base, EVLOOP_ONCE);
		connection_reap(n);
	}
	return NULL;
}

bool net_thread_start(struct net_thread *n, struct error *err)
{
	/* Signals are for the main thread; a blocked SIGPIPE turns into EPIPE. */
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	n->thread_running = pthread_create(&n->thread, NULL, run, n) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return n->thread_running || error_set(err, "", "cannot start a thread");
}

void net_thread_join(struct net_thread *n)
{
	if (n->thread_running)
		pthread_join(n->thread, NULL);
	n->thread_running = false;
}

void net_thread_free(struct net_thread *n)
{
	if (n->base) {
		run_queue(n);
		connection_close_all(n);
		connection_reap(n);
		run_queue(n);
	}
	net_thread_stop_accepting(n);
	if (n->queue_event)
		event_free(n->queue_event);
	if (n->tick_event)
		event_free(n->tick_event);
	if (n->base)
		event_base_free(n->base);
	if (n->queue_fd >= 0)
		close(n->queue_fd);
	free(n->scratch);
	free(n->record);
	pthread_mutex_destroy(&n->lock);
}
