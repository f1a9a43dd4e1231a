/* options.c: reads the command line of one command by its table of options. */
#include <string.h>

#include "cli/cli.h"

static const char config_help[] = "\nThe configuration:\n"
                                  "  -c, --config-path PATH     its file (default: POWERSYNC_CONFIG_PATH, then powersync.yaml)\n"
                                  "  -c64, --config-base64 X    the whole of it as base64 (POWERSYNC_CONFIG_B64)\n"
                                  "  -sync64, --sync-base64 X   the sync config as base64 (POWERSYNC_SYNC_CONFIG_B64)\n";

static void print_help(const struct cli_syntax *s, FILE *to)
{
	fputs(s->help, to);
	if (s->config)
		fputs(config_help, to);
	fputs("\n  -h, --help                 this text\n", to);
}

static bool wrong(const struct cli_syntax *s, int *code, const char *what, const char *which)
{
	fprintf(stderr, "syncline %s: %s%s; see 'syncline %s --help'\n", s->command, what, which, s->command);
	*code = EXIT_USAGE;
	return false;
}

static bool is_name(const struct cli_option *o, const char *arg, const char **inline_value)
{
	size_t n = strlen(o->long_name);
	*inline_value = NULL;
	if (o->short_name && strcmp(arg, o->short_name) == 0)
		return true;
	if (strncmp(arg, o->long_name, n) != 0 || (arg[n] && arg[n] != '='))
		return false;
	if (arg[n])
		*inline_value = arg + n + 1;
	return true;
}

static const struct cli_option *find(const struct cli_option *options, const char *arg, const char **inline_value)
{
	for (; options && options->long_name; options++)
		if (is_name(options, arg, inline_value))
			return options;
	return NULL;
}

bool cli_parse(const struct cli_syntax *s, int argc, char **argv, int *code)
{
	struct config_arguments none, *c = s->config ? s->config : &none;
	const struct cli_option config_options[] = {
	        {.short_name = "-c", .long_name = "--config-path", .value = &c->config_path},
	        {.long_name = "--config", .value = &c->config_path},
	        {.short_name = "-c64", .long_name = "--config-base64", .value = &c->config_base64},
	        {.short_name = "-sync64", .long_name = "--sync-base64", .value = &c->sync_base64},
	        {.long_name = NULL},
	};
	int words = 0;
	bool only_words = false;
	for (int i = 0; i < argc; i++) {
		const char *arg = argv[i], *value;
		if (only_words || arg[0] != '-' || !arg[1]) {
			if (words >= s->most)
				return wrong(s, code, "unexpected argument ", arg);
			s->arguments[words++] = arg;
			continue;
		}
		if (strcmp(arg, "--") == 0) {
			only_words = true;
			continue;
		}
		if (strcmp(arg, "-h") == 0 || strcmp(arg, "--help") == 0) {
			print_help(s, stdout);
			*code = 0;
			return false;
		}
		const struct cli_option *o = find(s->options, arg, &value);
		if (!o && s->config)
			o = find(config_options, arg, &value);
		if (!o || (o->flag && value))
			return wrong(s, code, o ? "this option takes no value: " : "unknown option ", arg);
		if (o->flag) {
			*o->flag = true;
			continue;
		}
		if (!value && ++i >= argc)
			return wrong(s, code, "a value is missing after ", arg);
		*o->value = value ? value : argv[i];
	}
	if (words < s->least)
		return wrong(s, code, "an argument is missing", "");
	return true;
}
