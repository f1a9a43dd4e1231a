/* request_edit.c: records of many users are read, changed and stored (requests_internal.h). */
#define _GNU_SOURCE
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "storage/postgres/requests_internal.h"

/* Somebody else would have to change the same record each time in between. Who was overtaken waits for a random time, longer each time: else two
 * nodes that are busy with one user keep step, and the same one is always too late. */
#define ATTEMPTS 20
#define LONGEST_PAUSE_MS 64

static void pause_after(int attempt)
{
	unsigned ms = 1u << (attempt < 6 ? attempt : 6);
	uint64_t random = (uint64_t)clock_mono_us() * 0x9e3779b97f4a7c15u >> 32;
	usleep((useconds_t)(random % (1000 * (ms < LONGEST_PAUSE_MS ? ms : LONGEST_PAUSE_MS))));
}

/* Heads that a record has now and had not before. */
static void note_heads(struct pg_heads *heads, const struct pg_user *u)
{
	for (size_t i = 0; i < u->after.count; i++) {
		bool known = false;
		for (size_t k = 0; !u->adopted && k < u->before.count; k++)
			known |= position_cmp(u->before.entries[k].head, u->after.entries[i].head) == 0;
		if (!known)
			pg_heads_add(heads, u->after.entries[i].head, u->key);
	}
}

/* One round over these users; those who were lost stay in the list. */
static bool edit_round(const struct users_edit *e, struct pg_user *users, size_t *index, size_t *count, struct error *err)
{
	struct pg_user **changed = xcalloc(*count, sizeof(*changed));
	struct pg_heads heads = {0};
	size_t changed_count = 0, left = 0;
	bool waiting = false, ok = pg_users_load(e->r->store, users, *count, err);
	for (size_t i = 0; ok && i < *count; i++) {
		if (!e->change(e->ctx, index[i], &users[i]))
			continue;
		changed[changed_count++] = &users[i];
		waiting |= users[i].after.unknown && users[i].after.unknown != users[i].before.unknown;
		note_heads(&heads, &users[i]);
	}
	if (ok && changed_count) {
		for (size_t i = 0; i < heads.count; i++)
			heads.items[i].id = e->r->tag << 32 | atomic_fetch_add(&e->r->next_id, 1);
		qsort(changed, changed_count, sizeof(*changed), pg_user_compare);
		ok = pg_users_store(e->r->store, changed, changed_count, &heads, waiting, err);
		for (size_t i = 0; ok && i < heads.count; i++)
			known_head_add(e->r, heads.items[i].head, heads.items[i].id);
	}
	for (size_t i = 0; ok && i < *count; i++) {
		if (!users[i].lost) {
			if (e->done)
				e->done(e->ctx, index[i], &users[i]);
			continue;
		}
		index[left] = index[i];
		users[left++] = users[i];
	}
	*count = left;
	pg_heads_free(&heads);
	free(changed);
	return ok;
}

static bool edit_step(const struct users_edit *e, const struct slice *keys, size_t first, size_t count, struct error *err)
{
	struct arena arena = {0};
	struct pg_user *users = xcalloc(count, sizeof(*users));
	size_t *index = arena_array(&arena, size_t, count);
	for (size_t i = 0; i < count; i++) {
		index[i] = first + i;
		users[i].key = keys[first + i];
		pg_user_name(&users[i], &arena);
	}
	bool ok = true;
	for (int attempt = 0; ok && count; attempt++) {
		ok = edit_round(e, users, index, &count, err);
		if (ok && count && attempt < ATTEMPTS)
			pause_after(attempt);
		else if (ok && count)
			ok = error_set(err, "PSYNC_S2404", "the records of %zu users are changed by others all the time", count);
	}
	free(users);
	arena_free(&arena);
	return ok;
}

bool users_edit(const struct users_edit *e, const struct slice *keys, size_t count, struct error *err)
{
	bool ok = true;
	for (size_t at = 0; ok && at < count; at += PG_USERS_STEP)
		ok = edit_step(e, keys, at, count - at < PG_USERS_STEP ? count - at : PG_USERS_STEP, err);
	return ok;
}
