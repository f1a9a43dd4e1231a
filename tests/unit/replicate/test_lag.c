/* The window of the replication lag. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "replicate/lag.h"

static void test_the_greatest_of_half_a_minute(void **state)
{
	struct lag_window w = {0};
	(void)state;
	assert_true(lag_greatest(&w, 1000000) == 0);
	lag_note(&w, 1000000, 2);
	lag_note(&w, 1001000, 7);
	lag_note(&w, 1002000, 0);
	assert_true(lag_greatest(&w, 1002000) == 7);
	lag_note(&w, 1006000, 3);
	assert_true(lag_greatest(&w, 1024999) == 7);
	assert_true(lag_greatest(&w, 1030000) == 3); /* the bucket of the 7 is over */
	assert_true(lag_greatest(&w, 1040000) == 0);
}

static void test_a_bucket_is_used_again(void **state)
{
	struct lag_window w = {0};
	(void)state;
	lag_note(&w, 1000000, 9);
	lag_note(&w, 1000000 + LAG_BUCKETS * LAG_BUCKET_MS, 1);
	assert_true(lag_greatest(&w, 1000000 + LAG_BUCKETS * LAG_BUCKET_MS) == 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_the_greatest_of_half_a_minute),
	        cmocka_unit_test(test_a_bucket_is_used_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
