/* check_list.h: the results of `syncline check`, collected and printed. */
#ifndef SYNCLINE_CLI_CHECK_LIST_H
#define SYNCLINE_CLI_CHECK_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "cli/progress.h"
#include "config/config.h"

enum check_status { CHECK_OK, CHECK_NOTE, CHECK_WARNING, CHECK_ERROR };

struct check_item {
	enum check_status status;
	const char *subject; /* "source", "storage", ...; static */
	const char *text, *fix;
};

struct check_list {
	struct arena arena;
	struct check_item *items;
	size_t count, cap;
	size_t errors, warnings;
	struct progress bar;
};

/* fix: what to do, NULL if the text says it; both are copied. */
void check_add(struct check_list *l, enum check_status status, const char *subject, const char *fix, const char *format, ...)
        __attribute__((format(printf, 5, 6)));
void check_list_print(const struct check_list *l, bool json);
void check_list_free(struct check_list *l);

/* What the store tells about an installation that is there already. */
struct check_store {
	bool running;  /* a service holds it: its ports, slot and WAL sender are taken as they should be */
	char slot[64]; /* its replication slot; "" if it has none yet */
};

/* The part of the work that is done when the source's turn comes. */
#define CHECK_SOURCE_FROM 0.3

/* check_source.c: the source database and the sync config against it; text: the sync config, NULL if there is none to compare. */
void check_source(struct check_list *l, const struct config *config, const struct check_store *store, const char *text);

#endif
