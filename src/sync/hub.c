/*
 * hub.c: who is registered for what.
 *
 * Four indexes (bucket number, name of a bucket that does not exist yet, lookup hash, user) map a key to an entry with a list of links.
 */
#include <stdlib.h>
#include <sys/random.h>

#include "base/alloc.h"
#include "sync/hub_internal.h"
#include "sync/line_cache.h"

/* Scratch beyond these is given back to malloc. */
#define MAX_IDLE_SCRATCH 8
#define MAX_IDLE_SCRATCH_BYTES ((size_t)4 << 20)
#define DEFAULT_CACHE_BYTES ((size_t)32 << 20)

struct storage *hub_storage(struct session_hub *h)
{
	return h->storage;
}

const struct hub_phases *hub_phases(const struct session_hub *h)
{
	return &h->phases;
}

struct line_cache *hub_cache(struct session_hub *h)
{
	return h->cache;
}

void session_hub_set_cache(struct session_hub *h, size_t max_bytes)
{
	line_cache_free(h->cache);
	h->cache = line_cache_new(max_bytes);
}

static struct histogram *phase(struct metrics *m, const char *name, const char *help)
{
	return metrics_histogram(m, name, "", help, metrics_work_bounds, metrics_work_bound_count);
}

void session_hub_set_metrics(struct session_hub *h, struct metrics *m)
{
	h->phases = (struct hub_phases){
	        .line = phase(m, "syncline_checkpoint_line_seconds", "Time from a new checkpoint to its line in a stream."),
	        .lookup = phase(m, "syncline_lookup_seconds", "Time that resolving the parameters of a stream takes."),
	        .encode = phase(m, "syncline_encode_seconds", "Time that reading and encoding the operations of a line takes."),
	};
}

void hub_set_checkpoint(struct session_hub *h, struct checkpoint c)
{
	h->checkpoint = c;
	atomic_store(&h->newest_op, c.op_id);
	atomic_store(&h->started, c.valid);
}

struct session_hub *session_hub_new(struct storage *s, void (*wake)(void *ctx, void *owner), void *ctx)
{
	struct session_hub *h = xcalloc(1, sizeof(*h));
	h->storage = s;
	h->wake = wake;
	h->wake_ctx = ctx;
	h->cache = line_cache_new(DEFAULT_CACHE_BYTES);
	pthread_mutex_init(&h->announcing, NULL);
	pthread_mutex_init(&h->lock, NULL);
	pthread_mutex_init(&h->scratch_lock, NULL);
	hub_set_checkpoint(h, storage_checkpoint(s));
	uint64_t seed = 0;
	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != (ssize_t)sizeof(seed))
		seed = (uint64_t)(uintptr_t)h;
	atomic_store(&h->random, seed);
	return h;
}

static void free_scratch(struct scratch *s)
{
	arena_free(&s->arena);
	buf_free(&s->operations);
	free(s);
}

/* Every session is gone by now, and with the last link of an entry the entry. */
void session_hub_free(struct session_hub *h)
{
	if (!h)
		return;
	for (struct scratch *s = h->scratch, *next; s; s = next) {
		next = s->next;
		free_scratch(s);
	}
	line_cache_free(h->cache);
	free(h->early_users);
	pthread_mutex_destroy(&h->scratch_lock);
	pthread_mutex_destroy(&h->lock);
	pthread_mutex_destroy(&h->announcing);
	free(h);
}

/* ---- links ---------------------------------------------------------------------------------------------------------------- */

struct hub_entry *hub_entry_find(struct hub_entry *index, uint64_t key)
{
	struct hub_entry *e;
	HASH_FIND(hh, index, &key, sizeof(key), e);
	return e;
}

static void link_in(struct hub_entry **index, uint64_t key, struct hub_link *link, struct hub_member *m)
{
	struct hub_entry *e = hub_entry_find(*index, key);
	if (!e) {
		e = xcalloc(1, sizeof(*e));
		e->key = key;
		e->index = index;
		HASH_ADD(hh, *index, key, sizeof(e->key), e);
	}
	link->member = m;
	link->entry = e;
	link->next = e->links;
	link->previous = &e->links;
	if (e->links)
		e->links->previous = &link->next;
	e->links = link;
}

static void link_out(struct hub_link *link)
{
	struct hub_entry *e = link->entry;
	if (!e)
		return;
	*link->previous = link->next;
	if (link->next)
		link->next->previous = link->previous;
	if (!e->links) {
		HASH_DEL(*e->index, e);
		free(e);
	}
	*link = (struct hub_link){0};
}

/* FNV-1a; subject and client id are told apart by the length of the first. A collision costs a step that finds nothing. */
uint64_t hub_user_hash(const struct user_key *user)
{
	uint64_t h = 0xcbf29ce484222325u ^ user->subject.n ^ (user->client_id.p ? (uint64_t)1 << 63 : 0);
	for (size_t i = 0; i < user->subject.n; i++)
		h = (h ^ (unsigned char)user->subject.p[i]) * 0x100000001b3u;
	for (size_t i = 0; i < user->client_id.n; i++)
		h = (h ^ (unsigned char)user->client_id.p[i]) * 0x100000001b3u;
	return h;
}

/* ---- members ---------------------------------------------------------------------------------------------------------------- */

void hub_add(struct session_hub *h, struct hub_member *m, const struct user_key *user)
{
	pthread_mutex_lock(&h->lock);
	m->next = h->members;
	m->previous = &h->members;
	if (h->members)
		h->members->previous = &m->next;
	h->members = m;
	h->member_count++;
	m->user_key = user;
	link_in(&h->users, hub_user_hash(user), &m->user, m);
	if (h->shutdown)
		atomic_fetch_or(&m->flags, HUB_SHUTDOWN);
	pthread_mutex_unlock(&h->lock);
}

void hub_remove(struct session_hub *h, struct hub_member *m)
{
	pthread_mutex_lock(&h->announcing);
	pthread_mutex_lock(&h->lock);
	*m->previous = m->next;
	if (m->next)
		m->next->previous = m->previous;
	h->member_count--;
	link_out(&m->user);
	pthread_mutex_unlock(&h->lock);
	pthread_mutex_unlock(&h->announcing);
}

static bool same_user(const struct user_key *a, const struct user_key *b)
{
	return slice_eq(a->subject, b->subject) && slice_eq(a->client_id, b->client_id) && !a->client_id.p == !b->client_id.p;
}

void session_hub_users(struct session_hub *h, struct arena *arena, struct user_key **users, size_t *count)
{
	struct hub_entry *e, *next;
	*count = 0;
	pthread_mutex_lock(&h->lock);
	*users = arena_array(arena, struct user_key, h->member_count + 1);
	HASH_ITER(hh, h->users, e, next)
	{
		for (const struct hub_link *l = e->links; l; l = l->next) {
			const struct user_key *user = l->member->user_key;
			if (l != e->links && same_user(user, e->links->member->user_key))
				continue;
			struct user_key *out = &(*users)[(*count)++];
			out->subject = arena_copy(arena, user->subject);
			out->client_id = user->client_id.p ? arena_copy(arena, user->client_id) : user->client_id;
		}
	}
	pthread_mutex_unlock(&h->lock);
}

void session_hub_each_stream(struct session_hub *h, const struct user_key *user,
                             void (*see)(void *ctx, void *owner, const struct session_progress *p), void *ctx)
{
	pthread_mutex_lock(&h->lock);
	struct hub_entry *e = hub_entry_find(h->users, hub_user_hash(user));
	for (const struct hub_link *l = e ? e->links : NULL; l; l = l->next) {
		if (!same_user(l->member->user_key, user))
			continue;
		uint64_t told = atomic_load(&l->member->told);
		see(ctx, l->member->owner, &(struct session_progress){told >> 1, told & 1});
	}
	pthread_mutex_unlock(&h->lock);
}

void hub_take(struct session_hub *h, struct hub_member *m, void (*visit)(struct hub_bucket_link *link), struct hub_view *out)
{
	/* Storage may hold a lock of its own while it tells us news, so it is asked before ours is taken. */
	struct checkpoint first = {0};
	if (!atomic_load(&h->started))
		first = storage_checkpoint(h->storage);
	pthread_mutex_lock(&h->lock);
	if (!h->checkpoint.valid && first.valid)
		hub_set_checkpoint(h, first);
	out->checkpoint = h->checkpoint;
	out->sequence = h->sequence;
	out->announced_us = h->announced_us;
	out->flags = atomic_fetch_and(&m->flags, ~(unsigned)HUB_NEWS);
	for (struct hub_bucket_link *link = m->changed, *next; link; link = next) {
		next = link->changed_next;
		link->changed_next = NULL;
		link->changed = false;
		visit(link);
	}
	m->changed = NULL;
	pthread_mutex_unlock(&h->lock);
}

uint64_t hub_newest_op(struct session_hub *h)
{
	return atomic_load(&h->newest_op);
}

void hub_mark_bucket(struct hub_bucket_link *link)
{
	struct hub_member *m = link->link.member;
	if (link->changed)
		return;
	link->changed = true;
	link->changed_next = m->changed;
	m->changed = link;
}

void hub_link_bucket(struct session_hub *h, struct hub_member *m, struct hub_bucket_link *link, uint32_t number,
                     uint64_t sequence)
{
	pthread_mutex_lock(&h->lock);
	link_in(&h->buckets, number, &link->link, m);
	if (h->sequence != sequence) {
		hub_mark_bucket(link);
		atomic_fetch_or(&m->flags, HUB_BUCKETS);
	}
	pthread_mutex_unlock(&h->lock);
}

void hub_link_absent(struct session_hub *h, struct hub_member *m, struct hub_bucket_link *link, uint64_t hash, uint64_t sequence)
{
	pthread_mutex_lock(&h->lock);
	link_in(&h->absent, hash, &link->link, m);
	if (h->sequence != sequence)
		atomic_fetch_or(&m->flags, HUB_ABSENT);
	pthread_mutex_unlock(&h->lock);
}

bool hub_bucket_is_shared(struct session_hub *h, const struct hub_bucket_link *link)
{
	pthread_mutex_lock(&h->lock);
	bool shared = link->link.entry && link->link.entry->links->next;
	pthread_mutex_unlock(&h->lock);
	return shared;
}

void hub_unlink_bucket(struct session_hub *h, struct hub_bucket_link *link)
{
	pthread_mutex_lock(&h->lock);
	if (link->changed) {
		struct hub_bucket_link **at = &link->link.member->changed;
		while (*at != link)
			at = &(*at)->changed_next;
		*at = link->changed_next;
		link->changed = false;
		link->changed_next = NULL;
	}
	link_out(&link->link);
	pthread_mutex_unlock(&h->lock);
}

void hub_link_lookup(struct session_hub *h, struct hub_member *m, struct hub_link *link, uint64_t hash, uint64_t sequence)
{
	pthread_mutex_lock(&h->lock);
	link_in(&h->lookups, hash, link, m);
	if (h->sequence != sequence)
		atomic_fetch_or(&m->flags, HUB_LOOKUPS);
	pthread_mutex_unlock(&h->lock);
}

void hub_unlink_lookup(struct session_hub *h, struct hub_link *link)
{
	pthread_mutex_lock(&h->lock);
	link_out(link);
	pthread_mutex_unlock(&h->lock);
}

/* ---- scratch, counters ---------------------------------------------------------------------------------------------------------- */

struct scratch *hub_scratch(struct session_hub *h)
{
	pthread_mutex_lock(&h->scratch_lock);
	struct scratch *s = h->scratch;
	if (s) {
		h->scratch = s->next;
		h->scratch_count--;
	}
	pthread_mutex_unlock(&h->scratch_lock);
	return s ? s : xcalloc(1, sizeof(*s));
}

void hub_scratch_return(struct session_hub *h, struct scratch *s)
{
	arena_reset(&s->arena);
	buf_clear(&s->operations);
	if (s->operations.cap > MAX_IDLE_SCRATCH_BYTES)
		buf_free(&s->operations);
	pthread_mutex_lock(&h->scratch_lock);
	bool keep = h->scratch_count < MAX_IDLE_SCRATCH;
	if (keep) {
		s->next = h->scratch;
		h->scratch = s;
		h->scratch_count++;
	}
	pthread_mutex_unlock(&h->scratch_lock);
	if (!keep)
		free_scratch(s);
}

/* splitmix64 over a counter: no lock, and good enough to spread keep-alives. */
uint64_t hub_random(struct session_hub *h)
{
	uint64_t z = atomic_fetch_add(&h->random, 0x9e3779b97f4a7c15u) + 0x9e3779b97f4a7c15u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

void hub_count_step(struct session_hub *h, size_t lookups_read)
{
	atomic_fetch_add_explicit(&h->steps, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->lookups_read, lookups_read, memory_order_relaxed);
}

void session_hub_stats(struct session_hub *h, struct hub_stats *out)
{
	pthread_mutex_lock(&h->lock);
	out->sessions = h->member_count;
	pthread_mutex_unlock(&h->lock);
	out->steps = atomic_load(&h->steps);
	out->lookups_read = atomic_load(&h->lookups_read);
	out->wakes = atomic_load(&h->wakes);
	struct line_cache_stats cache;
	line_cache_get_stats(h->cache, &cache);
	out->cache_bytes = cache.bytes;
	out->cache_hits = cache.hits;
	out->cache_misses = cache.misses;
}
