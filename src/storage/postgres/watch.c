/* watch.c: see watch.h. */
#define _GNU_SOURCE
#include "storage/postgres/watch.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "storage/postgres/requests.h"
#include "storage/postgres/watch_news.h"

#define CHECKPOINTS_CHANNEL "powersynccheckpoints"
#define LOOK_MS 1000     /* without a notification */
#define ANSWER_MS 2000   /* for an answer of the server */
#define RETRY_MIN_MS 100 /* before connecting again; doubles up to RETRY_MAX_MS */
#define RETRY_MAX_MS 2000

struct pg_watch {
	struct pg_store *store;
	pthread_t thread;
	bool running;
	int wake[2]; /* pipe: the thread is to end */
};

/* ---- checkpoints -------------------------------------------------------------------------------------------------------------------- */

/* Neither op id nor position goes back on one stream; another stream has positions of its own. */
static bool is_newer(const struct checkpoint *next, const struct checkpoint *now)
{
	if (!next->valid || !now->valid || next->plan_id != now->plan_id)
		return next->valid && (!now->valid || next->plan_id > now->plan_id);
	int position = position_cmp(next->position, now->position);
	return next->op_id >= now->op_id && position >= 0 && (next->op_id > now->op_id || position > 0);
}

/* The served position first, then whose requests it passes (requests.h). */
static void show(struct pg_store *store, struct pg_conn *c, const struct checkpoint *before, const struct checkpoint *next)
{
	struct arena arena = {0};
	struct error err = {.code = ""};
	bool other = !before->valid || next->plan_id != before->plan_id;
	struct storage_news news = {.checkpoint = *next, .everything = other};
	struct position after = other ? (struct position){0, 0} : before->position;
	if (!pg_requests_passed(store, c, after, next->position, &arena, &news.users, &news.user_count, &err)) {
		log_warn(store->s->log, "Whose checkpoint requests were passed cannot be read: %s", err.message);
		news.all_users = true;
	}
	bool changes = !other && next->op_id != before->op_id;
	if (changes)
		pg_watch_changes(store, c, ANSWER_MS, before, next, &arena, &news);
	storage_tell(store->s, &news);
	if (changes)
		pg_watch_late(store, next);
	arena_free(&arena);
}

/* False: the connection is of no use. */
static bool look(struct pg_watch *w, struct pg_conn *c, struct error *err)
{
	struct storage *s = w->store->s;
	struct checkpoint next, before = storage_checkpoint(s);
	if (!pg_store_checkpoint(c, ANSWER_MS, &next, err))
		return false;
	pg_requests_answering(w->store->requests);
	if (!is_newer(&next, &before))
		return true;
	if ((!before.valid || next.plan_id != before.plan_id) && !pg_store_load(w->store, c, err))
		return false;
	pthread_mutex_lock(&s->lock);
	before = s->checkpoint; /* the writer of this process may have been faster */
	bool newer = is_newer(&next, &before);
	if (newer)
		s->checkpoint = next;
	pthread_mutex_unlock(&s->lock);
	if (newer)
		show(w->store, c, &before, &next);
	return true;
}

/* ---- the thread --------------------------------------------------------------------------------------------------------------------- */

static struct pg_conn *listen_anew(struct pg_watch *w, struct error *err)
{
	struct pg_conn *c = pg_open(&w->store->connection, err);
	if (c && pg_command(c, "LISTEN " CHECKPOINTS_CHANNEL "; LISTEN " PG_REQUESTS_CHANNEL, err) && look(w, c, err) &&
	    pg_requests_listening(w->store->requests, c, err))
		return c;
	pg_close(c);
	return NULL;
}

/* Until the time is over, something can be read, or the thread is to end (*stop). */
static void wait_for(struct pg_watch *w, int socket, int timeout_ms, bool *stop)
{
	struct pollfd fds[2] = {{.fd = w->wake[0], .events = POLLIN}, {.fd = socket, .events = POLLIN}};
	int n = poll(fds, socket < 0 ? 1 : 2, timeout_ms);
	*stop = n > 0 && fds[0].revents;
}

/* True: it is time to look. */
static bool take_notifications(struct pg_watch *w, struct pg_conn *c, int64_t *look_at_ms)
{
	PGnotify *n;
	bool checkpoint = clock_mono_ms() >= *look_at_ms;
	while ((n = PQnotifies(c->pg))) {
		if (strcmp(n->relname, PG_REQUESTS_CHANNEL) == 0)
			pg_requests_heard(w->store->requests, c, n->extra);
		else
			checkpoint = true;
		PQfreemem(n);
	}
	if (checkpoint)
		*look_at_ms = clock_mono_ms() + LOOK_MS;
	return checkpoint;
}

/* Until the connection is lost (false) or the thread is to end (true). */
static bool follow(struct pg_watch *w, struct pg_conn *c, struct error *err)
{
	int64_t look_at_ms = clock_mono_ms() + LOOK_MS;
	for (;;) {
		bool stop;
		/* While it looked, further notifications may have come: they are taken before anything is waited for. */
		if (take_notifications(w, c, &look_at_ms)) {
			if (!look(w, c, err))
				return false;
			continue;
		}
		int64_t left = look_at_ms - clock_mono_ms();
		wait_for(w, PQsocket(c->pg), left > 0 ? (int)left : 0, &stop);
		if (stop)
			return true;
		if (!PQconsumeInput(c->pg) || PQstatus(c->pg) != CONNECTION_OK)
			return error_set(err, "PSYNC_S2404", "connection lost");
	}
}

static void *run(void *arg)
{
	struct pg_watch *w = arg;
	int pause_ms = RETRY_MIN_MS;
	bool told = false;
	for (bool stop = false; !stop;) {
		struct error err = {.code = ""};
		struct pg_conn *c = listen_anew(w, &err);
		if (c) {
			pause_ms = RETRY_MIN_MS;
			told = false;
			stop = follow(w, c, &err);
			pg_close(c);
		}
		if (!stop && !told)
			log_warn(w->store->s->log, "Checkpoints in the storage database cannot be followed: %s; connecting again",
			         err.message);
		told = true;
		if (!stop)
			wait_for(w, -1, pause_ms, &stop);
		pause_ms = pause_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : pause_ms * 2;
	}
	return NULL;
}

struct pg_watch *pg_watch_start(struct pg_store *store, struct error *err)
{
	struct pg_watch *w = xcalloc(1, sizeof(*w));
	sigset_t all, before;
	w->store = store;
	w->wake[0] = w->wake[1] = -1;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	w->running = pipe2(w->wake, O_CLOEXEC) == 0 && pthread_create(&w->thread, NULL, run, w) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (w->running)
		return w;
	pg_watch_stop(w);
	error_set(err, "", "cannot start a thread");
	return NULL;
}

void pg_watch_stop(struct pg_watch *w)
{
	if (!w)
		return;
	if (w->running) {
		ssize_t ignored = write(w->wake[1], "", 1);
		(void)ignored;
		pthread_join(w->thread, NULL);
	}
	if (w->wake[0] >= 0) {
		close(w->wake[0]);
		close(w->wake[1]);
	}
	free(w);
}
