/* meter.c: see meter.h. */
#include "storage/meter.h"

#include "base/clock.h"
#include "storage/internal.h"

#define MEASURE_EVERY_MS 60000

static void measure(void *ctx)
{
	struct storage *s = ctx;
	struct storage_meter *m = &s->meter;
	struct storage_sizes sizes = {0};
	struct error err;
	int64_t now = clock_mono_ms();
	if (m->measured_at_ms && now - m->measured_at_ms < MEASURE_EVERY_MS)
		return;
	/* As in the reference: nothing is told of a store that serves nothing. */
	if (storage_checkpoint(s).valid && !storage_sizes(s, &sizes, &err)) {
		log_warn(s->log, "Cannot measure the store: %s", err.message);
		return;
	}
	m->measured_at_ms = now;
	gauge_set(m->operations, (double)sizes.operations);
	gauge_set(m->lookup_bytes, (double)sizes.lookups);
	gauge_set(m->rows, (double)sizes.rows);
	gauge_set(m->file, (double)sizes.file);
	gauge_set(m->used, (double)sizes.used);
}

void meter_init(struct storage *s, struct metrics *m)
{
	if (!m)
		return;
	s->meter = (struct storage_meter){
	        .runs = metrics_counter(m, "syncline_compaction_runs_total", "", "Compactions, by schedule or command."),
	        .failures = metrics_counter(m, "syncline_compaction_failures_total", "", "Compactions that failed."),
	        .moved = metrics_counter(m, "syncline_compaction_operations_moved_total", "",
	                                 "Operations that compaction replaced by MOVE."),
	        .cleared = metrics_counter(m, "syncline_compaction_operations_cleared_total", "",
	                                   "Operations that compaction took into CLEAR."),
	        .lookups = metrics_counter(m, "syncline_compaction_lookups_removed_total", "",
	                                   "Superseded entries of parameter lookups that compaction removed."),
	        .dropped =
	                metrics_counter(m, "syncline_compaction_dropped_total", "",
	                                "Operations, lookup entries and contributions removed because no sync config uses them."),
	        .freed = metrics_counter(m, "syncline_compaction_freed_bytes_total", "",
	                                 "Bytes of pages that compaction freed in the store's file."),
	        .milliseconds = metrics_counter(m, "syncline_compaction_milliseconds_total", "", "Time spent in compactions."),
	        .rewritten = metrics_counter(m, "syncline_compaction_rows_rewritten_total", "",
	                                     "Rows that got a new operation, so that compaction can clear what lies before."),
	        .last_run = metrics_gauge(m, "syncline_compaction_last_run_timestamp_seconds", "",
	                                  "When the last compaction ended, in seconds since 1970."),
	        .flush = metrics_histogram(m, "syncline_storage_flush_seconds", "",
	                                   "Time that a commit to the store takes until it is on disk.", metrics_work_bounds,
	                                   metrics_work_bound_count),
	        .rows = metrics_gauge(m, "powersync_replication_storage_size_bytes", "", "Size of current data stored."),
	        .operations = metrics_gauge(m, "powersync_operation_storage_size_bytes", "", "Size of operations stored."),
	        .lookup_bytes = metrics_gauge(m, "powersync_parameter_storage_size_bytes", "", "Size of parameter data stored."),
	        .file = metrics_gauge(m, "syncline_storage_file_bytes", "", "Size of the store's file of replicated data."),
	        .used = metrics_gauge(m, "syncline_storage_used_bytes", "", "Bytes of that file that hold data."),
	};
	metrics_on_print(m, measure, s);
}

void meter_note_compaction(struct storage *s, const struct compact_report *r, bool ok, int64_t began_mono_ms)
{
	struct storage_meter *m = &s->meter;
	counter_add(ok ? m->runs : m->failures, 1);
	counter_add(m->moved, r->moved);
	counter_add(m->cleared, r->cleared);
	counter_add(m->lookups, r->lookups);
	counter_add(m->dropped, r->dropped);
	counter_add(m->freed, r->freed);
	counter_add(m->milliseconds, (uint64_t)(clock_mono_ms() - began_mono_ms));
	gauge_set(m->last_run, (double)clock_wall_ms() / 1000);
}
