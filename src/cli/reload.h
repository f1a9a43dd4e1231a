/*
 * reload.h: SIGHUP: the configuration is read again, and of it the sync config is deployed (incremental-deploy 4).
 *
 * What cannot be read or compiled changes nothing: it is logged and told by the admin API, and what runs goes on.
 */
#ifndef SYNCLINE_CLI_RELOAD_H
#define SYNCLINE_CLI_RELOAD_H

#include "cli/service.h"

/* The thread that started the service. arguments: as at the start. */
void service_reload(struct service *s, const struct config_arguments *arguments);

#endif
