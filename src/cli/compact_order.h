/* compact_order.h: what the compact command asks for, in the command itself or handed to the running service. */
#ifndef SYNCLINE_CLI_COMPACT_ORDER_H
#define SYNCLINE_CLI_COMPACT_ORDER_H

#include <jansson.h>

#include "storage/compact.h"

/* How an order is carried out. Functions may be NULL. */
struct compact_way {
	bool in_use; /* others use the store: they are given way, and the order's margin counts */
	bool (*go_on)(void *ctx);
	void (*progress)(void *ctx, json_t *values); /* takes them; several times a second */
	void *ctx;
};

/*
 * {"buckets": bool, "names": [full names], "lookups": bool, "incremental": bool, "defragment": bool, "margin_ms": 0 to 120000}: expired checkpoint requests are removed, then buckets
 * (all, or those named), lookups, and what a deploy left over. The answer has numbers: buckets, moved, cleared, lookups, dropped, unknown, rewritten,
 * bytes_freed (in the store's file, for its own use again), seconds, and "stopped": true if it was cut short. NULL with an error.
 */
json_t *compact_order_run(struct storage *s, const json_t *order, const struct compact_way *way, struct error *err);

#endif
