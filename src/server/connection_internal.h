/* connection_internal.h: between connection.c (coming in) and connection_output.c (going out). Net thread only. */
#ifndef SYNCLINE_SERVER_CONNECTION_INTERNAL_H
#define SYNCLINE_SERVER_CONNECTION_INTERNAL_H

#include <event2/util.h>

#include "server/connection.h"

/* Callbacks of the socket's events; arg: the connection. TLS may want to read in order to write, and the other way round. */
void connection_on_read(evutil_socket_t fd, short what, void *arg);
void connection_on_write(evutil_socket_t fd, short what, void *arg);
/* Goes as far as the received bytes allow. */
void connection_advance(struct connection *c);
/* In ms milliseconds the connection is closed, or answered with 408 in the middle of a request. */
void connection_set_timer(struct connection *c, int64_t ms);

#endif
