/* ws_connection.c: no request is taken for an upgrade yet, so a WebSocket client gets the answer of its path. */
#include "server/ws_connection.h"

bool ws_is_upgrade(const struct http_request *r)
{
	(void)r;
	return false;
}

void ws_connection_begin(struct connection *c)
{
	(void)c;
}

void ws_connection_input(struct ws_connection *w, struct slice bytes)
{
	(void)w, (void)bytes;
}

void ws_connection_drained(struct ws_connection *w, size_t unsent)
{
	(void)w, (void)unsent;
}

void ws_connection_leave(struct ws_connection *w)
{
	(void)w;
}
