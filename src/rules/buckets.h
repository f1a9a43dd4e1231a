/* buckets.h: parameter queries of bucket definitions as the querier runs them (sync-config 15). */
#ifndef SYNCLINE_RULES_BUCKETS_H
#define SYNCLINE_RULES_BUCKETS_H

#include "rules/plan.h"

enum parameter_query_kind { PARAMETER_STATIC, PARAMETER_JSON_EACH, PARAMETER_TABLE };

/* One bucket parameter of a query: evaluated on the request, or read from the stored result under its name. */
struct parameter_column {
	struct slice name;
	const struct expr *request; /* NULL: stored */
};

struct parameter_query {
	enum parameter_query_kind kind;
	int priority;
	uint32_t number;                          /* query id: position in the definition, from 1 */
	const struct expr *argument;              /* JSON_EACH; NULL: a missing argument, always an error */
	const struct expr *where;                 /* STATIC, JSON_EACH; NULL: none */
	uint32_t lookup;                          /* TABLE: definition of its lookup source */
	const struct match_parameter *parameters; /* TABLE: in order of the lookup's keys */
	size_t parameter_count;
	const struct parameter_column *columns; /* in the order of the bucket name */
	size_t column_count;
};

#endif
