/* request_metrics.c: outcomes are counted as they come, everything else is asked for before it is printed. */
#include "server/request_metrics.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "storage/request_list.h"
#include "sync/session.h"

struct request_metrics {
	struct requests *requests;
	struct storage *storage;
	struct session_hub *hub;
	struct counter *stored, *known, *waited, *failed, *refused;
	struct counter *batches, *heads, *markers, *connects;
	struct counter *steps, *lookups, *wakes;
	struct gauge *pending, *headless, *oldest;
};

static void collect(void *ctx)
{
	struct request_metrics *r = ctx;
	struct requests_stats s;
	struct hub_stats h;
	struct request_counts c;
	struct error ignored;
	requests_get_stats(r->requests, &s);
	counter_set(r->batches, s.batches);
	counter_set(r->heads, s.heads);
	counter_set(r->markers, s.markers);
	counter_set(r->connects, s.reconnects);
	session_hub_stats(r->hub, &h);
	counter_set(r->steps, h.steps);
	counter_set(r->lookups, h.lookups_read);
	counter_set(r->wakes, h.wakes);
	if (!storage_count_requests(r->storage, &c, &ignored)) {
		gauge_forget(r->pending);
		gauge_forget(r->headless);
		gauge_forget(r->oldest);
		return;
	}
	gauge_set(r->pending, (double)c.pending);
	gauge_set(r->headless, (double)c.headless);
	gauge_set(r->oldest, (double)c.oldest_age_ms / 1000);
}

static struct counter *outcome(struct metrics *m, const char *labels)
{
	return metrics_counter(m, "syncline_checkpoint_requests_total", labels, "Checkpoint requests by outcome.");
}

static void register_requests(struct request_metrics *r, struct metrics *m)
{
	r->stored = outcome(m, "outcome=\"stored\"");
	r->known = outcome(m, "outcome=\"known\"");
	r->waited = outcome(m, "outcome=\"waited\"");
	r->failed = outcome(m, "outcome=\"failed\"");
	r->refused = outcome(m, "outcome=\"refused\"");
	r->pending = metrics_gauge(m, "syncline_checkpoint_requests_pending", "", "Request ids that are not acknowledged yet.");
	r->headless = metrics_gauge(m, "syncline_checkpoint_requests_without_head", "",
	                            "Pending ids that came while the source was away.");
	r->oldest = metrics_gauge(m, "syncline_checkpoint_requests_oldest_pending_seconds", "",
	                          "Age of the oldest pending id; 0: none is pending.");
	r->batches = metrics_counter(m, "syncline_checkpoint_request_batches_total", "", "Batches that requests were stored in.");
	r->heads =
	        metrics_counter(m, "syncline_checkpoint_request_heads_total", "", "Reads of the source's position for requests.");
	r->markers = metrics_counter(m, "syncline_checkpoint_request_markers_total", "", "Markers made in the source.");
	r->connects = metrics_counter(m, "syncline_checkpoint_request_connects_total", "",
	                              "Connections to the source made for requests and markers.");
}

static void register_sessions(struct request_metrics *r, struct metrics *m)
{
	r->steps = metrics_counter(m, "syncline_session_steps_total", "",
	                           "Steps of sync streams: each looks for something to send.");
	r->lookups = metrics_counter(m, "syncline_session_lookups_total", "", "Parameter lookups that steps have read.");
	r->wakes = metrics_counter(m, "syncline_session_wakes_total", "", "Sync streams that news concerned.");
}

struct request_metrics *request_metrics_new(struct metrics *m, struct requests *requests, struct storage *storage,
                                            struct session_hub *hub)
{
	struct request_metrics *r = xcalloc(1, sizeof(*r));
	r->requests = requests;
	r->storage = storage;
	r->hub = hub;
	register_requests(r, m);
	register_sessions(r, m);
	metrics_on_print(m, collect, r);
	return r;
}

void request_metrics_free(struct request_metrics *r)
{
	free(r);
}

void request_metrics_count(struct request_metrics *r, const struct checkpoint_job *job)
{
	if (!job)
		counter_add(r->refused, 1);
	else if (job->outcome != OUTCOME_DONE)
		counter_add(r->failed, 1);
	else
		counter_add(job->kind == JOB_WAIT ? r->waited : job->stored ? r->stored : r->known, 1);
}
