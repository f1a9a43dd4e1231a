/*
 * compact.h: compaction of the active stream on the shared layout (storage/compact.h, storage-semantics 9).
 *
 * Every step is a statement or a transaction of its own on a connection of the pool, and leaves the store right. Two compactions at once, also one
 * of the reference, do no harm: a MOVE is written where a PUT or REMOVE is still to be found, and a CLEAR in a REPEATABLE READ transaction.
 *
 * What processes have shown their clients in the last minutes no process knows alone. So the checkpoints of the stream are noted now and then in
 * the side table syncline_checkpoints, and the newest one that is old enough is the limit.
 */
#ifndef SYNCLINE_STORAGE_POSTGRES_COMPACT_H
#define SYNCLINE_STORAGE_POSTGRES_COMPACT_H

#include "storage/compact.h"

bool pg_compact(struct storage *s, const struct compact_options *o, struct compact_report *out, struct error *err);
/* Bytes of tables with their indexes; 0 while no stream is active. */
bool pg_sizes(struct storage *s, struct storage_sizes *out, struct error *err);

#endif
