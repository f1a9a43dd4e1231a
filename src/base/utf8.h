/* utf8.h: is it UTF-8, and making bytes from outside into it. */
#ifndef SYNCLINE_BASE_UTF8_H
#define SYNCLINE_BASE_UTF8_H

#include "base/arena.h"
#include "base/slice.h"

/* Length in bytes of the valid sequence at p (n > 0 bytes are there), at most 4; or 0, and then *bad is the length of the part that one
 * U+FFFD stands for. */
size_t utf8_sequence(const char *p, size_t n, size_t *bad);
bool utf8_valid(struct slice text);

/* The text itself when it is valid UTF-8; otherwise a copy in the arena with U+FFFD for each bad part (auth 4). */
struct slice utf8_mend(struct slice text, struct arena *arena);

/* For messages and logs: at most max bytes, cut between characters, control characters as blanks. Valid UTF-8 in, copy out. */
struct slice utf8_shown(struct slice text, size_t max, struct arena *arena);

#endif
