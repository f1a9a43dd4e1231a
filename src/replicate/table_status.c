/* table_status.c: what others are told about the tables. */
#include "base/clock.h"
#include "replicate/engine.h"

double table_time_left(const struct table_state *t, int64_t now_ms)
{
	double read = (double)(t->rows_read - t->rows_at_start), elapsed = (double)(now_ms - t->reading_since_ms) / 1000;
	double left = t->binding->table.estimated_rows - (double)t->rows_read;
	if (t->binding->table.estimated_rows < 0 || read <= 0 || elapsed <= 0)
		return -1;
	return left > 0 ? left * elapsed / read : 0;
}

static void table_status(struct arena *arena, const struct table_state *t, int64_t now_ms, struct replicator_table *out)
{
	const struct source_relation *r = &t->binding->table.relation;
	*out = (struct replicator_table){
	        .schema = arena_copy(arena, r->schema),
	        .name = arena_copy(arena, r->name),
	        .reading = table_is_read(t),
	        .rows_read = t->rows_read,
	        .rows_estimated = t->binding->table.estimated_rows,
	        .eta_s = table_time_left(t, now_ms),
	};
	memcpy(out->error, t->error, sizeof(out->error));
}

void tables_publish_status(struct attempt *a)
{
	struct replicator *r = a->r;
	size_t count = 0, reading = 0;
	double estimated = 0, eta = 0;
	int64_t now = clock_mono_ms();
	for (const struct table_state *t = a->tables; t; t = t->next) {
		count++;
		if (!table_is_read(t))
			continue;
		reading++;
		double left = table_time_left(t, now), rows = t->binding->table.estimated_rows;
		eta = eta < 0 || left < 0 ? -1 : eta > left ? eta : left;
		estimated = estimated < 0 || rows < 0 ? -1 : estimated + rows;
	}
	pthread_mutex_lock(&r->status_lock);
	arena_reset(&r->tables_arena);
	r->tables = arena_array(&r->tables_arena, struct replicator_table, count);
	r->table_count = count;
	for (const struct table_state *t = a->tables; t; t = t->next)
		table_status(&r->tables_arena, t, now, &r->tables[--count]);
	r->status.tables = r->table_count;
	r->status.tables_reading = reading;
	r->status.snapshotting = reading > 0;
	r->status.rows_estimated = estimated;
	r->status.eta_s = eta;
	if (a->checkpoint_at_ms)
		r->status.checkpoint_at_ms = a->checkpoint_at_ms;
	pthread_mutex_unlock(&r->status_lock);
}
