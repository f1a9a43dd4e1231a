/*
 * streams2_compile.c: streams of edition 2 (sync-streams 12).
 *
 * Expressions are those of bucket definitions (buckets_expr.c); here WHERE is taken apart into terms. Each term is a variant: its row
 * side is a match, its request side filters, lookups and key values. What the old compiler did not know is refused.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "rules/streams2_compile.h"

#define MAX_TERMS 100
#define MAX_ATOMS 100

struct atom {
	enum { ATOM_ROW, ATOM_REQUEST, ATOM_MATCH } kind;
	const struct expr *expr;    /* ROW, REQUEST */
	enum match_kind match;      /* MATCH; MATCH_ALWAYS: an existence test without a key */
	const struct expr *row;     /* MATCH */
	enum stream2_source source; /* MATCH */
	const struct expr *value;   /* MATCH: REQUEST, ELEMENTS */
	uint32_t lookup;            /* MATCH: index into the stream's lookups */
};

struct term {
	struct atom *atoms;
	size_t count;
};

struct terms {
	struct term *items;
	size_t count;
	/* A single value that may still be joined with a neighbour of its kind. */
	bool is_value;
	struct operand value;
	bool failed;
};

static struct terms failed(void)
{
	return (struct terms){.failed = true};
}

static struct terms one_atom(struct stream2 *s, struct atom a)
{
	struct terms t = {.items = arena_array(&s->terms, struct term, 1), .count = 1};
	t.items[0] = (struct term){arena_array(&s->terms, struct atom, 1), 1};
	t.items[0].atoms[0] = a;
	return t;
}

static struct terms value_terms(struct stream2 *s, struct operand o)
{
	if (o.kind == OPERAND_ERROR)
		return failed();
	bool request = o.kind == OPERAND_PARAMETER;
	struct terms t = one_atom(s, (struct atom){.kind = request ? ATOM_REQUEST : ATOM_ROW, .expr = o.expr});
	t.is_value = true;
	t.value = o;
	return t;
}

/* ---- IN (SELECT ...) ------------------------------------------------------------------------------------------------------ */

static struct terms compile_in_select(struct stream2 *s, const struct sql_expr *e)
{
	if (e->binary.op == SQL_OP_NOT_IN) {
		stream2_refuse(&s->q, "unsupported-negation", e->range, "NOT IN (SELECT ...) is not supported");
		return failed();
	}
	s->scope.use_count = 0;
	struct operand left = buckets_compile_expr(&s->scope, e->binary.left);
	if (left.kind == OPERAND_ERROR)
		return failed();
	if (left.kind != OPERAND_ROW && left.kind != OPERAND_PARAMETER) {
		stream2_refuse(&s->q, "unsupported-subquery", e->range,
		               "a row or request value must stand left of IN (SELECT ...)");
		return failed();
	}
	bool row = left.kind == OPERAND_ROW;
	if (!stream2_subquery(s, e->binary.right->subselect, row ? NULL : left.expr))
		return failed();
	struct atom a = {.kind = ATOM_MATCH, .match = row ? MATCH_INSIDE : MATCH_ALWAYS, .row = row ? left.expr : NULL};
	a.source = STREAM2_LOOKUP;
	a.lookup = (uint32_t)s->lookup_count - 1;
	return one_atom(s, a);
}

/* ---- && --------------------------------------------------------------------------------------------------------------- */

static struct terms compile_overlap(struct stream2 *s, const struct sql_expr *e)
{
	const struct sql_expr *sides[2] = {e->binary.left, e->binary.right};
	size_t select = sides[0]->kind == SQL_SUBSELECT ? 0 : sides[1]->kind == SQL_SUBSELECT ? 1 : 2;
	struct operand operands[2] = {0};
	for (size_t i = 0; i < 2; i++) {
		if (i == select)
			continue;
		s->scope.use_count = 0;
		operands[i] = buckets_compile_expr(&s->scope, sides[i]);
		if (operands[i].kind == OPERAND_ERROR)
			return failed();
	}
	size_t row = select < 2 ? 1 - select : operands[0].kind == OPERAND_ROW ? 0 : 1;
	struct atom a = {.kind = ATOM_MATCH, .match = MATCH_EACH, .row = operands[row].expr, .source = STREAM2_ELEMENTS};
	bool fits = operands[row].kind == OPERAND_ROW && (select < 2 || operands[1 - row].kind == OPERAND_PARAMETER);
	if (!fits) {
		stream2_refuse(&s->q, "unsupported-expression", e->range,
		               "&& needs an array of the row on one side, and of the request on the other");
		return failed();
	}
	a.value = select < 2 ? NULL : operands[1 - row].expr;
	if (select < 2) {
		if (!stream2_subquery(s, sides[select]->subselect, NULL))
			return failed();
		a.source = STREAM2_LOOKUP;
		a.lookup = (uint32_t)s->lookup_count - 1;
	}
	return one_atom(s, a);
}

/* ---- terms ------------------------------------------------------------------------------------------------------------ */

static bool too_many(struct stream2 *s, const struct sql_expr *e)
{
	return stream2_refuse(&s->q, "too-many-terms", e->range, "the condition has too many alternatives");
}

static struct terms either(struct stream2 *s, const struct sql_expr *e, const struct terms *a, const struct terms *b)
{
	struct terms out = {.count = a->count + b->count};
	if (out.count > MAX_TERMS)
		return too_many(s, e) ? out : failed();
	out.items = arena_array(&s->terms, struct term, out.count);
	memcpy(out.items, a->items, sizeof(*a->items) * a->count);
	memcpy(out.items + a->count, b->items, sizeof(*b->items) * b->count);
	return out;
}

static struct terms both(struct stream2 *s, const struct sql_expr *e, const struct terms *a, const struct terms *b)
{
	struct terms out = {.count = a->count * b->count};
	if (out.count > MAX_TERMS)
		return too_many(s, e) ? out : failed();
	out.items = arena_array(&s->terms, struct term, out.count);
	for (size_t i = 0; i < out.count; i++) {
		const struct term *x = &a->items[i / b->count], *y = &b->items[i % b->count];
		struct term *t = &out.items[i];
		t->count = x->count + y->count;
		if (t->count > MAX_ATOMS)
			return too_many(s, e) ? out : failed();
		t->atoms = arena_array(&s->terms, struct atom, t->count + 1);
		memcpy(t->atoms, x->atoms, sizeof(*x->atoms) * x->count);
		memcpy(t->atoms + x->count, y->atoms, sizeof(*y->atoms) * y->count);
	}
	return out;
}

static bool holds_subquery(const struct sql_expr *e)
{
	switch (e->kind) {
	case SQL_SUBSELECT:
		return true;
	case SQL_BINARY:
		return holds_subquery(e->binary.left) || holds_subquery(e->binary.right);
	case SQL_UNARY:
		return holds_subquery(e->unary.operand);
	default:
		return false;
	}
}

/* = and IN between row and request, and everything that is a plain value. */
static struct terms compile_plain(struct stream2 *s, const struct sql_expr *e)
{
	s->scope.use_count = 0;
	struct operand o = buckets_compile_expr(&s->scope, e);
	if (o.kind != OPERAND_MATCH)
		return value_terms(s, o);
	struct atom a = {.kind = ATOM_MATCH, .row = o.match->tree->row, .source = STREAM2_REQUEST};
	switch (o.match->tree->kind) {
	case MATCH_EQUAL:
		a.match = MATCH_EQUAL;
		break;
	case MATCH_INSIDE:
		a.match = MATCH_EQUAL; /* a NULL is in no list */
		a.source = STREAM2_ELEMENTS;
		break;
	case MATCH_CONTAINS:
		a.match = MATCH_EACH;
		break;
	default:
		stream2_refuse(&s->q, "mixed-row-and-request", e->range, "the condition mixes row and request");
		return failed();
	}
	a.value = o.match->uses[0]->parameter.value;
	return one_atom(s, a);
}

static struct terms compile_condition(struct stream2 *s, const struct sql_expr *e);

static struct terms compile_logic(struct stream2 *s, const struct sql_expr *e)
{
	struct terms a = compile_condition(s, e->binary.left), b = compile_condition(s, e->binary.right);
	if (a.failed || b.failed)
		return failed();
	/* Conditions of one kind that stand side by side are one. */
	bool request_a = a.is_value && a.value.kind == OPERAND_PARAMETER,
	     request_b = b.is_value && b.value.kind == OPERAND_PARAMETER;
	if (a.is_value && b.is_value && request_a == request_b)
		return value_terms(s, buckets_combine_logic(&s->scope, e, (struct operand[]){a.value, b.value}, 2));
	return e->binary.op == SQL_OP_AND ? both(s, e, &a, &b) : either(s, e, &a, &b);
}

static struct terms compile_condition(struct stream2 *s, const struct sql_expr *e)
{
	if (e->kind == SQL_BINARY && (e->binary.op == SQL_OP_AND || e->binary.op == SQL_OP_OR))
		return compile_logic(s, e);
	if (e->kind == SQL_BINARY && e->binary.op == SQL_OP_OVERLAP)
		return compile_overlap(s, e);
	if (e->kind == SQL_BINARY && (e->binary.op == SQL_OP_IN || e->binary.op == SQL_OP_NOT_IN) &&
	    e->binary.right->kind == SQL_SUBSELECT)
		return compile_in_select(s, e);
	if (e->kind == SQL_UNARY && e->unary.op == '!' && holds_subquery(e)) {
		stream2_refuse(&s->q, "unsupported-negation", e->range, "NOT around a subquery is not supported");
		return failed();
	}
	return compile_plain(s, e);
}

/* ---- variants --------------------------------------------------------------------------------------------------------- */

/* The stream's output columns and what they read, the same for all variants. */
static struct row_source data_source(struct stream2 *s, const struct output_column *columns, size_t column_count,
                                     const struct sql_from *from)
{
	struct row_source out = {
	        .dialect = DIALECT_STREAMS_2, .pattern = s->q.pattern, .columns = columns, .output_count = column_count};
	struct arena *arena = s->c->arena;
	bool alias = sql_ident_given(&from->alias);
	if (alias || !s->c->plan->patterns[s->q.pattern].table_wildcard)
		out.output_table = arena_copy(arena, alias ? from->alias.name : from->table.name);
	struct slice *names = arena_array(arena, struct slice, s->q.column_count + 1);
	for (size_t i = 0; i < s->q.column_count; i++)
		names[i] = s->q.columns[i];
	out.column_names = names;
	out.column_count = s->q.column_count;
	return out;
}

static void add_variant(struct stream2 *s, const struct term *t, struct row_source source, size_t number,
                        struct stream2_variant *out)
{
	struct arena *arena = s->c->arena;
	struct match *match = NULL;
	struct stream2_lookup *lookups = arena_array(arena, struct stream2_lookup, t->count + 1);
	struct stream2_key *keys = arena_array(arena, struct stream2_key, t->count + 1);
	const struct expr **filters = arena_array(arena, const struct expr *, t->count + 1);
	*out = (struct stream2_variant){.lookups = lookups, .keys = keys, .filters = filters};
	for (size_t i = 0; i < t->count; i++) {
		const struct atom *a = &t->atoms[i];
		if (a->kind == ATOM_REQUEST) {
			filters[out->filter_count++] = a->expr;
		} else if (a->kind == ATOM_ROW) {
			match = match_and_new(arena, match, match_leaf_new(arena, MATCH_CONDITION, a->expr, 0));
		} else {
			if (a->source == STREAM2_LOOKUP)
				lookups[out->lookup_count++] = s->lookups[a->lookup];
			if (a->match == MATCH_ALWAYS)
				continue;
			match = match_and_new(arena, match, match_leaf_new(arena, a->match, a->row, out->key_count));
			keys[out->key_count++] = (struct stream2_key){
			        .source = a->source,
			        .request = a->value,
			        .lookup = (uint32_t)out->lookup_count - (a->source == STREAM2_LOOKUP),
			};
		}
	}
	uint32_t *order = arena_array(arena, uint32_t, out->key_count + 1);
	for (size_t i = 0; i < out->key_count; i++)
		order[i] = (uint32_t)i;
	source.match = match ? match : match_leaf_new(arena, MATCH_ALWAYS, NULL, 0);
	source.parameter_count = source.key_count = out->key_count;
	source.key_parameters = order;
	row_source_finish(s->c, &source);
	out->definition = plan_add_definition(s->c, DEFINITION_BUCKETS,
	                                      arena_printf(arena, "%.*s|%zu", SLICE_ARG(s->name), number), &source, 1);
}

/* ---- the query -------------------------------------------------------------------------------------------------------- */

static bool parse(struct stream2 *s)
{
	struct sql_fault fault;
	if (!sql_parse(s->q.sql, &s->c->scratch, &s->q.st, &fault))
		return stream2_refuse(&s->q, fault.kind == SQL_FAULT_NOT_SELECT ? "not-a-select" : "sql-syntax", fault.range,
		                      "the query cannot be read");
	const struct sql_select *select = s->q.st.select;
	if (s->q.st.several)
		return stream2_refuse(&s->q, "several-statements", s->q.st.second, "only one statement is allowed");
	if (select->set_operation)
		return stream2_refuse(&s->q, "not-a-select", select->range, "UNION and the like are not supported");
	if (select->clause_count)
		return stream2_refuse(&s->q, "unsupported-clause", select->clauses[0].range, "the clause is not supported");
	if (select->from_count != 1 || select->from->kind != SQL_FROM_TABLE)
		return stream2_refuse(&s->q, "single-table-only", select->range, "streams of edition 2 read exactly one table");
	if (!query_set_table(&s->q, select->from))
		return false;
	const struct sql_from *from = select->from;
	s->scope = (struct buckets_scope){.q = &s->q, .mode = MODE_STREAM, .suffix = true};
	s->scope.row_name = sql_ident_given(&from->alias) ? from->alias.name : from->table.name;
	return true;
}

static bool columns(struct stream2 *s, struct output_column *out, size_t *count)
{
	const struct sql_select *select = s->q.st.select;
	bool id = false;
	for (size_t i = 0; i < select->column_count; i++) {
		const struct sql_column *col = &select->columns[i];
		bool alias = sql_ident_given(&col->alias);
		if (col->expr->kind == SQL_STAR) {
			out[(*count)++] = (struct output_column){0};
			id = true;
			continue;
		}
		if (!alias && col->expr->kind != SQL_NAME)
			return stream2_refuse(&s->q, "unsupported-expression", col->range, "the expression needs an alias");
		s->scope.use_count = 0;
		struct operand o = buckets_compile_expr(&s->scope, col->expr);
		if (o.kind == OPERAND_ERROR)
			return false;
		if (o.kind != OPERAND_ROW && o.kind != OPERAND_STATIC)
			return stream2_refuse(&s->q, "request-value-in-output", col->range, "request data cannot be selected");
		struct slice name = arena_copy(s->c->arena, alias ? col->alias.name : col->expr->name.column.name);
		out[(*count)++] = (struct output_column){.name = name, .expr = o.expr};
		id |= slice_eq(name, SLICE("id"));
	}
	if (!id)
		return stream2_refuse(&s->q, "no-id-column", select->column_count ? select->columns[0].range : select->range,
		                      "an id column is required");
	return true;
}

static void add_stream(struct stream2 *s, const struct terms *t, const struct row_source *source)
{
	struct stream2_variant *variants = arena_array(s->c->arena, struct stream2_variant, t->count);
	for (size_t i = 0; i < t->count; i++)
		add_variant(s, &t->items[i], *source, i, &variants[i]);
	struct plan_stream *out = plan_add_stream(s->c);
	out->name = s->name;
	out->kind = STREAM_EDITION_2;
	out->is_default = s->is_default;
	out->variants2 = variants;
	out->variant_count = t->count;
}

static void compile_query(struct stream2 *s)
{
	if (!parse(s))
		return;
	const struct sql_select *select = s->q.st.select;
	struct output_column *outputs = arena_array(s->c->arena, struct output_column, select->column_count + 1);
	size_t count = 0;
	struct terms t = {.count = 1};
	t.items = arena_calloc(&s->terms, sizeof(*t.items));
	if (select->where)
		t = compile_condition(s, select->where);
	if (t.failed || !columns(s, outputs, &count) || s->q.abandoned)
		return;
	if (s->is_default && s->scope.subscription)
		query_report(&s->q, DIAGNOSTIC_WARNING, "default-with-subscription-parameter", select->range,
		             "a default stream has no subscription parameters when it is not subscribed to by name");
	struct row_source source = data_source(s, outputs, count, select->from);
	add_stream(s, &t, &source);
}

/* The shared expression compiler names faults in the words of bucket definitions. */
static void rename_faults(struct diagnostics *d, size_t mark)
{
	static const char *const names[][2] = {
	        {"row_and_parameter_mixed", "mixed-row-and-request"},
	        {"match_in_expression", "mixed-row-and-request"},
	        {"or_parameters_differ", "mixed-row-and-request"},
	        {"function_undefined", "unknown-function"},
	        {"cast_unsupported", "bad-cast"},
	        {"operator_unsupported", "unsupported-operator"},
	        {"expression_unsupported", "unsupported-expression"},
	        {"member_unsupported", "unsupported-expression"},
	        {"undefined_reference", "unknown-table-reference"},
	        {"schema_in_column_reference", "unknown-table-reference"},
	        {"multiple_array_matches", "unsupported-expression"},
	        {"static_evaluation_failed", "unsupported-expression"},
	};
	for (size_t i = mark; i < d->count; i++)
		for (size_t j = 0; j < sizeof(names) / sizeof(*names); j++)
			if (strcmp(d->items[i].class_name, names[j][0]) == 0)
				d->items[i].class_name = names[j][1];
}

/* ---- YAML ------------------------------------------------------------------------------------------------------------- */

static bool read_flag(struct compiler *c, const struct ynode *node, const char *key)
{
	const struct ynode *n = map_get(node, key);
	if (!n)
		return false;
	if (n->kind == YNODE_SCALAR && ynode_scalar_type(n) == YSCALAR_BOOL)
		return ynode_bool(n);
	diagnostic_node(c, DIAGNOSTIC_FATAL, "wrong-yaml-type", n, "must be true or false");
	return false;
}

/* The priority is checked, and then has no effect (12). */
static void check_priority(struct compiler *c, const struct ynode *node)
{
	const struct ynode *n = map_get(node, "priority");
	if (!n)
		return;
	double v = n->kind == YNODE_SCALAR && ynode_scalar_type(n) == YSCALAR_NUMBER ? ynode_number(n) : -1;
	if (v != 0 && v != 1 && v != 2 && v != 3)
		diagnostic_node(c, DIAGNOSTIC_FATAL, "bad-priority", n, "the priority must be 0, 1, 2 or 3");
}

void compile_stream_edition_2(struct compiler *c, struct slice name, struct ynode *key, struct ynode *node)
{
	static const char *const keys[] = {
	        "query", "queries", "with", "auto_subscribe", "priority", "accept_potentially_dangerous_queries", NULL};
	(void)key;
	if (node->kind != YNODE_MAP) {
		diagnostic_node(c, DIAGNOSTIC_FATAL, "wrong-yaml-type", node, "a stream must be a map");
		return;
	}
	const struct ynode *queries = map_get(node, "queries"), *with = map_get(node, "with");
	struct ynode *query = map_get(node, "query");
	struct stream2 s = {.c = c, .name = arena_copy(c->arena, name)};
	s.is_default = read_flag(c, node, "auto_subscribe");
	read_flag(c, node, "accept_potentially_dangerous_queries");
	check_priority(c, node);
	if (queries)
		diagnostic_node(c, DIAGNOSTIC_FATAL, "needs-edition-3", queries, "several queries need edition 3");
	if (with)
		diagnostic_node(c, DIAGNOSTIC_FATAL, "needs-edition-3", with, "CTEs need edition 3");
	if (!query && !queries) {
		diagnostic_node(c, DIAGNOSTIC_FATAL, "query-or-queries", node, "a query must be given");
	} else if (query && !ynode_is_text(query)) {
		diagnostic_node(c, DIAGNOSTIC_FATAL, "wrong-yaml-type", query, "a query must be text");
	} else if (query) {
		size_t mark = c->d->count;
		query_init(&s.q, c, query);
		compile_query(&s);
		rename_faults(c->d, mark);
		buckets_scope_free(&s.scope);
		query_free(&s.q);
		free(s.lookups);
		arena_free(&s.terms);
	}
	map_check_keys(c, "unknown-key", node, keys);
}
