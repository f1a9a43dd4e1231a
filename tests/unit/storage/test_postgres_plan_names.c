/* What the shared layout calls the definitions of a plan, and when a stored compiled plan is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>

#include "storage/postgres/plan_names.h"

static const char yaml[] =
        "config:\n"
        "  edition: 3\n"
        "streams:\n"
        "  mine:\n"
        "    query: SELECT * FROM lists WHERE owner_id = auth.user_id()\n"
        "  todos:\n"
        "    query: SELECT * FROM todos WHERE list_id IN (SELECT list_id FROM members WHERE user_id = auth.user_id())\n";

/* The form of sync-streams 14, as far as it is looked at. %s: table of the second bucket, its name, query id and further indexes. */
static const char stored[] =
        "{\"compatibility\":{\"edition\":3,\"overrides\":{}},\"plan\":{\"dataSources\":["
        "{\"table\":{\"connection\":null,\"schema\":null,\"table\":\"lists\"},\"filters\":[],\"tableValuedFunctions\":[],"
        "\"partitionBy\":[{}]},"
        "{\"table\":{\"connection\":null,\"schema\":null,\"table\":\"%s\"},\"filters\":[],\"tableValuedFunctions\":[],"
        "\"partitionBy\":[{}]}],"
        "\"buckets\":[{\"uniqueName\":\"mine|0\",\"sources\":[0]},{\"uniqueName\":\"%s\",\"sources\":[1]}],"
        "\"parameterIndexes\":[{\"table\":{\"connection\":null,\"schema\":null,\"table\":\"members\"},\"filters\":[],"
        "\"tableValuedFunctions\":[],\"partitionBy\":[{}],\"output\":[{}],\"lookupScope\":{\"lookupName\":\"lookup\",\"queryId\":"
        "\"%s\"}}%s],"
        "\"streams\":[],\"version\":1}}";

static struct plan *compile(const char *text)
{
	struct diagnostics d = {0};
	struct plan *p = plan_compile(slice_cstr(text), SLICE("public"), &d);
	diagnostics_free(&d);
	assert_non_null(p);
	return p;
}

static bool agrees(const char *table, const char *bucket, const char *query_id, const char *more)
{
	struct error err = {.code = ""};
	struct plan *p = compile(yaml);
	char text[2048];
	snprintf(text, sizeof(text), stored, table, bucket, query_id, more);
	bool ok = pg_plan_agrees(p, slice_cstr(text), &err);
	if (!ok)
		assert_string_equal(err.code, "PSYNC_S1005");
	plan_unref(p);
	return ok;
}

static void test_a_stored_plan_that_differs_is_refused(void **state)
{
	(void)state;
	assert_true(agrees("todos", "todos|0", "0", ""));
	assert_false(agrees("todos", "todos|1", "0", ""));
	assert_false(agrees("items", "todos|0", "0", ""));
	assert_false(agrees("todos", "todos|0", "1", ""));
	assert_false(agrees("todos", "todos|0", "0", ",{}"));
}

static void test_names(void **state)
{
	(void)state;
	struct arena arena = {0};
	struct pg_definition d;
	struct plan *p = compile("bucket_definitions:\n"
	                         "  by_list:\n"
	                         "    parameters:\n"
	                         "      - SELECT 'x' AS list_id\n"
	                         "      - SELECT list_id FROM members WHERE user_id = request.user_id()\n"
	                         "    data: [SELECT id FROM todos WHERE list_id = bucket.list_id]\n");
	assert_int_equal(plan_definition_count(p), 2);
	for (uint32_t i = 0; i < 2; i++) {
		pg_plan_name(p, i, 7, 2, &arena, &d);
		assert_true(slice_eq(d.unique, SLICE("by_list")));
		if (d.kind == DEFINITION_LOOKUP) { /* static queries count */
			assert_true(slice_eq(d.query_id, SLICE("2")));
			continue;
		}
		assert_true(slice_eq(d.head, SLICE("7#by_list")));
		pg_plan_name(p, i, 7, 1, &arena, &d);
		assert_true(slice_eq(d.head, SLICE("by_list")));
	}
	plan_unref(p);
	arena_free(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_a_stored_plan_that_differs_is_refused),
	        cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
