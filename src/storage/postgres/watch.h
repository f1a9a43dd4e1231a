/*
 * watch.h: follows the checkpoints of the active stream, whoever makes them, and hears of checkpoint requests of other processes.
 *
 * One thread with a connection that listens. What a notification says is not needed: it is a reason to look at the stream's record, as a second
 * without one is. So a lost notification costs a second, and a connection on which no answer comes is given up after two and made anew.
 */
#ifndef SYNCLINE_STORAGE_POSTGRES_WATCH_H
#define SYNCLINE_STORAGE_POSTGRES_WATCH_H

#include "storage/postgres/store.h"

struct pg_watch;

/* The database need not be reachable. NULL: no thread. */
struct pg_watch *pg_watch_start(struct pg_store *store, struct error *err);
/* The thread ends; NULL does nothing. */
void pg_watch_stop(struct pg_watch *w);

#endif
