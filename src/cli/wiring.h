/*
 * wiring.h: the configuration in the words of each layer; the layers do not know config/.
 *
 * What is answered points into the configuration, which must outlive it.
 */
#ifndef SYNCLINE_CLI_WIRING_H
#define SYNCLINE_CLI_WIRING_H

#include "auth/auth.h"
#include "config/config.h"
#include "source/source.h"
#include "storage/storage.h"

/* Only with c->has_source. */
struct source_config wiring_source_config(const struct config *c);
struct auth_config wiring_auth_config(const struct config *c);
struct storage_options wiring_storage_options(const struct config *c, const struct log *log);
/* The database of a storage of type postgresql. Outlives what was opened with its options. */
struct storage_database {
	struct source_config config;
	struct source *source;
};
void storage_database_open(struct storage_database *d, const struct config *c, const struct log *log,
                           struct storage_options *options);
void storage_database_close(struct storage_database *d);
/* api.parameters: any finite number is allowed there; negative ones mean none at all (configuration 1.6, 2.7). */
size_t wiring_limit(double value);

#endif
