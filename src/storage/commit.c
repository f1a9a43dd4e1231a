/*
 * commit.c: transactions of the one writer, and what the rest of the process is told of them.
 *
 * META_STATE record: format version u32 big-endian, then as encode_state writes it.
 *
 * The order of a visible commit is: write and sync; set the served checkpoint; collect whose requests it passed; tell the
 * subscriber. A request that is stored while this goes on either is found by the collecting, or finds the new position itself
 * (requests.c), so nobody waits for news that never come.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "storage/internal.h"

/* Beyond this, telling which buckets changed costs more than looking at all sessions. */
#define NEWS_MAX 100000
#define NEWS_USER_BYTES ((size_t)16 << 20)

static void put_position(struct buf *b, struct position p)
{
	buf_varint(b, p.era);
	buf_varint(b, p.lsn);
}

static struct position get_position(struct decoder *d)
{
	struct position p;
	p.era = decode_varint(d);
	p.lsn = decode_varint(d);
	return p;
}

static void encode_state(struct buf *b, const struct store_state *st)
{
	uint8_t version[4];
	be32_put(version, STORE_FORMAT_VERSION);
	buf_append(b, version, 4);
	buf_varint(b, st->op_seq);
	buf_putc(b, st->has_checkpoint);
	buf_varint(b, st->checkpoint_op);
	put_position(b, st->checkpoint_position);
	put_position(b, st->applied);
	buf_varint(b, st->active_plan);
	buf_varint(b, st->pending_plan);
	buf_varint(b, st->last_plan);
	buf_varint(b, st->epoch);
	buf_varint(b, st->last_table);
	buf_varint(b, st->last_definition);
	buf_varint(b, st->type_count);
	buf_text(b, slice_cstr(st->slot_name));
	buf_text(b, slice_cstr(st->system_id));
	buf_varint(b, st->boundary_op);
	put_position(b, st->partial_until);
	buf_varint(b, st->timeline); /* absent in stores of older builds */
	/* A program that does not know this leaves it out when it next writes, and with it what it does not maintain. */
	buf_varint(b, st->retired_count);
	for (size_t i = 0; i < st->retired_count; i++) {
		buf_varint(b, st->retired[i].plan);
		buf_varint(b, (uint64_t)st->retired[i].since_ms);
	}
}

static bool decode_state(void *ctx, uint32_t number, struct slice value, struct error *err)
{
	struct store_state *st = ctx;
	if (number != META_STATE)
		return true;
	struct decoder d = decoder_of(value);
	struct slice version = decode_bytes(&d, 4);
	if (!d.bad && be32_get(version.p) > STORE_FORMAT_VERSION)
		return error_set(err, "PSYNC_S1005",
		                 "The store was written by a newer version of this program (format %u, this one knows %u)",
		                 be32_get(version.p), STORE_FORMAT_VERSION);
	if (!d.bad)
		st->format = be32_get(version.p);
	st->op_seq = decode_varint(&d);
	st->has_checkpoint = decode_u8(&d);
	st->checkpoint_op = decode_varint(&d);
	st->checkpoint_position = get_position(&d);
	st->applied = get_position(&d);
	st->active_plan = decode_varint(&d);
	st->pending_plan = decode_varint(&d);
	st->last_plan = decode_varint(&d);
	st->epoch = decode_varint(&d);
	st->last_table = (uint32_t)decode_varint(&d);
	st->last_definition = (uint32_t)decode_varint(&d);
	st->type_count = (uint32_t)decode_varint(&d);
	struct slice slot = decode_text(&d), system = decode_text(&d);
	st->boundary_op = decode_varint(&d);
	st->partial_until = get_position(&d);
	if (d.p < d.end)
		st->timeline = (uint32_t)decode_varint(&d);
	uint64_t retired = !d.bad && d.p < d.end ? decode_varint(&d) : 0;
	d.bad |= retired > MAX_RETIRED_PLANS;
	st->retired_count = d.bad ? 0 : (uint32_t)retired;
	for (size_t i = 0; i < st->retired_count; i++) {
		st->retired[i].plan = decode_varint(&d);
		st->retired[i].since_ms = (int64_t)decode_varint(&d);
	}
	if (d.bad || slot.n >= sizeof(st->slot_name) || system.n >= sizeof(st->system_id))
		return error_set(err, "PSYNC_S2404", "the store is damaged: its state record cannot be read");
	memcpy(st->slot_name, slot.p, slot.n);
	memcpy(st->system_id, system.p, system.n);
	return true;
}

/* Makes visible to other threads what the state says. */
static void publish(struct storage *s)
{
	pthread_mutex_lock(&s->lock);
	s->checkpoint = (struct checkpoint){.valid = s->state.active_plan && s->state.has_checkpoint,
	                                    .op_id = s->state.checkpoint_op,
	                                    .position = s->state.checkpoint_position,
	                                    .plan_id = s->state.active_plan};
	s->durable = s->committed.applied;
	s->durable_shown = s->committed.checkpoint_position;
	memcpy(s->source.slot_name, s->state.slot_name, sizeof(s->source.slot_name));
	memcpy(s->source.system_id, s->state.system_id, sizeof(s->source.system_id));
	s->source.timeline = s->state.timeline;
	s->source.applied = s->state.applied;
	pthread_mutex_unlock(&s->lock);
}

#define SAMPLE_EVERY_MS (CHECKPOINT_MARGIN_MS / (CHECKPOINT_SAMPLES - 4))

/* A reader that began before the newest checkpoint may hold an older one for a while. Samples say what was served when; nothing older
 * than the first one was handed out by this process. */
static void sample_checkpoint(struct storage *s)
{
	int64_t now = clock_mono_ms();
	pthread_mutex_lock(&s->lock);
	if (!s->sample_count || now - s->samples[s->sample_count - 1].mono_ms >= SAMPLE_EVERY_MS) {
		if (s->sample_count == CHECKPOINT_SAMPLES) {
			memmove(&s->samples[0], &s->samples[1], (CHECKPOINT_SAMPLES - 1) * sizeof(s->samples[0]));
			s->sample_count--;
		}
		s->samples[s->sample_count].op_id = s->state.checkpoint_op;
		s->samples[s->sample_count++].mono_ms = now;
	}
	pthread_mutex_unlock(&s->lock);
}

uint64_t checkpoint_floor(struct storage *s, int64_t margin_ms)
{
	pthread_mutex_lock(&s->lock);
	uint64_t floor = s->checkpoint.op_id;
	if (!s->sample_count) {
		floor = UINT64_MAX;
	} else if (margin_ms > 0) {
		int64_t then = clock_mono_ms() - margin_ms;
		size_t i = s->sample_count;
		while (i > 1 && s->samples[i - 1].mono_ms > then)
			i--;
		floor = s->samples[i - 1].op_id;
	}
	pthread_mutex_unlock(&s->lock);
	return floor;
}

/* Now sessions go by it, and compaction may. */
static void note_announced(struct storage *s)
{
	pthread_mutex_lock(&s->lock);
	s->announced = s->checkpoint;
	pthread_mutex_unlock(&s->lock);
}

struct checkpoint checkpoint_announced(struct storage *s)
{
	pthread_mutex_lock(&s->lock);
	struct checkpoint c = s->announced;
	pthread_mutex_unlock(&s->lock);
	return c;
}

uint64_t lookup_floor(struct storage *s)
{
	return checkpoint_floor(s, CHECKPOINT_MARGIN_MS);
}

bool state_load(struct storage *s, bool read_only, struct error *err)
{
	if (!s->backend->ops->small_each(s->backend, SMALL_META, decode_state, &s->state, err))
		return false;
	if (s->state.format && s->state.format < STORE_FORMAT_VERSION && !read_only) {
		if (s->keep_format)
			return error_set(err, "PSYNC_S1005",
			                 "the store has format %u, this program writes format %u, and "
			                 "migrations.disable_auto_migration is "
			                 "true: run 'syncline migrate up'",
			                 s->state.format, STORE_FORMAT_VERSION);
		if (!s->backend->ops->migrate(s->backend, s->state.format, err))
			return false;
		s->state.format = STORE_FORMAT_VERSION;
	}
	s->committed = s->state;
	/* Operations that no checkpoint showed yet: which buckets they are in is not known any more. */
	s->news.everything = s->state.op_seq > s->state.checkpoint_op;
	s->request_era = s->state.applied.era;
	publish(s);
	note_announced(s);
	if (s->state.has_checkpoint)
		sample_checkpoint(s);
	return true;
}

/* ---- the transaction ---- */

bool writer_peek(struct storage *s, struct error *err)
{
	if (s->failed)
		return error_set(err, "PSYNC_S1101", "an earlier write failed; the transaction must be rolled back first");
	if (s->open)
		return true;
	turn_take(&s->turn);
	s->open = s->backend->ops->write_begin(s->backend, err);
	if (!s->open)
		turn_give(&s->turn);
	return s->open;
}

bool writer_begin(struct storage *s, struct error *err)
{
	if (!writer_peek(s, err))
		return false;
	s->dirty = true;
	return true;
}

bool writer_fail(struct storage *s)
{
	s->failed = true;
	return false;
}

/* What the writer knows is what is stored again. The turn is still held: nobody else has a transaction open. */
static void state_rollback(struct storage *s)
{
	/* Positions that were announced without a disk flush stay: they are boundaries that the source really passed. */
	struct position applied = s->state.applied, shown = s->state.checkpoint_position;
	s->state = s->committed;
	s->state.applied = applied;
	s->state.checkpoint_position = shown;
	types_rollback(s);
	definitions_rollback(s);
	struct error err;
	if (!tables_load(s, &err)) {
		log_error(s->log, "Cannot read the table records again: %s", err.message);
		s->failed = true;
	}
}

void storage_rollback(struct storage *s)
{
	if (s->shared) {
		s->shared->rollback(s);
		return;
	}
	bool was_dirty = s->dirty, was_open = s->open;
	if (was_open)
		s->backend->ops->write_abort(s->backend);
	s->open = s->dirty = s->failed = false;
	s->activating = false;
	s->transaction_end = (struct position){0, 0};
	if (was_dirty)
		state_rollback(s);
	if (was_open)
		turn_give(&s->turn);
}

size_t storage_batch_size(struct storage *s)
{
	if (s->shared)
		return s->shared->batch_size(s);
	return s->dirty ? s->backend->ops->write_size(s->backend) : 0;
}

/* Everything so far and this state, durable. */
static bool write_out(struct storage *s, const struct store_state *next, struct error *err)
{
	struct buf record = {0};
	encode_state(&record, next);
	int64_t began_us = clock_mono_us();
	bool ok = types_store(s, err) && failure_settle(s, err) &&
	          s->backend->ops->small_put(s->backend, SMALL_META, META_STATE, buf_slice(&record), err) &&
	          s->backend->ops->write_commit(s->backend, &s->news.buckets, err);
	buf_free(&record);
	if (!ok)
		return writer_fail(s);
	histogram_observe(s->meter.flush, (double)(clock_mono_us() - began_us) / 1e6);
	s->open = s->dirty = false;
	s->state = s->committed = *next;
	s->types_committed = next->type_count;
	definitions_committed(s);
	failure_settled(s);
	turn_give(&s->turn);
	return true;
}

/* A transaction that was opened for reading only must not stay open: it belongs to this thread. */
static void end_peek(struct storage *s)
{
	if (s->open && !s->dirty) {
		s->backend->ops->write_abort(s->backend);
		s->open = false;
		turn_give(&s->turn);
	}
}

void storage_pause(struct storage *s)
{
	end_peek(s);
}

bool storage_flush(struct storage *s, struct error *err)
{
	if (s->shared)
		return s->shared->flush(s, err);
	if (s->failed)
		return writer_peek(s, err);
	end_peek(s);
	if (!s->dirty)
		return true;
	struct store_state next = s->state;
	if (position_cmp(s->transaction_end, next.applied) > 0)
		next.partial_until = s->transaction_end;
	if (!write_out(s, &next, err))
		return false;
	publish(s);
	return true;
}

void storage_in_transaction(struct storage *s, struct position end)
{
	if (s->shared)
		s->shared->in_transaction(s, end);
	s->transaction_end = end;
}

bool storage_sync_position(struct storage *s, struct error *err)
{
	if (s->shared)
		return s->shared->sync_position(s, err);
	if (!s->failed && !custom_upkeep(s, err))
		return false;
	if (s->dirty)
		return storage_flush(s, err);
	end_peek(s);
	if (!s->failed && position_cmp(s->state.applied, s->committed.applied) == 0 &&
	    position_cmp(s->state.checkpoint_position, s->committed.checkpoint_position) == 0)
		return true;
	return writer_begin(s, err) && storage_flush(s, err);
}

/* ---- news ---- */

void news_free(struct pending_news *n)
{
	free(n->buckets.items);
	free(n->lookups);
	free(n->users);
	arena_free(&n->user_arena);
}

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static void unique_lookups(struct pending_news *n)
{
	if (n->lookup_count < 2)
		return;
	qsort(n->lookups, n->lookup_count, sizeof(*n->lookups), compare_u64);
	size_t kept = 1;
	for (size_t i = 1; i < n->lookup_count; i++)
		if (n->lookups[i] != n->lookups[kept - 1])
			n->lookups[kept++] = n->lookups[i];
	n->lookup_count = kept;
}

static void unique_buckets(struct pending_news *n)
{
	struct changed_buckets *b = &n->buckets;
	if (b->count < 2)
		return;
	qsort(b->items, b->count, sizeof(*b->items), compare_u32);
	size_t kept = 1;
	for (size_t i = 1; i < b->count; i++)
		if (b->items[i] != b->items[kept - 1])
			b->items[kept++] = b->items[i];
	b->count = kept;
}

static void forget_users(struct pending_news *n)
{
	n->user_count = n->user_bytes = 0;
	arena_reset(&n->user_arena);
}

/* Hidden commits may go on for long: what they changed must stay bounded. */
static void bound_news(struct pending_news *n)
{
	if (n->buckets.count > 4 * NEWS_MAX) {
		unique_buckets(n);
		n->everything |= n->buckets.count > NEWS_MAX;
	}
	if (n->everything) {
		n->buckets.count = n->lookup_count = 0;
		forget_users(n);
	}
}

void news_add_lookup(struct storage *s, uint32_t definition, struct slice key)
{
	struct pending_news *n = &s->news;
	if (n->everything)
		return;
	if (n->lookup_count >= 2 * NEWS_MAX) {
		unique_lookups(n);
		if (n->lookup_count > NEWS_MAX) {
			n->everything = true;
			return;
		}
	}
	n->lookups = xgrow(n->lookups, n->lookup_count, &n->lookup_cap, sizeof(*n->lookups));
	n->lookups[n->lookup_count++] = lookup_hash(definition, key);
}

void news_add_user(struct storage *s, const struct user_key *user)
{
	struct pending_news *n = &s->news;
	n->user_bytes += user->subject.n + user->client_id.n;
	if (n->user_count >= NEWS_MAX || n->user_bytes > NEWS_USER_BYTES)
		n->everything = true;
	if (n->everything)
		return;
	n->users = xgrow(n->users, n->user_count, &n->user_cap, sizeof(*n->users));
	struct user_key *copy = &n->users[n->user_count++];
	*copy = (struct user_key){arena_copy(&n->user_arena, user->subject), {NULL, 0}};
	if (user->client_id.p)
		copy->client_id = user->client_id.n ? arena_copy(&n->user_arena, user->client_id) : SLICE("");
}

/* Users whose requests were passed, and those to whom the data brought something. */
static void join_users(struct storage_news *news, const struct pending_news *n, struct arena *arena)
{
	if (!n->user_count)
		return;
	struct user_key *all = arena_array(arena, struct user_key, news->user_count + n->user_count);
	if (news->user_count)
		memcpy(all, news->users, news->user_count * sizeof(*all));
	memcpy(all + news->user_count, n->users, n->user_count * sizeof(*all));
	news->users = all;
	news->user_count += n->user_count;
}

/* Sets the served checkpoint and tells the subscriber. before: what was served until now. */
static void announce(struct storage *s, struct checkpoint before, bool activated)
{
	struct pending_news *n = &s->news;
	publish(s);
	sample_checkpoint(s);
	pthread_mutex_lock(&s->lock);
	bool subscribed = s->callback != NULL;
	struct storage_news news = {.checkpoint = s->checkpoint};
	pthread_mutex_unlock(&s->lock);
	if (subscribed) {
		struct arena arena = {0};
		struct requests_txn *txn = NULL;
		struct error err;
		struct position after = before.valid ? before.position : (struct position){0, 0};
		if (!requests_passed(s, after, news.checkpoint.position, &news.users, &news.user_count, &txn, &arena, &err)) {
			log_error(s->log, "Cannot find out whose checkpoint requests were passed: %s", err.message);
			n->everything = true;
		}
		join_users(&news, n, &arena);
		unique_buckets(n);
		unique_lookups(n);
		news.everything = n->everything || activated || n->buckets.count > NEWS_MAX || n->lookup_count > NEWS_MAX;
		if (!news.everything) {
			news.buckets = n->buckets.items;
			news.bucket_count = n->buckets.count;
			news.lookups = n->lookups;
			news.lookup_count = n->lookup_count;
		}
		storage_tell(s, &news);
		if (txn)
			s->backend->ops->requests_abort(txn);
		arena_free(&arena);
	}
	note_announced(s);
	n->everything = false;
	n->buckets.count = n->lookup_count = 0;
	forget_users(n);
}

static bool commit_once(struct storage *s, struct position applied, bool visible, bool *durable, bool *boundary,
                        struct error *err)
{
	*durable = *boundary = false;
	if (s->failed)
		return writer_peek(s, err);
	if (!custom_upkeep(s, err))
		return false;
	end_peek(s);
	/* The first position of another source behind the address. Before anything of it is shown, old heads must be forgotten. */
	if (applied.era > s->state.applied.era && !requests_new_era(s, applied.era, err))
		return false;
	struct store_state next = s->state;
	if (position_cmp(applied, next.applied) > 0)
		next.applied = applied;
	/* Half of a transaction is in the store, from before a crash or an error: it is shown only together with the other half. Until the
	 * source has sent that, a checkpoint ends at the last boundary, and whatever else is written waits. */
	bool cut = position_cmp(applied, next.partial_until) < 0;
	uint64_t shown_op = cut ? next.boundary_op : next.op_seq;
	if (!cut) {
		next.partial_until = (struct position){0, 0};
		next.boundary_op = next.op_seq;
	}
	bool make = visible && !(cut && s->dirty) && (next.active_plan || s->activating) &&
	            position_cmp(applied, next.checkpoint_position) >= 0;
	bool activating = make && s->activating;
	/* Nothing but the position moved: clients learn of it only if it acknowledges something, and then it must be on disk first, or a
	 * crash would take the acknowledgement back. */
	bool shows = activating || !s->state.has_checkpoint || applied.era > next.checkpoint_position.era ||
	             shown_op > s->state.checkpoint_op || s->dirty;
	make = make && (shows || storage_position_acknowledges(s, applied));
	if (make) {
		next.has_checkpoint = true;
		next.checkpoint_op = shown_op > next.checkpoint_op ? shown_op : next.checkpoint_op;
		next.checkpoint_position = applied;
	}
	if (s->dirty || make) {
		if (!writer_begin(s, err) || (activating && !definitions_activate(s, &next, err)))
			return writer_fail(s);
		if (!write_out(s, &next, err))
			return false;
	} else {
		s->state = next;
	}
	s->transaction_end = (struct position){0, 0};
	*durable = position_cmp(s->state.applied, s->committed.applied) <= 0;
	bound_news(&s->news);
	struct checkpoint before = storage_checkpoint(s);
	if (activating)
		definitions_activated(s);
	if (make)
		announce(s, before, activating);
	else
		publish(s);
	*boundary = visible && !cut && next.active_plan;
	return true;
}

bool storage_wants_commit(struct storage *s)
{
	return atomic_load(&s->defrag.due);
}

/* What compaction asked for is written after the source's own, as a checkpoint of its own at the same position. */
bool storage_commit(struct storage *s, struct position applied, bool visible, bool *durable, struct error *err)
{
	if (s->shared)
		return s->shared->commit(s, applied, visible, durable, err);
	bool boundary;
	if (!commit_once(s, applied, visible, durable, &boundary, err))
		return false;
	if (!boundary || !atomic_load(&s->defrag.due))
		return true;
	return defrag_step(s, err) && commit_once(s, applied, visible, durable, &boundary, err);
}
