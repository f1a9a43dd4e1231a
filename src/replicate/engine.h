/*
 * engine.h: inside the replication engine. Everything here is the replication thread's, unless it says otherwise.
 *
 *   replicator.c    the thread: attempts with back-off, status, stop
 *   attempt.c       one attempt: checks, slot, tables, then the loop over the stream
 *   tables.c        which tables there are, and what happens to them
 *   relations.c     which of them a relation oid of the stream means
 *   table.c         how far one of them is read
 *   table_status.c  what others are told about them
 *   publication.c   what enters and leaves the publication
 *   changes.c       events of the stream -> rows in storage
 *   events.c        rows that bring write checkpoints
 *   schedule.c      what the readers do next
 *   chunks.c        results of the readers -> rows in storage; completion and activation
 *
 * A *boundary* is a place between two transactions of the stream. Chunks are applied, and commits made, only there.
 */
#ifndef SYNCLINE_REPLICATE_ENGINE_H
#define SYNCLINE_REPLICATE_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>

#include "replicate/binding.h"
#include "replicate/lag.h"
#include "replicate/ranges.h"
#include "replicate/reader.h"
#include "replicate/replicate.h"
#include "replicate/touch_log.h"

/* An attempt whose stream lasted this long was a success: its failure is a new one. */
#define GOOD_ATTEMPT_MS 10000

enum reprocess_state { REPROCESS_NONE, REPROCESS_WANTED, REPROCESS_RUNNING };

struct replicator {
	struct replicator_options options;      /* its log is the one below */
	struct log log;                         /* every line begins with the slot's name, once it is known */
	struct plan *plan;                      /* the configured one */
	struct plan *next_plan;                 /* under status_lock: to be deployed at the next boundary; NULL */
	_Atomic bool deploy_wanted;             /* this, or to reprocess */
	_Atomic enum reprocess_state reprocess; /* written under status_lock */
	uint64_t reprocess_generation;          /* of the tables that are to be compared; 0 */
	pthread_cond_t deploy_taken;            /* with status_lock, signalled when next_plan was taken and stored */
	bool deploying;                         /* under status_lock: it is being stored */
	bool standing_by;                       /* as in the status */
	bool slot_unusable;                     /* the stream said so, whatever the catalogue says */
	uint64_t attempt_position;              /* where the last attempt ended */
	uint64_t failed_at;                     /* where the last failed one did */
	char failed_with[512];                  /* the error that was logged last, and when */
	int64_t failure_logged_ms;
	char slot_name[64];      /* "": not known; changes only while no reader runs */
	bool stream_opened;      /* by the last attempt */
	int64_t restarted_at_ms; /* the last attempt that ended to look at the catalogue anew */
	pthread_t thread;
	bool thread_started;
	_Atomic bool stopping;
	int wake_fd; /* eventfd, written at stop */
	uint64_t rows_at_last_log;

	pthread_mutex_t status_lock;
	struct replicator_status status;
	int64_t oldest_change_ms;     /* under status_lock: as in the attempt */
	struct lag_window lag;        /* under status_lock */
	struct histogram *batch_time; /* from the first change of a batch to the end of its commit */
	struct arena tables_arena;    /* under status_lock, as the two below */
	struct replicator_table *tables;
	size_t table_count;
};

enum table_phase {
	TABLE_DONE,      /* the stream alone keeps it right */
	TABLE_READING,   /* a range job is under way or wanted */
	TABLE_REREADING, /* incomplete rows are read by key */
	TABLE_SCANNING,  /* a table without identity is read in one snapshot */
	TABLE_SWEEPING,  /* records of an older generation are removed, step by step */
};

/* Stands before the name of a slot that is being made, in the store. */
#define SLOT_UNFINISHED '!'
/* No thread but that of the attempts runs: the log's prefix, and what slot_look asks about. */
void replicator_slot(struct replicator *r, const char *name);

/* slot_watch.c: on the thread that watches the source (reader_options). */
bool slot_look(void *replicator, struct source_connection *c);

/* A source table that some maintained definition reads. */
struct table_state {
	struct table_state *next;
	struct binding *binding;
	enum table_phase phase;
	bool never_complete;   /* this record was never read to its end: an active plan must not show it piecemeal */
	bool has_incomplete;   /* rows wait for a re-read */
	bool rows_wait;        /* and perhaps checkpoints for them (waiting_rows.c) */
	bool describe_again;   /* the catalogue may know other columns than the stream does: look before the next job */
	bool keyless;          /* no replica identity: see keyless.c */
	uint64_t published_as; /* as the catalogue had it when the attempt began */
	uint32_t relfilenode;  /* likewise, or when it was read or looked at last */
	bool truncated;        /* by the stream, since then */
	uint64_t columns;      /* hash of the columns that it is, or was last, read with; 0: not known */
	uint64_t generation;   /* records below this epoch are from before a gap: their values count for nothing */
	bool reading_whole;    /* REREADING at the end of a whole reading */
	bool lost;             /* there was a gap: at the end what is older than the generation is swept */
	bool no_gap;           /* lost, but only because the operator wants it compared (reprocess.c) */
	struct buf sweep_after;
	struct scan *scan; /* keyless: the reading under way */
	char error[256];   /* why it cannot be read; "" */
	int64_t reading_since_ms;
	uint64_t rows_at_start;
	struct touch_log log; /* kept while phase is READING or REREADING */
	struct admission admission;
	int64_t waiting_since_ms; /* admission refused since; 0 */
	bool waiting_logged;
	struct read_job *job; /* of anything but a range: whose results count; NULL: to be submitted at retry_at_ms */
	struct table_ranges ranges;
	int64_t retry_at_ms;
	int64_t retry_delay_ms;
	int64_t logged_at_ms; /* when the progress was */
	uint64_t rows_read;
	uint64_t epoch; /* of the store when the reading began */
};

/* What is known of a relation oid in the stream of this attempt. */
struct known_relation {
	uint32_t oid;
	struct table_state *table; /* NULL: nothing reads it */
	struct known_relation *next;
	bool set_aside;                 /* see relations_set_aside */
	uint64_t outdated_until;        /* see relations_outdated; 0: it is not */
	struct source_relation message; /* the last one, if it is either */
	struct arena arena;             /* of the message */
};

#define RELATION_BUCKETS 256

struct attempt {
	int64_t opened_ms; /* monotonic; when the stream was */
	struct replicator *r;
	struct storage *storage;
	const struct log *log;
	struct source_connection *connection; /* checks, descriptions, types */
	struct source_stream *stream;
	struct reader_pool *readers;
	struct maintained_plans plans; /* plans[0] is the active one if has_active */
	bool has_active;
	struct table_state *tables;
	struct known_relation *relations[RELATION_BUCKETS];
	struct arena arena;                         /* of the event that is handled */
	struct read_result *results, *results_last; /* taken from the readers, not yet applied */

	uint64_t era;
	uint64_t at;         /* everything up to here was delivered and applied: the boundary */
	uint64_t skip_below; /* transactions whose commit record lies below are in the store already */
	uint64_t delivered;  /* the stream of this attempt has brought everything up to here that was not settled before */
	uint64_t announced;  /* position of the last commit */
	uint64_t shown;      /* and of the last one that became a checkpoint */
	uint64_t newest_xid; /* xmax of the newest snapshot, for extending xids */
	struct unsettled unsettled;

	uint64_t absent_until;      /* see generation_absent; 0: no table is absent */
	bool rows_wait;             /* of some table, perhaps */
	bool rows_noted;            /* their reading is to be begun */
	int64_t rows_wait_until_ms; /* checkpoints are withheld until then; 0: they are not */
	bool restart_wanted; /* the catalogue shows other tables than this attempt knows: begin anew at the next boundary */
	bool slot_is_new;    /* made by this attempt */
	const struct xid_snapshot *head; /* of the beginning of the attempt, taken after the discovery */
	uint64_t head_lsn;               /* newest known end of the source's WAL */
	int64_t discovery_due_ms;
	int64_t removal_due_ms;
	bool in_xact, skipping, xact_touched;
	uint64_t final_lsn, change_number; /* of the open transaction: place of its commit record, changes so far */
	uint64_t xid;                      /* of the open transaction, extended */
	int64_t commit_time_ms;

	bool dirty;         /* rows were written since the last commit */
	bool commit_wanted; /* a commit must follow even if nothing was written */
	bool bulk;          /* only rows of chunks were written: nobody waits for them, so the commit may be large */
	int64_t dirty_since_us, last_commit_us;
	int64_t oldest_change_ms; /* commit time of the oldest transaction that is not committed here; 0 */
	int64_t checkpoint_at_ms; /* wall clock of the last commit that was shown; 0 */
	int64_t status_due_ms, position_due_ms;
	uint64_t confirmed;
	bool reply_now;
};

/* Has the stream brought again what is in the store already? Before, transactions that no snapshot may see yet are missing from
 * `unsettled`. */
static inline bool attempt_replayed(const struct attempt *a)
{
	return a->delivered >= a->skip_below;
}

/* tables.c */
bool tables_discover(struct attempt *a, struct error *err);
void tables_free(struct attempt *a);
/* The relation is from here on as the message describes it, under the names that the catalogue knows now. */
bool tables_relation(struct attempt *a, const struct source_relation *message, struct error *err);
/* Takes the maintained plans from storage anew and binds every table to them. */
bool tables_rebind(struct attempt *a, struct error *err);
/* Removes the table's rows and forgets it. */
bool tables_drop(struct attempt *a, struct table_state *t, struct error *err);
bool tables_plans_use(const struct attempt *a, const struct source_relation *r);
/* Looks whether the catalogue shows other tables, columns or identities than this attempt knows. */
bool tables_look_again(struct attempt *a, struct error *err);
/* Checkpoints must not be shown: a table of the active plan is being read for the first time. */
bool tables_withhold_checkpoints(const struct attempt *a);

/* relations.c */
/* NULL: no definition reads it. */
struct table_state *tables_find(struct attempt *a, uint32_t oid, bool *known);
void relations_set(struct attempt *a, uint32_t oid, struct table_state *t);
void relations_forget_table(struct attempt *a, const struct table_state *t);
void relations_free(struct attempt *a);
/* A Relation message of a transaction that was applied before tells how the relation was then; tables are what the catalogue, read
 * after that, says. But the source sends it once: unless a newer one comes, it holds for the first transaction that is applied and
 * changes the relation. */
void relations_set_aside(struct attempt *a, const struct source_relation *relation);
/* A Relation message of a transaction that is applied. */
bool relations_message(struct attempt *a, const struct source_relation *relation, struct error *err);
/* The relation is as the message says only for transactions that come before what is known of it now, at `until`: its changes are not
 * applied until another message comes. */
void relations_outdated(struct attempt *a, const struct source_relation *relation, uint64_t until);
/* For a change that is to be applied; *t NULL: it is not wanted. */
bool relations_change(struct attempt *a, uint32_t oid, struct table_state **t, bool *known, struct error *err);

/* table.c */
uint64_t columns_hash(const struct source_relation *r);
bool table_logs(const struct table_state *t);
struct slice table_display(struct attempt *a, const struct source_relation *r);
/* A change of the table in the open transaction is not applied: no snapshot that lacks it may be used for a reading. */
void table_leaves_out(struct attempt *a, struct table_state *t);
/* Is it being read, so that checkpoints of it may have to wait? */
bool table_is_read(const struct table_state *t);
/* Begins (or goes on with) reading the table: switches the touch log on. */
void table_begin_reading(struct attempt *a, struct table_state *t);
/* The next chunk is the first again. */
void table_start_over(struct table_state *t);
bool table_store_progress(struct attempt *a, struct table_state *t, struct error *err);
void table_cancel_jobs(struct table_state *t);
size_t table_jobs(const struct table_state *t);
/* Goes on where storage says, if that still fits. */
void table_resume(struct table_state *t, struct slice last_key, uint64_t rows_read);
void table_free(struct table_state *t);

/* table_status.c */
void tables_publish_status(struct attempt *a);
/* Seconds until the table is read, at the pace so far; below 0: not known. */
double table_time_left(const struct table_state *t, int64_t now_ms);

/* publication.c */
/* Compares how the table is published now with how it was when it was last looked at; after a gap the record is marked as lost. */
bool publication_check(struct attempt *a, const struct source_table *described, struct stored_table *record, struct error *err);
/* Makes the reading that begins wait for transactions that may have written the table before it entered. */
void publication_wait(const struct attempt *a, struct table_state *t, const struct stored_table *record);

/* changes.c */
bool change_apply(struct attempt *a, const struct stream_event *e, struct error *err);

/* events.c: rows that bring write checkpoints (checkpoint-requests 7) */
/* A row of the open transaction, or (between transactions) one that was read. *unknown: it lacks a value; read again, it counts. */
bool events_apply(struct attempt *a, struct binding *b, const struct raw_value *row, enum custom_origin origin, bool *unknown,
                  struct error *err);
/* The complete row of a streamed one that is stored as incomplete, before it is stored as complete. */
bool events_catch_up(struct attempt *a, struct binding *b, const struct row_key *key, const struct raw_value *row,
                     struct error *err);
/* Are all tables read that the new events of the pending plan need? */
bool events_tables_done(const struct attempt *a, const struct stored_plan *pending);
/* Are there events that are newer than the last reading of the table? */
bool events_need_reading(const struct attempt *a, const struct source_relation *r, const struct stored_table *record);

/* keyless.c: tables without any identity (interleaved-snapshot 4) */
enum keyless_outcome { KEYLESS_BEGUN, KEYLESS_LATER, KEYLESS_FAILED, KEYLESS_CHANGED, KEYLESS_GONE };
/* Takes the snapshot, with the stream held at this boundary, removes what is stored of the table, and submits the reading. */
bool keyless_begin(struct attempt *a, struct table_state *t, struct binding *b, enum keyless_outcome *outcome, struct error *err);
void keyless_end(struct table_state *t);
/* A streamed row: the key under which a replay finds it again; false: the reading brings the row. */
bool keyless_takes(struct attempt *a, struct table_state *t, struct row_key *key);
/* A streamed TRUNCATE; false: the reading sees it done. */
bool keyless_truncated(struct attempt *a, struct table_state *t);
/* Is the reading ended by a truncate? */
bool keyless_ended(const struct table_state *t);

/* reprocess.c */
void reprocess_take(struct replicator *r); /* between two attempts */
void reprocess_table(const struct attempt *a, struct table_state *t);
/* Is it over? */
void reprocess_check(struct attempt *a);

/* removal.c: at a boundary */
bool removal_step(struct attempt *a, struct error *err);

/* generation.c: repair after a gap (interleaved-snapshot 8) */
/* All tables are to be compared with the source; takes effect with the next commit or flush. */
bool generation_begin(struct attempt *a, struct error *err);
/* A step of the sweep; *done: nothing old is left. */
bool generation_sweep(struct attempt *a, struct table_state *t, bool *done, struct error *err);
/* Tables of the store that were not found in the source any more. The stream may be behind: rows that moved from one of them to another
 * table before it went must not be missing, so they are dropped, and checkpoints shown, when it has come to where that was found. */
bool generation_absent(struct attempt *a, struct error *err);
/* At a boundary: has it? */
bool generation_drop_absent(struct attempt *a, struct error *err);

/* waiting_rows.c: incomplete rows of tables that are complete otherwise */
void waiting_rows_note(struct attempt *a, struct table_state *t);
/* May no checkpoint be made now? For a while only. */
bool waiting_rows_withhold(struct attempt *a);
/* The while is over: a commit is wanted. */
void waiting_rows_look(struct attempt *a);

/* schedule.c */
/* At a boundary: hands work to the readers, as much as they can begin soon. */
bool schedule_readers(struct attempt *a, struct error *err);
/* Is there a reader for one more job? Looks at every table. */
bool schedule_room(const struct attempt *a);
/* A scan or a range of the table waits for nothing but a call of schedule_readers. */
bool schedule_wants(const struct table_state *t, bool room);
/* The next thing that is to be read by key, or the table's completion, at once. */
bool schedule_reread(struct attempt *a, struct table_state *t, struct error *err);
void retry_later(struct table_state *t, int64_t delay_ms);
void retry_with_backoff(struct table_state *t);
/* The catalogue is looked at anew, by a new attempt; but not again and again. */
void restart_or_back_off(struct attempt *a, struct table_state *t);

/* chunks.c */
bool table_complete(struct attempt *a, struct table_state *t, struct error *err);
void note_snapshot(struct attempt *a, const struct xid_snapshot *s);
/* At a boundary: submits what is wanted, applies what is ready. *applied: something was. */
bool chunks_work(struct attempt *a, bool *applied, struct error *err);
/* Definitions whose tables are all read become READY; the pending plan is activated when all are. */
bool definitions_check(struct attempt *a, struct error *err);

/* attempt.c */
bool attempt_run(struct replicator *r, struct error *err);
bool attempt_commit(struct attempt *a, struct error *err);
/* At a boundary. */
bool attempt_commit_if_large(struct attempt *a, struct error *err);
/* Keeps memory bounded inside a large transaction. */
bool attempt_flush_if_large(struct attempt *a, struct error *err);
struct position attempt_position(const struct attempt *a);

/* replicator.c */
/* Seconds since the oldest change that is not shown; with status_lock. */
double replicator_lag(const struct replicator *r);
void replicator_touch(struct replicator *r);

#endif
