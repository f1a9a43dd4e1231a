/* news.c: what changed since the last checkpoint that clients saw: buckets, lookups and users, bounded. The writer's. */
#include <stdlib.h>

#include "base/alloc.h"
#include "storage/internal.h"

/* Beyond this, telling which buckets changed costs more than looking at all sessions. */
#define NEWS_MAX 100000
#define NEWS_USER_BYTES ((size_t)16 << 20)

void news_free(struct pending_news *n)
{
	free(n->buckets.items);
	free(n->lookups);
	free(n->users);
	arena_free(&n->user_arena);
}

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static void unique_lookups(struct pending_news *n)
{
	if (n->lookup_count < 2)
		return;
	qsort(n->lookups, n->lookup_count, sizeof(*n->lookups), compare_u64);
	size_t kept = 1;
	for (size_t i = 1; i < n->lookup_count; i++)
		if (n->lookups[i] != n->lookups[kept - 1])
			n->lookups[kept++] = n->lookups[i];
	n->lookup_count = kept;
}

static void unique_buckets(struct pending_news *n)
{
	struct changed_buckets *b = &n->buckets;
	if (b->count < 2)
		return;
	qsort(b->items, b->count, sizeof(*b->items), compare_u32);
	size_t kept = 1;
	for (size_t i = 1; i < b->count; i++)
		if (b->items[i] != b->items[kept - 1])
			b->items[kept++] = b->items[i];
	b->count = kept;
}

static void forget_users(struct pending_news *n)
{
	n->user_count = n->user_bytes = 0;
	arena_reset(&n->user_arena);
}

void news_bound(struct pending_news *n)
{
	if (n->buckets.count > 4 * NEWS_MAX) {
		unique_buckets(n);
		n->everything |= n->buckets.count > NEWS_MAX;
	}
	if (n->everything) {
		n->buckets.count = n->lookup_count = 0;
		forget_users(n);
	}
}

void news_clear(struct pending_news *n)
{
	n->everything = false;
	n->buckets.count = n->lookup_count = 0;
	forget_users(n);
}

void news_add_lookup(struct storage *s, uint32_t definition, struct slice key)
{
	struct pending_news *n = &s->news;
	if (n->everything)
		return;
	if (n->lookup_count >= 2 * NEWS_MAX) {
		unique_lookups(n);
		if (n->lookup_count > NEWS_MAX) {
			n->everything = true;
			return;
		}
	}
	n->lookups = xgrow(n->lookups, n->lookup_count, &n->lookup_cap, sizeof(*n->lookups));
	n->lookups[n->lookup_count++] = lookup_hash(definition, key);
}

void news_add_user(struct storage *s, const struct user_key *user)
{
	struct pending_news *n = &s->news;
	n->user_bytes += user->subject.n + user->client_id.n;
	if (n->user_count >= NEWS_MAX || n->user_bytes > NEWS_USER_BYTES)
		n->everything = true;
	if (n->everything)
		return;
	n->users = xgrow(n->users, n->user_count, &n->user_cap, sizeof(*n->users));
	struct user_key *copy = &n->users[n->user_count++];
	*copy = (struct user_key){arena_copy(&n->user_arena, user->subject), {NULL, 0}};
	if (user->client_id.p)
		copy->client_id = user->client_id.n ? arena_copy(&n->user_arena, user->client_id) : SLICE("");
}

/* Users whose requests were passed, and those to whom the data brought something. */
static void join_users(struct storage_news *news, const struct pending_news *n, struct arena *arena)
{
	if (!n->user_count)
		return;
	struct user_key *all = arena_array(arena, struct user_key, news->user_count + n->user_count);
	if (news->user_count)
		memcpy(all, news->users, news->user_count * sizeof(*all));
	memcpy(all + news->user_count, n->users, n->user_count * sizeof(*all));
	news->users = all;
	news->user_count += n->user_count;
}

void news_fill(struct pending_news *n, bool everything, struct storage_news *news, struct arena *arena)
{
	join_users(news, n, arena);
	unique_buckets(n);
	unique_lookups(n);
	news->everything = everything || n->everything || n->buckets.count > NEWS_MAX || n->lookup_count > NEWS_MAX;
	if (news->everything)
		return;
	news->buckets = n->buckets.items;
	news->bucket_count = n->buckets.count;
	news->lookups = n->lookups;
	news->lookup_count = n->lookup_count;
}
