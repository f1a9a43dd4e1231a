/*
 * migrations.h: the reference's migrations (storage-postgres 5), under its names: both programs find the store as they expect it.
 *
 * Nothing of Syncline's own is among them; what it adds lives in tables with the prefix syncline_ (side.h), which are made after them and
 * removed before them.
 */
#ifndef SYNCLINE_STORAGE_POSTGRES_MIGRATIONS_H
#define SYNCLINE_STORAGE_POSTGRES_MIGRATIONS_H

#include "storage/postgres/connection.h"

/* Makes what is missing; takes the lock `migrations`. */
bool pg_migrate_up(struct pg_conn *c, const struct log *log, struct error *err);
/* Undoes everything, as far as the data allows: what is left is as it was when it stopped. */
bool pg_migrate_down(struct pg_conn *c, const struct log *log, struct error *err);
/* True if pg_migrate_up would have nothing to do; false with an error otherwise. */
bool pg_migrations_done(struct pg_conn *c, struct error *err);

#endif
