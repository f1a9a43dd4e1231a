/*
 * names.h: numbers of this process for what the shared layout names by text: definitions of streams, and buckets.
 *
 * A definition keeps its number until the store is closed. A bucket has one while somebody holds it, and for a minute after anybody asked for
 * it: an api node meets more buckets in its life than it can remember.
 */
#ifndef SYNCLINE_STORAGE_POSTGRES_NAMES_H
#define SYNCLINE_STORAGE_POSTGRES_NAMES_H

#include "base/arena.h"
#include "base/slice.h"
#include "rules/rules.h"

/* Immutable; lives as long as the names. */
struct pg_definition {
	uint32_t number;
	int32_t stream_id;
	enum definition_kind kind;
	struct slice
	        unique; /* DEFINITION_BUCKETS: "my_lists|0"; DEFINITION_LOOKUP: name of the lookup's scope ("lookup", "by_list") */
	struct slice query_id; /* DEFINITION_LOOKUP */
	struct slice head;     /* DEFINITION_BUCKETS: bucket names up to the keys, "1#my_lists|0" */
};

struct pg_names;

struct pg_names *pg_names_new(void);
void pg_names_free(struct pg_names *n);

/* Any thread, all of them. */
const struct pg_definition *pg_names_add_definition(struct pg_names *n, const struct pg_definition *d);
const struct pg_definition *pg_names_definition(struct pg_names *n, uint32_t number); /* NULL: no such number */

#endif
