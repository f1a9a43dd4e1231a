/*
 * lock.h: rows of the table `locks` (storage-postgres 6): one owner for each name, who refreshes it; after 60 s without that anybody may
 * take it over. Times come from the client's clock, as the reference's do.
 */
#ifndef SYNCLINE_STORAGE_POSTGRES_LOCK_H
#define SYNCLINE_STORAGE_POSTGRES_LOCK_H

#include "storage/postgres/connection.h"

#define PG_LOCK_LIFE_MS 60000

struct pg_lock {
	char name[128];
	char id[37]; /* random UUID */
};

/* One attempt. *got: it is ours. */
bool pg_lock_try(struct pg_conn *c, struct pg_lock *lock, const char *name, bool *got, struct error *err);
/* Tries for at most wait_ms; says once in the log that it waits. */
bool pg_lock_wait(struct pg_conn *c, struct pg_lock *lock, const char *name, int64_t wait_ms, const struct log *log,
                  struct error *err);
/* *held false: somebody else has taken it over. */
bool pg_lock_refresh(struct pg_conn *c, const struct pg_lock *lock, bool *held, struct error *err);
/* Nothing happens if it is no longer ours. */
bool pg_lock_release(struct pg_conn *c, const struct pg_lock *lock, struct error *err);

#endif
