/* watch_news.c: see watch_news.h. */
#include "storage/postgres/watch_news.h"

#include <stdlib.h>

#include "storage/postgres/bson.h"
#include "storage/postgres/arrays.h"
#include "storage/postgres/readers_internal.h"

/* More is not listed. A look at the index takes some 3 us for each; sessions that look for themselves take more. */
#define BUCKETS_MAX 200000
#define BUCKETS_STEP 5000 /* in one statement */
#define LOOKUPS_MAX 1000
#define LOOKUPS_TEXT "1001"

/* names: NULL, or what is $2; $1 are the stream and both op ids. */
static PGresult *between(struct pg_conn *conn, const char *sql, int timeout_ms, const struct checkpoint *before,
                         const struct checkpoint *next, struct pg_array *names, struct error *err)
{
	struct pg_array numbers = {0};
	pg_array_numbers(&numbers, (const int64_t[]){(int64_t)next->plan_id, pg_bigint(before->op_id), pg_bigint(next->op_id)},
	                 3);
	PGresult *r = pg_arrays_on(conn, sql, (struct pg_array *const[]){&numbers, names}, names ? 2 : 1, timeout_ms, err);
	pg_array_free(&numbers);
	return r;
}

static bool changed_of(struct pg_conn *conn, int timeout_ms, const struct checkpoint *before, const struct checkpoint *next,
                       const struct pg_held_bucket *held, size_t count, uint32_t *buckets, size_t *found, struct error *err)
{
	static const char sql[] =
	        "SELECT t.i FROM unnest($2::text[]) WITH ORDINALITY AS t (name, i) WHERE EXISTS (SELECT 1 FROM bucket_data"
	        " WHERE group_id = ($1::bigint[])[1] AND bucket_name = t.name AND op_id > ($1::bigint[])[2] AND op_id <= "
	        "($1::bigint[])[3])";
	struct pg_array names = {0};
	pg_array_begin(&names, PG_ARRAY_TEXT);
	for (size_t i = 0; i < count; i++)
		pg_array_bytes(&names, held[i].name);
	PGresult *r = between(conn, sql, timeout_ms, before, next, &names, err);
	for (int i = 0; r && i < PQntuples(r) && (size_t)i < count; i++) {
		uint64_t at = pg_number_at(r, i, 0);
		if (at && at <= count)
			buckets[(*found)++] = held[at - 1].number;
	}
	PQclear(r);
	pg_array_free(&names);
	return r != NULL;
}

static bool changed_buckets(struct pg_store *store, struct pg_conn *conn, int timeout_ms, const struct checkpoint *before,
                            const struct checkpoint *next, struct arena *arena, struct storage_news *news, struct error *err)
{
	struct pg_held_bucket *held;
	size_t count;
	bool ok = true;
	pg_names_held(store->names, arena, &held, &count);
	news->everything |= count > BUCKETS_MAX;
	if (!count || news->everything)
		return true;
	uint32_t *buckets = arena_array(arena, uint32_t, count + 1);
	for (size_t at = 0; ok && at < count; at += BUCKETS_STEP)
		ok = changed_of(conn, timeout_ms, before, next, held + at, count - at < BUCKETS_STEP ? count - at : BUCKETS_STEP,
		                buckets, &news->bucket_count, err);
	news->buckets = buckets;
	return ok;
}

/* Every definition that reads this lookup. */
static void add_lookup(const struct pg_stream *stream, struct slice name, struct slice query_id, struct slice key,
                       uint64_t *lookups, size_t *count, size_t max)
{
	for (size_t i = 0; i < stream->stored->count && *count < max; i++) {
		const struct pg_definition *d = stream->definitions[i];
		if (d->kind == DEFINITION_LOOKUP && slice_eq(d->unique, name) && slice_eq(d->query_id, query_id))
			lookups[(*count)++] = lookup_hash(d->number, key);
	}
}

static bool changed_lookups(struct pg_store *store, struct pg_conn *conn, int timeout_ms, const struct checkpoint *before,
                            const struct checkpoint *next, struct arena *arena, struct storage_news *news, struct error *err)
{
	static const char sql[] = "SELECT lookup FROM bucket_parameters WHERE id > ($1::bigint[])[2] AND id <= "
	                          "($1::bigint[])[3] AND group_id = ($1::bigint[])[1] LIMIT " LOOKUPS_TEXT;
	const struct pg_stream *stream = pg_store_stream(store, (int32_t)next->plan_id);
	PGresult *r = between(conn, sql, timeout_ms, before, next, NULL, err);
	bool ok = r != NULL;
	if (ok && (PQntuples(r) > LOOKUPS_MAX || !stream || !stream->stored))
		news->everything = true;
	size_t max = news->everything ? 0 : ok ? (size_t)PQntuples(r) * (stream->stored->count + 1) : 0;
	uint64_t *lookups = arena_array(arena, uint64_t, max + 1);
	for (int i = 0; ok && !news->everything && i < PQntuples(r); i++) {
		struct slice name, query_id, key;
		ok = bson_lookup_read(slice_make(PQgetvalue(r, i, 0), (size_t)PQgetlength(r, i, 0)), arena, &name, &query_id,
		                      &key, err);
		if (ok)
			add_lookup(stream, name, query_id, key, lookups, &news->lookup_count, max);
	}
	news->lookups = lookups;
	PQclear(r);
	return ok;
}

void pg_watch_changes(struct pg_store *store, struct pg_conn *conn, int timeout_ms, const struct checkpoint *before,
                      const struct checkpoint *next, struct arena *arena, struct storage_news *news)
{
	struct error err = {.code = ""};
	bool ok = changed_buckets(store, conn, timeout_ms, before, next, arena, news, &err) &&
	          (news->everything || changed_lookups(store, conn, timeout_ms, before, next, arena, news, &err));
	if (!ok)
		log_warn(store->s->log, "What is new in the storage database cannot be read: %s", err.message);
	news->everything |= !ok;
	if (news->everything)
		news->bucket_count = news->lookup_count = 0;
}

void pg_watch_late(struct pg_store *store, const struct checkpoint *next)
{
	for (;;) {
		struct arena arena = {0};
		struct storage_news news = {.checkpoint = *next};
		uint32_t *buckets;
		pg_names_newly_held(store->names, &arena, &buckets, &news.bucket_count);
		news.buckets = buckets;
		bool any = news.bucket_count > 0;
		if (any)
			storage_tell(store->s, &news);
		arena_free(&arena);
		if (!any)
			return;
	}
}
