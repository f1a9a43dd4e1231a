/* connection.c: see connection.h. */
#include "storage/postgres/connection.h"

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "storage/postgres/statements.h"

/* ---- errors and waiting ---------------------------------------------------------------------------------------------------------- */

static bool fail(struct pg_conn *c, const PGresult *r, struct error *err)
{
	const char *primary = r ? PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY) : NULL;
	const char *state = r ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
	const char *text = primary ? primary : PQerrorMessage(c->pg);
	size_t n = strcspn(text, "\n");
	snprintf(c->sqlstate, sizeof(c->sqlstate), "%s", state ? state : "");
	if (PQstatus(c->pg) != CONNECTION_OK)
		c->broken = true;
	return error_set(err, "PSYNC_S2404", "The storage database answered: %.*s%s%s%s", n ? (int)n : 15,
	                 n ? text : "connection lost", *c->sqlstate ? " (SQLSTATE " : "", c->sqlstate, *c->sqlstate ? ")" : "");
}

static bool timed_out(struct pg_conn *c, int timeout_ms, struct error *err)
{
	c->broken = true;
	return error_set(err, "PSYNC_S2403", "The storage database did not answer within %d ms", timeout_ms);
}

int pg_wait(struct pg_conn *c, short what, int timeout_ms)
{
	struct pollfd fd = {.fd = PQsocket(c->pg), .events = what};
	int n;
	if (fd.fd < 0)
		return -1;
	do {
		n = poll(&fd, 1, timeout_ms);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -1 : n;
}

static bool send_all(struct pg_conn *c, int timeout_ms, struct error *err)
{
	for (;;) {
		int left = PQflush(c->pg);
		if (left == 0)
			return true;
		if (left < 0)
			return fail(c, NULL, err);
		int ready = pg_wait(c, POLLIN | POLLOUT, timeout_ms);
		if (ready == 0)
			return timed_out(c, timeout_ms, err);
		if (ready < 0 || !PQconsumeInput(c->pg))
			return fail(c, NULL, err);
	}
}

/* The last result of what was sent, after all of them were read. */
static PGresult *receive(struct pg_conn *c, int timeout_ms, struct error *err)
{
	PGresult *kept = NULL;
	for (;;) {
		while (PQisBusy(c->pg)) {
			int ready = pg_wait(c, POLLIN, timeout_ms);
			if (ready == 0 || ready < 0 || !PQconsumeInput(c->pg)) {
				PQclear(kept);
				if (ready == 0)
					timed_out(c, timeout_ms, err);
				else
					fail(c, NULL, err);
				c->broken = true;
				return NULL;
			}
		}
		PGresult *r = PQgetResult(c->pg);
		if (!r)
			break;
		bool keep = !kept || PQresultStatus(kept) == PGRES_TUPLES_OK || PQresultStatus(kept) == PGRES_COMMAND_OK;
		if (keep) {
			PQclear(kept);
			kept = r;
		} else {
			PQclear(r);
		}
	}
	ExecStatusType status = kept ? PQresultStatus(kept) : PGRES_FATAL_ERROR;
	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
		return kept;
	fail(c, kept, err);
	PQclear(kept);
	return NULL;
}

/* ---- statements ------------------------------------------------------------------------------------------------------------------ */

PGresult *pg_query(struct pg_conn *c, const char *sql, int count, const char *const *values, int timeout_ms, struct error *err)
{
	c->sqlstate[0] = '\0';
	if (c->broken) {
		error_set(err, "PSYNC_S2404", "The connection to the storage database is lost");
		return NULL;
	}
	int sent = count ? PQsendQueryParams(c->pg, sql, count, NULL, values, NULL, NULL, 0) : PQsendQuery(c->pg, sql);
	if (!sent) {
		fail(c, NULL, err);
		return NULL;
	}
	return send_all(c, timeout_ms, err) ? receive(c, timeout_ms, err) : NULL;
}

bool pg_command(struct pg_conn *c, const char *sql, struct error *err)
{
	PGresult *r = pg_query(c, sql, 0, NULL, PG_TIMEOUT_MS, err);
	PQclear(r);
	return r != NULL;
}

static bool prepare(struct pg_conn *c, enum pg_statement statement, const char *name, struct error *err)
{
	if (c->prepared[statement])
		return true;
	if (!PQsendPrepare(c->pg, name, pg_statement_text(statement), 0, NULL))
		return fail(c, NULL, err);
	PGresult *r = send_all(c, PG_TIMEOUT_MS, err) ? receive(c, PG_TIMEOUT_MS, err) : NULL;
	PQclear(r);
	return c->prepared[statement] = r != NULL;
}

PGresult *pg_run(struct pg_conn *c, enum pg_statement statement, const struct pg_params *p, struct error *err)
{
	static const int binary[PG_PARAMS_MAX] = {1, 1, 1, 1, 1, 1};
	char name[16];
	c->sqlstate[0] = '\0';
	snprintf(name, sizeof(name), "s%d", (int)statement);
	if (c->broken) {
		error_set(err, "PSYNC_S2404", "The connection to the storage database is lost");
		return NULL;
	}
	if (!prepare(c, statement, name, err))
		return NULL;
	if (!PQsendQueryPrepared(c->pg, name, p ? p->count : 0, p ? p->values : NULL, p ? p->lengths : NULL, binary, 1)) {
		fail(c, NULL, err);
		return NULL;
	}
	return send_all(c, PG_TIMEOUT_MS, err) ? receive(c, PG_TIMEOUT_MS, err) : NULL;
}

PGresult *pg_run_again(const struct storage_postgres *options, struct pg_conn *c, enum pg_statement statement,
                       const struct pg_params *p, struct error *err)
{
	PGresult *r = pg_run(c, statement, p, err);
	if (r || !c->broken)
		return r;
	return pg_reopen(options, c, err) ? pg_run(c, statement, p, err) : NULL;
}

/* ---- parameters and fields --------------------------------------------------------------------------------------------------------- */

static void add_number(struct pg_params *p, const void *bytes, int n)
{
	memcpy(p->numbers[p->count], bytes, (size_t)n);
	p->values[p->count] = p->numbers[p->count];
	p->lengths[p->count++] = n;
}

void pg_add_i32(struct pg_params *p, int32_t v)
{
	uint32_t big = htobe32((uint32_t)v);
	add_number(p, &big, 4);
}

void pg_add_i64(struct pg_params *p, int64_t v)
{
	uint64_t big = htobe64((uint64_t)v);
	add_number(p, &big, 8);
}

void pg_add_bytes(struct pg_params *p, struct slice v)
{
	p->values[p->count] = v.p ? v.p : "";
	p->lengths[p->count++] = (int)v.n;
}

static void append_be32(struct buf *out, uint32_t v)
{
	v = htobe32(v);
	buf_append(out, &v, sizeof(v));
}

void pg_array_begin(struct buf *out, uint32_t element_oid, size_t count)
{
	buf_clear(out);
	append_be32(out, count ? 1 : 0); /* dimensions */
	append_be32(out, 0);             /* has no NULL */
	append_be32(out, element_oid);
	if (count) {
		append_be32(out, (uint32_t)count);
		append_be32(out, 1); /* first index */
	}
}

void pg_array_add(struct buf *out, struct slice element)
{
	append_be32(out, (uint32_t)element.n);
	buf_slice_append(out, element);
}

int32_t pg_i32(const PGresult *r, int row, int column)
{
	uint32_t v = 0;
	if (PQgetlength(r, row, column) == 4)
		memcpy(&v, PQgetvalue(r, row, column), 4);
	return (int32_t)be32toh(v);
}

int64_t pg_i64(const PGresult *r, int row, int column)
{
	uint64_t v = 0;
	if (PQgetlength(r, row, column) == 8)
		memcpy(&v, PQgetvalue(r, row, column), 8);
	return (int64_t)be64toh(v);
}

bool pg_bool(const PGresult *r, int row, int column)
{
	return PQgetlength(r, row, column) == 1 && PQgetvalue(r, row, column)[0];
}

struct slice pg_bytes(const PGresult *r, int row, int column)
{
	if (PQgetisnull(r, row, column))
		return (struct slice){NULL, 0};
	return slice_make(PQgetvalue(r, row, column), (size_t)PQgetlength(r, row, column));
}

/* ---- opening ------------------------------------------------------------------------------------------------------------------------ */

static void ignore_notice(void *ctx, const char *text)
{
	(void)ctx;
	(void)text;
}

/* The session is one of a storage: commits wait for standbys if the database says so, and nothing but our schema is in sight. */
static bool connect_now(const struct storage_postgres *options, struct pg_conn *c, struct error *err)
{
	memset(c->prepared, 0, sizeof(c->prepared));
	c->pg = options->connect(options->connect_ctx, err);
	c->broken = c->pg == NULL;
	if (!c->pg) {
		if (err && !*err->code)
			err->code = "PSYNC_S2404";
		return error_prefix(err, "The storage database cannot be reached: ");
	}
	PQsetnonblocking(c->pg, 1);
	PQsetNoticeProcessor(c->pg, ignore_notice, NULL);
	return pg_command(c, "SET search_path = powersync; SET synchronous_commit = on", err);
}

struct pg_conn *pg_open(const struct storage_postgres *options, struct error *err)
{
	struct pg_conn *c = xcalloc(1, sizeof(*c));
	if (connect_now(options, c, err))
		return c;
	pg_close(c);
	return NULL;
}

bool pg_reopen(const struct storage_postgres *options, struct pg_conn *c, struct error *err)
{
	PQfinish(c->pg);
	c->pg = NULL;
	return connect_now(options, c, err);
}

void pg_close(struct pg_conn *c)
{
	if (!c)
		return;
	PQfinish(c->pg);
	free(c);
}

/* ---- the pool ------------------------------------------------------------------------------------------------------------------------ */

struct pg_pool {
	const struct storage_postgres *options;
	pthread_mutex_t lock;
	pthread_cond_t freed;
	struct pg_conn *idle;
	size_t open; /* in use or idle */
};

struct pg_pool *pg_pool_new(const struct storage_postgres *options)
{
	struct pg_pool *pool = xcalloc(1, sizeof(*pool));
	pool->options = options;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_condattr_t attributes;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&pool->freed, &attributes);
	pthread_condattr_destroy(&attributes);
	return pool;
}

void pg_pool_free(struct pg_pool *pool)
{
	if (!pool)
		return;
	for (struct pg_conn *c = pool->idle, *next; c; c = next) {
		next = c->next;
		pg_close(c);
	}
	pthread_cond_destroy(&pool->freed);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

static void release_place(struct pg_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->open--;
	pthread_cond_signal(&pool->freed);
	pthread_mutex_unlock(&pool->lock);
}

struct pg_conn *pg_take(struct pg_pool *pool, struct error *err)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += PG_TIMEOUT_MS / 1000;
	pthread_mutex_lock(&pool->lock);
	while (!pool->idle && pool->open >= pool->options->max_connections)
		if (pthread_cond_timedwait(&pool->freed, &pool->lock, &until) == ETIMEDOUT) {
			pthread_mutex_unlock(&pool->lock);
			error_set(err, "PSYNC_S2403", "All %zu connections to the storage database are in use",
			          pool->options->max_connections);
			return NULL;
		}
	struct pg_conn *c = pool->idle;
	if (c)
		pool->idle = c->next;
	else
		pool->open++;
	pthread_mutex_unlock(&pool->lock);
	if (!c && !(c = pg_open(pool->options, err)))
		release_place(pool);
	return c;
}

void pg_give(struct pg_pool *pool, struct pg_conn *c)
{
	if (c->broken) {
		pg_close(c);
		release_place(pool);
		return;
	}
	pthread_mutex_lock(&pool->lock);
	c->next = pool->idle;
	pool->idle = c;
	pthread_cond_signal(&pool->freed);
	pthread_mutex_unlock(&pool->lock);
}
