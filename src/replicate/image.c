/* image.c: see image.h. */
#include "replicate/image.h"

#include "base/buf.h"

static void put_varint(struct buf *b, size_t v)
{
	for (; v >= 0x80; v >>= 7)
		buf_putc(b, (char)(v | 0x80));
	buf_putc(b, (char)v);
}

static bool get_varint(struct slice *in, size_t *out)
{
	*out = 0;
	for (int shift = 0; in->n && shift < 63; shift += 7) {
		unsigned char c = (unsigned char)*in->p;
		*in = slice_drop(*in, 1);
		*out |= (size_t)(c & 0x7f) << shift;
		if (!(c & 0x80))
			return true;
	}
	return false;
}

static bool get_bytes(struct slice *in, struct slice *out)
{
	size_t n;
	if (!get_varint(in, &n) || n > in->n)
		return false;
	*out = slice_make(in->p, n);
	*in = slice_drop(*in, n);
	return true;
}

struct slice image_encode(const struct source_relation *r, const struct raw_value *row, struct arena *arena)
{
	struct buf b = {0};
	for (size_t i = 0; i < r->column_count; i++) {
		if (row[i].kind == RAW_UNCHANGED)
			continue;
		put_varint(&b, r->columns[i].name.n);
		buf_slice_append(&b, r->columns[i].name);
		buf_putc(&b, row[i].kind == RAW_TEXT);
		if (row[i].kind == RAW_TEXT) {
			put_varint(&b, row[i].text.n);
			buf_slice_append(&b, row[i].text);
		}
	}
	struct slice s = arena_copy(arena, buf_slice(&b));
	buf_free(&b);
	return s;
}

bool image_fill(const struct source_relation *r, struct raw_value *row, struct slice image)
{
	while (image.n) {
		struct slice name, text = {0};
		if (!get_bytes(&image, &name) || !image.n)
			break;
		bool is_text = *image.p;
		image = slice_drop(image, 1);
		if (is_text && !get_bytes(&image, &text))
			break;
		for (size_t i = 0; i < r->column_count; i++)
			if (row[i].kind == RAW_UNCHANGED && slice_eq(r->columns[i].name, name))
				row[i] = (struct raw_value){is_text ? RAW_TEXT : RAW_NULL, text};
	}
	for (size_t i = 0; i < r->column_count; i++)
		if (row[i].kind == RAW_UNCHANGED)
			return false;
	return true;
}
