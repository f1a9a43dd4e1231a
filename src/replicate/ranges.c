/* ranges.c: see ranges.h. */
#include "replicate/ranges.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "replicate/touch_log.h"

#define MAX_RANGES 1024

static void forget_floor(struct table_range *range)
{
	free(range->floor.in_progress);
	range->floor = (struct xid_snapshot){0};
	range->has_floor = false;
}

void range_cancel(struct table_range *range)
{
	if (range->job) {
		atomic_store(&range->job->cancelled, true);
		read_job_unref(range->job);
	}
	range->job = NULL;
	forget_floor(range);
}

void ranges_cancel(struct table_ranges *r)
{
	for (size_t i = 0; i < r->count; i++)
		range_cancel(&r->items[i]);
}

void ranges_free(struct table_ranges *r)
{
	ranges_cancel(r);
	for (size_t i = 0; i < r->count; i++) {
		buf_free(&r->items[i].next);
		buf_free(&r->items[i].until);
	}
	free(r->items);
	*r = (struct table_ranges){0};
}

static void ranges_alloc(struct table_ranges *r, size_t count)
{
	ranges_free(r);
	r->items = xcalloc(count, sizeof(*r->items));
	r->count = count;
}

void ranges_make(struct table_ranges *r, const struct slice *positions, size_t count)
{
	ranges_alloc(r, count + 1);
	for (size_t i = 0; i < count; i++) {
		buf_slice_append(&r->items[i].until, positions[i]);
		buf_slice_append(&r->items[i + 1].next, positions[i]);
	}
}

bool ranges_begun(const struct table_ranges *r)
{
	return r->count > 1 || (r->count == 1 && r->items[0].next.n > 0);
}

bool ranges_done(const struct table_ranges *r)
{
	for (size_t i = 0; i < r->count; i++)
		if (!r->items[i].done)
			return false;
	return r->count > 0;
}

size_t ranges_running(const struct table_ranges *r)
{
	size_t n = 0;
	for (size_t i = 0; i < r->count; i++)
		n += r->items[i].job != NULL;
	return n;
}

struct table_range *ranges_waiting(struct table_ranges *r)
{
	for (size_t i = 0; i < r->count; i++)
		if (!r->items[i].done && !r->items[i].job)
			return &r->items[i];
	return NULL;
}

struct table_range *ranges_of_job(struct table_ranges *r, const struct read_job *job)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->items[i].job == job)
			return &r->items[i];
	return NULL;
}

/* ---- floors ---- */

void range_raise_floor(struct table_range *range, const struct xid_snapshot *s)
{
	forget_floor(range);
	range->floor = *s;
	range->floor.in_progress = NULL;
	if (s->count) {
		range->floor.in_progress = xmalloc(s->count * sizeof(*s->in_progress));
		memcpy(range->floor.in_progress, s->in_progress, s->count * sizeof(*s->in_progress));
	}
	range->has_floor = true;
}

/* Snapshots of one server only grow (F6), so one of them is covered by all the others. */
const struct xid_snapshot *ranges_floor(const struct table_ranges *r)
{
	const struct xid_snapshot *least = NULL;
	for (size_t i = 0; i < r->count; i++) {
		const struct table_range *range = &r->items[i];
		if (!range->job)
			continue;
		if (!range->has_floor)
			return NULL;
		if (!least || snapshot_covers(least, &range->floor))
			least = &range->floor;
	}
	return least;
}

/* ---- in storage ---- */

static void put_varint(struct buf *out, size_t v)
{
	for (; v >= 0x80; v >>= 7)
		buf_putc(out, (char)(v | 0x80));
	buf_putc(out, (char)v);
}

static void put_text(struct buf *out, const struct buf *text)
{
	put_varint(out, text->n);
	buf_slice_append(out, buf_slice(text));
}

static bool get_varint(struct slice *in, size_t *out)
{
	*out = 0;
	for (unsigned shift = 0; in->n && shift < 32; shift += 7) {
		unsigned char c = (unsigned char)*in->p;
		*in = slice_drop(*in, 1);
		*out |= (size_t)(c & 0x7f) << shift;
		if (!(c & 0x80))
			return true;
	}
	return false;
}

static bool get_text(struct slice *in, struct buf *out)
{
	size_t n;
	if (!get_varint(in, &n) || n > in->n)
		return false;
	buf_append(out, in->p, n);
	*in = slice_drop(*in, n);
	return true;
}

void ranges_encode(const struct table_ranges *r, struct buf *out)
{
	if (r->count == 1)
		buf_slice_append(out, buf_slice(&r->items[0].next));
	if (r->count <= 1)
		return;
	put_varint(out, r->count);
	for (size_t i = 0; i < r->count; i++) {
		buf_putc(out, r->items[i].done);
		put_text(out, &r->items[i].next);
		put_text(out, &r->items[i].until);
	}
}

bool ranges_decode(struct table_ranges *r, struct slice in, bool several)
{
	size_t count;
	ranges_free(r);
	if (!several) {
		if (in.n == 0)
			return true;
		ranges_alloc(r, 1);
		buf_slice_append(&r->items[0].next, in);
		return true;
	}
	bool ok = get_varint(&in, &count) && count > 0 && count <= MAX_RANGES;
	if (ok)
		ranges_alloc(r, count);
	for (size_t i = 0; i < r->count && ok; i++) {
		ok = in.n > 0;
		if (!ok)
			break;
		r->items[i].done = *in.p == 1;
		in = slice_drop(in, 1);
		ok = get_text(&in, &r->items[i].next) && get_text(&in, &r->items[i].until);
	}
	ok = ok && in.n == 0;
	if (!ok)
		ranges_free(r);
	return ok;
}
