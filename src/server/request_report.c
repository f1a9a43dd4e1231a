/* request_report.c: facts from storage and, where there is one, the service. */
#include "server/request_report.h"

#include "base/clock.h"
#include "server/admin.h"
#include "server/request_reason.h"
#include "server/state.h"

#define MAX_STREAMS 100 /* of one client */

struct report {
	struct storage *storage;
	struct server *server;
	struct request_facts facts;
	struct server_replication replication;
	struct request_stream streams[MAX_STREAMS];
	int64_t now_ms;
};

static void add_stream(void *ctx, void *owner, const struct session_progress *p)
{
	struct report *r = ctx;
	struct request_stream *out = &r->streams[r->facts.stream_count];
	if (r->facts.stream_count == MAX_STREAMS)
		return;
	*out = (struct request_stream){.write_checkpoint = p->write_checkpoint, .complete = p->complete};
	stream_look(owner, &out->unsent_bytes, &out->no_credit);
	r->facts.stream_count++;
}

static json_t *id_text(uint64_t id)
{
	char text[24];
	snprintf(text, sizeof(text), "%llu", (unsigned long long)id);
	return json_string(text);
}

static json_t *position_text(struct position p)
{
	char text[LSN_TEXT_SIZE];
	lsn_format(p.lsn, text);
	return json_string(text);
}

static json_t *age(const struct report *r, int64_t since_ms)
{
	int64_t ms = r->now_ms - since_ms;
	return json_real(ms > 0 ? (double)ms / 1000 : 0);
}

static json_t *pending_object(const struct report *r, const struct pending_request *p)
{
	uint64_t bytes;
	json_t *o =
	        json_pack("{s:o,s:o,s:o,s:b}", "id", id_text(p->id), "head", p->head_known ? position_text(p->head) : json_null(),
	                  "age_seconds", age(r, p->since_ms), "generated", p->generated);
	if (request_distance(&r->facts, p, &bytes))
		json_object_set_new(o, "bytes_to_go", json_integer((json_int_t)bytes));
	return o;
}

static json_t *stream_list(const struct report *r)
{
	json_t *list = json_array();
	for (size_t i = 0; i < r->facts.stream_count; i++) {
		const struct request_stream *s = &r->streams[i];
		json_array_append_new(list, json_pack("{s:o,s:b,s:I}", "write_checkpoint",
		                                      s->write_checkpoint ? id_text(s->write_checkpoint) : json_null(),
		                                      "complete", s->complete, "unsent_bytes", (json_int_t)s->unsent_bytes));
	}
	return list;
}

static json_t *client_object(struct report *r, const struct user_requests *u)
{
	struct buf text = {0};
	json_t *pending = json_array();
	r->facts.stream_count = 0;
	if (r->server)
		session_hub_each_stream(r->server->hub, &u->user, add_stream, r);
	for (size_t i = 0; i < u->pending_count; i++)
		json_array_append_new(pending, pending_object(r, &u->pending[i]));
	const char *word = request_reason(&r->facts, u, &text);
	json_t *o =
	        json_pack("{s:o,s:o,s:o,s:o,s:o,s:b}", "user_id", json_text(u->user.subject), "client_id",
	                  u->user.client_id.p ? json_text(u->user.client_id) : json_null(), "newest_id", id_text(u->newest_id),
	                  "acknowledged_id", u->acknowledged_id ? id_text(u->acknowledged_id) : json_null(), "pending", pending,
	                  "temporary", u->temporary);
	if (u->temporary)
		json_object_set_new(o, "seen_seconds_ago", age(r, u->stamp_ms));
	if (r->server)
		json_object_set_new(o, "streams", stream_list(r));
	json_object_set_new(o, "state", json_string(word));
	json_object_set_new(o, "reason", json_text(buf_slice(&text)));
	buf_free(&text);
	return o;
}

static void look_at_service(struct report *r)
{
	const struct server_admin *a = r->server->options.admin;
	r->facts.service = SERVICE_KNOWN;
	r->facts.has_source = r->server->options.source != NULL;
	if (a && a->replication)
		a->replication(a->ctx, &r->replication);
	r->facts.connected = r->replication.connected;
	r->facts.reading = r->replication.reading;
	r->facts.received = r->replication.position;
	r->facts.lag_s = r->replication.lag_s;
	r->facts.source_error = r->replication.last_error;
}

/* Since the start of the service: a request should cost the streams of its own user alone. */
static json_t *work(struct server *s)
{
	struct server_stats t;
	server_get_stats(s, &t);
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "streams", (json_int_t)t.streams, "requests",
	                 (json_int_t)t.checkpoint_requests, "batches", (json_int_t)t.request_batches, "heads_read",
	                 (json_int_t)t.heads_read, "markers_made", (json_int_t)t.markers_made, "session_steps",
	                 (json_int_t)t.session_steps, "lookups_read", (json_int_t)t.lookups_read, "session_wakes",
	                 (json_int_t)t.session_wakes);
}

static json_t *summary(const struct report *r, const struct request_counts *c)
{
	json_t *o = json_pack("{s:b,s:b,s:b,s:I,s:I}", "running", r->facts.service != SERVICE_ABSENT, "active", r->facts.active,
	                      "custom", r->facts.custom, "pending", (json_int_t)c->pending, "waiting_for_head",
	                      (json_int_t)c->headless);
	json_object_set_new(o, "oldest_age_seconds", c->pending ? json_real((double)c->oldest_age_ms / 1000) : json_null());
	json_object_set_new(o, "position", r->facts.active ? position_text(r->facts.served) : json_null());
	if (!r->server)
		return o;
	json_t *source = json_pack("{s:b,s:b,s:I,s:f}", "configured", r->facts.has_source, "connected", r->facts.connected,
	                           "lag_bytes", (json_int_t)r->replication.lag_bytes, "lag_seconds", r->replication.lag_s);
	if (*r->facts.source_error)
		json_object_set_new(source, "error", json_text(slice_cstr(r->facts.source_error)));
	json_object_set_new(o, "source", source);
	json_object_set_new(o, "work", work(r->server));
	return o;
}

json_t *request_report(struct storage *storage, struct server *s, bool in_use, const struct request_filter *filter,
                       struct error *err)
{
	struct arena arena = {0};
	struct report r = {
	        .storage = storage, .server = s, .facts = {.source_error = "", .streams = NULL}, .now_ms = clock_wall_ms()};
	struct user_requests *list = NULL;
	struct request_counts counts;
	size_t count = 0;
	bool more = false;
	struct checkpoint c = storage_checkpoint(storage);
	r.facts.active = c.valid;
	r.facts.custom = storage_custom_mode(storage);
	r.facts.served = c.position;
	r.facts.streams = r.streams;
	r.facts.service = in_use ? SERVICE_SILENT : SERVICE_ABSENT;
	char failure[STORAGE_FAILURE_SIZE];
	if (s) {
		look_at_service(&r);
	} else {
		storage_last_failure(storage, failure);
		r.facts.source_error = failure;
	}
	bool ok = storage_count_requests(storage, &counts, err) &&
	          storage_list_requests(storage, filter, &arena, &list, &count, &more, err);
	json_t *out = NULL;
	if (ok) {
		json_t *clients = json_array();
		for (size_t i = 0; i < count; i++)
			json_array_append_new(clients, client_object(&r, &list[i]));
		out = summary(&r, &counts);
		json_object_set_new(out, "clients", clients);
		json_object_set_new(out, "more", json_boolean(more));
	}
	arena_free(&arena);
	return out;
}
