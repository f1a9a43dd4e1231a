/*
 * side.h: the tables that Syncline adds to the shared layout (storage-postgres 8.2), all with the prefix syncline_.
 *
 * The reference ignores them, and its clearing and teardown leave them behind. So they carry a schema version of their own and the id of the
 * store that they belong to (table `instance`): with another one they are emptied. What belongs to one replication stream is keyed by its id and
 * slot name by its owner, op ids never come back.
 */
#ifndef SYNCLINE_STORAGE_POSTGRES_SIDE_H
#define SYNCLINE_STORAGE_POSTGRES_SIDE_H

#include "storage/postgres/connection.h"

/* After the migrations, under their lock: makes the tables, and the store's id if there is none yet. A newer schema is refused. */
bool pg_side_prepare(struct pg_conn *c, const struct log *log, struct error *err);
/* Would pg_side_prepare change anything? Then false, with an error that names the command. */
bool pg_side_ready(struct pg_conn *c, struct error *err);
bool pg_side_remove(struct pg_conn *c, struct error *err);

#endif
