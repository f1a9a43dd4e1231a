/* Write checkpoints that come with the data, on the shared layout (checkpoint-requests 7). Without PG_URI the tests skip. */
#include "storage/postgres_world.h"

#include "storage/postgres/custom.h"

#define CONFIG(more)                                                                                                             \
	"event_definitions:\\n  write_checkpoints:\\n    payloads:\\n      - SELECT user_id, checkpoint, client_id FROM "        \
	"checkpoints\\n" NOTES_CONFIG more

static void activate(struct world *w, int stream, const char *config)
{
	activate_stream(w, stream, config);
	wait_for_stream(&w->a, stream);
	wait_for_stream(&w->b, stream);
}

static struct custom_checkpoint made(struct world *w, struct user_key u, uint64_t id, uint64_t lsn)
{
	struct stored_plan *plan = storage_active_plan(w->a.s);
	assert_non_null(plan);
	struct custom_checkpoint c = {.events = plan->events, .user = u, .id = id, .position = {0, lsn}};
	stored_plan_unref(plan);
	return c;
}

/* A transaction of the writer. */
static void write_all(struct world *w, uint64_t applied)
{
	struct pg_store *store = pg_store_of(w->a.s);
	struct pg_conn *conn = pg_pool_take(store->pool, &w->err);
	assert_non_null(conn);
	OK(pg_command(conn, "BEGIN", &w->err));
	OK(pg_custom_write(store->custom, conn, (struct position){0, applied}, &w->err));
	OK(pg_command(conn, "COMMIT", &w->err));
	pg_custom_clear(store->custom);
	pg_pool_give(store->pool, conn);
}

static void put(struct world *w, const struct custom_checkpoint *c)
{
	OK(storage_custom_checkpoint(w->a.s, c, &w->err));
}

static void an_id_shows_with_the_checkpoint_of_its_transaction(void **state)
{
	NEEDS_POSTGRES;
	struct user_key u = user("u", "c");
	activate(w, 1, CONFIG(""));
	assert_true(storage_custom_mode(w->b.s));
	struct checkpoint_request r = {.user = u, .id = 5};
	assert_false(storage_request_checkpoints(w->b.s, &r, 1, true, (struct position){0, 100}, &w->err));
	assert_string_equal(w->err.code, "PSYNC_S2001");
	struct custom_checkpoint c = made(w, u, 50, 150), later = made(w, u, 20, 160);
	c.temporary = true;
	put(w, &c);
	put(w, &later); /* the last one wins, also if it is smaller */
	write_all(w, 100);
	assert_string_equal(
	        look(w, "SELECT user_id || ' ' || sync_rules_id || ' ' || write_checkpoint FROM custom_write_checkpoints"),
	        "u/c 1 20");
	assert_int_equal(acked_at(&w->b, u, 149), 0);
	assert_int_equal(acked_at(&w->b, u, 160), 20);
	look(w, "UPDATE sync_rules SET last_checkpoint_lsn = '00000000/000000A0' WHERE id = 1");
	wait_for_user(&w->b, "u/c ");
	wait_for_user(&w->a, "u/c ");
	/* What the reference wrote has no position. */
	look(w, "INSERT INTO custom_write_checkpoints VALUES ('v/c', 9, 1, NULL)");
	assert_int_equal(acked_at(&w->b, user("v", "c"), 1), 9);
}

static void equal_events_go_on_in_the_next_stream(void **state)
{
	NEEDS_POSTGRES;
	struct user_key u = user("u", "c"), other = user("u", "c/d");
	activate(w, 1, CONFIG(""));
	struct custom_checkpoint c = made(w, u, 50, 100), d = made(w, other, 60, 100);
	put(w, &c);
	put(w, &d);
	write_all(w, 100);
	activate(w, 2, CONFIG(" WHERE true"));
	assert_int_equal(acked_at(&w->b, u, 100), 50);
	assert_int_equal(acked_at(&w->b, other, 100), 60);
	/* A row that is read says nothing against what the stream brought. */
	c = made(w, u, 70, 100);
	c.origin = CUSTOM_SNAPSHOT;
	put(w, &c);
	write_all(w, 100);
	assert_int_equal(acked_at(&w->b, u, 100), 50);
	activate(w, 3, NOTES_CONFIG);
	assert_false(storage_custom_mode(w->b.s));
	assert_int_equal(acked_at(&w->b, u, 100), 0);
}

static void old_temporary_ids_go_unless_their_user_lives(void **state)
{
	NEEDS_POSTGRES;
	struct user_key u = user("u", "c"), v = user("v", "c"), p = user("p", NULL);
	activate(w, 1, CONFIG(""));
	struct custom_checkpoint all[] = {made(w, u, 1, 100), made(w, v, 2, 100), made(w, p, 3, 100)};
	all[0].temporary = all[1].temporary = true;
	for (size_t i = 0; i < 3; i++)
		put(w, &all[i]);
	write_all(w, 100);
	look(w, "UPDATE syncline_custom SET stamped_at = now() - interval '2 hours' WHERE stamped_at IS NOT NULL");
	look(w, "UPDATE custom_write_checkpoints SET checkpoint_requested_at = now() - interval '2 hours'"
	        " WHERE checkpoint_requested_at IS NOT NULL");
	OK(storage_touch_requests(w->b.s, &v, 1, &w->err));
	OK(storage_expire_requests(w->a.s, &w->err));
	assert_int_equal(acked_at(&w->b, u, 100), 0);
	assert_int_equal(acked_at(&w->b, v, 100), 2);
	assert_int_equal(acked_at(&w->b, p, 100), 3);
	assert_string_equal(look(w, "SELECT string_agg(user_id, ' ' ORDER BY user_id) FROM custom_write_checkpoints"), "p v/c");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        PLAIN(an_id_shows_with_the_checkpoint_of_its_transaction),
	        PLAIN(equal_events_go_on_in_the_next_stream),
	        PLAIN(old_temporary_ids_go_unless_their_user_lives),
	};
	return cmocka_run_group_tests_name("postgres custom", tests, make_world, end_world);
}
