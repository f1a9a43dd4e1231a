/* names.c: see names.h. */
#include "storage/postgres/names.h"

#include <pthread.h>
#include <stdlib.h>
#include <uthash.h>

#include "base/alloc.h"
#include "base/clock.h"

/* A number that nobody holds is good for so long after it was asked for. */
#define FORGET_MS 60000
#define SWEEP_AT_LEAST 4096

struct bucket {
	UT_hash_handle by_name, by_number;
	uint32_t number, holds;
	const struct pg_definition *definition;
	int64_t asked_ms;
	uint64_t clear;
	uint32_t size;
	char key[]; /* number of the definition, then the name: streams of storage version 1 may have equal names */
};

#define NUMBER_SIZE sizeof(uint32_t)

static struct slice name_of(const struct bucket *b)
{
	return slice_make(b->key + NUMBER_SIZE, b->size - NUMBER_SIZE);
}

struct pg_names {
	pthread_mutex_t lock;
	struct arena arena;                 /* definitions */
	struct pg_definition **definitions; /* by number - 1 */
	size_t definition_count, definition_cap;
	struct bucket *by_name, *by_number;
	uint32_t last_number;
	size_t sweep_at; /* number of buckets */
	uint32_t *newly_held;
	size_t newly_count, newly_cap;
	bool watching; /* newly held ones are noted */
};

struct pg_names *pg_names_new(void)
{
	struct pg_names *n = xcalloc(1, sizeof(*n));
	pthread_mutex_init(&n->lock, NULL);
	return n;
}

void pg_names_free(struct pg_names *n)
{
	if (!n)
		return;
	struct bucket *b, *next;
	HASH_CLEAR(by_name, n->by_name);
	HASH_ITER(by_number, n->by_number, b, next)
	{
		HASH_DELETE(by_number, n->by_number, b);
		free(b);
	}
	free(n->newly_held);
	free(n->definitions);
	arena_free(&n->arena);
	pthread_mutex_destroy(&n->lock);
	free(n);
}

const struct pg_definition *pg_names_add_definition(struct pg_names *n, const struct pg_definition *d)
{
	pthread_mutex_lock(&n->lock);
	struct pg_definition *copy = arena_alloc(&n->arena, sizeof(*copy));
	*copy = *d;
	copy->unique = arena_copy(&n->arena, d->unique);
	copy->query_id = arena_copy(&n->arena, d->query_id);
	copy->head = arena_copy(&n->arena, d->head);
	n->definitions = xgrow(n->definitions, n->definition_count, &n->definition_cap, sizeof(struct pg_definition *));
	n->definitions[n->definition_count++] = copy;
	copy->number = (uint32_t)n->definition_count;
	pthread_mutex_unlock(&n->lock);
	return copy;
}

const struct pg_definition *pg_names_definition(struct pg_names *n, uint32_t number)
{
	pthread_mutex_lock(&n->lock);
	const struct pg_definition *d = number && number <= n->definition_count ? n->definitions[number - 1] : NULL;
	pthread_mutex_unlock(&n->lock);
	return d;
}

/* ---- buckets: the lock is held in what follows first ------------------------------------------------------------------------------ */

static struct bucket *find(struct pg_names *n, uint32_t number)
{
	struct bucket *b;
	HASH_FIND(by_number, n->by_number, &number, sizeof(number), b);
	return b;
}

static void forget_old(struct pg_names *n, int64_t now_ms)
{
	struct bucket *b, *next;
	HASH_ITER(by_number, n->by_number, b, next)
	{
		if (b->holds || now_ms - b->asked_ms < FORGET_MS)
			continue;
		HASH_DELETE(by_number, n->by_number, b);
		HASH_DELETE(by_name, n->by_name, b);
		free(b);
	}
	n->sweep_at = (size_t)HASH_CNT(by_number, n->by_number) * 2;
	if (n->sweep_at < SWEEP_AT_LEAST)
		n->sweep_at = SWEEP_AT_LEAST;
}

static struct bucket *add(struct pg_names *n, const struct pg_definition *d, struct slice key)
{
	struct bucket *b = xcalloc(1, sizeof(*b) + key.n);
	b->number = ++n->last_number;
	b->definition = d;
	b->size = (uint32_t)key.n;
	memcpy(b->key, key.p, key.n);
	HASH_ADD(by_number, n->by_number, number, sizeof(b->number), b);
	HASH_ADD_KEYPTR(by_name, n->by_name, b->key, b->size, b);
	return b;
}

uint32_t pg_names_bucket(struct pg_names *n, uint32_t definition, struct slice keys)
{
	const struct pg_definition *d = pg_names_definition(n, definition);
	int64_t now_ms = clock_mono_ms();
	struct bucket *b;
	if (!d)
		return 0;
	char small[256];
	size_t size = NUMBER_SIZE + d->head.n + keys.n;
	char *key = size <= sizeof(small) ? small : xmalloc(size);
	memcpy(key, &d->number, NUMBER_SIZE);
	memcpy(key + NUMBER_SIZE, d->head.p, d->head.n);
	if (keys.n)
		memcpy(key + NUMBER_SIZE + d->head.n, keys.p, keys.n);
	pthread_mutex_lock(&n->lock);
	HASH_FIND(by_name, n->by_name, key, size, b);
	if (!b) {
		if (HASH_CNT(by_number, n->by_number) >= n->sweep_at)
			forget_old(n, now_ms);
		b = add(n, d, slice_make(key, size));
	}
	b->asked_ms = now_ms;
	uint32_t number = b->number;
	pthread_mutex_unlock(&n->lock);
	if (key != small)
		free(key);
	return number;
}

bool pg_names_of_bucket(struct pg_names *n, uint32_t bucket, struct arena *arena, const struct pg_definition **definition,
                        struct slice *name)
{
	pthread_mutex_lock(&n->lock);
	const struct bucket *b = find(n, bucket);
	if (b) {
		*definition = b->definition;
		*name = arena_copy(arena, name_of(b));
	}
	pthread_mutex_unlock(&n->lock);
	return b != NULL;
}

void pg_names_hold(struct pg_names *n, uint32_t bucket)
{
	pthread_mutex_lock(&n->lock);
	struct bucket *b = find(n, bucket);
	if (b && b->holds++ == 0 && n->watching) {
		n->newly_held = xgrow(n->newly_held, n->newly_count, &n->newly_cap, sizeof(*n->newly_held));
		n->newly_held[n->newly_count++] = bucket;
	}
	pthread_mutex_unlock(&n->lock);
}

void pg_names_release(struct pg_names *n, uint32_t bucket)
{
	pthread_mutex_lock(&n->lock);
	struct bucket *b = find(n, bucket);
	if (b && b->holds)
		b->holds--;
	if (b)
		b->asked_ms = clock_mono_ms();
	pthread_mutex_unlock(&n->lock);
}

void pg_names_note_clear(struct pg_names *n, uint32_t bucket, uint64_t op_id)
{
	pthread_mutex_lock(&n->lock);
	struct bucket *b = find(n, bucket);
	if (b && b->clear < op_id)
		b->clear = op_id;
	pthread_mutex_unlock(&n->lock);
}

uint64_t pg_names_clear(struct pg_names *n, uint32_t bucket)
{
	pthread_mutex_lock(&n->lock);
	struct bucket *b = find(n, bucket);
	uint64_t clear = b ? b->clear : 0;
	pthread_mutex_unlock(&n->lock);
	return clear;
}

void pg_names_held(struct pg_names *n, struct arena *arena, struct pg_held_bucket **out, size_t *count)
{
	struct bucket *b, *next;
	pthread_mutex_lock(&n->lock);
	*out = arena_array(arena, struct pg_held_bucket, HASH_CNT(by_number, n->by_number) + 1);
	*count = 0;
	HASH_ITER(by_number, n->by_number, b, next)
	if (b->holds)
		(*out)[(*count)++] = (struct pg_held_bucket){b->number, b->definition->stream_id, arena_copy(arena, name_of(b))};
	n->newly_count = 0;
	n->watching = true;
	pthread_mutex_unlock(&n->lock);
}

void pg_names_newly_held(struct pg_names *n, struct arena *arena, uint32_t **out, size_t *count)
{
	pthread_mutex_lock(&n->lock);
	*count = n->newly_count;
	*out = arena_array(arena, uint32_t, *count + 1);
	if (*count)
		memcpy(*out, n->newly_held, sizeof(**out) * *count);
	n->newly_count = 0;
	n->watching = *count > 0;
	pthread_mutex_unlock(&n->lock);
}
