/* stream.c: a small state machine under a mutex; see stream.h. */
#include "server/stream.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "server/state.h"

#define EXPIRY_GRACE_MS 1000    /* a session that could not end itself by then, for lack of room or credit, is ended */
#define STEP_BYTES (256 * 1024) /* one step produces at most about this much, so that sessions take turns */

size_t stream_low_mark(const struct server *s)
{
	return s->options.window_bytes / 4;
}

static struct stream *stream_of_task(struct task *t)
{
	return (struct stream *)((char *)t - offsetof(struct stream, task));
}

/* ---- when to step ------------------------------------------------------------------------------------------------------------- */

/* Under the lock: queues a step if there is a reason, room and credit for one. True: the caller pushes the task after unlocking. */
static bool wants_step(struct stream *s)
{
	if (s->queued || s->finished)
		return false;
	if (s->cancelled)
		return s->queued = true;
	size_t unsent = s->pending_bytes + s->socket_bytes;
	bool go = (s->again && unsent < s->server->options.window_bytes) || (s->more && unsent <= stream_low_mark(s->server));
	if (!go || s->credits == 0)
		return false;
	return s->queued = true;
}

static void unlock_and_push(struct stream *s)
{
	bool push = wants_step(s);
	pthread_mutex_unlock(&s->lock);
	if (push)
		worker_pool_push(s->server->pool, &s->task);
}

void stream_wake(void *ctx, void *stream)
{
	(void)ctx;
	struct stream *s = stream;
	pthread_mutex_lock(&s->lock);
	s->again = true;
	unlock_and_push(s);
}

/* With the lock. */
static void note_sent(struct stream *s)
{
	if (!s->unsent_since_us || s->pending_bytes || s->socket_bytes)
		return;
	histogram_observe(s->server->send_time, (double)(clock_mono_us() - s->unsent_since_us) / 1e6);
	s->unsent_since_us = 0;
}

void stream_drained(struct stream *s, size_t unsent)
{
	pthread_mutex_lock(&s->lock);
	s->socket_bytes = unsent;
	note_sent(s);
	unlock_and_push(s);
}

void stream_look(struct stream *s, size_t *unsent, bool *no_credit)
{
	pthread_mutex_lock(&s->lock);
	*unsent = s->pending_bytes + s->socket_bytes;
	*no_credit = s->credits == 0;
	pthread_mutex_unlock(&s->lock);
}

void stream_add_credits(struct stream *s, size_t n)
{
	pthread_mutex_lock(&s->lock);
	s->credits = n > SIZE_MAX - s->credits ? SIZE_MAX : s->credits + n;
	unlock_and_push(s);
}

/* ---- the step, on a worker ---------------------------------------------------------------------------------------------------- */

static void take_output(struct stream *s, struct session_output *out)
{
	uint64_t before = s->sent_bytes;
	if (out->count && !s->unsent_since_us)
		s->unsent_since_us = clock_mono_us();
	for (size_t i = 0; i < out->count; i++) {
		s->pending = xgrow(s->pending, s->pending_count, &s->pending_cap, sizeof(*s->pending));
		s->pending[s->pending_count++] = out->blocks[i];
		s->pending_bytes += out->blocks[i]->n;
		s->sent_bytes += out->blocks[i]->n;
	}
	atomic_fetch_add(&s->server->totals.sent_bytes, s->sent_bytes - before);
	atomic_fetch_add(&s->server->totals.sent_by_coding[transfer_coding(s->transfer)], s->sent_bytes - before);
	if (s->credits != SIZE_MAX)
		s->credits -= out->lines < s->credits ? out->lines : s->credits;
	free(out->blocks);
}

/* What the session did since the last time, for the totals. */
static void count(struct stream *s)
{
	struct session_stats before = s->stats;
	session_get_stats(s->session, &s->stats);
	atomic_fetch_add(&s->server->totals.operations, s->stats.operations_sent - before.operations_sent);
	atomic_fetch_add(&s->server->totals.plain_bytes, s->stats.bytes_sent - before.bytes_sent);
}

/* The session goes first: after it no wake can come, and after the post the net thread frees the stream. */
static void finish(struct stream *s, struct session_output *out, bool clean)
{
	count(s);
	if (s->log_fields) {
		struct buf large = {0};
		session_large_buckets(s->session, &large);
		s->large_buckets = xstrdup(buf_slice(&large));
		buf_free(&large);
	}
	session_free(s->session);
	s->session = NULL;
	pthread_mutex_lock(&s->lock);
	take_output(s, out);
	s->finished = true;
	s->clean = clean;
	bool post = !s->posted;
	s->posted = true;
	pthread_mutex_unlock(&s->lock);
	if (post)
		net_post(s->net, &s->item);
}

static void step(struct stream *s)
{
	pthread_mutex_lock(&s->lock);
	s->again = s->more = false;
	bool cancelled = s->cancelled;
	size_t unsent = s->pending_bytes + s->socket_bytes, window = s->server->options.window_bytes;
	size_t room = unsent < window ? window - unsent : 1, credits = s->credits;
	pthread_mutex_unlock(&s->lock);
	struct session_output out = {0};
	if (cancelled) {
		finish(s, &out, true);
		return;
	}
	int64_t next_ms = 0;
	enum session_status status = session_step(s->session, clock_wall_ms(), room < STEP_BYTES ? room : STEP_BYTES, credits,
	                                          &out, &next_ms, &s->err);
	bool over = status == SESSION_END || status == SESSION_FAILED;
	if (s->transfer)
		transfer_encode(s->transfer, &out, status == SESSION_END, status == SESSION_IDLE, clock_mono_ms());
	if (over) {
		finish(s, &out, status == SESSION_END);
		return;
	}
	count(s);
	pthread_mutex_lock(&s->lock);
	s->more = status == SESSION_MORE;
	s->next_ms = next_ms;
	take_output(s, &out);
	bool post = !s->posted; /* also without output: the net thread has the timer to set */
	s->posted = true;
	s->queued = false;
	/* More to do and room for it: to the end of the queue, so that sessions take turns. */
	bool push = wants_step(s);
	pthread_mutex_unlock(&s->lock);
	if (post)
		net_post(s->net, &s->item);
	if (push)
		worker_pool_push(s->server->pool, &s->task);
}

static void step_task(struct task *t)
{
	step(stream_of_task(t));
}

void stream_first_step(struct stream *s)
{
	step(s);
}

/* ---- delivery, on the net thread ---------------------------------------------------------------------------------------------- */

void stream_log_start(struct stream *s, struct slice fields)
{
	const struct log *log = s->server->options.log;
	if (!log_on(log, LOG_INFO))
		return;
	s->log_fields = xstrdup(fields);
	log_fields(log, LOG_INFO, fields, "Sync stream started");
}

static void log_counts(struct buf *fields, const uint64_t kinds[OP_KINDS])
{
	static const char *const names[OP_KINDS] = {"put", "remove", "move", "clear"};
	struct buf counts = {0};
	for (size_t i = 0; i < OP_KINDS; i++)
		buf_printf(&counts, "%c\"%s\":%llu", i ? ',' : '{', names[i], (unsigned long long)kinds[i]);
	buf_putc(&counts, '}');
	log_field_json(fields, "operation_counts", buf_slice(&counts));
	buf_free(&counts);
}

static void log_end(struct stream *s)
{
	const struct log *log = s->server->options.log;
	const char *coding = content_coding_name(transfer_coding(s->transfer));
	struct buf f = {0};
	if (s->log_fields)
		buf_slice_append(&f, slice_cstr(s->log_fields));
	if (s->finished && !s->clean) {
		size_t n = f.n;
		if (s->err.detail[0])
			log_field_text(&f, "details", slice_cstr(s->err.detail));
		log_fields(log, LOG_ERROR, buf_slice(&f), "Sync stream failed [%s] %s", s->err.code, s->err.message);
		f.n = n;
	}
	if (s->log_fields) {
		log_field_text(&f, "close_reason", slice_cstr(s->close_reason));
		log_field_number(&f, "data_sent_bytes", (int64_t)s->sent_bytes);
		log_field_number(&f, "data_synced_bytes", (int64_t)s->stats.bytes_sent);
		log_field_number(&f, "operations_synced", (int64_t)s->stats.operations_sent);
		log_counts(&f, s->stats.kinds_sent);
		if (s->large_buckets)
			log_field_json(&f, "large_buckets", slice_cstr(s->large_buckets));
		log_field_number(&f, "stream_ms", clock_mono_ms() - s->opened_ms);
		if (coding)
			log_field_text(&f, "encoding", slice_cstr(coding));
		log_fields(log, LOG_INFO, buf_slice(&f), "Sync stream complete");
	}
	buf_free(&f);
}

static void stream_free(struct stream *s)
{
	log_end(s);
	free(s->log_fields);
	free(s->large_buckets);
	timer_clear(&s->net->wheel, &s->timer);
	s->net->away--;
	atomic_fetch_sub(&s->server->open_streams[s->kind], 1);
	transfer_free(s->transfer);
	free(s->pending);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static void hand_over(struct stream *s, struct block **blocks, size_t count, size_t bytes)
{
	if (s->owner && count) {
		s->any_output = true;
		s->transport->write(s->owner, blocks, count, bytes);
		return;
	}
	for (size_t i = 0; i < count; i++)
		block_unref(blocks[i]);
}

static void set_timer(struct stream *s, int64_t next_ms)
{
	if (next_ms == 0 || s->detached) {
		timer_clear(&s->net->wheel, &s->timer);
		return;
	}
	int64_t wait = next_ms - clock_wall_ms();
	timer_set(&s->net->wheel, &s->timer, s->net->now_ms + (wait > 0 ? wait : 0));
}

static void deliver(struct net_item *item)
{
	struct stream *s = (struct stream *)((char *)item - offsetof(struct stream, item));
	pthread_mutex_lock(&s->lock);
	s->posted = false;
	struct block **blocks = s->pending;
	size_t count = s->pending_count, bytes = s->pending_bytes;
	s->pending = NULL;
	s->pending_count = s->pending_cap = 0;
	bool finished = s->finished;
	int64_t next_ms = s->next_ms;
	pthread_mutex_unlock(&s->lock);
	hand_over(s, blocks, count, bytes);
	free(blocks);
	if (finished) {
		if (s->owner) {
			struct stream_end end = {.clean = s->clean, .any_output = s->any_output, .err = &s->err};
			void *owner = s->owner;
			s->owner = NULL;
			s->close_reason = !s->clean                           ? "stream error"
			                  : atomic_load(&s->server->stopping) ? "process shutdown"
			                                                      : "service closing stream";
			s->transport->end(owner, &end);
		}
		stream_free(s);
		return;
	}
	set_timer(s, next_ms);
	pthread_mutex_lock(&s->lock);
	s->pending_bytes -= bytes;
	s->socket_bytes = s->owner ? s->transport->unsent(s->owner) : 0;
	note_sent(s);
	unlock_and_push(s);
}

/* The token is over and the session had no chance to say so: it may only write when the client reads. */
static void expire(struct stream *s)
{
	/* A coding cannot be ended from here, so that body is cut. */
	struct stream_end end = {.clean = !s->transfer,
	                         .any_output = true,
	                         .err = &(struct error){.code = "PSYNC_S2103", .message = "JWT has expired"}};
	void *owner = s->owner;
	const struct stream_transport *t = s->transport;
	s->close_reason = "service closing stream";
	t->end(owner, &end);
	stream_detach(s);
}

static void on_timer(struct timer_entry *entry)
{
	struct stream *s = (struct stream *)((char *)entry - offsetof(struct stream, timer));
	int64_t left = s->expires_at_ms - clock_wall_ms();
	if (left + EXPIRY_GRACE_MS <= 0 && s->owner) {
		expire(s);
		return;
	}
	if (left <= 0)
		timer_set(&s->net->wheel, &s->timer, s->net->now_ms + left + EXPIRY_GRACE_MS);
	stream_wake(NULL, s);
}

void stream_attach(struct stream *s, const struct stream_transport *transport, void *owner)
{
	s->transport = transport;
	s->owner = owner;
	s->net->away++;
}

void stream_detach(struct stream *s)
{
	if (!s->transport)
		s->net->away++; /* was never attached */
	s->owner = NULL;
	s->detached = true;
	if (!s->close_reason)
		s->close_reason = atomic_load(&s->server->stopping) ? "process shutdown" : "client closing stream";
	timer_clear(&s->net->wheel, &s->timer);
	pthread_mutex_lock(&s->lock);
	s->cancelled = true;
	unlock_and_push(s);
}

struct stream *stream_new(struct server *server, enum stream_kind kind, struct net_thread *n, const struct sync_request *request,
                          const struct session_options *options, size_t credits, struct error *err)
{
	struct stream *s = xcalloc(1, sizeof(*s));
	s->server = server;
	s->kind = kind;
	s->net = n;
	s->item.run = deliver;
	s->task.run = step_task;
	s->timer.fire = on_timer;
	s->credits = credits;
	s->encoding = options->encoding;
	s->expires_at_ms = options->expires_at_ms;
	s->opened_ms = clock_mono_ms();
	s->queued = true;
	pthread_mutex_init(&s->lock, NULL);
	s->session = session_new(server->hub, request, options, s, err);
	if (!s->session) {
		pthread_mutex_destroy(&s->lock);
		free(s);
		return NULL;
	}
	atomic_fetch_add(&server->open_streams[kind], 1);
	atomic_fetch_add(&server->streams_opened, 1);
	return s;
}
