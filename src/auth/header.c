/* header.c: tokens in request headers (auth 1.1), and the admin tokens (auth 6). */
#include <openssl/crypto.h>

#include "auth/auth.h"

/* What JavaScript's \s takes for blank, as far as it fits into one byte of a header. */
static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

bool auth_header_token(struct slice header, struct slice *token, struct error *err)
{
	struct slice rest = slice_make(NULL, 0);
	if (slice_starts(header, SLICE("Token ")))
		rest = slice_drop(header, 6);
	else if (slice_starts(header, SLICE("Bearer ")))
		rest = slice_drop(header, 7);
	bool ok = rest.n > 0;
	for (size_t i = 0; i < rest.n; i++)
		ok = ok && !is_blank(rest.p[i]);
	if (!ok)
		return error_set(err, "PSYNC_S2106", "Authentication required");
	*token = rest;
	return true;
}

/* Every token is compared in full, whatever the others gave; only lengths can be told apart by time. */
bool auth_is_admin(const char *const *tokens, size_t count, struct slice token)
{
	int found = 0;
	for (size_t i = 0; i < count; i++) {
		size_t n = strlen(tokens[i]);
		if (n == token.n && n > 0)
			found |= CRYPTO_memcmp(tokens[i], token.p, n) == 0;
	}
	return found != 0;
}
