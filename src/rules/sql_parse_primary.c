/* sql_parse_primary.c: the operands of expressions: literals, names, calls, types, CASE, lists. */
#include "rules/sql_parser.h"

#include "value/cast.h"
#include "value/real.h"

/* ---- nodes ------------------------------------------------------------------------------------------------------------- */

struct sql_expr *sql_new_expr(struct sql_parser *p, enum sql_expr_kind kind, uint32_t start, uint32_t end)
{
	struct sql_expr *x = arena_calloc(p->arena, sizeof(*x));
	x->kind = kind;
	x->height = 1;
	x->range = (struct sql_range){start, end};
	return x;
}

/* Takes child's height into account. Answers x, or NULL when the tree gets too high for those who walk it. */
static struct sql_expr *sql_adopt_height(struct sql_parser *p, struct sql_expr *x, size_t child_height)
{
	if (child_height >= SQL_MAX_HEIGHT) {
		sql_fail_at(p, sql_current(p), "the expression is too deeply nested");
		return NULL;
	}
	if (x->height < child_height + 1)
		x->height = (uint16_t)(child_height + 1);
	return x;
}

struct sql_expr *sql_adopt(struct sql_parser *p, struct sql_expr *x, const struct sql_expr *child)
{
	return x && child ? sql_adopt_height(p, x, child->height) : x;
}

static struct sql_expr *sql_adopt_all(struct sql_parser *p, struct sql_expr *x, struct sql_expr *const *children, size_t count)
{
	for (size_t i = 0; i < count; i++)
		x = sql_adopt(p, x, children[i]);
	return x;
}

struct sql_expr *sql_new_unsupported(struct sql_parser *p, enum sql_unsupported what, uint32_t start)
{
	struct sql_expr *x = sql_new_expr(p, SQL_UNSUPPORTED, start, sql_previous_end(p));
	x->unsupported = what;
	return x;
}

/* Integers go through a double (sync-config 7); exact is for the streams. */
static void read_integer(struct sql_expr *x, struct slice digits, struct arena *arena)
{
	x->literal.kind = SQL_LITERAL_INTEGER;
	x->literal.exact_overflow = !slice_parse_i64(digits, &x->literal.exact);
	struct value text = value_text(digits), real = value_null();
	value_cast(&text, CAST_REAL, arena, &real, NULL);
	bool negative = digits.p[0] == '-';
	if (x->literal.exact_overflow)
		x->literal.exact = negative ? INT64_MIN : INT64_MAX;
	x->literal.value_overflow = !real_fits_i64(real.r);
	x->literal.value = value_integer(!x->literal.value_overflow ? (int64_t)real.r : negative ? INT64_MIN : INT64_MAX);
}

struct sql_expr *sql_literal_of(struct sql_parser *p, const struct sql_token *t)
{
	struct sql_expr *x = sql_new_expr(p, SQL_LITERAL, t->range.start, t->range.end);
	if (t->kind == SQL_TOKEN_INTEGER) {
		read_integer(x, t->text, p->arena);
	} else if (t->kind == SQL_TOKEN_DECIMAL) {
		struct value text = value_text(t->text);
		x->literal.kind = SQL_LITERAL_DECIMAL;
		value_cast(&text, CAST_REAL, p->arena, &x->literal.value, NULL);
	} else if (t->kind == SQL_TOKEN_WORD) {
		x->literal.kind = t->word == SQL_WORD_NULL ? SQL_LITERAL_NULL : SQL_LITERAL_BOOLEAN;
		x->literal.exact = t->word == SQL_WORD_TRUE;
		x->literal.value = t->word == SQL_WORD_NULL ? value_null() : value_integer(x->literal.exact);
	} else {
		x->literal.kind = SQL_LITERAL_STRING;
		x->literal.value = value_text(t->text);
	}
	return x;
}

/* ---- types ------------------------------------------------------------------------------------------------------------- */

/* "(5)" or "(10, 2)" after a type, which is ignored. */
static bool skip_type_arguments(struct sql_parser *p)
{
	if (!sql_take_op(p, SQL_OPERATOR("(")))
		return true;
	do {
		if (sql_current(p)->kind != SQL_TOKEN_INTEGER)
			return sql_fail(p);
		sql_next(p);
	} while (sql_take_op(p, SQL_OPERATOR(",")));
	return sql_expect_op(p, SQL_OPERATOR(")"));
}

static void append_text(struct sql_parser *p, struct slice *name, const char *more)
{
	*name = arena_printf(p->arena, "%.*s%s", SLICE_ARG(*name), more);
}

/* The type's lower-cased last name, with "[]" and the second words that belong to it. */
bool sql_parse_type(struct sql_parser *p, struct slice *out)
{
	struct sql_token *t = sql_current(p);
	if (t->kind != SQL_TOKEN_WORD && t->kind != SQL_TOKEN_QUOTED)
		return sql_fail(p);
	sql_next(p);
	while (sql_at_op(p, SQL_OPERATOR(".")) &&
	       (sql_ahead(p, 1)->kind == SQL_TOKEN_WORD || sql_ahead(p, 1)->kind == SQL_TOKEN_QUOTED)) {
		sql_next(p);
		t = sql_next(p);
	}
	char *lower = arena_bytes(p->arena, t->text.n);
	for (size_t i = 0; i < t->text.n; i++)
		lower[i] = t->text.p[i] >= 'A' && t->text.p[i] <= 'Z' ? (char)(t->text.p[i] | 0x20) : t->text.p[i];
	*out = slice_make(lower, t->text.n);
	if (sql_token_is_word(t, SQL_WORD_DOUBLE) && sql_take_word(p, SQL_WORD_PRECISION))
		append_text(p, out, " precision");
	else if ((sql_token_is_word(t, SQL_WORD_CHARACTER) || sql_token_is_word(t, SQL_WORD_BIT)) &&
	         sql_take_word(p, SQL_WORD_VARYING))
		append_text(p, out, " varying");
	if (!skip_type_arguments(p))
		return false;
	if ((sql_token_is_word(t, SQL_WORD_TIME) || sql_token_is_word(t, SQL_WORD_TIMESTAMP)) &&
	    (sql_at_word(p, SQL_WORD_WITH) || sql_at_word(p, SQL_WORD_WITHOUT))) {
		sql_next(p);
		if (!sql_expect_word(p, SQL_WORD_TIME) || !sql_expect_word(p, SQL_WORD_ZONE))
			return false;
		append_text(p, out, " with zone");
	}
	while (sql_take_op(p, SQL_OPERATOR("["))) {
		if (sql_current(p)->kind == SQL_TOKEN_INTEGER)
			sql_next(p);
		if (!sql_expect_op(p, SQL_OPERATOR("]")))
			return false;
		append_text(p, out, "[]");
	}
	return true;
}

struct sql_expr *sql_new_cast(struct sql_parser *p, struct sql_expr *operand, struct slice type, uint32_t start)
{
	struct sql_expr *x = sql_new_expr(p, SQL_CAST, start, sql_previous_end(p));
	x->cast.operand = operand;
	x->cast.type = type;
	return sql_adopt(p, x, operand);
}

/* CAST(x AS type) */
static struct sql_expr *parse_cast(struct sql_parser *p)
{
	uint32_t start = sql_next(p)->range.start;
	struct slice type;
	if (!sql_expect_op(p, SQL_OPERATOR("(")))
		return NULL;
	struct sql_expr *operand = sql_parse_expr(p);
	if (!operand || !sql_expect_word(p, SQL_WORD_AS) || !sql_parse_type(p, &type) || !sql_expect_op(p, SQL_OPERATOR(")")))
		return NULL;
	return sql_new_cast(p, operand, type, start);
}

/* type 'literal' */
static struct sql_expr *parse_typed_literal(struct sql_parser *p)
{
	uint32_t start = sql_current(p)->range.start;
	struct slice type;
	if (!sql_parse_type(p, &type))
		return NULL;
	if (sql_current(p)->kind != SQL_TOKEN_STRING) {
		sql_fail(p);
		return NULL;
	}
	return sql_new_cast(p, sql_literal_of(p, sql_next(p)), type, start);
}

/* ---- calls ------------------------------------------------------------------------------------------------------------- */

bool sql_parse_exprs(struct sql_parser *p, struct sql_expr ***items, size_t *count)
{
	*items = NULL;
	*count = 0;
	do {
		struct sql_expr *x = sql_parse_expr(p);
		if (!x)
			return false;
		*items = arena_grow_list(p->arena, *items, *count, sizeof(void *));
		(*items)[(*count)++] = x;
	} while (sql_take_op(p, SQL_OPERATOR(",")));
	return true;
}

bool sql_parse_order_items(struct sql_parser *p, struct sql_range *first)
{
	for (bool is_first = true;; is_first = false) {
		struct sql_expr *x = sql_parse_expr(p);
		if (!x)
			return false;
		if (!sql_take_word(p, SQL_WORD_ASC))
			sql_take_word(p, SQL_WORD_DESC);
		if (sql_take_word(p, SQL_WORD_NULLS)) {
			if (sql_current(p)->kind != SQL_TOKEN_WORD)
				return sql_fail(p);
			sql_next(p);
		}
		if (is_first)
			*first = (struct sql_range){x->range.start, sql_previous_end(p)};
		if (!sql_take_op(p, SQL_OPERATOR(",")))
			return true;
	}
}

/* "FROM y FOR z" of substring and "PLACING y FROM z" of overlay, after the first argument. */
static struct sql_expr *parse_sql_form(struct sql_parser *p, enum sql_unsupported what, uint32_t start)
{
	while (sql_at_word(p, SQL_WORD_PLACING) || sql_at_word(p, SQL_WORD_FROM) || sql_at_word(p, SQL_WORD_FOR)) {
		sql_next(p);
		if (!sql_parse_expr(p))
			return NULL;
	}
	return sql_expect_op(p, SQL_OPERATOR(")")) ? sql_new_unsupported(p, what, start) : NULL;
}

/* FILTER (WHERE ...) and OVER (...) after the closing parenthesis. */
static bool parse_decorations(struct sql_parser *p, struct sql_expr *x)
{
	if (sql_at_word(p, SQL_WORD_FILTER) && sql_token_is_op(sql_ahead(p, 1), SQL_OPERATOR("("))) {
		x->call.decorated = true;
		p->at += 2;
		if (!sql_expect_word(p, SQL_WORD_WHERE) || !sql_parse_expr(p) || !sql_expect_op(p, SQL_OPERATOR(")")))
			return false;
	}
	if (sql_at_word(p, SQL_WORD_OVER) && sql_token_is_op(sql_ahead(p, 1), SQL_OPERATOR("("))) {
		x->call.decorated = true;
		sql_next(p);
		size_t depth = 0;
		do {
			struct sql_token *t = sql_current(p);
			if (t->kind == SQL_TOKEN_END)
				return sql_fail(p);
			depth += sql_token_is_op(t, SQL_OPERATOR("("));
			depth -= sql_token_is_op(t, SQL_OPERATOR(")"));
			sql_next(p);
		} while (depth);
	}
	return true;
}

static bool takes_select(const struct sql_token *name)
{
	return name->kind == SQL_TOKEN_WORD && (name->word == SQL_WORD_ANY || name->word == SQL_WORD_SOME ||
	                                        name->word == SQL_WORD_ALL || name->word == SQL_WORD_EXISTS);
}

struct sql_expr *sql_parse_call(struct sql_parser *p, const struct sql_ident *schema, uint32_t start)
{
	struct sql_token *name = sql_next(p);
	struct sql_expr *x = sql_new_expr(p, SQL_CALL, start, start);
	x->call.function = sql_ident_of(p, name);
	if (schema)
		x->call.schema = *schema;
	if (!sql_expect_op(p, SQL_OPERATOR("(")))
		return NULL;
	if (sql_at_op(p, SQL_OPERATOR("*")) && sql_token_is_op(sql_ahead(p, 1), SQL_OPERATOR(")"))) {
		sql_next(p);
		x->call.star = true;
	} else if (sql_at_word(p, SQL_WORD_SELECT) && takes_select(name)) {
		x->call.select = sql_parse_select(p);
		if (!x->call.select || !sql_adopt_height(p, x, x->call.select->height))
			return NULL;
	} else if (!sql_at_op(p, SQL_OPERATOR(")"))) {
		x->call.decorated = sql_take_word(p, SQL_WORD_DISTINCT) || sql_take_word(p, SQL_WORD_ALL);
		if (!sql_parse_exprs(p, &x->call.args, &x->call.arg_count))
			return NULL;
		bool single = x->call.arg_count == 1 && name->kind == SQL_TOKEN_WORD;
		if (single && name->word == SQL_WORD_SUBSTRING && (sql_at_word(p, SQL_WORD_FROM) || sql_at_word(p, SQL_WORD_FOR)))
			return parse_sql_form(p, SQL_UNSUPPORTED_SUBSTRING_FROM, start);
		if (single && name->word == SQL_WORD_OVERLAY && sql_at_word(p, SQL_WORD_PLACING))
			return parse_sql_form(p, SQL_UNSUPPORTED_OVERLAY, start);
		if (sql_take_word(p, SQL_WORD_ORDER)) {
			struct sql_range first;
			x->call.decorated = true;
			if (!sql_expect_word(p, SQL_WORD_BY) || !sql_parse_order_items(p, &first))
				return NULL;
		}
	}
	if (!sql_expect_op(p, SQL_OPERATOR(")")) || !parse_decorations(p, x))
		return NULL;
	x->range.end = sql_previous_end(p);
	return sql_adopt_all(p, x, x->call.args, x->call.arg_count);
}

/* A name of up to three parts, or a call with up to one part in front. "name.*" stops before the dot. */
static struct sql_expr *parse_name_or_call(struct sql_parser *p)
{
	struct sql_ident parts[3];
	size_t n = 0;
	uint32_t start = sql_current(p)->range.start;
	for (;;) {
		bool call = sql_token_is_name(sql_current(p)) && sql_token_is_op(sql_ahead(p, 1), SQL_OPERATOR("("));
		if (call && n <= 1)
			return sql_parse_call(p, n ? &parts[0] : NULL, start);
		if (call || n == 3) {
			sql_fail(p);
			return NULL;
		}
		if (!sql_parse_name(p, &parts[n++]))
			return NULL;
		if (!sql_at_op(p, SQL_OPERATOR(".")) || sql_token_is_op(sql_ahead(p, 1), SQL_OPERATOR("*")))
			break;
		sql_next(p);
	}
	struct sql_expr *x = sql_new_expr(p, SQL_NAME, start, sql_previous_end(p));
	x->name.column = parts[n - 1];
	if (n > 1)
		x->name.table = parts[n - 2];
	if (n > 2)
		x->name.schema = parts[0];
	return x;
}

/* ---- primaries --------------------------------------------------------------------------------------------------------- */

static struct sql_expr *parse_case(struct sql_parser *p)
{
	struct sql_expr *x = sql_new_expr(p, SQL_CASE, sql_next(p)->range.start, 0);
	if (!sql_at_word(p, SQL_WORD_WHEN)) {
		x->cases.operand = sql_parse_expr(p);
		if (!x->cases.operand || !sql_adopt(p, x, x->cases.operand))
			return NULL;
	}
	if (!sql_at_word(p, SQL_WORD_WHEN)) {
		sql_fail(p);
		return NULL;
	}
	while (sql_take_word(p, SQL_WORD_WHEN)) {
		struct sql_case_when w;
		if (!(w.when = sql_parse_expr(p)) || !sql_expect_word(p, SQL_WORD_THEN) || !(w.then = sql_parse_expr(p)))
			return NULL;
		if (!sql_adopt(p, x, w.when) || !sql_adopt(p, x, w.then))
			return NULL;
		x->cases.whens = arena_grow_list(p->arena, x->cases.whens, x->cases.when_count, sizeof(w));
		x->cases.whens[x->cases.when_count++] = w;
	}
	if (sql_take_word(p, SQL_WORD_ELSE)) {
		x->cases.otherwise = sql_parse_expr(p);
		if (!x->cases.otherwise || !sql_adopt(p, x, x->cases.otherwise))
			return NULL;
	}
	if (!sql_expect_word(p, SQL_WORD_END))
		return NULL;
	x->range.end = sql_previous_end(p);
	return x;
}

/* ( expr ), ( a, b ), ( SELECT ... ) */
static struct sql_expr *parse_parenthesis(struct sql_parser *p)
{
	sql_next(p);
	uint32_t start = sql_current(p)->range.start;
	if (sql_at_word(p, SQL_WORD_SELECT)) {
		struct sql_select *select = sql_parse_select(p);
		if (!select)
			return NULL;
		struct sql_expr *x = sql_new_expr(p, SQL_SUBSELECT, start, sql_previous_end(p));
		x->subselect = select;
		return sql_expect_op(p, SQL_OPERATOR(")")) ? sql_adopt_height(p, x, select->height) : NULL;
	}
	struct sql_expr **items;
	size_t count;
	if (!sql_parse_exprs(p, &items, &count) || !sql_expect_op(p, SQL_OPERATOR(")")))
		return NULL;
	if (count == 1)
		return items[0];
	struct sql_expr *x = sql_new_expr(p, SQL_LIST, items[0]->range.start, items[count - 1]->range.end);
	x->list.items = items;
	x->list.count = count;
	return sql_adopt_all(p, x, items, count);
}

/* ARRAY[...]; ARRAY(...) is refused by everyone. */
static struct sql_expr *parse_array(struct sql_parser *p)
{
	uint32_t start = sql_next(p)->range.start;
	bool bracket = sql_at_op(p, SQL_OPERATOR("["));
	uint32_t close = bracket ? SQL_OPERATOR("]") : SQL_OPERATOR(")");
	sql_next(p);
	struct sql_expr **items = NULL;
	size_t count = 0;
	if (!bracket && sql_at_word(p, SQL_WORD_SELECT)) {
		if (!sql_parse_select(p))
			return NULL;
	} else if (!sql_at_op(p, close) && !sql_parse_exprs(p, &items, &count)) {
		return NULL;
	}
	if (!sql_expect_op(p, close))
		return NULL;
	if (!bracket)
		return sql_new_unsupported(p, SQL_UNSUPPORTED_ARRAY_SELECT, start);
	struct sql_expr *x = sql_new_expr(p, SQL_ARRAY, start, sql_previous_end(p));
	x->list.items = items;
	x->list.count = count;
	return sql_adopt_all(p, x, items, count);
}

static bool is_keyword_value(enum sql_word w)
{
	switch (w) {
	case SQL_WORD_CURRENT_CATALOG:
	case SQL_WORD_CURRENT_DATE:
	case SQL_WORD_CURRENT_ROLE:
	case SQL_WORD_CURRENT_SCHEMA:
	case SQL_WORD_CURRENT_TIME:
	case SQL_WORD_CURRENT_TIMESTAMP:
	case SQL_WORD_CURRENT_USER:
	case SQL_WORD_LOCALTIME:
	case SQL_WORD_LOCALTIMESTAMP:
	case SQL_WORD_SESSION_USER:
	case SQL_WORD_USER:
		return true;
	default:
		return false;
	}
}

/* current_date, current_time(3), ... */
static struct sql_expr *parse_keyword_value(struct sql_parser *p)
{
	uint32_t start = sql_next(p)->range.start;
	if (sql_take_op(p, SQL_OPERATOR("(")) && !sql_take_op(p, SQL_OPERATOR(")"))) {
		struct sql_expr **items;
		size_t count;
		if (!sql_parse_exprs(p, &items, &count) || !sql_expect_op(p, SQL_OPERATOR(")")))
			return NULL;
	}
	return sql_new_unsupported(p, SQL_UNSUPPORTED_KEYWORD_VALUE, start);
}

/* extract(field FROM x), the parser stands on "extract" and the form has been recognised. */
static struct sql_expr *parse_extract(struct sql_parser *p)
{
	uint32_t start = sql_current(p)->range.start;
	p->at += 4;
	if (!sql_parse_expr(p) || !sql_expect_op(p, SQL_OPERATOR(")")))
		return NULL;
	return sql_new_unsupported(p, SQL_UNSUPPORTED_EXTRACT, start);
}

static struct sql_expr *parse_word(struct sql_parser *p)
{
	struct sql_token *t = sql_current(p), *after = sql_ahead(p, 1);
	bool call = sql_token_is_op(after, SQL_OPERATOR("("));
	switch (t->word) {
	case SQL_WORD_NULL:
	case SQL_WORD_TRUE:
	case SQL_WORD_FALSE:
		return sql_literal_of(p, sql_next(p));
	case SQL_WORD_CAST:
		return parse_cast(p);
	case SQL_WORD_CASE:
		return parse_case(p);
	case SQL_WORD_ARRAY:
		if (call || sql_token_is_op(after, SQL_OPERATOR("[")))
			return parse_array(p);
		break;
	case SQL_WORD_ANY:
	case SQL_WORD_SOME:
	case SQL_WORD_ALL:
		if (call)
			return sql_parse_call(p, NULL, t->range.start);
		break;
	case SQL_WORD_DEFAULT:
		sql_next(p);
		return sql_new_unsupported(p, SQL_UNSUPPORTED_DEFAULT, t->range.start);
	case SQL_WORD_EXTRACT:
		if (call && sql_token_is_word(sql_ahead(p, 3), SQL_WORD_FROM))
			return parse_extract(p);
		break;
	case SQL_WORD_DOUBLE:
		if (sql_token_is_word(after, SQL_WORD_PRECISION))
			return parse_typed_literal(p);
		break;
	default:
		if (is_keyword_value(t->word))
			return parse_keyword_value(p);
	}
	if (t->reserved) {
		sql_fail(p);
		return NULL;
	}
	return after->kind == SQL_TOKEN_STRING ? parse_typed_literal(p) : parse_name_or_call(p);
}

struct sql_expr *sql_parse_primary(struct sql_parser *p)
{
	struct sql_token *t = sql_current(p);
	switch (t->kind) {
	case SQL_TOKEN_STRING:
	case SQL_TOKEN_ESCAPE_STRING:
	case SQL_TOKEN_INTEGER:
	case SQL_TOKEN_DECIMAL:
		return sql_literal_of(p, sql_next(p));
	case SQL_TOKEN_PARAMETER:
		sql_next(p);
		return sql_new_expr(p, SQL_PARAMETER, t->range.start, t->range.end);
	case SQL_TOKEN_QUOTED:
		return parse_name_or_call(p);
	case SQL_TOKEN_WORD:
		return parse_word(p);
	case SQL_TOKEN_OPERATOR:
		if (t->op == SQL_OPERATOR("("))
			return parse_parenthesis(p);
		break;
	case SQL_TOKEN_END:
		break;
	}
	sql_fail(p);
	return NULL;
}
