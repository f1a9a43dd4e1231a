/*
 * match.h: the conditions of a bucket definition's query on one row: which values they give to the parameters (sync-config 13).
 *
 * Everything is in the arena of the evaluation. Pure; any thread.
 */
#ifndef SYNCLINE_RULES_MATCH_H
#define SYNCLINE_RULES_MATCH_H

#include "rules/bind.h"

/* More assignments than this for one row and query is an error: ANDs of ORs multiply. */
#define MAX_ASSIGNMENTS 100000

enum key_state { KEY_UNSET, KEY_VALUE, KEY_JSON };

/* What a parameter is assigned. KEY_JSON: v.s is JSON text that goes into the name or lookup as it is. */
struct key_value {
	enum key_state state;
	struct value v;
};

struct assignments {
	struct key_value *items; /* count times parameter_count */
	size_t count;
};

struct match_run {
	struct eval_env *env;
	size_t parameters;
	bool lookup; /* JSON elements are written for a lookup, not for a bucket name */
};

/* All assignments under which the row matches; none: it does not. False: env->err says why. */
bool match_eval(struct match_run *m, const struct match *node, struct assignments *out);

/* NULL, absent, unknown and binary values are no keys. */
static inline bool is_unusable(const struct value *v)
{
	return v->kind <= VALUE_NULL || v->kind == VALUE_BLOB;
}

#endif
