/* jwks_body.h: the answer of a JWKS URL -> keys (auth 3.2). */
#ifndef SYNCLINE_AUTH_JWKS_BODY_H
#define SYNCLINE_AUTH_JWKS_BODY_H

#include "auth/jwks_state.h"

/* JWKS_OK: *out is a new set. Otherwise err has the reason for the client. */
enum jwks_outcome jwks_body_read(struct slice body, const struct crypto *c, enum key_profile profile, struct key_set **out,
                                 struct error *err);

#endif
