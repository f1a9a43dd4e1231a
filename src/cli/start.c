/* start.c: runs the service until a signal says stop. */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/reload.h"
#include "cli/service.h"
#include "cli/shutdown_guard.h"

static const char help[] =
        "Usage: syncline start [-r ROLE] [OPTIONS]\n\n"
        "Runs the service in the foreground. SIGTERM, SIGINT or SIGUSR2 stops it: streams end cleanly, everything is durable,\n"
        "exit code 0. A second SIGINT ends it at once, as 30 s do: exit code 1. SIGHUP reads the sync config again and deploys\n"
        "what has changed; streams go on. A command that holds the store is waited for; another service on it is refused.\n"
        "Exit code 150: the configuration is bad, or something that it names cannot be used (store, port).\n"
        "Exit code 1: the sync config is not usable (sync_config.exit_on_error), 1 s after the line about it.\n\n"
        "  -r, --runner-type ROLE     unified (default; PS_RUNNER_TYPE): replicates and serves. With a storage database also "
        "sync,\n"
        "                             which does the same, and api, which only serves\n";

static bool read_role(const char *text, enum config_role *role)
{
	static const char *const names[] = {[ROLE_UNIFIED] = "unified", [ROLE_API] = "api", [ROLE_SYNC] = "sync"};
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strcmp(text, names[i]) == 0) {
			*role = (enum config_role)i;
			return true;
		}
	return false;
}

/* Memory of bursts (chunks of a snapshot, downloads) must go back to the system: a fixed threshold for mmap keeps large blocks out of
 * the heaps, and few heaps keep what is free in them small. */
static void tune_malloc(void)
{
	mallopt(M_MMAP_THRESHOLD, 256 * 1024);
	mallopt(M_TRIM_THRESHOLD, 1024 * 1024);
	mallopt(M_ARENA_MAX, 4);
}

/* Signals are taken by sigwait: no handler runs anywhere. */
static void block_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGUSR2);
	sigaddset(set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static void wait_for_stop(struct service *s, const sigset_t *set, const struct config_arguments *arguments)
{
	int sig;
	do {
		if (sigwait(set, &sig) != 0)
			continue;
		if (sig == SIGHUP && !s->stopped_early)
			service_reload(s, arguments);
	} while (sig != SIGTERM && sig != SIGINT && sig != SIGUSR2);
	log_info(&s->log, "Stopping on %s", sig == SIGTERM ? "SIGTERM" : sig == SIGINT ? "SIGINT" : "SIGUSR2");
}

static int run(const struct config_arguments *arguments, enum config_role role, const char *role_name)
{
	struct error err = {.code = ""};
	sigset_t signals;
	struct service s = {.role = role, .log = {.level = LOG_INFO, .json = config_log_is_json(NULL), .fd = STDOUT_FILENO}};
	tune_malloc();
	block_signals(&signals);
	log_info(&s.log, "Syncline %s, %s", SYNCLINE_VERSION, role_name);
	s.config = config_load(arguments, &err);
	if (!s.config) {
		log_error(&s.log, "Fatal startup error - exiting with code %d. %s%s%s%s", EXIT_BAD_CONFIG, *err.code ? "[" : "",
		          err.code, *err.code ? "] " : "", err.message);
		return EXIT_BAD_CONFIG;
	}
	s.log.json = s.config->logging.json;
	log_info(&s.log, "Configured logger with level \"%s\" and format \"%s\"", log_level_name(s.config->logging.level),
	         s.log.json ? "json" : "text");
	s.log.level = s.config->logging.level;
	for (size_t i = 0; i < s.config->warning_count; i++)
		log_warn(&s.log, "%s", s.config->warnings[i].message);
	int code = service_start(&s);
	if (code == 0)
		wait_for_stop(&s, &signals, arguments);
	struct shutdown_guard guard = {0};
	shutdown_guard_start(&guard, &signals, &s.log);
	service_stop(&s);
	shutdown_guard_stop(&guard);
	if (code == 0)
		log_info(&s.log, "Stopped");
	return code;
}

int cli_start(int argc, char **argv)
{
	struct config_arguments arguments = {0};
	const char *role = NULL;
	enum config_role what;
	int code;
	const struct cli_option options[] = {{"-r", "--runner-type", .value = &role}, {.long_name = NULL}};
	if (!cli_parse(&(struct cli_syntax){.command = "start", .help = help, .options = options, .config = &arguments}, argc,
	               argv, &code))
		return code;
	if (!role || !*role)
		role = getenv("PS_RUNNER_TYPE");
	if (!role || !*role)
		role = "unified";
	if (!read_role(role, &what)) {
		fprintf(stderr, "syncline start: there is no role '%s'\n", role);
		return EXIT_BAD_CONFIG;
	}
	return run(&arguments, what, role);
}
