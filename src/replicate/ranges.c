/* ranges.c: see ranges.h. */
#include "replicate/ranges.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/codec.h"
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

void ranges_encode(const struct table_ranges *r, struct buf *out)
{
	if (r->count == 1)
		buf_slice_append(out, buf_slice(&r->items[0].next));
	if (r->count <= 1)
		return;
	buf_varint(out, r->count);
	for (size_t i = 0; i < r->count; i++) {
		buf_putc(out, r->items[i].done);
		buf_text(out, buf_slice(&r->items[i].next));
		buf_text(out, buf_slice(&r->items[i].until));
	}
}

bool ranges_decode(struct table_ranges *r, struct slice in, bool several)
{
	ranges_free(r);
	if (!several) {
		if (in.n == 0)
			return true;
		ranges_alloc(r, 1);
		buf_slice_append(&r->items[0].next, in);
		return true;
	}
	struct decoder d = decoder_of(in);
	uint64_t count = decode_varint(&d);
	bool ok = !d.bad && count > 0 && count <= MAX_RANGES;
	if (ok)
		ranges_alloc(r, count);
	for (size_t i = 0; i < r->count; i++) {
		r->items[i].done = decode_u8(&d) == 1;
		buf_slice_append(&r->items[i].next, decode_text(&d));
		buf_slice_append(&r->items[i].until, decode_text(&d));
	}
	ok = ok && !d.bad && d.p == d.end;
	if (!ok)
		ranges_free(r);
	return ok;
}
