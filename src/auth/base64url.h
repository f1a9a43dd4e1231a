/* base64url.h: decoding of token parts and key members. */
#ifndef SYNCLINE_AUTH_BASE64URL_H
#define SYNCLINE_AUTH_BASE64URL_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/slice.h"

/* Both alphabets, padding optional (auth 4 allows that much leniency; anything else is refused). The bytes are in the arena. */
bool base64url_decode(struct slice text, struct arena *arena, struct slice *out);

#endif
