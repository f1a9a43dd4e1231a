/* sync_config.h: reading and compiling the sync config that the configuration names. */
#ifndef SYNCLINE_CLI_SYNC_CONFIG_H
#define SYNCLINE_CLI_SYNC_CONFIG_H

#include "base/error.h"
#include "base/log.h"
#include "config/config.h"
#include "rules/rules.h"
#include "source/source.h"

/* The text, from the file or the configuration; owned by the caller (free). NULL: *err says why; *err->message is "" when the
 * configuration names none. */
char *sync_config_read(const struct config *config, struct error *err);
/* The text of a file; the same ownership and errors. */
char *sync_config_read_file(const char *path, struct error *err);
/* Name to show in diagnostics: the path, or "sync config". */
const char *sync_config_name(const struct config *config);
/* Compiles; every diagnostic is logged as name:line:column. NULL if one is fatal. */
struct plan *sync_config_compile(const char *text, const char *name, const struct log *log);

/* What the source has, for plan_compile_known; in the arena. */
bool sync_config_known_tables(struct source_connection *c, const char *tag, struct arena *arena, struct known_table **out,
                              size_t *count, struct error *err);

#endif
