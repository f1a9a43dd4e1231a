/* Checkpoint requests on the shared layout, with two nodes on one database (checkpoint-requests 3 to 5). Without PG_URI the tests skip. */
#include "storage/postgres_world.h"

static size_t pending(struct world *w, struct node *n)
{
	struct request_counts c;
	OK(storage_count_requests(n->s, &c, &w->err));
	return c.pending;
}

/* ---- one node ---- */

static void the_record_is_the_one_of_the_reference(void **state)
{
	NEEDS_POSTGRES;
	struct user_key u = user("u", "c");
	struct checkpoint_request r = ask(w, &w->a, u, 42, 150);
	assert_true(r.pending && r.fresh);
	assert_int_equal(r.stored_id, 42);
	assert_string_equal(look(w, "SELECT user_id || ' ' || lsns::text || ' ' || write_checkpoint || ' ' ||"
	                            " (checkpoint_requested_at > now() - interval '1 minute') FROM write_checkpoints"),
	                    "u/c {\"1\": \"00000000/00000096\"} 42 true");
	assert_int_equal(acked_at(&w->a, u, 149), 0);
	assert_int_equal(acked_at(&w->a, u, 150), 42);
	assert_int_equal(ask(w, &w->a, user("legacy", NULL), 0, 150).stored_id, 1);
	assert_string_equal(look(w, "SELECT checkpoint_requested_at FROM write_checkpoints WHERE user_id = 'legacy'"), "-");
	assert_int_equal(ask(w, &w->a, user("legacy", NULL), 0, 160).stored_id, 2);
	assert_int_equal(pending(w, &w->a), 3);
}

/* Other nodes hear of a head soon after it was stored. */
static void hears_of(struct node *n, uint64_t head)
{
	for (int i = 0; !storage_position_acknowledges(n->s, (struct position){0, head}); i++) {
		assert_true(i < 2000);
		usleep(10000);
	}
}

static void each_pending_id_is_acknowledged_at_its_own_head(void **state)
{
	NEEDS_POSTGRES;
	struct user_key u = user("u", "c");
	ask(w, &w->a, u, 42, 150);
	ask(w, &w->b, u, 43, 200);
	assert_int_equal(acked_at(&w->b, u, 149), 0);
	assert_int_equal(acked_at(&w->b, u, 199), 42);
	assert_int_equal(acked_at(&w->a, u, 200), 43);
	assert_int_equal(ask(w, &w->b, u, 43, 300).stored_id, 43); /* a retry keeps the head */
	assert_int_equal(ask(w, &w->b, u, 7, 300).stored_id, 43);
	assert_int_equal(acked_at(&w->a, u, 200), 43);
	serve(w, &w->a, 150);
	wait_for_user(&w->a, "u/c ");
	hears_of(&w->a, 200);
	assert_false(storage_position_acknowledges(w->a.s, (struct position){0, 199}));
	assert_int_equal(pending(w, &w->a), 1);
}

/* Joined by a slash they are the same text; the one that SDKs make has the record of the reference, others have one of their own. */
static void users_whose_texts_are_equal_are_told_apart(void **state)
{
	NEEDS_POSTGRES;
	struct user_key sdk = user("a/b", "c"), attacker = user("a", "b/c"), bare = user("a/b/c", NULL);
	ask(w, &w->a, sdk, 5, 150);
	ask(w, &w->a, attacker, 900, 100);
	assert_int_equal(ask(w, &w->a, bare, 0, 110).stored_id, 1);
	assert_int_equal(acked_at(&w->b, sdk, 149), 0);
	assert_int_equal(acked_at(&w->b, sdk, 150), 5);
	assert_int_equal(acked_at(&w->b, attacker, 150), 900);
	assert_int_equal(acked_at(&w->b, bare, 150), 1);
	assert_string_equal(look(w, "SELECT string_agg(user_id || ' ' || write_checkpoint, ',') FROM write_checkpoints"),
	                    "a/b/c 5");
	/* Also what a program that knows no better wrote moves only the one. */
	look(w, "UPDATE write_checkpoints SET write_checkpoint = 6, lsns = '{\"1\": \"00000000/000000A0\"}'");
	assert_int_equal(acked_at(&w->b, sdk, 160), 6);
	assert_int_equal(acked_at(&w->b, attacker, 160), 900);
	/* An empty client id is none of no client id; and what is too long for an index has a record, too. */
	char *large = xcalloc(1, 9001);
	memset(large, 'x', 9000);
	ask(w, &w->a, user("e", ""), 3, 100);
	ask(w, &w->a, user(large, "c"), 4, 100);
	assert_int_equal(acked_at(&w->b, user("e", NULL), 200), 0);
	assert_int_equal(acked_at(&w->b, user("e", ""), 200), 3);
	assert_int_equal(acked_at(&w->b, user(large, "c"), 200), 4);
	free(large);
}

static void a_batch_of_many_users(void **state)
{
	NEEDS_POSTGRES;
	enum { N = 3000 };
	struct checkpoint_request *r = xcalloc(N, sizeof(*r));
	char(*names)[16] = xcalloc(N, sizeof(*names));
	for (int round = 1; round <= 2; round++) {
		for (int i = 0; i < N; i++) {
			snprintf(names[i], sizeof(names[i]), "u%d", i * 7919 % N);
			r[i] = (struct checkpoint_request){.user = user(names[i], "c"), .id = (uint64_t)round * 10};
		}
		OK(storage_request_checkpoints(w->a.s, r, N, true, (struct position){0, 140 + (uint64_t)round}, &w->err));
		for (int i = 0; i < N; i++)
			assert_int_equal(r[i].stored_id, round * 10);
	}
	assert_int_equal(pending(w, &w->b), 2 * N);
	assert_int_equal(acked_at(&w->b, user("u17", "c"), 141), 10);
	free(names);
	free(r);
}

/* ---- several nodes ---- */

static void a_request_through_one_node_wakes_streams_of_the_other(void **state)
{
	NEEDS_POSTGRES;
	ask(w, &w->a, user("u", "c"), 1, 150);
	/* The other node hears of the head some time; when it was quicker to see the checkpoint, the notification tells it. */
	serve(w, &w->b, 150);
	wait_for_user(&w->b, "u/c ");
	/* Passed already when it is stored: nobody makes a checkpoint for it. */
	serve(w, &w->a, 150);
	wait_for_user(&w->a, "u/c ");
	assert_false(ask(w, &w->a, user("v", "c"), 1, 150).pending);
	wait_for_user(&w->a, "v/c ");
	wait_for_user(&w->b, "v/c ");
}

static void after_a_cut_connection_everybody_looks_again(void **state)
{
	NEEDS_POSTGRES;
	look(w, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database()"
	        " AND pid <> pg_backend_pid()");
	ask(w, &w->a, user("u", "c"), 1, 150);
	ask(w, &w->a, user("v", "c"), 1, 100); /* nobody hears of this one */
	wait_for_everybody(&w->b, 2);
	assert_int_equal(acked_at(&w->b, user("v", "c"), 100), 1);
	/* And the heads that are not passed are known again. */
	hears_of(&w->b, 150);
	serve(w, &w->b, 150);
	wait_for_user(&w->b, "u/c ");
}

struct racer {
	struct world *w;
	struct node *n;
};

static void *ask_often(void *ctx)
{
	struct racer *r = ctx;
	for (int i = 0; i < 40; i++) {
		struct checkpoint_request q[2] = {{.user = user("legacy", NULL)}, {.user = user("other", NULL)}};
		if (!storage_request_checkpoints(r->n->s, q, 2, true, (struct position){0, 200}, &r->w->err))
			return r;
	}
	return NULL;
}

static void no_id_is_given_twice_by_two_nodes(void **state)
{
	NEEDS_POSTGRES;
	struct racer racers[] = {{w, &w->a}, {w, &w->b}};
	pthread_t threads[2];
	void *failed;
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask_often, &racers[i]), 0);
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], &failed);
		if (failed)
			fail_msg("%s", w->err.message);
	}
	assert_int_equal(ask(w, &w->a, user("legacy", NULL), 0, 200).stored_id, 81);
	assert_int_equal(ask(w, &w->b, user("other", NULL), 0, 200).stored_id, 81);
}

/* ---- unknown heads ---- */

static void a_request_without_a_head_waits_in_the_side_table(void **state)
{
	NEEDS_POSTGRES;
	size_t count;
	struct user_key u = user("u", "c");
	ask(w, &w->a, u, 41, 120);
	struct waiting_heads *none = storage_waiting_heads(w->b.s, &count, &w->err); /* forgets that it started */
	waiting_heads_free(none);
	assert_int_equal(ask(w, &w->a, u, 42, 0).stored_id, 42);
	assert_string_equal(look(w, "SELECT write_checkpoint FROM write_checkpoints"), "41");
	for (int i = 0; !storage_heads_wait(w->b.s) && i < 2000; i++)
		usleep(10000);
	struct waiting_heads *waiting = storage_waiting_heads(w->b.s, &count, &w->err);
	assert_int_equal(count, 1);
	assert_int_equal(ask(w, &w->a, user("late", NULL), 1, 0).stored_id, 1); /* after the list was made */
	OK(storage_fill_heads(w->b.s, waiting, (struct position){0, 160}, &w->err));
	waiting_heads_free(waiting);
	assert_int_equal(acked_at(&w->a, u, 159), 41);
	assert_int_equal(acked_at(&w->a, u, 160), 42);
	assert_int_equal(acked_at(&w->a, user("late", NULL), 900), 0);
	struct request_counts c;
	OK(storage_count_requests(w->a.s, &c, &w->err));
	assert_int_equal(c.headless, 1);
	assert_string_equal(look(w, "SELECT write_checkpoint FROM write_checkpoints"), "42");
}

/* ---- the reference in turn ---- */

static void what_the_reference_left_pending_is_acknowledged(void **state)
{
	NEEDS_POSTGRES;
	struct user_key u = user("u", "c");
	close_node(&w->b);
	look(w, "INSERT INTO write_checkpoints VALUES ('u/c', '{\"1\": \"00000000/000000C8\"}', 42, now())");
	open_node(w, &w->b);
	wait_for_everybody(&w->b, 1);
	serve(w, &w->b, 100);
	assert_int_equal(pending(w, &w->b), 1);
	assert_int_equal(acked_at(&w->b, u, 199), 0);
	assert_int_equal(acked_at(&w->b, u, 200), 42);
	serve(w, &w->b, 200);
	wait_for_user(&w->b, "u/c ");
	assert_int_equal(ask(w, &w->b, u, 1, 300).stored_id, 42);
	/* It removed the record, and another one came: what was given before is not shown before the new head. */
	look(w, "UPDATE write_checkpoints SET write_checkpoint = 3, lsns = '{\"1\": \"00000000/0000012C\"}'");
	assert_int_equal(acked_at(&w->b, u, 299), 0);
	assert_int_equal(acked_at(&w->b, u, 300), 42);
}

/* ---- retention ---- */

#define AGE "now() - interval '2 hours'"

static void retention_removes_what_is_old_temporary_and_acknowledged(void **state)
{
	NEEDS_POSTGRES;
	ask(w, &w->a, user("old", "c"), 7, 90);
	ask(w, &w->a, user("pending", "c"), 7, 500);
	ask(w, &w->a, user("lives", "c"), 7, 90);
	ask(w, &w->a, user("legacy", NULL), 0, 90);
	ask(w, &w->a, user("x", "y/z"), 7, 90); /* in the side table only */
	ask(w, &w->a, user("waits", "c"), 7, 0);
	look(w, "UPDATE write_checkpoints SET checkpoint_requested_at = " AGE " WHERE checkpoint_requested_at IS NOT NULL");
	look(w, "UPDATE syncline_requests SET stamped_at = " AGE " WHERE stamped_at IS NOT NULL");
	look(w, "INSERT INTO write_checkpoints VALUES ('reference/c', '{\"1\": \"00000000/00000010\"}', 9, " AGE ")");
	struct user_key living[] = {user("lives", "c")};
	OK(storage_touch_requests(w->b.s, living, 1, &w->err));
	OK(storage_expire_requests(w->a.s, &w->err));
	assert_string_equal(look(w, "SELECT string_agg(user_id, ' ' ORDER BY user_id) FROM write_checkpoints"),
	                    "legacy lives/c pending/c");
	assert_string_equal(look(w, "SELECT count(*) FROM syncline_requests"), "4");
	assert_string_equal(look(w, "SELECT count(*) FROM syncline_request_floors"), "3");
	/* Generated ids begin above those that were given once, supplied ones are taken as they are. */
	assert_int_equal(ask(w, &w->b, user("old", "c"), 0, 200).stored_id, 8);
	assert_int_equal(ask(w, &w->b, user("reference", "c"), 2, 200).stored_id, 2);
	assert_int_equal(ask(w, &w->b, user("reference", "c"), 0, 200).stored_id, 10);
	assert_string_equal(look(w, "SELECT count(*) FROM syncline_request_floors"), "1");
}

static void many_expire_in_steps(void **state)
{
	NEEDS_POSTGRES;
	look(w, "INSERT INTO write_checkpoints SELECT 'u' || i, '{\"1\": \"00000000/00000010\"}', i, " AGE
	        " FROM generate_series(1, 2300) i");
	ask(w, &w->a, user("u1", NULL), 5000, 900);
	look(w, "UPDATE write_checkpoints SET checkpoint_requested_at = " AGE);
	OK(storage_expire_requests(w->a.s, &w->err));
	assert_string_equal(look(w, "SELECT string_agg(user_id, ' ') FROM write_checkpoints"), "u1");
	assert_int_equal(ask(w, &w->b, user("u2300", NULL), 0, 200).stored_id, 2301);
}

/* ---- lists ---- */

static size_t list(struct world *w, struct node *n, const char *subject, const char *client, struct arena *arena,
                   struct user_requests **out)
{
	struct request_filter filter = {slice_cstr(subject), slice_cstr(client), 100};
	size_t count;
	bool more;
	OK(storage_list_requests(n->s, &filter, arena, out, &count, &more, &w->err));
	assert_false(more);
	return count;
}

static void lists_show_who_waits_and_what_is_known(void **state)
{
	NEEDS_POSTGRES;
	struct arena arena = {0};
	struct user_requests *l;
	ask(w, &w->a, user("u", "c1"), 5, 300);
	ask(w, &w->a, user("v", "c"), 6, 200);
	ask(w, &w->a, user("u", "c2"), 7, 0);
	ask(w, &w->a, user("done", "c"), 8, 100);
	look(w, "INSERT INTO write_checkpoints VALUES ('u/reference', '{\"1\": \"00000000/00000010\"}', 9, NULL)");
	assert_int_equal(list(w, &w->b, NULL, NULL, &arena, &l), 3);
	assert_true(slice_eq(l[0].user.subject, SLICE("v")) && l[0].pending[0].head.lsn == 200);
	assert_true(slice_eq(l[1].user.client_id, SLICE("c1")));
	assert_true(slice_eq(l[2].user.client_id, SLICE("c2")) && !l[2].pending[0].head_known);
	assert_int_equal(list(w, &w->b, "u", NULL, &arena, &l), 3);
	assert_int_equal(list(w, &w->b, NULL, "reference", &arena, &l), 1);
	assert_true(l[0].acknowledged_id == 9 && !l[0].temporary);
	assert_int_equal(list(w, &w->b, "done", "c", &arena, &l), 1);
	assert_true(l[0].acknowledged_id == 8 && l[0].temporary && l[0].pending_count == 0);
	arena_free(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(the_record_is_the_one_of_the_reference),
	        TEST(each_pending_id_is_acknowledged_at_its_own_head),
	        TEST(users_whose_texts_are_equal_are_told_apart),
	        TEST(a_batch_of_many_users),
	        TEST(a_request_through_one_node_wakes_streams_of_the_other),
	        TEST(after_a_cut_connection_everybody_looks_again),
	        TEST(no_id_is_given_twice_by_two_nodes),
	        TEST(a_request_without_a_head_waits_in_the_side_table),
	        TEST(what_the_reference_left_pending_is_acknowledged),
	        TEST(retention_removes_what_is_old_temporary_and_acknowledged),
	        TEST(many_expire_in_steps),
	        TEST(lists_show_who_waits_and_what_is_known),
	};
	return cmocka_run_group_tests_name("postgres requests", tests, make_world, end_world);
}
