/* lookups.c: what rows have stored under keys (storage-semantics 8.3): those of many keys in one statement. */
#include "storage/postgres/arrays.h"
#include "storage/postgres/bson.h"
#include "storage/postgres/readers_internal.h"

/* Keys of one statement. */
#define AT_ONCE 5000

/* The newest entry of each row at the checkpoint; "[]" says that there is none any more. The first row is there if the stream is whole.
 * $1: keys; $2: stream, checkpoint, rows at most. */
static const char lookups_sql[] = "SELECT 0::bigint AS i, ''::text AS results WHERE " PG_STREAM_IS_WHOLE(
        "($2::bigint[])[1]::integer") " UNION ALL SELECT * FROM (SELECT t.i, p.results FROM unnest($1::bytea[]) WITH "
                                      "ORDINALITY AS t(lookup, i) CROSS JOIN LATERAL"
                                      " (SELECT DISTINCT ON (source_table, source_key) bucket_parameters AS results FROM "
                                      "bucket_parameters WHERE group_id = ($2::bigint[])[1]::integer AND lookup = t.lookup"
                                      " AND id <= ($2::bigint[])[2] ORDER BY source_table, source_key, id DESC) p"
                                      " WHERE p.results <> '[]' LIMIT ($2::bigint[])[3]) found ORDER BY i";

struct asking {
	struct pg_reader *r;
	uint64_t c;
	size_t max_rows, rows; /* rows: so far */
	lookup_result_fn each;
	void *ctx;
};

/* first: index of the first key of the statement. */
static bool take(struct asking *a, const PGresult *rows, size_t first, size_t count, struct error *err)
{
	if (!PQntuples(rows) || pg_number_at(rows, 0, 0) != 0)
		return pg_stream_is_gone(err);
	for (int i = 1; i < PQntuples(rows); i++) {
		uint64_t index = pg_number_at(rows, i, 0) - 1;
		if (index >= count)
			return error_set(err, "PSYNC_S2404", "The storage database answered what was not asked");
		a->each(a->ctx, first + index, slice_make(PQgetvalue(rows, i, 1), (size_t)PQgetlength(rows, i, 1)));
		a->rows++;
	}
	return true;
}

/* All of one stream. */
static bool ask(struct asking *a, int32_t stream_id, const struct lookup_read *keys, size_t first, size_t count,
                struct error *err)
{
	struct pg_array lookups = {0}, numbers = {0};
	struct buf bson = {0};
	bool ok = true;
	pg_array_begin(&lookups, PG_ARRAY_BYTEA);
	for (size_t i = 0; ok && i < count; i++) {
		const struct pg_definition *d = pg_names_definition(a->r->store->names, keys[first + i].definition);
		buf_clear(&bson);
		ok = bson_lookup(&bson, d->unique, d->query_id, keys[first + i].key, &a->r->arena, err);
		pg_array_bytes(&lookups, buf_slice(&bson));
	}
	/* One more than allowed says that there are too many. */
	size_t most = a->max_rows - a->rows + (a->max_rows < SIZE_MAX);
	pg_array_numbers(&numbers, (const int64_t[]){stream_id, pg_bigint(a->c), pg_bigint(most)}, 3);
	PGresult *rows =
	        ok ? pg_arrays_query(a->r->store, lookups_sql, (struct pg_array *const[]){&lookups, &numbers}, 2, err) : NULL;
	ok = rows && take(a, rows, first, count, err);
	PQclear(rows);
	pg_array_free(&lookups);
	pg_array_free(&numbers);
	buf_free(&bson);
	return ok;
}

/* How many keys from the first on have definitions of one stream. 0: there is no such definition. */
static size_t of_one_stream(struct pg_names *names, const struct lookup_read *keys, size_t count, int32_t *stream_id)
{
	size_t n = 0;
	for (; n < count && n < AT_ONCE; n++) {
		const struct pg_definition *d = pg_names_definition(names, keys[n].definition);
		if (!d || (n && d->stream_id != *stream_id))
			break;
		*stream_id = d->stream_id;
	}
	return n;
}

bool pg_read_lookups(struct storage_reader *base, const struct lookup_read *keys, size_t count, uint64_t c, size_t max_rows,
                     lookup_result_fn each, void *ctx, struct error *err)
{
	struct asking a = {.r = (struct pg_reader *)base, .c = c, .max_rows = max_rows, .each = each, .ctx = ctx};
	for (size_t at = 0; at < count && a.rows <= max_rows;) {
		int32_t stream_id = 0;
		size_t n = of_one_stream(a.r->store->names, keys + at, count - at, &stream_id);
		if (!n)
			return error_set(err, "PSYNC_S1101", "there is no definition %u", keys[at].definition);
		if (!ask(&a, stream_id, keys, at, n, err))
			return false;
		at += n;
	}
	return true;
}
