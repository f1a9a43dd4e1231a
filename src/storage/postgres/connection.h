/*
 * connection.h: connections to the storage database.
 *
 * How to connect (address, TLS, password) is the caller's business: storage_options has a function for it. Every wait has a time-out,
 * so a network that swallows packets costs seconds, not minutes. A connection is used by one thread at a time.
 */
#ifndef SYNCLINE_STORAGE_POSTGRES_CONNECTION_H
#define SYNCLINE_STORAGE_POSTGRES_CONNECTION_H

#include <libpq-fe.h>

#include "base/buf.h"
#include "base/error.h"
#include "storage/storage.h"

/* Silence after which a connection is given up. */
#define PG_TIMEOUT_MS 30000

struct pg_conn {
	PGconn *pg;
	bool broken;
	char sqlstate[6]; /* of the last error that the server answered with, else "" */
};

/* NULL: it cannot be opened. */
struct pg_conn *pg_open(const struct storage_postgres *options, struct error *err);
void pg_close(struct pg_conn *c);

/* One or several statements in text form, with text parameters; the last result. timeout_ms limits silence. NULL: failed; c->broken says
 * whether the connection did. */
PGresult *pg_query(struct pg_conn *c, const char *sql, int count, const char *const *values, int timeout_ms, struct error *err);
bool pg_command(struct pg_conn *c, const char *sql, struct error *err);

#endif
