/* shared_store.c: see shared_store.h. */
#include "cli/shared_store.h"

#include <string.h>

bool is_shared_store(const struct config *c)
{
	return strcmp(c->storage.type, "postgresql") == 0;
}

bool shared_store_reachable(const struct config *c, struct error *err)
{
	struct storage_options options = {.path = {NULL, 0}};
	struct storage_database database = {.source = NULL};
	storage_database_open(&database, c, NULL, &options);
	bool ok = storage_postgres_reachable(&options, err);
	storage_database_close(&database);
	return ok;
}

bool shared_store_open(struct shared_store *s, const struct config *c, const struct log *log, struct error *err)
{
	struct storage_options options = wiring_storage_options(c, log);
	*s = (struct shared_store){.storage = NULL};
	options.keep_format = true;
	storage_database_open(&s->database, c, log, &options);
	s->storage = storage_open_postgres(&options, err);
	return s->storage != NULL;
}

void shared_store_close(struct shared_store *s)
{
	storage_close(s->storage);
	storage_database_close(&s->database);
}
