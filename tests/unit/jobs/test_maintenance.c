/* The maintenance thread: intervals, failures, wake-ups, stopping. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "jobs/maintenance.h"
#include "jobs/retention.h"

#define PATIENCE_MS 20000

struct probe {
	_Atomic int runs;
	int failures; /* the first runs fail */
	bool endless; /* runs until it is told to stop */
};

static bool probe_run(void *ctx, struct maintenance *m, struct error *err)
{
	struct probe *p = ctx;
	const struct timespec pause = {.tv_nsec = 1000000};
	int run = atomic_fetch_add(&p->runs, 1) + 1;
	while (p->endless && maintenance_go_on(m))
		nanosleep(&pause, NULL);
	return run > p->failures || error_set(err, "", "run %d fails", run);
}

static bool reached(struct probe *p, int runs)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	int64_t until = clock_mono_ms() + PATIENCE_MS;
	while (atomic_load(&p->runs) < runs && clock_mono_ms() < until)
		nanosleep(&pause, NULL);
	return atomic_load(&p->runs) >= runs;
}

static struct maintenance *start(struct probe *a, int64_t a_ms, struct probe *b, int64_t b_ms, const struct log *log)
{
	struct error err;
	const struct maintenance_job jobs[] = {{"a", a_ms, probe_run, a}, {"b", b_ms, probe_run, b}};
	struct maintenance *m = maintenance_start(jobs, b ? 2 : 1, log, &err);
	assert_non_null(m);
	return m;
}

static void each_job_runs_at_its_interval(void **state)
{
	struct log log = {.level = LOG_ERROR, .fd = open("/dev/null", O_WRONLY)};
	struct probe often = {0}, seldom = {0};
	(void)state;
	struct maintenance *m = start(&often, 2, &seldom, 3600000, &log);
	assert_true(reached(&often, 5));
	maintenance_stop(m);
	assert_int_equal(atomic_load(&seldom.runs), 0);
	close(log.fd);
}

static void a_failed_job_is_tried_again_and_logged(void **state)
{
	char text[4096];
	FILE *file = tmpfile();
	struct log log = {.level = LOG_INFO, .fd = fileno(file)};
	struct probe failing = {.failures = 2}, other = {0};
	(void)state;
	struct maintenance *m = start(&failing, 5, &other, 5, &log);
	assert_true(reached(&failing, 4));
	assert_true(reached(&other, 4));
	maintenance_stop(m);
	rewind(file);
	text[fread(text, 1, sizeof(text) - 1, file)] = 0;
	fclose(file);
	assert_non_null(strstr(text, "run 1 fails"));
	assert_non_null(strstr(text, "run 2 fails"));
	assert_non_null(strstr(text, "works again"));
}

static void a_wake_up_does_not_wait_for_the_interval(void **state)
{
	struct log log = {.level = LOG_ERROR, .fd = open("/dev/null", O_WRONLY)};
	struct probe a = {0}, b = {0};
	(void)state;
	struct maintenance *m = start(&a, 3600000, &b, 3600000, &log);
	maintenance_wake(m, 1);
	assert_true(reached(&b, 1));
	maintenance_wake(m, 1);
	assert_true(reached(&b, 2));
	assert_int_equal(atomic_load(&a.runs), 0);
	maintenance_stop(m);
	close(log.fd);
}

static void stopping_ends_a_job_that_runs(void **state)
{
	struct log log = {.level = LOG_ERROR, .fd = open("/dev/null", O_WRONLY)};
	struct probe a = {.endless = true};
	(void)state;
	struct maintenance *m = start(&a, 1, NULL, 0, &log);
	assert_true(reached(&a, 1));
	maintenance_stop(m);
	assert_int_equal(atomic_load(&a.runs), 1);
	close(log.fd);
	maintenance_stop(NULL);
}

static void retention_looks_several_times_before_a_record_expires(void **state)
{
	(void)state;
	assert_int_equal(retention_interval_ms(60 * 60000), 180000);
	assert_int_equal(retention_interval_ms(60000), 7500);
	assert_int_equal(retention_interval_ms(1), 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(each_job_runs_at_its_interval),
	        cmocka_unit_test(a_failed_job_is_tried_again_and_logged),
	        cmocka_unit_test(a_wake_up_does_not_wait_for_the_interval),
	        cmocka_unit_test(stopping_ends_a_job_that_runs),
	        cmocka_unit_test(retention_looks_several_times_before_a_record_expires),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
