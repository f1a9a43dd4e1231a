/* fake_auth.h: a key store that takes the token "good-<user>" and refuses others by their name. Definitions; included once. */
#ifndef FAKE_AUTH_H
#define FAKE_AUTH_H

#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "auth/auth.h"
#include "base/clock.h"

static struct {
	int64_t lifetime_s;
	_Atomic size_t verified;
	_Atomic int delay_ms; /* of tokens "slow": the key server does not answer */
} fake_auth = {.lifetime_s = 3600};

bool key_store_verify(struct key_store *k, struct slice token, int64_t now_s, struct arena *arena, struct verified_token *out,
                      struct token_refusal *refusal, struct error *err)
{
	(void)k;
	atomic_fetch_add(&fake_auth.verified, 1);
	*refusal = (struct token_refusal){SLICE("header"), SLICE("keys")};
	if (slice_eq(token, SLICE("slow"))) {
		nanosleep(&(struct timespec){fake_auth.delay_ms / 1000, fake_auth.delay_ms % 1000 * 1000000L}, NULL);
		return error_set(err, "PSYNC_S2204", "JWKS request failed");
	}
	if (slice_eq(token, SLICE("expired")))
		return error_set(err, "PSYNC_S2103", "JWT has expired");
	if (slice_eq(token, SLICE("audience")))
		return error_set(err, "PSYNC_S2105", "Unexpected \"aud\" claim value: \"other\"");
	if (!slice_starts(token, SLICE("good-")))
		return error_set(err, "PSYNC_S2101", "Token is not a well-formed JWT. Check the token format.");
	out->user_id = arena_copy(arena, slice_drop(token, 5));
	out->payload = arena_printf(arena, "{\"sub\":\"%.*s\"}", SLICE_ARG(out->user_id));
	out->expires_at_s = now_s + fake_auth.lifetime_s;
	return true;
}

bool auth_header_token(struct slice header, struct slice *token, struct error *err)
{
	*token = (struct slice){0};
	if (slice_starts(header, SLICE("Token ")))
		*token = slice_drop(header, 6);
	if (slice_starts(header, SLICE("Bearer ")))
		*token = slice_drop(header, 7);
	if (token->n && !memchr(token->p, ' ', token->n))
		return true;
	return error_set(err, "PSYNC_S2106", "Authentication required");
}

bool auth_is_admin(const char *const *tokens, size_t count, struct slice token)
{
	for (size_t i = 0; i < count; i++)
		if (slice_eq(token, slice_cstr(tokens[i])))
			return true;
	return false;
}

#endif
