/* slot.c: replication slots: making one with its exported snapshot, looking at it, dropping it (source-postgres 3.2, 11.3). */
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/position.h"
#include "source/postgres/link.h"

/* A slot waits for the transactions that run when it is made; that may be long, and is said in the log. */
#define CREATE_LOG_MS 2000
#define SLOT_WAITS "waits for transactions to end that are open on the source"
/* The server needs a moment to notice that a slot's last reader is gone. */
#define DROP_PATIENCE_MS 5000

static int column(const PGresult *r, const char *name)
{
	return PQfnumber(r, name);
}

static void say_lost(struct source *s, const char *slot, const char *reason)
{
	log_error(s->log, "[PSYNC_S1146] Replication slot %s was invalidated (reason: %s). Increase %s on the source database.",
	          slot, reason, strcmp(reason, "idle_timeout") == 0 ? "idle_replication_slot_timeout" : "max_slot_wal_keep_size");
}

bool source_slot_status(struct source_connection *c, const char *slot, enum slot_status *out, uint64_t *confirmed_lsn,
                        struct error *err)
{
	struct buf sql = {0};
	buf_lit(&sql, "SELECT *, pg_catalog.current_database() AS here FROM pg_catalog.pg_replication_slots WHERE slot_name = ");
	sql_literal(&sql, slice_cstr(slot));
	buf_putc(&sql, '\0');
	PGresult *r = link_query(&c->link, sql.p, SHORT_TIMEOUT_MS, err);
	buf_free(&sql);
	if (!r)
		return false;
	bool ok = true;
	*out = SLOT_MISSING;
	*confirmed_lsn = 0;
	if (PQntuples(r) > 0) {
		/* From 13 wal_status, from 17 invalidation_reason: taken when there. */
		int status = column(r, "wal_status"), reason = column(r, "invalidation_reason");
		bool lost = (status >= 0 && strcmp(PQgetvalue(r, 0, status), "lost") == 0) ||
		            (reason >= 0 && !PQgetisnull(r, 0, reason));
		*out = lost ? SLOT_LOST : SLOT_VALID;
		if (lost)
			say_lost(c->link.source, slot,
			         reason >= 0 && !PQgetisnull(r, 0, reason) ? PQgetvalue(r, 0, reason) : "unknown");
		int lsn = column(r, "confirmed_flush_lsn");
		if (lsn >= 0 && !PQgetisnull(r, 0, lsn))
			lsn_parse(pg_field(r, 0, lsn), confirmed_lsn);
		if (strcmp(PQgetvalue(r, 0, column(r, "database")), PQgetvalue(r, 0, column(r, "here"))) != 0)
			ok = error_set(err, "", "replication slot \"%s\" belongs to another database (%s)", slot,
			               PQgetvalue(r, 0, column(r, "database")));
		else if (strcmp(PQgetvalue(r, 0, column(r, "plugin")), "pgoutput") != 0)
			ok = error_set(err, "", "replication slot \"%s\" does not use the plugin pgoutput", slot);
	}
	PQclear(r);
	return ok;
}

bool source_slot_try_drop(struct source_connection *c, const char *slot, bool *in_use, struct error *err)
{
	struct buf sql = {0};
	buf_lit(&sql,
	        "SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots WHERE slot_name = ");
	sql_literal(&sql, slice_cstr(slot));
	buf_putc(&sql, '\0');
	PGresult *r = link_query(&c->link, sql.p, SHORT_TIMEOUT_MS, err);
	*in_use = !r && !c->link.broken && strcmp(c->link.sqlstate, "55006") == 0;
	buf_free(&sql);
	PQclear(r);
	return r != NULL;
}

bool source_slot_drop(struct source_connection *c, const char *slot, struct error *err)
{
	int64_t until = clock_mono_ms() + DROP_PATIENCE_MS;
	bool in_use = false;
	while (!source_slot_try_drop(c, slot, &in_use, err))
		if (!in_use || clock_mono_ms() > until || link_poll(&c->link, 0, 100) < 0)
			return false;
	return true;
}

bool source_slot_copy(struct source_connection *c, const char *from, const char *to, struct error *err)
{
	struct buf sql = {0};
	if (!source_slot_drop(c, to, err))
		return false;
	buf_lit(&sql, "SELECT pg_catalog.pg_copy_logical_replication_slot(");
	sql_literal(&sql, slice_cstr(from));
	buf_lit(&sql, ", ");
	sql_literal(&sql, slice_cstr(to));
	buf_lit(&sql, ")");
	buf_putc(&sql, '\0');
	PGresult *r = link_query(&c->link, sql.p, SHORT_TIMEOUT_MS, err);
	buf_free(&sql);
	PQclear(r);
	return r != NULL;
}

/* X: what the slot's exported snapshot sees, read on a second connection while the first one keeps it exported. */
static bool read_exported(struct source *s, const char *name, struct xid_snapshot *out, struct arena *arena, struct error *err)
{
	struct link l;
	if (!link_open(&l, s, LINK_ORDINARY, err))
		return false;
	struct buf sql = {0};
	buf_lit(&sql, "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT ");
	sql_literal(&sql, slice_cstr(name));
	buf_printf(&sql, "; SELECT %s; COMMIT", snapshot_function(l.version));
	PGresult *r = link_query(&l, sql.p, SHORT_TIMEOUT_MS, err);
	buf_free(&sql);
	bool ok = r && PQntuples(r) == 1;
	if (ok && !snapshot_parse(pg_field(r, 0, 0), arena, out))
		ok = error_set(err, "PSYNC_S1120", "the slot's snapshot cannot be read");
	PQclear(r);
	link_close(&l);
	return ok;
}

/* Runs the command, saying in the log what it waits for. */
static PGresult *create(struct link *l, const char *slot, struct error *err)
{
	struct buf sql = {0};
	buf_lit(&sql, "CREATE_REPLICATION_SLOT ");
	sql_identifier(&sql, slice_cstr(slot));
	buf_lit(&sql, " LOGICAL pgoutput");
	buf_putc(&sql, '\0');
	bool sent = link_send(l, sql.p, SHORT_TIMEOUT_MS, err);
	buf_free(&sql);
	if (!sent)
		return NULL;
	bool said = false;
	for (int ready; PQisBusy(l->pg);) {
		if ((ready = link_poll(l, POLLIN, CREATE_LOG_MS)) < 0) {
			l->broken = true;
			error_set(err, "", "source stopped");
			return NULL;
		}
		if (ready == 0 && !said) {
			said = true;
			log_warn(l->source->log, "Creating replication slot %s " SLOT_WAITS, slot);
			link_waits(l, "The replication slot that is being made " SLOT_WAITS);
		}
		if (ready > 0 && !link_receive(l)) {
			link_error(l, NULL, "", err);
			return NULL;
		}
	}
	bool end;
	PGresult *r = link_result(l, SHORT_TIMEOUT_MS, &end, err);
	return r && link_drain(l, SHORT_TIMEOUT_MS, err) ? r : NULL;
}

static void drop_quietly(struct link *l, const char *slot)
{
	struct buf sql = {0};
	struct error ignored;
	buf_lit(&sql, "DROP_REPLICATION_SLOT ");
	sql_identifier(&sql, slice_cstr(slot));
	buf_putc(&sql, '\0');
	PGresult *r = link_query(l, sql.p, SHORT_TIMEOUT_MS, &ignored);
	if (!r)
		log_warn(l->source->log, "Replication slot %s could not be dropped again: %s", slot, ignored.message);
	PQclear(r);
	buf_free(&sql);
}

bool source_slot_create(struct source *s, const char *slot, uint64_t *start_lsn, struct xid_snapshot *snapshot,
                        struct arena *arena, struct error *err)
{
	struct link l;
	if (!link_open(&l, s, LINK_REPLICATION, err))
		return false;
	PGresult *r = create(&l, slot, err);
	bool ok = r != NULL;
	if (ok) {
		/* slot_name, consistent_point, snapshot_name, output_plugin */
		ok = PQntuples(r) == 1 && PQnfields(r) >= 3 && lsn_parse(pg_field(r, 0, 1), start_lsn);
		if (!ok)
			error_set(err, "", "unexpected answer to CREATE_REPLICATION_SLOT");
		else
			ok = read_exported(s, PQgetvalue(r, 0, 2), snapshot, arena, err);
		if (!ok)
			drop_quietly(&l, slot);
	}
	PQclear(r);
	link_close(&l);
	return ok;
}
