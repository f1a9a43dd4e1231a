/* Log lines: text of others stays inside its line, in both formats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

static void write_and_read(bool json, const char *message, char *out, size_t size)
{
	int ends[2];
	assert_int_equal(pipe(ends), 0);
	struct log log = {.level = LOG_INFO, .json = json, .fd = ends[1]};
	log_info(&log, "%s", message);
	ssize_t n = read(ends[0], out, size - 1);
	assert_true(n > 0);
	out[n] = '\0';
	close(ends[0]);
	close(ends[1]);
}

static void a_message_cannot_start_a_line_of_its_own(void **state)
{
	(void)state;
	char line[512];
	write_and_read(false, "user a\nerror forged\r\x1b[31m", line, sizeof(line));
	assert_non_null(strstr(line, "info  user a\\nerror forged\\r\\x1b[31m\n"));
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
	write_and_read(true, "a\n\"b\"", line, sizeof(line));
	assert_non_null(strstr(line, "\"message\":\"a\\u000a\\\"b\\\"\""));
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(a_message_cannot_start_a_line_of_its_own)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
