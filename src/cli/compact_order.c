/* compact_order.c: see compact_order.h. */
#include "cli/compact_order.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"

#define PROGRESS_MS 200
/* --incremental-only: as the service does by itself (jobs/). */
#define INCREMENTAL_MIN_DEAD 10
#define INCREMENTAL_MIN_SHARE 0.1
/* --defragment: at least that must be gained. */
#define DEFRAGMENT_SHARE 0.2

struct order_run {
	const struct compact_way *way;
	struct compact_report report;
	int64_t told_at_ms;
};

static json_t *numbers(const struct compact_report *r)
{
	const struct {
		const char *name;
		uint64_t value;
	} all[] = {{"buckets", r->buckets}, {"moved", r->moved},     {"cleared", r->cleared}, {"lookups", r->lookups},
	           {"dropped", r->dropped}, {"unknown", r->unknown}, {"rewritten", r->asked}};
	json_t *out = json_pack("{s:b}", "stopped", r->stopped);
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		json_object_set_new(out, all[i].name, json_integer((json_int_t)all[i].value));
	return out;
}

static bool go_on(void *ctx)
{
	struct order_run *run = ctx;
	const struct compact_way *way = run->way;
	int64_t now = clock_mono_ms();
	if (way->progress && now - run->told_at_ms >= PROGRESS_MS) {
		json_t *values = numbers(&run->report);
		json_object_set_new(values, "walked", json_integer((json_int_t)run->report.walked));
		json_object_set_new(values, "total", json_integer((json_int_t)run->report.total));
		run->told_at_ms = now;
		way->progress(way->ctx, values);
	}
	return !way->go_on || way->go_on(way->ctx);
}

static bool is_true(const json_t *order, const char *key)
{
	return json_is_true(json_object_get(order, key));
}

static struct slice *read_names(const json_t *order, size_t *count)
{
	const json_t *names = json_object_get(order, "names");
	*count = json_array_size(names);
	struct slice *out = xcalloc(*count + 1, sizeof(*out));
	for (size_t i = 0; i < *count; i++) {
		const json_t *name = json_array_get(names, i);
		out[i] = json_is_string(name) ? slice_make(json_string_value(name), json_string_length(name)) : SLICE("");
	}
	return out;
}

/* Without a number, or with a bad one, the usual margin. */
static int64_t read_margin(const json_t *order)
{
	const json_t *margin = json_object_get(order, "margin_ms");
	json_int_t ms = json_integer_value(margin);
	return json_is_integer(margin) && ms >= 0 && ms < COMPACT_DEFAULT_MARGIN_MS ? ms : COMPACT_DEFAULT_MARGIN_MS;
}

json_t *compact_order_run(struct storage *s, const json_t *order, const struct compact_way *way, struct error *err)
{
	struct order_run run = {.way = way};
	int64_t began = clock_mono_ms();
	struct compact_options o = {
	        .buckets = is_true(order, "buckets"),
	        .lookups = is_true(order, "lookups"),
	        .dropped = true,
	        .margin_ms = way->in_use ? read_margin(order) : 0,
	        .gentle = way->in_use,
	        .measure = way->progress != NULL,
	        .go_on = go_on,
	        .ctx = &run,
	};
	if (is_true(order, "incremental")) {
		o.min_dead = INCREMENTAL_MIN_DEAD;
		o.min_share = INCREMENTAL_MIN_SHARE;
	}
	if (is_true(order, "defragment") && way->in_use)
		o.defragment_share = DEFRAGMENT_SHARE;
	struct slice *names = read_names(order, &o.name_count);
	o.names = names;
	bool ok = storage_expire_requests(s, err) && storage_compact(s, &o, &run.report, err);
	free(names);
	if (!ok)
		return NULL;
	json_t *done = numbers(&run.report);
	json_object_set_new(done, "bytes_freed", json_integer((json_int_t)run.report.freed));
	json_object_set_new(done, "seconds", json_real((double)(clock_mono_ms() - began) / 1000));
	return done;
}
