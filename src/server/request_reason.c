/* request_reason.c: from the outside to the inside: no config, no service, no source, lag, and at last the client itself. */
#include "server/request_reason.h"

bool request_distance(const struct request_facts *f, const struct pending_request *p, uint64_t *bytes)
{
	if (!p->head_known || p->head.era != f->served.era || p->head.lsn <= f->served.lsn)
		return false;
	*bytes = p->head.lsn - f->served.lsn;
	return true;
}

#define ID(id) ((unsigned long long)(id))

static const char *without_head(const struct request_facts *f, const struct pending_request *p, struct buf *text)
{
	if (!f->connected) {
		buf_printf(text,
		           "Id %llu was taken while the source could not be reached, and cannot be acknowledged before it is "
		           "back%s%s.",
		           ID(p->id), *f->source_error ? ": " : "", f->source_error);
		return "source_down";
	}
	buf_printf(text, "Id %llu was taken while the source's position could not be read; it is read again within 10 seconds.",
	           ID(p->id));
	return "head_unknown";
}

static const char *behind(const struct request_facts *f, const struct pending_request *p, struct buf *text)
{
	char head[LSN_TEXT_SIZE], served[LSN_TEXT_SIZE];
	uint64_t bytes;
	lsn_format(p->head.lsn, head);
	lsn_format(f->served.lsn, served);
	if (!f->connected) {
		buf_printf(text, "Id %llu waits for position %s; clients are served %s, and the source cannot be reached%s%s.",
		           ID(p->id), head, served, *f->source_error ? ": " : "", f->source_error);
		return "source_down";
	}
	if (f->reading && p->head.era == f->served.era && f->received >= p->head.lsn) {
		buf_printf(
		        text,
		        "Id %llu waits for position %s; replication has passed it, but the checkpoint is held back until tables "
		        "are read.",
		        ID(p->id), head);
		return "held";
	}
	buf_printf(text, "Id %llu waits for position %s; replication is behind: clients are served %s", ID(p->id), head, served);
	if (request_distance(f, p, &bytes))
		buf_printf(text, ", %llu bytes before it", ID(bytes));
	if (f->lag_s > 0)
		buf_printf(text, " (oldest change that is not served: %.1f s)", f->lag_s);
	buf_putc(text, '.');
	return "lag";
}

static const char *without_service(const struct request_facts *f, struct buf *text)
{
	if (f->service == SERVICE_ABSENT) {
		buf_lit(text, ", and no service is running on this store.");
		return "not_running";
	}
	buf_lit(text, "; the service that uses this store cannot be asked for its streams and its source.");
	return "not_known";
}

static const char *pending_reason(const struct request_facts *f, const struct user_requests *u, struct buf *text)
{
	const struct pending_request *p = &u->pending[u->pending_count - 1];
	if (f->service != SERVICE_KNOWN) {
		buf_printf(text, "Id %llu is pending", ID(p->id));
		const char *word = without_service(f, text);
		if (*f->source_error)
			buf_printf(text, " Replication failed last with: %s.", f->source_error);
		return word;
	}
	if (!f->has_source) {
		buf_printf(text, "Id %llu is pending, and no source connection is configured.", ID(p->id));
		return "no_source";
	}
	return p->head_known ? behind(f, p, text) : without_head(f, p, text);
}

/* The stream that is furthest behind. */
static const struct request_stream *last_stream(const struct request_facts *f)
{
	const struct request_stream *last = &f->streams[0];
	for (size_t i = 1; i < f->stream_count; i++) {
		const struct request_stream *s = &f->streams[i];
		if (s->write_checkpoint < last->write_checkpoint ||
		    (s->write_checkpoint == last->write_checkpoint &&
		     (s->complete < last->complete || s->unsent_bytes > last->unsent_bytes)))
			last = s;
	}
	return last;
}

static const char *acknowledged_reason(const struct request_facts *f, uint64_t id, struct buf *text)
{
	buf_printf(text, "Id %llu is acknowledged", ID(id));
	if (f->service != SERVICE_KNOWN)
		return without_service(f, text);
	if (!f->stream_count) {
		buf_lit(text, ", and the client has no open stream; the first line of its next one says so.");
		return "no_stream";
	}
	const struct request_stream *s = last_stream(f);
	if (s->no_credit || s->unsent_bytes) {
		buf_printf(text, "; the client does not read its stream: %zu bytes wait for it%s.", s->unsent_bytes,
		           s->no_credit ? ", and it has not asked for more lines" : "");
		return "unread";
	}
	if (s->write_checkpoint < id || !s->complete) {
		buf_lit(text, "; the data of its checkpoint is being sent.");
		return "sending";
	}
	buf_lit(text, " and was sent with its data; a client that still waits has not applied that checkpoint yet "
	              "(for instance while it has local changes to upload).");
	return "sent";
}

const char *request_reason(const struct request_facts *f, const struct user_requests *u, struct buf *text)
{
	if (f->custom) {
		buf_lit(text,
		        "Custom write checkpoints are in use: ids come with the replicated data, and requests are refused.");
		return "custom";
	}
	if (!f->active) {
		buf_lit(text, "No sync config is active yet: its tables are being read, or there is none.");
		return "no_config";
	}
	if (u->pending_count)
		return pending_reason(f, u, text);
	if (u->acknowledged_id)
		return acknowledged_reason(f, u->acknowledged_id, text);
	buf_lit(text, "There is no request of this client.");
	return "none";
}
