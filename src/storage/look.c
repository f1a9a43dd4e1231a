/*
 * look.c: the embedded store, opened for looking only, beside the process that uses it.
 *
 * LMDB's own locks are shared with that process: a record lock while it opens its files, a mutex while it takes a place among the readers.
 * It needs them for microseconds, but one that is stopped, frozen or waiting for its disk in just that instant keeps them as long as that
 * lasts. So a thread opens the store, and is left to itself when it takes too long; it closes again what it opens after that.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "storage/internal.h"
#include "storage/store_lock.h"

#define PATIENCE_S 2

/* Of two, the caller (then the opened store) and the thread; whoever is the last frees it. */
struct look {
	pthread_mutex_t lock;
	pthread_cond_t ended;
	struct storage_options options; /* nothing in it belongs to the caller, who may be gone when it is used */
	struct log log;
	char *path;
	struct storage *storage;
	struct error err;
	bool over;      /* the thread has its result */
	bool abandoned; /* nobody waits for it */
};

static struct look *look_new(const struct storage_options *options)
{
	struct look *l = xcalloc(1, sizeof(*l));
	pthread_condattr_t attributes;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&l->ended, &attributes);
	pthread_condattr_destroy(&attributes);
	pthread_mutex_init(&l->lock, NULL);
	l->path = xstrdup(options->path);
	if (options->log)
		l->log = (struct log){.level = options->log->level, .json = options->log->json, .fd = options->log->fd};
	l->options = (struct storage_options){
	        .path = slice_cstr(l->path), .map_size = options->map_size, .log = options->log ? &l->log : NULL};
	l->err.code = "";
	return l;
}

void look_free(struct look *l)
{
	if (!l)
		return;
	pthread_cond_destroy(&l->ended);
	pthread_mutex_destroy(&l->lock);
	free(l->path);
	free(l);
}

static void *open_it(void *arg)
{
	struct look *l = arg;
	struct error err = {.code = ""};
	struct storage *storage = storage_load_lmdb(&l->options, true, &err);
	pthread_mutex_lock(&l->lock);
	bool abandoned = l->abandoned;
	l->storage = storage;
	l->err = err;
	l->over = true;
	pthread_cond_signal(&l->ended);
	pthread_mutex_unlock(&l->lock);
	if (abandoned) {
		storage_close(storage);
		look_free(l);
	}
	return NULL;
}

/* False: the thread goes on alone. */
static bool wait_for_it(struct look *l)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += PATIENCE_S;
	pthread_mutex_lock(&l->lock);
	while (!l->over && pthread_cond_timedwait(&l->ended, &l->lock, &until) != ETIMEDOUT)
		;
	l->abandoned = !l->over;
	bool over = l->over;
	pthread_mutex_unlock(&l->lock);
	return over;
}

static struct storage *refuse(const struct storage_options *options, struct error *err)
{
	char *path = xstrdup(options->path);
	struct store_holder h = store_lock_holder(path);
	error_set(err, "PSYNC_S1003",
	          "the store %s cannot be looked into: a process that uses it (the last one was pid %ld%s%s) answers to nothing "
	          "and "
	          "is perhaps stopped",
	          path, h.pid, h.command[0] ? ", syncline " : "", h.command);
	free(path);
	return NULL;
}

struct storage *storage_open_lmdb_readonly(const struct storage_options *options, struct error *err)
{
	struct look *l = look_new(options);
	pthread_t thread;
	if (pthread_create(&thread, NULL, open_it, l) != 0) {
		look_free(l);
		error_set(err, "", "cannot start a thread");
		return NULL;
	}
	if (!wait_for_it(l)) {
		pthread_detach(thread);
		return refuse(options, err);
	}
	pthread_join(thread, NULL);
	struct storage *storage = l->storage;
	if (storage) {
		storage->look = l;
	} else {
		*err = l->err;
		look_free(l);
	}
	return storage;
}
