/* options.c: options that several commands share. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "config/config.h"

static bool is_one_of(const char *arg, const char *a, const char *b)
{
	return strcmp(arg, a) == 0 || strcmp(arg, b) == 0;
}

int cli_config_option(struct config_arguments *out, int argc, char **argv, int at)
{
	const char **target = is_one_of(argv[at], "-c", "--config-path") || strcmp(argv[at], "--config") == 0 ? &out->config_path
	                      : is_one_of(argv[at], "-c64", "--config-base64")                                ? &out->config_base64
	                      : is_one_of(argv[at], "-sync64", "--sync-base64")                               ? &out->sync_base64
	                                                                                                      : NULL;
	if (!target)
		return 0;
	if (at + 1 >= argc) {
		fprintf(stderr, "syncline: %s needs a value\n", argv[at]);
		return -1;
	}
	*target = argv[at + 1];
	return 2;
}
