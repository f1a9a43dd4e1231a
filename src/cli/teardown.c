/* teardown.c: ends an installation: drops its replication slots and deletes the embedded store, or what a storage database has. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/progress.h"
#include "cli/storage_folder.h"
#include "cli/wiring.h"

static const char help[] =
        "Usage: syncline teardown TEARDOWN [--json] [OPTIONS]\n\n"
        "Drops the replication slot and deletes all stored data; of a storage database everything in the schema 'powersync' but\n"
        "the tables locks and connection_report_events. The word TEARDOWN must stand there as it is. Stop the service first, on\n"
        "all nodes: while one replicates this is refused, with who it is (PSYNC_S1003). A slot that cannot be dropped is a\n"
        "warning: drop it by hand, or it holds back WAL for ever.\n"
        "Exit code 0: done; 1: it failed; 150: the word is missing.\n\n"
        "      --json                 as JSON; the log goes to standard error\n";

/* A name that is stored before its slot is complete carries a mark in front. */
static const char *plain_name(const char *slot)
{
	return slot + (*slot == '!');
}

/* Answers when the server has no more use for it: a walsender that is still there is waited for. */
static void drop_slot(const struct config *config, const char *slot, const struct log *log, struct progress *bar)
{
	struct error err = {.code = ""};
	if (!*slot || !config->has_source)
		return;
	struct source_config sc = wiring_source_config(config);
	progress_step(bar, 0.3, "dropping the replication slot %s", slot);
	struct source *source = source_new(&sc, log);
	struct source_connection *c = source_connect(source, &err);
	bool dropped = c && source_slot_drop(c, slot, &err);
	progress_clear(bar);
	if (dropped)
		log_info(log, "Dropped the replication slot %s", slot);
	else
		log_warn(log, "Cannot drop the replication slot %s: %s", slot, err.message);
	source_disconnect(c);
	source_free(source);
}

static bool delete_file(const char *folder, const char *name, struct error *err)
{
	char path[4200];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (unlink(path) != 0 && errno != ENOENT)
		return error_set(err, "", "cannot delete %s: %s", path, strerror(errno));
	return true;
}

/* "jwks-....keys": answers of JWKS URLs that were kept over restarts. */
static bool is_kept_keys(const char *name)
{
	return slice_starts(slice_cstr(name), SLICE("jwks-")) && slice_ends(slice_cstr(name), SLICE(".keys"));
}

static bool delete_kept_keys(const char *folder, struct error *err)
{
	bool ok = true;
	DIR *d = opendir(folder);
	for (struct dirent *e; ok && d && (e = readdir(d));)
		if (is_kept_keys(e->d_name))
			ok = delete_file(folder, e->d_name, err);
	if (d)
		closedir(d);
	return ok;
}

/* The folder itself goes only if nothing else is in it. */
static bool delete_files(const char *folder, struct error *err)
{
	static const char *const names[] = {"data.mdb",          "data.mdb-lock", "requests.mdb",
	                                    "requests.mdb-lock", "control.sock",  "lock"};
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (!delete_file(folder, names[i], err))
			return false;
	if (!delete_kept_keys(folder, err))
		return false;
	rmdir(folder);
	return true;
}

struct slot_dropping {
	const struct config *config;
	const struct log *log;
	struct progress *bar;
};

static void on_slot(void *ctx, const char *slot)
{
	const struct slot_dropping *d = ctx;
	drop_slot(d->config, slot, d->log, d->bar);
}

static bool teardown_database(const struct config *config, const struct log *log, struct progress *bar, struct error *err)
{
	struct storage_options options = wiring_storage_options(config, log);
	struct storage_database database;
	struct slot_dropping dropping = {.config = config, .log = log, .bar = bar};
	bool existed = false;
	progress_step(bar, 0, "locking the replication streams");
	storage_database_open(&database, config, log, &options);
	bool ok = storage_postgres_teardown(&options, on_slot, &dropping, &existed, err);
	storage_database_close(&database);
	progress_clear(bar);
	if (ok)
		log_info(log,
		         existed ? "Deleted the store in the storage database" : "There is no store in the storage database");
	return ok;
}

static bool teardown_embedded(const struct config *config, const struct log *log, struct progress *bar, struct error *err)
{
	long pid;
	uint64_t space;
	struct source_state state = {0};
	struct storage_options options = wiring_storage_options(config, log);
	options.keep_format = false;
	options.command = "teardown";
	enum folder_state folder = storage_folder_state(config, &pid, &space, err);
	if (folder == FOLDER_BAD)
		return false;
	if (folder == FOLDER_ABSENT) {
		log_info(log, "There is no store in %s", config->storage.path);
		return true;
	}
	progress_step(bar, 0, "opening the store");
	struct storage *storage = storage_open_lmdb(&options, err); /* refused (PSYNC_S1003) while a service holds it */
	if (!storage)
		return false;
	bool ok = storage_source_state(storage, &state, err);
	storage_close(storage);
	if (!ok)
		return false;
	drop_slot(config, plain_name(state.slot_name), log, bar);
	progress_step(bar, 0.8, "deleting %s", config->storage.path);
	if (!delete_files(config->storage.path, err))
		return false;
	progress_clear(bar);
	log_info(log, "Deleted the store in %s", config->storage.path);
	return true;
}

static bool teardown(const struct config *config, const struct log *log, struct progress *bar, struct error *err)
{
	if (strcmp(config->storage.type, "lmdb") == 0)
		return teardown_embedded(config, log, bar, err);
	if (strcmp(config->storage.type, "postgresql") == 0)
		return teardown_database(config, log, bar, err);
	return error_set(err, "", "storage.type '%s' is not supported by this version", config->storage.type);
}

int cli_teardown(int argc, char **argv)
{
	struct config_arguments arguments = {0};
	const char *word = "";
	bool json = false;
	int code;
	const struct cli_option options[] = {{.long_name = "--json", .flag = &json}, {.long_name = NULL}};
	if (!cli_parse(&(struct cli_syntax){.command = "teardown",
	                                    .help = help,
	                                    .options = options,
	                                    .config = &arguments,
	                                    .arguments = &word,
	                                    .most = 1},
	               argc, argv, &code))
		return code;
	struct error err = {.code = ""};
	if (strcmp(word, "TEARDOWN") != 0) {
		error_set(&err, "PSYNC_S0102", "this deletes all stored data: say so with the word TEARDOWN");
		return cli_fail("teardown", json, EXIT_BAD_CONFIG, &err);
	}
	struct config *config = cli_load("teardown", &arguments, json, &code);
	if (!config)
		return 1; /* unlike elsewhere (configuration 1.6) */
	struct log log = {.level = LOG_INFO, .json = config->logging.json, .fd = json ? STDERR_FILENO : STDOUT_FILENO};
	struct progress bar = progress_begin("Tearing down", json);
	bool ok = teardown(config, &log, &bar, &err);
	progress_clear(&bar);
	code = ok ? 0 : cli_fail("teardown", json, 1, &err);
	if (!code && json)
		cli_print_json(json_pack("{s:b}", "ok", 1));
	config_free(config);
	return code;
}
