/* Why a row passes a query or does not: the first condition that does not hold, with what it saw. */
#define _GNU_SOURCE /* memmem */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rules/explain.h"

static const struct slice names[] = {SLICE_INIT("id"), SLICE_INIT("owner"), SLICE_INIT("done"), SLICE_INIT("tags")};

struct world {
	struct arena arena;
	struct plan *plan;
	struct bound_table *bound;
	struct row_verdict *verdicts;
	size_t count;
};

static void explain(struct world *w, const char *yaml, struct value owner, int64_t done, const char *tags)
{
	struct diagnostics d = {0};
	struct value row[] = {value_text(SLICE("r1")), owner, value_integer(done), value_text(slice_cstr(tags))};
	*w = (struct world){0};
	w->plan = plan_compile(slice_cstr(yaml), SLICE("public"), &d);
	if (!w->plan)
		fail_msg("%.*s", SLICE_ARG(d.items[0].message));
	diagnostics_free(&d);
	w->bound = plan_bind(w->plan, &(struct relation_columns){SLICE("default"), SLICE("public"), SLICE("todos"), names, 4});
	assert_non_null(w->bound);
	bound_explain(w->bound, row, &w->arena, &w->verdicts, &w->count);
}

static void done_with(struct world *w)
{
	bound_table_free(w->bound);
	plan_unref(w->plan);
	arena_free(&w->arena);
}

static void assert_reason(const struct row_verdict *v, const char *want)
{
	assert_false(v->passes);
	assert_int_equal(v->reason.n, strlen(want));
	assert_memory_equal(v->reason.p, want, v->reason.n);
}

#define DEFINITIONS(where)                                                                                                       \
	"bucket_definitions:\n  a:\n    parameters: SELECT request.user_id() AS u\n    data:\n      - SELECT * FROM todos "      \
	"WHERE " where "\n"
#define STREAM(where) "config: {edition: 3}\nstreams:\n  a:\n    query: SELECT * FROM todos WHERE " where "\n"

static void the_first_false_part_of_a_conjunction_is_told(void **state)
{
	(void)state;
	static const char *const configs[] = {DEFINITIONS("owner = bucket.u AND done = 0"),
	                                      STREAM("owner = auth.user_id() AND done = 0")};
	for (size_t i = 0; i < 2; i++) {
		struct world w;
		explain(&w, configs[i], value_text(SLICE("u1")), 1, "[]");
		assert_int_equal(w.count, 1);
		assert_reason(&w.verdicts[0], "(done = 0) is not true (done is 1)");
		done_with(&w);
		explain(&w, configs[i], value_text(SLICE("u1")), 0, "[]");
		assert_true(w.verdicts[0].passes);
		done_with(&w);
	}
}

static void a_key_that_is_null_matches_nothing(void **state)
{
	(void)state;
	static const char *const configs[] = {DEFINITIONS("owner = bucket.u"), STREAM("owner = auth.user_id()")};
	for (size_t i = 0; i < 2; i++) {
		struct world w;
		explain(&w, configs[i], value_null(), 0, "[]");
		assert_reason(&w.verdicts[0], "owner is NULL, which matches nothing (owner is NULL)");
		done_with(&w);
	}
}

static void arrays_without_elements_are_told(void **state)
{
	(void)state;
	struct world w;
	explain(&w, DEFINITIONS("bucket.u IN tags"), value_null(), 0, "[]");
	assert_reason(&w.verdicts[0], "tags is an empty array (tags is \"[]\")");
	done_with(&w);
	explain(&w, DEFINITIONS("bucket.u IN tags"), value_null(), 0, "[\"u1\"]");
	assert_true(w.verdicts[0].passes);
	done_with(&w);
	explain(&w, DEFINITIONS("bucket.u IN tags"), value_null(), 0, "none");
	assert_reason(&w.verdicts[0], "tags is not a JSON array (tags is \"none\")");
	done_with(&w);
}

static void every_branch_of_a_choice_is_told(void **state)
{
	(void)state;
	struct world w;
	explain(&w, "bucket_definitions:\n  a:\n    data:\n      - SELECT * FROM todos WHERE done = 2 OR done = 3\n",
	        value_null(), 1, "[]");
	assert_false(w.verdicts[0].passes);
	assert_non_null(memmem(w.verdicts[0].reason.p, w.verdicts[0].reason.n, "done is 1", 9));
	done_with(&w);
}

static void long_values_are_cut(void **state)
{
	(void)state;
	struct world w;
	char tags[5000];
	memset(tags, 'x', sizeof(tags) - 1);
	tags[sizeof(tags) - 1] = '\0';
	explain(&w, "bucket_definitions:\n  a:\n    data:\n      - SELECT * FROM todos WHERE tags = 'y'\n", value_null(), 1,
	        tags);
	assert_false(w.verdicts[0].passes);
	assert_true(w.verdicts[0].reason.n < 200);
	done_with(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_first_false_part_of_a_conjunction_is_told),
	        cmocka_unit_test(a_key_that_is_null_matches_nothing),
	        cmocka_unit_test(arrays_without_elements_are_told),
	        cmocka_unit_test(every_branch_of_a_choice_is_told),
	        cmocka_unit_test(long_values_are_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
