/*
 * ws_connection.h: a WebSocket with RSocket on it (sync-protocol 9): the same sessions as POST /sync/stream, several on a connection.
 * Net thread only.
 */
#ifndef SYNCLINE_SERVER_WS_CONNECTION_H
#define SYNCLINE_SERVER_WS_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"
#include "server/http_request.h"

struct connection;
struct ws_connection;

bool ws_is_upgrade(const struct http_request *r);
/* c->exchange holds the upgrade request. True: the connection is a WebSocket now. False: the answer in the exchange refuses it. */
bool ws_connection_begin(struct connection *c);
void ws_connection_input(struct ws_connection *w, struct slice bytes);
void ws_connection_drained(struct ws_connection *w, size_t unsent);
/* The connection is closing: lets go of everything. The object itself lives as long as the connection's. */
void ws_connection_leave(struct ws_connection *w);
void ws_connection_free(struct ws_connection *w);
/* Shutting down: closes with 1001 once no stream is left. */
void ws_connection_drain(struct ws_connection *w);

/* Who the first of its streams is, as JSON members; NULL: not known. */
const char *ws_connection_fields(const struct ws_connection *w);

#endif
