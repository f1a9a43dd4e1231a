/* validate.c: checks a sync config and shows each problem with its place; with --source against the live schema. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/cli.h"
#include "cli/sync_config.h"
#include "cli/wiring.h"

static const char help[] =
        "Usage: syncline validate [FILE] [--source] [--print] [--json] [OPTIONS]\n\n"
        "Compiles the sync config that the configuration names, or FILE, and prints what is wrong with it as\n"
        "file:line:column, with a caret under the place. Exit code 0: usable; 1: not usable, or with --source a table or\n"
        "column is missing; 150: the configuration itself is bad.\n\n"
        "      --source               also compare tables and columns with the source database\n"
        "      --print                print the compiled plan as well\n"
        "      --json                 as JSON\n";

/* The line of the text that a diagnostic is in, and a caret under its place. */
static void print_place(const char *text, const struct diagnostic *d)
{
	const char *line = text;
	for (size_t n = 1; n < d->line && line; n++) {
		line = strchr(line, '\n');
		if (line)
			line++;
	}
	if (!line)
		return;
	size_t length = strcspn(line, "\r\n"), at = 0;
	printf("  %.*s\n  ", (int)length, line);
	for (size_t i = 1; i < d->column && at < length; i++) {
		putchar(line[at] == '\t' ? '\t' : ' ');
		do /* columns count characters, the line has bytes */
			at++;
		while (at < length && ((unsigned char)line[at] & 0xC0) == 0x80);
	}
	printf("^\n");
}

static void print_text(const char *text, const char *name, const struct diagnostics *d)
{
	for (size_t i = 0; i < d->count; i++) {
		printf("%s:%zu:%zu: %s: %.*s [%s]\n", name, d->items[i].line, d->items[i].column,
		       d->items[i].level == DIAGNOSTIC_FATAL ? "error" : "warning", SLICE_ARG(d->items[i].message),
		       d->items[i].class_name);
		print_place(text, &d->items[i]);
	}
}

static json_t *json_of(const struct diagnostics *d)
{
	json_t *list = json_array();
	for (size_t i = 0; i < d->count; i++) {
		const struct diagnostic *x = &d->items[i];
		json_array_append_new(list, json_pack("{s:s,s:s,s:o,s:I,s:I,s:{s:I,s:I}}", "level",
		                                      x->level == DIAGNOSTIC_FATAL ? "fatal" : "warning", "class", x->class_name,
		                                      "message", json_text(x->message), "line", (json_int_t)x->line, "column",
		                                      (json_int_t)x->column, "location", "start_offset", (json_int_t)x->start,
		                                      "end_offset", (json_int_t)x->end));
	}
	return list;
}

/* Is a table or column missing in the source? Only told with its schema at hand. */
static bool misses_something(const struct diagnostics *d)
{
	for (size_t i = 0; i < d->count; i++)
		if (strcmp(d->items[i].class_name, "table_not_found") == 0 ||
		    strcmp(d->items[i].class_name, "column_not_found") == 0)
			return true;
	return false;
}

struct validation {
	bool print, json;
	const char *name, *text;
	const struct known_table *known; /* NULL: the source is not asked */
	size_t known_count;
};

static int report(const struct validation *v)
{
	struct diagnostics d = {0};
	struct plan *plan = plan_compile_known(slice_cstr(v->text), SLICE("public"), v->known, v->known_count, &d);
	bool ok = plan && !(v->known && misses_something(&d));
	struct buf dump = {0};
	if (plan && v->print)
		plan_print(plan, &dump);
	if (v->json) {
		json_t *out = json_pack("{s:b,s:s,s:o}", "ok", ok, "name", v->name, "diagnostics", json_of(&d));
		if (plan)
			json_object_set_new(out, "definitions", json_integer((json_int_t)plan_definition_count(plan)));
		if (dump.n)
			json_object_set_new(out, "plan", json_text(buf_slice(&dump)));
		cli_print_json(out);
	} else {
		print_text(v->text, v->name, &d);
		printf("%.*s", SLICE_ARG(buf_slice(&dump)));
		if (plan)
			printf("%s is usable: %zu definitions, %zu tables or table patterns\n", v->name,
			       plan_definition_count(plan), plan_pattern_count(plan));
	}
	buf_free(&dump);
	plan_unref(plan);
	diagnostics_free(&d);
	return ok ? 0 : 1;
}

static int with_source(const struct config *config, struct validation *v)
{
	struct error err = {.code = ""};
	struct arena arena = {0};
	struct log log = {.level = LOG_ERROR, .fd = STDERR_FILENO};
	if (!config->has_source) {
		error_set(&err, "", "the configuration names no source database (replication.connections)");
		return cli_fail("validate", v->json, 1, &err);
	}
	struct source_config sc = wiring_source_config(config);
	struct source *source = source_new(&sc, &log);
	struct source_connection *c = source_connect(source, &err);
	struct known_table *known;
	int code = 1;
	if (c && sync_config_known_tables(c, sc.tag, &arena, &known, &v->known_count, &err)) {
		v->known = known;
		code = report(v);
	} else {
		code = cli_fail("validate", v->json, 1, &err);
	}
	source_disconnect(c);
	source_free(source);
	arena_free(&arena);
	return code;
}

int cli_validate(int argc, char **argv)
{
	struct config_arguments arguments = {0};
	struct validation v = {0};
	const char *file = NULL;
	bool source = false;
	int code;
	const struct cli_option options[] = {{.long_name = "--source", .flag = &source},
	                                     {.long_name = "--print", .flag = &v.print},
	                                     {.long_name = "--json", .flag = &v.json},
	                                     {.long_name = NULL}};
	if (!cli_parse(&(struct cli_syntax){.command = "validate",
	                                    .help = help,
	                                    .options = options,
	                                    .config = &arguments,
	                                    .arguments = &file,
	                                    .most = 1},
	               argc, argv, &code))
		return code;
	struct error err = {.code = ""};
	struct config *config = file && !source ? NULL : cli_load("validate", &arguments, v.json, &code);
	if (!config && (!file || source))
		return code;
	char *text = file ? sync_config_read_file(file, &err) : sync_config_read(config, &err);
	if (!text) {
		if (!err.message[0])
			error_set(&err, "", "the configuration names no sync config");
		code = cli_fail("validate", v.json, 1, &err);
	} else {
		v.text = text;
		v.name = file ? file : sync_config_name(config);
		code = source ? with_source(config, &v) : report(&v);
	}
	free(text);
	if (config)
		config_free(config);
	return code;
}
