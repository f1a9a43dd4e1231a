/*
 * buckets_match.h: putting matches together while the expressions of bucket definitions are compiled (sync-config 13).
 *
 * Matches and operands are in the query's arena. One thread, as for the whole compilation. Errors are reported to the query's diagnostics.
 */
#ifndef SYNCLINE_RULES_BUCKETS_MATCH_H
#define SYNCLINE_RULES_BUCKETS_MATCH_H

#include "rules/buckets_expr.h"

/* A match of one kind on a parameter and a value of the row (NULL: none). */
struct operand_match *buckets_match_leaf(struct buckets_scope *s, enum match_kind kind, const struct operand *parameter,
                                         const struct operand *row);
/* A match as an operand. */
struct operand buckets_match_operand(struct operand_match *m, const struct sql_expr *node);
/* AND or OR of two matches, as e says; an error when they may not be joined (13). */
struct operand buckets_join_matches(struct buckets_scope *s, const struct sql_expr *e, struct operand_match *a,
                                    struct operand_match *b);
/* Reports, and answers the operand of an error. */
struct operand buckets_refuse(struct buckets_scope *s, const char *class_name, struct sql_range range, const char *message);

#endif
