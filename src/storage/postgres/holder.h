/*
 * holder.h: this node's hold on the streams that it replicates (storage-semantics 2, storage-postgres 6).
 *
 * A stream's lock is a row of `locks`, good for 60 s after its last refresh: that is what the reference goes by, and a killed one is waited for.
 * Among Syncline nodes nobody has to wait: whoever holds the row also holds an advisory lock of the database, which ends with its session,
 * and syncline_locks says that the row's lock id is one of a Syncline node. If it is, and the advisory lock is free, the node is dead or cut
 * off, and the row is taken at once. Should it live after all, the fence of its next transaction stops it (writer.h).
 *
 * A thread of its own refreshes the rows, on the session that has the advisory locks, and looks every second whether streams came or changed
 * their state.
 */
#ifndef SYNCLINE_STORAGE_POSTGRES_HOLDER_H
#define SYNCLINE_STORAGE_POSTGRES_HOLDER_H

#include "storage/postgres/connection.h"

struct pg_holder;

/* connection and log outlive it. */
struct pg_holder *pg_holder_start(const struct storage_postgres *connection, const struct log *log);
/* Gives back everything. */
void pg_holder_stop(struct pg_holder *h);

/* One attempt, or what is held already. *lock_id: of the row, "" if somebody else has it; then *who (PG_HOLDER_WHO) describes them. Any
 * thread. */
#define PG_HOLDER_WHO 160
bool pg_holder_take(struct pg_holder *h, int32_t stream, const char *slot_name, char lock_id[37], char who[PG_HOLDER_WHO],
                    struct error *err);
/* Not held: nothing happens. Any thread. */
void pg_holder_give(struct pg_holder *h, int32_t stream);
void pg_holder_give_all(struct pg_holder *h);
/* Something that was held has been taken over, or streams are not any more what they were at the last pg_holder_look. Any thread; no I/O. */
bool pg_holder_changed(struct pg_holder *h);
/* Notes the streams as they are: before they are loaded. */
bool pg_holder_look(struct pg_holder *h, struct error *err);

#endif
