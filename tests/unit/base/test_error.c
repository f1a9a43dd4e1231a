/* test_error.c: errors as values: message, text in front, detail for the log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

static void an_error_has_code_message_and_text_in_front(void **state)
{
	(void)state;
	struct error e;
	assert_false(error_set(&e, "PSYNC_S0001", "no %s", "file"));
	assert_false(error_prefix(&e, "while reading %d: ", 5));
	assert_string_equal(e.code, "PSYNC_S0001");
	assert_string_equal(e.message, "while reading 5: no file");
	assert_string_equal(e.detail, "");
}

static void a_detail_stays_apart_from_the_message(void **state)
{
	(void)state;
	struct error e;
	error_set(&e, "PSYNC_S2305", "Too many");
	assert_false(error_detail(&e, "%d from %s", 30, "todos"));
	assert_string_equal(e.message, "Too many");
	assert_string_equal(e.detail, "30 from todos");
	error_set(&e, NULL, "something else");
	assert_string_equal(e.detail, "");
	assert_string_equal(e.code, "");
}

static void long_texts_are_cut_and_nobody_may_want_to_know(void **state)
{
	(void)state;
	struct error e;
	char text[3000];
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	error_set(&e, "", "%s", text);
	error_detail(&e, "%s", text);
	assert_int_equal(strlen(e.message), sizeof(e.message) - 1);
	assert_int_equal(strlen(e.detail), sizeof(e.detail) - 1);
	assert_false(error_set(NULL, "", "x"));
	assert_false(error_detail(NULL, "x"));
	assert_false(error_prefix(NULL, "x"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(an_error_has_code_message_and_text_in_front),
	        cmocka_unit_test(a_detail_stays_apart_from_the_message),
	        cmocka_unit_test(long_texts_are_cut_and_nobody_may_want_to_know),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
