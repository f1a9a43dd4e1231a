/* test_streams.c: what is special to streams: subscriptions, shared sources, joins by the SQL's own meaning, bounded compiling. */
#include "rules/plan_fixture.h"

#define EDITION_3 "config: {edition: 3}\nstreams:\n"

static void subscriptions_and_the_default_one_are_told_apart(void **state)
{
	(void)state;
	struct plan *p = plan_of(EDITION_3 "  s:\n    auto_subscribe: true\n    priority: 2\n"
	                                   "    query: SELECT * FROM t WHERE l = ifnull(subscription.parameter('l'), 'none')\n");
	struct fixture_request r = {
	        .token = "{\"sub\":\"u\"}",
	        .subscriptions = {{SLICE("s"), SLICE("{\"l\":\"a\"}"), -1},
	                          {SLICE("other"), {0}, -1},
	                          {SLICE("s"), SLICE("{\"l\":\"b\"}"), 0}},
	        .subscription_count = 3,
	};
	assert_buckets(p, r, NULL, "s|0[\"a\"]:2 s|0[\"b\"]:0 s|0[\"none\"]:2");
	struct error err;
	struct arena arena = {0};
	struct resolution out;
	struct querier *q = querier_of(p, &r, &err);
	struct lookup_reader reader = {.read = fixture_read};
	assert_true(querier_resolve(q, &reader, NULL, &arena, &out, &err));
	assert_int_equal(out.stream_count, 1); /* unknown names are left out */
	assert_false(out.buckets[1].reasons[0].is_default);
	assert_int_equal(out.buckets[1].reasons[0].index, 2);
	assert_true(out.buckets[2].reasons[0].is_default);
	assert_false(querier_is_dynamic(q));
	querier_free(q);
	arena_free(&arena);
	plan_unref(p);
}

static void equal_queries_share_one_bucket_source(void **state)
{
	(void)state;
	struct plan *p = plan_of(
	        EDITION_3
	        "  a: {auto_subscribe: true, query: SELECT * FROM t WHERE o = auth.user_id()}\n"
	        "  b: {auto_subscribe: true, priority: 1, query: SELECT x.* FROM t AS x WHERE auth.parameter('sub') = x.o}\n"
	        "  c: {auto_subscribe: true, priority: 0, query: SELECT * FROM t WHERE o = auth.parameter('sub')}\n");
	/* b is another one: it names its table differently. c is a's. */
	assert_int_equal(plan_definition_count(p), 2);
	assert_buckets(p, (struct fixture_request){.token = "{\"sub\":\"u\"}"}, NULL, "a|0[\"u\"]:0 b|0[\"u\"]:1");
	plan_unref(p);
}

static void names_like_numbers_come_first_in_the_list(void **state)
{
	(void)state;
	struct plan *p = plan_of(EDITION_3 "  z: {query: SELECT * FROM a}\n  \"10\": {query: SELECT * FROM b}\n  \"2\": {query: "
	                                   "SELECT * FROM c}\n  \"02\": {query: SELECT * FROM d}\n");
	static const char *const order[] = {"2", "10", "z", "02"};
	for (uint32_t i = 0; i < 4; i++)
		assert_slice(plan_stream_name(p, i), order[i]);
	plan_unref(p);
}

/* sync-streams 9: a row is chosen for each lookup, so that m AS a and m AS b must agree on the organisation. */
static void joined_lookups_never_give_more_than_the_sql(void **state)
{
	(void)state;
	struct plan *p = plan_of(EDITION_3 "  s:\n    auto_subscribe: true\n"
	                                   "    query: SELECT docs.* FROM docs, m AS a, m AS b WHERE docs.org = a.org AND "
	                                   "docs.owner = a.user_id AND a.org = b.org AND b.user_id = auth.user_id()\n");
	struct fixture_store store = {.count = 0};
	store_row(&store, p, "m", ROW("org", "o1", "user_id", "u1"));
	store_row(&store, p, "m", ROW("org", "o1", "user_id", "u2"));
	store_row(&store, p, "m", ROW("org", "o2", "user_id", "u1"));
	assert_buckets(p, (struct fixture_request){.token = "{\"sub\":\"u1\"}"}, &store,
	               "s|0[\"o1\",\"u1\"]:3 s|0[\"o1\",\"u2\"]:3 s|0[\"o2\",\"u1\"]:3");
	arena_free(&store.arena);
	plan_unref(p);
}

static void one_row_feeds_two_keys(void **state)
{
	(void)state;
	struct plan *p =
	        plan_of(EDITION_3 "  s:\n    auto_subscribe: true\n"
	                          "    query: SELECT t.* FROM t, m WHERE t.a = m.x AND t.b = m.y AND m.u = auth.user_id()\n");
	struct fixture_store store = {.count = 0};
	store_row(&store, p, "m", ROW("x", "1", "y", "2", "u", "u1"));
	store_row(&store, p, "m", ROW("x", "3", "y", "4", "u", "u1"));
	store_row(&store, p, "m", ROW("x", "5", "y", "~", "u", "u1"));
	assert_buckets(p, (struct fixture_request){.token = "{\"sub\":\"u1\"}"}, &store, "s|0[\"1\",\"2\"]:3 s|0[\"3\",\"4\"]:3");
	arena_free(&store.arena);
	plan_unref(p);
}

static void values_of_one_key_are_intersected(void **state)
{
	(void)state;
	struct plan *p = plan_of(EDITION_3 "  s:\n    auto_subscribe: true\n"
	                                   "    query: \"SELECT * FROM t WHERE l = subscription.parameter('l') AND l IN (SELECT "
	                                   "id FROM lists WHERE o = auth.user_id())\"\n");
	struct fixture_store store = {.count = 0};
	store_row(&store, p, "lists", ROW("id", "l1", "o", "u1"));
	store_row(&store, p, "lists", ROW("id", "#5", "o", "u1"));
	struct fixture_request r = {.token = "{\"sub\":\"u1\"}", .subscription_count = 1};
	r.subscriptions[0] = (struct subscription_request){SLICE("s"), SLICE("{\"l\":\"l1\"}"), -1};
	assert_buckets(p, r, &store, "s|0[\"l1\"]:3");
	r.subscriptions[0].parameters = SLICE("{\"l\":\"l2\"}");
	assert_buckets(p, r, &store, "");
	/* The token's 5.0 and the table's 5 are equal in SQL. */
	r.subscriptions[0].parameters = SLICE("{\"l\":5}");
	assert_buckets(p, r, &store, "s|0[5]:3");
	arena_free(&store.arena);
	plan_unref(p);
}

/* Rows that differ only in what nobody reads any more are one: 10,000 paths lead to 100 buckets. */
static void paths_that_agree_are_followed_once(void **state)
{
	(void)state;
	struct plan *p =
	        plan_of(EDITION_3 "  s:\n    auto_subscribe: true\n"
	                          "    query: SELECT t.* FROM t, a, b WHERE t.k = b.k AND b.g = a.g AND a.u = auth.user_id()\n");
	struct fixture_store store = {.count = 0};
	char name[16];
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "g%d", i);
		store_row(&store, p, "a", ROW("g", name, "u", "u1"));
		store_row(&store, p, "b", ROW("k", "same", "g", name));
	}
	assert_buckets(p, (struct fixture_request){.token = "{\"sub\":\"u1\"}"}, &store, "s|0[\"same\"]:3");
	assert_int_equal(store.reads, 51);
	assert_int_equal(store.calls, 2);
	arena_free(&store.arena);
	plan_unref(p);
}

/* A store on another machine is asked as often as the longest join has lookups, however many streams and keys there are. */
static void what_all_streams_want_is_read_together(void **state)
{
	(void)state;
	struct plan *p =
	        plan_of(EDITION_3 "  lists: {auto_subscribe: true, query: \"SELECT * FROM lists WHERE id IN (SELECT list FROM "
	                          "members WHERE u = auth.user_id())\"}\n"
	                          "  todos: {auto_subscribe: true, query: \"SELECT t.* FROM todos AS t, l, members AS m WHERE "
	                          "t.list = l.id AND l.id = m.list AND m.u = auth.user_id()\"}\n"
	                          "  notes: {auto_subscribe: true, query: \"SELECT n.* FROM notes AS n, l, members AS m WHERE "
	                          "n.place = l.place AND l.id = m.list AND m.u = auth.user_id()\"}\n"
	                          "  ours: {auto_subscribe: true, query: SELECT * FROM teams WHERE org = auth.user_id()}\n");
	struct fixture_store store = {.count = 0};
	char id[16], place[16];
	for (int i = 0; i < 30; i++) {
		snprintf(id, sizeof(id), "l%d", i);
		snprintf(place, sizeof(place), "p%d", i / 10);
		store_row(&store, p, "members", ROW("list", id, "u", "u1"));
		store_row(&store, p, "l", ROW("id", id, "place", place));
	}
	struct error err;
	struct arena arena = {0};
	struct resolution out;
	struct fixture_request r = {.token = "{\"sub\":\"u1\"}"};
	struct lookup_reader reader = {.ctx = &store, .read = fixture_read};
	struct querier *q = querier_of(p, &r, &err);
	assert_true(querier_resolve(q, &reader, NULL, &arena, &out, &err));
	assert_int_equal(out.bucket_count, 30 + 30 + 3 + 1);
	assert_int_equal(store.calls, 2);
	/* Of the streams in the order of the config, whichever was known first. */
	assert_slice(plan_definition(p, out.buckets[0].definition)->name, "ours|0");
	assert_slice(plan_definition(p, out.buckets[1].definition)->name, "lists|0");
	assert_slice(plan_definition(p, out.buckets[31].definition)->name, "todos|0");
	assert_slice(plan_definition(p, out.buckets[61].definition)->name, "notes|0");
	querier_free(q);
	arena_free(&arena);
	arena_free(&store.arena);
	plan_unref(p);
}

static void an_error_is_reported_for_its_stream_only(void **state)
{
	(void)state;
	struct plan *p =
	        plan_of(EDITION_3 "  bad: {auto_subscribe: true, query: \"SELECT * FROM t WHERE a = auth.user_id() ->> 'x'\"}\n"
	                          "  good: {auto_subscribe: true, query: SELECT * FROM u}\n");
	struct error err;
	struct arena arena = {0};
	struct resolution out;
	struct fixture_request r = {.token = "{\"sub\":\"no json\"}"};
	struct lookup_reader reader = {.read = fixture_read};
	struct querier *q = querier_of(p, &r, &err);
	assert_true(querier_resolve(q, &reader, NULL, &arena, &out, &err));
	assert_string_equal(bucket_list(p, &out, &arena), "good|0[]:3");
	assert_int_equal(out.streams[0].error_count, 1);
	assert_true(out.streams[0].errors[0].is_default);
	assert_true(slice_starts(out.streams[0].errors[0].message, SLICE("Error evaluating bucket ids: ")));
	assert_int_equal(out.streams[1].error_count, 0);
	querier_free(q);
	arena_free(&arena);
	plan_unref(p);
}

static void edition_2_keeps_null_keys_and_ignores_the_priority(void **state)
{
	(void)state;
	struct plan *p =
	        plan_of("config: {edition: 2}\nstreams:\n  s:\n    auto_subscribe: true\n    priority: 1\n"
	                "    query: SELECT * FROM t WHERE o = auth.parameter('missing') AND l IN connection.parameter('ls')\n");
	assert_buckets(p, (struct fixture_request){.token = "{\"sub\":\"u\"}", .client = "{\"ls\":[1,2]}"}, NULL,
	               "s|0[null,1]:3 s|0[null,2]:3");
	plan_unref(p);
}

/* ---- bounds ------------------------------------------------------------------------------------------------------------- */

static char *repeated(const char *head, const char *part, int count, const char *tail)
{
	struct buf out = {0};
	buf_slice_append(&out, slice_cstr(head));
	for (int i = 0; i < count; i++)
		buf_slice_append(&out, slice_cstr(part));
	buf_slice_append(&out, slice_cstr(tail));
	buf_putc(&out, '\0');
	return out.p;
}

static void texts_that_would_explode_are_refused(void **state)
{
	(void)state;
	char *text = repeated(EDITION_3 "  s: {query: \"SELECT * FROM t WHERE ",
	                      "(a = auth.user_id() OR b = auth.user_id()) AND ", 50, "c = 1\"}\n");
	assert_refused(text, "too-many-terms");
	free(text);
	/* Each level doubles its column. */
	text = repeated(EDITION_3 "  s: {query: \"SELECT q.x AS id FROM ", "(SELECT q.x || q.x AS x FROM ", 60, "t AS q");
	struct buf deep = {0};
	buf_slice_append(&deep, slice_cstr(text));
	for (int i = 0; i < 60; i++)
		buf_lit(&deep, ") AS q");
	buf_lit(&deep, "\"}\n");
	buf_putc(&deep, '\0');
	assert_refused(deep.p, "unsupported-expression");
	free(text);
	buf_free(&deep);
	text = repeated(EDITION_3 "  s: {query: \"SELECT * FROM t WHERE ", "NOT ", 5000, "a = 1\"}\n");
	assert_refused(text, "sql-syntax");
	free(text);
	text = repeated(EDITION_3 "  s: {query: \"SELECT * FROM t WHERE a = 1", " AND x = auth.user_id()", 5000, "\"}\n");
	struct diagnostics d;
	struct plan *p = plan_compile(slice_cstr(text), SLICE("public"), &d);
	assert_null(p); /* too many conditions; what matters is that it ends soon */
	diagnostics_free(&d);
	free(text);
}

static void unsupported_queries_are_refused_by_kind(void **state)
{
	(void)state;
	assert_refused(EDITION_3 "  s: {query: SELECT * FROM t LEFT JOIN u ON u.id = t.id}\n", "unsupported-join");
	assert_refused(EDITION_3 "  s: {query: SELECT * FROM t WHERE n < auth.parameter('n')}\n", "mixed-row-and-request");
	assert_refused(EDITION_3 "  s: {query: SELECT id FROM t LIMIT 5}\n", "unsupported-clause");
	assert_refused(EDITION_3 "  s: {queries: SELECT id FROM t}\n", "wrong-yaml-type");
	assert_refused("config: {edition: 2}\nstreams: {s: {query: SELECT * FROM t WHERE NOT (a IN (SELECT b FROM u WHERE c = "
	               "auth.user_id()))}}\n",
	               "unsupported-negation");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(subscriptions_and_the_default_one_are_told_apart),
	        cmocka_unit_test(equal_queries_share_one_bucket_source),
	        cmocka_unit_test(names_like_numbers_come_first_in_the_list),
	        cmocka_unit_test(joined_lookups_never_give_more_than_the_sql),
	        cmocka_unit_test(one_row_feeds_two_keys),
	        cmocka_unit_test(values_of_one_key_are_intersected),
	        cmocka_unit_test(paths_that_agree_are_followed_once),
	        cmocka_unit_test(what_all_streams_want_is_read_together),
	        cmocka_unit_test(an_error_is_reported_for_its_stream_only),
	        cmocka_unit_test(edition_2_keeps_null_keys_and_ignores_the_priority),
	        cmocka_unit_test(texts_that_would_explode_are_refused),
	        cmocka_unit_test(unsupported_queries_are_refused_by_kind),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
