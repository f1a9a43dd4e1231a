/*
 * session_data.c: data lines by priority, and the lines that complete a checkpoint (sync-protocol 6, step 5).
 */
#include "sync/session_internal.h"

/* sync-protocol 6, "Data lines". */
#define LINE_OPERATIONS 1000
#define LINE_DATA_BYTES ((size_t)1 << 20)

/* The operations of one line: what sessions can share. The bytes follow from (bucket, first operation, up_to, form) alone. */
struct operations {
	struct buf *bytes;
	uint32_t count;
	uint64_t last_op;
	uint64_t target_op; /* greatest of them; 0: none */
	bool closed;        /* by a limit: more may follow */
};

/* Reads and encodes what lies in (after, up_to], as far as one line may go. */
static bool read_operations(struct step *t, uint32_t bucket, uint64_t after, uint64_t up_to, struct operations *out)
{
	struct op_cursor *cursor = reader_ops(t->reader, bucket, after, up_to, t->err);
	if (!cursor)
		return false;
	size_t data_bytes = 0;
	struct op_view op;
	int got;
	while ((got = op_cursor_next(cursor, &op, t->err)) > 0) {
		size_t size = op.kind == OP_PUT ? op.data.n : 0;
		if (out->count && (data_bytes >= LINE_DATA_BYTES || data_bytes + size > LINE_DATA_BYTES)) {
			out->closed = true;
			break;
		}
		encode_operation(t->s->form, out->bytes, out->count, &op);
		out->count++;
		out->last_op = op.op_id;
		data_bytes += size;
		if (op.target_op > out->target_op)
			out->target_op = op.target_op;
		if (out->count == LINE_OPERATIONS || data_bytes >= LINE_DATA_BYTES) {
			out->closed = true;
			break;
		}
	}
	op_cursor_close(cursor);
	return got >= 0;
}

/*
 * Operations up to the checkpoint may have gone into a CLEAR above it; nothing that is sent would tell. A CLEAR is the first operation of
 * its bucket, and a compaction goes no further than a checkpoint, so this can only be if there is a newer one.
 */
static bool check_cleared(struct step *t, const struct session_bucket *b)
{
	struct session *s = t->s;
	if (!b->number || hub_newest_op(s->hub) <= s->op_id)
		return true;
	struct op_cursor *cursor = reader_ops(t->reader, b->number, s->op_id, UINT64_MAX, t->err);
	if (!cursor)
		return false;
	struct op_view op;
	int got = op_cursor_next(cursor, &op, t->err);
	if (got > 0 && op.kind == OP_CLEAR)
		s->invalidated = true;
	op_cursor_close(cursor);
	return got >= 0;
}

/* The next line of the bucket. NOTHING: there is none, the bucket is done. */
static enum outcome send_bucket(struct step *t, struct session_bucket *b)
{
	struct session *s = t->s;
	struct operations list = {.bytes = &t->scratch->operations};
	buf_clear(list.bytes);
	if (!step_reader(t))
		return OUTCOME_FAILED;
	if (b->number && b->after < s->op_id && !read_operations(t, b->number, b->after, s->op_id, &list))
		return OUTCOME_FAILED;
	if (!list.closed) {
		b->done = true;
		if (!check_cleared(t, b))
			return OUTCOME_FAILED;
	}
	if (!list.count)
		return OUTCOME_NOTHING;
	struct data_line line = {
		.bucket = session_bucket_name(b),
		.after = b->after,
		.next_after = list.last_op,
		.has_more = list.closed,
	};
	struct buf *out = step_line(t);
	buf_reserve(out, list.bytes->n + line.bucket.n + 256);
	encode_data_head(s->encoding, out, &line, list.bytes->n);
	buf_slice_append(out, buf_slice(list.bytes));
	encode_data_tail(s->encoding, out, &line);
	step_line_done(t);
	b->after = list.last_op;
	s->operations_for_line += list.count;
	s->stats.operations_sent += list.count;
	if (list.target_op > s->op_id)
		s->invalidated = true;
	return OUTCOME_LINE;
}

/* The best priority among the buckets to fetch, beyond `above`; -1: none. */
static int next_group(const struct session *s, int above)
{
	int best = -1;
	for (size_t i = 0; i < s->bucket_count; i++) {
		const struct session_bucket *b = s->buckets[i];
		if (b->to_fetch && b->priority > above && (best < 0 || b->priority < best))
			best = b->priority;
	}
	return best;
}

static void finish_group(struct session *s)
{
	for (size_t i = 0; i < s->bucket_count; i++)
		if (s->buckets[i]->priority == s->group_priority)
			s->buckets[i]->to_fetch = false;
}

/* All buckets of the group are done: a partial line, or the full one after the last group. */
static enum outcome complete(struct step *t)
{
	struct session *s = t->s;
	if (s->invalidated) {
		s->downloading = false;
		s->must_line = true;
		return OUTCOME_NOTHING;
	}
	int next = next_group(s, s->group_priority);
	encode_complete(s->encoding, step_line(t), s->op_id, next < 0 ? -1 : s->group_priority);
	step_line_done(t);
	finish_group(s);
	s->group_priority = next;
	s->group_at = 0;
	s->downloading = next >= 0;
	return OUTCOME_LINE;
}

enum outcome session_next_data(struct step *t)
{
	struct session *s = t->s;
	if (s->group_priority < 0) {
		s->group_priority = next_group(s, -1);
		s->group_at = 0;
	}
	for (; s->group_at < s->bucket_count; s->group_at++) {
		struct session_bucket *b = s->buckets[s->group_at];
		if (!b->to_fetch || b->done || b->priority != s->group_priority)
			continue;
		enum outcome o = send_bucket(t, b);
		if (o != OUTCOME_NOTHING)
			return o;
	}
	return complete(t);
}
