/*
 * link.h: one libpq connection with time-outs, and what all of them share (struct source).
 *
 * A link is used by one thread at a time; link_abort and source_interrupt may come from any. libpq is kept non-blocking: every wait
 * is a poll of the socket together with the source's stop event, so nothing blocks longer than its time-out.
 */
#ifndef SYNCLINE_SOURCE_POSTGRES_LINK_H
#define SYNCLINE_SOURCE_POSTGRES_LINK_H

#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>

#include "source/source.h"

#define PUBLICATION "powersync"
#define MARKER_PREFIX "powersync"
#define MARKER_CONTENT "ping"

/* Silence after which a socket is given up (source-postgres 1.2). */
#define SOCKET_TIMEOUT_MS 360000
/* Heads and markers: clients wait for these. */
#define SHORT_TIMEOUT_MS 30000

struct type_catalog;

struct source {
	const struct source_config *config;
	const struct log *log;
	_Atomic uint64_t bytes, chunks;               /* struct source_traffic */
	int stop_fd;                                  /* eventfd; readable after source_interrupt */
	int ca_fd, cert_fd, key_fd;                   /* PEM texts in anonymous memory files, -1 if not given */
	void (*waiting)(void *ctx, const char *what); /* source_on_wait; NULL: nobody asked */
	void *waiting_ctx;
	pthread_mutex_t lock;         /* guards what follows */
	struct type_catalog *builtin; /* types with fixed oids, loaded once; NULL before */
	uint64_t discovery_logged;    /* hash of what the last discovery said in the log */
};

struct link {
	struct source *source;
	PGconn *pg;
	int abort_fd; /* a second descriptor of the socket, for shutdown() */
	atomic_bool aborted;
	bool broken;      /* state of the connection is not known: every call fails */
	int version;      /* 150020 */
	char sqlstate[6]; /* of the last error the server answered with, "" otherwise */
};

static inline void link_count_bytes(struct link *l, int n)
{
	atomic_fetch_add_explicit(&l->source->bytes, (uint64_t)n, memory_order_relaxed);
}

struct source_connection {
	struct link link;
	bool scanning;                /* a scan has the connection */
	struct chunk_plan *plan;      /* of the table read last (chunk.c) */
	struct raw_value *row_values; /* scratch of chunk.c */
	size_t row_values_cap;
};

enum link_kind { LINK_ORDINARY, LINK_REPLICATION };

/* Connects with the configured time-out. False: *l is closed. */
bool link_open(struct link *l, struct source *s, enum link_kind kind, struct error *err);
void link_close(struct link *l);
void link_abort(struct link *l);

/* Waits until the socket is ready for what (POLLIN, POLLOUT) or timeout_ms passed: 1 ready, 0 time-out, -1 stopped or aborted. A
 * negative time-out waits for ever. */
int link_poll(struct link *l, short what, int timeout_ms);
/* Tells that this thread waits for the source, and why if that is known. */
void link_waits(struct link *l, const char *what);
/* Takes in what has arrived, without waiting. False: the connection is lost (the reason by link_error). */
bool link_receive(struct link *l);
/* Pushes out what is queued for sending. */
bool link_flush(struct link *l, int timeout_ms, struct error *err);

bool link_send(struct link *l, const char *sql, int timeout_ms, struct error *err);
/* The next result of the query sent, to be cleared by the caller; NULL at its end (*end true) or on failure. A result that is an error
 * makes it fail after the rest of the query was read: the connection is usable again. */
PGresult *link_result(struct link *l, int timeout_ms, bool *end, struct error *err);
/* The next row of a COPY to us: 1 a row (*row to be freed by PQfreemem), 0 the end, -1 failure. */
int link_copy_row(struct link *l, char **row, int timeout_ms, struct error *err);
/* Runs one or several statements; the last result with rows, else the last one. NULL: failed. timeout_ms limits silence. */
PGresult *link_query(struct link *l, const char *sql, int timeout_ms, struct error *err);
/* Reads and drops what is left of the query sent. */
bool link_drain(struct link *l, int timeout_ms, struct error *err);
/* Asks the server to cancel what runs; best effort. */
void link_cancel(struct link *l);

/* Puts the text of a failed result (or of the connection if r is NULL) into *err. Always false. */
bool link_error(struct link *l, const PGresult *r, const char *code, struct error *err);

/* Quoting for SQL text, into out. */
void sql_identifier(struct buf *out, struct slice name);
void sql_literal(struct buf *out, struct slice text);
void sql_table(struct buf *out, struct slice schema, struct slice name);

/* A field of a result. */
struct slice pg_field(const PGresult *r, int row, int column);
uint64_t pg_field_u64(const PGresult *r, int row, int column);
static inline bool pg_field_bool(const PGresult *r, int row, int column)
{
	return PQgetvalue(r, row, column)[0] == 't';
}

/* xmin:xmax:xip,xip as pg_current_snapshot() prints it; false if malformed. */
bool snapshot_parse(struct slice text, struct arena *arena, struct xid_snapshot *out);
/* Expression for the current snapshot's text. */
const char *snapshot_function(int version);

#endif
