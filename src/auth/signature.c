/* signature.c: is a key usable for an algorithm, and does a signature verify (auth 2.2, 4 steps 7 and 8)? */
#include <openssl/crypto.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>

#include "auth/key.h"

#define MIN_RSA_BITS 2048

static bool hmac_verify(const struct key *k, struct slice text, struct slice signature)
{
	unsigned char mac[64];
	size_t n = 0;
	EVP_MAC_CTX *ctx = EVP_MAC_CTX_dup(k->mac);
	bool ok = ctx && EVP_MAC_update(ctx, (const unsigned char *)text.p, text.n) && EVP_MAC_final(ctx, mac, &n, sizeof(mac));
	EVP_MAC_CTX_free(ctx);
	return ok && signature.n == n && CRYPTO_memcmp(mac, signature.p, n) == 0;
}

static bool public_key_verify(const struct key *k, const EVP_MD *digest, struct slice text, const unsigned char *signature,
                              size_t n)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = ctx && k->public_key && EVP_DigestVerifyInit(ctx, NULL, digest, NULL, k->public_key) > 0 &&
	          EVP_DigestVerify(ctx, signature, n, (const unsigned char *)text.p, text.n) == 1;
	EVP_MD_CTX_free(ctx);
	ERR_clear_error();
	return ok;
}

/* JWS writes r || s, each as long as the field; OpenSSL wants DER. */
static bool ecdsa_verify(const struct key *k, const EVP_MD *digest, struct slice text, struct slice signature, size_t field)
{
	if (signature.n != 2 * field)
		return false;
	const unsigned char *p = (const unsigned char *)signature.p;
	ECDSA_SIG *parts = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(p, (int)field, NULL), *s = BN_bin2bn(p + field, (int)field, NULL);
	if (!parts || !r || !s || !ECDSA_SIG_set0(parts, r, s)) {
		BN_free(r);
		BN_free(s);
		ECDSA_SIG_free(parts);
		return false;
	}
	unsigned char der[160], *end = der;
	int n = i2d_ECDSA_SIG(parts, NULL);
	bool ok = n > 0 && (size_t)n <= sizeof(der) && i2d_ECDSA_SIG(parts, &end) == n;
	ECDSA_SIG_free(parts);
	return ok && public_key_verify(k, digest, text, der, (size_t)n);
}

static bool check_usable(const struct key *k, enum token_algorithm alg, struct error *err)
{
	static const char *const curves[] = {"P-256", "P-384", "P-521"};
	if (k->type == KEY_RSA && k->rsa_bits < MIN_RSA_BITS)
		return error_set(err, "PSYNC_S2101", "%s requires key modulusLength to be 2048 bits or larger",
		                 algorithm_name(alg));
	if (k->type == KEY_EC && strcmp(k->curve, curves[alg - ALG_ES256]) != 0)
		return error_set(err, "PSYNC_S2101", "Invalid key curve for the algorithm, its curve must be %s, got %s",
		                 curves[alg - ALG_ES256], k->curve);
	return true;
}

bool key_verify(const struct key *k, const struct crypto *c, enum token_algorithm alg, struct slice text, struct slice signature,
                struct error *err)
{
	static const size_t fields[] = {32, 48, 66};
	const EVP_MD *digests[] = {c->sha256, c->sha384, c->sha512};
	if (!check_usable(k, alg, err))
		return false;
	bool ok;
	switch (k->type) {
	case KEY_OCT:
		ok = hmac_verify(k, text, signature);
		break;
	case KEY_RSA:
		ok = public_key_verify(k, digests[alg - ALG_RS256], text, (const unsigned char *)signature.p, signature.n);
		break;
	case KEY_EC:
		ok = ecdsa_verify(k, digests[alg - ALG_ES256], text, signature, fields[alg - ALG_ES256]);
		break;
	default:
		ok = k->curve[0] == 'E' && public_key_verify(k, NULL, text, (const unsigned char *)signature.p, signature.n);
	}
	return ok || error_set(err, "PSYNC_S2101", "signature verification failed");
}
