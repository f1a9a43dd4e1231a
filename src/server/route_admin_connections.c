/* route_admin_connections.c: who is connected, and who does not read (an addition of Syncline). */
#include "base/alloc.h"
#include "server/admin.h"
#include "server/routes.h"
#include "server/state.h"

#define MAX_LISTED 10000

static void add(void *ctx, const struct connection_view *v)
{
	json_t *list = ctx, *stream = NULL;
	if (json_array_size(list) >= MAX_LISTED)
		return;
	json_t *entry = json_pack("{s:s,s:s,s:b,s:I,s:I}", "peer", v->peer, "kind", v->kind, "tls", v->tls, "unsent_bytes",
	                          (json_int_t)v->unsent_bytes, "unacknowledged_bytes", (json_int_t)v->unacknowledged_bytes);
	if (v->stream_fields) {
		struct buf text = {0};
		buf_printf(&text, "{%s}", v->stream_fields);
		stream = json_loadb(text.p, text.n, 0, NULL);
		buf_free(&text);
	}
	if (stream)
		json_object_set_new(entry, "stream", stream);
	json_array_append_new(list, entry);
}

static json_int_t waiting(const json_t *entry)
{
	return json_integer_value(json_object_get(entry, "unsent_bytes")) +
	       json_integer_value(json_object_get(entry, "unacknowledged_bytes"));
}

/* Who has most bytes waiting stands first. */
static int by_waiting(const void *a, const void *b)
{
	json_int_t x = waiting(*(json_t *const *)a), y = waiting(*(json_t *const *)b);
	return x < y ? 1 : x > y ? -1 : 0;
}

static void run_connections(struct exchange *x)
{
	json_t *list = json_array(), *sorted = json_array();
	server_each_connection(x->server, add, list);
	size_t n = json_array_size(list);
	json_t **entries = xcalloc(n + 1, sizeof(*entries));
	for (size_t i = 0; i < n; i++)
		entries[i] = json_array_get(list, i);
	qsort(entries, n, sizeof(*entries), by_waiting);
	for (size_t i = 0; i < n; i++)
		json_array_append(sorted, entries[i]);
	free(entries);
	json_decref(list);
	admin_answer(x, json_pack("{s:o}", "connections", sorted));
}

bool route_admin_connections(struct exchange *x)
{
	return admin_begin(x, run_connections);
}
