/* main.c: picks the subcommand. */
#include <stdio.h>

int main(int argc, char **argv)
{
	(void)argc;
	fprintf(stderr, "usage: %s start -c powersync.yaml\n", argv[0]);
	return 2;
}
