/* migrate.c: brings the store to this version's format, or back, without starting the service. */
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/progress.h"
#include "cli/wiring.h"

static const char help[] = "Usage: syncline migrate up|down [--json] [OPTIONS]\n\n"
                           "up: brings the store to this version's format without starting the service; `start` does the same. "
                           "The embedded store is\n"
                           "made if it is missing, and so is the schema 'powersync' of a Postgres database.\n"
                           "down: undoes the migrations of a Postgres database as far as its data allows. It is refused for the "
                           "embedded store: an older\n"
                           "program needs a backup from before, or an empty folder.\n"
                           "Exit code 0: done; 1: it failed, or the direction is wrong; 150: the configuration is bad.\n\n"
                           "      --json                 as JSON\n";

static void on_progress(void *ctx, double part)
{
	struct progress *bar = ctx;
	progress_show(bar, part, "%s", "");
	if (part >= 1) /* what the store then logs must not stand beside it */
		progress_clear(bar);
}

static bool migrate_embedded(const struct config *config, bool up, struct storage_options *options, struct error *err)
{
	if (!up)
		return error_set(err, "", "there is nothing to undo in the embedded store; go back to a backup");
	struct storage *storage = storage_open_lmdb(options, err);
	if (!storage)
		return false;
	storage_close(storage);
	log_info(options->log, "The store %s is at this version's format", config->storage.path);
	return true;
}

static bool migrate_postgres(const struct config *config, bool up, struct storage_options *options, struct error *err)
{
	struct storage_database database;
	storage_database_open(&database, config, options->log, options);
	bool ok = storage_postgres_migrate(options, up, err);
	storage_database_close(&database);
	if (ok)
		log_info(options->log, "The storage database is migrated %s", up ? "up" : "down");
	return ok;
}

static bool migrate(const struct config *config, const char *direction, const struct log *log, struct progress *bar,
                    struct error *err)
{
	struct storage_options options = wiring_storage_options(config, log);
	options.migrating = on_progress;
	options.migrating_ctx = bar;
	options.command = "migrate";
	options.keep_format = false; /* this is what was asked for */
	bool up = strcmp(direction, "up") == 0;
	if (!up && strcmp(direction, "down") != 0)
		return error_set(err, "", "the direction must be 'up' or 'down'");
	if (strcmp(config->storage.type, "lmdb") == 0)
		return migrate_embedded(config, up, &options, err);
	if (strcmp(config->storage.type, "postgresql") == 0)
		return migrate_postgres(config, up, &options, err);
	return error_set(err, "", "storage.type '%s' is not supported by this version", config->storage.type);
}

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
	struct progress bar = progress_begin("Migrating", json);
	bool ok = migrate(config, direction, &log, &bar, &err);
	progress_clear(&bar);
	code = ok ? 0 : cli_fail("migrate", json, 1, &err);
	if (!code && json)
		cli_print_json(json_pack("{s:b}", "ok", 1));
	config_free(config);
	return code;
}
