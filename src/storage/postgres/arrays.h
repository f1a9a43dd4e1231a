/*
 * arrays.h: columns of many rows as binary array parameters, so that one statement (INSERT ... SELECT FROM unnest) writes them all, or one
 * that joins unnest reads for all of them.
 *
 * One growing buffer for each column; pg_array_begin empties it and keeps the memory.
 */
#ifndef SYNCLINE_STORAGE_POSTGRES_ARRAYS_H
#define SYNCLINE_STORAGE_POSTGRES_ARRAYS_H

#include "storage/postgres/store.h"

enum pg_array_of { PG_ARRAY_BYTEA = 17, PG_ARRAY_INT8 = 20, PG_ARRAY_TEXT = 25 };

struct pg_array {
	struct buf bytes;
	uint32_t count;
};

void pg_array_begin(struct pg_array *a, enum pg_array_of type);
void pg_array_bytes(struct pg_array *a, struct slice s); /* a text or a bytea; p == NULL: NULL */
void pg_array_i64(struct pg_array *a, int64_t v);
/* Begins an array of these numbers. */
void pg_array_numbers(struct pg_array *a, const int64_t *v, size_t count);
/* Finishes it; points into a. */
struct pg_param pg_array_param(struct pg_array *a);
void pg_array_free(struct pg_array *a);

/* A prepared statement of the pool with array parameters; the answer is binary. */
#define PG_ARRAYS_MAX 16
PGresult *pg_arrays_query(struct pg_store *store, const char *sql, struct pg_array *const *arrays, int count, struct error *err);
/* The same on this connection. */
PGresult *pg_arrays_on(struct pg_conn *c, const char *sql, struct pg_array *const *arrays, int count, int timeout_ms,
                       struct error *err);

/* The elements of a bytea[] or text[] in binary form, without NULLs; they point into it. In the arena. */
bool pg_array_read(struct slice array, struct arena *arena, struct slice **items, size_t *count);

#endif
