/* token.c: see token.h. */
#include "auth/token.h"

#include <math.h>

#include "base/base64.h"
#include "base/utf8.h"
#include "base/buf.h"

#define LEEWAY 60     /* seconds */
#define MAX_SHOWN 900 /* bytes of a claim or name in a message */

static bool malformed(struct error *err)
{
	return error_set(err, "PSYNC_S2101", TOKEN_MALFORMED);
}

static bool read_json(struct slice part, struct arena *arena, struct slice *text, struct json_node *out)
{
	struct slice bytes;
	struct error ignored;
	if (!base64_decode(part, arena, &bytes))
		return false;
	*text = utf8_mend(bytes, arena);
	return json_read(*text, JSON_DOUBLES, arena, out, &ignored) && out->kind == JSON_KIND_OBJECT;
}

/* Step 1. */
static bool split(struct slice text, struct token *t, struct slice *header, struct slice *signature)
{
	const char *first = memchr(text.p, '.', text.n);
	if (!first)
		return false;
	*header = slice_make(text.p, (size_t)(first - text.p));
	struct slice rest = slice_drop(text, header->n + 1);
	const char *second = memchr(rest.p, '.', rest.n);
	if (!second)
		return false;
	t->payload_part = slice_make(rest.p, (size_t)(second - rest.p));
	*signature = slice_drop(rest, t->payload_part.n + 1);
	t->signed_text = slice_make(text.p, header->n + 1 + t->payload_part.n);
	return !memchr(signature->p, '.', signature->n);
}

/* Step 3. */
static bool check_critical(const struct token *t, struct arena *arena, struct error *err)
{
	const struct json_node *crit = json_find(&t->header, SLICE("crit")), *b64 = json_find(&t->header, SLICE("b64"));
	if (!crit)
		return true;
	if (crit->kind != JSON_KIND_ARRAY || crit->array.count == 0)
		return malformed(err);
	for (size_t i = 0; i < crit->array.count; i++)
		if (crit->array.items[i].kind != JSON_KIND_STRING || crit->array.items[i].s.n == 0)
			return malformed(err);
	for (size_t i = 0; i < crit->array.count; i++) {
		struct slice name = crit->array.items[i].s;
		if (slice_eq(name, SLICE("b64")))
			continue;
		name = utf8_shown(name, MAX_SHOWN, arena);
		return error_set(err, "PSYNC_S2101", "Extension Header Parameter \"%.*s\" is not recognized", SLICE_ARG(name));
	}
	return (b64 && b64->kind == JSON_KIND_BOOLEAN) || malformed(err);
}

bool token_parse(struct slice text, struct arena *arena, struct token *t, struct error *err)
{
	struct slice header, signature;
	*t = (struct token){0};
	if (!text.p || !split(text, t, &header, &signature) || !read_json(header, arena, &t->header_text, &t->header))
		return malformed(err);
	if (!check_critical(t, arena, err))
		return false;
	const struct json_node *alg = json_find(&t->header, SLICE("alg")), *kid = json_find(&t->header, SLICE("kid"));
	if (!alg || alg->kind != JSON_KIND_STRING || alg->s.n == 0)
		return malformed(err);
	t->alg = algorithm_parse(alg->s);
	if (t->alg == ALG_UNKNOWN)
		return error_set(err, "PSYNC_S2101", "\"alg\" (Algorithm) Header Parameter not allowed");
	if (kid && kid->kind == JSON_KIND_STRING)
		t->kid = kid->s;
	const struct json_node *b64 = json_find(&t->header, SLICE("b64"));
	t->unencoded = json_find(&t->header, SLICE("crit")) && b64 && !b64->b;
	/* A signature that cannot be decoded is one that does not verify. */
	if (!base64_decode(signature, arena, &t->signature))
		t->signature = slice_make("", 0);
	return true;
}

bool token_read_payload(struct token *t, struct arena *arena, struct error *err)
{
	if (t->unencoded || !read_json(t->payload_part, arena, &t->payload_text, &t->payload))
		return malformed(err);
	return true;
}

static bool missing(struct error *err, const char *code, const char *claim)
{
	return error_set(err, code, "JWT payload is missing a required claim \"%s\"", claim);
}

static bool number_claim(const struct token *t, struct slice name, double *out)
{
	const struct json_node *n = json_find(&t->payload, name);
	if (!n || n->kind != JSON_KIND_REAL)
		return false;
	*out = n->r;
	return true;
}

bool token_check_times(double exp, double nbf, int64_t now_s, struct error *err)
{
	if (!(nbf <= (double)now_s + LEEWAY))
		return missing(err, "PSYNC_S2101", "nbf");
	if (!(exp > (double)now_s - LEEWAY))
		return error_set(err, "PSYNC_S2103", "JWT has expired");
	return true;
}

/* Steps 11 to 15. */
static bool check_times(struct token *t, double *iat, int64_t now_s, struct error *err)
{
	static const char *const required[] = {"exp", "iat", "sub"};
	for (size_t i = 0; i < 3; i++)
		if (!json_find(&t->payload, slice_cstr(required[i])))
			return missing(err, "PSYNC_S2101", required[i]);
	if (!number_claim(t, SLICE("iat"), iat))
		return missing(err, "PSYNC_S2101", "iat");
	t->nbf = -INFINITY;
	if (json_find(&t->payload, SLICE("nbf")) &&
	    (!number_claim(t, SLICE("nbf"), &t->nbf) || !(t->nbf <= (double)now_s + LEEWAY)))
		return missing(err, "PSYNC_S2101", "nbf");
	if (!number_claim(t, SLICE("exp"), &t->exp))
		return missing(err, "PSYNC_S2101", "exp");
	return token_check_times(t->exp, t->nbf, now_s, err);
}

static bool is_accepted(const struct json_node *n, const struct claim_rules *rules)
{
	for (size_t i = 0; n->kind == JSON_KIND_STRING && i < rules->audience_count; i++)
		if (slice_eq(n->s, slice_cstr(rules->audience[i])))
			return true;
	return false;
}

/* Steps 16 and 17. */
static bool check_audience(const struct token *t, const struct claim_rules *rules, struct arena *arena, struct error *err)
{
	const struct json_node *aud = json_find(&t->payload, SLICE("aud"));
	if (!aud || aud->kind == JSON_KIND_NULL)
		return missing(err, "PSYNC_S2105", "aud");
	if (is_accepted(aud, rules))
		return true;
	for (size_t i = 0; aud->kind == JSON_KIND_ARRAY && i < aud->array.count; i++)
		if (is_accepted(&aud->array.items[i], rules))
			return true;
	struct slice shown = utf8_shown(json_to_text(aud, JSON_STYLE_SHORT_NUMBERS, arena), MAX_SHOWN, arena);
	return error_set(err, "PSYNC_S2105", "Unexpected \"aud\" claim value: %.*s", SLICE_ARG(shown));
}

bool token_check_claims(struct token *t, const struct claim_rules *rules, int64_t now_s, struct arena *arena, struct error *err)
{
	double iat = 0;
	if (!check_times(t, &iat, now_s, err) || !check_audience(t, rules, arena, err))
		return false;
	if (!(t->exp - iat <= rules->max_lifetime)) {
		char got[40];
		size_t n = format_real(got, t->exp - iat, false);
		return error_set(err, "PSYNC_S2104", "Token must expire in a maximum of %.0f seconds, got %.*ss",
		                 rules->max_lifetime, (int)n, got);
	}
	const struct json_node *parameters = json_find(&t->payload, SLICE("parameters"));
	if (parameters && parameters->kind != JSON_KIND_NULL && parameters->kind != JSON_KIND_OBJECT)
		return error_set(err, "PSYNC_S2101", "Payload parameters must be an object");
	return true;
}

struct slice token_user_id(const struct token *t, struct arena *arena)
{
	const struct json_node *sub = json_find(&t->payload, SLICE("sub"));
	switch (sub->kind) {
	case JSON_KIND_STRING:
		return arena_copy(arena, sub->s);
	case JSON_KIND_BOOLEAN:
		return sub->b ? SLICE("1") : SLICE("0");
	case JSON_KIND_REAL: {
		char *text = arena_bytes(arena, 40);
		return slice_make(text, format_real(text, sub->r, false));
	}
	default:
		return json_to_text(sub, JSON_STYLE_PLAIN, arena);
	}
}
