/*
 * auth.h: verification of client tokens (auth.md).
 *
 * A key store is built from the configuration and shared by all threads. Verification is CPU only for static keys; a key store with
 * URLs may wait for a fetch, at most 3 s, so it must be called on a worker thread, never on a net thread.
 */
#ifndef SYNCLINE_AUTH_AUTH_H
#define SYNCLINE_AUTH_AUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/log.h"
#include "base/slice.h"

/* One static key of client_auth.jwks.keys, as JSON text (the object of the configuration). */
struct auth_config {
	const char *const *audience;
	size_t audience_count;
	const struct slice *static_keys;
	size_t static_key_count;
	const char *const *jwks_uris;
	size_t jwks_uri_count;
	const char *const *reject_ip_ranges; /* "local" included when block_local_jwks is set */
	size_t reject_ip_range_count;
	bool block_ipv6; /* block_local_jwks */
	bool supabase;
	const char *supabase_jwt_secret; /* NULL if not given */
	const char *supabase_jwks_uri;   /* derived from the source's host; NULL */
	const char *keep_folder;         /* where the last good answers of the URLs are kept over restarts; NULL: nowhere */
};

struct key_store;

/* Imports the static keys; an unusable one is an error that names its index. config may be freed afterwards. */
struct key_store *key_store_new(const struct auth_config *config, const struct log *log, struct error *err);
void key_store_free(struct key_store *k);
/* Asks each URL for its keys once and does not wait: what does not answer is in the log before the first client is refused. */
void key_store_ask(struct key_store *k);

struct verified_token {
	struct slice payload; /* JSON text of the payload, as decoded; in the arena */
	struct slice user_id; /* "user id string" of auth.md 4.1: the subject as text */
	int64_t expires_at_s; /* exp, seconds since 1970, rounded down */
};

/* Why a token was refused, for the log: never the token itself (auth 5.1). In the arena. */
struct token_refusal {
	struct slice token;         /* header and payload, or what is wrong with the form */
	struct slice configuration; /* known keys, accepted audiences, hints */
};

/* now_s: seconds since 1970. False: err->code is PSYNC_S21xx or S22xx and err->message the description for the client (auth.md 5).
 * *refusal may be NULL. */
bool key_store_verify(struct key_store *k, struct slice token, int64_t now_s, struct arena *arena, struct verified_token *out,
                      struct token_refusal *refusal, struct error *err);

/* One verification, told step by step to the operator (`syncline auth-check`). Everything is in the arena. */
struct token_trace {
	bool valid;
	struct error err;             /* why not; as key_store_verify tells it */
	struct slice header, payload; /* JSON texts; n == 0: not readable. Nobody has vouched for them unless valid */
	struct slice algorithm, kid;  /* of the header; n == 0: none */
	struct slice key,
	        key_source; /* the key that decided: "<kid: K, kty: T, alg: A>", and where it stands; n == 0: none fitted */
	const struct slice *known; /* every key that was looked at, in order, with its source */
	size_t known_count;
	const char *const *audience; /* accepted; those of the deciding key's profile */
	size_t audience_count;
	double max_lifetime_s;
};
/* Does not use the memory of verified tokens; may wait as key_store_verify does. */
void key_store_trace(struct key_store *k, struct slice token, int64_t now_s, struct arena *arena, struct token_trace *out);

/* Authorization header value -> token (auth.md 1.1). False: none; the error is PSYNC_S2106 "Authentication required". */
bool auth_header_token(struct slice header, struct slice *token, struct error *err);

/* Constant-time comparison with each admin token. */
bool auth_is_admin(const char *const *tokens, size_t count, struct slice token);

#endif
