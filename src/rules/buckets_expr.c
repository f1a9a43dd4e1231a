/* buckets_expr.c: the composition rules of sync-config 13: values, names and calls. */
#include "rules/buckets_expr.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "rules/buckets_match.h"

static const struct operand error_operand = {.kind = OPERAND_ERROR};

struct operand buckets_refuse(struct buckets_scope *s, const char *class_name, struct sql_range range, const char *message)
{
	query_report(s->q, DIAGNOSTIC_FATAL, class_name, range, "%s", message);
	return error_operand;
}

/* ---- values ----------------------------------------------------------------------------------------------------------- */

/* The general rule: everything but =, IN, AND and OR. operands[i] belongs to parts[i]; build makes the expression. */
struct general {
	const struct operand *operands;
	size_t count;
	struct expr *expr; /* with args to be filled in */
};

static bool check_operands(struct buckets_scope *s, const struct operand *operands, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (operands[i].kind == OPERAND_ERROR)
			return false;
	for (size_t i = 0; i < count; i++) {
		if (operands[i].kind == OPERAND_MATCH) {
			buckets_refuse(s, "match_in_expression", operands[i].node->range,
			               "a comparison with a parameter is not allowed here");
			return false;
		}
		if (s->mode == MODE_DATA && operands[i].kind == OPERAND_PARAMETER) {
			buckets_refuse(s, "parameter_in_expression", operands[i].node->range,
			               "bucket parameters are not allowed here");
			return false;
		}
	}
	bool row = false, parameter = false;
	for (size_t i = 0; i < count; i++) {
		row |= operands[i].kind == OPERAND_ROW;
		parameter |= operands[i].kind == OPERAND_PARAMETER;
		if (row && parameter) {
			buckets_refuse(s, "row_and_parameter_mixed", operands[i].node->range,
			               "row and request values cannot be mixed");
			return false;
		}
	}
	return true;
}

/* Evaluates an expression of constants; the query is abandoned if that fails. */
static struct operand fold(struct buckets_scope *s, const struct expr *e, const struct sql_expr *node)
{
	struct arena arena = {0};
	struct error err;
	struct eval_env env = {.arena = &arena, .err = &err, .fixed_json_extract = s->q->c->plan->options.fixed_json_extract};
	struct value v;
	struct operand out = {.kind = OPERAND_STATIC, .node = node};
	if (expr_eval(e, &env, &v)) {
		out.expr = expr_literal(s->q->c->arena, v);
	} else {
		query_abandon(s->q, "static_evaluation_failed", NULL, "%s", err.message);
		out = error_operand;
	}
	arena_free(&arena);
	return out;
}

static struct operand combine(struct buckets_scope *s, const struct sql_expr *node, struct expr *e,
                              const struct operand *operands, size_t count)
{
	if (!check_operands(s, operands, count))
		return error_operand;
	const struct expr **args = arena_array(s->q->c->arena, const struct expr *, count + 1);
	struct operand out = {.kind = OPERAND_STATIC, .expr = e, .node = node};
	for (size_t i = 0; i < count; i++) {
		args[i] = operands[i].expr;
		if (operands[i].kind != OPERAND_STATIC)
			out.kind = operands[i].kind;
		out.auth |= operands[i].auth;
		out.client |= operands[i].client;
	}
	e->args = args;
	e->arg_count = (uint32_t)count;
	return out.kind == OPERAND_STATIC ? fold(s, e, node) : out;
}

static struct expr *value_operator(struct buckets_scope *s, enum sql_op op)
{
	static const struct {
		enum expr_kind kind;
		int detail;
	} table[] = {
	        [SQL_OP_OR] = {EXPR_OR, 0},
	        [SQL_OP_AND] = {EXPR_AND, 0},
	        [SQL_OP_EQ] = {EXPR_COMPARE, COMPARE_EQ},
	        [SQL_OP_NE] = {EXPR_COMPARE, COMPARE_NE},
	        [SQL_OP_LT] = {EXPR_COMPARE, COMPARE_LT},
	        [SQL_OP_LE] = {EXPR_COMPARE, COMPARE_LE},
	        [SQL_OP_GT] = {EXPR_COMPARE, COMPARE_GT},
	        [SQL_OP_GE] = {EXPR_COMPARE, COMPARE_GE},
	        [SQL_OP_ADD] = {EXPR_ARITH, ARITH_ADD},
	        [SQL_OP_SUB] = {EXPR_ARITH, ARITH_SUB},
	        [SQL_OP_MUL] = {EXPR_ARITH, ARITH_MUL},
	        [SQL_OP_DIV] = {EXPR_ARITH, ARITH_DIV},
	        [SQL_OP_CONCAT] = {EXPR_CONCAT, 0},
	        [SQL_OP_IN] = {EXPR_IN_JSON, 0},
	};
	struct expr *e = expr_new(s->q->c->arena, table[op].kind, 0);
	if (e->kind == EXPR_COMPARE)
		e->compare = (enum compare_op)table[op].detail;
	else if (e->kind == EXPR_ARITH)
		e->arith = (enum arith_op)table[op].detail;
	return e;
}

struct operand buckets_combine_logic(struct buckets_scope *s, const struct sql_expr *e, const struct operand *operands,
                                     size_t count)
{
	struct expr *x = count == 1 ? expr_new(s->q->c->arena, EXPR_NOT, 0) : value_operator(s, e->binary.op);
	return combine(s, e, x, operands, count);
}

static struct operand compile_equality(struct buckets_scope *s, const struct sql_expr *e)
{
	struct operand ab[2] = {buckets_compile_expr(s, e->binary.left), buckets_compile_expr(s, e->binary.right)};
	const struct operand *a = &ab[0], *b = &ab[1];
	bool equal = e->binary.op == SQL_OP_EQ, data = s->mode == MODE_DATA;
	if (a->kind == OPERAND_ERROR || b->kind == OPERAND_ERROR)
		return error_operand;
	bool matches = a->kind == OPERAND_MATCH || b->kind == OPERAND_MATCH;
	bool both = (a->kind == OPERAND_MATCH || a->kind == OPERAND_PARAMETER) &&
	            (b->kind == OPERAND_MATCH || b->kind == OPERAND_PARAMETER);
	if (equal && matches && both)
		return buckets_refuse(s, data ? "parameters_both_sides" : "match_in_expression", e->range,
		                      "parameters on both sides of =");
	for (size_t i = 0; i < 2; i++)
		if (ab[i].kind == OPERAND_MATCH)
			return buckets_refuse(s, "match_in_expression", equal ? e->range : ab[i].node->range,
			                      "a comparison with a parameter is not allowed here");
	bool pa = a->kind == OPERAND_PARAMETER, pb = b->kind == OPERAND_PARAMETER;
	bool row = a->kind == OPERAND_ROW || b->kind == OPERAND_ROW;
	if ((!pa && !pb) || (!data && !row)) {
		struct operand v = combine(s, e, value_operator(s, e->binary.op), ab, 2);
		if (v.kind == OPERAND_STATIC && equal && data)
			v.kind = OPERAND_ROW; /* the reference does not fold it either (13) */
		return v;
	}
	if (equal) {
		if (pa && pb)
			return buckets_refuse(s, "parameters_both_sides", e->range, "parameters on both sides of =");
		return buckets_match_operand(buckets_match_leaf(s, MATCH_EQUAL, pa ? a : b, pa ? b : a), e);
	}
	if (pa && !pb)
		return buckets_match_operand(buckets_match_leaf(s, MATCH_CONTAINS, a, b), e);
	if (data)
		return buckets_refuse(s, "parameter_right_of_in", pa ? a->node->range : b->node->range,
		                      "bucket parameters cannot stand right of IN");
	return buckets_match_operand(buckets_match_leaf(s, MATCH_INSIDE, b, a), e);
}

static struct operand compile_logic(struct buckets_scope *s, const struct sql_expr *e)
{
	struct operand ab[2] = {buckets_compile_expr(s, e->binary.left), buckets_compile_expr(s, e->binary.right)};
	const struct operand *a = &ab[0], *b = &ab[1];
	if (a->kind == OPERAND_ERROR || b->kind == OPERAND_ERROR)
		return error_operand;
	bool data = s->mode == MODE_DATA;
	if (a->kind != OPERAND_MATCH && b->kind != OPERAND_MATCH) {
		bool row = a->kind == OPERAND_ROW || b->kind == OPERAND_ROW;
		bool parameter = a->kind == OPERAND_PARAMETER || b->kind == OPERAND_PARAMETER;
		if (data && parameter && !row)
			return (struct operand){.kind = OPERAND_PARAMETER, .node = e}; /* one nameless parameter, never covered */
		if (!(row && parameter) && !(data && parameter)) {
			struct operand v = combine(s, e, value_operator(s, e->binary.op), ab, 2);
			if (v.kind == OPERAND_STATIC && data)
				v.kind = OPERAND_ROW;
			return v;
		}
	}
	struct operand_match *left = buckets_as_match(s, a);
	struct operand_match *right = buckets_as_match(s, b);
	return buckets_join_matches(s, e, left, right);
}

static struct operand compile_binary(struct buckets_scope *s, const struct sql_expr *e)
{
	switch (e->binary.op) {
	case SQL_OP_AND:
	case SQL_OP_OR:
		return compile_logic(s, e);
	case SQL_OP_EQ:
	case SQL_OP_IN:
		return compile_equality(s, e);
	default:
		break;
	}
	struct operand ab[2] = {buckets_compile_expr(s, e->binary.left), buckets_compile_expr(s, e->binary.right)};
	if (e->binary.op > SQL_OP_IN) {
		if (ab[0].kind == OPERAND_ERROR || ab[1].kind == OPERAND_ERROR)
			return error_operand;
		return buckets_refuse(s, "operator_unsupported", e->range, "the operator is not supported");
	}
	return combine(s, e, value_operator(s, e->binary.op), ab, 2);
}

/* ---- names and calls -------------------------------------------------------------------------------------------------- */

static struct operand request_operand(struct buckets_scope *s, const struct sql_expr *e, enum request_source source,
                                      struct slice name, bool auth)
{
	struct expr *x = expr_new(s->q->c->arena, EXPR_REQUEST, 0);
	x->request.source = source;
	x->request.name = name.p ? arena_copy(s->q->c->arena, name) : name;
	return (struct operand){.kind = OPERAND_PARAMETER, .expr = x, .node = e, .auth = auth, .client = !auth};
}

static struct operand row_column(struct buckets_scope *s, const struct sql_expr *e)
{
	struct slice name = e->name.column.name;
	query_check_column(s->q, name, e->range);
	struct operand out = {.kind = OPERAND_ROW, .node = e};
	if (s->elements) {
		struct expr *x = expr_new(s->q->c->arena, EXPR_ELEMENT, 0);
		x->element.part = slice_eq(name, SLICE("key"))     ? ELEMENT_KEY
		                  : slice_eq(name, SLICE("value")) ? ELEMENT_VALUE
		                                                   : ELEMENT_OTHER;
		out.kind = OPERAND_PARAMETER;
		out.expr = x;
		return out;
	}
	if (s->suffix && slice_eq(name, SLICE("_table_suffix")) && s->q->c->plan->patterns[s->q->pattern].table_wildcard) {
		struct expr *x = expr_new(s->q->c->arena, EXPR_TABLE_NAME, 0);
		x->part = TABLE_NAME_SUFFIX;
		out.expr = x;
		return out;
	}
	struct expr *x = expr_new(s->q->c->arena, EXPR_COLUMN, 0);
	x->column.slot = query_column(s->q, name);
	x->column.name = s->q->columns[x->column.slot];
	out.expr = x;
	return out;
}

static struct operand compile_name(struct buckets_scope *s, const struct sql_expr *e)
{
	if (sql_ident_given(&e->name.schema))
		return buckets_refuse(s, "schema_in_column_reference", e->range, "a schema is not allowed in a column reference");
	query_check_case(s->q, &e->name.column);
	query_check_case(s->q, &e->name.table);
	struct slice table = e->name.table.name, column = e->name.column.name;
	if (!table.p)
		table = s->bare_table.p ? s->bare_table : s->row_name;
	if (!table.p)
		return buckets_refuse(s, "undefined_reference", e->range, "there is no table to take the column from");
	if (s->mode == MODE_DATA && slice_eq(table, SLICE("bucket")))
		return (struct operand){.kind = OPERAND_PARAMETER, .node = e};
	if (s->mode == MODE_PARAMETER && slice_eq(table, SLICE("token_parameters")))
		return request_operand(s, e, REQUEST_TOKEN_MEMBER, column, true);
	if (s->mode == MODE_PARAMETER && slice_eq(table, SLICE("user_parameters")))
		return request_operand(s, e, REQUEST_CLIENT_MEMBER, column, false);
	if (s->row_name.p && slice_eq(table, s->row_name))
		return row_column(s, e);
	return buckets_refuse(s, "undefined_reference", e->range, "no such table in this query");
}

static struct operand compile_request_call(struct buckets_scope *s, const struct sql_expr *e)
{
	struct slice schema = e->call.schema.name, name = e->call.function.name;
	bool request = slice_eq(schema, SLICE("request"));
	if (request && s->mode == MODE_DATA)
		return buckets_refuse(s, "request_function_in_data_query", e->range,
		                      "request functions are not available in data queries");
	bool parameter = slice_eq(name, SLICE("parameter"));
	bool known = parameter || slice_eq(name, SLICE("user_id")) || slice_eq(name, SLICE("jwt")) ||
	             slice_eq(name, SLICE("parameters"));
	if (!request || !known || e->call.star || e->call.select)
		return buckets_refuse(s, "function_undefined", e->range, "no such function");
	if (e->call.arg_count != (parameter ? 1 : 0))
		return buckets_refuse(s, "function_arity", e->range, "wrong number of arguments");
	if (slice_eq(name, SLICE("user_id")))
		return request_operand(s, e, REQUEST_USER_ID, (struct slice){0}, true);
	if (slice_eq(name, SLICE("jwt")))
		return request_operand(s, e, REQUEST_JWT, (struct slice){0}, true);
	if (slice_eq(name, SLICE("parameters")))
		return request_operand(s, e, REQUEST_CLIENT, (struct slice){0}, false);
	const struct sql_expr *arg = e->call.args[0];
	if (arg->kind != SQL_LITERAL)
		return buckets_refuse(s, "request_argument", e->range, "the argument must be a literal");
	struct slice path = {0};
	if (arg->literal.kind != SQL_LITERAL_NULL)
		path = value_text_form(&arg->literal.value, s->q->c->arena);
	struct operand o = request_operand(s, e, REQUEST_CLIENT_PARAMETER, path, false);
	if (arg->literal.kind == SQL_LITERAL_NULL)
		o.expr = expr_literal(s->q->c->arena, value_null());
	return o;
}

/* X.parameter(p) of edition 2: connection's is typed like a member of the client parameters, the others go through the JSON text. */
static struct operand compile_stream_parameter(struct buckets_scope *s, const struct sql_expr *e, enum request_source source)
{
	struct operand ab[2] = {request_operand(s, e, source, (struct slice){0}, source == REQUEST_JWT)};
	const struct sql_expr *arg = e->call.args[0];
	if (source == REQUEST_CLIENT && arg->kind == SQL_LITERAL && arg->literal.kind == SQL_LITERAL_STRING)
		return request_operand(s, e, REQUEST_CLIENT_PARAMETER, arg->literal.value.s, false);
	ab[1] = buckets_compile_expr(s, arg);
	struct expr *x = expr_new(s->q->c->arena, EXPR_ARROW, 0);
	return combine(s, e, x, ab, 2);
}

static struct operand compile_stream_call(struct buckets_scope *s, const struct sql_expr *e)
{
	struct slice schema = e->call.schema.name, name = e->call.function.name;
	bool auth = slice_eq(schema, SLICE("auth")), subscription = slice_eq(schema, SLICE("subscription"));
	bool parameter = slice_eq(name, SLICE("parameter")), parameters = slice_eq(name, SLICE("parameters"));
	bool user = auth && slice_eq(name, SLICE("user_id"));
	if ((!auth && !subscription && !slice_eq(schema, SLICE("connection"))) || (!parameter && !parameters && !user) ||
	    e->call.star || e->call.select)
		return buckets_refuse(s, "unknown-request-function", e->range, "no such function");
	if (e->call.arg_count != (parameter ? 1 : 0))
		return buckets_refuse(s, "wrong-argument-count", e->range, "wrong number of arguments");
	s->subscription |= subscription;
	enum request_source source = auth ? REQUEST_JWT : subscription ? REQUEST_SUBSCRIPTION : REQUEST_CLIENT;
	if (parameter)
		return compile_stream_parameter(s, e, source);
	if (parameters)
		return request_operand(s, e, subscription ? REQUEST_SUBSCRIPTION_OBJECT : source, (struct slice){0}, auth);
	return request_operand(s, e, REQUEST_USER_ID, (struct slice){0}, true);
}

static struct operand compile_call(struct buckets_scope *s, const struct sql_expr *e)
{
	if (sql_ident_given(&e->call.schema))
		return s->mode == MODE_STREAM ? compile_stream_call(s, e) : compile_request_call(s, e);
	const struct sql_function *f = sql_function_find(e->call.function.name);
	if (!f || e->call.select || e->call.star)
		return buckets_refuse(s, "function_undefined", e->range, "no such function");
	if (e->call.decorated)
		return buckets_refuse(s, "expression_unsupported", e->range,
		                      "DISTINCT, ORDER BY, FILTER and OVER are not supported");
	size_t n = e->call.arg_count;
	struct operand *args = xcalloc(n + 1, sizeof(*args));
	size_t faulty = n;
	for (size_t i = 0; i < n; i++) {
		args[i] = buckets_compile_expr(s, e->call.args[i]);
		if (args[i].kind == OPERAND_ERROR && faulty == n)
			faulty = i;
	}
	struct operand out = error_operand;
	if (faulty < n) {
		/* What conflicts to the left of the first faulty argument is reported as well. */
		check_operands(s, args, faulty);
	} else {
		struct expr *x = expr_new(s->q->c->arena, EXPR_CALL, 0);
		x->function = f;
		out = combine(s, e, x, args, n);
	}
	free(args);
	return out;
}

static struct operand compile_member(struct buckets_scope *s, const struct sql_expr *e)
{
	struct operand ab[2] = {buckets_compile_expr(s, e->member.operand), {.kind = OPERAND_STATIC, .node = e->member.key}};
	const struct sql_expr *key = e->member.key;
	if (key->kind != SQL_LITERAL || key->literal.kind != SQL_LITERAL_STRING)
		return buckets_refuse(s, "member_unsupported", e->range, "the member must be given as text");
	ab[1].expr = expr_literal(s->q->c->arena, key->literal.value);
	struct expr *x = expr_new(s->q->c->arena, EXPR_ARROW, 0);
	x->as_json = e->member.as_json;
	return combine(s, e, x, ab, 2);
}

static struct operand compile_cast(struct buckets_scope *s, const struct sql_expr *e)
{
	struct operand a = buckets_compile_expr(s, e->cast.operand);
	enum cast_type type;
	if (!cast_type_find(e->cast.type, &type))
		return buckets_refuse(s, "cast_unsupported", e->range, "casts go to text, integer, real, numeric and blob only");
	struct expr *x = expr_new(s->q->c->arena, EXPR_CAST, 0);
	x->cast = type;
	return combine(s, e, x, &a, 1);
}

static struct operand compile_literal(struct buckets_scope *s, const struct sql_expr *e)
{
	if (e->literal.kind == SQL_LITERAL_INTEGER && e->literal.value_overflow) {
		query_abandon(s->q, "static_evaluation_failed", NULL, "the integer does not fit 64 bits");
		return error_operand;
	}
	return (struct operand){.kind = OPERAND_STATIC, .expr = expr_literal(s->q->c->arena, e->literal.value), .node = e};
}

struct operand buckets_compile_expr(struct buckets_scope *s, const struct sql_expr *e)
{
	struct operand a;
	struct expr *x;
	if (s->q->abandoned)
		return error_operand;
	switch (e->kind) {
	case SQL_LITERAL:
		return compile_literal(s, e);
	case SQL_NAME:
		return compile_name(s, e);
	case SQL_CALL:
		return compile_call(s, e);
	case SQL_BINARY:
		return compile_binary(s, e);
	case SQL_MEMBER:
		return compile_member(s, e);
	case SQL_CAST:
		return compile_cast(s, e);
	case SQL_UNARY:
		if (e->unary.op != '!')
			return buckets_refuse(s, "operator_unsupported", e->range, "the operator is not supported");
		a = buckets_compile_expr(s, e->unary.operand);
		return combine(s, e, expr_new(s->q->c->arena, EXPR_NOT, 0), &a, 1);
	case SQL_IS:
		if (e->is.what != SQL_IS_NULL)
			return buckets_refuse(s, "operator_unsupported", e->range, "IS TRUE and IS FALSE are not supported");
		a = buckets_compile_expr(s, e->is.operand);
		x = expr_new(s->q->c->arena, EXPR_IS_NULL, 0);
		x->negated = e->is.negated;
		return combine(s, e, x, &a, 1);
	case SQL_BETWEEN:
		return buckets_refuse(s, "expression_unsupported", e->range, "BETWEEN is not supported");
	case SQL_STAR:
		return buckets_refuse(s, "star_not_allowed", e->range, "* is not allowed here");
	default:
		return buckets_refuse(s, "expression_unsupported", e->range, "the expression is not supported");
	}
}
