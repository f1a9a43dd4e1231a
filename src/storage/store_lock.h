/*
 * store_lock.h: the file "lock" in the folder of the embedded store, held with flock by the one process that may use it. Any thread.
 *
 * The holder writes who it is: its pid, and on a second line the command that it runs if it is no service. Who waits for the store says so
 * in the same file, with a shared record lock on a byte far behind the text, which is given back however the waiting process ends.
 */
#ifndef SYNCLINE_STORAGE_STORE_LOCK_H
#define SYNCLINE_STORAGE_STORE_LOCK_H

#include <stdbool.h>

#include "base/error.h"

struct store_holder {
	long pid;         /* 0: unknown. Of the holder's own namespace, which another container does not share */
	char command[32]; /* "": a service, or unknown */
};

/* Takes the lock and writes who holds it; command: NULL for a service. The descriptor, to be closed; -1: PSYNC_S1003, it is taken, or
 * PSYNC_S2404. Waits up to a second for holders that only ask whether it is free. */
int store_lock_take(const char *folder, const char *command, struct error *err);

/* Who holds the lock, or held it last. */
struct store_holder store_lock_holder(const char *folder);

/* Asks the holder to give the store up as soon as it can, until the descriptor is closed. -1: that cannot be said. */
int store_lock_want(const char *folder);
/* For the holder: does anybody? */
bool store_lock_is_wanted(const char *folder);

#endif
