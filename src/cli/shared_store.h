/* shared_store.h: the storage database of a configuration, opened by a command beside the services that use it. */
#ifndef SYNCLINE_CLI_SHARED_STORE_H
#define SYNCLINE_CLI_SHARED_STORE_H

#include "cli/wiring.h"

struct shared_store {
	struct storage_database database;
	struct storage *storage;
};

bool is_shared_store(const struct config *c);
/* A connection can be made. */
bool shared_store_reachable(const struct config *c, struct error *err);
/* Migrates nothing: an older database is refused. */
bool shared_store_open(struct shared_store *s, const struct config *c, const struct log *log, struct error *err);
/* Also after a failed opening. */
void shared_store_close(struct shared_store *s);

#endif
