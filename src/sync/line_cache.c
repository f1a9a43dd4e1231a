/* line_cache.c: a hash table and a list in order of use under one lock; and a list of the places where shared lines begin. */
#include "sync/line_cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include <uthash.h>

#include "base/alloc.h"

/* Then whoever waits for a list makes it as well. */
#define LONGEST_WAIT_S 1

/* What an entry takes beside its bytes, about. */
#define ENTRY_OVERHEAD 192

/* up_to 0: the list was closed by a limit, and is good for every reader that may see all of it. */
struct entry_key {
	uint32_t bucket, form;
	uint64_t after, up_to, compactions;
};

struct entry {
	struct entry_key key;
	struct operations list;
	bool exact;
	struct entry *newer, *older;        /* by use */
	struct entry *next_cut, **prev_cut; /* closed and exact */
	UT_hash_handle hh;
};

struct line_cache {
	pthread_mutex_t lock;
	size_t max_bytes, bytes;
	struct entry *table;
	struct entry *newest, *oldest;
	struct entry *cuts;
	struct line_claim *claims; /* a worker has one at a time */
	pthread_cond_t released;
	uint64_t hits, misses;
};

struct line_cache *line_cache_new(size_t max_bytes)
{
	struct line_cache *c = xcalloc(1, sizeof(*c));
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->released, NULL);
	c->max_bytes = max_bytes;
	return c;
}

static size_t entry_size(const struct entry *e)
{
	return e->list.block->n + ENTRY_OVERHEAD;
}

static void unlist(struct line_cache *c, struct entry *e)
{
	*(e->newer ? &e->newer->older : &c->newest) = e->older;
	*(e->older ? &e->older->newer : &c->oldest) = e->newer;
}

static void list_newest(struct line_cache *c, struct entry *e)
{
	e->newer = NULL;
	e->older = c->newest;
	if (c->newest)
		c->newest->newer = e;
	else
		c->oldest = e;
	c->newest = e;
}

static void drop(struct line_cache *c, struct entry *e)
{
	unlist(c, e);
	if (e->prev_cut) {
		*e->prev_cut = e->next_cut;
		if (e->next_cut)
			e->next_cut->prev_cut = e->prev_cut;
	}
	HASH_DEL(c->table, e);
	c->bytes -= entry_size(e);
	block_unref(e->list.block);
	free(e);
}

void line_cache_free(struct line_cache *c)
{
	if (!c)
		return;
	while (c->oldest)
		drop(c, c->oldest);
	pthread_cond_destroy(&c->released);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static struct entry *find(struct line_cache *c, const struct line_key *key, uint64_t up_to)
{
	struct entry_key k = {key->bucket, (uint32_t)key->form, key->after, up_to, key->compactions};
	struct entry *e;
	HASH_FIND(hh, c->table, &k, sizeof(k), e);
	return e;
}

static struct entry *find_either(struct line_cache *c, const struct line_key *key)
{
	struct entry *e = find(c, key, 0);
	return e && e->list.last_op <= key->up_to ? e : find(c, key, key->up_to);
}

bool line_cache_has(struct line_cache *c, const struct line_key *key)
{
	pthread_mutex_lock(&c->lock);
	bool has = find_either(c, key) != NULL;
	pthread_mutex_unlock(&c->lock);
	return has;
}

/* Under the lock. */
static bool use(struct line_cache *c, const struct line_key *key, struct operations *out)
{
	struct entry *e = find_either(c, key);
	if (!e)
		return false;
	c->hits++;
	unlist(c, e);
	list_newest(c, e);
	*out = e->list;
	block_ref(out->block);
	return true;
}

bool line_cache_find(struct line_cache *c, const struct line_key *key, struct operations *out)
{
	pthread_mutex_lock(&c->lock);
	bool found = use(c, key, out);
	c->misses += !found;
	pthread_mutex_unlock(&c->lock);
	return found;
}

static bool is_claimed(const struct line_cache *c, const struct line_key *key)
{
	for (const struct line_claim *l = c->claims; l; l = l->next)
		if (l->key.bucket == key->bucket && l->key.form == key->form && l->key.after == key->after &&
		    l->key.up_to == key->up_to && l->key.compactions == key->compactions)
			return true;
	return false;
}

bool line_cache_find_or_claim(struct line_cache *c, const struct line_key *key, struct line_claim *claim, struct operations *out)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += LONGEST_WAIT_S;
	*claim = (struct line_claim){.key = *key};
	pthread_mutex_lock(&c->lock);
	bool found = use(c, key, out), waited = false, late = false;
	while (!found && !late && is_claimed(c, key)) {
		waited = true;
		late = pthread_cond_timedwait(&c->released, &c->lock, &until) != 0;
		found = use(c, key, out);
	}
	c->misses += !found;
	/* What could not be kept once will not be the next time: then nobody waits for this one. */
	if (!found && !waited) {
		claim->held = true;
		claim->next = c->claims;
		c->claims = claim;
	}
	pthread_mutex_unlock(&c->lock);
	return found;
}

void line_cache_release(struct line_cache *c, struct line_claim *claim)
{
	if (!claim->held)
		return;
	pthread_mutex_lock(&c->lock);
	struct line_claim **link = &c->claims;
	while (*link != claim)
		link = &(*link)->next;
	*link = claim->next;
	claim->held = false;
	pthread_cond_broadcast(&c->released);
	pthread_mutex_unlock(&c->lock);
}

void line_cache_put(struct line_cache *c, const struct line_key *key, bool exact, const struct operations *list)
{
	if (list->block->n + ENTRY_OVERHEAD > c->max_bytes / 4)
		return;
	uint64_t up_to = list->closed ? 0 : key->up_to;
	pthread_mutex_lock(&c->lock);
	struct entry *e = find(c, key, up_to);
	if (e)
		drop(c, e); /* two sessions made it at the same time, or one of other length */
	e = xcalloc(1, sizeof(*e));
	e->key = (struct entry_key){key->bucket, (uint32_t)key->form, key->after, up_to, key->compactions};
	e->list = *list;
	e->exact = exact;
	block_ref(e->list.block);
	HASH_ADD(hh, c->table, key, sizeof(e->key), e);
	list_newest(c, e);
	if (list->closed && exact) {
		e->next_cut = c->cuts;
		e->prev_cut = &c->cuts;
		if (c->cuts)
			c->cuts->prev_cut = &e->next_cut;
		c->cuts = e;
	}
	c->bytes += entry_size(e);
	while (c->bytes > c->max_bytes)
		drop(c, c->oldest);
	pthread_mutex_unlock(&c->lock);
}

/* Closed lists are long, so that there are some hundreds at most; this is asked once a line. */
uint64_t line_cache_next_cut(struct line_cache *c, const struct line_key *key)
{
	uint64_t cut = UINT64_MAX;
	pthread_mutex_lock(&c->lock);
	for (struct entry *e = c->cuts; e; e = e->next_cut)
		if (e->key.bucket == key->bucket && e->key.form == (uint32_t)key->form &&
		    e->key.compactions == key->compactions && e->key.after > key->after && e->key.after < cut)
			cut = e->key.after;
	pthread_mutex_unlock(&c->lock);
	return cut;
}

void line_cache_get_stats(struct line_cache *c, struct line_cache_stats *out)
{
	pthread_mutex_lock(&c->lock);
	out->bytes = c->bytes;
	out->entries = HASH_COUNT(c->table);
	out->hits = c->hits;
	out->misses = c->misses;
	pthread_mutex_unlock(&c->lock);
}
