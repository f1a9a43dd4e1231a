/* config_show.c: the effective configuration, with every secret masked. */
#include <string.h>

#include "cli/cli.h"

static const char help[] =
        "Usage: syncline config show [--json] [OPTIONS]\n\n"
        "Prints the effective configuration: defaults filled in, !env replaced, secrets as \"***\". Warnings about keys\n"
        "that are not known or have no effect go to standard error. Exit code 150: it is bad; the message says where.\n\n"
        "      --json                 as JSON instead of YAML\n";

int cli_config(int argc, char **argv)
{
	struct config_arguments arguments = {0};
	const char *what = NULL;
	bool json = false;
	int code;
	const struct cli_option options[] = {{.long_name = "--json", .flag = &json}, {.long_name = NULL}};
	if (!cli_parse(&(struct cli_syntax){.command = "config",
	                                    .help = help,
	                                    .options = options,
	                                    .config = &arguments,
	                                    .arguments = &what,
	                                    .least = 1,
	                                    .most = 1},
	               argc, argv, &code))
		return code;
	if (strcmp(what, "show") != 0) {
		fprintf(stderr, "syncline config: there is only 'show', not '%s'\n", what);
		return EXIT_USAGE;
	}
	struct config *config = cli_load("config show", &arguments, json, &code);
	if (!config)
		return code;
	struct buf out = {0};
	config_print(config, json, &out);
	fwrite(out.p, 1, out.n, stdout);
	buf_free(&out);
	for (size_t i = 0; i < config->warning_count; i++)
		fprintf(stderr, "warning: %s\n", config->warnings[i].message);
	config_free(config);
	return 0;
}
