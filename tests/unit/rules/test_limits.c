/* test_limits.c: what counts against the limits of a connection, and what the operator is told when one is exceeded. */
#include "rules/plan_fixture.h"

struct limit_case {
	struct plan *plan;
	struct fixture_store store;
	struct arena arena;
	struct resolution out;
	struct error err;
};

static struct limit_case *start(const char *yaml)
{
	struct limit_case *t = xcalloc(1, sizeof(*t));
	t->plan = plan_of(yaml);
	return t;
}

static void finish(struct limit_case *t)
{
	plan_unref(t->plan);
	arena_free(&t->store.arena);
	arena_free(&t->arena);
	free(t);
}

/* Rows number from..to-1 of the table: id "r<n>", the column as given; "%d" is the number. */
static void store_rows(struct limit_case *t, const char *table, int from, int to, const char *column, const char *format,
                       const char *user)
{
	for (int i = from; i < to; i++) {
		struct slice id = arena_printf(&t->arena, "r%d", i);
		char *text = arena_bytes(&t->arena, 40);
		snprintf(text, 40, format, i);
		store_row(&t->store, t->plan, table, ROW("id", arena_cstr(&t->arena, id), column, text, "user_id", user));
	}
}

static bool resolves(struct limit_case *t, size_t max_results, size_t max_buckets)
{
	struct fixture_request r = {.token = "{\"sub\":\"u1\",\"org\":\"o3\",\"orgs\":[\"o3\",\"o4\"]}"};
	struct resolve_limits limits = {max_results, max_buckets};
	struct lookup_reader reader = {.ctx = &t->store, .read = fixture_read};
	struct querier *q = querier_of(t->plan, &r, &t->err);
	assert_non_null(q);
	bool ok = querier_resolve(q, &reader, &limits, &t->arena, &t->out, &t->err);
	if (!ok)
		assert_string_equal(t->err.code, "PSYNC_S2305");
	querier_free(q);
	return ok;
}

#define E3(name, sql) "  " name ": {auto_subscribe: true, query: \"" sql "\"}\n"
#define MEMBERS "(SELECT org FROM members WHERE user_id = auth.user_id())"
#define OPEN "(SELECT org FROM open WHERE user_id = 'all')"

static void intersected_lookups_count_what_is_left_of_them(void **state)
{
	(void)state;
	struct limit_case *t = start(
	        "config: {edition: 3}\nstreams:\n" E3("docs", "SELECT * FROM docs WHERE org IN " MEMBERS " AND org IN " OPEN));
	store_rows(t, "members", 0, 3, "org", "o%d", "u1");
	store_rows(t, "open", 0, 60, "org", "o%d", "all");
	assert_true(resolves(t, 6, 3));
	assert_string_equal(bucket_list(t->plan, &t->out, &t->arena), "docs|0[\"o0\"]:3 docs|0[\"o1\"]:3 docs|0[\"o2\"]:3");
	assert_false(resolves(t, 5, 1000));
	assert_string_equal(t->err.message, "Too many parameter query results (limit of 5)");
	finish(t);
}

static void values_of_the_request_narrow_a_lookup_before_it_counts(void **state)
{
	(void)state;
	struct limit_case *t =
	        start("config: {edition: 3}\nstreams:\n" E3("one", "SELECT * FROM docs WHERE org IN " OPEN
	                                                           " AND org = auth.parameter('org')")
	                      E3("two", "SELECT id FROM docs WHERE org IN " OPEN " AND org IN auth.parameter('orgs')"));
	store_rows(t, "open", 0, 60, "org", "o%d", "all");
	assert_true(resolves(t, 2, 1000));
	assert_string_equal(bucket_list(t->plan, &t->out, &t->arena), "one|0[\"o3\"]:3 two|0[\"o3\"]:3 two|0[\"o4\"]:3");
	finish(t);
}

static void equal_lookups_of_several_streams_count_once(void **state)
{
	(void)state;
	struct limit_case *t = start("config: {edition: 3}\nstreams:\n" E3("a", "SELECT * FROM docs WHERE org IN " MEMBERS)
	                                     E3("b", "SELECT * FROM notes WHERE org IN " MEMBERS)
	                                             E3("c", "SELECT * FROM tags WHERE org IN " MEMBERS " AND org IN " OPEN));
	store_rows(t, "members", 0, 10, "org", "o%d", "u1");
	store_rows(t, "open", 0, 2, "org", "o%d", "all");
	assert_true(resolves(t, 12, 1000));
	assert_int_equal(t->store.reads, 2);
	assert_int_equal(t->store.calls, 2);
	assert_int_equal(t->out.bucket_count, 22);
	assert_false(resolves(t, 11, 1000));
	finish(t);
}

static void equal_parameter_queries_of_several_definitions_count_once(void **state)
{
	(void)state;
	struct limit_case *t = start("bucket_definitions:\n"
	                             "  a:\n    parameters: SELECT org FROM members WHERE user_id = request.user_id()\n"
	                             "    data: [SELECT * FROM docs WHERE org = bucket.org]\n"
	                             "  b:\n    parameters: SELECT org FROM members WHERE user_id = request.user_id()\n"
	                             "    data: [SELECT * FROM notes WHERE org = bucket.org]\n");
	store_rows(t, "members", 0, 10, "org", "o%d", "u1");
	assert_true(resolves(t, 10, 1000));
	assert_int_equal(t->store.reads, 1);
	assert_int_equal(t->out.bucket_count, 20);
	assert_int_equal(t->out.lookup_count, 2);
	finish(t);
}

static void distinct_counts_distinct_results(void **state)
{
	(void)state;
	struct limit_case *t = start("config: {edition: 3}\nstreams:\n" E3(
	        "docs", "SELECT * FROM docs WHERE org IN (SELECT DISTINCT org FROM members WHERE user_id = auth.user_id())"));
	store_rows(t, "members", 0, 30, "org", "same", "u1");
	assert_true(resolves(t, 1, 1));
	finish(t);
	t = start("config: {edition: 3}\nstreams:\n" E3("docs", "SELECT * FROM docs WHERE org IN " MEMBERS));
	store_rows(t, "members", 0, 30, "org", "same", "u1");
	assert_false(resolves(t, 29, 1));
	assert_true(resolves(t, 30, 1));
	finish(t);
}

static void distinct_of_the_outer_select_counts_for_joined_tables(void **state)
{
	(void)state;
	struct limit_case *t = start("config: {edition: 3}\nstreams:\n" E3(
	        "docs",
	        "SELECT DISTINCT docs.* FROM docs, members WHERE docs.org = members.org AND members.user_id = auth.user_id()"));
	store_rows(t, "members", 0, 30, "org", "same", "u1");
	assert_true(resolves(t, 1, 1));
	finish(t);
}

static void the_number_of_lookups_is_limited_for_each_query_alone(void **state)
{
	(void)state;
	struct limit_case *t = start("config: {edition: 3}\nstreams:\n" E3(
	        "a",
	        "SELECT docs.* FROM docs, members, a WHERE docs.a = a.id AND a.org = members.org AND members.user_id = "
	        "auth.user_id()") E3("b", "SELECT docs.* FROM docs, members, b WHERE docs.b = b.id AND b.org = members.org AND "
	                                  "members.user_id = auth.user_id()"));
	store_rows(t, "members", 0, 10, "org", "o%d", "u1");
	assert_true(resolves(t, 10, 1000)); /* 10 lookups in a, 10 in b, and one in members */
	assert_int_equal(t->out.lookup_count, 21);
	finish(t);
}

static void intersections_cost_bounded_work(void **state)
{
	(void)state;
	/* Four lookups of 45 rows each would be 4 million combinations if they were joined first and compared then. */
	struct limit_case *t = start("config: {edition: 3}\nstreams:\n" E3(
	        "s",
	        "SELECT * FROM d WHERE o IN (SELECT o FROM a WHERE user_id = auth.user_id()) AND o IN (SELECT o FROM b WHERE "
	        "user_id = auth.user_id()) AND o IN (SELECT o FROM c WHERE user_id = auth.user_id()) AND o IN (SELECT o FROM e "
	        "WHERE user_id = auth.user_id())"));
	static const char *const tables[] = {"a", "b", "c", "e"};
	for (int i = 0; i < 4; i++)
		store_rows(t, tables[i], i * 10, i * 10 + 45, "o", "o%d", "u1");
	assert_true(resolves(t, 60, 15));
	assert_int_equal(t->out.bucket_count, 15);
	finish(t);
}

static void the_operator_is_told_where_the_results_come_from(void **state)
{
	(void)state;
	struct limit_case *t = start("config: {edition: 3}\nstreams:\n" E3(
	        "few", "SELECT * FROM docs WHERE o IN (SELECT o FROM shares "
	               "WHERE user_id = auth.user_id())") E3("many", "SELECT * FROM notes WHERE org IN " MEMBERS));
	store_rows(t, "shares", 0, 3, "o", "s%d", "u1");
	store_rows(t, "members", 0, 30, "org", "o%d", "u1");
	assert_false(resolves(t, 20, 1000));
	assert_string_equal(t->err.message, "Too many parameter query results (limit of 20)");
	assert_slice(t->out.breakdown, "30 from many (lookup on public.members), 3 from few (lookup on public.shares)");
	assert_false(resolves(t, 100, 20));
	assert_string_equal(t->err.message, "Too many buckets: 33 (limit of 20)");
	assert_slice(t->out.breakdown, "30 from many|0, 3 from few|0");
	assert_true(resolves(t, 100, 100));
	assert_int_equal(t->out.breakdown.n, 0);
	finish(t);
}

static void a_long_breakdown_is_cut(void **state)
{
	(void)state;
	struct buf yaml = {0};
	buf_lit(&yaml, "bucket_definitions:\n");
	for (int i = 0; i < 14; i++)
		buf_printf(&yaml, "  d%d: {data: []}\n", i);
	buf_putc(&yaml, 0);
	struct limit_case *t = start(yaml.p);
	assert_false(resolves(t, 10, 5));
	assert_slice(t->out.breakdown, "1 from d0, 1 from d1, 1 from d2, 1 from d3, 1 from d4, 1 from d5, 1 from d6, 1 from d7, "
	                               "1 from d8, 1 from d9, 4 from 4 others");
	buf_free(&yaml);
	finish(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(intersected_lookups_count_what_is_left_of_them),
	        cmocka_unit_test(values_of_the_request_narrow_a_lookup_before_it_counts),
	        cmocka_unit_test(equal_lookups_of_several_streams_count_once),
	        cmocka_unit_test(equal_parameter_queries_of_several_definitions_count_once),
	        cmocka_unit_test(distinct_counts_distinct_results),
	        cmocka_unit_test(distinct_of_the_outer_select_counts_for_joined_tables),
	        cmocka_unit_test(the_number_of_lookups_is_limited_for_each_query_alone),
	        cmocka_unit_test(intersections_cost_bounded_work),
	        cmocka_unit_test(the_operator_is_told_where_the_results_come_from),
	        cmocka_unit_test(a_long_breakdown_is_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
