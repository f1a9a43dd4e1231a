/* lock.c: see ../store_lock.h. */
#define _GNU_SOURCE /* F_OFD_SETLK */
#include "storage/store_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define LOCK_PAUSE_MS 20
#define LOCK_PATIENCE_MS 1000
/* Of the byte whose record lock says that somebody waits. */
#define WANTED_OFFSET ((off_t)1 << 20)

static int open_lock(const char *folder, int flags)
{
	char file[4200];
	snprintf(file, sizeof(file), "%s/lock", folder);
	return open(file, flags | O_CLOEXEC, 0600);
}

static struct store_holder read_holder(int fd)
{
	struct store_holder h = {.pid = 0};
	char text[64];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	h.pid = atol(text);
	const char *second = strchr(text, '\n');
	if (second)
		snprintf(h.command, sizeof(h.command), "%.*s", (int)strcspn(second + 1, "\n"), second + 1);
	return h;
}

/* Commands that only ask whether a store is in use hold its lock for an instant, without a word: who finds it taken and no living process
 * named in the file looks again for a while. A process that uses the store is refused to others at once. False: it is taken; who: by whom. */
static bool lock_file(int fd, struct store_holder *who)
{
	const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000};
	for (int waited = 0;; waited += LOCK_PAUSE_MS) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return true;
		*who = read_holder(fd);
		if (who->pid > 0 && (kill((pid_t)who->pid, 0) == 0 || errno == EPERM))
			return false;
		if (waited >= LOCK_PATIENCE_MS) {
			*who = (struct store_holder){.pid = 0}; /* whoever it is, it is not the one in the file */
			return false;
		}
		nanosleep(&pause, NULL);
	}
}

static bool write_holder(int fd, const char *command)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "%ld\n%s%s", (long)getpid(), command ? command : "", command ? "\n" : "");
	return ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)n, 0) == n;
}

/* The kernel gives the lock back when the process dies, however it dies. */
int store_lock_take(const char *folder, const char *command, struct error *err)
{
	struct store_holder who;
	int fd = open_lock(folder, O_RDWR | O_CREAT);
	if (fd < 0) {
		error_set(err, "PSYNC_S2404", "cannot open %s/lock: %s", folder, strerror(errno));
		return -1;
	}
	if (!lock_file(fd, &who)) {
		char pid[32] = "";
		if (who.pid > 0)
			snprintf(pid, sizeof(pid), ", pid %ld", who.pid);
		error_set(err, "PSYNC_S1003", "the store %s is in use by another process%s%s%s%s", folder, pid,
		          who.command[0] ? " (syncline " : "", who.command, who.command[0] ? ")" : "");
	} else if (!write_holder(fd, command)) {
		error_set(err, "PSYNC_S2404", "cannot write %s/lock: %s", folder, strerror(errno));
	} else {
		return fd;
	}
	close(fd);
	return -1;
}

struct store_holder store_lock_holder(const char *folder)
{
	int fd = open_lock(folder, O_RDONLY);
	if (fd < 0)
		return (struct store_holder){.pid = 0};
	struct store_holder h = read_holder(fd);
	close(fd);
	return h;
}

static struct flock wanted(short type)
{
	return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = WANTED_OFFSET, .l_len = 1};
}

int store_lock_want(const char *folder)
{
	struct flock lock = wanted(F_RDLCK);
	int fd = open_lock(folder, O_RDONLY);
	if (fd >= 0 && fcntl(fd, F_OFD_SETLK, &lock) != 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* Only asked, never taken: nobody who wants the store is ever kept from saying so. */
bool store_lock_is_wanted(const char *folder)
{
	struct flock lock = wanted(F_WRLCK);
	int fd = open_lock(folder, O_RDWR);
	bool is = fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
	if (fd >= 0)
		close(fd);
	return is;
}
