/* arrays.c: see arrays.h. */
#include "storage/postgres/arrays.h"

#include "base/codec.h"

/* Dimensions, "has NULLs", element type, count, lower bound. */
#define HEADER 20

void pg_array_begin(struct pg_array *a, enum pg_array_of type)
{
	static const char zero[HEADER];
	buf_clear(&a->bytes);
	buf_append(&a->bytes, zero, HEADER);
	be32_put(a->bytes.p, 1);
	be32_put(a->bytes.p + 4, 1);
	be32_put(a->bytes.p + 8, (uint32_t)type);
	be32_put(a->bytes.p + 16, 1);
	a->count = 0;
}

void pg_array_bytes(struct pg_array *a, struct slice s)
{
	char *p = buf_reserve(&a->bytes, 4 + s.n);
	be32_put(p, s.p ? (uint32_t)s.n : UINT32_MAX);
	if (s.n)
		memcpy(p + 4, s.p, s.n);
	a->bytes.n += 4 + s.n;
	a->count++;
}

void pg_array_i64(struct pg_array *a, int64_t v)
{
	char *p = buf_reserve(&a->bytes, 12);
	be32_put(p, 8);
	be64_put(p + 4, (uint64_t)v);
	a->bytes.n += 12;
	a->count++;
}

struct pg_param pg_array_param(struct pg_array *a)
{
	be32_put(a->bytes.p + 12, a->count);
	return (struct pg_param){a->bytes.p, a->bytes.n};
}

void pg_array_free(struct pg_array *a)
{
	buf_free(&a->bytes);
}

void pg_array_numbers(struct pg_array *a, const int64_t *v, size_t count)
{
	pg_array_begin(a, PG_ARRAY_INT8);
	for (size_t i = 0; i < count; i++)
		pg_array_i64(a, v[i]);
}

struct array_values {
	const char *values[PG_ARRAYS_MAX];
	int lengths[PG_ARRAYS_MAX], formats[PG_ARRAYS_MAX];
};

static struct pg_values values_of(struct array_values *to, struct pg_array *const *arrays, int count)
{
	for (int i = 0; i < count; i++) {
		struct pg_param p = pg_array_param(arrays[i]);
		to->values[i] = p.p;
		to->lengths[i] = (int)p.n;
		to->formats[i] = 1;
	}
	return (struct pg_values){
	        .count = count, .values = to->values, .lengths = to->lengths, .formats = to->formats, .binary_result = true};
}

PGresult *pg_arrays_query(struct pg_store *store, const char *sql, struct pg_array *const *arrays, int count, struct error *err)
{
	struct array_values room;
	const struct pg_values v = values_of(&room, arrays, count);
	return pg_pool_query(store->pool, sql, &v, err);
}

PGresult *pg_arrays_on(struct pg_conn *c, const char *sql, struct pg_array *const *arrays, int count, int timeout_ms,
                       struct error *err)
{
	struct array_values room;
	const struct pg_values v = values_of(&room, arrays, count);
	return pg_prepared(c, sql, &v, timeout_ms, err);
}

static bool take(struct slice *rest, size_t n, struct slice *out)
{
	if (rest->n < n)
		return false;
	*out = slice_make(rest->p, n);
	*rest = slice_drop(*rest, n);
	return true;
}

bool pg_array_read(struct slice array, struct arena *arena, struct slice **items, size_t *count)
{
	struct slice head, bounds, length;
	*items = NULL;
	*count = 0;
	if (!take(&array, 12, &head))
		return false;
	uint32_t dimensions = be32_get(head.p);
	if (dimensions == 0)
		return true;
	if (dimensions != 1 || !take(&array, 8, &bounds))
		return false;
	size_t n = be32_get(bounds.p);
	if (n > array.n / 4)
		return false;
	*items = arena_array(arena, struct slice, n);
	for (size_t i = 0; i < n; i++)
		if (!take(&array, 4, &length) || !take(&array, be32_get(length.p), &(*items)[i]))
			return false;
	*count = n;
	return true;
}
