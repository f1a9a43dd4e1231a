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

#include "base/arena.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
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
	struct metrics *metrics;        /* NULL: none */
	int snapshot_readers;           /* 0: 2 */
	size_t chunk_rows, chunk_bytes; /* 0: 5,000 rows, 2 MiB; tests make them tiny */
	double discovery_interval_s;    /* the catalogue is looked at this often for tables that came, left or changed; 0: 10 */
};

/* Takes a reference to the plan (the configured sync config, compiled). Starts the threads. */
struct replicator *replicator_start(const struct replicator_options *options, struct plan *plan, struct error *err);
/* Takes a reference to the plan and makes it the one to deploy, at the next boundary of the stream, or at once while the source cannot
 * be reached: a difference of definitions (incremental-deploy 4). The active one serves until the new one is complete. Any thread; does
 * not wait. A deploy that fails is logged and told in the status; what ran before goes on. */
void replicator_deploy(struct replicator *r, struct plan *plan);
/* Waits until the last one asked for was taken: what it says is durable from then on. DEPLOY_WAITING: not within the time. */
enum deploy_outcome { DEPLOY_TAKEN, DEPLOY_FAILED, DEPLOY_WAITING };
enum deploy_outcome replicator_deploy_wait(struct replicator *r, int timeout_ms, struct error *err);
/* Reads every table again and compares it, beside the work; only differences make operations. False: that is going on already, or a deploy
 * waits to be taken. Any thread. */
bool replicator_reprocess(struct replicator *r);
/* Commits what is complete and stops the threads; leaves the slot. */
void replicator_stop(struct replicator *r);
void replicator_free(struct replicator *r);

struct replicator_status {
	bool connected, snapshotting;
	bool standing_by;      /* another process replicates */
	int64_t touched_at_ms; /* wall clock of the last sign of life of the control loop */
	double lag_s;          /* age of the oldest transaction that was delivered and is not served yet; 0: none */
	double greatest_lag_s; /* of the last 30 s */
	bool caught_up;        /* something was committed, or nothing was to be, since the start: the lag means something */
	uint64_t lag_bytes;    /* WAL of the source that is not served yet, as of the last look at its head */
	uint64_t position;     /* LSN that the stream has reached */
	bool slot_known;       /* what follows, as of the last look at the slot */
	uint64_t slot_bytes;   /* WAL that the source keeps because of it */
	bool slot_limited;     /* max_slot_wal_keep_size is set: */
	int64_t slot_left;     /* bytes that may still come before the source gives the slot up; below 0: it may at any moment */
	char last_error[512];
	char deploy_error[512];                    /* of the last deploy, if it failed */
	uint64_t failures;                         /* attempts that failed one after another at the same position */
	uint64_t rows_read, transactions, changes; /* since the start */
	double rows_estimated;                     /* of the tables that are being read; below 0: not known */
	double eta_s;                              /* until they are read; below 0: not known */
	int64_t checkpoint_at_ms; /* wall clock of the last commit that clients were shown; 0: none since the start */
	size_t tables_reading, tables;
};
void replicator_status(struct replicator *r, struct replicator_status *out);

/* A source table and how far it is read. */
struct replicator_table {
	struct slice schema, name;
	bool reading;
	uint64_t rows_read;
	double rows_estimated; /* below 0: not known */
	double eta_s;          /* while it is read: until it is; below 0: not known */
	char error[256];       /* why it cannot be read; "" */
};
/* All tables that the maintained plans read, in the arena. Any thread. */
void replicator_tables(struct replicator *r, struct arena *arena, struct replicator_table **out, size_t *count);

#endif
