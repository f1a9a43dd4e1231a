/*
 * replicate.h: the engine that pulls a source through the rules into storage (interleaved-snapshot.md, incremental-deploy.md).
 *
 * One replication thread (the stream's reader and the only writer of data) and a few snapshot readers. Survives every failure of the
 * source with back-off; stored data is served meanwhile.
 */
#ifndef SYNCLINE_REPLICATE_REPLICATE_H
#define SYNCLINE_REPLICATE_REPLICATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/log.h"
#include "rules/rules.h"
#include "source/source.h"
#include "storage/storage.h"

struct replicator;

struct replicator_options {
	struct source *source;
	const char *connection_tag;
	const char *slot_name_prefix;
	double heartbeat_interval_s;
	struct storage *storage;
	const struct log *log;
	int snapshot_readers; /* 0: 2 */
	size_t chunk_rows, chunk_bytes; /* 0: 10,000 rows, 8 MiB; tests make them tiny */
};

/* Takes a reference to the plan (the configured sync config, compiled). Starts the threads. */
struct replicator *replicator_start(const struct replicator_options *options, struct plan *plan, struct error *err);
/* Commits what is complete and stops the threads; leaves the slot. */
void replicator_stop(struct replicator *r);
void replicator_free(struct replicator *r);

struct replicator_status {
	bool connected, snapshotting;
	int64_t touched_at_ms;   /* wall clock of the last sign of life of the control loop */
	double lag_s;
	char last_error[512];
	uint64_t rows_read, rows_estimated, transactions, changes;
};
void replicator_status(struct replicator *r, struct replicator_status *out);

#endif
