/* client.h: a raw TCP client with time-outs, and a server on a free port with everything behind it faked. */
#ifndef TEST_CLIENT_H
#define TEST_CLIENT_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_auth.h"
#include "fake_session.h"
#include "fake_source.h"
#include "fake_storage.h"

#include "base/buf.h"
#include "server/server.h"

#define WAIT_MS 5000

struct client {
	int fd;
	struct buf in;
	bool ended, reset;
};

static struct server_options fake_options(void)
{
	return (struct server_options){
	        .net_threads = 2,
	        .workers = 2,
	        .max_connections = 200,
	        .probes = true,
	        .keys = (struct key_store *)1,
	        .storage = (struct storage *)1,
	        .source = (struct source *)1,
	};
}

static struct server *fake_server(const struct server_options *o)
{
	struct error err = {.code = ""};
	struct server *s = server_start(o, &err);
	if (!s)
		fail_msg("%s", err.message);
	return s;
}

static inline void reset_fakes(void)
{
	fake_sync_reset();
	fake_storage_reset();
	fake_source_reset();
	fake_auth.lifetime_s = 3600;
}

static struct client client_open(const struct server *s)
{
	struct client c = {.fd = socket(AF_INET, SOCK_STREAM, 0)};
	struct sockaddr_in a = {
	        .sin_family = AF_INET, .sin_port = htons((uint16_t)server_port(s)), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	assert_int_equal(connect(c.fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return c;
}

static void client_close(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	buf_free(&c->in);
}

static void client_send_bytes(struct client *c, const void *p, size_t n)
{
	while (n) {
		ssize_t k = send(c->fd, p, n, MSG_NOSIGNAL);
		if (k < 0)
			return; /* the server may have closed: the test looks at what it answered */
		p = (const char *)p + k;
		n -= (size_t)k;
	}
}

static inline void client_send(struct client *c, const char *text)
{
	client_send_bytes(c, text, strlen(text));
}

/* Reads once, at most ms; false when nothing came. */
static bool client_read(struct client *c, int ms)
{
	if (c->ended)
		return false;
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	if (poll(&p, 1, ms) <= 0)
		return false;
	char *at = buf_reserve(&c->in, 65537);
	ssize_t n = recv(c->fd, at, 65536, 0);
	if (n <= 0) {
		c->ended = true;
		c->reset = n < 0;
		return false;
	}
	c->in.n += (size_t)n;
	buf_reserve(&c->in, 1)[0] = '\0';
	return true;
}

static const char *client_text(struct client *c)
{
	buf_reserve(&c->in, 1)[0] = '\0';
	return c->in.p;
}

/* Waits until the text has arrived; fails the test if it does not. */
static inline void client_expect_at(struct client *c, const char *text, int line)
{
	int64_t until = clock_mono_ms() + WAIT_MS;
	while (!memmem(client_text(c), c->in.n, text, strlen(text))) {
		if (c->ended || clock_mono_ms() > until)
			fail_msg("line %d: no \"%s\" in %s: %.2000s", line, text, c->ended ? "(ended)" : "(open)",
			         client_text(c));
		client_read(c, 50);
	}
}
#define client_expect(c, text) client_expect_at(c, text, __LINE__)

static void client_expect_end_at(struct client *c, int line)
{
	int64_t until = clock_mono_ms() + WAIT_MS;
	while (!c->ended) {
		if (clock_mono_ms() > until)
			fail_msg("line %d: the connection stays open: %.2000s", line, client_text(c));
		client_read(c, 50);
	}
}
#define client_expect_end(c) client_expect_end_at(c, __LINE__)

/* Nothing arrives for ms. */
static inline void client_expect_silence(struct client *c, int ms)
{
	size_t before = c->in.n;
	client_read(c, ms);
	if (c->in.n != before || c->ended)
		fail_msg("not silent: %s", client_text(c));
}

static inline void client_forget(struct client *c)
{
	buf_clear(&c->in);
}

/* One request on a connection of its own; the whole answer, to be freed with client_close. */
static inline struct client exchange_text(const struct server *s, const char *request)
{
	struct client c = client_open(s);
	client_send(&c, request);
	shutdown(c.fd, SHUT_WR);
	client_expect_end(&c);
	client_text(&c);
	return c;
}

static inline void wait_until_at(bool (*true_now)(void), int line)
{
	int64_t until = clock_mono_ms() + WAIT_MS;
	while (!true_now()) {
		if (clock_mono_ms() > until)
			fail_msg("line %d: it did not come true", line);
		poll(NULL, 0, 2);
	}
}
#define wait_until(f) wait_until_at(f, __LINE__)

#endif
