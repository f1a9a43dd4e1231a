/* token_detail.h: what the log says about a refused token (auth 5.1): never the token or its signature. */
#ifndef SYNCLINE_AUTH_TOKEN_DETAIL_H
#define SYNCLINE_AUTH_TOKEN_DETAIL_H

#include "auth/auth.h"
#include "auth/token.h"

/* What the hints about Supabase need. */
struct supabase_facts {
	bool enabled, has_secret;
	const char *jwks_uri; /* of the source; NULL: no Supabase database, or Supabase auth is off */
	bool no_key;          /* no key was found for this token */
};

struct detail_keys {
	const struct key_set *fixed;
	const struct claim_rules *rules;
};

/* token: NULL when it could not be taken apart. At most a few KiB of text. */
struct token_refusal token_detail(struct slice text, struct token *token, const struct detail_keys *keys,
                                  const struct supabase_facts *facts, struct arena *arena);

#endif
