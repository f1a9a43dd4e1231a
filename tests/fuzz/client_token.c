/* client_token.c: any bytes as a token, as the payload of one whose signature held, and as the answer of a JWKS URL. */
#include "auth/jwks_body.h"
#include "auth/key_store.h"
#include "auth/token.h"

#define NOW 1788000000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const audience[] = {"app", "powersync-dev"};

static void as_token(struct slice text)
{
	static const char secret[] = "{\"kty\":\"oct\",\"alg\":\"HS256\",\"k\":\"AAAA\"}";
	struct slice key = slice_cstr(secret);
	struct auth_config config = {.audience = audience, .audience_count = 2, .static_keys = &key, .static_key_count = 1};
	struct error err;
	static struct key_store *store;
	if (!store)
		store = key_store_new(&config, NULL, &err);
	struct arena arena = {0};
	struct verified_token token;
	struct slice detail;
	key_store_verify(store, text, NOW, &arena, &token, &detail, &err);
	arena_free(&arena);
}

static void as_payload(struct slice text)
{
	struct arena arena = {0};
	struct token t = {0};
	struct error err;
	struct claim_rules rules = {.audience = audience, .audience_count = 2, .max_lifetime = LIFETIME_DEFAULT};
	if (json_read(text, JSON_DOUBLES, &arena, &t.payload, &err) && t.payload.kind == JSON_KIND_OBJECT &&
	    token_check_claims(&t, &rules, NOW, &arena, &err))
		token_user_id(&t, &arena);
	arena_free(&arena);
}

static void as_jwks(struct slice text)
{
	static struct crypto crypto;
	struct error err;
	struct key_set *set;
	if (!crypto.hmac && !crypto_init(&crypto, &err))
		return;
	if (jwks_body_read(text, &crypto, PROFILE_DEFAULT, &set, &err) != JWKS_OK)
		return;
	static const char signature[64];
	for (size_t i = 0; i < set->count; i++)
		for (enum token_algorithm alg = 0; alg < ALG_UNKNOWN; alg++)
			if (key_fits(&set->keys[i], alg))
				key_verify(&set->keys[i], &crypto, alg, SLICE("a.b"), slice_make(signature, sizeof(signature)),
				           &err);
	key_set_unref(set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = slice_make(data, size);
	as_token(text);
	as_payload(text);
	as_jwks(text);
	return 0;
}
