/* route_admin_sql.c: one statement on the source, when the connection's debug_api allows it (http-api-and-operations 4.5; deprecated). */
#include <jansson.h>

#include <math.h>
#include <stdlib.h>

#include "server/admin.h"
#include "server/routes.h"
#include "server/state.h"

static json_t *failure(const char *why)
{
	return json_pack("{s:b,s:{s:[],s:[]},s:o}", "success", 0, "results", "columns", "rows", "error",
	                 json_text(slice_cstr(why)));
}

/* As synced, but for what JSON cannot hold. */
static json_t *json_of(const struct value *v)
{
	switch (v->kind) {
	case VALUE_INTEGER:
		return json_integer(v->i);
	case VALUE_REAL:
		return isfinite(v->r)
		               ? v->r == floor(v->r) && fabs(v->r) < 9e15 ? json_integer((json_int_t)v->r) : json_real(v->r)
		               : json_null();
	case VALUE_TEXT:
		return json_text(v->s);
	default:
		return json_null();
	}
}

static json_t *success(const struct sql_answer *a)
{
	json_t *columns = json_array(), *rows = json_array();
	for (size_t i = 0; i < a->column_count; i++)
		json_array_append_new(columns, json_text(a->columns[i]));
	for (size_t r = 0; r < a->row_count; r++) {
		json_t *row = json_array();
		for (size_t i = 0; i < a->column_count; i++)
			json_array_append_new(row, json_of(&a->values[r * a->column_count + i]));
		json_array_append_new(rows, row);
	}
	return json_pack("{s:b,s:{s:o,s:o}}", "success", 1, "results", "columns", columns, "rows", rows);
}

static void run_execute_sql(struct exchange *x)
{
	const struct server_admin *admin = x->server->options.admin;
	struct arena arena = {0};
	struct sql_answer answer;
	struct error err = {.code = ""};
	if (!admin || !admin->debug_api) {
		admin_answer(x, failure("SQL querying is not enabled"));
		return;
	}
	if (!admin_need_source(x))
		return;
	struct source_connection *c = source_connect(admin->source, &err);
	bool ok = c && source_run_sql(c, x->admin.text.p, x->admin.arguments, x->admin.argument_count, &arena, &answer, &err);
	log_info(x->server->options.log, "execute-sql ran a statement of %zu bytes on the source: %s", x->admin.text.n,
	         ok ? "done" : "failed");
	admin_answer(x, ok ? success(&answer) : failure(err.message));
	source_disconnect(c);
	arena_free(&arena);
}

/* Postgres infers the types of parameters; it is told their text. */
static const char *argument_text(const json_t *v, struct arena *arena)
{
	if (json_is_null(v))
		return NULL;
	if (json_is_string(v))
		return arena_cstr(arena, slice_cstr(json_string_value(v)));
	char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
	struct slice s = slice_cstr(text);
	if (json_is_real(v) && slice_ends(s, SLICE(".0"))) /* bodies are read with all numbers as reals */
		s.n -= 2;
	const char *copy = arena_cstr(arena, s);
	free(text);
	return copy;
}

static void take_statement(struct exchange *x, const json_t *sql, struct complaints *c)
{
	const json_t *query = json_object_get(sql, "query"), *args = json_object_get(sql, "args"), *v;
	struct arena *arena = &x->request.arena;
	size_t i;
	if (!json_is_string(query))
		complain(c, "/sql/query: type must be string");
	if (!json_is_array(args))
		complain(c, "/sql/args: type must be array");
	if (!json_is_string(query) || !json_is_array(args))
		return;
	x->admin.text = slice_cstr(arena_cstr(arena, slice_make(json_string_value(query), json_string_length(query))));
	const char **texts = arena_array(arena, const char *, json_array_size(args) + 1);
	json_array_foreach(args, i, v) texts[i] = argument_text(v, arena);
	x->admin.arguments = texts;
	x->admin.argument_count = json_array_size(args);
}

bool route_admin_execute_sql(struct exchange *x)
{
	json_t *p = admin_parameters(x);
	if (!p)
		return true;
	struct complaints c = {0};
	const json_t *sql = json_object_get(p, "sql");
	if (!sql)
		complain(&c, " must have required property 'sql'");
	else if (!json_is_object(sql))
		complain(&c, "/sql: type must be object");
	else if (!json_object_get(sql, "args"))
		complain(&c, "/sql must have required property 'args'");
	else if (!json_object_get(sql, "query"))
		complain(&c, "/sql must have required property 'query'");
	else
		take_statement(x, sql, &c);
	json_decref(p);
	return complaints_answer(&c, &x->response) || admin_begin(x, run_execute_sql);
}
