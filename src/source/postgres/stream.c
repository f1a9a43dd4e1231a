/* stream.c: START_REPLICATION and what comes over it (source-postgres 8). */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "source/postgres/link.h"
#include "source/postgres/pgoutput.h"

/* After so long a silence the server is asked for a sign of life; it has SOCKET_TIMEOUT_MS to give one. */
#define PROBE_AFTER_MS 60000
/* A slot stays in use for a moment after its last reader died. */
#define OPEN_PATIENCE_MS 5000

#define EPOCH_2000_US INT64_C(946684800000000)

/* What must be remembered of a relation to read its rows. */
struct known_relation {
	uint32_t oid;
	size_t column_count;
	bool *in_key;
	UT_hash_handle hh;
};

struct source_stream {
	struct link link;
	struct known_relation *relations; /* by oid */
	char *message, *ahead;            /* libpq's buffers: of the last event, and of the next one */
	int ahead_length;
	struct arena arena; /* of the last event */
	uint64_t confirmed;
	int64_t heard_ms, probed_ms; /* monotonic */
	bool failed;                 /* looking ahead met the end: the next call reports it */
	struct error failure;
};

/* ---- opening and closing ---------------------------------------------------------------------------------------------------- */

static bool start(struct source_stream *st, const char *slot, struct error *err)
{
	struct buf sql = {0};
	buf_lit(&sql, "START_REPLICATION SLOT ");
	sql_identifier(&sql, slice_cstr(slot));
	buf_lit(&sql, " LOGICAL 0/0 (\"proto_version\" '1', \"publication_names\" '" PUBLICATION "'");
	if (st->link.version >= 140000) /* older servers refuse the option */
		buf_lit(&sql, ", \"messages\" 'true'");
	buf_lit(&sql, ")");
	buf_putc(&sql, '\0');
	int64_t until = clock_mono_ms() + OPEN_PATIENCE_MS;
	PGresult *r = NULL;
	for (;;) {
		bool end;
		if (link_send(&st->link, sql.p, SHORT_TIMEOUT_MS, err))
			r = link_result(&st->link, SOCKET_TIMEOUT_MS, &end, err);
		bool in_use = !r && strcmp(st->link.sqlstate, "55006") == 0;
		if (!in_use || st->link.broken || clock_mono_ms() > until || link_poll(&st->link, 0, 200) < 0)
			break;
	}
	buf_free(&sql);
	bool ok = r && PQresultStatus(r) == PGRES_COPY_BOTH;
	if (r && !ok)
		error_set(err, "", "unexpected answer to START_REPLICATION");
	PQclear(r);
	if (!ok && err && strncmp(err->message, "Postgres error while replicating: ", 34) == 0) { /* no code: 11.2a */
		memmove(err->message, err->message + 34, strlen(err->message + 34) + 1);
		err->code = "";
	}
	return ok;
}

struct source_stream *source_stream_open(struct source *s, const char *slot, struct error *err)
{
	struct source_stream *st = xcalloc(1, sizeof(*st));
	if (!link_open(&st->link, s, LINK_REPLICATION, err)) {
		free(st);
		return NULL;
	}
	if (!start(st, slot, err)) {
		source_stream_close(st);
		return NULL;
	}
	st->heard_ms = st->probed_ms = clock_mono_ms();
	return st;
}

static void forget_relation(struct source_stream *st, struct known_relation *k)
{
	HASH_DEL(st->relations, k);
	free(k->in_key);
	free(k);
}

void source_stream_close(struct source_stream *st)
{
	if (!st)
		return;
	struct known_relation *k, *next;
	HASH_ITER(hh, st->relations, k, next) forget_relation(st, k);
	PQfreemem(st->message);
	PQfreemem(st->ahead);
	arena_free(&st->arena);
	link_close(&st->link);
	free(st);
}

int source_stream_fd(const struct source_stream *st)
{
	return PQsocket(st->link.pg);
}

bool source_stream_pending(const struct source_stream *st)
{
	return st->ahead != NULL;
}

/* ---- status ----------------------------------------------------------------------------------------------------------------- */

static void put_number(char *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (char)(v >> (56 - 8 * i));
}

/* A zero position confirms nothing (the server ignores it) but is a sign of life. */
static bool send_status(struct source_stream *st, bool ask_reply, struct error *err)
{
	char m[34] = {'r'};
	for (int i = 0; i < 3; i++)
		put_number(m + 1 + 8 * i, st->confirmed);
	put_number(m + 25, (uint64_t)(clock_wall_ms() * 1000 - EPOCH_2000_US));
	m[33] = ask_reply;
	int sent = PQputCopyData(st->link.pg, m, sizeof(m));
	if (sent < 0)
		return link_error(&st->link, NULL, "", err);
	/* 0: the send buffer is full of older reports, which say nearly the same. What is left goes out at the next call. */
	if (PQflush(st->link.pg) < 0)
		return link_error(&st->link, NULL, "", err);
	return true;
}

bool source_stream_confirm(struct source_stream *st, uint64_t lsn, struct error *err)
{
	if (st->link.broken)
		return error_set(err, "", "replication stream is closed");
	if (lsn > st->confirmed)
		st->confirmed = lsn;
	return send_status(st, false, err);
}

/* ---- receiving -------------------------------------------------------------------------------------------------------------- */

/* The stream ended: the server's reason, or that it was closed. */
static void stream_ended(struct source_stream *st, struct error *err)
{
	PGresult *r = PQgetResult(st->link.pg);
	bool reason = r && (PQresultStatus(r) == PGRES_FATAL_ERROR || PQresultStatus(r) == PGRES_NONFATAL_ERROR);
	if (reason)
		link_error(&st->link, r, "", err);
	else
		error_set(err, "", "replication stream was ended by the server");
	PQclear(r);
	st->link.broken = true;
}

/* Takes a message into ahead if one is complete: 1, 0 none yet, -1 failure. */
static int fetch(struct source_stream *st, struct error *err)
{
	for (int tries = 0;; tries++) {
		int n = PQgetCopyData(st->link.pg, &st->ahead, 1);
		if (n > 0) {
			st->ahead_length = n;
			link_count_bytes(&st->link, n);
			return 1;
		}
		st->ahead = NULL;
		if (n == -1) {
			stream_ended(st, err);
			return -1;
		}
		if (n == -2) {
			link_error(&st->link, NULL, "", err);
			st->link.broken = true;
			return -1;
		}
		if (tries)
			return 0;
		if (!link_receive(&st->link)) {
			link_error(&st->link, NULL, "", err);
			st->link.broken = true;
			return -1;
		}
	}
}

/* Waits for a message until deadline_ms: as fetch. */
static int await(struct source_stream *st, int64_t deadline_ms, struct error *err)
{
	for (;;) {
		int got = fetch(st, err);
		if (got)
			return got;
		int64_t now = clock_mono_ms();
		if (now - st->heard_ms > SOCKET_TIMEOUT_MS) {
			st->link.broken = true;
			error_set(err, "PSYNC_S1121", "Socket timed out after %dms", SOCKET_TIMEOUT_MS);
			return -1;
		}
		if (now - st->heard_ms > PROBE_AFTER_MS && now - st->probed_ms > PROBE_AFTER_MS) {
			st->probed_ms = now;
			if (!send_status(st, true, err))
				return -1;
		}
		if (now >= deadline_ms)
			return 0;
		int unsent = PQflush(st->link.pg);
		if (unsent < 0) {
			link_error(&st->link, NULL, "", err);
			return -1;
		}
		int64_t wait = deadline_ms - now < 1000 ? deadline_ms - now : 1000;
		if (link_poll(&st->link, unsent ? POLLIN | POLLOUT : POLLIN, (int)wait) < 0) {
			st->link.broken = true;
			error_set(err, "", "source stopped");
			return -1;
		}
	}
}

static uint64_t get_number(const char *p)
{
	uint64_t v = 0;
	for (int i = 0; i < 8; i++)
		v = v << 8 | (unsigned char)p[i];
	return v;
}

/* ---- rows ------------------------------------------------------------------------------------------------------------------- */

static void remember_relation(struct source_stream *st, const struct source_relation *r)
{
	struct known_relation *k;
	HASH_FIND(hh, st->relations, &r->oid, sizeof(r->oid), k);
	if (k)
		forget_relation(st, k);
	k = xcalloc(1, sizeof(*k));
	k->oid = r->oid;
	k->column_count = r->column_count;
	k->in_key = xcalloc(r->column_count, sizeof(bool));
	for (size_t i = 0; i < r->column_count; i++)
		k->in_key[i] = r->columns[i].in_key;
	HASH_ADD(hh, st->relations, oid, sizeof(k->oid), k);
}

/*
 * Fills in what the old tuple tells: a key-only tuple has nulls in the other columns, which mean "not sent"; an unchanged value of
 * the new row is the old row's, where that was sent (identity FULL, or a key column that lies out of line).
 */
static bool complete_rows(struct source_stream *st, struct pgoutput_event *p, struct error *err)
{
	struct known_relation *k;
	struct stream_event *e = &p->event;
	HASH_FIND(hh, st->relations, &e->oid, sizeof(e->oid), k);
	if (!k)
		return error_set(err, "PSYNC_S1101", "Missing relation cache for %u", e->oid);
	if ((e->new_row && p->new_count != k->column_count) || (e->old_row && p->old_count != k->column_count))
		return error_set(err, "", "replicated row of relation %u does not have its %zu columns", e->oid, k->column_count);
	if (!e->old_row)
		return true;
	struct raw_value *old = (struct raw_value *)e->old_row, *row = (struct raw_value *)e->new_row;
	for (size_t i = 0; i < k->column_count; i++) {
		if (e->old_is_key && !k->in_key[i])
			old[i] = (struct raw_value){.kind = RAW_UNCHANGED};
		if (row && row[i].kind == RAW_UNCHANGED)
			row[i] = old[i];
	}
	return true;
}

/* One message of the copy stream into *out; out->kind stays STREAM_NOTHING for messages without meaning. */
static bool read_message(struct source_stream *st, struct slice m, struct stream_event *out, struct error *err)
{
	if (m.n == 18 && m.p[0] == 'k') {
		out->kind = STREAM_KEEPALIVE;
		out->lsn = get_number(m.p + 1);
		out->reply_requested = m.p[17] != 0;
		return true;
	}
	if (m.n < 25 || m.p[0] != 'w')
		return error_set(err, "", "malformed replication message of %zu bytes", m.n);
	struct pgoutput_event p;
	if (!pgoutput_decode(slice_drop(m, 25), &st->arena, &p, err))
		return false;
	if (p.ignored)
		return true;
	if (p.event.kind == STREAM_RELATION)
		remember_relation(st, &p.event.relation);
	bool change = p.event.kind == STREAM_INSERT || p.event.kind == STREAM_UPDATE || p.event.kind == STREAM_DELETE;
	if (change && !complete_rows(st, &p, err))
		return false;
	*out = p.event;
	return true;
}

bool source_stream_next(struct source_stream *st, int timeout_ms, struct stream_event *out, struct error *err)
{
	*out = (struct stream_event){.kind = STREAM_NOTHING};
	if (st->failed) {
		st->failed = false;
		if (err)
			*err = st->failure;
		return false;
	}
	if (st->link.broken)
		return error_set(err, "", "replication stream is closed");
	int64_t deadline = clock_mono_ms() + timeout_ms;
	while (out->kind == STREAM_NOTHING) {
		if (!st->ahead) {
			int got = await(st, deadline, err);
			if (got <= 0)
				return got == 0;
		}
		PQfreemem(st->message);
		st->message = st->ahead;
		st->ahead = NULL;
		st->heard_ms = clock_mono_ms();
		arena_reset(&st->arena);
		if (!read_message(st, slice_make(st->message, (size_t)st->ahead_length), out, err)) {
			st->link.broken = true;
			return false;
		}
	}
	/* Looks ahead, so that the caller knows whether it may group commits. */
	st->failed = fetch(st, &st->failure) < 0;
	return true;
}
