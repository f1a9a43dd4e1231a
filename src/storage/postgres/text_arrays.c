/* text_arrays.c: parameters that are arrays, as text (readers.h). */
#include "storage/postgres/readers.h"

void pg_text_array_begin(struct buf *b)
{
	buf_clear(b);
	buf_putc(b, '{');
}

static void separate(struct buf *b)
{
	if (b->n > 1)
		buf_putc(b, ',');
}

void pg_text_array_text(struct buf *b, struct slice text)
{
	separate(b);
	buf_putc(b, '"');
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] == '"' || text.p[i] == '\\')
			buf_putc(b, '\\');
		buf_putc(b, text.p[i]);
	}
	buf_putc(b, '"');
}

void pg_text_array_number(struct buf *b, int64_t v)
{
	separate(b);
	buf_i64(b, v);
}

void pg_text_array_bytes(struct buf *b, struct slice bytes)
{
	static const char hex[] = "0123456789abcdef";
	separate(b);
	buf_lit(b, "\"\\\\x");
	for (size_t i = 0; i < bytes.n; i++) {
		buf_putc(b, hex[(unsigned char)bytes.p[i] >> 4]);
		buf_putc(b, hex[(unsigned char)bytes.p[i] & 15]);
	}
	buf_putc(b, '"');
}

const char *pg_text_array_end(struct buf *b)
{
	buf_putc(b, '}');
	buf_putc(b, 0);
	return b->p;
}
