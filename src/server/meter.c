/* meter.c: asked when somebody prints; nothing is counted twice. */
#include "server/meter.h"

#include "server/state.h"

/* These three appear with the first stream, as in the reference. */
static void tell_transfers(struct metrics *m, const struct server_stats *stats)
{
	counter_set(metrics_counter(m, "powersync_data_synced_bytes_total", "", "Uncompressed size of synced data."),
	            stats->data_synced_bytes);
	counter_set(metrics_counter(m, "powersync_data_sent_bytes_total", "", "Size of data sent to clients, after compression."),
	            stats->data_sent_bytes);
	counter_set(metrics_counter(m, "powersync_operations_synced_total", "", "Number of operations synced."),
	            stats->operations_synced);
}

static void tell_kinds(struct metrics *m, struct server *s)
{
	static const char *const transports[STREAM_KINDS] = {"transport=\"http\"", "transport=\"websocket\""};
	static const char *const codings[CODING_COUNT] = {"encoding=\"identity\"", "encoding=\"gzip\"", "encoding=\"zstd\""};
	for (size_t i = 0; i < STREAM_KINDS; i++)
		gauge_set(metrics_gauge(m, "syncline_streams", transports[i], "Open sync streams by transport."),
		          (double)atomic_load(&s->open_streams[i]));
	for (size_t i = 0; i < CODING_COUNT; i++)
		counter_set(metrics_counter(m, "syncline_sent_bytes_total", codings[i], "Bytes sent to clients by encoding."),
		            atomic_load(&s->totals.sent_by_coding[i]));
}

static void tell_cache(struct metrics *m, struct session_hub *hub)
{
	struct hub_stats h;
	session_hub_stats(hub, &h);
	gauge_set(metrics_gauge(m, "syncline_line_cache_bytes", "", "Encoded operations kept for several sessions."),
	          (double)h.cache_bytes);
	counter_set(metrics_counter(m, "syncline_line_cache_hits_total", "", "Lists of operations taken from that cache."),
	            h.cache_hits);
	counter_set(metrics_counter(m, "syncline_line_cache_misses_total", "", "Lists of operations that had to be encoded."),
	            h.cache_misses);
}

static void collect(void *ctx)
{
	struct server *s = ctx;
	struct metrics *m = s->options.metrics;
	struct server_stats stats;
	server_get_stats(s, &stats);
	gauge_set(metrics_gauge(m, "powersync_concurrent_connections", "", "Number of concurrent sync connections."),
	          (double)stats.streams);
	if (stats.streams_opened)
		tell_transfers(m, &stats);
	gauge_set(metrics_gauge(m, "syncline_websockets", "", "Open WebSockets, with or without a stream."),
	          (double)stats.sockets);
	counter_set(metrics_counter(m, "syncline_streams_opened_total", "", "Sync streams opened."), stats.streams_opened);
	tell_kinds(m, s);
	tell_cache(m, s->hub);
}

void server_meter_init(struct server *s)
{
	metrics_on_print(s->options.metrics, collect, s);
}
