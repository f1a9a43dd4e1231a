/* connection.c: see connection.h. */
#include "storage/postgres/connection.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>

#include "base/alloc.h"

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
	/* 57014: cancelled, by the limit of time or by an administrator. */
	const char *code = strcmp(c->sqlstate, "57014") == 0 ? "PSYNC_S2403" : "PSYNC_S2404";
	return error_set(err, code, "The storage database answered: %.*s%s%s%s", n ? (int)n : 15, n ? text : "connection lost",
	                 *c->sqlstate ? " (SQLSTATE " : "", c->sqlstate, *c->sqlstate ? ")" : "");
}

static bool timed_out(struct pg_conn *c, int timeout_ms, struct error *err)
{
	c->broken = true;
	return error_set(err, "PSYNC_S2403", "The storage database did not answer within %d ms", timeout_ms);
}

/* Waits for the socket: 1 ready, 0 time-out, -1 lost. */
static int wait_ready(struct pg_conn *c, short what, int timeout_ms)
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
		int ready = wait_ready(c, POLLIN | POLLOUT, timeout_ms);
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
			int ready = wait_ready(c, POLLIN, timeout_ms);
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

PGresult *pg_receive(struct pg_conn *c, int timeout_ms, struct error *err)
{
	return send_all(c, timeout_ms, err) ? receive(c, timeout_ms, err) : NULL;
}

static bool usable(struct pg_conn *c, struct error *err)
{
	c->sqlstate[0] = '\0';
	return !c->broken || error_set(err, "PSYNC_S2404", "The connection to the storage database is lost");
}

PGresult *pg_query(struct pg_conn *c, const char *sql, int count, const char *const *values, int timeout_ms, struct error *err)
{
	if (!usable(c, err))
		return NULL;
	int sent = count ? PQsendQueryParams(c->pg, sql, count, NULL, values, NULL, NULL, 0) : PQsendQuery(c->pg, sql);
	if (!sent) {
		fail(c, NULL, err);
		return NULL;
	}
	return pg_receive(c, timeout_ms, err);
}

bool pg_command(struct pg_conn *c, const char *sql, struct error *err)
{
	PGresult *r = pg_query(c, sql, 0, NULL, PG_TIMEOUT_MS, err);
	PQclear(r);
	return r != NULL;
}

bool pg_prepare(struct pg_conn *c, const char *sql, char name[16], int timeout_ms, struct error *err)
{
	unsigned at = 0;
	while (at < c->prepared_count && c->prepared[at] != sql)
		at++;
	snprintf(name, 16, "s%u", at);
	if (at < c->prepared_count)
		return true;
	if (!usable(c, err))
		return false;
	if (at == PG_PREPARED_MAX)
		return error_set(err, "PSYNC_S1101", "too many prepared statements");
	if (!PQsendPrepare(c->pg, name, sql, 0, NULL))
		return fail(c, NULL, err);
	PGresult *r = pg_receive(c, timeout_ms, err);
	PQclear(r);
	if (!r)
		return false;
	c->prepared[c->prepared_count++] = sql;
	return true;
}

PGresult *pg_prepared(struct pg_conn *c, const char *sql, const struct pg_values *v, int timeout_ms, struct error *err)
{
	char name[16];
	if (!usable(c, err) || !pg_prepare(c, sql, name, timeout_ms, err))
		return NULL;
	if (!PQsendQueryPrepared(c->pg, name, v->count, v->values, v->lengths, v->formats, v->binary_result)) {
		fail(c, NULL, err);
		return NULL;
	}
	return pg_receive(c, timeout_ms, err);
}

/* Class 08: connection; 40: rolled back because of others; 53: out of something; 57P: being shut down; 55P03: lock not available. */
bool pg_may_retry(const struct pg_conn *c)
{
	const char *s = c->sqlstate;
	return c->broken || strncmp(s, "08", 2) == 0 || strncmp(s, "40", 2) == 0 || strncmp(s, "53", 2) == 0 ||
	       strncmp(s, "57P", 3) == 0 || strcmp(s, "55P03") == 0;
}

/* ---- pipelines ------------------------------------------------------------------------------------------------------------------- */

bool pg_pipeline_begin(struct pg_conn *c, struct error *err)
{
	c->pipelined = 0;
	if (!usable(c, err))
		return false;
	return PQenterPipelineMode(c->pg) ? true : fail(c, NULL, err);
}

bool pg_pipeline_send(struct pg_conn *c, const char *sql, int count, const struct pg_param *params, struct error *err)
{
	const char *values[PG_PARAMS_MAX];
	int lengths[PG_PARAMS_MAX], formats[PG_PARAMS_MAX];
	char name[16];
	if (!pg_prepare(c, sql, name, PG_TIMEOUT_MS, err))
		return false;
	for (int i = 0; i < count; i++) {
		if (params[i].n > INT_MAX)
			return error_set(err, "PSYNC_S2404", "a batch is too large for the storage database");
		values[i] = params[i].p;
		lengths[i] = (int)params[i].n;
		formats[i] = 1;
	}
	if (!PQsendQueryPrepared(c->pg, name, count, values, lengths, formats, 1) || PQflush(c->pg) < 0 || !PQconsumeInput(c->pg))
		return fail(c, NULL, err);
	c->pipelined++;
	return true;
}

/* The next result, or NULL at the end of a statement's results. False: the connection is lost. */
static bool next_result(struct pg_conn *c, PGresult **out, struct error *err)
{
	while (PQisBusy(c->pg)) {
		int ready = wait_ready(c, POLLIN, PG_TIMEOUT_MS);
		if (ready == 0)
			return timed_out(c, PG_TIMEOUT_MS, err);
		if (ready < 0 || !PQconsumeInput(c->pg)) {
			c->broken = true;
			return fail(c, NULL, err);
		}
	}
	*out = PQgetResult(c->pg);
	return true;
}

/* All results of one statement; the last one is kept. *ok becomes false with the first error of the pipeline. */
static bool take_statement(struct pg_conn *c, PGresult **kept, bool *ok, struct error *err)
{
	*kept = NULL;
	for (;;) {
		PGresult *r;
		if (!next_result(c, &r, err))
			return false;
		if (!r)
			return true;
		ExecStatusType status = PQresultStatus(r);
		if (*ok && status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
			*ok = fail(c, r, err);
		PQclear(*kept);
		*kept = r;
	}
}

static bool read_pipeline(struct pg_conn *c, PGresult **results, size_t count, bool *ok, struct error *err)
{
	for (size_t i = 0; i < c->pipelined; i++) {
		PGresult *r;
		if (!take_statement(c, &r, ok, err)) {
			PQclear(r);
			return false;
		}
		if (i < count && *ok)
			results[i] = r;
		else
			PQclear(r);
	}
	PGresult *sync;
	if (!next_result(c, &sync, err))
		return false;
	bool synced = PQresultStatus(sync) == PGRES_PIPELINE_SYNC;
	PQclear(sync);
	return synced && PQexitPipelineMode(c->pg) ? true : fail(c, NULL, err);
}

bool pg_pipeline_end(struct pg_conn *c, PGresult **results, size_t count, struct error *err)
{
	bool ok = !c->broken;
	for (size_t i = 0; i < count; i++)
		results[i] = NULL;
	if (c->broken)
		return error_set(err, "PSYNC_S2404", "The connection to the storage database is lost");
	bool read = (PQpipelineSync(c->pg) || fail(c, NULL, err)) && send_all(c, PG_TIMEOUT_MS, err) &&
	            read_pipeline(c, results, count, &ok, err);
	if (!read)
		c->broken = true;
	for (size_t i = 0; i < count && !(read && ok); i++) {
		PQclear(results[i]);
		results[i] = NULL;
	}
	return read && ok;
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
	c->pg = options->connect(options->connect_ctx, err);
	c->broken = c->pg == NULL;
	if (!c->pg) {
		if (err && !*err->code)
			err->code = "PSYNC_S2404";
		return error_prefix(err, "The storage database cannot be reached: ");
	}
	PQsetnonblocking(c->pg, 1);
	PQsetNoticeProcessor(c->pg, ignore_notice, NULL);
	return pg_command(
	        c,
	        "SET search_path = powersync; SET synchronous_commit = on; SET statement_timeout = " PG_NUMBER_TEXT(
	                PG_STATEMENT_MS) "; SET idle_in_transaction_session_timeout = " PG_NUMBER_TEXT(PG_IDLE_IN_TRANSACTION_MS),
	        err);
}

struct pg_conn *pg_open(const struct storage_postgres *options, struct error *err)
{
	struct pg_conn *c = xcalloc(1, sizeof(*c));
	if (connect_now(options, c, err))
		return c;
	pg_close(c);
	return NULL;
}

void pg_close(struct pg_conn *c)
{
	if (!c)
		return;
	PQfinish(c->pg);
	free(c);
}
