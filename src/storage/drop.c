/*
 * drop.c: the data of DROPPING definitions goes (incremental-deploy 8): buckets and lookups first, then what the records of rows
 * say of them, at last the definition itself. Cut anywhere, it begins again with what is left: the definition is still DROPPING.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "storage/compact_run.h"

#define DROP_STEP 2000
#define ROW_STEP 500
#define BUCKET_SCAN 1000
/* A step of a session takes milliseconds; one that hangs postpones the removal to the next run. */
#define STEPS_PATIENCE_MS 10000

struct numbers {
	uint32_t *items;
	size_t count, cap;
};

static void numbers_add(struct numbers *n, uint32_t number)
{
	n->items = xgrow(n->items, n->count, &n->cap, sizeof(*n->items));
	n->items[n->count++] = number;
}

static bool numbers_have(const struct numbers *n, uint32_t number)
{
	for (size_t i = 0; i < n->count; i++)
		if (n->items[i] == number)
			return true;
	return false;
}

/* Definitions and tables belong to the writer, whose turn is taken for looking at them. */
static void find_dropping(struct storage *s, struct numbers *definitions, struct numbers *tables)
{
	turn_take(&s->turn);
	/* Between the commit of an activation and its announcement steps still begin under the old plan. */
	bool announced = checkpoint_announced(s).plan_id == s->committed.active_plan;
	for (size_t i = 0; i < s->definition_count && announced; i++)
		if (s->definitions[i].committed_state == DEFINITION_DROPPING && s->definitions[i].state == DEFINITION_DROPPING &&
		    !s->definitions[i].gone)
			numbers_add(definitions, s->definitions[i].number);
	for (size_t i = 0; i < s->table_count; i++)
		if (!s->tables[i].dropped)
			numbers_add(tables, s->tables[i].number);
	turn_give(&s->turn);
}

/* ---- steps of sessions under an older plan ---- */

static bool wait_for_none(struct compact_run *r, unsigned phase, int64_t until_ms)
{
	const struct timespec pause = {.tv_nsec = 2000000};
	while (atomic_load(&r->s->steps.running[phase]) > 0) {
		if (clock_mono_ms() > until_ms || !compact_may_go_on(r))
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

/* A step that begins after a checkpoint was announced goes by it, and after an activation moves to the new plan before it reads anything.
 * So those count that run now: new ones are counted apart from here on. */
bool compact_steps_over(struct compact_run *r)
{
	unsigned phase = atomic_load(&r->s->steps.phase) & 1;
	int64_t until = clock_mono_ms() + STEPS_PATIENCE_MS;
	if (!wait_for_none(r, phase ^ 1, until))
		return false;
	atomic_store(&r->s->steps.phase, phase ^ 1);
	return wait_for_none(r, phase, until);
}

/* ---- buckets and lookups ---- */

static bool drop_bucket(struct compact_run *r, uint32_t bucket, struct error *err)
{
	bool gone = false, ok = true;
	while (ok && !gone && compact_may_go_on(r)) {
		size_t removed = 0;
		ok = compact_step_begin(r, err);
		if (ok)
			ok = compact_step_end(r, r->ops->bucket_drop(r->s->backend, bucket, DROP_STEP, &removed, &gone, err),
			                      true, err);
		r->report->dropped += removed;
	}
	return ok;
}

static bool drop_buckets(struct compact_run *r, const struct numbers *definitions, struct error *err)
{
	struct bucket_info *infos = xmalloc(BUCKET_SCAN * sizeof(*infos));
	uint32_t after = 0;
	size_t count = BUCKET_SCAN;
	bool ok = true;
	while (ok && count == BUCKET_SCAN && compact_may_go_on(r)) {
		struct storage_reader *reader = compact_commit(r, err) ? r->ops->read_begin(r->s->backend, err) : NULL;
		ok = reader && r->ops->buckets_scan(reader, after, BUCKET_SCAN, infos, &count, err);
		if (reader)
			r->ops->read_end(reader);
		for (size_t i = 0; ok && i < count; i++) {
			after = infos[i].number;
			if (numbers_have(definitions, infos[i].definition))
				ok = drop_bucket(r, after, err);
		}
	}
	free(infos);
	return ok;
}

static bool drop_lookups(struct compact_run *r, uint32_t definition, struct error *err)
{
	size_t removed = DROP_STEP;
	bool ok = true;
	while (ok && removed == DROP_STEP && compact_may_go_on(r)) {
		ok = compact_step_begin(r, err);
		if (!ok)
			break;
		ok = r->ops->lookups_drop(r->s->backend, definition, DROP_STEP, &removed, err);
		ok = compact_step_end(r, ok, removed > 0, err);
		r->report->dropped += removed;
	}
	return ok;
}

/* ---- records of rows ---- */

/* Is the bucket of a definition that stays? 1, 0 or -1. */
static int bucket_stays(struct compact_run *r, uint32_t bucket, struct error *err)
{
	uint32_t definition;
	int known = r->ops->bucket_definition(r->s->backend, bucket, &definition, err);
	return known <= 0 ? known : definition_is_maintained(r->s, definition);
}

/* Takes out of the record what is stale; *count says how much. */
static bool strip_record(struct compact_run *r, struct row_record *record, struct buf *out, size_t *count, struct error *err)
{
	size_t contributions = 0, lookups = 0;
	*count = 0;
	for (size_t i = 0; i < record->contribution_count; i++) {
		int stays = bucket_stays(r, record->contributions[i].bucket, err);
		if (stays < 0)
			return false;
		if (stays)
			record->contributions[contributions++] = record->contributions[i];
	}
	for (size_t i = 0; i < record->lookup_count; i++)
		if (definition_is_maintained(r->s, record->lookups[i].definition))
			record->lookups[lookups++] = record->lookups[i];
	*count = record->contribution_count - contributions + record->lookup_count - lookups;
	if (!*count)
		return true;
	struct slice previous = {NULL, 0};
	buf_clear(out);
	record_put_head(out, &(struct record_head){record->incomplete, record->has_image, record->uuid_alone, record->epoch,
	                                           record->uuid});
	buf_varint(out, contributions);
	for (size_t i = 0; i < contributions; i++)
		record_put_contribution(out, &record->contributions[i], &previous);
	buf_varint(out, lookups);
	for (size_t i = 0; i < lookups; i++)
		record_put_lookup(out, record->lookups[i].definition, record->lookups[i].key, record->lookups[i].digest);
	return true;
}

/* The rows behind `after`, within the transaction. */
static bool strip_rows(struct compact_run *r, uint32_t table, struct buf *after, bool *more, bool *wrote, struct error *err)
{
	struct row_record record = {0};
	struct buf out = {0};
	struct scanned_row *rows;
	size_t count = 0;
	arena_reset(&r->arena);
	bool ok = r->ops->rows_scan(r->s->backend, table, false, buf_slice(after), ROW_STEP, &r->arena, &rows, &count, err);
	for (size_t i = 0; ok && i < count; i++) {
		size_t stale;
		ok = row_record_decode(&record, rows[i].record, err) && strip_record(r, &record, &out, &stale, err);
		if (!ok || !stale)
			continue;
		ok = r->ops->row_put(r->s->backend, table, rows[i].key, buf_slice(&out), err);
		*wrote = true;
		r->report->dropped += stale;
	}
	*more = ok && count == ROW_STEP;
	if (*more) {
		buf_clear(after);
		buf_slice_append(after, rows[count - 1].key);
	}
	row_record_free(&record);
	buf_free(&out);
	return ok;
}

static bool strip_table(struct compact_run *r, uint32_t table, struct error *err)
{
	struct buf after = {0};
	bool more = true, ok = true;
	while (ok && more && compact_may_go_on(r)) {
		bool wrote = false;
		ok = compact_step_begin(r, err);
		if (ok)
			ok = compact_step_end(r, strip_rows(r, table, &after, &more, &wrote, err), wrote, err);
	}
	buf_free(&after);
	return ok;
}

/* ---- the definitions themselves ---- */

static bool forget_definitions(struct compact_run *r, const struct numbers *definitions, struct error *err)
{
	struct storage *s = r->s;
	bool ok = compact_step_begin(r, err);
	if (!ok)
		return false;
	for (size_t i = 0; ok && i < definitions->count; i++)
		ok = r->ops->small_delete(s->backend, SMALL_DEFINITIONS, definitions->items[i], err);
	/* The writer's list keeps them as DROPPING until the next start. */
	for (size_t i = 0; ok && i < s->definition_count; i++)
		if (numbers_have(definitions, s->definitions[i].number))
			s->definitions[i].gone = true;
	return compact_step_end(r, ok, true, err) && compact_commit(r, err);
}

bool compact_drop(struct compact_run *r, struct error *err)
{
	struct numbers definitions = {0}, tables = {0};
	bool ok = true;
	if (!compact_commit(r, err)) /* the turn is taken, and waited for */
		return false;
	find_dropping(r->s, &definitions, &tables);
	if (definitions.count && compact_steps_over(r)) {
		ok = drop_buckets(r, &definitions, err);
		for (size_t i = 0; ok && i < definitions.count; i++)
			ok = drop_lookups(r, definitions.items[i], err);
		for (size_t i = 0; ok && i < tables.count; i++)
			ok = strip_table(r, tables.items[i], err);
		if (ok && compact_may_go_on(r))
			ok = forget_definitions(r, &definitions, err);
	}
	free(definitions.items);
	free(tables.items);
	return ok;
}
