/*
 * token_make.c: signs a token for development with a symmetric key of the configuration.
 *
 * Whoever can run it can read the key anyway; still it asks for client_auth.development_tokens, so that nobody signs tokens for a
 * production service by accident.
 */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/token_make.h"

static const char help[] = "Usage: syncline token --sub USER [OPTIONS]\n\n"
                           "Prints a client token signed with a symmetric key (kty: oct) of client_auth.jwks.keys. The "
                           "configuration must allow it with\n"
                           "client_auth.development_tokens: true.\n\n"
                           "      --sub USER             the user id\n"
                           "      --aud AUDIENCE         default: the first of client_auth.audience\n"
                           "      --kid KID              the key; default: the first symmetric one\n"
                           "      --lifetime SECONDS     1 to 86400; default 3600\n"
                           "      --claims JSON          an object of further claims, which win over the usual ones\n"
                           "      --json                 the token and its claims as JSON\n";

static void append_part(struct buf *out, const json_t *value)
{
	char *text = json_dumps(value, JSON_COMPACT);
	base64_encode(out, text, strlen(text), BASE64_URL);
	free(text);
}

/* The first symmetric key, or the one of that kid; a new reference. */
static json_t *find_key(const struct config *c, const char *kid, struct error *err)
{
	for (size_t i = 0; i < c->client_auth.static_key_count; i++) {
		json_t *key = json_loadb(c->client_auth.static_keys[i].p, c->client_auth.static_keys[i].n, 0, NULL);
		const char *type = json_string_value(json_object_get(key, "kty")),
		           *id = json_string_value(json_object_get(key, "kid"));
		if (type && strcmp(type, "oct") == 0 && (!kid || (id && strcmp(id, kid) == 0)))
			return key;
		json_decref(key);
	}
	if (kid)
		error_set(err, "", "client_auth.jwks.keys has no symmetric key (kty: oct) with the kid \"%s\"", kid);
	else
		error_set(err, "", "client_auth.jwks.keys has no symmetric key (kty: oct)");
	return NULL;
}

static bool sign(struct buf *token, const json_t *key, struct error *err)
{
	const char *alg = json_string_value(json_object_get(key, "alg")), *k = json_string_value(json_object_get(key, "k"));
	const EVP_MD *digest = !alg                        ? NULL
	                       : strcmp(alg, "HS256") == 0 ? EVP_sha256()
	                       : strcmp(alg, "HS384") == 0 ? EVP_sha384()
	                       : strcmp(alg, "HS512") == 0 ? EVP_sha512()
	                                                   : NULL;
	struct arena arena = {0};
	struct slice secret;
	unsigned char mac[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	bool ok = digest && k && base64_decode(slice_cstr(k), &arena, &secret) &&
	          HMAC(digest, secret.p, (int)secret.n, (const unsigned char *)token->p, token->n, mac, &n);
	arena_free(&arena);
	if (!ok)
		return error_set(err, "", "the key cannot sign");
	buf_putc(token, '.');
	base64_encode(token, mac, n, BASE64_URL);
	return true;
}

/* The usual claims, and those of the command line; NULL with *err. */
static json_t *claims_of(const struct config *c, const struct token_request *r, struct error *err)
{
	uint64_t lifetime = 3600;
	json_error_t where;
	json_t *more = r->claims ? json_loads(r->claims, 0, &where) : json_object();
	const char *aud = r->aud ? r->aud : c->client_auth.audience.count ? c->client_auth.audience.items[0] : NULL;
	json_int_t now = clock_wall_ms() / 1000;
	if (!json_is_object(more))
		error_set(err, "", "--claims must be a JSON object%s%s", more ? "" : ": ", more ? "" : where.text);
	else if (r->lifetime && (!slice_parse_u64(slice_cstr(r->lifetime), 86400, &lifetime) || !lifetime))
		error_set(err, "", "--lifetime must be a number of seconds from 1 to 86400");
	else if (!aud && !json_object_get(more, "aud"))
		error_set(err, "", "client_auth.audience is empty, so that no token would be accepted: list an audience there");
	else {
		json_t *claims = json_object();
		json_object_set_new(claims, "sub", json_text(slice_cstr(r->sub)));
		if (aud)
			json_object_set_new(claims, "aud", json_text(slice_cstr(aud)));
		json_object_set_new(claims, "iat", json_integer(now));
		json_object_set_new(claims, "exp", json_integer(now + (json_int_t)lifetime));
		json_object_update(claims, more);
		json_decref(more);
		return claims;
	}
	json_decref(more);
	return NULL;
}

bool token_make(const struct config *c, const struct token_request *r, struct buf *token, json_t **out, struct error *err)
{
	if (!c->client_auth.development_tokens)
		return error_set(err, "",
		                 "the configuration does not allow it; for development set client_auth.development_tokens: true");
	json_t *key = find_key(c, r->kid, err);
	json_t *claims = key ? claims_of(c, r, err) : NULL;
	bool ok = claims != NULL;
	if (ok) {
		json_t *head = json_pack("{s:O,s:s}", "alg", json_object_get(key, "alg"), "typ", "JWT");
		if (json_object_get(key, "kid"))
			json_object_set(head, "kid", json_object_get(key, "kid"));
		append_part(token, head);
		buf_putc(token, '.');
		append_part(token, claims);
		json_decref(head);
		ok = sign(token, key, err);
	}
	json_decref(key);
	if (ok && out)
		*out = json_incref(claims);
	json_decref(claims);
	return ok;
}

static int run(const struct config *config, const struct token_request *r, bool json)
{
	struct error err = {.code = ""};
	struct buf token = {0};
	json_t *claims = NULL;
	int code = 0;
	if (!token_make(config, r, &token, &claims, &err))
		code = cli_fail("token", json, 1, &err);
	else if (json)
		cli_print_json(json_pack("{s:b,s:o,s:O}", "ok", 1, "token", json_text(buf_slice(&token)), "claims", claims));
	else
		printf("%.*s\n", SLICE_ARG(buf_slice(&token)));
	json_decref(claims);
	buf_free(&token);
	return code;
}

int cli_token(int argc, char **argv)
{
	struct config_arguments arguments = {0};
	struct token_request r = {0};
	bool json = false;
	int code;
	const struct cli_option options[] = {
	        {.long_name = "--sub", .value = &r.sub},
	        {.long_name = "--aud", .value = &r.aud},
	        {.long_name = "--kid", .value = &r.kid},
	        {.long_name = "--lifetime", .value = &r.lifetime},
	        {.long_name = "--claims", .value = &r.claims},
	        {.long_name = "--json", .flag = &json},
	        {.long_name = NULL},
	};
	if (!cli_parse(&(struct cli_syntax){.command = "token", .help = help, .options = options, .config = &arguments}, argc,
	               argv, &code))
		return code;
	if (!r.sub) {
		fprintf(stderr, "syncline token: --sub is missing; see 'syncline token --help'\n");
		return EXIT_USAGE;
	}
	struct config *config = cli_load("token", &arguments, json, &code);
	if (!config)
		return code;
	code = run(config, &r, json);
	config_free(config);
	return code;
}
