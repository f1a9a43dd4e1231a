/* meter.h: the server's series (http-api-and-operations 10). */
#ifndef SYNCLINE_SERVER_METER_H
#define SYNCLINE_SERVER_METER_H

#include "server/server.h"

/* Registers them and what fills them in when they are printed; does nothing without a registry. */
void server_meter_init(struct server *s);

#endif
