/*
 * names.h: number -> text for the few names that operations refer to (object types, source tables).
 *
 * Written by the writer alone, read by any thread without a lock: entries are set before anything that refers to them is committed,
 * and chunks never move. Texts live as long as the map.
 */
#ifndef SYNCLINE_STORAGE_NAMES_H
#define SYNCLINE_STORAGE_NAMES_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/slice.h"

#define NAMES_CHUNK 256
#define NAMES_CHUNKS 1024
#define NAMES_MAX (NAMES_CHUNK * NAMES_CHUNKS) /* numbers are below this */

struct names {
	struct arena arena;
	_Atomic(struct slice *) chunks[NAMES_CHUNKS];
};

void names_free(struct names *n);
/* Copies the text, NUL-terminated. number < NAMES_MAX. */
struct slice names_set(struct names *n, uint32_t number, struct slice text);

/* p == NULL if there is none. */
static inline struct slice names_get(struct names *n, uint32_t number)
{
	if (number >= NAMES_MAX)
		return (struct slice){NULL, 0};
	struct slice *chunk = atomic_load_explicit(&n->chunks[number / NAMES_CHUNK], memory_order_acquire);
	return chunk ? chunk[number % NAMES_CHUNK] : (struct slice){NULL, 0};
}

#endif
