/* test_postgres.c: connections, checks, discovery, slots and head against a real server (PG_URI; skipped without). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

#include "pg_fixture.h"
#include "base/clock.h"
#include "source/inspect.h"

static struct fixture f;
static bool have_server;

#define NEED_SERVER()                                                                                                            \
	do {                                                                                                                     \
		if (!have_server)                                                                                                \
			skip();                                                                                                  \
	} while (0)

static struct source_connection *connect_ok(void)
{
	struct error err = {0};
	struct source_connection *c = source_connect(f.source, &err);
	if (!c)
		fail_msg("%s", err.message);
	return c;
}

#define assert_ok(call)                                                                                                          \
	do {                                                                                                                     \
		if (!(call))                                                                                                     \
			fail_msg("%s", err.message);                                                                             \
	} while (0)

/* ---- connections ------------------------------------------------------------------------------------------------------------ */

static void connecting_pins_the_session_settings(void **state)
{
	(void)state;
	NEED_SERVER();
	char sql[256];
	snprintf(sql, sizeof(sql),
	         "ALTER DATABASE %s SET TimeZone = 'America/New_York'; ALTER DATABASE %s SET DateStyle = 'SQL, DMY';"
	         "ALTER DATABASE %s SET default_transaction_read_only = on",
	         f.database, f.database, f.database);
	fixture_sql_on(f.admin, sql);
	struct error err = {0};
	struct source_connection *c = connect_ok();
	struct source_identity id;
	assert_ok(source_identify(c, &id, &err));
	assert_true(strstr(id.system_id, f.database) != NULL);
	assert_true(id.insert_lsn > 0);
	assert_true(id.server_version >= 110000);
	assert_ok(source_marker(c, &err)); /* writes */
	source_disconnect(c);
	snprintf(sql, sizeof(sql), "ALTER DATABASE %s RESET ALL", f.database);
	fixture_sql_on(f.admin, sql);
}

static void a_port_where_nobody_listens_is_an_error(void **state)
{
	(void)state;
	struct source_config config = {.hostname = "127.0.0.1",
	                               .username = "u",
	                               .password = "secret-word",
	                               .database = "d",
	                               .port = 1,
	                               .sslmode = SSLMODE_DISABLE,
	                               .connect_timeout_s = 2};
	struct source *s = source_new(&config, NULL);
	struct error err = {0};
	assert_null(source_connect(s, &err));
	assert_true(strstr(err.message, "refused") != NULL);
	assert_null(strstr(err.message, "secret-word"));
	assert_int_equal(source_classify(&err), SOURCE_RETRY);
	source_free(s);
}

static void a_server_that_does_not_answer_times_out(void **state)
{
	(void)state;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(a);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
	struct source_config config = {.hostname = "127.0.0.1",
	                               .username = "u",
	                               .password = "p",
	                               .database = "d",
	                               .port = ntohs(a.sin_port),
	                               .sslmode = SSLMODE_DISABLE,
	                               .connect_timeout_s = 0.2};
	struct source *s = source_new(&config, NULL);
	struct error err = {0};
	assert_null(source_connect(s, &err));
	char expected[64];
	snprintf(expected, sizeof(expected), "Timeout while connecting to 127.0.0.1:%d", config.port);
	assert_string_equal(err.message, expected);
	source_free(s);
	close(fd);
}

static void an_address_in_a_rejected_range_is_not_connected_to(void **state)
{
	(void)state;
	const char *const ranges[] = {"local"};
	struct source_config config = {.hostname = "127.0.0.1",
	                               .username = "u",
	                               .password = "p",
	                               .database = "d",
	                               .port = 1,
	                               .sslmode = SSLMODE_DISABLE,
	                               .connect_timeout_s = 2,
	                               .reject_ip_ranges = ranges,
	                               .reject_ip_range_count = 1};
	struct source *s = source_new(&config, NULL);
	struct error err = {0};
	assert_null(source_connect(s, &err));
	assert_string_equal(err.message, "the address of \"127.0.0.1\" is in reject_ip_ranges");
	source_free(s);
}

static void a_database_that_does_not_exist_gives_the_servers_text(void **state)
{
	(void)state;
	NEED_SERVER();
	struct source_config config = f.config;
	config.database = "syncline_nope";
	struct source *s = source_new(&config, &f.log);
	struct error err = {0};
	assert_null(source_connect(s, &err));
	assert_string_equal(err.message, "database \"syncline_nope\" does not exist");
	assert_string_equal(err.code, "");
	source_free(s);
}

static void *abort_soon(void *c)
{
	usleep(100 * 1000);
	source_connection_abort(c);
	return NULL;
}

static void *interrupt_soon(void *s)
{
	usleep(100 * 1000);
	source_interrupt(s);
	return NULL;
}

static void aborting_ends_a_blocked_call(void **state)
{
	(void)state;
	NEED_SERVER();
	struct error err = {0};
	fixture_sql(&f, "CREATE TABLE locked (id int PRIMARY KEY)");
	struct source_connection *c = connect_ok();
	struct source_pattern p = {.schema = SLICE("public"), .table = SLICE("locked")};
	struct source_table *t;
	size_t n;
	assert_ok(source_discover(c, &p, 1, &f.arena, &t, &n, &err));
	assert_int_equal(n, 1);
	fixture_sql(&f, "BEGIN; LOCK TABLE locked IN ACCESS EXCLUSIVE MODE");
	pthread_t thread;
	pthread_create(&thread, NULL, abort_soon, c);
	struct chunk_request request = {.table = t, .max_rows = 10, .max_bytes = 1000};
	struct source_chunk chunk;
	int64_t start = clock_mono_ms();
	assert_false(source_read_chunk(c, &request, &f.arena, &chunk, &err));
	assert_true(clock_mono_ms() - start < 2000);
	pthread_join(thread, NULL);
	assert_false(source_marker(c, &err));
	assert_string_equal(err.message, "connection aborted");
	source_disconnect(c);
	fixture_sql(&f, "COMMIT; DROP TABLE locked");
}

static void interrupting_the_source_ends_all_calls(void **state)
{
	(void)state;
	NEED_SERVER();
	struct error err = {0};
	struct source *s = source_new(&f.config, &f.log);
	fixture_sql(&f, "BEGIN; SELECT pg_current_xact_id()"); /* a new slot waits for it */
	pthread_t thread;
	pthread_create(&thread, NULL, interrupt_soon, s);
	uint64_t lsn;
	struct xid_snapshot x;
	int64_t start = clock_mono_ms();
	assert_false(source_slot_create(s, "syncline_interrupted", &lsn, &x, &f.arena, &err));
	assert_true(clock_mono_ms() - start < 2000);
	pthread_join(thread, NULL);
	assert_null(source_connect(s, &err));
	source_free(s);
	fixture_sql(&f, "COMMIT");
}

static void a_role_without_the_control_function_is_identified_over_replication(void **state)
{
	(void)state;
	NEED_SERVER();
	struct error err = {0};
	struct source_identity plain, restricted;
	char role[64], sql[512];
	struct source_connection *c = connect_ok();
	assert_ok(source_identify(c, &plain, &err));
	source_disconnect(c);
	snprintf(role, sizeof(role), "syncline_control_%d", (int)getpid());
	snprintf(sql, sizeof(sql),
	         "CREATE ROLE %s LOGIN REPLICATION PASSWORD 'postgres'; REVOKE EXECUTE ON FUNCTION pg_control_system() FROM "
	         "PUBLIC",
	         role);
	fixture_sql(&f, sql);
	struct source_config config = f.config;
	config.username = role;
	struct source *s = source_new(&config, &f.log);
	c = source_connect(s, &err);
	if (c) { /* pg_hba.conf may keep it out */
		assert_ok(source_identify(c, &restricted, &err));
		assert_string_equal(restricted.system_id, plain.system_id);
	}
	source_disconnect(c);
	source_free(s);
	snprintf(sql, sizeof(sql), "DROP ROLE %s", role);
	fixture_sql(&f, sql);
}

/* ---- checks ----------------------------------------------------------------------------------------------------------------- */

static void the_check_names_what_is_wrong_with_the_publication(void **state)
{
	(void)state;
	NEED_SERVER();
	struct error err = {0};
	struct source_connection *c = connect_ok();
	fixture_sql(&f, "DROP PUBLICATION powersync");
	assert_false(source_check(c, &err));
	assert_string_equal(err.code, "PSYNC_S1141");
	assert_string_equal(err.message,
	                    "Publication 'powersync' does not exist. Run: `CREATE PUBLICATION powersync FOR ALL TABLES`, or read "
	                    "the documentation for details.");
	assert_int_equal(source_classify(&err), SOURCE_RETRY);
	fixture_sql(&f, "CREATE PUBLICATION powersync FOR ALL TABLES WITH (publish = 'insert')");
	assert_false(source_check(c, &err));
	assert_string_equal(err.code, "PSYNC_S1142");
	fixture_sql(&f, "DROP PUBLICATION powersync; CREATE PUBLICATION powersync FOR ALL TABLES WITH "
	                "(publish_via_partition_root = true)");
	assert_false(source_check(c, &err));
	assert_string_equal(err.code, "PSYNC_S1143");
	fixture_sql(&f, "DROP PUBLICATION powersync; CREATE PUBLICATION powersync FOR ALL TABLES");
	assert_ok(source_check(c, &err));
	source_disconnect(c);
}

static void failures_are_classified(void **state)
{
	(void)state;
	static const struct {
		const char *code, *message;
		enum source_failure expected;
	} cases[] = {
	        {"", "FATAL: password authentication failed for user \"x\"", SOURCE_RETRY_LATE},
	        {"", "replication slot \"powersync_1_93f8\" does not exist", SOURCE_SLOT_LOST},
	        {"", "publication \"powersync\" does not exist", SOURCE_SLOT_LOST},
	        {"PSYNC_S1141", "Publication 'powersync' does not exist.", SOURCE_RETRY},
	        {"", "can no longer get changes from replication slot \"a\"", SOURCE_SLOT_LOST},
	        {"", "can no longer access replication slot \"a\"", SOURCE_SLOT_LOST},
	        {"PSYNC_S1146", "Replication slot a was invalidated", SOURCE_SLOT_LOST},
	        {"", "record with incorrect prev-link 0/1 at 0/2", SOURCE_SLOT_LOST},
	        {"", "replication slot \"a\" is active for PID 1", SOURCE_RETRY},
	        {"", "database \"x\" does not exist", SOURCE_RETRY},
	        {"PSYNC_S1121", "Socket timed out after 360000ms", SOURCE_RETRY},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct error err;
		error_set(&err, cases[i].code, "%s", cases[i].message);
		assert_int_equal(source_classify(&err), cases[i].expected);
	}
}

/* ---- discovery -------------------------------------------------------------------------------------------------------------- */

static size_t discover(const struct source_pattern *p, size_t count, struct source_table **t)
{
	struct error err = {0};
	size_t n;
	struct source_connection *c = connect_ok();
	assert_ok(source_discover(c, p, count, &f.arena, t, &n, &err));
	source_disconnect(c);
	return n;
}

static const char *names_of(const struct source_table *t, size_t n)
{
	static char text[1024];
	text[0] = '\0';
	for (size_t i = 0; i < n; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%.*s.%.*s", i ? " " : "",
		         SLICE_ARG(t[i].relation.schema), SLICE_ARG(t[i].relation.name));
	return text;
}

/* "a:key b", order key in brackets. */
static const char *columns_of(const struct source_table *t)
{
	static char text[1024];
	text[0] = '\0';
	for (size_t i = 0; i < t->relation.column_count; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%.*s%s", i ? " " : "",
		         SLICE_ARG(t->relation.columns[i].name), t->relation.columns[i].in_key ? ":key" : "");
	strcat(text, " [");
	for (size_t i = 0; i < t->order_key_count; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%.*s", i ? " " : "", SLICE_ARG(t->order_key[i]));
	strcat(text, "]");
	return text;
}

static void discovery_finds_ordinary_tables_once(void **state)
{
	(void)state;
	NEED_SERVER();
	fixture_sql(&f, "CREATE TABLE a_b (id int PRIMARY KEY); CREATE TABLE axb (id int PRIMARY KEY); CREATE VIEW a_view AS "
	                "SELECT 1 AS id;"
	                "CREATE TABLE \"do.t\" (\"the \"\"id\" int PRIMARY KEY); CREATE TABLE parted (id int, k int) PARTITION "
	                "BY LIST (k);"
	                "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1); CREATE TABLE parted_2 PARTITION OF parted "
	                "FOR VALUES IN (2);"
	                "CREATE SCHEMA tenant_1; CREATE SCHEMA tenant_2; CREATE SCHEMA tenantx; CREATE TABLE tenant_1.t (id int "
	                "PRIMARY KEY);"
	                "CREATE TABLE tenant_2.t (id int PRIMARY KEY); CREATE TABLE tenantx.t (id int PRIMARY KEY)");
	struct source_table *t;
	struct source_pattern exact[] = {{.schema = SLICE("public"), .table = SLICE("a_b")},
	                                 {.schema = SLICE("public"), .table = SLICE("a_%"), .table_wildcard = true},
	                                 {.schema = SLICE("public"), .table = SLICE("nothing")},
	                                 {.schema = SLICE("public"), .table = SLICE("a_view")},
	                                 {.schema = SLICE("public"), .table = SLICE("do.t")},
	                                 {.schema = SLICE("public"), .table = SLICE("it's")}};
	size_t n = discover(exact, 6, &t);
	assert_string_equal(names_of(t, n), "public.a_b public.do.t");
	assert_string_equal(columns_of(&t[1]), "the \"id:key [the \"id]");
	struct source_pattern leaves[] = {{.schema = SLICE("public"), .table = SLICE("parted%"), .table_wildcard = true}};
	n = discover(leaves, 1, &t);
	assert_string_equal(names_of(t, n), "public.parted_1 public.parted_2");
	struct source_pattern schemas[] = {{.schema = SLICE("tenant_%"), .schema_wildcard = true, .table = SLICE("t")}};
	n = discover(schemas, 1, &t);
	assert_string_equal(names_of(t, n), "tenant_1.t tenant_2.t");
	struct source_pattern all[] = {
	        {.schema = SLICE("%"), .schema_wildcard = true, .table = SLICE("%"), .table_wildcard = true}};
	n = discover(all, 1, &t);
	assert_string_equal(names_of(t, n),
	                    "public.a_b public.axb public.do.t public.parted_1 public.parted_2 tenant_1.t tenant_2.t tenantx.t");
	fixture_sql(&f,
	            "DROP TABLE a_b, axb, \"do.t\", parted; DROP VIEW a_view; DROP SCHEMA tenant_1, tenant_2, tenantx CASCADE");
}

static void only_published_tables_are_discovered(void **state)
{
	(void)state;
	NEED_SERVER();
	fixture_sql(&f, "CREATE TABLE yes (id int PRIMARY KEY); CREATE TABLE no (id int PRIMARY KEY); DROP PUBLICATION powersync;"
	                "CREATE PUBLICATION powersync FOR TABLE yes");
	struct source_table *t;
	struct source_pattern p[] = {{.schema = SLICE("public"), .table = SLICE("yes")},
	                             {.schema = SLICE("public"), .table = SLICE("no")}};
	size_t n = discover(p, 2, &t);
	assert_string_equal(names_of(t, n), "public.yes");
	struct source_connection *c = connect_ok();
	struct error err = {0};
	struct source_table out;
	bool found;
	assert_ok(source_describe(c, (uint32_t)strtoul(fixture_value(&f, "SELECT 'no'::regclass::oid"), NULL, 10), &f.arena, &out,
	                          &found, &err));
	assert_false(found);
	assert_ok(source_describe(c, t[0].relation.oid, &f.arena, &out, &found, &err));
	assert_true(found);
	assert_int_equal(out.relfilenode, t[0].relfilenode);
	source_disconnect(c);
	fixture_sql(&f, "DROP TABLE yes, no; DROP PUBLICATION powersync; CREATE PUBLICATION powersync FOR ALL TABLES");
}

/* Membership and columns come from the publication's own catalogues; the server's view says the same. */
static void tables_are_published_as_the_server_says(void **state)
{
	(void)state;
	NEED_SERVER();
	static const struct {
		const char *publication;
		int version;
	} cases[] = {
	        {"FOR ALL TABLES", 110000},
	        {"FOR TABLE pub.a, other.c", 110000},
	        {"FOR TABLE pub.parted", 130000},
	        {"FOR TABLE pub.parted_1", 130000},
	        {"FOR TABLE pub.a (v, id), pub.generated (id)", 150000},
	        {"FOR TABLE pub.a WHERE (id > 3), pub.parted", 150000},
	        {"FOR TABLES IN SCHEMA pub", 150000},
	        {"FOR TABLES IN SCHEMA other, TABLE pub.a", 150000},
	        {"FOR TABLES IN SCHEMA other, TABLE other.c WHERE (id > 3)", 150000},
	};
	fixture_sql(&f, "DROP PUBLICATION powersync; CREATE SCHEMA pub; CREATE SCHEMA other;"
	                "CREATE TABLE pub.a (id int PRIMARY KEY, gone int, v text, w text); ALTER TABLE pub.a DROP COLUMN gone;"
	                "CREATE UNLOGGED TABLE pub.unlogged (id int PRIMARY KEY); CREATE TABLE other.c (id int PRIMARY KEY);"
	                "CREATE TABLE pub.generated (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id * 2) STORED, v int);"
	                "CREATE TABLE pub.parted (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);"
	                "CREATE TABLE pub.parted_1 PARTITION OF pub.parted FOR VALUES FROM (0) TO (9);"
	                "CREATE TABLE other.parted_2 PARTITION OF pub.parted FOR VALUES FROM (9) TO (20) PARTITION BY RANGE (id);"
	                "CREATE TABLE other.parted_3 PARTITION OF other.parted_2 FOR VALUES FROM (9) TO (20)");
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases) && cases[i].version <= PQserverVersion(f.pg); i++) {
		char sql[256];
		snprintf(sql, sizeof(sql), "CREATE PUBLICATION powersync %s", cases[i].publication);
		fixture_sql(&f, sql);
		struct source_pattern all[] = {{.schema = SLICE("pub"), .table = SLICE("%"), .table_wildcard = true},
		                               {.schema = SLICE("other"), .table = SLICE("%"), .table_wildcard = true}};
		struct source_table *t;
		size_t n = discover(all, 2, &t);
		assert_string_equal(names_of(t, n),
		                    fixture_value(&f,
		                                  "SELECT string_agg(schemaname || '.' || tablename, ' ' ORDER BY schemaname, "
		                                  "tablename) FROM pg_publication_tables"));
		for (size_t k = 0; k < n && PQserverVersion(f.pg) >= 150000; k++) {
			char columns[256] = "";
			for (size_t a = 0; a < t[k].relation.column_count; a++)
				snprintf(columns + strlen(columns), sizeof(columns) - strlen(columns), "%s%.*s", a ? " " : "",
				         SLICE_ARG(t[k].relation.columns[a].name));
			snprintf(sql, sizeof(sql),
			         "SELECT string_agg(a.attname, ' ' ORDER BY attnum) FROM pg_publication_tables p JOIN "
			         "pg_attribute a ON a.attrelid = %u AND a.attname = ANY (p.attnames) AND attgenerated = '' WHERE "
			         "tablename = '%.*s'",
			         t[k].relation.oid, SLICE_ARG(t[k].relation.name));
			assert_string_equal(columns, fixture_value(&f, sql));
		}
		fixture_sql(&f, "DROP PUBLICATION powersync");
	}
	fixture_sql(&f, "DROP SCHEMA pub, other CASCADE; CREATE PUBLICATION powersync FOR ALL TABLES");
}

/* Discovery runs on the thread that follows the stream. */
static void whoever_holds_a_table_does_not_hold_up_discovery(void **state)
{
	(void)state;
	NEED_SERVER();
	struct error err = {0};
	fixture_sql(&f, "CREATE TYPE held_mood AS ENUM ('good'); CREATE TABLE held (id int PRIMARY KEY, v held_mood); INSERT "
	                "INTO held SELECT i FROM generate_series(1, 99) i;"
	                "ANALYZE held; CREATE TABLE free (id int PRIMARY KEY)");
	bool filters = PQserverVersion(f.pg) >= 150000;
	if (filters)
		fixture_sql(&f, "DROP PUBLICATION powersync; CREATE PUBLICATION powersync FOR TABLE held WHERE (id > 1), free");
	PGconn *holder = fixture_connect(getenv("PG_URI"), f.database);
	/* A wait ends with the holder's session, which is then noticed. */
	fixture_sql_on(holder, "SET idle_in_transaction_session_timeout = '5s'; BEGIN; LOCK TABLE held IN ACCESS EXCLUSIVE MODE");
	struct source_connection *c = connect_ok();
	struct source_pattern p[] = {{.schema = SLICE("public"), .table = SLICE("held")},
	                             {.schema = SLICE("public"), .table = SLICE("free")}};
	struct source_table *t, one;
	size_t n;
	bool found;
	assert_ok(source_discover(c, p, 2, &f.arena, &t, &n, &err));
	assert_string_equal(names_of(t, n), "public.free public.held");
	assert_ok(source_describe(c, t[1].relation.oid, &f.arena, &one, &found, &err));
	assert_true(found);
	assert_ok(source_table_exists(c, t[1].relation.oid, SLICE("public"), SLICE("held"), &found, &err));
	assert_true(found);
	struct mapping_options options = {true, true, -1};
	struct value_mapper *m = value_mapper_new(c, &one.relation, &options, &err);
	assert_non_null(m);
	value_mapper_free(m);
	struct inspected_table *inspected;
	assert_ok(source_inspect(c, &p[0], &f.arena, &inspected, &n, &err));
	assert_int_equal(n, 1);
	assert_true(inspected[0].published);
	assert_ok(source_check(c, &err));
	fixture_sql_on(holder, "COMMIT");
	PQfinish(holder);
	source_disconnect(c);
	fixture_sql(&f, "DROP TABLE held, free; DROP TYPE held_mood");
	if (filters)
		fixture_sql(&f, "DROP PUBLICATION powersync; CREATE PUBLICATION powersync FOR ALL TABLES");
}

static void identity_and_order_key_come_from_the_catalogue(void **state)
{
	(void)state;
	NEED_SERVER();
	static const struct {
		const char *sql, *columns;
		char identity;
	} cases[] = {
	        /* identity columns in column order, order key in index order */
	        {"CREATE TABLE t (b text, x int, a int, PRIMARY KEY (a, b))", "b:key x a:key [a b]", 'd'},
	        {"CREATE TABLE t (id int)", "id []", 'd'},
	        {"CREATE TABLE t (id int PRIMARY KEY, v text, gone int); ALTER TABLE t DROP COLUMN gone", "id:key v [id]", 'd'},
	        {"CREATE TABLE t (id int PRIMARY KEY, v int); ALTER TABLE t REPLICA IDENTITY FULL", "id:key v:key [id]", 'f'},
	        {"CREATE TABLE t (id int, v int); ALTER TABLE t REPLICA IDENTITY FULL", "id:key v:key []", 'f'},
	        {"CREATE TABLE t (id int PRIMARY KEY, v int); ALTER TABLE t REPLICA IDENTITY NOTHING", "id v [id]", 'n'},
	        {"CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL UNIQUE); ALTER TABLE t REPLICA IDENTITY USING INDEX t_v_key",
	         "id v:key [id]", 'i'},
	        {"CREATE TABLE t (id int, v int NOT NULL, w int); CREATE UNIQUE INDEX i ON t (v) INCLUDE (w); ALTER TABLE t "
	         "REPLICA IDENTITY "
	         "USING INDEX i",
	         "id v:key w [v]", 'i'},
	        /* no order by a partial, an expression's, a nullable, or a deferrable key */
	        {"CREATE TABLE t (id int NOT NULL, v int); CREATE UNIQUE INDEX i1 ON t (id) WHERE v > 0; CREATE UNIQUE INDEX i2 "
	         "ON t (v);"
	         "CREATE UNIQUE INDEX i3 ON t (abs(id))",
	         "id v []", 'd'},
	        {"CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, v int)", "id v []", 'd'},
	        {"CREATE TABLE t (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id * 2) STORED, v int)", "id:key v [id]", 'd'},
	        {"CREATE TABLE t (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id * 2) STORED); ALTER TABLE t REPLICA IDENTITY "
	         "FULL",
	         "id:key [id]", 'f'},
	        {"CREATE TABLE t (id text NOT NULL); CREATE UNIQUE INDEX i ON t (id text_pattern_ops)", "id []", 'd'},
	        {"CREATE TABLE t ()", " []", 'd'},
	};
	struct source_pattern p[] = {{.schema = SLICE("public"), .table = SLICE("t")}};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct source_table *t;
		fixture_sql(&f, cases[i].sql);
		size_t n = discover(p, 1, &t);
		assert_int_equal(n, 1);
		assert_string_equal(columns_of(&t[0]), cases[i].columns);
		assert_int_equal(t[0].relation.replica_identity, cases[i].identity);
		assert_true(t[0].estimated_rows == -1);
		fixture_sql(&f, "DROP TABLE t");
	}
}

static void column_lists_leave_columns_out(void **state)
{
	(void)state;
	NEED_SERVER();
	if (PQserverVersion(f.pg) < 150000)
		skip();
	fixture_sql(&f, "CREATE TABLE t (id int PRIMARY KEY, secret text, v text); DROP PUBLICATION powersync;"
	                "CREATE PUBLICATION powersync FOR TABLE t (id, v)");
	struct source_pattern p[] = {{.schema = SLICE("public"), .table = SLICE("t")}};
	struct source_table *t;
	assert_int_equal(discover(p, 1, &t), 1);
	assert_string_equal(columns_of(&t[0]), "id:key v [id]");
	fixture_sql(&f, "DROP TABLE t; DROP PUBLICATION powersync; CREATE PUBLICATION powersync FOR ALL TABLES");
}

static void row_security_is_told(void **state)
{
	(void)state;
	NEED_SERVER();
	char role[64], sql[512];
	snprintf(role, sizeof(role), "syncline_reader_%d", (int)getpid());
	snprintf(sql, sizeof(sql),
	         "CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE ROLE %s LOGIN REPLICATION "
	         "PASSWORD "
	         "'postgres'; GRANT SELECT ON t TO %s",
	         role, role);
	fixture_sql(&f, sql);
	struct source_pattern p[] = {{.schema = SLICE("public"), .table = SLICE("t")}};
	struct source_table *t;
	assert_int_equal(discover(p, 1, &t), 1);
	assert_false(t[0].row_security); /* a superuser's */
	struct source_config config = f.config;
	config.username = role;
	struct source *s = source_new(&config, NULL);
	struct error err = {0};
	size_t n;
	struct source_connection *c = source_connect(s, &err);
	if (c) { /* pg_hba.conf may keep it out */
		assert_ok(source_discover(c, p, 1, &f.arena, &t, &n, &err));
		assert_true(t[0].row_security);
	}
	source_disconnect(c);
	source_free(s);
	snprintf(sql, sizeof(sql), "DROP TABLE t; DROP OWNED BY %s; DROP ROLE %s", role, role);
	fixture_sql(&f, sql);
}

/* ---- slots and head --------------------------------------------------------------------------------------------------------- */

static void a_slot_lives_from_create_to_drop(void **state)
{
	(void)state;
	NEED_SERVER();
	struct error err = {0};
	struct source_connection *c = connect_ok();
	enum slot_status status;
	uint64_t confirmed, start, head;
	struct xid_snapshot x, s;
	char slot[64], expected[128];
	snprintf(slot, sizeof(slot), "syncline_life_%d", (int)getpid());
	snprintf(expected, sizeof(expected), "replication slot \"%s\" does not exist", slot);
	assert_ok(source_slot_status(c, slot, &status, &confirmed, &err));
	assert_int_equal(status, SLOT_MISSING);
	uint64_t before = strtoull(fixture_value(&f, "SELECT pg_current_xact_id()"), NULL, 10);
	assert_ok(source_slot_create(f.source, slot, &start, &x, &f.arena, &err));
	uint64_t after = strtoull(fixture_value(&f, "SELECT pg_current_xact_id()"), NULL, 10);
	assert_true(xid_visible(&x, before));
	assert_false(xid_visible(&x, after));
	assert_ok(source_slot_status(c, slot, &status, &confirmed, &err));
	assert_int_equal(status, SLOT_VALID);
	assert_true(confirmed == start);
	assert_ok(source_head(c, &head, &s, &f.arena, &err));
	assert_true(head >= start);
	assert_true(xid_visible(&s, after));
	assert_false(source_slot_create(f.source, slot, &start, &x, &f.arena, &err));
	assert_true(strstr(err.message, "already exists") != NULL);
	assert_ok(source_slot_drop(c, slot, &err));
	assert_ok(source_slot_drop(c, slot, &err)); /* not there any more: fine */
	assert_ok(source_slot_status(c, slot, &status, &confirmed, &err));
	assert_int_equal(status, SLOT_MISSING);
	assert_null(source_stream_open(f.source, slot, &err));
	assert_string_equal(err.message, expected);
	assert_int_equal(source_classify(&err), SOURCE_SLOT_LOST);
	source_disconnect(c);
}

static void a_snapshot_lists_what_is_in_progress(void **state)
{
	(void)state;
	NEED_SERVER();
	struct error err = {0};
	struct source_connection *c = connect_ok();
	fixture_sql(&f, "BEGIN");
	uint64_t mine = strtoull(fixture_value(&f, "SELECT pg_current_xact_id()"), NULL, 10), head;
	struct xid_snapshot s;
	assert_ok(source_head(c, &head, &s, &f.arena, &err));
	assert_false(xid_visible(&s, mine));
	fixture_sql(&f, "COMMIT");
	assert_ok(source_head(c, &head, &s, &f.arena, &err));
	assert_true(xid_visible(&s, mine));
	source_disconnect(c);
}

int main(void)
{
	have_server = fixture_start(&f, "source");
	if (have_server)
		fixture_sql(&f, "CREATE PUBLICATION powersync FOR ALL TABLES");
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(connecting_pins_the_session_settings),
	        cmocka_unit_test(a_port_where_nobody_listens_is_an_error),
	        cmocka_unit_test(a_server_that_does_not_answer_times_out),
	        cmocka_unit_test(an_address_in_a_rejected_range_is_not_connected_to),
	        cmocka_unit_test(a_database_that_does_not_exist_gives_the_servers_text),
	        cmocka_unit_test(aborting_ends_a_blocked_call),
	        cmocka_unit_test(interrupting_the_source_ends_all_calls),
	        cmocka_unit_test(a_role_without_the_control_function_is_identified_over_replication),
	        cmocka_unit_test(the_check_names_what_is_wrong_with_the_publication),
	        cmocka_unit_test(failures_are_classified),
	        cmocka_unit_test(discovery_finds_ordinary_tables_once),
	        cmocka_unit_test(only_published_tables_are_discovered),
	        cmocka_unit_test(tables_are_published_as_the_server_says),
	        cmocka_unit_test(whoever_holds_a_table_does_not_hold_up_discovery),
	        cmocka_unit_test(identity_and_order_key_come_from_the_catalogue),
	        cmocka_unit_test(column_lists_leave_columns_out),
	        cmocka_unit_test(row_security_is_told),
	        cmocka_unit_test(a_slot_lives_from_create_to_drop),
	        cmocka_unit_test(a_snapshot_lists_what_is_in_progress),
	};
	int failed = cmocka_run_group_tests_name("source: a real server", tests, NULL, NULL);
	fixture_stop(&f);
	return failed;
}
