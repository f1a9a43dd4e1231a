/*
 * entries.c: matches what a row gives now with what it gave before, by bucket, object type and id.
 *
 * Few are compared one by one, more by a hash table. The evaluator gives entries with the same columns the same bytes: their text is stored
 * once, and the other operations refer to it.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "storage/internal.h"

#define FEW 12
/* Shorter data is simply repeated: a reference takes as much. */
#define SHARE_MIN 48

static uint32_t hash_identity(uint32_t bucket, uint32_t type, struct slice id)
{
	uint64_t h = ((uint64_t)bucket << 32 | type) * 0x9e3779b97f4a7c15u;
	for (size_t i = 0; i < id.n; i++)
		h = (h ^ (uint8_t)id.p[i]) * 0x100000001b3u;
	return (uint32_t)(h ^ h >> 32);
}

static void *grow_to(void *p, size_t count, size_t *cap, size_t size)
{
	if (count <= *cap)
		return p;
	*cap = count * 2 < 16 ? 16 : count * 2;
	return xrealloc(p, *cap * size);
}

/* Slots hold 1 + index: contributions first, then entries. */
static void hash_clear(struct apply *a, size_t count)
{
	size_t want = 16;
	while (want < count * 2)
		want *= 2;
	if (want > a->slot_cap) {
		a->slots = xrealloc(a->slots, want * sizeof(*a->slots));
		a->slot_cap = want;
	}
	memset(a->slots, 0, a->slot_cap * sizeof(*a->slots));
}

struct matcher {
	struct apply *a;
	const struct row_contributions *c;
	size_t old_count;
	bool hashed;
	size_t next; /* a row that gives the same as before gives it in the same order */
};

static bool matcher_equal(const struct matcher *m, size_t index, uint32_t bucket, uint32_t type, struct slice id)
{
	if (index < m->old_count) {
		const struct contribution *c = &m->a->current.contributions[index];
		return c->bucket == bucket && c->type == type && slice_eq(c->object_id, id);
	}
	const struct new_entry *e = &m->a->entries[index - m->old_count];
	return e->bucket == bucket && e->type == type && slice_eq(m->c->puts[index - m->old_count].object_id, id);
}

/* The place where an equal one is, or the empty place to put it. */
static uint32_t *matcher_slot(struct matcher *m, uint32_t bucket, uint32_t type, struct slice id)
{
	size_t at = hash_identity(bucket, type, id) & (m->a->slot_cap - 1);
	while (m->a->slots[at] && !matcher_equal(m, m->a->slots[at] - 1, bucket, type, id))
		at = (at + 1) & (m->a->slot_cap - 1);
	return &m->a->slots[at];
}

static void matcher_start(struct matcher *m)
{
	m->hashed = m->old_count + m->c->put_count > FEW;
	if (!m->hashed)
		return;
	hash_clear(m->a, m->old_count + m->c->put_count);
	for (size_t i = 0; i < m->old_count; i++) {
		const struct contribution *c = &m->a->current.contributions[i];
		*matcher_slot(m, c->bucket, c->type, c->object_id) = (uint32_t)i + 1;
	}
}

/* Index + 1 of an equal contribution, or of an earlier equal entry (beyond old_count); 0: none. */
static size_t matcher_find(struct matcher *m, size_t entry)
{
	const struct new_entry *e = &m->a->entries[entry];
	struct slice id = m->c->puts[entry].object_id;
	if (m->hashed) {
		uint32_t *slot = matcher_slot(m, e->bucket, e->type, id);
		uint32_t found = *slot;
		if (!found)
			*slot = (uint32_t)(m->old_count + entry) + 1;
		return found;
	}
	if (m->next < m->old_count && matcher_equal(m, m->next, e->bucket, e->type, id))
		return ++m->next;
	for (size_t i = 0; i < m->old_count + entry; i++)
		if (matcher_equal(m, i, e->bucket, e->type, id))
			return i + 1;
	return 0;
}

bool entries_prepare(struct storage *s, const struct row_contributions *c, enum row_write_mode mode, struct error *err)
{
	struct apply *a = &s->apply;
	struct row_record *r = &a->current;
	size_t given = r->contribution_count + r->lookup_count;
	a->matched = grow_to(a->matched, given, &a->matched_cap, sizeof(*a->matched));
	if (given)
		memset(a->matched, 0, given);
	a->entries = grow_to(a->entries, c->put_count, &a->entry_cap, sizeof(*a->entries));
	struct matcher m = {.a = a, .c = c, .old_count = r->contribution_count};
	matcher_start(&m);
	for (size_t i = 0; i < c->put_count; i++) {
		const struct put_entry *p = &c->puts[i];
		struct new_entry *e = &a->entries[i];
		*e = (struct new_entry){.write = true, .type = type_number(s, p->object_type, err)};
		if (!e->type || !s->backend->ops->bucket_number(s->backend, p->definition, p->keys, &e->bucket, err))
			return false;
		size_t found = matcher_find(&m, i);
		if (found > m.old_count || (found && a->matched[found - 1])) {
			e->duplicate = true;
			e->write = false;
		} else if (found) {
			a->matched[found - 1] = e->replaces = true;
			e->write =
			        mode == ROW_STREAM || memcmp(r->contributions[found - 1].digest, p->digest, RECORD_DIGEST) != 0;
		}
		/* The evaluator gives entries with the same columns the same bytes: the text is stored once. */
		for (size_t j = i; e->write && p->data.n >= SHARE_MIN && j > 0 && i - j < SHARE_WITHIN; j--) {
			struct new_entry *before = &a->entries[j - 1];
			if (before->write && !before->same_as && c->puts[j - 1].data.p == p->data.p &&
			    c->puts[j - 1].data.n == p->data.n) {
				e->same_as = (uint32_t)j;
				before->shared = true;
				break;
			}
		}
	}
	return true;
}
