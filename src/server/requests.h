/*
 * requests.h: the batcher of checkpoint requests (checkpoint-requests 2).
 *
 * A thread gathers what came before its head read began, reads one head, stores all with it, answers, and asks for one marker if
 * anything is pending (marker.h). It never waits for a source that is down: heads are unknown then, the answer is 200, and heads are filled in
 * once the source is back. Connecting is another thread's work, which also cuts calls that hang.
 */
#ifndef SYNCLINE_SERVER_REQUESTS_H
#define SYNCLINE_SERVER_REQUESTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/log.h"
#include "source/source.h"
#include "storage/storage.h"

enum checkpoint_job_kind {
	JOB_STORE, /* supplied or generated id */
	JOB_WAIT,  /* the oldest route: until the served checkpoint has passed the head */
};

enum checkpoint_outcome {
	OUTCOME_DONE,
	OUTCOME_FAILED,  /* storage failed; logged */
	OUTCOME_TIMEOUT, /* JOB_WAIT: not passed in time */
};

/* Lies in the object that made the request; belongs to the batcher until done is called. */
struct checkpoint_job {
	struct checkpoint_job *next;
	enum checkpoint_job_kind kind;
	struct user_key user;                     /* JOB_STORE; the bytes must live until done */
	uint64_t id;                              /* 0: generate */
	void (*done)(struct checkpoint_job *job); /* on the batcher's thread; must not block */
	/* answers */
	enum checkpoint_outcome outcome;
	uint64_t stored_id; /* JOB_STORE; for JOB_WAIT the op id of the checkpoint */
	bool stored;        /* JOB_STORE: with this head, or to get one; false: the id was known */
	bool pending;       /* JOB_STORE: not acknowledged yet */
	bool head_known;
	struct position head; /* as it was read for this batch */
	/* the batcher's own */
	int64_t deadline_ms;
};

struct requests;

struct requests_options {
	struct storage *storage;
	struct source *source; /* NULL: none configured; every head is unknown */
	const struct log *log;
};

struct requests *requests_start(const struct requests_options *options, struct error *err);
/* Any thread. */
void requests_submit(struct requests *r, struct checkpoint_job *job);
/* Finishes the jobs that it has and joins the threads. A call to the source that is under way is cut. */
void requests_stop(struct requests *r);
void requests_free(struct requests *r);

struct requests_stats {
	uint64_t requests, batches, heads, markers, reconnects;
};
void requests_get_stats(struct requests *r, struct requests_stats *out);

#endif
