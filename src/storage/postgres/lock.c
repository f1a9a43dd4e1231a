/* lock.c: see lock.h. */
#include "storage/postgres/lock.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "storage/digest.h"

#define RETRY_US 500000

/* Milliseconds since 1970 as text, for to_timestamp. */
static void clock_text(char out[32], int64_t ms)
{
	snprintf(out, 32, "%lld.%03d", (long long)(ms / 1000), (int)(ms % 1000));
}

bool pg_lock_try(struct pg_conn *c, struct pg_lock *lock, const char *name, bool *got, struct error *err)
{
	char now[32], old[32];
	*got = false;
	snprintf(lock->name, sizeof(lock->name), "%s", name);
	uuid_random_text(lock->id);
	clock_text(now, clock_wall_ms());
	clock_text(old, clock_wall_ms() - PG_LOCK_LIFE_MS);
	PGresult *r = pg_query(c,
	                       "INSERT INTO locks AS l (name, lock_id, ts) VALUES ($1, $2::uuid, to_timestamp($3::float8))"
	                       " ON CONFLICT (name) DO UPDATE SET"
	                       " lock_id = CASE WHEN l.ts <= to_timestamp($4::float8) THEN $2::uuid ELSE l.lock_id END,"
	                       " ts = CASE WHEN l.ts <= to_timestamp($4::float8) THEN to_timestamp($3::float8) ELSE l.ts END"
	                       " RETURNING lock_id::text",
	                       4, (const char *const[]){name, lock->id, now, old}, PG_TIMEOUT_MS, err);
	if (!r)
		return false;
	*got = PQntuples(r) == 1 && strcmp(PQgetvalue(r, 0, 0), lock->id) == 0;
	PQclear(r);
	return true;
}

bool pg_lock_wait(struct pg_conn *c, struct pg_lock *lock, const char *name, int64_t wait_ms, const struct log *log,
                  struct error *err)
{
	int64_t until = clock_mono_ms() + wait_ms;
	bool got, told = false;
	for (;;) {
		if (!pg_lock_try(c, lock, name, &got, err))
			return false;
		if (got)
			return true;
		if (clock_mono_ms() >= until)
			return error_set(err, "", "Could not acquire lock \"%s\": another process has it", name);
		if (!told)
			log_info(log,
			         "Waiting for the lock \"%s\", which another process has (one that died keeps it for up to 60 s)",
			         name);
		told = true;
		usleep(RETRY_US);
	}
}

static PGresult *by_id(struct pg_conn *c, const struct pg_lock *lock, const char *sql, struct error *err)
{
	char now[32];
	clock_text(now, clock_wall_ms());
	return pg_query(c, sql, 3, (const char *const[]){lock->name, lock->id, now}, PG_TIMEOUT_MS, err);
}

bool pg_lock_refresh(struct pg_conn *c, const struct pg_lock *lock, bool *held, struct error *err)
{
	PGresult *r =
	        by_id(c, lock,
	              "UPDATE locks SET ts = to_timestamp($3::float8) WHERE name = $1 AND lock_id = $2::uuid RETURNING 1", err);
	if (!r)
		return false;
	*held = PQntuples(r) == 1;
	PQclear(r);
	return true;
}

bool pg_lock_release(struct pg_conn *c, const struct pg_lock *lock, struct error *err)
{
	PGresult *r = by_id(
	        c, lock,
	        "DELETE FROM locks WHERE name = $1 AND lock_id = $2::uuid AND to_timestamp($3::float8) IS NOT NULL RETURNING 1",
	        err);
	PQclear(r);
	return r != NULL;
}
