/* Ranges of a table as they are stored, and which touches are needed no more (ranges.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "replicate/ranges.h"

static struct table_ranges cut_in_three(void)
{
	struct table_ranges r = {0};
	ranges_make(&r, (struct slice[]){SLICE("k10"), SLICE("k20")}, 2);
	return r;
}

static struct read_job *job_begun(void)
{
	struct read_job *job = calloc(1, sizeof(*job));
	assert_non_null(job);
	job->references = 1;
	return job;
}

static void assert_text(const struct buf *b, const char *want)
{
	assert_int_equal(b->n, strlen(want));
	assert_memory_equal(b->n ? b->p : "", want, b->n);
}

static void ranges_lie_side_by_side(void **state)
{
	(void)state;
	struct table_ranges r = cut_in_three();
	assert_int_equal(r.count, 3);
	assert_text(&r.items[0].next, "");
	assert_text(&r.items[0].until, "k10");
	assert_text(&r.items[1].next, "k10");
	assert_text(&r.items[1].until, "k20");
	assert_text(&r.items[2].next, "k20");
	assert_text(&r.items[2].until, "");
	assert_true(ranges_waiting(&r) == &r.items[0]);
	r.items[0].job = job_begun();
	assert_true(ranges_waiting(&r) == &r.items[1]);
	assert_int_equal(ranges_running(&r), 1);
	assert_true(ranges_of_job(&r, r.items[0].job) == &r.items[0]);
	r.items[0].done = r.items[1].done = r.items[2].done = true;
	assert_true(ranges_done(&r));
	ranges_free(&r);
	assert_false(ranges_done(&r));
}

static void progress_is_found_again(void **state)
{
	(void)state;
	struct table_ranges r = cut_in_three(), again = {0};
	struct buf stored = {0};
	buf_clear(&r.items[1].next);
	buf_lit(&r.items[1].next, "k15");
	r.items[0].done = true;
	ranges_encode(&r, &stored);
	assert_true(ranges_decode(&again, buf_slice(&stored), true));
	assert_int_equal(again.count, 3);
	assert_true(again.items[0].done);
	assert_false(again.items[1].done);
	assert_text(&again.items[1].next, "k15");
	assert_text(&again.items[1].until, "k20");
	assert_text(&again.items[2].until, "");
	assert_true(ranges_begun(&again));
	ranges_free(&r);
	ranges_free(&again);
	buf_free(&stored);
}

/* As stores of before have it: a position, and nothing else. */
static void one_range_is_stored_as_its_position(void **state)
{
	(void)state;
	struct table_ranges r = {0};
	struct buf stored = {0};
	assert_true(ranges_decode(&r, SLICE("k7"), false));
	assert_int_equal(r.count, 1);
	assert_text(&r.items[0].next, "k7");
	assert_text(&r.items[0].until, "");
	ranges_encode(&r, &stored);
	assert_text(&stored, "k7");
	assert_true(ranges_decode(&r, SLICE(""), false));
	assert_int_equal(r.count, 0);
	ranges_free(&r);
	buf_free(&stored);
}

static void damaged_progress_is_none(void **state)
{
	(void)state;
	struct table_ranges r = cut_in_three(), again = {0};
	struct buf stored = {0};
	ranges_encode(&r, &stored);
	for (size_t n = 0; n < stored.n; n++) {
		assert_false(ranges_decode(&again, slice_make(stored.p, n), true));
		assert_int_equal(again.count, 0);
	}
	buf_putc(&stored, 'x');
	assert_false(ranges_decode(&again, buf_slice(&stored), true));
	assert_false(ranges_decode(&again, SLICE("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), true));
	ranges_free(&r);
	buf_free(&stored);
}

/* A chunk of another range may still come with a snapshot that sees less. */
static void the_floor_is_the_oldest_snapshot_under_way(void **state)
{
	(void)state;
	struct table_ranges r = cut_in_three();
	uint64_t running[] = {11};
	struct xid_snapshot old = {.xmin = 11, .xmax = 13, .in_progress = running, .count = 1}, new = {.xmin = 15, .xmax = 15};
	r.items[0].job = job_begun();
	r.items[1].job = job_begun();
	range_raise_floor(&r.items[0], &new);
	assert_null(ranges_floor(&r)); /* nobody knows what the other reader saw */
	range_raise_floor(&r.items[1], &old);
	assert_false(xid_visible(ranges_floor(&r), 11));
	assert_true(xid_visible(ranges_floor(&r), 12));
	range_raise_floor(&r.items[1], &new);
	assert_true(xid_visible(ranges_floor(&r), 11));
	range_cancel(&r.items[0]);
	range_cancel(&r.items[1]);
	assert_null(ranges_floor(&r));
	ranges_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(ranges_lie_side_by_side),
	        cmocka_unit_test(progress_is_found_again),
	        cmocka_unit_test(one_range_is_stored_as_its_position),
	        cmocka_unit_test(damaged_progress_is_none),
	        cmocka_unit_test(the_floor_is_the_oldest_snapshot_under_way),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
