/* write_checkpoints.c: the queue of one user's checkpoint requests (write_checkpoints.h). */
#include "storage/write_checkpoints.h"

#include "base/codec.h"

#define USER_RECORD_VERSION 1

enum { USER_STAMPED = 1, USER_UNKNOWN_GENERATED = 2 };

static bool is_passed(const struct association *e, const struct served *p)
{
	return p->valid && position_cmp(e->head, p->position) <= 0;
}

uint64_t user_greatest(const struct user_record *u)
{
	uint64_t id = u->count ? u->entries[u->count - 1].id : 0;
	return id > u->unknown ? id : u->unknown;
}

static void remove_entry(struct user_record *u, size_t at)
{
	memmove(&u->entries[at], &u->entries[at + 1], (u->count - at - 1) * sizeof(u->entries[0]));
	u->count--;
}

/* Acknowledged entries go, but for the greatest. */
static void trim(struct user_record *u, const struct served *p)
{
	size_t passed = 0;
	while (passed < u->count && is_passed(&u->entries[passed], p))
		passed++;
	if (passed > 1) {
		memmove(&u->entries[0], &u->entries[passed - 1], (u->count - passed + 1) * sizeof(u->entries[0]));
		u->count -= passed - 1;
	}
}

/* Room in the queue: of the inner pending entries the one whose neighbours' heads are nearest to each other, of equals the newest.
 * Its ids are acknowledged with the next newer entry, which is always safe. Era steps count as far apart. */
static void drop_one_pending(struct user_record *u, size_t first)
{
	size_t best = first + 1;
	struct position best_gap = {UINT64_MAX, UINT64_MAX};
	for (size_t i = first + 1; i + 1 < u->count; i++) {
		struct position a = u->entries[i - 1].head, b = u->entries[i + 1].head;
		struct position gap = {b.era - a.era, b.era == a.era ? b.lsn - a.lsn : 0};
		if (position_cmp(gap, best_gap) <= 0) {
			best = i;
			best_gap = gap;
		}
	}
	remove_entry(u, best);
}

static void add(struct user_record *u, uint64_t id, struct position head, bool generated, const struct served *p, int64_t now_ms)
{
	/* Generated ids of one user belong to different devices: a greater one must not be acknowledged before a smaller one. */
	bool any_generated = generated;
	for (size_t i = 0; i < u->count; i++)
		any_generated |= u->entries[i].generated;
	if (u->count && any_generated && position_cmp(head, u->entries[u->count - 1].head) < 0)
		head = u->entries[u->count - 1].head;
	/* The new one covers those with a head at or above its own; an equal id (2^63-1, saturated) is replaced. */
	while (u->count && (position_cmp(u->entries[u->count - 1].head, head) >= 0 || u->entries[u->count - 1].id >= id))
		u->count--;
	u->entries[u->count++] = (struct association){id, head, generated, now_ms};
	size_t first = 0;
	while (first < u->count && is_passed(&u->entries[first], p))
		first++;
	if (u->count - first > QUEUE_PENDING_MAX)
		drop_one_pending(u, first);
	if (u->unknown && u->unknown <= id)
		u->unknown = 0;
	trim(u, p);
}

static void wait_for_head(struct user_record *u, uint64_t id, bool generated, int64_t now_ms)
{
	u->unknown_generated = generated || (u->unknown && u->unknown_generated);
	if (!u->unknown)
		u->unknown_since = now_ms;
	u->unknown = id;
}

uint64_t user_store(struct user_record *u, uint64_t id, const struct position *head, const struct served *p, int64_t now_ms)
{
	uint64_t s = user_greatest(u);
	bool generated = id == 0;
	if (generated) {
		uint64_t base = s > u->floor ? s : u->floor;
		id = base >= REQUEST_ID_MAX ? REQUEST_ID_MAX : base + 1;
		u->stamped = false;
	} else if (id > s) {
		u->stamped = true;
		u->stamp_ms = now_ms;
	} else {
		if (u->stamped || id == s) {
			u->stamped = true;
			u->stamp_ms = now_ms;
		}
		/* A retry that brings a head gives it to the waiting id. */
		if (id == u->unknown && head && !u->unknown_generated)
			add(u, id, *head, false, p, now_ms);
		return s;
	}
	/* Ids of different devices: the new head may be older than the waiting request. */
	if (!head || (u->unknown && (generated || u->unknown_generated)))
		wait_for_head(u, id, generated, now_ms);
	else
		add(u, id, *head, generated, p, now_ms);
	if (id > u->floor)
		u->floor = id;
	return id;
}

void user_resolve(struct user_record *u, struct position head, const struct served *p, int64_t now_ms)
{
	uint64_t id = u->unknown;
	if (!id)
		return;
	u->unknown = 0;
	add(u, id, head, u->unknown_generated, p, now_ms);
}

bool user_forget_heads(struct user_record *u, const struct served *p, int64_t now_ms)
{
	size_t kept = 0;
	while (kept < u->count && is_passed(&u->entries[kept], p))
		kept++;
	if (kept == u->count)
		return false;
	bool generated = false;
	uint64_t greatest = u->entries[u->count - 1].id;
	for (size_t i = kept; i < u->count; i++)
		generated |= u->entries[i].generated;
	u->count = kept;
	wait_for_head(u, greatest > u->unknown ? greatest : u->unknown, generated, now_ms);
	return true;
}

void user_adopt(struct user_record *u, uint64_t id, struct position head, bool stamped, int64_t stamp_ms, const struct served *p,
                int64_t now_ms)
{
	struct association newest = u->count ? u->entries[u->count - 1] : (struct association){.id = 0};
	if (newest.id > id)
		id = newest.id; /* what was stored before a removal over there */
	if (u->count && position_cmp(head, newest.head) < 0)
		head = newest.head;
	u->stamped = stamped;
	u->stamp_ms = stamp_ms;
	if (u->unknown && (!stamped || u->unknown_generated))
		wait_for_head(u, id > u->unknown ? id : u->unknown, true, now_ms);
	else
		add(u, id, head, !stamped, p, now_ms);
	if (id > u->floor)
		u->floor = id;
}

uint64_t user_acknowledged(const struct user_record *u, struct position p)
{
	for (size_t i = u->count; i > 0; i--)
		if (position_cmp(u->entries[i - 1].head, p) <= 0)
			return u->entries[i - 1].id;
	return 0;
}

bool user_pending(const struct user_record *u, const struct served *p)
{
	return u->unknown || (u->count && !is_passed(&u->entries[u->count - 1], p));
}

void user_encode(struct buf *out, const struct user_record *u)
{
	buf_putc(out, USER_RECORD_VERSION);
	buf_putc(out,
	         (char)((u->stamped ? USER_STAMPED : 0) | (u->unknown && u->unknown_generated ? USER_UNKNOWN_GENERATED : 0)));
	buf_varint(out, (uint64_t)u->stamp_ms);
	buf_varint(out, u->floor);
	buf_varint(out, u->unknown);
	buf_varint(out, (uint64_t)u->unknown_since);
	buf_varint(out, u->count);
	for (size_t i = 0; i < u->count; i++) {
		const struct association *e = &u->entries[i];
		buf_varint(out, e->id);
		buf_varint(out, e->head.era);
		buf_varint(out, e->head.lsn);
		buf_varint(out, (uint64_t)e->since);
		buf_putc(out, e->generated);
	}
}

bool user_decode(struct user_record *u, struct slice record, struct error *err)
{
	struct decoder d = decoder_of(record);
	u->count = 0;
	if (decode_u8(&d) != USER_RECORD_VERSION)
		return error_set(err, "PSYNC_S2404", "a checkpoint request record has an unknown version");
	uint8_t flags = decode_u8(&d);
	u->stamped = flags & USER_STAMPED;
	u->unknown_generated = flags & USER_UNKNOWN_GENERATED;
	u->stamp_ms = (int64_t)decode_varint(&d);
	u->floor = decode_varint(&d);
	u->unknown = decode_varint(&d);
	u->unknown_since = (int64_t)decode_varint(&d);
	uint64_t count = decode_varint(&d);
	for (uint64_t i = 0; i < count && !d.bad; i++) {
		if (u->count > QUEUE_PENDING_MAX) {
			d.bad = true;
			break;
		}
		struct association *e = &u->entries[u->count++];
		e->id = decode_varint(&d);
		e->head.era = decode_varint(&d);
		e->head.lsn = decode_varint(&d);
		e->since = (int64_t)decode_varint(&d);
		e->generated = decode_u8(&d);
	}
	if (d.bad)
		return error_set(err, "PSYNC_S2404", "the store is damaged: a checkpoint request record cannot be read");
	return true;
}

void user_key_encode(struct buf *out, const struct user_key *user)
{
	buf_putc(out, user->client_id.p ? 1 : 0);
	buf_text(out, user->subject);
	if (user->client_id.p)
		buf_append(out, user->client_id.p, user->client_id.n);
}

bool user_key_decode(struct slice key, struct user_key *out)
{
	struct decoder d = decoder_of(key);
	uint8_t has_client = decode_u8(&d);
	out->subject = decode_text(&d);
	struct slice rest = decode_rest(&d);
	out->client_id = has_client ? rest : (struct slice){NULL, 0};
	return !d.bad;
}
