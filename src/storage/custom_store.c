/*
 * custom_store.c: write checkpoints that come with the data: when they are on, writing, reading, retention.
 *
 * META_CUSTOM record: version u8 (1), count varint of the tags that count for the active sync config, the tags as varints, SHA-256 of
 * what its events make (32 bytes, only if there are tags), tag varint of the pending sync config (0: it has no such events), SHA-256.
 *
 * A tag is the epoch at which the events were first deployed: equal events keep it, so that their ids survive a deploy; others get a
 * new one, and with the activation it joins those that count already. A sync config without such events ends that: the list is empty
 * from its activation on, and ids from before are never seen again.
 *
 * All writing is the replication thread's. What other threads ask for (renewed stamps, a clean-up) waits for its next commit, or for
 * the next time it brings its position to the disk.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/codec.h"
#include "storage/internal.h"

#define RECORD_VERSION 1
/* Records that one step of the clean-up looks at, and stamps that one renews. */
#define STEP_RECORDS 1000
/* Stamps that wait to be renewed; beyond, a later round has to ask again. */
#define WAITING_STAMPS_MAX 100000

/* ---- which events count ---- */

static void publish(struct storage *s)
{
	pthread_mutex_lock(&s->lock);
	s->custom_shown = s->custom.active;
	s->custom_shown_count = s->custom.active_count;
	pthread_mutex_unlock(&s->lock);
}

static uint64_t active_tag(const struct custom_state *c)
{
	return c->active_count ? c->active[c->active_count - 1] : 0;
}

static struct custom_tags writer_tags(const struct storage *s)
{
	return (struct custom_tags){s->custom.active, s->custom.active_count, s->custom.pending};
}

static bool load(void *ctx, uint32_t number, struct slice value, struct error *err)
{
	struct storage *s = ctx;
	struct custom_state *c = &s->custom;
	if (number != META_CUSTOM)
		return true;
	struct decoder d = decoder_of(value);
	bool known = decode_u8(&d) == RECORD_VERSION;
	uint64_t count = decode_varint(&d);
	if (count > value.n)
		d.bad = true;
	c->active_count = d.bad ? 0 : count;
	c->active = arena_array(&s->arena, uint64_t, c->active_count);
	for (size_t i = 0; i < c->active_count; i++)
		c->active[i] = decode_varint(&d);
	struct slice hash = decode_bytes(&d, c->active_count ? 32 : 0);
	memcpy(c->active_hash, hash.p, hash.n);
	c->pending = decode_varint(&d);
	hash = decode_bytes(&d, c->pending ? 32 : 0);
	memcpy(c->pending_hash, hash.p, hash.n);
	return (!d.bad && known) || error_set(err, "PSYNC_S2404", "the store is damaged: the record of events cannot be read");
}

bool custom_load(struct storage *s, struct error *err)
{
	if (!s->backend->ops->small_each(s->backend, SMALL_META, load, s, err))
		return false;
	publish(s);
	return true;
}

static bool store(struct storage *s, const struct custom_state *c, struct error *err)
{
	struct buf b = {0};
	buf_putc(&b, RECORD_VERSION);
	buf_varint(&b, c->active_count);
	for (size_t i = 0; i < c->active_count; i++)
		buf_varint(&b, c->active[i]);
	buf_append(&b, c->active_hash, c->active_count ? 32 : 0);
	buf_varint(&b, c->pending);
	buf_append(&b, c->pending_hash, c->pending ? 32 : 0);
	bool ok = s->backend->ops->small_put(s->backend, SMALL_META, META_CUSTOM, buf_slice(&b), err);
	buf_free(&b);
	return ok;
}

bool custom_fits(const struct storage *s, const struct plan *plan, bool pending)
{
	const struct custom_state *c = &s->custom;
	uint8_t hash[32];
	bool has = plan_write_checkpoint_events(plan, hash), stored = pending ? c->pending != 0 : c->active_count != 0;
	return has == stored && (!has || memcmp(hash, pending ? c->pending_hash : c->active_hash, sizeof(hash)) == 0);
}

uint64_t custom_tag(const struct storage *s, bool pending)
{
	return pending ? s->custom.pending : active_tag(&s->custom);
}

bool custom_deploy(struct storage *s, const struct plan *plan, uint64_t epoch, struct custom_state *next, struct error *err)
{
	const struct custom_state *c = &s->custom;
	*next = *c;
	next->pending = 0;
	if (plan && plan_write_checkpoint_events(plan, next->pending_hash)) {
		if (c->active_count && memcmp(next->pending_hash, c->active_hash, 32) == 0) {
			next->pending = active_tag(c);
		} else if (c->pending && memcmp(next->pending_hash, c->pending_hash, 32) == 0) {
			next->pending = c->pending;
		} else {
			next->pending = epoch;
			s->state.epoch = epoch;
		}
	}
	return store(s, next, err);
}

void custom_deployed(struct storage *s, const struct custom_state *next)
{
	s->custom = *next;
}

/* What the state becomes when the pending sync config is activated. */
static struct custom_state activated(struct storage *s)
{
	struct custom_state c = s->custom;
	c.pending = 0;
	if (!s->custom.pending) {
		c.active_count = 0;
	} else if (s->custom.pending != active_tag(&s->custom)) {
		c.active = arena_array(&s->arena, uint64_t, c.active_count + 1);
		if (c.active_count)
			memcpy(c.active, s->custom.active, c.active_count * sizeof(*c.active));
		c.active[c.active_count++] = s->custom.pending;
		memcpy(c.active_hash, s->custom.pending_hash, sizeof(c.active_hash));
	}
	return c;
}

bool custom_activate(struct storage *s, struct error *err)
{
	struct custom_state next = activated(s);
	return store(s, &next, err);
}

void custom_activated(struct storage *s)
{
	s->custom = activated(s);
	publish(s);
}

/* The tags that count for clients; false: custom mode is off. They live until the storage is closed. */
static bool shown_tags(struct storage *s, struct custom_tags *tags)
{
	pthread_mutex_lock(&s->lock);
	*tags = (struct custom_tags){s->custom_shown, s->custom_shown_count, 0};
	pthread_mutex_unlock(&s->lock);
	return tags->active_count > 0;
}

bool storage_custom_mode(struct storage *s)
{
	if (s->shared)
		return s->shared->custom_mode(s);
	struct custom_tags tags;
	return shown_tags(s, &tags);
}

/* ---- writing ---- */

static bool load_record(struct storage *s, struct slice key, struct custom_record *r, struct error *err)
{
	struct slice bytes;
	r->count = 0;
	int got = s->backend->ops->custom_get(s->backend, key, &bytes, err);
	return got == 0 || (got > 0 && custom_decode(r, bytes, err));
}

static bool store_record(struct storage *s, struct slice key, const struct custom_record *r, struct error *err)
{
	struct buf b = {0};
	custom_encode(&b, r);
	bool ok = writer_begin(s, err) && s->backend->ops->custom_put(s->backend, key, buf_slice(&b), err);
	buf_free(&b);
	return ok;
}

static struct custom_bounds bounds_of(struct storage *s)
{
	return (struct custom_bounds){storage_served(s), s->state.applied};
}

static bool counts_now(const struct custom_tags *tags, uint64_t tag)
{
	for (size_t i = 0; i < tags->active_count; i++)
		if (tags->active[i] == tag)
			return true;
	return false;
}

static bool write_custom(struct storage *s, const struct custom_checkpoint *c, struct slice key, bool *wrote, struct error *err)
{
	struct custom_tags tags = writer_tags(s);
	struct custom_bounds bounds = bounds_of(s);
	struct custom_record r;
	*wrote = false;
	if (!writer_peek(s, err))
		return false;
	if (!load_record(s, key, &r, err))
		return writer_fail(s);
	if (c->origin != CUSTOM_STREAM && !custom_says_more(&r, &tags, counts_now(&tags, c->events), c->id, c->origin))
		return true;
	struct custom_entry e = {.tag = c->events,
	                         .position = c->position,
	                         .id = c->id,
	                         .snapshot = c->origin == CUSTOM_SNAPSHOT,
	                         .temporary = c->temporary,
	                         .stamp_ms = s->wall_ms()};
	custom_add(&r, &e, &tags, &bounds);
	*wrote = true;
	return store_record(s, key, &r, err) || writer_fail(s);
}

bool storage_custom_checkpoint(struct storage *s, const struct custom_checkpoint *c, struct error *err)
{
	if (s->shared)
		return s->shared->custom_checkpoint(s, c, err);
	struct buf key = {0};
	bool wrote;
	user_key_encode(&key, &c->user);
	bool ok = write_custom(s, c, buf_slice(&key), &wrote, err);
	struct custom_tags tags = writer_tags(s);
	if (ok && wrote && counts_now(&tags, c->events)) /* those of a pending plan come with its activation */
		news_add_user(s, &c->user);
	buf_free(&key);
	return ok;
}

/* ---- reading ---- */

/* 1, 0 or -1. */
static int read_record(struct storage *s, const struct user_key *user, struct buf *key, struct custom_record *r,
                       struct error *err)
{
	struct buf record = {0};
	buf_clear(key);
	user_key_encode(key, user);
	int got = s->backend->ops->custom_read(s->backend, buf_slice(key), &record, err);
	if (got > 0 && !custom_decode(r, buf_slice(&record), err))
		got = -1;
	buf_free(&record);
	return got;
}

bool custom_acknowledged(struct storage *s, const struct user_key *user, struct position position, uint64_t *id)
{
	struct custom_tags tags;
	struct custom_record r;
	struct buf key = {0};
	struct error err;
	*id = 0;
	if (!shown_tags(s, &tags))
		return false;
	int got = read_record(s, user, &key, &r, &err);
	if (got < 0)
		log_error(s->log, "Cannot read a write checkpoint: %s", err.message);
	const struct custom_entry *best = got > 0 ? custom_best(&r, &tags, true, position) : NULL;
	if (best)
		*id = best->id;
	buf_free(&key);
	return true;
}

/* ---- retention ---- */

void custom_upkeep_free(struct custom_upkeep *u)
{
	arena_free(&u->arena);
	buf_free(&u->cursor);
	free(u->stamps);
}

bool custom_touch(struct storage *s, const struct user_key *users, size_t count, struct error *err)
{
	struct custom_upkeep *u = &s->upkeep;
	struct custom_tags tags;
	struct buf key = {0};
	bool ok = true;
	if (!shown_tags(s, &tags))
		return true;
	for (size_t i = 0; i < count && ok; i++) {
		struct custom_record r;
		int got = read_record(s, &users[i], &key, &r, err);
		ok = got >= 0;
		if (got <= 0 || !custom_stamp_due(&r, s->wall_ms(), s->retention_ms))
			continue;
		pthread_mutex_lock(&s->lock);
		if (u->stamp_count < WAITING_STAMPS_MAX) {
			u->stamps = xgrow(u->stamps, u->stamp_count, &u->stamp_cap, sizeof(*u->stamps));
			u->stamps[u->stamp_count++] = arena_copy(&u->arena, buf_slice(&key));
		}
		pthread_mutex_unlock(&s->lock);
		atomic_store(&u->due, true);
	}
	buf_free(&key);
	return ok;
}

void custom_expire(struct storage *s)
{
	pthread_mutex_lock(&s->lock);
	s->upkeep.expire = true;
	pthread_mutex_unlock(&s->lock);
	atomic_store(&s->upkeep.due, true);
}

/* The next of the stamps that wait, copied; answers how many. */
static size_t take_stamps(struct storage *s, struct arena *arena, struct slice *keys)
{
	struct custom_upkeep *u = &s->upkeep;
	size_t n = 0;
	pthread_mutex_lock(&s->lock);
	while (u->stamp_count && n < STEP_RECORDS)
		keys[n++] = arena_copy(arena, u->stamps[--u->stamp_count]);
	if (!u->stamp_count)
		arena_reset(&u->arena);
	pthread_mutex_unlock(&s->lock);
	return n;
}

static bool renew_stamps(struct storage *s, const struct slice *keys, size_t count, struct error *err)
{
	int64_t now = s->wall_ms();
	for (size_t i = 0; i < count; i++) {
		struct custom_record r;
		if (!load_record(s, keys[i], &r, err))
			return false;
		if (!custom_stamp_due(&r, now, s->retention_ms))
			continue;
		for (size_t k = 0; k < r.count; k++)
			r.entries[k].stamp_ms = now;
		if (!store_record(s, keys[i], &r, err))
			return false;
	}
	return true;
}

/* Of the next records those that are over. *more: the end is not reached. */
static bool expire_records(struct storage *s, struct arena *arena, bool *more, struct error *err)
{
	struct custom_tags tags = writer_tags(s);
	struct custom_bounds bounds = bounds_of(s);
	struct scanned_row *rows;
	size_t count, over = 0;
	if (!s->backend->ops->custom_scan(s->backend, &s->upkeep.cursor, STEP_RECORDS, arena, &rows, &count, err))
		return false;
	*more = count == STEP_RECORDS;
	struct slice *keys = arena_array(arena, struct slice, count);
	for (size_t i = 0; i < count; i++) {
		struct custom_record r;
		if (!custom_decode(&r, rows[i].record, err))
			return false;
		if (custom_expired(&r, &tags, &bounds, s->wall_ms(), s->retention_ms))
			keys[over++] = arena_copy(arena, rows[i].key);
	}
	for (size_t i = 0; i < over; i++)
		if (!writer_begin(s, err) || !s->backend->ops->custom_delete(s->backend, keys[i], err))
			return false;
	return true;
}

bool custom_upkeep(struct storage *s, struct error *err)
{
	struct custom_upkeep *u = &s->upkeep;
	struct arena arena = {0};
	bool more = false;
	if (!atomic_exchange(&u->due, false))
		return true;
	if (!writer_peek(s, err))
		return false;
	struct slice *keys = arena_array(&arena, struct slice, STEP_RECORDS);
	size_t n = take_stamps(s, &arena, keys);
	pthread_mutex_lock(&s->lock);
	bool expire = u->expire;
	pthread_mutex_unlock(&s->lock);
	/* Signs of life go before the clean-up. */
	bool ok = renew_stamps(s, keys, n, err);
	if (ok && n == STEP_RECORDS)
		more = true;
	else if (ok && expire)
		ok = expire_records(s, &arena, &more, err);
	if (ok && !more && expire) {
		buf_clear(&u->cursor);
		pthread_mutex_lock(&s->lock);
		u->expire = false;
		pthread_mutex_unlock(&s->lock);
	}
	if (more || !ok)
		atomic_store(&u->due, true);
	arena_free(&arena);
	return ok || writer_fail(s);
}
