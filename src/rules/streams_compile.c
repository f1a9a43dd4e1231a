/* streams_compile.c: the streams of edition 3: YAML, queries, result columns, numbering and sharing (sync-streams 2, 4.3, 5). */
#include <stdlib.h>

#include "base/alloc.h"
#include "rules/streams_plan.h"

/* A stream whose queries are compiled. */
struct stream_draft {
	struct slice name;
	bool is_default, accept;
	int priority;
	struct compiled_variant *variants;
	size_t variant_count, variant_cap;
	size_t next_number;
	bool exists;     /* has a query */
	bool index_like; /* its name is a canonical array index */
	uint64_t index;
};

struct streams_state {
	struct stream_compiler s;
	struct index_set indexes;
	struct stream_draft *streams;
	size_t stream_count, stream_cap;
};

/* ---- result columns --------------------------------------------------------------------------------------------------- */

struct result {
	struct stream_source *primary;
	struct stream_column *columns;
	size_t count, cap;
	bool alias_seen;
};

static bool add_column(struct stream_compiler *s, struct result *r, struct slice name, struct sx *e)
{
	r->columns = arena_grow(&s->c->scratch, r->columns, r->count, &r->cap, sizeof(*r->columns));
	r->columns[r->count++] = (struct stream_column){name, e};
	return true;
}

static bool refuse(struct stream_compiler *s, struct query *q, const char *kind, struct sql_range range, const char *message)
{
	return sx_fail(s, q, kind, range, message) != NULL;
}

static bool use_source(struct stream_compiler *s, struct query *q, struct sql_range range, struct result *r,
                       struct stream_source *t)
{
	if (r->primary && r->primary != t)
		return refuse(s, q, "multiple-result-tables", range, "all columns must come from one table");
	r->primary = t;
	return true;
}

/* The column may use one table only, and nothing of the request. */
static bool use_expression(struct stream_compiler *s, struct query *q, struct sql_range range, struct result *r, struct sx *e)
{
	size_t count;
	const struct sx *const *leaves = sx_leaves(s, e, &count);
	for (size_t i = 0; i < count; i++) {
		if (leaves[i]->kind == SX_REQUEST)
			return refuse(s, q, "request-value-in-output", range, "request data cannot be selected");
		if (leaves[i]->kind == SX_OUTPUT)
			return refuse(s, q, "result-from-function", range, "columns of table functions cannot be selected");
		if (!use_source(s, q, range, r, leaves[i]->source))
			return false;
	}
	return true;
}

static bool star_column(struct stream_compiler *s, struct query *q, const struct sql_expr *e, struct scope *scope,
                        struct result *r)
{
	bool qualified = sql_ident_given(&e->star.qualifier);
	struct scope_item *item = qualified ? scope_find(scope, e->star.qualifier.name) : scope_own(scope);
	if (!item)
		return refuse(s, q, qualified ? "unknown-table-reference" : "ambiguous-reference", e->range,
		              "* needs the name of one table");
	if (!item->source) {
		for (size_t i = 0; i < item->column_count; i++)
			if (!use_expression(s, q, e->range, r, item->columns[i]) ||
			    !add_column(s, r, item->column_names[i], item->columns[i]))
				return false;
		return true;
	}
	if (item->source->kind == SOURCE_EACH)
		return refuse(s, q, "result-from-function", e->range, "columns of table functions cannot be selected");
	if (!use_source(s, q, e->range, r, item->source))
		return false;
	if (r->alias_seen)
		query_report(q, DIAGNOSTIC_WARNING, "star-after-alias", e->range,
		             "* overwrites columns of the same name before it");
	return add_column(s, r, (struct slice){0}, NULL);
}

static bool result_column(struct stream_compiler *s, struct query *q, const struct sql_column *col, struct scope *scope,
                          struct result *r)
{
	if (col->expr->kind == SQL_STAR)
		return star_column(s, q, col->expr, scope, r);
	struct sx *e = sx_compile(s, q, col->expr, scope, true);
	if (!e || !use_expression(s, q, col->expr->range, r, e))
		return false;
	if (sql_ident_given(&col->alias)) {
		r->alias_seen = true;
		return add_column(s, r, col->alias.name, e);
	}
	if (col->expr->kind == SQL_NAME)
		return add_column(s, r, col->expr->name.column.name, e);
	query_report(q, DIAGNOSTIC_WARNING, "unnamed-column", col->range, "the column has no name: its text is used");
	return add_column(s, r, sql_text(q->sql, col->range), e);
}

static bool result_columns(struct stream_compiler *s, struct query *q, struct scope *scope, struct result *r)
{
	const struct sql_select *select = q->st.select;
	if (select->column_count > SX_MAX_COLUMNS)
		return refuse(s, q, "unsupported-expression", select->range, "the query has too many columns");
	for (size_t i = 0; i < select->column_count; i++)
		if (!result_column(s, q, &select->columns[i], scope, r))
			return false;
	if (!r->primary)
		return refuse(s, q, "no-table-column", select->range, "a column of a table must be selected");
	if (r->primary->alias.p && r->primary->joined && !r->primary->quoted)
		query_report(r->primary->q, DIAGNOSTIC_WARNING, "alias-renames-table", r->primary->range,
		             "clients see the table under its alias: put it in quotes if that is meant");
	return true;
}

/* ---- queries ---------------------------------------------------------------------------------------------------------- */

/* Merges the variant into an equal one of the stream, or appends it. */
static void keep_variant(struct stream_compiler *s, struct stream_draft *d, struct compiled_variant *v)
{
	for (size_t i = 0; i < d->variant_count; i++) {
		struct compiled_variant *o = &d->variants[i];
		if (!slice_eq(o->signature, v->signature))
			continue;
		for (size_t j = 0; j < o->source_count; j++)
			if (slice_eq(o->sources[j].signature, v->sources[0].signature))
				return;
		o->sources = arena_grow(&s->c->scratch, o->sources, o->source_count, &o->source_cap, sizeof(*o->sources));
		o->sources[o->source_count++] = v->sources[0];
		return;
	}
	d->variants = arena_grow(&s->c->scratch, d->variants, d->variant_count, &d->variant_cap, sizeof(*d->variants));
	d->variants[d->variant_count++] = *v;
}

static bool compile_variants(struct streams_state *st, struct stream_draft *d, struct query *q, const struct result *r,
                             const struct stream_term *terms, size_t count)
{
	struct stream_compiler *s = &st->s;
	size_t column_size = 0;
	for (size_t i = 0; i < r->count; i++)
		column_size += r->columns[i].expr ? r->columns[i].expr->size : 1;
	for (size_t i = 0; i < count; i++) {
		size_t size = column_size;
		for (size_t j = 0; j < terms[i].count; j++)
			size += terms[i].atoms[j]->size;
		if (!sx_spend(s, q, q->st.select->range, size))
			return false;
		struct resolved_variant *v = variant_resolve(s, r->primary, &terms[i]);
		if (!v)
			return false;
		struct compiled_variant out = {
		        .name = arena_printf(s->c->arena, "%.*s|%zu", SLICE_ARG(d->name), d->next_number++)};
		variant_compile(s, &st->indexes, v, r->columns, r->count, &out);
		if (!d->accept && variant_is_dangerous(s, v))
			query_report(q, DIAGNOSTIC_WARNING, "client-sent-parameter", q->st.select->range,
			             "the stream gives access by what the client sends, without checking the token");
		keep_variant(s, d, &out);
	}
	return true;
}

static bool query_body(struct streams_state *st, struct stream_draft *d, struct query *q)
{
	struct stream_compiler *s = &st->s;
	struct stream_conditions where = {0};
	struct result r = {0};
	if (!stream_query_parse(s, q))
		return false;
	struct scope *scope = scope_from_select(s, q, q->st.select, NULL, true, &where);
	if (!scope || !result_columns(s, q, scope, &r))
		return false;
	if (q->st.select->where && !conditions_add(s, &where, sx_compile(s, q, q->st.select->where, scope, true)))
		return false;
	struct stream_term *terms;
	size_t count;
	return stream_terms(s, where.items, where.count, &terms, &count) && compile_variants(st, d, q, &r, terms, count);
}

/* ---- CTEs ------------------------------------------------------------------------------------------------------------- */

static void yaml_fault(struct compiler *c, const char *kind, const struct ynode *n, const char *message)
{
	diagnostic_node(c, DIAGNOSTIC_FATAL, kind, n, "%s", message);
}

/* Each CTE is compiled once on its own, so that faults in unused ones are found. */
static void check_cte(struct stream_compiler *s, struct stream_cte *cte)
{
	struct stream_conditions conditions = {0};
	struct stream_ctes *visible = s->ctes;
	s->ctes = NULL;
	s->quiet = true;
	cte->usable = stream_query_parse(s, &cte->q) && scope_inline(s, &cte->q, cte->q.st.select, NULL, 0, false, &conditions);
	s->quiet = false;
	s->ctes = visible;
}

static struct stream_ctes *read_with(struct stream_compiler *s, struct ynode *with, struct stream_ctes *outer)
{
	struct stream_ctes *out = arena_calloc(&s->c->scratch, sizeof(*out));
	out->outer = outer;
	if (!with)
		return out;
	if (with->kind != YNODE_MAP) {
		yaml_fault(s->c, "wrong-yaml-type", with, "with must be a map");
		return out;
	}
	out->items = arena_calloc(&s->c->scratch, sizeof(*out->items) * (with->count / 2 + 1));
	for (size_t i = 0; i + 1 < with->count; i += 2) {
		struct ynode *key = with->items[i], *text = with->items[i + 1];
		if (!ynode_is_text(key) || !ynode_is_text(text)) {
			yaml_fault(s->c, "wrong-yaml-type", ynode_is_text(key) ? text : key, "must be text");
			continue;
		}
		struct stream_cte *cte = &out->items[out->count++];
		cte->name = key->text;
		cte->key = key;
		query_init(&cte->q, s->c, text);
		check_cte(s, cte);
	}
	return out;
}

static void warn_unused(struct compiler *c, const struct stream_ctes *ctes)
{
	for (size_t i = 0; i < ctes->count; i++)
		if (!ctes->items[i].used)
			diagnostic_node(c, DIAGNOSTIC_WARNING, "unused-cte", ctes->items[i].key, "the CTE is not used");
}

/* ---- YAML of a stream ------------------------------------------------------------------------------------------------- */

static bool read_flag(struct compiler *c, const struct ynode *stream, const char *key)
{
	const struct ynode *n = map_get(stream, key);
	if (!n)
		return false;
	if (n->kind == YNODE_SCALAR && ynode_scalar_type(n) == YSCALAR_BOOL)
		return ynode_bool(n);
	yaml_fault(c, "wrong-yaml-type", n, "must be true or false");
	return false;
}

static int read_priority(struct compiler *c, const struct ynode *stream)
{
	const struct ynode *n = map_get(stream, "priority");
	if (!n)
		return 3;
	double v = n->kind == YNODE_SCALAR && ynode_scalar_type(n) == YSCALAR_NUMBER ? ynode_number(n) : -1;
	if (v == 0 || v == 1 || v == 2 || v == 3)
		return (int)v;
	yaml_fault(c, "bad-priority", n, "the priority must be 0, 1, 2 or 3");
	return 3;
}

static void read_query(struct streams_state *st, struct stream_draft *d, struct ynode *n)
{
	if (!ynode_is_text(n)) {
		yaml_fault(st->s.c, "wrong-yaml-type", n, "a query must be text");
		return;
	}
	struct query q;
	query_init(&q, st->s.c, n);
	/* Expressions keep a pointer to their query for diagnostics. */
	struct query *kept = arena_alloc(&st->s.c->scratch, sizeof(*kept));
	*kept = q;
	query_body(st, d, kept);
}

static void read_queries(struct streams_state *st, struct stream_draft *d, struct ynode *node)
{
	struct compiler *c = st->s.c;
	struct ynode *query = map_get(node, "query"), *queries = map_get(node, "queries");
	if (!query == !queries) {
		yaml_fault(c, "query-or-queries", node, "one of query and queries must be given");
	} else if (query) {
		read_query(st, d, query);
		d->exists = true;
	} else if (queries->kind != YNODE_LIST) {
		yaml_fault(c, "wrong-yaml-type", queries, "queries must be a list");
	} else {
		for (size_t i = 0; i < queries->count; i++)
			read_query(st, d, queries->items[i]);
		d->exists = queries->count > 0;
	}
	if (d->variant_count > STREAM_MAX_VARIANTS)
		yaml_fault(c, "too-many-variants", node, "the stream has too many variants");
}

static void read_stream(struct streams_state *st, struct slice name, struct ynode *node, struct stream_ctes *global)
{
	static const char *const keys[] = {
	        "query", "queries", "with", "auto_subscribe", "priority", "accept_potentially_dangerous_queries", NULL};
	struct compiler *c = st->s.c;
	if (node->kind != YNODE_MAP) {
		yaml_fault(c, "wrong-yaml-type", node, "a stream must be a map");
		return;
	}
	struct stream_draft d = {.name = arena_copy(c->arena, name)};
	d.is_default = read_flag(c, node, "auto_subscribe");
	d.accept = read_flag(c, node, "accept_potentially_dangerous_queries");
	d.priority = read_priority(c, node);
	d.index_like =
	        name.n > 0 && name.n <= 10 && !(name.n > 1 && name.p[0] == '0') && slice_parse_u64(name, 4294967294u, &d.index);
	st->s.ctes = read_with(&st->s, map_get(node, "with"), global);
	read_queries(st, &d, node);
	warn_unused(c, st->s.ctes);
	map_check_keys(c, "unknown-key", node, keys);
	if (!d.exists)
		return;
	st->streams = arena_grow(&st->s.c->scratch, st->streams, st->stream_count, &st->stream_cap, sizeof(*st->streams));
	st->streams[st->stream_count++] = d;
}

/* ---- numbering and sharing -------------------------------------------------------------------------------------------- */

/* In the "streams" list, names that are canonical indexes come first, in numeric order. */
static void order_streams(struct streams_state *st)
{
	for (size_t i = 1; i < st->stream_count; i++) {
		struct stream_draft d = st->streams[i];
		size_t at = i;
		while (d.index_like && at > 0 && (!st->streams[at - 1].index_like || st->streams[at - 1].index > d.index)) {
			st->streams[at] = st->streams[at - 1];
			at--;
		}
		st->streams[at] = d;
	}
}

struct shared_source {
	const struct compiled_variant *variant;
	uint32_t definition;
};

static bool same_sources(const struct compiled_variant *a, const struct compiled_variant *b)
{
	if (a->source_count != b->source_count)
		return false;
	for (size_t i = 0; i < a->source_count; i++) {
		bool found = false;
		for (size_t j = 0; j < b->source_count && !found; j++)
			found = slice_eq(a->sources[i].signature, b->sources[j].signature);
		if (!found)
			return false;
	}
	return true;
}

/* The bucket source of a variant; variants with equal data sources share the first one's, over all streams. */
static uint32_t bucket_source(struct streams_state *st, const struct compiled_variant *v, struct shared_source *known,
                              size_t *count)
{
	for (size_t i = 0; i < *count; i++)
		if (same_sources(known[i].variant, v))
			return known[i].definition;
	struct row_source *sources = xcalloc(v->source_count, sizeof(*sources));
	for (size_t i = 0; i < v->source_count; i++)
		sources[i] = v->sources[i].source;
	uint32_t definition = plan_add_definition(st->s.c, DEFINITION_BUCKETS, v->name, sources, v->source_count);
	free(sources);
	known[(*count)++] = (struct shared_source){v, definition};
	return definition;
}

static void add_to_plan(struct streams_state *st)
{
	struct arena *arena = st->s.c->arena;
	size_t total = 0, known_count = 0;
	for (size_t i = 0; i < st->stream_count; i++)
		total += st->streams[i].variant_count;
	struct shared_source *known = xcalloc(total + 1, sizeof(*known));
	for (size_t i = 0; i < st->stream_count; i++) {
		struct stream_draft *d = &st->streams[i];
		const struct stream_variant **variants = arena_array(arena, const struct stream_variant *, d->variant_count + 1);
		for (size_t j = 0; j < d->variant_count; j++) {
			d->variants[j].run->definition = bucket_source(st, &d->variants[j], known, &known_count);
			variants[j] = d->variants[j].run;
		}
		struct plan_stream *s = plan_add_stream(st->s.c);
		s->name = d->name;
		s->kind = STREAM_EDITION_3;
		s->is_default = d->is_default;
		s->priority = d->priority;
		s->variants = variants;
		s->variant_count = d->variant_count;
	}
	free(known);
}

void compile_streams(struct compiler *c, struct ynode *streams, struct ynode *with)
{
	struct streams_state st = {.s = {.c = c}};
	struct stream_ctes *global = read_with(&st.s, with, NULL);
	for (size_t i = 0; i + 1 < streams->count; i += 2) {
		if (ynode_is_text(streams->items[i]))
			read_stream(&st, streams->items[i]->text, streams->items[i + 1], global);
		else
			yaml_fault(c, "wrong-yaml-type", streams->items[i], "the name of a stream must be text");
	}
	warn_unused(c, global);
	order_streams(&st);
	if (!c->d->fatal)
		add_to_plan(&st);
	free(st.indexes.items);
}
