/* auth_check.c: which key a token was tried with, which claim failed, and what would fix it (auth 2.3, 4). */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/auth.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/wiring.h"

static const char help[] =
        "Usage: syncline auth-check TOKEN [--json] [OPTIONS]\n\n"
        "Verifies a client token as the service does, and says which key was used, what is wrong and what would fix it.\n"
        "TOKEN may be - to read it from standard input, so that it gets into no shell history. Keys of jwks_uri are fetched.\n"
        "Exit code 0: accepted; 1: refused; 150: the configuration is bad.\n\n"
        "      --json                 as JSON\n";

static struct slice list_of(const char *const *items, size_t count, struct arena *arena)
{
	struct buf b = {0};
	for (size_t i = 0; i < count; i++)
		buf_printf(&b, "%s\"%s\"", i ? ", " : "", items[i]);
	struct slice out = arena_copy(arena, buf_slice(&b));
	buf_free(&b);
	return out;
}

static bool says(const struct error *err, const char *part)
{
	return strstr(err->message, part) != NULL;
}

static struct slice remedy_of_key(const struct token_trace *t, struct arena *arena)
{
	if (says(&t->err, "Could not find an appropriate key"))
		return t->kid.n
		               ? arena_printf(arena,
		                              "No key has the kid \"%.*s\", and no key without a kid verifies the signature. Add "
		                              "the issuer's key "
		                              "under that kid to client_auth.jwks.keys, or its JWKS URL to client_auth.jwks_uri.",
		                              SLICE_ARG(t->kid))
		               : arena_printf(arena, "The token has no kid, so only keys without a kid are tried, and none of "
		                                     "them verifies it. Let the "
		                                     "issuer set the kid, or configure the key without one.");
	if (says(&t->err, "Unexpected token algorithm"))
		return arena_printf(arena,
		                    "The key with this kid is not for %.*s. Correct \"alg\" of the key, or let the issuer sign "
		                    "with the key's algorithm.",
		                    SLICE_ARG(t->algorithm));
	if (says(&t->err, "signature verification failed"))
		return arena_printf(arena, "The key with this kid is not the one that signed the token: its secret or public key "
		                           "differs (often: another "
		                           "environment, or \"k\" that is not the base64url of the secret).");
	if (says(&t->err, "modulusLength") || says(&t->err, "curve"))
		return arena_printf(arena, "Use a key that is strong enough and of the right curve for the algorithm.");
	return slice_make(NULL, 0);
}

static struct slice remedy_of_claim(const struct token_trace *t, struct arena *arena)
{
	if (strcmp(t->err.code, "PSYNC_S2103") == 0)
		return arena_printf(arena, "Get a fresh token. If it is fresh, compare the clocks of issuer and service: 60 s of "
		                           "difference are forgiven.");
	if (strcmp(t->err.code, "PSYNC_S2104") == 0)
		return arena_printf(arena, "Let the issuer keep \"exp\" minus \"iat\" at or below %.0f seconds.",
		                    t->max_lifetime_s);
	if (strcmp(t->err.code, "PSYNC_S2105") == 0 && !t->audience_count)
		return arena_printf(arena,
		                    "client_auth.audience is empty, so no token is accepted: list the token's audience there.");
	if (strcmp(t->err.code, "PSYNC_S2105") == 0)
		return arena_printf(
		        arena,
		        "Accepted are: %.*s. Add the token's \"aud\" to client_auth.audience, or let the issuer set one of them.",
		        SLICE_ARG(list_of(t->audience, t->audience_count, arena)));
	if (says(&t->err, "missing a required claim \"nbf\""))
		return arena_printf(arena,
		                    "\"nbf\" must be a number of seconds since 1970 and not in the future; compare the clocks.");
	if (says(&t->err, "missing a required claim"))
		return arena_printf(arena,
		                    "Let the issuer set the claim; \"exp\" and \"iat\" are numbers of seconds since 1970.");
	if (says(&t->err, "parameters"))
		return arena_printf(arena, "Make \"parameters\" a JSON object, or leave it out.");
	return slice_make(NULL, 0);
}

/* p == NULL: the message says it all. */
static struct slice remedy(const struct token_trace *t, struct arena *arena)
{
	if (says(&t->err, "not a well-formed JWT"))
		return arena_printf(
		        arena,
		        "A JWT is three base64url parts with dots between them. Was it cut, or is \"Bearer \" still in front?");
	if (says(&t->err, "Header Parameter not allowed"))
		return arena_printf(arena, "Sign with HS256, HS384, HS512, RS256, RS384, RS512, ES256, ES384, ES512 or EdDSA.");
	if (strcmp(t->err.code, "PSYNC_S2204") == 0)
		return arena_printf(arena, "A URL of client_auth.jwks_uri gave no keys: the lines above say why. It must answer "
		                           "within 3 s with a JWKS.");
	struct slice r = remedy_of_key(t, arena);
	return r.p ? r : remedy_of_claim(t, arena);
}

static void print_text(const struct token_trace *t, struct slice fix)
{
	if (t->header.n)
		printf("header    %.*s\n", SLICE_ARG(t->header));
	if (t->payload.n)
		printf("payload   %.*s\n", SLICE_ARG(t->payload));
	for (size_t i = 0; i < t->known_count; i++)
		printf("%s%.*s\n", i ? "          " : "keys      ", SLICE_ARG(t->known[i]));
	if (!t->known_count)
		printf("keys      none\n");
	if (t->key.n)
		printf("used      %.*s\n", SLICE_ARG(t->key));
	if (t->valid)
		printf("accepted\n");
	else
		printf("refused   [%s] %s\n", t->err.code, t->err.message);
	if (fix.p)
		printf("fix       %.*s\n", SLICE_ARG(fix));
}

static void set_parsed(json_t *out, const char *name, struct slice text)
{
	json_t *value = text.n ? json_loadb(text.p, text.n, JSON_DECODE_ANY, NULL) : NULL;
	json_object_set_new(out, name, value ? value : json_null());
}

static void print_json(const struct token_trace *t, struct slice fix)
{
	json_t *out = json_pack("{s:b}", "ok", t->valid), *known = json_array(), *audience = json_array();
	set_parsed(out, "header", t->header);
	set_parsed(out, "payload", t->payload);
	for (size_t i = 0; i < t->known_count; i++)
		json_array_append_new(known, json_text(t->known[i]));
	for (size_t i = 0; i < t->audience_count; i++)
		json_array_append_new(audience, json_text(slice_cstr(t->audience[i])));
	json_object_set_new(out, "keys", known);
	json_object_set_new(out, "key", t->key.n ? json_text(t->key) : json_null());
	json_object_set_new(out, "key_source", t->key_source.n ? json_text(t->key_source) : json_null());
	json_object_set_new(out, "audience", audience);
	if (!t->valid)
		json_object_set_new(
		        out, "error",
		        json_pack("{s:s,s:o}", "code", t->err.code, "message", json_text(slice_cstr(t->err.message))));
	if (fix.p)
		json_object_set_new(out, "fix", json_text(fix));
	cli_print_json(out);
}

static struct slice read_token(const char *argument, char *space, size_t size)
{
	struct slice t = slice_cstr(argument);
	if (strcmp(argument, "-") == 0)
		t = slice_make(space, fread(space, 1, size, stdin));
	while (t.n && strchr(" \t\r\n", t.p[t.n - 1]))
		t.n--;
	return t;
}

static int check(const struct config *config, struct slice token, bool json)
{
	struct error err = {.code = ""};
	struct log log = {.level = LOG_WARN, .fd = STDERR_FILENO};
	struct auth_config auth = wiring_auth_config(config);
	struct key_store *keys = key_store_new(&auth, &log, &err);
	if (!keys)
		return cli_fail("auth-check", json, EXIT_BAD_CONFIG, &err);
	struct arena arena = {0};
	struct token_trace trace;
	key_store_trace(keys, token, clock_wall_ms() / 1000, &arena, &trace);
	struct slice fix = trace.valid ? slice_make(NULL, 0) : remedy(&trace, &arena);
	(json ? print_json : print_text)(&trace, fix);
	int code = trace.valid ? 0 : 1;
	arena_free(&arena);
	key_store_free(keys);
	return code;
}

int cli_auth_check(int argc, char **argv)
{
	struct config_arguments arguments = {0};
	const char *argument = NULL;
	bool json = false;
	int code;
	const struct cli_option options[] = {{.long_name = "--json", .flag = &json}, {.long_name = NULL}};
	if (!cli_parse(&(struct cli_syntax){.command = "auth-check",
	                                    .help = help,
	                                    .options = options,
	                                    .config = &arguments,
	                                    .arguments = &argument,
	                                    .least = 1,
	                                    .most = 1},
	               argc, argv, &code))
		return code;
	struct config *config = cli_load("auth-check", &arguments, json, &code);
	if (!config)
		return code;
	char space[65536];
	code = check(config, read_token(argument, space, sizeof(space)), json);
	config_free(config);
	return code;
}
