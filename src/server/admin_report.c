/* admin_report.c: a sync config held against the source: its tables, and everything that is wrong (http-api-and-operations 4.1, 4.7). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "server/admin.h"
#include "server/state.h"

#define QUIET_WARNING_S 300
#define QUIET_FATAL_S 900

void admin_source_open(struct admin_source *a, struct server *s, struct arena *arena)
{
	struct source *source = s->options.admin ? s->options.admin->source : NULL;
	*a = (struct admin_source){.arena = arena, .err = {.code = ""}};
	a->connection = source ? source_connect(source, &a->err) : NULL;
	if (a->connection && !source_facts(a->connection, arena, &a->facts, &a->err))
		admin_source_close(a);
}

void admin_source_close(struct admin_source *a)
{
	source_disconnect(a->connection);
	a->connection = NULL;
}

/* ---- errors ----------------------------------------------------------------------------------------------------------------------- */

/* Exact duplicates are left out (4.1). */
static void add_error(json_t *errors, json_t *error)
{
	size_t i;
	json_t *other;
	json_array_foreach(errors, i, other)
	{
		if (json_equal(other, error)) {
			json_decref(error);
			return;
		}
	}
	json_array_append_new(errors, error);
}

static json_t *error_object(bool fatal, struct slice message)
{
	return json_pack("{s:s,s:o}", "level", fatal ? "fatal" : "warning", "message", json_text(message));
}

static json_t *error_now(bool fatal, const char *message)
{
	char when[CLOCK_ISO_SIZE];
	json_t *e = error_object(fatal, slice_cstr(message));
	clock_iso(clock_wall_ms(), when);
	json_object_set_new(e, "ts", json_string(when));
	return e;
}

static void add_diagnostics(json_t *errors, const struct diagnostics *d)
{
	for (size_t i = 0; i < d->count; i++) {
		json_t *e = error_object(d->items[i].level == DIAGNOSTIC_FATAL, d->items[i].message);
		json_object_set_new(e, "location",
		                    json_pack("{s:I,s:I}", "start_offset", (json_int_t)d->items[i].start, "end_offset",
		                              (json_int_t)d->items[i].end));
		add_error(errors, e);
	}
}

/* ---- tables ----------------------------------------------------------------------------------------------------------------------- */

/* Which kinds of definition read the pattern? */
static void pattern_uses(const struct plan *p, uint32_t pattern, bool *data, bool *parameters)
{
	*data = *parameters = false;
	for (size_t i = 0; i < plan_definition_count(p); i++) {
		const struct definition *d = plan_definition(p, (uint32_t)i);
		for (size_t j = 0; j < d->pattern_count; j++)
			if (d->patterns[j] == pattern)
				*(d->kind == DEFINITION_BUCKETS ? data : parameters) = true;
	}
}

static struct slice pattern_text(struct slice name, bool wildcard, struct arena *arena)
{
	return wildcard ? arena_printf(arena, "%.*s%%", SLICE_ARG(name)) : name;
}

static json_t *table_object(const struct plan *plan, uint32_t index, struct slice schema, struct slice name, struct arena *arena)
{
	const struct table_pattern *p = plan_pattern(plan, index);
	bool data, parameters;
	pattern_uses(plan, index, &data, &parameters);
	json_t *t = json_pack("{s:o,s:o}", "schema", json_text(schema), "name", json_text(name));
	if (p->table_wildcard)
		json_object_set_new(t, "pattern", json_text(pattern_text(p->table, true, arena)));
	json_object_set_new(t, "replication_id", json_array());
	json_object_set_new(t, "data_queries", json_boolean(data));
	json_object_set_new(t, "parameter_queries", json_boolean(parameters));
	json_object_set_new(t, "errors", json_array());
	return t;
}

static struct source_pattern source_pattern_of(const struct table_pattern *p)
{
	return (struct source_pattern){p->schema, p->table, p->schema_wildcard, p->table_wildcard};
}

/* The tables of one pattern. False: the query failed. */
static bool pattern_tables(struct admin_source *a, const struct plan *plan, uint32_t index, json_t **out, struct error *err)
{
	const struct table_pattern *p = plan_pattern(plan, index);
	struct source_pattern sp = source_pattern_of(p);
	struct inspected_table *tables = NULL;
	size_t count = 0;
	if (a->connection && !source_inspect(a->connection, &sp, a->arena, &tables, &count, err))
		return false;
	*out = json_array();
	for (size_t i = 0; i < count; i++) {
		json_t *t = table_object(plan, index, tables[i].schema, tables[i].name, a->arena);
		struct table_problem problems[MAX_TABLE_PROBLEMS];
		size_t n = inspected_table_problems(&tables[i], a->facts.user, a->arena, problems);
		for (size_t k = 0; k < tables[i].key_count; k++)
			json_array_append_new(json_object_get(t, "replication_id"), json_text(tables[i].key[k]));
		for (size_t k = 0; k < n; k++)
			add_error(json_object_get(t, "errors"), error_object(problems[k].fatal, problems[k].message));
		json_array_append_new(*out, t);
	}
	if (count || (a->connection && p->table_wildcard))
		return true;
	json_t *t = table_object(plan, index, pattern_text(p->schema, p->schema_wildcard, a->arena),
	                         pattern_text(p->table, p->table_wildcard, a->arena), a->arena);
	add_error(json_object_get(t, "errors"), a->connection ? error_object(false, source_pattern_missing(&sp, a->arena))
	                                                      : error_object(true, SLICE("connection failed")));
	json_array_append_new(*out, t);
	return true;
}

/* Compiles against the schema when it is known, so that unknown tables and columns are warned of. NULL with *ok false: a query failed. */
static struct plan *compile(struct server *s, struct admin_source *a, struct slice text, struct diagnostics *d, bool *ok,
                            struct error *err)
{
	struct schema_table *tables;
	size_t count;
	*ok = true;
	if (!a->connection)
		return plan_compile(text, SLICE("public"), d);
	if (!source_schema(a->connection, a->arena, &tables, &count, err)) {
		*ok = false;
		return NULL;
	}
	struct known_table *known = arena_array(a->arena, struct known_table, count + 1);
	for (size_t i = 0; i < count; i++) {
		struct slice *names = arena_array(a->arena, struct slice, tables[i].column_count + 1);
		for (size_t j = 0; j < tables[i].column_count; j++)
			names[j] = tables[i].columns[j].name;
		known[i] = (struct known_table){slice_cstr(s->options.admin->connection_tag), tables[i].schema, tables[i].name,
		                                names, tables[i].column_count};
	}
	return plan_compile_known(text, SLICE("public"), known, count, d);
}

/* ---- the stream ------------------------------------------------------------------------------------------------------------------- */

static void set_time(json_t *o, const char *name, int64_t wall_ms)
{
	char when[CLOCK_ISO_SIZE];
	if (!wall_ms)
		return;
	clock_iso(wall_ms, when);
	json_object_set_new(o, name, json_string(when));
}

/* 4.1: the budget of a server that limits what slots may hold back. */
static void add_slot(struct admin_source *a, const char *slot, json_t *connection, json_t *errors)
{
	struct source_slot f;
	struct error ignored;
	if (!a->connection || !*slot || !source_slot_facts(a->connection, slot, a->arena, &f, &ignored) || !f.found)
		return;
	if (f.confirmed_lsn)
		json_object_set_new(connection, "replication_lag_bytes",
		                    json_integer((json_int_t)(f.current_lsn - f.confirmed_lsn)));
	if (f.wal_status.n)
		json_object_set_new(connection, "wal_status", json_text(f.wal_status));
	int64_t most = a->facts.max_slot_wal_keep_bytes;
	if (most < 0 || !f.has_safe_size)
		return;
	json_object_set_new(connection, "safe_wal_size", json_integer(f.safe_size));
	json_object_set_new(connection, "max_slot_wal_keep_size", json_integer(most));
	double left = most ? fmax(0, round(100.0 * (double)f.safe_size / (double)most)) : 0;
	if (slice_eq(f.wal_status, SLICE("lost")) || left > 50)
		return;
	char text[200];
	snprintf(text, sizeof(text),
	         "WAL budget is low: %.0f%% remaining. Raise max_slot_wal_keep_size on the server, or find out why replication "
	         "is behind.",
	         left);
	add_error(errors, error_object(false, slice_cstr(text)));
}

static void add_lag(const struct server_replication *r, bool has_checkpoint, json_t *errors)
{
	char text[100];
	int64_t quiet = r->keepalive_at_ms ? (clock_wall_ms() - r->keepalive_at_ms) / 1000 : 0;
	if (!has_checkpoint && !r->keepalive_at_ms)
		add_error(errors, error_object(false, SLICE("No checkpoint found, cannot calculate replication lag")));
	if (quiet <= QUIET_WARNING_S)
		return;
	snprintf(text, sizeof(text), "No replicated commit in more than %ds",
	         quiet > QUIET_FATAL_S ? QUIET_FATAL_S : QUIET_WARNING_S);
	add_error(errors, error_object(quiet > QUIET_FATAL_S, slice_cstr(text)));
}

/* *Syncline*: how far reading the table is; nothing once it is read. */
static void add_snapshot(json_t *tables, const struct server_table *t)
{
	size_t i;
	json_t *table;
	json_array_foreach(tables, i, table)
	{
		if (!slice_eq(slice_cstr(json_string_value(json_object_get(table, "schema"))), t->schema) ||
		    !slice_eq(slice_cstr(json_string_value(json_object_get(table, "name"))), t->name))
			continue;
		json_t *o = json_pack("{s:I}", "rows", (json_int_t)t->rows_read);
		if (t->rows_estimated >= 0)
			json_object_set_new(o, "estimated_rows", json_integer((json_int_t)t->rows_estimated));
		if (t->rows_estimated > 0)
			json_object_set_new(
			        o, "percent",
			        json_integer((json_int_t)fmin(100, floor(100 * (double)t->rows_read / t->rows_estimated))));
		if (t->eta_s >= 0)
			json_object_set_new(o, "eta_seconds", json_integer((json_int_t)ceil(t->eta_s)));
		if (*t->error)
			json_object_set_new(o, "error", json_text(slice_cstr(t->error)));
		json_object_set_new(table, "snapshot", o);
	}
}

static void add_snapshots(struct server *s, struct arena *arena, json_t *tables)
{
	const struct server_admin *admin = s->options.admin;
	struct server_table *list;
	size_t count;
	if (!admin || !admin->tables)
		return;
	admin->tables(admin->ctx, arena, &list, &count);
	for (size_t i = 0; i < count; i++)
		add_snapshot(tables, &list[i]);
}

static json_t *stream_object(struct server *s, struct admin_source *a, enum report_stage stage,
                             const struct server_replication *r, json_t *errors)
{
	struct source_state state = {0};
	struct error ignored;
	struct checkpoint c = storage_checkpoint(s->options.storage);
	if (stage != REPORT_PROPOSED)
		storage_source_state(s->options.storage, &state, &ignored);
	json_t *o = json_pack("{s:s,s:s,s:s,s:b}", "id", s->options.admin->connection_id, "tag", s->options.admin->connection_tag,
	                      "slot_name", admin_slot_name(&state), "initial_replication_done", stage == REPORT_ACTIVE);
	if (stage == REPORT_ACTIVE && c.valid) {
		char lsn[LSN_TEXT_SIZE];
		lsn_format(c.position.lsn, lsn);
		json_object_set_new(o, "last_lsn", json_string(lsn));
	}
	if (stage != REPORT_PROPOSED && r->failures)
		json_object_set_new(o, "repeated_failures", json_integer((json_int_t)r->failures));
	if (stage != REPORT_PROPOSED)
		set_time(o, "last_keepalive_ts", r->keepalive_at_ms);
	if (stage == REPORT_ACTIVE) {
		set_time(o, "last_checkpoint_ts", r->checkpoint_at_ms);
		if (r->connected)
			json_object_set_new(o, "replication_lag_seconds", json_real(r->lag_s));
		add_slot(a, admin_slot_name(&state), o, errors);
		add_lag(r, c.valid, errors);
	}
	json_object_set_new(o, "tables", json_array());
	return o;
}

static void get_replication(struct server *s, struct server_replication *out)
{
	*out = (struct server_replication){0};
	if (s->options.admin && s->options.admin->replication)
		s->options.admin->replication(s->options.admin->ctx, out);
}

/* Errors in the order of 4.1: tables, replication, sync config, WAL budget, lag. */
bool admin_report(struct server *s, struct admin_source *a, struct slice text, enum report_stage stage, json_t **out,
                  struct error *err)
{
	struct diagnostics d = {0};
	struct server_replication r;
	bool ok;
	struct plan *plan = compile(s, a, text, &d, &ok, err);
	json_t *errors = json_array(), *late = json_array(), *connections = json_array();
	get_replication(s, &r);
	if (plan) {
		json_t *stream = stream_object(s, a, stage, &r, late), *tables = json_object_get(stream, "tables");
		for (size_t i = 0; ok && i < plan_pattern_count(plan); i++) {
			json_t *some = NULL, *table;
			size_t k, e;
			ok = pattern_tables(a, plan, (uint32_t)i, &some, err);
			json_array_foreach(some, k, table)
			{
				json_t *error;
				json_array_foreach(json_object_get(table, "errors"), e, error)
				        add_error(errors, json_incref(error));
				json_array_append(tables, table);
			}
			json_decref(some);
		}
		if (ok && stage != REPORT_PROPOSED)
			add_snapshots(s, a->arena, tables);
		json_array_append_new(connections, stream);
		if (stage != REPORT_PROPOSED && r.last_error[0])
			add_error(errors, error_object(true, slice_cstr(r.last_error)));
		if (stage == REPORT_ACTIVE && r.config_problem[0])
			add_error(errors, error_object(true, slice_cstr(r.config_problem)));
		add_diagnostics(errors, &d);
	} else if (ok) {
		size_t i = 0;
		while (i + 1 < d.count && d.items[i].level != DIAGNOSTIC_FATAL)
			i++;
		add_error(errors, error_now(true, d.count ? arena_cstr(a->arena, d.items[i].message)
		                                          : "The sync config cannot be parsed"));
	}
	json_array_extend(errors, late);
	json_decref(late);
	*out = json_pack("{s:o,s:o}", "connections", connections, "errors", errors);
	plan_unref(plan);
	diagnostics_free(&d);
	if (ok)
		return true;
	json_decref(*out);
	*out = NULL;
	return false;
}

/* ---- 4.7 -------------------------------------------------------------------------------------------------------------------------- */

static json_t *invalid(const struct diagnostics *d, const struct error *err)
{
	json_t *errors = json_array();
	for (size_t i = 0; d && i < d->count; i++)
		if (d->items[i].level == DIAGNOSTIC_FATAL)
			json_array_append_new(errors, json_text(d->items[i].message));
	if (err)
		json_array_append_new(errors, json_text(slice_cstr(err->message)));
	return json_pack("{s:b,s:o}", "valid", 0, "errors", errors);
}

/* For people: the streams by name, and of each table the canonical text of what reads it. */
static void add_plan(json_t *out, const struct plan *plan)
{
	json_t *streams = json_array(), *data = json_object();
	for (size_t i = 0; i < plan_stream_count(plan); i++) {
		struct slice name = plan_stream_name(plan, (uint32_t)i);
		struct buf text = {0};
		buf_printf(&text, "stream %.*s", SLICE_ARG(name));
		json_array_append_new(streams, json_text(buf_slice(&text)));
		buf_free(&text);
	}
	for (size_t i = 0; i < plan_definition_count(plan); i++) {
		const struct definition *d = plan_definition(plan, (uint32_t)i);
		for (size_t j = 0; d->kind == DEFINITION_BUCKETS && j < d->pattern_count; j++) {
			struct slice table = plan_pattern(plan, d->patterns[j])->table;
			char *name = xstrdup(table);
			json_t *list = json_object_get(data, name);
			if (!list) {
				list = json_array();
				json_object_set_new(data, name, list);
			}
			json_array_append_new(list, json_pack("{s:o}", "query", json_text(d->content)));
			free(name);
		}
	}
	json_object_set_new(out, "bucket_definitions", streams);
	json_object_set_new(out, "data_tables", data);
}

static json_t *source_table(const struct plan *plan, uint32_t index, json_t *tables, struct arena *arena)
{
	const struct table_pattern *p = plan_pattern(plan, index);
	json_t *o = json_pack("{s:o,s:o,s:b}", "schema", json_text(pattern_text(p->schema, p->schema_wildcard, arena)), "pattern",
	                      json_text(pattern_text(p->table, p->table_wildcard, arena)), "wildcard", p->table_wildcard);
	if (p->table_wildcard)
		json_object_set(o, "tables", tables);
	else if (json_array_size(tables))
		json_object_set(o, "table", json_array_get(tables, 0));
	return o;
}

json_t *admin_validation(struct server *s, struct admin_source *a, struct slice text)
{
	struct error err = {.code = ""};
	struct diagnostics d = {0};
	bool ok;
	if (!a->connection)
		return invalid(NULL, a->err.message[0]
		                             ? &a->err
		                             : &(struct error){.code = "", .message = "No source connection is configured"});
	struct plan *plan = compile(s, a, text, &d, &ok, &err);
	json_t *out = json_pack("{s:b}", "valid", 1), *sources = json_array();
	for (size_t i = 0; plan && ok && i < plan_pattern_count(plan); i++) {
		json_t *tables = NULL;
		ok = pattern_tables(a, plan, (uint32_t)i, &tables, &err);
		if (ok)
			json_array_append_new(sources, source_table(plan, (uint32_t)i, tables, a->arena));
		json_decref(tables);
	}
	json_object_set_new(out, "source_tables", sources);
	if (plan)
		add_plan(out, plan);
	if (!plan || !ok) {
		json_decref(out);
		out = invalid(&d, ok ? NULL : &err);
	}
	plan_unref(plan);
	diagnostics_free(&d);
	return out;
}
