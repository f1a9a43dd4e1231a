/* tables.c: which source tables the maintained plans read, and how they are known in storage. */
#include <stdlib.h>

#include "base/alloc.h"
#include "replicate/engine.h"

static void plans_release(struct maintained_plans *p)
{
	for (size_t i = 0; i < p->count; i++)
		stored_plan_unref(p->plans[i]);
	*p = (struct maintained_plans){0};
}

/* The pending plan comes second, replaced ones last, so that definitions that several have are written by the active one. */
static void plans_load(struct attempt *a)
{
	struct stored_plan *found[MAX_PLANS] = {storage_active_plan(a->storage), storage_pending_plan(a->storage)};
	size_t count = 2 + storage_retired_plans(a->storage, found + 2);
	plans_release(&a->plans);
	if (!storage_active_is_written(a->storage)) {
		stored_plan_unref(found[0]);
		found[0] = NULL;
	}
	a->has_active = found[0] != NULL;
	for (size_t i = 0; i < count; i++) {
		if (!found[i])
			continue;
		a->plans.plans[a->plans.count++] = found[i];
		for (size_t d = 0; d < found[i]->count; d++)
			if (found[i]->definitions[d].epoch > a->plans.epoch)
				a->plans.epoch = found[i]->definitions[d].epoch;
		if (found[i]->events > a->plans.epoch)
			a->plans.epoch = found[i]->events;
	}
	a->plans.replica_ids = storage_keeps_replica_ids(a->storage);
	a->plans.row_values = storage_keeps_row_values(a->storage);
}

bool tables_plans_use(const struct attempt *a, const struct source_relation *r)
{
	for (size_t i = 0; i < a->plans.count; i++)
		if (plan_uses_table(a->plans.plans[i]->plan, slice_cstr(a->r->options.connection_tag), r->schema, r->name))
			return true;
	return false;
}

/* Does a definition of the plan that still has to be filled, and came after this table was last read, read it? */
static bool needs_filling(const struct attempt *a, const struct source_relation *r, const struct stored_table *record)
{
	struct slice tag = slice_cstr(a->r->options.connection_tag);
	for (size_t i = 0; i < a->plans.count; i++) {
		const struct stored_plan *plan = a->plans.plans[i];
		for (uint32_t d = 0; d < plan->count; d++) {
			const struct definition *def = plan_definition(plan->plan, d);
			if (plan->definitions[d].state != DEFINITION_FILLING ||
			    plan->definitions[d].epoch <= record->snapshot_epoch)
				continue;
			for (size_t p = 0; p < def->pattern_count; p++)
				if (table_pattern_matches(plan_pattern(plan->plan, def->patterns[p]), tag, r->schema, r->name))
					return true;
		}
	}
	return false;
}

/* A table that was read whole is compared once more when its columns have changed since: rewrites make no events in the stream. */
static bool needs_reading(const struct attempt *a, const struct source_relation *r, const struct stored_table *record)
{
	return !record->snapshot_done || record->columns != columns_hash(r) || needs_filling(a, r, record) ||
	       events_need_reading(a, r, record);
}

/* Old records of the same oid or name: their rows go away with REMOVEs. */
static bool drop_records(struct attempt *a, const uint32_t *numbers, size_t count, struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		for (struct table_state **link = &a->tables; *link;) {
			struct table_state *t = *link;
			if (t->binding->number != numbers[i]) {
				link = &t->next;
				continue;
			}
			relations_forget_table(a, t);
			*link = t->next;
			table_free(t);
		}
		if (!storage_drop_table(a->storage, numbers[i], err))
			return false;
		a->dirty = true;
	}
	return true;
}

bool tables_drop(struct attempt *a, struct table_state *t, struct error *err)
{
	return drop_records(a, &(uint32_t){t->binding->number}, 1, err);
}

static bool resolve(struct attempt *a, const struct source_relation *r, struct stored_table *record, struct error *err)
{
	struct table_key_column *key = arena_array(&a->arena, struct table_key_column, r->column_count);
	struct table_identity identity = {.schema = r->schema, .name = r->name, .oid = r->oid, .key = key};
	uint32_t *drop;
	size_t drop_count;
	for (size_t i = 0; i < r->column_count; i++)
		if (r->columns[i].in_key)
			key[identity.key_count++] = (struct table_key_column){r->columns[i].name, r->columns[i].type_oid};
	return storage_resolve_table(a->storage, &identity, &a->arena, record, &drop, &drop_count, err) &&
	       drop_records(a, drop, drop_count, err);
}

/* What another program read counts as read with the columns of now. */
static bool adopt(struct attempt *a, const struct source_relation *r, struct stored_table *record, struct error *err)
{
	if (!record->adopted || record->columns)
		return true;
	record->columns = columns_hash(r);
	return storage_table_columns(a->storage, record->number, record->columns, err);
}

/* Shared stores do not know when a row was written: what cannot be swept goes before the table is read again. */
static bool empty_if_lost(struct attempt *a, const struct stored_table *record, struct error *err)
{
	uint64_t removed;
	if (!storage_is_shared(a->storage) || record->generation <= record->snapshot_epoch || record->last_key.n)
		return true;
	a->dirty = true;
	return storage_truncate_table(a->storage, record->number, &removed, err);
}

/* Adds a table as the catalogue describes it, and begins to read it if it must be. */
static bool add_table(struct attempt *a, const struct source_table *described, struct table_state **out, struct error *err)
{
	const struct source_relation *r = &described->relation;
	struct stored_table record;
	*out = NULL;
	if (!resolve(a, r, &record, err) || !adopt(a, r, &record, err) || !publication_check(a, described, &record, err) ||
	    !empty_if_lost(a, &record, err))
		return false;
	struct table_state *t = xcalloc(1, sizeof(*t));
	t->epoch = storage_epoch(a->storage);
	t->has_incomplete = true; /* looked at once: some may be left from before */
	t->generation = record.generation;
	t->lost = record.generation > record.snapshot_epoch;
	t->columns = record.columns;
	t->binding = binding_new(&a->plans, a->r->options.connection_tag, described, record.number, a->connection, a->log, err);
	if (!t->binding) {
		free(t);
		return false;
	}
	t->keyless = t->binding->keyless;
	reprocess_table(a, t);
	t->published_as = described->published_as;
	t->relfilenode = described->relfilenode;
	t->next = a->tables;
	a->tables = t;
	*out = t;
	/* What is stored of a table without identity goes when its reading begins. */
	t->never_complete = !record.snapshot_done && (record.snapshot_epoch == 0 || t->keyless);
	if (!needs_reading(a, r, &record)) {
		waiting_rows_note(a, t);
		return true;
	}
	if (record.snapshot_done && !storage_table_restart(a->storage, record.number, err))
		return false;
	if (!record.snapshot_done)
		table_resume(t, record.last_key, record.rows_read);
	if (ranges_begun(&t->ranges))
		log_info(a->log, "Replicating %.*s %llu/~%.0f - resuming", SLICE_ARG(table_display(a, r)),
		         (unsigned long long)t->rows_read, described->estimated_rows);
	else
		log_info(a->log, "To replicate: %.*s 0/~%.0f%s", SLICE_ARG(table_display(a, r)), described->estimated_rows,
		         t->never_complete ? "" : " (comparing)");
	table_begin_reading(a, t);
	publication_wait(a, t, &record);
	return true;
}

static size_t collect_patterns(struct attempt *a, struct source_pattern **out)
{
	struct slice tag = slice_cstr(a->r->options.connection_tag);
	size_t count = 0, total = 0;
	for (size_t i = 0; i < a->plans.count; i++)
		total += plan_pattern_count(a->plans.plans[i]->plan);
	struct source_pattern *patterns = arena_array(&a->arena, struct source_pattern, total);
	for (size_t i = 0; i < a->plans.count; i++)
		for (uint32_t p = 0; p < plan_pattern_count(a->plans.plans[i]->plan); p++) {
			const struct table_pattern *t = plan_pattern(a->plans.plans[i]->plan, p);
			if (slice_eq(t->connection_tag, tag))
				patterns[count++] =
				        (struct source_pattern){t->schema, t->table, t->schema_wildcard, t->table_wildcard};
		}
	*out = patterns;
	return count;
}

static bool discover(struct attempt *a, struct source_table **found, size_t *found_count, struct error *err)
{
	struct source_pattern *patterns;
	size_t count = collect_patterns(a, &patterns);
	return source_discover(a->connection, patterns, count, &a->arena, found, found_count, err);
}

bool tables_discover(struct attempt *a, struct error *err)
{
	struct source_table *found;
	size_t found_count;
	struct xid_snapshot head;
	plans_load(a);
	if (!discover(a, &found, &found_count, err) || !source_head(a->connection, &a->head_lsn, &head, &a->arena, err))
		return false;
	note_snapshot(a, &head);
	a->head = &head;
	bool ok = true;
	for (size_t i = 0; i < found_count && ok; i++) {
		struct table_state *t;
		ok = add_table(a, &found[i], &t, err);
		if (ok)
			relations_set(a, found[i].relation.oid, t);
	}
	a->head = NULL;
	reprocess_check(a);
	return ok && generation_absent(a, err);
}

static bool knows(const struct attempt *a, const struct source_table *found)
{
	for (const struct table_state *t = a->tables; t; t = t->next) {
		const struct source_relation *r = &t->binding->table.relation;
		if (r->oid == found->relation.oid)
			return slice_eq(r->schema, found->relation.schema) && slice_eq(r->name, found->relation.name) &&
			       relation_same_key(r, &found->relation) && t->published_as == found->published_as &&
			       (t->phase != TABLE_DONE || t->columns == columns_hash(&found->relation));
	}
	return false;
}

/* ALTER COLUMN ... TYPE ... USING may give other values of the same type, which nothing but the table's new file tells. TRUNCATE makes
 * one too, but comes by the stream. */
static bool compare_rewritten(struct attempt *a, const struct source_table *found, struct error *err)
{
	for (struct table_state *t = a->tables; t; t = t->next) {
		if (t->binding->table.relation.oid != found->relation.oid || t->phase != TABLE_DONE)
			continue;
		bool rewritten = t->relfilenode != found->relfilenode && !t->truncated && !t->keyless;
		t->relfilenode = found->relfilenode;
		t->truncated = false;
		if (!rewritten)
			continue;
		log_info(a->log, "Table %.*s was rewritten: it is compared with the source",
		         SLICE_ARG(table_display(a, &found->relation)));
		a->restart_wanted = true;
		a->dirty = true;
		return storage_table_restart(a->storage, t->binding->number, err);
	}
	return true;
}

bool tables_look_again(struct attempt *a, struct error *err)
{
	struct source_table *found;
	size_t count, known = 0;
	uint64_t lsn;
	struct xid_snapshot head;
	/* A publication that leaves changes out must not go unnoticed. */
	if (!source_check(a->connection, err) || !discover(a, &found, &count, err) ||
	    !source_head(a->connection, &lsn, &head, &a->arena, err))
		return false;
	note_snapshot(a, &head);
	a->head_lsn = lsn;
	for (size_t i = 0; i < count; i++) {
		if (!knows(a, &found[i])) {
			log_info(a->log, "Table %.*s is new, or has changed", SLICE_ARG(table_display(a, &found[i].relation)));
			a->restart_wanted = true;
		} else if (!compare_rewritten(a, &found[i], err)) {
			return false;
		}
	}
	for (const struct table_state *t = a->tables; t; t = t->next)
		known++;
	a->restart_wanted |= known != count;
	return true;
}

void tables_free(struct attempt *a)
{
	while (a->tables) {
		struct table_state *t = a->tables;
		a->tables = t->next;
		table_free(t);
	}
	relations_free(a);
	plans_release(&a->plans);
}

/* New columns under the same record: go on with them. A reading under way starts anew with the new columns; a table that was read is
 * compared once more, unless that was done already with what the catalogue says (the stream comes later). */
static bool change_columns(struct attempt *a, struct table_state *t, const struct source_table *described,
                           uint64_t catalogue_columns, struct error *err)
{
	struct binding *b =
	        binding_new(&a->plans, a->r->options.connection_tag, described, t->binding->number, a->connection, a->log, err);
	if (!b)
		return false;
	log_info(a->log, "Columns of %.*s have changed", SLICE_ARG(table_display(a, &described->relation)));
	binding_unref(t->binding);
	t->binding = b;
	t->describe_again = catalogue_columns != columns_hash(&described->relation);
	if (table_logs(t))
		touch_log_add_all(&t->log, a->xid);
	if (!table_is_read(t)) {
		if (t->columns == catalogue_columns)
			return true;
		if (!storage_table_restart(a->storage, t->binding->number, err))
			return false;
		a->dirty = true;
		table_start_over(t);
		table_begin_reading(a, t);
	} else if (t->phase != TABLE_REREADING) {
		table_start_over(t);
		table_begin_reading(a, t);
	} else {
		table_cancel_jobs(t);
		t->retry_at_ms = 0;
	}
	return true;
}

/* The catalogue knows the key to read by and, being at least as new as any message, the names. What is decoded from here on has the
 * columns of the message, which may be older. */
static void take_columns(struct source_table *described, const struct source_relation *message)
{
	if (relation_same_columns(&described->relation, message))
		return;
	struct slice schema = described->relation.schema, name = described->relation.name;
	described->relation = *message;
	described->relation.schema = schema;
	described->relation.name = name;
}

static bool is_table(const struct table_state *t, const struct source_relation *r)
{
	const struct source_relation *own = &t->binding->table.relation;
	return relation_same_key(own, r) && slice_eq(own->schema, r->schema) && slice_eq(own->name, r->name);
}

/* A table that is not known by this identity, oid or name yet. */
static bool add_found(struct attempt *a, const struct source_table *described, struct table_state **t, struct error *err)
{
	struct xid_snapshot head;
	uint64_t lsn;
	if (!source_head(a->connection, &lsn, &head, &a->arena, err))
		return false;
	a->head = &head;
	bool ok = add_table(a, described, t, err);
	a->head = NULL;
	if (ok)
		relations_set(a, described->relation.oid, *t);
	return ok;
}

/* The stream leaves changes of the table out that it should have applied. */
static bool lose_table(struct attempt *a, struct table_state *t, struct error *err)
{
	uint32_t number = t->binding->number;
	relations_forget_table(a, t);
	for (struct table_state **link = &a->tables; *link; link = &(*link)->next)
		if (*link == t) {
			*link = t->next;
			break;
		}
	table_free(t);
	a->dirty = true;
	return storage_new_generation(a->storage, err) && storage_table_lost(a->storage, number, err);
}

/*
 * The message tells of an identity that the table does not have any more. Records by that key would be of no use: the catalogue's is
 * read anyway. So changes are left out until the stream comes to where the identity is that of the catalogue; they are all visible to
 * whoever sees the catalogue as it is, because the source waits for them before it changes the table.
 */
static bool identity_has_changed(struct attempt *a, struct table_state *t, const struct source_table *described,
                                 const struct source_relation *message, struct error *err)
{
	uint64_t lsn;
	if (!source_head(a->connection, &lsn, NULL, &a->arena, err))
		return false;
	relations_outdated(a, message, lsn);
	if (t && is_table(t, &described->relation)) {
		if (table_is_read(t) && !t->scan && !ranges_begun(&t->ranges) && (t->never_complete || t->lost))
			return true;
		if (!lose_table(a, t, err))
			return false;
	}
	log_info(a->log, "The identity of %.*s has changed since: it is read with the new one",
	         SLICE_ARG(table_display(a, &described->relation)));
	return add_found(a, described, &t, err);
}

bool tables_relation(struct attempt *a, const struct source_relation *message, struct error *err)
{
	bool known, found;
	uint64_t columns;
	struct source_table described;
	const struct source_relation *relation = &described.relation;
	struct table_state *t = tables_find(a, message->oid, &known);
	if (!t && !tables_plans_use(a, message)) {
		relations_set(a, message->oid, NULL);
		return true;
	}
	if (t && binding_fits(t->binding, message))
		return true;
	if (!source_describe(a->connection, message->oid, &a->arena, &described, &found, err))
		return false;
	if (!found)
		described = (struct source_table){.relation = *message, .estimated_rows = -1};
	else if (!relation_same_key(relation, message) && tables_plans_use(a, relation))
		return identity_has_changed(a, t, &described, message, err);
	columns = columns_hash(relation);
	take_columns(&described, message);
	if (!tables_plans_use(a, relation)) {
		if (t && tables_plans_use(a, message)) { /* the stream has not come to where it gets that name */
			a->absent_until = UINT64_MAX;
			a->restart_wanted = true;
		} else if (t && !tables_drop(a, t, err)) {
			return false;
		}
		relations_set(a, relation->oid, NULL);
		return true;
	}
	/* From before a rename that the catalogue has told already. */
	if (t && binding_fits(t->binding, relation))
		return true;
	if (t && is_table(t, relation))
		return change_columns(a, t, &described, columns, err);
	if (!found) {
		/* It has left since. Reading it could only fail; the next discovery round sees that, or that it has returned. */
		relations_set(a, relation->oid, NULL);
		return true;
	}
	/* Another identity, another oid under the name, or a name that the plans read now: a new record, read from the start. */
	if (!add_found(a, &described, &t, err))
		return false;
	t->describe_again = columns != columns_hash(relation);
	return true;
}

bool tables_rebind(struct attempt *a, struct error *err)
{
	plans_load(a);
	for (struct table_state *t = a->tables; t; t = t->next) {
		struct binding *b = binding_new(&a->plans, a->r->options.connection_tag, &t->binding->table, t->binding->number,
		                                a->connection, a->log, err);
		if (!b)
			return false;
		/* A range that is being read goes on with the new binding behind its last chunk; a scan cannot. */
		if (t->phase == TABLE_SCANNING)
			table_begin_reading(a, t);
		else
			table_cancel_jobs(t);
		binding_unref(t->binding);
		t->binding = b;
	}
	return true;
}

bool tables_withhold_checkpoints(const struct attempt *a)
{
	if (!a->has_active)
		return false;
	if (a->absent_until)
		return true;
	for (const struct table_state *t = a->tables; t; t = t->next) {
		const struct source_relation *r = &t->binding->table.relation;
		if ((t->never_complete || (t->lost && !t->no_gap)) && table_is_read(t) &&
		    plan_uses_table(a->plans.plans[0]->plan, slice_cstr(a->r->options.connection_tag), r->schema, r->name))
			return true;
	}
	return false;
}
