/* explain.h: `syncline explain`: what a user gets (explain.c) and where a row goes (explain_row.c), as JSON that both forms of output
 * are made of. */
#ifndef SYNCLINE_CLI_EXPLAIN_H
#define SYNCLINE_CLI_EXPLAIN_H

#include <jansson.h>

#include "base/arena.h"
#include "config/config.h"
#include "storage/storage.h"

/* "<number>#<name><keys>" (incremental-deploy 2), in the arena. */
struct slice explain_bucket_name(const struct stored_plan *p, uint32_t definition, struct slice keys, struct arena *arena);

/* The row "table:id" or "schema.table:id" read from the source, under the plan: {"table", "id", "found", "definitions": [{"definition",
 * "kind", "query", "passes", "reason"?, "buckets"? | "lookups"?}]}. NULL: *err. */
json_t *explain_row(const struct config *config, const struct stored_plan *p, const char *text, struct arena *arena,
                    struct error *err);

#endif
