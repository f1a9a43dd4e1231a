/*
 * conninfo.h: the libpq parameters of a connection (source-postgres 1): address, TLS, keepalives, pinned session settings.
 */
#ifndef SYNCLINE_SOURCE_POSTGRES_CONNINFO_H
#define SYNCLINE_SOURCE_POSTGRES_CONNINFO_H

#include "source/postgres/link.h"

#define CONNINFO_MAX 32

struct conninfo {
	const char *keywords[CONNINFO_MAX], *values[CONNINFO_MAX];
	size_t count;
	struct arena arena;
};

/* Resolves the host name (blocking, as libpq itself would). Values point into the configuration or the arena. */
bool conninfo_build(struct conninfo *info, struct source *s, bool replication, struct error *err);
void conninfo_free(struct conninfo *info);

/* An anonymous file with the text, readable under /proc/self/fd/<fd> by this process only; -1 when text is NULL or on failure. */
int conninfo_memory_file(const char *name, const char *text);

#endif
