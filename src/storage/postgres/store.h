/*
 * store.h: one process' view of a shared store: the streams (rows of sync_rules) that matter, and what stands for their definitions here.
 *
 * A stream has data of its own; deploying makes another one. This process gives each definition of each stream a number, and each bucket
 * that it comes across (names.h): numbers mean nothing to other processes, nor after a restart.
 *
 * Streams that were loaded live until the store is closed, so that numbers given out stay good; which of them is active or pending is
 * guarded by `lock`.
 */
#ifndef SYNCLINE_STORAGE_POSTGRES_STORE_H
#define SYNCLINE_STORAGE_POSTGRES_STORE_H

#include <pthread.h>

#include "storage/internal.h"
#include "storage/postgres/names.h"
#include "storage/postgres/pool.h"

enum pg_stream_state { PG_STREAM_PROCESSING, PG_STREAM_ACTIVE, PG_STREAM_ERRORED };

/* What does not change of a stream, but for its state (under the store's lock). */
struct pg_stream {
	int32_t id;
	enum pg_stream_state state;
	char slot_name[64];
	int version;                                    /* of its storage: 1, 2 or 3 */
	struct slice content;                           /* the YAML */
	struct plan *plan;                              /* NULL: the text does not compile here; then problem says why */
	struct stored_plan *stored;                     /* NULL with the plan; its id is the stream's */
	struct stored_plan *stored_deploying;           /* what it was before its activation; NULL */
	const struct pg_definition *const *definitions; /* by index in the plan */
	char problem[256];
	struct arena arena;
};

/* A replaced stream, its slot dropped, whose data goes (terminate.c). */
struct pg_leaving {
	int32_t id; /* 0: none */
	char lock_id[37];
};

struct pg_requests;
struct pg_custom;
struct pg_sums;
struct pg_watch;
struct pg_writer;

struct pg_store {
	struct backend backend; /* first: readers' functions */
	struct storage *s;
	struct storage_postgres connection;
	struct pg_pool *pool;
	struct pg_names *names;
	struct pg_sums *sums;             /* readers.h */
	_Atomic unsigned operation_bytes; /* of an operation of late, on average; 0: not known (ops_ahead.c) */
	pthread_mutex_t lock;
	pthread_mutex_t load_lock;  /* one pg_store_load at a time; taken first */
	struct pg_stream **streams; /* all that were loaded */
	size_t stream_count, stream_cap;
	struct pg_stream *active, *pending; /* NULL: none */
	struct pg_leaving leaving;          /* under lock, as these */
	struct pg_requests *requests;       /* requests.h */
	struct pg_custom *custom;           /* custom.h */
	struct pg_watch *watch;             /* watch.h */
	struct pg_writer *writer;           /* the replication thread's */
};

static inline struct pg_store *pg_store_of(const struct storage *s)
{
	return (struct pg_store *)s->backend;
}

/* Looks at sync_rules: new streams are loaded, and which one is active or pending is set here and in the storage (storage_active_plan). To be
 * called after a deploy, an activation, a termination. conn: in no transaction, or one that sees what is to be seen. */
bool pg_store_load(struct pg_store *store, struct pg_conn *conn, struct error *err);
/* The newest checkpoint of the active stream; invalid: there is none. */
bool pg_store_checkpoint(struct pg_conn *conn, int timeout_ms, struct checkpoint *out, struct error *err);
/* NULL: not loaded. Lives until the store is closed. Any thread. */
struct pg_stream *pg_store_stream(struct pg_store *store, int32_t id);
/* References for a moment: streams are not freed before the store. Any thread. */
struct pg_stream *pg_store_active(struct pg_store *store);
struct pg_stream *pg_store_pending(struct pg_store *store);

/* Text of a position as this layout has it, and the way back; false: it is none. Eras are not used here: a source that went back gets a
 * new stream. */
#define PG_POSITION_SIZE LSN_TEXT_SIZE
void pg_position_format(struct position p, char out[PG_POSITION_SIZE]);
bool pg_position_parse(const char *text, struct position *out);

#endif
