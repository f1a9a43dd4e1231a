/* table.c: one source table: whether and how far it is read. */
#include <stdlib.h>

#include "base/clock.h"
#include "replicate/engine.h"

struct slice table_display(struct attempt *a, const struct source_relation *r)
{
	return arena_printf(&a->arena, "\"%.*s\".\"%.*s\"", SLICE_ARG(r->schema), SLICE_ARG(r->name));
}

bool table_logs(const struct table_state *t)
{
	return t->phase == TABLE_READING || t->phase == TABLE_REREADING;
}

void table_leaves_out(struct attempt *a, struct table_state *t)
{
	if (table_logs(t))
		admission_add(&t->admission, a->xid);
}

bool table_is_read(const struct table_state *t)
{
	return table_logs(t) || t->phase == TABLE_SCANNING || t->phase == TABLE_SWEEPING;
}

/* FNV-1a over what decides about the text of values: names, types and what they are made of, modifiers. Never 0. */
uint64_t columns_hash(const struct source_relation *r)
{
	uint64_t h = UINT64_C(14695981039346656037);
	for (size_t i = 0; i < r->column_count; i++) {
		const struct source_column *c = &r->columns[i];
		uint32_t numbers[3] = {c->type_oid, (uint32_t)c->type_modifier, (uint32_t)c->name.n};
		for (size_t k = 0; k < sizeof(numbers); k++)
			h = (h ^ ((const unsigned char *)numbers)[k]) * UINT64_C(1099511628211);
		for (size_t k = 0; k < c->name.n; k++)
			h = (h ^ (unsigned char)c->name.p[k]) * UINT64_C(1099511628211);
		/* A column that was dropped and added again has other values: its number tells, where nothing else does. */
		if (c->attnum > 0 && (size_t)c->attnum != i + 1)
			h = (h ^ (uint64_t)c->attnum) * UINT64_C(1099511628211);
		if (c->type_shape)
			h = (h ^ c->type_shape) * UINT64_C(1099511628211);
	}
	return h ? h : 1;
}

void table_cancel_jobs(struct table_state *t)
{
	ranges_cancel(&t->ranges);
	if (!t->job)
		return;
	atomic_store(&t->job->cancelled, true);
	read_job_unref(t->job);
	t->job = NULL;
}

size_t table_jobs(const struct table_state *t)
{
	return (t->job != NULL) + ranges_running(&t->ranges);
}

void table_free(struct table_state *t)
{
	keyless_end(t);
	table_cancel_jobs(t);
	buf_free(&t->sweep_after);
	binding_unref(t->binding);
	touch_log_free(&t->log);
	admission_free(&t->admission);
	ranges_free(&t->ranges);
	free(t);
}

#define PROGRESS_HEAD (2 * sizeof(uint64_t))
#define PROGRESS_RANGES (UINT64_C(1) << 63)

/* Progress in storage: epoch (with PROGRESS_RANGES if there are several ranges), hash of the columns (8 bytes each), then as
 * ranges_encode writes it. A reading that began under older definitions or with other columns starts anew. */
void table_resume(struct table_state *t, struct slice last_key, uint64_t rows_read)
{
	uint64_t head[2];
	ranges_free(&t->ranges);
	t->rows_read = 0;
	if (last_key.n < PROGRESS_HEAD)
		return;
	memcpy(head, last_key.p, PROGRESS_HEAD);
	if ((head[0] & ~PROGRESS_RANGES) != t->epoch || head[1] != columns_hash(&t->binding->table.relation))
		return;
	if (ranges_decode(&t->ranges, slice_drop(last_key, PROGRESS_HEAD), head[0] & PROGRESS_RANGES))
		t->rows_read = rows_read;
}

bool table_store_progress(struct attempt *a, struct table_state *t, struct error *err)
{
	struct buf progress = {0};
	uint64_t head[2] = {t->epoch | (t->ranges.count > 1 ? PROGRESS_RANGES : 0), t->columns};
	buf_append(&progress, head, sizeof(head));
	ranges_encode(&t->ranges, &progress);
	bool ok = storage_table_progress(a->storage, t->binding->number, buf_slice(&progress), t->rows_read, err);
	buf_free(&progress);
	return ok;
}

void table_begin_reading(struct attempt *a, struct table_state *t)
{
	keyless_end(t);
	table_cancel_jobs(t);
	if (!table_logs(t)) {
		touch_log_free(&t->log);
		admission_take(&t->admission, &a->unsettled);
	}
	/* Changes of this table that the open transaction made before are not in the log. */
	if (a->in_xact)
		admission_add(&t->admission, a->xid);
	t->phase = t->keyless ? TABLE_SCANNING : TABLE_READING;
	t->retry_at_ms = 0;
	t->retry_delay_ms = 0;
	t->reading_since_ms = clock_mono_ms();
	t->rows_at_start = t->rows_read;
	buf_clear(&t->sweep_after);
}

void table_start_over(struct table_state *t)
{
	ranges_free(&t->ranges);
	t->rows_read = 0;
	t->rows_at_start = 0;
	t->reading_since_ms = clock_mono_ms();
}
