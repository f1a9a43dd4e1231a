/* classify.c: from an error to the way it is retried (source-postgres 11.1, 11.3). */
#include <string.h>

#include "source/source.h"

static bool has(const char *text, const char *first, const char *second)
{
	const char *at = strstr(text, first);
	return at && (!second || strstr(at + strlen(first), second));
}

enum source_failure source_classify(const struct error *err)
{
	const char *text = err->message;
	/* Our own check of the publication has a code and heals by itself when somebody makes it; the server's text comes from a slot
	 * that cannot get past the time without publication. */
	bool check = err->code && strncmp(err->code, "PSYNC_S114", 10) == 0 && strcmp(err->code, "PSYNC_S1146") != 0;
	if (has(text, "password authentication failed", NULL))
		return SOURCE_RETRY_LATE;
	if (check)
		return SOURCE_RETRY;
	if ((err->code && strcmp(err->code, "PSYNC_S1146") == 0) || has(text, "incorrect prev-link", NULL) ||
	    has(text, "replication slot", "does not exist") || has(text, "publication", "does not exist") ||
	    has(text, "can no longer access replication slot", NULL) ||
	    has(text, "can no longer get changes from replication slot", NULL) ||
	    has(text, "cannot read from logical replication slot", NULL) ||
	    has(text, "requested WAL segment", "has already been removed"))
		return SOURCE_SLOT_LOST;
	return SOURCE_RETRY;
}
