/* Checkpoints that another process makes are followed, whatever happens to connections. Without PG_URI the tests skip. */
#include "storage/postgres_world.h"

static void commit(struct world *w, int stream, uint64_t op_id, uint64_t lsn, bool notify)
{
	char sql[400];
	snprintf(sql, sizeof(sql),
	         "UPDATE sync_rules SET last_checkpoint = %llu, last_checkpoint_lsn = '00000000/%08llX' WHERE id = %d;"
	         "SELECT %s",
	         (unsigned long long)op_id, (unsigned long long)lsn, stream,
	         notify ? "pg_notify('powersynccheckpoints', '{}')" : "1");
	look(w, sql);
}

/* Waits until the node is at the op id; what it shows on the way never goes back. */
static void follows(struct world *w, struct node *n, uint64_t plan, uint64_t op_id, uint64_t lsn)
{
	struct checkpoint last = {.valid = false};
	struct checkpoint c;
	(void)w;
	for (int i = 0; i < 2000; i++) {
		c = storage_checkpoint(n->s);
		assert_true(c.plan_id != last.plan_id || c.op_id >= last.op_id);
		last = c;
		if (c.valid && c.plan_id == plan && c.op_id == op_id && c.position.lsn == lsn)
			return;
		usleep(10000);
	}
	fail_msg("the node is at %llu of plan %llu", (unsigned long long)c.op_id, (unsigned long long)c.plan_id);
}

static void checkpoints_are_followed(void **state)
{
	NEEDS_POSTGRES;
	assert_false(storage_checkpoint(w->a.s).valid);
	activate_stream(w, 1, NOTES_CONFIG);
	follows(w, &w->a, 1, 1, 100);
	follows(w, &w->b, 1, 1, 100);
	struct stored_plan *plan = storage_active_plan(w->a.s);
	assert_non_null(plan);
	assert_int_equal(plan->id, 1);
	stored_plan_unref(plan);
	for (uint64_t i = 2; i < 30; i++)
		commit(w, 1, i, 100 + i, true);
	follows(w, &w->b, 1, 29, 129);
	commit(w, 1, 40, 140, false); /* the notification got lost */
	follows(w, &w->a, 1, 40, 140);
	/* Another stream becomes active, at a smaller position. */
	activate_stream(w, 2, NOTES_CONFIG);
	follows(w, &w->a, 2, 1, 100);
}

static void requests_are_told_with_the_checkpoint_that_passes_them(void **state)
{
	NEEDS_POSTGRES;
	activate_stream(w, 1, NOTES_CONFIG);
	follows(w, &w->a, 1, 1, 100);
	follows(w, &w->b, 1, 1, 100);
	assert_true(ask(w, &w->a, user("u", "c"), 1, 150).pending);
	commit(w, 1, 1, 149, true);
	commit(w, 1, 1, 150, true);
	wait_for_user(&w->b, "u/c ");
	wait_for_user(&w->a, "u/c ");
	assert_int_equal(storage_checkpoint(w->b.s).position.lsn, 150);
}

static void cut_connections_cost_a_moment(void **state)
{
	NEEDS_POSTGRES;
	activate_stream(w, 1, NOTES_CONFIG);
	for (uint64_t i = 2; i < 8; i++) {
		look(w, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database()"
		        " AND pid <> pg_backend_pid()");
		ask(w, &w->b, user("u", "c"), i, 100 + i);
		commit(w, 1, i, 100 + i, true);
		follows(w, &w->a, 1, i, 100 + i);
		follows(w, &w->b, 1, i, 100 + i);
		assert_int_equal(acked_at(&w->a, user("u", "c"), 100 + i), i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        PLAIN(checkpoints_are_followed),
	        PLAIN(requests_are_told_with_the_checkpoint_that_passes_them),
	        PLAIN(cut_connections_cost_a_moment),
	};
	return cmocka_run_group_tests_name("postgres watch", tests, make_world, end_world);
}
