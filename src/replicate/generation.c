/*
 * generation.c: repair after a gap in the stream (interleaved-snapshot 8): a lost slot, another source, a table that was out of the
 * publication for a while.
 *
 * The store's epoch is raised; every record that a chunk or the stream writes from then on has at least that epoch. Tables are read in
 * comparing mode, so what did not change makes no operation. When a table was read to its end, what still has an older epoch was
 * deleted during the gap: it is swept, in steps between which the stream goes on.
 */
#include "replicate/engine.h"

#define SWEEP_ROWS 2000

bool generation_begin(struct attempt *a, struct error *err)
{
	struct table_name *tables;
	size_t count;
	if (!storage_new_generation(a->storage, err) || !storage_tables(a->storage, &a->arena, &tables, &count, err))
		return false;
	for (size_t i = 0; i < count; i++)
		if (!storage_table_lost(a->storage, tables[i].number, err))
			return false;
	return true;
}

bool generation_sweep(struct attempt *a, struct table_state *t, bool *done, struct error *err)
{
	uint64_t removed = 0;
	struct slice next;
	if (!storage_sweep(a->storage, t->binding->number, t->generation, buf_slice(&t->sweep_after), SWEEP_ROWS, &a->arena,
	                   &next, &removed, err))
		return false;
	buf_clear(&t->sweep_after);
	buf_slice_append(&t->sweep_after, next);
	a->dirty |= removed > 0;
	*done = next.n == 0;
	return true;
}

static bool is_read(const struct attempt *a, uint32_t number)
{
	for (const struct table_state *t = a->tables; t; t = t->next)
		if (t->binding->number == number)
			return true;
	return false;
}

/* Its changes stop coming while it exists, so its rows are kept as they are, and compared when it is back. */
static bool left_publication(struct attempt *a, const struct table_name *n, struct error *err)
{
	if (n->lost)
		return true;
	log_error(a->log,
	          "Table \"%.*s\".\"%.*s\" is not in the publication any more: its rows stay as they are until it returns. Run: "
	          "ALTER "
	          "PUBLICATION powersync ADD TABLE \"%.*s\".\"%.*s\"",
	          SLICE_ARG(n->schema), SLICE_ARG(n->name), SLICE_ARG(n->schema), SLICE_ARG(n->name));
	return storage_new_generation(a->storage, err) && storage_table_lost(a->storage, n->number, err);
}

enum absence { IS_READ, UNUSED, GONE, UNPUBLISHED };

static bool absence_of(struct attempt *a, const struct table_name *n, enum absence *out, struct error *err)
{
	struct source_relation name = {.schema = n->schema, .name = n->name};
	bool exists;
	*out = is_read(a, n->number) ? IS_READ : UNUSED;
	if (*out == IS_READ || !tables_plans_use(a, &name))
		return true;
	if (!source_table_exists(a->connection, n->oid, n->schema, n->name, &exists, err))
		return false;
	*out = exists ? UNPUBLISHED : GONE;
	return true;
}

static bool drop(struct attempt *a, const struct table_name *n, const char *why, struct error *err)
{
	log_warn(a->log, "Table \"%.*s\".\"%.*s\" is %s: its rows are removed", SLICE_ARG(n->schema), SLICE_ARG(n->name), why);
	a->dirty = a->commit_wanted = true;
	return storage_drop_table(a->storage, n->number, err);
}

bool generation_absent(struct attempt *a, struct error *err)
{
	struct table_name *tables;
	size_t count;
	enum absence absence;
	bool gone = false;
	if (!storage_tables(a->storage, &a->arena, &tables, &count, err))
		return false;
	for (size_t i = 0; i < count; i++) {
		if (!absence_of(a, &tables[i], &absence, err) ||
		    (absence == UNPUBLISHED && !left_publication(a, &tables[i], err)) ||
		    (absence == UNUSED && !drop(a, &tables[i], "not used by the sync config any more", err)))
			return false;
		gone |= absence == GONE;
	}
	if (!gone)
		return true;
	log_info(a->log, "Tables are gone: what the stream brings is shown when it has come to where they went");
	return source_head(a->connection, &a->absent_until, NULL, &a->arena, err) && source_marker(a->connection, err);
}

bool generation_drop_absent(struct attempt *a, struct error *err)
{
	struct table_name *tables;
	size_t count;
	enum absence absence;
	if (!a->absent_until || a->at < a->absent_until)
		return true;
	a->absent_until = 0;
	if (!storage_tables(a->storage, &a->arena, &tables, &count, err))
		return false;
	for (size_t i = 0; i < count; i++)
		if (!absence_of(a, &tables[i], &absence, err) || (absence == GONE && !drop(a, &tables[i], "gone", err)))
			return false;
	return definitions_check(a, err);
}
