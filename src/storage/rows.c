/* rows.c: stored rows one by one: read, deleted, listed while they are incomplete, and all of a table truncated. Writing them: apply.c. */
#include "storage/internal.h"

/* Rows of one truncate step, and bytes of one truncate transaction. */
#define TRUNCATE_ROWS 512
#define TRUNCATE_BYTES (8u * 1024 * 1024)

bool storage_read_row(struct storage *s, uint32_t table, const struct row_key *key, struct arena *arena, struct stored_row *out,
                      struct error *err)
{
	if (s->shared)
		return s->shared->read_row(s, table, key, arena, out, err);
	struct row_record *r = &s->apply.current;
	struct slice image = {NULL, 0};
	*out = (struct stored_row){.found = false};
	if (!writer_peek(s, err) || !row_load(s, table, key->bytes, r, err))
		return false;
	if (!r->found)
		return true;
	if (r->has_image && s->backend->ops->image_get(s->backend, table, key->bytes, &image, err) < 0)
		return false;
	*out = (struct stored_row){.found = true,
	                           .incomplete = r->incomplete,
	                           .epoch = r->epoch,
	                           .image = image.n ? arena_copy(arena, image) : (struct slice){NULL, 0}};
	return true;
}

bool storage_delete_row(struct storage *s, uint32_t table, const struct row_key *key, struct error *err)
{
	if (s->shared)
		return s->shared->delete_row(s, table, key, err);
	struct row_record *r = &s->apply.current;
	if (!writer_peek(s, err) || !row_load(s, table, key->bytes, r, err))
		return false;
	if (!r->found)
		return true;
	return (writer_begin(s, err) && row_retire(s, table, key, r, err)) || writer_fail(s);
}

bool storage_incomplete_rows(struct storage *s, uint32_t table, struct slice after, size_t max, struct arena *arena,
                             struct row_key **keys, size_t *count, struct error *err)
{
	if (s->shared)
		return s->shared->incomplete_rows(s, table, after, max, arena, keys, count, err);
	struct scanned_row *rows;
	size_t n;
	*keys = NULL;
	*count = 0;
	if (!writer_peek(s, err) || !s->backend->ops->rows_scan(s->backend, table, true, after, max, arena, &rows, &n, err))
		return false;
	*keys = arena_array(arena, struct row_key, n);
	for (size_t i = 0; i < n; i++) {
		struct row_record *r = &s->apply.current;
		if (!row_record_decode(r, rows[i].record, err))
			return false;
		(*keys)[i] = record_row_key(r, rows[i].key);
	}
	*count = n;
	return true;
}

bool storage_truncate_table(struct storage *s, uint32_t table, uint64_t *removed, struct error *err)
{
	if (s->shared)
		return s->shared->truncate_table(s, table, removed, err);
	struct apply *a = &s->apply;
	*removed = 0;
	for (;;) {
		struct scanned_row *rows;
		size_t count;
		arena_reset(&a->arena);
		if (!writer_peek(s, err))
			return false;
		if (!s->backend->ops->rows_scan(s->backend, table, false, (struct slice){NULL, 0}, TRUNCATE_ROWS, &a->arena,
		                                &rows, &count, err))
			return writer_fail(s);
		if (!count)
			return true;
		for (size_t i = 0; i < count; i++) {
			if (!writer_begin(s, err) || !row_record_decode(&a->current, rows[i].record, err))
				return writer_fail(s);
			struct row_key key = record_row_key(&a->current, rows[i].key);
			if (!row_retire(s, table, &key, &a->current, err))
				return writer_fail(s);
			++*removed;
		}
		if (storage_batch_size(s) > TRUNCATE_BYTES && !storage_flush(s, err))
			return false;
	}
}
