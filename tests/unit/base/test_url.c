/* What of a URL is secret. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/url.h"

static void credentials_are_found_wherever_they_stand(void **state)
{
	(void)state;
	static const struct {
		const char *url, *secret;
	} cases[] = {
	        {"https://host/keys", ""},
	        {"https://user:pass@host/keys", "user:pass"},
	        {"https://user@host", "user"},
	        {"postgresql://u:p@x:y@host:5432/db", "u:p@x:y"},
	        {"postgresql://u:p/a?s#s@host/db", "u:p/a?s#s"},
	        {"https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com", ""},
	        {"https://host:8443/jwk/me@there", ""},
	        {"https://[::1]:8443/jwk/me@there", ""},
	        {"https://u:p@host/jwk/me@there", "u:p@host/jwk/me"}, /* rather too much than too little */
	        {"no url@all", ""},
	        {"https://", ""},
	        {"", ""},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		if (!slice_eq(url_credentials(slice_cstr(cases[i].url)), slice_cstr(cases[i].secret)))
			fail_msg("%s", cases[i].url);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(credentials_are_found_wherever_they_stand)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
