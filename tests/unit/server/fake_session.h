/*
 * fake_session.h: sessions whose lines a test dictates. Definitions, to be included once by a test program: they stand in for sync/ (hub
 * and sessions; blocks and the request parser are the real ones).
 */
#ifndef FAKE_SESSION_H
#define FAKE_SESSION_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "sync/session.h"

struct session {
	struct session *next;
	struct session_hub *hub;
	void *owner;
	char subject[64], client_id[64];
	size_t bucket_count;
	size_t sent;      /* lines of the hub's list */
	size_t bulk_left; /* bytes still to make up */
	enum line_encoding encoding;
	int64_t expires_at_ms;
	_Atomic bool shutdown;
};

struct session_hub {
	pthread_mutex_t lock;
	void (*wake)(void *ctx, void *owner);
	void *ctx;
	struct session *sessions;
};

static struct {
	pthread_mutex_t lock;
	struct session_hub *hub;
	struct {
		char *text;
		size_t n;
	} lines[4096];
	size_t line_count;
	size_t bulk_bytes, bulk_block;        /* each session makes this many bytes after the lines */
	const char *new_code, *new_message;   /* session_new fails */
	const char *step_code, *step_message; /* a step fails once fail_after lines were sent */
	size_t fail_after;
	bool no_plan;
	_Atomic size_t steps, live, made;
	_Atomic size_t max_unsent_seen;
	char last_subject[64], last_client[64];
	enum line_encoding last_encoding;
} fake_sync = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct session_hub *session_hub_new(struct storage *s, void (*wake)(void *ctx, void *owner), void *ctx)
{
	(void)s;
	struct session_hub *h = xcalloc(1, sizeof(*h));
	pthread_mutex_init(&h->lock, NULL);
	h->wake = wake;
	h->ctx = ctx;
	return fake_sync.hub = h;
}

void session_hub_free(struct session_hub *h)
{
	pthread_mutex_destroy(&h->lock);
	free(h);
	fake_sync.hub = NULL;
}

void session_hub_news(void *hub, const struct storage_news *news)
{
	(void)hub, (void)news;
}

static void fake_wake_all(struct session_hub *h, bool shutdown)
{
	pthread_mutex_lock(&h->lock);
	for (struct session *s = h->sessions; s; s = s->next) {
		if (shutdown)
			s->shutdown = true;
		h->wake(h->ctx, s->owner);
	}
	pthread_mutex_unlock(&h->lock);
}

void session_hub_set_metrics(struct session_hub *h, struct metrics *m)
{
	(void)h;
	(void)m;
}

void session_hub_users(struct session_hub *h, struct arena *arena, struct user_key **users, size_t *count)
{
	(void)h;
	(void)arena;
	*users = NULL;
	*count = 0;
}

void session_hub_each_stream(struct session_hub *h, const struct user_key *user,
                             void (*see)(void *ctx, void *owner, const struct session_progress *p), void *ctx)
{
	(void)h, (void)user, (void)see, (void)ctx;
}

void session_hub_shutdown(struct session_hub *h)
{
	fake_wake_all(h, true);
}

struct session *session_new(struct session_hub *h, const struct sync_request *request, const struct session_options *options,
                            void *owner, struct error *err)
{
	if (fake_sync.new_code) {
		error_set(err, fake_sync.new_code, "%s", fake_sync.new_message);
		return NULL;
	}
	struct session *s = xcalloc(1, sizeof(*s));
	s->hub = h;
	s->owner = owner;
	s->encoding = options->encoding;
	s->expires_at_ms = options->expires_at_ms;
	s->bucket_count = request->bucket_count;
	s->bulk_left = fake_sync.bulk_bytes;
	snprintf(s->subject, sizeof(s->subject), "%.*s", SLICE_ARG(options->user.subject));
	snprintf(s->client_id, sizeof(s->client_id), "%.*s", SLICE_ARG(options->user.client_id));
	pthread_mutex_lock(&h->lock);
	s->next = h->sessions;
	h->sessions = s;
	memcpy(fake_sync.last_subject, s->subject, sizeof(s->subject));
	memcpy(fake_sync.last_client, s->client_id, sizeof(s->client_id));
	fake_sync.last_encoding = s->encoding;
	pthread_mutex_unlock(&h->lock);
	atomic_fetch_add(&fake_sync.live, 1);
	atomic_fetch_add(&fake_sync.made, 1);
	return s;
}

void session_free(struct session *s)
{
	pthread_mutex_lock(&s->hub->lock);
	for (struct session **at = &s->hub->sessions; *at; at = &(*at)->next)
		if (*at == s) {
			*at = s->next;
			break;
		}
	pthread_mutex_unlock(&s->hub->lock);
	atomic_fetch_sub(&fake_sync.live, 1);
	free(s);
}

static void fake_put(struct session_output *out, const void *p, size_t n, size_t lines)
{
	struct block *b = block_new(n);
	b->n = n;
	b->line_count = (uint32_t)lines;
	memcpy(b->bytes, p, n);
	out->blocks = xgrow(out->blocks, out->count, &out->cap, sizeof(*out->blocks));
	out->blocks[out->count++] = b;
	out->bytes += n;
	out->lines += lines;
}

static bool fake_put_bulk(struct session *s, struct session_output *out)
{
	size_t n = fake_sync.bulk_block < s->bulk_left ? fake_sync.bulk_block : s->bulk_left;
	char *p = xmalloc(n);
	for (size_t i = 0; i < n; i++)
		p[i] = (char)('a' + (s->bulk_left - i) % 23);
	p[n - 1] = '\n';
	fake_put(out, p, n, 1);
	free(p);
	s->bulk_left -= n;
	return s->bulk_left > 0;
}

enum session_status session_step(struct session *s, int64_t now_ms, size_t max_bytes, size_t max_lines,
                                 struct session_output *out, int64_t *next_ms, struct error *err)
{
	atomic_fetch_add(&fake_sync.steps, 1);
	*next_ms = s->expires_at_ms;
	pthread_mutex_lock(&fake_sync.lock);
	enum session_status status = SESSION_IDLE;
	while (s->sent < fake_sync.line_count) {
		if (fake_sync.step_code && s->sent >= fake_sync.fail_after)
			break;
		if (out->lines >= max_lines || (out->bytes && out->bytes >= max_bytes)) {
			status = SESSION_MORE;
			goto done;
		}
		fake_put(out, fake_sync.lines[s->sent].text, fake_sync.lines[s->sent].n, 1);
		s->sent++;
	}
	if (fake_sync.step_code && s->sent >= fake_sync.fail_after) {
		error_set(err, fake_sync.step_code, "%s", fake_sync.step_message);
		status = SESSION_FAILED;
		goto done;
	}
	while (s->bulk_left) {
		if (out->lines >= max_lines || (out->bytes && out->bytes >= max_bytes)) {
			status = SESSION_MORE;
			goto done;
		}
		fake_put_bulk(s, out);
	}
	if (s->shutdown || now_ms >= s->expires_at_ms)
		status = SESSION_END;
done:
	pthread_mutex_unlock(&fake_sync.lock);
	return status;
}

void session_large_buckets(const struct session *s, struct buf *out)
{
	(void)s;
	buf_lit(out, "{}");
}

void session_get_stats(const struct session *s, struct session_stats *out)
{
	*out = (struct session_stats){.lines_sent = s->sent};
}

void session_hub_stats(struct session_hub *h, struct hub_stats *out)
{
	(void)h;
	*out = (struct hub_stats){.sessions = fake_sync.live};
}

/* A line for every session, present and future. */
static void fake_line_bytes(const void *p, size_t n)
{
	pthread_mutex_lock(&fake_sync.lock);
	char *copy = xmalloc(n);
	memcpy(copy, p, n);
	fake_sync.lines[fake_sync.line_count].text = copy;
	fake_sync.lines[fake_sync.line_count++].n = n;
	pthread_mutex_unlock(&fake_sync.lock);
	if (fake_sync.hub)
		fake_wake_all(fake_sync.hub, false);
}

static inline void fake_line(const char *text)
{
	fake_line_bytes(text, strlen(text));
}

static inline void fake_sync_reset(void)
{
	for (size_t i = 0; i < fake_sync.line_count; i++)
		free(fake_sync.lines[i].text);
	fake_sync.line_count = 0;
	fake_sync.bulk_bytes = fake_sync.bulk_block = 0;
	fake_sync.new_code = fake_sync.step_code = NULL;
	fake_sync.fail_after = 0;
	fake_sync.steps = fake_sync.made = 0;
}

#endif
