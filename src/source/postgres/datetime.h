/*
 * datetime.h: dates and times from the server's text (DateStyle ISO) to the forms of source-postgres 14.1, 14.2.
 */
#ifndef SYNCLINE_SOURCE_POSTGRES_DATETIME_H
#define SYNCLINE_SOURCE_POSTGRES_DATETIME_H

#include "source/source.h"

/* The result is text: the input's slice if nothing changes, else in the arena; or NULL for what does not fit the form (BC
 * timestamps, years of timestamptz over 9999). */
struct value datetime_date(struct slice text);
struct value datetime_time(struct slice text, const struct mapping_options *options, struct arena *arena);
struct value datetime_timestamp(struct slice text, const struct mapping_options *options, struct arena *arena);
struct value datetime_timestamptz(struct slice text, const struct mapping_options *options, struct arena *arena);

#endif
