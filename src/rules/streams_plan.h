/* streams_plan.h: resolved variants put into the plan: row sources, parameter indexes, bucket sources, queriers (sync-streams 5). */
#ifndef SYNCLINE_RULES_STREAMS_PLAN_H
#define SYNCLINE_RULES_STREAMS_PLAN_H

#include "rules/streams.h"
#include "rules/streams_variant.h"

/* A result column; expr NULL: '*'. */
struct stream_column {
	struct slice name;
	struct sx *expr;
};

struct stream_data_source {
	struct row_source source;
	struct slice signature;
};

struct compiled_variant {
	struct slice name;      /* stream|n */
	struct slice signature; /* request filters, lookups, key values */
	struct stream_variant *run;
	struct stream_data_source *sources;
	size_t source_count, source_cap;
};

/* A parameter index that exists already. */
struct known_index {
	struct slice signature;
	uint32_t definition;
};

struct index_set {
	struct known_index *items;
	size_t count, cap;
};

/* The variant's row source; its parameter indexes are made or found. */
void variant_compile(struct stream_compiler *s, struct index_set *indexes, struct resolved_variant *v,
                     const struct stream_column *columns, size_t column_count, struct compiled_variant *out);
/* Does the variant give access by what the client sends alone (4.7)? */
bool variant_is_dangerous(struct stream_compiler *s, const struct resolved_variant *v);

#endif
