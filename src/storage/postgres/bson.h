/*
 * bson.h: the BSON texts of the Postgres layout (storage-postgres 3, storage-semantics 3), byte for byte as the reference writes them.
 *
 * Values: text 0x02, integer int64 0x12, real int32 0x10 if it is whole, fits and is not -0, else double 0x01, NULL 0x0A, blob binary
 * subtype 0; a value that is not known is left out. Read back, int32 and double are reals.
 */
#ifndef SYNCLINE_STORAGE_POSTGRES_BSON_H
#define SYNCLINE_STORAGE_POSTGRES_BSON_H

#include "base/buf.h"
#include "value/value.h"

/* A row or a replica identity: the columns in their order. */
void bson_row(struct buf *out, const struct slice *names, const struct value *values, size_t count);
/* The way back; values point into doc, the lists into the arena. */
bool bson_row_read(struct slice doc, struct arena *arena, struct slice **names, struct value **values, size_t *count,
                   struct error *err);

/* source_key: {id: <replica id>}. */
void bson_source_key(struct buf *out, const uint8_t uuid[16]);
void bson_source_key_value(struct buf *out, const struct value *replica_id);
/* Is the replica id a UUID? Postgres sources have no others. */
bool bson_source_key_uuid(struct slice source_key, uint8_t uuid[16]);

/* {l: [name, query id, value...]}; key: JSON array of the values (row_lookup.key, used_lookup.key). False: it is no array. */
bool bson_lookup(struct buf *out, struct slice name, struct slice query_id, struct slice key, struct arena *arena,
                 struct error *err);
/* The parts of such a document, the values as the JSON array that it was made of, in the arena. */
bool bson_lookup_read(struct slice doc, struct arena *arena, struct slice *name, struct slice *query_id, struct slice *key,
                      struct error *err);

/* The UUID of the replica identity of a row. */
void bson_replica_uuid(const struct slice *names, const struct value *values, size_t count, uint8_t uuid[16]);
/* Subkey of a row whose replica id is no UUID: the UUID alone, of {table, id}. source_key as above. */
bool bson_subkey_uuid(struct slice table_id, struct slice source_key, uint8_t uuid[16]);

#endif
