/*
 * streams2_compile.h: one stream of edition 2 while it is compiled (sync-streams 12): between streams2_compile.c and streams2_subquery.c.
 *
 * What gets into the plan is in the compiler's arena. One thread. Errors are diagnostics of the query.
 */
#ifndef SYNCLINE_RULES_STREAMS2_COMPILE_H
#define SYNCLINE_RULES_STREAMS2_COMPILE_H

#include "rules/buckets_expr.h"
#include "rules/streams2.h"

struct stream2 {
	struct compiler *c;
	struct query q;
	struct buckets_scope scope;
	struct slice name;
	struct arena terms; /* terms on the way: a long chain copies them at every step */
	struct stream2_lookup *lookups;
	size_t lookup_count, lookup_cap;
	bool is_default;
};

/* Both must hold; a NULL: the other alone. */
struct match *match_and_new(struct arena *arena, struct match *a, struct match *b);
struct match *match_leaf_new(struct arena *arena, enum match_kind kind, const struct expr *row, size_t parameter);

/* Reports at the range; always false. */
bool stream2_refuse(struct query *q, const char *kind, struct sql_range range, const char *message);
/* Adds the lookup of a subquery to the stream. existence: the request value that one result must equal, NULL: none. */
bool stream2_subquery(struct stream2 *s, const struct sql_select *select, const struct expr *existence);

#endif
