/* test_connection.c: connects to source and storage as the service would, checks the source's settings, and ends. */
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/shared_store.h"
#include "cli/storage_folder.h"
#include "cli/wiring.h"

static const char help[] = "Usage: syncline test-connection [--json] [OPTIONS]\n\n"
                           "Connects to the source, checks its settings, looks at the storage, and says how it went.\n"
                           "Exit code 0: it works; 1: it does not, or the configuration is bad. 'syncline check' tests more.\n\n"
                           "      --json                 as JSON\n";

static bool test_source(const struct config *config, const struct log *log, struct error *err)
{
	if (!config->has_source)
		return error_set(err, "", "the configuration names no source database (replication.connections)");
	struct source_config sc = wiring_source_config(config);
	struct source *source = source_new(&sc, log);
	struct source_connection *c = source_connect(source, err);
	bool ok = c && source_check(c, err);
	source_disconnect(c);
	source_free(source);
	return ok;
}

/* A store in use is well: the service runs beside this. */
static bool test_storage(const struct config *config, struct error *err)
{
	long pid;
	uint64_t space;
	if (is_shared_store(config))
		return shared_store_reachable(config, err);
	if (strcmp(config->storage.type, "lmdb") != 0)
		return error_set(err, "", "storage.type '%s' is not supported by this version", config->storage.type);
	return storage_folder_state(config, &pid, &space, err) != FOLDER_BAD;
}

int cli_test_connection(int argc, char **argv)
{
	struct config_arguments arguments = {0};
	bool json = false;
	int code;
	const struct cli_option options[] = {{.long_name = "--json", .flag = &json}, {.long_name = NULL}};
	if (!cli_parse(&(struct cli_syntax){.command = "test-connection", .help = help, .options = options, .config = &arguments},
	               argc, argv, &code))
		return code;
	struct config *config = cli_load("test-connection", &arguments, json, &code);
	if (!config)
		return 1; /* unlike elsewhere (configuration 1.6) */
	struct error err = {.code = ""};
	struct log log = {.level = LOG_WARN, .fd = STDERR_FILENO};
	const struct config_postgres *s = &config->source;
	code = 0;
	if (!test_source(config, &log, &err) || !test_storage(config, &err)) {
		error_prefix(&err, "Connection failed: ");
		code = json ? cli_fail("test-connection", true, 1, &err) : 1;
		if (!json)
			printf("%s\n", err.message);
	} else if (json) {
		cli_print_json(json_pack("{s:b}", "ok", 1));
	} else {
		printf("Connection succeeded to postgresql://%s:%d/%s\n", s->hostname, s->port, s->database);
	}
	config_free(config);
	return code;
}
