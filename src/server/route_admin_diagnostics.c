/* route_admin_diagnostics.c: state of replication, the source's schema, a sync config on trial (http-api-and-operations 4.1 to 4.3). */
#include "server/admin.h"
#include "server/routes.h"
#include "server/state.h"

/* ---- diagnostics ------------------------------------------------------------------------------------------------------------------ */

static json_t *connection_object(struct exchange *x, struct admin_source *a)
{
	const struct server_admin *admin = x->server->options.admin;
	json_t *errors = json_array();
	struct error err = {.code = ""};
	const char *problem = !a->connection ? a->err.message : source_check(a->connection, &err) ? NULL : err.message;
	if (problem)
		json_array_append_new(errors,
		                      json_pack("{s:s,s:o}", "level", "fatal", "message", json_text(slice_cstr(problem))));
	return json_pack("{s:s,s:s,s:b,s:o}", "id", admin->connection_id, "postgres_uri", admin->source_uri, "connected",
	                 a->connection != NULL, "errors", errors);
}

/* Adds the member unless the store has no such sync config. */
static bool add_sync_config(struct exchange *x, struct admin_source *a, json_t *data, const char *name, struct slice text,
                            enum report_stage stage, struct error *err)
{
	json_t *report, *whole;
	if (!text.p)
		return true;
	if (!admin_report(x->server, a, text, stage, &report, err))
		return false;
	whole = json_object();
	if (x->admin.content)
		json_object_set_new(whole, "content", json_text(text));
	json_object_update(whole, report);
	json_decref(report);
	json_object_set_new(data, name, whole);
	return true;
}

/* NULL if it cannot be told; it is not what was asked for first. */
static json_t *storage_object(struct storage *storage)
{
	struct storage_sizes s;
	struct error ignored;
	if (!storage_sizes(storage, &s, &ignored))
		return NULL;
	return json_pack("{s:I,s:I,s:I,s:I,s:I}", "operation_bytes", (json_int_t)s.operations, "parameter_bytes",
	                 (json_int_t)s.lookups, "row_bytes", (json_int_t)s.rows, "used_bytes", (json_int_t)s.used, "file_bytes",
	                 (json_int_t)s.file);
}

static void run_diagnostics(struct exchange *x)
{
	struct arena arena = {0};
	struct admin_source a;
	struct error err = {.code = ""};
	struct storage *storage = x->server->options.storage;
	if (!admin_need_source(x))
		return;
	admin_source_open(&a, x->server, &arena);
	json_t *data = json_object(), *connections = json_array();
	json_array_append_new(connections, connection_object(x, &a));
	json_object_set_new(data, "connections", connections);
	if (add_sync_config(x, &a, data, "active_sync_rules", admin_stored_text(storage, true, &arena), REPORT_ACTIVE, &err) &&
	    add_sync_config(x, &a, data, "deploying_sync_rules", admin_stored_text(storage, false, &arena), REPORT_DEPLOYING,
	                    &err)) {
		json_object_set_new(data, "storage", storage_object(storage));
		admin_answer(x, data);
	} else {
		json_decref(data);
		admin_failed(x, &err);
	}
	admin_source_close(&a);
	arena_free(&arena);
}

bool route_admin_diagnostics(struct exchange *x)
{
	json_t *p = admin_parameters(x);
	if (!p)
		return true;
	struct complaints c = {0};
	const json_t *content = json_object_get(p, "sync_rules_content");
	if (content && !json_is_boolean(content))
		complain(&c, "/sync_rules_content: type must be boolean");
	x->admin.content = json_is_true(content);
	json_decref(p);
	return complaints_answer(&c, &x->response) || admin_begin(x, run_diagnostics);
}

/* ---- schema ----------------------------------------------------------------------------------------------------------------------- */

static json_t *columns_of(const struct schema_table *t)
{
	json_t *columns = json_array();
	for (size_t i = 0; i < t->column_count; i++) {
		const struct schema_column *c = &t->columns[i];
		json_array_append_new(columns, json_pack("{s:o,s:i,s:o,s:o,s:o}", "name", json_text(c->name), "sqlite_type",
		                                         c->sqlite_type, "internal_type", json_text(c->type), "type",
		                                         json_text(c->type), "pg_type", json_text(c->short_type)));
	}
	return columns;
}

/* Tables come by schema. */
static json_t *schemas_of(const struct schema_table *tables, size_t count)
{
	json_t *schemas = json_array(), *list = NULL;
	for (size_t i = 0; i < count; i++) {
		if (i == 0 || !slice_eq(tables[i].schema, tables[i - 1].schema)) {
			list = json_array();
			json_array_append_new(schemas,
			                      json_pack("{s:o,s:o}", "name", json_text(tables[i].schema), "tables", list));
		}
		json_array_append_new(
		        list, json_pack("{s:o,s:o}", "name", json_text(tables[i].name), "columns", columns_of(&tables[i])));
	}
	return schemas;
}

static void run_schema(struct exchange *x)
{
	struct arena arena = {0};
	struct admin_source a;
	struct schema_table *tables;
	size_t count;
	if (!admin_need_source(x))
		return;
	const struct server_admin *admin = x->server->options.admin;
	admin_source_open(&a, x->server, &arena);
	if (!a.connection || !source_schema(a.connection, &arena, &tables, &count, &a.err))
		admin_failed(x, &a.err);
	else
		admin_answer(x, json_pack("{s:[{s:s,s:s,s:o}],s:s,s:s}", "connections", "id", admin->connection_id, "tag",
		                          admin->connection_tag, "schemas", schemas_of(tables, count), "defaultConnectionTag",
		                          "default", "defaultSchema", "public"));
	admin_source_close(&a);
	arena_free(&arena);
}

bool route_admin_schema(struct exchange *x)
{
	json_t *p = admin_parameters(x);
	if (!p)
		return true;
	json_decref(p);
	return admin_begin(x, run_schema);
}

/* ---- validate --------------------------------------------------------------------------------------------------------------------- */

static void run_validate(struct exchange *x)
{
	struct arena arena = {0};
	struct admin_source a;
	json_t *report;
	if (!admin_need_source(x))
		return;
	admin_source_open(&a, x->server, &arena);
	if (a.connection && admin_report(x->server, &a, x->admin.text, REPORT_PROPOSED, &report, &a.err))
		admin_answer(x, report);
	else
		admin_failed(x, &a.err);
	admin_source_close(&a);
	arena_free(&arena);
}

bool route_admin_validate(struct exchange *x)
{
	json_t *p = admin_parameters(x);
	if (!p)
		return true;
	struct complaints c = {0};
	const json_t *text = json_object_get(p, "sync_rules");
	if (!text)
		complain(&c, " must have required property 'sync_rules'");
	else if (!json_is_string(text))
		complain(&c, "/sync_rules: type must be string");
	else
		x->admin.text = arena_copy(&x->request.arena, slice_make(json_string_value(text), json_string_length(text)));
	json_decref(p);
	return complaints_answer(&c, &x->response) || admin_begin(x, run_validate);
}
