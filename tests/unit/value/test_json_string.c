/* JSON strings: every byte, at every place of a block, in texts of every length up to a few blocks. */
#include "fixture.h"

/* The plain way, one byte after the other; no surrogate halves. */
static void append_slowly(struct buf *out, struct slice text)
{
	buf_putc(out, '"');
	for (size_t i = 0; i < text.n; i++) {
		uint8_t c = (uint8_t)text.p[i];
		const char *at = c ? strchr("\"\\\b\t\n\f\r", c) : NULL;
		if (at)
			buf_printf(out, "\\%c", "\"\\btnfr"[at - strchr("\"\\\b\t\n\f\r", '"')]);
		else if (c < 0x20)
			buf_printf(out, "\\u%04x", c);
		else
			buf_putc(out, (char)c);
	}
	buf_putc(out, '"');
}

static void escapes_are_those_of_the_format(void **state)
{
	(void)state;
	const char *text = "a\"b\\c/\b\t\n\f\r\x01\x1f\x7f\xc3\xa9\xe2\x80\xa8\xf0\x9f\x98\x80";
	struct buf out = {0};
	json_append_string(&out, slice_cstr(text));
	assert_slice(buf_slice(&out), "\"a\\\"b\\\\c/\\b\\t\\n\\f\\r\\u0001\\u001f\x7f\xc3\xa9\xe2\x80\xa8\xf0\x9f\x98\x80\"");
	buf_clear(&out);
	json_append_string(&out, slice_make("\0x", 2));
	assert_slice(buf_slice(&out), "\"\\u0000x\"");
	buf_clear(&out);
	json_append_string(&out, slice_make(NULL, 0));
	assert_slice(buf_slice(&out), "\"\"");
	buf_free(&out);
}

static void surrogate_halves_are_escaped_and_hangul_is_not(void **state)
{
	(void)state;
	struct buf out = {0};
	json_append_string(&out, SLICE("\xed\xa0\xbdx\xed\xbf\xbf\xed\x9f\xbf\xed\xa0"));
	assert_slice(buf_slice(&out), "\"\\ud83dx\\udfff\xed\x9f\xbf\xed\xa0\"");
	buf_free(&out);
}

static void every_byte_at_every_place(void **state)
{
	(void)state;
	char text[80];
	struct buf fast = {0}, slow = {0};
	for (size_t n = 0; n <= sizeof(text); n++) {
		for (size_t at = 0; at < n; at++) {
			for (int c = 0; c < 256; c++) {
				memset(text, 'a', n);
				text[at] = (char)c;
				if (c % 3 == 0)
					text[n - 1 - at] = '"';
				buf_clear(&fast);
				buf_clear(&slow);
				json_append_string(&fast, slice_make(text, n));
				append_slowly(&slow, slice_make(text, n));
				assert_true(slice_eq(buf_slice(&fast), buf_slice(&slow)));
			}
		}
	}
	buf_free(&fast);
	buf_free(&slow);
}

/* Each escape of a control takes six bytes: the buffer has to grow in the middle. */
static void text_full_of_escapes_grows_the_buffer(void **state)
{
	(void)state;
	char text[5000];
	struct buf out = {0};
	memset(text, 1, sizeof(text));
	buf_lit(&out, "[");
	json_append_string(&out, slice_make(text, sizeof(text)));
	assert_int_equal(out.n, 1 + 2 + 6 * sizeof(text));
	assert_memory_equal(out.p + out.n - 7, "\\u0001\"", 7);
	buf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(escapes_are_those_of_the_format),
	        cmocka_unit_test(surrogate_halves_are_escaped_and_hangul_is_not),
	        cmocka_unit_test(every_byte_at_every_place),
	        cmocka_unit_test(text_full_of_escapes_grows_the_buffer),
	};
	return cmocka_run_group_tests_name("json_string", tests, NULL, free_arena);
}
