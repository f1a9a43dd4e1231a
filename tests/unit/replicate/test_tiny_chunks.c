/*
 * Tables of every kind are read in chunks of a few rows, in ranges side by side, while writers insert, update, delete, swap and move keys,
 * truncate, leave large values alone, work in savepoints, commit in two phases, and without waiting for the disk (interleaved-snapshot 9:
 * 2, 3, 5, 6, 8). The engine is stopped and started again meanwhile. In the end the store must give what SQL selects; and all the time each
 * checkpoint must give the table of the sync config that is active already as SQL has it at that place. Needs a server (PG_URI).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <uthash.h>

#include "source/pg_fixture.h"
#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "replicate/replicate.h"

#define WRITERS 3
#define TIME_LIMIT_MS 60000

static const char schema_sql[] =
        "CREATE TABLE ordered (k int PRIMARY KEY, rid text, n int, body text);"
        "ALTER TABLE ordered ALTER body SET STORAGE EXTERNAL;"
        "INSERT INTO ordered SELECT i * 10, 'o' || i, 0, repeat(md5(i::text), CASE WHEN i % 5 = 0 THEN 100 ELSE 1 END)"
        "  FROM generate_series(1, 3000) i;"
        "CREATE TABLE paired (a text COLLATE \"C\", b int, rid text, n int, body text, PRIMARY KEY (b, a));"
        "INSERT INTO paired SELECT md5(i::text), i % 7, 'p' || i, 0, repeat('x', i % 90) FROM generate_series(1, 3000) i;"
        "CREATE TABLE whole (k int, rid text, n int, body text);" /* read by pages, recognised by all its columns */
        "ALTER TABLE whole REPLICA IDENTITY FULL;"
        "INSERT INTO whole SELECT i, 'w' || i, 0, repeat('y', 700) FROM generate_series(1, 1500) i;"
        "CREATE TABLE bare (k int, rid text, n int, body text);" /* no identity: only inserts */
        "ALTER TABLE bare REPLICA IDENTITY NOTHING;"
        "INSERT INTO bare SELECT i, 'b' || i, 0, 'z' FROM generate_series(1, 1000) i;"
        "CREATE TABLE emptied (k int PRIMARY KEY, rid text, n int, body text);"
        "INSERT INTO emptied SELECT i, 'e' || i, 0, repeat('t', 300) FROM generate_series(1, 2000) i;"
        /* The active one. Row 0 counts its transactions, and orders them: seq in history. */
        "CREATE TABLE ledger (k int PRIMARY KEY, n int);"
        "INSERT INTO ledger SELECT i, 0 FROM generate_series(0, 20) i;"
        "CREATE TABLE history (seq int, k int, n int, PRIMARY KEY (seq, k));"
        "INSERT INTO history SELECT 0, k, n FROM ledger;"
        "ANALYZE;"
        "CREATE PUBLICATION powersync FOR ALL TABLES";

static const char *const tables[] = {"ordered", "paired", "whole", "bare", "emptied"};
#define TABLES (sizeof(tables) / sizeof(*tables))

#define ACTIVE_DEFINITION                                                                                                        \
	"bucket_definitions:\n"                                                                                                  \
	"  before:\n"                                                                                                            \
	"    data:\n"                                                                                                            \
	"      - SELECT k AS id, n FROM ledger\n"

static const char first_config[] = ACTIVE_DEFINITION;
static const char sync_config[] = ACTIVE_DEFINITION "  all:\n"
                                                    "    data:\n"
                                                    "      - SELECT rid AS id, n, body FROM ordered\n"
                                                    "      - SELECT rid AS id, n, body FROM paired\n"
                                                    "      - SELECT rid AS id, n, body FROM whole\n"
                                                    "      - SELECT rid AS id, n, body FROM bare\n"
                                                    "      - SELECT rid AS id, n, body FROM emptied\n";

/* Commits again and again until the table stop has a row. %d: a number that no other writer has or had, 1 to 9. The block with an exception handler is a savepoint. */
static const char writer_sql[] =
        "DO $$ DECLARE r int; q int; t int; w CONSTANT int := %d; i int := 0; BEGIN PERFORM setseed(w / 10.0);"
        " LOOP i := i + 1; r := 1 + (random() * 2999)::int; q := 1 + (random() * 2999)::int; t := (random() * 12)::int;"
        " BEGIN"
        "  IF t = 0 THEN INSERT INTO ordered VALUES ((random() * 40000)::int, 'on' || w || '.' || i, 0, 'new');"
        "  ELSIF t = 1 THEN UPDATE ordered SET n = n + 1 WHERE rid = 'o5';" /* a hot row that keeps its large value */
        "  ELSIF t = 2 THEN UPDATE ordered SET n = n + 1 WHERE rid IN ('o' || r, 'o' || q / 5 * 5);"
        "  ELSIF t = 3 THEN UPDATE ordered SET k = (random() * 40000)::int WHERE rid = 'o' || r;"
        "  ELSIF t = 4 THEN DELETE FROM ordered WHERE rid = 'o' || r;"
        "  ELSIF t = 5 THEN UPDATE ordered SET k = -1 - w WHERE k = r * 10; UPDATE ordered SET k = r * 10 WHERE k = q * 10;"
        "   UPDATE ordered SET k = q * 10 WHERE k = -1 - w;"
        "  ELSIF t = 6 THEN UPDATE paired SET b = (random() * 7)::int, n = n + 1 WHERE rid = 'p' || r;"
        "  ELSIF t = 7 THEN DELETE FROM paired WHERE rid = 'p' || r; INSERT INTO paired VALUES (md5(random()::text), q %% 7, "
        "'pn' ||"
        "   w || '.' || i, 1, 'n');"
        "  ELSIF t = 8 THEN UPDATE whole SET n = n + 1, body = repeat('v', (random() * 900)::int) WHERE rid = 'w' || r;"
        "  ELSIF t = 9 THEN DELETE FROM whole WHERE rid = 'w' || r; INSERT INTO whole VALUES (q, 'wn' || w || '.' || i, 2, 'n');"
        "  ELSIF t = 10 THEN INSERT INTO bare VALUES (q, 'bn' || w || '.' || i, 3, 'n');"
        "  ELSIF t = 11 AND random() < 0.02 THEN TRUNCATE emptied;"
        "  ELSE INSERT INTO emptied VALUES (q + 10000, 'en' || w || '.' || i, 4, 'n') ON CONFLICT (k) DO UPDATE SET n = 5;"
        "  END IF;"
        "  IF random() < 0.3 THEN"
        "   UPDATE ledger SET n = n + 1 WHERE k = 0 RETURNING n INTO r; INSERT INTO history VALUES (r, 0, r);"
        "   FOR q IN SELECT DISTINCT 1 + (random() * 19)::int FROM generate_series(1, 3) LOOP"
        "    UPDATE ledger SET n = r * 10 + w WHERE k = q; INSERT INTO history VALUES (r, q, r * 10 + w);"
        "   END LOOP;"
        "  END IF;"
        "  IF random() < 0.1 THEN RAISE EXCEPTION USING ERRCODE = 'P0001'; END IF;"
        " EXCEPTION WHEN unique_violation OR raise_exception THEN NULL;"
        " END;"
        " COMMIT; PERFORM pg_sleep(0.0005); EXIT WHEN EXISTS (SELECT FROM stop); END LOOP; END $$";

static struct fixture f;
static PGconn *writers[WRITERS];

/* Equal rows of a table with identity FULL would be one. */
static void writers_start(int first)
{
	char sql[8192];
	for (int i = 0; i < WRITERS; i++) {
		writers[i] = fixture_connect(getenv("PG_URI"), f.database);
		if (i < 2)
			fixture_sql_on(writers[i], "SET synchronous_commit = off");
		/* Should this process be killed, they end as well (PostgreSQL 14 and later). */
		if (PQserverVersion(writers[i]) >= 140000)
			fixture_sql_on(writers[i], "SET client_connection_check_interval = '1s'");
		snprintf(sql, sizeof(sql), writer_sql, first + i);
		assert_int_equal(PQsendQuery(writers[i], sql), 1);
	}
}

static void writers_stop(void)
{
	fixture_sql(&f, "INSERT INTO stop VALUES (1)");
	for (int i = 0; i < WRITERS; i++) {
		PGresult *r = PQgetResult(writers[i]);
		if (PQresultStatus(r) != PGRES_COMMAND_OK)
			fail_msg("%s", PQerrorMessage(writers[i]));
		PQclear(r);
		PQfinish(writers[i]);
	}
}

/* ---- the engine ---- */

struct engine {
	struct storage *storage;
	struct plan *plan;
	struct replicator *replicator;
};

static void engine_start(struct engine *e)
{
	struct error err = {0};
	struct replicator_options options = {.source = f.source = source_new(&f.config, &f.log),
	                                     .connection_tag = "default",
	                                     .slot_name_prefix = "powersync_",
	                                     .heartbeat_interval_s = 60,
	                                     .storage = e->storage,
	                                     .log = &f.log,
	                                     .snapshot_readers = 3,
	                                     .chunk_rows = 10,
	                                     .chunk_bytes = 65536};
	e->replicator = replicator_start(&options, e->plan, &err);
	if (!e->replicator)
		fail_msg("%s", err.message);
}

static void engine_stop(struct engine *e)
{
	source_interrupt(f.source);
	replicator_stop(e->replicator);
	replicator_free(e->replicator);
	source_free(f.source);
	f.source = NULL;
}

static bool reading(struct engine *e)
{
	struct replicator_status s;
	replicator_status(e->replicator, &s);
	return s.snapshotting || !storage_checkpoint(e->storage).valid || storage_pending_plan_text(e->storage).p;
}

/* Everything that is committed now is in the store, and shown. */
static void catch_up(struct engine *e)
{
	struct position want = {.lsn = 0};
	int64_t until = clock_mono_ms() + TIME_LIMIT_MS;
	assert_int_equal(sscanf(fixture_value(&f, "SELECT (pg_current_wal_insert_lsn() - '0/0')::text"), "%llu",
	                        (unsigned long long *)&want.lsn),
	                 1);
	struct source_state state;
	struct error err;
	assert_true(storage_source_state(e->storage, &state, &err));
	want.era = state.applied.era;
	storage_want_position(e->storage, want);
	fixture_sql(&f, "SELECT pg_logical_emit_message(true, 'test', 'x')");
	while (reading(e) || storage_checkpoint(e->storage).position.lsn < want.lsn) {
		if (clock_mono_ms() > until)
			fail_msg("not caught up within %d ms", TIME_LIMIT_MS);
		usleep(5000);
	}
}

/* ---- what the store holds ---- */

struct held {
	char *key; /* subkey, type, id */
	char *id, *type, *data;
	UT_hash_handle hh;
};

static char *text_of(struct slice s)
{
	char *p = xmalloc(s.n + 1);
	memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return p;
}

static void held_free(struct held **all, struct held *h)
{
	HASH_DEL(*all, h);
	free(h->key);
	free(h->id);
	free(h->type);
	free(h->data);
	free(h);
}

static void fold(struct held **all, const struct op_view *op)
{
	struct buf key = {0};
	struct held *h;
	buf_slice_append(&key, slice_cstr(op->subkey_table));
	for (int i = 0; i < 16; i++)
		buf_printf(&key, "%02x", op->subkey_uuid[i]);
	buf_printf(&key, " %.*s %.*s", SLICE_ARG(op->object_type), SLICE_ARG(op->object_id));
	buf_putc(&key, '\0');
	HASH_FIND_STR(*all, key.p, h);
	if (h)
		held_free(all, h);
	if (op->kind == OP_PUT) {
		h = xcalloc(1, sizeof(*h));
		h->key = xstrdup(slice_cstr(key.p));
		h->id = text_of(op->object_id);
		h->type = text_of(op->object_type);
		h->data = text_of(op->data);
		HASH_ADD_KEYPTR(hh, *all, h->key, strlen(h->key), h);
	}
	buf_free(&key);
}

/* Of one definition; 0: of all. */
static struct held *read_store(struct engine *e, uint32_t wanted)
{
	struct error err = {0};
	uint64_t checkpoint = storage_checkpoint(e->storage).op_id;
	struct held *all = NULL;
	struct storage_reader *r = storage_read_begin(e->storage, &err);
	assert_non_null(r);
	struct slice keys;
	uint32_t definition;
	for (uint32_t bucket = 1; reader_bucket_name(r, bucket, &definition, &keys); bucket++) {
		if (wanted && definition != wanted)
			continue;
		struct op_cursor *c = reader_ops(r, bucket, 0, checkpoint, &err);
		struct op_view op;
		assert_non_null(c);
		while (op_cursor_next(c, &op, &err) == 1)
			fold(&all, &op);
		op_cursor_close(c);
	}
	storage_read_end(r);
	return all;
}

/* Takes the row out; a second one of the same id stays, and is found as left over. */
static void take(struct held **all, const char *type, const char *id, const char *data)
{
	for (struct held *h = *all; h; h = h->hh.next)
		if (strcmp(h->type, type) == 0 && strcmp(h->id, id) == 0) {
			if (strcmp(h->data, data) != 0)
				fail_msg("%s %s: the store has %.200s, SQL %.200s", type, id, h->data, data);
			held_free(all, h);
			return;
		}
	fail_msg("%s %s is missing", type, id);
}

static void compare_with_sql(struct engine *e)
{
	struct held *all = read_store(e, 0), *next;
	for (struct held *h = all; h; h = next) {
		next = h->hh.next;
		if (strcmp(h->type, "ledger") == 0) /* compare_active does that */
			held_free(&all, h);
	}
	char sql[512];
	for (size_t t = 0; t < TABLES; t++) {
		snprintf(sql, sizeof(sql),
		         "SELECT rid, '{\"id\":\"' || rid || '\",\"n\":' || n || ',\"body\":\"' || body || '\"}' FROM %s",
		         tables[t]);
		PGresult *r = PQexec(f.pg, sql);
		assert_int_equal(PQresultStatus(r), PGRES_TUPLES_OK);
		for (int i = 0; i < PQntuples(r); i++)
			take(&all, tables[t], PQgetvalue(r, i, 0), PQgetvalue(r, i, 1));
		PQclear(r);
	}
	if (all)
		fail_msg("%u rows are in the store only, like %s %s", HASH_COUNT(all), all->type, all->id);
}

/* The checkpoint that is shown now, against the history. */
static void compare_active(struct engine *e)
{
	struct held *all = read_store(e, 1), *zero;
	struct buf sql = {0};
	char query[64];
	for (zero = all; zero && strcmp(zero->id, "0") != 0;)
		zero = zero->hh.next;
	assert_non_null(zero);
	int seq, n;
	assert_int_equal(sscanf(zero->data, "{\"id\":0,\"n\":%d}", &seq), 1);
	/* What is streamed may become visible later; the next one to count waited for it. */
	snprintf(query, sizeof(query), "SELECT max(seq) >= %d FROM history", seq);
	while (fixture_value(&f, query)[0] != 't')
		usleep(1000);
	buf_printf(&sql,
	           "SELECT string_agg(concat_ws(' ', k, v.n, h.n), ', ') FROM (SELECT DISTINCT ON (k) k, n FROM history WHERE "
	           "seq <= %d"
	           " ORDER BY k, seq DESC) h FULL JOIN (VALUES (-1, 0)",
	           seq);
	while (all) {
		assert_int_equal(sscanf(strstr(all->data, "\"n\":"), "\"n\":%d", &n), 1);
		buf_printf(&sql, ", (%s, %d)", all->id, n);
		held_free(&all, all);
	}
	buf_lit(&sql, ") v (k, n) USING (k) WHERE k >= 0 AND v.n IS DISTINCT FROM h.n");
	buf_putc(&sql, '\0');
	const char *differs = fixture_value(&f, sql.p);
	if (*differs)
		fail_msg("at transaction %d (key, checkpoint, SQL): %s", seq, differs);
	buf_free(&sql);
}

/* A commit in two phases, for which other writers wait. */
static void commit_in_two_phases(int i)
{
	char sql[512];
	snprintf(sql, sizeof(sql),
	         "BEGIN; INSERT INTO paired VALUES (md5('t%d'), %d, 't%d', 0, 't'); UPDATE ordered SET n = n + 1 WHERE rid IN "
	         "('o%d', "
	         "'o20'); DELETE FROM whole WHERE rid = 'w%d'; PREPARE TRANSACTION 'tiny %d %d'",
	         i, i % 7, i, i * 5, i, (int)getpid(), i);
	fixture_sql(&f, sql);
	usleep(10000);
	snprintf(sql, sizeof(sql), "COMMIT PREPARED 'tiny %d %d'", (int)getpid(), i);
	fixture_sql(&f, sql);
}

/* For so long. */
static void look_on(struct engine *e, int ms, int *transactions)
{
	bool two_phases = atoi(fixture_value(&f, "SHOW max_prepared_transactions")) > 0;
	for (int64_t until = clock_mono_ms() + ms; clock_mono_ms() < until; usleep(20000)) {
		compare_active(e);
		if (two_phases && *transactions < 900)
			commit_in_two_phases(++*transactions);
	}
}

/* The definition that is active while the others are filled. */
static void activate_first(struct engine *e)
{
	struct diagnostics d = {0};
	struct plan *all = e->plan;
	e->plan = plan_compile(slice_cstr(first_config), SLICE("public"), &d);
	assert_non_null(e->plan);
	engine_start(e);
	catch_up(e);
	engine_stop(e);
	plan_unref(e->plan);
	diagnostics_free(&d);
	e->plan = all;
}

static void tiny_chunks_among_writers_end_in_what_sql_selects(void **state)
{
	(void)state;
	if (!fixture_start(&f, "tiny"))
		skip();
	source_free(f.source);
	f.source = NULL;
	fixture_sql(&f, "CREATE TABLE stop (i int PRIMARY KEY)");
	fixture_sql(&f, schema_sql);
	char folder[] = "/tmp/syncline-tiny-XXXXXX";
	assert_non_null(mkdtemp(folder));
	struct storage_options options = {.path = slice_cstr(folder), .map_size = 1u << 30, .log = &f.log};
	struct diagnostics d = {0};
	struct error err = {0};
	struct engine e = {.storage = storage_open_lmdb(&options, &err),
	                   .plan = plan_compile(slice_cstr(sync_config), SLICE("public"), &d)};
	assert_non_null(e.storage);
	assert_non_null(e.plan);
	activate_first(&e);
	writers_start(1);
	unsigned seed = 7;
	int transactions = 0;
	for (int round = 0; round < 8; round++) {
		engine_start(&e);
		look_on(&e, rand_r(&seed) % 350, &transactions);
		engine_stop(&e);
	}
	engine_start(&e);
	int64_t until = clock_mono_ms() + TIME_LIMIT_MS;
	while (reading(&e) && clock_mono_ms() < until)
		look_on(&e, 20, &transactions);
	assert_false(reading(&e)); /* also with a row that is updated all the time */
	writers_stop();
	catch_up(&e);
	compare_with_sql(&e);
	/* A lost slot, with changes that nobody delivered, and writers again. */
	engine_stop(&e);
	fixture_sql(&f, "DELETE FROM stop; DELETE FROM ordered WHERE k % 3 = 0; UPDATE paired SET n = 77 WHERE b = 3; DELETE "
	                "FROM whole WHERE k % 5 = 1");
	for (int tries = 0;
	     tries < 200 &&
	     strcmp(fixture_value(&f, "SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots "
	                              "WHERE database = current_database() AND NOT active"),
	            "1") != 0;
	     tries++)
		usleep(20000);
	writers_start(1 + WRITERS);
	engine_start(&e);
	look_on(&e, 300, &transactions);
	writers_stop();
	usleep(100000);
	catch_up(&e);
	compare_with_sql(&e);
	engine_stop(&e);
	storage_close(e.storage);
	plan_unref(e.plan);
	diagnostics_free(&d);
	char command[64];
	snprintf(command, sizeof(command), "rm -r %s", folder);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(tiny_chunks_among_writers_end_in_what_sql_selects)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
