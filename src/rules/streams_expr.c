/* streams_expr.c: syntax tree -> expressions with resolved names (sync-streams 3, 4.2, 4.4, 4.5). */
#include "rules/streams_expr.h"

#include <stdlib.h>
#include <strings.h>

#include "base/alloc.h"

struct sx *sx_fail(struct stream_compiler *s, struct query *q, const char *kind, struct sql_range range, const char *message)
{
	(void)s;
	query_report(q, DIAGNOSTIC_FATAL, kind, range, "%s", message);
	return NULL;
}

bool sx_spend(struct stream_compiler *s, struct query *q, struct sql_range range, size_t work)
{
	s->work += work;
	return s->work <= SX_MAX_WORK || sx_fail(s, q, "unsupported-expression", range, "the queries are too large together");
}

struct sx *sx_new(struct stream_compiler *s, enum sx_kind kind, struct query *q, struct sql_range range, struct sx *const *args,
                  size_t arg_count)
{
	uint64_t size = 1;
	uint32_t height = 0;
	for (size_t i = 0; i < arg_count; i++) {
		if (!args[i])
			return NULL;
		size += args[i]->size;
		height = args[i]->height > height ? args[i]->height : height;
	}
	if (size > SX_MAX_SIZE || height >= SX_MAX_HEIGHT || ++s->nodes > SX_MAX_NODES || s->work > SX_MAX_WORK)
		return sx_fail(s, q, "unsupported-expression", range, "the expression is too large");
	struct sx *e = arena_calloc(&s->c->scratch, sizeof(*e));
	e->kind = kind;
	e->q = q;
	e->range = range;
	e->size = (uint32_t)size;
	e->height = height + 1;
	e->args = arena_array(&s->c->scratch, struct sx *, arg_count + 1);
	for (size_t i = 0; i < arg_count; i++)
		e->args[i] = args[i];
	e->arg_count = (uint32_t)arg_count;
	return e;
}

static struct sx *with_op(struct sx *e, enum sx_op op)
{
	if (e)
		e->op = op;
	return e;
}

struct sx *sx_binary(struct stream_compiler *s, enum sx_op op, struct sx *a, struct sx *b)
{
	if (!a || !b)
		return NULL;
	return with_op(sx_new(s, SX_BINARY, a->q, a->range, (struct sx *[]){a, b}, 2), op);
}

struct sx *sx_not(struct stream_compiler *s, struct sx *a)
{
	return a ? with_op(sx_new(s, SX_UNARY, a->q, a->range, &a, 1), SX_NOT) : NULL;
}

bool conditions_add(struct stream_compiler *s, struct stream_conditions *c, struct sx *e)
{
	if (!e)
		return false;
	c->items = arena_grow(&s->c->scratch, c->items, c->count, &c->cap, sizeof(*c->items));
	c->items[c->count++] = e;
	return true;
}

/* ---- literals --------------------------------------------------------------------------------------------------------- */

static struct sx *literal(struct stream_compiler *s, struct query *q, struct sql_range range, struct value v, struct slice text)
{
	struct sx *e = sx_new(s, SX_LITERAL, q, range, NULL, 0);
	if (!e)
		return NULL;
	e->value = v;
	e->name = text;
	return e;
}

static struct sx *literal_text(struct stream_compiler *s, struct query *q, struct sql_range range, struct slice text)
{
	struct sx *e = literal(s, q, range, value_text(text), text);
	if (e)
		e->string = true;
	return e;
}

static struct sx *compile_literal(struct stream_compiler *s, struct query *q, const struct sql_expr *e)
{
	char digits[32];
	switch (e->literal.kind) {
	case SQL_LITERAL_NULL:
		return literal(s, q, e->range, value_null(), SLICE("NULL"));
	case SQL_LITERAL_BOOLEAN:
		return literal(s, q, e->range, value_integer(e->literal.exact), e->literal.exact ? SLICE("1") : SLICE("0"));
	case SQL_LITERAL_INTEGER:
		if (e->literal.exact_overflow)
			return sx_fail(s, q, "unsupported-expression", e->range, "the integer does not fit 64 bits");
		return literal(s, q, e->range, value_integer(e->literal.exact), sql_text(q->sql, e->range));
	case SQL_LITERAL_DECIMAL: {
		size_t n = format_real(digits, e->literal.value.r, true);
		return literal(s, q, e->range, e->literal.value, arena_copy(&s->c->scratch, slice_make(digits, n)));
	}
	case SQL_LITERAL_STRING:
		return literal_text(s, q, e->range, e->literal.value.s);
	}
	return NULL;
}

/* ---- names ------------------------------------------------------------------------------------------------------------ */

struct sx *sx_scope_column(struct stream_compiler *s, struct query *q, struct sql_range range, struct scope_item *item,
                           struct slice name)
{
	if (!item->source) {
		for (size_t i = 0; i < item->column_count; i++)
			if (slice_eq(item->column_names[i], name))
				return item->columns[i];
		return sx_fail(s, q, "unknown-subquery-column", range, "the subquery has no such column");
	}
	struct sx *e = sx_new(s, item->source->kind == SOURCE_EACH ? SX_OUTPUT : SX_COLUMN, q, range, NULL, 0);
	if (!e)
		return NULL;
	e->source = item->source;
	e->name = name;
	return e;
}

static struct sx *compile_name(struct stream_compiler *s, struct query *q, const struct sql_expr *e, struct scope *scope)
{
	struct scope_item *item;
	if (sql_ident_given(&e->name.table)) {
		item = scope_find(scope, e->name.table.name);
		if (!item)
			return sx_fail(s, q, "unknown-table-reference", e->range, "no such table in this query");
	} else {
		item = scope_own(scope);
		if (!item)
			return sx_fail(s, q, "ambiguous-reference", e->range, "the column needs the name of its table in front");
	}
	return sx_scope_column(s, q, e->range, item, e->name.column.name);
}

/* ---- calls ------------------------------------------------------------------------------------------------------------ */

struct sx *sx_call(struct stream_compiler *s, struct query *q, struct sql_range range, struct slice name, struct sx *const *args,
                   size_t count)
{
	struct sx *e = sx_new(s, SX_CALL, q, range, args, count);
	if (e)
		e->name = name;
	return e;
}

bool sx_compile_args(struct stream_compiler *s, struct query *q, struct sql_expr *const *in, size_t count, struct scope *scope,
                     bool ctes, struct sx **out)
{
	for (size_t i = 0; i < count; i++) {
		out[i] = sx_compile(s, q, in[i], scope, ctes);
		if (!out[i])
			return false;
	}
	return true;
}

static bool same_word(struct slice a, const char *b)
{
	return a.n == strlen(b) && strncasecmp(a.p, b, a.n) == 0;
}

static struct sx *request_leaf(struct stream_compiler *s, struct query *q, struct sql_range range, enum request_source source)
{
	struct sx *e = sx_new(s, SX_REQUEST, q, range, NULL, 0);
	if (e)
		e->request = source;
	return e;
}

static struct sx *compile_request_call(struct stream_compiler *s, struct query *q, const struct sql_expr *e,
                                       enum request_source source, struct sx *const *args)
{
	size_t n = e->call.arg_count;
	struct slice name = e->call.function.name;
	bool parameters = same_word(name, "parameters"), user = same_word(name, "user_id") && source == REQUEST_JWT;
	if (!parameters && !user && !same_word(name, "parameter"))
		return sx_fail(s, q, "unknown-request-function", e->range, "no such function");
	if (n != (parameters || user ? 0 : 1))
		return sx_fail(s, q, "wrong-argument-count", e->range, "wrong number of arguments");
	struct sx *leaf = request_leaf(s, q, e->range, source);
	if (parameters || !leaf)
		return leaf;
	struct sx *path = user ? literal_text(s, q, e->range, SLICE("$.sub")) : args[0];
	return path ? sx_call(s, q, e->range, SLICE("->>"), (struct sx *[]){leaf, path}, 2) : NULL;
}

static struct sx *compile_metadata(struct stream_compiler *s, struct query *q, const struct sql_expr *e, struct scope *scope)
{
	static const char *const names[] = {"schema", "table_name", "table_suffix"};
	struct scope_item *item = scope_find(scope, e->call.schema.name);
	size_t part = 0;
	while (part < 3 && !same_word(e->call.function.name, names[part]))
		part++;
	if (!item || !item->source || item->source->kind != SOURCE_TABLE || part == 3)
		return sx_fail(s, q, "unknown-request-function", e->range, "no such function");
	if (e->call.arg_count)
		return sx_fail(s, q, "wrong-argument-count", e->range, "the function has no arguments");
	struct sx *out = sx_new(s, SX_TABLE_NAME, q, e->range, NULL, 0);
	if (!out)
		return NULL;
	out->source = item->source;
	out->part = (enum table_name_part)part;
	if (part == 2 && !slice_ends(item->source->name, SLICE("%")) && !s->quiet)
		query_report(q, DIAGNOSTIC_WARNING, "empty-table-suffix", e->range,
		             "the table has no wildcard: the suffix is empty");
	return out;
}

static struct sx *compile_call(struct stream_compiler *s, struct query *q, const struct sql_expr *e, struct scope *scope,
                               bool ctes)
{
	size_t n = e->call.arg_count;
	struct slice name = e->call.function.name;
	if (e->call.select || e->call.star)
		return sx_fail(s, q, "unknown-function", e->range, "no such function");
	struct sx **args = arena_array(&s->c->scratch, struct sx *, n + 1);
	if (!sx_compile_args(s, q, e->call.args, n, scope, ctes, args))
		return NULL;
	if (sql_ident_given(&e->call.schema)) {
		struct slice schema = e->call.schema.name;
		if (same_word(schema, "auth"))
			return compile_request_call(s, q, e, REQUEST_JWT, args);
		if (same_word(schema, "connection"))
			return compile_request_call(s, q, e, REQUEST_CLIENT, args);
		if (same_word(schema, "subscription"))
			return compile_request_call(s, q, e, REQUEST_SUBSCRIPTION, args);
		return compile_metadata(s, q, e, scope);
	}
	if (slice_eq(name, SLICE("random")))
		return sx_fail(s, q, "forbidden-function", e->range, "the function gives another result each time");
	const struct sql_function *f = sql_function_find(name);
	if (!f || !f->in_streams)
		return sx_fail(s, q, "unknown-function", e->range, "no such function");
	if (n < f->min_args || (f->max_args != SQL_FUNCTION_ANY_COUNT && n > f->max_args))
		return sx_fail(s, q, "wrong-argument-count", e->range, "wrong number of arguments");
	if (e->call.decorated)
		return sx_fail(s, q, "unsupported-expression", e->range, "DISTINCT, ORDER BY, FILTER and OVER are not supported");
	return sx_call(s, q, e->range, f->name, args, n);
}

/* ---- the rest --------------------------------------------------------------------------------------------------------- */

static struct sx *compile_binary(struct stream_compiler *s, struct query *q, const struct sql_expr *e, struct scope *scope,
                                 bool ctes)
{
	static const enum sx_op ops[] = {
	        [SQL_OP_OR] = SX_OR,
	        [SQL_OP_AND] = SX_AND,
	        [SQL_OP_EQ] = SX_EQ,
	        [SQL_OP_NE] = SX_EQ,
	        [SQL_OP_LT] = SX_LT,
	        [SQL_OP_LE] = SX_LE,
	        [SQL_OP_GT] = SX_GT,
	        [SQL_OP_GE] = SX_GE,
	        [SQL_OP_ADD] = SX_ADD,
	        [SQL_OP_SUB] = SX_SUB,
	        [SQL_OP_MUL] = SX_MUL,
	        [SQL_OP_DIV] = SX_DIV,
	        [SQL_OP_CONCAT] = SX_CONCAT,
	        [SQL_OP_MOD] = SX_MOD,
	        [SQL_OP_BIT_AND] = SX_BIT_AND,
	        [SQL_OP_BIT_OR] = SX_BIT_OR,
	        [SQL_OP_SHIFT_LEFT] = SX_SHIFT_LEFT,
	        [SQL_OP_SHIFT_RIGHT] = SX_SHIFT_RIGHT,
	};
	switch (e->binary.op) {
	case SQL_OP_IN:
	case SQL_OP_NOT_IN:
		return sx_compile_in(s, q, e, scope, ctes);
	case SQL_OP_OVERLAP:
		return sx_compile_overlap(s, q, e, scope, ctes);
	case SQL_OP_LIKE:
	case SQL_OP_NOT_LIKE:
	case SQL_OP_ILIKE:
	case SQL_OP_NOT_ILIKE:
	case SQL_OP_OTHER:
		return sx_fail(s, q, "unsupported-operator", e->range, "the operator is not supported");
	default:
		break;
	}
	struct sx *a = sx_compile(s, q, e->binary.left, scope, ctes);
	struct sx *b = a ? sx_compile(s, q, e->binary.right, scope, ctes) : NULL;
	if (!b)
		return NULL;
	struct sx *out = with_op(sx_new(s, SX_BINARY, q, e->range, (struct sx *[]){a, b}, 2), ops[e->binary.op]);
	return e->binary.op == SQL_OP_NE ? sx_not(s, out) : out;
}

static struct sx *compile_is(struct stream_compiler *s, struct query *q, const struct sql_expr *e, struct scope *scope, bool ctes)
{
	struct sx *a = sx_compile(s, q, e->is.operand, scope, ctes);
	struct sx *b = e->is.what == SQL_IS_NULL   ? literal(s, q, e->range, value_null(), SLICE("NULL"))
	               : e->is.what == SQL_IS_TRUE ? literal(s, q, e->range, value_integer(1), SLICE("1"))
	                                           : literal(s, q, e->range, value_integer(0), SLICE("0"));
	if (!a || !b)
		return NULL;
	struct sx *out = with_op(sx_new(s, SX_BINARY, q, e->range, (struct sx *[]){a, b}, 2), SX_IS);
	return e->is.negated ? sx_not(s, out) : out;
}

static struct sx *compile_case(struct stream_compiler *s, struct query *q, const struct sql_expr *e, struct scope *scope,
                               bool ctes)
{
	size_t n = 0;
	struct sql_expr **in = arena_array(&s->c->scratch, struct sql_expr *, e->cases.when_count * 2 + 2);
	if (e->cases.operand)
		in[n++] = e->cases.operand;
	for (size_t i = 0; i < e->cases.when_count; i++) {
		in[n++] = e->cases.whens[i].when;
		in[n++] = e->cases.whens[i].then;
	}
	if (e->cases.otherwise)
		in[n++] = e->cases.otherwise;
	struct sx **args = arena_array(&s->c->scratch, struct sx *, n + 1);
	if (!sx_compile_args(s, q, in, n, scope, ctes, args))
		return NULL;
	struct sx *out = sx_new(s, SX_CASE, q, e->range, args, n);
	if (out) {
		out->has_operand = e->cases.operand != NULL;
		out->has_else = e->cases.otherwise != NULL;
	}
	return out;
}

static struct sx *compile_cast(struct stream_compiler *s, struct query *q, const struct sql_expr *e, struct scope *scope,
                               bool ctes)
{
	enum cast_type type;
	if (!cast_type_find(e->cast.type, &type))
		return sx_fail(s, q, "bad-cast", e->range, "casts go to text, integer, real, numeric and blob only");
	struct sx *a = sx_compile(s, q, e->cast.operand, scope, ctes);
	struct sx *out = a ? sx_new(s, SX_CAST, q, e->range, &a, 1) : NULL;
	if (out)
		out->name = slice_cstr(cast_type_name(type));
	return out;
}

static struct sx *compile_between(struct stream_compiler *s, struct query *q, const struct sql_expr *e, struct scope *scope,
                                  bool ctes)
{
	struct sql_expr *in[3] = {e->between.operand, e->between.low, e->between.high};
	struct sx *args[3];
	if (!sx_compile_args(s, q, in, 3, scope, ctes, args))
		return NULL;
	struct sx *out = sx_new(s, SX_BETWEEN, q, e->range, args, 3);
	return e->between.negated ? sx_not(s, out) : out;
}

static struct sx *compile_unary(struct stream_compiler *s, struct query *q, const struct sql_expr *e, struct scope *scope,
                                bool ctes)
{
	if (e->unary.op == '-')
		return sx_fail(s, q, "unsupported-operator", e->range, "the operator is not supported");
	struct sx *a = sx_compile(s, q, e->unary.operand, scope, ctes);
	return a ? with_op(sx_new(s, SX_UNARY, q, e->range, &a, 1), e->unary.op == '!' ? SX_NOT : SX_PLUS) : NULL;
}

static struct sx *compile_member(struct stream_compiler *s, struct query *q, const struct sql_expr *e, struct scope *scope,
                                 bool ctes)
{
	struct sql_expr *in[2] = {e->member.operand, e->member.key};
	struct sx *args[2];
	if (!sx_compile_args(s, q, in, 2, scope, ctes, args))
		return NULL;
	return sx_call(s, q, e->range, e->member.as_json ? SLICE("->") : SLICE("->>"), args, 2);
}

struct sx *sx_compile(struct stream_compiler *s, struct query *q, const struct sql_expr *e, struct scope *scope, bool ctes)
{
	switch (e->kind) {
	case SQL_LITERAL:
		return compile_literal(s, q, e);
	case SQL_NAME:
		return compile_name(s, q, e, scope);
	case SQL_CALL:
		if (sx_is_row_call(e))
			return sx_fail(s, q, "unsupported-expression", e->range, "ROW is only allowed right of IN");
		return compile_call(s, q, e, scope, ctes);
	case SQL_UNARY:
		return compile_unary(s, q, e, scope, ctes);
	case SQL_BINARY:
		return compile_binary(s, q, e, scope, ctes);
	case SQL_IS:
		return compile_is(s, q, e, scope, ctes);
	case SQL_BETWEEN:
		return compile_between(s, q, e, scope, ctes);
	case SQL_MEMBER:
		return compile_member(s, q, e, scope, ctes);
	case SQL_CAST:
		return compile_cast(s, q, e, scope, ctes);
	case SQL_CASE:
		return compile_case(s, q, e, scope, ctes);
	case SQL_SUBSELECT:
		return sx_fail(s, q, "subquery-position", e->range, "a subquery is only allowed right of IN");
	case SQL_PARAMETER:
		return sx_fail(s, q, "sql-parameter", e->range, "SQL parameters are not supported");
	case SQL_UNSUPPORTED:
		if (e->unsupported == SQL_UNSUPPORTED_SUBSTRING_FROM)
			return sx_fail(s, q, "sql-syntax", e->range, "write substring(x, start, length)");
		return sx_fail(s, q, "unsupported-expression", e->range, "the expression is not supported");
	default:
		return sx_fail(s, q, "unsupported-expression", e->range, "the expression is not supported");
	}
}
