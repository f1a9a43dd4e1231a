/*
 * pgoutput.h: the decoder of pgoutput's messages, protocol version 1, text format (PostgreSQL documentation, "Logical Replication
 * Message Formats").
 *
 * A pure function from bytes to an event: no connection, no state, every length checked. What needs memory of earlier messages
 * (columns of a relation, old values) is done by the stream.
 */
#ifndef SYNCLINE_SOURCE_POSTGRES_PGOUTPUT_H
#define SYNCLINE_SOURCE_POSTGRES_PGOUTPUT_H

#include "source/source.h"

struct pgoutput_event {
	struct stream_event event;   /* rows as sent: of a key-only old tuple the other columns are RAW_NULL */
	size_t new_count, old_count; /* columns of event.new_row, event.old_row */
	bool ignored;                /* a message without meaning for us (type, origin) */
};

/* Slices point into bytes; arrays are in the arena. False: malformed. */
bool pgoutput_decode(struct slice bytes, struct arena *arena, struct pgoutput_event *out, struct error *err);

#endif
