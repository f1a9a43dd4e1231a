/*
 * watch_news.h: what a newer checkpoint of a stream means for the sessions of this process (struct storage_news).
 *
 * Which buckets of those that sessions hold have new operations is asked of the index, and so are the entries of lookups between the two op ids:
 * other sessions need not look.
 */
#ifndef SYNCLINE_STORAGE_POSTGRES_WATCH_NEWS_H
#define SYNCLINE_STORAGE_POSTGRES_WATCH_NEWS_H

#include "storage/postgres/store.h"

/* Between two checkpoints of one stream. Fills in buckets and lookups, in the arena; everything: too much to list, or it could not be read. */
void pg_watch_changes(struct pg_store *store, struct pg_conn *conn, int timeout_ms, const struct checkpoint *before,
                      const struct checkpoint *next, struct arena *arena, struct storage_news *news);
/* After pg_watch_changes, and after its news were told: buckets that sessions began to hold in between, and may not have looked at, are told, too. */
void pg_watch_late(struct pg_store *store, const struct checkpoint *next);

#endif
