/*
 * metrics_listener.h: GET /metrics on a port of its own (http-api-and-operations 10), on a thread of its own, so that a scrape that
 * asks the store or the source for something delays nobody else.
 *
 * No authentication, all interfaces; any other path or method is 404 with an empty body.
 */
#ifndef SYNCLINE_SERVER_METRICS_LISTENER_H
#define SYNCLINE_SERVER_METRICS_LISTENER_H

#include "base/error.h"
#include "base/metrics.h"

struct metrics_listener;

/* port 0: a free one. NULL: the port is in use, or no thread could be started. metrics outlives the listener. */
struct metrics_listener *metrics_listener_start(struct metrics *m, int port, struct error *err);
int metrics_listener_port(const struct metrics_listener *l);
/* Waits for the answer that is being made. What the collectors ask must still be there. NULL does nothing. */
void metrics_listener_stop(struct metrics_listener *l);

#endif
