/* test_requests.c: requests to buckets: static and dynamic parts, merging, reasons, limits. */
#include "rules/plan_fixture.h"

static const char members[] = "bucket_definitions:\n"
                              "  lists:\n"
                              "    parameters:\n"
                              "      - SELECT list_id FROM members WHERE user_id = request.user_id()\n"
                              "      - SELECT request.jwt() ->> 'own' AS list_id\n"
                              "    data: [SELECT * FROM todos WHERE list_id = bucket.list_id]\n";

static void token_values_name_buckets(void **state)
{
	(void)state;
	struct plan *p = plan_of("bucket_definitions:\n"
	                         "  g: {data: []}\n"
	                         "  u: {priority: 1, parameters: SELECT request.user_id() AS u, data: []}\n"
	                         "  t: {parameters: SELECT token_parameters.x AS x, data: []}\n"
	                         "  c: {parameters: \"SELECT WHERE request.parameters() ->> 'prio' = 'yes'\", data: []}\n");
	assert_buckets(p, (struct fixture_request){.token = "{\"sub\":\"u1\",\"parameters\":{\"x\":5}}"}, NULL,
	               "g[]:3 u[\"u1\"]:1 t[5]:3");
	assert_buckets(p, (struct fixture_request){.token = "{\"sub\":\"u1\"}", .client = "{\"prio\":\"yes\"}"}, NULL,
	               "g[]:3 u[\"u1\"]:1 t[null]:3 c[]:3");
	assert_buckets(p, (struct fixture_request){.token = "{\"sub\":\"u1\"}", .no_defaults = true}, NULL, "");
	plan_unref(p);
}

static void stored_rows_give_buckets_and_a_key_is_read_once(void **state)
{
	(void)state;
	struct plan *p = plan_of(members);
	struct fixture_store store = {.count = 0};
	store_row(&store, p, "members", ROW("list_id", "l1", "user_id", "u1"));
	store_row(&store, p, "members", ROW("list_id", "#2", "user_id", "u1"));
	store_row(&store, p, "members", ROW("list_id", "l3", "user_id", "u2"));
	store_row(&store, p, "members", ROW("list_id", "l4", "user_id", "~"));
	assert_buckets(p, (struct fixture_request){.token = "{\"sub\":\"u1\",\"own\":\"l9\"}"}, &store,
	               "lists[\"l9\"]:3 lists[\"l1\"]:3 lists[2]:3");
	assert_int_equal(store.reads, 1);
	/* A dynamic bucket takes the place of the equal static one. */
	assert_buckets(p, (struct fixture_request){.token = "{\"sub\":\"u1\",\"own\":\"l1\"}"}, &store,
	               "lists[\"l1\"]:3 lists[2]:3");
	arena_free(&store.arena);
	plan_unref(p);
}

static void used_lookups_and_streams_are_reported(void **state)
{
	(void)state;
	struct plan *p = plan_of(members);
	struct error err;
	struct arena arena = {0};
	struct resolution out;
	struct fixture_store store = {.count = 0};
	struct lookup_reader reader = {.ctx = &store, .read = fixture_read};
	struct fixture_request r = {.token = "{\"sub\":\"u1\"}"};
	struct querier *q = querier_of(p, &r, &err);
	assert_true(querier_is_dynamic(q));
	assert_true(querier_resolve(q, &reader, NULL, &arena, &out, &err));
	assert_int_equal(out.lookup_count, 1);
	assert_slice(out.lookups[0].key, "[\"u1\"]");
	assert_int_equal(plan_definition(p, out.lookups[0].definition)->kind, DEFINITION_LOOKUP);
	assert_int_equal(out.stream_count, 1);
	assert_true(out.streams[0].is_default);
	querier_free(q);
	arena_free(&arena);
	plan_unref(p);
}

static void assert_limit(struct plan *p, struct fixture_store *store, struct resolve_limits limits, const char *message)
{
	struct error err = {0};
	struct arena arena = {0};
	struct resolution out;
	struct lookup_reader reader = {.ctx = store, .read = fixture_read};
	struct fixture_request r = {.token = "{\"sub\":\"u1\"}"};
	struct querier *q = querier_of(p, &r, &err);
	assert_false(querier_resolve(q, &reader, &limits, &arena, &out, &err));
	assert_string_equal(err.code, "PSYNC_S2305");
	assert_string_equal(err.message, message);
	querier_free(q);
	arena_free(&arena);
}

static void limits_are_told_in_the_services_words(void **state)
{
	(void)state;
	struct plan *p = plan_of(members);
	struct fixture_store store = {.count = 0};
	for (int i = 0; i < 10; i++) {
		char id[12];
		snprintf(id, sizeof(id), "#%d", i);
		store_row(&store, p, "members", ROW("list_id", id, "user_id", "u1"));
	}
	assert_limit(p, &store, (struct resolve_limits){1000, 6}, "Too many buckets: 11 (limit of 6)");
	assert_limit(p, &store, (struct resolve_limits){8, 1000}, "Too many parameter query results (limit of 8)");
	arena_free(&store.arena);
	plan_unref(p);
}

static void a_failing_parameter_query_fails_the_request(void **state)
{
	(void)state;
	struct error err;
	struct plan *p = plan_of("bucket_definitions:\n  a: {parameters: \"SELECT request.user_id() ->> 'x' AS x\", data: []}\n");
	struct fixture_request r = {.token = "{\"sub\":\"not json\"}"};
	assert_null(querier_of(p, &r, &err));
	assert_string_equal(err.code, "PSYNC_S2001");
	plan_unref(p);
}

static void nesting_of_parameters_is_limited(void **state)
{
	(void)state;
	struct error err;
	struct plan *p = plan_of("bucket_definitions:\n  a: {data: []}\n");
	struct fixture_request deep = {.token = "{\"sub\":\"u\"}", .client = "{\"a\":[[[[[[[[[[[[1]]]]]]]]]]]]}"};
	assert_null(querier_of(p, &deep, &err));
	assert_string_equal(err.code, "PSYNC_S1004");
	struct fixture_request fits = {.token = "{\"sub\":\"u\"}", .client = "{\"a\":[[[[[[[[[[[1]]]]]]]]]]]}"};
	struct querier *q = querier_of(p, &fits, &err);
	assert_non_null(q);
	querier_free(q);
	plan_unref(p);
}

static void expanding_parameters_look_up_each_element(void **state)
{
	(void)state;
	struct plan *p = plan_of("bucket_definitions:\n  a:\n    parameters: SELECT id FROM lists WHERE org IN "
	                         "token_parameters.orgs\n    data: [SELECT * FROM t WHERE l = bucket.id]\n");
	struct fixture_store store = {.count = 0};
	store_row(&store, p, "lists", ROW("id", "l1", "org", "o1"));
	store_row(&store, p, "lists", ROW("id", "l2", "org", "#5"));
	store_row(&store, p, "lists", ROW("id", "l3", "org", "o3"));
	assert_buckets(p, (struct fixture_request){.token = "{\"parameters\":{\"orgs\":[\"o1\",5,\"none\"]}}"}, &store,
	               "a[\"l1\"]:3 a[\"l2\"]:3");
	assert_buckets(p, (struct fixture_request){.token = "{\"parameters\":{\"orgs\":\"o1\"}}"}, &store, "");
	arena_free(&store.arena);
	plan_unref(p);
}

/* A bare parameter is a condition of its own, also beside a comparison with the same value: nobody gets rows of others by it. */
static void a_bare_parameter_does_not_widen_a_comparison(void **state)
{
	(void)state;
	struct plan *p =
	        plan_of("bucket_definitions:\n  d:\n    parameters: SELECT id FROM m WHERE token_parameters.u AND owner = "
	                "token_parameters.u\n    data: [SELECT * FROM t WHERE m = bucket.id]\n");
	struct fixture_store store = {.count = 0};
	store_row(&store, p, "m", ROW("id", "m1", "owner", "#1"));
	store_row(&store, p, "m", ROW("id", "m2", "owner", "#2"));
	store_row(&store, p, "m", ROW("id", "m0", "owner", "#0"));
	assert_buckets(p, (struct fixture_request){.token = "{\"parameters\":{\"u\":1}}"}, &store, "d[\"m1\"]:3");
	assert_buckets(p, (struct fixture_request){.token = "{\"parameters\":{\"u\":2}}"}, &store, "d[\"m2\"]:3");
	assert_buckets(p, (struct fixture_request){.token = "{\"parameters\":{\"u\":0}}"}, &store, "");
	arena_free(&store.arena);
	plan_unref(p);
	assert_refused("bucket_definitions:\n  d:\n    parameters: SELECT id FROM m WHERE token_parameters.u OR owner = "
	               "token_parameters.u\n    data: [SELECT * FROM t WHERE m = bucket.id]\n",
	               "or_parameters_differ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(token_values_name_buckets),
	        cmocka_unit_test(stored_rows_give_buckets_and_a_key_is_read_once),
	        cmocka_unit_test(used_lookups_and_streams_are_reported),
	        cmocka_unit_test(limits_are_told_in_the_services_words),
	        cmocka_unit_test(a_failing_parameter_query_fails_the_request),
	        cmocka_unit_test(nesting_of_parameters_is_limited),
	        cmocka_unit_test(expanding_parameters_look_up_each_element),
	        cmocka_unit_test(a_bare_parameter_does_not_widen_a_comparison),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
