/*
 * pg_fixture.h: a database of its own on the server of PG_URI, for tests that need a real Postgres.
 *
 * The server must have wal_level=logical. Without PG_URI the tests skip.
 */
#ifndef SYNCLINE_TESTS_PG_FIXTURE_H
#define SYNCLINE_TESTS_PG_FIXTURE_H

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "source/source.h"

struct fixture {
	PGconn *admin, *pg; /* the server's own database; ours */
	char database[64];
	struct source_config config;
	struct log log;
	struct source *source;
	struct arena arena;
	PQconninfoOption *options;
};

static inline void fixture_sql_on(PGconn *pg, const char *sql)
{
	PGresult *r = PQexec(pg, sql);
	ExecStatusType status = PQresultStatus(r);
	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
		fprintf(stderr, "%s\n%s\n", sql, PQerrorMessage(pg));
		exit(1);
	}
	PQclear(r);
}

static inline void fixture_sql(struct fixture *f, const char *sql)
{
	fixture_sql_on(f->pg, sql);
}

/* First column of the first row; static, until the next call. */
static inline const char *fixture_value(struct fixture *f, const char *sql)
{
	static char text[1 << 20];
	PGresult *r = PQexec(f->pg, sql);
	if (PQresultStatus(r) != PGRES_TUPLES_OK) {
		fprintf(stderr, "%s\n%s\n", sql, PQerrorMessage(f->pg));
		exit(1);
	}
	snprintf(text, sizeof(text), "%s", PQntuples(r) ? PQgetvalue(r, 0, 0) : "");
	PQclear(r);
	return text;
}

static inline PGconn *fixture_connect(const char *uri, const char *database)
{
	const char *keywords[] = {"dbname", "dbname", NULL}, *values[] = {uri, database, NULL};
	PGconn *pg = PQconnectdbParams(keywords, values, 1);
	if (PQstatus(pg) != CONNECTION_OK) {
		fprintf(stderr, "PG_URI: %s\n", PQerrorMessage(pg));
		exit(1);
	}
	fixture_sql_on(pg, "SET client_min_messages = warning");
	return pg;
}

static inline const char *fixture_option(struct fixture *f, const char *keyword, const char *otherwise)
{
	for (PQconninfoOption *o = f->options; o && o->keyword; o++)
		if (strcmp(o->keyword, keyword) == 0 && o->val && *o->val)
			return o->val;
	return otherwise;
}

static inline void fixture_stop(struct fixture *f);

/* The fixture to be cleaned up when a test ends the process. */
static struct fixture *fixture_current;

static inline void fixture_at_exit(void)
{
	if (fixture_current)
		fixture_stop(fixture_current);
}

/* False without PG_URI. */
static inline bool fixture_start(struct fixture *f, const char *name)
{
	const char *uri = getenv("PG_URI");
	*f = (struct fixture){0};
	if (!uri || !*uri)
		return false;
	char sql[256], *ignored = NULL;
	f->options = PQconninfoParse(uri, &ignored);
	f->admin = fixture_connect(uri, NULL);
	snprintf(f->database, sizeof(f->database), "syncline_%s_%d", name, (int)getpid());
	snprintf(sql, sizeof(sql), "CREATE DATABASE %s TEMPLATE template0 ENCODING 'UTF8'", f->database);
	fixture_sql_on(f->admin, sql);
	f->pg = fixture_connect(uri, f->database);
	f->log = (struct log){.level = LOG_ERROR, .fd = 2};
	f->config = (struct source_config){.type = "postgresql",
	                                   .id = "default",
	                                   .tag = "default",
	                                   .hostname = fixture_option(f, "host", "127.0.0.1"),
	                                   .username = fixture_option(f, "user", "postgres"),
	                                   .password = fixture_option(f, "password", "postgres"),
	                                   .database = f->database,
	                                   .port = atoi(fixture_option(f, "port", "5432")),
	                                   .sslmode = SSLMODE_DISABLE,
	                                   .slot_name_prefix = "powersync_",
	                                   .connect_timeout_s = 20,
	                                   .snapshot_socket_timeout_s = 30,
	                                   .heartbeat_interval_s = 60};
	f->source = source_new(&f->config, &f->log);
	fixture_current = f;
	atexit(fixture_at_exit);
	return true;
}

static inline void fixture_stop(struct fixture *f)
{
	if (fixture_current != f)
		return;
	fixture_current = NULL;
	char sql[256];
	source_free(f->source);
	PQfinish(f->pg);
	/* A slot stays active for a moment after its reader is gone. */
	for (int tries = 0; tries < 100; tries++) {
		snprintf(sql, sizeof(sql),
		         "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = '%s' AND active",
		         f->database);
		fixture_sql_on(f->admin, sql);
		snprintf(sql, sizeof(sql),
		         "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '%s' AND NOT "
		         "active",
		         f->database);
		fixture_sql_on(f->admin, sql);
		snprintf(sql, sizeof(sql), "SELECT 1 FROM pg_replication_slots WHERE database = '%s'", f->database);
		PGresult *r = PQexec(f->admin, sql);
		int left = PQntuples(r);
		PQclear(r);
		if (!left)
			break;
		usleep(50000);
	}
	snprintf(sql, sizeof(sql), "DROP DATABASE IF EXISTS %s WITH (FORCE)", f->database);
	fixture_sql_on(f->admin, sql);
	PQfinish(f->admin);
	PQconninfoFree(f->options);
	arena_free(&f->arena);
}

#endif
