/*
 * token_cache.h: tokens that were verified a moment ago (at most 10,000, at most 4 KiB each).
 *
 * The same few tokens come with every checkpoint request, so the signature is not computed again. Keyed by the SHA-256 of the token.
 * An entry counts only for the generation of the key sets under which it was verified: when a JWKS URL brings other keys, or is
 * forgotten, nothing verified before is believed any more. Any thread; a lookup takes one of 64 locks for the length of a copy.
 */
#ifndef SYNCLINE_AUTH_TOKEN_CACHE_H
#define SYNCLINE_AUTH_TOKEN_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/slice.h"

struct token_cache;

struct cached_token {
	struct slice payload, user_id;
	double exp, nbf; /* seconds */
};

struct token_cache *token_cache_new(void);
void token_cache_free(struct token_cache *c);

/* The slices of *out are copied into the arena. */
bool token_cache_get(struct token_cache *c, const unsigned char digest[32], uint64_t generation, struct arena *arena,
                     struct cached_token *out);
/* now_s: entries that expired before it are replaced first, then the ones used longest ago. */
void token_cache_put(struct token_cache *c, const unsigned char digest[32], uint64_t generation, int64_t now_s,
                     const struct cached_token *t);

#endif
