/*
 * auth-vectors.c: runs the authentication vectors (README in the folder): tokens with a fixed clock, header forms, JWKS cache
 * scenarios, JWKS hosts and Supabase URLs. No network: the fetch layer is a stub that answers from the vectors.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "auth/jwks_body.h"
#include "auth/jwks_state.h"
#include "auth/jwks_url.h"
#include "auth/key_store.h"
#include "base/alloc.h"
#include "config/config.h"
#include "json_file.h"

#define JWKS_BASE "http://jwks.invalid"

struct tally {
	int passed, failed, skipped;
};

static void report(struct tally *t, bool ok, const char *id, const char *expected, const char *got)
{
	t->passed += ok;
	t->failed += !ok;
	if (!ok)
		printf("FAIL %s\n  expected %s\n  got      %s\n", id, expected, got);
}

static const char *text_of(json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* Owned by the caller. */
static char *with_base(const char *text)
{
	const char *mark = strstr(text, "${JWKS_BASE}");
	if (!mark)
		return strdup(text);
	size_t n = strlen(text) + strlen(JWKS_BASE) + 1;
	char *out = malloc(n);
	snprintf(out, n, "%.*s%s%s", (int)(mark - text), text, JWKS_BASE, mark + 12);
	return out;
}

/* Tokens ---------------------------------------------------------------------------------------------------------------- */

static json_t *response_for(json_t *responses, const char *url)
{
	const char *key;
	json_t *value;
	json_object_foreach(responses, key, value)
	{
		char *full = with_base(key);
		bool same = strcmp(full, url) == 0;
		free(full);
		if (same)
			return value;
	}
	return NULL;
}

static bool fetch_stub(void *context, const char *url, const atomic_bool *stop, struct buf *body, char cause[JWKS_CAUSE_SIZE])
{
	(void)stop;
	json_t *response = response_for(context, url);
	const char *location = text_of(response, "location");
	if (location) {
		char *full = with_base(location);
		response = response_for(context, full);
		free(full);
	}
	int status = (int)json_integer_value(json_object_get(response, "status"));
	snprintf(cause, JWKS_CAUSE_SIZE, "status %d", status);
	if (status != 200)
		return false;
	const char *raw = text_of(response, "text");
	char *text = raw ? strdup(raw) : json_dumps(json_object_get(response, "body"), 0);
	buf_append(body, text, strlen(text));
	free(text);
	return true;
}

static const char *const *strings_of(json_t *list, struct arena *arena, size_t *count)
{
	const char **out = arena_array(arena, const char *, json_array_size(list) + 1);
	*count = json_array_size(list);
	for (size_t i = 0; i < *count; i++) {
		char *full = with_base(json_string_value(json_array_get(list, i)));
		out[i] = arena_cstr(arena, slice_cstr(full));
		free(full);
	}
	return out;
}

static const char *supabase_uri_of(json_t *connection, struct arena *arena)
{
	const char *host = text_of(connection, "hostname"), *uri = text_of(connection, "uri");
	if (!host && uri) {
		const char *at = strchr(uri, '@');
		char *lower = arena_cstr(arena, slice_make(at + 1, strcspn(at + 1, ":/?")));
		for (char *p = lower; *p; p++)
			*p = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
		host = lower;
	}
	return config_supabase_jwks_uri(host, arena);
}

static struct key_store *store_for(json_t *config, struct arena *arena, struct error *err)
{
	json_t *a = json_object_get(config, "client_auth"), *keys = json_object_get(json_object_get(a, "jwks"), "keys");
	json_t *uri = json_object_get(a, "jwks_uri"), *one = json_is_string(uri) ? json_pack("[O]", uri) : NULL;
	json_t *connection = json_array_get(json_object_get(json_object_get(config, "replication"), "connections"), 0);
	struct auth_config c = {
	        .supabase = json_is_true(json_object_get(a, "supabase")),
	        .supabase_jwt_secret = text_of(a, "supabase_jwt_secret"),
	        .static_key_count = json_array_size(keys),
	};
	c.audience = strings_of(json_object_get(a, "audience"), arena, &c.audience_count);
	c.jwks_uris = strings_of(one ? one : uri, arena, &c.jwks_uri_count);
	if (c.supabase && connection)
		c.supabase_jwks_uri = supabase_uri_of(connection, arena);
	struct slice *texts = arena_array(arena, struct slice, c.static_key_count + 1);
	for (size_t i = 0; i < c.static_key_count; i++) {
		char *text = json_dumps(json_array_get(keys, i), 0);
		texts[i] = arena_copy(arena, slice_cstr(text));
		free(text);
	}
	c.static_keys = texts;
	struct key_store_parts parts = {.fetch = fetch_stub, .fetch_context = json_object_get(config, "jwks_responses")};
	struct key_store *k = key_store_new_with(&c, &parts, NULL, err);
	json_decref(one);
	return k;
}

static void check_accepted(struct tally *t, const char *id, json_t *expect, bool ok, const struct verified_token *v,
                           const struct error *err)
{
	char expected[512], got[512];
	const char *user = text_of(expect, "user_id_string");
	long long exp = (long long)json_number_value(json_object_get(expect, "exp"));
	snprintf(expected, sizeof(expected), "user %s exp %lld", user, exp);
	if (!ok)
		snprintf(got, sizeof(got), "[%s] %.400s", err->code, err->message);
	else
		snprintf(got, sizeof(got), "user %.*s exp %lld", SLICE_ARG(v->user_id), (long long)v->expires_at_s);
	bool good = strcmp(expected, got) == 0;
	json_t *parameters = json_object_get(expect, "parameters");
	if (good && parameters) {
		json_t *payload = json_loadb(v->payload.p, v->payload.n, 0, NULL);
		good = json_equal(json_object_get(payload, "parameters"), parameters);
		json_decref(payload);
	}
	report(t, good, id, expected, got);
}

static void run_token(struct tally *t, json_t *configs, json_t *test)
{
	const char *id = text_of(test, "id");
	json_t *expect = json_object_get(test, "expect");
	struct arena arena = {0};
	struct error err = {.code = ""};
	struct verified_token v = {0};
	struct token_refusal refusal;
	struct key_store *k = store_for(json_object_get(configs, text_of(test, "config")), &arena, &err);
	int64_t now = json_integer_value(json_object_get(test, "now"));
	struct slice token = slice_cstr(text_of(test, "token"));
	/* Twice: the second answer may come from memory and must be the same. */
	for (int round = 0; k && round < 2; round++) {
		bool ok = key_store_verify(k, token, now, &arena, &v, &refusal, &err);
		if (json_is_true(json_object_get(expect, "accepted"))) {
			check_accepted(t, id, expect, ok, &v, &err);
			continue;
		}
		char expected[512], got[1200];
		snprintf(expected, sizeof(expected), "[%s] %s", text_of(expect, "code"), text_of(expect, "description"));
		snprintf(got, sizeof(got), "[%s] %s", ok ? "accepted" : err.code, ok ? "" : err.message);
		/* An unknown key asks for a refresh, which may have happened by the second round: only the code is certain. */
		report(t, strncmp(expected, got, round ? 13 : sizeof(expected)) == 0, id, expected, got);
	}
	if (!k)
		report(t, false, id, "a key store", err.message);
	key_store_free(k);
	arena_free(&arena);
}

static void run_tokens(struct tally *t, const char *folder)
{
	json_t *configs = load_file(folder, "configs.json");
	char path[4096], *line = NULL;
	size_t cap = 0;
	snprintf(path, sizeof(path), "%s/tokens.jsonl", folder);
	FILE *f = fopen(path, "r");
	if (!f) {
		perror(path);
		exit(2);
	}
	while (getline(&line, &cap, f) > 0) {
		json_t *test = json_loads(line, 0, NULL);
		run_token(t, configs, test);
		json_decref(test);
	}
	free(line);
	fclose(f);
	json_decref(configs);
}

/* Header forms ---------------------------------------------------------------------------------------------------------- */

static void run_headers(struct tally *t, const char *folder)
{
	size_t i;
	json_t *test, *list = load_file(folder, "authorization-header.json");
	json_array_foreach(list, i, test)
	{
		struct slice token = {0};
		struct error err = {.code = ""};
		const char *expected = text_of(test, "token");
		bool ok = auth_header_token(slice_cstr(text_of(test, "header")), &token, &err);
		bool good = expected ? ok && slice_eq(token, slice_cstr(expected)) : !ok && strcmp(err.code, "PSYNC_S2106") == 0;
		report(t, good, text_of(test, "header"), expected ? expected : "no token", ok ? token.p : "no token");
	}
	json_decref(list);
}

/* JWKS cache ------------------------------------------------------------------------------------------------------------ */

struct server {
	json_t *plan;
	size_t fetches;
};

/* A set with keys of these names; the kind of key does not matter here. */
static struct key_set *keys_named(json_t *names, const struct crypto *crypto)
{
	struct key_set *set = key_set_new();
	for (size_t i = 0; i < json_array_size(names); i++) {
		struct arena arena = {0};
		struct error err;
		struct json_node jwk;
		struct slice text = arena_printf(&arena, "{\"kty\":\"oct\",\"alg\":\"HS256\",\"k\":\"AAAA\",\"kid\":\"%s\"}",
		                                 json_string_value(json_array_get(names, i)));
		if (json_read(text, JSON_DOUBLES, &arena, &jwk, &err))
			key_set_import(set, crypto, &jwk, PROFILE_DEFAULT, &err);
		arena_free(&arena);
	}
	return set;
}

static void answer_fetch(struct server *server, struct jwks_state *s, int64_t now, const struct crypto *crypto)
{
	size_t last = json_array_size(server->plan) - 1;
	json_t *step = json_array_get(server->plan, server->fetches < last ? server->fetches : last);
	struct error err = {.code = ""};
	server->fetches++;
	if (json_is_true(json_object_get(step, "error"))) {
		error_set(&err, "PSYNC_S2204", "JWKS request failed");
		jwks_state_fetched(s, now, JWKS_HARD, NULL, &err);
	} else if (json_is_true(json_object_get(step, "soft"))) {
		error_set(&err, "PSYNC_S2204", "Invalid JWKS response");
		jwks_state_fetched(s, now, JWKS_SOFT, NULL, &err);
	} else {
		jwks_state_fetched(s, now, JWKS_OK, keys_named(json_object_get(step, "keys"), crypto), &err);
	}
}

static void describe(const struct jwks_state *s, bool fetched, char out[512])
{
	size_t n = (size_t)snprintf(out, 512, "fetched %d keys", fetched);
	for (size_t i = 0; s && s->keys && i < s->keys->count; i++)
		n += (size_t)snprintf(out + n, 512 - n, " %.*s", SLICE_ARG(s->keys->keys[i].kid));
	snprintf(out + n, 512 - n, " errors %s", s && s->has_error ? s->error.message : "");
}

static void describe_expected(json_t *event, char out[512])
{
	json_t *returned = json_object_get(event, "returned"), *keys = json_object_get(returned, "keys");
	size_t n = (size_t)snprintf(out, 512, "fetched %d keys", json_is_true(json_object_get(event, "fetched")));
	for (size_t i = 0; i < json_array_size(keys); i++)
		n += (size_t)snprintf(out + n, 512 - n, " %s", json_string_value(json_array_get(keys, i)));
	const char *first = json_string_value(json_array_get(json_object_get(returned, "errors"), 0));
	snprintf(out + n, 512 - n, " errors %s", first ? first : "");
}

static void run_event(struct tally *t, const char *scenario, json_t *event, struct jwks_state *s, struct server *server,
                      const struct crypto *crypto)
{
	int64_t now = json_integer_value(json_object_get(event, "at_ms"));
	bool use = strcmp(text_of(event, "op"), "get") == 0;
	unsigned todo = use ? jwks_state_use(s, now) : jwks_state_no_key(s, now);
	char expected[512], got[512], id[128];
	if (todo & JWKS_WAIT)
		answer_fetch(server, s, now, crypto);
	describe(use ? s : NULL, todo & JWKS_START, got);
	describe_expected(event, expected);
	if ((todo & JWKS_START) && !(todo & JWKS_WAIT))
		answer_fetch(server, s, now, crypto);
	snprintf(id, sizeof(id), "%s at %lld", scenario, (long long)now);
	report(t, strcmp(expected, got) == 0, id, expected, got);
}

static void run_cache(struct tally *t, const char *folder)
{
	size_t i, j;
	struct crypto crypto;
	struct error err;
	json_t *file = load_file(folder, "jwks-cache.json"), *scenario, *event;
	if (!crypto_init(&crypto, &err))
		exit(2);
	json_array_foreach(json_object_get(file, "scenarios"), i, scenario)
	{
		struct jwks_state s = {0};
		struct server server = {.plan = json_object_get(scenario, "server")};
		char expected[32], got[32];
		json_array_foreach(json_object_get(scenario, "events"), j, event)
		        run_event(t, text_of(scenario, "id"), event, &s, &server, &crypto);
		snprintf(expected, sizeof(expected), "%d fetches",
		         (int)json_integer_value(json_object_get(scenario, "fetches_total")));
		snprintf(got, sizeof(got), "%zu fetches", server.fetches);
		report(t, strcmp(expected, got) == 0, text_of(scenario, "id"), expected, got);
		jwks_state_free(&s);
	}
	crypto_free(&crypto);
	json_decref(file);
}

/* Hosts and Supabase ---------------------------------------------------------------------------------------------------- */

static void run_hosts(struct tally *t, const char *folder)
{
	size_t i;
	json_t *test, *list = load_file(folder, "jwks-hosts.json");
	json_array_foreach(list, i, test)
	{
		struct arena arena = {0};
		struct error err = {.code = ""};
		const char *url = text_of(test, "url"), *code = text_of(test, "code");
		bool wanted = strcmp(text_of(test, "at_load"), "ok") == 0;
		struct auth_config c = {
		        .jwks_uris = &url, .jwks_uri_count = 1, .block_ipv6 = json_is_true(json_object_get(test, "reject_ipv6"))};
		c.reject_ip_ranges = strings_of(json_object_get(test, "reject_ip_ranges"), &arena, &c.reject_ip_range_count);
		struct key_store *k = key_store_new(&c, NULL, &err);
		bool good = wanted ? k != NULL : !k && strcmp(err.code, code ? code : "") == 0;
		report(t, good, url, wanted ? "ok" : code ? code : "an error", k ? "ok" : err.message);
		key_store_free(k);
		arena_free(&arena);
	}
	json_decref(list);
}

static void run_supabase(struct tally *t, const char *folder)
{
	size_t i;
	json_t *test, *list = load_file(folder, "supabase-jwks-url.json");
	json_array_foreach(list, i, test)
	{
		struct arena arena = {0};
		json_t *connection = json_object_get(test, "connection");
		const char *expected = text_of(test, "jwks_url"), *got = supabase_uri_of(connection, &arena);
		const char *name = text_of(connection, "hostname") ? text_of(connection, "hostname") : text_of(connection, "uri");
		report(t, expected ? got && strcmp(expected, got) == 0 : !got, name, expected ? expected : "none",
		       got ? got : "none");
		arena_free(&arena);
	}
	json_decref(list);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: auth-vectors FOLDER\n");
		return 2;
	}
	struct tally t = {0};
	run_tokens(&t, argv[1]);
	run_headers(&t, argv[1]);
	run_cache(&t, argv[1]);
	run_hosts(&t, argv[1]);
	run_supabase(&t, argv[1]);
	printf("%d passed, %d failed, %d skipped\n", t.passed, t.failed, t.skipped);
	return t.failed ? 1 : 0;
}
