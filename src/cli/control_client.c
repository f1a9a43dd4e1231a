/* control_client.c: a command's side of the control socket. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/control.h"

/* Far more than any answer has. */
#define LINE_MAX_BYTES ((size_t)64 << 20)

/* -1: *absent says whether nobody listens, or it failed. flags: SOCK_NONBLOCK, or 0: waits while more commands come than are accepted. */
static int connect_to(const char *folder, int flags, bool *absent, struct error *err)
{
	struct sockaddr_un address;
	int folder_fd, fd;
	*absent = access(folder, F_OK) != 0;
	if (*absent || !control_address(folder, &address, &folder_fd, err))
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		*absent = errno == ENOENT || errno == ECONNREFUSED;
		error_set(err, "", "cannot connect to %s/" CONTROL_SOCKET ": %s", folder, strerror(errno));
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	if (folder_fd >= 0)
		close(folder_fd);
	return fd;
}

bool control_listens(const char *folder)
{
	struct error ignored;
	bool absent;
	int fd = connect_to(folder, SOCK_NONBLOCK, &absent, &ignored);
	if (fd >= 0)
		close(fd);
	return fd >= 0 || !absent;
}

struct line_reader {
	int fd;
	struct buf bytes;
	size_t taken;
};

/* The next line as a value; NULL: the connection ended, or what came is no JSON. */
static json_t *next_line(struct line_reader *r)
{
	size_t looked = r->taken;
	for (;;) {
		char *end = r->bytes.n > looked ? memchr(r->bytes.p + looked, '\n', r->bytes.n - looked) : NULL;
		if (end) {
			char *start = r->bytes.p + r->taken;
			r->taken = (size_t)(end - r->bytes.p) + 1;
			return json_loadb(start, (size_t)(end - start), 0, NULL);
		}
		if (r->taken) {
			memmove(r->bytes.p, r->bytes.p + r->taken, r->bytes.n - r->taken);
			r->bytes.n -= r->taken;
			r->taken = 0;
		}
		looked = r->bytes.n;
		if (looked > LINE_MAX_BYTES)
			return NULL;
		char *room = buf_reserve(&r->bytes, 65536);
		ssize_t got = recv(r->fd, room, 65536, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return NULL;
		r->bytes.n += (size_t)got;
	}
}

static bool take_error(const json_t *error, struct error *err)
{
	static const char *const known[] = {"PSYNC_S1003", "PSYNC_S1005", "PSYNC_S1101", "PSYNC_S2404"};
	const char *code = json_string_value(json_object_get(error, "code")),
	           *message = json_string_value(json_object_get(error, "message"));
	for (size_t i = 0; code && i < sizeof(known) / sizeof(*known); i++)
		if (strcmp(code, known[i]) == 0)
			return error_set(err, known[i], "%s", message ? message : "the command failed");
	return error_set(err, "", "%s", message ? message : "the command failed");
}

enum control_outcome control_call(const char *folder, json_t *request, control_progress_fn progress, void *ctx, json_t **done,
                                  struct error *err)
{
	bool absent;
	struct line_reader r = {.fd = connect_to(folder, 0, &absent, err)};
	*done = NULL;
	if (r.fd < 0) {
		json_decref(request);
		return absent ? CONTROL_ABSENT : CONTROL_FAILED;
	}
	enum control_outcome outcome = CONTROL_FAILED;
	error_set(err, "", "the service ended before it had answered");
	if (control_send(r.fd, request)) {
		json_t *line, *part;
		while ((line = next_line(&r))) {
			if ((part = json_object_get(line, "progress"))) {
				if (progress)
					progress(ctx, part);
			} else if ((part = json_object_get(line, "done"))) {
				*done = json_incref(part);
				outcome = CONTROL_DONE;
			} else if ((part = json_object_get(line, "error"))) {
				take_error(part, err);
			}
			bool last = !json_object_get(line, "progress");
			json_decref(line);
			if (last)
				break;
		}
	}
	close(r.fd);
	buf_free(&r.bytes);
	return outcome;
}
