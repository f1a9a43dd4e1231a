/*
 * rows_sums.c: what stored rows gave, where no image tells it (replica identity full); see rows_internal.h.
 *
 * A row that is read again is left alone if nothing of it has changed, which its image says. Without one, the newest operation of each thing that it
 * gave has a checksum. There is no index that finds operations by row, so the buckets concerned are walked, once for some thousand rows: tables that
 * are compared although they keep no images are rare (a column changed its length; the reference was to read the table again).
 */
#include "storage/postgres/rows_internal.h"

static const char sums[] =
        "SELECT DISTINCT ON (source_table, source_key, bucket_name, table_name, row_id) source_table, source_key, bucket_name,"
        " table_name, row_id, op = 'PUT', checksum FROM bucket_data WHERE group_id = $1::int AND bucket_name = ANY ($2::text[])"
        " AND source_key = ANY ($3::bytea[]) ORDER BY source_table, source_key, bucket_name, table_name, row_id, op_id DESC";

static bool is_wanted(const struct kept_row *e)
{
	return e->stored.exists && !e->streamed && e->stored.gift_count && e->stored.no_image;
}

/* The entries' buckets, each once where they follow each other, and keys. False: no row is to be compared like that. */
static bool gather(struct pg_rows *r, struct kept_row *const *entries, size_t count)
{
	struct pg_array *buckets = &r->arrays[0], *keys = &r->arrays[1];
	struct slice last = {NULL, 0};
	pg_array_begin(buckets, PG_ARRAY_TEXT);
	pg_array_begin(keys, PG_ARRAY_BYTEA);
	for (size_t i = 0; i < count; i++) {
		const struct kept_row *e = entries[i];
		if (!is_wanted(e))
			continue;
		pg_array_bytes(keys, e->key);
		for (size_t k = 0; k < e->stored.gift_count; k++) {
			if (!slice_eq(last, e->stored.gifts[k].bucket))
				pg_array_bytes(buckets, e->stored.gifts[k].bucket);
			last = e->stored.gifts[k].bucket;
		}
	}
	return keys->count > 0;
}

static void note(struct pg_rows *r, struct kept_row *e, const PGresult *res, int row)
{
	struct row_state *s = &e->stored;
	if (!s->sums)
		s->sums = arena_calloc(&r->arena, s->gift_count * sizeof(*s->sums));
	for (size_t k = 0; k < s->gift_count; k++)
		if (slice_eq(s->gifts[k].bucket, rows_value(res, row, 2)) &&
		    slice_eq(s->gifts[k].type, rows_value(res, row, 3)) && slice_eq(s->gifts[k].id, rows_value(res, row, 4)))
			s->sums[k] = (struct row_sum){rows_bool(res, row, 5), (uint32_t)rows_i64(res, row, 6)};
}

bool rows_load_sums(struct pg_rows *r, struct pg_conn *conn, struct kept_row *const *entries, size_t count, struct error *err)
{
	char stream[4];
	if (!gather(r, entries, count))
		return true;
	struct row_table *t = entries[0]->table;
	PGresult *res = rows_run(
	        conn, sums, 3,
	        (struct pg_param[]){rows_int4(stream, t->stream), pg_array_param(&r->arrays[0]), pg_array_param(&r->arrays[1])},
	        err);
	for (int row = 0; res && row < PQntuples(res); row++)
		for (t = r->tables; t; t = t->next) {
			if (t->stream != entries[0]->table->stream || !slice_eq(slice_cstr(t->id), rows_value(res, row, 0)))
				continue;
			struct kept_row *e = rows_find(r, t, rows_value(res, row, 1));
			if (e && is_wanted(e))
				note(r, e, res, row);
		}
	bool ok = res != NULL;
	PQclear(res);
	return ok;
}
