/*
 * cli.h: the subcommands and what they share.
 *
 * Each command takes the arguments behind its name and answers the exit code: 0 done, 1 failed or called wrongly, 150 the
 * configuration cannot be used (http-api-and-operations 6). A command called with --json prints one JSON object on standard output.
 * Each has its options in its --help, in docs/syncline.1 and so in the shell completion, which tests/integration/manual.test.mjs compares.
 */
#ifndef SYNCLINE_CLI_CLI_H
#define SYNCLINE_CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/error.h"
#include "base/slice.h"
#include "config/config.h"
#include "server/json_body.h"

int cli_auth_check(int argc, char **argv);
int cli_check(int argc, char **argv);
int cli_compact(int argc, char **argv);
int cli_requests(int argc, char **argv);
int cli_config(int argc, char **argv);
int cli_explain(int argc, char **argv);
int cli_migrate(int argc, char **argv);
int cli_pull(int argc, char **argv);
int cli_start(int argc, char **argv);
int cli_teardown(int argc, char **argv);
int cli_test_connection(int argc, char **argv);
int cli_token(int argc, char **argv);
int cli_validate(int argc, char **argv);

/* ---- options.c: the command line of one command ------------------------------------------------------------------------------ */

#define EXIT_USAGE 1

struct cli_option {
	const char *short_name; /* "-r"; NULL: none */
	const char *long_name;  /* "--runner-type"; also --runner-type=X. NULL ends a list */
	const char **value;     /* takes one; or */
	bool *flag;             /* is one */
};

struct cli_syntax {
	const char *command; /* "config show" */
	const char *help;    /* usage, what it does, its own options; those of `config` are added */
	const struct cli_option *options;
	struct config_arguments
	        *config;        /* gets -c, -c64, -sync64 and their long forms (configuration 1.1); NULL: no configuration */
	const char **arguments; /* gets the words that are no options */
	int least, most;        /* how many of them */
};

/* False: the command is over (help was printed, or a message about a wrong argument), *code is its exit code. */
bool cli_parse(const struct cli_syntax *s, int argc, char **argv, int *code);

/* ---- report.c: errors and JSON ------------------------------------------------------------------------------------------------ */

/* "syncline COMMAND: [CODE] message" on standard error, or {"ok":false,"error":{...}} on standard output. Answers code. */
int cli_fail(const char *command, bool json, int code, const struct error *err);
/* The configuration of the command line; NULL after a report, with *code set. */
struct config *cli_load(const char *command, const struct config_arguments *arguments, bool json, int *code);
/* Prints and frees. */
void cli_print_json(json_t *value);

#endif
