/* test_rows.c: rows to bucket entries and lookup entries. */
#include "rules/plan_fixture.h"

static void star_copies_columns_but_not_hidden_ones(void **state)
{
	(void)state;
	struct arena arena = {0};
	struct plan *p = plan_of("bucket_definitions:\n  a: {data: [SELECT * FROM t]}\n");
	struct evaluation e =
	        evaluate(p, "t", ROW("id", "1", "_x", "h", "n", "~", "b", "!", "gone", "?", "7", "i", "10", "j"), &arena);
	assert_int_equal(e.entry_count, 1);
	/* Names like array indexes come first. */
	assert_slice(e.entries[0].data, "{\"7\":\"i\",\"10\":\"j\",\"id\":\"1\",\"n\":null}");
	assert_slice(e.entries[0].keys, "[]");
	arena_free(&arena);
	plan_unref(p);
}

static void star_fills_only_what_is_null(void **state)
{
	(void)state;
	struct arena arena = {0};
	struct plan *p = plan_of("bucket_definitions:\n  a:\n    data: [\"SELECT NULL AS a, 'x' AS b, *, 5 AS c FROM t\"]\n");
	struct evaluation e = evaluate(p, "t", ROW("id", "1", "a", "s", "b", "s", "c", "s"), &arena);
	assert_slice(e.entries[0].data, "{\"a\":\"s\",\"b\":\"x\",\"id\":\"1\",\"c\":5}");
	arena_free(&arena);
	plan_unref(p);
}

static void edition_3_keeps_hidden_columns_and_overwrites(void **state)
{
	(void)state;
	struct arena arena = {0};
	struct plan *p = plan_of("config: {edition: 3}\nstreams: {s: {query: \"SELECT 'x' AS b, * FROM t\"}}\n");
	struct evaluation e = evaluate(p, "t", ROW("id", "1", "_h", "2", "b", "s"), &arena);
	assert_slice(e.entries[0].data, "{\"b\":\"s\",\"id\":\"1\",\"_h\":\"2\"}");
	arena_free(&arena);
	plan_unref(p);
}

static void entries_with_the_same_columns_share_their_text(void **state)
{
	(void)state;
	struct arena arena = {0};
	struct plan *p =
	        plan_of("bucket_definitions:\n"
	                "  a: {data: [SELECT * FROM t]}\n"
	                "  b: {parameters: SELECT request.user_id() AS u, data: [SELECT * FROM t AS other WHERE o = bucket.u]}\n"
	                "  c: {data: ['SELECT id, o FROM t']}\n");
	struct evaluation e = evaluate(p, "t", ROW("id", "1", "o", "u1", "x", "y"), &arena);
	assert_int_equal(e.entry_count, 3);
	assert_ptr_equal(e.entries[0].data.p, e.entries[1].data.p);
	assert_ptr_not_equal(e.entries[0].data.p, e.entries[2].data.p);
	assert_slice(e.entries[1].object_type, "other");
	assert_slice(e.entries[1].keys, "[\"u1\"]");
	arena_free(&arena);
	plan_unref(p);
}

static void repeated_entries_come_once(void **state)
{
	(void)state;
	struct arena arena = {0};
	struct plan *p = plan_of("bucket_definitions:\n  a:\n    parameters: SELECT request.user_id() AS u\n"
	                         "    data: [SELECT id FROM t WHERE bucket.u IN tags]\n");
	struct evaluation e = evaluate(p, "t", ROW("id", "1", "tags", "[\"a\",\"b\",\"a\",1,1.0,true]"), &arena);
	assert_int_equal(e.entry_count, 4);
	struct evaluation many;
	struct buf tags = {0};
	buf_putc(&tags, '[');
	for (int i = 0; i < 1000; i++)
		buf_printf(&tags, "%s\"%d\"", i ? "," : "", i % 100);
	buf_lit(&tags, "]");
	buf_putc(&tags, '\0');
	many = evaluate(p, "t", ROW("id", "1", "tags", tags.p), &arena);
	assert_int_equal(many.entry_count, 100);
	buf_free(&tags);
	arena_free(&arena);
	plan_unref(p);
}

static void a_failing_query_gives_nothing_and_leaves_the_others_alone(void **state)
{
	(void)state;
	struct arena arena = {0};
	struct plan *p = plan_of("bucket_definitions:\n  a:\n    data:\n      - SELECT id FROM t WHERE a ->> 'x' = 1\n      - "
	                         "SELECT id, a FROM t\n");
	struct evaluation e = evaluate(p, "t", ROW("id", "1", "a", "not json"), &arena);
	assert_int_equal(e.entry_count, 1);
	assert_int_equal(e.fault_count, 1);
	assert_true(e.faults[0].message.n > 0);
	arena_free(&arena);
	plan_unref(p);
}

static void used_columns_are_known(void **state)
{
	(void)state;
	struct plan *p = plan_of("bucket_definitions:\n  a: {data: ['SELECT id, upper(b) AS u FROM t WHERE c = 1']}\n");
	struct fixture_row r = ROW("id", "1", "a", "x", "b", "y", "c", "z");
	struct bound_table *b = bind_row(p, "t", &r);
	static const bool used[] = {true, false, true, true};
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(bound_table_uses_column(b, i), used[i]);
	assert_null(bind_row(p, "other", &r));
	bound_table_free(b);
	plan_unref(p);
}

static void the_number_of_combinations_is_bounded(void **state)
{
	(void)state;
	struct arena arena = {0};
	struct buf yaml = {0};
	buf_lit(&yaml, "bucket_definitions:\n  a:\n    parameters: 'SELECT 1 AS p0");
	for (int i = 1; i < 20; i++)
		buf_printf(&yaml, ", 1 AS p%d", i);
	buf_lit(&yaml, "'\n    data: ['SELECT id FROM t WHERE ");
	for (int i = 0; i < 20; i++)
		buf_printf(&yaml, "%s(a = bucket.p%d OR b = bucket.p%d)", i ? " AND " : "", i, i);
	buf_lit(&yaml, "']\n");
	buf_putc(&yaml, '\0');
	struct plan *p = plan_of(yaml.p);
	struct evaluation e = evaluate(p, "t", ROW("id", "1", "a", "x", "b", "y"), &arena);
	assert_int_equal(e.entry_count, 0);
	assert_int_equal(e.fault_count, 1);
	buf_free(&yaml);
	arena_free(&arena);
	plan_unref(p);
}

static void lookups_of_a_row_come_once_per_key(void **state)
{
	(void)state;
	struct arena arena = {0};
	struct plan *p = plan_of("config: {edition: 3}\nstreams: {s: {query: \"SELECT d.* FROM d, m, json_each(m.users) AS u "
	                         "WHERE d.id = m.doc AND u.value = auth.user_id() "
	                         "AND u.key = d.rank\"}}\n");
	struct evaluation e = evaluate(p, "m", ROW("doc", "d1", "users", "[\"u1\",\"u2\",\"u1\"]"), &arena);
	assert_int_equal(e.lookup_count, 2);
	assert_slice(e.lookups[0].key, "[\"u1\"]");
	assert_slice(e.lookups[0].results, "[{\"0\":\"d1\",\"1\":0},{\"0\":\"d1\",\"1\":2}]");
	assert_slice(e.lookups[1].results, "[{\"0\":\"d1\",\"1\":1}]");
	arena_free(&arena);
	plan_unref(p);
}

static void large_texts_are_written_whole(void **state)
{
	(void)state;
	struct arena arena = {0};
	struct plan *p = plan_of("bucket_definitions:\n  a: {data: [SELECT * FROM t]}\n");
	size_t n = 3 << 20;
	char *text = malloc(n + 1);
	memset(text, '\x01', n); /* six bytes each in JSON */
	text[n] = '\0';
	struct evaluation e = evaluate(p, "t", ROW("id", "1", "x", text, "y", "z"), &arena);
	assert_int_equal(e.entries[0].data.n, strlen("{\"id\":\"1\",\"x\":\"\",\"y\":\"z\"}") + 6 * n);
	assert_true(slice_ends(e.entries[0].data, SLICE(",\"y\":\"z\"}")));
	free(text);
	arena_free(&arena);
	plan_unref(p);
}

static void events_give_payloads(void **state)
{
	(void)state;
	struct arena arena = {0};
	struct plan *p = plan_of(
	        "bucket_definitions: {}\nevent_definitions:\n  e:\n    payloads:\n      - SELECT a FROM t WHERE no_such(x)\n");
	struct fixture_row r = ROW("id", "1", "a", "x");
	struct bound_table *b = bind_row(p, "t", &r);
	struct row_event *events;
	size_t count;
	bound_events(b, r.values, &arena, &events, &count);
	assert_int_equal(count, 1);
	assert_slice(events[0].data, "{\"a\":\"x\"}");
	bound_table_free(b);
	arena_free(&arena);
	plan_unref(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(star_copies_columns_but_not_hidden_ones),
	        cmocka_unit_test(star_fills_only_what_is_null),
	        cmocka_unit_test(edition_3_keeps_hidden_columns_and_overwrites),
	        cmocka_unit_test(entries_with_the_same_columns_share_their_text),
	        cmocka_unit_test(repeated_entries_come_once),
	        cmocka_unit_test(a_failing_query_gives_nothing_and_leaves_the_others_alone),
	        cmocka_unit_test(used_columns_are_known),
	        cmocka_unit_test(the_number_of_combinations_is_bounded),
	        cmocka_unit_test(lookups_of_a_row_come_once_per_key),
	        cmocka_unit_test(large_texts_are_written_whole),
	        cmocka_unit_test(events_give_payloads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
