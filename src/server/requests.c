/* requests.c: the batcher. One thread does everything in turn; see requests.h. */
#include "server/requests.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/clock.h"
#include "server/marker.h"
#include "server/source_link.h"

#define MAX_BATCH 4096
#define UPKEEP_MS 1000
#define WAIT_POLL_MS 20           /* how often a waiting JOB_WAIT looks at the served position */
#define LOOK_FOR_WAITING_MS 10000 /* heads that another process left unknown */
#define STALE_PENDING_MS 5000     /* pending for so long with nothing going on: its marker may have been lost */
#define STALE_MARKER_MS 10000     /* and not more often than this */

struct requests {
	struct requests_options options;
	struct source_link *link; /* for heads; NULL without a source */
	struct marker *marker;
	pthread_t thread;
	bool thread_running;
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct checkpoint_job *first, *last; /* not gathered yet */
	bool connected;                      /* a new connection: look after what waits */
	bool stopping;
	struct requests_stats stats; /* under the lock */

	/* the thread's own */
	struct arena arena;
	struct checkpoint_request *batch; /* MAX_BATCH */
	struct checkpoint_job *waiting;   /* JOB_WAIT */
	uint64_t checked_generation;      /* connection whose identity was compared */
	bool same_source;
	int64_t look_ms; /* last time that heads were looked for */
	uint64_t era;    /* of the source, at the last look */
	bool headless; /* requests were stored without a head since: the source is away, or went back and replication has not noticed */
};

/* ---- the source --------------------------------------------------------------------------------------------------------------- */

/* A connection leads to one server as long as it lasts. If it is not the one that the store was filled from, its positions mean nothing
 * until replication has noticed and begun a new era. */
static bool check_source(struct requests *r, struct source_connection *c, const struct source_state *state, struct error *err)
{
	uint64_t generation = source_link_generation(r->link);
	if (generation == r->checked_generation && r->same_source)
		return true;
	struct source_identity identity;
	if (!source_identify(c, &identity, err))
		return false;
	r->checked_generation = generation;
	r->same_source = !state->system_id[0] || strcmp(state->system_id, identity.system_id) == 0;
	return true;
}

/* False: there is no head to be had now. */
static bool read_head(struct requests *r, struct position *head)
{
	struct source_connection *c = r->link ? source_link_take(r->link) : NULL;
	if (!c)
		return false;
	struct error err = {.code = ""};
	struct source_state state;
	bool ok = storage_source_state(r->options.storage, &state, &err) && check_source(r, c, &state, &err);
	bool usable = ok && r->same_source;
	if (usable) {
		ok = source_head(c, &head->lsn, NULL, &r->arena, &err);
		head->era = state.applied.era;
		/* A source that went back to before what is stored: the same as another one. */
		usable = ok && head->lsn >= state.applied.lsn;
		pthread_mutex_lock(&r->lock);
		r->stats.heads++;
		pthread_mutex_unlock(&r->lock);
	}
	source_link_return(r->link, ok);
	if (!ok)
		log_warn(r->options.log, "Reading the source's position for checkpoint requests failed: %s", err.message);
	return usable;
}

/* ---- batches ------------------------------------------------------------------------------------------------------------------ */

static void finish(struct checkpoint_job *job, enum checkpoint_outcome outcome)
{
	job->outcome = outcome;
	job->done(job);
}

/* Stores, answers; true if a marker is needed. New associations are answered before the marker: they are durable, and a marker that
 * gets lost is made again (after a reconnect, at start, by age). A retry of something pending asks for just that marker: it goes to
 * *after_marker and is answered then. */
static bool store_batch(struct requests *r, struct checkpoint_job *jobs, size_t count, bool head_known, struct position head,
                        struct checkpoint_job **after_marker)
{
	struct error err = {.code = ""};
	size_t n = 0;
	bool pending = false;
	if (count == 0)
		return false;
	for (struct checkpoint_job *j = jobs; j; j = j->next)
		r->batch[n++] = (struct checkpoint_request){.user = j->user, .id = j->id};
	bool ok = storage_request_checkpoints(r->options.storage, r->batch, n, head_known, head, &err);
	if (!ok)
		log_error(r->options.log, "Storing checkpoint requests failed [%s] %s", err.code, err.message);
	n = 0;
	for (struct checkpoint_job *j = jobs, *next; j; j = next, n++) {
		next = j->next;
		j->stored_id = r->batch[n].stored_id;
		j->stored = r->batch[n].fresh && (!j->id || j->id == j->stored_id);
		j->pending = r->batch[n].pending;
		j->head_known = head_known;
		j->head = head;
		pending |= ok && r->batch[n].pending;
		if (ok && head_known && r->batch[n].pending && !r->batch[n].fresh) {
			j->next = *after_marker;
			*after_marker = j;
		} else {
			finish(j, ok ? OUTCOME_DONE : OUTCOME_FAILED);
		}
	}
	return pending;
}

/* The served checkpoint has passed the job's head. */
static bool passed(struct requests *r, struct checkpoint_job *j)
{
	struct checkpoint c = storage_checkpoint(r->options.storage);
	if (!j->head_known || !c.valid || position_cmp(c.position, j->head) < 0)
		return false;
	j->stored_id = c.op_id;
	return true;
}

/* True if one of them needs a marker. */
static bool begin_waiting(struct requests *r, struct checkpoint_job *jobs, bool head_known, struct position head)
{
	bool pending = false;
	for (struct checkpoint_job *j = jobs, *next; j; j = next) {
		next = j->next;
		j->head_known = head_known;
		j->head = head;
		if (passed(r, j)) {
			finish(j, OUTCOME_DONE);
			continue;
		}
		pending |= head_known;
		if (head_known)
			storage_want_position(r->options.storage, head);
		j->next = r->waiting;
		r->waiting = j;
	}
	return pending;
}

static void run_batch(struct requests *r, struct checkpoint_job *jobs)
{
	struct checkpoint_job *store = NULL, **store_end = &store, *wait = NULL, **wait_end = &wait;
	size_t stores = 0;
	for (struct checkpoint_job *j = jobs, *next; j; j = next) {
		next = j->next;
		j->next = NULL;
		struct checkpoint_job ***end = j->kind == JOB_STORE ? &store_end : &wait_end;
		**end = j;
		*end = &j->next;
		stores += j->kind == JOB_STORE;
	}
	struct position head = {0};
	bool known = read_head(r, &head);
	struct checkpoint_job *after_marker = NULL;
	r->headless |= !known && stores > 0;
	bool pending = store_batch(r, store, stores, known, head, &after_marker);
	pending |= begin_waiting(r, wait, known, head);
	if (pending)
		marker_want(r->marker, after_marker);
	arena_reset(&r->arena);
}

/* ---- what waits --------------------------------------------------------------------------------------------------------------- */

static void look_at_waiting_jobs(struct requests *r, bool stopping)
{
	int64_t now = clock_mono_ms();
	bool headless = false;
	for (struct checkpoint_job **at = &r->waiting; *at;) {
		struct checkpoint_job *j = *at;
		bool done = passed(r, j);
		headless |= !j->head_known;
		if (!done && !stopping && now < j->deadline_ms) {
			at = &j->next;
			continue;
		}
		*at = j->next;
		finish(j, done ? OUTCOME_DONE : OUTCOME_TIMEOUT);
	}
	struct position head;
	if (!headless || stopping || now - r->look_ms < UPKEEP_MS || !read_head(r, &head))
		return;
	for (struct checkpoint_job *j = r->waiting; j; j = j->next)
		if (!j->head_known) {
			j->head_known = true;
			j->head = head;
		}
	storage_want_position(r->options.storage, head);
	marker_want(r->marker, NULL);
}

/* First who waits, then the head, then exactly these. True: there may be more. */
static bool fill_some_heads(struct requests *r)
{
	struct error err = {.code = ""};
	size_t count = 0;
	struct position head;
	struct waiting_heads *w = storage_waiting_heads(r->options.storage, &count, &err);
	if (!w) {
		log_error(r->options.log, "Looking for waiting checkpoint requests failed [%s] %s", err.code, err.message);
		return false;
	}
	bool filled = false;
	r->headless = count > 0;
	if (count > 0 && read_head(r, &head)) {
		r->headless = false;
		filled = storage_fill_heads(r->options.storage, w, head, &err);
		if (filled)
			marker_want(r->marker, NULL);
		else
			log_error(r->options.log, "Storing heads of checkpoint requests failed [%s] %s", err.code, err.message);
	}
	waiting_heads_free(w);
	arena_reset(&r->arena);
	return filled && count >= WAITING_HEADS_MAX;
}

static bool is_stopping(struct requests *r)
{
	pthread_mutex_lock(&r->lock);
	bool stopping = r->stopping;
	pthread_mutex_unlock(&r->lock);
	return stopping;
}

/* Heads for those that came while there was none. */
static void fill_heads(struct requests *r)
{
	while (fill_some_heads(r) && !is_stopping(r))
		;
}

/* A new era made all heads unknown that waited. */
static void look_at_era(struct requests *r)
{
	struct source_state state;
	struct error err;
	if (!storage_source_state(r->options.storage, &state, &err))
		return;
	r->headless |= state.applied.era != r->era;
	r->era = state.applied.era;
}

static void upkeep(struct requests *r, bool connected)
{
	int64_t now = clock_mono_ms(), oldest_ms = 0;
	look_at_era(r);
	if (connected || r->headless || storage_heads_wait(r->options.storage) || now - r->look_ms >= LOOK_FOR_WAITING_MS) {
		r->look_ms = now;
		fill_heads(r);
	}
	int64_t attempt_ms;
	bool owed;
	uint64_t made;
	marker_status(r->marker, &attempt_ms, &owed, &made);
	size_t pending = storage_pending_requests(r->options.storage, &oldest_ms);
	bool stale = pending > 0 && oldest_ms > 0 && now - oldest_ms >= STALE_PENDING_MS && now - attempt_ms >= STALE_MARKER_MS;
	if (pending > 0 && (connected || stale || (owed && now - attempt_ms >= UPKEEP_MS)))
		marker_want(r->marker, NULL);
}

/* ---- the thread ----------------------------------------------------------------------------------------------------------------- */

static void wait_for_work(struct requests *r)
{
	int64_t ms = r->waiting ? WAIT_POLL_MS : UPKEEP_MS;
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += (ms % 1000) * 1000000;
	until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	while (!r->first && !r->stopping && !r->connected)
		if (pthread_cond_timedwait(&r->work, &r->lock, &until) != 0)
			break;
}

/* Everything that has come by now: it may share a head read that has not begun. */
static struct checkpoint_job *gather(struct requests *r)
{
	struct checkpoint_job *jobs = r->first, *last = NULL;
	size_t n = 0;
	for (struct checkpoint_job *j = jobs; j && n < MAX_BATCH; j = j->next, n++)
		last = j;
	if (!last)
		return NULL;
	r->first = last->next;
	if (!r->first)
		r->last = NULL;
	last->next = NULL;
	r->stats.batches++;
	r->stats.requests += n;
	return jobs;
}

static void *run(void *arg)
{
	struct requests *r = arg;
	int64_t upkeep_ms = 0;
	for (;;) {
		pthread_mutex_lock(&r->lock);
		wait_for_work(r);
		struct checkpoint_job *jobs = gather(r);
		bool connected = r->connected, stopping = r->stopping;
		r->connected = false;
		pthread_mutex_unlock(&r->lock);
		if (jobs)
			run_batch(r, jobs);
		if (r->waiting)
			look_at_waiting_jobs(r, stopping && !jobs);
		if (stopping && !jobs)
			return NULL;
		if (!stopping && (connected || clock_mono_ms() - upkeep_ms >= UPKEEP_MS)) {
			upkeep(r, connected);
			upkeep_ms = clock_mono_ms();
		}
	}
}

static void on_connected(void *ctx)
{
	struct requests *r = ctx;
	pthread_mutex_lock(&r->lock);
	r->connected = true;
	r->stats.reconnects++;
	pthread_cond_signal(&r->work);
	pthread_mutex_unlock(&r->lock);
}

void requests_submit(struct requests *r, struct checkpoint_job *job)
{
	job->next = NULL;
	pthread_mutex_lock(&r->lock);
	bool wake = !r->first;
	if (r->last)
		r->last->next = job;
	else
		r->first = job;
	r->last = job;
	if (wake)
		pthread_cond_signal(&r->work);
	pthread_mutex_unlock(&r->lock);
}

void requests_get_stats(struct requests *r, struct requests_stats *out)
{
	pthread_mutex_lock(&r->lock);
	*out = r->stats;
	pthread_mutex_unlock(&r->lock);
	int64_t attempt_ms;
	bool owed;
	marker_status(r->marker, &attempt_ms, &owed, &out->markers);
}

struct requests *requests_start(const struct requests_options *options, struct error *err)
{
	struct requests *r = xcalloc(1, sizeof(*r));
	r->options = *options;
	r->batch = xcalloc(MAX_BATCH, sizeof(*r->batch));
	pthread_mutex_init(&r->lock, NULL);
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&r->work, &monotonic);
	pthread_condattr_destroy(&monotonic);
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	if (options->source)
		r->link = source_link_start(options->source, options->log, on_connected, r);
	r->marker = marker_start(options->source, options->log, on_connected, r);
	r->thread_running = r->marker && (r->link || !options->source) && pthread_create(&r->thread, NULL, run, r) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!r->thread_running) {
		requests_free(r);
		error_set(err, "", "cannot start a thread");
		return NULL;
	}
	return r;
}

void requests_stop(struct requests *r)
{
	if (!r->thread_running)
		return;
	pthread_mutex_lock(&r->lock);
	r->stopping = true;
	pthread_cond_signal(&r->work);
	pthread_mutex_unlock(&r->lock);
	if (r->link)
		source_link_cut(r->link);
	pthread_join(r->thread, NULL);
	r->thread_running = false;
	marker_stop(r->marker);
}

void requests_free(struct requests *r)
{
	if (!r)
		return;
	requests_stop(r);
	source_link_free(r->link);
	marker_free(r->marker);
	pthread_mutex_destroy(&r->lock);
	pthread_cond_destroy(&r->work);
	arena_free(&r->arena);
	free(r->batch);
	free(r);
}
