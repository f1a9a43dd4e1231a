/* The pool of connections to a storage database. Without PG_URI the tests skip. */
#include "storage/postgres_world.h"

#include "storage/postgres/pool.h"

struct waiter {
	struct pg_pool *pool;
	struct error err;
	pthread_t thread;
	int pid;
};

static void *take_and_give(void *arg)
{
	struct waiter *t = arg;
	struct pg_conn *c = pg_pool_take(t->pool, &t->err);
	t->pid = c ? PQbackendPID(c->pg) : 0;
	pg_pool_give(t->pool, c);
	return NULL;
}

static struct pg_pool *pool_of(struct world *w, struct storage_postgres *options, unsigned max)
{
	*options = (struct storage_postgres){.connect = open_connection, .connect_ctx = w};
	return pg_pool_new(options, max);
}

static void who_finds_no_connection_waits_for_one(void **state)
{
	NEEDS_POSTGRES;
	struct storage_postgres options;
	struct waiter waiters[5];
	struct pg_pool *pool = pool_of(w, &options, 1);
	struct pg_conn *only = pg_pool_take(pool, &w->err);
	OK(only != NULL);
	int pid = PQbackendPID(only->pg);
	for (size_t i = 0; i < 5; i++) {
		waiters[i] = (struct waiter){.pool = pool};
		assert_int_equal(pthread_create(&waiters[i].thread, NULL, take_and_give, &waiters[i]), 0);
	}
	pg_pool_give(pool, only);
	for (size_t i = 0; i < 5; i++) {
		pthread_join(waiters[i].thread, NULL);
		assert_int_equal(waiters[i].pid, pid);
	}
	pg_pool_free(pool);
}

/* When the server was restarted, all of them are gone: the first that fails takes the others with it, and a statement is tried again. */
static void a_broken_connection_takes_the_others_with_it(void **state)
{
	NEEDS_POSTGRES;
	struct storage_postgres options;
	struct pg_pool *pool = pool_of(w, &options, 3);
	struct pg_conn *all[3];
	for (size_t i = 0; i < 3; i++)
		OK((all[i] = pg_pool_take(pool, &w->err)) != NULL);
	for (size_t i = 0; i < 3; i++)
		pg_pool_give(pool, all[i]);
	look(w, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database()"
	        " AND pid <> pg_backend_pid()");
	for (int i = 0; i < 4; i++) {
		PGresult *r = pg_pool_query(pool, "SELECT 1", &(struct pg_values){.count = 0}, &w->err);
		OK(r != NULL);
		PQclear(r);
	}
	pg_pool_free(pool);
}

static void a_connection_in_a_transaction_is_not_given_to_others(void **state)
{
	NEEDS_POSTGRES;
	struct storage_postgres options;
	struct pg_pool *pool = pool_of(w, &options, 1);
	struct pg_conn *c = pg_pool_take(pool, &w->err);
	int pid = PQbackendPID(c->pg);
	OK(pg_command(c, "BEGIN", &w->err));
	pg_pool_give(pool, c);
	c = pg_pool_take(pool, &w->err);
	assert_int_not_equal(PQbackendPID(c->pg), pid);
	pg_pool_give(pool, c);
	pg_pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(who_finds_no_connection_waits_for_one),
	        cmocka_unit_test(a_broken_connection_takes_the_others_with_it),
	        cmocka_unit_test(a_connection_in_a_transaction_is_not_given_to_others),
	};
	return cmocka_run_group_tests_name("postgres pool", tests, make_world, end_world);
}
