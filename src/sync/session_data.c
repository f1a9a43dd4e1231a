/*
 * session_data.c: data lines by priority, and the lines that complete a checkpoint (sync-protocol 6, step 5).
 */
#include "sync/session_internal.h"

#include "base/clock.h"

/* sync-protocol 6, "Data lines". */
#define LINE_OPERATIONS 1000
#define LINE_DATA_BYTES ((size_t)1 << 20)

/* Lists of fewer bytes are copied into the line instead of being handed on by reference. */
#define SPLIT_BYTES 4096

/* Buckets with no more operations are read together, up to so many operations; where the position is not known to be the beginning, it is
 * taken for news that are few. */
#define SMALL_BUCKET 200
#define FEW_NEWS 32
#define OPERATIONS_AHEAD 2000
#define RANGES_AHEAD 500

static struct line_key key_of(const struct session *s, const struct session_bucket *b)
{
	return (struct line_key){b->number, s->form, b->after, s->op_id,
	                         storage_bucket_compactions(hub_storage(s->hub), b->number)};
}

static bool has_data(const struct session *s, const struct session_bucket *b)
{
	return b->to_fetch && !b->done && b->priority == s->group_priority && b->number && b->count && b->after < s->op_id;
}

static size_t expected_operations(const struct session_bucket *b)
{
	return b->after && b->count > FEW_NEWS ? FEW_NEWS : b->count;
}

/* The bucket at hand is about to be read. With a store on another machine the small ones behind it come along. */
static bool read_ahead(struct step *t, const struct session_bucket *b)
{
	struct session *s = t->s;
	if (reader_ops_at_hand(t->reader, b->number, b->after, s->op_id) || expected_operations(b) > SMALL_BUCKET)
		return true;
	size_t lines = t->max_lines - t->lines, count = 0, operations = 0;
	struct op_range *ranges = arena_array(&t->scratch->arena, struct op_range, RANGES_AHEAD);
	for (size_t i = s->group_at; i < s->bucket_count && count < RANGES_AHEAD && count < lines; i++) {
		const struct session_bucket *next = s->buckets[i];
		size_t expected = expected_operations(next);
		if (!has_data(s, next))
			continue;
		if (expected > SMALL_BUCKET || operations + expected > OPERATIONS_AHEAD)
			break;
		struct line_key key = key_of(s, next);
		if (next != b && hub_bucket_is_shared(s->hub, &next->link) && line_cache_has(hub_cache(s->hub), &key))
			continue;
		ranges[count++] = (struct op_range){next->number, next->after, expected};
		operations += expected + 1;
	}
	size_t bytes = t->max_bytes > t->bytes ? t->max_bytes - t->bytes : 0;
	return count < 2 || reader_ops_ahead(t->reader, ranges, count, s->op_id, bytes, t->err);
}

/* Reads and encodes what lies in (after, up_to], as far as one line may go, and no further than the operation `cut`. op: the first one,
 * which was read already. */
static bool encode_list(struct step *t, struct op_cursor *cursor, struct op_view *op, uint64_t cut, struct operations *out)
{
	struct buf *bytes = &t->scratch->operations;
	size_t data_bytes = 0;
	int got = 1;
	buf_clear(bytes);
	do {
		size_t size = op->kind == OP_PUT ? op->data.n : 0;
		if (out->count && (data_bytes >= LINE_DATA_BYTES || data_bytes + size > LINE_DATA_BYTES || op->op_id > cut)) {
			out->closed = true;
			break;
		}
		encode_operation(t->s->form, bytes, out->count, op);
		out->count++;
		out->kinds[op->kind]++;
		out->last_op = op->op_id;
		data_bytes += size;
		if (op->target_op > out->target_op)
			out->target_op = op->target_op;
		if (out->count == LINE_OPERATIONS || data_bytes >= LINE_DATA_BYTES) {
			out->closed = true;
			break;
		}
	} while ((got = op_cursor_next(cursor, op, t->err)) > 0);
	out->bytes = buf_slice(bytes);
	return got >= 0;
}

/* The list as a block, for others and for us. Readers that are equally far may hold different positions in the same gap: the list is
 * kept under the position just before its first operation, and under ours. */
static void share_list(struct step *t, struct line_key key, uint64_t first_op, struct operations *list)
{
	struct line_cache *cache = hub_cache(t->s->hub);
	list->block = block_new(list->bytes.n);
	memcpy(list->block->bytes, list->bytes.p, list->bytes.n);
	list->block->n = list->bytes.n;
	list->bytes = slice_make(list->block->bytes, list->block->n);
	if (key.after != first_op - 1)
		line_cache_put(cache, &key, false, list);
	key.after = first_op - 1;
	line_cache_put(cache, &key, true, list);
}

/* The list for the key, from storage. What other sessions read as well is looked for, and kept, in the cache. */
static bool read_list(struct step *t, const struct session_bucket *b, struct line_key key, bool shared, struct operations *out)
{
	if (!step_reader(t) || !read_ahead(t, b))
		return false;
	struct op_cursor *cursor = reader_ops(t->reader, key.bucket, key.after, key.up_to, t->err);
	if (!cursor)
		return false;
	struct op_view op;
	int got = op_cursor_next(cursor, &op, t->err);
	if (got > 0) {
		uint64_t first_op = op.op_id, cut = UINT64_MAX;
		struct line_key exact = key;
		exact.after = first_op - 1;
		if (shared && exact.after != key.after && line_cache_find(hub_cache(t->s->hub), &exact, out)) {
			line_cache_put(hub_cache(t->s->hub), &key, false, out);
		} else {
			if (shared)
				cut = line_cache_next_cut(hub_cache(t->s->hub), &exact);
			if (!encode_list(t, cursor, &op, cut, out))
				got = -1;
			else if (shared)
				share_list(t, key, first_op, out);
		}
	}
	op_cursor_close(cursor);
	return got >= 0;
}

/* What lies after the bucket's position, up to the checkpoint, as far as one line may go. */
static bool next_list(struct step *t, const struct session_bucket *b, struct operations *out)
{
	struct session *s = t->s;
	struct line_key key = key_of(s, b);
	*out = (struct operations){0};
	if (!b->number || !b->count || b->after >= s->op_id)
		return true;
	bool shared = hub_bucket_is_shared(s->hub, &b->link);
	struct line_claim claim = {.held = false};
	if (shared && line_cache_find_or_claim(hub_cache(s->hub), &key, &claim, out))
		return true;
	int64_t began_us = clock_mono_us();
	bool ok = read_list(t, b, key, shared, out);
	line_cache_release(hub_cache(s->hub), &claim);
	histogram_observe(hub_phases(s->hub)->encode, (double)(clock_mono_us() - began_us) / 1e6);
	return ok;
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
	if (!step_reader(t))
		return false;
	bool cleared;
	if (!reader_cleared(t->reader, b->number, s->op_id, &cleared, t->err))
		return false;
	s->invalidated |= cleared;
	return true;
}

static void write_data_line(struct step *t, const struct data_line *line, const struct operations *list)
{
	enum line_encoding encoding = t->s->encoding;
	bool split = t->s->split_lines && list->block && list->bytes.n >= SPLIT_BYTES;
	struct buf *out = step_line(t);
	buf_reserve(out, (split ? 0 : list->bytes.n) + line->bucket.n + 256);
	encode_data_head(encoding, out, line, list->bytes.n);
	if (split)
		step_append_block(t, list->block);
	else
		buf_slice_append(out, list->bytes);
	encode_data_tail(encoding, step_line(t), line);
	step_line_done(t);
}

/* The next line of the bucket. NOTHING: there is none, the bucket is done. */
static enum outcome send_bucket(struct step *t, struct session_bucket *b)
{
	struct session *s = t->s;
	struct operations list;
	if (!next_list(t, b, &list))
		return OUTCOME_FAILED;
	if (!list.closed) {
		b->done = true;
		if (!check_cleared(t, b)) {
			block_unref(list.block);
			return OUTCOME_FAILED;
		}
	}
	if (!list.count)
		return OUTCOME_NOTHING;
	struct data_line line = {
	        .bucket = session_bucket_name(b),
	        .after = b->after,
	        .next_after = list.last_op,
	        .has_more = list.closed,
	};
	write_data_line(t, &line, &list);
	block_unref(list.block);
	b->after = list.last_op;
	s->operations_for_line += list.count;
	s->stats.operations_sent += list.count;
	for (size_t i = 0; i < OP_KINDS; i++)
		s->stats.kinds_sent[i] += list.kinds[i];
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
