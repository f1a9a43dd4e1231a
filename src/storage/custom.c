/* custom.c: see custom.h. */
#include "storage/custom.h"

#include <string.h>

#include "base/codec.h"

#define RECORD_VERSION 1
#define FLAG_SNAPSHOT 1
#define FLAG_TEMPORARY 2

static bool is_active(const struct custom_tags *tags, uint64_t tag)
{
	for (size_t i = tags->active_count; i > 0; i--)
		if (tags->active[i - 1] == tag)
			return true;
	return false;
}

static bool counts_for(const struct custom_tags *tags, bool for_active, uint64_t tag)
{
	return for_active ? is_active(tags, tag) : tag && tag == tags->pending;
}

/* Does the later written b take the place of a? */
static bool outranks(const struct custom_entry *b, const struct custom_entry *a)
{
	if (a->snapshot != b->snapshot)
		return a->snapshot;
	return b->snapshot ? b->id >= a->id : position_cmp(b->position, a->position) >= 0;
}

const struct custom_entry *custom_best(const struct custom_record *r, const struct custom_tags *tags, bool for_active,
                                       struct position p)
{
	const struct custom_entry *best = NULL;
	for (size_t i = 0; i < r->count; i++) {
		const struct custom_entry *e = &r->entries[i];
		if (counts_for(tags, for_active, e->tag) && position_cmp(e->position, p) <= 0 && (!best || outranks(e, best)))
			best = e;
	}
	return best;
}

/* 0: shown already; 1: in the store, at or below the boundary; 2: beyond it. */
static int stage(const struct custom_entry *e, const struct custom_bounds *b)
{
	if (b->served.valid && position_cmp(e->position, b->served.position) <= 0)
		return 0;
	return position_cmp(e->position, b->applied) <= 0 ? 1 : 2;
}

/* At each stage one entry is enough, for the active sync config and for the pending one. */
static void trim(struct custom_record *r, const struct custom_tags *tags, const struct custom_bounds *bounds)
{
	struct custom_record kept = {.count = 0};
	for (size_t i = 0; i < r->count; i++) {
		const struct custom_entry *e = &r->entries[i];
		bool active = is_active(tags, e->tag);
		size_t k = 0;
		if (!active && !counts_for(tags, false, e->tag))
			continue;
		while (k < kept.count &&
		       (is_active(tags, kept.entries[k].tag) != active || stage(&kept.entries[k], bounds) != stage(e, bounds)))
			k++;
		if (k < kept.count) {
			if (!outranks(e, &kept.entries[k]))
				continue;
			memmove(&kept.entries[k], &kept.entries[k + 1], (kept.count - k - 1) * sizeof(*e));
			kept.count--;
		}
		kept.entries[kept.count++] = *e;
	}
	*r = kept;
}

void custom_add(struct custom_record *r, const struct custom_entry *e, const struct custom_tags *tags,
                const struct custom_bounds *bounds)
{
	r->entries[r->count++] = *e; /* decoding leaves room for one */
	trim(r, tags, bounds);
}

bool custom_says_more(const struct custom_record *r, const struct custom_tags *tags, bool for_active, uint64_t id,
                      enum custom_origin origin)
{
	const struct custom_entry *best = custom_best(r, tags, for_active, (struct position){UINT64_MAX, UINT64_MAX});
	return !best || (id > best->id && (best->snapshot || origin == CUSTOM_REPAIR));
}

bool custom_expired(const struct custom_record *r, const struct custom_tags *tags, const struct custom_bounds *bounds,
                    int64_t now_ms, int64_t retention_ms)
{
	struct custom_record left = *r;
	trim(&left, tags, bounds);
	for (size_t i = 0; i < left.count; i++) {
		const struct custom_entry *e = &left.entries[i];
		if (!e->temporary || stage(e, bounds) != 0 || now_ms - e->stamp_ms <= retention_ms)
			return false;
	}
	return true;
}

bool custom_stamp_due(const struct custom_record *r, int64_t now_ms, int64_t retention_ms)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->entries[i].temporary && now_ms - r->entries[i].stamp_ms > retention_ms / 2)
			return true;
	return false;
}

void custom_encode(struct buf *out, const struct custom_record *r)
{
	buf_putc(out, RECORD_VERSION);
	buf_varint(out, r->count);
	for (size_t i = 0; i < r->count; i++) {
		const struct custom_entry *e = &r->entries[i];
		buf_varint(out, e->tag);
		buf_putc(out, (char)((e->snapshot ? FLAG_SNAPSHOT : 0) | (e->temporary ? FLAG_TEMPORARY : 0)));
		buf_varint(out, e->temporary ? (uint64_t)e->stamp_ms : 0);
		buf_varint(out, e->position.era);
		buf_varint(out, e->position.lsn);
		buf_varint(out, e->id);
	}
}

bool custom_decode(struct custom_record *r, struct slice record, struct error *err)
{
	struct decoder d = decoder_of(record);
	bool known = decode_u8(&d) == RECORD_VERSION;
	uint64_t count = decode_varint(&d);
	r->count = 0;
	if (d.bad || !known || count > CUSTOM_ENTRIES_MAX)
		return error_set(err, "PSYNC_S2404", "the store is damaged: a write checkpoint cannot be read");
	for (uint64_t i = 0; i < count; i++) {
		struct custom_entry *e = &r->entries[i];
		e->tag = decode_varint(&d);
		uint8_t flags = decode_u8(&d);
		e->snapshot = flags & FLAG_SNAPSHOT;
		e->temporary = flags & FLAG_TEMPORARY;
		e->stamp_ms = (int64_t)decode_varint(&d);
		e->position.era = decode_varint(&d);
		e->position.lsn = decode_varint(&d);
		e->id = decode_varint(&d);
	}
	if (d.bad)
		return error_set(err, "PSYNC_S2404", "the store is damaged: a write checkpoint cannot be read");
	r->count = count;
	return true;
}
