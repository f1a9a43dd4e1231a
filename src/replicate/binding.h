/*
 * binding.h: one source table as the maintained plans see it: columns, value mapping, rules, and the numbers of the definitions.
 *
 * Immutable and reference counted: the replication thread makes it, snapshot readers evaluate with it. A change of the table's
 * columns or of the maintained plans makes a new one.
 */
#ifndef SYNCLINE_REPLICATE_BINDING_H
#define SYNCLINE_REPLICATE_BINDING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/log.h"
#include "source/source.h"
#include "storage/storage.h"

#define MAX_PLANS (2 + MAX_RETIRED_PLANS) /* the active and the pending one, and what was replaced a while ago */

/* The plans whose definitions are evaluated for every change (incremental-deploy 3). References are held by the owner. */
struct maintained_plans {
	struct stored_plan *plans[MAX_PLANS];
	size_t count;
	uint64_t epoch;   /* greatest epoch of their definitions */
	bool replica_ids; /* storage_keeps_replica_ids */
	bool row_values;  /* storage_keeps_row_values */
};

struct binding {
	_Atomic uint32_t references;
	_Atomic uint64_t faults;  /* rows for which a query failed, for thinning out log lines */
	_Atomic uint64_t refused; /* rows that an event could not use; as well */
	struct arena arena;
	struct source_table table; /* deep copy, in the arena */
	uint32_t number;           /* of the table in storage */
	uint64_t epoch;
	const struct slice *names; /* of the columns */
	bool sends_complete_rows;  /* identity FULL, or none at all: no images needed */
	bool keyless;              /* no column belongs to the replica identity */
	bool brings_checkpoints;   /* an event of some plan makes write checkpoints of its rows */
	bool only_events;          /* no definition reads it: no records are kept */
	bool replica_ids;          /* rows are identified by their values as the rules see them */
	bool row_values;           /* contributions carry the row as the rules see it */
	const struct log *log;
	struct binding_part {
		struct stored_plan *plan;
		struct bound_table *bound;   /* NULL if the plan does not read this table */
		struct value_mapper *mapper; /* owned by the first part that has these options */
		bool owns_mapper;
		uint32_t *numbers; /* definition index -> number; 0: the other plan writes it */
		uint64_t events;   /* of the plan; 0: they do not read this table, or another part does the same */
	} parts[MAX_PLANS];
	size_t part_count;
};

/* Loads types over c where they are not known yet. connection_tag: of the source. */
struct binding *binding_new(const struct maintained_plans *plans, const char *connection_tag, const struct source_table *table,
                            uint32_t number, struct source_connection *c, const struct log *log, struct error *err);
struct binding *binding_ref(struct binding *b);
void binding_unref(struct binding *b);

/* Same columns (name, type, key membership) in the same order, same oid and names? */
bool binding_fits(const struct binding *b, const struct source_relation *r);
bool relation_same_columns(const struct source_relation *a, const struct source_relation *b);
bool relation_same_key(const struct source_relation *a, const struct source_relation *b);

/* What identifies the row in the store; for tables with key columns. On stores that keep replica ids the UUID is made of the values as
 * the plan maps them (another plan that maps them otherwise has one of its own, key->other); else, and while a key cannot be mapped, of the source's
 * texts. */
void binding_row_key(const struct binding *b, const struct raw_value *row, struct arena *arena, struct row_key *key);

/* The values of a row as the rules see them, what was not sent as VALUE_UNKNOWN; none if the source sends whole rows. */
void binding_values(struct binding *b, const struct raw_value *row, struct arena *arena, struct row_contributions *out);
/* The row through all maintained definitions. The row must be complete. What cannot be evaluated is logged and gives nothing. The arena
 * holds what was needed on the way as well, several times the size of the result. */
void binding_evaluate(struct binding *b, const struct raw_value *row, struct arena *arena, struct row_contributions *out);
/* What binding_evaluate made of `row`, without what was needed on the way: everything is in the arena but texts of the row itself, where
 * values lie, and those of the plans. */
void contributions_copy(const struct row_contributions *from, const struct raw_value *row, struct arena *arena,
                        struct row_contributions *to);

/* What the events of the maintained plans make of the row, in order; columns may be RAW_UNCHANGED. */
struct row_event_checkpoint {
	uint64_t events; /* whose */
	struct row_write_checkpoint made;
};
#define MAX_EVENT_CHECKPOINTS (MAX_PLANS * MAX_ROW_CHECKPOINTS)
size_t binding_checkpoints(struct binding *b, const struct raw_value *row, struct arena *arena,
                           struct row_event_checkpoint out[MAX_EVENT_CHECKPOINTS]);

/* Of a plan that reads the table; NULL: none does. */
const struct value_mapper *binding_mapper(const struct binding *b);
/* Do two of the plans map values differently? */
bool binding_maps_twice(const struct binding *b);

/* True when the row is beyond the limit of 15 MiB (storage-semantics 5.3, 9.1): it contributes nothing. */
bool row_too_large(const struct source_relation *r, const struct raw_value *row);

void source_relation_copy(struct arena *arena, const struct source_relation *from, struct source_relation *to);

#endif
