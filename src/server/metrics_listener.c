/* metrics_listener.c: libevent's own HTTP server is enough for one scraper every few seconds. */
#include "server/metrics_listener.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>

#include "base/alloc.h"

#define TIMEOUT_S 10
#define MAX_HEAD 8192
#define CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct metrics_listener {
	struct metrics *metrics;
	struct event_base *base;
	struct evhttp *http;
	struct event *stop;
	int stop_fd, port;
	pthread_t thread;
};

static void answer(struct evhttp_request *request, void *listener)
{
	struct metrics_listener *l = listener;
	const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request));
	if (!path || strcmp(path, "/metrics") != 0) {
		evhttp_send_reply(request, 404, "Not Found", NULL);
		return;
	}
	struct buf text = {0};
	struct evbuffer *body = evbuffer_new();
	metrics_print(l->metrics, &text);
	evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", CONTENT_TYPE);
	if (body)
		evbuffer_add(body, text.p, text.n);
	evhttp_send_reply(request, 200, "OK", body);
	if (body)
		evbuffer_free(body);
	buf_free(&text);
}

static void leave(evutil_socket_t fd, short what, void *listener)
{
	struct metrics_listener *l = listener;
	(void)fd, (void)what;
	event_base_loopbreak(l->base);
}

static void *run(void *listener)
{
	struct metrics_listener *l = listener;
	event_base_dispatch(l->base);
	return NULL;
}

static bool listen_on(struct metrics_listener *l, int port, struct error *err)
{
	struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(l->http, "0.0.0.0", (uint16_t)port);
	if (!bound)
		return error_set(err, "", "telemetry.prometheus_port: cannot listen on port %d: %s", port, strerror(errno));
	struct sockaddr_in address = {0};
	socklen_t n = sizeof(address);
	getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&address, &n);
	l->port = ntohs(address.sin_port);
	return true;
}

static void destroy(struct metrics_listener *l)
{
	if (l->stop)
		event_free(l->stop);
	if (l->http)
		evhttp_free(l->http);
	if (l->base)
		event_base_free(l->base);
	if (l->stop_fd >= 0)
		close(l->stop_fd);
	free(l);
}

static bool prepare(struct metrics_listener *l, int port, struct error *err)
{
	l->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	l->base = event_base_new();
	l->http = l->base ? evhttp_new(l->base) : NULL;
	l->stop = l->base && l->stop_fd >= 0 ? event_new(l->base, l->stop_fd, EV_READ, leave, l) : NULL;
	if (!l->http || !l->stop || event_add(l->stop, NULL) != 0)
		return error_set(err, "", "cannot make the listener of metrics");
	evhttp_set_timeout(l->http, TIMEOUT_S);
	evhttp_set_max_headers_size(l->http, MAX_HEAD);
	evhttp_set_max_body_size(l->http, 0);
	evhttp_set_allowed_methods(l->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
	evhttp_set_gencb(l->http, answer, l);
	return listen_on(l, port, err);
}

struct metrics_listener *metrics_listener_start(struct metrics *m, int port, struct error *err)
{
	struct metrics_listener *l = xcalloc(1, sizeof(*l));
	l->metrics = m;
	if (prepare(l, port, err)) {
		int failed = pthread_create(&l->thread, NULL, run, l);
		if (!failed)
			return l;
		error_set(err, "", "cannot start the thread of metrics: %s", strerror(failed));
	}
	destroy(l);
	return NULL;
}

int metrics_listener_port(const struct metrics_listener *l)
{
	return l->port;
}

void metrics_listener_stop(struct metrics_listener *l)
{
	if (!l)
		return;
	eventfd_write(l->stop_fd, 1);
	pthread_join(l->thread, NULL);
	destroy(l);
}
