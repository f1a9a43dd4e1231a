/* main.c: picks the subcommand. */
#include <string.h>

#include "cli/cli.h"

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
} commands[] = {
        {"start", cli_start, "run the service"},
        {"check", cli_check, "test everything that the service needs, before it starts"},
        {"validate", cli_validate, "check a sync config and show its problems"},
        {"test-connection", cli_test_connection, "connect to source and storage, and end"},
        {"config", cli_config, "show the effective configuration"},
        {"auth-check", cli_auth_check, "say why a token is accepted or refused"},
        {"token", cli_token, "sign a token for development"},
        {"explain", cli_explain, "which buckets a user gets, and where a row goes"},
        {"pull", cli_pull, "sync as a client and print the rows"},
        {"requests", cli_requests, "who waits for a checkpoint request, and why"},
        {"compact", cli_compact, "take away history that no client needs"},
        {"migrate", cli_migrate, "bring the store to this version's format"},
        {"teardown", cli_teardown, "drop the slot and delete all stored data"},
};
#define COMMAND_COUNT (sizeof(commands) / sizeof(*commands))

static void usage(FILE *to)
{
	fprintf(to, "Usage: syncline COMMAND [OPTIONS]\n\nCommands:\n");
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		fprintf(to, "  %-16s %s\n", commands[i].name, commands[i].help);
	fprintf(to, "\n'syncline COMMAND --help' says more about one. 'syncline --version' prints the version.\n");
}

static int run(const char *name, int argc, char **argv)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		if (strcmp(name, commands[i].name) == 0)
			return commands[i].run(argc, argv);
	fprintf(stderr, "syncline: there is no command '%s'; see 'syncline --help'\n", name);
	return EXIT_USAGE;
}

static int help(const char *command)
{
	char word[] = "--help", *argv[] = {word, NULL};
	if (command)
		return run(command, 1, argv);
	usage(stdout);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0)
		return help(argc > 2 ? argv[2] : NULL);
	if (strcmp(argv[1], "--version") == 0) {
		printf("syncline %s\n", SYNCLINE_VERSION);
		return 0;
	}
	config_read_dotenv(NULL); /* what the command line falls back to may stand there (configuration 1.1) */
	return run(argv[1], argc - 2, argv + 2);
}
