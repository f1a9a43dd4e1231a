/* sync-config-vectors.c: runs the vectors of the sync config engine: expressions, configurations, rows and requests. */
#include "rules_cases.h"

/* ---- expressions ------------------------------------------------------------------------------------------------------ */

static struct plan *compile_expression(struct case_run *run, json_t *c, struct diagnostics *d)
{
	struct slice sql = arena_printf(&run->arena, "SELECT 'x' AS id, %s AS v FROM t", text_of(c, "expr"));
	json_t *string = json_stringn(sql.p, sql.n);
	char *quoted = json_dumps(string, JSON_ENCODE_ANY);
	bool fixed = json_is_true(json_object_get(c, "fixed_json_extract"));
	struct slice yaml =
	        arena_printf(&run->arena, "config:\n  edition: 1\n%sbucket_definitions:\n  b:\n    data:\n      - %s\n",
	                     fixed ? "  fixed_json_extract: true\n" : "", quoted);
	free(quoted);
	json_decref(string);
	return plan_compile(yaml, SLICE("public"), d);
}

static bool has_class(const struct diagnostics *d, const char *class_name)
{
	for (size_t i = 0; i < d->count; i++)
		if (strcmp(d->items[i].class_name, class_name) == 0)
			return true;
	return false;
}

static void check_value(struct case_run *run, json_t *expect, const struct value *got)
{
	struct value wanted;
	if (!typed_value(run, json_object_get(expect, "value"), &wanted))
		complain(run, "the expected value does not fit 64 bits");
	else if (!same_value(&wanted, got))
		complain(run, "expected %s, got %s", value_show(run, &wanted), value_show(run, got));
	json_t *text = json_object_get(expect, "text"), *json = json_object_get(expect, "json"),
	       *truth = json_object_get(expect, "truth");
	if (text && !slice_eq(string_slice(text), value_text_form(got, &run->arena)))
		complain(run, "expected text %s, got %s", json_string_value(text), value_show(run, got));
	if (json && got->kind >= VALUE_NULL && got->kind != VALUE_BLOB) {
		struct buf out = {0};
		value_json(&out, got);
		bool not_finite = got->kind == VALUE_REAL && !isfinite(got->r);
		if (!slice_eq(string_slice(json), buf_slice(&out)) && !(not_finite && slice_eq(buf_slice(&out), SLICE("null"))))
			complain(run, "expected JSON %s, got %.*s", json_string_value(json), SLICE_ARG(buf_slice(&out)));
		buf_free(&out);
	}
	if (truth && json_is_true(truth) != value_truth(got))
		complain(run, "expected truth %d, got %d", json_is_true(truth), value_truth(got));
}

static void check_evaluation(struct case_run *run, json_t *c, struct plan *plan)
{
	json_t *expect = json_object_get(c, "expect"), *row = json_object_get(c, "row");
	struct case_row r = read_row(run, row);
	const struct row_source *source = &plan->definitions[0].sources[0];
	int32_t *slots = arena_array(&run->arena, int32_t, source->column_count + 1);
	for (size_t i = 0; i < source->column_count; i++) {
		slots[i] = -1;
		for (size_t j = 0; j < r.count; j++)
			if (slice_eq(r.names[j], source->column_names[i]))
				slots[i] = (int32_t)j;
	}
	struct error err;
	struct eval_env env = {.row = r.values, .slots = slots, .arena = &run->arena, .err = &err};
	env.fixed_json_extract = plan->options.fixed_json_extract;
	struct value got;
	bool ok = expr_eval(source->columns[1].expr, &env, &got);
	if (json_object_get(expect, "error")) {
		if (ok)
			complain(run, "expected an evaluation error, got %s", value_show(run, &got));
	} else if (!ok) {
		complain(run, "evaluation error: %s", err.message);
	} else {
		check_value(run, expect, &got);
	}
}

static enum verdict run_expression(struct case_run *run, json_t *c)
{
	if (has_tag(c, "beyond-int64"))
		return SKIPPED;
	json_t *rejected = json_object_get(json_object_get(c, "expect"), "rejected");
	struct diagnostics d;
	struct plan *plan = compile_expression(run, c, &d);
	bool any = has_tag(c, "host-date-parser");
	if (rejected) {
		const char *class_name = json_string_value(rejected);
		if (plan && !has_tag(c, "superset-ok"))
			complain(run, "%s: expected %s, but it loads", text_of(c, "expr"), class_name);
		else if (!plan && !has_class(&d, class_name) && !has_tag(c, "superset-ok"))
			complain(run, "%s: expected %s, got %s", text_of(c, "expr"), class_name, d.items[0].class_name);
	} else if (!plan) {
		complain(run, "%s: does not load: %s %.*s", text_of(c, "expr"), d.items[0].class_name,
		         SLICE_ARG(d.items[0].message));
	} else if (!any) {
		check_evaluation(run, c, plan);
		if (run->report.n)
			complain(run, "(%s)", text_of(c, "expr"));
	}
	plan_unref(plan);
	diagnostics_free(&d);
	return any ? SKIPPED : PASSED;
}

/* ---- diagnostics ------------------------------------------------------------------------------------------------------ */

static bool position_is_free(const char *class_name)
{
	static const char *const names[] = {"sql_syntax",     "sql_not_select",           "yaml_syntax",    "schema_violation",
	                                    "no_definitions", "static_evaluation_failed", "internal_error", "load_crash"};
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strcmp(class_name, names[i]) == 0)
			return true;
	return false;
}

static bool same_diagnostic(const json_t *e, const struct diagnostic *d)
{
	const char *level = d->level == DIAGNOSTIC_FATAL ? "fatal" : "warning", *class_name = text_of(e, "class");
	if (strcmp(text_of(e, "level"), level) != 0)
		return false;
	if (strcmp(class_name, "internal_error") == 0 || strcmp(class_name, "load_crash") == 0)
		return true;
	if (strcmp(class_name, d->class_name) != 0)
		return false;
	return position_is_free(class_name) || ((size_t)json_integer_value(json_object_get(e, "start")) == d->start &&
	                                        (size_t)json_integer_value(json_object_get(e, "end")) == d->end);
}

static void check_diagnostics(struct case_run *run, json_t *expect, const struct diagnostics *d)
{
	bool *used = arena_calloc(&run->arena, d->count + 1);
	size_t i;
	json_t *e;
	json_array_foreach(json_object_get(expect, "diagnostics"), i, e)
	{
		size_t found = 0;
		while (found < d->count && (used[found] || !same_diagnostic(e, &d->items[found])))
			found++;
		if (found < d->count)
			used[found] = true;
		else
			complain(run, "missing %s %s %lld-%lld", text_of(e, "level"), text_of(e, "class"),
			         json_integer_value(json_object_get(e, "start")), json_integer_value(json_object_get(e, "end")));
	}
	for (size_t j = 0; j < d->count; j++)
		if (!used[j])
			complain(run, "not expected: %s %s %zu-%zu %.*s",
			         d->items[j].level == DIAGNOSTIC_FATAL ? "fatal" : "warning", d->items[j].class_name,
			         d->items[j].start, d->items[j].end, SLICE_ARG(d->items[j].message));
}

static const struct known_table *read_schema(struct case_run *run, json_t *schema, size_t *count)
{
	*count = 0;
	if (!schema)
		return NULL;
	struct known_table *out = arena_array(&run->arena, struct known_table, 1000);
	size_t i, j, k;
	json_t *s, *t, *col;
	json_array_foreach(schema, i, s) json_array_foreach(json_object_get(s, "tables"), j, t)
	{
		struct known_table *k_table = &out[(*count)++];
		k_table->connection_tag = string_slice(json_object_get(s, "connection"));
		k_table->schema = string_slice(json_object_get(s, "schema"));
		k_table->table = string_slice(json_object_get(t, "name"));
		json_t *columns = json_object_get(t, "columns");
		struct slice *names = arena_array(&run->arena, struct slice, json_array_size(columns) + 1);
		json_array_foreach(columns, k, col) names[k] = string_slice(json_object_get(col, "name"));
		k_table->columns = names;
		k_table->column_count = json_array_size(columns);
	}
	return out;
}

/* ---- rows ------------------------------------------------------------------------------------------------------------- */

struct config_run {
	struct case_run *run;
	struct plan *plan;
	const char *prefix;
	struct lookup_store store;
};

/* [definition, query id, values...] of a lookup whose name is "definition#id". */
static const char *lookup_text(struct config_run *c, uint32_t definition, struct slice key)
{
	struct slice name = plan_definition(c->plan, definition)->name;
	size_t hash = name.n;
	while (hash && name.p[hash - 1] != '#')
		hash--;
	struct buf out = {0};
	buf_putc(&out, '[');
	json_append_string(&out, slice_make(name.p, hash - 1));
	buf_lit(&out, ",\"");
	buf_append(&out, name.p + hash, name.n - hash);
	buf_putc(&out, '"');
	if (key.n > 2) {
		buf_putc(&out, ',');
		buf_append(&out, key.p + 1, key.n - 2);
	}
	buf_putc(&out, ']');
	const char *text = arena_cstr(&c->run->arena, buf_slice(&out));
	buf_free(&out);
	return text;
}

static const char *bucket_text(struct config_run *c, uint32_t definition, struct slice keys)
{
	return bucket_text_of(c->run, c->plan, c->prefix, definition, keys);
}

static bool entry_is(struct config_run *c, json_t *e, const struct row_entry *got)
{
	return strcmp(text_of(e, "bucket"), bucket_text(c, got->definition, got->keys)) == 0 &&
	       slice_eq(string_slice(json_object_get(e, "table")), got->object_type) &&
	       slice_eq(string_slice(json_object_get(e, "id")), got->object_id) &&
	       slice_eq(string_slice(json_object_get(e, "data")), got->data);
}

static void check_entries(struct config_run *c, json_t *wanted, const struct evaluation *got)
{
	size_t i, needed = 0;
	json_t *e;
	json_array_foreach(wanted, i, e)
	{
		if (replaced_later(wanted, i))
			continue;
		needed++;
		bool found = false;
		for (size_t j = 0; j < got->entry_count && !found; j++)
			found = entry_is(c, e, &got->entries[j]);
		if (!found)
			complain(c->run, "expected %s %s %s %s", text_of(e, "bucket"), text_of(e, "table"), text_of(e, "id"),
			         text_of(e, "data"));
	}
	if (needed != got->entry_count || c->run->report.n)
		for (size_t j = 0; j < got->entry_count; j++)
			complain(c->run, "got %s %.*s %.*s %.*s",
			         bucket_text(c, got->entries[j].definition, got->entries[j].keys),
			         SLICE_ARG(got->entries[j].object_type), SLICE_ARG(got->entries[j].object_id),
			         SLICE_ARG(got->entries[j].data));
}

static void check_lookups(struct config_run *c, json_t *wanted, const struct evaluation *got)
{
	size_t i, needed = 0;
	json_t *e;
	json_array_foreach(wanted, i, e)
	{
		bool found = false, repeat = false;
		for (size_t j = 0; j < i; j++)
			repeat |= json_equal(json_array_get(wanted, j), e);
		needed += !repeat;
		for (size_t j = 0; j < got->lookup_count && !found; j++)
			found = strcmp(text_of(e, "lookup"), lookup_text(c, got->lookups[j].definition, got->lookups[j].key)) ==
			                0 &&
			        slice_eq(string_slice(json_object_get(e, "bucket_parameters")), got->lookups[j].results);
		if (!found)
			complain(c->run, "expected lookup %s %s", text_of(e, "lookup"), text_of(e, "bucket_parameters"));
	}
	if (needed != got->lookup_count || c->run->report.n)
		for (size_t j = 0; j < got->lookup_count; j++)
			complain(c->run, "got lookup %s %.*s", lookup_text(c, got->lookups[j].definition, got->lookups[j].key),
			         SLICE_ARG(got->lookups[j].results));
}

static void check_events(struct config_run *c, json_t *wanted, const struct bound_table *b, const struct value *row)
{
	struct row_event *events = NULL;
	size_t count = 0, i;
	if (b)
		bound_events(b, row, &c->run->arena, &events, &count);
	json_t *e;
	if (count != json_array_size(wanted))
		complain(c->run, "expected %zu events, got %zu", json_array_size(wanted), count);
	json_array_foreach(wanted, i, e)
	{
		if (i >= count)
			break;
		struct slice data = string_slice(json_object_get(e, "data"));
		if (!slice_eq(slice_cstr(text_of(e, "event")), events[i].name) || !slice_eq(data, events[i].data))
			complain(c->run, "expected event %s %s, got %.*s %.*s", text_of(e, "event"), text_of(e, "data"),
			         SLICE_ARG(events[i].name), SLICE_ARG(events[i].data));
	}
}

static void check_faults(struct config_run *c, json_t *row, const struct evaluation *got)
{
	size_t data = 0, parameters = 0;
	for (size_t i = 0; i < got->fault_count; i++)
		*(plan_definition(c->plan, got->faults[i].definition)->kind == DEFINITION_BUCKETS ? &data : &parameters) += 1;
	size_t data_wanted = (size_t)json_integer_value(json_object_get(row, "data_errors"));
	size_t parameters_wanted = (size_t)json_integer_value(json_object_get(row, "parameter_errors"));
	if (data != data_wanted || parameters != parameters_wanted)
		complain(c->run, "expected %zu data and %zu parameter errors, got %zu and %zu", data_wanted, parameters_wanted,
		         data, parameters);
}

static void check_row(struct config_run *c, json_t *row)
{
	json_t *table = json_object_get(row, "table");
	struct case_row r = read_row(c->run, json_object_get(row, "row"));
	if (r.beyond_int64)
		return;
	struct relation_columns columns = {
	        .connection_tag = string_slice(json_object_get(table, "connection")),
	        .schema = string_slice(json_object_get(table, "schema")),
	        .table = string_slice(json_object_get(table, "name")),
	        .names = r.names,
	        .count = r.count,
	};
	struct bound_table *b = plan_bind(c->plan, &columns);
	struct evaluation got = {0};
	if (b)
		bound_evaluate(b, r.values, &c->run->arena, &got);
	check_entries(c, json_object_get(row, "data"), &got);
	check_lookups(c, json_object_get(row, "parameters"), &got);
	check_faults(c, row, &got);
	if (json_object_get(row, "events"))
		check_events(c, json_object_get(row, "events"), b, r.values);
	store_lookups(&c->store, &got);
	bound_table_free(b);
}

/* ---- requests --------------------------------------------------------------------------------------------------------- */

static void check_buckets(struct config_run *c, const char *what, json_t *wanted, const struct resolution *got)
{
	size_t i;
	json_t *e;
	size_t before = c->run->report.n;
	json_array_foreach(wanted, i, e)
	{
		bool found = false;
		for (size_t j = 0; j < got->bucket_count && !found; j++)
			found = strcmp(text_of(e, "bucket"), bucket_text(c, got->buckets[j].definition, got->buckets[j].keys)) ==
			                0 &&
			        json_integer_value(json_object_get(e, "priority")) == got->buckets[j].priority;
		if (!found)
			complain(c->run, "%s: expected %s with priority %lld", what, text_of(e, "bucket"),
			         json_integer_value(json_object_get(e, "priority")));
	}
	if (json_array_size(wanted) != got->bucket_count || c->run->report.n != before)
		for (size_t j = 0; j < got->bucket_count; j++)
			complain(c->run, "%s: got %s with priority %d", what,
			         bucket_text(c, got->buckets[j].definition, got->buckets[j].keys), got->buckets[j].priority);
}

static void check_used_lookups(struct config_run *c, json_t *wanted, const struct resolution *got)
{
	size_t i;
	json_t *e;
	json_array_foreach(wanted, i, e)
	{
		bool found = false;
		for (size_t j = 0; j < got->lookup_count && !found; j++)
			found = strcmp(text_of(e, "lookup"), lookup_text(c, got->lookups[j].definition, got->lookups[j].key)) ==
			        0;
		if (!found)
			complain(c->run, "the lookup %s was not asked", text_of(e, "lookup"));
	}
	for (size_t j = 0; j < got->lookup_count && json_array_size(wanted) != got->lookup_count; j++)
		complain(c->run, "asked %s", lookup_text(c, got->lookups[j].definition, got->lookups[j].key));
}

static void check_request(struct config_run *c, json_t *request)
{
	struct request_parameters params = {
	        .token_payload = string_slice(json_object_get(request, "token")),
	        .client_parameters = string_slice(json_object_get(request, "client_parameters")),
	        .include_defaults = true,
	};
	char *wanted = json_dumps(json_object_get(request, "buckets"), JSON_ENCODE_ANY);
	bool beyond_int64 = wanted && mentions_big_integer(wanted);
	free(wanted);
	if (beyond_int64)
		return;
	struct error err = {0};
	struct resolution got, fixed;
	struct lookup_reader reader = {.ctx = &c->store, .read = store_read}, none = {.read = nothing_stored};
	struct querier *q = querier_new(c->plan, &params, &err);
	bool ok = q && querier_resolve(q, &reader, NULL, &c->run->arena, &got, &err);
	if (json_object_get(request, "error")) {
		if (ok)
			complain(c->run, "request %s: expected an error", text_of(request, "token"));
	} else if (!ok) {
		complain(c->run, "request %s: %s", text_of(request, "token"), err.message);
	} else {
		if (querier_is_dynamic(q) != json_is_true(json_object_get(request, "dynamic")))
			complain(c->run, "request %s: dynamic is %d", text_of(request, "token"), querier_is_dynamic(q));
		check_buckets(c, text_of(request, "token"), json_object_get(request, "buckets"), &got);
		check_used_lookups(c, json_object_get(request, "lookups"), &got);
		if (querier_resolve(q, &none, NULL, &c->run->arena, &fixed, &err))
			check_buckets(c, "static", json_object_get(request, "static_buckets"), &fixed);
	}
	querier_free(q);
}

/* ---- configurations --------------------------------------------------------------------------------------------------- */

static void check_parameters(struct case_run *run, json_t *wanted, const struct plan *plan)
{
	size_t i, j;
	json_t *d, *p;
	json_array_foreach(wanted, i, d)
	{
		const struct plan_stream *s = i < plan->stream_count ? &plan->streams[i] : NULL;
		json_t *names = json_object_get(d, "parameters");
		bool same = s && slice_eq(s->name, string_slice(json_object_get(d, "name"))) &&
		            s->parameter_count == json_array_size(names);
		json_array_foreach(names, j, p) same = same && slice_eq(string_slice(p), s->parameters[j]);
		if (!same)
			complain(run, "the parameters of definition %s differ", text_of(d, "name"));
	}
}

static void check_patterns(struct case_run *run, json_t *wanted, const struct plan *plan)
{
	size_t i;
	json_t *t;
	if (!wanted)
		return;
	if (json_array_size(wanted) != plan_pattern_count(plan))
		complain(run, "expected %zu table patterns, got %zu", json_array_size(wanted), plan_pattern_count(plan));
	json_array_foreach(wanted, i, t)
	{
		bool found = false;
		for (uint32_t j = 0; j < plan_pattern_count(plan) && !found; j++) {
			const struct table_pattern *p = plan_pattern(plan, j);
			struct slice schema =
			        arena_printf(&run->arena, "%.*s%s", SLICE_ARG(p->schema), p->schema_wildcard ? "%" : "");
			struct slice name =
			        arena_printf(&run->arena, "%.*s%s", SLICE_ARG(p->table), p->table_wildcard ? "%" : "");
			found = slice_eq(schema, string_slice(json_object_get(t, "schema"))) &&
			        slice_eq(name, string_slice(json_object_get(t, "pattern"))) &&
			        slice_eq(p->connection_tag, string_slice(json_object_get(t, "connection")));
		}
		if (!found)
			complain(run, "missing table pattern %s.%s", text_of(t, "schema"), text_of(t, "pattern"));
	}
}

static enum verdict run_config(struct case_run *run, json_t *c)
{
	json_t *expect = json_object_get(c, "expect"), *version = json_object_get(c, "hydration_version"), *item;
	struct slice schema = string_slice(json_object_get(c, "default_schema"));
	size_t known_count, i;
	const struct known_table *known = read_schema(run, json_object_get(c, "source_schema"), &known_count);
	struct diagnostics d;
	struct plan *plan = plan_compile_known(string_slice(json_object_get(c, "yaml")), schema.p ? schema : SLICE("public"),
	                                       known, known_count, &d);
	bool loads = json_is_true(json_object_get(expect, "loads"));
	if (loads != (plan != NULL))
		complain(run, "expected it %s", loads ? "to load" : "to be refused");
	check_diagnostics(run, expect, &d);
	if (run->report.n)
		complain(run, "in:\n%s", text_of(c, "yaml"));
	if (plan && loads) {
		struct config_run r = {.run = run, .plan = plan, .prefix = "", .store = {.arena = &run->arena}};
		if (version)
			r.prefix = arena_cstr(&run->arena, arena_printf(&run->arena, "%lld#", json_integer_value(version)));
		check_parameters(run, json_object_get(expect, "bucket_definitions"), plan);
		check_patterns(run, json_object_get(expect, "source_tables"), plan);
		json_array_foreach(json_object_get(expect, "rows"), i, item) check_row(&r, item);
		json_array_foreach(json_object_get(expect, "requests"), i, item) check_request(&r, item);
		free(r.store.items);
	}
	plan_unref(plan);
	diagnostics_free(&d);
	return PASSED;
}

static enum verdict run_case(struct case_run *run, const char *file, json_t *c)
{
	if (slice_starts(slice_cstr(file), SLICE("expr-")))
		return run_expression(run, c);
	if (strcmp(file, "time-values.json") == 0)
		return SKIPPED; /* the source layer's: it renders times before any query sees them */
	return run_config(run, c);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
		return 2;
	}
	return run_folder(argv[1], run_case);
}
