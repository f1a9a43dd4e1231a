/*
 * internal.h: the storage object as the files of this folder share it.
 *
 * Threads: `lock` guards what readers and the request thread see of the writer (served checkpoint, plans, source facts). Everything
 * under "writer" belongs to the replication thread. `requests_lock` lets one thread at a time write to the request side.
 */
#ifndef SYNCLINE_STORAGE_INTERNAL_H
#define SYNCLINE_STORAGE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "storage/apply.h"
#include "storage/backend.h"
#include "storage/custom.h"
#include "storage/defrag.h"
#include "storage/meter.h"
#include "storage/names.h"
#include "storage/write_checkpoints.h"

/* Raised when a record's format changes; a store with a greater one is refused. */
#define STORE_FORMAT_VERSION 2

/* What one record (META_STATE) says about the whole store; written in each transaction. */
struct store_state {
	uint32_t format; /* as found; 0: a new store */
	uint64_t op_seq; /* last op id given out */
	bool has_checkpoint;
	uint64_t checkpoint_op;
	struct position checkpoint_position;
	struct position applied;
	uint64_t active_plan, pending_plan; /* 0: none */
	uint64_t last_plan, epoch;
	uint32_t last_table, last_definition, type_count;
	uint64_t boundary_op;          /* op_seq of the last boundary: what is above was flushed inside a transaction */
	bool partial_mixed;            /* beside that half, earlier transactions are above the last boundary */
	struct position partial_until; /* where that transaction ends; zero: none is cut */
	char slot_name[64], system_id[64];
	uint32_t timeline;
	struct retirement {
		uint64_t plan;
		int64_t since_ms;     /* wall clock */
	} retired[MAX_RETIRED_PLANS]; /* the newest first */
	uint32_t retired_count;
};

struct definition_record {
	uint32_t number;
	enum definition_kind kind;
	enum definition_state state, committed_state;
	uint64_t epoch;
	uint8_t hash[32];
	struct slice name, content; /* in the storage's arena */
	bool gone;                  /* DROPPING, and nothing of it is left (drop.c) */
};

struct plan_record {
	uint64_t id;
	struct slice text; /* in the storage's arena */
	uint32_t *numbers; /* by index in the plan; same arena */
	size_t count;
};

/* Which events bring write checkpoints (custom_store.c). */
struct custom_state {
	uint64_t *active; /* tags, the last one that of the active plan's events; in the storage's arena */
	size_t active_count;
	uint8_t active_hash[32];
	uint64_t pending; /* tag of the pending plan's events; 0: it has none */
	uint8_t pending_hash[32];
};

/* What other threads ask the writer to do with these records; under lock, but for due and cursor. */
struct custom_upkeep {
	_Atomic bool due;
	bool expire;
	struct arena arena;   /* of stamps */
	struct slice *stamps; /* encoded users */
	size_t stamp_count, stamp_cap;
	struct buf cursor; /* the writer's */
};

struct table_record {
	uint32_t number;
	bool dropped; /* only its subkey text is needed still */
	struct slice schema, name;
	uint32_t oid;
	struct table_key_column *key;
	size_t key_count;
	char subkey_id[40];
	bool snapshot_done;
	uint64_t snapshot_epoch, rows_read, generation, columns, published_as;
	struct slice last_key;
};

/* Checkpoints that were handed out in this time stay valid: neither lookups nor buckets are compacted beyond them (checkpoint.c). */
#define CHECKPOINT_MARGIN_MS 120000
#define CHECKPOINT_SAMPLES 64

/*
 * Whose turn it is to write to the data half: the replication thread for a batch, or compaction for a step. In order of asking, so
 * that neither starves the other; what the backend keeps of its writer belongs to whoever has the turn.
 */
struct turn {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t next, serving;
};
void turn_init(struct turn *t);
void turn_destroy(struct turn *t);
void turn_take(struct turn *t);
void turn_give(struct turn *t);

/* Steps of sessions that run now, apart by phase: a phase that is over has no new ones (compact_drop.c). */
struct running_steps {
	_Atomic uint64_t running[2];
	_Atomic unsigned phase;
};

#define COMPACTION_COUNTERS 1024

/* What changed since the last checkpoint that clients saw. */
struct pending_news {
	bool everything;
	struct changed_buckets buckets;
	uint64_t *lookups;
	size_t lookup_count, lookup_cap;
	struct arena user_arena;
	struct user_key *users; /* for whom a write checkpoint came with the data */
	size_t user_count, user_cap, user_bytes;
};

/* Why replication failed last (failure.c). */
struct failure {
	char text[STORAGE_FAILURE_SIZE]; /* under lock */
	bool fresh;                      /* the writer's: what is written now brings it */
};

#define INSTANCE_ID_SIZE 37

/*
 * What a shared store does in its own way, in place of the files of this folder that keep records in a backend (docs/architecture.md,
 * "The shared Postgres store"): the entries of storage.h branch here if s->shared is set.
 */
struct compact_options;
struct compact_report;
struct request_filter;
struct user_requests;
struct request_counts;
struct shared_ops {
	/* -- opening and readers (store.c) */
	void (*stop)(struct storage *s); /* before everything is freed: threads end */
	/* -- requests (requests.h) */
	bool (*request_checkpoints)(struct storage *s, struct checkpoint_request *requests, size_t count, bool head_known,
	                            struct position head, struct error *err);
	struct waiting_heads *(*waiting_heads)(struct storage *s, size_t *count, struct error *err);
	bool (*fill_heads)(struct storage *s, struct waiting_heads *w, struct position head, struct error *err);
	bool (*heads_wait)(struct storage *s);
	uint64_t (*write_checkpoint)(struct storage *s, const struct user_key *user, struct position position);
	bool (*position_acknowledges)(struct storage *s, struct position position);
	bool (*touch_requests)(struct storage *s, const struct user_key *users, size_t count, struct error *err);
	bool (*expire_requests)(struct storage *s, struct error *err);
	bool (*list_requests)(struct storage *s, const struct request_filter *filter, struct arena *arena,
	                      struct user_requests **out, size_t *count, bool *more, struct error *err);
	bool (*count_requests)(struct storage *s, struct request_counts *out, struct error *err);
	/* -- write checkpoints that come with the data (custom.h) */
	bool (*custom_mode)(struct storage *s);
	bool (*custom_checkpoint)(struct storage *s, const struct custom_checkpoint *c, struct error *err);
	/* -- compaction (compact.h), alone in this process; steps and memory are filled in */
	bool (*compact)(struct storage *s, const struct compact_options *o, struct compact_report *out, struct error *err);
	bool (*sizes)(struct storage *s, struct storage_sizes *out, struct error *err);

	/* -- the writer: its role and the streams (role.c, deploy.c) */
	bool (*take_writer)(struct storage *s, bool *held, char *who, size_t who_size, struct error *err);
	void (*give_writer)(struct storage *s);
	bool (*streams_changed)(struct storage *s);
	bool (*active_is_written)(struct storage *s);
	bool (*deploy)(struct storage *s, struct plan *plan, bool *unchanged, struct error *err);
	bool (*activate_pending)(struct storage *s, struct error *err);
	bool (*restart_replication)(struct storage *s, struct error *err);
	bool (*pending_slot)(struct storage *s, char out[64]);
	bool (*stopped_stream)(struct storage *s, int32_t *id, char slot[64], struct error *err);
	void (*remove_stream)(struct storage *s, int32_t id);
	bool (*redeploy)(struct storage *s, struct error *err);
	bool (*report_failure)(struct storage *s, struct slice text, struct error *err);
	/* commits (commit.c) */
	bool (*commit)(struct storage *s, struct position applied, bool visible, bool *durable, struct error *err);
	bool (*flush)(struct storage *s, struct error *err);
	bool (*sync_position)(struct storage *s, struct error *err);
	void (*rollback)(struct storage *s);
	size_t (*batch_size)(struct storage *s);
	void (*in_transaction)(struct storage *s, struct position end);
	bool (*set_source)(struct storage *s, const char *system_id, struct error *err);
	bool (*set_timeline)(struct storage *s, uint32_t timeline, struct error *err);
	/* tables (tables.c) */
	bool (*resolve_table)(struct storage *s, const struct table_identity *t, struct arena *arena, struct stored_table *out,
	                      uint32_t **drop, size_t *drop_count, struct error *err);
	bool (*table_progress)(struct storage *s, uint32_t table, struct slice last_key, uint64_t rows_read, struct error *err);
	bool (*table_done)(struct storage *s, uint32_t table, uint64_t epoch, struct error *err);
	bool (*table_restart)(struct storage *s, uint32_t table, struct error *err);
	bool (*table_columns)(struct storage *s, uint32_t table, uint64_t columns, struct error *err);
	bool (*table_published)(struct storage *s, uint32_t table, uint64_t published_as, struct error *err);
	uint64_t (*epoch)(struct storage *s);
	bool (*new_generation)(struct storage *s, struct error *err);
	bool (*table_lost)(struct storage *s, uint32_t table, struct error *err);
	bool (*tables)(struct storage *s, struct arena *arena, struct table_name **out, size_t *count, struct error *err);
	bool (*truncate_table)(struct storage *s, uint32_t table, uint64_t *removed, struct error *err);
	bool (*drop_table)(struct storage *s, uint32_t table, struct error *err);
	/* rows (write_rows.c) */
	bool (*read_row)(struct storage *s, uint32_t table, const struct row_key *key, struct arena *arena,
	                 struct stored_row *out, struct error *err);
	bool (*write_row)(struct storage *s, uint32_t table, const struct row_key *key, const struct row_key *old,
	                  const struct row_contributions *c, struct slice image, enum row_write_mode mode, struct error *err);
	bool (*write_incomplete_row)(struct storage *s, uint32_t table, const struct row_key *key, const struct row_key *old,
	                             struct slice partial, const struct row_contributions *known, struct error *err);
	bool (*delete_row)(struct storage *s, uint32_t table, const struct row_key *key, struct error *err);
	bool (*incomplete_rows)(struct storage *s, uint32_t table, struct slice after, size_t max, struct arena *arena,
	                        struct row_key **keys, size_t *count, struct error *err);
};

struct storage {
	char instance_id[INSTANCE_ID_SIZE]; /* "": a store without one, opened for reading only */
	struct backend *backend;
	const struct shared_ops *shared; /* NULL: the embedded store */
	struct look *look;               /* NULL: not opened for looking only (look.c) */
	const struct log *log;
	int64_t retention_ms, retirement_ms;
	bool keep_format;         /* an older store is refused, not migrated */
	int64_t (*wall_ms)(void); /* clock_wall_ms; tests turn it */
	struct histogram
	        *acknowledged; /* seconds from storing an association to the checkpoint that passes its head; may be NULL */

	pthread_mutex_t lock;
	struct checkpoint checkpoint;
	struct stored_plan *active, *pending, *retired[MAX_RETIRED_PLANS];
	struct source_state source;
	struct position durable;
	struct position durable_shown; /* position of the checkpoint that a crash would leave */
	struct position wanted;        /* storage_want_position */
	struct {
		uint64_t op_id;
		int64_t mono_ms;
	} samples[CHECKPOINT_SAMPLES]; /* served checkpoints */
	size_t sample_count;
	struct checkpoint
	        announced; /* the newest that the subscriber has been told of: no step of a session goes by a newer one */
	void (*callback)(void *ctx, const struct storage_news *news); /* also under telling */
	void *callback_ctx;
	pthread_mutex_t telling;      /* held while it runs; taken before lock */
	const uint64_t *custom_shown; /* as custom.active */
	size_t custom_shown_count;
	struct custom_upkeep upkeep;

	struct failure failure;

	struct turn turn;             /* held from opening the backend's transaction to its end */
	pthread_mutex_t compact_lock; /* one compaction at a time */
	struct storage_meter meter;
	struct defrag defrag;
	struct running_steps steps;
	_Atomic uint32_t compactions[COMPACTION_COUNTERS]; /* by bucket number, several to one */

	pthread_mutex_t requests_lock;
	uint64_t request_era; /* under requests_lock: heads of an older era mean nothing */

	/* -- writer */
	struct arena arena;              /* definitions and plans; lives until close */
	bool open;                       /* the backend's transaction is */
	bool dirty;                      /* and has something to be committed */
	bool failed;                     /* a write failed half way: only storage_rollback helps */
	struct position transaction_end; /* of the transaction that is being written; zero: not told */
	bool transaction_mixed;          /* a flush in it would take earlier ones as well */
	struct store_state state, committed;
	struct definition_record *definitions;
	size_t definition_count, definition_cap;
	bool any_dropping;
	bool active_stale; /* the attached plan's content is not what was stored: a newer program changed an output */
	struct plan_record active_record, pending_record; /* id 0: none */
	struct plan *pending_plan, *active_plan;          /* compiled, once attached */
	struct retired_plan {
		struct plan_record record;
		struct plan *plan;          /* NULL: not attached */
	} retired_plans[MAX_RETIRED_PLANS]; /* as committed.retired */
	size_t retired_plan_count;
	bool activating;
	struct custom_state custom;
	struct table_record *tables;
	size_t table_count, table_cap;
	struct arena table_arena;
	struct names type_names, table_names;
	uint32_t types_committed;
	struct apply apply;
	struct pending_news news;
};

/* ---- storage.c: opening. storage_free closes the backend, if there is one. */
struct storage *storage_new(const struct storage_options *options);
void storage_free(struct storage *s);
struct storage *storage_load_lmdb(const struct storage_options *options, bool read_only, struct error *err);
/* Calls the subscriber, if there is one. No lock is held. */
void storage_tell(struct storage *s, const struct storage_news *news);

/* ---- look.c: what the opening of a store for looking was given */
void look_free(struct look *l);

/* ---- commit.c */
/* Opens the transaction if it is not open, and marks it as having something to commit. */
bool writer_begin(struct storage *s, struct error *err);
/* For reading what the writer sees. */
bool writer_peek(struct storage *s, struct error *err);
/* The writer's transaction must be given up; answers false. */
bool writer_fail(struct storage *s);

/* ---- state.c */
void state_encode(struct buf *b, const struct store_state *st);
bool state_load(struct storage *s, bool read_only, struct error *err);

/* ---- checkpoint.c. Any thread, but for what the writer says. */
/* The writer: makes visible to other threads what the state says. */
void checkpoint_publish(struct storage *s);
/* The writer: it is served from now on. */
void checkpoint_sample(struct storage *s);
/* The writer: sessions go by it now, and compaction may. */
void checkpoint_note_announced(struct storage *s);
struct checkpoint checkpoint_announced(struct storage *s);
/* The newest checkpoint that was the newest one so many milliseconds ago: of what lies at or below it a reader needs the newest state only.
 * UINT64_MAX: there is no checkpoint, nobody reads. */
uint64_t checkpoint_floor(struct storage *s, int64_t margin_ms);
/* With CHECKPOINT_MARGIN_MS. */
uint64_t lookup_floor(struct storage *s);

/* ---- news.c */
void news_free(struct pending_news *n);
void news_add_lookup(struct storage *s, uint32_t definition, struct slice key);
void news_add_user(struct storage *s, const struct user_key *user);
/* Hidden commits may go on for long: what they changed must stay bounded. */
void news_bound(struct pending_news *n);
/* For the subscriber; what it points to lives as long as n is not changed. news->users: joined by those to whom the data brought something,
 * in the arena. */
void news_fill(struct pending_news *n, bool everything, struct storage_news *news, struct arena *arena);
void news_clear(struct pending_news *n);

/* ---- failure.c */
bool failure_load(struct storage *s, struct error *err);
/* Within a commit: what was reported before it is over. */
bool failure_settle(struct storage *s, struct error *err);
void failure_settled(struct storage *s);

/* The key of a row as its record gives it; the uuid is copied. */
static inline struct row_key record_row_key(const struct row_record *r, struct slice bytes)
{
	struct row_key key = {.bytes = bytes, .uuid_alone = r->uuid_alone};
	memcpy(key.uuid, r->uuid, sizeof(key.uuid));
	return key;
}

/* ---- definitions.c */
bool definitions_load(struct storage *s, struct error *err);
/* Copies the definitions and their heads; takes a reference to the plan. */
struct stored_plan *stored_plan_new(uint64_t id, struct plan *plan, const struct stored_definition *definitions, size_t count,
                                    uint64_t events);
void definitions_committed(struct storage *s);
void definitions_rollback(struct storage *s);
bool definition_is_dropping(const struct storage *s, uint32_t number);
/* Neither dropping nor gone. */
bool definition_is_maintained(const struct storage *s, uint32_t number);
/* Within the commit that shows it: the pending plan becomes the active one. */
bool definitions_activate(struct storage *s, struct store_state *next, struct error *err);
void definitions_activated(struct storage *s);
void definitions_free(struct storage *s);
bool definition_set_state(struct storage *s, struct definition_record *r, enum definition_state state, struct error *err);
/* Is every definition of the compiled plan, in order, the one whose number is stored? */
bool record_fits(const struct storage *s, const struct plan_record *r, const struct plan *plan);
/* What other threads get from now on. */
void plans_show(struct storage *s);

/* ---- revision.c */
/* The first revision ("name@number") of the stored content that is above the one in what this program makes of the same text; p == NULL:
 * there is none. */
struct slice revision_unknown(struct slice stored, struct slice compiled);

/* ---- retirement.c */
bool plan_needs(const struct plan_record *r, uint32_t number);
/* The states of all definitions by the plans that need them: what nobody needs is to be dropped. */
bool definitions_settle(struct storage *s, const struct plan_record *active, const struct plan_record *pending,
                        const struct plan_record *const *retired, size_t retired_count, struct error *err);
size_t retired_records(const struct storage *s, const struct plan_record **out);
/* While loading: is the plan with this number a replaced one? Then *out is to be filled. */
bool retirement_load_plan(struct storage *s, uint32_t number, struct plan_record **out);
/* After plans and definitions were loaded. */
bool retirement_loaded(struct storage *s, struct error *err);
/* Within the commit that activates the pending plan: the active one retires. After it: the same for what is in memory, before the plans
 * are exchanged; the compiled active plan is taken. */
bool retirement_activate(struct storage *s, struct store_state *next, struct error *err);
void retirement_activated(struct storage *s);
/* Gives up what was not attached. */
bool retirement_prune(struct storage *s, struct error *err);

/* ---- tables.c */
/* The same table with the same replica identity (storage-semantics 5.1). */
bool table_identity_eq(const struct table_identity *a, const struct table_identity *b);
bool tables_load(struct storage *s, struct error *err);

/* ---- types.c */
bool types_load(struct storage *s, struct error *err);
bool types_store(struct storage *s, struct error *err);
void types_rollback(struct storage *s);
/* A new text gets a number. 0 with an error: the store is full. */
uint32_t type_number(struct storage *s, struct slice text, struct error *err);

/* ---- entries.c */
/* Fills apply.entries with the numbers, matches and shared data of all PUTs, and apply.matched for the current record, before anything is
 * written. */
bool entries_prepare(struct storage *s, const struct row_contributions *c, enum row_write_mode mode, struct error *err);

/* ---- apply.c */
void apply_free(struct apply *a);
/* r->found false: there is none. */
bool row_load(struct storage *s, uint32_t table, struct slice key, struct row_record *r, struct error *err);
/* REMOVEs and empty lookup entries for all that the record says, and the record is gone. */
bool row_retire(struct storage *s, uint32_t table, const struct row_key *key, const struct row_record *r, struct error *err);

/* ---- requests.c */
struct served storage_served(struct storage *s);
/* Calls with the users whose head lies in (after, up_to]; they live during the call. */
bool requests_passed(struct storage *s, struct position after, struct position up_to, const struct user_key **users,
                     size_t *count, struct requests_txn **txn, struct arena *arena, struct error *err);
/* One association was acknowledged that was stored at this wall time. */
void requests_note_latency(struct storage *s, int64_t since_ms);

/* ---- request_heads.c */
/* A position of a new era is about to be served: pending heads mean nothing any more. */
bool requests_new_era(struct storage *s, uint64_t era, struct error *err);

/* ---- custom_store.c */
bool custom_load(struct storage *s, struct error *err);
/* Does the compiled plan have the events that are stored for the active or the pending one? */
bool custom_fits(const struct storage *s, const struct plan *plan, bool pending);
uint64_t custom_tag(const struct storage *s, bool pending);
/* Within the transaction that makes the plan (NULL: none) the pending one: what is stored of its events, in *next until that is
 * committed. Takes the epoch if the events are new. */
bool custom_deploy(struct storage *s, const struct plan *plan, uint64_t epoch, struct custom_state *next, struct error *err);
void custom_deployed(struct storage *s, const struct custom_state *next);
/* Within the commit that activates the pending plan, and after it. */
bool custom_activate(struct storage *s, struct error *err);
void custom_activated(struct storage *s);
/* Any thread. False: custom mode is off. */
bool custom_acknowledged(struct storage *s, const struct user_key *user, struct position position, uint64_t *id);
/* Any thread: the users live; the records that are over are to go. */
bool custom_touch(struct storage *s, const struct user_key *users, size_t count, struct error *err);
void custom_expire(struct storage *s);
/* The writer does a step of that, if there is something to be done. */
bool custom_upkeep(struct storage *s, struct error *err);
void custom_upkeep_free(struct custom_upkeep *u);

/* ---- instance.c */
bool instance_load(struct storage *s, bool read_only, struct error *err);

#endif
