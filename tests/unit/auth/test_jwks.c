/* JWKS URLs behind a key store: rotation, failures, waiting, and what a body may hold. The fetch layer is a stub. */
#include "jwks_server.h"

#include "auth/jwks_body.h"

static struct key_store *store_on(struct server *s, int64_t max_wait_ms)
{
	static const char *const urls[] = {"https://keys.test/jwks"};
	struct key_store_parts parts = {
	        .fetch = fetch, .fetch_context = s, .now_ms = now_ms, .clock_context = s, .max_wait_ms = max_wait_ms};
	return store_with(&parts, urls, 1);
}

/* A URL that serves one key, a token signed with it, and a store that knows the URL. */
struct remote {
	struct server server;
	EVP_PKEY *key;
	struct buf token;
	struct key_store *store;
};

static void begin(struct remote *r)
{
	*r = (struct remote){.server = {.lock = PTHREAD_MUTEX_INITIALIZER}, .key = new_key()};
	r->token = ed25519_token(REMOTE_HEADER, REMOTE_PAYLOAD, r->key);
	serve(&r->server, "remote", r->key);
	r->store = store_on(&r->server, 0);
}

static void end(struct remote *r)
{
	key_store_free(r->store);
	buf_free(&r->token);
	buf_free(&r->server.body);
	EVP_PKEY_free(r->key);
}

static bool is_accepted(struct remote *r, struct error *err)
{
	return accepts(r->store, &r->token, NOW, err);
}

static void a_key_taken_from_the_url_ends_remembered_tokens(void **state)
{
	(void)state;
	struct server s = {.lock = PTHREAD_MUTEX_INITIALIZER};
	EVP_PKEY *old = new_key(), *fresh = new_key();
	struct error err;
	struct buf old_token = ed25519_token(REMOTE_HEADER, REMOTE_PAYLOAD, old);
	struct buf new_token = ed25519_token("{\"alg\":\"EdDSA\",\"kid\":\"next\"}", REMOTE_PAYLOAD, fresh);
	serve(&s, "remote", old);
	struct key_store *k = store_on(&s, 0);
	assert_true(accepts(k, &old_token, NOW, &err));
	assert_true(accepts(k, &old_token, NOW, &err));
	assert_int_equal(fetches(&s), 1);

	/* After five minutes the next use fetches in the background. */
	serve(&s, "next", fresh);
	set_now(&s, 300000);
	accepts(k, &old_token, NOW, &err);
	eventually(!accepts(k, &old_token, NOW, &err));
	assert_string_equal(err.code, "PSYNC_S2101");
	assert_true(accepts(k, &new_token, NOW, &err));
	key_store_free(k);
	buf_free(&old_token);
	buf_free(&new_token);
	buf_free(&s.body);
	EVP_PKEY_free(old);
	EVP_PKEY_free(fresh);
}

static void a_url_that_was_asked_early_is_not_asked_by_the_first_token(void **state)
{
	(void)state;
	struct remote r;
	struct error err;
	begin(&r);
	key_store_ask(r.store);
	assert_true(is_accepted(&r, &err));
	assert_int_equal(fetches(&r.server), 1);
	end(&r);
}

static void the_same_keys_again_keep_remembered_tokens(void **state)
{
	(void)state;
	struct remote r;
	struct error err;
	begin(&r);
	assert_true(is_accepted(&r, &err));
	set_now(&r.server, 300000);
	assert_true(is_accepted(&r, &err));
	eventually(fetches(&r.server) == 2);
	assert_true(is_accepted(&r, &err));
	end(&r);
}

static void keys_of_a_dead_url_last_an_hour(void **state)
{
	(void)state;
	struct remote r;
	struct error err;
	begin(&r);
	assert_true(is_accepted(&r, &err));
	pthread_mutex_lock(&r.server.lock);
	r.server.down = true;
	pthread_mutex_unlock(&r.server.lock);
	set_now(&r.server, 3600000);
	assert_true(is_accepted(&r, &err));
	set_now(&r.server, 3600001);
	assert_false(is_accepted(&r, &err));
	assert_string_equal(err.code, "PSYNC_S2204");
	assert_string_equal(err.message, "JWKS request failed");
	end(&r);
}

static void an_unknown_kid_asks_for_new_keys(void **state)
{
	(void)state;
	struct server s = {.lock = PTHREAD_MUTEX_INITIALIZER};
	EVP_PKEY *old = new_key(), *fresh = new_key();
	struct error err;
	struct buf token = ed25519_token("{\"alg\":\"EdDSA\",\"kid\":\"next\"}", REMOTE_PAYLOAD, fresh);
	serve(&s, "remote", old);
	struct key_store *k = store_on(&s, 0);
	assert_false(accepts(k, &token, NOW, &err));
	assert_string_equal(err.code, "PSYNC_S2101");
	serve(&s, "next", fresh);
	set_now(&s, 1000);
	assert_false(accepts(k, &token, NOW, &err));
	eventually(accepts(k, &token, NOW, &err));
	key_store_free(k);
	buf_free(&token);
	buf_free(&s.body);
	EVP_PKEY_free(old);
	EVP_PKEY_free(fresh);
}

static void a_hanging_url_is_waited_for_only_so_long(void **state)
{
	(void)state;
	struct server s = {.lock = PTHREAD_MUTEX_INITIALIZER, .hangs = true};
	EVP_PKEY *key = new_key();
	struct error err;
	struct buf remote = ed25519_token(REMOTE_HEADER, REMOTE_PAYLOAD, key),
	           fixed = hs256_token(HEADER, "{" CLAIMS "}", SECRET);
	struct key_store *k = store_on(&s, 50);
	struct timespec before, after;
	/* A static key does not need the URL. */
	assert_true(accepts(k, &fixed, NOW, &err));
	clock_gettime(CLOCK_MONOTONIC, &before);
	assert_false(accepts(k, &remote, NOW, &err));
	clock_gettime(CLOCK_MONOTONIC, &after);
	double ms = (double)(after.tv_sec - before.tv_sec) * 1e3 + (double)(after.tv_nsec - before.tv_nsec) / 1e6;
	assert_true(ms >= 49 && ms < 2000);
	assert_string_equal(err.code, "PSYNC_S2204");
	/* The fetch in flight is broken off. */
	key_store_free(k);
	buf_free(&remote);
	buf_free(&fixed);
	buf_free(&s.body);
	EVP_PKEY_free(key);
}

struct crowd {
	struct key_store *k;
	const struct buf *token;
	atomic_int accepted;
};

static void *verify_often(void *argument)
{
	struct crowd *c = argument;
	struct error err;
	for (int i = 0; i < 300; i++)
		if (accepts(c->k, c->token, NOW, &err))
			atomic_fetch_add(&c->accepted, 1);
	return NULL;
}

static void many_threads_share_one_store(void **state)
{
	(void)state;
	struct remote r;
	begin(&r);
	struct crowd c = {.k = r.store, .token = &r.token};
	pthread_t threads[4];
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, verify_often, &c);
	for (int i = 1; i <= 20; i++) {
		set_now(&r.server, i * 300000);
		serve(&r.server, "remote", r.key);
		usleep(1000);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(c.accepted, 1200);
	assert_true(fetches(&r.server) <= 21);
	end(&r);
}

static void bodies_are_judged_as_a_whole(void **state)
{
	(void)state;
	static const struct {
		const char *body;
		enum jwks_outcome outcome;
		size_t keys;
		const char *code;
	} cases[] = {
	        {"{\"keys\":[]}", JWKS_OK, 0, ""},
	        {"{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"},{\"kty\":\"?\"},{}]}", JWKS_OK, 0, ""},
	        {"{\"keys\":[{\"kty\":\"RSA\",\"use\":\"enc\"},{\"kty\":\"RSA\",\"key_ops\":[\"sign\"]},{\"kty\":\"RSA\",\"key_"
	         "ops\":[]}]}",
	         JWKS_OK, 0, ""},
	        {"{\"keys\":[{\"kty\":\"RSA\",\"use\":1,\"n\":\"AQAB\",\"e\":\"AQAB\"}]}", JWKS_OK, 1, ""},
	        {"{\"keys\":[null]}", JWKS_SOFT, 0, "PSYNC_S2204"},
	        {"{\"keys\":[1]}", JWKS_SOFT, 0, "PSYNC_S2204"},
	        {"{\"keys\":{}}", JWKS_SOFT, 0, "PSYNC_S2204"},
	        {"[]", JWKS_SOFT, 0, "PSYNC_S2204"},
	        {"null", JWKS_SOFT, 0, "PSYNC_S2204"},
	        {"", JWKS_HARD, 0, "PSYNC_S2204"},
	        {"<html>", JWKS_HARD, 0, "PSYNC_S2204"},
	        {"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AQ\",\"y\":\"AQ\"}]}", JWKS_HARD, 0, "PSYNC_S2201"},
	        {"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\"}]}", JWKS_HARD, 0, "PSYNC_S2201"},
	};
	struct crypto crypto;
	struct error err;
	assert_true(crypto_init(&crypto, &err));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct key_set *set;
		err.code = "";
		assert_int_equal(jwks_body_read(slice_cstr(cases[i].body), &crypto, PROFILE_DEFAULT, &set, &err),
		                 cases[i].outcome);
		assert_string_equal(err.code, cases[i].code);
		assert_int_equal(set ? set->count : 0, cases[i].keys);
		key_set_unref(set);
	}
	struct buf many = {0};
	struct key_set *set;
	buf_lit(&many, "{\"keys\":[");
	for (int i = 0; i < 1001; i++)
		buf_printf(&many, "%s{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}", i ? "," : "");
	buf_lit(&many, "]}");
	assert_int_equal(jwks_body_read(buf_slice(&many), &crypto, PROFILE_DEFAULT, &set, &err), JWKS_HARD);
	buf_free(&many);
	crypto_free(&crypto);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_key_taken_from_the_url_ends_remembered_tokens),
	        cmocka_unit_test(a_url_that_was_asked_early_is_not_asked_by_the_first_token),
	        cmocka_unit_test(the_same_keys_again_keep_remembered_tokens),
	        cmocka_unit_test(keys_of_a_dead_url_last_an_hour),
	        cmocka_unit_test(an_unknown_kid_asks_for_new_keys),
	        cmocka_unit_test(a_hanging_url_is_waited_for_only_so_long),
	        cmocka_unit_test(many_threads_share_one_store),
	        cmocka_unit_test(bodies_are_judged_as_a_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
