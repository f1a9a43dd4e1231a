/*
 * schema.h: which keys there are and what each may hold (configuration 2), as tables.
 *
 * One pass over the document against these tables finds wrong types, missing keys and words outside a fixed list (errors) and keys
 * that do not exist (warnings). Code behind it reads the tree without checking types again; only range checks are left to it.
 */
#ifndef SYNCLINE_CONFIG_SCHEMA_H
#define SYNCLINE_CONFIG_SCHEMA_H

#include <stdbool.h>

#include "config/findings.h"
#include "config/node.h"

enum field_type {
	FIELD_STRING,
	FIELD_NUMBER, /* finite */
	FIELD_BOOLEAN,
	FIELD_PORT,            /* number, or text read like parseInt */
	FIELD_CONNECTION_PORT, /* the same, but checked when the connection is resolved (PSYNC_S1110) */
	FIELD_STRINGS,
	FIELD_STRING_OR_STRINGS,
	FIELD_MAP,
	FIELD_MAPS,       /* list of maps */
	FIELD_STRING_MAP, /* any key -> text */
	FIELD_SCALAR_MAP, /* any key -> text, number, boolean, null */
};

enum {
	FIELD_REQUIRED = 1,
	FIELD_NULLABLE = 2,
	FIELD_UNUSED = 4, /* accepted for compatibility; a warning says that it has no effect */
	FIELD_OPEN = 8,   /* on the end of a table: unknown members are normal */
};

struct field {
	const char *name; /* NULL ends a table */
	enum field_type type;
	unsigned flags;
	const char *const *allowed;  /* FIELD_STRING: the words it may be, NULL-terminated; NULL: any */
	const struct field *members; /* FIELD_MAP, FIELD_MAPS */
	/* FIELD_MAP, FIELD_MAPS: members that depend on the map itself (type, kty). */
	const struct field *(*members_of)(const struct node *map);
};

extern const struct field config_fields[];

/* False when there were errors. */
bool schema_check(const struct node *root, const struct field *fields, struct findings *d);

#endif
