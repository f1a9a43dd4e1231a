/*
 * reader.h: the threads that read tables in chunks and watch the source, beside the replication thread (interleaved-snapshot 4).
 *
 * Readers fetch chunks on their own connections, evaluate the rows, and put the results into an inbox; the replication thread
 * takes them out at boundaries of the stream. A watcher thread asks for heads (to settle delivered transactions), makes heartbeats
 * and nudges. Results under way are bounded in number.
 */
#ifndef SYNCLINE_REPLICATE_READER_H
#define SYNCLINE_REPLICATE_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "replicate/binding.h"
#include "source/source.h"

/* What a reader is to read: a range, or the rows with these keys; or it is to say where the table can be cut. Shared by reference. */
struct read_job {
	_Atomic uint32_t references;
	_Atomic bool cancelled; /* set by the replication thread: results are of no use any more */
	struct binding *binding;
	struct buf after;   /* position of the source module; n == 0: from the start */
	struct buf until;   /* n == 0: to the end */
	size_t split_parts; /* not 0: nothing is read, RESULT_SPLIT answers */
	struct arena arena; /* owns keys */
	const struct raw_value *keys;
	const struct row_key *row_keys; /* the same as storage knows them */
	size_t key_count;               /* 0: a range */
	/* a table without identity: owned; rows of the transaction that is open on it get numbers as keys */
	struct source_connection *scan;
	uint64_t head_lsn, scanned;
};

/* Key of a row of a table without identity. origin: 'S' of a snapshot, 'W' of the stream. In the arena. */
void keyless_row_key(char origin, uint64_t place, uint64_t number, struct arena *arena, struct row_key *key);

struct read_job *read_job_new(struct binding *b, struct slice after);
void read_job_unref(struct read_job *job);

/* A row of a chunk, evaluated. Everything lives in the result's arena. */
struct chunk_row {
	struct row_key key;
	struct row_contributions contributions;
	struct slice image;
	const struct raw_value *raw;
};

enum result_kind { RESULT_CHUNK, RESULT_SPLIT, RESULT_HEAD, RESULT_FAILED };

struct read_result {
	struct read_result *next;
	enum result_kind kind;
	struct arena arena;
	/* RESULT_CHUNK, RESULT_FAILED */
	struct read_job *job;
	struct source_chunk chunk;
	struct chunk_row *rows;
	/* RESULT_SPLIT; chunk.outcome tells whether there is such a table */
	struct slice *positions;
	size_t position_count;
	/* RESULT_HEAD */
	struct xid_snapshot snapshot;
	uint64_t head_lsn;
	/* RESULT_FAILED */
	struct error error;
};

struct reader_pool;

struct reader_options {
	struct source *source;
	const struct log *log;
	int readers;
	size_t chunk_rows, chunk_bytes;
	double heartbeat_interval_s;
	/* Now and then, on the thread that watches, with its connection. */
	bool (*look)(void *ctx, struct source_connection *c); /* false: the connection is to be closed */
	void *look_ctx;
};

/* Starts the threads; connections are opened when there is work. */
struct reader_pool *reader_pool_start(const struct reader_options *options, struct error *err);
/* Interrupts whatever is under way, joins the threads, frees queued jobs and results. */
void reader_pool_stop(struct reader_pool *p);

/* Readable when the inbox is not empty. */
int reader_pool_fd(const struct reader_pool *p);
/* Takes a reference of its own. */
void reader_pool_submit(struct reader_pool *p, struct read_job *job);
/* Takes all results out, in the order of their arrival; NULL if there are none. Each chunk that is taken makes room for one more only
 * when it is handed back by reader_pool_done. */
struct read_result *reader_pool_take(struct reader_pool *p);
void reader_pool_done(struct reader_pool *p, struct read_result *r);
bool reader_pool_has_results(struct reader_pool *p);

/* Facts from the replication thread: where the stream is (chunks need a nudge only beyond it), and whether anything waits to be
 * settled. */
void reader_pool_stream_at(struct reader_pool *p, uint64_t lsn, bool unsettled);

#endif
