/* test_progress.c: the line that a person watches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "cli/progress.h"

static void expect(int columns, double part, int64_t elapsed_ms, const char *text, const char *want)
{
	struct buf line = {0};
	progress_line(&line, columns, "Working", part, elapsed_ms, text);
	buf_append(&line, "", 1);
	assert_string_equal(line.p, want);
	buf_free(&line);
}

static void the_part_and_the_text_are_shown(void **state)
{
	(void)state;
	expect(80, 0, 0, "", "Working  [--------------------]   0 %");
	expect(80, 0.25, 100, "1 of 4", "Working  [#####---------------]  25 %  1 of 4");
	expect(80, 1, 100, "", "Working  [####################] 100 %");
	expect(80, 7, 100, "", "Working  [####################] 100 %");
	expect(80, -1, 100, "waiting", "Working  waiting");
}

static void time_is_estimated_once_there_is_something_to_go_by(void **state)
{
	(void)state;
	expect(80, 0.5, 1900, "", "Working  [##########----------]  50 %");
	expect(80, 0.01, 9000, "", "Working  [--------------------]   1 %");
	expect(80, 0.5, 9000, "", "Working  [##########----------]  50 %, 9 s left");
	expect(80, 0.1, 60000, "", "Working  [##------------------]  10 %, 9 min left");
	expect(80, 0.1, 3600000, "", "Working  [##------------------]  10 %, 9 h left");
	expect(80, 1, 9000, "", "Working  [####################] 100 %");
}

static void a_line_never_wraps(void **state)
{
	(void)state;
	expect(12, -1, 0, "waiting", "Working  wa");
	expect(12, -1, 0, "w\xe2\x82\xac", "Working  w");
	expect(14, -1, 0, "w\xe2\x82\xac", "Working  w\xe2\x82\xac");
	expect(1, 0.5, 0, "x", "");
	expect(0, 0.5, 0, "x", "");
}

static void nothing_is_shown_where_nobody_watches(void **state)
{
	(void)state;
	struct progress p = progress_begin("Working", true);
	assert_int_equal(p.fd, -1);
	progress_step(&p, 0.5, "%s", "x");
	progress_show(&p, 0.5, "%s", "x");
	assert_false(p.shown);
	progress_clear(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_part_and_the_text_are_shown),
	        cmocka_unit_test(time_is_estimated_once_there_is_something_to_go_by),
	        cmocka_unit_test(a_line_never_wraps),
	        cmocka_unit_test(nothing_is_shown_where_nobody_watches),
	};
	return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
