/*
 * sql_parse.h: SQL text of a sync query -> syntax tree (sql_ast.h).
 *
 * A recursive-descent parser with the precedences of sync-config 7. Pure: no state but the arena. Work and stack are bounded by
 * the limits below, whatever the text.
 */
#ifndef SYNCLINE_RULES_SQL_PARSE_H
#define SYNCLINE_RULES_SQL_PARSE_H

#include "base/arena.h"
#include "rules/sql_ast.h"

#define SQL_MAX_BYTES (1024 * 1024)
#define SQL_MAX_TOKENS 100000
#define SQL_MAX_NESTING 400 /* what the parser recurses on: operands, parentheses, sub-selects */
#define SQL_MAX_HEIGHT 2000 /* of an expression tree; a chain "a OR b OR ..." adds one for each operator */

enum sql_fault_kind {
	SQL_FAULT_SYNTAX,     /* sql_syntax: range is the offending token, or the whole text at its end */
	SQL_FAULT_NOT_SELECT, /* sql_not_select: starts with INSERT, VALUES, WITH, ...; range is the whole text.
	                       * UNION and the like are no fault here: see sql_select.set_operation */
};

struct sql_fault {
	enum sql_fault_kind kind;
	struct sql_range range;
	struct slice message; /* for people; in the arena or static */
};

/* The one statement of the text; leading and trailing ';' are allowed. The result and the fault live in the arena and in sql's
 * own bytes, which must stay. False: *fault says what is wrong. */
bool sql_parse(struct slice sql, struct arena *arena, struct sql_statement *out, struct sql_fault *fault);

/* The text as one expression; for tests and tools. */
bool sql_parse_expression(struct slice sql, struct arena *arena, struct sql_expr **out, struct sql_fault *fault);

#endif
