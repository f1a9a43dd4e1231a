/* arena.c: a list of growing blocks, cut from the front. */
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"

#define FIRST_BLOCK 4096
#define LARGEST_STEP (1024 * 1024)

struct arena_block {
	struct arena_block *next;
	size_t size;
	_Alignas(16) char bytes[];
};

static void free_blocks(struct arena_block *b)
{
	for (struct arena_block *next; b; b = next) {
		next = b->next;
		free(b);
	}
}

void arena_free(struct arena *a)
{
	free_blocks(a->blocks);
	free_blocks(a->spare);
	*a = (struct arena){0};
}

void arena_rewind(struct arena *a, size_t keep)
{
	while (a->blocks) {
		struct arena_block *b = a->blocks;
		a->blocks = b->next;
		b->next = a->spare;
		a->spare = b;
	}
	for (struct arena_block **link = &a->spare; *link;) {
		struct arena_block *b = *link;
		if (b->size <= keep) {
			keep -= b->size;
			link = &b->next;
			continue;
		}
		*link = b->next;
		a->total -= b->size;
		free(b);
	}
	a->at = a->end = NULL;
}

static struct arena_block *take_spare(struct arena *a, size_t n)
{
	for (struct arena_block **link = &a->spare; *link; link = &(*link)->next)
		if ((*link)->size >= n) {
			struct arena_block *b = *link;
			*link = b->next;
			return b;
		}
	return NULL;
}

/* Keeps the newest block, which is the largest that regular use asked for. */
void arena_reset(struct arena *a)
{
	if (!a->blocks)
		return;
	for (struct arena_block *b = a->blocks->next, *next; b; b = next) {
		next = b->next;
		a->total -= b->size;
		free(b);
	}
	a->blocks->next = NULL;
	if (a->blocks->size > LARGEST_STEP) {
		arena_free(a);
		return;
	}
	a->at = a->blocks->bytes;
}

static void add_block(struct arena *a, size_t n)
{
	size_t size = a->blocks ? a->blocks->size * 2 : FIRST_BLOCK;
	if (size > LARGEST_STEP)
		size = LARGEST_STEP;
	if (size < n)
		size = n;
	struct arena_block *b = take_spare(a, n);
	if (!b) {
		b = xmalloc(sizeof(*b) + size);
		b->size = size;
		a->total += size;
	}
	b->next = a->blocks;
	a->blocks = b;
	a->at = b->bytes;
	a->end = b->bytes + b->size;
}

char *arena_bytes(struct arena *a, size_t n)
{
	if ((size_t)(a->end - a->at) < n || !a->at)
		add_block(a, n);
	char *p = a->at;
	a->at += n;
	return p;
}

void *arena_alloc(struct arena *a, size_t n)
{
	size_t pad = (16 - ((uintptr_t)a->at & 15)) & 15;
	if (!a->at || (size_t)(a->end - a->at) < n + pad) {
		add_block(a, n);
		pad = 0;
	}
	char *p = a->at + pad;
	a->at = p + n;
	return p;
}

void *arena_calloc(struct arena *a, size_t n)
{
	return memset(arena_alloc(a, n), 0, n);
}

struct slice arena_copy(struct arena *a, struct slice s)
{
	char *p = arena_bytes(a, s.n);
	if (s.n)
		memcpy(p, s.p, s.n);
	return slice_make(p, s.n);
}

char *arena_cstr(struct arena *a, struct slice s)
{
	char *p = arena_bytes(a, s.n + 1);
	if (s.n)
		memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return p;
}

static void *grow_to(struct arena *a, void *items, size_t count, size_t cap, size_t size)
{
	void *p = arena_alloc(a, cap * size);
	if (count)
		memcpy(p, items, count * size);
	return p;
}

void *arena_grow(struct arena *a, void *items, size_t count, size_t *cap, size_t size)
{
	if (count < *cap)
		return items;
	*cap = *cap ? *cap * 2 : 8;
	return grow_to(a, items, count, *cap, size);
}

void *arena_grow_list(struct arena *a, void *items, size_t count, size_t size)
{
	bool full = count == 0 || (count >= 4 && (count & (count - 1)) == 0);
	return full ? grow_to(a, items, count, count ? count * 2 : 4, size) : items;
}

struct slice arena_printf(struct arena *a, const char *format, ...)
{
	va_list args, again;
	va_start(args, format);
	va_copy(again, args);
	int n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	char *p = arena_bytes(a, (size_t)n + 1);
	vsnprintf(p, (size_t)n + 1, format, again);
	va_end(again);
	return slice_make(p, (size_t)n);
}
