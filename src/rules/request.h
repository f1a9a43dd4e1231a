/*
 * request.h: the token and the client's parameters, as the expressions of a request see them (sync-config 15.1, sync-streams 3).
 */
#ifndef SYNCLINE_RULES_REQUEST_H
#define SYNCLINE_RULES_REQUEST_H

#include "rules/expr.h"
#include "rules/rules.h"

struct request_data {
	struct json_node token, client; /* numbers as doubles */
	struct value token_text, client_text;
	bool converted; /* the token's and the client's members are within the nesting limit */
};

/* Parses both JSON texts into the arena. False: PSYNC_S1004 (nesting), PSYNC_S2001 (not a JSON object). */
bool request_data_read(struct request_data *r, struct slice token, struct slice client, struct arena *arena, struct error *err);

bool request_value(struct eval_env *env, enum request_source source, struct slice name, struct value *out);

/* The parsed tree behind a JSON text of the request, NULL for other sources. */
const struct json_node *request_node(const struct request_data *r, enum request_source source,
                                     const struct json_node *subscription);

#endif
