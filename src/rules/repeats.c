/* repeats.c: see repeats.h. */
#include "rules/repeats.h"

static uint64_t hash_bytes(uint64_t h, struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		h = (h ^ (unsigned char)s.p[i]) * 1099511628211u;
	return (h ^ 0xff) * 1099511628211u;
}

static bool same_slot(struct slice a, struct slice b)
{
	return (a.p == b.p && a.n == b.n) || slice_eq(a, b);
}

static bool same_entry(const struct row_entry *a, const struct row_entry *b)
{
	return same_slot(a->keys, b->keys) && same_slot(a->object_type, b->object_type) && same_slot(a->object_id, b->object_id);
}

/* Hash set over indexes; slot 0 means free. */
struct seen {
	uint32_t *slots;
	size_t mask;
};

static struct seen seen_new(struct arena *arena, size_t count)
{
	size_t size = 16;
	while (size < count * 2)
		size *= 2;
	return (struct seen){arena_calloc(arena, sizeof(uint32_t) * size), size - 1};
}

void merge_entries(struct evaluation *out, size_t first, struct arena *arena)
{
	size_t count = out->entry_count - first, kept = 0;
	if (count < 2)
		return;
	struct row_entry *e = out->entries + first;
	struct seen seen = {0};
	if (count > 8)
		seen = seen_new(arena, count);
	for (size_t i = 0; i < count; i++) {
		size_t found = kept;
		if (seen.slots) {
			size_t at = hash_bytes(hash_bytes(14695981039346656037u, e[i].keys), e[i].object_id) & seen.mask;
			while (seen.slots[at] && !same_entry(&e[seen.slots[at] - 1], &e[i]))
				at = (at + 1) & seen.mask;
			if (seen.slots[at])
				found = seen.slots[at] - 1;
			else
				seen.slots[at] = (uint32_t)kept + 1;
		} else {
			for (found = 0; found < kept && !same_entry(&e[found], &e[i]);)
				found++;
		}
		e[found] = e[i];
		kept += found == kept;
	}
	out->entry_count = first + kept;
}

/* The objects of a chain of lookups as one array. */
static struct slice join_results(struct arena *arena, const struct row_lookup *l, const uint32_t *next, size_t head)
{
	size_t total = l[head].results.n, i = head;
	while (next[i])
		total += l[i = next[i]].results.n;
	char *p = arena_bytes(arena, total), *to = p;
	for (i = head;; i = next[i]) {
		*to++ = i == head ? '[' : ',';
		memcpy(to, l[i].results.p + 1, l[i].results.n - 2);
		to += l[i].results.n - 2;
		if (!next[i])
			break;
	}
	*to++ = ']';
	return slice_make(p, (size_t)(to - p));
}

void merge_lookups(struct evaluation *out, size_t first, bool join, struct arena *arena)
{
	size_t count = out->lookup_count - first, kept = 0;
	if (count < 2)
		return;
	struct row_lookup *l = out->lookups + first;
	struct seen seen = seen_new(arena, count);
	/* Lookups of one key form a chain from its first one; last[head] is the end of it. */
	uint32_t *next = arena_calloc(arena, sizeof(*next) * count), *last = arena_array(arena, uint32_t, count);
	bool *head = arena_calloc(arena, count);
	for (size_t i = 0; i < count; i++) {
		size_t at = hash_bytes(14695981039346656037u, l[i].key) & seen.mask;
		while (seen.slots[at] && !same_slot(l[seen.slots[at] - 1].key, l[i].key))
			at = (at + 1) & seen.mask;
		if (!seen.slots[at]) {
			seen.slots[at] = (uint32_t)i + 1;
			head[i] = true;
			last[i] = (uint32_t)i;
		} else {
			size_t first_of_key = seen.slots[at] - 1;
			next[last[first_of_key]] = (uint32_t)i;
			last[first_of_key] = (uint32_t)i;
		}
	}
	for (size_t i = 0; i < count; i++)
		if (head[i]) {
			struct row_lookup merged = l[i];
			if (next[i] && join)
				merged.results = join_results(arena, l, next, i);
			l[kept++] = merged;
		}
	out->lookup_count = first + kept;
}
