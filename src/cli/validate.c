/* validate.c: checks a sync config and shows each problem with its place. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "cli/cli.h"
#include "cli/sync_config.h"

static const char help[] = "Usage: syncline validate [-c powersync.yaml] [--print]\n\n"
                           "Compiles the sync config that the configuration names and prints what is wrong with it, as\n"
                           "file:line:column. Exit code 0: usable; 1: not usable; 150: the configuration itself is bad.\n\n"
                           "  -c, --config-path PATH   the configuration (default: POWERSYNC_CONFIG_PATH, powersync.yaml)\n"
                           "      --print              print the compiled plan as well\n";

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
	printf("  %.*s\n  ", (int)strcspn(line, "\r\n"), line);
	for (size_t i = 1; i < d->column; i++)
		putchar(line[i - 1] == '\t' ? '\t' : ' ');
	printf("^\n");
}

static int check(const char *text, const char *name, bool print)
{
	struct diagnostics d = {0};
	struct plan *plan = plan_compile(slice_cstr(text), SLICE("public"), &d);
	for (size_t i = 0; i < d.count; i++) {
		printf("%s:%zu:%zu: %s: %.*s [%s]\n", name, d.items[i].line, d.items[i].column,
		       d.items[i].level == DIAGNOSTIC_FATAL ? "error" : "warning", SLICE_ARG(d.items[i].message), d.items[i].class_name);
		print_place(text, &d.items[i]);
	}
	if (plan && print) {
		struct buf out = {0};
		plan_print(plan, &out);
		printf("%.*s\n", SLICE_ARG(buf_slice(&out)));
		buf_free(&out);
	}
	if (plan)
		printf("%s is usable: %zu definitions, %zu tables or table patterns\n", name, plan_definition_count(plan),
		       plan_pattern_count(plan));
	int code = plan ? 0 : 1;
	plan_unref(plan);
	diagnostics_free(&d);
	return code;
}

int cli_validate(int argc, char **argv)
{
	struct config_arguments arguments = {0};
	bool print = false;
	for (int i = 0; i < argc;) {
		int used = cli_config_option(&arguments, argc, argv, i);
		if (used < 0)
			return 2;
		if (used == 0 && strcmp(argv[i], "--help") == 0) {
			fputs(help, stdout);
			return 0;
		}
		if (used == 0 && strcmp(argv[i], "--print") == 0) {
			print = true;
			used = 1;
		}
		if (used == 0) {
			fprintf(stderr, "syncline validate: unknown option %s\n\n%s", argv[i], help);
			return 2;
		}
		i += used;
	}
	struct error err = {.code = ""};
	struct config *config = config_load(&arguments, &err);
	if (!config) {
		fprintf(stderr, "%s\n", err.message);
		return EXIT_BAD_CONFIG;
	}
	char *text = sync_config_read(config, &err);
	int code = 1;
	if (text)
		code = check(text, sync_config_name(config), print);
	else
		fprintf(stderr, "%s\n", err.message[0] ? err.message : "The configuration names no sync config");
	free(text);
	config_free(config);
	return code;
}
