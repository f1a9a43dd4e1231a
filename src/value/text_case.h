/* text_case.h: upper and lower case of text, full Unicode mappings without locale (sync-config 11.1). Pure. */
#ifndef SYNCLINE_VALUE_TEXT_CASE_H
#define SYNCLINE_VALUE_TEXT_CASE_H

#include "base/arena.h"
#include "base/slice.h"

struct slice text_upper(struct slice s, struct arena *arena);
/* A capital sigma at the end of a word becomes the final form. */
struct slice text_lower(struct slice s, struct arena *arena);

#endif
