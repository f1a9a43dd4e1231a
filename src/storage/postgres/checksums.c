/*
 * checksums.c: sums and counts of buckets, those of many in one statement.
 *
 * Kept for each bucket: the sum at the newest op id that it was asked for. A later one adds what came after; if that has a CLEAR, its own sum
 * replaces the former (storage-semantics 8.2). So a sum is right whoever compacts. The count of a bucket that was compacted meanwhile may be
 * too large, for an hour at most; clients only show progress with it.
 */
#include <stdlib.h>
#include <uthash.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "storage/postgres/arrays.h"
#include "storage/postgres/readers_internal.h"

#define SUMS_MAX 100000
#define SUM_LIFE_MS 3600000
/* Buckets of one statement. */
#define AT_ONCE 5000

struct sum {
	UT_hash_handle hh;
	uint32_t bucket;
	uint64_t c;
	struct bucket_checksum value;
	int64_t since_ms; /* when it was last computed from the first operation */
};

struct pg_sums {
	pthread_mutex_t lock;
	struct sum *sums; /* the one used last at the end */
};

struct pg_sums *pg_sums_new(void)
{
	struct pg_sums *s = xcalloc(1, sizeof(*s));
	pthread_mutex_init(&s->lock, NULL);
	return s;
}

void pg_sums_free(struct pg_sums *s)
{
	struct sum *e, *next;
	if (!s)
		return;
	HASH_ITER(hh, s->sums, e, next)
	{
		HASH_DEL(s->sums, e);
		free(e);
	}
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* Adds to the end what was used. The lock is held. */
static void put_last(struct pg_sums *s, struct sum *e)
{
	HASH_ADD(hh, s->sums, bucket, sizeof(e->bucket), e);
	if (HASH_COUNT(s->sums) > SUMS_MAX) {
		struct sum *first = s->sums;
		HASH_DEL(s->sums, first);
		free(first);
	}
}

/* The newest that is known at or below c. False: none. */
static bool find_sum(struct pg_sums *s, uint32_t bucket, uint64_t c, struct sum *out)
{
	struct sum *e;
	bool found = false;
	pthread_mutex_lock(&s->lock);
	HASH_FIND(hh, s->sums, &bucket, sizeof(bucket), e);
	if (e) {
		HASH_DEL(s->sums, e);
		if (clock_mono_ms() - e->since_ms > SUM_LIFE_MS) {
			free(e);
		} else {
			put_last(s, e);
			found = e->c <= c;
			*out = *e;
		}
	}
	pthread_mutex_unlock(&s->lock);
	return found;
}

static void keep_sum(struct pg_sums *s, const struct sum *sum)
{
	struct sum *e;
	pthread_mutex_lock(&s->lock);
	HASH_FIND(hh, s->sums, &sum->bucket, sizeof(sum->bucket), e);
	if (!e || e->c <= sum->c) {
		if (e)
			HASH_DEL(s->sums, e);
		else
			e = xcalloc(1, sizeof(*e));
		e->bucket = sum->bucket;
		e->c = sum->c;
		e->value = sum->value;
		e->since_ms = sum->since_ms;
		put_last(s, e);
	}
	pthread_mutex_unlock(&s->lock);
}

/* ---- statements ---------------------------------------------------------------------------------------------------------------------- */

/* $1: streams, $2: names, $3: op ids up to which the sums are known; $4: the checkpoint. */
static const char sums_sql[] =
        "SELECT t.i, s.sum::text, s.count, coalesce(s.cleared, false), " PG_CLEAR_OF("t.g", "t.name") ", " PG_STREAM_IS_WHOLE(
                "t.g") " FROM unnest($1::bigint[], $2::text[], $3::bigint[]) WITH ORDINALITY AS t(g, name, after, i)"
                       " CROSS JOIN LATERAL"
                       " (SELECT sum(checksum) AS sum, count(*) AS count, bool_or(op = 'CLEAR') AS cleared FROM bucket_data"
                       " WHERE group_id = t.g AND bucket_name = t.name AND op_id > t.after AND op_id <= ($4::bigint[])[1]) s";

enum { INDEX, SUM, COUNT, CLEARED, CLEAR, WHOLE };

/* Modulo 2^32, of a decimal number of any size; CLEARs have negative ones. */
static uint32_t low_bits(const char *text)
{
	uint32_t v = 0;
	bool negative = *text == '-';
	for (text += negative; *text >= '0' && *text <= '9'; text++)
		v = v * 10 + (uint32_t)(*text - '0');
	return negative ? 0 - v : v;
}

/* One bucket that is asked for. */
struct asked {
	struct sum base; /* bucket; what is known at base.c */
	struct bucket_checksum *out;
};

static bool take_row(struct pg_reader *r, const PGresult *rows, int row, struct asked *asked, size_t count, uint64_t c,
                     struct error *err)
{
	size_t index = pg_number_at(rows, row, INDEX) - 1;
	if (index >= count)
		return error_set(err, "PSYNC_S2404", "The storage database answered what was not asked");
	if (!*PQgetvalue(rows, row, WHOLE))
		return pg_stream_is_gone(err);
	struct asked *a = &asked[index];
	struct bucket_checksum value = {low_bits(PQgetvalue(rows, row, SUM)), pg_number_at(rows, row, COUNT)};
	if (!*PQgetvalue(rows, row, CLEARED)) {
		value.checksum += a->base.value.checksum;
		value.count += a->base.value.count;
	}
	*a->out = value;
	a->base.value = value;
	a->base.c = c;
	pg_names_note_clear(r->store->names, a->base.bucket, pg_number_at(rows, row, CLEAR));
	keep_sum(r->store->sums, &a->base);
	return true;
}

static bool ask(struct pg_reader *r, struct asked *asked, size_t count, uint64_t c, struct error *err)
{
	struct pg_array groups = {0}, names = {0}, after = {0}, up_to = {0};
	struct pg_array *const all[] = {&groups, &names, &after, &up_to};
	bool ok = true;
	pg_array_begin(&groups, PG_ARRAY_INT8);
	pg_array_begin(&names, PG_ARRAY_TEXT);
	pg_array_begin(&after, PG_ARRAY_INT8);
	pg_array_numbers(&up_to, (const int64_t[]){pg_bigint(c)}, 1);
	for (size_t i = 0; ok && i < count; i++) {
		const struct pg_definition *d;
		struct slice name;
		ok = pg_names_of_bucket(r->store->names, asked[i].base.bucket, &r->arena, &d, &name) ||
		     error_set(err, "PSYNC_S1101", "the bucket %u has no name any more", asked[i].base.bucket);
		if (!ok)
			break;
		pg_array_i64(&groups, d->stream_id);
		pg_array_bytes(&names, name);
		pg_array_i64(&after, pg_bigint(asked[i].base.c));
	}
	PGresult *rows = ok ? pg_arrays_query(r->store, sums_sql, all, 4, err) : NULL;
	ok = rows != NULL;
	for (int i = 0; ok && i < PQntuples(rows); i++)
		ok = take_row(r, rows, i, asked, count, c, err);
	PQclear(rows);
	for (size_t i = 0; i < 4; i++)
		pg_array_free(all[i]);
	return ok;
}

bool pg_read_checksums(struct storage_reader *base, const uint32_t *buckets, size_t count, uint64_t c, bool fresh,
                       struct bucket_checksum *out, struct error *err)
{
	struct pg_reader *r = (struct pg_reader *)base;
	struct asked *asked = xcalloc(count + 1, sizeof(*asked));
	size_t n = 0;
	bool ok = true;
	for (size_t i = 0; i < count; i++) {
		struct asked *a = &asked[n];
		bool known = find_sum(r->store->sums, buckets[i], c, &a->base);
		if (!known)
			a->base = (struct sum){.since_ms = clock_mono_ms()};
		a->base.bucket = buckets[i];
		a->out = &out[i];
		out[i] = a->base.value;
		n += !known || fresh || a->base.c < c;
	}
	for (size_t at = 0; ok && at < n; at += AT_ONCE)
		ok = ask(r, asked + at, n - at < AT_ONCE ? n - at : AT_ONCE, c, err);
	free(asked);
	return ok;
}

bool pg_read_checksum(struct storage_reader *r, uint32_t bucket, uint64_t c, struct bucket_checksum *out, struct error *err)
{
	return pg_read_checksums(r, &bucket, 1, c, true, out, err);
}
