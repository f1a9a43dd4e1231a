/*
 * yaml_tree.h: a YAML document as a tree whose nodes know where they stand in the text (sync-config 2 and 6).
 *
 * Built from libyaml's events with the rules of YAML 1.2's core schema. Positions are byte offsets into the text; the tree and
 * everything it points to live in the caller's arena, the text must outlive it. Work is bounded: size, depth and number of nodes.
 */
#ifndef SYNCLINE_RULES_YAML_TREE_H
#define SYNCLINE_RULES_YAML_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/slice.h"

#define YAML_MAX_TEXT ((size_t)4 << 20)
#define YAML_MAX_NODES 50000
#define YAML_MAX_DEPTH 50

enum ynode_kind { YNODE_MAP, YNODE_LIST, YNODE_SCALAR, YNODE_ALIAS };

enum yscalar_style { YSCALAR_PLAIN, YSCALAR_SINGLE, YSCALAR_DOUBLE, YSCALAR_LITERAL, YSCALAR_FOLDED };

/* What a scalar is under the core schema; quoted ones are always text. */
enum yscalar_type { YSCALAR_NULL, YSCALAR_BOOL, YSCALAR_NUMBER, YSCALAR_TEXT };

struct ynode {
	enum ynode_kind kind;
	enum yscalar_style style;
	struct slice text;    /* scalars: decoded */
	struct slice tag;     /* empty if none */
	size_t start;         /* first byte of the node, after tag and anchor */
	size_t value_end;     /* after its last byte */
	size_t end;           /* with the blanks, comment and newline that belong to it */
	size_t parent_indent; /* block scalars: columns that the parent is indented by */
	struct ynode **items; /* lists: the items; maps: key, value, key, value... */
	size_t count;         /* of items; pairs of a map are count / 2 */
	uint32_t *offsets;    /* scalars: see ynode_offset; NULL until asked for */
};

struct ydoc {
	struct slice text;
	struct arena *arena;
	struct ynode *root; /* NULL: the document is empty */
	/* Set when reading failed. */
	bool failed;
	const char *problem; /* static, or in the arena */
	size_t problem_start, problem_end;
};

/* Reads the one document of the text. On failure doc->failed is set and the root is NULL. */
void ydoc_read(struct ydoc *doc, struct slice text, struct arena *arena);

enum yscalar_type ynode_scalar_type(const struct ynode *n);
bool ynode_bool(const struct ynode *n);
double ynode_number(const struct ynode *n);
static inline bool ynode_is_text(const struct ynode *n)
{
	return n->kind == YNODE_SCALAR && ynode_scalar_type(n) == YSCALAR_TEXT;
}

/* Offset in the YAML text of byte i of the scalar's decoded text; i == text.n: where the text ends. */
size_t ynode_offset(struct ydoc *doc, struct ynode *n, size_t i);

/* UTF-16 code units before a byte offset. */
size_t text_utf16_units(struct slice text);
/* 1-based line and column (in characters) of a byte offset. */
void text_line_column(struct slice text, size_t offset, size_t *line, size_t *column);

#endif
