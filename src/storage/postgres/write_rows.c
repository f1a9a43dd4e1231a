/*
 * write_rows.c: rows as the engine gives them, for each stream that is written (rows.h does the rest).
 *
 * The image has the values that the rules saw. What an update leaves out is taken from there, where it is what the source would give
 * (value_mapper_stored); else the row is incomplete until it is read again.
 */
#include <string.h>

#include "storage/digest.h"
#include "storage/postgres/bson.h"
#include "storage/postgres/rows.h"
#include "storage/postgres/writer.h"

/* In the stream. */
static struct slice source_key(const struct row_key *key, int32_t stream, struct arena *arena)
{
	struct buf b = {0};
	if (key->other && key->other->plan == (uint64_t)stream)
		bson_source_key(&b, key->other->uuid);
	else if (key->uuid_alone && key->replica_id)
		bson_source_key_value(&b, key->replica_id);
	else
		bson_source_key(&b, key->uuid);
	struct slice copy = arena_copy(arena, buf_slice(&b));
	buf_free(&b);
	return copy;
}

/* False: the stream does not read the table. */
static bool table_in(const struct pg_writer *w, size_t target, uint32_t table, struct pg_row_table *out)
{
	const struct pg_stream *stream = w->targets[target].stream;
	const char *id = pg_writer_table_id(w, table, stream->id);
	if (!id)
		return false;
	*out = (struct pg_row_table){.stream = stream->id, .version = stream->version, .id = slice_cstr(id)};
	return true;
}

static uint32_t checksum_of(const uint8_t digest[16])
{
	return (uint32_t)digest[0] | (uint32_t)digest[1] << 8 | (uint32_t)digest[2] << 16 | (uint32_t)digest[3] << 24;
}

static const struct pg_definition *definition_of(const struct pg_writer *w, uint32_t number, int32_t stream)
{
	const struct pg_definition *d = pg_names_definition(w->store->names, number);
	return d && d->stream_id == stream ? d : NULL;
}

static void add_puts(const struct pg_writer *w, const struct row_contributions *c, int32_t stream, struct arena *arena,
                     struct pg_row *row)
{
	struct pg_row_put *puts = arena_array(arena, struct pg_row_put, c->put_count + 1);
	row->puts = puts;
	for (size_t i = 0; i < c->put_count; i++) {
		const struct put_entry *e = &c->puts[i];
		const struct pg_definition *d = definition_of(w, e->definition, stream);
		if (d)
			puts[row->put_count++] = (struct pg_row_put){
			        .bucket = arena_printf(arena, "%.*s%.*s", SLICE_ARG(d->head), SLICE_ARG(e->keys)),
			        .object_type = e->object_type,
			        .object_id = e->object_id,
			        .data = e->data,
			        .checksum = checksum_of(e->digest)};
	}
}

static bool add_lookups(const struct pg_writer *w, const struct row_contributions *c, int32_t stream, struct arena *arena,
                        struct pg_row *row, struct error *err)
{
	struct pg_row_lookup *lookups = arena_array(arena, struct pg_row_lookup, c->lookup_count + 1);
	row->lookups = lookups;
	for (size_t i = 0; i < c->lookup_count; i++) {
		const struct lookup_entry *e = &c->lookups[i];
		const struct pg_definition *d = definition_of(w, e->definition, stream);
		struct buf b = {0};
		if (!d)
			continue;
		bool ok = bson_lookup(&b, d->unique, d->query_id, e->key, arena, err);
		if (ok)
			lookups[row->lookup_count++] = (struct pg_row_lookup){arena_copy(arena, buf_slice(&b)), e->results};
		buf_free(&b);
		if (!ok)
			return false;
	}
	return true;
}

static struct slice image_of(const struct row_contributions *c, int32_t stream, struct arena *arena)
{
	struct buf b = {0};
	if (!c || !c->value_count)
		return (struct slice){NULL, 0};
	bool other = c->other_values && c->other_plan == (uint64_t)stream;
	bson_row(&b, c->names, other ? c->other_values : c->values, c->value_count);
	struct slice image = arena_copy(arena, buf_slice(&b));
	buf_free(&b);
	return image;
}

bool pg_write_row(struct storage *s, uint32_t table, const struct row_key *key, const struct row_key *old,
                  const struct row_contributions *c, struct slice image, enum row_write_mode mode, struct error *err)
{
	struct pg_writer *w = pg_writer_of(s);
	struct arena arena = {0};
	bool ok = pg_writer_ready(w, err);
	(void)image;
	for (size_t i = 0; ok && i < w->target_count; i++) {
		struct pg_row_table t;
		struct pg_row row = {.compare = mode == ROW_COMPARE};
		if (!table_in(w, i, table, &t))
			continue;
		row.key = source_key(key, t.stream, &arena);
		if (old)
			row.old = source_key(old, t.stream, &arena);
		row.image = image_of(c, t.stream, &arena);
		add_puts(w, c, t.stream, &arena, &row);
		ok = add_lookups(w, c, t.stream, &arena, &row, err);
		if (ok)
			pg_rows_put(w->rows, &t, &row);
	}
	arena_free(&arena);
	return ok;
}

bool pg_write_incomplete_row(struct storage *s, uint32_t table, const struct row_key *key, const struct row_key *old,
                             struct slice partial, const struct row_contributions *known, struct error *err)
{
	struct pg_writer *w = pg_writer_of(s);
	struct arena arena = {0};
	bool ok = pg_writer_ready(w, err);
	for (size_t i = 0; ok && i < w->target_count; i++) {
		struct pg_row_table t;
		struct pg_row row = {.compare = false};
		if (!table_in(w, i, table, &t))
			continue;
		row.key = source_key(key, t.stream, &arena);
		if (old)
			row.old = source_key(old, t.stream, &arena);
		row.image = image_of(known, t.stream, &arena);
		pg_rows_put_incomplete(w->rows, &t, &row, key->bytes, partial);
	}
	arena_free(&arena);
	return ok;
}

bool pg_delete_row(struct storage *s, uint32_t table, const struct row_key *key, struct error *err)
{
	struct pg_writer *w = pg_writer_of(s);
	struct arena arena = {0};
	bool ok = pg_writer_ready(w, err);
	for (size_t i = 0; ok && i < w->target_count; i++) {
		struct pg_row_table t;
		if (table_in(w, i, table, &t))
			pg_rows_delete(w->rows, &t, source_key(key, t.stream, &arena));
	}
	arena_free(&arena);
	return ok;
}

bool pg_read_row(struct storage *s, uint32_t table, const struct row_key *key, struct arena *arena, struct stored_row *out,
                 struct error *err)
{
	struct pg_writer *w = pg_writer_of(s);
	struct pg_stored_row stored = {0};
	struct pg_conn *conn = pg_writer_ready(w, err) ? pg_writer_conn(w, err) : NULL;
	*out = (struct stored_row){.found = false};
	for (size_t i = 0; conn && i < w->target_count && !stored.found; i++) {
		struct pg_row_table t;
		if (table_in(w, i, table, &t) &&
		    !pg_rows_read(w->rows, conn, &t, source_key(key, t.stream, arena), arena, &stored, err))
			return false;
	}
	if (stored.found)
		*out = (struct stored_row){.found = true,
		                           .incomplete = stored.incomplete,
		                           .epoch = pg_writer_table_generation(w, table) ? 0 : pg_epoch(s),
		                           .image = stored.incomplete ? stored.partial : (struct slice){NULL, 0}};
	if (stored.found && !stored.incomplete && stored.image.n &&
	    !bson_row_read(stored.image, arena, &out->names, &out->values, &out->value_count, err))
		return false;
	return conn != NULL;
}

static bool key_of(struct slice source_key, struct slice table_id, struct arena *arena, struct row_key *key, struct error *err)
{
	struct slice *names;
	struct value *values;
	size_t count;
	*key = (struct row_key){.uuid_alone = !bson_source_key_uuid(source_key, key->uuid)};
	if (!key->uuid_alone)
		return bson_source_key_uuid(source_key, key->uuid);
	if (!bson_row_read(source_key, arena, &names, &values, &count, err))
		return false;
	key->replica_id = values;
	return (count == 1 && bson_subkey_uuid(table_id, source_key, key->uuid)) ||
	       error_set(err, "PSYNC_S2404", "the source key of a row in the storage database cannot be read");
}

/* All streams have the same ones, but for one that began later. */
bool pg_incomplete_rows(struct storage *s, uint32_t table, struct slice after, size_t max, struct arena *arena,
                        struct row_key **keys, size_t *count, struct error *err)
{
	struct pg_writer *w = pg_writer_of(s);
	*keys = NULL;
	*count = 0;
	if (!pg_writer_ready(w, err) || !pg_flush(s, err))
		return false;
	for (size_t i = 0; i < w->target_count && !*count; i++) {
		struct pg_row_table t;
		struct pg_incomplete_row *rows;
		size_t n;
		struct pg_conn *conn = pg_writer_conn(w, err);
		if (!conn)
			return false;
		if (!table_in(w, i, table, &t))
			continue;
		if (!pg_rows_incomplete(w->rows, conn, &t, after, max, arena, &rows, &n, err))
			return false;
		*keys = arena_array(arena, struct row_key, n + 1);
		for (size_t k = 0; k < n; k++) {
			struct row_key *key = &(*keys)[*count];
			if (!key_of(rows[k].key, t.id, arena, key, err))
				return false;
			key->bytes = rows[k].row_key;
			++*count;
		}
	}
	return true;
}
