/* sync_config.h: reading and compiling the sync config that the configuration names. */
#ifndef SYNCLINE_CLI_SYNC_CONFIG_H
#define SYNCLINE_CLI_SYNC_CONFIG_H

#include "base/error.h"
#include "base/log.h"
#include "config/config.h"
#include "rules/rules.h"

/* The text, from the file or the configuration; owned by the caller (free). NULL: *err says why; *err->message is "" when the
 * configuration names none. */
char *sync_config_read(const struct config *config, struct error *err);
/* Name to show in diagnostics: the path, or "sync config". */
const char *sync_config_name(const struct config *config);
/* Compiles; every diagnostic is logged as name:line:column. NULL if one is fatal. */
struct plan *sync_config_compile(const char *text, const char *name, const struct log *log);

#endif
