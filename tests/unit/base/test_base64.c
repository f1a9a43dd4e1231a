/* Base64 in both alphabets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/base64.h"

static void rfc_4648_examples_go_both_ways(void **state)
{
	(void)state;
	static const struct {
		const char *text, *plain, *url;
	} cases[] = {{"", "", ""},
	             {"f", "Zg==", "Zg"},
	             {"fo", "Zm8=", "Zm8"},
	             {"foo", "Zm9v", "Zm9v"},
	             {"foob", "Zm9vYg==", "Zm9vYg"},
	             {"\xfb\xff", "+/8=", "-_8"}};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct buf plain = {0}, url = {0};
		struct arena arena = {0};
		struct slice back;
		base64_encode(&plain, cases[i].text, strlen(cases[i].text), BASE64_PLAIN);
		base64_encode(&url, cases[i].text, strlen(cases[i].text), BASE64_URL);
		assert_true(slice_eq(buf_slice(&plain), slice_cstr(cases[i].plain)));
		assert_true(slice_eq(buf_slice(&url), slice_cstr(cases[i].url)));
		assert_true(base64_decode(buf_slice(&plain), &arena, &back) && slice_eq(back, slice_cstr(cases[i].text)));
		assert_true(base64_decode(buf_slice(&url), &arena, &back) && slice_eq(back, slice_cstr(cases[i].text)));
		buf_free(&plain);
		buf_free(&url);
		arena_free(&arena);
	}
}

static void what_is_no_base64_is_refused_or_passed_over(void **state)
{
	(void)state;
	static const char *const bad[] = {"Zg=a", "Z", "Zm9v Yg", "Zm9v===", "Zm\n9v"};
	struct arena arena = {0};
	struct slice out;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_false(base64_decode(slice_cstr(bad[i]), &arena, &out));
	out = base64_decode_leniently(SLICE(" Zm9v\r\nYm-=Zm9v"), &arena);
	assert_true(slice_eq(out, SLICE("foobo")));
	assert_int_equal(out.p[out.n], 0);
	arena_free(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(rfc_4648_examples_go_both_ways),
	        cmocka_unit_test(what_is_no_base64_is_refused_or_passed_over),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
