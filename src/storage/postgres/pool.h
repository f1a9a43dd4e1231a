/*
 * pool.h: the connections of a process to the storage database, for single statements and short transactions of any thread.
 *
 * At most `max` at a time; whoever wants one more waits. A connection that fails takes all idle ones with it that are as old: when the server
 * was restarted, none of them is worth a try. While the server cannot be reached, attempts are spaced (100 ms, then twice as long, up to 2 s).
 */
#ifndef SYNCLINE_STORAGE_POSTGRES_POOL_H
#define SYNCLINE_STORAGE_POSTGRES_POOL_H

#include "storage/postgres/connection.h"

struct pg_pool;

/* options outlive the pool; nothing is opened yet. */
struct pg_pool *pg_pool_new(const struct storage_postgres *options, unsigned max);
/* All connections were given back. */
void pg_pool_free(struct pg_pool *p);

/* NULL: none within PG_POOL_WAIT_MS, or the database cannot be reached. Any thread. */
#define PG_POOL_WAIT_MS 15000
struct pg_conn *pg_pool_take(struct pg_pool *p, struct error *err);
/* A broken one is closed. No transaction may be open in it. NULL: nothing. */
void pg_pool_give(struct pg_pool *p, struct pg_conn *c);

/* One prepared statement (connection.h). It is tried once more, on another connection, when the failure was none of its own. */
PGresult *pg_pool_query(struct pg_pool *p, const char *sql, const struct pg_values *values, struct error *err);
/* With text parameters. */
PGresult *pg_pool_texts(struct pg_pool *p, const char *sql, int count, const char *const *values, struct error *err);

#endif
