/*
 * events.c: rows that bring write checkpoints (checkpoint-requests 7).
 *
 * Inserts and updates of the stream count in their order; deletes do not. A row that was read counts as far as the stream brought
 * nothing for its user (storage.h, enum custom_origin). A streamed row that lacks a needed value counts when it was read again.
 */
#include "replicate/engine.h"
#include "replicate/image.h"

/* Of one table: the first refusals are logged, then every thousandth. */
static void log_refused(struct attempt *a, struct binding *b, const struct row_write_checkpoint *c)
{
	uint64_t n = atomic_fetch_add_explicit(&b->refused, 1, memory_order_relaxed) + 1;
	if (n > 10 && n % 1000)
		return;
	log_warn(a->log, "A row of %.*s is skipped for the event %.*s (number %llu): %.*s",
	         SLICE_ARG(table_display(a, &b->table.relation)), SLICE_ARG(c->event), (unsigned long long)n, SLICE_ARG(c->why));
}

static bool store(struct attempt *a, const struct row_event_checkpoint *e, enum custom_origin origin, struct error *err)
{
	const struct row_write_checkpoint *c = &e->made;
	struct custom_checkpoint custom = {
	        .events = e->events,
	        .user = {c->user_id, c->client_id},
	        .id = c->id,
	        .temporary = c->temporary,
	        .origin = origin,
	        /* The commit record's place may be the end of the transaction before. */
	        .position = a->in_xact ? (struct position){a->era, a->final_lsn + 1} : attempt_position(a),
	};
	a->dirty = true;
	return storage_custom_checkpoint(a->storage, &custom, err);
}

bool events_apply(struct attempt *a, struct binding *b, const struct raw_value *row, enum custom_origin origin, bool *unknown,
                  struct error *err)
{
	struct row_event_checkpoint made[MAX_EVENT_CHECKPOINTS];
	*unknown = false;
	if (!b->brings_checkpoints)
		return true;
	size_t count = binding_checkpoints(b, row, &a->arena, made);
	for (size_t i = 0; i < count; i++) {
		if (made[i].made.outcome == ROW_CHECKPOINT_UNKNOWN)
			*unknown = true;
		else if (made[i].made.outcome == ROW_CHECKPOINT_REFUSED)
			log_refused(a, b, &made[i].made);
		else if (!store(a, &made[i], origin, err))
			return false;
	}
	return true;
}

bool events_catch_up(struct attempt *a, struct binding *b, const struct row_key *key, const struct raw_value *row,
                     struct error *err)
{
	const struct source_relation *r = &b->table.relation;
	struct row_event_checkpoint made[MAX_EVENT_CHECKPOINTS];
	struct stored_row stored;
	bool waited = false;
	if (!b->brings_checkpoints)
		return true;
	if (!storage_read_row(a->storage, b->number, key, &a->arena, &stored, err))
		return false;
	if (!stored.found || !stored.incomplete)
		return true;
	struct raw_value *known = arena_array(&a->arena, struct raw_value, r->column_count);
	for (size_t i = 0; i < r->column_count; i++)
		known[i] = (struct raw_value){.kind = RAW_UNCHANGED};
	image_fill(r, known, stored.image);
	size_t count = binding_checkpoints(b, known, &a->arena, made);
	for (size_t i = 0; i < count; i++)
		waited |= made[i].made.outcome == ROW_CHECKPOINT_UNKNOWN;
	return !waited || events_apply(a, b, row, CUSTOM_STREAM, &waited, err);
}

bool events_tables_done(const struct attempt *a, const struct stored_plan *pending)
{
	struct slice tag = slice_cstr(a->r->options.connection_tag);
	if (!pending->events || (a->has_active && a->plans.plans[0]->events == pending->events))
		return true;
	for (const struct table_state *t = a->tables; t; t = t->next) {
		const struct source_relation *r = &t->binding->table.relation;
		if (t->phase != TABLE_DONE && plan_write_checkpoints_from(pending->plan, tag, r->schema, r->name))
			return false;
	}
	return true;
}

bool events_need_reading(const struct attempt *a, const struct source_relation *r, const struct stored_table *record)
{
	struct slice tag = slice_cstr(a->r->options.connection_tag);
	for (size_t i = 0; i < a->plans.count; i++) {
		const struct stored_plan *plan = a->plans.plans[i];
		if (plan->events > record->snapshot_epoch && plan_write_checkpoints_from(plan->plan, tag, r->schema, r->name))
			return true;
	}
	return false;
}
