/* jwks_fetch.h: one GET of a JWKS URL (auth 3.1). */
#ifndef SYNCLINE_AUTH_JWKS_FETCH_H
#define SYNCLINE_AUTH_JWKS_FETCH_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/buf.h"

#define JWKS_CAUSE_SIZE 256

/*
 * True: a status from 200 to 299, *body filled. False: *cause says why, for the log. Blocks for up to 30 s; ends soon after *stop
 * becomes true. Called on a thread of its own.
 */
typedef bool jwks_fetch_fn(void *context, const char *url, const atomic_bool *stop, struct buf *body,
                           char cause[JWKS_CAUSE_SIZE]);

/* By libcurl; the context is a const struct address_rules. The address of every connection of every hop is checked. */
jwks_fetch_fn jwks_fetch_http;

#endif
