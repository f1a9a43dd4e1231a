/* streams_lower.c: expressions of the stream compiler -> expressions that are evaluated. */
#include <stdlib.h>

#include "base/alloc.h"
#include "rules/streams_expr.h"

static uint32_t slot_of(struct lowering *l, struct slice name)
{
	for (size_t i = 0; i < l->column_count; i++)
		if (slice_eq(l->columns[i], name))
			return (uint32_t)i;
	l->columns = xgrow(l->columns, l->column_count, &l->column_cap, sizeof(*l->columns));
	l->columns[l->column_count] = arena_copy(l->c->arena, name);
	return (uint32_t)l->column_count++;
}

void lowering_free(struct lowering *l)
{
	free(l->columns);
	l->columns = NULL;
}

static uint32_t function_number(const struct lowering *l, const struct stream_source *f)
{
	for (size_t i = 0; i < l->function_count; i++)
		if (l->functions[i] == f)
			return (uint32_t)i;
	return 0;
}

static const struct expr *lower_leaf(struct lowering *l, const struct sx *e)
{
	struct expr *x = expr_new(l->c->arena, EXPR_COLUMN, 0);
	switch (e->kind) {
	case SX_COLUMN:
		x->column.slot = slot_of(l, e->name);
		x->column.name = l->columns[x->column.slot];
		break;
	case SX_TABLE_NAME:
		x->kind = EXPR_TABLE_NAME;
		x->part = e->part;
		break;
	case SX_OUTPUT:
		x->kind = EXPR_ELEMENT;
		x->element.function = function_number(l, e->source);
		x->element.part = slice_eq(e->name, SLICE("key"))     ? ELEMENT_KEY
		                  : slice_eq(e->name, SLICE("value")) ? ELEMENT_VALUE
		                                                      : ELEMENT_OTHER;
		break;
	default:
		x->kind = EXPR_REQUEST;
		x->request.source = e->request;
	}
	return x;
}

static void set_binary(struct lowering *l, struct expr *x, const struct sx *e)
{
	static const char *const failing[] = {
	        [SX_BIT_AND] = "&", [SX_BIT_OR] = "|", [SX_SHIFT_LEFT] = "<<", [SX_SHIFT_RIGHT] = ">>", [SX_MOD] = "%"};
	(void)l;
	switch (e->op) {
	case SX_OR:
		x->kind = EXPR_OR;
		return;
	case SX_AND:
		x->kind = EXPR_AND;
		return;
	case SX_IS:
		x->kind = EXPR_IS;
		return;
	case SX_CONCAT:
		x->kind = EXPR_CONCAT;
		return;
	case SX_EQ:
	case SX_LT:
	case SX_GT:
	case SX_LE:
	case SX_GE:
		x->kind = EXPR_COMPARE;
		x->compare = e->op == SX_EQ   ? COMPARE_EQ
		             : e->op == SX_LT ? COMPARE_LT
		             : e->op == SX_GT ? COMPARE_GT
		             : e->op == SX_LE ? COMPARE_LE
		                              : COMPARE_GE;
		return;
	case SX_ADD:
	case SX_SUB:
	case SX_MUL:
	case SX_DIV:
		x->kind = EXPR_ARITH;
		x->arith = e->op == SX_ADD ? ARITH_ADD : e->op == SX_SUB ? ARITH_SUB : e->op == SX_MUL ? ARITH_MUL : ARITH_DIV;
		return;
	default:
		x->kind = EXPR_FAIL;
		x->op_text = slice_cstr(failing[e->op]);
	}
}

static void set_call(struct expr *x, const struct sx *e)
{
	if (slice_eq(e->name, SLICE("->")) || slice_eq(e->name, SLICE("->>"))) {
		x->kind = EXPR_ARROW;
		x->as_json = e->name.n == 2;
	} else if (slice_eq(e->name, SLICE("ps_json_contains"))) {
		x->kind = EXPR_IN_JSON;
	} else {
		x->kind = EXPR_CALL;
		x->function = sql_function_find(e->name);
	}
}

const struct expr *sx_lower(struct lowering *l, const struct sx *e)
{
	if (e->kind <= SX_REQUEST)
		return lower_leaf(l, e);
	if (e->kind == SX_LITERAL)
		return expr_literal(l->c->arena, e->value);
	struct expr *x = expr_new(l->c->arena, EXPR_NOT, e->arg_count);
	const struct expr **args = arena_array(l->c->arena, const struct expr *, e->arg_count + 1);
	for (uint32_t i = 0; i < e->arg_count; i++)
		args[i] = sx_lower(l, e->args[i]);
	x->args = args;
	switch (e->kind) {
	case SX_UNARY:
		x->kind = e->op == SX_NOT ? EXPR_NOT : EXPR_PLUS;
		break;
	case SX_BINARY:
		set_binary(l, x, e);
		break;
	case SX_BETWEEN:
		x->kind = EXPR_BETWEEN;
		break;
	case SX_IN:
		x->kind = EXPR_IN_LIST;
		break;
	case SX_CASE:
		x->kind = EXPR_CASE;
		x->has_operand = e->has_operand;
		x->has_else = e->has_else;
		break;
	case SX_CAST:
		x->kind = EXPR_CAST;
		cast_type_find(e->name, &x->cast);
		break;
	default:
		set_call(x, e);
	}
	return x;
}
