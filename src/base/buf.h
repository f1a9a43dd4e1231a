/*
 * buf.h: a growing byte buffer, the builder for text and frames.
 *
 * Owned by whoever declares it; a zeroed struct buf is empty and ready. buf_slice points into it until the next append.
 */
#ifndef SYNCLINE_BASE_BUF_H
#define SYNCLINE_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct buf {
	char *p;
	size_t n, cap;
};

void buf_free(struct buf *b);
/* Room for at least n more bytes; answers where they go. The caller then adds to b->n what it wrote. */
char *buf_reserve(struct buf *b, size_t n);
void buf_append(struct buf *b, const void *p, size_t n);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_u64(struct buf *b, uint64_t v); /* decimal */
void buf_i64(struct buf *b, int64_t v);  /* decimal */
/* The text as a JSON string with its quotes; what is not UTF-8 becomes U+FFFD. For configuration and log: rows have json_append_string. */
void buf_json_text(struct buf *b, struct slice text);

static inline void buf_clear(struct buf *b)
{
	b->n = 0;
}

static inline struct slice buf_slice(const struct buf *b)
{
	return slice_make(b->p, b->n);
}

static inline void buf_putc(struct buf *b, char c)
{
	if (b->n == b->cap)
		buf_reserve(b, 1);
	b->p[b->n++] = c;
}

static inline void buf_slice_append(struct buf *b, struct slice s)
{
	buf_append(b, s.p, s.n);
}

#define buf_lit(b, lit) buf_append((b), (lit), sizeof(lit) - 1)

/* Writes v in decimal at p (at least 20 bytes); answers the length. */
size_t format_u64(char *p, uint64_t v);

#endif
