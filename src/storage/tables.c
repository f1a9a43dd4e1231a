/*
 * tables.c: records of source tables (storage-semantics 5.1) and of how far each was read.
 *
 * SMALL_TABLES, by number: dropped u8, subkey id (text), schema, name, oid varint, count varint of identity columns (name, type oid
 * varint), snapshot done u8, snapshot epoch varint, rows read varint, last key, generation varint, columns varint,
 * published_as varint (from generation on: absent in records of older builds). A dropped table keeps its record, because its
 * operations refer to its subkey id.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "base/codec.h"
#include "storage/digest.h"
#include "storage/internal.h"

static void decode_table(struct storage *s, struct decoder *d, struct table_record *t)
{
	t->dropped = decode_u8(d);
	struct slice subkey = decode_text(d);
	if (subkey.n >= sizeof(t->subkey_id))
		d->bad = true;
	else
		memcpy(t->subkey_id, subkey.p, subkey.n);
	t->schema = arena_copy(&s->table_arena, decode_text(d));
	t->name = arena_copy(&s->table_arena, decode_text(d));
	t->oid = (uint32_t)decode_varint(d);
	uint64_t count = decode_varint(d);
	if (count > (uint64_t)(d->end - d->p))
		d->bad = true;
	t->key_count = d->bad ? 0 : count;
	t->key = arena_array(&s->table_arena, struct table_key_column, t->key_count);
	for (size_t i = 0; i < t->key_count; i++) {
		t->key[i].name = arena_copy(&s->table_arena, decode_text(d));
		t->key[i].type_oid = (uint32_t)decode_varint(d);
	}
	t->snapshot_done = decode_u8(d);
	t->snapshot_epoch = decode_varint(d);
	t->rows_read = decode_varint(d);
	t->last_key = arena_copy(&s->table_arena, decode_text(d));
	if (d->p < d->end) {
		t->generation = decode_varint(d);
		t->columns = decode_varint(d);
	}
	if (d->p < d->end)
		t->published_as = decode_varint(d);
}

static bool load_table(void *ctx, uint32_t number, struct slice value, struct error *err)
{
	struct storage *s = ctx;
	struct decoder d = decoder_of(value);
	s->tables = xgrow(s->tables, s->table_count, &s->table_cap, sizeof(*s->tables));
	struct table_record *t = &s->tables[s->table_count++];
	*t = (struct table_record){.number = number};
	decode_table(s, &d, t);
	if (d.bad || number >= NAMES_MAX)
		return error_set(err, "PSYNC_S2404", "the store is damaged: table record %u cannot be read", number);
	struct slice known = names_get(&s->table_names, number);
	if (!known.p || !slice_eq(known, slice_cstr(t->subkey_id)))
		names_set(&s->table_names, number, slice_cstr(t->subkey_id));
	return true;
}

bool tables_load(struct storage *s, struct error *err)
{
	s->table_count = 0;
	arena_reset(&s->table_arena);
	return s->backend->ops->small_each(s->backend, SMALL_TABLES, load_table, s, err);
}

static bool store_table(struct storage *s, const struct table_record *t, struct error *err)
{
	struct buf b = {0};
	buf_putc(&b, t->dropped);
	buf_text(&b, slice_cstr(t->subkey_id));
	buf_text(&b, t->schema);
	buf_text(&b, t->name);
	buf_varint(&b, t->oid);
	buf_varint(&b, t->key_count);
	for (size_t i = 0; i < t->key_count; i++) {
		buf_text(&b, t->key[i].name);
		buf_varint(&b, t->key[i].type_oid);
	}
	buf_putc(&b, t->snapshot_done);
	buf_varint(&b, t->snapshot_epoch);
	buf_varint(&b, t->rows_read);
	buf_text(&b, t->last_key);
	buf_varint(&b, t->generation);
	buf_varint(&b, t->columns);
	buf_varint(&b, t->published_as);
	bool ok = writer_begin(s, err) && s->backend->ops->small_put(s->backend, SMALL_TABLES, t->number, buf_slice(&b), err);
	buf_free(&b);
	return ok || writer_fail(s);
}

static struct table_record *find_table(struct storage *s, uint32_t number, struct error *err)
{
	for (size_t i = 0; i < s->table_count; i++)
		if (s->tables[i].number == number && !s->tables[i].dropped)
			return &s->tables[i];
	error_set(err, "PSYNC_S1101", "table %u is not known to the store", number);
	return NULL;
}

bool table_identity_eq(const struct table_identity *a, const struct table_identity *b)
{
	if (!slice_eq(a->schema, b->schema) || !slice_eq(a->name, b->name) || a->oid != b->oid || a->key_count != b->key_count)
		return false;
	for (size_t i = 0; i < b->key_count; i++)
		if (a->key[i].type_oid != b->key[i].type_oid || !slice_eq(a->key[i].name, b->key[i].name))
			return false;
	return true;
}

static bool is_compatible(const struct table_record *r, const struct table_identity *t)
{
	struct table_identity stored = {r->schema, r->name, r->oid, r->key, r->key_count};
	return table_identity_eq(&stored, t);
}

static bool is_candidate(const struct table_record *r, const struct table_identity *t)
{
	return !r->dropped && (r->oid == t->oid || (slice_eq(r->schema, t->schema) && slice_eq(r->name, t->name)));
}

static struct table_record *make_table(struct storage *s, const struct table_identity *t, struct error *err)
{
	if (s->state.last_table + 1 >= NAMES_MAX) {
		error_set(err, "PSYNC_S2404", "the store cannot hold more than %d table records", NAMES_MAX);
		return NULL;
	}
	s->tables = xgrow(s->tables, s->table_count, &s->table_cap, sizeof(*s->tables));
	struct table_record *r = &s->tables[s->table_count];
	*r = (struct table_record){.number = s->state.last_table + 1,
	                           .schema = arena_copy(&s->table_arena, t->schema),
	                           .name = arena_copy(&s->table_arena, t->name),
	                           .oid = t->oid,
	                           .key = arena_array(&s->table_arena, struct table_key_column, t->key_count),
	                           .key_count = t->key_count};
	for (size_t i = 0; i < t->key_count; i++)
		r->key[i] = (struct table_key_column){arena_copy(&s->table_arena, t->key[i].name), t->key[i].type_oid};
	uuid_random_text(r->subkey_id);
	if (!store_table(s, r, err))
		return NULL;
	s->state.last_table++;
	s->table_count++;
	names_set(&s->table_names, r->number, slice_cstr(r->subkey_id));
	return r;
}

bool storage_resolve_table(struct storage *s, const struct table_identity *t, struct arena *arena, struct stored_table *out,
                           uint32_t **drop, size_t *drop_count, struct error *err)
{
	if (s->shared)
		return s->shared->resolve_table(s, t, arena, out, drop, drop_count, err);
	struct table_record *kept = NULL;
	for (size_t i = 0; i < s->table_count; i++) {
		struct table_record *r = &s->tables[i];
		if (!r->dropped && is_compatible(r, t) && (!kept || (r->snapshot_done && !kept->snapshot_done)))
			kept = r;
	}
	if (!kept && !(kept = make_table(s, t, err)))
		return false;
	*drop = arena_array(arena, uint32_t, s->table_count);
	*drop_count = 0;
	for (size_t i = 0; i < s->table_count; i++)
		if (&s->tables[i] != kept && is_candidate(&s->tables[i], t))
			(*drop)[(*drop_count)++] = s->tables[i].number;
	*out = (struct stored_table){.number = kept->number,
	                             .snapshot_done = kept->snapshot_done,
	                             .snapshot_epoch = kept->snapshot_epoch,
	                             .last_key = arena_copy(arena, kept->last_key),
	                             .rows_read = kept->rows_read,
	                             .generation = kept->generation,
	                             .columns = kept->columns,
	                             .published_as = kept->published_as};
	memcpy(out->subkey_id, kept->subkey_id, sizeof(out->subkey_id));
	return true;
}

bool storage_table_progress(struct storage *s, uint32_t table, struct slice last_key, uint64_t rows_read, struct error *err)
{
	if (s->shared)
		return s->shared->table_progress(s, table, last_key, rows_read, err);
	struct table_record *t = find_table(s, table, err);
	if (!t)
		return false;
	/* Progress comes with every chunk: the old text is overwritten where the new one fits. */
	if (last_key.n && last_key.n <= t->last_key.n)
		memmove((char *)(uintptr_t)t->last_key.p, last_key.p, last_key.n);
	else
		t->last_key = arena_copy(&s->table_arena, last_key);
	t->last_key.n = last_key.n;
	t->rows_read = rows_read;
	return store_table(s, t, err);
}

bool storage_table_done(struct storage *s, uint32_t table, uint64_t epoch, struct error *err)
{
	if (s->shared)
		return s->shared->table_done(s, table, epoch, err);
	struct table_record *t = find_table(s, table, err);
	if (!t)
		return false;
	t->snapshot_done = true;
	t->snapshot_epoch = epoch;
	t->rows_read = 0;
	t->last_key.n = 0;
	return store_table(s, t, err);
}

bool storage_table_restart(struct storage *s, uint32_t table, struct error *err)
{
	if (s->shared)
		return s->shared->table_restart(s, table, err);
	struct table_record *t = find_table(s, table, err);
	if (!t)
		return false;
	t->snapshot_done = false;
	t->rows_read = 0;
	t->last_key.n = 0;
	return store_table(s, t, err);
}

bool storage_table_columns(struct storage *s, uint32_t table, uint64_t columns, struct error *err)
{
	if (s->shared)
		return s->shared->table_columns(s, table, columns, err);
	struct table_record *t = find_table(s, table, err);
	if (!t)
		return false;
	if (t->columns == columns)
		return true;
	t->columns = columns;
	return store_table(s, t, err);
}

bool storage_table_published(struct storage *s, uint32_t table, uint64_t published_as, struct error *err)
{
	if (s->shared)
		return s->shared->table_published(s, table, published_as, err);
	struct table_record *t = find_table(s, table, err);
	if (!t)
		return false;
	t->published_as = published_as;
	return store_table(s, t, err);
}

uint64_t storage_epoch(struct storage *s)
{
	if (s->shared)
		return s->shared->epoch(s);
	return s->state.epoch;
}

bool storage_new_generation(struct storage *s, struct error *err)
{
	if (s->shared)
		return s->shared->new_generation(s, err);
	if (!writer_begin(s, err))
		return false;
	s->state.epoch++;
	return true;
}

bool storage_table_lost(struct storage *s, uint32_t table, struct error *err)
{
	if (s->shared)
		return s->shared->table_lost(s, table, err);
	struct table_record *t = find_table(s, table, err);
	if (!t)
		return false;
	t->generation = s->state.epoch;
	return storage_table_restart(s, table, err);
}

bool storage_tables(struct storage *s, struct arena *arena, struct table_name **out, size_t *count, struct error *err)
{
	if (s->shared)
		return s->shared->tables(s, arena, out, count, err);
	*count = 0;
	*out = arena_array(arena, struct table_name, s->table_count);
	if (s->failed)
		return writer_peek(s, err);
	for (size_t i = 0; i < s->table_count; i++) {
		const struct table_record *t = &s->tables[i];
		if (!t->dropped)
			(*out)[(*count)++] = (struct table_name){t->number, t->oid, arena_copy(arena, t->schema),
			                                         arena_copy(arena, t->name), t->generation > t->snapshot_epoch};
	}
	return true;
}

bool storage_drop_table(struct storage *s, uint32_t table, struct error *err)
{
	if (s->shared)
		return s->shared->drop_table(s, table, err);
	uint64_t removed;
	struct table_record *t = find_table(s, table, err);
	if (!t || !storage_truncate_table(s, table, &removed, err))
		return false;
	t->dropped = true;
	t->last_key.n = 0;
	return store_table(s, t, err);
}
