/*
 * explain.h: why a row gets into a definition's output or does not, for people (`syncline explain`).
 *
 * Evaluates again, condition by condition; bound_evaluate stays the authority on what comes out. Pure, any thread.
 */
#ifndef SYNCLINE_RULES_EXPLAIN_H
#define SYNCLINE_RULES_EXPLAIN_H

#include "rules/rules.h"

/* One query over the row's table. */
struct row_verdict {
	uint32_t definition;
	struct slice query;  /* its conditions, readable; n == 0: it has none */
	bool passes;         /* every condition holds, so that only keys decide */
	struct slice reason; /* !passes: the first condition that does not hold, with the values that it saw */
};

/* One verdict for each query of the plan that reads the table of b; in the arena. */
void bound_explain(const struct bound_table *b, const struct value *row, struct arena *arena, struct row_verdict **out,
                   size_t *count);

#endif
