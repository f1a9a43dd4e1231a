/*
 * shutdown_guard.h: what ends a process whose orderly end takes too long (http-api-and-operations 7.1).
 *
 * From the first signal on a thread watches over the shutdown: a second SIGINT, at least a second later, or 30 s in all, end the process
 * at once with exit code 1. That loses nothing: the store is durable at every instant, as after kill -9.
 */
#ifndef SYNCLINE_CLI_SHUTDOWN_GUARD_H
#define SYNCLINE_CLI_SHUTDOWN_GUARD_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>

#include "base/log.h"

struct shutdown_guard {
	pthread_t thread;
	bool running;
	sigset_t signals; /* blocked in every thread */
	const struct log *log;
};

/* The log outlives the guard. A thread that cannot be started leaves the shutdown unguarded. */
void shutdown_guard_start(struct shutdown_guard *g, const sigset_t *signals, const struct log *log);
void shutdown_guard_stop(struct shutdown_guard *g);

#endif
