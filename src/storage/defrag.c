/* defrag.c: see defrag.h. */
#include <stdlib.h>

#include "base/alloc.h"
#include "storage/internal.h"

/* So many operations must be gained for each row that clients receive again. */
#define GAIN_PER_ROW 4
#define WAITING_MAX 64
/* Operations of a bucket since the walk that are looked at; with more the bucket is left for the next time. */
#define NEWER_MAX 4000

void defrag_put(struct defrag_walk *w, uint64_t op_id, struct slice row)
{
	w->rows[w->puts++ % (DEFRAG_ROWS + 1)] = (struct defrag_row){op_id, w->others, row};
}

/* The n-th oldest, from 1. */
static const struct defrag_row *oldest(const struct defrag_walk *w, uint64_t n)
{
	return &w->rows[(w->puts - n) % (DEFRAG_ROWS + 1)];
}

struct defrag_request *defrag_choose(const struct defrag_walk *w, uint32_t bucket, uint64_t limit, uint64_t leading,
                                     uint64_t least, double share)
{
	uint64_t best_gain = 0, all = w->puts + w->others - leading;
	size_t best = 0;
	if (w->incomplete)
		return NULL;
	for (uint64_t n = 1; n <= w->puts && n <= DEFRAG_ROWS; n++) {
		/* Up to the next row that stays, or to the end. */
		uint64_t kept = n < w->puts ? oldest(w, n + 1)->newer : 0;
		uint64_t gain = w->others - leading - kept;
		if (gain > GAIN_PER_ROW * n && (!best || gain - GAIN_PER_ROW * n > best_gain - GAIN_PER_ROW * best)) {
			best = n;
			best_gain = gain;
		}
	}
	if (!best || best_gain < least || (double)best_gain < share * (double)all)
		return NULL;
	struct defrag_request *r = xcalloc(1, sizeof(*r));
	r->bucket = bucket;
	r->limit = limit;
	r->gain = best_gain;
	r->count = best;
	r->rows = arena_array(&r->arena, struct defrag_row, best);
	for (size_t i = 0; i < best; i++) {
		r->rows[i] = *oldest(w, i + 1);
		r->rows[i].row = arena_copy(&r->arena, r->rows[i].row);
	}
	return r;
}

static void request_free(struct defrag_request *r)
{
	arena_free(&r->arena);
	free(r);
}

void defrag_ask(struct storage *s, struct defrag_request *r)
{
	pthread_mutex_lock(&s->lock);
	bool room = s->defrag.waiting < WAITING_MAX;
	for (const struct defrag_request *other = s->defrag.first; other; other = other->next)
		room = room && other->bucket != r->bucket;
	if (room) {
		r->next = s->defrag.first;
		s->defrag.first = r;
		s->defrag.waiting++;
		atomic_store(&s->defrag.due, true);
	}
	pthread_mutex_unlock(&s->lock);
	if (!room)
		request_free(r);
}

static struct defrag_request *take(struct storage *s)
{
	pthread_mutex_lock(&s->lock);
	struct defrag_request *r = s->defrag.first;
	if (r) {
		s->defrag.first = r->next;
		s->defrag.waiting--;
	}
	atomic_store(&s->defrag.due, s->defrag.first != NULL);
	pthread_mutex_unlock(&s->lock);
	return r;
}

void defrag_free(struct storage *s)
{
	for (struct defrag_request *r; (r = take(s));)
		request_free(r);
}

/* Forgets the rows that have a newer operation. False with *many: too much has come since. */
static bool drop_superseded(struct storage *s, struct storage_reader *reader, struct defrag_request *r, bool *many,
                            struct error *err)
{
	struct compact_op *ops;
	size_t count;
	if (!s->backend->ops->read_ops_back(reader, r->bucket, UINT64_MAX, NEWER_MAX, &r->arena, &ops, &count, err))
		return false;
	*many = count == NEWER_MAX && ops[count - 1].op_id > r->limit;
	for (size_t i = 0; i < count && ops[i].op_id > r->limit; i++)
		for (size_t k = 0; k < r->count; k++)
			if (slice_eq(ops[i].row, r->rows[k].row))
				r->rows[k].op_id = 0;
	return true;
}

static bool write_rows(struct storage *s, const struct defrag_request *r, struct error *err)
{
	uint64_t written = 0;
	size_t last = r->count;
	for (size_t i = 0; i < r->count; i++)
		if (r->rows[i].op_id)
			last = i;
	for (size_t i = 0; i < r->count; i++) {
		if (!r->rows[i].op_id)
			continue;
		/* With the last one the bucket becomes due for the next compaction. */
		uint64_t dead = 1 + (i == last ? r->gain : 0);
		int got = s->backend->ops->op_again(s->backend, r->bucket, r->rows[i].op_id, s->state.op_seq + 1, dead, err);
		if (got < 0)
			return false;
		s->state.op_seq += (uint64_t)got;
		written += (uint64_t)got;
	}
	counter_add(s->meter.rewritten, written);
	return true;
}

bool defrag_step(struct storage *s, struct error *err)
{
	struct defrag_request *r = take(s);
	uint32_t definition;
	bool many = false;
	if (!r)
		return true;
	bool ok = writer_begin(s, err);
	struct storage_reader *reader = ok ? s->backend->ops->read_begin(s->backend, err) : NULL;
	ok = reader && drop_superseded(s, reader, r, &many, err);
	if (reader)
		s->backend->ops->read_end(reader);
	int known = ok ? s->backend->ops->bucket_definition(s->backend, r->bucket, &definition, err) : -1;
	ok = known >= 0;
	if (known > 0 && !many && definition_is_maintained(s, definition))
		ok = write_rows(s, r, err);
	request_free(r);
	return ok || writer_fail(s);
}
