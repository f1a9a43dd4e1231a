/*
 * apply.c: from what a row gives now, and the record of what it gave before, to operations, lookup entries and the new record
 * (storage-semantics 5.3 with the *Syncline* rules, interleaved-snapshot 5 and 6).
 *
 * A record is always taken first: whatever is not written again gets its REMOVE, with the object type and id of the old entry and
 * the subkey of the row. So an insert over a stored row is an update, and a transaction that is applied again does no harm.
 *
 * Op ids are given out in the order of writing: REMOVEs under the old key, PUTs in evaluation order, REMOVEs in stored order, lookup
 * entries. An equal lookup entry of a streamed row takes its op id (so that the checkpoint moves as on other storages) but is not
 * written: it would wake sessions for nothing.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/codec.h"
#include "storage/digest.h"
#include "storage/internal.h"

struct row_write {
	struct storage *s;
	uint32_t table;
	const struct row_key *key;
	uint32_t remove_sum; /* checksum of a REMOVE under the key */
	bool have_remove_sum, have_row_hash;
	uint8_t row_hash[16];
};

void apply_free(struct apply *a)
{
	row_record_free(&a->current);
	row_record_free(&a->former);
	buf_free(&a->record);
	free(a->entries);
	free(a->matched);
	free(a->slots);
	free(a->types);
	arena_free(&a->arena);
}

/* ---- single writes ---- */

static void row_hash(uint32_t table, struct slice key, uint8_t out[16])
{
	uint8_t full[32], number[4];
	be32_put(number, table);
	sha256_slices((struct slice[]){{(const char *)number, 4}, key}, 2, full);
	memcpy(out, full, 16);
}

static const uint8_t *hash_of_row(struct row_write *w)
{
	if (!w->have_row_hash)
		row_hash(w->table, w->key->bytes, w->row_hash);
	w->have_row_hash = true;
	return w->row_hash;
}

static void results_digest(struct slice results, uint8_t out[RECORD_DIGEST])
{
	uint8_t full[32];
	sha256_slices(&results, 1, full);
	memcpy(out, full, RECORD_DIGEST);
}

static uint32_t put_checksum(const uint8_t *digest)
{
	return (uint32_t)digest[0] | (uint32_t)digest[1] << 8 | (uint32_t)digest[2] << 16 | (uint32_t)digest[3] << 24;
}

static bool write_remove(struct row_write *w, const struct contribution *c, struct error *err)
{
	struct storage *s = w->s;
	uint32_t definition;
	int known = s->backend->ops->bucket_definition(s->backend, c->bucket, &definition, err);
	if (known < 0)
		return false;
	/* Dropped altogether, or about to be. */
	if (known == 0 || definition_is_dropping(s, definition))
		return true;
	if (!w->have_remove_sum)
		w->remove_sum = remove_checksum(w->key->uuid_alone ? "" : names_get(&s->table_names, w->table).p, w->key->uuid);
	w->have_remove_sum = true;
	struct backend_op op = {.bucket = c->bucket,
	                        .op_id = ++s->state.op_seq,
	                        .kind = OP_REMOVE,
	                        .checksum = w->remove_sum,
	                        .table = w->key->uuid_alone ? 0 : w->table,
	                        .uuid = w->key->uuid,
	                        .type = c->type,
	                        .object_id = c->object_id,
	                        .makes_dead = 2};
	return s->backend->ops->op_add(s->backend, &op, err);
}

static bool write_lookup(struct row_write *w, uint32_t definition, struct slice key, struct slice results, bool had,
                         struct error *err)
{
	struct storage *s = w->s;
	struct backend_lookup l = {.definition = definition,
	                           .key = key,
	                           .row = hash_of_row(w),
	                           .op_id = ++s->state.op_seq,
	                           .results = results,
	                           .may_have_older = had,
	                           .floor = had ? lookup_floor(s) : 0};
	if (!s->backend->ops->lookup_put(s->backend, &l, err))
		return false;
	news_add_lookup(s, definition, key);
	return true;
}

static bool write_no_lookup(struct row_write *w, const struct record_lookup *l, struct error *err)
{
	return !definition_is_maintained(w->s, l->definition) || write_lookup(w, l->definition, l->key, SLICE("[]"), true, err);
}

bool row_load(struct storage *s, uint32_t table, struct slice key, struct row_record *r, struct error *err)
{
	struct slice bytes;
	row_record_clear(r);
	int got = s->backend->ops->row_get(s->backend, table, key, &bytes, err);
	return got == 0 || (got > 0 && row_record_decode(r, bytes, err));
}

bool row_retire(struct storage *s, uint32_t table, const struct row_key *key, const struct row_record *r, struct error *err)
{
	struct row_write w = {.s = s, .table = table, .key = key};
	const struct backend_ops *ops = s->backend->ops;
	for (size_t i = 0; i < r->contribution_count; i++)
		if (!write_remove(&w, &r->contributions[i], err))
			return false;
	for (size_t i = 0; i < r->lookup_count; i++)
		if (!write_no_lookup(&w, &r->lookups[i], err))
			return false;
	if (r->has_image && !ops->image_delete(s->backend, table, key->bytes, err))
		return false;
	if (r->incomplete && !ops->row_mark_incomplete(s->backend, table, key->bytes, false, err))
		return false;
	return ops->row_delete(s->backend, table, key->bytes, err);
}

static bool retire_former(struct storage *s, uint32_t table, const struct row_key *key, const struct row_key *old,
                          struct error *err)
{
	if (!old || slice_eq(old->bytes, key->bytes))
		return true;
	struct row_record *r = &s->apply.former;
	return row_load(s, table, old->bytes, r, err) && (!r->found || row_retire(s, table, old, r, err));
}

/* ---- writing a row ---- */

/* The entries behind `owner` that refer to its data; their op ids are given already. */
static size_t references_of(const struct apply *a, size_t owner, size_t put_count, struct op_place out[SHARE_WITHIN])
{
	size_t count = 0;
	for (size_t i = owner + 1; i < put_count && i - owner <= SHARE_WITHIN; i++)
		if (a->entries[i].write && a->entries[i].same_as == owner + 1)
			out[count++] = (struct op_place){a->entries[i].bucket, a->entries[i].op_id};
	return count;
}

static bool write_puts(struct row_write *w, const struct row_contributions *c, struct error *err)
{
	struct storage *s = w->s;
	struct apply *a = &s->apply;
	for (size_t i = 0; i < c->put_count; i++)
		if (a->entries[i].write)
			a->entries[i].op_id = ++s->state.op_seq;
	for (size_t i = 0; i < c->put_count; i++) {
		struct new_entry *e = &a->entries[i];
		struct op_place references[SHARE_WITHIN];
		if (!e->write)
			continue;
		const struct put_entry *p = &c->puts[i];
		const struct new_entry *same = e->same_as ? &a->entries[e->same_as - 1] : NULL;
		struct backend_op op = {.bucket = e->bucket,
		                        .op_id = e->op_id,
		                        .kind = OP_PUT,
		                        .checksum = put_checksum(p->digest),
		                        .table = w->key->uuid_alone ? 0 : w->table,
		                        .uuid = w->key->uuid,
		                        .type = e->type,
		                        .object_id = p->object_id,
		                        .data = p->data,
		                        .references = references,
		                        .reference_count = e->shared ? references_of(a, i, c->put_count, references) : 0,
		                        .same_data_op = same ? same->op_id : 0,
		                        .same_data_bucket = same ? same->bucket : 0,
		                        .makes_dead = e->replaces};
		if (!s->backend->ops->op_add(s->backend, &op, err))
			return false;
	}
	return true;
}

/* REMOVEs of what is not given any more. */
static bool write_removes(struct row_write *w, struct error *err)
{
	struct apply *a = &w->s->apply;
	for (size_t i = 0; i < a->current.contribution_count; i++)
		if (!a->matched[i] && !write_remove(w, &a->current.contributions[i], err))
			return false;
	return true;
}

static const struct record_lookup *find_lookup(const struct row_record *r, const struct lookup_entry *l, size_t expected,
                                               size_t *at)
{
	for (size_t i = 0; i < r->lookup_count; i++) {
		size_t k = (expected + i) % r->lookup_count;
		if (r->lookups[k].definition == l->definition && slice_eq(r->lookups[k].key, l->key)) {
			*at = k;
			return &r->lookups[k];
		}
	}
	return NULL;
}

static bool write_lookups(struct row_write *w, const struct row_contributions *c, enum row_write_mode mode, bool *matched,
                          struct error *err)
{
	struct storage *s = w->s;
	struct row_record *r = &s->apply.current;
	buf_varint(&s->apply.record, c->lookup_count);
	for (size_t i = 0; i < c->lookup_count; i++) {
		const struct lookup_entry *l = &c->lookups[i];
		uint8_t digest[RECORD_DIGEST];
		size_t at = 0;
		const struct record_lookup *old = find_lookup(r, l, i, &at);
		results_digest(l->results, digest);
		if (old)
			matched[at] = true;
		if (old && memcmp(old->digest, digest, RECORD_DIGEST) == 0) {
			if (mode == ROW_STREAM)
				s->state.op_seq++;
		} else if (!write_lookup(w, l->definition, l->key, l->results, old != NULL, err)) {
			return false;
		}
		record_put_lookup(&s->apply.record, l->definition, l->key, digest);
	}
	for (size_t i = 0; i < r->lookup_count; i++)
		if (!matched[i] && !write_no_lookup(w, &r->lookups[i], err))
			return false;
	return true;
}

static bool write_image(struct row_write *w, struct slice image, bool had, struct error *err)
{
	const struct backend_ops *ops = w->s->backend->ops;
	if (image.n)
		return ops->image_put(w->s->backend, w->table, w->key->bytes, image, err);
	return !had || ops->image_delete(w->s->backend, w->table, w->key->bytes, err);
}

static void put_head(struct row_write *w, bool incomplete, bool has_image)
{
	record_put_head(&w->s->apply.record, &(struct record_head){.incomplete = incomplete,
	                                                           .has_image = has_image,
	                                                           .uuid_alone = w->key->uuid_alone,
	                                                           .epoch = w->s->state.epoch,
	                                                           .uuid = w->key->uuid});
}

static void encode_contributions(struct apply *a, const struct row_contributions *c)
{
	size_t count = 0;
	for (size_t i = 0; i < c->put_count; i++)
		count += !a->entries[i].duplicate;
	buf_varint(&a->record, count);
	struct slice previous_id = {NULL, 0};
	for (size_t i = 0; i < c->put_count; i++)
		if (!a->entries[i].duplicate)
			record_put_contribution(&a->record,
			                        &(struct contribution){.bucket = a->entries[i].bucket,
			                                               .type = a->entries[i].type,
			                                               .object_id = c->puts[i].object_id,
			                                               .digest = c->puts[i].digest},
			                        &previous_id);
}

static bool store_record(struct row_write *w, const struct row_record *r, bool incomplete, struct error *err)
{
	struct storage *s = w->s;
	const struct backend_ops *ops = s->backend->ops;
	bool was_incomplete = r->found && r->incomplete;
	if (incomplete != was_incomplete && !ops->row_mark_incomplete(s->backend, w->table, w->key->bytes, incomplete, err))
		return false;
	if (r->found && slice_eq(buf_slice(&r->bytes), buf_slice(&s->apply.record)))
		return true;
	return ops->row_put(s->backend, w->table, w->key->bytes, buf_slice(&s->apply.record), err);
}

/* Would writing this change nothing at all? Then a compared row does not even open a commit. */
static bool nothing_changes(struct row_write *w, const struct row_contributions *c, struct slice image)
{
	struct storage *s = w->s;
	struct apply *a = &s->apply;
	struct row_record *r = &a->current;
	if (!r->found || r->incomplete || r->epoch != s->state.epoch || r->contribution_count != c->put_count ||
	    r->lookup_count != c->lookup_count || r->has_image != (image.n > 0))
		return false;
	for (size_t i = 0; i < c->put_count; i++)
		if (a->entries[i].write || a->entries[i].duplicate)
			return false;
	for (size_t i = 0; i < c->lookup_count; i++) {
		uint8_t digest[RECORD_DIGEST];
		size_t at;
		const struct record_lookup *old = find_lookup(r, &c->lookups[i], i, &at);
		results_digest(c->lookups[i].results, digest);
		if (!old || memcmp(old->digest, digest, RECORD_DIGEST) != 0)
			return false;
	}
	struct slice stored;
	return !image.n ||
	       (s->backend->ops->image_get(s->backend, w->table, w->key->bytes, &stored, NULL) == 1 && slice_eq(stored, image));
}

static bool write_row(struct row_write *w, const struct row_key *old, const struct row_contributions *c, struct slice image,
                      enum row_write_mode mode, struct error *err)
{
	struct storage *s = w->s;
	struct apply *a = &s->apply;
	struct row_record *r = &a->current;
	if (!retire_former(s, w->table, w->key, old, err) || !row_load(s, w->table, w->key->bytes, r, err))
		return false;
	if (!entries_prepare(s, c, mode, err))
		return false;
	if (mode == ROW_COMPARE && nothing_changes(w, c, image))
		return true;
	if (!writer_begin(s, err) || !write_puts(w, c, err) || !write_removes(w, err))
		return false;
	buf_clear(&a->record);
	put_head(w, false, image.n > 0);
	encode_contributions(a, c);
	return write_lookups(w, c, mode, a->matched + r->contribution_count, err) && write_image(w, image, r->has_image, err) &&
	       store_record(w, r, false, err);
}

bool storage_write_row(struct storage *s, uint32_t table, const struct row_key *key, const struct row_key *old,
                       const struct row_contributions *c, struct slice image, enum row_write_mode mode, struct error *err)
{
	if (s->shared)
		return s->shared->write_row(s, table, key, old, c, image, mode, err);
	struct row_write w = {.s = s, .table = table, .key = key};
	if (old || mode == ROW_STREAM ? !writer_begin(s, err) : !writer_peek(s, err))
		return false;
	return write_row(&w, old, c, image, mode, err) || writer_fail(s);
}

/* ---- incomplete rows ---- */

/* What the row gave stays: the client sees the last known state until the row is complete again. */
static void encode_kept(struct apply *a)
{
	const struct row_record *r = &a->current;
	struct slice previous_id = {NULL, 0};
	buf_varint(&a->record, r->contribution_count);
	for (size_t i = 0; i < r->contribution_count; i++)
		record_put_contribution(&a->record, &r->contributions[i], &previous_id);
	buf_varint(&a->record, r->lookup_count);
	for (size_t i = 0; i < r->lookup_count; i++)
		record_put_lookup(&a->record, r->lookups[i].definition, r->lookups[i].key, r->lookups[i].digest);
}

/* With another key the old contributions are REMOVEd at once: they stand under the old subkey, and the next row under the old key
 * would otherwise share it with them. */
bool storage_write_incomplete_row(struct storage *s, uint32_t table, const struct row_key *key, const struct row_key *old,
                                  struct slice partial, const struct row_contributions *known, struct error *err)
{
	if (s->shared)
		return s->shared->write_incomplete_row(s, table, key, old, partial, known, err);
	struct row_write w = {.s = s, .table = table, .key = key};
	struct apply *a = &s->apply;
	if (!writer_begin(s, err))
		return false;
	if (!retire_former(s, table, key, old, err) || !row_load(s, table, key->bytes, &a->current, err))
		return writer_fail(s);
	buf_clear(&a->record);
	put_head(&w, true, partial.n > 0);
	encode_kept(a);
	return (write_image(&w, partial, a->current.has_image, err) && store_record(&w, &a->current, true, err)) ||
	       writer_fail(s);
}
