/*
 * load.c: a small load generator for bench/run.sh. Plain HTTP/1.1 over loopback, one poll loop, nothing of the service's own code, so
 * that it measures the wire.
 *
 *   load PORT TOKENS download CLIENTS ROUNDS     full first syncs, CLIENTS at a time; tokens are taken in turn from the file
 *   load PORT TOKENS ack ROUNDS                  one stream; checkpoint requests one after the other, until acknowledged and complete
 *   load PORT TOKENS requests CLIENTS COUNT [S]  COUNT new checkpoint requests on CLIENTS connections, each as soon as its last is answered;
 *                                                with S: connections are opened evenly over S seconds, as after a mass reconnect
 *   load PORT TOKENS idle CLIENTS PID            opens CLIENTS streams, waits until all are complete; the process's memory before, after
 *   load PORT TOKENS fanout CLIENTS ROUNDS CMD   runs CMD with the streams open; time until every client has a complete checkpoint
 *
 * Prints one line of name=value pairs.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LINE_KEPT = 8192, TOKENS_MAX = 4096, DEADLINE_S = 300 };

/* One connection with a stream on it. Of each line only the beginning is kept: enough for all lines but data lines. */
struct client {
	int fd;
	bool head_done, ended;
	size_t head_run;     /* bytes of "\r\n\r\n" seen */
	uint64_t chunk_left; /* bytes of the current chunk */
	int chunk_state;     /* 0: size digits, 1: rest of the size line, 2: data, 3: CRLF after data */
	char line[LINE_KEPT];
	size_t line_length;
	uint64_t bytes, operations, completes;
	uint64_t announced, acknowledged; /* write checkpoint of the last checkpoint line, and of the last complete one */
};

static char *tokens[TOKENS_MAX];
static size_t token_count;
static int port;

static void die(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fputs("load: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void read_tokens(const char *path)
{
	char line[4096];
	FILE *f = fopen(path, "r");
	if (!f)
		die("%s: %s", path, strerror(errno));
	while (token_count < TOKENS_MAX && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\r\n")] = '\0';
		tokens[token_count++] = strdup(line);
	}
	fclose(f);
	if (token_count == 0)
		die("%s holds no token", path);
}

static int connect_service(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	struct sockaddr_in to = {
	        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0)
		die("connect: %s", strerror(errno));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static void send_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
		if (sent <= 0)
			die("send: %s", strerror(errno));
		p += sent;
		n -= (size_t)sent;
	}
}

static void post(int fd, const char *route, const char *token, const char *body)
{
	char head[8192];
	int n = snprintf(head, sizeof(head),
	                 "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Token %s\r\nContent-Type: application/json\r\n"
	                 "Content-Length: %zu\r\n\r\n%s",
	                 route, token, strlen(body), body);
	if (n < 0 || (size_t)n >= sizeof(head))
		die("token too long");
	send_all(fd, head, (size_t)n);
}

static void client_open(struct client *c, size_t index, const char *client_id)
{
	char body[256];
	memset(c, 0, sizeof(*c));
	c->fd = connect_service();
	snprintf(body, sizeof(body), "{\"buckets\":[],\"raw_data\":true,\"include_checksum\":true,\"client_id\":\"%s-%zu\"}",
	         client_id, index);
	post(c->fd, "/sync/stream", tokens[index % token_count], body);
}

static uint64_t number_after(const char *line, const char *key)
{
	const char *p = strstr(line, key);
	return p ? strtoull(p + strlen(key), NULL, 10) : 0;
}

static void client_line(struct client *c)
{
	size_t kept = c->line_length < LINE_KEPT - 1 ? c->line_length : LINE_KEPT - 1;
	c->line[kept] = '\0';
	if (strncmp(c->line, "{\"checkpoint_complete", 21) == 0) {
		c->completes++;
		c->acknowledged = c->announced;
	} else if (strncmp(c->line, "{\"checkpoint\"", 13) == 0 || strncmp(c->line, "{\"checkpoint_diff\"", 18) == 0) {
		c->announced = number_after(c->line, "\"write_checkpoint\":\"");
		if (c->completes == 0)
			for (const char *p = c->line; (p = strstr(p, "\"count\":")); p += 8)
				c->operations += strtoull(p + 8, NULL, 10);
	}
	c->line_length = 0;
}

static void client_body(struct client *c, const char *p, size_t n)
{
	while (n > 0) {
		const char *end = memchr(p, '\n', n);
		size_t part = end ? (size_t)(end - p) : n;
		if (c->line_length < LINE_KEPT - 1) {
			size_t room = LINE_KEPT - 1 - c->line_length;
			memcpy(c->line + c->line_length, p, part < room ? part : room);
		}
		c->line_length += part;
		if (end) {
			client_line(c);
			part++;
		}
		p += part;
		n -= part;
	}
}

/* Undoes the chunked coding; anything else than a 200 ends the program. */
static void client_bytes(struct client *c, const char *p, size_t n)
{
	static const char end_of_head[] = "\r\n\r\n";
	c->bytes += n;
	for (; n > 0 && !c->head_done; p++, n--) {
		if (c->line_length < LINE_KEPT - 1)
			c->line[c->line_length++] = *p;
		c->head_run = *p == end_of_head[c->head_run] ? c->head_run + 1 : (*p == '\r' ? 1 : 0);
		if (c->head_run == 4) {
			c->line[c->line_length] = '\0';
			if (strncmp(c->line, "HTTP/1.1 200", 12) != 0)
				die("the stream answers: %.200s", c->line);
			c->head_done = true;
			c->line_length = 0;
		}
	}
	while (n > 0) {
		if (c->chunk_state == 2) {
			size_t part = n < c->chunk_left ? n : (size_t)c->chunk_left;
			client_body(c, p, part);
			p += part;
			n -= part;
			c->chunk_left -= part;
			if (c->chunk_left == 0)
				c->chunk_state = 3;
			continue;
		}
		char ch = *p++;
		n--;
		if (c->chunk_state == 3) {
			if (ch == '\n')
				c->chunk_state = 0;
		} else if (ch == '\n') {
			if (c->chunk_left == 0)
				c->ended = true;
			c->chunk_state = 2;
		} else if (c->chunk_state == 0 && ch != '\r') {
			int digit = ch >= '0' && ch <= '9'                 ? ch - '0'
			            : (ch | 32) >= 'a' && (ch | 32) <= 'f' ? (ch | 32) - 'a' + 10
			                                                   : -1;
			if (digit < 0)
				c->chunk_state = 1;
			else
				c->chunk_left = c->chunk_left * 16 + (uint64_t)digit;
		}
	}
}

/* Reads from all clients until done() holds for each. */
static void run(struct client *clients, size_t count, bool (*done)(const struct client *, uint64_t), uint64_t argument)
{
	static char buffer[1 << 18];
	struct pollfd *fds = calloc(count, sizeof(*fds));
	double deadline = now() + DEADLINE_S;
	size_t waiting = 0;
	for (size_t i = 0; i < count; i++) {
		bool is_done = done(&clients[i], argument);
		fds[i] = (struct pollfd){.fd = is_done ? -1 : clients[i].fd, .events = POLLIN};
		waiting += !is_done;
	}
	while (waiting > 0) {
		if (poll(fds, count, 1000) < 0 && errno != EINTR)
			die("poll: %s", strerror(errno));
		if (now() > deadline)
			die("%zu of %zu clients are not done after %d s", waiting, count, DEADLINE_S);
		for (size_t i = 0; i < count; i++) {
			if (fds[i].fd < 0 || !fds[i].revents)
				continue;
			ssize_t n = recv(clients[i].fd, buffer, sizeof(buffer), 0);
			if (n <= 0)
				die("a stream ended early: %s", n < 0 ? strerror(errno) : "closed");
			client_bytes(&clients[i], buffer, (size_t)n);
			if (done(&clients[i], argument)) {
				fds[i].fd = -1;
				waiting--;
			}
		}
	}
	free(fds);
}

static bool has_completes(const struct client *c, uint64_t n)
{
	return c->completes >= n;
}

static bool has_acknowledged(const struct client *c, uint64_t id)
{
	return c->acknowledged >= id;
}

static bool has_more_completes(const struct client *c, uint64_t unused)
{
	(void)unused;
	return c->completes > c->announced; /* fanout keeps the count of before there */
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static void print_times(double *ms, size_t n)
{
	qsort(ms, n, sizeof(*ms), by_value);
	printf("rounds=%zu p50_ms=%.2f p95_ms=%.2f max_ms=%.2f\n", n, ms[n / 2], ms[n * 95 / 100], ms[n - 1]);
}

static void download(size_t count, size_t rounds)
{
	struct client *clients = calloc(count, sizeof(*clients));
	uint64_t operations = 0, bytes = 0;
	double began = now();
	for (size_t r = 0; r < rounds; r++) {
		for (size_t i = 0; i < count; i++)
			client_open(&clients[i], i, "download");
		run(clients, count, has_completes, 1);
		for (size_t i = 0; i < count; i++) {
			operations += clients[i].operations;
			bytes += clients[i].bytes;
			close(clients[i].fd);
		}
	}
	double s = now() - began;
	printf("clients=%zu operations=%llu seconds=%.3f ops_per_s=%.0f mb_per_s=%.1f\n", count, (unsigned long long)operations,
	       s, (double)operations / s, (double)bytes / s / 1e6);
	free(clients);
}

static void ack(size_t rounds)
{
	struct client c;
	double *ms = calloc(rounds, sizeof(*ms));
	char body[128], answer[4096];
	int fd = connect_service();
	client_open(&c, 0, "ack");
	run(&c, 1, has_completes, 1);
	/* ids go on from run to run, so that none is acknowledged before it was asked for */
	uint64_t id = (uint64_t)time(NULL) * 1000;
	for (size_t r = 0; r < rounds; r++) {
		double began = now();
		snprintf(body, sizeof(body), "{\"client_id\":\"ack-0\",\"checkpoint_request_id\":\"%llu\"}",
		         (unsigned long long)++id);
		post(fd, "/sync/checkpoint-request", tokens[0], body);
		ssize_t n = recv(fd, answer, sizeof(answer) - 1, 0);
		answer[n > 0 ? n : 0] = '\0';
		if (strncmp(answer, "HTTP/1.1 200", 12) != 0)
			die("the request answers: %.300s", answer);
		run(&c, 1, has_acknowledged, id);
		ms[r] = (now() - began) * 1000;
	}
	print_times(ms, rounds);
	free(ms);
	close(fd);
	close(c.fd);
}

/* One connection of the workload `requests`. */
struct asker {
	int fd;
	uint64_t id;
	double began;
	size_t length;
	char answer[2048];
};

static void ask_next(struct asker *a, size_t index)
{
	char body[128];
	if (a->fd < 0)
		a->fd = connect_service();
	a->length = 0;
	a->began = now();
	snprintf(body, sizeof(body), "{\"client_id\":\"ask-%zu\",\"checkpoint_request_id\":\"%llu\"}", index,
	         (unsigned long long)++a->id);
	post(a->fd, "/sync/checkpoint-request", tokens[index % token_count], body);
}

/* True: the answer is here, and it is a 200. */
static bool answered(struct asker *a)
{
	ssize_t n = recv(a->fd, a->answer + a->length, sizeof(a->answer) - 1 - a->length, 0);
	if (n <= 0)
		die("a connection ended early");
	a->length += (size_t)n;
	a->answer[a->length] = '\0';
	if (!strstr(a->answer, "}}"))
		return false;
	if (strncmp(a->answer, "HTTP/1.1 200", 12) != 0)
		die("a request answers: %.300s", a->answer);
	return true;
}

static void requests(size_t count, size_t total, double spread)
{
	struct asker *askers = calloc(count, sizeof(*askers));
	struct pollfd *fds = calloc(count, sizeof(*fds));
	double *ms = calloc(total, sizeof(*ms)), began = now();
	size_t opened = 0, sent = 0, done = 0;
	while (done < total) {
		for (; opened < count && sent < total &&
		       (double)opened <= (now() - began) / (spread > 0 ? spread : 1e-9) * (double)count;
		     opened++, sent++) {
			askers[opened] = (struct asker){.fd = -1, .id = (uint64_t)time(NULL) * 1000};
			ask_next(&askers[opened], opened);
			fds[opened] = (struct pollfd){.fd = askers[opened].fd, .events = POLLIN};
		}
		if (poll(fds, opened, opened < count ? 1 : 1000) < 0 && errno != EINTR)
			die("poll: %s", strerror(errno));
		if (now() - began > DEADLINE_S)
			die("%zu of %zu requests are answered after %d s", done, total, DEADLINE_S);
		for (size_t i = 0; i < opened; i++) {
			if (!fds[i].revents || !answered(&askers[i]))
				continue;
			ms[done++] = (now() - askers[i].began) * 1000;
			if (sent < total && opened == count) {
				ask_next(&askers[i], i);
				sent++;
			}
		}
	}
	printf("connections=%zu per_s=%.0f p99_ms=", count, (double)total / (now() - began));
	qsort(ms, total, sizeof(*ms), by_value);
	printf("%.2f ", ms[total * 99 / 100]);
	print_times(ms, total);
}

static long memory_kb(const char *pid, const char *field)
{
	char path[64], line[256];
	long kb = 0;
	snprintf(path, sizeof(path), "/proc/%s/status", pid);
	FILE *f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, field, strlen(field)) == 0)
			kb = strtol(line + strlen(field) + 1, NULL, 10);
	if (f)
		fclose(f);
	return kb;
}

static struct client *open_all(size_t count)
{
	struct client *clients = calloc(count, sizeof(*clients));
	/* in steps, so that the listen queue is not what is measured */
	for (size_t from = 0; from < count; from += 100) {
		size_t n = count - from < 100 ? count - from : 100;
		for (size_t i = 0; i < n; i++)
			client_open(&clients[from + i], from + i, "idle");
		run(clients + from, n, has_completes, 1);
	}
	return clients;
}

static void idle(size_t count, const char *pid)
{
	long before = memory_kb(pid, "RssAnon:");
	double began = now();
	struct client *clients = open_all(count);
	double s = now() - began;
	sleep(1);
	long after = memory_kb(pid, "RssAnon:");
	printf("clients=%zu open_seconds=%.2f anon_kb_before=%ld anon_kb_after=%ld kb_per_client=%.2f\n", count, s, before, after,
	       (double)(after - before) / (double)count);
	free(clients);
}

static void fanout(size_t count, size_t rounds, const char *command)
{
	struct client *clients = open_all(count);
	double *ms = calloc(rounds, sizeof(*ms));
	for (size_t r = 0; r < rounds; r++) {
		for (size_t i = 0; i < count; i++)
			clients[i].announced = clients[i].completes;
		double began = now();
		if (system(command) != 0)
			die("the command failed: %s", command);
		run(clients, count, has_more_completes, 0);
		ms[r] = (now() - began) * 1000;
	}
	printf("clients=%zu ", count);
	print_times(ms, rounds);
	free(ms);
	free(clients);
}

int main(int argc, char **argv)
{
	struct rlimit files = {1 << 20, 1 << 20};
	if (argc < 5)
		die("usage: load PORT TOKENS download|ack|requests|idle|fanout ... (see the head of bench/load.c)");
	if (setrlimit(RLIMIT_NOFILE, &files) != 0 && getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	port = (int)strtol(argv[1], NULL, 10);
	read_tokens(argv[2]);
	size_t n = strtoul(argv[4], NULL, 10);
	if (n == 0)
		die("a count of at least 1 is needed");
	if (strcmp(argv[3], "download") == 0 && argc == 6)
		download(n, strtoul(argv[5], NULL, 10));
	else if (strcmp(argv[3], "ack") == 0)
		ack(n);
	else if (strcmp(argv[3], "requests") == 0 && argc >= 6)
		requests(n, strtoul(argv[5], NULL, 10), argc > 6 ? strtod(argv[6], NULL) : 0);
	else if (strcmp(argv[3], "idle") == 0 && argc == 6)
		idle(n, argv[5]);
	else if (strcmp(argv[3], "fanout") == 0 && argc == 7)
		fanout(n, strtoul(argv[5], NULL, 10), argv[6]);
	else
		die("unknown workload %s", argv[3]);
	return 0;
}
