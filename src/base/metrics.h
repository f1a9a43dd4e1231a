/*
 * metrics.h: what the service counts, and its text for Prometheus.
 *
 * A registry is made once, handed to whoever counts, and freed after them. A series is registered with a name and labels: asking for the
 * same name and labels again gives the same series, so that layers need not know of each other. A series lives as long as its
 * registry. Registering takes a lock and is for start-up; updating is one atomic operation or a few, on any thread. Every function takes
 * NULL for the registry or the series and then does nothing, so that tests and tools need no registry.
 *
 * Units are in the names: _seconds, _bytes, _total (counters).
 */
#ifndef SYNCLINE_BASE_METRICS_H
#define SYNCLINE_BASE_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct metrics;
struct counter;
struct gauge;
struct histogram;

struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);

/* Labels as they stand between the braces, with quoted values: outcome="stored"; "" for none. metric_label appends one, escaped. */
void metric_label(struct buf *labels, const char *name, struct slice value);

/* help: one sentence. A name belongs to one kind for ever: asking for another answers NULL. All text is copied. */
struct counter *metrics_counter(struct metrics *m, const char *name, const char *labels, const char *help);
struct gauge *metrics_gauge(struct metrics *m, const char *name, const char *labels, const char *help);
/* bounds: upper bounds of the buckets, ascending; +Inf is added. */
struct histogram *metrics_histogram(struct metrics *m, const char *name, const char *labels, const char *help,
                                    const double *bounds, size_t count);
/* Bounds from 1 ms to 5 min, for latencies in seconds. */
extern const double metrics_latency_bounds[];
extern const size_t metrics_latency_bound_count;
/* Bounds from 10 us to 10 s, for phases of work in seconds. */
extern const double metrics_work_bounds[];
extern const size_t metrics_work_bound_count;

void counter_add(struct counter *c, uint64_t n);
/* For totals that are counted elsewhere; a counter must not go down. */
void counter_set(struct counter *c, uint64_t total);
uint64_t counter_get(const struct counter *c);
void gauge_set(struct gauge *g, double v);
/* Not known now: the series is left out of the text until it is set again. */
void gauge_forget(struct gauge *g);
double gauge_get(const struct gauge *g); /* 0 when forgotten */
/* Forgets all series of the name: for labels that come and go. */
void metrics_forget(struct metrics *m, const char *name);
void histogram_observe(struct histogram *h, double v);
uint64_t histogram_count(const struct histogram *h);

/* Called before each metrics_print, on its thread, in order of registration: sets what is only known by asking. */
void metrics_on_print(struct metrics *m, void (*collect)(void *ctx), void *ctx);
/* Text exposition format 0.0.4: names in order of registration, series of a name together. */
void metrics_print(struct metrics *m, struct buf *out);

#endif
