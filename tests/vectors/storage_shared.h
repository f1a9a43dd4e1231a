/* storage_shared.h: a run of a storage scenario on the shared layout: a database of its own on the server of PG_URI, and what stands there. */
#ifndef TESTS_VECTORS_STORAGE_SHARED_H
#define TESTS_VECTORS_STORAGE_SHARED_H

#include "storage/postgres/readers.h"
#include "storage/postgres/rows.h"
#include "storage/postgres/writer.h"
#include "storage_run.h"

#define CHECKPOINT_WAIT_MS 10000

static PGconn *shared_connect(const char *database)
{
	const char *keywords[] = {"dbname", "dbname", NULL}, *values[] = {getenv("PG_URI"), database, NULL};
	return PQconnectdbParams(keywords, values, 1);
}

static void *shared_open_connection(void *ctx, struct error *err)
{
	const struct run *r = ctx;
	PGconn *pg = shared_connect(r->folder);
	if (PQstatus(pg) == CONNECTION_OK)
		return pg;
	error_set(err, "PSYNC_S2404", "%s", PQerrorMessage(pg));
	PQfinish(pg);
	return NULL;
}

/* A statement outside of any database of a scenario. */
static void shared_admin(const char *sql)
{
	PGconn *pg = shared_connect(NULL);
	PGresult *answer = PQexec(pg, sql);
	if (PQresultStatus(answer) != PGRES_COMMAND_OK) {
		fprintf(stderr, "%s: %s", sql, PQerrorMessage(pg));
		exit(1);
	}
	PQclear(answer);
	PQfinish(pg);
}

/* A storage object for the next stream. */
static struct run_stream *shared_open_stream(struct run *r, const char *name)
{
	struct storage_options o = {.postgres = {.connect = shared_open_connection, .connect_ctx = r, .max_pool_size = 3},
	                            .request_retention_ms = 3600000,
	                            .log = &r->log};
	struct run_stream *on = &r->streams[r->stream_count++];
	if (r->stream_count > RUN_STREAMS) {
		fprintf(stderr, "too many streams\n");
		exit(1);
	}
	*on = (struct run_stream){.images = true};
	snprintf(on->name, sizeof(on->name), "%s", name);
	on->s = storage_open_postgres(&o, &r->err);
	must(r, on->s != NULL);
	on->s->wall_ms = shifted_clock;
	return on;
}

static void open_shared(struct run *r, int number)
{
	char sql[160];
	snprintf(r->folder, sizeof(r->folder), "syncline_vectors_%d_%d", (int)getpid(), number);
	snprintf(sql, sizeof(sql), "CREATE DATABASE %s TEMPLATE template0 ENCODING 'UTF8'", r->folder);
	shared_admin(sql);
	r->on = shared_open_stream(r, "s1");
	r->sql = shared_connect(r->folder);
	PQclear(PQexec(r->sql, "SET search_path = powersync"));
}

static void shared_close_stream(struct run_stream *on)
{
	storage_give_writer(on->s);
	storage_close(on->s);
	plan_unref(on->plan);
}

static void close_shared(struct run *r)
{
	char sql[160];
	PQfinish(r->sql);
	for (size_t i = 0; i < r->stream_count; i++)
		shared_close_stream(&r->streams[i]);
	snprintf(sql, sizeof(sql), "DROP DATABASE %s WITH (FORCE)", r->folder);
	shared_admin(sql);
}

/* The rows of a statement; to be cleared. */
static PGresult *shared_rows(struct run *r, const char *sql, int count, const char *const *values)
{
	PGresult *answer = PQexecParams(r->sql, sql, count, NULL, values, NULL, NULL, 0);
	if (PQresultStatus(answer) != PGRES_TUPLES_OK && PQresultStatus(answer) != PGRES_COMMAND_OK) {
		fprintf(stderr, "%s: %s", sql, PQerrorMessage(r->sql));
		exit(1);
	}
	return answer;
}

static struct pg_writer *shared_writer(const struct run *r)
{
	return pg_store_of(r->on->s)->writer;
}

/* NULL before the deploy. */
static const struct pg_stream *shared_stream(const struct run *r)
{
	return pg_store_stream(pg_store_of(r->on->s), r->on->id);
}

/* The part of a table's record; NULL: there is none. */
static struct pg_table_part *shared_table(const struct run *r, uint32_t number)
{
	struct pg_table *t = &shared_writer(r)->tables[number - 1];
	return t->dropped || t->parts[0].gone || !t->parts[0].stream_id ? NULL : &t->parts[0];
}

/* Tables have other numbers once the role was taken. */
static void shared_find_tables(struct run *r)
{
	for (size_t i = 0; i < r->on->table_count; i++) {
		struct run_table *t = &r->on->tables[i];
		t->number = 0;
		for (uint32_t n = 1; n <= shared_writer(r)->table_count; n++)
			if (shared_table(r, n) && strcmp(shared_table(r, n)->id, t->id) == 0)
				t->number = n;
	}
}

/* Takes the writer's role, also if it is held: everything is read again. */
static void shared_take(struct run *r)
{
	bool held = false;
	char who[256];
	if (shared_writer(r)->ready)
		must(r, storage_flush(r->on->s, &r->err));
	must(r, storage_take_writer(r->on->s, &held, who, sizeof(who), &r->err));
	if (!held) {
		fprintf(stderr, "the role is not held: %s\n", who);
		exit(1);
	}
	shared_find_tables(r);
}

/* A new stream, though the config may be the one that is current; from now on it is what the storage object writes. */
static bool shared_deploy(struct run *r, int version, bool only_if_changed, bool *unchanged)
{
	struct pg_store *store = pg_store_of(r->on->s);
	store->connection.default_version = version;
	if (!storage_deploy(r->on->s, r->on->plan, unchanged, &r->err))
		return false;
	if (*unchanged && only_if_changed)
		return true;
	const struct pg_stream *pending = pg_store_pending(store);
	if (*unchanged &&
	    !(pending ? pg_deploy_again(store->writer, pending, "STOP", &r->err) : storage_redeploy(r->on->s, &r->err)))
		return false;
	must(r, pg_store_load(store, store->writer->conn, &r->err));
	r->on->id = store->writer->only_stream = pg_store_pending(store)->id;
	shared_take(r);
	return true;
}

/* ---- the record of a stream ---- */

struct shared_record {
	bool active, deploying, snapshot_done, has_pending;
	struct checkpoint checkpoint;
	uint64_t no_checkpoint_before, resume;
};

static struct shared_record shared_record(struct run *r)
{
	char id[16];
	snprintf(id, sizeof(id), "%d", r->on->id);
	PGresult *rows = shared_rows(r,
	                             "SELECT state IN ('ACTIVE', 'ERRORED'), state = 'PROCESSING', snapshot_done,"
	                             " keepalive_op IS NOT NULL, last_checkpoint, last_checkpoint_lsn, no_checkpoint_before,"
	                             " snapshot_lsn FROM sync_rules WHERE id = $1::integer",
	                             1, (const char *const[]){id});
	struct shared_record record = {.active = false};
	if (PQntuples(rows)) {
		record = (struct shared_record){
		        .active = *PQgetvalue(rows, 0, 0) == 't',
		        .deploying = *PQgetvalue(rows, 0, 1) == 't',
		        .snapshot_done = *PQgetvalue(rows, 0, 2) == 't',
		        .has_pending = *PQgetvalue(rows, 0, 3) == 't',
		        .checkpoint = {.valid = !PQgetisnull(rows, 0, 5),
		                       .op_id = strtoull(PQgetvalue(rows, 0, 4), NULL, 10),
		                       .position = {0, PQgetisnull(rows, 0, 5) ? 0 : lsn_of(PQgetvalue(rows, 0, 5))}},
		        .no_checkpoint_before = PQgetisnull(rows, 0, 6) ? 0 : lsn_of(PQgetvalue(rows, 0, 6)),
		        .resume = PQgetisnull(rows, 0, 7) ? 0 : lsn_of(PQgetvalue(rows, 0, 7)),
		};
	}
	PQclear(rows);
	return record;
}

/* What the replicator of the recorded service says of a stream stands in its record; here the engine knows it. */
static void shared_mark(struct run *r, const char *assignment, const char *lsn)
{
	char sql[256], id[16];
	snprintf(sql, sizeof(sql), "UPDATE sync_rules SET %s WHERE id = $1::integer AND ($2::text IS NULL OR true)", assignment);
	snprintf(id, sizeof(id), "%d", r->on->id);
	PQclear(shared_rows(r, sql, 2, (const char *const[]){id, lsn}));
}

#define RAISE_NO_CHECKPOINT_BEFORE "no_checkpoint_before = greatest(no_checkpoint_before COLLATE \"C\", $2)"

/* The stream's checkpoint; of the active one: when this process serves it. */
static struct checkpoint shared_checkpoint(struct run *r)
{
	struct shared_record record = shared_record(r);
	struct checkpoint served, stored = record.checkpoint;
	int64_t until = clock_mono_ms() + CHECKPOINT_WAIT_MS;
	while (record.active && stored.valid) {
		served = storage_checkpoint(r->on->s);
		if (served.valid && served.op_id == stored.op_id && served.position.lsn == stored.position.lsn)
			return served;
		if (clock_mono_ms() > until) {
			fprintf(stderr, "a checkpoint is not served\n");
			exit(1);
		}
		usleep(1000);
	}
	return stored;
}

static struct checkpoint served_checkpoint(struct run *r)
{
	return r->shared ? shared_checkpoint(r) : storage_checkpoint(r->on->s);
}

/* What is kept of checksums has counts from before a compaction. */
static void shared_forget_sums(struct run *r)
{
	struct pg_store *store = pg_store_of(r->on->s);
	pg_sums_free(store->sums);
	store->sums = pg_sums_new();
}

/* All records, field by field. */
static bool shared_streams(struct run *r, json_t *want)
{
	static const char *const lists[][2] = {
	        {"active", "(array_agg(id ORDER BY id DESC) FILTER (WHERE state IN ('ACTIVE', 'ERRORED')))[1]"},
	        {"deploying", "(array_agg(id ORDER BY id DESC) FILTER (WHERE state = 'PROCESSING'))[1]"},
	        {"replicating", "coalesce(array_agg(id ORDER BY id) FILTER (WHERE state IN ('ACTIVE', 'PROCESSING')), '{}')"},
	        {"stopped", "coalesce(array_agg(id ORDER BY id) FILTER (WHERE state = 'STOP'), '{}')"},
	};
	char sql[256];
	bool ok = true;
	for (size_t i = 0; ok && i < sizeof(lists) / sizeof(*lists); i++) {
		snprintf(sql, sizeof(sql), "SELECT to_jsonb(%s) FROM sync_rules", lists[i][1]);
		PGresult *rows = shared_rows(r, sql, 0, NULL);
		const char *text = PQgetisnull(rows, 0, 0) ? "null" : PQgetvalue(rows, 0, 0);
		json_t *have = json_loads(text, JSON_DECODE_ANY, NULL);
		if (!json_equal(have, json_object_get(want, lists[i][0])))
			ok = differ(r, "%s: %s", lists[i][0], text);
		json_decref(have);
		PQclear(rows);
	}
	PGresult *rows =
	        shared_rows(r,
	                    "SELECT jsonb_agg(jsonb_build_object('id', id, 'state', state, 'snapshot_done', snapshot_done,"
	                    " 'last_checkpoint', last_checkpoint::text, 'last_checkpoint_lsn', last_checkpoint_lsn,"
	                    " 'no_checkpoint_before', no_checkpoint_before, 'keepalive_op', keepalive_op::text,"
	                    " 'snapshot_lsn', snapshot_lsn, 'last_fatal_error', last_fatal_error,"
	                    " 'storage_version', storage_version) ORDER BY id) FROM sync_rules",
	                    0, NULL);
	json_t *have = json_loads(PQgetvalue(rows, 0, 0), 0, NULL);
	if (ok && !json_equal(have, json_object_get(want, "streams")))
		ok = differ(r, "streams: %s", PQgetvalue(rows, 0, 0));
	json_decref(have);
	PQclear(rows);
	return ok;
}

/* A value in the notation of the scenarios. */
static json_t *noted_value(const struct value *v)
{
	char number[32];
	json_t *o = NULL;
	if (v->kind == VALUE_TEXT)
		return json_stringn(v->s.p, v->s.n);
	if (v->kind == VALUE_INTEGER) {
		snprintf(number, sizeof(number), "%lld", (long long)v->i);
		return json_pack("{s:s}", "int", number);
	}
	if (v->kind == VALUE_REAL)
		return json_pack("{s:f}", "real", v->r);
	if (v->kind == VALUE_BLOB) {
		char *hex = xcalloc(2 * v->s.n + 1, 1);
		for (size_t i = 0; i < v->s.n; i++)
			snprintf(hex + 2 * i, 3, "%02x", (uint8_t)v->s.p[i]);
		o = json_pack("{s:s}", "hex", hex);
		free(hex);
		return o;
	}
	return json_null();
}

static json_t *noted_row(const struct stored_row *stored)
{
	json_t *row = json_object();
	for (size_t i = 0; i < stored->value_count; i++) {
		char *name = xstrdup(stored->names[i]);
		json_object_set_new(row, name, noted_value(&stored->values[i]));
		free(name);
	}
	return row;
}

/* ---- what stands in the tables ---- */

static bool do_current_data(struct run *r, json_t *step)
{
	json_t *want = json_object_get(json_object_get(step, "expect"), "rows"), *w;
	bool v3 = json_is_true(json_object_get(step, "v3")), ok = true;
	size_t i;
	if (!r->shared)
		return true;
	char id[16];
	snprintf(id, sizeof(id), "%d", r->on->id);
	PGresult *rows = shared_rows(r,
	                             v3 ? "SELECT source_table, encode(source_key, 'hex'), encode(data, 'hex'), buckets,"
	                                  " (SELECT coalesce(jsonb_agg(encode(l, 'hex')), '[]') FROM unnest(lookups) AS l),"
	                                  " pending_delete IS NOT NULL FROM v3_current_data WHERE group_id = $1::integer"
	                                  " ORDER BY source_table, source_key"
	                                : "SELECT source_table, encode(source_key, 'hex'), encode(data, 'hex'), buckets,"
	                                  " (SELECT coalesce(jsonb_agg(encode(l, 'hex')), '[]') FROM unnest(lookups) AS l)"
	                                  " FROM current_data WHERE group_id = $1::integer ORDER BY source_table, source_key",
	                             1, (const char *const[]){id});
	if ((size_t)PQntuples(rows) != json_array_size(want))
		ok = differ(r, "%d stored rows instead of %zu", PQntuples(rows), json_array_size(want));
	json_array_foreach(want, i, w)
	{
		static const char *const columns[] = {"source_table", "source_key", "data"};
		for (int k = 0; ok && k < 3; k++)
			if (strcmp(PQgetvalue(rows, (int)i, k), text_of(w, columns[k])) != 0)
				ok = differ(r, "%s %s instead of %s", columns[k], PQgetvalue(rows, (int)i, k),
				            text_of(w, columns[k]));
		for (int k = 3; ok && k < 5; k++) {
			const char *name = k == 3 ? "buckets" : "lookups";
			json_t *have = json_loads(PQgetvalue(rows, (int)i, k), 0, NULL);
			if (!json_equal(have, json_object_get(w, name)))
				ok = differ(r, "%s %s", name, PQgetvalue(rows, (int)i, k));
			json_decref(have);
		}
		if (ok && v3 && (*PQgetvalue(rows, (int)i, 5) == 't') != json_is_true(json_object_get(w, "pending_delete")))
			ok = differ(r, "pending_delete");
	}
	PQclear(rows);
	return ok;
}

static bool do_counts(struct run *r, json_t *step)
{
	const char *table;
	json_t *count;
	char sql[96];
	bool ok = true;
	if (!r->shared)
		return true;
	if (!pg_rows_size(shared_writer(r)->rows)) /* records of tables come with the next transaction */
		must(r, storage_flush(r->on->s, &r->err));
	json_object_foreach(json_object_get(step, "expect"), table, count)
	{
		snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s WHERE group_id = %d", table, shared_stream(r)->id);
		PGresult *rows = shared_rows(r, sql, 0, NULL);
		if (ok && strtoll(PQgetvalue(rows, 0, 0), NULL, 10) != json_integer_value(count))
			ok = differ(r, "%s rows in %s", PQgetvalue(rows, 0, 0), table);
		PQclear(rows);
	}
	return ok;
}

/* A record with the user's text in full, the connection's number for the position. */
static bool shared_managed(struct run *r, json_t *want)
{
	json_t *v;
	size_t i;
	bool ok = true;
	json_array_foreach(want, i, v)
	{
		PGresult *rows = shared_rows(r,
		                             "SELECT lsns ->> '1', write_checkpoint, checkpoint_requested_at IS NOT NULL FROM"
		                             " write_checkpoints WHERE user_id = $1",
		                             1, (const char *const[]){text_of(v, "user")});
		bool any = PQntuples(rows) == 1;
		if (!any || strcmp(PQgetvalue(rows, 0, 0), text_of(v, "head")) != 0 ||
		    strtoull(PQgetvalue(rows, 0, 1), NULL, 10) != number_of(json_object_get(v, "id")) ||
		    (*PQgetvalue(rows, 0, 2) == 't') != json_is_true(json_object_get(v, "stamped")))
			ok = differ(r, "record of %s: head %s, id %s, stamped %s", text_of(v, "user"),
			            any ? PQgetvalue(rows, 0, 0) : "-", any ? PQgetvalue(rows, 0, 1) : "-",
			            any ? PQgetvalue(rows, 0, 2) : "-");
		PQclear(rows);
	}
	return ok;
}

static bool shared_custom(struct run *r, json_t *want)
{
	json_t *v;
	size_t i;
	bool ok = true;
	json_array_foreach(want, i, v)
	{
		PGresult *rows = shared_rows(r,
		                             "SELECT write_checkpoint, checkpoint_requested_at IS NOT NULL FROM"
		                             " custom_write_checkpoints WHERE user_id = $1",
		                             1, (const char *const[]){text_of(v, "user")});
		if (PQntuples(rows) != 1 || strtoull(PQgetvalue(rows, 0, 0), NULL, 10) != number_of(json_object_get(v, "id")) ||
		    (*PQgetvalue(rows, 0, 1) == 't') != json_is_true(json_object_get(v, "stamped")))
			ok = differ(r, "the custom record of %s", text_of(v, "user"));
		PQclear(rows);
	}
	return ok;
}

static bool shared_write_checkpoints(struct run *r, json_t *want)
{
	return shared_managed(r, json_object_get(want, "managed")) &&
	       (!r->custom || shared_custom(r, json_object_get(want, "custom")));
}

static void shared_age(struct run *r, const char *user, int minutes)
{
	char text[16];
	snprintf(text, sizeof(text), "%d", minutes);
	PQclear(shared_rows(r,
	                    "UPDATE write_checkpoints SET checkpoint_requested_at = checkpoint_requested_at - $2::integer *"
	                    " interval '1 minute' WHERE user_id = $1",
	                    2, (const char *const[]){user, text}));
}

#endif
