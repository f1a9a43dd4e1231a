/* streams2_subquery.c: subqueries of edition 2 streams -> lookups (sync-streams 12). */
#include "base/alloc.h"
#include "rules/streams2_compile.h"

/* Conditions on the request in one subquery. */
#define MAX_KEYS 100

bool stream2_refuse(struct query *q, const char *kind, struct sql_range range, const char *message)
{
	query_report(q, DIAGNOSTIC_FATAL, kind, range, "%s", message);
	return false;
}

struct match *match_and_new(struct arena *arena, struct match *a, struct match *b)
{
	if (!a)
		return b;
	struct match *m = arena_calloc(arena, sizeof(*m));
	*m = (struct match){.kind = MATCH_AND, .left = a, .right = b};
	return m;
}

struct match *match_leaf_new(struct arena *arena, enum match_kind kind, const struct expr *row, size_t parameter)
{
	struct match *m = arena_calloc(arena, sizeof(*m));
	*m = (struct match){.kind = kind, .row = row, .parameter = (uint32_t)parameter};
	return m;
}

struct subquery {
	struct query q;
	struct buckets_scope scope;
	const struct expr **keys; /* values of the request */
	size_t key_count;
	struct match *match;
	size_t room;
};

static void add_subquery_key(struct subquery *sub, const struct expr *row, const struct expr *request)
{
	struct arena *arena = sub->q.c->arena;
	sub->match = match_and_new(arena, sub->match, match_leaf_new(arena, MATCH_EQUAL, row, sub->key_count));
	sub->keys[sub->key_count++] = request;
}

/* Row conditions and row = request conditions, joined by AND only. */
static bool subquery_where(struct subquery *sub, const struct sql_expr *e)
{
	if (e->kind == SQL_BINARY && e->binary.op == SQL_OP_AND)
		return subquery_where(sub, e->binary.left) && subquery_where(sub, e->binary.right);
	sub->scope.use_count = 0;
	if (e->kind == SQL_BINARY && (e->binary.right->kind == SQL_SUBSELECT || e->binary.op == SQL_OP_OVERLAP))
		return stream2_refuse(&sub->q, "unsupported-subquery", e->range, "subqueries cannot be nested");
	struct operand o = buckets_compile_expr(&sub->scope, e);
	if (o.kind == OPERAND_ERROR)
		return false;
	if (o.kind == OPERAND_ROW || o.kind == OPERAND_STATIC) {
		sub->match =
		        match_and_new(sub->q.c->arena, sub->match, match_leaf_new(sub->q.c->arena, MATCH_CONDITION, o.expr, 0));
		return true;
	}
	if (o.kind != OPERAND_MATCH || o.match->tree->kind != MATCH_EQUAL || sub->key_count >= sub->room)
		return stream2_refuse(&sub->q, "unsupported-subquery", e->range,
		                      "only conditions on the row and comparisons with = are supported here");
	add_subquery_key(sub, o.match->tree->row, o.match->uses[0]->parameter.value);
	return true;
}

static bool subquery_from(struct subquery *sub, const struct sql_select *select)
{
	const struct sql_from *from = select->from;
	if (select->from_count != 1 || from->kind != SQL_FROM_TABLE || select->clause_count || select->set_operation)
		return stream2_refuse(&sub->q, "unsupported-subquery", select->range,
		                      "a subquery reads one table, with WHERE only");
	if (select->column_count != 1 || select->columns[0].expr->kind == SQL_STAR)
		return stream2_refuse(&sub->q, "unsupported-subquery", select->range,
		                      "a subquery must return exactly one column");
	if (!query_set_table(&sub->q, from))
		return false;
	sub->scope = (struct buckets_scope){.q = &sub->q, .mode = MODE_STREAM};
	sub->scope.row_name = sql_ident_given(&from->alias) ? from->alias.name : from->table.name;
	sub->room = MAX_KEYS;
	sub->keys = arena_array(sub->q.c->arena, const struct expr *, MAX_KEYS + 1);
	return true;
}

static void add_lookup(struct stream2 *s, struct subquery *sub, const struct expr *result)
{
	struct arena *arena = s->c->arena;
	struct row_source source = {.dialect = DIALECT_STREAMS_2, .pattern = sub->q.pattern};
	source.match = sub->match ? sub->match : match_leaf_new(arena, MATCH_ALWAYS, NULL, 0);
	source.parameter_count = source.key_count = sub->key_count;
	struct output_column *column = arena_calloc(arena, sizeof(*column));
	*column = (struct output_column){.name = SLICE("result"), .expr = result};
	source.columns = column;
	source.output_count = 1;
	struct slice *names = arena_array(arena, struct slice, sub->q.column_count + 1);
	for (size_t i = 0; i < sub->q.column_count; i++)
		names[i] = sub->q.columns[i];
	source.column_names = names;
	source.column_count = sub->q.column_count;
	row_source_finish(s->c, &source);
	struct slice name = arena_printf(arena, "%.*s#%zu", SLICE_ARG(s->name), s->lookup_count);
	s->lookups = xgrow(s->lookups, s->lookup_count, &s->lookup_cap, sizeof(*s->lookups));
	s->lookups[s->lookup_count++] = (struct stream2_lookup){
	        .definition = plan_add_definition(s->c, DEFINITION_LOOKUP, name, &source, 1),
	        .keys = sub->keys,
	        .key_count = sub->key_count,
	};
}

bool stream2_subquery(struct stream2 *s, const struct sql_select *select, const struct expr *existence)
{
	struct subquery sub = {0};
	query_init(&sub.q, s->c, s->q.scalar);
	sub.q.mark = s->q.mark;
	size_t mark = s->c->d->count;
	bool ok = subquery_from(&sub, select) && (!select->where || subquery_where(&sub, select->where));
	for (size_t i = mark; i < s->c->d->count; i++)
		if (strcmp(s->c->d->items[i].class_name, "or_parameters_differ") == 0)
			s->c->d->items[i].class_name = "unsupported-subquery";
	if (ok) {
		sub.scope.use_count = 0;
		struct operand o = buckets_compile_expr(&sub.scope, select->columns[0].expr);
		if (o.kind == OPERAND_ERROR)
			ok = false;
		else if (o.kind != OPERAND_ROW)
			ok = stream2_refuse(&sub.q, "unsupported-subquery", select->columns[0].range,
			                    "the column must come from the row");
		else if (existence)
			add_subquery_key(&sub, o.expr, existence);
		if (ok && !sub.key_count)
			ok = stream2_refuse(&sub.q, "unsupported-subquery", select->range,
			                    "the subquery has no condition on the request");
		if (ok)
			add_lookup(s, &sub, o.expr);
	}
	s->q.abandoned |= sub.q.abandoned;
	s->scope.subscription |= sub.scope.subscription;
	buckets_scope_free(&sub.scope);
	query_free(&sub.q);
	return ok;
}
