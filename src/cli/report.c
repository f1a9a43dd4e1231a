/* report.c: how commands tell what went wrong, for people and for programs. */
#include <string.h>

#include "base/buf.h"
#include "cli/cli.h"

void cli_print_json(json_t *value)
{
	json_dumpf(value, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(value);
}

int cli_fail(const char *command, bool json, int code, const struct error *err)
{
	if (json) {
		json_t *e = json_object(), *all = json_pack("{s:b}", "ok", 0);
		if (*err->code)
			json_object_set_new(e, "code", json_string(err->code));
		json_object_set_new(e, "message", json_text(slice_cstr(err->message)));
		json_object_set_new(all, "error", e);
		cli_print_json(all);
	} else {
		fprintf(stderr, "syncline %s: %s%s%s%s\n", command, *err->code ? "[" : "", err->code, *err->code ? "] " : "",
		        err->message);
	}
	return code;
}

struct config *cli_load(const char *command, const struct config_arguments *arguments, bool json, int *code)
{
	struct error err = {.code = ""};
	struct config *config = config_load(arguments, &err);
	if (!config)
		*code = cli_fail(command, json, EXIT_BAD_CONFIG, &err);
	return config;
}
