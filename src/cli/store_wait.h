/* store_wait.h: the embedded store, opened by a service as soon as the command that is at work on it lets go of it. */
#ifndef SYNCLINE_CLI_STORE_WAIT_H
#define SYNCLINE_CLI_STORE_WAIT_H

#include "base/log.h"
#include "storage/storage.h"

/*
 * Waits as long as a command holds the store, and asks it to come to an end. Another service is an error (PSYNC_S1003), at once if it
 * answers at its socket. SIGTERM, SIGINT and SIGUSR2, which the caller has blocked, end the wait: NULL and *stopped, and the signal stays
 * pending. A SIGHUP is taken: what it asks to be read has not been read yet.
 */
struct storage *store_open_when_free(const struct storage_options *options, const char *folder, const struct log *log,
                                     bool *stopped, struct error *err);

#endif
