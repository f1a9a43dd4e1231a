/*
 * node.h: a configuration document as a tree that knows where each value stands (configuration 1.2, 1.3).
 *
 * Nodes belong to the arena they were read into and are never changed afterwards. YAML aliases share a node, so the tree may be
 * a graph: nobody may walk it without a schema that bounds the depth.
 */
#ifndef SYNCLINE_CONFIG_NODE_H
#define SYNCLINE_CONFIG_NODE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/slice.h"

#include "config/findings.h"

enum node_kind { NODE_NULL, NODE_BOOLEAN, NODE_NUMBER, NODE_STRING, NODE_LIST, NODE_MAP };

struct node_member {
	struct slice key;
	int line, column;
	const struct node *value;
};

struct node {
	enum node_kind kind;
	int line, column; /* 1-based */
	bool from_env;    /* the value came through !env */
	union {
		bool boolean;
		double number;
		struct slice text; /* NUL-terminated as well */
		struct {
			const struct node **items;
			size_t count;
		} list;
		struct {
			struct node_member *members;
			size_t count;
		} map;
	};
};

/* The value of a member, NULL if there is none or the node is NULL or not a map. */
const struct node *node_get(const struct node *map, const char *key);
/* Follows keys separated by dots. */
const struct node *node_at(const struct node *root, const char *path);

/* Limits of every reader. */
#define NODE_MAX_DEPTH 64
#define NODE_MAX_MEMBERS 10000

/*
 * Readers. NULL with nothing in the findings: an empty document. NULL with errors in the findings: not readable.
 * !env reads the environment of the process.
 */
const struct node *node_from_yaml(struct slice text, struct arena *arena, struct findings *d);
const struct node *node_from_json(struct slice text, struct arena *arena, struct findings *d);

/* "NAME" or "NAME::cast" (1.3) into the node; false with a finding. */
bool env_tag_resolve(struct slice tag_text, struct node *node, struct arena *arena, struct findings *d);

/* A number as JavaScript's Number(text) reads it; false: not a number. May be infinite. */
bool number_from_text(struct slice text, double *out);
/* As JavaScript's parseInt(text) reads it: blanks, sign, then digits up to the first other character; false: no digits. */
bool number_from_prefix(struct slice text, double *out);

#endif
