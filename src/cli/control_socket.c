/* control_socket.c: what both sides of the control socket need. */
#define _GNU_SOURCE /* O_PATH */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cli/control.h"

bool control_address(const char *folder, struct sockaddr_un *address, int *folder_fd, struct error *err)
{
	size_t room = sizeof(address->sun_path);
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	*folder_fd = -1;
	if ((size_t)snprintf(address->sun_path, room, "%s/" CONTROL_SOCKET, folder) < room)
		return true;
	*folder_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*folder_fd < 0)
		return error_set(err, "", "cannot open the folder %s: %s", folder, strerror(errno));
	snprintf(address->sun_path, room, "/proc/self/fd/%d/" CONTROL_SOCKET, *folder_fd);
	return true;
}

bool control_send(int fd, json_t *line)
{
	char *text = json_dumps(line, JSON_COMPACT);
	json_decref(line);
	if (!text)
		return false;
	size_t n = strlen(text), at = 0;
	text[n++] = '\n'; /* in place of the end mark */
	while (at < n) {
		ssize_t sent = send(fd, text + at, n - at, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			break;
		at += (size_t)sent;
	}
	free(text);
	return at == n;
}
