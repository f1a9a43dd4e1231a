/* jwks_body.c: see jwks_body.h. */
#include "auth/jwks_body.h"

#include "base/utf8.h"

static bool text_is(const struct json_node *n, struct slice text)
{
	return n && n->kind == JSON_KIND_STRING && slice_eq(n->s, text);
}

/* Symmetric keys never come from a URL; keys for other purposes are left out. */
static bool is_wanted(const struct json_node *jwk)
{
	const struct json_node *kty = json_find(jwk, SLICE("kty")), *use = json_find(jwk, SLICE("use"));
	const struct json_node *ops = json_find(jwk, SLICE("key_ops"));
	if (!text_is(kty, SLICE("RSA")) && !text_is(kty, SLICE("EC")) && !text_is(kty, SLICE("OKP")))
		return false;
	if (use && use->kind == JSON_KIND_STRING && !text_is(use, SLICE("sig")))
		return false;
	if (!ops || ops->kind != JSON_KIND_ARRAY)
		return true;
	for (size_t i = 0; i < ops->array.count; i++)
		if (text_is(&ops->array.items[i], SLICE("verify")))
			return true;
	return false;
}

static bool is_jwks(const struct json_node *root, const struct json_node **keys)
{
	*keys = json_find(root, SLICE("keys"));
	if (!*keys || (*keys)->kind != JSON_KIND_ARRAY)
		return false;
	for (size_t i = 0; i < (*keys)->array.count; i++)
		if ((*keys)->array.items[i].kind != JSON_KIND_OBJECT)
			return false;
	return true;
}

static enum jwks_outcome read_keys(struct slice body, const struct crypto *c, enum key_profile profile, struct arena *arena,
                                   struct key_set *set, struct error *err)
{
	struct json_node root;
	const struct json_node *keys;
	struct error ignored;
	if (!json_read(utf8_mend(body, arena), JSON_DOUBLES, arena, &root, &ignored)) {
		error_set(err, "PSYNC_S2204", "JWKS request failed");
		return JWKS_HARD;
	}
	if (!is_jwks(&root, &keys)) {
		error_set(err, "PSYNC_S2204", "Invalid JWKS response");
		return JWKS_SOFT;
	}
	for (size_t i = 0; i < keys->array.count; i++)
		if (is_wanted(&keys->array.items[i]) && !key_set_import(set, c, &keys->array.items[i], profile, err))
			return JWKS_HARD;
	return JWKS_OK;
}

enum jwks_outcome jwks_body_read(struct slice body, const struct crypto *c, enum key_profile profile, struct key_set **out,
                                 struct error *err)
{
	struct arena arena = {0};
	struct key_set *set = key_set_new();
	EVP_Digest(body.p, body.n, set->digest, NULL, c->sha256, NULL);
	enum jwks_outcome outcome = read_keys(body, c, profile, &arena, set, err);
	arena_free(&arena);
	if (outcome == JWKS_OK) {
		*out = set;
		return outcome;
	}
	key_set_unref(set);
	*out = NULL;
	return outcome;
}
