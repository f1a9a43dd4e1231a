/* metrics.c: see metrics.h. A family has a name, a kind and a list of series; values are atomics. */
#include "base/metrics.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct counter {
	_Atomic uint64_t value;
};

/* Doubles are kept as their bits: that is lock-free everywhere. */
struct gauge {
	_Atomic uint64_t bits;
	_Atomic bool known;
};

struct histogram {
	double *bounds;
	size_t bound_count;
	_Atomic uint64_t *buckets; /* bound_count + 1; each counts its own range only */
	_Atomic uint64_t sum_bits;
};

struct series {
	struct series *next;
	char *labels;
	union {
		struct counter counter;
		struct gauge gauge;
		struct histogram histogram;
	};
};

struct family {
	struct family *next;
	char *name, *help;
	enum metric_kind kind;
	struct series *first, **end;
};

struct collector {
	struct collector *next;
	void (*collect)(void *ctx);
	void *ctx;
};

struct metrics {
	pthread_mutex_t lock;     /* of the lists */
	pthread_mutex_t printing; /* collectors run one print at a time */
	struct family *first, **end;
	struct collector *collectors, **collectors_end;
};

const double metrics_latency_bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300};
const size_t metrics_latency_bound_count = sizeof(metrics_latency_bounds) / sizeof(*metrics_latency_bounds);

const double metrics_work_bounds[] = {0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005,
                                      0.01,    0.025,    0.05,    0.1,    0.25,    0.5,    1,     2.5,    10};
const size_t metrics_work_bound_count = sizeof(metrics_work_bounds) / sizeof(*metrics_work_bounds);

static double double_of(uint64_t bits)
{
	double v;
	memcpy(&v, &bits, sizeof(v));
	return v;
}

static uint64_t bits_of(double v)
{
	uint64_t bits;
	memcpy(&bits, &v, sizeof(bits));
	return bits;
}

struct metrics *metrics_new(void)
{
	struct metrics *m = xcalloc(1, sizeof(*m));
	pthread_mutex_init(&m->lock, NULL);
	pthread_mutex_init(&m->printing, NULL);
	m->end = &m->first;
	m->collectors_end = &m->collectors;
	return m;
}

static void family_free(struct family *f)
{
	for (struct series *s = f->first, *next; s; s = next) {
		next = s->next;
		if (f->kind == METRIC_HISTOGRAM) {
			free(s->histogram.bounds);
			free(s->histogram.buckets);
		}
		free(s->labels);
		free(s);
	}
	free(f->name);
	free(f->help);
	free(f);
}

void metrics_free(struct metrics *m)
{
	if (!m)
		return;
	for (struct family *f = m->first, *next; f; f = next) {
		next = f->next;
		family_free(f);
	}
	for (struct collector *c = m->collectors, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	pthread_mutex_destroy(&m->lock);
	pthread_mutex_destroy(&m->printing);
	free(m);
}

void metric_label(struct buf *labels, const char *name, struct slice value)
{
	buf_printf(labels, "%s%s=\"", labels->n ? "," : "", name);
	for (size_t i = 0; i < value.n; i++) {
		char c = value.p[i];
		if (c == '\\' || c == '"')
			buf_putc(labels, '\\');
		if (c == '\n')
			buf_lit(labels, "\\n");
		else
			buf_putc(labels, c);
	}
	buf_putc(labels, '"');
}

/* ---- registering -------------------------------------------------------------------------------------------------------------- */

static struct family *family_find(struct metrics *m, const char *name)
{
	struct family *f = m->first;
	while (f && strcmp(f->name, name) != 0)
		f = f->next;
	return f;
}

/* Under the lock. *made: it is new and its value is to be set up. */
static struct series *series_get(struct metrics *m, enum metric_kind kind, const char *name, const char *labels, const char *help,
                                 bool *made)
{
	struct family *f = family_find(m, name);
	if (!f) {
		f = xcalloc(1, sizeof(*f));
		f->name = xstrdup(slice_cstr(name));
		f->help = xstrdup(slice_cstr(help));
		f->kind = kind;
		f->end = &f->first;
		*m->end = f;
		m->end = &f->next;
	}
	if (f->kind != kind)
		return NULL;
	for (struct series *s = f->first; s; s = s->next)
		if (strcmp(s->labels, labels) == 0)
			return s;
	struct series *s = xcalloc(1, sizeof(*s));
	s->labels = xstrdup(slice_cstr(labels));
	*f->end = s;
	f->end = &s->next;
	*made = true;
	return s;
}

struct counter *metrics_counter(struct metrics *m, const char *name, const char *labels, const char *help)
{
	bool made = false;
	if (!m)
		return NULL;
	pthread_mutex_lock(&m->lock);
	struct series *s = series_get(m, METRIC_COUNTER, name, labels, help, &made);
	pthread_mutex_unlock(&m->lock);
	return s ? &s->counter : NULL;
}

struct gauge *metrics_gauge(struct metrics *m, const char *name, const char *labels, const char *help)
{
	bool made = false;
	if (!m)
		return NULL;
	pthread_mutex_lock(&m->lock);
	struct series *s = series_get(m, METRIC_GAUGE, name, labels, help, &made);
	pthread_mutex_unlock(&m->lock);
	return s ? &s->gauge : NULL;
}

struct histogram *metrics_histogram(struct metrics *m, const char *name, const char *labels, const char *help,
                                    const double *bounds, size_t count)
{
	bool made = false;
	if (!m)
		return NULL;
	pthread_mutex_lock(&m->lock);
	struct series *s = series_get(m, METRIC_HISTOGRAM, name, labels, help, &made);
	if (s && made) {
		s->histogram.bounds = xmalloc((count + 1) * sizeof(*bounds));
		memcpy(s->histogram.bounds, bounds, count * sizeof(*bounds));
		s->histogram.bound_count = count;
		s->histogram.buckets = xcalloc(count + 1, sizeof(*s->histogram.buckets));
	}
	pthread_mutex_unlock(&m->lock);
	return s ? &s->histogram : NULL;
}

void metrics_on_print(struct metrics *m, void (*collect)(void *ctx), void *ctx)
{
	if (!m)
		return;
	struct collector *c = xcalloc(1, sizeof(*c));
	c->collect = collect;
	c->ctx = ctx;
	pthread_mutex_lock(&m->lock);
	*m->collectors_end = c;
	m->collectors_end = &c->next;
	pthread_mutex_unlock(&m->lock);
}

/* ---- updating ----------------------------------------------------------------------------------------------------------------- */

void counter_add(struct counter *c, uint64_t n)
{
	if (c)
		atomic_fetch_add_explicit(&c->value, n, memory_order_relaxed);
}

void counter_set(struct counter *c, uint64_t total)
{
	if (c)
		atomic_store_explicit(&c->value, total, memory_order_relaxed);
}

uint64_t counter_get(const struct counter *c)
{
	return c ? atomic_load_explicit(&c->value, memory_order_relaxed) : 0;
}

void gauge_set(struct gauge *g, double v)
{
	if (!g)
		return;
	atomic_store_explicit(&g->bits, bits_of(v), memory_order_relaxed);
	atomic_store_explicit(&g->known, true, memory_order_release);
}

void gauge_forget(struct gauge *g)
{
	if (g)
		atomic_store_explicit(&g->known, false, memory_order_relaxed);
}

void metrics_forget(struct metrics *m, const char *name)
{
	if (!m)
		return;
	pthread_mutex_lock(&m->lock);
	struct family *f = family_find(m, name);
	for (struct series *s = f && f->kind == METRIC_GAUGE ? f->first : NULL; s; s = s->next)
		gauge_forget(&s->gauge);
	pthread_mutex_unlock(&m->lock);
}

double gauge_get(const struct gauge *g)
{
	return g && atomic_load_explicit(&g->known, memory_order_acquire)
	               ? double_of(atomic_load_explicit(&g->bits, memory_order_relaxed))
	               : 0;
}

void histogram_observe(struct histogram *h, double v)
{
	if (!h || isnan(v))
		return;
	size_t i = 0;
	while (i < h->bound_count && v > h->bounds[i])
		i++;
	atomic_fetch_add_explicit(&h->buckets[i], 1, memory_order_relaxed);
	uint64_t before = atomic_load_explicit(&h->sum_bits, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(&h->sum_bits, &before, bits_of(double_of(before) + v), memory_order_relaxed,
	                                              memory_order_relaxed))
		continue;
}

uint64_t histogram_count(const struct histogram *h)
{
	uint64_t n = 0;
	for (size_t i = 0; h && i <= h->bound_count; i++)
		n += atomic_load_explicit(&h->buckets[i], memory_order_relaxed);
	return n;
}

/* ---- text --------------------------------------------------------------------------------------------------------------------- */

/* Whole numbers without an exponent or a fraction, as far as a double holds them exactly. */
static void put_number(struct buf *out, double v)
{
	if (isinf(v))
		buf_printf(out, "%sInf", v < 0 ? "-" : "+");
	else if (isnan(v))
		buf_lit(out, "NaN");
	else if (v == floor(v) && fabs(v) < 9007199254740992.0)
		buf_i64(out, (int64_t)v);
	else
		buf_printf(out, "%.9g", v);
}

static void put_name(struct buf *out, const char *name, const char *suffix, const char *labels, const char *more)
{
	buf_printf(out, "%s%s", name, suffix);
	if (*labels || *more)
		buf_printf(out, "{%s%s%s}", labels, *labels && *more ? "," : "", more);
	buf_putc(out, ' ');
}

static void print_histogram(struct buf *out, const char *name, const struct series *s)
{
	const struct histogram *h = &s->histogram;
	char bound[64];
	uint64_t n = 0;
	for (size_t i = 0; i < h->bound_count; i++) {
		n += atomic_load_explicit(&h->buckets[i], memory_order_relaxed);
		snprintf(bound, sizeof(bound), "le=\"%g\"", h->bounds[i]);
		put_name(out, name, "_bucket", s->labels, bound);
		buf_u64(out, n);
		buf_putc(out, '\n');
	}
	n += atomic_load_explicit(&h->buckets[h->bound_count], memory_order_relaxed);
	put_name(out, name, "_bucket", s->labels, "le=\"+Inf\"");
	buf_u64(out, n);
	buf_putc(out, '\n');
	put_name(out, name, "_sum", s->labels, "");
	put_number(out, double_of(atomic_load_explicit(&h->sum_bits, memory_order_relaxed)));
	buf_putc(out, '\n');
	put_name(out, name, "_count", s->labels, "");
	buf_u64(out, n);
	buf_putc(out, '\n');
}

/* Bytes have a line of their own that says so (http-api-and-operations 10); for parsers of the format 0.0.4 it is a comment. */
static void print_head(struct buf *out, const struct family *f)
{
	static const char *const kinds[] = {"counter", "gauge", "histogram"};
	struct slice name = slice_make(f->name, strlen(f->name));
	buf_printf(out, "# HELP %s %s\n", f->name, f->help);
	if (slice_ends(name, SLICE("_bytes")) || slice_ends(name, SLICE("_bytes_total")))
		buf_printf(out, "# UNIT %s bytes\n", f->name);
	buf_printf(out, "# TYPE %s %s\n", f->name, kinds[f->kind]);
}

static void print_family(struct buf *out, const struct family *f)
{
	bool head = false;
	for (const struct series *s = f->first; s; s = s->next) {
		if (f->kind == METRIC_GAUGE && !atomic_load_explicit(&s->gauge.known, memory_order_acquire))
			continue;
		if (!head)
			print_head(out, f);
		head = true;
		if (f->kind == METRIC_HISTOGRAM) {
			print_histogram(out, f->name, s);
			continue;
		}
		put_name(out, f->name, "", s->labels, "");
		if (f->kind == METRIC_COUNTER)
			buf_u64(out, counter_get(&s->counter));
		else
			put_number(out, gauge_get(&s->gauge));
		buf_putc(out, '\n');
	}
}

void metrics_print(struct metrics *m, struct buf *out)
{
	if (!m)
		return;
	pthread_mutex_lock(&m->printing);
	pthread_mutex_lock(&m->lock);
	struct collector *c = m->collectors;
	pthread_mutex_unlock(&m->lock);
	/* Collectors may register, so they run without the lock; the list only grows at its end. */
	for (; c; c = c->next)
		c->collect(c->ctx);
	pthread_mutex_lock(&m->lock);
	for (const struct family *f = m->first; f; f = f->next)
		print_family(out, f);
	pthread_mutex_unlock(&m->lock);
	pthread_mutex_unlock(&m->printing);
}
