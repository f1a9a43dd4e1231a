/* routes.h: the table from method and path to handler. Net thread. */
#ifndef SYNCLINE_SERVER_ROUTES_H
#define SYNCLINE_SERVER_ROUTES_H

#include "server/exchange.h"

/* The head is here: finds the route, and takes the place of a stream under the connection limit, or notes that there is none. */
void routes_match(struct exchange *x);
/* The whole request is here. True: the answer is ready; false: x was handed to another thread. */
bool routes_dispatch(struct exchange *x);
const char *route_path(const struct route *r);
/* How large the body may be, in bytes. */
size_t routes_body_limit(const struct exchange *x);

/* Handlers, by file. */
bool route_stream(struct exchange *x);             /* route_stream.c */
bool route_checkpoint_request(struct exchange *x); /* route_checkpoint.c */
bool route_write_checkpoint2(struct exchange *x);
bool route_write_checkpoint(struct exchange *x);
bool route_admin_diagnostics(struct exchange *x); /* route_admin_diagnostics.c */
bool route_admin_connections(struct exchange *x); /* route_admin_connections.c */
bool route_admin_requests(struct exchange *x);    /* route_admin_requests.c */
bool route_admin_schema(struct exchange *x);
bool route_admin_validate(struct exchange *x);
bool route_admin_execute_sql(struct exchange *x); /* route_admin_sql.c */
bool route_rules_deploy(struct exchange *x);      /* route_admin_rules.c */
bool route_rules_validate(struct exchange *x);
bool route_rules_current(struct exchange *x);
bool route_admin_reprocess(struct exchange *x); /* route_admin_reprocess.c */
bool route_rules_reprocess(struct exchange *x);
bool route_probe_startup(struct exchange *x); /* route_probes.c */
bool route_probe_liveness(struct exchange *x);
bool route_probe_readiness(struct exchange *x);

#endif
