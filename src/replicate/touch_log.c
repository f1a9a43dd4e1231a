/* touch_log.c: see touch_log.h; the proof of the rule is in interleaved-snapshot 2. */
#include "replicate/touch_log.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/buf.h"

#define DEFAULT_LIMIT (16u * 1024 * 1024)

uint64_t xid_extend(uint32_t xid, uint64_t near)
{
	int32_t distance = (int32_t)(xid - (uint32_t)near);
	if (distance < 0 && near < (uint64_t) - (int64_t)distance)
		return xid;
	return near + (uint64_t)(int64_t)distance;
}

/* ---- unsettled ---- */

void unsettled_free(struct unsettled *u)
{
	free(u->items);
	*u = (struct unsettled){0};
}

void unsettled_add(struct unsettled *u, uint64_t xid, uint64_t before_lsn)
{
	u->items = xgrow(u->items, u->count, &u->cap, sizeof(*u->items));
	u->items[u->count++] = (struct unsettled_xact){xid, before_lsn};
}

void unsettled_settle(struct unsettled *u, const struct xid_snapshot *s)
{
	size_t kept = 0;
	for (size_t i = 0; i < u->count; i++)
		if (!xid_visible(s, u->items[i].xid))
			u->items[kept++] = u->items[i];
	u->count = kept;
}

uint64_t unsettled_confirm_limit(const struct unsettled *u, uint64_t lsn)
{
	return u->count && u->items[0].before_lsn < lsn ? u->items[0].before_lsn : lsn;
}

/* ---- admission ---- */

void admission_take(struct admission *a, const struct unsettled *u)
{
	admission_free(a);
	for (size_t i = 0; i < u->count; i++)
		admission_add(a, u->items[i].xid);
}

void admission_add(struct admission *a, uint64_t xid)
{
	if (a->count && a->xids[a->count - 1] == xid)
		return;
	a->xids = xgrow(a->xids, a->count, &a->cap, sizeof(*a->xids));
	a->xids[a->count++] = xid;
}

void admission_free(struct admission *a)
{
	free(a->xids);
	*a = (struct admission){0};
}

bool admission_admits(const struct admission *a, const struct xid_snapshot *s)
{
	for (size_t i = 0; i < a->count; i++)
		if (!xid_visible(s, a->xids[i]))
			return false;
	return true;
}

bool snapshot_covers(const struct xid_snapshot *s, const struct xid_snapshot *x)
{
	if (s->xmax < x->xmax)
		return false;
	for (size_t i = 0; i < s->count; i++)
		if (xid_visible(x, s->in_progress[i]))
			return false;
	return true;
}

/* ---- touch log ---- */

/* One delivered transaction. keys holds entries one after another: kind (1 byte), length (4 bytes), bytes. */
struct touch_xact {
	struct touch_xact *next;
	uint64_t xid;
	bool all;
	struct buf keys;
};

static void xact_free(struct touch_log *log, struct touch_xact *x)
{
	log->bytes -= x->keys.cap;
	buf_free(&x->keys);
	free(x);
}

void touch_log_free(struct touch_log *log)
{
	for (struct touch_xact *x = log->first, *next; x; x = next) {
		next = x->next;
		xact_free(log, x);
	}
	log->first = log->last = NULL;
	log->bytes = 0;
}

static struct touch_xact *current_xact(struct touch_log *log, uint64_t xid)
{
	if (log->last && log->last->xid == xid)
		return log->last;
	struct touch_xact *x = xcalloc(1, sizeof(*x));
	x->xid = xid;
	if (log->last)
		log->last->next = x;
	else
		log->first = x;
	return log->last = x;
}

static void make_all(struct touch_log *log, struct touch_xact *x)
{
	log->bytes -= x->keys.cap;
	buf_free(&x->keys);
	x->all = true;
}

void touch_log_add(struct touch_log *log, uint64_t xid, struct slice key, enum touch_kind kind)
{
	struct touch_xact *x = current_xact(log, xid);
	if (x->all)
		return;
	uint32_t n = (uint32_t)key.n;
	size_t before = x->keys.cap;
	buf_putc(&x->keys, (char)kind);
	buf_append(&x->keys, &n, sizeof(n));
	buf_append(&x->keys, key.p, key.n);
	log->bytes += x->keys.cap - before;
	if (log->bytes > (log->limit ? log->limit : DEFAULT_LIMIT))
		make_all(log, x);
}

void touch_log_add_all(struct touch_log *log, uint64_t xid)
{
	make_all(log, current_xact(log, xid));
}

void touch_log_forget(struct touch_log *log, const struct xid_snapshot *s)
{
	struct touch_xact **link = &log->first;
	log->last = NULL;
	while (*link) {
		struct touch_xact *x = *link;
		if (xid_visible(s, x->xid)) {
			*link = x->next;
			xact_free(log, x);
		} else {
			log->last = x;
			link = &x->next;
		}
	}
}

/* ---- dirty set: open addressing, full keys compared (a false "dirty" would lose the row) ---- */

struct dirty_slot {
	struct slice key;
	bool used, other;
};

static uint64_t hash_key(struct slice key)
{
	uint64_t h = 1469598103934665603u;
	for (size_t i = 0; i < key.n; i++)
		h = (h ^ (unsigned char)key.p[i]) * 1099511628211u;
	return h ^ h >> 32;
}

static struct dirty_slot *find_slot(const struct dirty_set *d, struct slice key)
{
	size_t i = hash_key(key) & d->mask;
	while (d->slots[i].used && !slice_eq(d->slots[i].key, key))
		i = (i + 1) & d->mask;
	return &d->slots[i];
}

static size_t next_entry(const struct buf *keys, size_t at, struct slice *key, enum touch_kind *kind)
{
	uint32_t n;
	*kind = (enum touch_kind)keys->p[at];
	memcpy(&n, keys->p + at + 1, sizeof(n));
	*key = slice_make(keys->p + at + 5, n);
	return at + 5 + n;
}

void dirty_set_build(struct dirty_set *d, const struct touch_log *log, const struct xid_snapshot *s, struct arena *arena)
{
	size_t count = 0, capacity = 16;
	struct slice key;
	enum touch_kind kind;
	*d = (struct dirty_set){0};
	for (const struct touch_xact *x = log->first; x; x = x->next) {
		if (xid_visible(s, x->xid))
			continue;
		if (x->all) {
			d->all = true;
			return;
		}
		for (size_t at = 0; at < x->keys.n; count++)
			at = next_entry(&x->keys, at, &key, &kind);
	}
	if (count == 0)
		return;
	while (capacity < count * 2)
		capacity *= 2;
	d->slots = arena_calloc(arena, capacity * sizeof(*d->slots));
	d->mask = capacity - 1;
	for (const struct touch_xact *x = log->first; x; x = x->next) {
		if (xid_visible(s, x->xid))
			continue;
		for (size_t at = 0; at < x->keys.n;) {
			at = next_entry(&x->keys, at, &key, &kind);
			struct dirty_slot *slot = find_slot(d, key);
			slot->key = key;
			slot->used = true;
			slot->other |= kind == TOUCH_OTHER;
		}
	}
}

enum dirtiness dirty_set_find(const struct dirty_set *d, struct slice key)
{
	if (d->all)
		return KEY_DIRTY;
	if (!d->mask)
		return KEY_CLEAN;
	const struct dirty_slot *slot = find_slot(d, key);
	return !slot->used ? KEY_CLEAN : slot->other ? KEY_DIRTY : KEY_UPDATED;
}
