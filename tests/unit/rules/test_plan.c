/* test_plan.c: what a compiled plan tells about itself, and what identifies a definition. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "rules/plan_fixture.h"

static bool same_hash(struct plan *a, uint32_t i, struct plan *b, uint32_t j)
{
	return memcmp(plan_definition(a, i)->hash, plan_definition(b, j)->hash, 32) == 0;
}

static void definitions_come_in_file_order_with_their_lookups(void **state)
{
	(void)state;
	struct plan *p = plan_of("bucket_definitions:\n"
	                         "  all: {data: [SELECT * FROM lists]}\n"
	                         "  mine:\n"
	                         "    parameters: SELECT list_id FROM members WHERE user_id = request.user_id()\n"
	                         "    data: [SELECT * FROM todos WHERE list_id = bucket.list_id]\n");
	assert_int_equal(plan_definition_count(p), 3);
	assert_slice(plan_definition(p, 0)->name, "all");
	assert_slice(plan_definition(p, 1)->name, "mine");
	assert_int_equal(plan_definition(p, 2)->kind, DEFINITION_LOOKUP);
	assert_true(plan_uses_table(p, SLICE("default"), SLICE("public"), SLICE("members")));
	assert_false(plan_uses_table(p, SLICE("default"), SLICE("other"), SLICE("members")));
	assert_false(plan_uses_table(p, SLICE("second"), SLICE("public"), SLICE("members")));
	assert_int_equal(plan_stream_count(p), 2);
	assert_true(plan_stream_is_default(p, 0));
	plan_unref(p);
}

static void patterns_with_wildcards_match_by_prefix(void **state)
{
	(void)state;
	struct plan *p = plan_of("bucket_definitions:\n  a:\n    data:\n      - SELECT * FROM \"tag.app%\".\"log_%\"\n");
	const struct table_pattern *t = plan_pattern(p, 0);
	assert_true(table_pattern_matches(t, SLICE("tag"), SLICE("app2"), SLICE("log_")));
	assert_true(table_pattern_matches(t, SLICE("tag"), SLICE("app"), SLICE("log_2024")));
	assert_false(table_pattern_matches(t, SLICE("tag"), SLICE("ap"), SLICE("log_2024")));
	assert_false(table_pattern_matches(t, SLICE("default"), SLICE("app"), SLICE("log_2024")));
	plan_unref(p);
}

/* incremental-deploy 1: not part of the identity. */
static void names_priority_and_requests_do_not_change_the_identity(void **state)
{
	(void)state;
	struct plan *a = plan_of("config: {edition: 3}\nstreams:\n"
	                         "  one: {query: SELECT * FROM t WHERE owner = auth.user_id()}\n");
	struct plan *b = plan_of(
	        "config: {edition: 3}\nstreams:\n"
	        "  # a comment\n"
	        "  first: {query: SELECT * FROM other}\n"
	        "  two:\n    priority: 1\n    auto_subscribe: true\n"
	        "    query: SELECT  *  FROM t  WHERE subscription.parameter('x') = t.owner AND auth.parameter('admin')\n");
	assert_int_equal(plan_definition_count(b), 2);
	assert_true(same_hash(a, 0, b, 1));
	assert_true(slice_eq(plan_definition(a, 0)->content, plan_definition(b, 1)->content));
	assert_false(same_hash(a, 0, b, 0));
	plan_unref(a);
	plan_unref(b);
}

static void what_decides_a_row_changes_the_identity(void **state)
{
	(void)state;
	static const char *const texts[] = {
	        "config: {edition: 3}\nstreams: {s: {query: SELECT * FROM t WHERE owner = auth.user_id()}}\n",
	        "config: {edition: 3}\nstreams: {s: {query: SELECT * FROM t WHERE editor = auth.user_id()}}\n",
	        "config: {edition: 3}\nstreams: {s: {query: SELECT * FROM other.t WHERE owner = auth.user_id()}}\n",
	        "config: {edition: 3}\nstreams: {s: {query: SELECT * FROM t AS u WHERE owner = auth.user_id()}}\n",
	        "config: {edition: 3}\nstreams: {s: {query: 'SELECT id, a FROM t WHERE owner = auth.user_id()'}}\n",
	        "config: {edition: 3}\nstreams: {s: {query: 'SELECT id, b AS a FROM t WHERE owner = auth.user_id()'}}\n",
	        "config: {edition: 3}\nstreams: {s: {query: SELECT * FROM t WHERE owner = auth.user_id() AND a = 1}}\n",
	        "config: {edition: 3}\nstreams: {s: {query: SELECT * FROM t WHERE owner = auth.user_id() AND a = 1.0}}\n",
	        "config: {edition: 3}\nstreams: {s: {query: SELECT * FROM t WHERE owner = auth.user_id() AND a = '1'}}\n",
	        "config: {edition: 3, timestamps_iso8601: false}\nstreams: {s: {query: SELECT * FROM t WHERE owner = "
	        "auth.user_id()}}\n",
	        "config: {edition: 3, fixed_json_extract: false}\nstreams: {s: {query: SELECT * FROM t WHERE owner = "
	        "auth.user_id()}}\n",
	        "config: {edition: 3, timestamp_max_precision: seconds}\nstreams: {s: {query: SELECT * FROM t WHERE owner = "
	        "auth.user_id()}}\n",
	        "config: {edition: 2}\nstreams: {s: {query: SELECT * FROM t WHERE owner = auth.user_id()}}\n",
	        "config: {edition: 2}\nbucket_definitions: {b: {parameters: SELECT request.user_id() AS o, data: [SELECT * FROM "
	        "t WHERE owner = bucket.o]}}\n",
	};
	enum { COUNT = sizeof(texts) / sizeof(*texts) };
	struct plan *plans[COUNT];
	for (size_t i = 0; i < COUNT; i++)
		plans[i] = plan_of(texts[i]);
	for (size_t i = 0; i < COUNT; i++)
		for (size_t j = 0; j < i; j++)
			if (same_hash(plans[i], 0, plans[j], 0))
				fail_msg("%zu and %zu have one identity", i, j);
	for (size_t i = 0; i < COUNT; i++)
		plan_unref(plans[i]);
}

static void equal_bucket_definitions_are_told_apart_by_occurrence(void **state)
{
	(void)state;
	struct plan *p = plan_of("bucket_definitions:\n  a: {data: [SELECT * FROM t]}\n  b: {data: [SELECT * FROM t]}\n");
	struct plan *q = plan_of("bucket_definitions:\n  c: {data: [SELECT * FROM t]}\n");
	assert_true(slice_eq(plan_definition(p, 0)->content, plan_definition(p, 1)->content));
	assert_false(same_hash(p, 0, p, 1));
	assert_true(same_hash(p, 0, q, 0));
	plan_unref(p);
	plan_unref(q);
}

static void order_of_data_queries_does_not_matter_for_the_identity(void **state)
{
	(void)state;
	struct plan *a = plan_of("bucket_definitions:\n  a: {data: [SELECT * FROM t, SELECT * FROM u]}\n");
	struct plan *b = plan_of("bucket_definitions:\n  a: {data: [SELECT * FROM u, SELECT * FROM t]}\n");
	assert_true(same_hash(a, 0, b, 0));
	plan_unref(a);
	plan_unref(b);
}

static void names_of_bucket_parameters_do_not_matter_for_the_identity(void **state)
{
	(void)state;
	struct plan *a = plan_of("bucket_definitions:\n  a: {parameters: 'SELECT 1 AS x, 2 AS y', data: [SELECT * FROM t WHERE a "
	                         "= bucket.x AND b = bucket.y]}\n");
	struct plan *b = plan_of("bucket_definitions:\n  a: {parameters: 'SELECT 1 AS p, 2 AS q', data: [SELECT * FROM t WHERE a "
	                         "= bucket.p AND b = bucket.q]}\n");
	struct plan *c = plan_of("bucket_definitions:\n  a: {parameters: 'SELECT 1 AS p, 2 AS q', data: [SELECT * FROM t WHERE a "
	                         "= bucket.q AND b = bucket.p]}\n");
	assert_true(same_hash(a, 0, b, 0));
	assert_false(same_hash(a, 0, c, 0));
	plan_unref(a);
	plan_unref(b);
	plan_unref(c);
}

static void references_keep_a_plan_alive(void **state)
{
	(void)state;
	struct plan *p = plan_of("bucket_definitions:\n  a: {data: [SELECT * FROM t]}\n");
	struct fixture_row r = ROW("id", "1");
	struct bound_table *b = bind_row(p, "t", &r);
	plan_unref(p);
	struct arena arena = {0};
	struct evaluation out;
	bound_evaluate(b, r.values, &arena, &out);
	assert_int_equal(out.entry_count, 1);
	bound_table_free(b);
	arena_free(&arena);
}

static void the_dump_names_everything(void **state)
{
	(void)state;
	struct plan *p = plan_of("config: {edition: 3}\nstreams:\n  s:\n    auto_subscribe: true\n"
	                         "    query: SELECT * FROM t WHERE l IN (SELECT id FROM lists WHERE o = auth.user_id())\n");
	struct buf out = {0};
	plan_print(p, &out);
	buf_putc(&out, '\0');
	assert_non_null(strstr(out.p, "edition 3"));
	assert_non_null(strstr(out.p, "buckets 1 \"s|0\""));
	assert_non_null(strstr(out.p, "lookup 0 \"lookup#0\""));
	assert_non_null(strstr(out.p, "keys #0.0"));
	buf_free(&out);
	plan_unref(p);
}

static bool content_has(struct plan *p, uint32_t definition, const char *text)
{
	struct slice content = plan_definition(p, definition)->content;
	return memmem(content.p, content.n, text, strlen(text)) != NULL;
}

/* A fix of datetime() must refill the definitions that call it, and no others. */
static void contents_name_the_revisions_of_what_they_use(void **state)
{
	(void)state;
	struct plan *p = plan_of("config: {edition: 3}\nstreams:\n  a: {query: \"SELECT id, datetime(at) AS at FROM t\"}\n"
	                         "  b: {query: \"SELECT id, a::text AS a FROM t WHERE b > 1 AND c ->> 'x' = 'y'\"}\n"
	                         "  c: {query: \"SELECT * FROM t WHERE auth.user_id() IN tags\"}\n");
	assert_true(content_has(p, 0, "datetime@1 "));
	assert_false(content_has(p, 1, "datetime"));
	assert_true(content_has(p, 1, "cast-text@1 "));
	assert_true(content_has(p, 1, ">@1 "));
	assert_true(content_has(p, 1, "->>@1 "));
	assert_true(content_has(p, 2, "json_each@1 "));
	assert_false(content_has(p, 0, "json_each"));
	for (uint32_t i = 0; i < 3; i++)
		assert_true(content_has(p, i, "types@1 time@1 custom@1 logic@1 data@1 id@1 key@1\n"));
	plan_unref(p);
}

/* Compiling goes on after a fault to report the others, but the query with the fault is not put into the plan: its columns, conditions
 * and parameters may be half made. */
static void a_faulty_query_does_not_reach_the_plan(void **state)
{
	(void)state;
	static const struct {
		const char *sql, *class_name;
	} data[] =
	        {
	                {"SELECT id, nofn(a) AS x FROM t", "function_undefined"},
	                {"SELECT id, bucket.p AS x FROM t", "match_in_expression"},
	                {"SELECT id, a::int AS x, * FROM t", "cast_unsupported"},
	                {"SELECT id FROM t WHERE nofn(a)", "function_undefined"},
	                {"SELECT id FROM t WHERE a = bucket.p OR b", "or_parameters_differ"},
	                {"SELECT id FROM t WHERE bucket.p IN a AND bucket.q IN b", "multiple_array_matches"},
	                {"SELECT id FROM t WHERE a = bucket.p AND bucket.q = bucket.r", "parameters_both_sides"},
	                {"SELECT id FROM t WHERE a LIKE bucket.p", "operator_unsupported"},
	                {"SELECT id FROM t LIMIT 1", "sql_clause_unsupported"},
	        },
	  parameters[] = {
	          {"SELECT nofn(a) AS x FROM t", "function_undefined"},
	          {"SELECT a AS x, upper(b) AS y FROM t", "match_in_expression"},
	          {"SELECT a FROM t WHERE b = nofn(c)", "function_undefined"},
	          {"SELECT a FROM t WHERE b = request.user_id() OR c", "or_parameters_differ"},
	          {"SELECT a FROM t WHERE b IN token_parameters.x AND c IN token_parameters.y", "multiple_array_matches"},
	          {"SELECT a, 5 AS _priority FROM t WHERE b = request.user_id()", "bad_priority"},
	          {"SELECT request.nofn() AS a", "function_undefined"},
	          {"SELECT a FROM json_each(nofn()) AS e", "function_undefined"},
	  };
	/* Found by fuzzing: more parameters in WHERE than the definition has. */
	assert_refused("bucket_definitions:\n  b:\n    parameters: SELECT request.user_id() AS ukd\n    data:\n"
	               "      - SELECT * FROM t WHERE owner = bucket.uid AND org = bucket.org\n",
	               "bucket_parameters_not_covered");
	assert_refused("bucket_definitions:\n  b:\n    parameters: SELECT token_parameters.x AS x, nobody.y AS ynot\n    data:\n"
	               "      - SELECT id FROM t WHERE (a = bucket.x AND b = bucket.y) OR (b = bucket.x AND a = bucket.y)\n",
	               "bucket_parameters_not_covered");
	char yaml[400];
	for (size_t i = 0; i < sizeof(data) / sizeof(*data); i++) {
		snprintf(yaml, sizeof(yaml),
		         "bucket_definitions:\n  d: {parameters: SELECT 1 AS p, data: [\"%s\", SELECT id FROM t]}\n",
		         data[i].sql);
		assert_refused(yaml, data[i].class_name);
	}
	for (size_t i = 0; i < sizeof(parameters) / sizeof(*parameters); i++) {
		snprintf(yaml, sizeof(yaml),
		         "bucket_definitions:\n  d: {parameters: [\"%s\", SELECT 1 AS a], data: [SELECT * FROM t]}\n",
		         parameters[i].sql);
		assert_refused(yaml, parameters[i].class_name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(definitions_come_in_file_order_with_their_lookups),
	        cmocka_unit_test(patterns_with_wildcards_match_by_prefix),
	        cmocka_unit_test(names_priority_and_requests_do_not_change_the_identity),
	        cmocka_unit_test(what_decides_a_row_changes_the_identity),
	        cmocka_unit_test(equal_bucket_definitions_are_told_apart_by_occurrence),
	        cmocka_unit_test(order_of_data_queries_does_not_matter_for_the_identity),
	        cmocka_unit_test(names_of_bucket_parameters_do_not_matter_for_the_identity),
	        cmocka_unit_test(references_keep_a_plan_alive),
	        cmocka_unit_test(the_dump_names_everything),
	        cmocka_unit_test(a_faulty_query_does_not_reach_the_plan),
	        cmocka_unit_test(contents_name_the_revisions_of_what_they_use),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
