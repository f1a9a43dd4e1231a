/* The registry of metrics: what is counted comes out as Prometheus text, from any thread. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/metrics.h"

static void expect_text(struct metrics *m, const char *want)
{
	struct buf out = {0};
	metrics_print(m, &out);
	buf_putc(&out, '\0');
	assert_string_equal(out.p, want);
	buf_free(&out);
}

static void series_of_a_name_stand_together(void **state)
{
	(void)state;
	struct metrics *m = metrics_new();
	struct counter *stored = metrics_counter(m, "requests_total", "outcome=\"stored\"", "Requests.");
	struct gauge *pending = metrics_gauge(m, "pending", "", "Pending now.");
	struct counter *failed = metrics_counter(m, "requests_total", "outcome=\"failed\"", "Requests.");
	counter_add(stored, 2);
	counter_add(stored, 3);
	gauge_set(pending, 1.5);
	assert_ptr_equal(stored, metrics_counter(m, "requests_total", "outcome=\"stored\"", "again"));
	assert_ptr_not_equal(stored, failed);
	assert_null(metrics_gauge(m, "requests_total", "", "another kind"));
	expect_text(m, "# HELP requests_total Requests.\n# TYPE requests_total counter\n"
	               "requests_total{outcome=\"stored\"} 5\nrequests_total{outcome=\"failed\"} 0\n"
	               "# HELP pending Pending now.\n# TYPE pending gauge\npending 1.5\n");
	assert_int_equal(counter_get(stored), 5);
	metrics_free(m);
}

static void a_gauge_that_is_not_known_is_left_out(void **state)
{
	(void)state;
	struct metrics *m = metrics_new();
	struct gauge *lag = metrics_gauge(m, "lag_seconds", "", "Lag.");
	expect_text(m, "");
	gauge_set(lag, 0);
	expect_text(m, "# HELP lag_seconds Lag.\n# TYPE lag_seconds gauge\nlag_seconds 0\n");
	gauge_forget(lag);
	expect_text(m, "");
	assert_true(gauge_get(lag) == 0);
	metrics_free(m);
}

static void all_series_of_a_gauge_are_forgotten_at_once(void **state)
{
	(void)state;
	struct metrics *m = metrics_new();
	gauge_set(metrics_gauge(m, "rows", "table=\"a\"", "Rows."), 1);
	gauge_set(metrics_gauge(m, "rows", "table=\"b\"", "Rows."), 2);
	gauge_set(metrics_gauge(m, "other", "", "Other."), 3);
	counter_add(metrics_counter(m, "events_total", "", "Events."), 4);
	metrics_forget(m, "rows");
	metrics_forget(m, "events_total"); /* counters are kept */
	metrics_forget(m, "unknown");
	metrics_forget(NULL, "rows");
	gauge_set(metrics_gauge(m, "rows", "table=\"b\"", "Rows."), 5);
	expect_text(m, "# HELP rows Rows.\n# TYPE rows gauge\nrows{table=\"b\"} 5\n"
	               "# HELP other Other.\n# TYPE other gauge\nother 3\n"
	               "# HELP events_total Events.\n# TYPE events_total counter\nevents_total 4\n");
	metrics_free(m);
}

static void buckets_of_a_histogram_add_up(void **state)
{
	(void)state;
	struct metrics *m = metrics_new();
	static const double bounds[] = {0.01, 1};
	struct histogram *h = metrics_histogram(m, "ack_seconds", "", "Latency.", bounds, 2);
	histogram_observe(h, 0.01);
	histogram_observe(h, 0.5);
	histogram_observe(h, 1.5);
	histogram_observe(h, 0);
	expect_text(
	        m,
	        "# HELP ack_seconds Latency.\n# TYPE ack_seconds histogram\nack_seconds_bucket{le=\"0.01\"} 2\n"
	        "ack_seconds_bucket{le=\"1\"} 3\nack_seconds_bucket{le=\"+Inf\"} 4\nack_seconds_sum 2.01\nack_seconds_count 4\n");
	assert_int_equal(histogram_count(h), 4);
	assert_true(metrics_latency_bound_count > 10);
	for (size_t i = 1; i < metrics_latency_bound_count; i++)
		assert_true(metrics_latency_bounds[i] > metrics_latency_bounds[i - 1]);
	metrics_free(m);
}

static void label_values_are_escaped(void **state)
{
	(void)state;
	struct buf labels = {0};
	metric_label(&labels, "a", SLICE("x\"y\\z\n"));
	metric_label(&labels, "b", SLICE(""));
	buf_putc(&labels, '\0');
	assert_string_equal(labels.p, "a=\"x\\\"y\\\\z\\n\",b=\"\"");
	buf_free(&labels);
}

static void nothing_happens_without_a_registry(void **state)
{
	(void)state;
	counter_add(metrics_counter(NULL, "a", "", "a"), 1);
	gauge_set(metrics_gauge(NULL, "a", "", "a"), 1);
	histogram_observe(metrics_histogram(NULL, "a", "", "a", metrics_latency_bounds, 1), 1);
	metrics_on_print(NULL, NULL, NULL);
	struct buf out = {0};
	metrics_print(NULL, &out);
	assert_int_equal(out.n, 0);
	metrics_free(NULL);
}

static void collect(void *ctx)
{
	struct metrics *m = ctx;
	counter_set(metrics_counter(m, "asked_total", "", "Asked for."), 7);
}

static void collectors_run_before_printing(void **state)
{
	(void)state;
	struct metrics *m = metrics_new();
	metrics_on_print(m, collect, m);
	expect_text(m, "# HELP asked_total Asked for.\n# TYPE asked_total counter\nasked_total 7\n");
	metrics_free(m);
}

enum { THREADS = 4, ROUNDS = 20000 };

static void *count(void *arg)
{
	struct metrics *m = arg;
	struct counter *c = metrics_counter(m, "c_total", "", "c");
	struct histogram *h = metrics_histogram(m, "h", "", "h", metrics_latency_bounds, metrics_latency_bound_count);
	for (int i = 0; i < ROUNDS; i++) {
		counter_add(c, 1);
		histogram_observe(h, 0.5);
		gauge_set(metrics_gauge(m, "g", "", "g"), i);
	}
	return NULL;
}

static void nothing_is_lost_between_threads(void **state)
{
	(void)state;
	struct metrics *m = metrics_new();
	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count, m), 0);
	struct buf out = {0};
	for (int i = 0; i < 20; i++) {
		buf_clear(&out);
		metrics_print(m, &out);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	buf_clear(&out);
	metrics_print(m, &out);
	buf_putc(&out, '\0');
	assert_non_null(strstr(out.p, "c_total 80000\n"));
	assert_non_null(strstr(out.p, "h_count 80000\n"));
	assert_non_null(strstr(out.p, "h_sum 40000\n"));
	buf_free(&out);
	metrics_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(series_of_a_name_stand_together),
	        cmocka_unit_test(a_gauge_that_is_not_known_is_left_out),
	        cmocka_unit_test(all_series_of_a_gauge_are_forgotten_at_once),
	        cmocka_unit_test(buckets_of_a_histogram_add_up),
	        cmocka_unit_test(label_values_are_escaped),
	        cmocka_unit_test(nothing_happens_without_a_registry),
	        cmocka_unit_test(collectors_run_before_printing),
	        cmocka_unit_test(nothing_is_lost_between_threads),
	};
	return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
