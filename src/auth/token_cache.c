/* token_cache.c: a table of small sets; a digest can only be in its own set, whose oldest entry gives way. */
#include "auth/token_cache.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/alloc.h"

#define WAYS 8
#define SETS 1250 /* 10,000 entries */
#define LOCKS 64
#define MAX_ENTRY 4096 /* bytes of payload and user id: 40 MB in the worst case */

struct entry {
	unsigned char digest[32];
	uint64_t generation, used;
	double exp, nbf;
	char *bytes; /* payload, then user id; NULL: free */
	size_t payload_n, user_id_n;
};

struct set {
	struct entry entries[WAYS];
	uint64_t clock; /* counts uses of the set */
};

struct token_cache {
	pthread_mutex_t locks[LOCKS];
	struct set sets[SETS];
};

struct token_cache *token_cache_new(void)
{
	struct token_cache *c = xcalloc(1, sizeof(*c));
	for (int i = 0; i < LOCKS; i++)
		pthread_mutex_init(&c->locks[i], NULL);
	return c;
}

void token_cache_free(struct token_cache *c)
{
	if (!c)
		return;
	for (int i = 0; i < SETS; i++)
		for (int j = 0; j < WAYS; j++)
			free(c->sets[i].entries[j].bytes);
	for (int i = 0; i < LOCKS; i++)
		pthread_mutex_destroy(&c->locks[i]);
	free(c);
}

static size_t set_of(const unsigned char digest[32])
{
	uint32_t v;
	memcpy(&v, digest, sizeof(v));
	return v % SETS;
}

static struct entry *find(struct set *s, const unsigned char digest[32])
{
	for (int i = 0; i < WAYS; i++)
		if (s->entries[i].bytes && memcmp(s->entries[i].digest, digest, 32) == 0)
			return &s->entries[i];
	return NULL;
}

bool token_cache_get(struct token_cache *c, const unsigned char digest[32], uint64_t generation, struct arena *arena,
                     struct cached_token *out)
{
	size_t i = set_of(digest);
	pthread_mutex_lock(&c->locks[i % LOCKS]);
	struct entry *e = find(&c->sets[i], digest);
	bool hit = e && e->generation == generation;
	if (hit) {
		e->used = ++c->sets[i].clock;
		out->payload = arena_copy(arena, slice_make(e->bytes, e->payload_n));
		out->user_id = arena_copy(arena, slice_make(e->bytes + e->payload_n, e->user_id_n));
		out->exp = e->exp;
		out->nbf = e->nbf;
	}
	pthread_mutex_unlock(&c->locks[i % LOCKS]);
	return hit;
}

static struct entry *victim(struct set *s, uint64_t generation, int64_t now_s)
{
	struct entry *oldest = &s->entries[0];
	for (int i = 0; i < WAYS; i++) {
		struct entry *e = &s->entries[i];
		if (!e->bytes || e->generation != generation || e->exp < (double)now_s - 60)
			return e;
		if (e->used < oldest->used)
			oldest = e;
	}
	return oldest;
}

void token_cache_put(struct token_cache *c, const unsigned char digest[32], uint64_t generation, int64_t now_s,
                     const struct cached_token *t)
{
	size_t i = set_of(digest), n = t->payload.n + t->user_id.n;
	if (n > MAX_ENTRY)
		return;
	char *bytes = xmalloc(n + 1);
	memcpy(bytes, t->payload.p, t->payload.n);
	if (t->user_id.n)
		memcpy(bytes + t->payload.n, t->user_id.p, t->user_id.n);
	pthread_mutex_lock(&c->locks[i % LOCKS]);
	struct set *s = &c->sets[i];
	struct entry *e = find(s, digest);
	if (!e)
		e = victim(s, generation, now_s);
	char *old = e->bytes;
	memcpy(e->digest, digest, 32);
	e->generation = generation;
	e->used = ++s->clock;
	e->exp = t->exp;
	e->nbf = t->nbf;
	e->bytes = bytes;
	e->payload_n = t->payload.n;
	e->user_id_n = t->user_id.n;
	pthread_mutex_unlock(&c->locks[i % LOCKS]);
	free(old);
}
