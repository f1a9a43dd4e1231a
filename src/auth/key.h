/*
 * key.h: one verification key and sets of them (auth 2).
 *
 * Keys are immutable after import and used by any number of threads. A set is counted by reference, since a set that came from a URL
 * may be replaced while a token is being verified with it.
 */
#ifndef SYNCLINE_AUTH_KEY_H
#define SYNCLINE_AUTH_KEY_H

#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/slice.h"
#include "value/json.h"

/* Algorithms of the provider, fetched once: OpenSSL looks them up again at each use otherwise. */
struct crypto {
	EVP_MD *sha256, *sha384, *sha512;
	EVP_MAC *hmac;
};

bool crypto_init(struct crypto *c, struct error *err);
void crypto_free(struct crypto *c);

enum token_algorithm {
	ALG_HS256,
	ALG_HS384,
	ALG_HS512,
	ALG_RS256,
	ALG_RS384,
	ALG_RS512,
	ALG_ES256,
	ALG_ES384,
	ALG_ES512,
	ALG_EDDSA,
	ALG_UNKNOWN, /* not accepted (auth 2.2), or the algorithm of a key that fits nothing */
};

enum token_algorithm algorithm_parse(struct slice name);
const char *algorithm_name(enum token_algorithm alg);

enum key_type { KEY_RSA, KEY_OCT, KEY_EC, KEY_OKP };

enum key_profile {
	PROFILE_DEFAULT,
	PROFILE_SUPABASE, /* its own audience and lifetime (auth 2.1) */
};

struct key {
	enum key_type type;
	enum key_profile profile;
	struct slice kid; /* p == NULL: a wildcard key */
	bool has_alg;
	enum token_algorithm alg;
	char alg_name[24];    /* for the log */
	EVP_PKEY *public_key; /* NULL for oct, and for an RSA key that is none */
	int rsa_bits;
	char curve[16];
	EVP_MAC_CTX *mac; /* oct: keyed for its alg; copied for each use */
};

struct key_set {
	atomic_int references;
	struct arena arena;
	struct key *keys;
	size_t count, cap;
	unsigned char digest[32]; /* of the text it was read from, to see whether a fetch brought anything new */
};

struct key_set *key_set_new(void);
struct key_set *key_set_ref(struct key_set *s);
void key_set_unref(struct key_set *s); /* NULL is fine */

/* Adds a JWK. False: err->message is the import problem ("Invalid JWK RSA key"), err->code PSYNC_S2201. */
bool key_set_import(struct key_set *s, const struct crypto *c, const struct json_node *jwk, enum key_profile profile,
                    struct error *err);
/* Adds an HS256 secret without kid. */
bool key_set_add_secret(struct key_set *s, const struct crypto *c, struct slice secret, enum key_profile profile,
                        struct error *err);

/* Auth 2.2. */
bool key_fits(const struct key *k, enum token_algorithm alg);

/* Steps 7 and 8 of auth 4: is the key usable for the algorithm, and is the signature its own? False with PSYNC_S2101. */
bool key_verify(const struct key *k, const struct crypto *c, enum token_algorithm alg, struct slice signed_text,
                struct slice signature, struct error *err);

#endif
