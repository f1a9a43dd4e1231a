/* Arrays that grow in an arena. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"

static void a_grown_array_keeps_its_elements(void **state)
{
	(void)state;
	struct arena arena = {0};
	size_t *items = NULL, cap = 0;
	for (size_t i = 0; i < 5000; i++) {
		items = arena_grow(&arena, items, i, &cap, sizeof(*items));
		assert_true(cap > i);
		items[i] = i;
	}
	for (size_t i = 0; i < 5000; i++)
		assert_int_equal(items[i], i);
	arena_free(&arena);
}

static void a_list_without_a_kept_capacity_does_too(void **state)
{
	(void)state;
	struct arena arena = {0};
	size_t *items = NULL;
	for (size_t i = 0; i < 5000; i++) {
		size_t *grown = arena_grow_list(&arena, items, i, sizeof(*items));
		assert_true((grown == items) == (i != 0 && (i < 4 || (i & (i - 1)) != 0)));
		items = grown;
		items[i] = i;
	}
	for (size_t i = 0; i < 5000; i++)
		assert_int_equal(items[i], i);
	arena_free(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_grown_array_keeps_its_elements),
	        cmocka_unit_test(a_list_without_a_kept_capacity_does_too),
	};
	return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
