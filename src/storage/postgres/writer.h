/*
 * writer.h: the one writer of a shared store (storage-semantics 5, 6, storage-postgres 6, 7).
 *
 * One process replicates a stream; it holds the stream's lock (holder.h). Here are its transactions. What the engine writes is gathered in
 * memory (rows.h, and the records of tables below); a flush or a commit writes all of it in one transaction, which begins with the *fence*: it
 * shares the row of the lock and reads it, so that a node whose lock was taken over cannot write, and whoever takes it over waits for what is
 * being written. A transaction that cannot begin for no fault of its own is tried again for some seconds; one that fails later is given up, and the
 * engine begins anew at the last position that is durable, so that one whose COMMIT got no answer is not done twice.
 *
 * At most two streams are written, the active and the deploying one, from one replication slot: that of the active one. What Syncline has to know of
 * a stream beyond the reference's columns (applied position, what a cut transaction left) is in the side table syncline_streams, written in the same
 * transactions. If the reference wrote to the stream since, that row is void: only the last checkpoint's position counts.
 *
 * Everything is the replication thread's, unless it says otherwise.
 */
#ifndef SYNCLINE_STORAGE_POSTGRES_WRITER_H
#define SYNCLINE_STORAGE_POSTGRES_WRITER_H

#include "storage/postgres/store.h"

#define PG_TARGETS_MAX 2

struct pg_rows;
struct pg_holder;

/* The columns of sync_rules that commits work with. Zero positions: none. */
struct pg_record {
	bool active, deploying; /* state ACTIVE, PROCESSING; else it was stopped or errored by another process */
	bool snapshot_done;
	bool has_checkpoint, has_pending;
	uint64_t checkpoint, pending; /* last_checkpoint, keepalive_op */
	struct position position, no_checkpoint_before, resume;
};

static inline bool pg_record_has_position(const struct pg_record *k)
{
	return k->position.lsn || k->resume.lsn;
}

/* What syncline_streams has beside it. */
struct pg_beside {
	struct position applied, partial_until;
	uint64_t flushed_op; /* greatest of what was flushed and is in no commit; 0 */
	uint64_t generation; /* how often changes of tables were lost */
	char system_id[64];
	uint32_t timeline;
};

/* A stream that is written to. */
struct pg_target {
	struct pg_stream *stream;
	char lock_id[37];
	struct pg_record record; /* as of the last transaction */
	struct pg_beside beside; /* what the next one brings */
	bool reread; /* somebody else wants tables read again, it is not known which: nothing is shown before all are */
};

/* A table of the source, and its record in each stream (tables.c). */
struct pg_table_part {
	int32_t stream_id; /* 0: the stream does not read it */
	char id[40];       /* source_tables.id */
	bool snapshot_done;
	bool made, gone, changed; /* what the next transaction does with the record */
	bool foreign;             /* read by the reference: nothing is known beside it */
	bool idle;                /* feeds nothing: there is a record, but never a row */
	uint64_t snapshot_epoch, generation;
	uint64_t columns, published_as, rows_read;
	struct buf progress;
};
struct pg_table {
	uint32_t number; /* index + 1 */
	bool dropped;
	struct slice schema, name;
	uint32_t oid;
	struct table_key_column *key;
	size_t key_count;
	struct pg_table_part parts[PG_TARGETS_MAX]; /* as the targets */
};

struct pg_writer {
	struct pg_store *store;
	struct storage *s;
	struct pg_conn *conn; /* NULL: not open */
	struct pg_holder *holder;
	struct pg_rows *rows;
	int32_t only_stream; /* 0; tests: the one stream that is written, whatever its state, as if each had a writer of its own */
	bool ready;          /* the role was taken and the streams loaded */
	bool fenced;         /* a lock was found to be another's: what the holder has of them means nothing */
	struct pg_target targets[PG_TARGETS_MAX]; /* the active one first */
	size_t target_count;
	bool has_active;

	uint64_t persisted;              /* op id up to which something was flushed and is in no checkpoint; 0 */
	bool dirty;                      /* something beside rows waits for the next transaction */
	bool activating;                 /* the second stream becomes the active one with the next commit that is shown */
	bool empty_wanted;               /* the next commit makes a checkpoint even if nothing was written */
	struct pg_leaving stopped;       /* what pg_stopped_stream answered last */
	bool reported;                   /* an error was reported that the next writing transaction takes back */
	struct position applied;         /* the boundary that was told last */
	struct position transaction_end; /* of the transaction that is being written; zero: not told */
	bool mixed;                      /* what a flush in it takes has earlier transactions as well, which no commit has */

	struct pg_table *tables;
	size_t table_count, table_cap;
	struct arena arena; /* names of tables */
};

static inline struct pg_writer *pg_writer_of(const struct storage *s)
{
	return pg_store_of(s)->writer;
}

struct pg_writer *pg_writer_new(struct pg_store *store);
void pg_writer_free(struct pg_writer *w);

/* ---- for rows.c */

/* Opens the connection if it is not; no transaction. For reading outside of one. */
struct pg_conn *pg_writer_conn(struct pg_writer *w, struct error *err);
/* The record of a table in a stream: text for source_table, NULL: the stream does not read it. */
const char *pg_writer_table_id(const struct pg_writer *w, uint32_t table, int32_t stream_id);
/* Above 0: changes of the table were lost; rows that were not written since are to be swept, and are no source of unsent values. */
uint64_t pg_writer_table_generation(const struct pg_writer *w, uint32_t table);

/* ---- transactions */

/* What a stream's rows say, into *t; with the record's lock id unchanged. Nobody else may be writing to it any more. */
bool pg_target_load(struct pg_writer *w, struct pg_target *t, struct error *err);
/* Everything that was gathered, in one fenced transaction; commit: with the rules of storage-semantics 6 for each stream. */
enum pg_transaction {
	PG_FLUSH,
	PG_POSITION,      /* the same, and the boundary becomes durable */
	PG_COMMIT_HIDDEN, /* a blocked commit */
	PG_COMMIT,
};
bool pg_writer_transact(struct pg_writer *w, enum pg_transaction kind, struct error *err);
/* False with an error: the role is not held, or what was gathered was rolled back. */
bool pg_writer_ready(const struct pg_writer *w, struct error *err);
/* Is there anything for it to write? */
bool pg_writer_dirty(const struct pg_writer *w);
/* What other threads are told of the stream that is followed. */
void pg_writer_publish(struct pg_writer *w);

/* ---- tables_records.c */
bool pg_tables_load(struct pg_writer *w, struct error *err);
/* Within the transaction, and after it. */
bool pg_tables_write(struct pg_writer *w, struct pg_conn *conn, struct error *err);
void pg_tables_written(struct pg_writer *w);
/* Only this target is written from now on. */
void pg_tables_keep_part(struct pg_writer *w, size_t target);
void pg_tables_free(struct pg_writer *w);
/* A new one, without records. */
struct pg_table *pg_tables_add(struct pg_writer *w, const struct table_identity *t);
bool pg_table_is(const struct pg_table *r, const struct table_identity *t);
bool pg_stream_reads_table(const struct pg_stream *stream, const struct table_identity *t);

/* ---- tables.c */
/* Does the target have a table that was never read to its end? Then it shows nothing new. */
bool pg_tables_unread(const struct pg_writer *w, size_t target);
/* False: the error names those tables. */
bool pg_tables_are_read(const struct pg_writer *w, size_t target, struct error *err);
/* The same, or one that is to be read again. */
bool pg_tables_waiting(const struct pg_writer *w, size_t target);
/* Is there any record? */
bool pg_tables_any(const struct pg_writer *w, size_t target);
/* All tables of the target are compared with the source. */
void pg_tables_read_again(struct pg_writer *w, size_t target);
/* What is new in the stream has epochs from here on. */
uint64_t pg_stream_epoch(int32_t stream_id);

/* ---- the writer's functions of storage.h (internal.h: struct shared_ops) */
/* role.c */
bool pg_take_writer(struct storage *s, bool *held, char *who, size_t who_size, struct error *err);
void pg_give_writer(struct storage *s);
bool pg_streams_changed(struct storage *s);
bool pg_active_is_written(struct storage *s);
/* deploy.c */
bool pg_deploy(struct storage *s, struct plan *plan, bool *unchanged, struct error *err);
bool pg_activate_pending(struct storage *s, struct error *err);
bool pg_restart_replication(struct storage *s, struct error *err);
/* Within what holds the role: the stream is stopped, and its config deployed anew. */
bool pg_deploy_again(struct pg_writer *w, const struct pg_stream *stream, const char *state, struct error *err);
bool pg_report_failure(struct storage *s, struct slice text, struct error *err);
/* commit.c */
bool pg_commit(struct storage *s, struct position applied, bool visible, bool *durable, struct error *err);
bool pg_flush(struct storage *s, struct error *err);
bool pg_sync_position(struct storage *s, struct error *err);
void pg_rollback(struct storage *s);
size_t pg_batch_size(struct storage *s);
void pg_in_transaction(struct storage *s, struct position end);
bool pg_set_source(struct storage *s, const char *system_id, struct error *err);
bool pg_set_timeline(struct storage *s, uint32_t timeline, struct error *err);
bool pg_pending_slot(struct storage *s, char out[64]);
bool pg_redeploy(struct storage *s, struct error *err);
/* terminate.c */
bool pg_stopped_stream(struct storage *s, int32_t *id, char slot[64], struct error *err);
void pg_remove_stream(struct storage *s, int32_t id);
/* Locks may have changed hands: what is being removed is found anew. */
void pg_remove_nothing(struct pg_writer *w);
/* write_rows.c */
bool pg_read_row(struct storage *s, uint32_t table, const struct row_key *key, struct arena *arena, struct stored_row *out,
                 struct error *err);
bool pg_write_row(struct storage *s, uint32_t table, const struct row_key *key, const struct row_key *old,
                  const struct row_contributions *c, struct slice image, enum row_write_mode mode, struct error *err);
bool pg_write_incomplete_row(struct storage *s, uint32_t table, const struct row_key *key, const struct row_key *old,
                             struct slice partial, const struct row_contributions *known, struct error *err);
bool pg_delete_row(struct storage *s, uint32_t table, const struct row_key *key, struct error *err);
bool pg_incomplete_rows(struct storage *s, uint32_t table, struct slice after, size_t max, struct arena *arena,
                        struct row_key **keys, size_t *count, struct error *err);
/* tables.c */
bool pg_resolve_table(struct storage *s, const struct table_identity *t, struct arena *arena, struct stored_table *out,
                      uint32_t **drop, size_t *drop_count, struct error *err);
bool pg_table_progress(struct storage *s, uint32_t table, struct slice last_key, uint64_t rows_read, struct error *err);
bool pg_table_done(struct storage *s, uint32_t table, uint64_t epoch, struct error *err);
bool pg_table_restart(struct storage *s, uint32_t table, struct error *err);
bool pg_table_columns(struct storage *s, uint32_t table, uint64_t columns, struct error *err);
bool pg_table_published(struct storage *s, uint32_t table, uint64_t published_as, struct error *err);
uint64_t pg_epoch(struct storage *s);
bool pg_new_generation(struct storage *s, struct error *err);
bool pg_table_lost(struct storage *s, uint32_t table, struct error *err);
bool pg_table_names(struct storage *s, struct arena *arena, struct table_name **out, size_t *count, struct error *err);
bool pg_truncate_table(struct storage *s, uint32_t table, uint64_t *removed, struct error *err);
bool pg_drop_table(struct storage *s, uint32_t table, struct error *err);

#endif
