/*
 * copy_text.h: rows of COPY ... TO STDOUT in text format (PostgreSQL documentation, COPY).
 *
 * One copy of the row's bytes goes into the arena and is cut and unescaped in place: no allocation for a field.
 */
#ifndef SYNCLINE_SOURCE_POSTGRES_COPY_TEXT_H
#define SYNCLINE_SOURCE_POSTGRES_COPY_TEXT_H

#include "source/source.h"

/* Cuts one row (with or without its line end) into count values. False: it does not have just so many. */
bool copy_text_row(struct slice line, struct arena *arena, struct raw_value *values, size_t count);

#endif
