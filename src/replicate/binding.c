/* binding.c: see binding.h. */
#include "replicate/binding.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/alloc.h"

#define ROW_LIMIT (15u * 1024 * 1024)

void source_relation_copy(struct arena *arena, const struct source_relation *from, struct source_relation *to)
{
	*to = *from;
	to->schema = arena_copy(arena, from->schema);
	to->name = arena_copy(arena, from->name);
	struct source_column *columns = arena_array(arena, struct source_column, from->column_count);
	for (size_t i = 0; i < from->column_count; i++) {
		columns[i] = from->columns[i];
		columns[i].name = arena_copy(arena, from->columns[i].name);
	}
	to->columns = columns;
}

static void table_copy(struct arena *arena, const struct source_table *from, struct source_table *to)
{
	*to = *from;
	source_relation_copy(arena, &from->relation, &to->relation);
	struct slice *key = arena_array(arena, struct slice, from->order_key_count);
	for (size_t i = 0; i < from->order_key_count; i++)
		key[i] = arena_copy(arena, from->order_key[i]);
	to->order_key = key;
}

static struct mapping_options mapping_of(const struct plan_options *o)
{
	return (struct mapping_options){
	        .timestamps_iso8601 = o->timestamps_iso8601,
	        .custom_postgres_types = o->custom_postgres_types,
	        .timestamp_digits = o->timestamp_digits,
	};
}

static bool mapping_same(struct mapping_options a, struct mapping_options b)
{
	return a.timestamps_iso8601 == b.timestamps_iso8601 && a.custom_postgres_types == b.custom_postgres_types &&
	       a.timestamp_digits == b.timestamp_digits;
}

/* Definitions that a former part writes already get number 0 here. */
static uint32_t *part_numbers(struct binding *b, const struct stored_plan *plan)
{
	uint32_t *numbers = arena_array(&b->arena, uint32_t, plan->count);
	for (size_t i = 0; i < plan->count; i++) {
		numbers[i] = plan->definitions[i].number;
		for (size_t p = 0; p < b->part_count; p++)
			for (size_t j = 0; j < b->parts[p].plan->count; j++)
				if (b->parts[p].plan->definitions[j].number == numbers[i]) {
					numbers[i] = 0;
					goto next;
				}
	next:;
	}
	return numbers;
}

/* Is there a definition of the table that no former part writes? */
static bool writes_something(const struct binding *b, const struct binding_part *part, struct slice tag)
{
	const struct source_relation *r = &b->table.relation;
	for (uint32_t i = 0; i < part->plan->count; i++) {
		const struct definition *d = plan_definition(part->plan->plan, i);
		for (size_t p = 0; part->numbers[i] && p < d->pattern_count; p++)
			if (table_pattern_matches(plan_pattern(part->plan->plan, d->patterns[p]), tag, r->schema, r->name))
				return true;
	}
	return false;
}

static bool add_part(struct binding *b, struct stored_plan *plan, const char *tag, struct source_connection *c, struct error *err)
{
	const struct source_relation *r = &b->table.relation;
	struct slice *names = arena_array(&b->arena, struct slice, r->column_count);
	for (size_t i = 0; i < r->column_count; i++)
		names[i] = r->columns[i].name;
	b->names = names;
	struct relation_columns columns = {slice_cstr(tag), r->schema, r->name, names, r->column_count};
	struct mapping_options options = mapping_of(plan_options(plan->plan));
	struct binding_part part = {.plan = stored_plan_ref(plan), .bound = plan_bind(plan->plan, &columns)};

	for (size_t p = 0; p < b->part_count && part.bound; p++)
		if (b->parts[p].mapper && mapping_same(options, mapping_of(plan_options(b->parts[p].plan->plan))))
			part.mapper = b->parts[p].mapper;
	part.numbers = part_numbers(b, plan);
	if (part.bound && !part.mapper) {
		part.mapper = value_mapper_new(c, r, &options, err);
		part.owns_mapper = true;
	}
	if (part.bound && plan_write_checkpoints_from(plan->plan, columns.connection_tag, r->schema, r->name))
		part.events = plan->events;
	for (size_t p = 0; p < b->part_count; p++)
		if (b->parts[p].events == part.events)
			part.events = 0;
	b->brings_checkpoints |= part.events != 0;
	/* Of a plan that changes nothing for this table no row needs to be evaluated twice. */
	if (part.bound && b->part_count && !part.events && !writes_something(b, &part, columns.connection_tag)) {
		bound_table_free(part.bound);
		part.bound = NULL;
	}
	b->only_events &= !part.bound || bound_only_events(part.bound);
	b->parts[b->part_count++] = part;
	return !part.bound || part.mapper;
}

struct binding *binding_new(const struct maintained_plans *plans, const char *connection_tag, const struct source_table *table,
                            uint32_t number, struct source_connection *c, const struct log *log, struct error *err)
{
	struct binding *b = xcalloc(1, sizeof(*b));
	atomic_init(&b->references, 1);
	table_copy(&b->arena, table, &b->table);
	b->number = number;
	b->epoch = plans->epoch;
	b->replica_ids = plans->replica_ids;
	b->row_values = plans->row_values;
	b->keyless = true;
	for (size_t i = 0; i < table->relation.column_count; i++)
		b->keyless &= !table->relation.columns[i].in_key;
	b->sends_complete_rows = b->keyless || table->relation.replica_identity == 'f';
	b->row_values &= !b->sends_complete_rows;
	b->only_events = true;
	b->log = log;
	for (size_t i = 0; i < plans->count; i++)
		if (!add_part(b, plans->plans[i], connection_tag, c, err)) {
			binding_unref(b);
			return NULL;
		}
	return b;
}

struct binding *binding_ref(struct binding *b)
{
	atomic_fetch_add_explicit(&b->references, 1, memory_order_relaxed);
	return b;
}

void binding_unref(struct binding *b)
{
	if (!b || atomic_fetch_sub_explicit(&b->references, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < b->part_count; i++) {
		bound_table_free(b->parts[i].bound);
		if (b->parts[i].owns_mapper)
			value_mapper_free(b->parts[i].mapper);
		stored_plan_unref(b->parts[i].plan);
	}
	arena_free(&b->arena);
	free(b);
}

bool relation_same_key(const struct source_relation *a, const struct source_relation *b)
{
	size_t i = 0, j = 0;
	for (;; i++, j++) {
		while (i < a->column_count && !a->columns[i].in_key)
			i++;
		while (j < b->column_count && !b->columns[j].in_key)
			j++;
		if (i == a->column_count || j == b->column_count)
			return i == a->column_count && j == b->column_count;
		if (!slice_eq(a->columns[i].name, b->columns[j].name) || a->columns[i].type_oid != b->columns[j].type_oid)
			return false;
	}
}

bool relation_same_columns(const struct source_relation *a, const struct source_relation *b)
{
	if (a->column_count != b->column_count)
		return false;
	for (size_t i = 0; i < a->column_count; i++)
		if (!slice_eq(a->columns[i].name, b->columns[i].name) || a->columns[i].type_oid != b->columns[i].type_oid ||
		    a->columns[i].type_modifier != b->columns[i].type_modifier || a->columns[i].in_key != b->columns[i].in_key)
			return false;
	return true;
}

bool binding_fits(const struct binding *b, const struct source_relation *r)
{
	const struct source_relation *own = &b->table.relation;
	return own->oid == r->oid && slice_eq(own->schema, r->schema) && slice_eq(own->name, r->name) &&
	       relation_same_columns(own, r);
}

bool row_too_large(const struct source_relation *r, const struct raw_value *row)
{
	size_t total = 0;
	for (size_t i = 0; i < r->column_count; i++)
		if (row[i].kind == RAW_TEXT)
			total += row[i].text.n;
		else if (row[i].kind == RAW_VALUE)
			total += raw_mapped(&row[i]).s.n;
	return total > ROW_LIMIT;
}

const struct value_mapper *binding_mapper(const struct binding *b)
{
	for (size_t p = 0; p < b->part_count; p++)
		if (b->parts[p].mapper)
			return b->parts[p].mapper;
	return NULL;
}

/* While two plans map values differently (a deploy on a shared store): the one that came second. */
static const struct binding_part *other_part(const struct binding *b)
{
	const struct value_mapper *first = binding_mapper(b);
	for (size_t p = 0; p < b->part_count; p++)
		if (b->parts[p].mapper && b->parts[p].mapper != first)
			return &b->parts[p];
	return NULL;
}

bool binding_maps_twice(const struct binding *b)
{
	return other_part(b) != NULL;
}

/* The key columns alone are mapped. */
static bool replica_id(const struct binding *b, const struct value_mapper *mapper, const struct raw_value *row,
                       struct arena *arena, uint8_t uuid[16])
{
	const struct source_relation *r = &b->table.relation;
	struct error err;
	size_t count = 0;
	if (!mapper)
		return false;
	struct raw_value *key = arena_array(arena, struct raw_value, r->column_count);
	struct value *values = arena_array(arena, struct value, r->column_count);
	struct slice *names = arena_array(arena, struct slice, r->column_count);
	for (size_t i = 0; i < r->column_count; i++)
		key[i] = r->columns[i].in_key ? row[i] : (struct raw_value){.kind = RAW_UNCHANGED};
	if (!value_mapper_row(mapper, key, arena, values, &err))
		return false;
	for (size_t i = 0; i < r->column_count; i++) {
		if (!r->columns[i].in_key)
			continue;
		names[count] = r->columns[i].name;
		values[count++] = values[i];
	}
	storage_replica_id(names, values, count, uuid);
	return true;
}

void binding_row_key(const struct binding *b, const struct raw_value *row, struct arena *arena, struct row_key *key)
{
	uint8_t uuid[16];
	source_row_key(&b->table.relation, row, arena, &key->bytes, key->uuid);
	key->other = NULL;
	if (!b->replica_ids || !replica_id(b, binding_mapper(b), row, arena, uuid))
		return;
	memcpy(key->uuid, uuid, sizeof(uuid));
	const struct binding_part *second = other_part(b);
	if (!second || !replica_id(b, second->mapper, row, arena, uuid) || memcmp(uuid, key->uuid, sizeof(uuid)) == 0)
		return;
	struct other_row_id *other = arena_array(arena, struct other_row_id, 1);
	other->plan = second->plan->id;
	memcpy(other->uuid, uuid, sizeof(uuid));
	key->other = other;
}

/* The first faults of a table are logged, then every thousandth: a broken expression fails for each row. */
static void log_fault(struct binding *b, struct slice definition, struct slice message)
{
	uint64_t n = atomic_fetch_add_explicit(&b->faults, 1, memory_order_relaxed) + 1;
	if (n > 10 && n % 1000)
		return;
	log_error(b->log, "Failed to evaluate %.*s on table %.*s (failure %llu): %.*s", SLICE_ARG(definition),
	          SLICE_ARG(b->table.relation.name), (unsigned long long)n, SLICE_ARG(message));
}

static bool same_output(const struct put_entry *a, const struct put_entry *b)
{
	return a->data.p == b->data.p && a->data.n == b->data.n && slice_eq(a->object_id, b->object_id) &&
	       slice_eq(a->object_type, b->object_type);
}

static void add_entries(struct binding_part *part, const struct evaluation *e, struct put_entry *puts, size_t *put_count,
                        struct lookup_entry *lookups, size_t *lookup_count)
{
	for (size_t i = 0; i < e->entry_count; i++) {
		const struct row_entry *entry = &e->entries[i];
		uint32_t number = part->numbers[entry->definition];
		if (!number)
			continue;
		struct put_entry *put = &puts[*put_count];
		*put = (struct put_entry){.definition = number,
		                          .keys = entry->keys,
		                          .object_type = entry->object_type,
		                          .object_id = entry->object_id,
		                          .data = entry->data};
		if (*put_count && same_output(put, put - 1))
			memcpy(put->digest, put[-1].digest, sizeof(put->digest));
		else
			put_entry_digest(put);
		++*put_count;
	}
	for (size_t i = 0; i < e->lookup_count; i++) {
		uint32_t number = part->numbers[e->lookups[i].definition];
		if (number)
			lookups[(*lookup_count)++] = (struct lookup_entry){number, e->lookups[i].key, e->lookups[i].results};
	}
}

/* As the first part of a plan maps them. */
void binding_values(struct binding *b, const struct raw_value *row, struct arena *arena, struct row_contributions *out)
{
	struct value *values = arena_array(arena, struct value, b->table.relation.column_count);
	struct error err;
	const struct value_mapper *mapper = binding_mapper(b);
	if (!mapper || b->sends_complete_rows)
		return;
	if (!value_mapper_row(mapper, row, arena, values, &err)) {
		log_fault(b, SLICE("(values)"), slice_cstr(err.message));
		return;
	}
	out->names = b->names;
	out->values = values;
	out->value_count = b->table.relation.column_count;
	const struct binding_part *second = other_part(b);
	values = second ? arena_array(arena, struct value, b->table.relation.column_count) : NULL;
	if (values && value_mapper_row(second->mapper, row, arena, values, &err)) {
		out->other_values = values;
		out->other_plan = second->plan->id;
	}
}

void binding_evaluate(struct binding *b, const struct raw_value *row, struct arena *arena, struct row_contributions *out)
{
	const struct source_relation *r = &b->table.relation;
	struct evaluation results[MAX_PLANS] = {0};
	struct value *values = NULL;
	struct value_mapper *mapped_by = NULL;
	size_t puts = 0, lookups = 0;
	struct error err;

	*out = (struct row_contributions){0};
	for (size_t p = 0; p < b->part_count; p++) {
		struct binding_part *part = &b->parts[p];
		if (!part->bound)
			continue;
		if (mapped_by != part->mapper) {
			values = arena_array(arena, struct value, r->column_count);
			mapped_by = part->mapper;
			if (!value_mapper_row(part->mapper, row, arena, values, &err)) {
				log_fault(b, SLICE("(values)"), slice_cstr(err.message));
				mapped_by = NULL;
				continue;
			}
		}
		if (b->row_values && !out->value_count) {
			out->names = b->names;
			out->values = values;
			out->value_count = r->column_count;
		} else if (b->row_values && b->replica_ids && values != out->values && !out->other_values) {
			out->other_values = values;
			out->other_plan = part->plan->id;
		}
		bound_evaluate(part->bound, values, arena, &results[p]);
		for (size_t i = 0; i < results[p].fault_count; i++)
			log_fault(b, plan_definition(part->plan->plan, results[p].faults[i].definition)->name,
			          results[p].faults[i].message);
		puts += results[p].entry_count;
		lookups += results[p].lookup_count;
	}
	struct put_entry *put_array = puts ? arena_array(arena, struct put_entry, puts) : NULL;
	struct lookup_entry *lookup_array = lookups ? arena_array(arena, struct lookup_entry, lookups) : NULL;
	for (size_t p = 0; p < b->part_count; p++)
		add_entries(&b->parts[p], &results[p], put_array, &out->put_count, lookup_array, &out->lookup_count);
	out->puts = put_array;
	out->lookups = lookup_array;
}

/* Entries in a row often share their texts. */
static struct slice copy_shared(struct slice text, struct slice before, struct slice before_copied, struct arena *arena)
{
	return text.p == before.p && text.n == before.n ? before_copied : arena_copy(arena, text);
}

static const struct value *copy_values(const struct value *from, size_t count, const struct raw_value *row, struct arena *arena)
{
	struct value *values = arena_array(arena, struct value, count);
	for (size_t i = 0; i < count; i++) {
		values[i] = from[i];
		if ((values[i].kind == VALUE_TEXT || values[i].kind == VALUE_BLOB) && values[i].s.p != row[i].text.p)
			values[i].s = arena_copy(arena, values[i].s);
	}
	return values;
}

void contributions_copy(const struct row_contributions *from, const struct raw_value *row, struct arena *arena,
                        struct row_contributions *to)
{
	struct put_entry *puts = from->put_count ? arena_array(arena, struct put_entry, from->put_count) : NULL;
	struct lookup_entry *lookups = from->lookup_count ? arena_array(arena, struct lookup_entry, from->lookup_count) : NULL;
	const struct put_entry none = {0};
	*to = *from;
	to->puts = puts;
	to->lookups = lookups;
	for (size_t i = 0; i < from->put_count; i++) {
		const struct put_entry *a = &from->puts[i], *before = i ? a - 1 : &none, *copied = i ? &puts[i - 1] : &none;
		puts[i] = *a;
		puts[i].keys = copy_shared(a->keys, before->keys, copied->keys, arena);
		puts[i].object_id = copy_shared(a->object_id, before->object_id, copied->object_id, arena);
		puts[i].data = copy_shared(a->data, before->data, copied->data, arena);
	}
	for (size_t i = 0; i < from->lookup_count; i++) {
		const struct lookup_entry *a = &from->lookups[i];
		lookups[i] = (struct lookup_entry){a->definition, arena_copy(arena, a->key), arena_copy(arena, a->results)};
	}
	if (from->value_count)
		to->values = copy_values(from->values, from->value_count, row, arena);
	if (from->other_values)
		to->other_values = copy_values(from->other_values, from->value_count, row, arena);
}

size_t binding_checkpoints(struct binding *b, const struct raw_value *row, struct arena *arena,
                           struct row_event_checkpoint out[MAX_EVENT_CHECKPOINTS])
{
	size_t count = 0;
	struct error err;
	for (size_t p = 0; p < b->part_count; p++) {
		const struct binding_part *part = &b->parts[p];
		struct row_write_checkpoint made[MAX_ROW_CHECKPOINTS];
		if (!part->events)
			continue;
		struct value *values = arena_array(arena, struct value, b->table.relation.column_count);
		if (!value_mapper_row(part->mapper, row, arena, values, &err)) {
			log_fault(b, SLICE("(values)"), slice_cstr(err.message));
			continue;
		}
		size_t n = bound_write_checkpoints(part->bound, values, arena, made);
		for (size_t i = 0; i < n; i++)
			out[count++] = (struct row_event_checkpoint){part->events, made[i]};
	}
	return count;
}
