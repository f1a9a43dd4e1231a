/* key.c: importing keys; which key fits which algorithm. */
#include "auth/key.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/param_build.h>
#include <stdlib.h>

#include "base/base64.h"
#include "base/alloc.h"

#define MAX_KEYS 1000
#define MAX_RSA_BITS 16384

bool crypto_init(struct crypto *c, struct error *err)
{
	*c = (struct crypto){
	        .sha256 = EVP_MD_fetch(NULL, "SHA256", NULL),
	        .sha384 = EVP_MD_fetch(NULL, "SHA384", NULL),
	        .sha512 = EVP_MD_fetch(NULL, "SHA512", NULL),
	        .hmac = EVP_MAC_fetch(NULL, "HMAC", NULL),
	};
	if (c->sha256 && c->sha384 && c->sha512 && c->hmac)
		return true;
	crypto_free(c);
	return error_set(err, "", "OpenSSL has no SHA-2 or HMAC");
}

void crypto_free(struct crypto *c)
{
	EVP_MD_free(c->sha256);
	EVP_MD_free(c->sha384);
	EVP_MD_free(c->sha512);
	EVP_MAC_free(c->hmac);
	*c = (struct crypto){0};
}

static const char *const algorithm_names[] = {"HS256", "HS384", "HS512", "RS256", "RS384",
                                              "RS512", "ES256", "ES384", "ES512", "EdDSA"};

enum token_algorithm algorithm_parse(struct slice name)
{
	for (int i = 0; i < ALG_UNKNOWN; i++)
		if (slice_eq(name, slice_cstr(algorithm_names[i])))
			return (enum token_algorithm)i;
	return ALG_UNKNOWN;
}

const char *algorithm_name(enum token_algorithm alg)
{
	return alg < ALG_UNKNOWN ? algorithm_names[alg] : "?";
}

bool key_fits(const struct key *k, enum token_algorithm alg)
{
	if (k->has_alg)
		return k->alg == alg && alg != ALG_UNKNOWN;
	switch (k->type) {
	case KEY_OCT:
		return alg <= ALG_HS512;
	case KEY_RSA:
		return alg >= ALG_RS256 && alg <= ALG_RS512;
	case KEY_EC:
		return alg >= ALG_ES256 && alg <= ALG_ES512;
	default:
		return alg == ALG_EDDSA;
	}
}

struct key_set *key_set_new(void)
{
	struct key_set *s = xcalloc(1, sizeof(*s));
	atomic_init(&s->references, 1);
	return s;
}

struct key_set *key_set_ref(struct key_set *s)
{
	if (s)
		atomic_fetch_add(&s->references, 1);
	return s;
}

void key_set_unref(struct key_set *s)
{
	if (!s || atomic_fetch_sub(&s->references, 1) != 1)
		return;
	for (size_t i = 0; i < s->count; i++) {
		EVP_PKEY_free(s->keys[i].public_key);
		EVP_MAC_CTX_free(s->keys[i].mac);
	}
	free(s->keys);
	arena_free(&s->arena);
	free(s);
}

static struct slice text_member(const struct json_node *jwk, struct slice name)
{
	const struct json_node *n = json_find(jwk, name);
	return n && n->kind == JSON_KIND_STRING ? n->s : slice_make(NULL, 0);
}

/* A member of base64url bytes; empty is allowed, missing is not. */
static bool bytes_member(const struct json_node *jwk, struct slice name, struct arena *arena, struct slice *out)
{
	struct slice text = text_member(jwk, name);
	return text.p && base64_decode(text, arena, out);
}

static EVP_PKEY *public_key_from(const char *type, OSSL_PARAM *params)
{
	EVP_PKEY *key = NULL;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	if (!ctx || EVP_PKEY_fromdata_init(ctx) <= 0 || EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) <= 0)
		key = NULL;
	EVP_PKEY_CTX_free(ctx);
	return key;
}

/* Numbers that make no key are kept as a key that verifies nothing (configuration 2.6). */
static bool import_rsa(struct key *k, const struct json_node *jwk, struct arena *arena)
{
	struct slice n, e;
	k->type = KEY_RSA;
	if (!bytes_member(jwk, SLICE("n"), arena, &n) || !bytes_member(jwk, SLICE("e"), arena, &e) ||
	    n.n > MAX_RSA_BITS / 8 + 1 || e.n > 8)
		return false;
	BIGNUM *modulus = BN_bin2bn((const unsigned char *)n.p, (int)n.n, NULL);
	BIGNUM *exponent = BN_bin2bn((const unsigned char *)e.p, (int)e.n, NULL);
	OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
	k->rsa_bits = modulus ? BN_num_bits(modulus) : 0;
	if (modulus && exponent && builder && k->rsa_bits >= 512 &&
	    OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, modulus) &&
	    OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, exponent)) {
		OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(builder);
		k->public_key = public_key_from("RSA", params);
		OSSL_PARAM_free(params);
	}
	OSSL_PARAM_BLD_free(builder);
	BN_free(modulus);
	BN_free(exponent);
	return true;
}

static bool import_ec(struct key *k, const struct json_node *jwk, struct arena *arena)
{
	static const struct {
		const char *name;
		size_t bytes;
	} curves[] = {{"P-256", 32}, {"P-384", 48}, {"P-521", 66}, {"secp256k1", 32}};
	struct slice crv = text_member(jwk, SLICE("crv")), x, y;
	size_t i = 0, count = sizeof(curves) / sizeof(curves[0]);
	k->type = KEY_EC;
	while (i < count && !slice_eq(crv, slice_cstr(curves[i].name)))
		i++;
	if (i == count || !bytes_member(jwk, SLICE("x"), arena, &x) || !bytes_member(jwk, SLICE("y"), arena, &y) ||
	    x.n > curves[i].bytes || y.n > curves[i].bytes)
		return false;
	size_t n = curves[i].bytes;
	unsigned char point[1 + 2 * 66] = {POINT_CONVERSION_UNCOMPRESSED};
	memcpy(point + 1 + n - x.n, x.p, x.n);
	memcpy(point + 1 + 2 * n - y.n, y.p, y.n);
	OSSL_PARAM params[] = {
	        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)curves[i].name, 0),
	        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * n),
	        OSSL_PARAM_construct_end(),
	};
	snprintf(k->curve, sizeof(k->curve), "%s", curves[i].name);
	k->public_key = public_key_from("EC", params);
	return k->public_key != NULL;
}

static bool import_okp(struct key *k, const struct json_node *jwk, struct arena *arena)
{
	static const struct {
		const char *name;
		size_t bytes;
	} curves[] = {{"Ed25519", 32}, {"Ed448", 57}, {"X25519", 32}, {"X448", 56}};
	struct slice crv = text_member(jwk, SLICE("crv")), x;
	k->type = KEY_OKP;
	if (!bytes_member(jwk, SLICE("x"), arena, &x))
		return false;
	for (size_t i = 0; i < sizeof(curves) / sizeof(curves[0]); i++) {
		if (!slice_eq(crv, slice_cstr(curves[i].name)) || x.n != curves[i].bytes)
			continue;
		snprintf(k->curve, sizeof(k->curve), "%s", curves[i].name);
		k->public_key = EVP_PKEY_new_raw_public_key_ex(NULL, curves[i].name, NULL, (const unsigned char *)x.p, x.n);
	}
	return k->public_key != NULL;
}

static bool set_secret(struct key *k, const struct crypto *c, struct slice secret)
{
	static const char *const digests[] = {"SHA256", "SHA384", "SHA512"};
	k->type = KEY_OCT;
	if (secret.n == 0 || !k->has_alg || k->alg > ALG_HS512)
		return false;
	OSSL_PARAM params[] = {
	        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)digests[k->alg], 0),
	        OSSL_PARAM_construct_end(),
	};
	k->mac = EVP_MAC_CTX_new(c->hmac);
	return k->mac && EVP_MAC_init(k->mac, (const unsigned char *)secret.p, secret.n, params);
}

static bool import_oct(struct key *k, const struct crypto *c, const struct json_node *jwk, struct arena *arena)
{
	struct slice secret;
	return bytes_member(jwk, SLICE("k"), arena, &secret) && set_secret(k, c, secret);
}

static void set_names(struct key *k, const struct json_node *jwk, struct arena *arena)
{
	const struct json_node *kid = json_find(jwk, SLICE("kid")), *alg = json_find(jwk, SLICE("alg"));
	if (kid && kid->kind == JSON_KIND_STRING && kid->s.n)
		k->kid = arena_copy(arena, kid->s);
	else if (kid && kid->kind != JSON_KIND_STRING && kid->kind != JSON_KIND_NULL)
		k->kid = slice_make("", 0); /* of another type: matches no token, and is no wildcard */
	k->has_alg = alg && alg->kind != JSON_KIND_NULL;
	if (!k->has_alg)
		return;
	bool is_text = alg->kind == JSON_KIND_STRING;
	k->alg = is_text ? algorithm_parse(alg->s) : ALG_UNKNOWN;
	if (is_text)
		snprintf(k->alg_name, sizeof(k->alg_name), "%.*s", alg->s.n > 20 ? 20 : (int)alg->s.n, alg->s.p);
}

static struct key *new_key(struct key_set *s)
{
	s->keys = xgrow(s->keys, s->count, &s->cap, sizeof(*s->keys));
	struct key *k = &s->keys[s->count];
	memset(k, 0, sizeof(*k));
	return k;
}

static bool keep_or_drop(struct key_set *s, struct key *k, bool ok)
{
	if (ok) {
		s->count++;
	} else {
		EVP_PKEY_free(k->public_key);
		EVP_MAC_CTX_free(k->mac);
	}
	return ok;
}

bool key_set_import(struct key_set *s, const struct crypto *c, const struct json_node *jwk, enum key_profile profile,
                    struct error *err)
{
	struct slice kty = text_member(jwk, SLICE("kty"));
	struct arena scratch = {0};
	if (s->count >= MAX_KEYS)
		return error_set(err, "PSYNC_S2201", "More than %d keys", MAX_KEYS);
	struct key *k = new_key(s);
	k->profile = profile;
	set_names(k, jwk, &s->arena);
	bool ok = false;
	if (slice_eq(kty, SLICE("RSA")))
		ok = import_rsa(k, jwk, &scratch);
	else if (slice_eq(kty, SLICE("EC")))
		ok = import_ec(k, jwk, &scratch);
	else if (slice_eq(kty, SLICE("OKP")))
		ok = import_okp(k, jwk, &scratch);
	else if (slice_eq(kty, SLICE("oct")))
		ok = import_oct(k, c, jwk, &scratch);
	arena_free(&scratch);
	if (!keep_or_drop(s, k, ok))
		return error_set(err, "PSYNC_S2201", "Invalid JWK %.*s key", kty.n > 16 ? 16 : (int)kty.n, kty.p ? kty.p : "");
	return true;
}

bool key_set_add_secret(struct key_set *s, const struct crypto *c, struct slice secret, enum key_profile profile,
                        struct error *err)
{
	struct key *k = new_key(s);
	k->profile = profile;
	k->has_alg = true;
	k->alg = ALG_HS256;
	snprintf(k->alg_name, sizeof(k->alg_name), "HS256");
	return keep_or_drop(s, k, set_secret(k, c, secret)) || error_set(err, "PSYNC_S2201", "the secret is empty");
}
