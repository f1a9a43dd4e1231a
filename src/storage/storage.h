/*
 * storage.h: what every bucket storage promises (storage-semantics.md), as the rest of Syncline uses it.
 *
 * One storage object per process. It has
 *   - one writer, used by the replication thread alone: definitions and plans, source tables, rows, operations, checkpoints;
 *   - readers, used by session steps on any worker thread: short snapshots, never held across a wait;
 *   - write checkpoints (checkpoint-requests.md), used by the request batcher on its own thread and by readers;
 *   - subscribers, told of each new checkpoint.
 *
 * The rules that are the same on every backend (row records -> operations, checksums, write-checkpoint queues, retention,
 * compaction) live in this folder once; a backend under lmdb/ implements struct storage_backend (backend.h).
 * Ids: bucket and table numbers are 32 bits, never 0; op ids are 64 bits, from 1.
 */
#ifndef SYNCLINE_STORAGE_STORAGE_H
#define SYNCLINE_STORAGE_STORAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/position.h"
#include "base/slice.h"
#include "rules/rules.h"

struct storage;

/* storage: {type: postgresql}: how to reach the database. */
struct storage_postgres {
	/* Opens a connection to it, a PGconn of libpq; NULL: *err says why. Any thread. */
	void *(*connect)(void *ctx, struct error *err);
	void *connect_ctx;
	unsigned max_pool_size;       /* of connections for readers and requests; 0: 8 */
	const char *slot_name_prefix; /* of new streams; NULL: "powersync_" */
	int default_version;          /* of the storage of new streams; 0: 2 */
};

struct storage_options {
	struct slice path; /* lmdb: folder of the store, made if missing */
	uint64_t map_size; /* lmdb: 0 = default (1 TiB) */
	/* lmdb: what the process does with the store if it is no service, for those who wait for it (store_lock.h); NULL: it is one. */
	const char *command;
	struct storage_postgres postgres;
	int64_t request_retention_ms; /* api.parameters.checkpoint_request_retention_minutes */
	int64_t retirement_ms;        /* definitions that only replaced plans use are maintained for so long; 0: not */
	bool keep_format; /* a store of an older format is refused, not migrated (migrations.disable_auto_migration) */
	/* Told while a store is migrated when it is opened: how much is done, 0 to 1. NULL: nobody asks. */
	void (*migrating)(void *ctx, double part);
	void *migrating_ctx;
	const struct log *log;   /* outlives the storage */
	struct metrics *metrics; /* may be NULL; outlives the storage, and is printed no more once that is closed */
};

/* Opens (and makes) the embedded store. A second process on the same folder is refused. */
struct storage *storage_open_lmdb(const struct storage_options *options, struct error *err);
/* Opens an existing store for looking only, also beside the process that uses it: storage_checkpoint, the texts of the plans,
 * storage_source_state, everything of request_list.h, attaching the active plan and one reader at a time; nothing else may be called but
 * storage_close. What it answers of the data side without a reader is as of the opening; the checkpoint that clients are served is always on disk. PSYNC_S1003: that process is stopped at a place where
 * nobody else gets in; found out in a few seconds. */
struct storage *storage_open_lmdb_readonly(const struct storage_options *options, struct error *err);
/*
 * The tables of the shared layout in a Postgres database (storage-postgres.md): brings them to the newest form that the reference has
 * (up), or undoes that as far as it goes (down). Safe from several processes at once: the others wait. Unknown migrations are refused.
 */
bool storage_postgres_migrate(const struct storage_options *options, bool up, struct error *err);
/*
 * Ends a shared store (storage-semantics 1): takes the lock of each stream (PSYNC_S1003 at once, which says who has it), has the caller
 * drop the slot of each at the source, and drops all tables but `locks` and `connection_report_events`. *existed: there was a store.
 */
typedef void storage_slot_drop(void *ctx, const char *slot_name);
bool storage_postgres_teardown(const struct storage_options *options, storage_slot_drop *drop_slot, void *ctx, bool *existed,
                               struct error *err);

/*
 * Opens the shared store: migrates it (or refuses an older one, keep_format) and loads its streams. Several processes may have it open; one
 * of them writes.
 */
struct storage *storage_open_postgres(const struct storage_options *options, struct error *err);

/* A connection to the database can be made. */
bool storage_postgres_reachable(const struct storage_options *options, struct error *err);

/* Flushes and closes; no reader or writer may be in use. */
void storage_close(struct storage *s);

/* ---- checkpoints and news ---------------------------------------------------------------------------------------------- */

/* What clients are served: all operations up to op_id, standing for the source at position. */
struct checkpoint {
	bool valid; /* false: there is none yet (no active plan) */
	uint64_t op_id;
	struct position position;
	uint64_t plan_id; /* the active plan; a change means that sessions must resolve anew */
};

/* The store's own random UUID, made when it is. Any thread. */
const char *storage_instance_id(const struct storage *s);

struct checkpoint storage_checkpoint(struct storage *s); /* any thread; no I/O */

/* One user as the owner of write checkpoints: two fields, never joined (checkpoint-requests 1). */
struct user_key {
	struct slice subject;
	struct slice client_id; /* p == NULL: none given, which differs from an empty one */
};

/* What a new checkpoint, or a request that is acknowledged at once, means for sessions. Slices live during the call. */
struct storage_news {
	struct checkpoint checkpoint;
	bool everything;         /* treat all buckets and lookups as changed (activation, or too many to list) */
	const uint32_t *buckets; /* bucket numbers with new operations that became visible */
	size_t bucket_count;
	const uint64_t *lookups; /* lookup_hash() of changed lookups */
	size_t lookup_count;
	const struct user_key *users; /* whose acknowledged id may have changed */
	size_t user_count;
	bool all_users;  /* anybody's may have (news of requests were lost) */
	bool only_users; /* made by the request thread: it tells of users alone, and may overtake the news of its checkpoint */
};

uint64_t lookup_hash(uint32_t definition_number, struct slice key);

/* The callback runs on the thread that made the news (replication, request or listening thread) and must not block, nor call storage but for
 * reading the snapshot of that moment. One subscriber (the session hub). */
void storage_subscribe(struct storage *s, void (*callback)(void *ctx, const struct storage_news *news), void *ctx);

/* ---- plans and definitions (incremental-deploy.md) --------------------------------------------------------------------- */

enum definition_state { DEFINITION_NONE, DEFINITION_FILLING, DEFINITION_READY, DEFINITION_RETIRED, DEFINITION_DROPPING };

/* What the store knows about one definition of a plan. */
struct stored_definition {
	uint32_t number; /* store-wide, never reused (shared stores: in this process) */
	enum definition_state state;
	uint64_t epoch;
	struct slice name; /* as first stored; owned by the storage, lives until it is closed */
	struct slice head; /* bucket names up to the keys: "7#todos|0"; lives as long as the plan object */
};

/* A compiled plan and where its definitions lie in the store. Immutable, reference counted, any thread. */
struct stored_plan {
	uint64_t id;
	struct plan *plan;
	size_t count;                                /* = plan_definition_count(plan) */
	const struct stored_definition *definitions; /* by index in the plan; state as of when the object was made */
	uint64_t
	        events; /* the events that bring write checkpoints: the epoch at which they were first deployed; 0: none. Plans with the
	                  * same such events have the same */
};

struct stored_plan *stored_plan_ref(struct stored_plan *p);
void stored_plan_unref(struct stored_plan *p);

/* References (caller unrefs), NULL if none. Any thread. */
struct stored_plan *storage_active_plan(struct storage *s);
struct stored_plan *storage_pending_plan(struct storage *s);
/* Plans that were replaced a while ago, the newest first: hidden, but maintained, so that going back to one fills nothing
 * (incremental-deploy 8). References; answers how many. */
#define MAX_RETIRED_PLANS 3
size_t storage_retired_plans(struct storage *s, struct stored_plan *out[MAX_RETIRED_PLANS]);
/* YAML texts found in the store at open, before anything is compiled: lives until close; p == NULL if none. */
struct slice storage_active_plan_text(struct storage *s);
struct slice storage_pending_plan_text(struct storage *s);

/* ---- the writer: replication thread only ------------------------------------------------------------------------------- */

/* Makes the plan pending (or, if it was active or pending in this store before by text, re-attaches it). New definitions get
 * numbers and are FILLING; those that no plan needs any more become DROPPING (section 4 of incremental-deploy). *unchanged: the
 * text is that of the active plan and nothing is pending. Called once at start, and for each deploy. */
bool storage_deploy(struct storage *s, struct plan *plan, bool *unchanged, struct error *err);
/* Re-attaches the compiled form of the stored active plan at start, before storage_deploy. PSYNC_S1005: a newer program filled it, with a
 * revision of a function or type that this one does not know. */
bool storage_attach_active(struct storage *s, struct plan *plan, struct error *err);
/* The same for plans that were replaced: the text of the index-th (p == NULL: there are no more), then its compiled form. What is not
 * attached before the first storage_deploy, or compiles to something else by now, is given up: nobody maintains it. */
struct slice storage_retired_plan_text(struct storage *s, size_t index);
void storage_attach_retired(struct storage *s, size_t index, struct plan *plan);
/* Replaced plans whose time is over are given up; *expired: some were, and other plans are to be maintained from now on. */
bool storage_expire_plans(struct storage *s, bool *expired, struct error *err);
/* Is there one whose time is over? */
bool storage_plans_expire(struct storage *s);

/*
 * Shared stores. A replication stream has one writer among all processes. The replication thread takes that role before each attempt; *held
 * false: who says who has it. What was written and not committed is forgotten. Embedded stores: it is held, always.
 */
bool storage_take_writer(struct storage *s, bool *held, char *who, size_t who_size, struct error *err);
void storage_give_writer(struct storage *s);
/* Another process deployed, or took the role over: it must be taken anew. Any thread; no I/O. */
bool storage_streams_changed(struct storage *s);
/* Each stream has a slot of its own, named by the store. */
bool storage_is_shared(const struct storage *s);
/* False: the active plan's stream cannot be replicated any more; it is served as it is until another one replaces it. */
bool storage_active_is_written(struct storage *s);
/* The slot is lost, or the source another one: the newest config is deployed anew, as a stream without data. The role is over. */
bool storage_restart_replication(struct storage *s, struct error *err);

/* The slot that the pending plan's stream is to have; false: the store has one slot for ever. */
bool storage_pending_slot(struct storage *s, char out[64]);
/* Shared stores: a stream that was replaced, and is for this process to remove (*id 0: none, or one is being removed). First its slot goes; then
 * storage_remove_stream leaves the rest to storage_compact (`dropped`). */
bool storage_stopped_stream(struct storage *s, int32_t *id, char slot[64], struct error *err);
void storage_remove_stream(struct storage *s, int32_t id);
/* The active config once more, as a stream beside it; the role is over. */
bool storage_redeploy(struct storage *s, struct error *err);

/* Definitions that the writer evaluates: the active plan's and the pending plan's. */
bool storage_definition_ready(struct storage *s, uint32_t number, struct error *err); /* FILLING -> READY */
/* At a boundary where all definitions of the pending plan are READY (shared stores: all its tables are read); takes effect with the next
 * storage_commit. */
bool storage_activate_pending(struct storage *s, struct error *err);

/* Facts about the source that are kept with the data. */
struct source_state {
	char slot_name[64];
	char system_id[64];
	uint32_t timeline;       /* of the source, on which applied lies; 0: not known */
	struct position applied; /* transactions with an end at or before this are in the store: never apply them again */
};
bool storage_source_state(struct storage *s, struct source_state *out, struct error *err);
/* Shared stores name the slot themselves. */
bool storage_set_source(struct storage *s, const char *slot_name, const char *system_id, struct error *err);
/* Takes effect with the next commit or flush. */
bool storage_set_timeline(struct storage *s, uint32_t timeline, struct error *err);

/* A source table as the store knows it (storage-semantics 5.1). */
struct table_key_column {
	struct slice name;
	uint32_t type_oid;
};
struct table_identity {
	struct slice schema, name;
	uint32_t oid;
	const struct table_key_column *key; /* replica identity columns, in order */
	size_t key_count;
};
struct stored_table {
	uint32_t number;
	char subkey_id[40]; /* text before '/' in subkeys */
	bool snapshot_done;
	uint64_t snapshot_epoch; /* definitions with an epoch up to this one are filled from this table */
	struct slice last_key;   /* progress of the snapshot that runs; n == 0: not begun. In the caller's arena */
	uint64_t rows_read;
	uint64_t
	        generation; /* above snapshot_epoch: changes were lost; records older than this are to be swept when the table is read */
	uint64_t columns;      /* hash of the columns that the last complete reading had; 0: not known */
	uint64_t published_as; /* see storage_table_published; 0: not known */
	bool adopted;          /* another program read it whole: what it had then counts as what it has now */
};
/* Finds or makes the record; the numbers of incompatible ones (same oid or same name) go to *drop for the caller to truncate and
 * forget (storage_drop_table). */
bool storage_resolve_table(struct storage *s, const struct table_identity *t, struct arena *arena, struct stored_table *out,
                           uint32_t **drop, size_t *drop_count, struct error *err);
bool storage_table_progress(struct storage *s, uint32_t table, struct slice last_key, uint64_t rows_read, struct error *err);
bool storage_table_done(struct storage *s, uint32_t table, uint64_t epoch, struct error *err);
/* The table is to be read again from the start; snapshot_epoch stays, so that it can be told from one that was never read whole. */
bool storage_table_restart(struct storage *s, uint32_t table, struct error *err);

bool storage_table_columns(struct storage *s, uint32_t table, uint64_t columns, struct error *err);
/* How the source publishes the table, as a hash: with another one, changes in between were lost. */
bool storage_table_published(struct storage *s, uint32_t table, uint64_t published_as, struct error *err);

/* Changes of source tables were lost (interleaved-snapshot 8): a new generation begins, one epoch above all records. For each table
 * concerned, storage_table_lost says that records of before must be swept once the table was read again. */
bool storage_new_generation(struct storage *s, struct error *err);
bool storage_table_lost(struct storage *s, uint32_t table, struct error *err);
uint64_t storage_epoch(struct storage *s); /* what records get that are written now */
/* One step of a sweep: of the next max records behind `after` (n == 0: the first) those older than the generation are removed, with
 * REMOVEs. *next (in the arena) is where to go on; n == 0: nothing is left. */
bool storage_sweep(struct storage *s, uint32_t table, uint64_t generation, struct slice after, size_t max, struct arena *arena,
                   struct slice *next, uint64_t *removed, struct error *err);

/* All records that are not dropped, by number; names in the arena. */
struct table_name {
	uint32_t number, oid;
	struct slice schema, name;
	bool lost;
};
bool storage_tables(struct storage *s, struct arena *arena, struct table_name **out, size_t *count, struct error *err);

/* One evaluation of a row under one of the maintained plans. digest: first 16 bytes of SHA-256("put.type.id.data"), of which the
 * first four, little-endian, are the checksum. */
struct put_entry {
	uint32_t definition; /* number */
	struct slice keys, object_type, object_id, data;
	uint8_t digest[16];
};
struct lookup_entry {
	uint32_t definition; /* number */
	struct slice key, results;
};
struct row_contributions {
	const struct put_entry *puts;
	size_t put_count;
	const struct lookup_entry *lookups;
	size_t lookup_count;
	/* The row as the rules see it, for stores that keep that as its image (storage_keeps_row_values); none if the source sends whole rows. */
	const struct slice *names;
	const struct value *values;
	size_t value_count;
	/* Shared stores: the same for the stream of another plan that is maintained beside the first and maps values differently; NULL: there is
	 * none. */
	const struct value *other_values;
	uint64_t other_plan;
};
/* Fills digest; uses a thread-local digest context. */
void put_entry_digest(struct put_entry *e);

/* As another plan maps the identity (row_contributions.other_plan). */
struct other_row_id {
	uint64_t plan;
	uint8_t uuid[16];
};
struct row_key {
	struct slice bytes; /* order-preserving encoding of the replica identity, any length; unique within the table */
	uint8_t uuid[16];   /* second half of the subkey */
	bool uuid_alone;    /* the replica id is no UUID: uuid is the whole subkey (storage-semantics 3) */
	const struct other_row_id *other; /* of the stream of that plan; NULL: the same. Not copied with the key */
	const struct value *replica_id;   /* then, for shared stores, which keep it: the replica id itself */
};

/* Does the uuid of a row_key have to be the reference's replica id (storage-semantics 3)? So that it, too, goes on with the store. Any thread;
 * the same until close. */
bool storage_keeps_replica_ids(const struct storage *s);
/* Does write_row need the names and values of a row's contributions? Any thread; the same until close. */
bool storage_keeps_row_values(const struct storage *s);
/* That of the values of the replica identity's columns, in their order. Any thread. */
void storage_replica_id(const struct slice *names, const struct value *values, size_t count, uint8_t uuid[16]);

enum row_write_mode {
	ROW_STREAM,  /* a change from the stream: each entry is written, also if nothing changed (storage-semantics 5.3 step 5) */
	ROW_COMPARE, /* a chunk row: entries equal to the stored ones make no operation (interleaved-snapshot 5) */
};

/* What is stored of a row, for merging values that the source did not send. In the arena. */
struct stored_row {
	bool found;
	bool incomplete; /* flagged: lacks a value, waits for a re-read (interleaved-snapshot 6) */
	uint64_t epoch;
	struct slice image; /* as given to storage_write_row; n == 0: none kept */
	/* Shared stores: the row as the rules saw it, in place of the image of a complete row. */
	struct slice *names;
	struct value *values;
	size_t value_count;
};
bool storage_read_row(struct storage *s, uint32_t table, const struct row_key *key, struct arena *arena, struct stored_row *out,
                      struct error *err);

/* The row under key is now this: writes operations and lookup entries, REMOVEs what it no longer gives, replaces the record. old:
 * the former key if it changed (its contributions are REMOVEd first), else NULL. image: opaque bytes to keep, n == 0 for none. */
bool storage_write_row(struct storage *s, uint32_t table, const struct row_key *key, const struct row_key *old,
                       const struct row_contributions *c, struct slice image, enum row_write_mode mode, struct error *err);
/* The row lacks a value: its contributions stay, it is flagged; partial: image of what is known; known: the same as the rules would see it
 * (names and values alone). What stands under a former key is REMOVEd at once (its subkey is free for another row from now on). */
bool storage_write_incomplete_row(struct storage *s, uint32_t table, const struct row_key *key, const struct row_key *old,
                                  struct slice partial, const struct row_contributions *known, struct error *err);
/* No record: nothing happens. */
bool storage_delete_row(struct storage *s, uint32_t table, const struct row_key *key, struct error *err);
/* Up to max keys of incomplete rows of the table, from `after` on (n == 0: the first). */
bool storage_incomplete_rows(struct storage *s, uint32_t table, struct slice after, size_t max, struct arena *arena,
                             struct row_key **keys, size_t *count, struct error *err);
/* REMOVEs for every row, in bounded internal transactions; *removed counts them. */
bool storage_truncate_table(struct storage *s, uint32_t table, uint64_t *removed, struct error *err);
bool storage_drop_table(struct storage *s, uint32_t table, struct error *err); /* truncate, then forget the record */

/* Why replication failed last (storage-semantics 1): durable, so that it is still known after a restart. Gone with the next flush that
 * writes something, and with the next checkpoint. Longer ones are cut. */
#define STORAGE_FAILURE_SIZE 4097 /* with its end */
/* After storage_rollback: flushes. An equal text costs nothing. */
bool storage_report_failure(struct storage *s, struct slice text, struct error *err);
/* "": there is none. Any thread. */
void storage_last_failure(struct storage *s, char out[STORAGE_FAILURE_SIZE]);

/* Bytes that the open batch would dirty by now; the caller flushes above about 8 MiB (notes-on-libraries 1). */
size_t storage_batch_size(struct storage *s);
/* Makes everything so far durable, but visible to nobody and with the old applied position (middle of a large transaction). */
bool storage_flush(struct storage *s, struct error *err);
/* The transaction that is being written ends (commit record) at this position: what is flushed of it is shown to nobody before a
 * commit at or beyond that, also after a crash, whatever boundaries come before it is sent again. Once for each transaction that may
 * be flushed half way; the next commit or rollback forgets it. */
void storage_in_transaction(struct storage *s, struct position end);
/*
 * At a boundary between transactions: everything so far, and `applied`, become durable in one store transaction. If visible, it is
 * a checkpoint for clients as well (only with an active plan, and only when no table of it is half replaced). If nothing was
 * written and only the position moved, it becomes a checkpoint only if that acknowledges a request or reaches a wanted position: what
 * clients are shown is always on disk before, so that an acknowledgement is never taken back by a crash. Otherwise the position is kept
 * in memory (*durable false): it must not be confirmed to the source. Subscribers are told before it returns.
 */
bool storage_commit(struct storage *s, struct position applied, bool visible, bool *durable, struct error *err);
/* Maintenance left something for the writer to do, which comes with the next visible commit. Any thread. */
bool storage_wants_commit(struct storage *s);
/* The applied position that is on disk. */
struct position storage_durable_position(struct storage *s);
/* Writes the position to disk if it is only in memory. */
bool storage_sync_position(struct storage *s, struct error *err);
/* Forgets what was written since the last flush or commit (after an error; the source will send it again). */
void storage_rollback(struct storage *s);

/* ---- readers: any thread ------------------------------------------------------------------------------------------------ */

struct storage_reader;

/* A consistent snapshot. Use, and end, on one thread; for milliseconds only. */
struct storage_reader *storage_read_begin(struct storage *s, struct error *err);
void storage_read_end(struct storage_reader *r);

/* 0 if the bucket never had an operation. The number is for ever. */
uint32_t reader_bucket(struct storage_reader *r, uint32_t definition, struct slice keys);
/* The way back; keys live until read_end. False: there is no such bucket. */
bool reader_bucket_name(struct storage_reader *r, uint32_t bucket, uint32_t *definition, struct slice *keys);

/* Who goes on using a number from reader_bucket holds it: shared stores forget others after a minute. Any thread. 0: nothing happens. */
void storage_bucket_hold(struct storage *s, uint32_t bucket);
void storage_bucket_release(struct storage *s, uint32_t bucket);

struct bucket_checksum {
	uint32_t checksum; /* print as signed */
	uint64_t count;
};
/* Sum and number of operations up to op id c. O(1) when the bucket has none above c. */
bool reader_checksum(struct storage_reader *r, uint32_t bucket, uint64_t c, struct bucket_checksum *out, struct error *err);
/* The same of many at once. fresh: the reader is about to go on where somebody stopped who may have read elsewhere, so that what is known of
 * compactions (storage_bucket_compactions) must be known anew, too. */
bool reader_checksums(struct storage_reader *r, const uint32_t *buckets, size_t count, uint64_t c, bool fresh,
                      struct bucket_checksum *out, struct error *err);
/* Have operations at or below op id c gone into a CLEAR above it? Then the bucket at c cannot be rebuilt any more. Right for what was read with
 * this reader before, be it checksums or operations up to c. */
bool reader_cleared(struct storage_reader *r, uint32_t bucket, uint64_t c, bool *cleared, struct error *err);

enum op_kind { OP_PUT, OP_REMOVE, OP_MOVE, OP_CLEAR };
#define OP_KINDS 4
struct op_view {
	uint64_t op_id;
	enum op_kind kind;
	uint32_t checksum;
	struct slice object_type, object_id; /* PUT, REMOVE */
	struct slice data;                   /* PUT: JSON text */
	const char *subkey_table;            /* text before '/' of the subkey; "": it is the UUID alone */
	const uint8_t *subkey_uuid;          /* 16 bytes */
	uint64_t target_op;                  /* MOVE, CLEAR: else 0 */
};
struct op_cursor; /* operations of one bucket in ascending order */
struct op_cursor *reader_ops(struct storage_reader *r, uint32_t bucket, uint64_t after, uint64_t up_to, struct error *err);
/* 1: *out is filled and valid until the next call; 0: no more; -1: error. */
int op_cursor_next(struct op_cursor *c, struct op_view *out, struct error *err);
void op_cursor_close(struct op_cursor *c);

/* Where reader_ops is going to begin; about so many operations are expected. */
struct op_range {
	uint32_t bucket;
	uint64_t after;
	size_t expected;
};
/* Operations that will be asked for next, in this order, up to up_to: a store on another machine reads them in one go, as far as max_bytes of
 * them reach. There is no need to. */
bool reader_ops_ahead(struct storage_reader *r, const struct op_range *ranges, size_t count, uint64_t up_to, size_t max_bytes,
                      struct error *err);
/* Is it of no use to read this ahead, because reader_ops does not wait for another machine? */
bool reader_ops_at_hand(struct storage_reader *r, uint32_t bucket, uint64_t after, uint64_t up_to);

/* Fills in the result objects (JSON texts) that all rows have stored under each of the keys as of op id c; the definitions are numbers of the
 * store. No more rows are read once max_rows was passed. */
bool reader_lookups(struct storage_reader *r, struct lookup_read *keys, size_t count, uint64_t c, size_t max_rows,
                    struct arena *arena, struct error *err);
/* The same for keys whose definitions are indexes in the plan, as a querier asks. */
bool reader_plan_lookups(struct storage_reader *r, const struct stored_plan *p, struct lookup_read *keys, size_t count,
                         uint64_t c, size_t max_rows, struct arena *arena, struct error *err);

/* ---- maintenance: compact.h ---------------------------------------------------------------------------------------------- */

/* The writer has nothing to do for now: others may write. Replication thread; also right while nothing is open. */
void storage_pause(struct storage *s);

struct storage_sizes {
	uint64_t operations, lookups, rows; /* bytes of pages in use: bucket data; parameter lookups; row records and images */
	uint64_t file, used;                /* bytes of the file; of its part that ever held data */
};
/* Any thread; a few microseconds. */
bool storage_sizes(struct storage *s, struct storage_sizes *out, struct error *err);
/* Lets go of the file's pages in this process' memory (they stay in the page cache of the system). Any thread; milliseconds. */
uint64_t storage_release_pages(struct storage *s);

/* Changes whenever a compaction took operations of the bucket away (and now and then without that); shared stores: as far as this process has
 * read of it. Any thread; no I/O. */
uint32_t storage_bucket_compactions(struct storage *s, uint32_t bucket);

/* Brackets a step of a session, so that data of an older plan is not removed under it. Any thread. The answer of begin goes to end. */
unsigned storage_step_begin(struct storage *s);
void storage_step_end(struct storage *s, unsigned token);

/* ---- write checkpoints (checkpoint-requests.md 2, 3, 5) ------------------------------------------------------------------ */

struct checkpoint_request {
	struct user_key user;
	uint64_t id; /* 0: generate one (legacy route) */
	/* answers */
	uint64_t stored_id; /* the id that storage is at */
	bool pending; /* its head is not passed by the served checkpoint (or not known), or passed without any event and asked
	                       * for again: a marker is needed */
	bool fresh;   /* this call stored an association of the user; false for retries and stale ids */
};

/* Stores a batch durably with one head, each entry by the rules of section 3, on its own. head_known false: the source cannot be
 * reached; new ids wait for storage_fill_heads. Acknowledges at once (news to the subscriber) what is passed already. Serialised
 * inside; request thread. */
bool storage_request_checkpoints(struct storage *s, struct checkpoint_request *requests, size_t count, bool head_known,
                                 struct position head, struct error *err);
/* The text for a request that custom mode refuses (PSYNC_S2001). */
#define CUSTOM_MODE_REFUSAL                                                                                                      \
	"Attempting to create a managed Write Checkpoint when the current Write Checkpoint mode is set to \"custom\""
/* Would a checkpoint at this position acknowledge a request that the served one does not? Any thread; short. Replication that is
 * behind makes a checkpoint there, so that each request is acknowledged at its own head. */
bool storage_position_acknowledges(struct storage *s, struct position position);
/* Somebody waits until this position is served, with or without changes: the next commit at or beyond it makes a checkpoint. */
void storage_want_position(struct storage *s, struct position position);
/* Two halves of filling in heads: note who waits now (at most WAITING_HEADS_MAX of them: with *count that large, do it again), read a
 * head, then store it for exactly those. */
#define WAITING_HEADS_MAX 4096
struct waiting_heads;
/* Another process stored a request without a head, or may have: true until storage_waiting_heads is called. Any thread; no I/O. */
bool storage_heads_wait(struct storage *s);
struct waiting_heads *storage_waiting_heads(struct storage *s, size_t *count, struct error *err);
bool storage_fill_heads(struct storage *s, struct waiting_heads *w, struct position head, struct error *err);
void waiting_heads_free(struct waiting_heads *w);

/* Greatest id of the user whose head is at or before position; 0: none. Any thread; short. */
uint64_t storage_write_checkpoint(struct storage *s, const struct user_key *user, struct position position);
/* How many associations are pending, and since when the oldest is (monotonic ms; 0: none). */
size_t storage_pending_requests(struct storage *s, int64_t *oldest_ms);
/* Proof of life for the users of open streams, and removal by age. Maintenance thread. What concerns custom write checkpoints is done
 * by the writer, with its next commit or storage_sync_position. */
bool storage_touch_requests(struct storage *s, const struct user_key *users, size_t count, struct error *err);
bool storage_expire_requests(struct storage *s, struct error *err);

/* ---- custom write checkpoints (checkpoint-requests 7) -------------------------------------------------------------------- */

/* Has the active plan such events? Then write checkpoints are those that came with the data (storage_write_checkpoint answers them), and
 * requests are refused. Any thread; no I/O. */
bool storage_custom_mode(struct storage *s);

enum custom_origin {
	CUSTOM_STREAM,   /* the newest one replaces all others */
	CUSTOM_SNAPSHOT, /* of a row that was read: counts if the stream has brought nothing, and the id is greater */
	CUSTOM_REPAIR,   /* of a row that was read after changes were lost: counts if the id is greater */
};

struct custom_checkpoint {
	uint64_t events; /* of the stored plan */
	struct user_key user;
	uint64_t id; /* 1 to 2^63 - 1 */
	bool temporary;
	enum custom_origin origin;
	struct position position; /* it shows with checkpoints at or beyond this, the end of its transaction */
};

/* The writer's; in the open transaction. */
bool storage_custom_checkpoint(struct storage *s, const struct custom_checkpoint *c, struct error *err);

#endif
