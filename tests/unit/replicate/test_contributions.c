/* What a reader keeps of an evaluated row outlives the memory in which it was evaluated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "replicate/binding.h"

static struct slice text_in(struct arena *arena, const char *text)
{
	return arena_copy(arena, slice_cstr(text));
}

static bool lies_in(const struct raw_value *row, const struct value *v)
{
	return v->s.p == row->text.p;
}

static void everything_is_copied_but_texts_of_the_row(void **state)
{
	(void)state;
	struct arena scratch = {0}, kept = {0};
	struct raw_value row[] = {{RAW_TEXT, SLICE("id-1")}, {RAW_TEXT, SLICE("t")}, {RAW_NULL, {NULL, 0}}};
	struct slice names[] = {SLICE("id"), SLICE("done"), SLICE("note")}, data = text_in(&scratch, "{\"id\":\"id-1\"}");
	struct value *values = arena_array(&scratch, struct value, 3);
	values[0] = value_text(row[0].text);
	values[1] = value_integer(1);
	values[2] = value_text(text_in(&scratch, "made"));
	struct put_entry *puts = arena_array(&scratch, struct put_entry, 3);
	puts[0] = (struct put_entry){1, text_in(&scratch, "[]"), SLICE("items"), text_in(&scratch, "id-1"), data, {7}};
	puts[1] = puts[0];
	puts[1].definition = 2;
	puts[2] = (struct put_entry){3,  text_in(&scratch, "[\"u\"]"), SLICE("items"), puts[0].object_id, text_in(&scratch, "{}"),
	                             {9}};
	struct lookup_entry *lookups = arena_array(&scratch, struct lookup_entry, 1);
	lookups[0] = (struct lookup_entry){4, text_in(&scratch, "[\"k\"]"), text_in(&scratch, "[{}]")};
	struct row_contributions from = {puts, 3, lookups, 1, names, values, 3, values, 5}, to;

	contributions_copy(&from, row, &kept, &to);
	arena_free(&scratch);
	assert_int_equal(to.put_count, 3);
	assert_true(slice_eq(to.puts[0].data, SLICE("{\"id\":\"id-1\"}")));
	assert_ptr_equal(to.puts[1].data.p, to.puts[0].data.p); /* a text that several entries share is there once */
	assert_ptr_equal(to.puts[2].object_id.p, to.puts[0].object_id.p);
	assert_true(slice_eq(to.puts[2].data, SLICE("{}")) && slice_eq(to.puts[2].keys, SLICE("[\"u\"]")));
	assert_int_equal(to.puts[1].definition, 2);
	assert_int_equal(to.puts[2].digest[0], 9);
	assert_int_equal(to.lookup_count, 1);
	assert_true(slice_eq(to.lookups[0].key, SLICE("[\"k\"]")) && slice_eq(to.lookups[0].results, SLICE("[{}]")));
	assert_int_equal(to.value_count, 3);
	assert_true(lies_in(row, &to.values[0]));
	assert_int_equal(to.values[1].i, 1);
	assert_true(slice_eq(to.values[2].s, SLICE("made")));
	assert_true(slice_eq(to.other_values[2].s, SLICE("made")));
	assert_int_equal(to.other_plan, 5);
	arena_free(&kept);
}

static void a_row_that_gives_nothing_keeps_nothing(void **state)
{
	(void)state;
	struct arena kept = {0};
	struct row_contributions from = {0}, to;
	contributions_copy(&from, NULL, &kept, &to);
	assert_true(to.put_count == 0 && to.lookup_count == 0 && to.value_count == 0);
	assert_int_equal(kept.total, 0);
	arena_free(&kept);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(everything_is_copied_but_texts_of_the_row),
	        cmocka_unit_test(a_row_that_gives_nothing_keeps_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
