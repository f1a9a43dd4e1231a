/* alloc.c: allocation that does not fail. */
#include "base/alloc.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static _Noreturn void out_of_memory(size_t n)
{
	fprintf(stderr, "syncline: out of memory (%zu bytes)\n", n);
	abort();
}

void *xmalloc(size_t n)
{
	void *p = malloc(n ? n : 1);
	if (!p)
		out_of_memory(n);
	return p;
}

void *xcalloc(size_t count, size_t size)
{
	void *p = calloc(count ? count : 1, size ? size : 1);
	if (!p)
		out_of_memory(count * size);
	return p;
}

void *xrealloc(void *p, size_t n)
{
	p = realloc(p, n ? n : 1);
	if (!p)
		out_of_memory(n);
	return p;
}

char *xstrdup(struct slice s)
{
	char *p = xmalloc(s.n + 1);
	if (s.n)
		memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return p;
}

void *xgrow(void *p, size_t count, size_t *cap, size_t size)
{
	if (count < *cap)
		return p;
	size_t next = *cap ? *cap * 2 : 8;
	if (next > SIZE_MAX / size)
		out_of_memory(SIZE_MAX);
	*cap = next;
	return xrealloc(p, next * size);
}
