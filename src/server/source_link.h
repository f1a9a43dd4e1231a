/*
 * source_link.h: the batcher's connection to the source: made in the background with back-off, lent to one thread, cut when a call
 * hangs.
 */
#ifndef SYNCLINE_SERVER_SOURCE_LINK_H
#define SYNCLINE_SERVER_SOURCE_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "source/source.h"

struct source_link;

/* on_connected is called on the link's thread after each (re)connect. */
struct source_link *source_link_start(struct source *s, const struct log *log, void (*on_connected)(void *ctx), void *ctx);
/* The connection, for one call; NULL: there is none now. To be given back with source_link_return before the next. */
struct source_connection *source_link_take(struct source_link *l);
/* ok false: the connection is closed, and a new one is made. */
void source_link_return(struct source_link *l, bool ok);
/* Counts connections made; a change between two takes means that the source may be another one. */
uint64_t source_link_generation(struct source_link *l);
/* Cuts a call that is under way, joins the thread and frees. May take as long as a connection attempt does. */
void source_link_cut(struct source_link *l);
void source_link_free(struct source_link *l);

#endif
