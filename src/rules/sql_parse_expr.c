/*
 * sql_parse_expr.c: expressions, by precedence climbing.
 *
 * Levels are those of sync-config 7, 1 the loosest. An operator of some level takes a right operand of a tighter level; what follows
 * may then be of the same level or looser, never tighter: "a IS NULL < b" is a syntax error as it is in the dialect's grammar.
 */
#include "rules/sql_parser.h"

enum level {
	LEVEL_NONE = 0,
	LEVEL_OR = 1,
	LEVEL_AND,
	LEVEL_NOT,
	LEVEL_EQUAL,
	LEVEL_IS,
	LEVEL_COMPARE,
	LEVEL_BETWEEN,
	LEVEL_BITS,
	LEVEL_LIKE,
	LEVEL_IN,
	LEVEL_ADD,
	LEVEL_MULTIPLY,
	LEVEL_POWER,
	LEVEL_SIGN,
	LEVEL_TIME_ZONE,
	LEVEL_INDEX,
	LEVEL_MEMBER,
	LEVEL_PRIMARY,
};

static struct sql_expr *parse_level(struct sql_parser *p, enum level min);

/* ---- operators --------------------------------------------------------------------------------------------------------- */

struct infix {
	enum level level;
	enum sql_op op;
	bool negated; /* NOT IN, NOT LIKE, ...: two tokens */
};

static struct infix infix_operator(uint32_t op)
{
	static const struct {
		uint32_t op;
		struct infix infix;
	} table[] = {
	        {SQL_OPERATOR("="), {LEVEL_EQUAL, SQL_OP_EQ, false}},
	        {SQL_OPERATOR("!="), {LEVEL_EQUAL, SQL_OP_NE, false}},
	        {SQL_OPERATOR("<"), {LEVEL_COMPARE, SQL_OP_LT, false}},
	        {SQL_OPERATOR("<="), {LEVEL_COMPARE, SQL_OP_LE, false}},
	        {SQL_OPERATOR(">"), {LEVEL_COMPARE, SQL_OP_GT, false}},
	        {SQL_OPERATOR(">="), {LEVEL_COMPARE, SQL_OP_GE, false}},
	        {SQL_OPERATOR("<<"), {LEVEL_COMPARE, SQL_OP_SHIFT_LEFT, false}},
	        {SQL_OPERATOR(">>"), {LEVEL_COMPARE, SQL_OP_SHIFT_RIGHT, false}},
	        {SQL_OPERATOR("@>"), {LEVEL_COMPARE, SQL_OP_OTHER, false}},
	        {SQL_OPERATOR("<@"), {LEVEL_COMPARE, SQL_OP_OTHER, false}},
	        {SQL_OPERATOR("?"), {LEVEL_COMPARE, SQL_OP_OTHER, false}},
	        {SQL_OPERATOR("?|"), {LEVEL_COMPARE, SQL_OP_OTHER, false}},
	        {SQL_OPERATOR("?&"), {LEVEL_COMPARE, SQL_OP_OTHER, false}},
	        {SQL_OPERATOR("#>>"), {LEVEL_COMPARE, SQL_OP_OTHER, false}},
	        {SQL_OPERATOR("~"), {LEVEL_COMPARE, SQL_OP_OTHER, false}},
	        {SQL_OPERATOR("~*"), {LEVEL_COMPARE, SQL_OP_OTHER, false}},
	        {SQL_OPERATOR("!~"), {LEVEL_COMPARE, SQL_OP_OTHER, false}},
	        {SQL_OPERATOR("!~*"), {LEVEL_COMPARE, SQL_OP_OTHER, false}},
	        {SQL_OPERATOR("@@"), {LEVEL_COMPARE, SQL_OP_OTHER, false}},
	        {SQL_OPERATOR("|"), {LEVEL_BITS, SQL_OP_BIT_OR, false}},
	        {SQL_OPERATOR("&"), {LEVEL_BITS, SQL_OP_BIT_AND, false}},
	        {SQL_OPERATOR("#"), {LEVEL_BITS, SQL_OP_OTHER, false}},
	        {SQL_OPERATOR("+"), {LEVEL_ADD, SQL_OP_ADD, false}},
	        {SQL_OPERATOR("-"), {LEVEL_ADD, SQL_OP_SUB, false}},
	        {SQL_OPERATOR("||"), {LEVEL_ADD, SQL_OP_CONCAT, false}},
	        {SQL_OPERATOR("&&"), {LEVEL_ADD, SQL_OP_OVERLAP, false}},
	        {SQL_OPERATOR("*"), {LEVEL_MULTIPLY, SQL_OP_MUL, false}},
	        {SQL_OPERATOR("/"), {LEVEL_MULTIPLY, SQL_OP_DIV, false}},
	        {SQL_OPERATOR("%"), {LEVEL_MULTIPLY, SQL_OP_MOD, false}},
	        {SQL_OPERATOR("^"), {LEVEL_POWER, SQL_OP_OTHER, false}},
	};
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].op == op)
			return table[i].infix;
	return (struct infix){LEVEL_NONE, SQL_OP_OTHER, false};
}

/* Words that stand between two operands. */
static struct infix infix_word(const struct sql_token *t, const struct sql_token *after)
{
	bool negated = t->word == SQL_WORD_NOT && after->kind == SQL_TOKEN_WORD;
	switch (negated ? after->word : t->word) {
	case SQL_WORD_OR:
		return (struct infix){negated ? LEVEL_NONE : LEVEL_OR, SQL_OP_OR, negated};
	case SQL_WORD_AND:
		return (struct infix){negated ? LEVEL_NONE : LEVEL_AND, SQL_OP_AND, negated};
	case SQL_WORD_IN:
		return (struct infix){LEVEL_IN, negated ? SQL_OP_NOT_IN : SQL_OP_IN, negated};
	case SQL_WORD_LIKE:
		return (struct infix){LEVEL_LIKE, negated ? SQL_OP_NOT_LIKE : SQL_OP_LIKE, negated};
	case SQL_WORD_ILIKE:
		return (struct infix){LEVEL_LIKE, negated ? SQL_OP_NOT_ILIKE : SQL_OP_ILIKE, negated};
	default:
		return (struct infix){LEVEL_NONE, SQL_OP_OTHER, false};
	}
}

static struct infix find_infix(const struct sql_parser *p)
{
	const struct sql_token *t = sql_current(p);
	if (t->kind == SQL_TOKEN_OPERATOR)
		return infix_operator(t->op);
	if (t->kind == SQL_TOKEN_WORD)
		return infix_word(t, sql_ahead(p, 1));
	return (struct infix){LEVEL_NONE, SQL_OP_OTHER, false};
}

static struct sql_expr *parse_binary(struct sql_parser *p, struct sql_expr *left, struct infix infix)
{
	struct sql_expr *x = sql_new_expr(p, SQL_BINARY, left->range.start, 0);
	x->binary.op = infix.op;
	x->binary.op_range = sql_next(p)->range;
	if (infix.negated)
		x->binary.op_range.end = sql_next(p)->range.end;
	x->binary.op_text = sql_text(p->sql, x->binary.op_range);
	x->binary.left = left;
	x->binary.right = parse_level(p, infix.level + 1);
	if (!x->binary.right)
		return NULL;
	x->range.end = x->binary.right->range.end;
	return sql_adopt(p, sql_adopt(p, x, left), x->binary.right);
}

/* IS [NOT] NULL / TRUE / FALSE, ISNULL, NOTNULL */
static struct sql_expr *parse_is(struct sql_parser *p, struct sql_expr *operand)
{
	struct sql_token *t = sql_next(p);
	struct sql_expr *x = sql_new_expr(p, SQL_IS, operand->range.start, 0);
	x->is.operand = operand;
	x->is.negated = t->word == SQL_WORD_NOTNULL;
	if (t->word == SQL_WORD_IS) {
		x->is.negated = sql_take_word(p, SQL_WORD_NOT);
		if (sql_take_word(p, SQL_WORD_NULL)) {
			x->is.what = SQL_IS_NULL;
		} else if (sql_take_word(p, SQL_WORD_TRUE)) {
			x->is.what = SQL_IS_TRUE;
		} else if (sql_take_word(p, SQL_WORD_FALSE)) {
			x->is.what = SQL_IS_FALSE;
		} else {
			sql_fail(p);
			return NULL;
		}
	}
	x->range.end = sql_previous_end(p);
	return sql_adopt(p, x, operand);
}

static struct sql_expr *parse_between(struct sql_parser *p, struct sql_expr *operand)
{
	struct sql_expr *x = sql_new_expr(p, SQL_BETWEEN, operand->range.start, 0);
	x->between.operand = operand;
	x->between.negated = sql_take_word(p, SQL_WORD_NOT);
	sql_next(p);
	if (!(x->between.low = parse_level(p, LEVEL_BETWEEN + 1)) || !sql_expect_word(p, SQL_WORD_AND) ||
	    !(x->between.high = parse_level(p, LEVEL_BETWEEN + 1)))
		return NULL;
	x->range.end = x->between.high->range.end;
	return sql_adopt(p, sql_adopt(p, sql_adopt(p, x, operand), x->between.low), x->between.high);
}

static struct sql_expr *parse_time_zone(struct sql_parser *p, struct sql_expr *left)
{
	struct sql_expr *x = sql_new_expr(p, SQL_BINARY, left->range.start, 0);
	x->binary.op = SQL_OP_OTHER;
	x->binary.op_range.start = sql_next(p)->range.start;
	sql_next(p);
	if (!sql_expect_word(p, SQL_WORD_ZONE))
		return NULL;
	x->binary.op_range.end = sql_previous_end(p);
	x->binary.op_text = sql_text(p->sql, x->binary.op_range);
	x->binary.left = left;
	x->binary.right = parse_level(p, LEVEL_TIME_ZONE + 1);
	if (!x->binary.right)
		return NULL;
	x->range.end = x->binary.right->range.end;
	return sql_adopt(p, sql_adopt(p, x, left), x->binary.right);
}

static struct sql_expr *parse_index(struct sql_parser *p, struct sql_expr *operand)
{
	sql_next(p);
	if (!sql_parse_expr(p) || !sql_expect_op(p, SQL_OPERATOR("]")))
		return NULL;
	return sql_adopt(p, sql_new_unsupported(p, SQL_UNSUPPORTED_INDEX, operand->range.start), operand);
}

/* x -> literal, x ->> literal */
static struct sql_expr *parse_member(struct sql_parser *p, struct sql_expr *operand)
{
	struct sql_expr *x = sql_new_expr(p, SQL_MEMBER, operand->range.start, 0);
	x->member.operand = operand;
	x->member.as_json = sql_next(p)->op == SQL_OPERATOR("->");
	enum sql_token_kind kind = sql_current(p)->kind;
	if (kind != SQL_TOKEN_STRING && kind != SQL_TOKEN_ESCAPE_STRING && kind != SQL_TOKEN_INTEGER) {
		sql_fail(p);
		return NULL;
	}
	x->member.key = sql_literal_of(p, sql_next(p));
	x->range.end = sql_previous_end(p);
	return sql_adopt(p, x, operand);
}

static struct sql_expr *parse_cast_suffix(struct sql_parser *p, struct sql_expr *operand)
{
	struct slice type;
	sql_next(p);
	return sql_parse_type(p, &type) ? sql_new_cast(p, operand, type, operand->range.start) : NULL;
}

/* Level of what follows an operand, other than infix operators; LEVEL_NONE if it is none of these. */
static enum level suffix_level(const struct sql_parser *p)
{
	const struct sql_token *t = sql_current(p), *after = sql_ahead(p, 1);
	if (t->kind == SQL_TOKEN_OPERATOR) {
		if (t->op == SQL_OPERATOR("["))
			return LEVEL_INDEX;
		return t->op == SQL_OPERATOR("->") || t->op == SQL_OPERATOR("->>") || t->op == SQL_OPERATOR("::") ? LEVEL_MEMBER
		                                                                                                  : LEVEL_NONE;
	}
	if (t->kind != SQL_TOKEN_WORD)
		return LEVEL_NONE;
	if (t->word == SQL_WORD_IS || t->word == SQL_WORD_ISNULL || t->word == SQL_WORD_NOTNULL)
		return LEVEL_IS;
	if (t->word == SQL_WORD_BETWEEN || (t->word == SQL_WORD_NOT && sql_token_is_word(after, SQL_WORD_BETWEEN)))
		return LEVEL_BETWEEN;
	return t->word == SQL_WORD_AT && sql_token_is_word(after, SQL_WORD_TIME) ? LEVEL_TIME_ZONE : LEVEL_NONE;
}

static struct sql_expr *parse_suffix(struct sql_parser *p, struct sql_expr *x, enum level level)
{
	switch (level) {
	case LEVEL_IS:
		return parse_is(p, x);
	case LEVEL_BETWEEN:
		return parse_between(p, x);
	case LEVEL_TIME_ZONE:
		return parse_time_zone(p, x);
	case LEVEL_INDEX:
		return parse_index(p, x);
	default:
		return sql_at_op(p, SQL_OPERATOR("::")) ? parse_cast_suffix(p, x) : parse_member(p, x);
	}
}

/* The first operand with its prefix operator, and in *ceiling the tightest level that may follow it. */
static struct sql_expr *parse_prefix(struct sql_parser *p, enum level min, enum level *ceiling)
{
	char op = 0;
	if (min <= LEVEL_NOT && sql_at_word(p, SQL_WORD_NOT)) {
		op = '!';
		*ceiling = LEVEL_NOT;
	} else if (min <= LEVEL_SIGN && (sql_at_op(p, SQL_OPERATOR("-")) || sql_at_op(p, SQL_OPERATOR("+")))) {
		op = sql_at_op(p, SQL_OPERATOR("-")) ? '-' : '+';
		*ceiling = LEVEL_SIGN;
	} else {
		*ceiling = LEVEL_PRIMARY;
		return sql_parse_primary(p);
	}
	struct sql_expr *x = sql_new_expr(p, SQL_UNARY, sql_next(p)->range.start, 0);
	x->unary.op = op;
	x->unary.operand = parse_level(p, *ceiling);
	if (!x->unary.operand)
		return NULL;
	x->range.end = x->unary.operand->range.end;
	return sql_adopt(p, x, x->unary.operand);
}

static struct sql_expr *parse_level(struct sql_parser *p, enum level min)
{
	if (!sql_enter(p))
		return NULL;
	enum level ceiling;
	struct sql_expr *x = parse_prefix(p, min, &ceiling);
	while (x) {
		enum level level = suffix_level(p);
		struct infix infix = {0};
		if (level == LEVEL_NONE) {
			infix = find_infix(p);
			level = infix.level;
		}
		if (level == LEVEL_NONE || level < min || level > ceiling)
			break;
		x = infix.level ? parse_binary(p, x, infix) : parse_suffix(p, x, level);
		ceiling = level;
	}
	sql_leave(p);
	return x;
}

struct sql_expr *sql_parse_expr(struct sql_parser *p)
{
	return parse_level(p, LEVEL_OR);
}
