/* image.c: see image.h. */
#include "replicate/image.h"

#include "base/codec.h"

struct slice image_encode(const struct source_relation *r, const struct raw_value *row, struct arena *arena)
{
	struct buf b = {0};
	for (size_t i = 0; i < r->column_count; i++) {
		if (row[i].kind == RAW_UNCHANGED || row[i].kind == RAW_VALUE)
			continue;
		buf_text(&b, r->columns[i].name);
		buf_putc(&b, row[i].kind == RAW_TEXT);
		if (row[i].kind == RAW_TEXT)
			buf_text(&b, row[i].text);
	}
	struct slice s = arena_copy(arena, buf_slice(&b));
	buf_free(&b);
	return s;
}

static bool all_known(const struct source_relation *r, const struct raw_value *row)
{
	for (size_t i = 0; i < r->column_count; i++)
		if (row[i].kind == RAW_UNCHANGED)
			return false;
	return true;
}

bool image_fill_values(const struct binding *b, struct raw_value *row, const struct stored_row *stored)
{
	const struct source_relation *r = &b->table.relation;
	const struct value_mapper *mapper = binding_mapper(b);
	for (size_t i = 0; mapper && i < r->column_count; i++)
		for (size_t k = 0; row[i].kind == RAW_UNCHANGED && k < stored->value_count; k++)
			if (slice_eq(r->columns[i].name, stored->names[k]) &&
			    !value_mapper_stored(mapper, i, &stored->values[k], !binding_maps_twice(b), &row[i]))
				break;
	return all_known(r, row);
}

bool image_fill(const struct source_relation *r, struct raw_value *row, struct slice image)
{
	struct decoder d = decoder_of(image);
	while (d.p < d.end) {
		struct slice name = decode_text(&d), text = {0};
		bool is_text = decode_u8(&d);
		if (is_text)
			text = decode_text(&d);
		if (d.bad)
			break;
		for (size_t i = 0; i < r->column_count; i++)
			if (row[i].kind == RAW_UNCHANGED && slice_eq(r->columns[i].name, name))
				row[i] = (struct raw_value){is_text ? RAW_TEXT : RAW_NULL, text};
	}
	return all_known(r, row);
}
