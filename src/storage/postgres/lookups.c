/* lookups.c: what rows have stored under keys (storage-semantics 8.3). */
#include <stdlib.h>

#include "base/alloc.h"
#include "storage/postgres/bson.h"
#include "storage/postgres/readers_internal.h"

/* The newest entry of each row at the checkpoint; "[]" says that there is none any more. One more row says whether the stream is whole. */
static const char lookups_sql[] = "SELECT 0::bigint, NULL::text WHERE " PG_STREAM_IS_WHOLE(
        "$1::int") " UNION ALL SELECT t.i, p.results FROM unnest($2::bytea[]) WITH ORDINALITY AS t(lookup, i) CROSS JOIN LATERAL"
                   " (SELECT DISTINCT ON (source_table, source_key) bucket_parameters AS results FROM bucket_parameters"
                   " WHERE group_id = $1::int AND lookup = t.lookup AND id <= $3::bigint ORDER BY source_table, source_key, id "
                   "DESC) p"
                   " WHERE p.results <> '[]'";

static struct pg_known_lookup *find(struct pg_reader *r, uint32_t definition, struct slice key, uint64_t c)
{
	for (size_t i = r->lookup_count; i-- > 0;)
		if (r->lookups[i].definition == definition && r->lookups[i].c == c && slice_eq(r->lookups[i].key, key))
			return &r->lookups[i];
	return NULL;
}

static void add_result(struct pg_reader *r, struct pg_known_lookup *l, struct slice text)
{
	if (l->count == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 4;
		struct slice *items = arena_array(&r->arena, struct slice, cap);
		if (l->count)
			memcpy(items, l->results, sizeof(*items) * l->count);
		l->results = items;
		l->cap = cap;
	}
	l->results[l->count++] = arena_copy(&r->arena, text);
}

static bool take(struct pg_reader *r, const PGresult *rows, struct pg_known_lookup *lookups, size_t count, struct error *err)
{
	bool whole = false;
	for (int i = 0; i < PQntuples(rows); i++) {
		size_t index = strtoul(PQgetvalue(rows, i, 0), NULL, 10);
		whole |= index == 0;
		if (index && index <= count)
			add_result(r, &lookups[index - 1], slice_make(PQgetvalue(rows, i, 1), (size_t)PQgetlength(rows, i, 1)));
	}
	return whole || pg_stream_is_gone(err);
}

/* All of one stream. */
static bool ask(struct pg_reader *r, int32_t stream_id, struct pg_known_lookup *lookups, size_t count, uint64_t c,
                struct error *err)
{
	struct buf group = {0}, keys = {0}, bson = {0}, up_to = {0};
	bool ok = true;
	pg_text_array_begin(&keys);
	for (size_t i = 0; ok && i < count; i++) {
		const struct pg_definition *d = pg_names_definition(r->store->names, lookups[i].definition);
		buf_clear(&bson);
		ok = bson_lookup(&bson, d->unique, d->query_id, lookups[i].key, &r->arena, err);
		pg_text_array_bytes(&keys, buf_slice(&bson));
	}
	buf_printf(&group, "%d", stream_id);
	buf_putc(&group, 0);
	buf_printf(&up_to, "%lld", (long long)pg_bigint(c));
	buf_putc(&up_to, 0);
	const char *values[] = {group.p, pg_text_array_end(&keys), up_to.p};
	PGresult *rows = ok ? pg_pool_texts(r->store->pool, lookups_sql, 3, values, err) : NULL;
	ok = rows && take(r, rows, lookups, count, err);
	PQclear(rows);
	buf_free(&group);
	buf_free(&keys);
	buf_free(&bson);
	buf_free(&up_to);
	return ok;
}

/* NULL: failed. What was read with this reader once is not read again. */
static const struct pg_known_lookup *read_one(struct pg_reader *r, uint32_t definition, struct slice key, uint64_t c,
                                              struct error *err)
{
	const struct pg_definition *d = pg_names_definition(r->store->names, definition);
	if (!d) {
		error_set(err, "PSYNC_S1101", "there is no definition %u", definition);
		return NULL;
	}
	r->lookups = xgrow(r->lookups, r->lookup_count, &r->lookup_cap, sizeof(*r->lookups));
	struct pg_known_lookup *l = &r->lookups[r->lookup_count];
	*l = (struct pg_known_lookup){.definition = definition, .key = arena_copy(&r->arena, key), .c = c};
	if (!ask(r, d->stream_id, l, 1, c, err))
		return NULL;
	r->lookup_count++;
	return l;
}

bool pg_read_lookup(struct storage_reader *base, uint32_t definition, struct slice key, uint64_t c, lookup_result_fn each,
                    void *ctx, struct error *err)
{
	struct pg_reader *r = (struct pg_reader *)base;
	const struct pg_known_lookup *l = find(r, definition, key, c);
	if (!l && !(l = read_one(r, definition, key, c, err)))
		return false;
	for (size_t i = 0; i < l->count; i++)
		each(ctx, l->results[i]);
	return true;
}
