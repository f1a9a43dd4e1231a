/*
 * ops_ahead.c: the first operations of many small buckets in one statement, for reader_ops to take them from.
 *
 * Each bucket has a limit of rows of its own, so that the statement does a bounded amount whatever the buckets hold, and all together have one of
 * rows and one of bytes. What the answer did not come to is read by itself when its turn comes. The rows of a bucket and what is said of its CLEAR are of one
 * snapshot, as with single statements.
 */
#include "storage/postgres/arrays.h"
#include "storage/postgres/readers_internal.h"

/* Rows asked for beyond those expected tell that nothing follows; and rows that are asked for in vain cost little. */
#define ROWS_MORE 1
#define ROWS_AT_LEAST 50
/* What a row takes beside its data, about. */
#define ROW_OVERHEAD 200
enum { RANGE = PG_OP_COLUMNS, CLEAR };

#define STREAM "($4::bigint[])[1]::integer"

/*
 * $1: names, $2: positions, $3: limits; $4: stream, op id up to which, bytes, rows. The first row is there if the stream is whole; a bucket
 * without operations has one row. The order of unnest is known to the server, so that it stops at the limit of rows.
 */
#define FIRST_ROW                                                                                                                \
	"SELECT 0::bigint AS op_id, ''::text AS op, NULL::text, NULL::bytea, NULL::text, NULL::text, 0::bigint, NULL::text,"     \
	" NULL::bigint, 0::bigint AS i, 0::bigint AS clear WHERE " PG_STREAM_IS_WHOLE(STREAM)
#define OPS_OF_ONE                                                                                                               \
	"SELECT " PG_OPS_COLUMNS " FROM bucket_data WHERE group_id = " STREAM " AND bucket_name = t.name AND op_id > t.after"    \
	" AND op_id <= ($4::bigint[])[2] ORDER BY op_id LIMIT t.most"
#define OPS_OF_ALL                                                                                                               \
	"SELECT o.*, t.i, c.clear FROM unnest($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS t(name, after, most, "  \
	"i)"                                                                                                                     \
	" CROSS JOIN LATERAL (SELECT " PG_CLEAR_OF(STREAM, "t.name") " AS clear OFFSET 0) c"                                     \
	                                                             " LEFT JOIN LATERAL (" OPS_OF_ONE                           \
	                                                             ") o ON true ORDER BY t.i, o.op_id LIMIT ($4::bigint[])[4]"
static const char ahead_sql[] = FIRST_ROW " UNION ALL SELECT " PG_OPS_COLUMNS ", i, clear FROM (SELECT a.*, sum(" PG_NUMBER_TEXT(
        ROW_OVERHEAD) " + coalesce(octet_length(a.data), 0)) OVER (ORDER BY i, op_id ROWS BETWEEN UNBOUNDED PRECEDING AND"
                      " 1 PRECEDING) AS bytes FROM (" OPS_OF_ALL ") a) p"
                      " WHERE bytes IS NULL OR bytes < ($4::bigint[])[3] ORDER BY i, op_id";

static struct pg_ahead_range *find(const struct pg_ahead *a, uint32_t bucket, uint64_t after)
{
	for (size_t i = 0; i < a->count; i++)
		if (a->ranges[i].bucket == bucket && a->ranges[i].after == after)
			return &a->ranges[i];
	return NULL;
}

const struct pg_ahead_range *pg_ahead_find(const struct pg_reader *r, uint32_t bucket, uint64_t after, uint64_t up_to)
{
	const struct pg_ahead_range *range = up_to == r->ahead.up_to ? find(&r->ahead, bucket, after) : NULL;
	return range && range->known ? range : NULL;
}

bool pg_read_ops_at_hand(struct storage_reader *base, uint32_t bucket, uint64_t after, uint64_t up_to)
{
	return pg_ahead_find((struct pg_reader *)base, bucket, after, up_to) != NULL;
}

/* What is asked of the next statements: about as many rows as their bytes will allow. */
static void note_size(struct pg_store *store, size_t rows, size_t bytes)
{
	unsigned size = (unsigned)(bytes / rows), before = atomic_load_explicit(&store->operation_bytes, memory_order_relaxed);
	atomic_store_explicit(&store->operation_bytes, before ? (before * 3 + size) / 4 : size, memory_order_relaxed);
}

static size_t rows_for(struct pg_store *store, size_t bytes)
{
	unsigned size = atomic_load_explicit(&store->operation_bytes, memory_order_relaxed);
	size_t rows = bytes / (size ? size : 2 * ROW_OVERHEAD);
	return rows + rows / 4 + ROWS_AT_LEAST;
}

/* Which rows are whose. most: by range. */
static bool take_rows(struct pg_reader *r, const size_t *most, size_t max_rows, size_t max_bytes, struct error *err)
{
	struct pg_ahead *a = &r->ahead;
	size_t bytes = 0, last = 0;
	int rows = PQntuples(a->rows);
	if (!rows || pg_number_at(a->rows, 0, RANGE) != 0)
		return pg_stream_is_gone(err);
	for (int i = 1; i < rows; i++) {
		uint64_t at = pg_number_at(a->rows, i, RANGE) - 1;
		if (at >= a->count || at < last)
			return error_set(err, "PSYNC_S2404", "The storage database answered what was not asked");
		struct pg_ahead_range *range = &a->ranges[last = at];
		if (!range->known) {
			range->known = true;
			range->row = range->end = i;
			pg_names_note_clear(r->store->names, range->bucket, pg_number_at(a->rows, i, CLEAR));
		}
		bytes += ROW_OVERHEAD + (size_t)PQgetlength(a->rows, i, PG_OP_DATA);
		range->end += !PQgetisnull(a->rows, i, PG_OP_ID);
		range->more = (size_t)(range->end - range->row) == most[at];
	}
	if (bytes >= max_bytes || (size_t)rows > max_rows)
		a->ranges[last].more = true;
	if (rows > 1)
		note_size(r->store, (size_t)rows - 1, bytes);
	return true;
}

static bool ask(struct pg_reader *r, int32_t stream_id, struct pg_array *names, const size_t *most, size_t max_bytes,
                struct error *err)
{
	struct pg_ahead *a = &r->ahead;
	struct pg_array after = {0}, limits = {0}, numbers = {0};
	size_t max_rows = rows_for(r->store, max_bytes);
	pg_array_begin(&after, PG_ARRAY_INT8);
	pg_array_begin(&limits, PG_ARRAY_INT8);
	for (size_t i = 0; i < a->count; i++) {
		pg_array_i64(&after, pg_bigint(a->ranges[i].after));
		pg_array_i64(&limits, pg_bigint(most[i]));
	}
	pg_array_numbers(&numbers, (const int64_t[]){stream_id, pg_bigint(a->up_to), pg_bigint(max_bytes), pg_bigint(max_rows)},
	                 4);
	a->rows = pg_arrays_query(r->store, ahead_sql, (struct pg_array *const[]){names, &after, &limits, &numbers}, 4, err);
	pg_array_free(&after);
	pg_array_free(&limits);
	pg_array_free(&numbers);
	return a->rows && take_rows(r, most, max_rows, max_bytes, err);
}

/* Buckets whose name was forgotten meanwhile, or of another stream than the first one's, are left to single statements. */
bool pg_read_ops_ahead(struct storage_reader *base, const struct op_range *ranges, size_t count, uint64_t up_to, size_t max_bytes,
                       struct error *err)
{
	struct pg_reader *r = (struct pg_reader *)base;
	struct pg_array names = {0};
	int32_t stream_id = 0;
	size_t *most = arena_array(&r->arena, size_t, count + 1);
	PQclear(r->ahead.rows);
	r->ahead = (struct pg_ahead){.up_to = up_to, .ranges = arena_calloc(&r->arena, sizeof(*r->ahead.ranges) * (count + 1))};
	pg_array_begin(&names, PG_ARRAY_TEXT);
	for (size_t i = 0; i < count; i++) {
		const struct pg_definition *d;
		struct slice name;
		if (!pg_names_of_bucket(r->store->names, ranges[i].bucket, &r->arena, &d, &name) ||
		    (r->ahead.count && d->stream_id != stream_id))
			continue;
		stream_id = d->stream_id;
		most[r->ahead.count] = ranges[i].expected + ROWS_MORE;
		r->ahead.ranges[r->ahead.count++] = (struct pg_ahead_range){.bucket = ranges[i].bucket, .after = ranges[i].after};
		pg_array_bytes(&names, name);
	}
	bool ok = !r->ahead.count || ask(r, stream_id, &names, most, max_bytes, err);
	pg_array_free(&names);
	return ok;
}
