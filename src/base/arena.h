/*
 * arena.h: memory for one batch, request or session step, given back all at once.
 *
 * Not for use by two threads at once. arena_reset keeps the first block, so an arena in a loop stops calling malloc.
 */
#ifndef SYNCLINE_BASE_ARENA_H
#define SYNCLINE_BASE_ARENA_H

#include <stddef.h>

#include "base/slice.h"

struct arena_block;

struct arena {
	struct arena_block *blocks; /* newest first */
	struct arena_block *spare;  /* kept by arena_rewind */
	char *at, *end;
	size_t total; /* bytes reserved from malloc */
};

/* A zeroed struct arena is ready for use. */
void arena_free(struct arena *a);
void arena_reset(struct arena *a);
/* As arena_reset, but keeps everything up to `keep` bytes: for an arena that is filled to about the same size again and again, where
 * fresh pages from the kernel would cost more than the work itself. */
void arena_rewind(struct arena *a, size_t keep);

/* Aligned to 16 bytes; contents undefined. */
void *arena_alloc(struct arena *a, size_t n) __attribute__((returns_nonnull));
void *arena_calloc(struct arena *a, size_t n) __attribute__((returns_nonnull));
/* Bytes without alignment. */
char *arena_bytes(struct arena *a, size_t n) __attribute__((returns_nonnull));

struct slice arena_copy(struct arena *a, struct slice s);
char *arena_cstr(struct arena *a, struct slice s);
struct slice arena_printf(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Room for one more element of an array with count of them, whose capacity is kept in *cap (0 at first). The array that was outgrown stays
 * until the arena is given back. */
void *arena_grow(struct arena *a, void *items, size_t count, size_t *cap, size_t size);
/* The same without a kept capacity: powers of two from 4 on, for lists that grow by this alone. */
void *arena_grow_list(struct arena *a, void *items, size_t count, size_t size);

#define arena_array(a, type, count) ((type *)arena_alloc((a), sizeof(type) * (count)))

#endif
