/* base64.h: RFC 4648 in both alphabets. */
#ifndef SYNCLINE_BASE_BASE64_H
#define SYNCLINE_BASE_BASE64_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/slice.h"

enum base64_form {
	BASE64_PLAIN, /* + and /, padded */
	BASE64_URL,   /* - and _, not padded */
};
void base64_encode(struct buf *out, const void *bytes, size_t n, enum base64_form form);

/* Both alphabets, padding optional; anything else is refused (auth 4 allows that much leniency). The bytes are in the arena. */
bool base64_decode(struct slice text, struct arena *arena, struct slice *out);
/* As people paste it: characters that are no digits are passed over, '=' ends it. A NUL follows the bytes. */
struct slice base64_decode_leniently(struct slice text, struct arena *arena);

#endif
