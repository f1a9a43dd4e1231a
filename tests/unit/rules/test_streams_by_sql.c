/* test_streams_by_sql.c: a request gets the rows that the SQL says, no more and no less (tests/data/vectors/streams-by-sql). */
#include <jansson.h>

#include "rules/plan_fixture.h"

struct delivered_row {
	uint32_t definition;
	struct slice keys, id;
};

struct by_sql {
	struct plan *plan;
	struct arena arena;
	struct fixture_store *store;
	struct delivered_row rows[2000];
	size_t row_count;
};

static struct slice dumped(struct by_sql *t, json_t *j)
{
	if (!j || json_is_null(j))
		return (struct slice){0};
	char *text = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);
	struct slice out = arena_copy(&t->arena, slice_cstr(text));
	free(text);
	return out;
}

static struct value typed(json_t *v)
{
	const char *text = json_string_value(json_object_get(v, "v"));
	switch (json_string_value(json_object_get(v, "t"))[0]) {
	case 'i':
		return value_integer(atoll(text));
	case 's':
		return value_text(slice_cstr(text));
	default:
		return value_null();
	}
}

static void add_row(struct by_sql *t, json_t *row)
{
	struct fixture_row r = {.count = 0};
	const char *name;
	json_t *v;
	json_object_foreach(json_object_get(row, "record"), name, v)
	{
		r.names[r.count] = slice_cstr(name);
		r.values[r.count++] = typed(v);
	}
	struct evaluation e = evaluate(t->plan, json_string_value(json_object_get(row, "table")), r, &t->arena);
	for (size_t i = 0; i < e.entry_count; i++)
		t->rows[t->row_count++] =
		        (struct delivered_row){e.entries[i].definition, e.entries[i].keys, e.entries[i].object_id};
	for (size_t i = 0; i < e.lookup_count; i++)
		t->store->items[t->store->count++] = e.lookups[i];
}

static struct fixture_request request_of(struct by_sql *t, json_t *request)
{
	struct fixture_request r = {.token = arena_cstr(&t->arena, dumped(t, json_object_get(request, "token")))};
	json_t *body = json_object_get(request, "request"), *streams = json_object_get(body, "streams"), *s;
	struct slice client = dumped(t, json_object_get(body, "parameters"));
	r.client = client.p ? arena_cstr(&t->arena, client) : NULL;
	r.no_defaults = json_is_false(json_object_get(streams, "include_defaults"));
	size_t i;
	json_array_foreach(json_object_get(streams, "subscriptions"), i, s) r.subscriptions[r.subscription_count++] =
	        (struct subscription_request){slice_cstr(json_string_value(json_object_get(s, "stream"))),
	                                      dumped(t, json_object_get(s, "parameters")), -1};
	return r;
}

static bool contains_text(json_t *list, struct slice text)
{
	size_t i;
	json_t *e;
	json_array_foreach(list, i, e) if (slice_eq(slice_cstr(json_string_value(e)), text)) return true;
	return false;
}

static bool gives(const struct by_sql *t, const struct resolution *r, const struct delivered_row *row)
{
	(void)t;
	for (size_t i = 0; i < r->bucket_count; i++)
		if (r->buckets[i].definition == row->definition && slice_eq(r->buckets[i].keys, row->keys))
			return true;
	return false;
}

static void check_request(struct by_sql *t, const char *name, json_t *request)
{
	json_t *wanted = json_object_get(request, "delivered"), *e;
	if (!json_is_array(wanted))
		return;
	struct error err = {0};
	struct resolution out;
	struct fixture_request r = request_of(t, request);
	struct lookup_reader reader = {.ctx = t->store, .read = fixture_read};
	struct querier *q = querier_of(t->plan, &r, &err);
	assert_non_null(q);
	assert_true(querier_resolve(q, &reader, NULL, &t->arena, &out, &err));
	for (size_t i = 0; i < t->row_count; i++)
		if (gives(t, &out, &t->rows[i]) && !contains_text(wanted, t->rows[i].id))
			fail_msg("%s: row %.*s is given, but not by the SQL", name, SLICE_ARG(t->rows[i].id));
	size_t k;
	json_array_foreach(wanted, k, e)
	{
		bool found = false;
		for (size_t i = 0; i < t->row_count && !found; i++)
			found = slice_eq(t->rows[i].id, slice_cstr(json_string_value(e))) && gives(t, &out, &t->rows[i]);
		if (!found)
			fail_msg("%s: row %s is missing", name, json_string_value(e));
	}
	querier_free(q);
}

static void check_case(json_t *c)
{
	struct by_sql *t = xcalloc(1, sizeof(*t));
	t->store = xcalloc(1, sizeof(*t->store));
	t->plan = plan_of(json_string_value(json_object_get(c, "config")));
	size_t i;
	json_t *item;
	json_array_foreach(json_object_get(c, "rows"), i, item) add_row(t, item);
	json_array_foreach(json_object_get(c, "requests"), i, item)
	        check_request(t, json_string_value(json_object_get(c, "name")), item);
	plan_unref(t->plan);
	arena_free(&t->arena);
	free(t->store);
	free(t);
}

static size_t check_file(const char *path)
{
	json_error_t error;
	json_t *doc = json_load_file(path, 0, &error), *c;
	assert_non_null(doc);
	size_t i, count = 0;
	json_array_foreach(json_object_get(doc, "cases"), i, c)
	{
		check_case(c);
		count++;
	}
	json_decref(doc);
	return count;
}

static void requests_get_exactly_the_rows_of_the_sql(void **state)
{
	(void)state;
	assert_true(check_file(TEST_DATA "/vectors/streams-by-sql/by-sql.json") >= 100);
}

static void combinations_that_the_sql_does_not_have_give_nothing(void **state)
{
	(void)state;
	assert_true(check_file(TEST_DATA "/vectors/streams-by-sql/wider.json") >= 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(requests_get_exactly_the_rows_of_the_sql),
	        cmocka_unit_test(combinations_that_the_sql_does_not_have_give_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
