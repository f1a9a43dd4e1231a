/* replicator.c: the replication thread: one attempt after another, with back-off between them. */
#define _GNU_SOURCE /* pthread_timedjoin_np */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "replicate/engine.h"

#define FIRST_BACKOFF_MS 100
#define LONGEST_BACKOFF_MS 800
#define LONGEST_BACKOFF_STUCK_MS 5000
#define LATE_BACKOFF_MS (15 * 60 * 1000)
#define STOP_GRACE_S 1
/* From here on a failure at the same position is called repeated. */
#define REPEATED 3
/* And from here on it is tried less often. */
#define STUCK 6
/* The same error is then logged this often only. */
#define REPEATED_LOG_MS 60000

void replicator_touch(struct replicator *r)
{
	pthread_mutex_lock(&r->status_lock);
	r->status.touched_at_ms = clock_wall_ms();
	pthread_mutex_unlock(&r->status_lock);
}

/* A call waits for the source: no hang. If it is known for what, that is what the status tells until the stream is open. */
static void source_waits(void *ctx, const char *what)
{
	struct replicator *r = ctx;
	pthread_mutex_lock(&r->status_lock);
	r->status.touched_at_ms = clock_wall_ms();
	if (what) {
		r->status.connected = false;
		snprintf(r->status.last_error, sizeof(r->status.last_error), "%s", what);
	}
	pthread_mutex_unlock(&r->status_lock);
}

/* Errors that come again and again at one position do not heal by themselves: that is said. */
static void describe_failure(const struct replicator *r, const struct error *err, uint64_t failures, char *out, size_t size)
{
	char lsn[LSN_TEXT_SIZE], repeated[96] = "";
	lsn_format(r->failed_at, lsn);
	if (failures >= REPEATED)
		snprintf(repeated, sizeof(repeated),
		         r->failed_at ? " (failed %llu times in a row at %s)" : " (failed %llu times in a row)",
		         (unsigned long long)failures, lsn);
	snprintf(out, size, "%s%s%s%s%s", *err->code ? "[" : "", err->code, *err->code ? "] " : "", err->message, repeated);
}

static void note_failure(struct replicator *r, const struct error *err, int64_t lasted_ms)
{
	char text[sizeof(r->status.last_error)];
	bool same_place = r->failed_at == r->attempt_position && !(r->stream_opened && lasted_ms > GOOD_ATTEMPT_MS);
	r->failed_at = r->attempt_position;
	pthread_mutex_lock(&r->status_lock);
	uint64_t failures = r->status.failures = same_place ? r->status.failures + 1 : 1;
	r->status.connected = r->status.slot_known = false;
	describe_failure(r, err, failures, text, sizeof(text));
	memcpy(r->status.last_error, text, sizeof(text));
	pthread_mutex_unlock(&r->status_lock);
	/* A source that is away for hours fails every second. */
	bool same_error = strcmp(r->failed_with, err->message) == 0;
	int64_t now = clock_mono_ms();
	if (same_error && failures > REPEATED && now - r->failure_logged_ms < REPEATED_LOG_MS)
		return;
	r->failure_logged_ms = now;
	snprintf(r->failed_with, sizeof(r->failed_with), "%s", err->message);
	log_error(r->options.log, "Replication error %s", text);
}

/* For whoever looks after a restart. A store that cannot take it says so in an error of its own. */
static void store_failure(struct replicator *r, const struct error *failure)
{
	struct storage *s = r->options.storage;
	struct buf text = {0};
	struct error err = {.code = ""};
	buf_printf(&text, "%s%s%s%s", *failure->code ? "[" : "", failure->code, *failure->code ? "] " : "", failure->message);
	if (!storage_report_failure(s, buf_slice(&text), &err)) {
		storage_rollback(s);
		log_error(r->options.log, "Cannot store why replication failed: %s", err.message);
	}
	buf_free(&text);
}

void replicator_slot(struct replicator *r, const char *name)
{
	snprintf(r->slot_name, sizeof(r->slot_name), "%s", name + (*name == SLOT_UNFINISHED));
}

/* Waits, with a sign of life twice a second, until the time is over, or a stop or a deploy is asked for. */
static void back_off(struct replicator *r, int64_t ms)
{
	int64_t until = clock_mono_ms() + ms, left;
	while (!atomic_load(&r->stopping) && !atomic_load(&r->deploy_wanted) && (left = until - clock_mono_ms()) > 0) {
		struct pollfd fd = {.fd = r->wake_fd, .events = POLLIN};
		poll(&fd, 1, left < 500 ? (int)left : 500);
		replicator_touch(r);
	}
}

/* A deploy that fails changes nothing. */
static void take_deploy(struct replicator *r)
{
	uint64_t count;
	struct error err = {.code = ""};
	bool unchanged;
	if (!atomic_load(&r->deploy_wanted))
		return;
	pthread_mutex_lock(&r->status_lock);
	ssize_t ignored = read(r->wake_fd, &count, sizeof(count));
	(void)ignored;
	struct plan *plan = r->next_plan;
	r->next_plan = NULL;
	r->deploying = plan != NULL;
	atomic_store(&r->deploy_wanted, false);
	pthread_mutex_unlock(&r->status_lock);
	reprocess_take(r);
	if (!plan)
		return;
	bool ok = storage_deploy(r->options.storage, plan, &unchanged, &err);
	if (ok)
		log_info(r->options.log, unchanged ? "Sync config unchanged" : "Sync config updated");
	else
		log_error(r->options.log, "The sync config could not be deployed; the one before stays: %s", err.message);
	pthread_mutex_lock(&r->status_lock);
	snprintf(r->status.deploy_error, sizeof(r->status.deploy_error), "%s", ok ? "" : err.message);
	r->deploying = false;
	pthread_cond_broadcast(&r->deploy_taken);
	pthread_mutex_unlock(&r->status_lock);
	plan_unref(plan);
}

/*
 * Milliseconds until the next attempt. A connection that was cut is made again at once; a source that is away is asked about every second. Only
 * what fails again and again at one place of an open stream, which costs the source the decoding each time, is tried less often.
 */
static int64_t next_delay(const struct replicator *r, int64_t last)
{
	bool stuck = r->stream_opened && r->status.failures > STUCK;
	int64_t longest = stuck ? LONGEST_BACKOFF_STUCK_MS : LONGEST_BACKOFF_MS;
	if (r->status.failures <= 1 || !last)
		return FIRST_BACKOFF_MS;
	return last * 2 > longest ? longest : last * 2;
}

#define STANDBY_RETRY_MS 500

/* On a shared store one process at a time replicates. False: try again later. */
static bool take_role(struct replicator *r)
{
	struct error err = {.code = ""};
	char who[200];
	bool held;
	if (!storage_take_writer(r->options.storage, &held, who, sizeof(who), &err)) {
		note_failure(r, &err, 0);
		back_off(r, LONGEST_BACKOFF_MS);
		return false;
	}
	if (!held && !r->standing_by)
		log_info(r->options.log, "[PSYNC_S1003] Replication stream is locked by another process, standing by. (%s)", who);
	if (held && r->standing_by)
		log_info(r->options.log, "This process replicates from now on");
	r->standing_by = !held;
	pthread_mutex_lock(&r->status_lock);
	r->status.standing_by = !held;
	pthread_mutex_unlock(&r->status_lock);
	if (!held)
		back_off(r, STANDBY_RETRY_MS);
	return held;
}

static void *replicator_main(void *arg)
{
	struct replicator *r = arg;
	int64_t delay = 0;
	while (!atomic_load(&r->stopping)) {
		struct error err = {.code = ""};
		int64_t began = clock_mono_ms();
		replicator_touch(r);
		take_deploy(r);
		if (!take_role(r))
			continue;
		if (attempt_run(r, &err) || atomic_load(&r->stopping))
			continue;
		int64_t lasted_ms = clock_mono_ms() - began;
		note_failure(r, &err, lasted_ms);
		store_failure(r, &err);
		enum source_failure kind = source_classify(&err);
		r->slot_unusable |= kind == SOURCE_SLOT_LOST;
		delay = next_delay(r, delay);
		back_off(r, kind == SOURCE_RETRY_LATE ? LATE_BACKOFF_MS : delay);
	}
	return NULL;
}

void replicator_deploy(struct replicator *r, struct plan *plan)
{
	uint64_t one = 1;
	pthread_mutex_lock(&r->status_lock);
	plan_unref(r->next_plan);
	r->next_plan = plan_ref(plan);
	atomic_store(&r->deploy_wanted, true);
	/* Under the lock, so that whoever takes the plan takes this, too, and nobody is woken for nothing for ever. */
	ssize_t ignored = write(r->wake_fd, &one, sizeof(one));
	(void)ignored;
	pthread_mutex_unlock(&r->status_lock);
}

enum deploy_outcome replicator_deploy_wait(struct replicator *r, int timeout_ms, struct error *err)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += timeout_ms % 1000 * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	pthread_mutex_lock(&r->status_lock);
	int waited = 0;
	while ((r->next_plan || r->deploying) && waited == 0)
		waited = pthread_cond_timedwait(&r->deploy_taken, &r->status_lock, &until);
	enum deploy_outcome outcome = r->next_plan || r->deploying ? DEPLOY_WAITING
	                              : r->status.deploy_error[0]  ? DEPLOY_FAILED
	                                                           : DEPLOY_TAKEN;
	if (outcome == DEPLOY_FAILED)
		error_set(err, "PSYNC_S1101", "%s", r->status.deploy_error);
	pthread_mutex_unlock(&r->status_lock);
	return outcome;
}

/* Those that do not compile any more are given up by the deploy. */
static void attach_retired(struct storage *s)
{
	struct slice text;
	for (size_t i = 0; (text = storage_retired_plan_text(s, i)).p; i++) {
		struct diagnostics d = {0};
		struct plan *plan = plan_compile(text, SLICE("public"), &d);
		diagnostics_free(&d);
		if (plan)
			storage_attach_retired(s, i, plan);
		plan_unref(plan);
	}
}

/* The stored plans come back to life, then the configured one is deployed; equal texts change nothing. */
static bool deploy(struct replicator *r, struct error *err)
{
	struct storage *s = r->options.storage;
	struct slice active = storage_active_plan_text(s);
	bool unchanged;
	if (active.p) {
		struct diagnostics d = {0};
		struct plan *old =
		        slice_eq(active, plan_text(r->plan)) ? plan_ref(r->plan) : plan_compile(active, SLICE("public"), &d);
		diagnostics_free(&d);
		if (!old)
			return error_set(err, "PSYNC_S1101", "The sync config in the store cannot be compiled by this version");
		bool ok = storage_attach_active(s, old, err);
		plan_unref(old);
		if (!ok)
			return false;
	}
	attach_retired(s);
	if (!storage_deploy(s, r->plan, &unchanged, err))
		return false;
	log_info(r->options.log, unchanged ? "Sync config unchanged" : "Sync config updated");
	return true;
}

struct replicator *replicator_start(const struct replicator_options *options, struct plan *plan, struct error *err)
{
	struct replicator *r = xcalloc(1, sizeof(*r));
	r->options = *options;
	if (!r->options.snapshot_readers)
		r->options.snapshot_readers = 2;
	if (!r->options.chunk_rows)
		r->options.chunk_rows = 5000;
	if (!r->options.chunk_bytes)
		r->options.chunk_bytes = 2u * 1024 * 1024;
	if (r->options.discovery_interval_s <= 0)
		r->options.discovery_interval_s = 10;
	r->status.rows_estimated = r->status.eta_s = -1;
	char failure[STORAGE_FAILURE_SIZE];
	struct source_state state;
	if (options->log)
		r->log = *options->log;
	r->log.prefix = r->slot_name;
	r->options.log = &r->log;
	if (storage_source_state(options->storage, &state, err))
		replicator_slot(r, state.slot_name);
	storage_last_failure(options->storage, failure);
	snprintf(r->status.last_error, sizeof(r->status.last_error), "%.*s", (int)sizeof(r->status.last_error) - 1, failure);
	source_on_wait(options->source, source_waits, r);
	r->plan = plan_ref(plan);
	pthread_mutex_init(&r->status_lock, NULL);
	r->batch_time = metrics_histogram(options->metrics, "syncline_replication_batch_seconds", "",
	                                  "Time from the first change of a batch to the end of its commit.", metrics_work_bounds,
	                                  metrics_work_bound_count);
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&r->deploy_taken, &monotonic);
	pthread_condattr_destroy(&monotonic);
	r->status.touched_at_ms = clock_wall_ms();
	r->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	bool ok = r->wake_fd >= 0 || error_set(err, "", "cannot make an eventfd");
	ok = ok && deploy(r, err);
	if (ok && pthread_create(&r->thread, NULL, replicator_main, r) != 0)
		ok = error_set(err, "", "cannot start the replication thread");
	r->thread_started = ok;
	if (!ok) {
		replicator_free(r);
		return NULL;
	}
	return r;
}

void replicator_stop(struct replicator *r)
{
	uint64_t one = 1;
	if (!r || !r->thread_started)
		return;
	atomic_store(&r->stopping, true);
	ssize_t ignored = write(r->wake_fd, &one, sizeof(one));
	(void)ignored;
	/* A source that does not answer must not hold up the stop; what is durable needs no last word to it. */
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += STOP_GRACE_S;
	if (pthread_timedjoin_np(r->thread, NULL, &until) != 0) {
		source_interrupt(r->options.source);
		pthread_join(r->thread, NULL);
	}
	r->thread_started = false;
	storage_give_writer(r->options.storage);
}

void replicator_free(struct replicator *r)
{
	if (!r)
		return;
	replicator_stop(r);
	if (r->wake_fd >= 0)
		close(r->wake_fd);
	plan_unref(r->plan);
	plan_unref(r->next_plan);
	arena_free(&r->tables_arena);
	pthread_cond_destroy(&r->deploy_taken);
	pthread_mutex_destroy(&r->status_lock);
	free(r);
}

double replicator_lag(const struct replicator *r)
{
	int64_t age_ms = clock_wall_ms() - r->oldest_change_ms;
	return r->oldest_change_ms && age_ms > 0 ? (double)age_ms / 1000 : 0;
}

void replicator_status(struct replicator *r, struct replicator_status *out)
{
	pthread_mutex_lock(&r->status_lock);
	*out = r->status;
	out->lag_s = replicator_lag(r);
	lag_note(&r->lag, clock_mono_ms(), out->lag_s); /* within a long transaction nobody else does */
	out->greatest_lag_s = lag_greatest(&r->lag, clock_mono_ms());
	pthread_mutex_unlock(&r->status_lock);
}

void replicator_tables(struct replicator *r, struct arena *arena, struct replicator_table **out, size_t *count)
{
	pthread_mutex_lock(&r->status_lock);
	*count = r->table_count;
	*out = arena_array(arena, struct replicator_table, r->table_count);
	for (size_t i = 0; i < r->table_count; i++) {
		(*out)[i] = r->tables[i];
		(*out)[i].schema = arena_copy(arena, r->tables[i].schema);
		(*out)[i].name = arena_copy(arena, r->tables[i].name);
	}
	pthread_mutex_unlock(&r->status_lock);
}
