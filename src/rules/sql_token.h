/*
 * sql_token.h: SQL text -> tokens, by the lexical rules of sync-config 7.
 *
 * Written by hand and not on libpg_query's scanner: the dialect differs from PostgreSQL in just this layer. A '-' that touches a
 * digit belongs to the number whatever stands before it, operators are cut by the dialect's own list (PostgreSQL makes one
 * operator of "||-" and "%-"), identifiers are ASCII, quoted ones keep a doubled quote, E'' has a short list of escapes, numbers
 * have no exponent. Each of these would have to be undone on the scanner's raw tokens, whose numbers change with the library's
 * major version. The lexer below says them directly, and needs no library.
 */
#ifndef SYNCLINE_RULES_SQL_TOKEN_H
#define SYNCLINE_RULES_SQL_TOKEN_H

#include "base/arena.h"
#include "rules/sql_ast.h"

/* Words that the parser knows, and the reserved ones (last column). */
#define SQL_WORDS(W)                                                                                                                    \
	W(ALL, all, 1) W(ANALYSE, analyse, 1) W(ANALYZE, analyze, 1) W(AND, and, 1) W(ANY, any, 1) W(ARRAY, array, 1) W(AS, as, 1)        \
	W(ASC, asc, 1) W(ASYMMETRIC, asymmetric, 1) W(AT, at, 0) W(AUTHORIZATION, authorization, 1) W(BEGIN, begin, 0)                    \
	W(BETWEEN, between, 0) W(BINARY, binary, 1) W(BIT, bit, 0) W(BOTH, both, 1) W(BY, by, 0) W(CALL, call, 0) W(CASE, case, 1)        \
	W(CAST, cast, 1) W(CHARACTER, character, 0) W(CHECK, check, 1) W(COLLATE, collate, 1) W(COLLATION, collation, 1)                  \
	W(COMMENT, comment, 0) W(COMMIT, commit, 0) W(CONCURRENTLY, concurrently, 1) W(CONSTRAINT, constraint, 1) W(COPY, copy, 0)        \
	W(CREATE, create, 1) W(CROSS, cross, 1) W(CURRENT_CATALOG, current_catalog, 1) W(CURRENT_DATE, current_date, 1)                   \
	W(CURRENT_ROLE, current_role, 1) W(CURRENT_SCHEMA, current_schema, 1) W(CURRENT_TIME, current_time, 1)                            \
	W(CURRENT_TIMESTAMP, current_timestamp, 1) W(CURRENT_USER, current_user, 1) W(DEALLOCATE, deallocate, 0)                          \
	W(DEFAULT, default, 1) W(DEFERRABLE, deferrable, 1) W(DELETE, delete, 0) W(DESC, desc, 1) W(DISTINCT, distinct, 1) W(DO, do, 1)   \
	W(DOUBLE, double, 0) W(DROP, drop, 0) W(ALTER, alter, 0) W(ELSE, else, 1) W(END, end, 1) W(EXCEPT, except, 1)                     \
	W(EXISTS, exists, 0) W(EXPLAIN, explain, 0) W(EXTRACT, extract, 0) W(FALSE, false, 1) W(FETCH, fetch, 1) W(FILTER, filter, 0)     \
	W(FOR, for, 1) W(FOREIGN, foreign, 1) W(FREEZE, freeze, 1) W(FROM, from, 1) W(FULL, full, 1) W(GRANT, grant, 1)                   \
	W(GROUP, group, 1) W(HAVING, having, 1) W(ILIKE, ilike, 1) W(IN, in, 1) W(INITIALLY, initially, 1) W(INNER, inner, 1)             \
	W(INSERT, insert, 0) W(INTERSECT, intersect, 1) W(INTO, into, 1) W(IS, is, 1) W(ISNULL, isnull, 1) W(JOIN, join, 1)               \
	W(LATERAL, lateral, 1) W(LEADING, leading, 1) W(LEFT, left, 1) W(LIKE, like, 1) W(LIMIT, limit, 1) W(LOCALTIME, localtime, 1)     \
	W(LOCALTIMESTAMP, localtimestamp, 1) W(NATURAL, natural, 1) W(NOT, not, 1) W(NOTNULL, notnull, 1) W(NOWAIT, nowait, 0)            \
	W(NULL, null, 1) W(NULLS, nulls, 0) W(OFFSET, offset, 1) W(ON, on, 1) W(ONLY, only, 1) W(OR, or, 1) W(ORDER, order, 1)            \
	W(OUTER, outer, 1) W(OVER, over, 0) W(OVERLAPS, overlaps, 1) W(OVERLAY, overlay, 0) W(PLACING, placing, 1)                        \
	W(PRECISION, precision, 1) W(PREPARE, prepare, 0) W(RAISE, raise, 0) W(REFERENCES, references, 1) W(REFRESH, refresh, 0)          \
	W(REINDEX, reindex, 0) W(RETURNING, returning, 1) W(REVOKE, revoke, 0) W(RIGHT, right, 1) W(ROLLBACK, rollback, 0)                \
	W(ROW, row, 0) W(ROWS, rows, 0) W(SELECT, select, 1) W(SESSION_USER, session_user, 1) W(SET, set, 0) W(SHOW, show, 0)             \
	W(SIMILAR, similar, 1) W(SKIP, skip, 0) W(SOME, some, 1) W(START, start, 0) W(SUBSTRING, substring, 0)                            \
	W(SYMMETRIC, symmetric, 1) W(TABLE, table, 1) W(TABLESAMPLE, tablesample, 1) W(THEN, then, 1) W(TIME, time, 0)                    \
	W(TIMESTAMP, timestamp, 0) W(TO, to, 1) W(TRAILING, trailing, 1) W(TRUE, true, 1) W(TRUNCATE, truncate, 0) W(UNION, union, 1)     \
	W(UPDATE, update, 0) W(USER, user, 1) W(USING, using, 1) W(VACUUM, vacuum, 0) W(VALUES, values, 0) W(VARIADIC, variadic, 1)       \
	W(VARYING, varying, 0) W(VERBOSE, verbose, 1) W(WHEN, when, 1) W(WHERE, where, 1) W(WINDOW, window, 1) W(WITH, with, 1)           \
	W(WITHOUT, without, 0) W(ZONE, zone, 0)

enum sql_word {
	SQL_WORD_NONE, /* any other word */
#define W(id, text, is_reserved) SQL_WORD_##id,
	SQL_WORDS(W)
#undef W
};

enum sql_token_kind {
	SQL_TOKEN_END,
	SQL_TOKEN_WORD,          /* unquoted */
	SQL_TOKEN_QUOTED,        /* "..." */
	SQL_TOKEN_STRING,        /* '...' */
	SQL_TOKEN_ESCAPE_STRING, /* E'...' */
	SQL_TOKEN_INTEGER,
	SQL_TOKEN_DECIMAL,
	SQL_TOKEN_PARAMETER, /* $1 */
	SQL_TOKEN_OPERATOR,  /* punctuation included */
};

/* Operators by their characters: SQL_OPERATOR("->>"). "<>" is delivered as "!=". */
#define SQL_OPERATOR(s)                                                                                                          \
	((uint32_t)(uint8_t)(s)[0] | (sizeof(s) > 2 ? (uint32_t)(uint8_t)(s)[sizeof(s) > 2 ? 1 : 0] << 8 : 0) |                  \
	 (sizeof(s) > 3 ? (uint32_t)(uint8_t)(s)[sizeof(s) > 3 ? 2 : 0] << 16 : 0))

struct sql_token {
	enum sql_token_kind kind;
	enum sql_word word; /* SQL_TOKEN_WORD */
	bool reserved;      /* SQL_TOKEN_WORD: may not be used as a name */
	uint32_t op;        /* SQL_TOKEN_OPERATOR */
	struct slice text;  /* word: lower-cased; quoted and strings: the content, decoded; else the source text */
	struct sql_range range;
};

struct sql_tokens {
	struct sql_token *items; /* ends with SQL_TOKEN_END */
	size_t count;
};

/* False: *bad is the place of the fault and *message (static) says what it is. */
bool sql_tokenize(struct slice sql, size_t max_tokens, struct arena *arena, struct sql_tokens *out, struct sql_range *bad,
                  const char **message);

#endif
