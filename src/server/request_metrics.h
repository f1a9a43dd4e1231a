/*
 * request_metrics.h: what is counted of checkpoint requests, and of the work that they cause for sessions (docs/checkpoint-requests.md).
 */
#ifndef SYNCLINE_SERVER_REQUEST_METRICS_H
#define SYNCLINE_SERVER_REQUEST_METRICS_H

#include "base/metrics.h"
#include "server/requests.h"

struct session_hub;

struct request_metrics;

/* Registers, and looks at requests, storage and hub before each print. All outlive the registry's last print. m NULL: nothing is counted. */
struct request_metrics *request_metrics_new(struct metrics *m, struct requests *r, struct storage *storage,
                                            struct session_hub *hub);
void request_metrics_free(struct request_metrics *r);

/* One request has its answer: job NULL: it was refused before it came to the batcher. Any thread. */
void request_metrics_count(struct request_metrics *r, const struct checkpoint_job *job);

#endif
