/* token_make.h: signing development tokens, for the commands that need one. */
#ifndef SYNCLINE_CLI_TOKEN_MAKE_H
#define SYNCLINE_CLI_TOKEN_MAKE_H

#include <jansson.h>

#include "base/buf.h"
#include "config/config.h"

struct token_request {
	const char *sub;
	const char *aud, *kid, *lifetime, *claims; /* NULL: the usual (syncline token --help) */
};

/* Appends a token to *token. claims: NULL, or gets a new reference. False: the configuration does not allow it, or the request is
 * wrong. */
bool token_make(const struct config *c, const struct token_request *r, struct buf *token, json_t **claims, struct error *err);

#endif
