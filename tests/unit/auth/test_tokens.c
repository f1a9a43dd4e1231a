/* Odd and hostile tokens that the vectors do not have, what is given back, and what the log may say. */
#include "signing.h"

static struct key_store *fixed_store(void)
{
	return store_with(&(struct key_store_parts){0}, NULL, 0);
}

static void the_payload_comes_back_as_it_was_sent(void **state)
{
	(void)state;
	struct key_store *k = fixed_store();
	struct arena arena = {0};
	struct verified_token v;
	struct error err;
	const char *payload = "{ " CLAIMS ", \"n\": 12345678901234567890, \"s\": \"\\u00fc\xC3\xBC\" }";
	struct buf token = hs256_token(HEADER, payload, SECRET);
	for (int round = 0; round < 2; round++) {
		assert_true(key_store_verify(k, buf_slice(&token), NOW, &arena, &v, NULL, &err));
		assert_int_equal(v.payload.n, strlen(payload));
		assert_memory_equal(v.payload.p, payload, v.payload.n);
		assert_true(slice_eq(v.user_id, SLICE("u1")));
		assert_int_equal(v.expires_at_s, NOW + 3600);
	}
	buf_free(&token);
	arena_free(&arena);
	key_store_free(k);
}

static void a_remembered_token_still_expires(void **state)
{
	(void)state;
	struct key_store *k = fixed_store();
	struct error err;
	struct buf token = hs256_token(HEADER, "{" CLAIMS ",\"nbf\":1788000000}", SECRET);
	assert_true(accepts(k, &token, NOW, &err));
	assert_true(accepts(k, &token, NOW + 3659, &err));
	assert_false(accepts(k, &token, NOW + 3660, &err));
	assert_string_equal(err.code, "PSYNC_S2103");
	assert_true(accepts(k, &token, NOW - 60, &err));
	assert_false(accepts(k, &token, NOW - 61, &err));
	assert_string_equal(err.code, "PSYNC_S2101");
	buf_free(&token);
	key_store_free(k);
}

static void user_ids_of_every_type_have_a_text(void **state)
{
	(void)state;
	static const struct {
		const char *sub, *user_id;
	} cases[] = {
	        {"\"\"", ""},           {"null", "null"}, {"true", "1"},
	        {"false", "0"},         {"42", "42"},     {"1.5", "1.5"},
	        {"1e21", "1e+21"},      {"-0", "0"},      {"{\"b\":1,\"a\":[2]}", "{\"b\":1.0,\"a\":[2.0]}"},
	        {"\"a\\u0000b\"", "a"},
	};
	struct key_store *k = fixed_store();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct arena arena = {0};
		struct verified_token v;
		struct error err;
		char payload[200];
		snprintf(payload, sizeof(payload), "{\"sub\":%s,\"aud\":\"app\",\"iat\":1788000000,\"exp\":1788003600}",
		         cases[i].sub);
		struct buf token = hs256_token(HEADER, payload, SECRET);
		assert_true(key_store_verify(k, buf_slice(&token), NOW, &arena, &v, NULL, &err));
		if (strncmp(v.user_id.p, cases[i].user_id, strlen(cases[i].user_id)) != 0)
			fail_msg("%s gives %.*s", cases[i].sub, SLICE_ARG(v.user_id));
		buf_free(&token);
		arena_free(&arena);
	}
	key_store_free(k);
}

static void bytes_that_are_not_utf8_become_replacement_characters(void **state)
{
	(void)state;
	struct key_store *k = fixed_store();
	struct arena arena = {0};
	struct verified_token v;
	struct error err;
	struct buf token =
	        hs256_token(HEADER, "{\"sub\":\"a\xFF\xE2\x82z\",\"aud\":\"app\",\"iat\":1788000000,\"exp\":1788003600}", SECRET);
	assert_true(key_store_verify(k, buf_slice(&token), NOW, &arena, &v, NULL, &err));
	assert_true(slice_eq(v.user_id, SLICE("a\xEF\xBF\xBD\xEF\xBF\xBDz")));
	buf_free(&token);
	arena_free(&arena);
	key_store_free(k);
}

static void hostile_payloads_are_refused(void **state)
{
	(void)state;
	struct key_store *k = fixed_store();
	struct error err;
	struct buf deep = {0};
	buf_lit(&deep, "{" CLAIMS ",\"x\":");
	for (int i = 0; i < 20000; i++)
		buf_putc(&deep, '[');
	buf_putc(&deep, '\0');
	static const char *const others[] = {"", "{", "[]", "\"x\"", "null", "{" CLAIMS "} x", "{" CLAIMS ",}"};
	for (size_t i = 0; i <= sizeof(others) / sizeof(others[0]); i++) {
		struct buf token = hs256_token(HEADER, i ? others[i - 1] : deep.p, SECRET);
		assert_false(accepts(k, &token, NOW, &err));
		assert_string_equal(err.message, "Token is not a well-formed JWT. Check the token format.");
		buf_free(&token);
	}
	buf_free(&deep);
	key_store_free(k);
}

static void critical_extensions_are_judged_before_the_algorithm(void **state)
{
	(void)state;
	static const struct {
		const char *header, *message;
	} cases[] = {
	        {"{\"alg\":\"none\",\"crit\":[\"foo\"],\"foo\":1}", "Extension Header Parameter \"foo\" is not recognized"},
	        {"{\"alg\":\"none\",\"crit\":[\"b64\"]}", "Token is not a well-formed JWT. Check the token format."},
	        {"{\"alg\":\"none\",\"crit\":[\"b64\"],\"b64\":1}", "Token is not a well-formed JWT. Check the token format."},
	        {"{\"alg\":\"none\",\"crit\":[1]}", "Token is not a well-formed JWT. Check the token format."},
	        {"{\"alg\":\"none\",\"crit\":[\"b64\",\"\"],\"b64\":true}",
	         "Token is not a well-formed JWT. Check the token format."},
	        {"{\"alg\":\"none\",\"crit\":\"b64\"}", "Token is not a well-formed JWT. Check the token format."},
	        {"{\"alg\":\"none\",\"crit\":[\"b64\"],\"b64\":true}", "\"alg\" (Algorithm) Header Parameter not allowed"},
	        {"{\"alg\":\"none\",\"b64\":false}", "\"alg\" (Algorithm) Header Parameter not allowed"},
	};
	struct key_store *k = fixed_store();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct error err;
		struct buf token = hs256_token(cases[i].header, "{" CLAIMS "}", SECRET);
		assert_false(accepts(k, &token, NOW, &err));
		assert_string_equal(err.message, cases[i].message);
		buf_free(&token);
	}
	struct error err;
	struct buf token =
	        hs256_token("{\"alg\":\"HS256\",\"kid\":\"fixed\",\"crit\":[\"b64\"],\"b64\":true}", "{" CLAIMS "}", SECRET);
	assert_true(accepts(k, &token, NOW, &err));
	buf_free(&token);
	key_store_free(k);
}

static void every_cut_and_flip_of_a_token_is_refused(void **state)
{
	(void)state;
	struct key_store *k = fixed_store();
	struct error err;
	struct buf token = hs256_token(HEADER, "{" CLAIMS "}", SECRET);
	for (size_t n = 0; n < token.n; n++) {
		struct buf cut = {.p = token.p, .n = n};
		/* The last digit holds bits that do not count. */
		if (n + 1 < token.n)
			assert_false(accepts(k, &cut, NOW, &err));
	}
	for (size_t i = 0; i + 1 < token.n; i++) {
		char old = token.p[i];
		token.p[i] = old == 'A' ? 'B' : 'A';
		assert_false(accepts(k, &token, NOW, &err));
		token.p[i] = old;
	}
	assert_true(accepts(k, &token, NOW, &err));
	buf_free(&token);
	key_store_free(k);
}

static struct slice detail_of(struct key_store *k, const struct buf *token, struct arena *arena)
{
	struct verified_token v;
	struct token_refusal refusal;
	struct error err;
	assert_false(key_store_verify(k, buf_slice(token), NOW, arena, &v, &refusal, &err));
	assert_null(strstr(arena_cstr(arena, refusal.token), "kty:"));
	return arena_printf(arena, "%.*s|%.*s", SLICE_ARG(refusal.token), SLICE_ARG(refusal.configuration));
}

static void the_log_gets_claims_and_keys_but_never_the_token(void **state)
{
	(void)state;
	struct key_store *k = fixed_store();
	struct arena arena = {0};
	struct buf token =
	        hs256_token(HEADER, "{\"sub\":\"u1\",\"aud\":\"other\",\"iat\":1788000000,\"exp\":1788003600}", SECRET);
	struct slice detail = detail_of(k, &token, &arena);
	assert_non_null(strstr(detail.p, "\"aud\":\"other\""));
	assert_non_null(strstr(detail.p, "<kid: fixed, kty: oct, alg: HS256>"));
	assert_non_null(strstr(detail.p, "audience: [app]"));
	assert_null(strstr(detail.p, strrchr(token.p, '.') + 1));
	assert_null(strstr(detail.p, "bm90"));
	buf_free(&token);

	struct buf garbage = {0};
	buf_lit(&garbage, "abc.def");
	detail = detail_of(k, &garbage, &arena);
	assert_non_null(strstr(detail.p, "2 parts and 7 bytes"));
	assert_null(strstr(detail.p, "abc"));
	buf_free(&garbage);

	struct buf large = {0};
	buf_lit(&large, "{\"sub\":\"");
	for (int i = 0; i < 100000; i++)
		buf_putc(&large, 'x');
	buf_lit(&large, "\"}");
	buf_putc(&large, '\0');
	token = hs256_token(HEADER, large.p, SECRET);
	assert_true(detail_of(k, &token, &arena).n < 4000);
	buf_free(&token);
	buf_free(&large);
	arena_free(&arena);
	key_store_free(k);
}

static void tokens_cannot_write_lines_into_the_log(void **state)
{
	(void)state;
	struct key_store *k = fixed_store();
	struct arena arena = {0};
	struct error err;
	struct buf token = hs256_token("{\"alg\":\"HS256\",\n\"kid\":\"x\"}", "{" CLAIMS ",\r\n\"x\":1}", SECRET);
	struct slice detail = detail_of(k, &token, &arena);
	assert_null(strpbrk(detail.p, "\r\n"));
	buf_free(&token);
	token = hs256_token("{\"alg\":\"HS256\",\"crit\":[\"a\\nb\"]}", "{" CLAIMS "}", SECRET);
	assert_false(accepts(k, &token, NOW, &err));
	assert_string_equal(err.message, "Extension Header Parameter \"a b\" is not recognized");
	buf_free(&token);
	arena_free(&arena);
	key_store_free(k);
}

static void long_claims_are_cut_between_characters(void **state)
{
	(void)state;
	struct key_store *k = fixed_store();
	struct error err;
	struct buf payload = {0};
	buf_lit(&payload, "{\"sub\":\"u\",\"iat\":1788000000,\"exp\":1788003600,\"aud\":\"");
	for (int i = 0; i < 2000; i++)
		buf_lit(&payload, "\xE2\x82\xAC");
	buf_lit(&payload, "\"}");
	buf_putc(&payload, '\0');
	struct buf token = hs256_token(HEADER, payload.p, SECRET);
	assert_false(accepts(k, &token, NOW, &err));
	assert_string_equal(err.code, "PSYNC_S2105");
	assert_string_equal(err.message + strlen(err.message) - 3, "\xE2\x82\xAC");
	buf_free(&token);
	buf_free(&payload);
	key_store_free(k);
}

static void supabase_mistakes_are_explained_in_the_log(void **state)
{
	(void)state;
	static const char payload[] = "{" CLAIMS ",\"iss\":\"https://abc.supabase.co/auth/v1\"}";
	static const struct {
		bool enabled;
		const char *secret, *header, *hint;
	} cases[] = {
	        {true, NULL, "{\"alg\":\"HS256\",\"kid\":\"old\"}",
	         "\"Legacy HS256 (Shared Secret)\", but client_auth.supabase_jwt_secret is not set"},
	        {true, "other", "{\"alg\":\"HS256\",\"kid\":\"3f0d1a52-6c3d-4a77-9e8e-0c6f2b1a9d10\"}",
	         "\"HS256 (Shared Secret)\", which is not client_auth.supabase_jwt_secret"},
	        {false, NULL, "{\"alg\":\"ES256\",\"kid\":\"k\"}", "client_auth.supabase is not true"},
	        {true, NULL, "{\"alg\":\"ES256\",\"kid\":\"k\"}", "not a Supabase database"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct auth_config c = {.supabase = cases[i].enabled, .supabase_jwt_secret = cases[i].secret};
		struct arena arena = {0};
		struct error err;
		struct key_store *k = key_store_new(&c, NULL, &err);
		struct buf token = hs256_token(cases[i].header, payload, SECRET);
		struct slice detail = detail_of(k, &token, &arena);
		if (!strstr(detail.p, cases[i].hint))
			fail_msg("%s", detail.p);
		buf_free(&token);
		arena_free(&arena);
		key_store_free(k);
	}
}

static void admin_tokens_must_match_whole(void **state)
{
	(void)state;
	const char *const tokens[] = {"first", "second", ""};
	assert_true(auth_is_admin(tokens, 3, SLICE("first")));
	assert_true(auth_is_admin(tokens, 3, SLICE("second")));
	assert_false(auth_is_admin(tokens, 3, SLICE("firs")));
	assert_false(auth_is_admin(tokens, 3, SLICE("first ")));
	assert_false(auth_is_admin(tokens, 3, SLICE("First")));
	assert_false(auth_is_admin(tokens, 3, SLICE("")));
	assert_false(auth_is_admin(tokens, 0, SLICE("first")));
}

static void an_unusable_static_key_is_named_by_its_index(void **state)
{
	(void)state;
	static const char *const bad[] = {
	        "{\"kty\":\"oct\",\"alg\":\"HS256\",\"k\":\"\"}",
	        "{\"kty\":\"oct\",\"alg\":\"HS256\",\"k\":\"#hunter2\"}",
	        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"alg\":\"ES256\",\"x\":\"AQ\",\"y\":\"AQ\"}",
	        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"alg\":\"EdDSA\",\"x\":\"AQ\"}",
	        "{\"kty\":\"what\"}",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct slice keys[] = {SLICE_INIT(SECRET_JWK), slice_cstr(bad[i])};
		struct auth_config c = {.static_keys = keys, .static_key_count = 2};
		struct error err = {.code = ""};
		assert_null(key_store_new(&c, NULL, &err));
		assert_string_equal(err.code, "PSYNC_S2201");
		assert_non_null(strstr(err.message, "client_auth.jwks.keys[1]: Invalid JWK"));
		assert_null(strstr(err.message, "hunter2"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_payload_comes_back_as_it_was_sent),
	        cmocka_unit_test(a_remembered_token_still_expires),
	        cmocka_unit_test(user_ids_of_every_type_have_a_text),
	        cmocka_unit_test(bytes_that_are_not_utf8_become_replacement_characters),
	        cmocka_unit_test(hostile_payloads_are_refused),
	        cmocka_unit_test(critical_extensions_are_judged_before_the_algorithm),
	        cmocka_unit_test(every_cut_and_flip_of_a_token_is_refused),
	        cmocka_unit_test(the_log_gets_claims_and_keys_but_never_the_token),
	        cmocka_unit_test(tokens_cannot_write_lines_into_the_log),
	        cmocka_unit_test(long_claims_are_cut_between_characters),
	        cmocka_unit_test(supabase_mistakes_are_explained_in_the_log),
	        cmocka_unit_test(admin_tokens_must_match_whole),
	        cmocka_unit_test(an_unusable_static_key_is_named_by_its_index),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
