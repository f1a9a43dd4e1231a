/* jwks_source.c: see jwks_source.h. */
#include "auth/jwks_source.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "auth/jwks_body.h"
#include "auth/jwks_kept.h"
#include "base/alloc.h"
#include "base/url.h"

struct jwks_source {
	char *url;
	enum key_profile profile;
	struct jwks_surroundings *around;
	pthread_mutex_t lock;
	pthread_cond_t done;
	struct jwks_state state;
	pthread_t thread;
	bool has_thread; /* to be joined */
	bool early;      /* no token asked for the fetch in flight */
	atomic_bool stop;
};

static int64_t now_ms(const struct jwks_source *s)
{
	return s->around->now_ms(s->around->clock_context);
}

static void restore(struct jwks_source *s)
{
	const struct jwks_surroundings *a = s->around;
	struct buf body = {0};
	struct key_set *keys = NULL;
	struct error ignored = {.code = ""};
	int64_t age_ms;
	if (jwks_kept_read(a->keep_folder, s->url, a->crypto, JWKS_MAX_AGE, &body, &age_ms) &&
	    jwks_body_read(buf_slice(&body), a->crypto, s->profile, &keys, &ignored) == JWKS_OK)
		jwks_state_restore(&s->state, now_ms(s), age_ms, keys);
	buf_free(&body);
}

struct jwks_source *jwks_source_new(const char *url, enum key_profile profile, struct jwks_surroundings *around)
{
	struct jwks_source *s = xcalloc(1, sizeof(*s));
	pthread_condattr_t attributes;
	s->url = xstrdup(slice_cstr(url));
	s->profile = profile;
	s->around = around;
	atomic_init(&s->stop, false);
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&s->done, &attributes);
	pthread_condattr_destroy(&attributes);
	if (around->keep_folder)
		restore(s);
	return s;
}

void jwks_source_free(struct jwks_source *s)
{
	if (!s)
		return;
	atomic_store(&s->stop, true);
	if (s->has_thread)
		pthread_join(s->thread, NULL);
	jwks_state_free(&s->state);
	pthread_cond_destroy(&s->done);
	pthread_mutex_destroy(&s->lock);
	free(s->url);
	free(s);
}

/* The state counts changes for itself; the key store needs one number over all sources. Under the lock. */
static void publish_changes(struct jwks_source *s, uint64_t before)
{
	if (s->state.changes != before)
		atomic_fetch_add(&s->around->generation, 1);
}

static void finish(struct jwks_source *s, enum jwks_outcome outcome, struct key_set *keys, const struct error *err)
{
	pthread_mutex_lock(&s->lock);
	uint64_t before = s->state.changes;
	jwks_state_fetched(&s->state, now_ms(s), outcome, keys, err);
	publish_changes(s, before);
	pthread_cond_broadcast(&s->done);
	pthread_mutex_unlock(&s->lock);
}

const char *jwks_source_url(const struct jwks_source *s)
{
	struct slice secret = url_credentials(slice_cstr(s->url));
	return secret.n ? secret.p + secret.n + 1 : s->url;
}

/* A URL may carry a password, so it is logged only up to its host and path. Before any token has come nobody is refused yet. */
static void log_failure(const struct jwks_source *s, const struct error *err, const char *cause)
{
	log_line(s->around->log, s->early ? LOG_WARN : LOG_ERROR, "JWKS %s: [%s] %s%s%s%s", jwks_source_url(s), err->code,
	         err->message, *cause ? ": " : "", cause, s->early ? ". It will be asked again when a token comes" : "");
}

static void *fetch_thread(void *argument)
{
	struct jwks_source *s = argument;
	struct buf body = {0};
	struct error err = {.code = ""};
	struct key_set *keys = NULL;
	char cause[JWKS_CAUSE_SIZE] = "";
	enum jwks_outcome outcome = JWKS_HARD;
	if (s->around->fetch(s->around->fetch_context, s->url, &s->stop, &body, cause))
		outcome = jwks_body_read(buf_slice(&body), s->around->crypto, s->profile, &keys, &err);
	else
		error_set(&err, "PSYNC_S2204", "JWKS request failed");
	if (outcome != JWKS_OK && !atomic_load(&s->stop))
		log_failure(s, &err, cause);
	if (outcome != JWKS_HARD && s->around->keep_folder)
		jwks_kept_write(s->around->keep_folder, s->url, s->around->crypto,
		                outcome == JWKS_OK ? buf_slice(&body) : SLICE(""));
	buf_free(&body);
	finish(s, outcome, keys, &err);
	return NULL;
}

/* Under the lock. Signals stay with the threads that wait for them. */
static void start(struct jwks_source *s, bool early)
{
	sigset_t all, old;
	if (s->has_thread)
		pthread_join(s->thread, NULL); /* it has nothing left to do but to return */
	s->early = early;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	s->has_thread = pthread_create(&s->thread, NULL, fetch_thread, s) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (s->has_thread)
		return;
	struct error err;
	error_set(&err, "PSYNC_S2204", "JWKS request failed");
	jwks_state_fetched(&s->state, now_ms(s), JWKS_HARD, NULL, &err);
}

static bool use(struct jwks_source *s, bool early)
{
	pthread_mutex_lock(&s->lock);
	uint64_t before = s->state.changes;
	unsigned todo = jwks_state_use(&s->state, now_ms(s));
	publish_changes(s, before);
	if (todo & JWKS_START)
		start(s, early);
	bool wait = (todo & JWKS_WAIT) && s->state.in_flight;
	pthread_mutex_unlock(&s->lock);
	return wait;
}

bool jwks_source_use(struct jwks_source *s)
{
	return use(s, false);
}

void jwks_source_ask(struct jwks_source *s)
{
	use(s, true);
}

void jwks_source_no_key(struct jwks_source *s)
{
	pthread_mutex_lock(&s->lock);
	if (jwks_state_no_key(&s->state, now_ms(s)) & JWKS_START)
		start(s, false);
	pthread_mutex_unlock(&s->lock);
}

void jwks_source_wait(struct jwks_source *s, int64_t deadline_ms)
{
	struct timespec until = {.tv_sec = deadline_ms / 1000, .tv_nsec = deadline_ms % 1000 * 1000000};
	pthread_mutex_lock(&s->lock);
	while (s->state.in_flight && pthread_cond_timedwait(&s->done, &s->lock, &until) == 0)
		;
	pthread_mutex_unlock(&s->lock);
}

struct key_set *jwks_source_keys(struct jwks_source *s, bool waited, bool *has_error, struct error *err)
{
	pthread_mutex_lock(&s->lock);
	struct key_set *keys = key_set_ref(s->state.keys);
	*has_error = s->state.has_error;
	if (*has_error)
		*err = s->state.error;
	else if (waited && s->state.in_flight)
		*has_error = !error_set(err, "PSYNC_S2204", "JWKS request failed");
	pthread_mutex_unlock(&s->lock);
	return keys;
}
