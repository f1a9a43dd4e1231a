/* storage.c: opening, closing, and the small things that any thread may ask. */
#include "storage/storage.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "storage/internal.h"
#include "storage/postgres/bson.h"

void storage_free(struct storage *s)
{
	if (s->backend)
		s->backend->ops->close(s->backend);
	definitions_free(s);
	free(s->tables);
	apply_free(&s->apply);
	news_free(&s->news);
	custom_upkeep_free(&s->upkeep);
	defrag_free(s);
	names_free(&s->type_names);
	names_free(&s->table_names);
	arena_free(&s->table_arena);
	arena_free(&s->arena);
	turn_destroy(&s->turn);
	pthread_mutex_destroy(&s->compact_lock);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->telling);
	pthread_mutex_destroy(&s->requests_lock);
	look_free(s->look);
	free(s);
}

struct storage *storage_new(const struct storage_options *options)
{
	struct storage *s = xcalloc(1, sizeof(*s));
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->telling, NULL);
	pthread_mutex_init(&s->requests_lock, NULL);
	pthread_mutex_init(&s->compact_lock, NULL);
	turn_init(&s->turn);
	s->log = options->log;
	s->retention_ms = options->request_retention_ms;
	s->retirement_ms = options->retirement_ms;
	s->keep_format = options->keep_format;
	s->wall_ms = clock_wall_ms;
	s->acknowledged = metrics_histogram(options->metrics, "syncline_checkpoint_request_acknowledged_seconds", "",
	                                    "Time from storing a checkpoint request to the checkpoint that acknowledges it.",
	                                    metrics_latency_bounds, metrics_latency_bound_count);
	return s;
}

struct storage *storage_load_lmdb(const struct storage_options *options, bool read_only, struct error *err)
{
	struct storage *s = storage_new(options);
	s->backend = lmdb_backend_open(options, read_only, &s->type_names, &s->table_names, err);
	if (!s->backend || !state_load(s, read_only, err) || !instance_load(s, read_only, err) || !failure_load(s, err) ||
	    !types_load(s, err) || !tables_load(s, err) || !definitions_load(s, err)) {
		storage_free(s);
		return NULL;
	}
	meter_init(s, read_only ? NULL : options->metrics);
	return s;
}

struct storage *storage_open_lmdb(const struct storage_options *options, struct error *err)
{
	return storage_load_lmdb(options, false, err);
}

void storage_close(struct storage *s)
{
	if (!s)
		return;
	if (s->shared) {
		s->shared->stop(s);
		storage_free(s);
		return;
	}
	struct error err;
	storage_rollback(s);
	if (!storage_sync_position(s, &err))
		log_error(s->log, "Cannot write the last position while closing the store: %s", err.message);
	storage_free(s);
}

bool storage_keeps_replica_ids(const struct storage *s)
{
	return s->shared != NULL;
}

bool storage_keeps_row_values(const struct storage *s)
{
	return s->shared != NULL;
}

void storage_replica_id(const struct slice *names, const struct value *values, size_t count, uint8_t uuid[16])
{
	bson_replica_uuid(names, values, count, uuid);
}

struct checkpoint storage_checkpoint(struct storage *s)
{
	pthread_mutex_lock(&s->lock);
	struct checkpoint c = s->checkpoint;
	pthread_mutex_unlock(&s->lock);
	return c;
}

void storage_subscribe(struct storage *s, void (*callback)(void *ctx, const struct storage_news *news), void *ctx)
{
	pthread_mutex_lock(&s->telling);
	pthread_mutex_lock(&s->lock);
	s->callback = callback;
	s->callback_ctx = ctx;
	pthread_mutex_unlock(&s->lock);
	pthread_mutex_unlock(&s->telling);
}

void storage_tell(struct storage *s, const struct storage_news *news)
{
	pthread_mutex_lock(&s->telling);
	if (s->callback)
		s->callback(s->callback_ctx, news);
	pthread_mutex_unlock(&s->telling);
}

bool storage_source_state(struct storage *s, struct source_state *out, struct error *err)
{
	(void)err; /* other backends read it from a server */
	pthread_mutex_lock(&s->lock);
	*out = s->source;
	pthread_mutex_unlock(&s->lock);
	return true;
}

bool storage_set_source(struct storage *s, const char *slot_name, const char *system_id, struct error *err)
{
	if (s->shared)
		return s->shared->set_source(s, system_id, err);
	if (strlen(slot_name) >= sizeof(s->state.slot_name) || strlen(system_id) >= sizeof(s->state.system_id))
		return error_set(err, "PSYNC_S2404", "the slot name or the source's identifier is too long to be stored");
	if (!writer_begin(s, err))
		return false;
	snprintf(s->state.slot_name, sizeof(s->state.slot_name), "%s", slot_name);
	snprintf(s->state.system_id, sizeof(s->state.system_id), "%s", system_id);
	return storage_flush(s, err);
}

bool storage_set_timeline(struct storage *s, uint32_t timeline, struct error *err)
{
	if (s->shared)
		return s->shared->set_timeline(s, timeline, err);
	if (timeline == s->state.timeline)
		return true;
	if (!writer_begin(s, err))
		return false;
	s->state.timeline = timeline;
	return true;
}

/* ---- the writer's role ---- */

bool storage_take_writer(struct storage *s, bool *held, char *who, size_t who_size, struct error *err)
{
	*held = true;
	return !s->shared || s->shared->take_writer(s, held, who, who_size, err);
}

void storage_give_writer(struct storage *s)
{
	if (s->shared)
		s->shared->give_writer(s);
}

bool storage_streams_changed(struct storage *s)
{
	return s->shared && s->shared->streams_changed(s);
}

bool storage_is_shared(const struct storage *s)
{
	return s->shared != NULL;
}

bool storage_active_is_written(struct storage *s)
{
	return !s->shared || s->shared->active_is_written(s);
}

bool storage_restart_replication(struct storage *s, struct error *err)
{
	return s->shared ? s->shared->restart_replication(s, err)
	                 : error_set(err, "PSYNC_S1101", "the embedded store has one stream for ever");
}

bool storage_stopped_stream(struct storage *s, int32_t *id, char slot[64], struct error *err)
{
	*id = 0;
	return !s->shared || s->shared->stopped_stream(s, id, slot, err);
}

void storage_remove_stream(struct storage *s, int32_t id)
{
	if (s->shared)
		s->shared->remove_stream(s, id);
}

bool storage_pending_slot(struct storage *s, char out[64])
{
	return s->shared && s->shared->pending_slot(s, out);
}

bool storage_redeploy(struct storage *s, struct error *err)
{
	return s->shared ? s->shared->redeploy(s, err)
	                 : error_set(err, "PSYNC_S1101", "the embedded store has one stream for ever");
}

struct position storage_durable_position(struct storage *s)
{
	pthread_mutex_lock(&s->lock);
	struct position p = s->durable;
	pthread_mutex_unlock(&s->lock);
	return p;
}

/* ---- readers: nothing but the backend's ---- */

struct storage_reader *storage_read_begin(struct storage *s, struct error *err)
{
	return s->backend->ops->read_begin(s->backend, err);
}

void storage_read_end(struct storage_reader *r)
{
	if (r)
		r->backend->ops->read_end(r);
}

uint32_t reader_bucket(struct storage_reader *r, uint32_t definition, struct slice keys)
{
	return r->backend->ops->read_bucket(r, definition, keys);
}

bool reader_bucket_name(struct storage_reader *r, uint32_t bucket, uint32_t *definition, struct slice *keys)
{
	return r->backend->ops->read_bucket_name(r, bucket, definition, keys);
}

bool reader_checksum(struct storage_reader *r, uint32_t bucket, uint64_t c, struct bucket_checksum *out, struct error *err)
{
	return r->backend->ops->read_checksum(r, bucket, c, out, err);
}

bool reader_checksums(struct storage_reader *r, const uint32_t *buckets, size_t count, uint64_t c, bool fresh,
                      struct bucket_checksum *out, struct error *err)
{
	if (r->backend->ops->read_checksums)
		return r->backend->ops->read_checksums(r, buckets, count, c, fresh, out, err);
	for (size_t i = 0; i < count; i++)
		if (!reader_checksum(r, buckets[i], c, &out[i], err))
			return false;
	return true;
}

/* A CLEAR is the first operation of its bucket. */
bool reader_cleared(struct storage_reader *r, uint32_t bucket, uint64_t c, bool *cleared, struct error *err)
{
	struct op_view op;
	if (r->backend->ops->read_cleared) {
		*cleared = r->backend->ops->read_cleared(r, bucket, c);
		return true;
	}
	struct op_cursor *cursor = reader_ops(r, bucket, c, UINT64_MAX, err);
	if (!cursor)
		return false;
	int got = op_cursor_next(cursor, &op, err);
	*cleared = got > 0 && op.kind == OP_CLEAR;
	op_cursor_close(cursor);
	return got >= 0;
}

static void change_hold(struct storage *s, uint32_t bucket, int change)
{
	if (bucket && s->backend->ops->bucket_hold)
		s->backend->ops->bucket_hold(s->backend, bucket, change);
}

void storage_bucket_hold(struct storage *s, uint32_t bucket)
{
	change_hold(s, bucket, 1);
}

void storage_bucket_release(struct storage *s, uint32_t bucket)
{
	change_hold(s, bucket, -1);
}

struct op_cursor *reader_ops(struct storage_reader *r, uint32_t bucket, uint64_t after, uint64_t up_to, struct error *err)
{
	return r->backend->ops->read_ops(r, bucket, after, up_to, err);
}

bool reader_ops_ahead(struct storage_reader *r, const struct op_range *ranges, size_t count, uint64_t up_to, size_t max_bytes,
                      struct error *err)
{
	return !r->backend->ops->read_ops_ahead || r->backend->ops->read_ops_ahead(r, ranges, count, up_to, max_bytes, err);
}

bool reader_ops_at_hand(struct storage_reader *r, uint32_t bucket, uint64_t after, uint64_t up_to)
{
	return !r->backend->ops->read_ops_at_hand || r->backend->ops->read_ops_at_hand(r, bucket, after, up_to);
}

int op_cursor_next(struct op_cursor *c, struct op_view *out, struct error *err)
{
	return c->next(c, out, err);
}

void op_cursor_close(struct op_cursor *c)
{
	if (c)
		c->close(c);
}

/* ---- lookups: the stored text is a JSON array, a reader gets its elements ---- */

struct lookup_results {
	struct arena *arena;
	struct lookup_read *keys;
	size_t index; /* of the key that the items belong to */
	struct slice *items;
	size_t count, cap;
};

static void add_result(struct lookup_results *out, struct slice item)
{
	out->items = arena_grow(out->arena, out->items, out->count, &out->cap, sizeof(*out->items));
	out->items[out->count++] = item;
}

static void end_key(struct lookup_results *out)
{
	out->keys[out->index].results = out->items;
	out->keys[out->index].count = out->count;
}

/* Cuts "[{...},{...}]" at the commas between its elements. */
static void split_results(void *ctx, size_t index, struct slice text)
{
	struct lookup_results *out = ctx;
	if (index != out->index) {
		end_key(out);
		out->index = index;
		out->items = NULL;
		out->count = out->cap = 0;
	}
	struct slice copy = arena_copy(out->arena, text);
	const char *p = copy.p + 1, *end = copy.p + copy.n - 1, *start = p;
	int depth = 0;
	for (; p < end; p++) {
		if (*p == '"') {
			for (p++; p < end && *p != '"'; p++)
				if (*p == '\\')
					p++;
		} else if (*p == '{' || *p == '[') {
			depth++;
		} else if (*p == '}' || *p == ']') {
			depth--;
		} else if (*p == ',' && depth == 0) {
			add_result(out, slice_make(start, (size_t)(p - start)));
			start = p + 1;
		}
	}
	if (start < end)
		add_result(out, slice_make(start, (size_t)(end - start)));
}

bool reader_lookups(struct storage_reader *r, struct lookup_read *keys, size_t count, uint64_t c, size_t max_rows,
                    struct arena *arena, struct error *err)
{
	struct lookup_results out = {.arena = arena, .keys = keys};
	for (size_t i = 0; i < count; i++) {
		keys[i].results = NULL;
		keys[i].count = 0;
	}
	if (count && !r->backend->ops->read_lookups(r, keys, count, c, max_rows, split_results, &out, err))
		return false;
	if (count)
		end_key(&out);
	return true;
}

bool reader_plan_lookups(struct storage_reader *r, const struct stored_plan *p, struct lookup_read *keys, size_t count,
                         uint64_t c, size_t max_rows, struct arena *arena, struct error *err)
{
	uint32_t *indexes = arena_array(arena, uint32_t, count + 1);
	for (size_t i = 0; i < count; i++) {
		indexes[i] = keys[i].definition;
		keys[i].definition = p->definitions[indexes[i]].number;
	}
	bool ok = reader_lookups(r, keys, count, c, max_rows, arena, err);
	for (size_t i = 0; i < count; i++)
		keys[i].definition = indexes[i];
	return ok;
}
