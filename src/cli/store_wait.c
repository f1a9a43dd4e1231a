/* store_wait.c: see store_wait.h. */
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/control.h"
#include "cli/store_wait.h"
#include "storage/store_lock.h"

/* For a process that does not say what it is: a service that is about to listen or to end, or a command that has just begun. */
#define UNKNOWN_WAIT_MS 10000
#define TELL_MS 60000

struct store_wait {
	const char *folder;
	const struct log *log;
	int want_fd; /* -1: nobody was asked to come to an end */
	int64_t until_ms, tell_at_ms;
};

static bool is_stopped(void)
{
	sigset_t pending;
	return sigpending(&pending) == 0 &&
	       (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1 || sigismember(&pending, SIGUSR2) == 1);
}

static void pause_a_little(void)
{
	const struct timespec pause = {.tv_nsec = 50000000};
	sigset_t reload;
	sigemptyset(&reload);
	sigaddset(&reload, SIGHUP);
	sigtimedwait(&reload, NULL, &pause);
}

/* False: it is not worth while. */
static bool may_wait(struct store_wait *w)
{
	int64_t now = clock_mono_ms();
	struct store_holder holder = store_lock_holder(w->folder);
	bool tell = now >= w->tell_at_ms;
	if (holder.command[0]) {
		w->until_ms = now + UNKNOWN_WAIT_MS;
		if (w->want_fd < 0)
			w->want_fd = store_lock_want(w->folder);
		if (tell)
			log_info(w->log, "The store is in use by 'syncline %s', pid %ld: waiting until it ends", holder.command,
			         holder.pid);
	} else if (now > w->until_ms || control_listens(w->folder)) {
		return false;
	} else if (tell) {
		log_info(w->log, "The store is in use: waiting for it");
	}
	if (tell)
		w->tell_at_ms = now + TELL_MS;
	return true;
}

struct storage *store_open_when_free(const struct storage_options *options, const char *folder, const struct log *log,
                                     bool *stopped, struct error *err)
{
	struct store_wait w = {.folder = folder, .log = log, .want_fd = -1, .until_ms = clock_mono_ms() + UNKNOWN_WAIT_MS};
	struct storage *storage;
	*stopped = false;
	while (!(storage = storage_open_lmdb(options, err)) && strcmp(err->code, "PSYNC_S1003") == 0 &&
	       !(*stopped = is_stopped()) && may_wait(&w))
		pause_a_little();
	if (w.want_fd >= 0)
		close(w.want_fd);
	return storage;
}
