/* link.c: opens connections and runs queries, every wait bounded. */
#include "source/postgres/link.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <fcntl.h>

#include <openssl/ssl.h>

#include "base/clock.h"
#include "source/postgres/conninfo.h"

/* A wait longer than this is told (source_on_wait). */
#define WAIT_SLICE_MS 1000

/* ---- errors --------------------------------------------------------------------------------------------------------------- */

/* Server texts are one line in logs: line ends become blanks, a last one goes. */
static void flatten(char *dst, size_t size, const char *src)
{
	size_t n = 0;
	for (; *src && n + 1 < size; src++) {
		char c = *src == '\n' || *src == '\t' ? ' ' : *src;
		if (c == ' ' && n && dst[n - 1] == ' ')
			continue;
		dst[n++] = c;
	}
	while (n && dst[n - 1] == ' ')
		n--;
	dst[n] = '\0';
}

bool link_error(struct link *l, const PGresult *r, const char *code, struct error *err)
{
	char text[900];
	const char *primary = r ? PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY) : NULL;
	const char *state = r ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
	snprintf(l->sqlstate, sizeof(l->sqlstate), "%s", state ? state : "");
	const char *source_text = primary                         ? primary
	                          : r && *PQresultErrorMessage(r) ? PQresultErrorMessage(r)
	                                                          : PQerrorMessage(l->pg);
	flatten(text, sizeof(text), source_text && *source_text ? source_text : "connection lost");
	if (PQstatus(l->pg) != CONNECTION_OK)
		l->broken = true;
	if (code && *code)
		return error_set(err, code, "Postgres error while replicating: %s", text);
	return error_set(err, "", "%s", text);
}

static bool interrupted(struct link *l, struct error *err)
{
	l->broken = true;
	return error_set(err, "", "%s", atomic_load(&l->aborted) ? "connection aborted" : "source stopped");
}

static bool timed_out(struct link *l, int timeout_ms, struct error *err)
{
	l->broken = true;
	return error_set(err, "PSYNC_S1121", "Socket timed out after %dms", timeout_ms);
}

/* ---- waiting -------------------------------------------------------------------------------------------------------------- */

void link_waits(struct link *l, const char *what)
{
	if (l->source->waiting)
		l->source->waiting(l->source->waiting_ctx, what);
}

int link_poll(struct link *l, short what, int timeout_ms)
{
	struct pollfd fds[2] = {{.fd = PQsocket(l->pg), .events = what}, {.fd = l->source->stop_fd, .events = POLLIN}};
	int64_t deadline = clock_mono_ms() + timeout_ms;
	for (;;) {
		if (atomic_load(&l->aborted))
			return -1;
		int64_t left = timeout_ms < 0 ? WAIT_SLICE_MS : deadline - clock_mono_ms();
		int n = poll(fds, 2, left < 0 ? 0 : left < WAIT_SLICE_MS ? (int)left : WAIT_SLICE_MS);
		if (n > 0 && fds[1].revents)
			return -1;
		if (n > 0)
			return atomic_load(&l->aborted) ? -1 : 1;
		if (timeout_ms >= 0 && clock_mono_ms() >= deadline)
			return 0;
		if (n == 0)
			link_waits(l, NULL);
	}
}

/*
 * Decrypted bytes that OpenSSL still holds: a poll of the socket does not show them, and libpq takes what fits into its buffer (a
 * record has up to 16 KB).
 */
static bool tls_holds_bytes(PGconn *pg)
{
	SSL *ssl = PQsslInUse(pg) ? PQgetssl(pg) : NULL;
	return ssl && SSL_pending(ssl) > 0;
}

bool link_receive(struct link *l)
{
	do {
		if (!PQconsumeInput(l->pg))
			return false;
		atomic_fetch_add_explicit(&l->source->chunks, 1, memory_order_relaxed);
	} while (tls_holds_bytes(l->pg));
	return true;
}

static bool wait_ready(struct link *l, short what, int timeout_ms, struct error *err)
{
	int ready = link_poll(l, what, timeout_ms);
	if (ready > 0)
		return true;
	return ready < 0 ? interrupted(l, err) : timed_out(l, timeout_ms, err);
}

bool link_flush(struct link *l, int timeout_ms, struct error *err)
{
	for (;;) {
		int left = PQflush(l->pg);
		if (left == 0)
			return true;
		if (left < 0)
			return link_error(l, NULL, "", err);
		/* The server may be waiting for us to read before it reads. */
		if (!wait_ready(l, POLLIN | POLLOUT, timeout_ms, err))
			return false;
		if (!link_receive(l))
			return link_error(l, NULL, "", err);
	}
}

/* ---- opening -------------------------------------------------------------------------------------------------------------- */

static bool connect_within(struct link *l, int timeout_ms, struct error *err)
{
	const struct source_config *config = l->source->config;
	int64_t deadline = clock_mono_ms() + timeout_ms;
	PostgresPollingStatusType state = PGRES_POLLING_WRITING;
	while (state == PGRES_POLLING_READING || state == PGRES_POLLING_WRITING) {
		int64_t left = deadline - clock_mono_ms();
		int ready = left <= 0 ? 0 : link_poll(l, state == PGRES_POLLING_READING ? POLLIN : POLLOUT, (int)left);
		if (ready < 0)
			return interrupted(l, err);
		if (ready == 0)
			return error_set(err, "", "Timeout while connecting to %s:%d", config->hostname, config->port);
		state = PQconnectPoll(l->pg);
	}
	return state == PGRES_POLLING_OK || link_error(l, NULL, "", err);
}

/* Settings that older servers do not know and therefore cannot be start-up options: a role's own limits must not end our sessions,
 * and a query whose client is gone must end. */
static bool late_settings(struct link *l, struct error *err)
{
	if (l->version < 140000)
		return true;
	PGresult *r =
	        link_query(l, "SET idle_session_timeout = 0; SET client_connection_check_interval = '5s'", SHORT_TIMEOUT_MS, err);
	if (!r && !l->broken) { /* a platform without support for the check refuses the second one */
		r = link_query(l, "SET idle_session_timeout = 0", SHORT_TIMEOUT_MS, err);
	}
	PQclear(r);
	return r != NULL;
}

/* Notices of the server (no transaction in progress, ...) are nobody's business. */
static void ignore_notice(void *context, const char *text)
{
	(void)context;
	(void)text;
}

/* What the server itself said is passed on as it is (source-postgres 11.2); libpq puts address and severity in front. */
static void plain_connect_error(struct error *err)
{
	char *fatal = NULL;
	for (char *at = err->message; (at = strstr(at, "FATAL: ")); at++)
		fatal = at + 7;
	if (fatal)
		memmove(err->message, fatal, strlen(fatal) + 1);
	if (strstr(err->message, "/proc/self/fd/"))
		error_prefix(err, "cacert, client_certificate or client_private_key cannot be used: ");
}

bool link_open(struct link *l, struct source *s, enum link_kind kind, struct error *err)
{
	*l = (struct link){.source = s, .abort_fd = -1};
	struct conninfo info;
	if (!conninfo_build(&info, s, kind == LINK_REPLICATION, err))
		return false;
	l->pg = PQconnectStartParams(info.keywords, info.values, 0);
	conninfo_free(&info);
	if (!l->pg)
		return error_set(err, "", "out of memory for a connection");
	double seconds = s->config->connect_timeout_s;
	int timeout_ms = seconds > 0 && seconds < 86400 ? (int)(seconds * 1000) : 20000;
	bool ok = PQstatus(l->pg) != CONNECTION_BAD ? connect_within(l, timeout_ms, err) : link_error(l, NULL, "", err);
	if (ok) {
		PQsetnonblocking(l->pg, 1);
		PQsetNoticeProcessor(l->pg, ignore_notice, NULL);
		l->broken = false;
		l->version = PQserverVersion(l->pg);
		l->abort_fd = fcntl(PQsocket(l->pg), F_DUPFD_CLOEXEC, 0);
		if (l->abort_fd < 0)
			ok = error_set(err, "", "too many open files for a connection");
		else if (kind == LINK_ORDINARY)
			ok = late_settings(l, err);
	}
	if (!ok)
		link_close(l);
	if (!ok && err)
		plain_connect_error(err);
	return ok;
}

void *source_connect_bare(struct source *s, struct error *err)
{
	struct link l;
	if (!link_open(&l, s, LINK_ORDINARY, err))
		return NULL;
	PGconn *pg = l.pg;
	l.pg = NULL;
	link_close(&l);
	return pg;
}

void link_close(struct link *l)
{
	PQfinish(l->pg);
	l->pg = NULL;
	if (l->abort_fd >= 0)
		close(l->abort_fd);
	l->abort_fd = -1;
	l->broken = true;
}

void link_abort(struct link *l)
{
	atomic_store(&l->aborted, true);
	if (l->abort_fd >= 0)
		shutdown(l->abort_fd, SHUT_RDWR);
}

/* ---- queries -------------------------------------------------------------------------------------------------------------- */

bool link_send(struct link *l, const char *sql, int timeout_ms, struct error *err)
{
	l->sqlstate[0] = '\0';
	if (l->broken || atomic_load(&l->aborted))
		return error_set(err, "", "%s", atomic_load(&l->aborted) ? "connection aborted" : "connection is closed");
	if (!PQsendQuery(l->pg, sql))
		return link_error(l, NULL, "PSYNC_S1120", err);
	return link_flush(l, timeout_ms, err);
}

PGresult *link_result(struct link *l, int timeout_ms, bool *end, struct error *err)
{
	*end = false;
	while (PQisBusy(l->pg)) {
		if (!wait_ready(l, POLLIN, timeout_ms, err))
			return NULL;
		if (!link_receive(l)) {
			link_error(l, NULL, "PSYNC_S1120", err);
			return NULL;
		}
	}
	PGresult *r = PQgetResult(l->pg);
	if (!r) {
		*end = true;
		return NULL;
	}
	ExecStatusType status = PQresultStatus(r);
	if (status != PGRES_FATAL_ERROR && status != PGRES_BAD_RESPONSE && status != PGRES_NONFATAL_ERROR)
		return r;
	char state[sizeof(l->sqlstate)];
	link_error(l, r, "PSYNC_S1120", err);
	memcpy(state, l->sqlstate, sizeof(state));
	PQclear(r);
	if (!l->broken)
		link_drain(l, timeout_ms, NULL);
	memcpy(l->sqlstate, state, sizeof(state));
	return NULL;
}

int link_copy_row(struct link *l, char **row, int timeout_ms, struct error *err)
{
	for (;;) {
		int n = PQgetCopyData(l->pg, row, 1);
		if (n > 0) {
			link_count_bytes(l, n);
			return n;
		}
		if (n == -1)
			return 0;
		if (n == -2) {
			link_error(l, NULL, "PSYNC_S1120", err);
			return -1;
		}
		if (!wait_ready(l, POLLIN, timeout_ms, err))
			return -1;
		if (!link_receive(l)) {
			link_error(l, NULL, "PSYNC_S1120", err);
			return -1;
		}
	}
}

bool link_drain(struct link *l, int timeout_ms, struct error *err)
{
	struct error ignored;
	for (bool end = false; !end && !l->broken;) {
		PGresult *r = link_result(l, timeout_ms, &end, err ? err : &ignored);
		if (!r)
			continue;
		ExecStatusType status = PQresultStatus(r);
		PQclear(r);
		char *row;
		if (status == PGRES_COPY_OUT)
			while (link_copy_row(l, &row, timeout_ms, err ? err : &ignored) > 0)
				PQfreemem(row);
	}
	return !l->broken;
}

PGresult *link_query(struct link *l, const char *sql, int timeout_ms, struct error *err)
{
	if (!link_send(l, sql, timeout_ms, err))
		return NULL;
	PGresult *kept = NULL;
	for (;;) {
		bool end;
		PGresult *r = link_result(l, timeout_ms, &end, err);
		if (!r && end)
			break;
		if (!r) {
			PQclear(kept);
			return NULL;
		}
		if (!kept || PQresultStatus(r) == PGRES_TUPLES_OK || PQresultStatus(kept) != PGRES_TUPLES_OK) {
			PQclear(kept);
			kept = r;
		} else {
			PQclear(r);
		}
	}
	if (!kept)
		link_error(l, NULL, "PSYNC_S1120", err);
	return kept;
}

void link_cancel(struct link *l)
{
	char ignored[256];
	PGcancel *cancel = PQgetCancel(l->pg);
	if (cancel)
		PQcancel(cancel, ignored, sizeof(ignored));
	PQfreeCancel(cancel);
}

/* ---- SQL text ------------------------------------------------------------------------------------------------------------- */

void sql_identifier(struct buf *out, struct slice name)
{
	buf_putc(out, '"');
	for (size_t i = 0; i < name.n; i++) {
		if (name.p[i] == '"')
			buf_putc(out, '"');
		buf_putc(out, name.p[i]);
	}
	buf_putc(out, '"');
}

/* With a backslash inside it is an E'' literal, so that standard_conforming_strings does not matter. */
void sql_literal(struct buf *out, struct slice text)
{
	if (text.n && memchr(text.p, '\\', text.n))
		buf_lit(out, " E");
	buf_putc(out, '\'');
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] == '\'' || text.p[i] == '\\')
			buf_putc(out, text.p[i]);
		buf_putc(out, text.p[i]);
	}
	buf_putc(out, '\'');
}

void sql_table(struct buf *out, struct slice schema, struct slice name)
{
	sql_identifier(out, schema);
	buf_putc(out, '.');
	sql_identifier(out, name);
}

struct slice pg_field(const PGresult *r, int row, int column)
{
	return slice_make(PQgetvalue(r, row, column), (size_t)PQgetlength(r, row, column));
}

uint64_t pg_field_u64(const PGresult *r, int row, int column)
{
	uint64_t v = 0;
	slice_parse_u64(pg_field(r, row, column), UINT64_MAX, &v);
	return v;
}

/* ---- snapshots ------------------------------------------------------------------------------------------------------------ */

static bool take_number(struct slice *s, uint64_t *out)
{
	size_t n = 0;
	while (n < s->n && s->p[n] >= '0' && s->p[n] <= '9')
		n++;
	bool ok = slice_parse_u64(slice_make(s->p, n), UINT64_MAX, out);
	*s = slice_drop(*s, n);
	return ok;
}

static bool take_char(struct slice *s, char c)
{
	if (!s->n || s->p[0] != c)
		return false;
	*s = slice_drop(*s, 1);
	return true;
}

bool snapshot_parse(struct slice text, struct arena *arena, struct xid_snapshot *out)
{
	*out = (struct xid_snapshot){0};
	if (!take_number(&text, &out->xmin) || !take_char(&text, ':') || !take_number(&text, &out->xmax) ||
	    !take_char(&text, ':'))
		return false;
	if (!text.n)
		return true;
	size_t commas = 0;
	for (size_t i = 0; i < text.n; i++)
		commas += text.p[i] == ',';
	out->in_progress = arena_array(arena, uint64_t, commas + 1);
	do {
		if (out->count > commas || !take_number(&text, &out->in_progress[out->count++]))
			return false;
	} while (take_char(&text, ','));
	return text.n == 0;
}

const char *snapshot_function(int version)
{
	return version >= 130000 ? "pg_catalog.pg_current_snapshot()" : "pg_catalog.txid_current_snapshot()";
}
