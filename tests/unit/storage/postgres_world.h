/*
 * postgres_world.h: one database with the shared layout, on the server of PG_URI, and two nodes that have it open. Checkpoints are set by hand
 * (serve), as a node's watcher does. Without PG_URI the tests skip.
 */
#ifndef TESTS_STORAGE_POSTGRES_WORLD_H
#define TESTS_STORAGE_POSTGRES_WORLD_H

#define _GNU_SOURCE

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "postgres_server.h"
#include "storage/postgres/requests.h"
#include "storage/write_checkpoints.h"

#define RETENTION_MS 3600000

#define UNUSED __attribute__((unused))

struct node {
	struct storage *s;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct buf users; /* "subject/client " of all news */
	int everybody;    /* how often all users were told to look */
};

struct world {
	PGconn *admin, *sql;
	char database[64];
	struct log log;
	struct error err;
	struct node a, b;
};

#define NEEDS_POSTGRES                                                                                                           \
	struct world *w = *state;                                                                                                \
	if (!w->admin)                                                                                                           \
	skip()
#define OK(call)                                                                                                                 \
	do {                                                                                                                     \
		if (!(call))                                                                                                     \
			fail_msg("%s: %s", #call, w->err.message);                                                               \
	} while (0)

static void *open_connection(void *ctx, struct error *err)
{
	struct world *w = ctx;
	const char *keywords[] = {"dbname", "dbname", NULL}, *values[] = {getenv("PG_URI"), w->database, NULL};
	PGconn *pg = PQconnectdbParams(keywords, values, 1);
	if (PQstatus(pg) == CONNECTION_OK)
		return pg;
	error_set(err, "PSYNC_S2404", "%s", PQerrorMessage(pg));
	PQfinish(pg);
	return NULL;
}

/* First column of the first row; NULL or none: "-". */
UNUSED static const char *look(struct world *w, const char *sql)
{
	static char out[256];
	PGresult *r = PQexec(w->sql, sql);
	ExecStatusType status = PQresultStatus(r);
	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		fail_msg("%s: %s", sql, PQerrorMessage(w->sql));
	bool any = status == PGRES_TUPLES_OK && PQntuples(r) && !PQgetisnull(r, 0, 0);
	snprintf(out, sizeof(out), "%s", any ? PQgetvalue(r, 0, 0) : "-");
	PQclear(r);
	return out;
}

static void on_news(void *ctx, const struct storage_news *news)
{
	struct node *n = ctx;
	pthread_mutex_lock(&n->lock);
	n->everybody += news->all_users;
	for (size_t i = 0; i < news->user_count; i++)
		buf_printf(&n->users, "%.*s/%.*s ", SLICE_ARG(news->users[i].subject), SLICE_ARG(news->users[i].client_id));
	pthread_cond_signal(&n->changed);
	pthread_mutex_unlock(&n->lock);
}

static void wait_a_bit(struct node *n)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	if (pthread_cond_timedwait(&n->changed, &n->lock, &until) != 0)
		fail_msg("no news within 20 s");
}

UNUSED static void wait_for_everybody(struct node *n, int times)
{
	pthread_mutex_lock(&n->lock);
	while (n->everybody < times)
		wait_a_bit(n);
	pthread_mutex_unlock(&n->lock);
}

/* Until this user ("subject/client ") was told to look, once or several times; then all are forgotten. */
UNUSED static void wait_for_user(struct node *n, const char *user)
{
	pthread_mutex_lock(&n->lock);
	while (!n->users.n || !memmem(n->users.p, n->users.n, user, strlen(user)))
		wait_a_bit(n);
	buf_clear(&n->users);
	pthread_mutex_unlock(&n->lock);
}

UNUSED static void open_node(struct world *w, struct node *n)
{
	struct storage_options o = {.postgres = {.connect = open_connection, .connect_ctx = w, .max_pool_size = 3},
	                            .request_retention_ms = RETENTION_MS,
	                            .log = &w->log};
	*n = (struct node){.s = NULL};
	pthread_mutex_init(&n->lock, NULL);
	pthread_cond_init(&n->changed, NULL);
	OK(n->s = storage_open_postgres(&o, &w->err));
	storage_subscribe(n->s, on_news, n);
}

UNUSED static void close_node(struct node *n)
{
	storage_subscribe(n->s, NULL, NULL);
	storage_close(n->s);
	buf_free(&n->users);
	pthread_cond_destroy(&n->changed);
	pthread_mutex_destroy(&n->lock);
}

/* What the node's watcher does when it sees a newer checkpoint: serve it, then ask whom it concerns. */
UNUSED static void serve(struct world *w, struct node *n, uint64_t lsn)
{
	struct arena arena = {0};
	struct storage_news news = {.user_count = 0};
	struct checkpoint before = storage_checkpoint(n->s);
	pthread_mutex_lock(&n->s->lock);
	n->s->checkpoint = (struct checkpoint){true, 1, {0, lsn}, 1};
	pthread_mutex_unlock(&n->s->lock);
	news.checkpoint = storage_checkpoint(n->s);
	struct pg_conn *conn = pg_pool_take(pg_store_of(n->s)->pool, &w->err);
	assert_non_null(conn);
	OK(pg_requests_passed(pg_store_of(n->s), conn, before.position, news.checkpoint.position, &arena, &news.users,
	                      &news.user_count, &w->err));
	pg_pool_give(pg_store_of(n->s)->pool, conn);
	storage_tell(n->s, &news);
	arena_free(&arena);
}

UNUSED static struct user_key user(const char *subject, const char *client)
{
	return (struct user_key){slice_cstr(subject), slice_cstr(client)};
}

UNUSED static struct checkpoint_request ask(struct world *w, struct node *n, struct user_key u, uint64_t id, uint64_t head)
{
	struct checkpoint_request r = {.user = u, .id = id};
	OK(storage_request_checkpoints(n->s, &r, 1, head != 0, (struct position){0, head}, &w->err));
	return r;
}

UNUSED static uint64_t acked_at(struct node *n, struct user_key u, uint64_t lsn)
{
	return storage_write_checkpoint(n->s, &u, (struct position){0, lsn});
}

static int make_world(void **state)
{
	char sql[128];
	struct world *w = xcalloc(1, sizeof(*w));
	*state = w;
	if (!getenv("PG_URI") || !*getenv("PG_URI"))
		return 0;
	w->log = (struct log){.level = LOG_ERROR, .fd = 2};
	w->admin = connect_to(NULL);
	snprintf(w->database, sizeof(w->database), "syncline_requests_%d", (int)getpid());
	snprintf(sql, sizeof(sql), "CREATE DATABASE %s TEMPLATE template0 ENCODING 'UTF8'", w->database);
	PQclear(PQexec(w->admin, sql));
	w->sql = connect_to(w->database);
	PQclear(PQexec(w->sql, "SET search_path = powersync"));
	return 0;
}

static int end_world(void **state)
{
	char sql[128];
	struct world *w = *state;
	if (w->admin) {
		PQfinish(w->sql);
		snprintf(sql, sizeof(sql), "DROP DATABASE %s WITH (FORCE)", w->database);
		PQclear(PQexec(w->admin, sql));
		PQfinish(w->admin);
	}
	free(w);
	return 0;
}

UNUSED static int open_nodes(void **state)
{
	struct world *w = *state;
	if (!w->admin)
		return 0;
	open_node(w, &w->a);
	open_node(w, &w->b);
	wait_for_everybody(&w->a, 1); /* it listens */
	wait_for_everybody(&w->b, 1);
	serve(w, &w->a, 100);
	serve(w, &w->b, 100);
	return 0;
}

UNUSED static int close_nodes(void **state)
{
	struct world *w = *state;
	if (!w->admin)
		return 0;
	close_node(&w->a);
	close_node(&w->b);
	look(w, "TRUNCATE syncline_requests, syncline_request_heads, syncline_request_floors, write_checkpoints, sync_rules, "
	        "bucket_data,"
	        " bucket_parameters, syncline_compacted, syncline_checkpoints, custom_write_checkpoints, syncline_custom");
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_nodes, close_nodes)

/* Nodes that listen, to a store without a stream. */
UNUSED static int open_plain(void **state)
{
	struct world *w = *state;
	if (!w->admin)
		return 0;
	open_node(w, &w->a);
	open_node(w, &w->b);
	wait_for_everybody(&w->a, 1);
	wait_for_everybody(&w->b, 1);
	return 0;
}

#define PLAIN(name) cmocka_unit_test_setup_teardown(name, open_plain, close_nodes)

#define NOTES_CONFIG "bucket_definitions:\\n  global:\\n    data:\\n      - SELECT id FROM notes"

/* The stream takes the place of the others: at op id 1, position 100. config: for E''. */
UNUSED static void activate_stream(struct world *w, int stream, const char *config)
{
	char sql[1200];
	snprintf(sql, sizeof(sql),
	         "UPDATE sync_rules SET state = 'STOP'; INSERT INTO sync_rules (id, state, snapshot_done, last_checkpoint,"
	         " last_checkpoint_lsn, slot_name, content, storage_version) VALUES (%d, 'ACTIVE', true, 1, '00000000/00000064', "
	         "'s', E'%s\\n', 2)",
	         stream, config);
	look(w, sql);
}

UNUSED static void wait_for_stream(struct node *n, int stream)
{
	for (int i = 0; i < 2000; i++) {
		if (storage_checkpoint(n->s).plan_id == (uint64_t)stream)
			return;
		usleep(10000);
	}
	fail_msg("stream %d is not seen", stream);
}

#endif
