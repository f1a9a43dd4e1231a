/*
 * repeats.h: what one row gives more than once: equal bucket entries of a definition, lookups under equal keys (sync-config 14, 15.4).
 *
 * first: where those of the definition or source begin in the evaluation. Memory is the arena's. Pure; any thread.
 */
#ifndef SYNCLINE_RULES_REPEATS_H
#define SYNCLINE_RULES_REPEATS_H

#include "rules/rules.h"

/* Of equal entries the last one's data stays, in the place of the first. */
void merge_entries(struct evaluation *out, size_t first, struct arena *arena);
/* Of lookups under one key one stays. join: with the results of all, as edition 3 wants it; else they are the same anyway. */
void merge_lookups(struct evaluation *out, size_t first, bool join, struct arena *arena);

#endif
