/*
 * The rule of interleaved reading (interleaved-snapshot 2 and 3), as unit tests and as a model: random transactions on a small table
 * whose commits become visible late, chunks of three keys in up to three ranges that are read side by side, readers that fail. The model
 * drives the real touch log, unsettled set, admission and floors of ranges; only the store is a plain array.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "replicate/ranges.h"
#include "replicate/touch_log.h"

static void xids_are_extended_to_the_nearest(void **state)
{
	(void)state;
	assert_int_equal(xid_extend(5, 3), 5);
	assert_int_equal(xid_extend(3, 0x100000005u), 0x100000003u);
	assert_int_equal(xid_extend(0xfffffff0u, 0x100000005u), 0xfffffff0u);
	assert_int_equal(xid_extend(7, 0xfffffff0u), 0x100000007u);
}

static void nothing_is_confirmed_past_an_unsettled_transaction(void **state)
{
	(void)state;
	struct unsettled u = {0};
	uint64_t running[] = {11};
	struct xid_snapshot s = {.xmin = 11, .xmax = 13, .in_progress = running, .count = 1};
	assert_int_equal(unsettled_confirm_limit(&u, 500), 500);
	unsettled_add(&u, 10, 100);
	unsettled_add(&u, 11, 110);
	unsettled_add(&u, 12, 120);
	assert_int_equal(unsettled_confirm_limit(&u, 500), 100);
	unsettled_settle(&u, &s);
	assert_int_equal(u.count, 1);
	assert_int_equal(unsettled_confirm_limit(&u, 500), 110);
	assert_int_equal(unsettled_confirm_limit(&u, 105), 105);
	unsettled_free(&u);
}

static void a_first_snapshot_must_see_what_was_unsettled(void **state)
{
	(void)state;
	struct unsettled u = {0};
	struct admission a = {0};
	struct xid_snapshot before = {.xmin = 9, .xmax = 10}, after = {.xmin = 12, .xmax = 12};
	unsettled_add(&u, 10, 100);
	admission_take(&a, &u);
	assert_false(admission_admits(&a, &before));
	assert_true(admission_admits(&a, &after));
	admission_free(&a);
	unsettled_free(&u);
}

static void a_snapshot_covers_another_when_it_sees_all_that_the_other_sees(void **state)
{
	(void)state;
	uint64_t ten[] = {10};
	struct xid_snapshot x = {.xmin = 12, .xmax = 12};
	struct xid_snapshot hangs = {.xmin = 10, .xmax = 13, .in_progress = ten, .count = 1};
	struct xid_snapshot old = {.xmin = 11, .xmax = 11}, good = {.xmin = 13, .xmax = 13};
	assert_false(snapshot_covers(&hangs, &x));
	assert_false(snapshot_covers(&old, &x));
	assert_true(snapshot_covers(&good, &x));
}

static void kinds_of_touches_are_told_apart(void **state)
{
	(void)state;
	struct touch_log log = {0};
	struct arena arena = {0};
	struct dirty_set d;
	struct xid_snapshot s = {.xmin = 10, .xmax = 10}, later = {.xmin = 11, .xmax = 11};
	touch_log_add(&log, 10, SLICE("a"), TOUCH_KEEPS_KEY);
	touch_log_add(&log, 10, SLICE("b"), TOUCH_KEEPS_KEY);
	touch_log_add(&log, 11, SLICE("b"), TOUCH_OTHER);
	dirty_set_build(&d, &log, &s, &arena);
	assert_int_equal(dirty_set_find(&d, SLICE("a")), KEY_UPDATED);
	assert_int_equal(dirty_set_find(&d, SLICE("b")), KEY_DIRTY);
	assert_int_equal(dirty_set_find(&d, SLICE("c")), KEY_CLEAN);
	dirty_set_build(&d, &log, &later, &arena);
	assert_int_equal(dirty_set_find(&d, SLICE("a")), KEY_CLEAN);
	touch_log_forget(&log, &later);
	assert_non_null(log.first);
	assert_ptr_equal(log.first, log.last);
	touch_log_add_all(&log, 12);
	dirty_set_build(&d, &log, &later, &arena);
	assert_int_equal(dirty_set_find(&d, SLICE("zzz")), KEY_DIRTY);
	touch_log_free(&log);
	assert_int_equal(log.bytes, 0);
	arena_free(&arena);
}

static void a_huge_transaction_touches_all_keys(void **state)
{
	(void)state;
	struct touch_log log = {.limit = 1000};
	struct arena arena = {0};
	struct dirty_set d;
	struct xid_snapshot s = {.xmin = 10, .xmax = 10};
	char key[16];
	for (int i = 0; i < 1000; i++) {
		int n = snprintf(key, sizeof(key), "key%d", i);
		touch_log_add(&log, 10, slice_make(key, (size_t)n), TOUCH_OTHER);
	}
	assert_true(log.bytes <= 1000);
	dirty_set_build(&d, &log, &s, &arena);
	assert_true(d.all);
	touch_log_free(&log);
	arena_free(&arena);
}

/* ---- the model ------------------------------------------------------------------------------------------------------------- */

#define KEYS 18
#define CHUNK 3
#define XACTS 400
#define MOST_RANGES 3

/* A committed transaction: sets up to two keys (0 = deletes). Its commit record has lsn = index + 1. */
struct xact {
	int keys[2], values[2], count;
	bool visible;
};

/* One that was read and waits for the stream. */
struct model_chunk {
	bool under_way;
	struct xid_snapshot snapshot;
	uint64_t in_progress[XACTS];
	int head, rows[CHUNK];
};

struct model {
	struct xact xacts[XACTS];
	int committed, delivered;
	int stored[KEYS];
	struct touch_log log;
	struct unsettled unsettled;
	struct admission admission;
	struct table_ranges ranges;
	int next[MOST_RANGES]; /* first key of the range's next chunk */
	struct model_chunk chunks[MOST_RANGES];
};

static unsigned random_state;
static int pick(int n)
{
	random_state = random_state * 1103515245u + 12345u;
	return (int)(random_state >> 16) % n;
}

static struct slice key_of(int *k)
{
	return slice_make(k, sizeof(*k));
}

static void commit_one(struct model *m)
{
	struct xact *x = &m->xacts[m->committed++];
	*x = (struct xact){.count = 1 + pick(2)};
	for (int i = 0; i < x->count; i++) {
		x->keys[i] = pick(KEYS);
		x->values[i] = pick(4) ? 1 + pick(1000) : 0;
	}
}

/* One that touches a key whose last writer is still invisible has to wait for it: visibility of one key's writers is in order. */
static void make_visible(struct model *m, int i)
{
	for (int j = 0; j < i; j++)
		for (int a = 0; a < m->xacts[i].count; a++)
			for (int b = 0; b < m->xacts[j].count; b++)
				if (!m->xacts[j].visible && m->xacts[i].keys[a] == m->xacts[j].keys[b])
					make_visible(m, j);
	m->xacts[i].visible = true;
}

static void deliver_one(struct model *m)
{
	struct xact *x = &m->xacts[m->delivered];
	for (int i = 0; i < x->count; i++) {
		touch_log_add(&m->log, (uint64_t)m->delivered, key_of(&x->keys[i]), TOUCH_OTHER);
		m->stored[x->keys[i]] = x->values[i];
	}
	unsettled_add(&m->unsettled, (uint64_t)m->delivered, (uint64_t)m->delivered);
	m->delivered++;
}

static int visible_state(const struct model *m, int key)
{
	int value = 0;
	for (int i = 0; i < m->committed; i++)
		for (int k = 0; m->xacts[i].visible && k < m->xacts[i].count; k++)
			if (m->xacts[i].keys[k] == key)
				value = m->xacts[i].values[k];
	return value;
}

static int keys_of_range(const struct model *m)
{
	return KEYS / (int)m->ranges.count;
}

static struct read_job *job_begun(void)
{
	struct read_job *job = calloc(1, sizeof(*job));
	assert_non_null(job);
	job->references = 1;
	return job;
}

static void read_chunk(struct model *m, int r)
{
	struct model_chunk *c = &m->chunks[r];
	if (!m->ranges.items[r].job)
		m->ranges.items[r].job = job_begun();
	c->under_way = true;
	c->snapshot = (struct xid_snapshot){.xmin = 0, .xmax = (uint64_t)m->committed, .in_progress = c->in_progress};
	for (int i = 0; i < m->committed; i++)
		if (!m->xacts[i].visible)
			c->in_progress[c->snapshot.count++] = (uint64_t)i;
	for (int i = 0; i < CHUNK; i++)
		c->rows[i] = visible_state(m, m->next[r] + i);
	c->head = m->committed; /* the insert position */
}

static void apply_chunk(struct model *m, int r)
{
	struct arena arena = {0};
	struct dirty_set d;
	struct model_chunk *c = &m->chunks[r];
	struct table_range *range = &m->ranges.items[r];
	c->under_way = false;
	unsettled_settle(&m->unsettled, &c->snapshot);
	if (!admission_admits(&m->admission, &c->snapshot)) {
		range_cancel(range);
		return;
	}
	dirty_set_build(&d, &m->log, &c->snapshot, &arena);
	for (int i = 0; i < CHUNK; i++) {
		int key = m->next[r] + i;
		if (dirty_set_find(&d, key_of(&key)) == KEY_CLEAN)
			m->stored[key] = c->rows[i];
	}
	range_raise_floor(range, &c->snapshot);
	const struct xid_snapshot *floor = ranges_floor(&m->ranges);
	if (floor)
		touch_log_forget(&m->log, floor);
	m->next[r] += CHUNK;
	range->done = m->next[r] == (r + 1) * keys_of_range(m);
	if (range->done)
		range_cancel(range);
	arena_free(&arena);
}

/* A look at the source while nothing is read: what it sees, all later chunks see. */
static void look(struct model *m)
{
	struct model_chunk seen;
	uint64_t newest = (uint64_t)m->committed;
	if (ranges_running(&m->ranges))
		return;
	seen.snapshot = (struct xid_snapshot){.xmin = 0, .xmax = newest, .in_progress = seen.in_progress};
	for (int i = 0; i < m->committed; i++)
		if (!m->xacts[i].visible)
			seen.in_progress[seen.snapshot.count++] = (uint64_t)i;
	unsettled_settle(&m->unsettled, &seen.snapshot);
	touch_log_forget(&m->log, &seen.snapshot);
}

static void work_on_range(struct model *m, int r)
{
	struct model_chunk *c = &m->chunks[r];
	if (m->ranges.items[r].done)
		return;
	if (!c->under_way) {
		read_chunk(m, r);
	} else if (pick(8) == 0) { /* its reader failed */
		c->under_way = false;
		range_cancel(&m->ranges.items[r]);
	} else if (m->delivered >= c->head) {
		apply_chunk(m, r);
	}
}

/* Some history before the log is switched on: delivered, perhaps not yet visible. */
static void model_begin(struct model *m)
{
	struct slice cuts[MOST_RANGES - 1] = {SLICE("a"), SLICE("b")};
	int before = pick(10);
	for (int i = 0; i < before; i++)
		commit_one(m);
	for (int i = 0; i < before; i++)
		if (pick(3))
			make_visible(m, i);
	while (m->delivered < before) {
		deliver_one(m);
		touch_log_free(&m->log);
	}
	for (int k = 0; k < KEYS; k++)
		m->stored[k] = 0; /* the table's rows were never read */
	admission_take(&m->admission, &m->unsettled);
	ranges_make(&m->ranges, cuts, (size_t)pick(MOST_RANGES));
	for (int r = 0; r < (int)m->ranges.count; r++)
		m->next[r] = r * keys_of_range(m);
}

static void run_model(unsigned seed)
{
	static struct model m;
	memset(&m, 0, sizeof(m));
	random_state = seed;
	model_begin(&m);
	while (!ranges_done(&m.ranges) || m.delivered < m.committed) {
		int what = pick(11);
		if (what < 3 && m.committed < XACTS - 1 && !ranges_done(&m.ranges))
			commit_one(&m);
		else if (what < 5 && m.committed > 0)
			make_visible(&m, pick(m.committed));
		else if (what < 8 && m.delivered < m.committed)
			deliver_one(&m);
		else if (what == 8)
			look(&m);
		else
			work_on_range(&m, pick((int)m.ranges.count));
	}
	for (int i = 0; i < m.committed; i++)
		make_visible(&m, i);
	for (int k = 0; k < KEYS; k++)
		if (m.stored[k] != visible_state(&m, k))
			fail_msg("seed %u: key %d is %d, must be %d", seed, k, m.stored[k], visible_state(&m, k));
	touch_log_free(&m.log);
	unsettled_free(&m.unsettled);
	admission_free(&m.admission);
	ranges_free(&m.ranges);
}

static void random_schedules_end_in_the_state_of_the_source(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 5000; seed++)
		run_model(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(xids_are_extended_to_the_nearest),
	        cmocka_unit_test(nothing_is_confirmed_past_an_unsettled_transaction),
	        cmocka_unit_test(a_first_snapshot_must_see_what_was_unsettled),
	        cmocka_unit_test(a_snapshot_covers_another_when_it_sees_all_that_the_other_sees),
	        cmocka_unit_test(kinds_of_touches_are_told_apart),
	        cmocka_unit_test(a_huge_transaction_touches_all_keys),
	        cmocka_unit_test(random_schedules_end_in_the_state_of_the_source),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
