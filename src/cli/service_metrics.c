/* service_metrics.c: the registry of one service, what replication adds to it, and the port that prints it. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/service.h"

static void tell_source_facts(struct service *s)
{
	struct buf labels = {0};
	metric_label(&labels, "service", SLICE("PowerSync"));
	metric_label(&labels, "service_version", SLICE(SYNCLINE_VERSION));
	metric_label(&labels, "source_type", s->config->has_source ? SLICE("postgresql") : SLICE("unknown"));
	metric_label(&labels, "storage_type", slice_cstr(s->config->storage.type));
	metric_label(&labels, "instance_id", slice_cstr(storage_instance_id(s->storage)));
	buf_putc(&labels, 0);
	gauge_set(metrics_gauge(s->metrics, "target_info", labels.p, "Target metadata."), 1);
	buf_free(&labels);
}

static void set_known(struct gauge *g, bool known, double v)
{
	if (known)
		gauge_set(g, v);
	else
		gauge_forget(g);
}

/* These are there from the start, with 0. known: there was a replicator to ask; a counter never goes back. */
static void tell_total(struct metrics *m, const char *name, const char *help, bool known, uint64_t total)
{
	struct counter *c = metrics_counter(m, name, "", help);
	if (known)
		counter_set(c, total);
}

/* On the thread that prints. */
static void collect_replication(void *ctx)
{
	struct service *s = ctx;
	struct metrics *m = s->metrics;
	struct replicator_status r = {.rows_estimated = -1, .eta_s = -1};
	struct source_traffic traffic = {0};
	bool running = service_replicator_status(s, &r, &traffic);
	tell_total(m, "powersync_data_replicated_bytes_total", "Bytes read from the source connections.", running, traffic.bytes);
	tell_total(m, "powersync_chunks_replicated_total", "Portions of data that came from the source.", running,
	           traffic.chunks);
	tell_total(m, "powersync_rows_replicated_total", "Rows from snapshots and the stream.", running, r.rows_read + r.changes);
	tell_total(m, "powersync_transactions_replicated_total", "Transactions from the stream.", running, r.transactions);
	set_known(metrics_gauge(m, "powersync_replication_lag_seconds", "", "Age of the oldest change that is not served yet."),
	          running && r.caught_up && storage_checkpoint(s->storage).valid, round(r.greatest_lag_s));
	set_known(metrics_gauge(m, "syncline_replication_lag_bytes", "", "WAL of the source that is not served yet."),
	          running && r.connected, (double)r.lag_bytes);
	set_known(metrics_gauge(m, "syncline_replication_slot_wal_bytes", "", "WAL that the source keeps because of the slot."),
	          running && r.slot_known, (double)r.slot_bytes);
	set_known(metrics_gauge(m, "syncline_replication_slot_left_bytes", "",
	                        "WAL that may still come before the source gives the slot up."),
	          running && r.slot_known && r.slot_limited, (double)r.slot_left);
	gauge_set(metrics_gauge(m, "syncline_source_connected", "", "1 while the source delivers its changes, else 0."),
	          r.connected);
	gauge_set(metrics_gauge(m, "syncline_replication_failures", "", "Attempts that failed in a row at one position."),
	          (double)r.failures);
	gauge_set(metrics_gauge(m, "syncline_snapshot_tables", "", "Tables that are being read."), (double)r.tables_reading);
	set_known(metrics_gauge(m, "syncline_snapshot_rows_estimated", "", "Estimated rows of the tables that are being read."),
	          r.tables_reading && r.rows_estimated >= 0, r.rows_estimated);
	set_known(metrics_gauge(m, "syncline_snapshot_eta_seconds", "", "Estimated seconds until these tables are read."),
	          r.tables_reading && r.eta_s >= 0, r.eta_s);
}

#define TABLES_TOLD 100

static void tell_table(struct metrics *m, const char *rows, const char *estimated, const struct replicator_table *t)
{
	struct buf labels = {0}, name = {0};
	buf_printf(&name, "%.*s.%.*s", SLICE_ARG(t->schema), SLICE_ARG(t->name));
	metric_label(&labels, "table", buf_slice(&name));
	buf_putc(&labels, 0);
	gauge_set(metrics_gauge(m, rows, labels.p, "Rows read so far of a table that is being read."), (double)t->rows_read);
	set_known(metrics_gauge(m, estimated, labels.p, "Estimated rows of a table that is being read."), t->rows_estimated >= 0,
	          t->rows_estimated);
	buf_free(&name);
	buf_free(&labels);
}

/* Of thousands only the first: each table that is ever told keeps its series. */
static void collect_tables(void *ctx)
{
	static const char rows[] = "syncline_snapshot_table_rows", estimated[] = "syncline_snapshot_table_rows_estimated";
	struct service *s = ctx;
	struct arena arena = {0};
	struct replicator_table *tables;
	size_t count, told = 0;
	metrics_forget(s->metrics, rows);
	metrics_forget(s->metrics, estimated);
	service_replicator_tables(s, &arena, &tables, &count);
	for (size_t i = 0; i < count && told < TABLES_TOLD; i++)
		if (tables[i].reading) {
			tell_table(s->metrics, rows, estimated, &tables[i]);
			told++;
		}
	arena_free(&arena);
}

/* Bytes of a line of /proc/self/status; below 0: not known. */
static double status_bytes(const char *format)
{
	char line[128];
	unsigned long kib;
	double bytes = -1;
	FILE *f = fopen("/proc/self/status", "re");
	while (f && bytes < 0 && fgets(line, sizeof(line), f))
		if (sscanf(line, format, &kib) == 1)
			bytes = (double)kib * 1024;
	if (f)
		fclose(f);
	return bytes;
}

static double open_descriptors(void)
{
	int n = 0;
	DIR *d = opendir("/proc/self/fd");
	if (!d)
		return -1;
	while (readdir(d))
		n++;
	closedir(d);
	return n - 3; /* ".", ".." and the folder's own */
}

static uint64_t cpu_milliseconds(void)
{
	struct rusage u;
	if (getrusage(RUSAGE_SELF, &u) != 0)
		return 0;
	return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 +
	       (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
}

static void tell(struct metrics *m, const char *name, const char *help, double v)
{
	set_known(metrics_gauge(m, name, "", help), v >= 0, v);
}

static void collect_process(void *ctx)
{
	struct service *s = ctx;
	tell(s->metrics, "process_resident_memory_bytes", "Resident memory size in bytes.", status_bytes("VmRSS: %lu kB"));
	tell(s->metrics, "syncline_anonymous_memory_bytes", "Resident memory that is not of files.",
	     status_bytes("RssAnon: %lu kB"));
	counter_set(
	        metrics_counter(s->metrics, "syncline_cpu_milliseconds_total", "", "Time of processors that the process used."),
	        cpu_milliseconds());
	tell(s->metrics, "process_open_fds", "Number of open file descriptors.", open_descriptors());
}

void service_init_metrics(struct service *s)
{
	s->metrics = metrics_new();
	metrics_on_print(s->metrics, collect_replication, s);
	metrics_on_print(s->metrics, collect_tables, s);
	metrics_on_print(s->metrics, collect_process, s);
	gauge_set(metrics_gauge(s->metrics, "process_start_time_seconds", "",
	                        "Start time of the process since unix epoch in seconds."),
	          (double)clock_wall_ms() / 1000);
}

bool service_publish_metrics(struct service *s, struct error *err)
{
	int port = s->config->prometheus_port;
	tell_source_facts(s);
	if (!port)
		return true;
	s->metrics_listener = metrics_listener_start(s->metrics, port, err);
	if (s->metrics_listener)
		log_info(&s->log, "Metrics on port %d", metrics_listener_port(s->metrics_listener));
	return s->metrics_listener != NULL;
}
