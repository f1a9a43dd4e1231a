/* streams2.h: variants of edition 2 streams as the querier runs them (sync-streams 12). */
#ifndef SYNCLINE_RULES_STREAMS2_H
#define SYNCLINE_RULES_STREAMS2_H

#include "rules/plan.h"

enum stream2_source {
	STREAM2_REQUEST,  /* one value, NULL included */
	STREAM2_ELEMENTS, /* each element of a JSON array */
	STREAM2_LOOKUP,   /* each result of a lookup */
};

/* What a bucket key may be. */
struct stream2_key {
	enum stream2_source source;
	const struct expr *request; /* REQUEST, ELEMENTS */
	uint32_t lookup;
};

/* A subquery; all must have a result. */
struct stream2_lookup {
	uint32_t definition;
	const struct expr *const *keys;
	size_t key_count;
};

struct stream2_variant {
	uint32_t definition;
	const struct expr *const *filters;
	size_t filter_count;
	const struct stream2_lookup *lookups;
	size_t lookup_count;
	const struct stream2_key *keys;
	size_t key_count;
};

#endif
