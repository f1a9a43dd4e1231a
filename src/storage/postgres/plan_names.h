/*
 * plan_names.h: what the shared layout calls the definitions of a plan (sync-streams 5 and 14, sync-config 16): unique names of bucket
 * sources, scopes of lookups.
 */
#ifndef SYNCLINE_STORAGE_POSTGRES_PLAN_NAMES_H
#define SYNCLINE_STORAGE_POSTGRES_PLAN_NAMES_H

#include "base/error.h"
#include "rules/rules.h"
#include "storage/postgres/names.h"

/* Fills all but the number. version: of the stream's storage. Slices live as long as the plan, or in the arena. */
void pg_plan_name(const struct plan *p, uint32_t index, int32_t stream_id, int version, struct arena *arena,
                  struct pg_definition *out);

/* Does the compiled plan that is stored with a stream (JSON text) have the same bucket sources and parameter indexes under the same names?
 * If not, it must not be read with our plan: false, and *err says what differs. */
bool pg_plan_agrees(const struct plan *p, struct slice sync_plan, struct error *err);

#endif
