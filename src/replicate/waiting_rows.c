/*
 * waiting_rows.c: rows that the stream left incomplete, outside any reading, are read again by key (interleaved-snapshot 6). Until then no
 * checkpoint is made: it would acknowledge a change that its clients do not have. But a table that cannot be read must not hold up all
 * others for ever.
 */
#include "base/clock.h"
#include "replicate/engine.h"

#define LONGEST_WAIT_MS 10000

/* What is missing while the whole table is read comes at the end of that, which may be long. */
static bool is_complete_otherwise(const struct table_state *t)
{
	return t->phase == TABLE_DONE || (t->phase == TABLE_REREADING && !t->reading_whole);
}

void waiting_rows_note(struct attempt *a, struct table_state *t)
{
	if (!is_complete_otherwise(t))
		return;
	t->rows_wait = a->rows_wait = true;
	a->rows_noted |= t->phase == TABLE_DONE;
}

static bool counts(const struct attempt *a, const struct table_state *t)
{
	const struct source_relation *r = &t->binding->table.relation;
	return t->rows_wait && is_complete_otherwise(t) &&
	       plan_uses_table(a->plans.plans[0]->plan, slice_cstr(a->r->options.connection_tag), r->schema, r->name);
}

bool waiting_rows_withhold(struct attempt *a)
{
	const struct table_state *first = NULL;
	if (!a->rows_wait || !a->has_active)
		return false;
	a->rows_wait = false;
	for (const struct table_state *t = a->tables; t; t = t->next) {
		a->rows_wait |= t->rows_wait;
		if (!first && counts(a, t))
			first = t;
	}
	int64_t now = clock_mono_ms();
	if (first && !a->rows_wait_until_ms)
		a->rows_wait_until_ms = now + LONGEST_WAIT_MS;
	if (first && now < a->rows_wait_until_ms)
		return true;
	a->rows_wait_until_ms = 0;
	if (first)
		log_warn(a->log, "A checkpoint is made although rows of %.*s wait for being read again%s%s",
		         SLICE_ARG(table_display(a, &first->binding->table.relation)), *first->error ? ": " : "", first->error);
	return false;
}

void waiting_rows_look(struct attempt *a)
{
	if (a->rows_wait_until_ms && clock_mono_ms() >= a->rows_wait_until_ms)
		a->commit_wanted = true;
}
