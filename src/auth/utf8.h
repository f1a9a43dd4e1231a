/* utf8.h: making bytes from outside valid UTF-8. */
#ifndef SYNCLINE_AUTH_UTF8_H
#define SYNCLINE_AUTH_UTF8_H

#include "base/arena.h"
#include "base/slice.h"

/* The text itself when it is valid UTF-8; otherwise a copy in the arena with U+FFFD for each bad part (auth 4). */
struct slice utf8_mend(struct slice text, struct arena *arena);

/* For messages and logs: at most max bytes, cut between characters, control characters as blanks. Valid UTF-8 in, copy out. */
struct slice utf8_shown(struct slice text, size_t max, struct arena *arena);

#endif
