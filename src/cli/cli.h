/* cli.h: the subcommands. Each takes the arguments behind its name and answers the exit code. */
#ifndef SYNCLINE_CLI_CLI_H
#define SYNCLINE_CLI_CLI_H

int cli_start(int argc, char **argv);
int cli_validate(int argc, char **argv);

/* Options that find the configuration: -c, -c64, -sync64 and their long forms (configuration 1.1). Answers the number of arguments
 * that argv[at] and its value take, 0 if it is none of them, -1 after a message if the value is missing. */
struct config_arguments;
int cli_config_option(struct config_arguments *out, int argc, char **argv, int at);

#endif
