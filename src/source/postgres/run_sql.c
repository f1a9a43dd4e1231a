/* run_sql.c: one statement of an operator, with its answer in memory (http-api-and-operations 4.5). */
#include <poll.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "source/inspect.h"
#include "source/postgres/link.h"

#define MAX_ROWS 10000
#define MAX_BYTES ((size_t)8 << 20)

struct run {
	struct link *link;
	struct arena *arena;
	struct sql_answer *out;
	struct source_relation shape; /* the answer's columns, as if they were a table's */
	struct raw_value *raw;        /* row after row */
	size_t raw_count, raw_cap, bytes;
	struct error *err;
};

/* NULL: nothing more comes (*end), or the connection failed. Unlike link_result it hands out results that are errors. */
static PGresult *next_result(struct run *x, bool *end)
{
	struct link *l = x->link;
	*end = false;
	while (PQisBusy(l->pg)) {
		if (link_poll(l, POLLIN, SHORT_TIMEOUT_MS) <= 0) {
			l->broken = true;
			link_cancel(l);
			error_set(x->err, "PSYNC_S1121", "no answer within %d s", SHORT_TIMEOUT_MS / 1000);
			return NULL;
		}
		if (!link_receive(l)) {
			link_error(l, NULL, "", x->err);
			return NULL;
		}
	}
	PGresult *r = PQgetResult(l->pg);
	*end = !r;
	return r;
}

static void take_columns(struct run *x, const PGresult *r)
{
	size_t n = (size_t)PQnfields(r);
	struct source_column *columns = arena_calloc(x->arena, (n + 1) * sizeof(*columns));
	struct slice *names = arena_array(x->arena, struct slice, n + 1);
	for (size_t i = 0; i < n; i++) {
		names[i] = arena_copy(x->arena, slice_cstr(PQfname(r, (int)i)));
		columns[i] = (struct source_column){
		        .name = names[i], .type_oid = PQftype(r, (int)i), .type_modifier = PQfmod(r, (int)i)};
	}
	x->shape = (struct source_relation){.columns = columns, .column_count = n};
	x->out->columns = names;
	x->out->column_count = n;
}

static bool take_rows(struct run *x, const PGresult *r)
{
	if (!x->shape.columns)
		take_columns(x, r);
	for (int row = 0; row < PQntuples(r); row++) {
		if (++x->out->row_count > MAX_ROWS)
			return error_set(x->err, "", "the answer has more than %d rows", MAX_ROWS);
		for (int i = 0; i < (int)x->shape.column_count; i++) {
			struct raw_value v = {.kind = RAW_NULL};
			if (!PQgetisnull(r, row, i))
				v = (struct raw_value){.kind = RAW_TEXT, .text = arena_copy(x->arena, pg_field(r, row, i))};
			x->bytes += v.text.n + sizeof(v);
			if (x->bytes > MAX_BYTES)
				return error_set(x->err, "", "the answer is larger than %zu MiB", MAX_BYTES >> 20);
			x->raw = xgrow(x->raw, x->raw_count, &x->raw_cap, sizeof(*x->raw));
			x->raw[x->raw_count++] = v;
		}
	}
	return true;
}

static bool take_answer(struct run *x)
{
	for (;;) {
		bool end, ok = true;
		PGresult *r = next_result(x, &end);
		if (!r)
			return end;
		ExecStatusType status = PQresultStatus(r);
		if (status == PGRES_SINGLE_TUPLE || status == PGRES_TUPLES_OK)
			ok = take_rows(x, r);
		else if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT)
			ok = error_set(x->err, "", "COPY is not possible here");
		else if (status != PGRES_COMMAND_OK && status != PGRES_EMPTY_QUERY)
			ok = link_error(x->link, r, "", x->err);
		PQclear(r);
		if (!ok) {
			x->link->broken = true; /* the rest of the answer is not read */
			link_cancel(x->link);
			return false;
		}
	}
}

/* Types are looked up over the same connection, so only now. */
static bool map_values(struct run *x, struct source_connection *c)
{
	const struct mapping_options options = {.timestamp_digits = -1};
	size_t n = x->shape.column_count;
	struct value *values = arena_array(x->arena, struct value, x->raw_count + 1);
	x->out->values = values;
	if (!x->raw_count)
		return true;
	struct value_mapper *m = value_mapper_new(c, &x->shape, &options, x->err);
	bool ok = m != NULL;
	for (size_t i = 0; ok && i < x->raw_count; i += n)
		ok = value_mapper_row(m, x->raw + i, x->arena, values + i, x->err);
	value_mapper_free(m);
	return ok;
}

bool source_run_sql(struct source_connection *c, const char *sql, const char *const *arguments, size_t count, struct arena *arena,
                    struct sql_answer *out, struct error *err)
{
	struct run x = {.link = &c->link, .arena = arena, .out = out, .err = err};
	*out = (struct sql_answer){.row_count = 0};
	if (count > MAX_SQL_ARGUMENTS)
		return error_set(err, "", "more than %d arguments", MAX_SQL_ARGUMENTS);
	if (c->link.broken)
		return error_set(err, "", "connection lost");
	bool ok = PQsendQueryParams(c->link.pg, sql, (int)count, NULL, arguments, NULL, NULL, 0) == 1
	                  ? link_flush(&c->link, SHORT_TIMEOUT_MS, err)
	                  : link_error(&c->link, NULL, "", err);
	if (ok)
		PQsetSingleRowMode(c->link.pg);
	ok = ok && take_answer(&x) && map_values(&x, c);
	free(x.raw);
	return ok;
}
