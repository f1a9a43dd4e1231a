/*
 * alloc.h: allocation that does not fail.
 *
 * When the machine is out of memory the process ends with a message; everything durable is in the store. What an outsider
 * can size must be limited before it comes here.
 */
#ifndef SYNCLINE_BASE_ALLOC_H
#define SYNCLINE_BASE_ALLOC_H

#include <stddef.h>

#include "base/slice.h"

void *xmalloc(size_t n) __attribute__((malloc, returns_nonnull));
void *xcalloc(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
void *xrealloc(void *p, size_t n) __attribute__((returns_nonnull));
/* An owned, NUL-terminated copy. */
char *xstrdup(struct slice s) __attribute__((malloc, returns_nonnull));

/* Grows an array of count elements so that one more fits; capacity is kept in *cap. Use: p = xgrow(p, n, &cap, sizeof(*p)). */
void *xgrow(void *p, size_t count, size_t *cap, size_t size);

#endif
