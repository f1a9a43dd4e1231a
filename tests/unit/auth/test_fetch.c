/* The real fetch by libcurl against a small server on the loopback interface: status, redirects, refused addresses, limits. */
#include "signing.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>

#include "auth/jwks_url.h"
#include "base/clock.h"

struct server {
	int fd, port;
	pthread_t thread;
	atomic_int requests;
	char last_request[2048];
};

static void answer(struct server *s, int fd, const char *path)
{
	char head[512], *body = NULL;
	size_t n = 0;
	if (strcmp(path, "/ok") == 0) {
		body = strdup("{\"keys\":[]}");
		n = strlen(body);
		snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", n);
	} else if (strcmp(path, "/redirect") == 0) {
		snprintf(head, sizeof(head),
		         "HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
	} else if (strcmp(path, "/away") == 0) {
		snprintf(head, sizeof(head),
		         "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.2:%d/ok\r\nContent-Length: 0\r\nConnection: "
		         "close\r\n\r\n",
		         s->port);
	} else if (strcmp(path, "/loop") == 0) {
		snprintf(head, sizeof(head),
		         "HTTP/1.1 302 Found\r\nLocation: /loop\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
	} else if (strcmp(path, "/file") == 0) {
		snprintf(head, sizeof(head),
		         "HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
	} else if (strcmp(path, "/large") == 0) {
		n = 5 * 1024 * 1024;
		body = calloc(1, n);
		snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", n);
	} else if (strcmp(path, "/slow") == 0) {
		snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
		usleep(300000);
	} else {
		snprintf(head, sizeof(head), "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
	}
	if (send(fd, head, strlen(head), MSG_NOSIGNAL) > 0)
		for (size_t sent = 0; sent < n;) {
			ssize_t m = send(fd, body + sent, n - sent, MSG_NOSIGNAL);
			if (m <= 0)
				break;
			sent += (size_t)m;
		}
	free(body);
}

static void *serve(void *argument)
{
	struct server *s = argument;
	for (;;) {
		int fd = accept(s->fd, NULL, NULL);
		if (fd < 0)
			return NULL;
		ssize_t n = recv(fd, s->last_request, sizeof(s->last_request) - 1, 0);
		char path[64] = "";
		s->last_request[n > 0 ? n : 0] = '\0';
		sscanf(s->last_request, "GET %63s", path);
		atomic_fetch_add(&s->requests, 1);
		if (strcmp(path, "/quit") == 0) {
			close(fd);
			return NULL;
		}
		answer(s, fd, path);
		close(fd);
	}
}

static int start_server(void **state)
{
	struct server *s = calloc(1, sizeof(*s));
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
	socklen_t n = sizeof(address);
	s->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(s->fd, (struct sockaddr *)&address, n) || listen(s->fd, 16) ||
	    getsockname(s->fd, (struct sockaddr *)&address, &n))
		return -1;
	s->port = ntohs(address.sin_port);
	*state = s;
	return pthread_create(&s->thread, NULL, serve, s);
}

static int stop_server(void **state)
{
	struct server *s = *state;
	struct sockaddr_in address = {
	        .sin_family = AF_INET, .sin_port = htons((uint16_t)s->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) || send(fd, "GET /quit\r\n", 11, MSG_NOSIGNAL) < 0)
		return -1;
	pthread_join(s->thread, NULL);
	close(fd);
	close(s->fd);
	free(s);
	return 0;
}

struct result {
	bool ok;
	size_t n;
	char cause[JWKS_CAUSE_SIZE];
};

static struct result get(struct server *s, const char *host, const char *path, const struct address_rules *rules)
{
	char url[128];
	struct result r = {.cause = ""};
	struct buf body = {0};
	atomic_bool stop = false;
	snprintf(url, sizeof(url), "http://%s:%d%s", host, s->port, path);
	r.ok = jwks_fetch_http((void *)rules, url, &stop, &body, r.cause);
	r.n = body.n;
	buf_free(&body);
	return r;
}

static const struct address_rules anywhere = {0};

static void a_good_answer_is_the_body(void **state)
{
	struct server *s = *state;
	struct result r = get(s, "127.0.0.1", "/ok", &anywhere);
	assert_true(r.ok);
	assert_int_equal(r.n, 11);
	assert_non_null(strstr(s->last_request, "Accept: application/json\r\n"));
	assert_non_null(strstr(s->last_request, "Accept-Encoding: gzip, deflate, br\r\n"));
}

static void other_statuses_and_dead_ports_fail(void **state)
{
	struct server *s = *state;
	struct result r = get(s, "127.0.0.1", "/nowhere", &anywhere);
	assert_false(r.ok);
	assert_non_null(strstr(r.cause, "404"));
	struct server dead = {.port = 1};
	r = get(&dead, "127.0.0.1", "/ok", &anywhere);
	assert_false(r.ok);
	assert_true(r.cause[0]);
}

static void redirects_are_followed_up_to_a_limit(void **state)
{
	struct server *s = *state;
	assert_true(get(s, "127.0.0.1", "/redirect", &anywhere).ok);
	assert_true(get(s, "127.0.0.1", "/away", &anywhere).ok);
	int before = s->requests;
	assert_false(get(s, "127.0.0.1", "/loop", &anywhere).ok);
	assert_int_equal(s->requests - before, 21);
	assert_false(get(s, "127.0.0.1", "/file", &anywhere).ok);
}

static void every_hop_is_checked(void **state)
{
	struct server *s = *state;
	const char *const second[] = {"127.0.0.2/32"}, *const local[] = {"local"};
	struct address_rules no_second = {.ranges = second, .range_count = 1}, no_local = {.ranges = local, .range_count = 1};
	assert_true(get(s, "127.0.0.1", "/redirect", &no_second).ok);
	struct result r = get(s, "127.0.0.1", "/away", &no_second);
	assert_false(r.ok);
	assert_non_null(strstr(r.cause, "PSYNC_S2203"));
	assert_non_null(strstr(r.cause, "127.0.0.2"));
	/* A name is checked by the address that it resolves to. */
	int before = s->requests;
	r = get(s, "localhost", "/ok", &no_local);
	assert_false(r.ok);
	assert_non_null(strstr(r.cause, "PSYNC_S2203"));
	assert_int_equal(s->requests, before);
}

static void an_answer_without_end_is_cut_off(void **state)
{
	struct server *s = *state;
	struct result r = get(s, "127.0.0.1", "/large", &anywhere);
	assert_false(r.ok);
	assert_non_null(strstr(r.cause, "larger"));
}

static void *raise_flag(void *flag)
{
	usleep(50000);
	atomic_store((atomic_bool *)flag, true);
	return NULL;
}

static void a_fetch_can_be_broken_off(void **state)
{
	struct server *s = *state;
	char url[64], cause[JWKS_CAUSE_SIZE];
	struct buf body = {0};
	atomic_bool stop = false;
	pthread_t thread;
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/slow", s->port);
	int64_t before = clock_mono_ms();
	pthread_create(&thread, NULL, raise_flag, &stop);
	assert_false(jwks_fetch_http((void *)&anywhere, url, &stop, &body, cause));
	assert_true(clock_mono_ms() - before < 5000);
	pthread_join(thread, NULL);
	buf_free(&body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_good_answer_is_the_body),
	        cmocka_unit_test(other_statuses_and_dead_ports_fail),
	        cmocka_unit_test(redirects_are_followed_up_to_a_limit),
	        cmocka_unit_test(every_hop_is_checked),
	        cmocka_unit_test(an_answer_without_end_is_cut_off),
	        cmocka_unit_test(a_fetch_can_be_broken_off),
	};
	return cmocka_run_group_tests(tests, start_server, stop_server);
}
