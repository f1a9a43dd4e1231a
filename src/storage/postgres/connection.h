/*
 * connection.h: connections to the storage database: a bounded pool, statements that are prepared once for each connection, results
 * in binary form.
 *
 * How to connect (address, TLS, password) is the caller's business: storage_options has a function for it. Every wait has a time-out,
 * so a network that swallows packets costs seconds, not minutes. A connection is used by one thread at a time.
 */
#ifndef SYNCLINE_STORAGE_POSTGRES_CONNECTION_H
#define SYNCLINE_STORAGE_POSTGRES_CONNECTION_H

#include <libpq-fe.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "base/error.h"
#include "storage/storage.h"

/* Silence after which a connection is given up. */
#define PG_TIMEOUT_MS 30000
#define PG_CHANNEL "powersynccheckpoints"
#define PG_REQUESTS_CHANNEL "syncline_requests"

/* Statements that are prepared when first used; their texts stand in statements.c. */
enum pg_statement {
	PG_READ_STREAM,
	PG_READ_CONTENT,
	PG_CHECKSUMS,
	PG_OPERATIONS,
	PG_LOOKUP,
	PG_CHANGED_BUCKETS,
	PG_CHANGED_LOOKUPS,
	PG_USERS,
	PG_CUSTOM_USERS,
	PG_SIZES,
	PG_STATEMENTS,
};

struct pg_conn {
	struct pg_conn *next;
	PGconn *pg;
	bool prepared[PG_STATEMENTS];
	bool broken;
	char sqlstate[6]; /* of the last error that the server answered with, else "" */
};

struct pg_pool;

/* Does not connect. options outlives the pool. */
struct pg_pool *pg_pool_new(const struct storage_postgres *options);
/* Every connection has been given back. */
void pg_pool_free(struct pg_pool *pool);
/* Waits until one is free; the first uses open it. NULL: it cannot be opened, or none became free in time. */
struct pg_conn *pg_take(struct pg_pool *pool, struct error *err);
/* A broken one is closed. */
void pg_give(struct pg_pool *pool, struct pg_conn *c);
/* One that is not of the pool: for listening, for migrations. */
struct pg_conn *pg_open(const struct storage_postgres *options, struct error *err);
/* Closes and opens again. */
bool pg_reopen(const struct storage_postgres *options, struct pg_conn *c, struct error *err);
void pg_close(struct pg_conn *c);

#define PG_PARAMS_MAX 6

struct pg_params {
	int count;
	const char *values[PG_PARAMS_MAX];
	int lengths[PG_PARAMS_MAX];
	char numbers[PG_PARAMS_MAX][8];
};

/* Binary parameters; slices must live until the statement is sent. */
void pg_add_i32(struct pg_params *p, int32_t v);
void pg_add_i64(struct pg_params *p, int64_t v);
void pg_add_bytes(struct pg_params *p, struct slice v); /* text and bytea */
/* The binary form of text[] or bytea[], to be given to pg_add_bytes: begin, add each, end. */
#define PG_TEXT_OID 25
#define PG_BYTEA_OID 17
void pg_array_begin(struct buf *out, uint32_t element_oid, size_t count);
void pg_array_add(struct buf *out, struct slice element);

/* NULL: failed; c->broken says whether the connection did. */
PGresult *pg_run(struct pg_conn *c, enum pg_statement statement, const struct pg_params *p, struct error *err);
/* The same; tried again on a new connection when this one turns out to be lost (storage-postgres 1). Only for single statements that
 * may run twice. */
PGresult *pg_run_again(const struct storage_postgres *options, struct pg_conn *c, enum pg_statement statement,
                       const struct pg_params *p, struct error *err);
/* One or several statements in text form, with text parameters; the last result. timeout_ms limits silence. */
PGresult *pg_query(struct pg_conn *c, const char *sql, int count, const char *const *values, int timeout_ms, struct error *err);
bool pg_command(struct pg_conn *c, const char *sql, struct error *err);
/* Waits for the socket: 1 ready, 0 time-out, -1 lost. */
int pg_wait(struct pg_conn *c, short what, int timeout_ms);

/* Fields of binary results. */
int32_t pg_i32(const PGresult *r, int row, int column);
int64_t pg_i64(const PGresult *r, int row, int column);
bool pg_bool(const PGresult *r, int row, int column);
/* p == NULL: NULL. Lives as long as the result. */
struct slice pg_bytes(const PGresult *r, int row, int column);

#endif
