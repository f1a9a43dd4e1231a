/* store.c: see store.h. */
#include "storage/postgres/store.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "storage/postgres/migrations.h"
#include "storage/postgres/plan_names.h"
#include "storage/postgres/writer.h"
#include "storage/postgres/readers.h"
#include "storage/postgres/requests.h"
#include "storage/postgres/watch.h"
#include "storage/postgres/compact.h"
#include "storage/postgres/custom.h"

#define DEFAULT_POOL 8
#define OPEN_ATTEMPTS 3

void pg_position_format(struct position p, char out[PG_POSITION_SIZE])
{
	lsn_format(p.lsn, out);
}

bool pg_position_parse(const char *text, struct position *out)
{
	*out = (struct position){0, 0};
	return lsn_parse(slice_cstr(text), &out->lsn);
}

/* ---- streams ---------------------------------------------------------------------------------------------------------------------- */

struct pg_stream *pg_store_stream(struct pg_store *store, int32_t id)
{
	struct pg_stream *found = NULL;
	pthread_mutex_lock(&store->lock);
	for (size_t i = 0; i < store->stream_count; i++)
		if (store->streams[i]->id == id)
			found = store->streams[i];
	pthread_mutex_unlock(&store->lock);
	return found;
}

struct pg_stream *pg_store_active(struct pg_store *store)
{
	pthread_mutex_lock(&store->lock);
	struct pg_stream *p = store->active;
	pthread_mutex_unlock(&store->lock);
	return p;
}

struct pg_stream *pg_store_pending(struct pg_store *store)
{
	pthread_mutex_lock(&store->lock);
	struct pg_stream *p = store->pending;
	pthread_mutex_unlock(&store->lock);
	return p;
}

static void stream_free(struct pg_stream *p)
{
	stored_plan_unref(p->stored);
	stored_plan_unref(p->stored_deploying);
	plan_unref(p->plan);
	arena_free(&p->arena);
	free(p);
}

/* The number of its events that bring write checkpoints: new in this stream, as its definitions are. */
static uint64_t events_of(const struct pg_stream *p)
{
	uint8_t hash[32];
	return plan_write_checkpoint_events(p->plan, hash) ? (uint64_t)p->id : 0;
}

/* Numbers for the definitions, and the object that sessions hold. */
static void name_definitions(struct pg_store *store, struct pg_stream *p)
{
	size_t count = plan_definition_count(p->plan);
	const struct pg_definition **list = arena_array(&p->arena, const struct pg_definition *, count + 1);
	struct stored_definition *stored = arena_array(&p->arena, struct stored_definition, count + 1);
	for (size_t i = 0; i < count; i++) {
		struct pg_definition d;
		if (p->definitions) {
			list[i] = p->definitions[i];
		} else {
			pg_plan_name(p->plan, (uint32_t)i, p->id, p->version, &p->arena, &d);
			list[i] = pg_names_add_definition(store->names, &d);
		}
		stored[i] = (struct stored_definition){
		        .number = list[i]->number,
		        .state = p->state == PG_STREAM_PROCESSING ? DEFINITION_FILLING : DEFINITION_READY,
		        .epoch = pg_stream_epoch(p->id),
		        .name = plan_definition(p->plan, (uint32_t)i)->name,
		        .head = list[i]->head,
		};
	}
	if (!p->definitions)
		p->definitions = list;
	p->stored = stored_plan_new((uint64_t)p->id, p->plan, stored, count, events_of(p));
}

static void compile(struct pg_store *store, struct pg_stream *p, struct slice sync_plan)
{
	struct diagnostics d = {0};
	struct error err = {.code = ""};
	p->plan = plan_compile(p->content, SLICE("public"), &d);
	diagnostics_free(&d);
	if (!p->plan)
		snprintf(p->problem, sizeof(p->problem), "its sync config does not compile");
	else if (sync_plan.n && !pg_plan_agrees(p->plan, sync_plan, &err))
		snprintf(p->problem, sizeof(p->problem), "%s", err.message);
	if (p->plan && !p->problem[0])
		name_definitions(store, p);
	else
		log_error(store->s->log, "The stream %d in the storage database cannot be used: %s", p->id, p->problem);
}

static enum pg_stream_state state_of(const char *text)
{
	return strcmp(text, "ACTIVE") == 0    ? PG_STREAM_ACTIVE
	       : strcmp(text, "ERRORED") == 0 ? PG_STREAM_ERRORED
	                                      : PG_STREAM_PROCESSING;
}

static bool load_stream(struct pg_store *store, const PGresult *r, int row, enum pg_stream_state state, struct pg_stream **out,
                        struct error *err)
{
	int32_t id = (int32_t)strtol(PQgetvalue(r, row, 0), NULL, 10);
	int version = (int)strtol(PQgetvalue(r, row, 3), NULL, 10);
	struct pg_stream *p = *out = pg_store_stream(store, id);
	if (p) {
		/* Whoever activated it: what it reads is filled. */
		if (p->stored && p->state == PG_STREAM_PROCESSING && state != PG_STREAM_PROCESSING) {
			p->stored_deploying = p->stored; /* others may be reading it */
			p->state = state;
			name_definitions(store, p);
		}
		return true;
	}
	if (version < 1 || version > 3)
		return error_set(err, "PSYNC_S1005", "Unsupported storage version %d (stream %d)", version, id);
	p = xcalloc(1, sizeof(*p));
	p->id = id;
	p->version = version;
	p->state = state;
	snprintf(p->slot_name, sizeof(p->slot_name), "%s", PQgetvalue(r, row, 2));
	p->content = arena_copy(&p->arena, slice_make(PQgetvalue(r, row, 4), (size_t)PQgetlength(r, row, 4)));
	compile(store, p, slice_make(PQgetvalue(r, row, 5), (size_t)PQgetlength(r, row, 5)));
	pthread_mutex_lock(&store->lock);
	store->streams = xgrow(store->streams, store->stream_count, &store->stream_cap, sizeof(struct pg_stream *));
	store->streams[store->stream_count++] = p;
	pthread_mutex_unlock(&store->lock);
	*out = p;
	return true;
}

/* What other threads get from now on. */
static void show(struct pg_store *store, struct pg_stream *active, struct pg_stream *pending)
{
	struct storage *s = store->s;
	pthread_mutex_lock(&store->lock);
	store->active = active;
	store->pending = pending;
	pthread_mutex_unlock(&store->lock);
	pthread_mutex_lock(&s->lock);
	struct stored_plan *old_active = s->active, *old_pending = s->pending;
	s->active = active ? stored_plan_ref(active->stored) : NULL;
	s->pending = pending ? stored_plan_ref(pending->stored) : NULL;
	pthread_mutex_unlock(&s->lock);
	stored_plan_unref(old_active);
	stored_plan_unref(old_pending);
}

bool pg_store_load(struct pg_store *store, struct pg_conn *conn, struct error *err)
{
	static const char sql[] = "SELECT id, state, slot_name, storage_version, content, sync_plan::text FROM sync_rules"
	                          " WHERE state IN ('ACTIVE', 'ERRORED', 'PROCESSING') ORDER BY id";
	struct pg_stream *active = NULL, *pending = NULL;
	pthread_mutex_lock(&store->load_lock);
	PGresult *r = pg_query(conn, sql, 0, NULL, PG_TIMEOUT_MS, err);
	bool ok = r != NULL;
	for (int i = 0; ok && i < PQntuples(r); i++) {
		struct pg_stream *p;
		enum pg_stream_state state = state_of(PQgetvalue(r, i, 1));
		ok = load_stream(store, r, i, state, &p, err);
		if (!ok)
			break;
		pthread_mutex_lock(&store->lock);
		p->state = state;
		pthread_mutex_unlock(&store->lock);
		*(state == PG_STREAM_PROCESSING ? &pending : &active) = p;
	}
	PQclear(r);
	if (ok)
		show(store, active, pending);
	pthread_mutex_unlock(&store->load_lock);
	return ok;
}

bool pg_store_checkpoint(struct pg_conn *conn, int timeout_ms, struct checkpoint *out, struct error *err)
{
	static const char sql[] =
	        "SELECT id, last_checkpoint, last_checkpoint_lsn FROM sync_rules WHERE state IN ('ACTIVE', 'ERRORED')"
	        " ORDER BY id DESC LIMIT 1";
	PGresult *r = pg_prepared(conn, sql, &(struct pg_values){.count = 0}, timeout_ms, err);
	*out = (struct checkpoint){.valid = false};
	if (!r)
		return false;
	if (PQntuples(r) && !PQgetisnull(r, 0, 2) && pg_position_parse(PQgetvalue(r, 0, 2), &out->position)) {
		out->valid = true;
		out->plan_id = strtoull(PQgetvalue(r, 0, 0), NULL, 10);
		out->op_id = strtoull(PQgetvalue(r, 0, 1), NULL, 10);
	}
	PQclear(r);
	return true;
}

/* ---- opening and closing ------------------------------------------------------------------------------------------------------------ */

/* side.c made it, if the reference had not. */
static bool load_instance(struct pg_store *store, struct pg_conn *conn, struct error *err)
{
	PGresult *r = pg_query(conn, "SELECT id FROM instance LIMIT 1", 0, NULL, PG_TIMEOUT_MS, err);
	if (r && PQntuples(r) == 1)
		snprintf(store->s->instance_id, sizeof(store->s->instance_id), "%s", PQgetvalue(r, 0, 0));
	PQclear(r);
	return r != NULL;
}

/* Where nothing is missing no lock is taken: one that a killed process left behind would hold up every start for a minute. */
static bool migrated(const struct storage *s, struct pg_conn *conn, struct error *err)
{
	struct error missing = {.code = ""};
	if (s->keep_format)
		return pg_migrations_done(conn, err);
	return pg_migrations_done(conn, &missing) || pg_migrate_up(conn, s->log, err);
}

static bool open_with(struct pg_store *store, struct pg_conn *conn, struct error *err)
{
	struct storage *s = store->s;
	return migrated(s, conn, err) && load_instance(store, conn, err) && pg_store_load(store, conn, err) &&
	       pg_store_checkpoint(conn, PG_TIMEOUT_MS, &s->checkpoint, err);
}

static void store_close(struct backend *b)
{
	struct pg_store *store = (struct pg_store *)b;
	for (size_t i = 0; i < store->stream_count; i++)
		stream_free(store->streams[i]);
	free(store->streams);
	pg_writer_free(store->writer);
	pg_pool_free(store->pool);
	pg_requests_free(store->requests);
	pg_custom_free(store->custom);
	pg_sums_free(store->sums);
	pg_names_free(store->names);
	pthread_mutex_destroy(&store->load_lock);
	pthread_mutex_destroy(&store->lock);
	free(store);
}

static void stop(struct storage *s)
{
	pg_watch_stop(pg_store_of(s)->watch);
	pg_give_writer(s);
}

static bool read_cleared(struct storage_reader *r, uint32_t bucket, uint64_t c)
{
	return pg_names_clear(((struct pg_store *)r->backend)->names, bucket) > c;
}

static void bucket_hold(struct backend *b, uint32_t bucket, int change)
{
	struct pg_names *names = ((struct pg_store *)b)->names;
	if (change > 0)
		pg_names_hold(names, bucket);
	else
		pg_names_release(names, bucket);
}

static uint32_t bucket_compactions(struct backend *b, uint32_t bucket)
{
	return (uint32_t)pg_names_clear(((struct pg_store *)b)->names, bucket);
}

/* What readers do. */
static const struct backend_ops backend = {
        .close = store_close,
        .read_begin = pg_read_begin,
        .read_end = pg_read_end,
        .read_bucket = pg_read_bucket,
        .read_bucket_name = pg_read_bucket_name,
        .read_checksum = pg_read_checksum,
        .read_checksums = pg_read_checksums,
        .read_cleared = read_cleared,
        .bucket_hold = bucket_hold,
        .bucket_compactions = bucket_compactions,
        .read_ops = pg_read_ops,
        .read_ops_ahead = pg_read_ops_ahead,
        .read_ops_at_hand = pg_read_ops_at_hand,
        .read_lookups = pg_read_lookups,
};

/* What writers and requests do (internal.h). */
static const struct shared_ops shared = {
        .stop = stop,
        .take_writer = pg_take_writer,
        .give_writer = pg_give_writer,
        .streams_changed = pg_streams_changed,
        .active_is_written = pg_active_is_written,
        .deploy = pg_deploy,
        .activate_pending = pg_activate_pending,
        .restart_replication = pg_restart_replication,
        .pending_slot = pg_pending_slot,
        .redeploy = pg_redeploy,
        .stopped_stream = pg_stopped_stream,
        .remove_stream = pg_remove_stream,
        .report_failure = pg_report_failure,
        .commit = pg_commit,
        .flush = pg_flush,
        .sync_position = pg_sync_position,
        .rollback = pg_rollback,
        .batch_size = pg_batch_size,
        .in_transaction = pg_in_transaction,
        .set_source = pg_set_source,
        .set_timeline = pg_set_timeline,
        .resolve_table = pg_resolve_table,
        .table_progress = pg_table_progress,
        .table_done = pg_table_done,
        .table_restart = pg_table_restart,
        .table_columns = pg_table_columns,
        .table_published = pg_table_published,
        .epoch = pg_epoch,
        .new_generation = pg_new_generation,
        .table_lost = pg_table_lost,
        .tables = pg_table_names,
        .truncate_table = pg_truncate_table,
        .drop_table = pg_drop_table,
        .read_row = pg_read_row,
        .write_row = pg_write_row,
        .write_incomplete_row = pg_write_incomplete_row,
        .delete_row = pg_delete_row,
        .incomplete_rows = pg_incomplete_rows,
        .request_checkpoints = pg_request_checkpoints,
        .waiting_heads = pg_waiting_heads,
        .fill_heads = pg_fill_heads,
        .heads_wait = pg_heads_wait,
        .write_checkpoint = pg_write_checkpoint,
        .position_acknowledges = pg_position_acknowledges,
        .touch_requests = pg_touch_requests,
        .expire_requests = pg_expire_requests,
        .list_requests = pg_list_requests,
        .count_requests = pg_count_requests,
        .custom_mode = pg_custom_mode,
        .custom_checkpoint = pg_custom_checkpoint,
        .compact = pg_compact,
        .sizes = pg_sizes,
};

/* A connection that is lost on the way (the database was restarted, an administrator cut it) is no reason to give up a start. */
static bool open_again(struct pg_store *store, struct error *err)
{
	bool ok = false, lost = true;
	for (int attempt = 0; lost && attempt < OPEN_ATTEMPTS; attempt++) {
		struct pg_conn *conn = pg_pool_take(store->pool, err);
		ok = conn && open_with(store, conn, err);
		lost = conn && !ok && conn->broken;
		pg_pool_give(store->pool, conn);
	}
	return ok;
}

struct storage *storage_open_postgres(const struct storage_options *options, struct error *err)
{
	struct storage *s = storage_new(options);
	struct pg_store *store = xcalloc(1, sizeof(*store));
	store->backend = (struct backend){.ops = &backend, .types = &s->type_names, .tables = &s->table_names};
	store->s = s;
	store->connection = options->postgres;
	store->pool =
	        pg_pool_new(&store->connection, options->postgres.max_pool_size ? options->postgres.max_pool_size : DEFAULT_POOL);
	store->names = pg_names_new();
	store->sums = pg_sums_new();
	store->requests = pg_requests_new(store);
	store->custom = pg_custom_new(store);
	pthread_mutex_init(&store->lock, NULL);
	pthread_mutex_init(&store->load_lock, NULL);
	store->writer = pg_writer_new(store);
	s->backend = &store->backend;
	s->shared = &shared;
	store->watch = open_again(store, err) ? pg_watch_start(store, err) : NULL;
	if (store->watch)
		return s;
	storage_free(s);
	return NULL;
}
