/* control_server.c: one thread accepts, and each connection is answered on a thread of its own, so that a command that takes minutes does
 * not hold up one that takes none. */
#define _GNU_SOURCE /* accept4 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "cli/control.h"

#define MAX_CONNECTIONS 8
/* A client that sends no request, or takes no answer, for so long is given up. */
#define PATIENCE_S 10
#define ACCEPT_PAUSE_MS 200

struct control_reply {
	struct control *control;
	int fd;
	bool gone; /* the client is */
	pthread_t thread;
	_Atomic bool over; /* the thread is about to end */
	struct control_reply *next;
};

struct control {
	const struct control_command *commands;
	size_t command_count;
	void *ctx;
	const struct log *log;
	char *folder;
	int listen_fd, stop_fd;
	_Atomic bool stopping;
	pthread_t thread;
	struct control_reply *replies; /* the accepting thread's */
	size_t reply_count;
};

/* ---- one connection ---- */

bool control_go_on(struct control_reply *r)
{
	char byte;
	if (atomic_load(&r->control->stopping))
		return false;
	if (!r->gone && recv(r->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
		r->gone = true;
	return !r->gone;
}

void control_progress(struct control_reply *r, json_t *values)
{
	if (r->gone)
		json_decref(values);
	else if (!control_send(r->fd, json_pack("{s:o}", "progress", values)))
		r->gone = true;
}

/* The request's line without its end; n bytes. False: there is none, or it is too long or too slow. */
static bool read_request(int fd, char *line, size_t *n)
{
	int64_t until = clock_mono_ms() + PATIENCE_S * 1000;
	*n = 0;
	while (*n < CONTROL_REQUEST_MAX && clock_mono_ms() < until) {
		ssize_t got = recv(fd, line + *n, CONTROL_REQUEST_MAX - *n, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		char *end = memchr(line + *n, '\n', (size_t)got);
		*n += (size_t)got;
		if (end) {
			*n = (size_t)(end - line);
			return true;
		}
	}
	return false;
}

static const struct control_command *find_command(const struct control *c, const char *name)
{
	for (size_t i = 0; name && i < c->command_count; i++)
		if (strcmp(c->commands[i].name, name) == 0)
			return &c->commands[i];
	return NULL;
}

static json_t *error_line(const struct error *err)
{
	json_t *message = json_string(err->message);
	return json_pack("{s:{s:s,s:o}}", "error", "code", err->code, "message",
	                 message ? message : json_string("the command failed"));
}

static void answer(struct control_reply *r)
{
	struct control *c = r->control;
	struct error err = {.code = ""};
	char *line = xmalloc(CONTROL_REQUEST_MAX);
	size_t n;
	bool complete = read_request(r->fd, line, &n);
	json_t *request = complete ? json_loadb(line, n, JSON_REJECT_DUPLICATES, NULL) : NULL, *done = NULL;
	free(line);
	const struct control_command *command = find_command(c, json_string_value(json_object_get(request, "command")));
	if (command)
		done = command->run(c->ctx, request, r, &err);
	else
		error_set(&err, "",
		          request ? "the service does not know this command: it is of another version"
		                  : "the request is no JSON object on one line");
	json_decref(request);
	if (!r->gone)
		control_send(r->fd, done ? json_pack("{s:o}", "done", done) : error_line(&err));
	else if (done)
		json_decref(done);
}

static void *serve(void *arg)
{
	struct control_reply *r = arg;
	answer(r);
	shutdown(r->fd, SHUT_RDWR); /* the accepting thread closes it: until then the number is not used again */
	atomic_store(&r->over, true);
	return NULL;
}

/* ---- accepting ---- */

static void reap(struct control *c, bool all)
{
	for (struct control_reply **at = &c->replies, *r = *at; r; r = *at) {
		if (!all && !atomic_load(&r->over)) {
			at = &r->next;
			continue;
		}
		*at = r->next;
		pthread_join(r->thread, NULL);
		close(r->fd);
		free(r);
		c->reply_count--;
	}
}

static void accept_one(struct control *c)
{
	const struct timeval patience = {.tv_sec = PATIENCE_S};
	int fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	reap(c, false);
	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			poll(NULL, 0, ACCEPT_PAUSE_MS);
		return;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	struct control_reply *r = xcalloc(1, sizeof(*r));
	r->control = c;
	r->fd = fd;
	if (c->reply_count >= MAX_CONNECTIONS || pthread_create(&r->thread, NULL, serve, r) != 0) {
		struct error err;
		error_set(&err, "", "the service works on too many commands at once");
		control_send(fd, error_line(&err));
		close(fd);
		free(r);
		return;
	}
	r->next = c->replies;
	c->replies = r;
	c->reply_count++;
}

static void *run(void *arg)
{
	struct control *c = arg;
	struct pollfd fds[] = {{.fd = c->listen_fd, .events = POLLIN}, {.fd = c->stop_fd, .events = POLLIN}};
	while (!atomic_load(&c->stopping)) {
		if (poll(fds, 2, -1) > 0 && (fds[0].revents & POLLIN))
			accept_one(c);
	}
	for (struct control_reply *r = c->replies; r; r = r->next)
		shutdown(r->fd, SHUT_RD); /* who waits for a request waits no longer; an answer may still go out */
	reap(c, true);
	return NULL;
}

/* ---- life ---- */

static bool listen_at(struct control *c, struct error *err)
{
	struct sockaddr_un address;
	int folder_fd;
	if (!control_address(c->folder, &address, &folder_fd, err))
		return false;
	c->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	unlink(address.sun_path);
	/* The mode is set before there is a name: at no time can another user connect. */
	bool ok = c->listen_fd >= 0 && fchmod(c->listen_fd, 0600) == 0 &&
	          bind(c->listen_fd, (struct sockaddr *)&address, sizeof(address)) == 0 && chmod(address.sun_path, 0600) == 0 &&
	          listen(c->listen_fd, MAX_CONNECTIONS) == 0;
	if (!ok)
		error_set(err, "", "cannot listen at %s/" CONTROL_SOCKET ": %s", c->folder, strerror(errno));
	if (folder_fd >= 0)
		close(folder_fd);
	return ok;
}

static void control_free(struct control *c)
{
	if (c->listen_fd >= 0)
		close(c->listen_fd);
	if (c->stop_fd >= 0)
		close(c->stop_fd);
	free(c->folder);
	free(c);
}

struct control *control_start(const char *folder, const struct control_command *commands, size_t count, void *ctx,
                              const struct log *log, struct error *err)
{
	struct control *c = xcalloc(1, sizeof(*c));
	*c = (struct control){.commands = commands,
	                      .command_count = count,
	                      .ctx = ctx,
	                      .log = log,
	                      .folder = xstrdup(slice_cstr(folder)),
	                      .listen_fd = -1,
	                      .stop_fd = eventfd(0, EFD_CLOEXEC)};
	if (c->stop_fd < 0) {
		error_set(err, "", "cannot make an event: %s", strerror(errno));
	} else if (listen_at(c, err)) {
		if (pthread_create(&c->thread, NULL, run, c) == 0)
			return c;
		error_set(err, "", "cannot start a thread");
	}
	control_free(c);
	return NULL;
}

void control_stop(struct control *c)
{
	if (!c)
		return;
	struct sockaddr_un address;
	struct error err;
	int folder_fd;
	atomic_store(&c->stopping, true);
	eventfd_write(c->stop_fd, 1);
	pthread_join(c->thread, NULL);
	if (control_address(c->folder, &address, &folder_fd, &err)) {
		unlink(address.sun_path);
		if (folder_fd >= 0)
			close(folder_fd);
	}
	control_free(c);
}
