/* names.c: see names.h. */
#include "storage/postgres/names.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/alloc.h"

struct pg_names {
	pthread_mutex_t lock;
	struct arena arena;                 /* definitions */
	struct pg_definition **definitions; /* by number - 1 */
	size_t definition_count, definition_cap;
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
