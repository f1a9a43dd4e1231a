/* rows_rules.c: records and what was stored -> operations, lookup entries, images (storage-semantics 5.3); see rows_internal.h. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/codec.h"
#include "storage/digest.h"
#include "storage/postgres/bson.h"
#include "storage/postgres/rows_internal.h"

/* A portion ends when it has as much (storage-semantics 5.2). */
#define PORTION_COUNT 2000
#define PORTION_BYTES 5000000
#define EMPTY_DOCUMENT 5
/* Up to here gifts are compared one by one, beyond that by a hash table. */
#define FEW 12

void rows_work_free(struct row_work *w)
{
	free(w->ops);
	free(w->lookups);
	free(w->markers);
	*w = (struct row_work){0};
}

/* ---- portions ------------------------------------------------------------------------------------------------------------------------ */

static void portion_end(struct row_work *w)
{
	for (; w->portion_marker < w->marker_count; w->portion_marker++) {
		struct kept_row *e = w->markers[w->portion_marker];
		if (e->marker && e->portion == w->portion)
			e->rank = w->ids++;
	}
	for (; w->portion_op < w->op_count; w->portion_op++)
		w->ops[w->portion_op].rank = w->ids++;
	for (; w->portion_lookup < w->lookup_count; w->portion_lookup++)
		w->lookups[w->portion_lookup].rank = w->ids++;
	w->portion++;
	w->records = w->images = w->images_deleted = w->bytes = 0;
}

static bool portion_full(const struct row_work *w)
{
	return w->records >= PORTION_COUNT || w->bytes >= PORTION_BYTES || w->op_count - w->portion_op >= PORTION_COUNT ||
	       w->lookup_count - w->portion_lookup >= PORTION_COUNT || w->images >= PORTION_COUNT ||
	       w->images_deleted >= PORTION_COUNT;
}

/* ---- single writes ------------------------------------------------------------------------------------------------------------------- */

static void add_op(struct row_work *w, struct row_op op)
{
	w->ops = xgrow(w->ops, w->op_count, &w->op_cap, sizeof(*w->ops));
	w->ops[w->op_count++] = op;
	w->bytes += op.bucket.n + op.data.n + 2 * op.entry->key.n + 100;
}

static void add_lookup(struct row_work *w, struct kept_row *e, struct slice lookup, struct slice results)
{
	w->lookups = xgrow(w->lookups, w->lookup_count, &w->lookup_cap, sizeof(*w->lookups));
	w->lookups[w->lookup_count++] = (struct row_lookup_entry){.entry = e, .lookup = lookup, .results = results};
	w->bytes += 2 * lookup.n + (results.n > 2 ? results.n : 0) + 2 * e->key.n + 100;
}

static void add_no_lookup(struct row_work *w, struct kept_row *e, struct slice lookup)
{
	add_lookup(w, e, lookup, SLICE("[]"));
}

/* Of "delete.<subkey>"; the subkey of a row whose replica id is no UUID is a UUID alone. */
static uint32_t remove_sum(struct kept_row *e)
{
	uint8_t uuid[16], full[32];
	if (e->has_remove_sum)
		return e->remove_sum;
	e->has_remove_sum = true;
	if (bson_source_key_uuid(e->key, uuid)) {
		e->remove_sum = remove_checksum(e->table->id, uuid);
	} else if (bson_subkey_uuid(slice_cstr(e->table->id), e->key, uuid)) {
		char text[UUID_TEXT];
		uuid_text(uuid, text);
		sha256_slices((struct slice[]){SLICE("delete."), {text, UUID_TEXT}}, 2, full);
		e->remove_sum = (uint32_t)full[0] | (uint32_t)full[1] << 8 | (uint32_t)full[2] << 16 | (uint32_t)full[3] << 24;
	}
	return e->remove_sum;
}

static void add_remove(struct row_work *w, struct kept_row *e, const struct row_gift *g)
{
	add_op(w, (struct row_op){.entry = e, .bucket = g->bucket, .type = g->type, .id = g->id, .checksum = remove_sum(e)});
}

/* The row is gone: REMOVEs, empty lookup entries, and no entry, or a marker. */
static void retire(struct row_work *w, struct kept_row *e, bool for_good)
{
	for (size_t i = 0; i < e->now.gift_count; i++)
		add_remove(w, e, &e->now.gifts[i]);
	for (size_t i = 0; i < e->now.lookup_count; i++)
		add_no_lookup(w, e, e->now.lookups[i]);
	e->now = (struct row_state){.exists = false};
	e->touched = true;
	e->incomplete = false;
	w->images_deleted++;
	w->bytes += e->key.n + 100;
	e->marker = e->table->version >= 3 && !for_good;
	/* One id for each key in a portion, at the place of its first removal. */
	if (!e->marker || e->portion == w->portion)
		return;
	e->portion = w->portion;
	w->markers = xgrow(w->markers, w->marker_count, &w->marker_cap, sizeof(struct kept_row *));
	w->markers[w->marker_count++] = e;
}

/* ---- matching what a row gives with what it gave --------------------------------------------------------------------------------------- */

static bool gift_is(const struct row_gift *g, const struct pg_row_put *p)
{
	return slice_eq(g->id, p->object_id) && slice_eq(g->bucket, p->bucket) && slice_eq(g->type, p->object_type);
}

static uint64_t hash_bytes(uint64_t h, struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		h = (h ^ (uint8_t)s.p[i]) * 0x100000001b3u;
	return (h ^ s.n) * 0x9e3779b97f4a7c15u;
}

static size_t gift_hash(struct slice bucket, struct slice type, struct slice id)
{
	uint64_t h = hash_bytes(hash_bytes(hash_bytes(0xcbf29ce484222325u, bucket), type), id);
	return (size_t)(h ^ h >> 32);
}

/* A set of gifts; of many, by hash. */
struct gift_set {
	const struct row_gift **slots; /* NULL: few */
	size_t mask;
	const struct row_gift *items;
	size_t count; /* of the few */
};

static struct gift_set gift_set_new(const struct row_gift *items, size_t room, struct arena *arena)
{
	struct gift_set s = {.items = items};
	if (room <= FEW)
		return s;
	size_t cap = 32;
	while (cap < 2 * room)
		cap *= 2;
	s.slots = arena_calloc(arena, cap * sizeof(*s.slots));
	s.mask = cap - 1;
	return s;
}

/* Where the gift with these parts is, or the empty place for it. */
static const struct row_gift **gift_slot(const struct gift_set *s, const struct pg_row_put *p)
{
	size_t at = gift_hash(p->bucket, p->object_type, p->object_id) & s->mask;
	while (s->slots[at] && !gift_is(s->slots[at], p))
		at = (at + 1) & s->mask;
	return &s->slots[at];
}

static bool gift_set_has(const struct gift_set *s, const struct pg_row_put *p)
{
	if (s->slots)
		return *gift_slot(s, p) != NULL;
	for (size_t i = 0; i < s->count; i++)
		if (gift_is(&s->items[i], p))
			return true;
	return false;
}

/* The next of the items belongs to it. */
static void gift_set_add(struct gift_set *s, const struct pg_row_put *p)
{
	if (s->slots)
		*gift_slot(s, p) = &s->items[s->count];
	s->count++;
}

static bool has_lookup(const struct pg_row_lookup *lookups, size_t count, struct slice lookup, size_t expected)
{
	for (size_t i = 0; i < count; i++)
		if (slice_eq(lookups[(expected + i) % count].lookup, lookup))
			return true;
	return false;
}

/* ---- one record ------------------------------------------------------------------------------------------------------------------------ */

/* Without an image: does each gift have the data that it had? Lookup entries are not compared. */
static bool gives_the_same(const struct row_change *rec)
{
	const struct row_state *s = &rec->entry->now;
	if (rec->lookup_count || (rec->put_count && !s->sums))
		return false;
	for (size_t i = 0; i < rec->put_count; i++)
		if (!s->sums[i].known || s->sums[i].sum != rec->puts[i].checksum)
			return false;
	return true;
}

/* A row that was read and stands there as it is. What it gives follows from the image, in the same order. */
static bool stands(const struct row_change *rec)
{
	const struct row_state *s = &rec->entry->now;
	if (!s->exists || rec->former || s->gift_count != rec->put_count || s->lookup_count != rec->lookup_count ||
	    rec->entry->table->incomplete == ROW_YES)
		return false;
	for (size_t i = 0; i < rec->put_count; i++)
		if (!gift_is(&s->gifts[i], &rec->puts[i]))
			return false;
	for (size_t i = 0; i < rec->lookup_count; i++)
		if (!slice_eq(s->lookups[i], rec->lookups[i].lookup))
			return false;
	if (rec->image.n == EMPTY_DOCUMENT)
		return s->no_image && gives_the_same(rec);
	if (s->image_known)
		return slice_eq(s->image, rec->image);
	uint8_t digest[32];
	sha256_slices(&rec->image, 1, digest);
	return memcmp(digest, s->digest, sizeof(digest)) == 0;
}

static void write_puts(struct pg_rows *r, const struct row_change *rec, struct row_state *next)
{
	struct row_work *w = &r->work;
	struct kept_row *e = rec->entry;
	struct row_gift *gifts = arena_array(&r->arena, struct row_gift, rec->put_count + 1);
	struct gift_set set = gift_set_new(gifts, rec->put_count, &r->arena);
	for (size_t i = 0; i < rec->put_count; i++) {
		const struct pg_row_put *p = &rec->puts[i];
		add_op(w, (struct row_op){.entry = e,
		                          .bucket = p->bucket,
		                          .type = p->object_type,
		                          .id = p->object_id,
		                          .data = p->data,
		                          .checksum = p->checksum});
		if (gift_set_has(&set, p))
			continue;
		gifts[set.count] = (struct row_gift){p->bucket, p->object_type, p->object_id};
		gift_set_add(&set, p);
	}
	for (size_t i = 0; i < e->now.gift_count; i++) {
		const struct row_gift *g = &e->now.gifts[i];
		if (!gift_set_has(&set, &(struct pg_row_put){.bucket = g->bucket, .object_type = g->type, .object_id = g->id}))
			add_remove(w, e, g);
	}
	next->gifts = gifts;
	next->gift_count = set.count;
}

static void write_lookups(struct pg_rows *r, const struct row_change *rec, struct row_state *next)
{
	struct row_work *w = &r->work;
	struct kept_row *e = rec->entry;
	struct slice *kept = arena_array(&r->arena, struct slice, rec->lookup_count + 1);
	size_t count = 0;
	for (size_t i = 0; i < rec->lookup_count; i++) {
		add_lookup(w, e, rec->lookups[i].lookup, rec->lookups[i].results);
		if (!has_lookup(rec->lookups, i, rec->lookups[i].lookup, 0))
			kept[count++] = rec->lookups[i].lookup;
	}
	for (size_t i = 0; i < e->now.lookup_count; i++)
		if (!rec->lookup_count || !has_lookup(rec->lookups, rec->lookup_count, e->now.lookups[i], i % rec->lookup_count))
			add_no_lookup(w, e, e->now.lookups[i]);
	next->lookups = kept;
	next->lookup_count = count;
}

static void set_row(struct row_work *w, struct kept_row *e, const struct row_state *next)
{
	e->now = *next;
	e->touched = true;
	e->marker = false;
	w->images++;
	w->bytes += next->image.n + e->key.n + 100;
	for (size_t i = 0; i < next->gift_count; i++)
		w->bytes += next->gifts[i].bucket.n + next->gifts[i].type.n + next->gifts[i].id.n + 33;
	for (size_t i = 0; i < next->lookup_count; i++)
		w->bytes += next->lookups[i].n;
}

static void apply_record(struct pg_rows *r, const struct row_change *rec)
{
	struct row_work *w = &r->work;
	struct kept_row *e = rec->entry;
	if (rec->kind == CHANGE_DELETE || rec->kind == CHANGE_FORGET) {
		retire(w, e, rec->kind == CHANGE_FORGET);
		return;
	}
	if (rec->compare && stands(rec))
		return;
	if (rec->former)
		retire(w, rec->former, false);
	struct row_state next = {.exists = true, .image_known = true, .image = rec->image};
	if (rec->kind == CHANGE_INCOMPLETE) {
		/* What the row gave stays: clients see the last known state until the row is complete again. */
		next.gifts = e->now.gifts;
		next.gift_count = e->now.gift_count;
		next.lookups = e->now.lookups;
		next.lookup_count = e->now.lookup_count;
	} else {
		write_puts(r, rec, &next);
		write_lookups(r, rec, &next);
	}
	e->incomplete = rec->kind == CHANGE_INCOMPLETE;
	e->row_key = rec->row_key;
	e->partial = rec->partial;
	set_row(w, e, &next);
}

void rows_apply(struct pg_rows *r, int32_t stream)
{
	struct row_work *w = &r->work;
	w->op_count = w->lookup_count = w->marker_count = w->ids = 0;
	w->portion_op = w->portion_lookup = w->portion_marker = 0;
	w->portion = 1;
	w->records = w->images = w->images_deleted = w->bytes = 0;
	for (size_t i = 0; i < r->entry_count; i++) {
		struct kept_row *e = r->entries[i];
		if (e->table->stream != stream)
			continue;
		e->now = e->stored;
		e->touched = e->marker = e->incomplete = false;
		e->portion = 0;
	}
	for (size_t i = 0; i < r->record_count; i++) {
		if (r->records[i].entry->table->stream != stream)
			continue;
		apply_record(r, &r->records[i]);
		w->records++;
		if (portion_full(w))
			portion_end(w);
	}
	portion_end(w);
}
