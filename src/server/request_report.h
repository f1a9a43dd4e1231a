/*
 * request_report.h: checkpoint requests as JSON: who waits, for what, since when, and why (`syncline requests` and the admin route; the
 * members are described in docs/checkpoint-requests.md).
 */
#ifndef SYNCLINE_SERVER_REQUEST_REPORT_H
#define SYNCLINE_SERVER_REQUEST_REPORT_H

#include <jansson.h>

#include "storage/request_list.h"

struct server;

#define REPORT_DEFAULT_LIMIT 100
#define REPORT_MAX_LIMIT 1000

/* s NULL: nothing is known of streams and the source; in_use tells whether a service is there all the same. NULL: err says why. Any thread;
 * reads storage. */
json_t *request_report(struct storage *storage, struct server *s, bool in_use, const struct request_filter *filter,
                       struct error *err);

#endif
