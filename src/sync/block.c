/* block.c: shared, immutable bytes on their way to connections. */
#include <stdatomic.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "sync/session.h"

struct block *block_new(size_t capacity)
{
	struct block *b = xmalloc(sizeof(*b) + capacity);
	atomic_init(&b->references, 1);
	b->line_count = 0;
	b->n = 0;
	return b;
}

void block_ref(struct block *b)
{
	atomic_fetch_add_explicit(&b->references, 1, memory_order_relaxed);
}

void block_unref(struct block *b)
{
	if (b && atomic_fetch_sub_explicit(&b->references, 1, memory_order_acq_rel) == 1)
		free(b);
}
