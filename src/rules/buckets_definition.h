/*
 * buckets_definition.h: one bucket definition while it is compiled: between buckets_compile.c (the definition), buckets_data.c and
 * buckets_parameters.c (its two kinds of query) (sync-config 4, 5, 14, 15).
 *
 * What gets into the plan is in the compiler's arena; arrays of the definition under way are freed with it. One thread.
 */
#ifndef SYNCLINE_RULES_BUCKETS_DEFINITION_H
#define SYNCLINE_RULES_BUCKETS_DEFINITION_H

#include "rules/buckets.h"
#include "rules/buckets_expr.h"

/* A parameter query with what its definition must know of it. */
struct compiled_query {
	struct parameter_query run;
	struct slice *names; /* of its bucket parameters, in order */
	size_t name_count;
	bool readable; /* not abandoned */
	bool has_lookup;
	struct row_source lookup;
};

struct definition_compiler {
	struct compiler *c;
	struct slice name;
	int priority; /* -1: not given */
	bool accept;  /* dangerous queries */
	struct compiled_query *queries;
	size_t query_count, query_cap;
	const struct compiled_query *naming; /* the query that names the parameters, NULL: none */
	struct row_source *sources;
	size_t source_count, source_cap;
};

/* A query's text as one SELECT. False: it was abandoned with a diagnostic. */
bool buckets_parse(struct query *q);
/* Reports the clauses that no query may have. */
void buckets_report_clauses(struct query *q);
/* The names of the columns that the query reads. */
struct slice *buckets_copy_columns(struct query *q);
/* The query that names the definition's parameters; NULL: none. */
const struct compiled_query *first_readable(const struct definition_compiler *def);

/* Compiles a data query, or one of an event (naming NULL), into a row source; false if it is not usable (then a fatal diagnostic was
 * reported). */
bool compile_data_query(struct compiler *c, struct ynode *scalar, const struct compiled_query *naming, struct row_source *out);
/* Compiles a parameter query and adds it to the definition, usable or not. */
void compile_parameter_query(struct definition_compiler *def, struct ynode *scalar);

#endif
