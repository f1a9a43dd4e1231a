/* holder.c: see holder.h. */
#include "storage/postgres/holder.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "storage/postgres/lock.h"

#define LOOK_MS 1000
#define REFRESH_MS 20000
/* First half of the keys of the advisory locks; the second is the stream's id. */
#define ADVISORY_CLASS 0x73796e63 /* "sync" */
#define HELD_MAX 64
#define SIGNATURE_SIZE 256

struct held {
	int32_t stream; /* 0: none */
	struct pg_lock lock;
	bool advisory; /* by the session of now */
};

struct pg_holder {
	const struct storage_postgres *connection;
	const struct log *log;
	pthread_t thread;
	pthread_mutex_t lock; /* over everything below; held while the session is used */
	pthread_cond_t stopped;
	bool stopping;
	struct pg_conn *conn;
	struct held held[HELD_MAX];
	char signature[SIGNATURE_SIZE];
	int64_t refreshed_ms;
	_Atomic bool changed;
};

/* ---- the session ------------------------------------------------------------------------------------------------------------------- */

static void drop_session(struct pg_holder *h)
{
	pg_close(h->conn);
	h->conn = NULL;
	for (size_t i = 0; i < HELD_MAX; i++)
		h->held[i].advisory = false;
}

/* The server is to notice within seconds that the node is gone, also when no packet says so. */
static bool session(struct pg_holder *h, struct error *err)
{
	if (h->conn && h->conn->broken)
		drop_session(h);
	if (!h->conn)
		h->conn = pg_open(h->connection, err);
	else
		return true;
	return h->conn &&
	       pg_command(h->conn, "SET tcp_keepalives_idle = 3; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 2",
	                  err);
}

static bool advisory_try(struct pg_holder *h, int32_t stream, bool *got, struct error *err)
{
	char sql[96];
	snprintf(sql, sizeof(sql), "SELECT pg_try_advisory_lock(%d, %d)", ADVISORY_CLASS, stream);
	PGresult *r = pg_query(h->conn, sql, 0, NULL, PG_TIMEOUT_MS, err);
	*got = r && strcmp(PQgetvalue(r, 0, 0), "t") == 0;
	PQclear(r);
	return r != NULL;
}

static void advisory_free(struct pg_holder *h, int32_t stream)
{
	char sql[96];
	snprintf(sql, sizeof(sql), "SELECT pg_advisory_unlock(%d, %d)", ADVISORY_CLASS, stream);
	pg_command(h->conn, sql, NULL);
}

/* ---- taking ------------------------------------------------------------------------------------------------------------------------ */

static struct held *find(struct pg_holder *h, int32_t stream)
{
	for (size_t i = 0; i < HELD_MAX; i++)
		if (h->held[i].stream == stream)
			return &h->held[i];
	return NULL;
}

/* The row is another Syncline node's, whose session is over: it becomes ours. */
static bool succeed_dead_node(struct pg_holder *h, struct pg_lock *lock, bool *got, struct error *err)
{
	char now[24];
	snprintf(now, sizeof(now), "%lld", (long long)clock_wall_ms());
	PGresult *r = pg_query(h->conn,
	                       "UPDATE locks AS l SET lock_id = $2::uuid, ts = to_timestamp($3::float8 / 1000)"
	                       " FROM syncline_locks AS y WHERE l.name = $1 AND y.name = l.name AND y.lock_id = l.lock_id"
	                       " RETURNING 1",
	                       3, (const char *const[]){lock->name, lock->id, now}, PG_TIMEOUT_MS, err);
	*got = r && PQntuples(r) == 1;
	PQclear(r);
	return r != NULL;
}

static bool note_ours(struct pg_holder *h, const struct pg_lock *lock, struct error *err)
{
	PGresult *r = pg_query(h->conn,
	                       "INSERT INTO syncline_locks (name, lock_id) VALUES ($1, $2::uuid)"
	                       " ON CONFLICT (name) DO UPDATE SET lock_id = excluded.lock_id",
	                       2, (const char *const[]){lock->name, lock->id}, PG_TIMEOUT_MS, err);
	PQclear(r);
	return r != NULL;
}

/* With the advisory lock: the row, in one transaction with what says that it is ours. */
static bool take_row(struct pg_holder *h, struct pg_lock *lock, const char *name, bool *got, struct error *err)
{
	bool ok = pg_command(h->conn, "BEGIN; SET LOCAL lock_timeout = '5s'", err) &&
	          pg_lock_try(h->conn, lock, name, got, err) && (*got || succeed_dead_node(h, lock, got, err)) &&
	          (!*got || note_ours(h, lock, err)) && pg_command(h->conn, "COMMIT", err);
	if (!ok && !h->conn->broken)
		pg_command(h->conn, "ROLLBACK", NULL);
	return ok;
}

static void describe(struct pg_holder *h, const char *name, bool alive, char who[PG_HOLDER_WHO])
{
	PGresult *r = pg_query(h->conn, "SELECT to_char(ts + interval '60 s', 'HH24:MI:SS') FROM locks WHERE name = $1", 1,
	                       (const char *const[]){name}, PG_TIMEOUT_MS, NULL);
	if (alive)
		snprintf(who, PG_HOLDER_WHO, "a Syncline node that is running, until it is stopped");
	else if (r && PQntuples(r) == 1)
		snprintf(who, PG_HOLDER_WHO, "another process; if it is dead, until %s", PQgetvalue(r, 0, 0));
	else
		snprintf(who, PG_HOLDER_WHO, "another process");
	PQclear(r);
}

static bool take(struct pg_holder *h, struct held *slot, int32_t stream, const char *slot_name, char who[PG_HOLDER_WHO],
                 struct error *err)
{
	char name[128];
	bool advisory, got = false;
	snprintf(name, sizeof(name), "sync_rules_%d_%s", stream, slot_name);
	if (!session(h, err) || !advisory_try(h, stream, &advisory, err))
		return false;
	if (advisory && !take_row(h, &slot->lock, name, &got, err)) {
		if (!h->conn->broken)
			advisory_free(h, stream);
		return false;
	}
	if (got) {
		slot->stream = stream;
		slot->advisory = true;
		return true;
	}
	describe(h, name, !advisory, who);
	if (advisory)
		advisory_free(h, stream);
	return true;
}

bool pg_holder_take(struct pg_holder *h, int32_t stream, const char *slot_name, char lock_id[37], char who[PG_HOLDER_WHO],
                    struct error *err)
{
	bool ok = true;
	*lock_id = *who = '\0';
	pthread_mutex_lock(&h->lock);
	struct held *held = find(h, stream);
	if (!held) {
		held = find(h, 0);
		ok = held ? take(h, held, stream, slot_name, who, err)
		          : error_set(err, "PSYNC_S1101", "too many streams are held");
	}
	if (ok && held->stream == stream)
		snprintf(lock_id, 37, "%s", held->lock.id);
	pthread_mutex_unlock(&h->lock);
	return ok;
}

/* ---- giving back ------------------------------------------------------------------------------------------------------------------- */

static void give(struct pg_holder *h, struct held *held)
{
	struct error err;
	if (!held->stream)
		return;
	/* A session that is lost has let go of the advisory lock, and the row is free for the next Syncline node. */
	if (session(h, &err)) {
		pg_lock_release(h->conn, &held->lock, NULL);
		if (held->advisory && !h->conn->broken)
			advisory_free(h, held->stream);
	}
	held->stream = 0;
}

void pg_holder_give(struct pg_holder *h, int32_t stream)
{
	pthread_mutex_lock(&h->lock);
	struct held *held = stream ? find(h, stream) : NULL;
	if (held)
		give(h, held);
	pthread_mutex_unlock(&h->lock);
}

void pg_holder_give_all(struct pg_holder *h)
{
	pthread_mutex_lock(&h->lock);
	for (size_t i = 0; i < HELD_MAX; i++)
		give(h, &h->held[i]);
	pthread_mutex_unlock(&h->lock);
}

/* ---- the thread -------------------------------------------------------------------------------------------------------------------- */

bool pg_holder_changed(struct pg_holder *h)
{
	return atomic_load_explicit(&h->changed, memory_order_relaxed);
}

static bool read_signature(struct pg_holder *h, char out[SIGNATURE_SIZE], struct error *err)
{
	PGresult *r = pg_query(h->conn,
	                       "SELECT coalesce(string_agg(id || ' ' || state, ',' ORDER BY id), '') FROM sync_rules"
	                       " WHERE state IN ('PROCESSING', 'ACTIVE', 'ERRORED')",
	                       0, NULL, PG_TIMEOUT_MS, err);
	if (r)
		snprintf(out, SIGNATURE_SIZE, "%s", PQgetvalue(r, 0, 0));
	PQclear(r);
	return r != NULL;
}

bool pg_holder_look(struct pg_holder *h, struct error *err)
{
	pthread_mutex_lock(&h->lock);
	bool ok = session(h, err) && read_signature(h, h->signature, err);
	if (ok)
		atomic_store(&h->changed, false);
	pthread_mutex_unlock(&h->lock);
	return ok;
}

/* A new session after a loss: if somebody was quicker, the lock is theirs. */
static bool keep(struct pg_holder *h, struct held *held, struct error *err)
{
	bool held_still = true;
	if (!held->advisory && !advisory_try(h, held->stream, &held->advisory, err))
		return false;
	if (!pg_lock_refresh(h->conn, &held->lock, &held_still, err))
		return false;
	if (held_still)
		return true;
	log_warn(h->log, "The lock \"%s\" was taken over by another process", held->lock.name);
	if (held->advisory)
		advisory_free(h, held->stream);
	held->stream = 0;
	atomic_store(&h->changed, true);
	return true;
}

static bool round_of(struct pg_holder *h, struct error *err)
{
	char signature[SIGNATURE_SIZE];
	bool fresh = !h->conn || h->conn->broken;
	bool due = fresh || clock_mono_ms() - h->refreshed_ms >= REFRESH_MS;
	if (!session(h, err))
		return false;
	for (size_t i = 0; due && i < HELD_MAX; i++)
		if (h->held[i].stream && !keep(h, &h->held[i], err))
			return false;
	if (due)
		h->refreshed_ms = clock_mono_ms();
	if (!read_signature(h, signature, err))
		return false;
	if (strcmp(signature, h->signature) != 0)
		atomic_store(&h->changed, true);
	return true;
}

static bool holds_any(const struct pg_holder *h)
{
	for (size_t i = 0; i < HELD_MAX; i++)
		if (h->held[i].stream)
			return true;
	return false;
}

static void *holder_main(void *arg)
{
	struct pg_holder *h = arg;
	bool failing = false;
	pthread_mutex_lock(&h->lock);
	while (!h->stopping) {
		struct error err = {.code = ""};
		bool ok = !holds_any(h) || round_of(h, &err);
		if (!ok && !failing)
			log_warn(h->log, "The lock of the replication stream cannot be refreshed: %s", err.message);
		failing = !ok;
		struct timespec until;
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += LOOK_MS / 1000;
		pthread_cond_timedwait(&h->stopped, &h->lock, &until);
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

struct pg_holder *pg_holder_start(const struct storage_postgres *connection, const struct log *log)
{
	struct pg_holder *h = xcalloc(1, sizeof(*h));
	pthread_condattr_t monotonic;
	h->connection = connection;
	h->log = log;
	pthread_mutex_init(&h->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&h->stopped, &monotonic);
	pthread_condattr_destroy(&monotonic);
	if (pthread_create(&h->thread, NULL, holder_main, h) != 0) {
		log_error(log, "Cannot start the thread that refreshes locks");
		abort();
	}
	return h;
}

void pg_holder_stop(struct pg_holder *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	h->stopping = true;
	pthread_cond_signal(&h->stopped);
	pthread_mutex_unlock(&h->lock);
	pthread_join(h->thread, NULL);
	pg_holder_give_all(h);
	pg_close(h->conn);
	pthread_cond_destroy(&h->stopped);
	pthread_mutex_destroy(&h->lock);
	free(h);
}
