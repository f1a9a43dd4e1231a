/* streams_variant.h: WHERE -> variants -> what each table contributes (sync-streams 4.5, 5). */
#ifndef SYNCLINE_RULES_STREAMS_VARIANT_H
#define SYNCLINE_RULES_STREAMS_VARIANT_H

#include "rules/streams_expr.h"

#define STREAM_MAX_TERMS 100
#define STREAM_MAX_VARIANTS 100
/* Conditions of one term; more are refused like too many terms. */
#define STREAM_MAX_CONDITIONS 300

/* A term: conditions joined by AND. */
struct stream_term {
	struct sx **atoms;
	size_t count;
};

/* WHERE (all conditions joined by AND) as terms in the order of variants, atoms merged. false: reported. */
bool stream_terms(struct stream_compiler *s, struct sx *const *where, size_t count, struct stream_term **out, size_t *out_count);

enum condition_kind { CONDITION_FAULT, CONDITION_ROW, CONDITION_REQUEST, CONDITION_EQUAL };
enum condition_kind condition_kind(struct stream_compiler *s, struct sx *e);

/* Who an expression depends on: at most one source, or the request, or nothing; several when count > 1. */
struct owners {
	struct stream_source *source; /* first source; NULL: none */
	bool request;
	size_t count;
};
struct owners owners_of(struct stream_compiler *s, struct sx *e);

struct resolved_source;

struct resolved_value {
	struct sx *request; /* NULL: lookup */
	struct resolved_source *lookup;
	uint32_t output;
};

struct resolved_key {
	struct sx *expr;
	uint32_t hash;
	struct resolved_value *values;
	size_t value_count, value_cap;
};

/* A table, or a json_each over request data, with what the variant asks of it. */
struct resolved_source {
	struct stream_source *source;
	struct sx **filters;
	size_t filter_count, filter_cap;
	struct resolved_key *keys;
	size_t key_count, key_cap;
	struct sx **outputs;
	size_t output_count, output_cap;
	struct stream_source **functions; /* attached json_eachs that were brought in */
	size_t function_count, function_cap;
	uint32_t definition; /* of the parameter index, once numbered */
	uint32_t position;   /* among the variant's lookups in running order */
	struct slice signature;
};

struct resolved_stage {
	struct resolved_source **items;
	size_t count, cap;
};

struct resolved_variant {
	struct resolved_source *root;
	struct resolved_stage *stages; /* nearest to the bucket first */
	size_t stage_count, stage_cap;
	struct sx **request;
	size_t request_count, request_cap;
};

/* NULL: reported. */
struct resolved_variant *variant_resolve(struct stream_compiler *s, struct stream_source *primary,
                                         const struct stream_term *term);

#endif
