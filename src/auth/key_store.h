/* key_store.h: building a key store around another clock and another way to fetch: for tests and vectors. */
#ifndef SYNCLINE_AUTH_KEY_STORE_H
#define SYNCLINE_AUTH_KEY_STORE_H

#include "auth/auth.h"
#include "auth/jwks_fetch.h"

struct key_store_parts {
	jwks_fetch_fn *fetch; /* NULL: libcurl */
	void *fetch_context;
	int64_t (*now_ms)(void *context); /* steady clock of the JWKS caches; NULL: clock_mono_ms */
	void *clock_context;
	int64_t max_wait_ms; /* for an answer that a token cannot do without; 0: 3 s (auth 3.3) */
};

struct key_store *key_store_new_with(const struct auth_config *config, const struct key_store_parts *parts, const struct log *log,
                                     struct error *err);

#endif
