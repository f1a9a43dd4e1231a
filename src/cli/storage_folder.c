/* storage_folder.c: see storage_folder.h. */
#include "cli/storage_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* The nearest folder above that exists is where the missing ones would be made. */
static enum folder_state check_parent(const char *path, uint64_t *free_bytes, struct error *err)
{
	char parent[4096];
	struct statvfs fs;
	snprintf(parent, sizeof(parent), "%s", path);
	while (access(parent, F_OK) != 0) {
		char *slash = strrchr(parent, '/');
		if (!slash) {
			strcpy(parent, ".");
			break;
		}
		*(slash == parent ? slash + 1 : slash) = '\0';
	}
	if (access(parent, W_OK | X_OK) != 0) {
		error_set(err, "", "the store's folder %s cannot be made in %s: %s", path, parent, strerror(errno));
		return FOLDER_BAD;
	}
	if (statvfs(parent, &fs) == 0)
		*free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	return FOLDER_ABSENT;
}

/* The lock is only tried, and given back at once. */
static enum folder_state check_lock(const char *path, long *pid, struct error *err)
{
	char file[4200], text[32] = "";
	snprintf(file, sizeof(file), "%s/lock", path);
	int fd = open(file, O_RDWR | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return FOLDER_FREE;
	if (fd < 0) {
		error_set(err, "", "cannot open %s: %s", file, strerror(errno));
		return FOLDER_BAD;
	}
	/* Shared, so that several commands may ask at once; a service that starts in this instant looks again (storage/lmdb/env.c). */
	enum folder_state state = flock(fd, LOCK_SH | LOCK_NB) == 0 ? FOLDER_FREE : FOLDER_IN_USE;
	if (state == FOLDER_IN_USE && read(fd, text, sizeof(text) - 1) > 0)
		*pid = atol(text);
	close(fd);
	return state;
}

enum folder_state storage_folder_state(const struct config *config, long *pid, uint64_t *free_bytes, struct error *err)
{
	const char *path = config->storage.path;
	struct stat st;
	struct statvfs fs;
	*pid = 0;
	*free_bytes = 0;
	if (stat(path, &st) != 0) {
		if (errno == ENOENT)
			return check_parent(path, free_bytes, err);
		error_set(err, "", "the store's folder %s cannot be reached: %s", path, strerror(errno));
		return FOLDER_BAD;
	}
	if (!S_ISDIR(st.st_mode) || access(path, R_OK | W_OK | X_OK) != 0) {
		error_set(err, "", "the store's folder %s %s", path,
		          S_ISDIR(st.st_mode) ? "cannot be read and written" : "is not a folder");
		return FOLDER_BAD;
	}
	if (statvfs(path, &fs) == 0)
		*free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	return check_lock(path, pid, err);
}
