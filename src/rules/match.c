/* match.c: see match.h. */
#include "rules/match.h"

#include <math.h>

static bool too_many(struct match_run *m)
{
	return error_set(m->env->err, "", "the query gives more than %d combinations for one row", MAX_ASSIGNMENTS);
}

static struct assignments make_assignments(struct match_run *m, size_t count)
{
	return (struct assignments){arena_calloc(m->env->arena, sizeof(struct key_value) * (count * m->parameters + 1)), count};
}

static struct assignments one_value(struct match_run *m, uint32_t parameter, struct value v)
{
	struct assignments out = make_assignments(m, 1);
	out.items[parameter] = (struct key_value){KEY_VALUE, v};
	return out;
}

static struct key_value element_value(struct match_run *m, const struct json_node *n)
{
	struct key_value out = {.state = KEY_VALUE};
	switch (n->kind) {
	case JSON_KIND_STRING:
		out.v = value_text(n->s);
		break;
	case JSON_KIND_INTEGER:
		out.v = value_integer(n->i);
		break;
	case JSON_KIND_REAL:
		/* Whole doubles are integers here (13). */
		if (n->r == floor(n->r) && fabs(n->r) < 9007199254740992.0 * 1024)
			out.v = value_integer((int64_t)n->r);
		else
			out.v = value_real(n->r);
		break;
	default:
		out.state = KEY_JSON;
		out.v = value_text(json_to_text(n, m->lookup ? JSON_STYLE_PLAIN : JSON_STYLE_SHORT_NUMBERS, m->env->arena));
	}
	return out;
}

static bool match_contains(struct match_run *m, const struct match *node, struct assignments *out)
{
	struct value v;
	struct json_node array;
	if (!expr_eval(node->row, m->env, &v))
		return false;
	*out = (struct assignments){0};
	if (value_is_null(&v))
		return true;
	if (v.kind != VALUE_TEXT || !json_read(v.s, JSON_DOUBLES, m->env->arena, &array, m->env->err) ||
	    array.kind != JSON_KIND_ARRAY)
		return error_set(m->env->err, "", "the value is not a JSON array");
	if (array.array.count > MAX_ASSIGNMENTS)
		return too_many(m);
	*out = make_assignments(m, array.array.count);
	for (size_t i = 0; i < array.array.count; i++)
		out->items[i * m->parameters + node->parameter] = element_value(m, &array.array.items[i]);
	return true;
}

static bool match_each(struct match_run *m, const struct match *node, struct assignments *out)
{
	struct value v;
	struct json_each_row *rows;
	size_t count;
	if (!expr_eval(node->row, m->env, &v))
		return false;
	*out = (struct assignments){0};
	if (value_is_null(&v))
		return true;
	if (!json_each(&v, m->env->fixed_json_extract, m->env->arena, &rows, &count, m->env->err))
		return false;
	if (count > MAX_ASSIGNMENTS)
		return too_many(m);
	*out = make_assignments(m, count);
	out->count = 0;
	for (size_t i = 0; i < count; i++)
		if (!is_unusable(&rows[i].value))
			out->items[out->count++ * m->parameters + node->parameter] = (struct key_value){KEY_VALUE, rows[i].value};
	return true;
}

static bool match_and(struct match_run *m, const struct match *node, struct assignments *out)
{
	struct assignments a, b;
	if (!match_eval(m, node->left, &a) || !match_eval(m, node->right, &b))
		return false;
	if (b.count && a.count > MAX_ASSIGNMENTS / b.count)
		return too_many(m);
	*out = make_assignments(m, a.count * b.count);
	struct key_value *to = out->items;
	for (size_t i = 0; i < a.count; i++)
		for (size_t j = 0; j < b.count; j++)
			for (size_t k = 0; k < m->parameters; k++, to++) {
				const struct key_value *left = &a.items[i * m->parameters + k];
				*to = left->state != KEY_UNSET ? *left
				                               : b.items[j * m->parameters + k]; /* the left one wins (13) */
			}
	return true;
}

static bool match_or(struct match_run *m, const struct match *node, struct assignments *out)
{
	struct assignments a, b;
	if (!match_eval(m, node->left, &a) || !match_eval(m, node->right, &b))
		return false;
	if (a.count + b.count > MAX_ASSIGNMENTS)
		return too_many(m);
	*out = make_assignments(m, a.count + b.count);
	if (a.count)
		memcpy(out->items, a.items, sizeof(*a.items) * a.count * m->parameters);
	if (b.count)
		memcpy(out->items + a.count * m->parameters, b.items, sizeof(*b.items) * b.count * m->parameters);
	return true;
}

bool match_eval(struct match_run *m, const struct match *node, struct assignments *out)
{
	struct value v;
	bool truth;
	*out = (struct assignments){0};
	switch (node->kind) {
	case MATCH_ALWAYS:
		*out = make_assignments(m, 1);
		return true;
	case MATCH_CONDITION:
		if (!expr_truth(node->row, m->env, &truth))
			return false;
		if (truth)
			*out = make_assignments(m, 1);
		return true;
	case MATCH_EQUAL:
	case MATCH_INSIDE:
		if (!expr_eval(node->row, m->env, &v))
			return false;
		if (v.kind == VALUE_ABSENT)
			v.kind = VALUE_NULL;
		if (v.kind != VALUE_BLOB && (v.kind != VALUE_NULL || node->kind == MATCH_INSIDE))
			*out = one_value(m, node->parameter, v);
		return true;
	case MATCH_CONTAINS:
		return match_contains(m, node, out);
	case MATCH_EACH:
		return match_each(m, node, out);
	case MATCH_BARE:
		*out = one_value(m, node->parameter, value_integer(1));
		return true;
	case MATCH_AND:
		return match_and(m, node, out);
	case MATCH_OR:
		return match_or(m, node, out);
	}
	return error_set(m->env->err, "", "unknown kind of match");
}
