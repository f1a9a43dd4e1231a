/*
 * publication.c: what it means for a table that it entered the publication, or that the publication was altered (interleaved-snapshot 7).
 *
 * While a table is out of it, or the publication leaves operations out, the stream is silent about changes; nothing marks the gap.
 */
#include "replicate/engine.h"

/* A table that was never read, or was away, may just have entered the publication: changes that transactions made before are not delivered, even if
 * these commit later (interleaved-snapshot 7). So the first snapshot must not find any of them open. */
void publication_wait(const struct attempt *a, struct table_state *t, const struct stored_table *record)
{
	if (!(t->never_complete || t->lost) || record->last_key.n || a->slot_is_new || !a->head)
		return;
	for (size_t i = 0; i < a->head->count; i++)
		admission_add(&t->admission, a->head->in_progress[i]);
}

/* The publication was made anew, altered, or had the table out of it for a while: changes in between may not have been delivered, so the
 * table is compared, and what is not found is swept (interleaved-snapshot 7, 8). */
bool publication_check(struct attempt *a, const struct source_table *described, struct stored_table *record, struct error *err)
{
	if (!described->published_as || record->published_as == described->published_as)
		return true;
	bool gap = record->published_as && !a->slot_is_new && (record->snapshot_epoch || record->last_key.n);
	if (gap) {
		log_warn(a->log, "The publication has changed for %.*s: it is compared with the source",
		         SLICE_ARG(table_display(a, &described->relation)));
		if (!storage_new_generation(a->storage, err) || !storage_table_lost(a->storage, record->number, err))
			return false;
		record->generation = storage_epoch(a->storage);
		record->snapshot_done = false;
		record->last_key.n = record->rows_read = 0;
	}
	a->dirty = true;
	return storage_table_published(a->storage, record->number, described->published_as, err);
}
