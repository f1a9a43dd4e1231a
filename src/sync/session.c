/*
 * session.c: a session's life, its steps, and its keep-alives (sync-protocol 6).
 */
#include "sync/session_internal.h"

#include <stdlib.h>

#include "base/alloc.h"

/* Lines are collected into one block until it is this large. */
#define BLOCK_FULL ((size_t)64 << 10)
/* sync-protocol 6, "Keep-alive and token expiry". */
#define KEEPALIVE_MS 20000
#define KEEPALIVE_SPREAD_MS 2000
#define EXPIRY_WARNING_MS 20000
/* Operations for one checkpoint after which a newer one may cut in (sync-protocol 6, "Interruption"). */
#define INTERRUPT_AFTER 1000

/* ---- life ------------------------------------------------------------------------------------------------------------------ */

static struct slice put_copy(char **at, struct slice s)
{
	struct slice copy = {s.p ? *at : NULL, s.n};
	if (s.n)
		memcpy(*at, s.p, s.n);
	*at += s.n;
	return copy;
}

static struct slice not_null(struct slice s)
{
	return s.p ? s : SLICE("");
}

/* Copies what outlives the request into one block: the subscriptions first, for their alignment. */
static void keep_request(struct session *s, const struct sync_request *request, const struct session_options *options)
{
	size_t size = options->user.subject.n + options->user.client_id.n + options->token_payload.n + request->parameters.n;
	size_t head = sizeof(struct subscription_request) * request->subscription_count;
	for (size_t i = 0; i < request->subscription_count; i++)
		size += request->subscriptions[i].stream.n + request->subscriptions[i].parameters.n;
	s->memory = xmalloc(head + size + 1);
	struct subscription_request *subscriptions = (struct subscription_request *)s->memory;
	char *at = s->memory + head;
	s->user.subject = put_copy(&at, not_null(options->user.subject));
	s->user.client_id = put_copy(&at, options->user.client_id);
	for (size_t i = 0; i < request->subscription_count; i++) {
		subscriptions[i] = request->subscriptions[i];
		subscriptions[i].stream = put_copy(&at, not_null(request->subscriptions[i].stream));
		subscriptions[i].parameters = put_copy(&at, request->subscriptions[i].parameters);
	}
	s->parameters = (struct request_parameters){
	        .token_payload = put_copy(&at, not_null(options->token_payload)),
	        .client_parameters = put_copy(&at, request->parameters),
	        .include_defaults = request->include_defaults,
	        .subscriptions = subscriptions,
	        .subscription_count = request->subscription_count,
	};
}

static int by_name(const void *a, const void *b)
{
	const struct bucket_position *x = a, *y = b;
	return slice_cmp(x->name, y->name);
}

/* qsort is not stable; the place in the request is kept in the name's order by sorting pointers into it. */
static int by_name_then_place(const void *a, const void *b)
{
	const struct bucket_position *x = *(const struct bucket_position *const *)a,
	                             *y = *(const struct bucket_position *const *)b;
	int order = slice_cmp(x->name, y->name);
	return order ? order : x < y ? -1 : x > y;
}

/* Sorted by name; of a name that occurs twice the last one. One block: positions, then names. */
static void keep_positions(struct session *s, const struct sync_request *request)
{
	size_t count = request->bucket_count, size = 0;
	if (!count)
		return;
	const struct bucket_position **sorted = xmalloc(sizeof(*sorted) * count);
	for (size_t i = 0; i < count; i++) {
		sorted[i] = &request->buckets[i];
		size += request->buckets[i].name.n;
	}
	qsort(sorted, count, sizeof(*sorted), by_name_then_place);
	s->positions = xmalloc(sizeof(*s->positions) * count + size);
	char *at = (char *)(s->positions + count);
	for (size_t i = 0; i < count; i++) {
		if (i + 1 < count && slice_eq(sorted[i]->name, sorted[i + 1]->name))
			continue;
		struct bucket_position *p = &s->positions[s->position_count++];
		p->after = sorted[i]->after;
		p->name = put_copy(&at, not_null(sorted[i]->name));
	}
	free(sorted);
}

struct session *session_new(struct session_hub *h, const struct sync_request *request, const struct session_options *options,
                            void *owner, struct error *err)
{
	struct stored_plan *plan = storage_active_plan(hub_storage(h));
	if (!plan) {
		error_set(err, "PSYNC_S2302", "No sync config available");
		return NULL;
	}
	struct session *s = xcalloc(1, sizeof(*s));
	s->hub = h;
	s->plan = plan;
	s->encoding = options->encoding;
	s->form = options->encoding == ENCODING_BSON ? FORM_BSON : request->raw_data ? FORM_JSON_TEXT : FORM_JSON_NESTED;
	s->limits = options->limits;
	s->keepalive_lines = options->keepalive_lines;
	s->split_lines = options->split_lines;
	s->expires_at_ms = options->expires_at_ms;
	s->group_priority = -1;
	s->member.owner = owner;
	keep_request(s, request, options);
	s->querier = querier_new(plan->plan, &s->parameters, err);
	if (!s->querier) {
		stored_plan_unref(plan);
		free(s->memory);
		free(s);
		return NULL;
	}
	s->dynamic = querier_is_dynamic(s->querier);
	keep_positions(s, request);
	hub_add(h, &s->member, &s->user);
	return s;
}

uint64_t session_position(const struct session *s, struct slice name)
{
	struct bucket_position key = {.name = name};
	const struct bucket_position *p =
	        s->position_count ? bsearch(&key, s->positions, s->position_count, sizeof(key), by_name) : NULL;
	return p ? p->after : 0;
}

struct session_bucket *session_bucket_new(struct slice name, const struct bucket_reason *reasons, size_t reason_count)
{
	struct session_bucket *b = xcalloc(1, sizeof(*b) + sizeof(*reasons) * reason_count + name.n);
	b->reason_count = (uint32_t)reason_count;
	b->name_size = (uint32_t)name.n;
	if (reason_count)
		memcpy(b->reasons, reasons, sizeof(*reasons) * reason_count);
	memcpy(b->reasons + reason_count, name.p, name.n);
	return b;
}

void session_bucket_free(struct session *s, struct session_bucket *b)
{
	if (b->link.link.entry)
		hub_unlink_bucket(s->hub, &b->link);
	storage_bucket_release(hub_storage(s->hub), b->number);
	free(b);
}

void session_drop_lookups(struct session *s)
{
	for (size_t i = 0; i < s->lookup_count; i++)
		hub_unlink_lookup(s->hub, &s->lookups[i].link);
	free(s->lookups);
	s->lookups = NULL;
	s->lookup_count = 0;
}

void session_free(struct session *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->bucket_count; i++)
		session_bucket_free(s, s->buckets[i]);
	session_drop_lookups(s);
	hub_remove(s->hub, &s->member);
	free(s->buckets);
	free(s->positions);
	querier_free(s->querier);
	stored_plan_unref(s->plan);
	free(s->memory);
	free(s);
}

void session_get_stats(const struct session *s, struct session_stats *out)
{
	*out = s->stats;
	out->last_op_id = s->op_id;
	out->write_checkpoint = s->write_checkpoint;
	out->bucket_count = s->bucket_count;
}

#define LARGE_BUCKETS_SHOWN 10

void session_large_buckets(const struct session *s, struct buf *out)
{
	const struct session_bucket *largest[LARGE_BUCKETS_SHOWN]; /* descending */
	size_t n = 0;
	for (size_t i = 0; i < s->bucket_count; i++) {
		const struct session_bucket *b = s->buckets[i];
		if (b->count < LARGE_BUCKET || (n == LARGE_BUCKETS_SHOWN && b->count <= largest[n - 1]->count))
			continue;
		size_t at = n < LARGE_BUCKETS_SHOWN ? n++ : n - 1;
		for (; at > 0 && largest[at - 1]->count < b->count; at--)
			largest[at] = largest[at - 1];
		largest[at] = b;
	}
	buf_putc(out, '{');
	for (size_t i = 0; i < n; i++) {
		if (i)
			buf_putc(out, ',');
		buf_json_text(out, session_bucket_name(largest[i]));
		buf_printf(out, ":%llu", (unsigned long long)largest[i]->count);
	}
	buf_putc(out, '}');
}

/* ---- output ------------------------------------------------------------------------------------------------------------------ */

static void push_block(struct step *t, struct block *b)
{
	t->out->blocks = xgrow(t->out->blocks, t->out->count, &t->out->cap, sizeof(struct block *));
	t->out->blocks[t->out->count++] = b;
}

/* The buffer becomes the block: its first bytes were left free for the head. */
static void flush_block(struct step *t)
{
	size_t size = t->line.n;
	if (size <= sizeof(struct block))
		return;
	struct block *b = (struct block *)t->line.p;
	if (t->line.cap - size > size / 4)
		b = xrealloc(b, size);
	atomic_init(&b->references, 1);
	b->line_count = t->line_count;
	b->n = size - sizeof(*b);
	t->line = (struct buf){0};
	t->line_count = 0;
	push_block(t, b);
}

struct buf *step_line(struct step *t)
{
	if (t->line.n == 0) {
		buf_reserve(&t->line, sizeof(struct block) + 256);
		t->line.n = sizeof(struct block);
		t->counted = t->line.n;
	}
	return &t->line;
}

static void count_bytes(struct step *t, size_t n)
{
	t->bytes += n;
	t->out->bytes += n;
	t->s->stats.bytes_sent += n;
}

void step_line_done(struct step *t)
{
	count_bytes(t, t->line.n - t->counted);
	t->counted = t->line.n;
	t->line_count++;
	t->lines++;
	t->out->lines++;
	t->s->stats.lines_sent++;
	if (t->line.n >= BLOCK_FULL)
		flush_block(t);
}

void step_append_block(struct step *t, struct block *b)
{
	count_bytes(t, t->line.n - t->counted + b->n);
	flush_block(t);
	block_ref(b);
	push_block(t, b);
}

bool step_reader(struct step *t)
{
	if (!t->reader)
		t->reader = storage_read_begin(hub_storage(t->s->hub), t->err);
	return t->reader != NULL;
}

/* ---- keep-alives ------------------------------------------------------------------------------------------------------------- */

static int64_t keepalive_period(struct session *s)
{
	return KEEPALIVE_MS - KEEPALIVE_SPREAD_MS + (int64_t)(hub_random(s->hub) % (2 * KEEPALIVE_SPREAD_MS + 1));
}

/* The periods run from the start of the stream; a warning that would be due at the start is left out. A wall clock that was set
 * back must not silence the stream. */
static void run_clock(struct session *s, int64_t now_ms)
{
	if (!s->clock_started) {
		s->clock_started = true;
		s->warned = now_ms >= s->expires_at_ms - EXPIRY_WARNING_MS;
		s->keepalive_at_ms = now_ms + keepalive_period(s);
	}
	if (s->keepalive_at_ms - now_ms > KEEPALIVE_MS + KEEPALIVE_SPREAD_MS)
		s->keepalive_at_ms = now_ms + keepalive_period(s);
}

static void write_token_expires_in(struct step *t, int64_t now_ms)
{
	int64_t left_ms = t->s->expires_at_ms - now_ms;
	encode_token_expires_in(t->s->encoding, step_line(t), left_ms > 0 ? (left_ms + 999) / 1000 : 0);
	step_line_done(t);
}

/* A warning does not stop the rhythm. */
static bool keepalive_due(struct session *s, int64_t now_ms)
{
	bool due = false;
	if (!s->warned && now_ms >= s->expires_at_ms - EXPIRY_WARNING_MS) {
		s->warned = true;
		due = true;
	}
	if (s->keepalive_lines && now_ms >= s->keepalive_at_ms) {
		s->keepalive_at_ms = now_ms + keepalive_period(s);
		due = true;
	}
	return due;
}

static int64_t next_time(const struct session *s)
{
	int64_t next = s->expires_at_ms;
	if (!s->warned && s->expires_at_ms - EXPIRY_WARNING_MS < next)
		next = s->expires_at_ms - EXPIRY_WARNING_MS;
	if (s->keepalive_lines && s->keepalive_at_ms < next)
		next = s->keepalive_at_ms;
	return next;
}

/* ---- steps -------------------------------------------------------------------------------------------------------------------- */

/* Is it time to look at a newer checkpoint although the download of the last one is not finished? A new plan cuts in at any line
 * boundary, because it may have taken rights away (incremental-deploy 7). */
static bool must_look(struct session *s)
{
	unsigned flags = atomic_load(&s->member.flags);
	if (!s->downloading || s->plan_pending || (flags & HUB_PLAN))
		return true;
	return s->operations_for_line >= INTERRUPT_AFTER && (flags & HUB_NEWS);
}

static enum outcome next_line(struct step *t)
{
	struct session *s = t->s;
	if (must_look(s)) {
		enum outcome o = session_next_checkpoint(t);
		if (o != OUTCOME_NOTHING || !s->downloading)
			return o;
	}
	return session_next_data(t);
}

static enum session_status run(struct step *t, int64_t now_ms)
{
	struct session *s = t->s;
	run_clock(s, now_ms);
	for (;;) {
		if (atomic_load(&s->member.flags) & HUB_SHUTDOWN)
			return SESSION_END;
		bool room = t->lines < t->max_lines;
		if (now_ms >= s->expires_at_ms) {
			if (room)
				write_token_expires_in(t, now_ms);
			return SESSION_END;
		}
		if (!room || (t->lines && t->bytes >= t->max_bytes))
			return SESSION_MORE;
		if (keepalive_due(s, now_ms)) {
			write_token_expires_in(t, now_ms);
			continue;
		}
		switch (next_line(t)) {
		case OUTCOME_LINE:
			break;
		case OUTCOME_NOTHING:
			/* A void checkpoint has a successor; else there is nothing to say, unless news came in meanwhile. */
			if (!(s->must_line && hub_newest_op(s->hub) > s->op_id) && !(atomic_load(&s->member.flags) & HUB_NEWS))
				return SESSION_IDLE;
			break;
		case OUTCOME_WAIT:
			if (!(atomic_load(&s->member.flags) & HUB_NEWS))
				return SESSION_IDLE;
			break;
		case OUTCOME_END:
			return SESSION_END;
		case OUTCOME_FAILED:
			return SESSION_FAILED;
		}
	}
}

enum session_status session_step(struct session *s, int64_t now_ms, size_t max_bytes, size_t max_lines,
                                 struct session_output *out, int64_t *next_ms, struct error *err)
{
	struct step t = {.s = s, .out = out, .max_bytes = max_bytes, .max_lines = max_lines, .err = err};
	/* From here on news ask for another step. */
	atomic_fetch_and(&s->member.flags, ~(unsigned)HUB_WOKEN);
	t.scratch = hub_scratch(s->hub);
	unsigned token = storage_step_begin(hub_storage(s->hub));
	enum session_status status = run(&t, now_ms);
	flush_block(&t);
	buf_free(&t.line);
	if (t.reader)
		storage_read_end(t.reader);
	storage_step_end(hub_storage(s->hub), token);
	hub_scratch_return(s->hub, t.scratch);
	hub_count_step(s->hub, t.lookups_read);
	atomic_store(&s->member.told, s->write_checkpoint << 1 | (s->started && !s->downloading && !s->must_line));
	*next_ms = next_time(s);
	return status;
}
