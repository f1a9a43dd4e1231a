/* The worker pool and the timer wheel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "server/timer_wheel.h"
#include "server/worker_pool.h"

/* ---- workers ------------------------------------------------------------------------------------------------------------- */

struct job {
	struct task task;
	struct worker_pool *pool;
	_Atomic int runs;
	int again; /* queues itself so many times more */
};

static void run_job(struct task *t)
{
	struct job *j = (struct job *)t;
	atomic_fetch_add(&j->runs, 1);
	if (j->again-- > 0)
		worker_pool_push(j->pool, t);
}

static void every_task_runs_and_what_it_queues(void **state)
{
	(void)state;
	enum { COUNT = 10000 };
	struct job *jobs = calloc(COUNT, sizeof(*jobs));
	struct worker_pool *p = worker_pool_new(4);
	for (int i = 0; i < COUNT; i++) {
		jobs[i].task.run = run_job;
		jobs[i].pool = p;
		jobs[i].again = i % 3;
		worker_pool_push(p, &jobs[i].task);
	}
	worker_pool_free(p);
	for (int i = 0; i < COUNT; i++)
		assert_int_equal(jobs[i].runs, 1 + i % 3);
	free(jobs);
}

/* ---- timers -------------------------------------------------------------------------------------------------------------- */

struct alarm {
	struct timer_entry entry;
	int fired;
	struct timer_wheel *wheel;
	int64_t again_at;
	struct alarm *clears; /* another one that must not fire any more */
};

static void ring(struct timer_entry *e)
{
	struct alarm *a = (struct alarm *)e;
	a->fired++;
	if (a->again_at)
		timer_set(a->wheel, e, a->again_at);
	if (a->clears)
		timer_clear(a->wheel, &a->clears->entry);
}

static void timers_fire_at_their_time(void **state)
{
	(void)state;
	static struct timer_wheel w;
	static struct alarm a[1000];
	int64_t start = 123456789, now = start;
	timer_wheel_init(&w, now);
	for (int i = 0; i < 1000; i++) {
		a[i] = (struct alarm){.entry.fire = ring, .wheel = &w};
		timer_set(&w, &a[i].entry, start + i * 100); /* beyond the horizon of the wheel, too */
	}
	/* Set anew, and cleared. */
	timer_set(&w, &a[500].entry, start + 90000);
	timer_clear(&w, &a[501].entry);
	timer_clear(&w, &a[501].entry);
	for (; now < start + 110000; now += 37) {
		timer_wheel_turn(&w, now);
		for (int i = 0; i < 1000; i++) {
			int64_t due = i == 500 ? 90000 : i * 100;
			if (i == 501 || now < start + due)
				assert_int_equal(a[i].fired, 0);
			else if (now >= start + due + 2 * WHEEL_TICK_MS)
				assert_int_equal(a[i].fired, 1);
		}
	}
	assert_int_equal(w.count, 0);
}

static void timers_may_set_and_clear_timers_when_they_fire(void **state)
{
	(void)state;
	static struct timer_wheel w;
	struct alarm a = {.entry.fire = ring, .wheel = &w}, b = a;
	timer_wheel_init(&w, 1000);
	a.again_at = 2000;
	a.clears = &b;
	timer_set(&w, &a.entry, 1100);
	timer_set(&w, &b.entry, 1100);
	timer_wheel_turn(&w, 1500);
	assert_int_equal(a.fired, 1);
	assert_int_equal(b.fired, 0);
	a.again_at = 0;
	timer_wheel_turn(&w, 2100);
	assert_int_equal(a.fired, 2);
	assert_int_equal(w.count, 0);
}

static void a_clock_that_jumps_ahead_fires_all(void **state)
{
	(void)state;
	static struct timer_wheel w;
	struct alarm a = {.entry.fire = ring, .wheel = &w}, b = a;
	timer_wheel_init(&w, 0);
	timer_set(&w, &a.entry, 70);
	timer_set(&w, &b.entry, 40000);
	timer_wheel_turn(&w, 10000000);
	assert_int_equal(a.fired, 1);
	assert_int_equal(b.fired, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(every_task_runs_and_what_it_queues),
	        cmocka_unit_test(timers_fire_at_their_time),
	        cmocka_unit_test(timers_may_set_and_clear_timers_when_they_fire),
	        cmocka_unit_test(a_clock_that_jumps_ahead_fires_all),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
