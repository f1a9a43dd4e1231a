/* chunk.c: reads pieces of a table, each in its own snapshot (interleaved-snapshot 4), or all of it in one. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/position.h"
#include "source/postgres/chunk_plan.h"
#include "source/postgres/copy_text.h"

/* Waiting for a lock holds a reader, for the scan it holds the stream. */
#define CHUNK_LOCK_TIMEOUT_MS 10000
#define SCAN_LOCK_TIMEOUT_MS 100
/* Rows of the first chunk of a table whose row size nobody knows. */
#define BLIND_ROWS 1000

enum outcome { READ_OK, READ_FAILED, READ_CHANGED, READ_GONE };

/* ---- the transaction -------------------------------------------------------------------------------------------------------- */

/* The lock comes before the first snapshot (F9). What is read of the table then is of S, like the rows. Sorting all the rest of a table
 * for each chunk is never better than going along the index, whatever the planner's figures say. */
static void head_sql(struct buf *sql, const struct link *l, const struct source_table *t, int lock_timeout_ms)
{
	buf_printf(sql,
	           "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = %d;"
	           " SET LOCAL enable_sort = off; LOCK TABLE ONLY ",
	           lock_timeout_ms);
	sql_table(sql, t->relation.schema, t->relation.name);
	buf_printf(sql,
	           " IN ACCESS SHARE MODE; SELECT %s, pg_catalog.pg_current_wal_insert_lsn(),"
	           " pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::int8, ",
	           snapshot_function(l->version));
	catalog_signature_sql(sql, l->version);
	buf_lit(sql, " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' "
	             "AND n.nspname = ");
	sql_literal(sql, t->relation.schema);
	buf_lit(sql, " AND c.relname = ");
	sql_literal(sql, t->relation.name);
}

/* After an error inside the transaction. The failed statement has been answered completely. */
static void roll_back(struct link *l)
{
	struct error ignored;
	char state[sizeof(l->sqlstate)];
	memcpy(state, l->sqlstate, sizeof(state));
	if (!l->broken)
		PQclear(link_query(l, "ROLLBACK", SHORT_TIMEOUT_MS, &ignored));
	memcpy(l->sqlstate, state, sizeof(state));
}

/* Undefined table or schema, or no ordinary table any more: gone. Undefined column or type, datatype mismatch: changed. */
static enum outcome outcome_of_error(const struct link *l)
{
	static const char *const gone[] = {"42P01", "3F000", "42809"}, *const changed[] = {"42703", "42704", "42883", "42804",
	                                                                                   "0A000"};
	for (size_t i = 0; i < sizeof(gone) / sizeof(*gone); i++)
		if (strcmp(l->sqlstate, gone[i]) == 0)
			return READ_GONE;
	for (size_t i = 0; i < sizeof(changed) / sizeof(*changed); i++)
		if (strcmp(l->sqlstate, changed[i]) == 0)
			return READ_CHANGED;
	return READ_FAILED;
}

/* Reads the results up to that of the SELECT of head_sql. */
static enum outcome read_head(struct source_connection *c, const struct chunk_plan *p, int timeout_ms, struct arena *arena,
                              struct source_chunk *out, uint32_t *pages, struct error *err)
{
	for (;;) {
		bool end;
		PGresult *r = link_result(&c->link, timeout_ms, &end, err);
		if (!r) {
			if (end)
				error_set(err, "PSYNC_S1120", "unexpected end of answers while reading a chunk");
			return outcome_of_error(&c->link);
		}
		if (PQresultStatus(r) != PGRES_TUPLES_OK) {
			PQclear(r);
			continue;
		}
		enum outcome outcome = READ_GONE;
		if (PQntuples(r) == 1) {
			outcome = slice_eq(pg_field(r, 0, 3), p->table.signature) ? READ_OK : READ_CHANGED;
			*pages = (uint32_t)pg_field_u64(r, 0, 2);
			if (!snapshot_parse(pg_field(r, 0, 0), arena, &out->snapshot) ||
			    !lsn_parse(pg_field(r, 0, 1), &out->head_lsn)) {
				error_set(err, "PSYNC_S1120", "the server's snapshot or WAL position cannot be read");
				outcome = READ_FAILED;
			}
		}
		PQclear(r);
		return outcome;
	}
}

/* ---- rows ------------------------------------------------------------------------------------------------------------------- */

struct rows {
	struct source_connection *connection; /* whose scratch memory holds the values until the chunk is complete */
	size_t count, bytes;
	size_t columns, lead;   /* values a row; 1 if the ctid comes first */
	struct slice last_ctid; /* in the arena */
	bool full;              /* the byte limit was reached */
};

static bool take_row(struct rows *rows, struct slice line, struct arena *arena, struct error *err)
{
	struct source_connection *c = rows->connection;
	size_t width = rows->columns + rows->lead;
	if ((rows->count + 1) * rows->columns + width > c->row_values_cap) {
		c->row_values_cap = c->row_values_cap * 2 + 1024 + 2 * width;
		c->row_values = xrealloc(c->row_values, c->row_values_cap * sizeof(*c->row_values));
	}
	struct raw_value *row = c->row_values + rows->count * rows->columns;
	if (!copy_text_row(line, arena, row, width))
		return error_set(err, "PSYNC_S1120", "malformed COPY row of %zu bytes", line.n);
	if (rows->lead) {
		rows->last_ctid = row[0].text;
		memmove(row, row + 1, rows->columns * sizeof(*row));
	}
	rows->count++;
	rows->bytes += line.n;
	return true;
}

/* Reads rows until the limits: 1 the COPY ended, 0 a limit was reached, -1 failure. */
static int read_rows(struct link *l, struct rows *rows, size_t max_rows, size_t max_bytes, int timeout_ms, struct arena *arena,
                     struct error *err)
{
	while (rows->count < max_rows && (rows->count == 0 || rows->bytes < max_bytes)) {
		char *line;
		int n = link_copy_row(l, &line, timeout_ms, err);
		if (n <= 0)
			return n == 0 ? 1 : -1;
		bool ok = take_row(rows, slice_make(line, (size_t)n), arena, err);
		PQfreemem(line);
		if (!ok) {
			l->broken = true; /* in the middle of a COPY */
			return -1;
		}
	}
	rows->full = rows->bytes >= max_bytes;
	return 0;
}

static void hand_over(struct rows *rows, struct arena *arena, struct source_chunk *out)
{
	size_t n = rows->count * rows->columns;
	out->rows = arena_array(arena, struct raw_value, n);
	if (n)
		memcpy(out->rows, rows->connection->row_values, n * sizeof(*out->rows));
	out->row_count = rows->count;
	out->byte_count = rows->bytes;
}

/* Drops the rest of a COPY if it is not longer than max_bytes: true, it ended. */
static bool skip_rest(struct link *l, size_t max_bytes, int timeout_ms)
{
	struct error ignored;
	char *line;
	int n = 0;
	for (size_t bytes = 0; bytes < max_bytes && (n = link_copy_row(l, &line, timeout_ms, &ignored)) > 0; bytes += (size_t)n)
		PQfreemem(line);
	return n == 0 && link_drain(l, timeout_ms, NULL) && !l->sqlstate[0];
}

/*
 * Ends the batch early. The cancellation may come after the end; then it must not hit the next statement, so one that may fail is sent
 * for it.
 */
static void stop_copy(struct link *l, int timeout_ms)
{
	struct error ignored;
	link_cancel(l);
	link_drain(l, timeout_ms, NULL);
	roll_back(l);
	if (!l->broken)
		PQclear(link_query(l, "SELECT 1", SHORT_TIMEOUT_MS, &ignored));
}

/* Waits for the COPY to begin. */
static bool copy_begins(struct link *l, int timeout_ms, struct error *err)
{
	bool end;
	PGresult *r = link_result(l, timeout_ms, &end, err);
	bool ok = r && PQresultStatus(r) == PGRES_COPY_OUT;
	if (!ok && (r || end)) {
		error_set(err, "PSYNC_S1120", "unexpected answer to COPY");
		l->broken = true;
	}
	PQclear(r);
	return ok;
}

/* ---- one chunk -------------------------------------------------------------------------------------------------------------- */

struct reading {
	const struct chunk_request *request;
	struct chunk_position after, until;
	bool from_start, to_end, restarted;
	size_t limit;
	int timeout_ms;
};

/* Rows to ask for: about as many as fit into max_bytes, so that the limit of bytes rarely cuts a COPY. */
static size_t row_limit(const struct chunk_plan *p, const struct chunk_request *request)
{
	double fit = p->bytes_per_row > 0 ? (double)request->max_bytes / p->bytes_per_row + 1 : BLIND_ROWS;
	size_t rows = fit < (double)request->max_rows ? (size_t)fit : request->max_rows;
	return rows ? rows : 1;
}

static void chunk_sql(struct buf *sql, const struct link *l, const struct chunk_plan *p, const struct reading *r)
{
	head_sql(sql, l, &p->table.table, r->timeout_ms / 2 < CHUNK_LOCK_TIMEOUT_MS ? r->timeout_ms / 2 : CHUNK_LOCK_TIMEOUT_MS);
	buf_lit(sql, "; COPY (");
	if (r->request->keys)
		chunk_keys_sql(sql, p, r->request->keys, r->request->key_count);
	else
		chunk_range_sql(sql, p, r->from_start ? NULL : &r->after, r->to_end ? NULL : &r->until, r->limit);
	buf_lit(sql, ") TO STDOUT; COMMIT");
	buf_putc(sql, '\0');
}

static bool next_position(const struct chunk_plan *p, const struct reading *r, const struct rows *rows, uint32_t pages,
                          struct arena *arena, struct source_chunk *out, struct error *err)
{
	const struct source_table *t = &p->table.table;
	struct chunk_position at = {.by_page = t->order_key_count == 0};
	if (out->last || rows->count == 0)
		return true;
	if (at.by_page) {
		at.last_page = r->from_start ? pages ? pages - 1 : 0 : r->after.last_page;
		char text[40];
		snprintf(text, sizeof(text), "%.*s", SLICE_ARG(rows->last_ctid));
		if (sscanf(text, "(%u,%u)", &at.page, &at.item) != 2)
			return error_set(err, "PSYNC_S1120", "malformed ctid %s", text);
	} else {
		at.keys = arena_array(arena, struct slice, t->order_key_count);
		for (size_t i = 0; i < t->order_key_count; i++)
			at.keys[i] = out->rows[(rows->count - 1) * rows->columns + p->order_columns[i]].text;
	}
	out->next = chunk_position_write(p, &at, arena);
	return true;
}

/* Weighs what was just seen against the estimate, so that chunks of rows that grow along the table keep their size. */
static void learn_row_size(struct chunk_plan *p, const struct rows *rows)
{
	if (rows->count == 0)
		return;
	double seen = (double)rows->bytes / (double)rows->count;
	p->bytes_per_row = p->bytes_per_row > 0 ? (p->bytes_per_row + 3 * seen) / 4 : seen;
}

static enum outcome read_copied(struct source_connection *c, struct chunk_plan *p, const struct reading *r, uint32_t pages,
                                struct arena *arena, struct source_chunk *out, struct error *err)
{
	const struct source_table *t = &p->table.table;
	const struct chunk_request *request = r->request;
	if (!copy_begins(&c->link, r->timeout_ms, err))
		return outcome_of_error(&c->link);
	struct rows rows = {
	        .connection = c, .columns = t->relation.column_count, .lead = !request->keys && t->order_key_count == 0};
	size_t max_bytes = request->keys ? SIZE_MAX : request->max_bytes;
	int ended = read_rows(&c->link, &rows, SIZE_MAX, max_bytes, r->timeout_ms, arena, err);
	if (ended < 0)
		return READ_FAILED;
	if (ended == 0) { /* full; usually little is left, but it may be anything */
		if (!skip_rest(&c->link, request->max_bytes, r->timeout_ms) && !c->link.broken)
			stop_copy(&c->link, r->timeout_ms);
	} else if (!link_drain(&c->link, r->timeout_ms, err) || c->link.sqlstate[0]) { /* the results of COPY and COMMIT */
		return outcome_of_error(&c->link);
	}
	out->last = request->keys || (ended == 1 && rows.count < r->limit);
	learn_row_size(p, &rows);
	hand_over(&rows, arena, out);
	return next_position(p, r, &rows, pages, arena, out, err) ? READ_OK : READ_FAILED;
}

/* The plan's table once, as the plan knows it. */
static enum outcome read_once(struct source_connection *c, const struct chunk_request *request, struct arena *arena,
                              struct source_chunk *out, struct error *err)
{
	struct chunk_plan *p = c->plan;
	double seconds = c->link.source->config->snapshot_socket_timeout_s;
	struct reading r = {.request = request, .timeout_ms = seconds > 0 && seconds < 86400 ? (int)(seconds * 1000) : 30000};
	if (r.timeout_ms < 1000)
		r.timeout_ms = 1000;
	r.from_start = !request->keys && !chunk_position_read(p, request->after, arena, &r.after);
	r.to_end = !request->keys && !chunk_position_read(p, request->until, arena, &r.until);
	/* Both or none: they come from one splitting. */
	r.restarted = (r.from_start && request->after.n) || (r.to_end && request->until.n);
	r.from_start |= r.restarted;
	r.to_end |= r.restarted;
	r.limit = row_limit(p, request);
	struct buf sql = {0};
	chunk_sql(&sql, &c->link, p, &r);
	bool sent = link_send(&c->link, sql.p, r.timeout_ms, err);
	buf_free(&sql);
	if (!sent)
		return READ_FAILED;
	uint32_t pages = 0;
	enum outcome outcome = read_head(c, p, r.timeout_ms, arena, out, &pages, err);
	out->restarted = r.restarted;
	if (outcome == READ_OK)
		outcome = read_copied(c, p, &r, pages, arena, out, err);
	else if (!c->link.broken && !c->link.sqlstate[0]) /* the rest of the batch is still running */
		stop_copy(&c->link, r.timeout_ms);
	if (outcome != READ_OK)
		roll_back(&c->link);
	return outcome;
}

static bool refuse_while_scanning(const struct source_connection *c, struct error *err)
{
	return !c->scanning || error_set(err, "", "a scan is under way on this connection");
}

bool source_read_chunk(struct source_connection *c, const struct chunk_request *request, struct arena *arena,
                       struct source_chunk *out, struct error *err)
{
	*out = (struct source_chunk){0};
	if (!refuse_while_scanning(c, err))
		return false;
	/* The plan kept from the last chunk may be older than the table: then what was read is dropped, and a new plan tells whether the
	 * caller's table still fits. */
	bool anew = false;
	for (int attempt = 0; attempt < 4; attempt++) {
		bool failed;
		if (!chunk_plan_for(c, request->table, anew, CHUNK_LOCK_TIMEOUT_MS, &out->outcome, &failed, err)) {
			if (failed)
				return false;
			if (anew)
				return true;
			anew = true;
			continue;
		}
		enum outcome outcome = read_once(c, request, arena, out, err);
		if (outcome == READ_OK || outcome == READ_FAILED)
			return outcome == READ_OK;
		/* An error that stays although the plan is new is not the table's changing. */
		if (c->link.broken || (anew && c->link.sqlstate[0]))
			return false;
		*out = (struct source_chunk){.outcome = CHUNK_TABLE_CHANGED};
		anew = true;
	}
	return true;
}

/* ---- the whole table -------------------------------------------------------------------------------------------------------- */

bool source_scan_begin(struct source_connection *c, const struct source_table *table, struct arena *arena,
                       struct source_chunk *out, struct error *err)
{
	*out = (struct source_chunk){0};
	bool failed;
	if (!refuse_while_scanning(c, err))
		return false;
	if (!chunk_plan_for(c, table, true, SCAN_LOCK_TIMEOUT_MS, &out->outcome, &failed, err))
		return !failed;
	struct chunk_plan *p = c->plan;
	struct buf sql = {0};
	head_sql(&sql, &c->link, &p->table.table, SCAN_LOCK_TIMEOUT_MS);
	buf_printf(&sql, "; COPY (SELECT %.*s FROM %.*s%s", SLICE_ARG(p->select_list), SLICE_ARG(p->from),
	           p->table.row_filter.n ? " WHERE " : "");
	buf_slice_append(&sql, p->table.row_filter);
	buf_lit(&sql, ") TO STDOUT; COMMIT");
	buf_putc(&sql, '\0');
	bool sent = link_send(&c->link, sql.p, SHORT_TIMEOUT_MS, err);
	buf_free(&sql);
	if (!sent)
		return false;
	uint32_t pages;
	enum outcome outcome = read_head(c, p, SHORT_TIMEOUT_MS, arena, out, &pages, err);
	if (outcome == READ_OK && copy_begins(&c->link, SOCKET_TIMEOUT_MS, err)) {
		c->scanning = true;
		return true;
	}
	if (outcome == READ_OK)
		outcome = outcome_of_error(&c->link);
	else if (!c->link.broken && !c->link.sqlstate[0])
		stop_copy(&c->link, SHORT_TIMEOUT_MS);
	roll_back(&c->link);
	out->outcome = outcome == READ_GONE ? CHUNK_TABLE_GONE : CHUNK_TABLE_CHANGED;
	return outcome != READ_FAILED && !c->link.broken;
}

bool source_scan_next(struct source_connection *c, size_t max_rows, size_t max_bytes, struct arena *arena,
                      struct source_chunk *out, struct error *err)
{
	*out = (struct source_chunk){.outcome = CHUNK_ROWS};
	if (!c->scanning)
		return error_set(err, "", "no scan is under way on this connection");
	struct rows rows = {.connection = c, .columns = c->plan->table.table.relation.column_count};
	int ended = read_rows(&c->link, &rows, max_rows, max_bytes, SOCKET_TIMEOUT_MS, arena, err);
	bool ok = ended >= 0;
	if (ended == 1) {
		c->scanning = false;
		ok = link_drain(&c->link, SHORT_TIMEOUT_MS, err) && !c->link.sqlstate[0];
		out->last = true;
	}
	if (ok)
		hand_over(&rows, arena, out);
	return ok;
}
