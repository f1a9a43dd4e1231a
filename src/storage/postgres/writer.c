/* writer.c: see writer.h. */
#include "storage/postgres/writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "storage/postgres/custom.h"
#include "storage/postgres/holder.h"
#include "storage/postgres/rows.h"

/* A transaction that fails because of others, or of a connection, is tried again for so long; then the engine begins anew, from the last
 * position that is durable. */
#define RETRY_MS 6000
#define RETRY_FIRST_US 20000
#define RETRY_MOST_US 300000

struct pg_writer *pg_writer_new(struct pg_store *store)
{
	struct pg_writer *w = xcalloc(1, sizeof(*w));
	w->store = store;
	w->s = store->s;
	w->rows = pg_rows_new(store->s->log);
	return w;
}

void pg_writer_free(struct pg_writer *w)
{
	if (!w)
		return;
	pg_tables_free(w);
	pg_rows_free(w->rows);
	pg_close(w->conn);
	pg_holder_stop(w->holder);
	free(w);
}

/* ---- the connection ------------------------------------------------------------------------------------------------------------------ */

struct pg_conn *pg_writer_conn(struct pg_writer *w, struct error *err)
{
	if (w->conn && !w->conn->broken)
		return w->conn;
	pg_close(w->conn);
	w->conn = pg_open(&w->store->connection, err);
	/* What is left of a transaction when a node stops answering must not keep its locks. */
	if (w->conn &&
	    (!pg_command(w->conn, "SET idle_in_transaction_session_timeout = '30s'", err) || !pg_rows_prepare(w->conn, err))) {
		pg_close(w->conn);
		w->conn = NULL;
	}
	return w->conn;
}

static void roll_back(struct pg_writer *w)
{
	if (w->conn && !w->conn->broken && PQtransactionStatus(w->conn->pg) != PQTRANS_IDLE)
		pg_command(w->conn, "ROLLBACK", NULL);
}

/* ---- the fence, and the records as they are ------------------------------------------------------------------------------------------- */

#define RECORD_COLUMNS                                                                                                           \
	"r.id, r.state = 'ACTIVE', r.snapshot_done, r.last_checkpoint, r.keepalive_op, r.last_checkpoint_lsn,"                   \
	" r.no_checkpoint_before, r.snapshot_lsn,"                                                                               \
	" y.stream_id IS NOT NULL AND y.keepalive_ts IS NOT DISTINCT FROM r.last_keepalive_ts, y.applied, y.partial_until,"      \
	" y.generation, y.system_id, y.timeline, y.flushed_op, r.state = 'PROCESSING'"
#define RECORD_TABLES "sync_rules AS r LEFT JOIN syncline_streams AS y ON y.stream_id = r.id AND y.slot_name = r.slot_name"

static uint64_t number(const PGresult *r, int row, int column)
{
	return strtoull(PQgetvalue(r, row, column), NULL, 10);
}

static bool is_true(const PGresult *r, int row, int column)
{
	return *PQgetvalue(r, row, column) == 't';
}

static struct position position(const PGresult *r, int row, int column)
{
	struct position p;
	pg_position_parse(PQgetvalue(r, row, column), &p);
	return p;
}

static struct position later(struct position a, struct position b)
{
	return position_cmp(a, b) > 0 ? a : b;
}

/* What the reference has, and, if nobody else wrote since, what we know beside it. */
static void read_record(const PGresult *r, int row, struct pg_record *record, struct pg_beside *beside)
{
	*record = (struct pg_record){
	        .active = is_true(r, row, 1),
	        .deploying = is_true(r, row, 15),
	        .snapshot_done = is_true(r, row, 2),
	        .has_checkpoint = !PQgetisnull(r, row, 3),
	        .checkpoint = number(r, row, 3),
	        .has_pending = !PQgetisnull(r, row, 4),
	        .pending = number(r, row, 4),
	        .position = position(r, row, 5),
	        .no_checkpoint_before = position(r, row, 6),
	        .resume = position(r, row, 7),
	};
	*beside = (struct pg_beside){
	        .applied = later(record->position, record->resume),
	        .generation = number(r, row, 11),
	        .timeline = (uint32_t)number(r, row, 13),
	};
	snprintf(beside->system_id, sizeof(beside->system_id), "%s", PQgetvalue(r, row, 12));
	if (is_true(r, row, 8)) {
		beside->applied = later(beside->applied, position(r, row, 9));
		beside->partial_until = position(r, row, 10);
		beside->flushed_op = number(r, row, 14);
	}
}

bool pg_target_load(struct pg_writer *w, struct pg_target *t, struct error *err)
{
	char sql[1024];
	struct pg_conn *conn = pg_writer_conn(w, err);
	if (!conn)
		return false;
	snprintf(sql, sizeof(sql), "SELECT " RECORD_COLUMNS " FROM " RECORD_TABLES " WHERE r.id = %d", t->stream->id);
	PGresult *r = pg_query(conn, sql, 0, NULL, PG_TIMEOUT_MS, err);
	bool ok = r && (PQntuples(r) == 1 || error_set(err, "PSYNC_S1101", "The replication stream %d is gone", t->stream->id));
	if (ok)
		read_record(r, 0, &t->record, &t->beside);
	PQclear(r);
	return ok;
}

static bool lost(struct pg_writer *w, struct error *err)
{
	w->ready = false;
	return error_set(err, "PSYNC_S1003", "Replication stream is locked by another process, standing by.");
}

/* Opens the transaction. Each stream's record is locked and read, each lock must still be ours. */
static bool begin(struct pg_writer *w, struct pg_conn *conn, struct error *err)
{
	struct buf sql = {0};
	buf_lit(&sql, "BEGIN; SELECT " RECORD_COLUMNS " FROM " RECORD_TABLES
	              " JOIN locks AS l ON l.name = 'sync_rules_' || r.id || '_' || r.slot_name WHERE (r.id, l.lock_id) IN (");
	for (size_t i = 0; i < w->target_count; i++)
		buf_printf(&sql, "%s(%d, '%s'::uuid)", i ? ", " : "", w->targets[i].stream->id, w->targets[i].lock_id);
	buf_lit(&sql, ") ORDER BY r.id FOR NO KEY UPDATE OF r FOR SHARE OF l");
	buf_putc(&sql, '\0');
	PGresult *r = pg_query(conn, sql.p, 0, NULL, PG_TIMEOUT_MS, err);
	buf_free(&sql);
	if (!r)
		return false;
	size_t found = 0;
	for (int row = 0; row < PQntuples(r); row++)
		for (size_t i = 0; i < w->target_count; i++) {
			struct pg_beside ignored;
			if (w->targets[i].stream->id != (int32_t)number(r, row, 0))
				continue;
			read_record(r, row, &w->targets[i].record, &ignored);
			found++;
		}
	PQclear(r);
	w->fenced = found != w->target_count;
	return !w->fenced || lost(w, err);
}

/* ---- commits ------------------------------------------------------------------------------------------------------------------------- */

/* What the transaction makes of one stream. */
struct outcome {
	struct pg_record next;
	struct pg_beside beside;
	bool written, shown, activates;
};

/* Half of a transaction is in the store, from before a crash, and nothing else that no checkpoint has: boundaries before its end are shown as if
 * it were not there. */
static bool only_half_is_hidden(const struct pg_target *t, uint64_t op, bool ops)
{
	return !t->record.deploying && !t->record.has_pending && !ops && op == t->beside.flushed_op;
}

/* storage-semantics 6. op: the greatest that was flushed by us; ops: some were now. */
static void commit_stream(const struct pg_writer *w, size_t i, bool visible, uint64_t op, bool ops, struct outcome *out)
{
	const struct pg_target *t = &w->targets[i];
	struct pg_record *n = &out->next;
	struct position p = w->applied;
	bool deploying = t->record.deploying, cut = position_cmp(p, t->beside.partial_until) < 0;
	out->beside.flushed_op = 0;
	if (cut && visible && only_half_is_hidden(t, op, ops)) {
		out->beside.flushed_op = op;
		op = 0;
	} else {
		visible = visible && !cut;
	}
	bool unread = pg_tables_unread(w, i), held = t->reread && pg_tables_waiting(w, i);
	bool activates = deploying && w->activating && visible && !unread;
	out->beside.applied = later(p, t->beside.applied);
	if (!cut)
		out->beside.partial_until = (struct position){0, 0};
	bool complete = activates || (!deploying && !unread && !held);
	if (complete && !n->snapshot_done)
		n->no_checkpoint_before = later(p, n->no_checkpoint_before);
	n->snapshot_done = (n->snapshot_done || complete) && !unread;
	out->written = n->snapshot_done != t->record.snapshot_done;
	bool can = n->snapshot_done && position_cmp(n->position, p) <= 0 && position_cmp(n->no_checkpoint_before, p) <= 0 &&
	           (deploying ? activates : visible);
	out->activates = activates && can;
	uint64_t all = op > n->pending ? op : n->pending;
	if (!can) {
		out->written = out->written || !n->has_pending || n->pending != all;
		n->has_pending = true;
		n->pending = all;
		return;
	}
	/* What clients were told never goes back; the sequence is that of all streams. */
	if (out->activates && w->has_active && w->targets[0].record.checkpoint > all)
		all = w->targets[0].record.checkpoint;
	out->shown = out->written || !n->has_checkpoint || n->has_pending || all > n->checkpoint || w->empty_wanted;
	if (!out->shown)
		return;
	out->written = true;
	n->checkpoint = all > n->checkpoint ? all : n->checkpoint;
	n->has_checkpoint = true;
	n->has_pending = false;
	n->pending = 0;
	n->position = p;
	n->resume = (struct position){0, 0};
}

static void put_position(struct buf *sql, const char *column, struct position p)
{
	char text[PG_POSITION_SIZE];
	pg_position_format(p, text);
	if (p.lsn)
		buf_printf(sql, "%s'%s'", column, text);
	else
		buf_printf(sql, "%sNULL", column);
}

static void put_number(struct buf *sql, const char *column, bool is, uint64_t v)
{
	if (is)
		buf_printf(sql, "%s%llu", column, (unsigned long long)v);
	else
		buf_printf(sql, "%sNULL", column);
}

/* The reference's row. ops: something was flushed. */
static void put_record(const struct pg_writer *w, size_t i, const struct outcome *o, bool ops, struct buf *sql)
{
	const struct pg_record *n = &o->next;
	char now[40];
	snprintf(now, sizeof(now), "to_timestamp(%lld / 1000.0)", (long long)clock_wall_ms());
	buf_printf(sql, "UPDATE sync_rules SET last_keepalive_ts = %s", now);
	if (o->written) {
		put_number(sql, ", last_checkpoint = ", n->has_checkpoint, n->checkpoint);
		put_number(sql, ", keepalive_op = ", n->has_pending, n->pending);
		put_position(sql, ", last_checkpoint_lsn = ", n->position);
		put_position(sql, ", no_checkpoint_before = ", n->no_checkpoint_before);
		put_position(sql, ", snapshot_lsn = ", n->resume);
		buf_printf(sql, ", snapshot_done = %s", n->snapshot_done ? "true" : "false");
	}
	if (o->shown)
		buf_printf(sql, ", last_checkpoint_ts = %s", now);
	if (o->activates)
		buf_lit(sql, ", state = 'ACTIVE'");
	if (o->shown || (ops && w->reported))
		buf_lit(sql, ", last_fatal_error = NULL");
	buf_printf(sql, " WHERE id = %d; ", w->targets[i].stream->id);
	if (o->activates)
		buf_printf(sql, "UPDATE sync_rules SET state = 'STOP' WHERE state IN ('ACTIVE', 'ERRORED') AND id <> %d; ",
		           w->targets[i].stream->id);
	if (o->shown && w->targets[i].stream->version == 3)
		buf_printf(sql, "DELETE FROM v3_current_data WHERE group_id = %d AND pending_delete <= %llu; ",
		           w->targets[i].stream->id, (unsigned long long)n->checkpoint);
}

static void put_beside(const struct pg_writer *w, size_t i, const struct pg_beside *b, struct buf *sql)
{
	buf_lit(sql, "INSERT INTO syncline_streams AS y (stream_id, slot_name, keepalive_ts, applied, partial_until, flushed_op,"
	             " generation, system_id, timeline) SELECT id, slot_name, last_keepalive_ts");
	put_position(sql, ", ", b->applied);
	put_position(sql, ", ", b->partial_until);
	buf_printf(sql, ", %llu, %llu, '%s', %u FROM sync_rules WHERE id = %d", (unsigned long long)b->flushed_op,
	           (unsigned long long)b->generation, b->system_id, b->timeline, w->targets[i].stream->id);
	buf_lit(sql,
	        " ON CONFLICT (stream_id) DO UPDATE SET slot_name = excluded.slot_name, keepalive_ts = excluded.keepalive_ts,"
	        " applied = excluded.applied, partial_until = excluded.partial_until,"
	        " flushed_op = excluded.flushed_op, generation = excluded.generation, system_id = excluded.system_id, timeline = "
	        "excluded.timeline; ");
}

static void put_notification(const struct pg_writer *w, size_t i, const struct pg_record *n, struct buf *sql)
{
	char text[PG_POSITION_SIZE];
	pg_position_format(n->position, text);
	buf_printf(sql,
	           "SELECT pg_notify('powersynccheckpoints',"
	           " '{\"active_checkpoint\":{\"id\":%d,\"last_checkpoint\":\"%llu\",\"last_checkpoint_lsn\":\"%s\"}}'); ",
	           w->targets[i].stream->id, (unsigned long long)n->checkpoint, text);
}

/* ---- the transaction ------------------------------------------------------------------------------------------------------------------ */

/* A quote in it would end the text; real ones have none. */
static bool plain(const char *text)
{
	return !strpbrk(text, "'\\");
}

struct transaction {
	enum pg_transaction kind;
	bool began; /* what was gathered is being written */
	bool ops;   /* rows were queued */
	uint64_t op;
	struct outcome outcomes[PG_TARGETS_MAX];
};

static void flush_stream(const struct pg_writer *w, size_t i, const struct transaction *x, struct outcome *out)
{
	enum pg_transaction kind = x->kind;
	out->beside.flushed_op = x->op;
	if (position_cmp(w->transaction_end, w->targets[i].beside.applied) > 0) {
		out->beside.partial_until = later(w->transaction_end, out->beside.partial_until);
		/* Its earlier transactions come again after a crash, and then may have nothing to write: as after a blocked commit. */
		if (w->mixed && x->op > out->next.pending) {
			out->next.has_pending = out->written = true;
			out->next.pending = x->op;
		}
	}
	if (kind == PG_POSITION) {
		out->beside.applied = later(w->applied, out->beside.applied);
		/* A stream that never had a position begins here. */
		if (!pg_record_has_position(&out->next)) {
			out->next.resume = w->applied;
			out->written = true;
		}
	}
	/* The reference, which knows of no hidden commits, must not show a table that is half read. */
	if (out->next.active && out->next.snapshot_done && pg_tables_unread(w, i)) {
		out->next.snapshot_done = false;
		out->written = true;
	}
}

static bool write_out(struct pg_writer *w, struct pg_conn *conn, struct transaction *x, struct error *err)
{
	struct buf sql = {0};
	bool ok = true;
	x->op = w->persisted;
	x->began = true;
	if (!pg_rows_write(w->rows, conn, &x->op, err) || !pg_tables_write(w, conn, err) ||
	    !pg_custom_write(w->store->custom, conn, w->applied, err))
		return false;
	for (size_t i = 0; i < w->target_count; i++) {
		struct outcome *o = &x->outcomes[i];
		*o = (struct outcome){.next = w->targets[i].record, .beside = w->targets[i].beside};
		if (x->kind < PG_COMMIT_HIDDEN)
			flush_stream(w, i, x, o);
		else
			commit_stream(w, i, x->kind == PG_COMMIT, x->op, x->ops, o);
		ok = ok && (plain(o->beside.system_id) || error_set(err, "PSYNC_S1101", "the source's identifier has a quote"));
		if (o->written || x->ops)
			put_record(w, i, o, x->ops, &sql);
		put_beside(w, i, &o->beside, &sql);
		if (o->shown && (w->targets[i].record.active || o->activates))
			put_notification(w, i, &o->next, &sql);
	}
	buf_lit(&sql, "COMMIT");
	buf_putc(&sql, '\0');
	ok = ok && pg_command(conn, sql.p, err);
	buf_free(&sql);
	return ok;
}

static bool attempt(struct pg_writer *w, struct transaction *x, struct error *err)
{
	struct pg_conn *conn = pg_writer_conn(w, err);
	return conn && begin(w, conn, err) && write_out(w, conn, x, err);
}

static bool worth_a_retry(const struct pg_writer *w, const struct transaction *x, const struct error *err, int64_t until)
{
	return !x->began && clock_mono_ms() < until && strcmp(err->code, "PSYNC_S1003") != 0 &&
	       (!w->conn || pg_may_retry(w->conn));
}

/* The second stream is the only one from now on; the first one's lock is free for its removal. */
static void activated(struct pg_writer *w, size_t i)
{
	int32_t id = w->targets[i].stream->id;
	for (size_t k = 0; k < w->target_count; k++)
		if (k != i)
			pg_holder_give(w->holder, w->targets[k].stream->id);
	w->targets[0] = w->targets[i];
	w->target_count = 1;
	w->has_active = true;
	w->activating = false;
	pg_tables_keep_part(w, i);
	struct error err;
	if (!pg_store_load(w->store, w->conn, &err))
		log_error(w->s->log, "The streams cannot be read after the activation of stream %d: %s", id, err.message);
}

static void settle(struct pg_writer *w, const struct transaction *x)
{
	size_t active = PG_TARGETS_MAX;
	bool shown = false;
	w->persisted = 0;
	for (size_t i = 0; i < w->target_count; i++) {
		struct pg_target *t = &w->targets[i];
		t->record = x->outcomes[i].next;
		if (x->outcomes[i].beside.flushed_op > w->persisted)
			w->persisted = x->outcomes[i].beside.flushed_op;
		t->beside = x->outcomes[i].beside;
		t->reread = t->reread && !t->record.snapshot_done;
		shown |= x->outcomes[i].shown;
		if (x->outcomes[i].activates) {
			t->record.active = true;
			t->record.deploying = false;
			active = i;
		}
	}
	w->dirty = w->empty_wanted = false;
	if (x->kind >= PG_COMMIT_HIDDEN) /* what a blocked one keeps stands in the record */
		w->transaction_end = (struct position){0, 0};
	pg_rows_clear(w->rows);
	pg_custom_clear(w->store->custom);
	pg_tables_written(w);
	if (active < PG_TARGETS_MAX)
		activated(w, active);
	if (shown || x->ops)
		w->reported = false;
	pg_writer_publish(w);
}

bool pg_writer_transact(struct pg_writer *w, enum pg_transaction kind, struct error *err)
{
	struct transaction x = {.kind = kind, .ops = pg_rows_size(w->rows) > 0};
	int64_t until = clock_mono_ms() + RETRY_MS;
	useconds_t pause = RETRY_FIRST_US;
	if (!w->ready)
		return lost(w, err);
	for (;;) {
		struct error failed = {.code = ""};
		if (attempt(w, &x, &failed)) {
			settle(w, &x);
			return true;
		}
		bool again = worth_a_retry(w, &x, &failed, until);
		roll_back(w);
		if (!again) {
			w->ready = false; /* half of what was gathered may be gone */
			if (err)
				*err = failed;
			return false;
		}
		log_debug(w->s->log, "A transaction of the storage is tried again: %s", failed.message);
		usleep(pause);
		pause = pause * 2 > RETRY_MOST_US ? RETRY_MOST_US : pause * 2;
	}
}

bool pg_writer_ready(const struct pg_writer *w, struct error *err)
{
	return w->ready || error_set(err, "PSYNC_S1003", "This process does not hold the replication stream.");
}

bool pg_writer_dirty(const struct pg_writer *w)
{
	return w->dirty || pg_rows_size(w->rows) > 0 || pg_custom_queued(w->store->custom);
}

void pg_writer_publish(struct pg_writer *w)
{
	struct storage *s = w->s;
	const struct pg_target *t = &w->targets[0];
	pthread_mutex_lock(&s->lock);
	s->source = (struct source_state){0};
	s->durable = (struct position){0, 0};
	if (w->target_count) {
		snprintf(s->source.slot_name, sizeof(s->source.slot_name), "%s", t->stream->slot_name);
		snprintf(s->source.system_id, sizeof(s->source.system_id), "%s", t->beside.system_id);
		s->source.timeline = t->beside.timeline;
		s->source.applied = later(w->applied, t->beside.applied);
		s->durable = t->beside.applied;
	}
	if (!w->reported)
		s->failure.text[0] = '\0';
	pthread_mutex_unlock(&s->lock);
}
