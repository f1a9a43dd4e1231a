/* explain.c: see explain.h. Conditions are shown as SQL of a sort: names of columns bare, everything else as it was understood. */
#include "rules/explain.h"

#include "rules/bind.h"

#define MAX_SHOWN_VALUE 80
#define MAX_COLUMNS_SHOWN 8
#define MAX_COMBINATIONS 10000

/* ---- expressions as text ---------------------------------------------------------------------------------------------------------- */

static void show(struct buf *out, const struct expr *e);

static void show_value(struct buf *out, const struct value *v)
{
	size_t before = out->n;
	if (value_is_null(v))
		buf_lit(out, "NULL");
	else if (v->kind == VALUE_BLOB)
		buf_printf(out, "%zu bytes", v->s.n);
	else if (v->kind == VALUE_UNKNOWN)
		buf_lit(out, "unknown");
	else
		value_json(out, v);
	if (out->n - before > MAX_SHOWN_VALUE) {
		out->n = before + MAX_SHOWN_VALUE;
		while (out->n > before && ((unsigned char)out->p[out->n - 1] & 0xC0) == 0x80)
			out->n--;
		buf_lit(out, "...");
	}
}

static void show_list(struct buf *out, const struct expr *e, uint32_t first)
{
	for (uint32_t i = first; i < e->arg_count; i++) {
		buf_printf(out, "%s", i > first ? ", " : "");
		show(out, e->args[i]);
	}
}

static void show_binary(struct buf *out, const struct expr *e, const char *op)
{
	buf_putc(out, '(');
	for (uint32_t i = 0; i < e->arg_count; i++) {
		if (i)
			buf_printf(out, " %s ", op);
		show(out, e->args[i]);
	}
	buf_putc(out, ')');
}

static void show_request(struct buf *out, const struct expr *e)
{
	static const char *const names[] = {
	        [REQUEST_USER_ID] = "user_id()",
	        [REQUEST_JWT] = "jwt()",
	        [REQUEST_CLIENT] = "parameters()",
	        [REQUEST_SUBSCRIPTION] = "subscription.parameters()",
	        [REQUEST_SUBSCRIPTION_OBJECT] = "subscription.parameters()",
	        [REQUEST_TOKEN_MEMBER] = "token_parameters",
	        [REQUEST_CLIENT_MEMBER] = "user_parameters",
	        [REQUEST_CLIENT_PARAMETER] = "parameter",
	};
	buf_printf(out, "request:%s", names[e->request.source]);
	if (e->request.name.p)
		buf_printf(out, ".%.*s", SLICE_ARG(e->request.name));
}

static void show_case(struct buf *out, const struct expr *e)
{
	uint32_t at = 0, end = e->arg_count - (e->has_else ? 1 : 0);
	buf_lit(out, "CASE");
	if (e->has_operand) {
		buf_putc(out, ' ');
		show(out, e->args[at++]);
	}
	for (; at + 2 <= end; at += 2) {
		buf_lit(out, " WHEN ");
		show(out, e->args[at]);
		buf_lit(out, " THEN ");
		show(out, e->args[at + 1]);
	}
	if (e->has_else) {
		buf_lit(out, " ELSE ");
		show(out, e->args[end]);
	}
	buf_lit(out, " END");
}

static void show_leaf(struct buf *out, const struct expr *e)
{
	static const char *const table_parts[] = {"schema", "name", "suffix"}, *const element_parts[] = {"key", "value", "other"};
	if (e->kind == EXPR_LITERAL)
		show_value(out, &e->literal.value);
	else if (e->kind == EXPR_COLUMN)
		buf_slice_append(out, e->column.name);
	else if (e->kind == EXPR_TABLE_NAME)
		buf_printf(out, "table.%s", table_parts[e->part]);
	else if (e->kind == EXPR_ELEMENT)
		buf_printf(out, "json_each.%s", element_parts[e->element.part]);
	else
		show_request(out, e);
}

/* Operators with one spelling; NULL: the others. */
static const char *operator_of(const struct expr *e)
{
	static const char *const compares[] = {"=", "!=", "<", "<=", ">", ">="}, *const ariths[] = {"+", "-", "*", "/"};
	switch (e->kind) {
	case EXPR_AND:
		return "AND";
	case EXPR_OR:
		return "OR";
	case EXPR_IS:
		return "IS";
	case EXPR_CONCAT:
		return "||";
	case EXPR_IN_JSON:
		return "IN";
	case EXPR_COMPARE:
		return compares[e->compare];
	case EXPR_ARITH:
		return ariths[e->arith];
	case EXPR_ARROW:
		return e->as_json ? "->" : "->>";
	default:
		return NULL;
	}
}

static void show_compound(struct buf *out, const struct expr *e)
{
	const char *op = operator_of(e);
	if (op) {
		show_binary(out, e, op);
	} else if (e->kind == EXPR_CASE) {
		show_case(out, e);
	} else if (e->kind == EXPR_NOT || e->kind == EXPR_PLUS || e->kind == EXPR_IS_NULL || e->kind == EXPR_CAST) {
		buf_printf(out, "%s",
		           e->kind == EXPR_NOT    ? "NOT "
		           : e->kind == EXPR_PLUS ? "+"
		           : e->kind == EXPR_CAST ? "CAST("
		                                  : "");
		show(out, e->args[0]);
		if (e->kind == EXPR_IS_NULL)
			buf_printf(out, " IS %sNULL", e->negated ? "NOT " : "");
		if (e->kind == EXPR_CAST)
			buf_printf(out, " AS %s)", cast_type_name(e->cast));
	} else if (e->kind == EXPR_BETWEEN && e->arg_count == 3) {
		show(out, e->args[0]);
		buf_lit(out, " BETWEEN ");
		show(out, e->args[1]);
		buf_lit(out, " AND ");
		show(out, e->args[2]);
	} else if (e->kind == EXPR_IN_LIST && e->arg_count) {
		show(out, e->args[0]);
		buf_lit(out, " IN (");
		show_list(out, e, 1);
		buf_putc(out, ')');
	} else {
		buf_printf(out, "%.*s(", SLICE_ARG(e->kind == EXPR_CALL ? e->function->name : e->op_text));
		show_list(out, e, 0);
		buf_putc(out, ')');
	}
}

static void show(struct buf *out, const struct expr *e)
{
	if (e->kind <= EXPR_REQUEST)
		show_leaf(out, e);
	else
		show_compound(out, e);
}

/* ---- what a condition saw --------------------------------------------------------------------------------------------------------- */

struct explanation {
	const struct bound_source *s;
	struct eval_env env;
	struct error err;
	struct buf reason;
	uint32_t slots[MAX_COLUMNS_SHOWN];
	size_t slot_count;
};

static void note_columns(struct explanation *x, const struct expr *e)
{
	if (e->kind == EXPR_COLUMN) {
		for (size_t i = 0; i < x->slot_count; i++)
			if (x->slots[i] == e->column.slot)
				return;
		if (x->slot_count < MAX_COLUMNS_SHOWN)
			x->slots[x->slot_count++] = e->column.slot;
		return;
	}
	for (uint32_t i = 0; i < e->arg_count; i++)
		note_columns(x, e->args[i]);
}

/* " (a is 1, b is NULL)" */
static void say_columns(struct explanation *x, const struct expr *e)
{
	x->slot_count = 0;
	note_columns(x, e);
	for (size_t i = 0; i < x->slot_count; i++) {
		int32_t column = x->s->slots[x->slots[i]];
		buf_printf(&x->reason, "%s%.*s is ", i ? ", " : " (", SLICE_ARG(x->s->source->column_names[x->slots[i]]));
		if (column < 0)
			buf_lit(&x->reason, "no column");
		else
			show_value(&x->reason, &x->env.row[column]);
	}
	if (x->slot_count)
		buf_putc(&x->reason, ')');
}

static bool say(struct explanation *x, const struct expr *e, const char *what)
{
	show(&x->reason, e);
	buf_printf(&x->reason, " %s", what);
	say_columns(x, e);
	return false;
}

static bool say_error(struct explanation *x, const struct expr *e)
{
	show(&x->reason, e);
	buf_printf(&x->reason, " fails: %s", x->err.message);
	say_columns(x, e);
	return false;
}

/* A condition, down to the first part of an AND that does not hold. */
static bool holds(struct explanation *x, const struct expr *e)
{
	bool truth;
	if (e->kind == EXPR_AND) {
		for (uint32_t i = 0; i < e->arg_count; i++)
			if (!holds(x, e->args[i]))
				return false;
		return true;
	}
	if (!expr_truth(e, &x->env, &truth))
		return say_error(x, e);
	return truth || say(x, e, "is not true");
}

/* ---- bucket definitions and edition 2: matches -------------------------------------------------------------------------------------- */

static bool match_holds(struct explanation *x, const struct match *m);

/* A value that the request must supply: what of the row it is held against has to be usable. */
static bool operand_holds(struct explanation *x, const struct match *m)
{
	struct value v;
	if (!expr_eval(m->row, &x->env, &v))
		return say_error(x, m->row);
	if (v.kind == VALUE_BLOB)
		return say(x, m->row, "is binary, which matches nothing");
	if (value_is_null(&v) && m->kind != MATCH_INSIDE)
		return say(x, m->row, "is NULL, which matches nothing");
	if (m->kind == MATCH_CONTAINS || m->kind == MATCH_EACH) {
		struct json_each_row *rows;
		size_t count;
		if (!json_each(&v, x->env.fixed_json_extract, x->env.arena, &rows, &count, &x->err))
			return say(x, m->row, "is not a JSON array");
		if (!count)
			return say(x, m->row, "is an empty array");
	}
	return true;
}

static bool either_holds(struct explanation *x, const struct match *m)
{
	size_t before = x->reason.n;
	if (match_holds(x, m->left)) {
		x->reason.n = before;
		return true;
	}
	buf_lit(&x->reason, "; nor: ");
	if (!match_holds(x, m->right))
		return false;
	x->reason.n = before;
	return true;
}

static bool match_holds(struct explanation *x, const struct match *m)
{
	switch (m->kind) {
	case MATCH_ALWAYS:
	case MATCH_BARE:
		return true;
	case MATCH_CONDITION:
		return holds(x, m->row);
	case MATCH_AND:
		return match_holds(x, m->left) && match_holds(x, m->right);
	case MATCH_OR:
		return either_holds(x, m);
	default:
		return operand_holds(x, m);
	}
}

static void show_match(struct buf *out, const struct match *m)
{
	switch (m->kind) {
	case MATCH_ALWAYS:
		return;
	case MATCH_CONDITION:
		show(out, m->row);
		return;
	case MATCH_BARE:
		buf_lit(out, "parameter");
		return;
	case MATCH_AND:
	case MATCH_OR:
		buf_putc(out, '(');
		show_match(out, m->left);
		buf_printf(out, "%s", m->kind == MATCH_AND ? " AND " : " OR ");
		show_match(out, m->right);
		buf_putc(out, ')');
		return;
	case MATCH_EQUAL:
		show(out, m->row);
		buf_lit(out, " = parameter");
		return;
	case MATCH_INSIDE:
		show(out, m->row);
		buf_lit(out, " IN parameter");
		return;
	default:
		buf_lit(out, "parameter IN ");
		show(out, m->row);
	}
}

/* ---- edition 3: filters and keys --------------------------------------------------------------------------------------------------- */

static bool elements_exist(struct explanation *x, struct json_each_row **rows, size_t *counts)
{
	const struct row_source *s = x->s->source;
	for (size_t i = 0; i < s->function_count; i++) {
		struct value v;
		if (!expr_eval(s->functions[i], &x->env, &v) ||
		    !json_each(&v, x->env.fixed_json_extract, x->env.arena, &rows[i], &counts[i], &x->err))
			return say_error(x, s->functions[i]);
		if (!counts[i])
			return say(x, s->functions[i], "has no elements");
	}
	return true;
}

static bool combination_holds(struct explanation *x)
{
	const struct row_source *s = x->s->source;
	for (size_t i = 0; i < s->filter_count; i++)
		if (!holds(x, s->filters[i]))
			return false;
	for (size_t i = 0; i < s->key_count; i++) {
		struct value v;
		if (!expr_eval(s->keys[i], &x->env, &v))
			return say_error(x, s->keys[i]);
		if (value_is_null(&v) || v.kind == VALUE_BLOB)
			return say(x, s->keys[i],
			           v.kind == VALUE_BLOB ? "is binary, which matches nothing" : "is NULL, which matches nothing");
	}
	return true;
}

/* The next combination of elements, the last json_each fastest. */
static bool advance(size_t *at, const size_t *counts, size_t n)
{
	while (n-- > 0) {
		if (++at[n] < counts[n])
			return true;
		at[n] = 0;
	}
	return false;
}

static bool filters_hold(struct explanation *x)
{
	size_t n = x->s->source->function_count, tried = 0;
	if (!n)
		return combination_holds(x);
	struct json_each_row **rows = arena_array(x->env.arena, struct json_each_row *, n);
	const struct json_each_row **current = arena_array(x->env.arena, const struct json_each_row *, n);
	size_t *counts = arena_array(x->env.arena, size_t, n), *at = arena_calloc(x->env.arena, sizeof(size_t) * n);
	if (!elements_exist(x, rows, counts))
		return false;
	x->env.elements = current;
	do {
		for (size_t i = 0; i < n; i++)
			current[i] = &rows[i][at[i]];
		buf_clear(&x->reason);
		if (combination_holds(x))
			return true;
	} while (++tried < MAX_COMBINATIONS && advance(at, counts, n));
	buf_printf(&x->reason, ", nor for any other element (%zu tried)", tried);
	return false;
}

static void show_source(struct buf *out, const struct row_source *s)
{
	if (s->match)
		show_match(out, s->match);
	for (size_t i = 0; !s->match && i < s->filter_count; i++) {
		buf_printf(out, "%s", i ? " AND " : "");
		show(out, s->filters[i]);
	}
	for (size_t i = 0; !s->match && i < s->key_count; i++) {
		buf_printf(out, "%s", out->n ? " AND " : "");
		show(out, s->keys[i]);
		buf_lit(out, " = parameter");
	}
}

/* ---- the whole ---------------------------------------------------------------------------------------------------------------------- */

static struct row_verdict explain(const struct bound_table *b, const struct bound_source *s, const struct value *row,
                                  struct arena *arena)
{
	struct explanation x = {.s = s};
	struct buf query = {0};
	x.env = (struct eval_env){.row = row, .slots = s->slots, .table = &s->names, .arena = arena, .err = &x.err};
	x.env.fixed_json_extract = b->plan->options.fixed_json_extract;
	struct row_verdict v = {.definition = s->source->definition};
	v.passes = s->source->match ? match_holds(&x, s->source->match) : filters_hold(&x);
	if (!v.passes)
		v.reason = arena_copy(arena, buf_slice(&x.reason));
	show_source(&query, s->source);
	v.query = arena_copy(arena, buf_slice(&query));
	buf_free(&query);
	buf_free(&x.reason);
	return v;
}

void bound_explain(const struct bound_table *b, const struct value *row, struct arena *arena, struct row_verdict **out,
                   size_t *count)
{
	*out = arena_array(arena, struct row_verdict, b->bucket_count + b->lookup_count + 1);
	*count = 0;
	for (size_t i = 0; i < b->bucket_count; i++)
		(*out)[(*count)++] = explain(b, &b->buckets[i], row, arena);
	for (size_t i = 0; i < b->lookup_count; i++)
		(*out)[(*count)++] = explain(b, &b->lookups[i], row, arena);
}
