/* Address ranges: what is inside, what is public, what is no range. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/ip_range.h"

static enum ip_verdict check(const char *address, const char *range)
{
	struct ip_address ip;
	const char *rule;
	assert_true(ip_parse(address, &ip));
	return ip_check(&ip, &range, 1, &rule);
}

static void ranges_hold_their_addresses(void **state)
{
	(void)state;
	assert_int_equal(check("10.1.2.3", "10.0.0.0/8"), IP_REFUSED);
	assert_int_equal(check("11.1.2.3", "10.0.0.0/8"), IP_ALLOWED);
	assert_int_equal(check("192.168.1.127", "192.168.1.0/25"), IP_REFUSED);
	assert_int_equal(check("192.168.1.128", "192.168.1.0/25"), IP_ALLOWED);
	assert_int_equal(check("2001:db8::1", "2001:db8::/32"), IP_REFUSED);
	assert_int_equal(check("::ffff:10.0.0.1", "10.0.0.0/8"), IP_REFUSED);
	assert_int_equal(check("0x7f.1", "127.0.0.0/8"), IP_REFUSED);
	assert_int_equal(check("8.8.8.8", "0.0.0.0/0"), IP_REFUSED);
}

static void local_is_all_but_public_unicast(void **state)
{
	(void)state;
	static const char *const local[] = {"127.0.0.1", "10.0.0.1", "100.64.0.1", "169.254.1.1",   "224.0.0.1",
	                                    "::1",       "fe80::1",  "fc00::1",    "::ffff:8.8.8.8"};
	for (size_t i = 0; i < sizeof(local) / sizeof(*local); i++)
		assert_int_equal(check(local[i], "local"), IP_REFUSED);
	assert_int_equal(check("8.8.8.8", "local"), IP_ALLOWED);
	assert_int_equal(check("2606:4700::1", "local"), IP_ALLOWED);
}

static void what_is_no_range_is_told(void **state)
{
	(void)state;
	static const char *const bad[] = {"", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/x", "localhost/8", "2001:db8::/129"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(check("8.8.8.8", bad[i]), IP_BAD_RANGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(ranges_hold_their_addresses),
	                                   cmocka_unit_test(local_is_all_but_public_unicast),
	                                   cmocka_unit_test(what_is_no_range_is_told)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
