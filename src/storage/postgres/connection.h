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

/* Silence after which a connection is given up. A little earlier the server itself gives up the statement, so that none goes on, or waits
 * for a lock, that nobody waits for: PSYNC_S2403, and the connection stays. */
#define PG_TIMEOUT_MS 30000
#define PG_STATEMENT_MS 29000
/* A process that stands still in a transaction keeps others waiting no longer. */
#define PG_IDLE_IN_TRANSACTION_MS 60000
/* Such a number as part of a statement. */
#define PG_TEXT_OF(x) #x
#define PG_NUMBER_TEXT(x) PG_TEXT_OF(x)

#define PG_PREPARED_MAX 96

struct pg_conn {
	PGconn *pg;
	bool broken;
	char sqlstate[6]; /* of the last error that the server answered with, else "" */
	const char *prepared[PG_PREPARED_MAX];
	unsigned prepared_count;
	uint64_t era;     /* the pool's */
	size_t pipelined; /* statements sent in the open pipeline */
};

/* NULL: it cannot be opened. */
struct pg_conn *pg_open(const struct storage_postgres *options, struct error *err);
void pg_close(struct pg_conn *c);

/* One or several statements in text form, with text parameters; the last result. timeout_ms limits silence. NULL: failed; c->broken says
 * whether the connection did. */
PGresult *pg_query(struct pg_conn *c, const char *sql, int count, const char *const *values, int timeout_ms, struct error *err);
bool pg_command(struct pg_conn *c, const char *sql, struct error *err);
/* For answers of which only success matters. */
static inline bool pg_done(PGresult *r)
{
	PQclear(r);
	return r != NULL;
}

/* Parameters of a prepared statement: text, or bytes where formats says 1. */
struct pg_values {
	int count;
	const char *const *values;
	const int *lengths; /* may be NULL if all are texts */
	const int *formats; /* NULL: all are texts */
	bool binary_result;
};
/* The same with a statement that the server parses once for each connection. sql is a constant of the program: it is told by its address. */
PGresult *pg_prepared(struct pg_conn *c, const char *sql, const struct pg_values *values, int timeout_ms, struct error *err);
/* Its name on the server, prepared if need be; for those who send it in a pipeline. False: failed. */
bool pg_prepare(struct pg_conn *c, const char *sql, char name[16], int timeout_ms, struct error *err);
/* Waits for the answer of what was sent with libpq; for those who use it directly. As pg_query answers. */
PGresult *pg_receive(struct pg_conn *c, int timeout_ms, struct error *err);
/*
 * A pipeline: statements are sent one after the other, and the server works on the first while the next are made; answers are read at the
 * end. After an error the server skips the rest. Parameters and results are binary. Statements are constants, as above, and must have been
 * prepared. Begin, send any number, end.
 */
struct pg_param {
	const char *p; /* NULL: SQL NULL */
	size_t n;
};
#define PG_PARAMS_MAX 16
bool pg_pipeline_begin(struct pg_conn *c, struct error *err);
bool pg_pipeline_send(struct pg_conn *c, const char *sql, int count, const struct pg_param *params, struct error *err);
/* results[i] belongs to the i-th statement; the caller clears them. False: the first error, and no results. Ends the pipeline either way. */
bool pg_pipeline_end(struct pg_conn *c, PGresult **results, size_t count, struct error *err);

/* Is it worth while to try the statement again, on another connection if this one is broken? */
bool pg_may_retry(const struct pg_conn *c);

#endif
