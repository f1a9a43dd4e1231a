/* sync-streams-vectors.c: runs the vectors of sync streams: definitions, rows, lookups and requests, and the key hash. */
#include "rules_cases.h"

#include "rules/streams_expr.h"

/* ---- kinds of diagnostics ----------------------------------------------------------------------------------------------- */

/* The words of the sync config's own checks, which editions 1 and 2 share, in the words of the streams. */
static bool kind_is(const char *wanted, const char *class_name)
{
	static const char *const same[][2] = {
	        {"yaml-syntax", "yaml_syntax"},
	        {"wrong-yaml-type", "expected_map"},
	        {"wrong-yaml-type", "expected_sequence"},
	        {"wrong-yaml-type", "expected_scalar"},
	        {"wrong-yaml-type", "bad_scalar_type"},
	        {"wrong-yaml-type", "root_not_map"},
	        {"unknown-key", "unknown_key"},
	        {"bad-edition", "schema_violation"},
	        {"streams-required", "no_definitions"},
	        {"bucket-definitions-in-edition-3", "edition_mismatch"},
	        {"needs-edition-2", "edition_mismatch"},
	        {"needs-edition-3", "edition_mismatch"},
	        {"option-conflict", "edition_mismatch"},
	        {"option-conflict", "option_conflict"},
	        {"old-stream-compiler", "alpha_streams"},
	        {"unstable-storage-version", "unstable_storage_version"},
	        {"sql-syntax", "sql_syntax"},
	};
	if (strcmp(wanted, class_name) == 0)
		return true;
	for (size_t i = 0; i < sizeof(same) / sizeof(*same); i++)
		if (strcmp(wanted, same[i][0]) == 0 && strcmp(class_name, same[i][1]) == 0)
			return true;
	return false;
}

static bool expects_kind(json_t *list, const char *level, const char *class_name)
{
	size_t i;
	json_t *d;
	json_array_foreach(list, i,
	                   d) if (strcmp(text_of(d, "level"), level) == 0 && kind_is(text_of(d, "kind"), class_name)) return true;
	return false;
}

static bool has_kind(const struct diagnostics *d, enum diagnostic_level level, const char *kind)
{
	for (size_t i = 0; i < d->count; i++)
		if (d->items[i].level == level && kind_is(kind, d->items[i].class_name))
			return true;
	return false;
}

static void show_diagnostics(struct case_run *run, const struct diagnostics *d)
{
	for (size_t i = 0; i < d->count; i++)
		complain(run, "got %s %s at %zu:%zu: %.*s", d->items[i].level == DIAGNOSTIC_FATAL ? "error" : "warning",
		         d->items[i].class_name, d->items[i].line, d->items[i].column, SLICE_ARG(d->items[i].message));
}

static void check_rejected(struct case_run *run, json_t *c, const struct plan *plan, const struct diagnostics *d)
{
	size_t i;
	json_t *e;
	if (plan)
		complain(run, "expected it to be rejected");
	json_array_foreach(json_object_get(c, "diagnostics"), i, e)
	{
		if (strcmp(text_of(e, "level"), "error") != 0)
			continue;
		if (!has_kind(d, DIAGNOSTIC_FATAL, text_of(e, "kind"))) {
			complain(run, "expected the error %s", text_of(e, "kind"));
			show_diagnostics(run, d);
		}
		return;
	}
}

static void check_warnings(struct case_run *run, json_t *c, const struct diagnostics *d)
{
	json_t *list = json_object_get(c, "diagnostics"), *e;
	size_t i;
	json_array_foreach(list, i, e) if (strcmp(text_of(e, "level"), "warning") == 0 &&
	                                   !has_kind(d, DIAGNOSTIC_WARNING, text_of(e, "kind")))
	        complain(run, "expected the warning %s", text_of(e, "kind"));
	for (size_t j = 0; j < d->count; j++)
		if (d->items[j].level == DIAGNOSTIC_WARNING && !expects_kind(list, "warning", d->items[j].class_name))
			complain(run, "the warning %s is not expected", d->items[j].class_name);
}

/* ---- definitions -------------------------------------------------------------------------------------------------------- */

static struct slice index_name(const struct definition *d, struct slice *number)
{
	size_t hash = d->name.n;
	while (hash && d->name.p[hash - 1] != '#')
		hash--;
	*number = slice_drop(d->name, hash);
	return slice_make(d->name.p, hash ? hash - 1 : 0);
}

static void check_definitions(struct case_run *run, json_t *expect, const struct plan *plan)
{
	json_t *streams = json_object_get(expect, "streams"), *sources = json_object_get(expect, "bucket_sources");
	json_t *indexes = json_object_get(expect, "parameter_indexes");
	size_t buckets = 0, lookups = 0;
	if (json_array_size(streams) != plan_stream_count(plan))
		complain(run, "expected %zu streams, got %zu", json_array_size(streams), plan_stream_count(plan));
	for (uint32_t i = 0; i < plan_stream_count(plan); i++) {
		json_t *s = json_array_get(streams, i);
		if (!slice_eq(plan_stream_name(plan, i), slice_cstr(text_of(s, "name"))) ||
		    plan_stream_is_default(plan, i) != json_is_true(json_object_get(s, "is_default")))
			complain(run, "stream %u: expected %s, got %.*s", i, text_of(s, "name"),
			         SLICE_ARG(plan_stream_name(plan, i)));
	}
	for (uint32_t i = 0; i < plan_definition_count(plan); i++) {
		const struct definition *d = plan_definition(plan, i);
		if (d->kind == DEFINITION_BUCKETS) {
			if (!slice_eq(d->name, string_slice(json_array_get(sources, buckets++))))
				complain(run, "bucket source %.*s is not expected here", SLICE_ARG(d->name));
			continue;
		}
		json_t *pair = json_array_get(indexes, lookups++);
		struct slice number, name = index_name(d, &number);
		if (!slice_eq(name, string_slice(json_array_get(pair, 0))) ||
		    !slice_eq(number, string_slice(json_array_get(pair, 1))))
			complain(run, "parameter index %.*s is not expected here", SLICE_ARG(d->name));
	}
	if (buckets != json_array_size(sources) || lookups != json_array_size(indexes))
		complain(run, "expected %zu bucket sources and %zu indexes, got %zu and %zu", json_array_size(sources),
		         json_array_size(indexes), buckets, lookups);
}

/* ---- rows --------------------------------------------------------------------------------------------------------------- */

/* A row in a bucket. */
struct delivery {
	uint32_t definition;
	struct slice keys, id;
};

struct streams_run {
	struct case_run *run;
	struct plan *plan;
	const char *prefix;
	struct lookup_store store;
	struct delivery *deliveries;
	size_t delivery_count, delivery_cap;
};

/* {"a": typed, ...} as JSON text. */
static struct slice typed_object(struct case_run *run, json_t *object)
{
	struct buf out = {0};
	const char *key;
	json_t *t;
	buf_putc(&out, '{');
	json_object_foreach(object, key, t)
	{
		struct value v;
		typed_value(run, t, &v);
		if (out.n > 1)
			buf_putc(&out, ',');
		json_append_string(&out, slice_cstr(key));
		buf_putc(&out, ':');
		value_json(&out, &v);
	}
	buf_putc(&out, '}');
	struct slice text = arena_copy(&run->arena, buf_slice(&out));
	buf_free(&out);
	return text;
}

static struct slice typed_key(struct case_run *run, json_t *list)
{
	struct buf out = {0};
	size_t i;
	json_t *t;
	buf_putc(&out, '[');
	json_array_foreach(list, i, t)
	{
		struct value v;
		typed_value(run, t, &v);
		if (i)
			buf_putc(&out, ',');
		value_lookup_key(&out, &v);
	}
	buf_putc(&out, ']');
	struct slice text = arena_copy(&run->arena, buf_slice(&out));
	buf_free(&out);
	return text;
}

static const char *bucket_text(struct streams_run *c, uint32_t definition, struct slice keys)
{
	return bucket_text_of(c->run, c->plan, c->prefix, definition, keys);
}

static bool entry_is(struct streams_run *c, json_t *e, const struct row_entry *got)
{
	return strcmp(text_of(e, "bucket"), bucket_text(c, got->definition, got->keys)) == 0 &&
	       slice_eq(string_slice(json_object_get(e, "table")), got->object_type) &&
	       slice_eq(string_slice(json_object_get(e, "id")), got->object_id) &&
	       slice_eq(typed_object(c->run, json_object_get(e, "data")), got->data);
}

static void check_entries(struct streams_run *c, json_t *wanted, const struct evaluation *got)
{
	size_t i, needed = 0, before = c->run->report.n;
	json_t *e;
	json_array_foreach(wanted, i, e)
	{
		if (replaced_later(wanted, i))
			continue;
		needed++;
		bool found = false;
		for (size_t j = 0; j < got->entry_count && !found; j++)
			found = entry_is(c, e, &got->entries[j]);
		if (!found) {
			struct slice data = typed_object(c->run, json_object_get(e, "data"));
			complain(c->run, "expected %s %s %s %.*s", text_of(e, "bucket"), text_of(e, "table"), text_of(e, "id"),
			         SLICE_ARG(data));
		}
	}
	if (needed != got->entry_count || c->run->report.n != before)
		for (size_t j = 0; j < got->entry_count; j++)
			complain(c->run, "got %s %.*s %.*s %.*s",
			         bucket_text(c, got->entries[j].definition, got->entries[j].keys),
			         SLICE_ARG(got->entries[j].object_type), SLICE_ARG(got->entries[j].object_id),
			         SLICE_ARG(got->entries[j].data));
}

/* The same objects, in any order. */
static bool same_objects(struct case_run *run, json_t *wanted, struct slice results)
{
	struct json_node array;
	if (!json_read(results, JSON_EXACT, &run->arena, &array, NULL) || array.array.count != json_array_size(wanted))
		return false;
	bool *used = arena_calloc(&run->arena, array.array.count + 1);
	size_t i;
	json_t *row;
	json_array_foreach(wanted, i, row)
	{
		struct slice text = typed_object(run, row);
		size_t j = 0;
		while (j < array.array.count && (used[j] || !slice_eq(text, json_to_text(&array.array.items[j], 0, &run->arena))))
			j++;
		if (j == array.array.count)
			return false;
		used[j] = true;
	}
	return true;
}

static bool lookup_is(struct streams_run *c, json_t *e, const struct row_lookup *got)
{
	json_t *index = json_object_get(e, "index");
	struct slice number, name = index_name(plan_definition(c->plan, got->definition), &number);
	return slice_eq(name, string_slice(json_array_get(index, 0))) &&
	       slice_eq(number, string_slice(json_array_get(index, 1))) &&
	       slice_eq(typed_key(c->run, json_object_get(e, "key")), got->key) &&
	       same_objects(c->run, json_object_get(e, "rows"), got->results);
}

static void check_lookups(struct streams_run *c, json_t *wanted, const struct evaluation *got)
{
	size_t i, before = c->run->report.n;
	json_t *e;
	json_array_foreach(wanted, i, e)
	{
		bool found = false;
		for (size_t j = 0; j < got->lookup_count && !found; j++)
			found = lookup_is(c, e, &got->lookups[j]);
		if (!found) {
			char *text = json_dumps(e, JSON_COMPACT);
			complain(c->run, "expected lookup %s", text);
			free(text);
		}
	}
	if (json_array_size(wanted) != got->lookup_count || c->run->report.n != before)
		for (size_t j = 0; j < got->lookup_count; j++)
			complain(c->run, "got lookup %.*s %.*s %.*s",
			         SLICE_ARG(plan_definition(c->plan, got->lookups[j].definition)->name),
			         SLICE_ARG(got->lookups[j].key), SLICE_ARG(got->lookups[j].results));
}

static void store_delivery(struct streams_run *c, const struct evaluation *e)
{
	for (size_t i = 0; i < e->entry_count; i++) {
		c->deliveries = xgrow(c->deliveries, c->delivery_count, &c->delivery_cap, sizeof(*c->deliveries));
		c->deliveries[c->delivery_count++] =
		        (struct delivery){e->entries[i].definition, e->entries[i].keys, e->entries[i].object_id};
	}
}

static void check_row(struct streams_run *c, json_t *row)
{
	struct case_row r = read_row(c->run, json_object_get(row, "record"));
	json_t *schema = json_object_get(row, "schema");
	/* A value that is marked absent is a column that the relation does not have. */
	size_t kept = 0;
	for (size_t i = 0; i < r.count; i++)
		if (r.values[i].kind != VALUE_ABSENT) {
			r.names[kept] = r.names[i];
			r.values[kept++] = r.values[i];
		}
	struct relation_columns columns = {
	        .connection_tag = SLICE("default"),
	        .schema = schema ? string_slice(schema) : SLICE("public"),
	        .table = string_slice(json_object_get(row, "table")),
	        .names = r.names,
	        .count = kept,
	};
	struct bound_table *b = plan_bind(c->plan, &columns);
	struct evaluation got = {0};
	if (b)
		bound_evaluate(b, r.values, &c->run->arena, &got);
	check_entries(c, json_object_get(row, "bucket_data"), &got);
	check_lookups(c, json_object_get(row, "lookups"), &got);
	long long data = 0, lookups = 0;
	for (size_t i = 0; i < got.fault_count; i++)
		*(plan_definition(c->plan, got.faults[i].definition)->kind == DEFINITION_BUCKETS ? &data : &lookups) += 1;
	struct slice message = got.fault_count ? got.faults[0].message : SLICE("");
	if (data != whole_number(json_object_get(row, "data_errors")) ||
	    lookups != whole_number(json_object_get(row, "lookup_errors")))
		complain(c->run, "expected %lld data and %lld lookup errors, got %lld and %lld: %.*s",
		         whole_number(json_object_get(row, "data_errors")), whole_number(json_object_get(row, "lookup_errors")),
		         data, lookups, SLICE_ARG(message));
	store_lookups(&c->store, &got);
	store_delivery(c, &got);
	bound_table_free(b);
}

/* ---- requests ----------------------------------------------------------------------------------------------------------- */

static struct slice dump(struct case_run *run, json_t *j)
{
	if (!j || json_is_null(j))
		return (struct slice){0};
	char *text = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
	struct slice out = arena_copy(&run->arena, slice_cstr(text));
	free(text);
	return out;
}

static struct request_parameters read_request(struct streams_run *c, json_t *request)
{
	json_t *body = json_object_get(request, "request"), *streams = json_object_get(body, "streams");
	json_t *defaults = json_object_get(streams, "include_defaults"), *list = json_object_get(streams, "subscriptions"), *s;
	struct request_parameters out = {.token_payload = dump(c->run, json_object_get(request, "token"))};
	out.client_parameters = dump(c->run, json_object_get(body, "parameters"));
	out.include_defaults = !defaults || !json_is_false(defaults);
	struct subscription_request *subscriptions =
	        arena_array(&c->run->arena, struct subscription_request, json_array_size(list) + 1);
	size_t i;
	json_array_foreach(list, i, s)
	{
		json_t *priority = json_object_get(s, "override_priority");
		subscriptions[i] = (struct subscription_request){
		        .stream = string_slice(json_object_get(s, "stream")),
		        .parameters = dump(c->run, json_object_get(s, "parameters")),
		        .override_priority = json_is_number(priority) ? (int)whole_number(priority) : -1,
		};
	}
	out.subscriptions = subscriptions;
	out.subscription_count = json_array_size(list);
	return out;
}

static const char *reason_text(struct streams_run *c, const struct resolved_bucket *b)
{
	struct buf out = {0};
	for (size_t i = 0; i < b->reason_count; i++)
		buf_printf(&out, "{\"%s\":%u}", b->reasons[i].is_default ? "default" : "sub", b->reasons[i].index);
	buf_putc(&out, ' ');
	const char *text = arena_cstr(&c->run->arena, buf_slice(&out));
	buf_free(&out);
	return text;
}

/* Reasons as sets; of default ones only that there are some, because a shared bucket may name each stream's own index. */
static bool same_reasons(json_t *wanted, const struct resolved_bucket *b)
{
	size_t i, subs = 0, defaults = 0, wanted_subs = 0, wanted_defaults = 0;
	json_t *w;
	json_array_foreach(wanted, i, w)
	{
		json_t *sub = json_object_get(w, "sub");
		wanted_subs += sub != NULL;
		wanted_defaults += sub == NULL;
		bool found = !sub;
		for (size_t j = 0; j < b->reason_count && sub; j++)
			found |= !b->reasons[j].is_default && b->reasons[j].index == whole_number(sub);
		if (!found)
			return false;
	}
	for (size_t j = 0; j < b->reason_count; j++)
		*(b->reasons[j].is_default ? &defaults : &subs) += 1;
	return subs == wanted_subs && !defaults == !wanted_defaults;
}

static void check_buckets(struct streams_run *c, json_t *expect, const struct resolution *got, const struct resolution *fixed,
                          bool fewer_allowed)
{
	json_t *wanted = json_object_get(expect, "buckets"), *e;
	size_t i, missing = 0;
	json_array_foreach(wanted, i, e)
	{
		const struct resolved_bucket *b = NULL;
		bool is_static = false;
		for (size_t j = 0; j < got->bucket_count && !b; j++)
			if (strcmp(text_of(e, "bucket"), bucket_text(c, got->buckets[j].definition, got->buckets[j].keys)) == 0)
				b = &got->buckets[j];
		for (size_t j = 0; b && j < fixed->bucket_count; j++)
			is_static |= fixed->buckets[j].definition == b->definition && slice_eq(fixed->buckets[j].keys, b->keys);
		/* A bucket that is both static and dynamic may have either's reasons and priority. */
		bool both = is_static && json_is_true(json_object_get(expect, "has_dynamic"));
		if (!b) {
			missing++;
			if (!fewer_allowed)
				complain(c->run, "expected bucket %s", text_of(e, "bucket"));
		} else if (!both && (whole_number(json_object_get(e, "priority")) != b->priority ||
		                     !same_reasons(json_object_get(e, "subscriptions"), b))) {
			struct slice subscriptions = dump(c->run, json_object_get(e, "subscriptions"));
			complain(c->run, "%s: expected priority %lld %.*s, got %d %s", text_of(e, "bucket"),
			         whole_number(json_object_get(e, "priority")), SLICE_ARG(subscriptions), b->priority,
			         reason_text(c, b));
		}
	}
	if (json_array_size(wanted) - missing != got->bucket_count || (missing && !fewer_allowed))
		for (size_t j = 0; j < got->bucket_count; j++)
			complain(c->run, "got bucket %s", bucket_text(c, got->buckets[j].definition, got->buckets[j].keys));
}

static void check_static(struct streams_run *c, json_t *expect, const struct resolution *fixed)
{
	json_t *wanted = json_object_get(expect, "static_buckets"), *e;
	size_t i;
	if (json_array_size(wanted) != fixed->bucket_count)
		complain(c->run, "expected %zu static buckets, got %zu", json_array_size(wanted), fixed->bucket_count);
	json_array_foreach(wanted, i, e)
	{
		bool found = false;
		for (size_t j = 0; j < fixed->bucket_count && !found; j++)
			found = strcmp(json_string_value(e),
			               bucket_text(c, fixed->buckets[j].definition, fixed->buckets[j].keys)) == 0;
		if (!found)
			complain(c->run, "expected static bucket %s", json_string_value(e));
	}
}

static void check_streams(struct streams_run *c, json_t *wanted, const struct resolution *got)
{
	if (json_array_size(wanted) != got->stream_count)
		complain(c->run, "expected %zu streams, got %zu", json_array_size(wanted), got->stream_count);
	for (size_t i = 0; i < got->stream_count && i < json_array_size(wanted); i++) {
		json_t *s = json_array_get(wanted, i), *errors = json_object_get(s, "errors");
		const struct resolved_stream *g = &got->streams[i];
		bool same = slice_eq(g->name, slice_cstr(text_of(s, "name"))) &&
		            g->is_default == json_is_true(json_object_get(s, "is_default")) &&
		            g->error_count == json_array_size(errors);
		for (size_t j = 0; same && j < g->error_count; j++) {
			json_t *sub = json_object_get(json_array_get(errors, j), "subscription");
			same = json_is_string(sub) ? g->errors[j].is_default
			                           : !g->errors[j].is_default && g->errors[j].subscription == whole_number(sub);
		}
		if (!same) {
			struct slice text = dump(c->run, s), message = g->error_count ? g->errors[0].message : SLICE("");
			complain(c->run, "stream %zu: expected %.*s, got %.*s with %zu errors %.*s", i, SLICE_ARG(text),
			         SLICE_ARG(g->name), g->error_count, SLICE_ARG(message));
		}
	}
}

static bool gives(const struct resolution *r, const struct delivery *d)
{
	for (size_t i = 0; i < r->bucket_count; i++)
		if (r->buckets[i].definition == d->definition && slice_eq(r->buckets[i].keys, d->keys))
			return true;
	return false;
}

static bool lists_text(json_t *list, struct slice text)
{
	size_t i;
	json_t *e;
	json_array_foreach(list, i, e) if (slice_eq(string_slice(e), text)) return true;
	return false;
}

/* The rows that the SQL gives to the request, no more and no less (sync-streams 9, Syncline). */
static void check_delivered(struct streams_run *c, json_t *wanted, const struct resolution *got)
{
	size_t i;
	json_t *e;
	for (size_t k = 0; k < c->delivery_count; k++)
		if (gives(got, &c->deliveries[k]) && !lists_text(wanted, c->deliveries[k].id))
			complain(c->run, "row %.*s is delivered, but not by the SQL", SLICE_ARG(c->deliveries[k].id));
	json_array_foreach(wanted, i, e)
	{
		bool found = false;
		for (size_t k = 0; k < c->delivery_count && !found; k++)
			found = slice_eq(c->deliveries[k].id, string_slice(e)) && gives(got, &c->deliveries[k]);
		if (!found)
			complain(c->run, "row %s is not delivered", json_string_value(e));
	}
}

static void check_request(struct streams_run *c, json_t *request, bool fewer_allowed)
{
	struct request_parameters params = read_request(c, request);
	json_t *expect = json_object_get(request, "expect"), *rows = json_object_get(request, "delivered");
	struct error err = {0};
	struct resolution got = {0}, fixed = {0};
	struct lookup_reader reader = {.ctx = &c->store, .read = store_read}, none = {.read = nothing_stored};
	struct querier *q = querier_new(c->plan, &params, &err);
	bool ok = q && querier_resolve(q, &reader, NULL, &c->run->arena, &got, &err) &&
	          querier_resolve(q, &none, NULL, &c->run->arena, &fixed, &err);
	size_t before = c->run->report.n;
	if (json_object_get(expect, "fails")) {
		bool told = false; /* reporting the error for the stream is allowed as well */
		for (size_t i = 0; ok && i < got.stream_count; i++)
			told |= got.streams[i].error_count > 0;
		if (ok && !told)
			complain(c->run, "expected the request to fail");
	} else if (!ok) {
		complain(c->run, "the request fails: %s", err.message);
	} else {
		if (querier_is_dynamic(q) != json_is_true(json_object_get(expect, "has_dynamic")))
			complain(c->run, "dynamic is %d", querier_is_dynamic(q));
		check_static(c, expect, &fixed);
		check_streams(c, json_object_get(expect, "streams"), &got);
		check_buckets(c, expect, &got, &fixed, fewer_allowed || rows);
		if (rows)
			check_delivered(c, rows, &got);
	}
	if (c->run->report.n != before)
		complain(c->run, "for the token %.*s", SLICE_ARG(params.token_payload));
	querier_free(q);
}

/* ---- key hash ----------------------------------------------------------------------------------------------------------- */

/* The key is compiled in the scope of the table t; "json_each(x).column" is a column of a json_each over x. */
static struct sx *compile_key(struct case_run *run, struct stream_compiler *s, struct query *q, struct scope *scope,
                              struct slice text)
{
	struct sql_fault fault;
	struct sql_expr *e;
	if (!slice_starts(text, SLICE("json_each("))) {
		if (!sql_parse_expression(text, &run->arena, &e, &fault))
			return NULL;
		q->sql = text;
		return sx_compile(s, q, e, scope, true);
	}
	/* "json_each(x).rest": the rest is an expression over its columns. */
	size_t close = text.n;
	while (close > 1 && !(text.p[close - 1] == '.' && text.p[close - 2] == ')'))
		close--;
	struct slice argument = slice_make(text.p + 10, close - 12);
	struct sx *x = compile_key(run, s, q, scope, argument);
	struct scope_item item = {.name = SLICE("f"), .source = x ? sx_json_each(s, q, (struct sql_range){0, 0}, x) : NULL};
	struct scope inner = {.items = &item, .count = 1, .cap = 1};
	return item.source ? compile_key(run, s, q, &inner, slice_drop(text, close)) : NULL;
}

static enum verdict run_key_hash(struct case_run *run, json_t *c)
{
	struct diagnostics d = {0};
	struct plan plan = {0};
	struct compiler compiler = {.plan = &plan, .arena = &run->arena, .d = &d};
	struct stream_compiler s = {.c = &compiler, .quiet = true};
	struct query q = {.c = &compiler};
	struct stream_source t = {.kind = SOURCE_TABLE, .name = SLICE("t%"), .alias = SLICE("t")};
	struct scope_item item = {.name = SLICE("t"), .source = &t};
	struct scope scope = {.items = &item, .count = 1, .cap = 1};
	struct sx *e = compile_key(run, &s, &q, &scope, string_slice(json_object_get(c, "key")));
	if (!e) {
		complain(run, "the key does not compile");
	} else {
		struct buf text = {0};
		sx_canonical(&text, e);
		if (!slice_eq(buf_slice(&text), string_slice(json_object_get(c, "text"))))
			complain(run, "expected text %s, got %.*s", text_of(c, "text"), SLICE_ARG(buf_slice(&text)));
		buf_free(&text);
		if (sx_key_hash(&s, e) != whole_number(json_object_get(c, "hash")))
			complain(run, "expected hash %lld, got %u", whole_number(json_object_get(c, "hash")), sx_key_hash(&s, e));
	}
	diagnostics_free(&d);
	arena_free(&compiler.scratch);
	return PASSED;
}

static enum verdict run_case(struct case_run *run, const char *file, json_t *c)
{
	if (strcmp(file, "key-hash.json") == 0)
		return run_key_hash(run, c);
	struct diagnostics d;
	struct plan *plan = plan_compile(string_slice(json_object_get(c, "config")), SLICE("public"), &d);
	json_t *version = json_object_get(c, "bucket_version"), *item;
	size_t i;
	if (!json_is_true(json_object_get(c, "accepted"))) {
		check_rejected(run, c, plan, &d);
	} else if (!plan) {
		complain(run, "expected it to be accepted");
		show_diagnostics(run, &d);
	} else {
		struct streams_run r = {.run = run, .plan = plan, .prefix = "", .store = {.arena = &run->arena}};
		if (json_is_number(version))
			r.prefix = arena_cstr(&run->arena, arena_printf(&run->arena, "%lld#", whole_number(version)));
		check_warnings(run, c, &d);
		check_definitions(run, json_object_get(c, "definitions"), plan);
		json_array_foreach(json_object_get(c, "rows"), i, item) check_row(&r, item);
		json_array_foreach(json_object_get(c, "requests"), i, item)
		        check_request(&r, item, strcmp(text_of(c, "name"), "cte-twice") == 0);
		free(r.store.items);
		free(r.deliveries);
	}
	if (run->report.n)
		complain(run, "in:\n%s", text_of(c, "config"));
	plan_unref(plan);
	diagnostics_free(&d);
	return PASSED;
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
		return 2;
	}
	return run_folder(argv[1], run_case);
}
