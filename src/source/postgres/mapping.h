/*
 * mapping.h: one value from the server's text form to a SQLite-like value (source-postgres 14).
 */
#ifndef SYNCLINE_SOURCE_POSTGRES_MAPPING_H
#define SYNCLINE_SOURCE_POSTGRES_MAPPING_H

#include "source/postgres/types.h"

/* Containers inside one another that pass (14.5). */
#define MAX_NESTING 11

/* Results point into text or the arena. type NULL: unknown, text unchanged. False: nested too deep (PSYNC_S1004), or bytea in a form
 * other than hex. */
bool map_value(const struct pg_type *type, struct slice text, const struct mapping_options *options, struct arena *arena,
               struct value *out, struct error *err);

/* A value that is no array, range or composite. */
bool map_scalar(enum type_kind kind, struct slice text, const struct mapping_options *options, struct arena *arena,
                struct value *out, struct error *err);

/* True if values of the type become JSON under the options. */
bool type_is_structured(const struct pg_type *type, const struct mapping_options *options);

enum structure { STRUCTURE_OK, STRUCTURE_UNREADABLE, STRUCTURE_TOO_DEEP };

/* Appends the JSON of an array, range, multirange or composite; on failure *out may hold a part. Pieces are put into the arena. */
enum structure map_structure(struct buf *out, const struct pg_type *type, struct slice text,
                             const struct mapping_options *options, struct arena *arena);

/* The mapper over types that are already there; takes the catalogue over. */
struct value_mapper *value_mapper_from_types(struct type_catalog *types, const struct source_relation *r,
                                             const struct mapping_options *options);

#endif
