/* signing.h: tokens made on the spot with an HS256 or Ed25519 key. */
#ifndef SYNCLINE_TESTS_AUTH_SIGNING_H
#define SYNCLINE_TESTS_AUTH_SIGNING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base64.h"
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "auth/key_store.h"
#include "base/alloc.h"
#include "base/buf.h"

#define NOW 1788000000

/* header.payload of texts that need not be JSON. */
static inline struct buf unsigned_token(const char *header, const char *payload)
{
	struct buf b = {0};
	base64_encode(&b, header, strlen(header), BASE64_URL);
	buf_putc(&b, '.');
	base64_encode(&b, payload, strlen(payload), BASE64_URL);
	return b;
}

static inline struct buf hs256_token(const char *header, const char *payload, const char *secret)
{
	struct buf b = unsigned_token(header, payload);
	unsigned char mac[32];
	unsigned n;
	HMAC(EVP_sha256(), secret, (int)strlen(secret), (const unsigned char *)b.p, b.n, mac, &n);
	buf_putc(&b, '.');
	base64_encode(&b, mac, n, BASE64_URL);
	buf_putc(&b, '\0'); /* not counted: for the string functions of the tests */
	b.n--;
	return b;
}

static inline struct buf ed25519_token(const char *header, const char *payload, EVP_PKEY *key)
{
	struct buf b = unsigned_token(header, payload);
	unsigned char signature[64];
	size_t n = sizeof(signature);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	assert_int_equal(EVP_DigestSignInit(ctx, NULL, NULL, NULL, key), 1);
	assert_int_equal(EVP_DigestSign(ctx, signature, &n, (const unsigned char *)b.p, b.n), 1);
	EVP_MD_CTX_free(ctx);
	buf_putc(&b, '.');
	base64_encode(&b, signature, n, BASE64_URL);
	return b;
}

/* {"kty":"OKP",...} */
static inline void append_ed25519_jwk(struct buf *out, const char *kid, EVP_PKEY *key)
{
	unsigned char x[32];
	size_t n = sizeof(x);
	EVP_PKEY_get_raw_public_key(key, x, &n);
	buf_printf(out, "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"alg\":\"EdDSA\",\"kid\":\"%s\",\"x\":\"", kid);
	base64_encode(out, x, n, BASE64_URL);
	buf_lit(out, "\"}");
}

#define SECRET "not-so-secret-secret"
#define SECRET_JWK "{\"kty\":\"oct\",\"alg\":\"HS256\",\"kid\":\"fixed\",\"k\":\"bm90LXNvLXNlY3JldC1zZWNyZXQ\"}"
#define HEADER "{\"alg\":\"HS256\",\"kid\":\"fixed\"}"
#define CLAIMS "\"sub\":\"u1\",\"aud\":\"app\",\"iat\":1788000000,\"exp\":1788003600"

static const char *const test_audience[] = {"app"};

/* A store with one static HS256 key and the given URLs. */
/* keep_folder: NULL: nothing is kept. */
static inline struct key_store *store_keeping(const struct key_store_parts *parts, const char *const *urls, size_t url_count,
                                              const char *keep_folder)
{
	struct slice key = SLICE(SECRET_JWK);
	struct error err = {.code = ""};
	struct auth_config c = {
	        .audience = test_audience,
	        .audience_count = 1,
	        .static_keys = &key,
	        .static_key_count = 1,
	        .jwks_uris = urls,
	        .jwks_uri_count = url_count,
	        .keep_folder = keep_folder,
	};
	struct key_store *k = key_store_new_with(&c, parts, NULL, &err);
	if (!k)
		fail_msg("%s", err.message);
	return k;
}

static inline struct key_store *store_with(const struct key_store_parts *parts, const char *const *urls, size_t url_count)
{
	return store_keeping(parts, urls, url_count, NULL);
}

/* Verifies and throws the results away; *err is that of the refusal. */
static inline bool accepts(struct key_store *k, const struct buf *token, int64_t now_s, struct error *err)
{
	struct arena arena = {0};
	struct verified_token v;
	*err = (struct error){.code = ""};
	bool ok = key_store_verify(k, buf_slice(token), now_s, &arena, &v, NULL, err);
	arena_free(&arena);
	return ok;
}

#endif
