/* sweep.c: rows that a repair did not see any more are removed (interleaved-snapshot 8). */
#include "storage/internal.h"

bool storage_sweep(struct storage *s, uint32_t table, uint64_t generation, struct slice after, size_t max, struct arena *arena,
                   struct slice *next, uint64_t *removed, struct error *err)
{
	struct row_record record = {0};
	struct scanned_row *rows;
	size_t count;
	*next = (struct slice){NULL, 0};
	if (s->shared) /* a table that lost changes was emptied before it was read again */
		return true;
	if (!writer_peek(s, err))
		return false;
	if (!s->backend->ops->rows_scan(s->backend, table, false, after, max, arena, &rows, &count, err))
		return writer_fail(s);
	bool ok = true;
	for (size_t i = 0; i < count && ok; i++) {
		ok = row_record_decode(&record, rows[i].record, err);
		if (!ok || record.epoch >= generation)
			continue;
		struct row_key key = record_row_key(&record, rows[i].key);
		ok = storage_delete_row(s, table, &key, err);
		++*removed;
	}
	row_record_free(&record);
	if (ok && count == max)
		*next = rows[count - 1].key;
	return ok || writer_fail(s);
}
