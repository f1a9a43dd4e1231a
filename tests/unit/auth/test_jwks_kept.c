/* The last good keys of a JWKS URL over a restart: used as long as they would be without one, and not longer. */
#include "jwks_server.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "auth/jwks_kept.h"
#include "base/clock.h"

#define URL "https://user:hushhush@keys.test/jwks"
#define MINUTE 60000

struct world {
	struct server server;
	EVP_PKEY *key;
	struct buf token;
	char folder[64];
};

static struct key_store *store_of(struct world *w)
{
	static const char *const urls[] = {URL};
	struct key_store_parts parts = {
	        .fetch = fetch, .fetch_context = &w->server, .now_ms = now_ms, .clock_context = &w->server, .max_wait_ms = 2000};
	return store_keeping(&parts, urls, 1, w->folder);
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	pthread_mutex_init(&w->server.lock, NULL);
	strcpy(w->folder, "/tmp/syncline-kept.XXXXXX");
	assert_non_null(mkdtemp(w->folder));
	w->key = new_key();
	w->token = ed25519_token(REMOTE_HEADER, REMOTE_PAYLOAD, w->key);
	serve(&w->server, "remote", w->key);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;
	char command[128];
	snprintf(command, sizeof(command), "rm -r %s", w->folder);
	assert_int_equal(system(command), 0);
	EVP_PKEY_free(w->key);
	buf_free(&w->token);
	buf_free(&w->server.body);
	free(w);
	return 0;
}

/* A first process that fetched the keys, and ended. */
static void fetch_once(struct world *w)
{
	struct error err;
	struct key_store *k = store_of(w);
	assert_true(accepts(k, &w->token, NOW, &err));
	key_store_free(k);
}

static void set_down(struct world *w, bool down)
{
	pthread_mutex_lock(&w->server.lock);
	w->server.down = down;
	pthread_mutex_unlock(&w->server.lock);
}

/* The kept file as if it had been written that long ago. */
static void age(struct world *w, int64_t by_ms)
{
	struct crypto crypto;
	struct error err;
	struct buf body = {0};
	int64_t age_ms;
	char command[300];
	assert_true(crypto_init(&crypto, &err));
	assert_true(jwks_kept_read(w->folder, URL, &crypto, MINUTE, &body, &age_ms));
	snprintf(command, sizeof(command), "sed -i '1s/.*/%lld/' %s/jwks-*.keys", (long long)(clock_wall_ms() - by_ms),
	         w->folder);
	assert_int_equal(system(command), 0);
	buf_free(&body);
	crypto_free(&crypto);
}

static void a_restart_while_the_url_is_down_refuses_nobody(void **state)
{
	struct world *w = *state;
	struct error err;
	fetch_once(w);
	set_down(w, true);
	struct key_store *k = store_of(w);
	assert_true(accepts(k, &w->token, NOW, &err));
	eventually(fetches(&w->server) == 2); /* it is asked all the same, in the background */
	assert_true(accepts(k, &w->token, NOW, &err));
	key_store_free(k);
}

static void kept_keys_end_with_their_hour(void **state)
{
	struct world *w = *state;
	struct error err;
	fetch_once(w);
	set_down(w, true);
	age(w, 50 * MINUTE);
	struct key_store *k = store_of(w);
	assert_true(accepts(k, &w->token, NOW, &err));
	set_now(&w->server, 11 * MINUTE);
	assert_false(accepts(k, &w->token, NOW, &err));
	assert_string_equal(err.code, "PSYNC_S2204");
	key_store_free(k);

	set_down(w, false);
	fetch_once(w);
	set_down(w, true);
	age(w, 61 * MINUTE);
	k = store_of(w);
	assert_false(accepts(k, &w->token, NOW, &err));
	key_store_free(k);
}

static void keys_that_were_taken_back_go(void **state)
{
	struct world *w = *state;
	struct error err;
	fetch_once(w);
	EVP_PKEY *other = new_key();
	serve(&w->server, "other", other);
	struct key_store *k = store_of(w);
	accepts(k, &w->token, NOW, &err);
	eventually(!accepts(k, &w->token, NOW, &err));
	key_store_free(k);
	set_down(w, true);
	k = store_of(w);
	assert_false(accepts(k, &w->token, NOW, &err)); /* and are not kept either */
	key_store_free(k);
	EVP_PKEY_free(other);
}

static void what_cannot_be_read_counts_as_none(void **state)
{
	static const char *const bodies[] = {"",       "123",        "x\n{\"keys\":[]}", "99999999999999\n{\"keys\":[]}",
	                                     "\n\n\n", "1\nnot json"};
	struct world *w = *state;
	struct error err;
	fetch_once(w);
	set_down(w, true);
	for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
		char command[300];
		snprintf(command, sizeof(command), "printf '%%s' '%s' > $(ls %s/jwks-*.keys)", bodies[i], w->folder);
		assert_int_equal(system(command), 0);
		struct key_store *k = store_of(w);
		assert_false(accepts(k, &w->token, NOW, &err));
		key_store_free(k);
	}
}

static void the_file_is_private_and_does_not_hold_the_url(void **state)
{
	struct world *w = *state;
	char command[300];
	fetch_once(w);
	snprintf(command, sizeof(command),
	         "cd %s && [ $(stat -c %%a jwks-*.keys) = 600 ] && ! grep -q hushhush * && [ $(ls | wc -l) = 1 ]", w->folder);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(a_restart_while_the_url_is_down_refuses_nobody, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(kept_keys_end_with_their_hour, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(keys_that_were_taken_back_go, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(what_cannot_be_read_counts_as_none, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(the_file_is_private_and_does_not_hold_the_url, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
