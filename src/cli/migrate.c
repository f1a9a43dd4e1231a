/* migrate.c: brings the embedded store to this version's format without starting the service. */
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/wiring.h"

static const char help[] = "Usage: syncline migrate up [--json] [OPTIONS]\n\n"
                           "Opens the embedded store, makes it if it is missing, and brings an older one to this version's "
                           "format; `start` does the\n"
                           "same. 'down' is refused: an older program needs a backup from before, or an empty folder.\n"
                           "Exit code 0: done; 1: it failed, or the direction is wrong; 150: the configuration is bad.\n\n"
                           "      --json                 as JSON\n";

int cli_migrate(int argc, char **argv)
{
	struct config_arguments arguments = {0};
	const char *direction = NULL;
	bool json = false;
	int code;
	const struct cli_option options[] = {{.long_name = "--json", .flag = &json}, {.long_name = NULL}};
	if (!cli_parse(&(struct cli_syntax){.command = "migrate",
	                                    .help = help,
	                                    .options = options,
	                                    .config = &arguments,
	                                    .arguments = &direction,
	                                    .least = 1,
	                                    .most = 1},
	               argc, argv, &code))
		return code;
	struct error err = {.code = ""};
	struct config *config = cli_load("migrate", &arguments, json, &code);
	if (!config)
		return code;
	struct log log = {.level = LOG_INFO, .json = config->logging.json, .fd = json ? STDERR_FILENO : STDOUT_FILENO};
	struct storage_options storage_options = wiring_storage_options(config, &log);
	storage_options.keep_format = false; /* this is what was asked for */
	struct storage *storage = NULL;
	if (strcmp(direction, "up") != 0)
		error_set(&err, "",
		          strcmp(direction, "down") == 0 ? "there is nothing to undo in the embedded store; go back to a backup"
		                                         : "the direction must be 'up'");
	else if (strcmp(config->storage.type, "lmdb") != 0)
		error_set(&err, "", "storage.type '%s' is not supported by this version", config->storage.type);
	else
		storage = storage_open_lmdb(&storage_options, &err);
	code = storage ? 0 : cli_fail("migrate", json, 1, &err);
	if (storage)
		storage_close(storage);
	if (!code && json)
		cli_print_json(json_pack("{s:b}", "ok", 1));
	else if (!code)
		log_info(&log, "The store %s is at this version's format", config->storage.path);
	config_free(config);
	return code;
}
