/*
 * bind.h: a plan bound to one relation: which row sources read it, where their columns stand, and how their output is written.
 */
#ifndef SYNCLINE_RULES_BIND_H
#define SYNCLINE_RULES_BIND_H

#include "rules/plan.h"

/* Something that may give a member of a data row its value; several do when '*' and explicit columns name the same one. */
struct contribution {
	int32_t column; /* of the row, -1: expr */
	bool star;      /* of '*' */
	const struct expr *expr;
};

struct output_member {
	struct slice fragment; /* ,"name": */
	const struct contribution *contributions;
	size_t contribution_count;
};

/* How rows of the relation are written for one list of columns; sources that select the same columns share it. */
struct bound_output {
	enum dialect dialect;
	struct slice content; /* what equal outputs are found by */
	const int32_t *slots; /* for the expressions */
	const struct table_names *names;
	struct output_member *members; /* in their final order */
	size_t member_count;
	size_t fragment_bytes;
	int32_t id_member; /* -1: none */
};

struct bound_source {
	const struct row_source *source;
	const int32_t *slots;
	struct table_names names;
	uint32_t output;
	uint32_t key_group; /* sources whose keys are the same plain columns write them once a row; NO_KEY_GROUP: by itself */
	struct slice object_type;
};

#define NO_KEY_GROUP UINT32_MAX

struct bound_event {
	struct slice name;
	struct bound_source source;
};

struct bound_table {
	struct plan *plan;
	struct arena arena;
	size_t column_count;
	bool *used;
	struct bound_source *buckets; /* sources of one definition stand together */
	size_t bucket_count;
	struct bound_source *lookups;
	size_t lookup_count;
	struct bound_event *events;
	size_t event_count;
	struct bound_output *outputs;
	size_t output_count;
	size_t key_group_count;
};

/* evaluate.c: what the row gives a member of the output; false: env->err. */
bool output_member_value(const struct output_member *m, enum dialect dialect, struct eval_env *env, struct value *out);

#endif
