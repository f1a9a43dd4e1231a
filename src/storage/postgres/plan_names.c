/* plan_names.c: see plan_names.h. */
#include "storage/postgres/plan_names.h"

#include "rules/plan.h"
#include "value/json.h"

/* Lookups are called "<name of the scope>#<query id>" by the compilers. */
static void split_scope(struct slice name, struct slice *scope, struct slice *query_id)
{
	size_t at = name.n;
	while (at && name.p[at - 1] != '#')
		at--;
	*scope = slice_make(name.p, at ? at - 1 : 0);
	*query_id = slice_drop(name, at);
}

void pg_plan_name(const struct plan *p, uint32_t index, int32_t stream_id, int version, struct arena *arena,
                  struct pg_definition *out)
{
	const struct definition *d = plan_definition(p, index);
	*out = (struct pg_definition){.stream_id = stream_id, .kind = d->kind, .unique = d->name, .head = SLICE("")};
	if (d->kind == DEFINITION_LOOKUP)
		split_scope(d->name, &out->unique, &out->query_id);
	else if (version >= 2 || plan_options(p)->versioned_bucket_ids)
		out->head = arena_printf(arena, "%d#%.*s", stream_id, SLICE_ARG(d->name));
	else
		out->head = d->name;
}

/* ---- the reference's compiled plan --------------------------------------------------------------------------------------------- */

static struct slice text_of(const struct json_node *object, const char *key)
{
	const struct json_node *n = object ? json_find(object, slice_cstr(key)) : NULL;
	return n && n->kind == JSON_KIND_STRING ? n->s : (struct slice){NULL, 0};
}

/* NULL: no array. */
static const struct json_node *array_of(const struct json_node *object, const char *key)
{
	const struct json_node *n = object ? json_find(object, slice_cstr(key)) : NULL;
	return n && n->kind == JSON_KIND_ARRAY ? n : NULL;
}

static size_t length_of(const struct json_node *object, const char *key)
{
	const struct json_node *n = array_of(object, key);
	return n ? n->array.count : 0;
}

/* The same table and as many keys, filters and columns: another query under the same name would show here. */
static bool same_source(const struct plan *p, const struct row_source *ours, const struct json_node *theirs)
{
	const struct table_pattern *t = &p->patterns[ours->pattern];
	struct slice table = text_of(json_find(theirs, SLICE("table")), "table");
	if (t->table_wildcard && table.n && table.p[table.n - 1] == '%')
		table.n--;
	return slice_eq(t->table, table) && length_of(theirs, "partitionBy") == ours->key_count &&
	       length_of(theirs, "filters") == ours->filter_count &&
	       length_of(theirs, "tableValuedFunctions") == ours->function_count;
}

static bool has_source(const struct plan *p, const struct plan_definition *d, const struct json_node *theirs)
{
	for (size_t i = 0; i < d->source_count; i++)
		if (same_source(p, &d->sources[i], theirs))
			return true;
	return false;
}

static bool same_bucket(const struct plan *p, const struct plan_definition *d, const struct json_node *bucket,
                        const struct json_node *sources)
{
	const struct json_node *list = array_of(bucket, "sources");
	if (!list || list->array.count != d->source_count)
		return false;
	for (size_t i = 0; i < list->array.count; i++) {
		const struct json_node *at = &list->array.items[i];
		if (at->kind != JSON_KIND_INTEGER || at->i < 0 || (size_t)at->i >= sources->array.count ||
		    !has_source(p, d, &sources->array.items[at->i]))
			return false;
	}
	return true;
}

static bool same_lookup(const struct plan *p, const struct plan_definition *d, const struct json_node *index)
{
	return d->source_count == 1 && same_source(p, &d->sources[0], index) &&
	       length_of(index, "output") == d->sources[0].output_count;
}

static bool is_called(const struct plan_definition *d, const struct json_node *theirs)
{
	struct slice scope, query_id;
	if (d->public.kind == DEFINITION_BUCKETS)
		return slice_eq(text_of(theirs, "uniqueName"), d->public.name);
	const struct json_node *names = json_find(theirs, SLICE("lookupScope"));
	split_scope(d->public.name, &scope, &query_id);
	return slice_eq(text_of(names, "lookupName"), scope) && slice_eq(text_of(names, "queryId"), query_id);
}

static bool differs(const struct plan_definition *d, struct error *err)
{
	return error_set(
	        err, "PSYNC_S1005",
	        "The compiled sync config that is stored with the stream and what this program makes of its text differ in "
	        "%s %.*s: deploy the sync config anew",
	        d->public.kind == DEFINITION_BUCKETS ? "the bucket source" : "the parameter index", SLICE_ARG(d->public.name));
}

static bool compare(const struct plan *p, const struct json_node *plan, struct error *err)
{
	const struct json_node *sources = array_of(plan, "dataSources"), *buckets = array_of(plan, "buckets"),
	                       *indexes = array_of(plan, "parameterIndexes");
	size_t found = 0;
	if (!sources || !buckets || !indexes)
		return error_set(err, "PSYNC_S1005",
		                 "The compiled sync config that is stored with the stream has an unknown form");
	for (size_t i = 0; i < p->definition_count; i++) {
		const struct plan_definition *d = &p->definitions[i];
		const struct json_node *list = d->public.kind == DEFINITION_BUCKETS ? buckets : indexes;
		size_t at = 0;
		while (at < list->array.count && !is_called(d, &list->array.items[at]))
			at++;
		if (at == list->array.count || !(list == buckets ? same_bucket(p, d, &list->array.items[at], sources)
		                                                 : same_lookup(p, d, &list->array.items[at])))
			return differs(d, err);
		found++;
	}
	return found == buckets->array.count + indexes->array.count ||
	       error_set(err, "PSYNC_S1005",
	                 "The compiled sync config that is stored with the stream has more bucket sources or parameter indexes "
	                 "than "
	                 "this program makes of its text: deploy the sync config anew");
}

bool pg_plan_agrees(const struct plan *p, struct slice sync_plan, struct error *err)
{
	struct arena arena = {0};
	struct json_node root;
	bool ok = json_read(sync_plan, JSON_EXACT, &arena, &root, err) && compare(p, json_find(&root, SLICE("plan")), err);
	arena_free(&arena);
	return ok;
}
