/* The memory of verified tokens: what it finds, what it forgets, how far it grows. */
#include "signing.h"

#include "auth/token_cache.h"

static void digest_of(unsigned i, unsigned char digest[32])
{
	EVP_Digest(&i, sizeof(i), digest, NULL, EVP_sha256(), NULL);
}

static const struct cached_token sample = {
        .payload = SLICE_INIT("{\"sub\":1}"), .user_id = SLICE_INIT("1"), .exp = NOW + 100, .nbf = NOW};

static bool knows(struct token_cache *c, unsigned i, uint64_t generation)
{
	struct arena arena = {0};
	struct cached_token t;
	unsigned char digest[32];
	digest_of(i, digest);
	bool found = token_cache_get(c, digest, generation, &arena, &t);
	if (found) {
		assert_true(slice_eq(t.payload, sample.payload));
		assert_true(slice_eq(t.user_id, sample.user_id));
		assert_true(t.nbf == sample.nbf);
	}
	arena_free(&arena);
	return found;
}

static void remember(struct token_cache *c, unsigned i, uint64_t generation, double exp)
{
	struct cached_token t = sample;
	unsigned char digest[32];
	digest_of(i, digest);
	t.exp = exp;
	token_cache_put(c, digest, generation, NOW, &t);
}

static void a_token_is_found_in_its_generation_only(void **state)
{
	(void)state;
	struct token_cache *c = token_cache_new();
	assert_false(knows(c, 1, 0));
	remember(c, 1, 0, NOW + 100);
	assert_true(knows(c, 1, 0));
	assert_false(knows(c, 2, 0));
	assert_false(knows(c, 1, 1));
	remember(c, 1, 1, NOW + 100);
	assert_true(knows(c, 1, 1));
	assert_false(knows(c, 1, 0));
	token_cache_free(c);
}

static void it_holds_ten_thousand_at_most_and_the_newest_stay(void **state)
{
	(void)state;
	struct token_cache *c = token_cache_new();
	unsigned found = 0;
	for (unsigned i = 0; i < 30000; i++) {
		remember(c, i, 0, NOW + 100);
		assert_true(knows(c, i, 0));
	}
	for (unsigned i = 0; i < 30000; i++)
		found += knows(c, i, 0);
	assert_true(found > 9000 && found <= 10000);
	token_cache_free(c);
}

static void expired_tokens_give_way_first(void **state)
{
	(void)state;
	struct token_cache *c = token_cache_new();
	unsigned found = 0;
	for (unsigned i = 0; i < 3000; i++)
		remember(c, i, 0, NOW + 100);
	for (unsigned i = 3000; i < 60000; i++)
		remember(c, i, 0, NOW - 100);
	for (unsigned i = 0; i < 3000; i++)
		found += knows(c, i, 0);
	assert_true(found > 2950);
	token_cache_free(c);
}

static void large_tokens_are_not_kept(void **state)
{
	(void)state;
	struct token_cache *c = token_cache_new();
	struct arena arena = {0};
	char payload[5000];
	memset(payload, 'x', sizeof(payload));
	struct cached_token t = {.payload = slice_make(payload, sizeof(payload)), .exp = NOW + 100};
	unsigned char digest[32];
	digest_of(1, digest);
	token_cache_put(c, digest, 0, NOW, &t);
	assert_false(token_cache_get(c, digest, 0, &arena, &t));
	arena_free(&arena);
	token_cache_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_token_is_found_in_its_generation_only),
	        cmocka_unit_test(it_holds_ten_thousand_at_most_and_the_newest_stay),
	        cmocka_unit_test(expired_tokens_give_way_first),
	        cmocka_unit_test(large_tokens_are_not_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
