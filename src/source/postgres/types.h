/*
 * types.h: what is known about Postgres types: enough to map their text form, and to write casts (source-postgres 14.6).
 *
 * A catalogue is loaded from pg_type, recursively, and immutable afterwards. Types with fixed oids (below 16384) are loaded once for
 * the source; others (domains, enums, composites, ranges, extensions) anew for each mapper, because they can be altered.
 */
#ifndef SYNCLINE_SOURCE_POSTGRES_TYPES_H
#define SYNCLINE_SOURCE_POSTGRES_TYPES_H

#include "source/source.h"

#define FIRST_USER_OID 16384

enum type_kind {
	TYPE_TEXT, /* the server's text unchanged; everything that is not listed */
	TYPE_INTEGER,
	TYPE_REAL,
	TYPE_BOOL,
	TYPE_BYTEA,
	TYPE_DATE,
	TYPE_TIME,
	TYPE_TIMESTAMP,
	TYPE_TIMESTAMPTZ,
	TYPE_JSON,
	TYPE_LSN,
	TYPE_ARRAY,
	TYPE_LINE, /* {a,b,c}: an array of reals under custom_postgres_types (14.5) */
	TYPE_NAME, /* of texts, if it happens to look like one (14.5) */
	TYPE_RANGE,
	TYPE_MULTIRANGE,
	TYPE_COMPOSITE,
	TYPE_DOMAIN,
};

struct type_attribute {
	struct slice name;
	uint32_t type_oid;
	const struct pg_type *type;
};

struct pg_type {
	uint32_t oid;
	enum type_kind kind;
	uint32_t of_oid;
	const struct pg_type *of; /* element, base or subtype; NULL if unknown */
	char delimiter;           /* of the elements of an array */
	bool always;              /* an array that is one under every option: of a built-in base type (14.4) */
	struct slice schema, name;
	const struct type_attribute *attributes;
	size_t attribute_count;
};

struct type_catalog {
	struct arena arena;
	struct pg_type **types; /* by oid, ascending once sealed */
	size_t count, cap;
	const struct type_catalog *builtin; /* looked in for oids below FIRST_USER_OID; not owned; NULL in the built-in one */
};

/* Resolves the oids and everything they refer to. The built-in catalogue is loaded by the first call. NULL: failed. */
struct type_catalog *type_catalog_load(struct source_connection *c, const uint32_t *oids, size_t count, struct error *err);
void type_catalog_free(struct type_catalog *t);

/* For loading, and for tests without a server: adds a type (copied into the catalogue), then links all. */
void type_catalog_add(struct type_catalog *t, const struct pg_type *type);
void type_catalog_seal(struct type_catalog *t);
/* Kind of a base type with a fixed oid. */
enum type_kind type_base_kind(uint32_t oid);

const struct pg_type *type_find(const struct type_catalog *t, uint32_t oid);
/* Looks through domains. */
const struct pg_type *type_base(const struct pg_type *type);

#endif
