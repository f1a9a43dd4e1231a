/* streams_sets.c: the sets of IN and &&: subqueries, CTEs, lists, and json_each over anything else (sync-streams 4.4, 4.5). */
#include "rules/streams_expr.h"

struct stream_source *sx_json_each(struct stream_compiler *s, struct query *q, struct sql_range range, struct sx *argument)
{
	if (!argument)
		return NULL;
	struct stream_source *f = arena_calloc(&s->c->scratch, sizeof(*f));
	*f = (struct stream_source){.kind = SOURCE_EACH, .q = q, .range = range, .argument = argument};
	size_t count;
	const struct sx *const *leaves = sx_leaves(s, argument, &count);
	bool request = false, mixed = false;
	struct stream_source *table = NULL;
	for (size_t i = 0; i < count; i++) {
		if (leaves[i]->kind == SX_OUTPUT) {
			sx_fail(s, leaves[i]->q, "table-function-inputs", leaves[i]->range,
			        "a table function cannot read another one");
			return NULL;
		}
		if (leaves[i]->kind == SX_REQUEST) {
			request = true;
		} else {
			mixed |= table && table != leaves[i]->source;
			table = leaves[i]->source;
		}
	}
	if (mixed || (table && request)) {
		sx_fail(s, q, table && request ? "mixed-row-and-request" : "mixed-tables", argument->range,
		        "the argument must use one table only, or the request only");
		return NULL;
	}
	f->attached = table;
	f->constant = !count;
	return f;
}

/* A side of IN or && as element and filter (NULL: none). */
struct set_side {
	struct sx *element, *filter;
	bool subquery;
};

static struct sx *join_conditions(struct stream_compiler *s, const struct stream_conditions *c)
{
	struct sx *out = NULL;
	for (size_t i = 0; i < c->count; i++)
		out = out ? sx_binary(s, SX_AND, out, c->items[i]) : c->items[i];
	return out;
}

static bool subselect_side(struct stream_compiler *s, struct query *q, const struct sql_select *select, struct scope *scope,
                           bool ctes, struct set_side *out)
{
	if (!select_check(s, q, select))
		return false;
	if (select->column_count != 1 || select->columns[0].expr->kind == SQL_STAR)
		return sx_fail(s, q, "subquery-columns", select->range, "the subquery must return exactly one column") != NULL;
	struct stream_conditions conditions = {0};
	struct scope *inner = scope_from_select(s, q, select, scope, ctes, &conditions);
	if (!inner)
		return false;
	out->element = sx_compile(s, q, select->columns[0].expr, inner, ctes);
	if (!out->element)
		return false;
	if (select->where && !conditions_add(s, &conditions, sx_compile(s, q, select->where, inner, ctes)))
		return false;
	out->filter = join_conditions(s, &conditions);
	out->subquery = true;
	return !conditions.count || out->filter;
}

static bool cte_side(struct stream_compiler *s, struct query *q, const struct sql_expr *e, struct stream_cte *cte,
                     struct set_side *out)
{
	struct stream_conditions conditions = {0};
	cte->used = true;
	struct scope_item *item = scope_inline(s, &cte->q, cte->q.st.select, NULL, 0, false, &conditions);
	if (!item)
		return false;
	if (item->column_count != 1)
		return sx_fail(s, q, "subquery-columns", e->range, "the CTE must return exactly one column") != NULL;
	out->element = item->columns[0];
	out->filter = join_conditions(s, &conditions);
	out->subquery = true;
	return !conditions.count || out->filter;
}

/* A subquery or CTE; out->subquery says whether it was one. */
static bool query_side(struct stream_compiler *s, struct query *q, const struct sql_expr *e, struct scope *scope, bool ctes,
                       struct set_side *out)
{
	*out = (struct set_side){0};
	if (e->kind == SQL_SUBSELECT)
		return subselect_side(s, q, e->subselect, scope, ctes, out);
	struct stream_cte *cte = NULL;
	if (e->kind == SQL_NAME && !sql_ident_given(&e->name.table))
		cte = scope_cte(s, e->name.column.name, ctes);
	return !cte || cte_side(s, q, e, cte, out);
}

/* Anything else: the values of json_each over it. */
static bool each_side(struct stream_compiler *s, struct query *q, const struct sql_expr *e, struct scope *scope, bool ctes,
                      struct set_side *out)
{
	struct stream_source *f = sx_json_each(s, q, e->range, sx_compile(s, q, e, scope, ctes));
	if (!f)
		return false;
	struct scope_item item = {.source = f};
	*out = (struct set_side){.element = sx_scope_column(s, q, e->range, &item, SLICE("value"))};
	return out->element != NULL;
}

static struct sx *compile_in_list(struct stream_compiler *s, struct query *q, const struct sql_expr *e,
                                  struct sql_expr *const *items, size_t count, struct scope *scope, bool ctes)
{
	struct sx **args = arena_array(&s->c->scratch, struct sx *, count + 2);
	args[0] = sx_compile(s, q, e->binary.left, scope, ctes);
	if (!args[0] || !sx_compile_args(s, q, items, count, scope, ctes, args + 1))
		return NULL;
	return sx_new(s, SX_IN, q, e->range, args, count + 1);
}

bool sx_is_row_call(const struct sql_expr *e)
{
	return e->kind == SQL_CALL && !sql_ident_given(&e->call.schema) && !e->call.function.quoted && !e->call.select &&
	       !e->call.star && slice_eq(e->call.function.name, SLICE("row"));
}

struct sx *sx_compile_in(struct stream_compiler *s, struct query *q, const struct sql_expr *e, struct scope *scope, bool ctes)
{
	const struct sql_expr *right = e->binary.right;
	bool negated = e->binary.op == SQL_OP_NOT_IN;
	struct sx *out;
	if (right->kind == SQL_LIST)
		return sx_fail(s, q, "unsupported-expression", right->range, "write a list as ARRAY[...] or ROW(...)");
	if (right->kind == SQL_ARRAY || sx_is_row_call(right)) {
		bool array = right->kind == SQL_ARRAY;
		out = compile_in_list(s, q, e, array ? right->list.items : right->call.args,
		                      array ? right->list.count : right->call.arg_count, scope, ctes);
		return negated ? sx_not(s, out) : out;
	}
	struct sx *left = sx_compile(s, q, e->binary.left, scope, ctes);
	struct set_side side;
	if (!left || !query_side(s, q, right, scope, ctes, &side))
		return NULL;
	if (!side.subquery) {
		if (negated) {
			struct sx *y = sx_compile(s, q, right, scope, ctes);
			return y ? sx_not(s, sx_call(s, q, e->range, SLICE("ps_json_contains"), (struct sx *[]){left, y}, 2))
			         : NULL;
		}
		if (!each_side(s, q, right, scope, ctes, &side))
			return NULL;
	}
	out = sx_binary(s, SX_EQ, left, side.element);
	if (side.filter)
		out = sx_binary(s, SX_AND, out, side.filter);
	return negated ? sx_not(s, out) : out;
}

struct sx *sx_compile_overlap(struct stream_compiler *s, struct query *q, const struct sql_expr *e, struct scope *scope,
                              bool ctes)
{
	const struct sql_expr *in[2] = {e->binary.left, e->binary.right};
	struct set_side sides[2];
	for (size_t i = 0; i < 2; i++)
		if (!query_side(s, q, in[i], scope, ctes, &sides[i]) ||
		    (!sides[i].subquery && !each_side(s, q, in[i], scope, ctes, &sides[i])))
			return NULL;
	struct sx *out = sx_binary(s, SX_EQ, sides[0].element, sides[1].element);
	for (size_t i = 0; i < 2; i++)
		if (sides[i].filter)
			out = sx_binary(s, SX_AND, out, sides[i].filter);
	return out;
}
