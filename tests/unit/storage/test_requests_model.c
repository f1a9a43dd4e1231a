/*
 * Checkpoint requests under random interleavings, against what was promised: nothing is acknowledged before the write that it stands
 * for, ids only grow, nothing that was answered is lost, at most 64 are pending, and whoever's acknowledged id grows is told.
 *
 * The world: a source whose position grows; batches whose head was read before other things happened; an outage (head unknown); filling
 * in of heads in two halves; commits of positions, some durable, most not; crashes that fall back to the durable position; retention
 * beside open streams; a source that is restored, so that positions begin again below and replication notices only later.
 */
#include "storage/fixture.h"

enum { USERS = 6, TARGETS = 4096, BATCHES = 3 };

static int64_t clock_now;

static int64_t test_clock(void)
{
	return clock_now;
}

struct target {
	uint64_t id;
	struct position written; /* the write that it stands for */
	bool posted;
};

struct owner {
	struct user_key key;
	bool legacy;
	uint64_t counter;  /* requests mode: last id that the client gave out */
	uint64_t greatest; /* ever answered */
	uint64_t shown;    /* acknowledged as of the last news */
	bool dirty;        /* told that it may have changed */
	struct target targets[TARGETS];
	size_t count;
};

struct open_batch {
	bool used, known;
	struct position head;
	struct checkpoint_request requests[8];
	int owner[8];
	struct position written[8];
	size_t count;
};

struct world {
	struct fixture *f;
	uint64_t seed, step;
	struct position source; /* where it is now */
	bool up;
	struct owner owners[USERS];
	struct open_batch batches[BATCHES];
	struct waiting_heads *waiting;
	struct position waiting_head;
	uint64_t lines, requests, restores, expired;
};

static uint64_t rnd(struct world *w, uint64_t n)
{
	w->seed ^= w->seed << 13;
	w->seed ^= w->seed >> 7;
	w->seed ^= w->seed << 17;
	return w->seed % n;
}

static void on_news(void *ctx, const struct storage_news *n)
{
	struct world *w = ctx;
	for (size_t i = 0; i < USERS; i++) {
		struct owner *o = &w->owners[i];
		for (size_t k = 0; k < n->user_count; k++)
			o->dirty |= slice_eq(n->users[k].subject, o->key.subject) &&
			            (n->users[k].client_id.p != NULL) == (o->key.client_id.p != NULL) &&
			            slice_eq(n->users[k].client_id, o->key.client_id);
		o->dirty |= n->everything;
	}
}

/* The record as it is stored. */
static bool record_of(struct world *w, struct owner *o, struct user_record *out)
{
	struct fixture *f = w->f;
	const struct backend_ops *ops = f->s->backend->ops;
	struct requests_txn *t;
	struct buf key = {0};
	struct slice record;
	OK(ops->requests_begin(f->s->backend, false, &t, &f->err));
	user_key_encode(&key, &o->key);
	int got = ops->user_get(t, buf_slice(&key), &record, &f->err);
	assert_true(got >= 0);
	if (got)
		OK(user_decode(out, record, &f->err));
	ops->requests_abort(t);
	buf_free(&key);
	return got;
}

static void check_owner(struct world *w, struct owner *o)
{
	struct checkpoint c = storage_checkpoint(w->f->s);
	struct user_record u;
	uint64_t acked = storage_write_checkpoint(w->f->s, &o->key, c.position);
	bool found = record_of(w, o, &u);
	if (acked > o->shown && !o->dirty)
		fail_msg("step %llu: acknowledged id grew to %llu without news", (unsigned long long)w->step,
		         (unsigned long long)acked);
	if (acked > o->shown)
		w->lines++;
	o->dirty = false;
	if (acked > o->shown)
		o->shown = acked;
	uint64_t unacked = 0;
	for (size_t i = 0; i < o->count;) {
		struct target *t = &o->targets[i];
		if (t->posted && t->id <= acked && position_cmp(t->written, c.position) > 0)
			fail_msg("step %llu: %llu acknowledged at %llu, its write is at %llu", (unsigned long long)w->step,
			         (unsigned long long)acked, (unsigned long long)c.position.lsn,
			         (unsigned long long)t->written.lsn);
		if (t->posted && t->id <= acked) {
			*t = o->targets[--o->count];
			continue;
		}
		if (t->posted && t->id > unacked)
			unacked = t->id;
		i++;
	}
	if (unacked && (!found || user_greatest(&u) < unacked))
		fail_msg("step %llu: %llu was answered and is lost", (unsigned long long)w->step, (unsigned long long)unacked);
	if (!found)
		return;
	size_t pending = 0;
	for (size_t i = 0; i < u.count; i++) {
		pending += position_cmp(u.entries[i].head, c.position) > 0;
		if (i)
			assert_true(u.entries[i].id > u.entries[i - 1].id &&
			            position_cmp(u.entries[i].head, u.entries[i - 1].head) > 0);
	}
	assert_true(pending <= QUEUE_PENDING_MAX);
}

static void add_target(struct owner *o, uint64_t id, struct position written)
{
	if (o->count < TARGETS)
		o->targets[o->count++] = (struct target){id, written, true};
}

static void new_request(struct world *w)
{
	struct open_batch *b = NULL;
	for (size_t i = 0; i < BATCHES; i++)
		if (!w->batches[i].used || (w->batches[i].head.lsn == 0 && w->batches[i].count < 8))
			b = &w->batches[i];
	if (!b)
		return;
	int index = (int)rnd(w, USERS);
	struct owner *o = &w->owners[index];
	if (!b->used)
		*b = (struct open_batch){.used = true};
	struct checkpoint_request r = {.user = o->key};
	if (o->legacy && rnd(w, 5) > 0) {
		r.id = 0;
	} else if (!o->legacy && rnd(w, 4) > 0) {
		uint64_t base = o->counter > o->greatest ? o->counter : o->greatest;
		r.id = o->counter = base + 1 + rnd(w, 3);
	} else {
		r.id = o->greatest > 3 ? o->greatest - rnd(w, 3) : 1; /* retry or stale */
		if (!o->greatest)
			return;
	}
	b->owner[b->count] = index;
	b->written[b->count] = w->source;
	b->requests[b->count++] = r;
	w->requests++;
}

/* No head is taken from a source that replication does not know yet. */
static bool source_is_known(const struct world *w)
{
	return w->source.era == w->f->s->state.applied.era;
}

/* Reads the head, or, in a later step, stores the batch. */
static void advance_batch(struct world *w)
{
	struct fixture *f = w->f;
	struct open_batch *b = &w->batches[rnd(w, BATCHES)];
	if (!b->used)
		return;
	if (!b->head.lsn) {
		b->head = w->source;
		b->known = w->up && source_is_known(w);
		return;
	}
	uint64_t before[8];
	for (size_t i = 0; i < b->count; i++)
		before[i] = w->owners[b->owner[i]].greatest;
	OK(storage_request_checkpoints(f->s, b->requests, b->count, b->known, b->head, &f->err));
	for (size_t i = 0; i < b->count; i++) {
		struct owner *o = &w->owners[b->owner[i]];
		struct checkpoint_request *r = &b->requests[i];
		assert_true(r->stored_id >= r->id);
		if (!r->id) {
			if (r->stored_id <= before[i])
				fail_msg("step %llu: generated %llu, but %llu was given before", (unsigned long long)w->step,
				         (unsigned long long)r->stored_id, (unsigned long long)before[i]);
			add_target(o, r->stored_id, b->written[i]);
		} else if (r->id > before[i] && !o->legacy) {
			add_target(o, r->id, b->written[i]);
		}
		if (r->stored_id > o->greatest)
			o->greatest = r->stored_id;
	}
	b->used = false;
}

static void fill_heads(struct world *w)
{
	struct fixture *f = w->f;
	size_t count;
	if (!w->waiting) {
		w->waiting = storage_waiting_heads(f->s, &count, &f->err);
		w->waiting_head = (struct position){0};
	} else if (!w->waiting_head.lsn) {
		if (w->up && source_is_known(w))
			w->waiting_head = w->source;
	} else {
		OK(storage_fill_heads(f->s, w->waiting, w->waiting_head, &f->err));
		waiting_heads_free(w->waiting);
		w->waiting = NULL;
	}
}

static void check_all(struct world *w)
{
	for (size_t i = 0; i < USERS; i++)
		check_owner(w, &w->owners[i]);
}

static void replicate(struct world *w)
{
	struct fixture *f = w->f;
	struct position p = f->s->state.applied;
	bool durable;
	if (position_cmp(p, w->source) >= 0)
		return;
	if (!source_is_known(w)) { /* it notices: everything was read and compared up to here */
		p = w->source;
		check_all(w);
	} else {
		p.lsn += 1 + rnd(w, rnd(w, 4) ? 3 : w->source.lsn - p.lsn);
		if (p.lsn > w->source.lsn)
			p.lsn = w->source.lsn;
	}
	if (rnd(w, 2)) /* the position is shown even if it acknowledges nothing */
		storage_want_position(f->s, p);
	OK(storage_commit(f->s, p, true, &durable, &f->err));
	if (rnd(w, 10) == 0)
		OK(storage_sync_position(f->s, &f->err));
}

static void restart(struct world *w, bool crash)
{
	struct fixture *f = w->f;
	if (crash) { /* what only memory knew is gone */
		f->s->state.applied = f->s->committed.applied;
		f->s->state.checkpoint_position = f->s->committed.checkpoint_position;
	}
	waiting_heads_free(w->waiting);
	w->waiting = NULL;
	memset(w->batches, 0, sizeof(w->batches));
	reopen(f);
	f->s->wall_ms = test_clock;
	storage_subscribe(f->s, on_news, w);
	struct position p = storage_checkpoint(f->s).position;
	for (size_t i = 0; i < USERS; i++) { /* connections are new */
		w->owners[i].shown = storage_write_checkpoint(f->s, &w->owners[i].key, p);
		w->owners[i].dirty = true;
	}
}

/* Another server behind the address, or the same from a backup: it stands at an older place. */
static void restore(struct world *w)
{
	w->source = (struct position){w->source.era + 1, 1 + rnd(w, w->source.lsn)};
	w->restores++;
}

/* Hours pass in which nobody asks and some have open streams. Removing a record takes its acknowledged id along; ids still never go
 * back for generated ones. */
static void expire(struct world *w)
{
	struct fixture *f = w->f;
	struct user_key live[USERS];
	bool open[USERS];
	size_t count = 0;
	check_all(w);
	for (size_t i = 0; i < USERS; i++)
		if ((open[i] = rnd(w, 2)))
			live[count++] = w->owners[i].key;
	for (int k = 0; k < 3; k++) {
		clock_now += 1900000;
		OK(storage_touch_requests(f->s, live, count, &f->err));
	}
	OK(storage_expire_requests(f->s, &f->err));
	struct position p = storage_checkpoint(f->s).position;
	for (size_t i = 0; i < USERS; i++) {
		struct owner *o = &w->owners[i];
		struct user_record u;
		bool found = record_of(w, o, &u);
		if (open[i] && storage_write_checkpoint(f->s, &o->key, p) < o->shown)
			fail_msg("step %llu: the record of an open stream was removed", (unsigned long long)w->step);
		if (!found && o->shown) {
			w->expired++;
			o->shown = 0;
		}
	}
}

static void random_step(struct world *w)
{
	uint64_t x = rnd(w, 1000);
	clock_now += (int64_t)rnd(w, 2000);
	if (x < 250)
		new_request(w);
	else if (x < 600)
		advance_batch(w);
	else if (x < 750)
		replicate(w);
	else if (x < 900)
		w->source.lsn += 1 + rnd(w, 4);
	else if (x < 960)
		fill_heads(w);
	else if (x < 985)
		w->up = rnd(w, 3) > 0;
	else if (x < 995)
		expire(w);
	else if (x < 997)
		restart(w, rnd(w, 2));
	else if (x < 998)
		restore(w);
	struct owner *o = &w->owners[rnd(w, USERS)];
	check_owner(w, o);
}

static void run(void **state, uint64_t seed, uint64_t steps)
{
	struct fixture *f = *state;
	struct world *w = xcalloc(1, sizeof(*w));
	static const struct user_key keys[USERS] = {{SLICE_INIT("a"), SLICE_INIT("b/c")}, {SLICE_INIT("a/b"), SLICE_INIT("c")},
	                                            {SLICE_INIT("a"), {NULL, 0}},         {SLICE_INIT("a"), SLICE_INIT("")},
	                                            {SLICE_INIT("legacy"), {NULL, 0}},    {SLICE_INIT("x"), SLICE_INIT("y")}};
	w->f = f;
	w->seed = seed;
	w->up = true;
	w->source.lsn = 1000;
	for (size_t i = 0; i < USERS; i++) {
		w->owners[i].key = keys[i];
		w->owners[i].legacy = i == 2 || i == 4;
	}
	f->s->wall_ms = test_clock;
	clock_now = 1000000;
	activate(f, "a=1");
	storage_subscribe(f->s, on_news, w);
	for (w->step = 0; w->step < steps; w->step++)
		random_step(w);
	/* Everything is repaired: all that was answered is acknowledged, and told. */
	w->up = true;
	replicate(w); /* takes note of the source */
	for (int i = 0; i < 100; i++) {
		advance_batch(w);
		fill_heads(w);
	}
	w->source.lsn += 10;
	while (position_cmp(f->s->state.applied, w->source) < 0)
		replicate(w);
	for (size_t i = 0; i < USERS; i++) {
		check_owner(w, &w->owners[i]);
		assert_int_equal(w->owners[i].count, 0);
	}
	int64_t oldest;
	assert_int_equal(storage_pending_requests(f->s, &oldest), 0);
	print_message("%llu requests, %llu acknowledging lines, %llu records removed, %llu restores\n",
	              (unsigned long long)w->requests, (unsigned long long)w->lines, (unsigned long long)w->expired,
	              (unsigned long long)w->restores);
	assert_true(w->lines && w->expired && w->restores);
	waiting_heads_free(w->waiting);
	free(w);
}

static void random_interleavings_keep_all_promises(void **state)
{
	run(state, 0x9e3779b97f4a7c15u, 100000);
}

static void random_interleavings_with_other_seeds(void **state)
{
	const char *given = getenv("SEED");
	run(state, given ? strtoull(given, NULL, 0) : 77, 20000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(random_interleavings_keep_all_promises, setup, teardown),
	        cmocka_unit_test_setup_teardown(random_interleavings_with_other_seeds, setup, teardown),
	};
	return cmocka_run_group_tests_name("requests model", tests, NULL, NULL);
}
