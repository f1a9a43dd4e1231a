/*
 * fake.h: a bucket storage and a rules engine in memory, with just the functions that sync uses, so that sessions are tested with plain
 * data. Included once by a test program; the definitions take the place of those in the libraries.
 *
 * Storage: operations and lookup entries are added, then made visible by fake_commit, which tells the subscriber as the real one does.
 * Rules: a plan is a list of fake_rule; each gives one bucket, or one for each result of a lookup.
 */
#ifndef SYNC_FAKE_H
#define SYNC_FAKE_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "rules/rules.h"
#include "storage/storage.h"
#include "sync/session.h"

/* ---- rules ------------------------------------------------------------------------------------------------------------------- */

struct fake_rule {
	uint32_t definition;    /* index */
	const char *keys;       /* static bucket; NULL: dynamic */
	const char *lookup_key; /* dynamic: results are the keys */
	uint32_t lookup;        /* index of the lookup definition */
	int priority;
	struct bucket_reason reason;
};

#define FAKE_MAX 16

struct plan {
	struct fake_rule rules[FAKE_MAX];
	size_t rule_count;
	struct resolved_stream streams[FAKE_MAX];
	size_t stream_count;
	bool refuse; /* querier_new fails */
};

struct querier {
	struct plan *plan;
};

struct querier *querier_new(struct plan *p, const struct request_parameters *params, struct error *err)
{
	(void)params;
	if (p->refuse) {
		error_set(err, "PSYNC_S2001", "refused");
		return NULL;
	}
	struct querier *q = xcalloc(1, sizeof(*q));
	q->plan = p;
	return q;
}

void querier_free(struct querier *q)
{
	if (!q)
		return;
	free(q);
}

bool querier_is_dynamic(const struct querier *q)
{
	for (size_t i = 0; i < q->plan->rule_count; i++)
		if (!q->plan->rules[i].keys)
			return true;
	return false;
}

bool querier_resolve(struct querier *q, const struct lookup_reader *reader, const struct resolve_limits *limits,
                     struct arena *arena, struct resolution *out, struct error *err)
{
	*out = (struct resolution){.streams = q->plan->streams, .stream_count = q->plan->stream_count};
	out->buckets = arena_array(arena, struct resolved_bucket, 4096);
	out->lookups = arena_array(arena, struct used_lookup, FAKE_MAX);
	for (size_t i = 0; i < q->plan->rule_count; i++) {
		struct fake_rule *r = &q->plan->rules[i];
		struct slice one = slice_cstr(r->keys);
		const struct slice *keys = &one;
		size_t count = 1;
		if (!r->keys) {
			out->lookups[out->lookup_count++] = (struct used_lookup){r->lookup, slice_cstr(r->lookup_key)};
			struct lookup_read asked = {.definition = r->lookup, .key = slice_cstr(r->lookup_key)};
			if (!reader->read(reader->ctx, &asked, 1, SIZE_MAX, arena, err))
				return false;
			keys = asked.results;
			count = asked.count;
		}
		for (size_t k = 0; k < count; k++)
			out->buckets[out->bucket_count++] = (struct resolved_bucket){
			        .definition = r->definition,
			        .keys = keys[k],
			        .priority = r->priority,
			        .reasons = &r->reason,
			        .reason_count = 1,
			};
	}
	if (out->bucket_count > limits->max_buckets) {
		out->breakdown = SLICE("where they come from");
		return error_set(err, "PSYNC_S2305", "Too many buckets: %zu (limit of %zu)", out->bucket_count,
		                 limits->max_buckets);
	}
	return true;
}

/* ---- storage ----------------------------------------------------------------------------------------------------------------- */

struct fake_op {
	uint64_t op_id, target_op;
	enum op_kind kind;
	uint32_t checksum;
	const char *id, *data; /* for ever */
	struct slice data_slice;
};

struct fake_bucket {
	uint32_t definition;
	const char *keys;
	struct fake_op *ops;
	size_t count, cap;
	struct fake_op *history; /* never compacted */
	size_t history_count, history_cap;
	bool changed;
};

struct fake_lookup {
	uint32_t definition; /* number */
	const char *key;
	uint64_t from; /* op id */
	const char *results[FAKE_MAX];
	size_t count;
	bool changed;
};

struct fake_ack {
	const char *subject, *client;
	uint64_t id, lsn;
	bool passed;
};

/* A reader holds the lock from begin to end; tests with threads take it for writing. */
struct storage {
	pthread_rwlock_t lock;
	struct checkpoint checkpoint;
	uint64_t last_op;
	struct stored_definition definitions[FAKE_MAX];
	char heads[FAKE_MAX][64];
	size_t definition_count;
	struct stored_plan *active;
	struct fake_bucket buckets[4096];
	uint32_t bucket_count;
	struct fake_lookup lookups[256];
	size_t lookup_count;
	struct fake_ack acks[64];
	size_t ack_count;
	void (*callback)(void *ctx, const struct storage_news *news);
	_Atomic bool announcing; /* what the hub reads then is no occasion for more news */
	void *ctx;
	_Atomic int readers;
	_Atomic uint64_t reads; /* checksums and cursors asked for */
	bool fail;              /* readers fail */
	bool remote;            /* operations are at hand only if they were read ahead */
	struct op_range ahead[4096];
	size_t ahead_count;
	_Atomic uint64_t ahead_calls, alone; /* alone: cursors that were not read ahead */
	/* Called when a reader is opened: news in the middle of a step. */
	void (*on_read)(struct storage *s);
};

struct storage_reader {
	struct storage *s;
};

struct op_cursor {
	struct fake_bucket *b;
	size_t at;
	uint64_t up_to;
};

struct checkpoint storage_checkpoint(struct storage *s)
{
	pthread_rwlock_rdlock(&s->lock);
	struct checkpoint c = s->checkpoint;
	pthread_rwlock_unlock(&s->lock);
	return c;
}

void storage_subscribe(struct storage *s, void (*callback)(void *ctx, const struct storage_news *news), void *ctx)
{
	s->callback = callback;
	s->ctx = ctx;
}

uint64_t lookup_hash(uint32_t definition_number, struct slice key)
{
	uint64_t h = definition_number;
	for (size_t i = 0; i < key.n; i++)
		h = h * 31 + (unsigned char)key.p[i];
	return h;
}

struct fake_stored_plan {
	struct stored_plan plan; /* first */
	_Atomic int references;
};

struct stored_plan *storage_active_plan(struct storage *s)
{
	if (s->active)
		((struct fake_stored_plan *)s->active)->references++;
	return s->active;
}

void stored_plan_unref(struct stored_plan *p)
{
	if (p && --((struct fake_stored_plan *)p)->references == 0)
		free(p);
}

uint32_t storage_bucket_compactions(struct storage *s, uint32_t bucket)
{
	(void)s;
	(void)bucket;
	return 0;
}

unsigned storage_step_begin(struct storage *s)
{
	(void)s;
	return 0;
}

void storage_step_end(struct storage *s, unsigned token)
{
	(void)s;
	(void)token;
}

struct storage_reader *storage_read_begin(struct storage *s, struct error *err)
{
	if (s->fail) {
		error_set(err, "", "storage is gone");
		return NULL;
	}
	if (s->on_read && !s->announcing)
		s->on_read(s);
	pthread_rwlock_rdlock(&s->lock);
	struct storage_reader *r = xcalloc(1, sizeof(*r));
	r->s = s;
	s->readers++;
	return r;
}

void storage_read_end(struct storage_reader *r)
{
	r->s->readers--;
	pthread_rwlock_unlock(&r->s->lock);
	free(r);
}

static uint32_t fake_bucket_number(struct storage *s, uint32_t definition, struct slice keys)
{
	for (uint32_t i = 0; i < s->bucket_count; i++)
		if (s->buckets[i].definition == definition && slice_eq(slice_cstr(s->buckets[i].keys), keys))
			return i + 1;
	return 0;
}

uint32_t reader_bucket(struct storage_reader *r, uint32_t definition, struct slice keys)
{
	return fake_bucket_number(r->s, definition, keys);
}

bool reader_bucket_name(struct storage_reader *r, uint32_t bucket, uint32_t *definition, struct slice *keys)
{
	if (bucket == 0 || bucket > r->s->bucket_count)
		return false;
	*definition = r->s->buckets[bucket - 1].definition;
	*keys = slice_cstr(r->s->buckets[bucket - 1].keys);
	return true;
}

bool reader_checksum(struct storage_reader *r, uint32_t bucket, uint64_t c, struct bucket_checksum *out, struct error *err)
{
	(void)err;
	struct fake_bucket *b = &r->s->buckets[bucket - 1];
	*out = (struct bucket_checksum){0};
	r->s->reads++;
	for (size_t i = 0; i < b->count && b->ops[i].op_id <= c; i++) {
		out->checksum += b->ops[i].checksum;
		out->count++;
	}
	return true;
}

bool reader_checksums(struct storage_reader *r, const uint32_t *buckets, size_t count, uint64_t c, bool fresh,
                      struct bucket_checksum *out, struct error *err)
{
	(void)fresh;
	for (size_t i = 0; i < count; i++)
		if (!reader_checksum(r, buckets[i], c, &out[i], err))
			return false;
	return true;
}

void storage_bucket_hold(struct storage *s, uint32_t bucket)
{
	(void)s;
	(void)bucket;
}

void storage_bucket_release(struct storage *s, uint32_t bucket)
{
	(void)s;
	(void)bucket;
}

static bool fake_was_read_ahead(struct storage *s, uint32_t bucket, uint64_t after)
{
	for (size_t i = 0; i < s->ahead_count; i++)
		if (s->ahead[i].bucket == bucket && s->ahead[i].after == after)
			return true;
	return false;
}

struct op_cursor *reader_ops(struct storage_reader *r, uint32_t bucket, uint64_t after, uint64_t up_to, struct error *err)
{
	(void)err;
	struct op_cursor *c = xcalloc(1, sizeof(*c));
	c->b = &r->s->buckets[bucket - 1];
	c->up_to = up_to;
	r->s->reads++;
	r->s->alone += r->s->remote && !fake_was_read_ahead(r->s, bucket, after);
	while (c->at < c->b->count && c->b->ops[c->at].op_id <= after)
		c->at++;
	return c;
}

bool reader_ops_ahead(struct storage_reader *r, const struct op_range *ranges, size_t count, uint64_t up_to, size_t max_bytes,
                      struct error *err)
{
	(void)up_to, (void)max_bytes, (void)err;
	memcpy(r->s->ahead, ranges, sizeof(*ranges) * count);
	r->s->ahead_count = count;
	r->s->ahead_calls++;
	return true;
}

bool reader_ops_at_hand(struct storage_reader *r, uint32_t bucket, uint64_t after, uint64_t up_to)
{
	(void)up_to;
	return !r->s->remote || fake_was_read_ahead(r->s, bucket, after);
}

static const uint8_t fake_uuid[16] = {0x3b, 0xbb, 0x51, 0x12, 0xc4, 0x96, 0x51, 0xfb,
                                      0xbc, 0xdc, 0x6f, 0x41, 0xc0, 0x54, 0xbc, 0x14};

int op_cursor_next(struct op_cursor *c, struct op_view *out, struct error *err)
{
	(void)err;
	if (c->at == c->b->count || c->b->ops[c->at].op_id > c->up_to)
		return 0;
	struct fake_op *op = &c->b->ops[c->at++];
	bool row = op->kind == OP_PUT || op->kind == OP_REMOVE;
	*out = (struct op_view){
	        .op_id = op->op_id,
	        .kind = op->kind,
	        .checksum = op->checksum,
	        .object_type = row ? SLICE("lists") : (struct slice){0},
	        .object_id = row ? slice_cstr(op->id) : (struct slice){0},
	        .data = op->data_slice,
	        .subkey_table = row ? "t1" : NULL,
	        .subkey_uuid = row ? fake_uuid : NULL,
	        .target_op = op->target_op,
	};
	return 1;
}

void op_cursor_close(struct op_cursor *c)
{
	free(c);
}

bool reader_cleared(struct storage_reader *r, uint32_t bucket, uint64_t c, bool *cleared, struct error *err)
{
	struct op_view op;
	struct op_cursor *cursor = reader_ops(r, bucket, c, UINT64_MAX, err);
	*cleared = cursor && op_cursor_next(cursor, &op, err) > 0 && op.kind == OP_CLEAR;
	op_cursor_close(cursor);
	return cursor != NULL;
}

bool reader_plan_lookups(struct storage_reader *r, const struct stored_plan *p, struct lookup_read *keys, size_t count,
                         uint64_t c, size_t max_rows, struct arena *arena, struct error *err)
{
	(void)err, (void)max_rows;
	for (size_t k = 0; k < count; k++) {
		struct fake_lookup *found = NULL;
		for (size_t i = 0; i < r->s->lookup_count; i++) {
			struct fake_lookup *l = &r->s->lookups[i];
			if (l->definition == p->definitions[keys[k].definition].number &&
			    slice_eq(slice_cstr(l->key), keys[k].key) && l->from <= c)
				found = l;
		}
		keys[k].count = found ? found->count : 0;
		struct slice *list = arena_array(arena, struct slice, keys[k].count + 1);
		for (size_t i = 0; i < keys[k].count; i++)
			list[i] = slice_cstr(found->results[i]);
		keys[k].results = list;
	}
	return true;
}

static bool fake_same_user(const struct fake_ack *a, const struct user_key *user)
{
	return slice_eq(slice_cstr(a->subject), user->subject) && !a->client == !user->client_id.p &&
	       slice_eq(slice_cstr(a->client), user->client_id);
}

uint64_t storage_write_checkpoint(struct storage *s, const struct user_key *user, struct position position)
{
	uint64_t best = 0;
	pthread_rwlock_rdlock(&s->lock);
	for (size_t i = 0; i < s->ack_count; i++)
		if (fake_same_user(&s->acks[i], user) && s->acks[i].lsn <= position.lsn && s->acks[i].id > best)
			best = s->acks[i].id;
	pthread_rwlock_unlock(&s->lock);
	return best;
}

/* ---- what tests do with it ------------------------------------------------------------------------------------------------------- */

static inline struct storage *fake_new(void)
{
	struct storage *s = xcalloc(1, sizeof(*s));
	pthread_rwlock_init(&s->lock, NULL);
	s->checkpoint = (struct checkpoint){.valid = true, .position = {1, 1}};
	return s;
}

static inline void fake_free(struct storage *s)
{
	assert_int_equal(s->readers, 0);
	for (uint32_t i = 0; i < s->bucket_count; i++) {
		free(s->buckets[i].ops);
		free(s->buckets[i].history);
	}
	stored_plan_unref(s->active);
	pthread_rwlock_destroy(&s->lock);
	free(s);
}

/* Answers the index; numbers are 1 more. */
static inline uint32_t fake_definition(struct storage *s, const char *name)
{
	char *head = s->heads[s->definition_count];
	snprintf(head, sizeof(s->heads[0]), "%zu#%s", s->definition_count + 1, name);
	s->definitions[s->definition_count] = (struct stored_definition){
	        .number = (uint32_t)s->definition_count + 1,
	        .state = DEFINITION_READY,
	        .name = slice_cstr(name),
	        .head = slice_cstr(head),
	};
	return (uint32_t)s->definition_count++;
}

static inline void fake_set_plan(struct storage *s, struct plan *p, uint64_t id)
{
	struct fake_stored_plan *stored = xcalloc(1, sizeof(*stored));
	stored->plan = (struct stored_plan){.id = id, .plan = p, .count = s->definition_count, .definitions = s->definitions};
	stored->references = 1;
	stored_plan_unref(s->active);
	s->active = &stored->plan;
	if (!s->checkpoint.plan_id)
		s->checkpoint.plan_id = id;
}

static struct fake_bucket *fake_bucket(struct storage *s, uint32_t definition, const char *keys)
{
	uint32_t number = fake_bucket_number(s, definition + 1, slice_cstr(keys));
	if (!number) {
		number = ++s->bucket_count;
		s->buckets[number - 1].definition = definition + 1;
		s->buckets[number - 1].keys = keys;
	}
	return &s->buckets[number - 1];
}

/* definition: index. Answers the op id. */
static inline uint64_t fake_op(struct storage *s, uint32_t definition, const char *keys, enum op_kind kind, const char *id,
                               struct slice data)
{
	struct fake_bucket *b = fake_bucket(s, definition, keys);
	b->ops = xgrow(b->ops, b->count, &b->cap, sizeof(*b->ops));
	uint64_t op_id = ++s->last_op;
	b->ops[b->count++] = (struct fake_op){
	        .op_id = op_id,
	        .kind = kind,
	        .checksum = (uint32_t)(op_id * 2654435761u),
	        .id = id,
	        .data_slice = data,
	};
	b->history = xgrow(b->history, b->history_count, &b->history_cap, sizeof(*b->history));
	b->history[b->history_count++] = b->ops[b->count - 1];
	b->changed = true;
	return op_id;
}

static inline uint64_t fake_put(struct storage *s, uint32_t definition, const char *keys, const char *id, const char *data)
{
	return fake_op(s, definition, keys, OP_PUT, id, slice_cstr(data));
}

/* definition: index. The results end with NULL. */
static inline void fake_set_lookup(struct storage *s, uint32_t definition, const char *key, ...)
{
	struct fake_lookup *l = &s->lookups[s->lookup_count++];
	*l = (struct fake_lookup){.definition = definition + 1, .key = key, .from = ++s->last_op, .changed = true};
	va_list args;
	va_start(args, key);
	for (const char *r; (r = va_arg(args, const char *));)
		l->results[l->count++] = r;
	va_end(args);
}

static inline void fake_ack(struct storage *s, const char *subject, const char *client, uint64_t id, uint64_t lsn)
{
	s->acks[s->ack_count++] = (struct fake_ack){.subject = subject, .client = client, .id = id, .lsn = lsn};
}

static inline void fake_announce(struct storage *s, bool everything)
{
	uint32_t buckets[4096];
	uint64_t lookups[256];
	struct user_key users[64];
	struct storage_news news = {.everything = everything, .buckets = buckets, .lookups = lookups, .users = users};
	for (uint32_t i = 0; i < s->bucket_count; i++)
		if (s->buckets[i].changed) {
			buckets[news.bucket_count++] = i + 1;
			s->buckets[i].changed = false;
		}
	for (size_t i = 0; i < s->lookup_count; i++)
		if (s->lookups[i].changed) {
			lookups[news.lookup_count++] = lookup_hash(s->lookups[i].definition, slice_cstr(s->lookups[i].key));
			s->lookups[i].changed = false;
		}
	for (size_t i = 0; i < s->ack_count; i++)
		if (!s->acks[i].passed && s->acks[i].lsn <= s->checkpoint.position.lsn) {
			users[news.user_count++] =
			        (struct user_key){slice_cstr(s->acks[i].subject), slice_cstr(s->acks[i].client)};
			s->acks[i].passed = true;
		}
	news.checkpoint = s->checkpoint;
	s->announcing = true;
	if (s->callback)
		s->callback(s->ctx, &news);
	s->announcing = false;
}

/* All that was added is visible now; the position goes up by one. */
static inline void fake_commit(struct storage *s)
{
	s->checkpoint.op_id = s->last_op;
	s->checkpoint.position.lsn++;
	fake_announce(s, false);
}

static inline void fake_activate(struct storage *s, struct plan *p, uint64_t id)
{
	fake_set_plan(s, p, id);
	s->checkpoint.plan_id = id;
	s->checkpoint.op_id = s->last_op;
	s->checkpoint.position.lsn++;
	fake_announce(s, true);
}

/* An operation becomes MOVE, or all up to it a CLEAR, for the sake of the one with the id target. */
static inline void fake_compact_move(struct fake_bucket *b, size_t index, uint64_t target)
{
	b->ops[index].kind = OP_MOVE;
	b->ops[index].target_op = target;
	b->ops[index].data_slice = (struct slice){0};
}

static inline void fake_compact_clear(struct fake_bucket *b, size_t last, uint64_t target)
{
	struct fake_op clear = {.op_id = b->ops[last].op_id, .kind = OP_CLEAR, .target_op = target};
	for (size_t i = 0; i <= last; i++)
		clear.checksum += b->ops[i].checksum;
	memmove(b->ops + 1, b->ops + last + 1, sizeof(*b->ops) * (b->count - last - 1));
	b->ops[0] = clear;
	b->count -= last;
}

/* storage-semantics 9, with rows "a" to "z", up to the checkpoint. */
static inline void fake_compact(struct storage *s, struct fake_bucket *b)
{
	uint64_t newest[26] = {0};
	size_t end = b->count;
	while (end && b->ops[end - 1].op_id > s->checkpoint.op_id)
		end--;
	for (size_t i = end; i-- > 0;) {
		if (b->ops[i].kind != OP_PUT && b->ops[i].kind != OP_REMOVE)
			continue;
		uint64_t *row = &newest[b->ops[i].id[0] - 'a'];
		if (*row)
			fake_compact_move(b, i, *row);
		else
			*row = b->ops[i].op_id;
	}
	size_t run = 0;
	uint64_t target = 0;
	for (; run < end && b->ops[run].kind != OP_PUT; run++)
		if (b->ops[run].target_op > target)
			target = b->ops[run].target_op;
	if (run)
		fake_compact_clear(b, run - 1, target);
}

#endif
