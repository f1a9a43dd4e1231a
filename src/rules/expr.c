/* expr.c: evaluation, building and printing of compiled expressions. */
#include "rules/expr.h"

#include "rules/request.h"
#include "rules/revisions.h"

#define MAX_INLINE_ARGS 8

static bool eval_children(const struct expr *e, struct eval_env *env, struct value *values)
{
	for (uint32_t i = 0; i < e->arg_count; i++)
		if (!expr_eval(e->args[i], env, &values[i]))
			return false;
	return true;
}

static bool eval_call(const struct expr *e, struct eval_env *env, struct value *out)
{
	struct value inline_values[MAX_INLINE_ARGS];
	struct value *values =
	        e->arg_count <= MAX_INLINE_ARGS ? inline_values : arena_array(env->arena, struct value, e->arg_count);
	if (!eval_children(e, env, values))
		return false;
	struct function_context ctx = {.arena = env->arena, .fixed_json_extract = env->fixed_json_extract};
	return e->function->call(&ctx, values, e->arg_count, out, env->err);
}

static bool eval_in_list(const struct expr *e, struct eval_env *env, struct value *out)
{
	struct value *values = arena_array(env->arena, struct value, e->arg_count);
	return eval_children(e, env, values) && op_in_list(&values[0], values + 1, e->arg_count - 1, out, env->err);
}

static bool case_matches(const struct expr *e, const struct value *operand, const struct value *when, bool *match,
                         struct eval_env *env)
{
	if (!e->has_operand) {
		*match = value_truth(when);
		return true;
	}
	struct value equal;
	if (!op_compare(COMPARE_EQ, operand, when, &equal, env->err))
		return false;
	*match = value_truth(&equal);
	return true;
}

static bool eval_case(const struct expr *e, struct eval_env *env, struct value *out)
{
	struct value operand = value_null();
	uint32_t at = 0, end = e->arg_count - (e->has_else ? 1 : 0);
	if (e->has_operand && !expr_eval(e->args[at++], env, &operand))
		return false;
	for (; at + 1 < end; at += 2) {
		struct value when;
		bool match;
		if (!expr_eval(e->args[at], env, &when) || !case_matches(e, &operand, &when, &match, env))
			return false;
		if (match)
			return expr_eval(e->args[at + 1], env, out);
	}
	if (e->has_else)
		return expr_eval(e->args[end], env, out);
	*out = value_null();
	return true;
}

/* A path into a JSON text of the request goes straight to the tree that was parsed once. */
static bool eval_arrow(const struct expr *e, struct eval_env *env, struct value *out)
{
	struct value x, path;
	if (!expr_eval(e->args[1], env, &path))
		return false;
	if (e->args[0]->kind == EXPR_REQUEST && path.kind == VALUE_TEXT) {
		const struct json_node *root = request_node(env->request, e->args[0]->request.source, env->subscription_node);
		if (root)
			return json_arrow_node(root, path.s, e->as_json, env->fixed_json_extract, env->arena, out, env->err);
	}
	return expr_eval(e->args[0], env, &x) &&
	       json_arrow(&x, &path, e->as_json, env->fixed_json_extract, env->arena, out, env->err);
}

static void eval_table_name(const struct expr *e, const struct eval_env *env, struct value *out)
{
	const struct table_names *t = env->table;
	*out = value_text(e->part == TABLE_NAME_SCHEMA ? t->schema : e->part == TABLE_NAME_NAME ? t->name : t->suffix);
}

static void eval_element(const struct expr *e, const struct eval_env *env, struct value *out)
{
	const struct json_each_row *row = env->elements[e->element.function];
	if (e->element.part == ELEMENT_OTHER)
		*out = (struct value){.kind = VALUE_ABSENT};
	else
		*out = e->element.part == ELEMENT_KEY ? row->key : row->value;
}

static bool eval_fail(const struct expr *e, struct eval_env *env)
{
	struct value a, b;
	if (!expr_eval(e->args[0], env, &a) || !expr_eval(e->args[1], env, &b))
		return false;
	return error_set(env->err, "", "the operator %.*s cannot be evaluated", SLICE_ARG(e->op_text));
}

static bool eval_two(const struct expr *e, struct eval_env *env, struct value *out)
{
	struct value a, b;
	if (!expr_eval(e->args[0], env, &a) || !expr_eval(e->args[1], env, &b))
		return false;
	switch (e->kind) {
	case EXPR_AND:
		*out = op_and(&a, &b);
		return true;
	case EXPR_OR:
		*out = op_or(&a, &b);
		return true;
	case EXPR_COMPARE:
		return op_compare(e->compare, &a, &b, out, env->err);
	case EXPR_ARITH:
		return op_arith(e->arith, &a, &b, env->arena, out, env->err);
	case EXPR_CONCAT:
		op_concat(&a, &b, env->arena, out);
		return true;
	case EXPR_IN_JSON:
		return op_in_json(&a, &b, env->arena, out, env->err);
	default:
		return op_is(&a, &b, out, env->err);
	}
}

static bool eval_one(const struct expr *e, struct eval_env *env, struct value *out)
{
	struct value a;
	if (!expr_eval(e->args[0], env, &a))
		return false;
	switch (e->kind) {
	case EXPR_NOT:
		*out = op_not(&a);
		return true;
	case EXPR_PLUS:
		return op_plus(&a, env->arena, out, env->err);
	case EXPR_IS_NULL:
		*out = value_integer(value_is_null(&a) != e->negated);
		return true;
	default:
		return value_cast(&a, e->cast, env->arena, out, env->err);
	}
}

static bool eval_between(const struct expr *e, struct eval_env *env, struct value *out)
{
	struct value values[3];
	return eval_children(e, env, values) && op_between(&values[0], &values[1], &values[2], out, env->err);
}

bool expr_eval(const struct expr *e, struct eval_env *env, struct value *out)
{
	switch (e->kind) {
	case EXPR_LITERAL:
		*out = e->literal.value;
		return true;
	case EXPR_COLUMN: {
		int32_t column = env->slots[e->column.slot];
		*out = column < 0 ? (struct value){.kind = VALUE_ABSENT} : env->row[column];
		return true;
	}
	case EXPR_TABLE_NAME:
		eval_table_name(e, env, out);
		return true;
	case EXPR_ELEMENT:
		eval_element(e, env, out);
		return true;
	case EXPR_REQUEST:
		return request_value(env, e->request.source, e->request.name, out);
	case EXPR_NOT:
	case EXPR_PLUS:
	case EXPR_IS_NULL:
	case EXPR_CAST:
		return eval_one(e, env, out);
	case EXPR_AND:
	case EXPR_OR:
	case EXPR_COMPARE:
	case EXPR_ARITH:
	case EXPR_CONCAT:
	case EXPR_IN_JSON:
	case EXPR_IS:
		return eval_two(e, env, out);
	case EXPR_BETWEEN:
		return eval_between(e, env, out);
	case EXPR_IN_LIST:
		return eval_in_list(e, env, out);
	case EXPR_CASE:
		return eval_case(e, env, out);
	case EXPR_ARROW:
		return eval_arrow(e, env, out);
	case EXPR_CALL:
		return eval_call(e, env, out);
	case EXPR_FAIL:
		return eval_fail(e, env);
	}
	return error_set(env->err, "", "unknown kind of expression");
}

bool expr_truth(const struct expr *e, struct eval_env *env, bool *out)
{
	struct value v;
	if (!expr_eval(e, env, &v))
		return false;
	*out = value_truth(&v);
	return true;
}

/* ---- building --------------------------------------------------------------------------------------------------------- */

struct expr *expr_new(struct arena *arena, enum expr_kind kind, size_t arg_count)
{
	struct expr *e = arena_calloc(arena, sizeof(*e));
	e->kind = kind;
	e->arg_count = (uint32_t)arg_count;
	return e;
}

struct expr *expr_with(struct arena *arena, enum expr_kind kind, const struct expr *const *args, size_t arg_count)
{
	struct expr *e = expr_new(arena, kind, arg_count);
	const struct expr **copy = arena_array(arena, const struct expr *, arg_count + 1);
	for (size_t i = 0; i < arg_count; i++)
		copy[i] = args[i];
	e->args = copy;
	return e;
}

struct expr *expr_literal(struct arena *arena, struct value v)
{
	struct expr *e = expr_new(arena, EXPR_LITERAL, 0);
	if (v.kind == VALUE_TEXT || v.kind == VALUE_BLOB)
		v.s = arena_copy(arena, v.s);
	e->literal.value = v;
	return e;
}

/* ---- printing --------------------------------------------------------------------------------------------------------- */

static void print_literal(struct buf *out, const struct value *v)
{
	switch (v->kind) {
	case VALUE_INTEGER:
		buf_lit(out, "i:");
		buf_i64(out, v->i);
		break;
	case VALUE_REAL:
		buf_lit(out, "r:");
		buf_printf(out, "%a", v->r);
		break;
	case VALUE_TEXT:
		buf_lit(out, "s:");
		json_append_string(out, v->s);
		break;
	case VALUE_BLOB:
		buf_lit(out, "b:");
		for (size_t i = 0; i < v->s.n; i++)
			buf_printf(out, "%02x", (unsigned char)v->s.p[i]);
		break;
	case VALUE_ABSENT:
		buf_lit(out, "absent");
		break;
	default:
		buf_lit(out, "null");
	}
}

static const char *request_source_name(enum request_source s)
{
	static const char *const names[] = {
	        [REQUEST_USER_ID] = "user_id",
	        [REQUEST_JWT] = "jwt",
	        [REQUEST_CLIENT] = "client",
	        [REQUEST_SUBSCRIPTION] = "subscription",
	        [REQUEST_SUBSCRIPTION_OBJECT] = "subscription_object",
	        [REQUEST_TOKEN_MEMBER] = "token_member",
	        [REQUEST_CLIENT_MEMBER] = "client_member",
	        [REQUEST_CLIENT_PARAMETER] = "client_parameter",
	};
	return names[s];
}

static int revision_of(const struct expr *e)
{
	static const int operators[] = {
	        [EXPR_NOT] = REVISION_LOGIC,       [EXPR_AND] = REVISION_LOGIC,
	        [EXPR_OR] = REVISION_LOGIC,        [EXPR_IS_NULL] = REVISION_NULL_TEST,
	        [EXPR_IS] = REVISION_IS,           [EXPR_COMPARE] = REVISION_COMPARE,
	        [EXPR_BETWEEN] = REVISION_BETWEEN, [EXPR_ARITH] = REVISION_ARITHMETIC,
	        [EXPR_PLUS] = REVISION_ARITHMETIC, [EXPR_CONCAT] = REVISION_CONCAT,
	        [EXPR_IN_JSON] = REVISION_IN_JSON, [EXPR_IN_LIST] = REVISION_IN_LIST,
	        [EXPR_CASE] = REVISION_CASE,       [EXPR_ARROW] = REVISION_ARROW,
	        [EXPR_FAIL] = REVISION_FAIL,
	};
	static const int casts[] = {
	        [CAST_TEXT] = REVISION_CAST_TEXT,       [CAST_INTEGER] = REVISION_CAST_INTEGER, [CAST_REAL] = REVISION_CAST_REAL,
	        [CAST_NUMERIC] = REVISION_CAST_NUMERIC, [CAST_BLOB] = REVISION_CAST_BLOB,
	};
	if (e->kind == EXPR_CALL)
		return e->function->revision;
	return e->kind == EXPR_CAST ? casts[e->cast] : operators[e->kind];
}

static void print_head(struct buf *out, const struct expr *e)
{
	static const char *const compares[] = {"=", "!=", "<", "<=", ">", ">="};
	static const char *const ariths[] = {"+", "-", "*", "/"};
	static const char *const plain[] = {
	        [EXPR_NOT] = "not",   [EXPR_PLUS] = "plus",       [EXPR_AND] = "and",         [EXPR_OR] = "or",
	        [EXPR_IS] = "is",     [EXPR_CONCAT] = "||",       [EXPR_IN_JSON] = "in-json", [EXPR_BETWEEN] = "between",
	        [EXPR_FAIL] = "fail", [EXPR_IN_LIST] = "in-list",
	};
	switch (e->kind) {
	case EXPR_IS_NULL:
		buf_printf(out, "%s", e->negated ? "not-null" : "is-null");
		break;
	case EXPR_COMPARE:
		buf_printf(out, "%s", compares[e->compare]);
		break;
	case EXPR_ARITH:
		buf_printf(out, "%s", ariths[e->arith]);
		break;
	case EXPR_CAST:
		buf_printf(out, "cast-%s", cast_type_name(e->cast));
		break;
	case EXPR_ARROW:
		buf_printf(out, "%s", e->as_json ? "->" : "->>");
		break;
	case EXPR_CASE:
		buf_printf(out, "case%s%s", e->has_operand ? "-operand" : "", e->has_else ? "-else" : "");
		break;
	case EXPR_CALL:
		buf_slice_append(out, e->function->name);
		break;
	default:
		buf_printf(out, "%s", plain[e->kind]);
	}
	buf_printf(out, "@%d", revision_of(e));
}

void expr_print(struct buf *out, const struct expr *e)
{
	static const char *const table_parts[] = {"schema", "name", "suffix"};
	static const char *const element_parts[] = {"key", "value", "other"};
	switch (e->kind) {
	case EXPR_LITERAL:
		print_literal(out, &e->literal.value);
		return;
	case EXPR_COLUMN:
		buf_lit(out, "col:");
		json_append_string(out, e->column.name);
		return;
	case EXPR_TABLE_NAME:
		buf_printf(out, "table:%s", table_parts[e->part]);
		return;
	case EXPR_ELEMENT:
		buf_printf(out, "each:%u.%s", e->element.function, element_parts[e->element.part]);
		return;
	case EXPR_REQUEST:
		buf_printf(out, "request:%s", request_source_name(e->request.source));
		if (e->request.name.p) {
			buf_putc(out, '.');
			json_append_string(out, e->request.name);
		}
		return;
	default:
		break;
	}
	buf_putc(out, '(');
	print_head(out, e);
	if (e->kind == EXPR_FAIL)
		buf_slice_append(out, e->op_text);
	for (uint32_t i = 0; i < e->arg_count; i++) {
		buf_putc(out, ' ');
		expr_print(out, e->args[i]);
	}
	buf_putc(out, ')');
}
