/*
 * session_internal.h: the parts of a session, shared by session.c (life, steps, keep-alives), session_checkpoint.c (which line
 * comes next) and session_data.c (data lines).
 *
 * An idle session is what is declared here and nothing else: one block for what the request said, one small block per bucket. Buffers
 * and arenas belong to steps.
 */
#ifndef SYNCLINE_SYNC_SESSION_INTERNAL_H
#define SYNCLINE_SYNC_SESSION_INTERNAL_H

#include "sync/encode.h"
#include "sync/hub.h"
#include "sync/line_cache.h"

/* One bucket as the client knows it from the last line. */
struct session_bucket {
	struct hub_bucket_link link; /* first; registered once number is known */
	uint64_t after;              /* all operations up to here were sent on this stream, or the client had them */
	uint64_t count;              /* as sent last, with checksum, priority and reasons */
	uint32_t checksum;
	uint32_t number;     /* 0: no operation was ever stored */
	uint32_t definition; /* number, as in the name */
	uint32_t name_size, keys_at, reason_count;
	int8_t priority;
	bool dirty;                     /* new operations were announced */
	bool to_fetch;                  /* belongs to the download under way (or cut off) */
	bool done;                      /* ... and all of it was sent */
	struct bucket_reason reasons[]; /* then the name */
};

static inline struct slice session_bucket_name(const struct session_bucket *b)
{
	return slice_make(b->reasons + b->reason_count, b->name_size);
}

struct session {
	struct hub_member member;
	struct session_hub *hub;
	struct stored_plan *plan;
	struct querier *querier; /* only while it is needed: an idle session can do without its memory */
	bool dynamic;            /* lookups can change the result */
	enum line_encoding encoding;
	enum operations_form form;
	bool split_lines;
	struct session_limits limits;

	/* One block with everything kept of request and options; what points into it stays for plan changes. */
	char *memory;
	struct user_key user;
	struct request_parameters parameters;

	/* Until the first line: what the client has, by name, each once. */
	struct bucket_position *positions;
	size_t position_count;

	struct session_bucket **buckets; /* by name, bytewise */
	size_t bucket_count;
	struct session_lookup *lookups; /* by hash */
	size_t lookup_count;

	/* The last checkpoint, or checkpoint_diff, line. */
	bool started; /* there was one */
	uint64_t op_id, write_checkpoint;
	uint64_t streams_hash; /* of the streams of the last full line */
	unsigned pending;      /* hub flags that were taken and not yet acted upon */
	bool plan_pending;     /* the checkpoint is of a plan that we cannot see yet: nothing may be sent */

	/* The download that belongs to it. */
	bool downloading;
	bool invalidated; /* the rows at op_id cannot be rebuilt any more: no complete line */
	bool must_line;   /* the client waits for a complete line that its checkpoint did not get */
	uint64_t operations_for_line;
	int group_priority; /* of the group that is being sent; -1: not chosen */
	size_t group_at;    /* index of its first bucket that may not be done */

	/* Keep-alives; wall clock, ms. */
	bool keepalive_lines, clock_started, warned;
	int64_t expires_at_ms, keepalive_at_ms;

	struct session_stats stats;
};

struct session_lookup {
	struct hub_link link;
	uint64_t hash;
};

/* One call of session_step. */
struct step {
	struct session *s;
	struct scratch *scratch;
	struct storage_reader *reader; /* opened when first needed, and anew for a newer checkpoint */
	struct session_output *out;
	struct buf line; /* lines of the block that is being built, after room for its head */
	uint32_t line_count;
	size_t counted;      /* of line.n */
	size_t bytes, lines; /* produced by this step */
	size_t max_bytes, max_lines;
	size_t lookups_read;
	struct error *err;
};

/* Lines are appended to step_line(); each is followed by step_line_done(). */
struct buf *step_line(struct step *t);
void step_line_done(struct step *t);
/* Puts a shared block into the middle of a line: a block ends before it, another begins after it. */
void step_append_block(struct step *t, struct block *b);
bool step_reader(struct step *t);

enum outcome {
	OUTCOME_LINE,    /* a line was written */
	OUTCOME_NOTHING, /* nothing (more) to say */
	OUTCOME_WAIT,    /* nothing may be said before the hub has news */
	OUTCOME_END,     /* end the stream cleanly */
	OUTCOME_FAILED,  /* t->err is filled */
};

/* Step 1 to 4 of sync-protocol 6: takes what the hub has, and writes a checkpoint or diff line if that makes a difference. */
enum outcome session_next_checkpoint(struct step *t);
/* Step 5: the next data, partial or complete line. NOTHING: the download is over without a line. */
enum outcome session_next_data(struct step *t);

/* Of the positions in the request; 0 if it has no such bucket. */
uint64_t session_position(const struct session *s, struct slice name);
struct session_bucket *session_bucket_new(struct slice name, const struct bucket_reason *reasons, size_t reason_count);
void session_bucket_free(struct session *s, struct session_bucket *b);
void session_drop_lookups(struct session *s);

#endif
