/* explain_row.c: reads one row from the source as it is now, and says which definitions put it where, and why others do not. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/explain.h"
#include "cli/wiring.h"
#include "rules/explain.h"
#include "source/source.h"

#define MAX_KEY_PARTS 16

struct row_reading {
	struct arena *arena;
	const struct stored_plan *plan;
	struct slice schema, table, id;
	struct source_connection *c;
	struct source_table *source_table;
	struct value *row; /* by column; NULL: there is no such row */
	struct error *err;
};

/* "schema.table:id"; the schema is public when it is not given. */
static bool split(struct row_reading *r, const char *text)
{
	const char *colon = strchr(text, ':');
	if (!colon || colon == text)
		return error_set(r->err, "", "--row must be TABLE:ID or SCHEMA.TABLE:ID");
	r->table = slice_make(text, (size_t)(colon - text));
	r->schema = SLICE("public");
	r->id = slice_cstr(colon + 1);
	const char *dot = memchr(r->table.p, '.', r->table.n);
	if (dot) {
		r->schema = slice_make(text, (size_t)(dot - text));
		r->table = slice_make(dot + 1, (size_t)(colon - dot) - 1);
	}
	return true;
}

static bool find_table(struct row_reading *r)
{
	struct source_pattern pattern = {.schema = r->schema, .table = r->table};
	size_t count;
	if (!source_discover(r->c, &pattern, 1, r->arena, &r->source_table, &count, r->err))
		return false;
	if (!count)
		return error_set(r->err, "", "the source has no table \"%.*s\".\"%.*s\" in its publication", SLICE_ARG(r->schema),
		                 SLICE_ARG(r->table));
	return true;
}

/* The raw key: the id, or as many parts between commas as the key has columns. */
static bool make_key(struct row_reading *r, struct raw_value *key, size_t *count)
{
	const struct source_relation *rel = &r->source_table->relation;
	struct slice rest = r->id;
	size_t columns = 0;
	for (size_t i = 0; i < rel->column_count; i++)
		columns += rel->columns[i].in_key;
	if (!columns || columns > MAX_KEY_PARTS || rel->replica_identity == 'f')
		return error_set(r->err, "", "the table has no key to find one row by");
	for (*count = 0; *count < columns; (*count)++) {
		const char *comma = *count + 1 < columns ? memchr(rest.p, ',', rest.n) : NULL;
		if (*count + 1 < columns && !comma)
			return error_set(r->err, "",
			                 "the key of the table has %zu columns: give as many values, separated by commas",
			                 columns);
		key[*count] = (struct raw_value){RAW_TEXT, comma ? slice_make(rest.p, (size_t)(comma - rest.p)) : rest};
		rest = comma ? slice_drop(rest, (size_t)(comma - rest.p) + 1) : rest;
	}
	return true;
}

static bool map_row(struct row_reading *r, const struct raw_value *raw)
{
	const struct plan_options *o = plan_options(r->plan->plan);
	struct mapping_options options = {o->timestamps_iso8601, o->custom_postgres_types, o->timestamp_digits};
	struct value_mapper *m = value_mapper_new(r->c, &r->source_table->relation, &options, r->err);
	if (!m)
		return false;
	r->row = arena_array(r->arena, struct value, r->source_table->relation.column_count + 1);
	bool ok = value_mapper_row(m, raw, r->arena, r->row, r->err);
	value_mapper_free(m);
	return ok;
}

static bool read_row(struct row_reading *r)
{
	struct raw_value key[MAX_KEY_PARTS];
	size_t parts;
	struct source_chunk chunk;
	if (!find_table(r) || !make_key(r, key, &parts))
		return false;
	struct chunk_request request = {
	        .table = r->source_table, .max_rows = 1, .max_bytes = (size_t)64 << 20, .keys = key, .key_count = 1};
	if (!source_read_chunk(r->c, &request, r->arena, &chunk, r->err))
		return false;
	if (chunk.outcome != CHUNK_ROWS)
		return error_set(r->err, "", "the table is being changed; try again");
	return !chunk.row_count || map_row(r, chunk.rows);
}

/* ---- the answer ----------------------------------------------------------------------------------------------------------------- */

static void add_outputs(const struct row_reading *r, const struct evaluation *e, uint32_t definition, json_t *out)
{
	json_t *buckets = json_array(), *lookups = json_array();
	for (size_t i = 0; i < e->entry_count; i++) {
		if (e->entries[i].definition != definition)
			continue;
		json_t *data = json_loadb(e->entries[i].data.p, e->entries[i].data.n, JSON_DECODE_ANY, NULL);
		json_array_append_new(buckets,
		                      json_pack("{s:o,s:o,s:o,s:o}", "bucket",
		                                json_text(explain_bucket_name(r->plan, definition, e->entries[i].keys, r->arena)),
		                                "type", json_text(e->entries[i].object_type), "id",
		                                json_text(e->entries[i].object_id), "data", data ? data : json_null()));
	}
	for (size_t i = 0; i < e->lookup_count; i++)
		if (e->lookups[i].definition == definition)
			json_array_append_new(lookups, json_pack("{s:o,s:o}", "key", json_text(e->lookups[i].key), "results",
			                                         json_text(e->lookups[i].results)));
	if (json_array_size(buckets))
		json_object_set(out, "buckets", buckets);
	if (json_array_size(lookups))
		json_object_set(out, "lookups", lookups);
	json_decref(buckets);
	json_decref(lookups);
	for (size_t i = 0; i < e->fault_count; i++)
		if (e->faults[i].definition == definition)
			json_object_set_new(out, "fault", json_text(e->faults[i].message));
}

static json_t *verdict_object(const struct row_reading *r, const struct row_verdict *v)
{
	const struct definition *d = plan_definition(r->plan->plan, v->definition);
	json_t *o = json_pack("{s:o,s:s,s:o,s:b}", "definition", json_text(d->name), "kind",
	                      d->kind == DEFINITION_BUCKETS ? "buckets" : "lookup", "query", json_text(v->query), "passes",
	                      v->passes);
	if (!v->passes)
		json_object_set_new(o, "reason", json_text(v->reason));
	return o;
}

/* Names of columns as bind wants them; a row with every value known. */
static json_t *answer(const struct row_reading *r, const char *tag)
{
	const struct source_relation *rel = &r->source_table->relation;
	json_t *definitions = json_array();
	struct slice *names = arena_array(r->arena, struct slice, rel->column_count + 1);
	for (size_t i = 0; i < rel->column_count; i++)
		names[i] = rel->columns[i].name;
	struct relation_columns columns = {slice_cstr(tag), rel->schema, rel->name, names, rel->column_count};
	struct bound_table *b = r->row ? plan_bind(r->plan->plan, &columns) : NULL;
	if (b) {
		struct evaluation e;
		struct row_verdict *verdicts;
		size_t count;
		bound_evaluate(b, r->row, r->arena, &e);
		bound_explain(b, r->row, r->arena, &verdicts, &count);
		for (size_t i = 0; i < count; i++) {
			json_t *o = verdict_object(r, &verdicts[i]);
			if (verdicts[i].passes)
				add_outputs(r, &e, verdicts[i].definition, o);
			json_array_append_new(definitions, o);
		}
		bound_table_free(b);
	}
	struct buf table = {0};
	buf_printf(&table, "%.*s.%.*s", SLICE_ARG(rel->schema), SLICE_ARG(rel->name));
	json_t *out = json_pack("{s:o,s:o,s:b,s:o}", "table", json_text(buf_slice(&table)), "id", json_text(r->id), "found",
	                        r->row != NULL, "definitions", definitions);
	buf_free(&table);
	return out;
}

json_t *explain_row(const struct config *config, const struct stored_plan *p, const char *text, struct arena *arena,
                    struct error *err)
{
	struct log log = {.level = LOG_ERROR, .fd = STDERR_FILENO};
	struct row_reading r = {.arena = arena, .plan = p, .err = err};
	json_t *out = NULL;
	if (!config->has_source) {
		error_set(err, "", "the configuration names no source database (replication.connections)");
		return NULL;
	}
	if (!split(&r, text))
		return NULL;
	struct source_config sc = wiring_source_config(config);
	struct source *source = source_new(&sc, &log);
	r.c = source_connect(source, err);
	if (r.c && read_row(&r))
		out = answer(&r, sc.tag);
	source_disconnect(r.c);
	source_free(source);
	return out;
}
