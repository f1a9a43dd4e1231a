/* names.c: number -> text, read without a lock. */
#include "storage/names.h"

#include <stdlib.h>

#include "base/alloc.h"

void names_free(struct names *n)
{
	for (size_t i = 0; i < NAMES_CHUNKS; i++)
		free(atomic_load_explicit(&n->chunks[i], memory_order_relaxed));
	arena_free(&n->arena);
}

struct slice names_set(struct names *n, uint32_t number, struct slice text)
{
	_Atomic(struct slice *) *at = &n->chunks[number / NAMES_CHUNK];
	struct slice *chunk = atomic_load_explicit(at, memory_order_relaxed);
	struct slice copy = {arena_cstr(&n->arena, text), text.n};
	if (chunk) {
		chunk[number % NAMES_CHUNK] = copy;
		return copy;
	}
	chunk = xcalloc(NAMES_CHUNK, sizeof(*chunk));
	chunk[number % NAMES_CHUNK] = copy;
	atomic_store_explicit(at, chunk, memory_order_release);
	return copy;
}
