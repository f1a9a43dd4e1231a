/*
 * keyless.c: tables without any replica identity (interleaved-snapshot 4, "No identity at all").
 *
 * Only inserts and truncates come for them, and their rows cannot be compared. So the table is read in one snapshot S that is taken
 * while the stream stands at a boundary. A streamed row is dropped if it came before that boundary (S must see its transaction) or
 * if S sees it, else it is applied. A reading cannot be resumed: it begins with the removal of what is stored.
 *
 * Keys: of a row of the snapshot its number, of a streamed row the place of its transaction's commit record and the number of the
 * change in it, so that a replay finds the same row again.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "replicate/engine.h"

struct scan {
	struct arena arena; /* of the snapshot */
	struct xid_snapshot snapshot;
	bool ended; /* by a truncate that the snapshot does not see */
};

void keyless_end(struct table_state *t)
{
	table_cancel_jobs(t);
	if (!t->scan)
		return;
	arena_free(&t->scan->arena);
	free(t->scan);
	t->scan = NULL;
}

static bool sees_all_delivered(const struct attempt *a, const struct table_state *t, const struct xid_snapshot *s)
{
	for (size_t i = 0; i < a->unsettled.count; i++)
		if (!xid_visible(s, a->unsettled.items[i].xid))
			return false;
	return admission_admits(&t->admission, s);
}

/* What is stored goes; the reader gets the connection whose transaction holds the snapshot. */
static bool start_job(struct attempt *a, struct table_state *t, struct binding *b, struct scan *scan, uint64_t head_lsn,
                      struct source_connection *c, struct error *err)
{
	uint64_t removed;
	t->scan = scan;
	t->never_complete = true;
	struct read_job *job = read_job_new(b, (struct slice){0});
	job->scan = c;
	job->head_lsn = head_lsn;
	t->job = job;
	if (!storage_table_restart(a->storage, t->binding->number, err) ||
	    !storage_truncate_table(a->storage, t->binding->number, &removed, err))
		return false;
	a->dirty = true;
	/* Nothing can be sent on the reading's connection: the stream is brought past the snapshot's head from here. */
	if (!source_marker(a->connection, err))
		return false;
	log_warn(a->log,
	         "Table %.*s has no replica identity: it is read in one transaction, which holds back vacuum while it lasts. "
	         "Updates and "
	         "deletes of it are refused by the source",
	         SLICE_ARG(table_display(a, &b->table.relation)));
	reader_pool_submit(a->readers, job);
	return true;
}

bool keyless_begin(struct attempt *a, struct table_state *t, struct binding *b, enum keyless_outcome *outcome, struct error *err)
{
	struct source_connection *c = source_connect(a->r->options.source, err);
	*outcome = KEYLESS_LATER;
	if (!c)
		return false;
	struct scan *scan = xcalloc(1, sizeof(*scan));
	struct source_chunk head;
	struct error failed = {.code = ""};
	if (!source_scan_begin(c, &b->table, &scan->arena, &head, &failed)) {
		snprintf(t->error, sizeof(t->error), "%s", failed.message);
		*outcome = KEYLESS_FAILED;
	} else if (head.outcome != CHUNK_ROWS) {
		*outcome = head.outcome == CHUNK_TABLE_GONE ? KEYLESS_GONE : KEYLESS_CHANGED;
	} else if (sees_all_delivered(a, t, &head.snapshot)) {
		*outcome = KEYLESS_BEGUN;
		scan->snapshot = head.snapshot;
		return start_job(a, t, b, scan, head.head_lsn, c, err);
	}
	arena_free(&scan->arena);
	free(scan);
	source_disconnect(c);
	return true;
}

static void put_be64(char *p, uint64_t v)
{
	for (int i = 7; i >= 0; i--, v >>= 8)
		p[i] = (char)v;
}

void keyless_row_key(char origin, uint64_t place, uint64_t number, struct arena *arena, struct row_key *key)
{
	char *p = arena_bytes(arena, 17);
	p[0] = origin;
	put_be64(p + 1, place);
	put_be64(p + 9, number);
	key->bytes = slice_make(p, 17);
	memcpy(key->uuid, p + 1, 16);
}

bool keyless_takes(struct attempt *a, struct table_state *t, struct row_key *key)
{
	if (t->phase == TABLE_SCANNING && (!t->scan || (!t->scan->ended && xid_visible(&t->scan->snapshot, a->xid))))
		return false;
	keyless_row_key('W', a->final_lsn, a->change_number, &a->arena, key);
	return true;
}

bool keyless_truncated(struct attempt *a, struct table_state *t)
{
	if (t->phase != TABLE_SCANNING)
		return true;
	if (!t->scan || xid_visible(&t->scan->snapshot, a->xid))
		return false;
	t->scan->ended = true;
	table_cancel_jobs(t);
	return true;
}

bool keyless_ended(const struct table_state *t)
{
	return t->scan && t->scan->ended;
}
