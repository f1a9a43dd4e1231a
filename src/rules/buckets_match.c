/* buckets_match.c: matches, and the parameters in them under the names that make equal ones one (sync-config 13). */
#include "rules/buckets_match.h"

#include <stdlib.h>

#include "base/alloc.h"

/* A match with more parameters or a larger tree is refused; real ones have a handful. */
#define MAX_PARAMETERS 100

/* ---- spelling --------------------------------------------------------------------------------------------------------- */

static void spell(struct buckets_scope *s, struct buf *out, const struct sql_expr *e)
{
	switch (e->kind) {
	case SQL_LITERAL:
		expr_print(out, &(struct expr){.kind = EXPR_LITERAL, .literal.value = e->literal.value});
		break;
	case SQL_NAME: {
		struct slice table = e->name.table.name;
		if (!table.p)
			table = s->bare_table.p ? s->bare_table : s->row_name;
		json_append_string(out, table.p ? table : SLICE(""));
		buf_putc(out, '.');
		json_append_string(out, e->name.column.name);
		break;
	}
	case SQL_CALL:
		if (e->call.schema.name.p) {
			buf_slice_append(out, e->call.schema.name);
			buf_putc(out, '.');
		}
		buf_slice_append(out, e->call.function.name);
		buf_putc(out, '(');
		for (size_t i = 0; i < e->call.arg_count; i++) {
			if (i)
				buf_putc(out, ',');
			spell(s, out, e->call.args[i]);
		}
		buf_putc(out, ')');
		break;
	case SQL_BINARY:
		buf_putc(out, '(');
		spell(s, out, e->binary.left);
		buf_printf(out, " op%d ", (int)e->binary.op);
		spell(s, out, e->binary.right);
		buf_putc(out, ')');
		break;
	case SQL_UNARY:
		buf_lit(out, "(not ");
		spell(s, out, e->unary.operand);
		buf_putc(out, ')');
		break;
	case SQL_IS:
		buf_printf(out, "(null %d ", e->is.negated);
		spell(s, out, e->is.operand);
		buf_putc(out, ')');
		break;
	case SQL_MEMBER:
		buf_putc(out, '(');
		spell(s, out, e->member.operand);
		buf_printf(out, "%s", e->member.as_json ? "->" : "->>");
		spell(s, out, e->member.key);
		buf_putc(out, ')');
		break;
	case SQL_CAST:
		buf_printf(out, "(%.*s::", SLICE_ARG(e->cast.type));
		spell(s, out, e->cast.operand);
		buf_putc(out, ')');
		break;
	default:
		buf_lit(out, "?");
	}
}

static struct slice parameter_key(struct buckets_scope *s, const struct sql_expr *e, bool expanding)
{
	if (s->mode == MODE_DATA && e->kind == SQL_NAME)
		return e->name.column.name;
	struct buf out = {0};
	if (expanding)
		buf_lit(&out, "IN ");
	spell(s, &out, e);
	struct slice key = arena_copy(s->q->c->arena, buf_slice(&out));
	buf_free(&out);
	return key;
}

/* ---- matches ---------------------------------------------------------------------------------------------------------- */

static struct match *new_match(struct buckets_scope *s, enum match_kind kind)
{
	struct match *m = arena_calloc(s->q->c->arena, sizeof(*m));
	m->kind = kind;
	return m;
}

static struct operand_match *new_operand_match(struct buckets_scope *s, enum match_kind kind)
{
	struct operand_match *m = arena_calloc(s->q->c->arena, sizeof(*m));
	m->tree = new_match(s, kind);
	return m;
}

static bool same_truth(const struct match_use *u, bool truth)
{
	return u->parameter.truth == truth;
}

/* The parameter of that spelling. The tree holds its place in s->uses until buckets_number_parameters. */
static uint32_t use_parameter(struct buckets_scope *s, const struct operand *o, bool expanding, bool truth)
{
	struct slice key = parameter_key(s, o->node, expanding);
	for (size_t i = 0; i < s->use_count; i++)
		if (slice_eq(s->uses[i]->parameter.key, key) && (same_truth(s->uses[i], truth) || s->mode == MODE_DATA))
			return (uint32_t)i;
	if (s->use_count >= MAX_PARAMETERS)
		query_abandon(s->q, "sql_syntax", NULL, "too many parameters in one query");
	struct match_use *u = arena_calloc(s->q->c->arena, sizeof(*u));
	u->parameter = (struct match_parameter){.key = key, .value = o->expr, .truth = truth, .expanding = expanding};
	s->uses = xgrow(s->uses, s->use_count, &s->use_cap, sizeof(*s->uses));
	s->uses[s->use_count] = u;
	return (uint32_t)s->use_count++;
}

struct operand_match *buckets_match_leaf(struct buckets_scope *s, enum match_kind kind, const struct operand *parameter,
                                         const struct operand *row)
{
	struct operand_match *m = new_operand_match(s, kind);
	m->tree->parameter = use_parameter(s, parameter, kind == MATCH_INSIDE, kind == MATCH_BARE);
	m->tree->row = row ? row->expr : NULL;
	m->uses = arena_array(s->q->c->arena, struct match_use *, 1);
	m->uses[0] = s->uses[m->tree->parameter];
	m->use_count = 1;
	m->arrays = kind == MATCH_CONTAINS;
	m->expanding = kind == MATCH_INSIDE;
	m->auth = parameter->auth;
	m->client = parameter->client;
	return m;
}

struct operand_match *buckets_match_always(struct buckets_scope *s)
{
	return new_operand_match(s, MATCH_ALWAYS);
}

struct operand_match *buckets_as_match(struct buckets_scope *s, const struct operand *o)
{
	if (o->kind == OPERAND_MATCH)
		return o->match;
	if (o->kind == OPERAND_PARAMETER)
		return buckets_match_leaf(s, MATCH_BARE, o, NULL);
	struct operand_match *m = new_operand_match(s, MATCH_CONDITION);
	m->tree->row = o->expr;
	return m;
}

struct operand buckets_match_operand(struct operand_match *m, const struct sql_expr *node)
{
	return (struct operand){.kind = OPERAND_MATCH, .match = m, .node = node, .auth = m->auth, .client = m->client};
}

static bool has_use(const struct operand_match *m, const struct match_use *u)
{
	for (size_t i = 0; i < m->use_count; i++)
		if (m->uses[i] == u)
			return true;
	return false;
}

/* What a uses and then what only b does; a's list itself if that is nothing, so that long chains stay small. */
static void unite_uses(struct buckets_scope *s, struct operand_match *out, const struct operand_match *a,
                       const struct operand_match *b)
{
	size_t more = 0;
	for (size_t i = 0; i < b->use_count; i++)
		more += !has_use(a, b->uses[i]);
	out->uses = a->uses;
	out->use_count = a->use_count;
	if (!more)
		return;
	out->uses = arena_array(s->q->c->arena, struct match_use *, a->use_count + more);
	for (size_t i = 0; i < a->use_count; i++)
		out->uses[i] = a->uses[i];
	for (size_t i = 0; i < b->use_count; i++)
		if (!has_use(a, b->uses[i]))
			out->uses[out->use_count++] = b->uses[i];
}

static bool same_uses(const struct operand_match *a, const struct operand_match *b)
{
	if (a->use_count != b->use_count)
		return false;
	for (size_t i = 0; i < b->use_count; i++)
		if (!has_use(a, b->uses[i]))
			return false;
	return true;
}

struct operand buckets_join_matches(struct buckets_scope *s, const struct sql_expr *e, struct operand_match *a,
                                    struct operand_match *b)
{
	bool and = e->binary.op == SQL_OP_AND;
	if (and&&a->arrays && b->arrays)
		return buckets_refuse(s, "multiple_array_matches", e->range, "only one array can be matched");
	if (!and&&!same_uses(a, b))
		return buckets_refuse(s, "or_parameters_differ", e->range, "both sides of OR must use the same parameters");
	struct operand_match *m = new_operand_match(s, and? MATCH_AND : MATCH_OR);
	m->tree->left = a->tree;
	m->tree->right = b->tree;
	unite_uses(s, m, a, b);
	m->expanding = a->expanding + b->expanding;
	m->client = a->client || b->client;
	if (and) {
		m->arrays = a->arrays + b->arrays;
		m->auth = b->auth || (a->auth && !b->cancels);
		m->cancels = a->cancels || b->cancels;
	} else {
		m->arrays = a->arrays > b->arrays ? a->arrays : b->arrays;
		m->cancels = true;
	}
	return buckets_match_operand(m, e);
}

static void number_tree(struct match *m, struct match_use *const *uses, size_t use_count, const struct buckets_scope *s)
{
	if (m->kind == MATCH_AND || m->kind == MATCH_OR) {
		number_tree((struct match *)m->left, uses, use_count, s);
		number_tree((struct match *)m->right, uses, use_count, s);
	} else if (m->kind == MATCH_EQUAL || m->kind == MATCH_CONTAINS || m->kind == MATCH_INSIDE || m->kind == MATCH_BARE) {
		m->parameter = s->uses[m->parameter]->number;
	}
}

void buckets_number_parameters(struct buckets_scope *s, struct operand_match *m)
{
	for (size_t i = 0; i < m->use_count; i++)
		m->uses[i]->number = (uint32_t)i;
	number_tree(m->tree, m->uses, m->use_count, s);
}

void buckets_scope_free(struct buckets_scope *s)
{
	free(s->uses);
	s->uses = NULL;
}
