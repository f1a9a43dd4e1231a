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

static void write_fields(bool json, const char *message, struct slice fields, char *out, size_t size)
{
	int ends[2];
	assert_int_equal(pipe(ends), 0);
	struct log log = {.level = LOG_INFO, .json = json, .fd = ends[1]};
	log_fields(&log, LOG_WARN, fields, "%s", message);
	ssize_t n = read(ends[0], out, size - 1);
	assert_true(n > 0);
	out[n] = '\0';
	close(ends[0]);
	close(ends[1]);
}

static void fields_are_members_in_alphabetical_order(void **state)
{
	(void)state;
	char line[512];
	struct buf f = {0};
	log_field_text(&f, "zoo", SLICE("a\"b,{"));
	log_field_number(&f, "alpha", -5);
	log_field_json(&f, "object", SLICE("{\"y\":[1,2],\"x\":\"}\"}"));
	write_fields(false, "told", buf_slice(&f), line, sizeof(line));
	assert_non_null(strstr(line, "warn  told {\"alpha\":-5,\"object\":{\"y\":[1,2],\"x\":\"}\"},\"zoo\":\"a\\\"b,{\"}\n"));
	write_fields(true, "told", buf_slice(&f), line, sizeof(line));
	assert_ptr_equal(strstr(line, "{\"alpha\":-5,\"level\":\"warn\",\"message\":\"told\",\"object\":{\"y\":[1,2],\"x\":\"}\"}"
	                              ",\"timestamp\":"),
	                 line);
	assert_non_null(strstr(line, "Z\",\"zoo\":\"a\\\"b,{\"}\n"));
	buf_free(&f);
}

static void what_is_not_utf8_does_not_spoil_a_record(void **state)
{
	(void)state;
	char line[512];
	struct buf f = {0};
	log_field_text(&f, "agent", SLICE("a\xff\xc3z\x7f"));
	write_fields(true, "\xe2\x82", buf_slice(&f), line, sizeof(line));
	assert_non_null(strstr(line, "\"agent\":\"a\xEF\xBF\xBD\xEF\xBF\xBDz\\u007f\""));
	assert_non_null(strstr(line, "\"message\":\"\xEF\xBF\xBD\""));
	buf_free(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_message_cannot_start_a_line_of_its_own),
	        cmocka_unit_test(fields_are_members_in_alphabetical_order),
	        cmocka_unit_test(what_is_not_utf8_does_not_spoil_a_record),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
