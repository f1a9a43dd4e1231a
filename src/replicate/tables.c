/* tables.c: which source tables the maintained plans read, how they are known in storage, and how far they are read. */
#include <stdlib.h>

#include "base/alloc.h"
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

void table_cancel_job(struct table_state *t)
{
	if (!t->job)
		return;
	atomic_store(&t->job->cancelled, true);
	read_job_unref(t->job);
	t->job = NULL;
}

static void table_free(struct table_state *t)
{
	table_cancel_job(t);
	binding_unref(t->binding);
	touch_log_free(&t->log);
	admission_free(&t->admission);
	buf_free(&t->next_key);
	free(t);
}

static void plans_release(struct maintained_plans *p)
{
	for (size_t i = 0; i < p->count; i++)
		stored_plan_unref(p->plans[i]);
	*p = (struct maintained_plans){0};
}

/* The pending plan comes second, so that definitions that both have are written by the active one. */
static void plans_load(struct attempt *a)
{
	struct stored_plan *found[MAX_PLANS] = {storage_active_plan(a->storage), storage_pending_plan(a->storage)};
	plans_release(&a->plans);
	a->has_active = found[0] != NULL;
	for (size_t i = 0; i < MAX_PLANS; i++) {
		if (!found[i])
			continue;
		a->plans.plans[a->plans.count++] = found[i];
		for (size_t d = 0; d < found[i]->count; d++)
			if (found[i]->definitions[d].epoch > a->plans.epoch)
				a->plans.epoch = found[i]->definitions[d].epoch;
	}
}

static bool plans_use(const struct attempt *a, const struct source_relation *r)
{
	for (size_t i = 0; i < a->plans.count; i++)
		if (plan_uses_table(a->plans.plans[i]->plan, slice_cstr(a->r->options.connection_tag), r->schema, r->name))
			return true;
	return false;
}

/* Does a definition of the plan that still has to be filled, and came after this table was last read, read it? */
static bool needs_reading(const struct attempt *a, const struct source_relation *r, const struct stored_table *record)
{
	struct slice tag = slice_cstr(a->r->options.connection_tag);
	if (!record->snapshot_done)
		return true;
	for (size_t i = 0; i < a->plans.count; i++) {
		const struct stored_plan *plan = a->plans.plans[i];
		for (uint32_t d = 0; d < plan->count; d++) {
			const struct definition *def = plan_definition(plan->plan, d);
			if (plan->definitions[d].state != DEFINITION_FILLING || plan->definitions[d].epoch <= record->snapshot_epoch)
				continue;
			for (size_t p = 0; p < def->pattern_count; p++)
				if (table_pattern_matches(plan_pattern(plan->plan, def->patterns[p]), tag, r->schema, r->name))
					return true;
		}
	}
	return false;
}

/* Progress in storage: 8 bytes of epoch, then the source module's position. A reading that began under older definitions starts anew. */
static void resume_progress(struct table_state *t, struct slice last_key, uint64_t rows_read)
{
	uint64_t epoch;
	buf_clear(&t->next_key);
	t->rows_read = 0;
	if (last_key.n < sizeof(epoch))
		return;
	memcpy(&epoch, last_key.p, sizeof(epoch));
	if (epoch != t->epoch)
		return;
	buf_slice_append(&t->next_key, slice_drop(last_key, sizeof(epoch)));
	t->rows_read = rows_read;
}

void table_begin_reading(struct attempt *a, struct table_state *t)
{
	table_cancel_job(t);
	if (!table_logs(t)) {
		touch_log_free(&t->log);
		admission_take(&t->admission, &a->unsettled);
		t->admitted = false;
	}
	t->phase = TABLE_READING;
	t->retry_at_ms = 0;
	t->retry_delay_ms = 0;
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
			for (size_t b = 0; b < RELATION_BUCKETS; b++)
				for (struct known_relation *k = a->relations[b]; k; k = k->next)
					if (k->table == t)
						k->table = NULL;
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

static bool has_key(const struct source_relation *r)
{
	for (size_t i = 0; i < r->column_count; i++)
		if (r->columns[i].in_key)
			return true;
	return false;
}

/* Adds a table as the catalogue describes it, and begins to read it if it must be. */
static bool add_table(struct attempt *a, const struct source_table *described, struct table_state **out, struct error *err)
{
	const struct source_relation *r = &described->relation;
	struct stored_table record;
	*out = NULL;
	if (!resolve(a, r, &record, err))
		return false;
	struct table_state *t = xcalloc(1, sizeof(*t));
	t->epoch = a->plans.epoch;
	t->has_incomplete = true; /* looked at once: some may be left from before */
	t->binding = binding_new(&a->plans, a->r->options.connection_tag, described, record.number, a->connection, a->log, err);
	if (!t->binding) {
		free(t);
		return false;
	}
	t->next = a->tables;
	a->tables = t;
	*out = t;
	t->never_complete = record.snapshot_epoch == 0 && !record.snapshot_done;
	if (!has_key(r)) {
		log_error(a->log,
		          "Table %.*s has no replica identity and cannot be synced. Add a primary key, or run: ALTER TABLE %.*s REPLICA "
		          "IDENTITY FULL.",
		          SLICE_ARG(table_display(a, r)), SLICE_ARG(table_display(a, r)));
		t->phase = TABLE_ASIDE;
		return true;
	}
	if (!needs_reading(a, r, &record))
		return true;
	if (record.snapshot_done && !storage_table_restart(a->storage, record.number, err))
		return false;
	if (!record.snapshot_done)
		resume_progress(t, record.last_key, record.rows_read);
	if (t->next_key.n)
		log_info(a->log, "Replicating %.*s %llu/~%.0f - resuming", SLICE_ARG(table_display(a, r)), (unsigned long long)t->rows_read,
		         described->estimated_rows);
	else
		log_info(a->log, "To replicate: %.*s 0/~%.0f", SLICE_ARG(table_display(a, r)), described->estimated_rows);
	table_begin_reading(a, t);
	return true;
}

static struct known_relation *remember(struct attempt *a, uint32_t oid, struct table_state *t)
{
	struct known_relation **bucket = &a->relations[oid % RELATION_BUCKETS];
	for (struct known_relation *k = *bucket; k; k = k->next)
		if (k->oid == oid) {
			k->table = t;
			return k;
		}
	struct known_relation *k = xcalloc(1, sizeof(*k));
	*k = (struct known_relation){oid, t, *bucket};
	return *bucket = k;
}

struct table_state *tables_find(struct attempt *a, uint32_t oid, bool *known)
{
	for (struct known_relation *k = a->relations[oid % RELATION_BUCKETS]; k; k = k->next)
		if (k->oid == oid) {
			*known = true;
			return k->table;
		}
	*known = false;
	return NULL;
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
				patterns[count++] = (struct source_pattern){t->schema, t->table, t->schema_wildcard, t->table_wildcard};
		}
	*out = patterns;
	return count;
}

bool tables_discover(struct attempt *a, struct error *err)
{
	struct source_pattern *patterns;
	struct source_table *found;
	size_t found_count;
	plans_load(a);
	size_t count = collect_patterns(a, &patterns);
	if (!source_discover(a->connection, patterns, count, &a->arena, &found, &found_count, err))
		return false;
	for (size_t i = 0; i < found_count; i++) {
		struct table_state *t;
		if (!add_table(a, &found[i], &t, err))
			return false;
		remember(a, found[i].relation.oid, t);
		if (found[i].row_security)
			log_warn(a->log,
			         "[PSYNC_S1145] Row Level Security is enabled on table \"%.*s\". To make sure that the replication role can "
			         "read the table, run: 'ALTER ROLE <role> BYPASSRLS'.",
			         SLICE_ARG(found[i].relation.name));
	}
	return true;
}

void tables_free(struct attempt *a)
{
	while (a->tables) {
		struct table_state *t = a->tables;
		a->tables = t->next;
		table_free(t);
	}
	for (size_t i = 0; i < RELATION_BUCKETS; i++)
		while (a->relations[i]) {
			struct known_relation *k = a->relations[i];
			a->relations[i] = k->next;
			free(k);
		}
	plans_release(&a->plans);
}

/* New columns under the same record: go on with them; a range that is being read starts anew with the new columns. */
static bool change_columns(struct attempt *a, struct table_state *t, const struct source_table *described, bool newer,
                           struct error *err)
{
	struct binding *b = binding_new(&a->plans, a->r->options.connection_tag, described, t->binding->number, a->connection, a->log, err);
	if (!b)
		return false;
	log_info(a->log, "Columns of %.*s have changed", SLICE_ARG(table_display(a, &described->relation)));
	binding_unref(t->binding);
	t->binding = b;
	t->describe_again = newer;
	if (t->phase == TABLE_READING) {
		buf_clear(&t->next_key);
		t->rows_read = 0;
	}
	if (table_logs(t)) {
		touch_log_add_all(&t->log, a->xid);
		table_cancel_job(t);
		t->retry_at_ms = 0;
	}
	return true;
}

/* The catalogue knows the key to read by; what is decoded from here on has the columns of the message, which may be older. */
static bool describe_as(struct attempt *a, const struct source_relation *relation, struct source_table *out, bool *newer, struct error *err)
{
	bool found;
	if (!source_describe(a->connection, relation->oid, &a->arena, out, &found, err))
		return false;
	*newer = !found || !relation_same_columns(&out->relation, relation);
	if (!found)
		*out = (struct source_table){.estimated_rows = -1};
	if (*newer)
		out->relation = *relation;
	return true;
}

bool tables_relation(struct attempt *a, const struct source_relation *relation, struct error *err)
{
	bool known, newer;
	struct source_table described;
	struct table_state *t = tables_find(a, relation->oid, &known);
	if (!plans_use(a, relation)) {
		if (t && !tables_drop(a, t, err))
			return false;
		remember(a, relation->oid, NULL);
		return true;
	}
	if (t && binding_fits(t->binding, relation))
		return true;
	if (!describe_as(a, relation, &described, &newer, err))
		return false;
	if (t && relation_same_key(&t->binding->table.relation, relation) && slice_eq(t->binding->table.relation.schema, relation->schema) &&
	    slice_eq(t->binding->table.relation.name, relation->name))
		return change_columns(a, t, &described, newer, err);
	/* Another identity, another oid under the name, or a name that the plans read now: a new record, read from the start. */
	if (!add_table(a, &described, &t, err))
		return false;
	t->describe_again = newer;
	remember(a, relation->oid, t);
	return true;
}

bool tables_rebind(struct attempt *a, struct error *err)
{
	plans_load(a);
	for (struct table_state *t = a->tables; t; t = t->next) {
		struct binding *b = binding_new(&a->plans, a->r->options.connection_tag, &t->binding->table, t->binding->number, a->connection,
		                                a->log, err);
		if (!b)
			return false;
		table_cancel_job(t);
		binding_unref(t->binding);
		t->binding = b;
	}
	return true;
}

bool tables_withhold_checkpoints(const struct attempt *a)
{
	if (!a->has_active)
		return false;
	for (const struct table_state *t = a->tables; t; t = t->next) {
		const struct source_relation *r = &t->binding->table.relation;
		if (t->never_complete && table_logs(t) &&
		    plan_uses_table(a->plans.plans[0]->plan, slice_cstr(a->r->options.connection_tag), r->schema, r->name))
			return true;
	}
	return false;
}
