/* relations.c: what is known of the relation oids of one stream. */
#include <stdlib.h>

#include "base/alloc.h"
#include "replicate/engine.h"

static struct known_relation *find(const struct attempt *a, uint32_t oid)
{
	struct known_relation *k = a->relations[oid % RELATION_BUCKETS];
	while (k && k->oid != oid)
		k = k->next;
	return k;
}

static struct known_relation *find_or_add(struct attempt *a, uint32_t oid)
{
	struct known_relation *k = find(a, oid), **bucket = &a->relations[oid % RELATION_BUCKETS];
	if (k)
		return k;
	k = xcalloc(1, sizeof(*k));
	k->oid = oid;
	k->next = *bucket;
	return *bucket = k;
}

void relations_set(struct attempt *a, uint32_t oid, struct table_state *t)
{
	find_or_add(a, oid)->table = t;
}

struct table_state *tables_find(struct attempt *a, uint32_t oid, bool *known)
{
	const struct known_relation *k = find(a, oid);
	*known = k != NULL;
	return k ? k->table : NULL;
}

void relations_forget_table(struct attempt *a, const struct table_state *t)
{
	for (size_t i = 0; i < RELATION_BUCKETS; i++)
		for (struct known_relation *k = a->relations[i]; k; k = k->next)
			if (k->table == t)
				k->table = NULL;
}

/* message may be the one that is kept. */
static void keep_message(struct known_relation *k, const struct source_relation *message)
{
	if (message == &k->message)
		return;
	arena_reset(&k->arena);
	source_relation_copy(&k->arena, message, &k->message);
}

void relations_set_aside(struct attempt *a, const struct source_relation *relation)
{
	struct known_relation *k = find_or_add(a, relation->oid);
	keep_message(k, relation);
	k->set_aside = true;
	k->outdated_until = 0;
}

void relations_outdated(struct attempt *a, const struct source_relation *relation, uint64_t until)
{
	struct known_relation *k = find_or_add(a, relation->oid);
	keep_message(k, relation);
	k->outdated_until = until;
}

bool relations_message(struct attempt *a, const struct source_relation *relation, struct error *err)
{
	struct known_relation *k = find(a, relation->oid);
	if (k) {
		k->set_aside = false;
		k->outdated_until = 0;
	}
	return tables_relation(a, relation, err);
}

bool relations_change(struct attempt *a, uint32_t oid, struct table_state **t, bool *known, struct error *err)
{
	struct known_relation *k = find(a, oid);
	*known = k != NULL;
	*t = NULL;
	if (!k)
		return true;
	/* Beyond the place up to which the catalogue was known it may have gone back to this identity. */
	if ((k->set_aside || (k->outdated_until && a->final_lsn > k->outdated_until)) && !relations_message(a, &k->message, err))
		return false;
	if (!k->outdated_until)
		*t = k->table;
	else if (k->table)
		table_leaves_out(a, k->table);
	return true;
}

void relations_free(struct attempt *a)
{
	for (size_t i = 0; i < RELATION_BUCKETS; i++)
		while (a->relations[i]) {
			struct known_relation *k = a->relations[i];
			a->relations[i] = k->next;
			arena_free(&k->arena);
			free(k);
		}
}
