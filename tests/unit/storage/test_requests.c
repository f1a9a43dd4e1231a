/* Checkpoint requests: checkpoint-requests 2, 3 and 5, by behaviour. The random test is test_requests_model.c. */
#include "storage/requests_fixture.h"

#include <time.h>

static int setup_requests(void **state)
{
	return setup_served(state, "a=1");
}

static uint64_t acked_at(struct fixture *f, struct user_key u, uint64_t lsn)
{
	return storage_write_checkpoint(f->s, &u, (struct position){0, lsn});
}

static void fill(struct fixture *f, uint64_t head)
{
	size_t count;
	struct waiting_heads *w = storage_waiting_heads(f->s, &count, &f->err);
	assert_non_null(w);
	OK(storage_fill_heads(f->s, w, (struct position){0, head}, &f->err));
	waiting_heads_free(w);
}

static size_t pending(struct fixture *f)
{
	int64_t oldest;
	return storage_pending_requests(f->s, &oldest);
}

static void a_request_is_acknowledged_when_its_head_is_passed(void **state)
{
	struct fixture *f = *state;
	struct user_key u = user("u", "c");
	struct checkpoint_request r = ask(f, u, 42, 150);
	assert_int_equal(r.stored_id, 42);
	assert_true(r.pending);
	assert_int_equal(f->news_count, 0);
	assert_int_equal(acked_at(f, u, 149), 0);
	assert_int_equal(acked_at(f, u, 150), 42);
	assert_int_equal(pending(f), 1);
	commit_at(f, 149);
	assert_string_equal(news_users(f), "");
	commit_at(f, 150);
	assert_string_equal(news_users(f), "u/c ");
	assert_int_equal(pending(f), 0);
	forget_news(f);
	commit_at(f, 151);
	assert_string_equal(news_users(f), "");
}

static void a_passed_head_is_acknowledged_by_the_request_itself(void **state)
{
	struct fixture *f = *state;
	struct user_key u = user("u", "c");
	struct checkpoint_request r = ask(f, u, 1, 100);
	assert_false(r.pending);
	assert_string_equal(news_users(f), "u/c ");
	assert_int_equal(f->shown.position.lsn, 100);
	assert_int_equal(f->bucket_count, 0);
	assert_false(f->everything);
	forget_news(f);
	assert_true(r.fresh);
	/* Whoever asks again has not seen that: this once it is to get an event of the source. */
	r = ask(f, u, 1, 200);
	assert_true(r.pending && !r.fresh);
	assert_int_equal(r.stored_id, 1);
	assert_int_equal(f->news_count, 0);
	commit_at(f, 101);
	r = ask(f, u, 1, 200); /* from now on a duplicate is neither pending nor news */
	assert_false(r.pending);
}

static void the_table_of_section_3(void **state)
{
	struct fixture *f = *state;
	struct user_key u = user("u", NULL);
	assert_int_equal(ask(f, u, 5, 200).stored_id, 5);
	assert_int_equal(ask(f, u, 5, 300).stored_id, 5);
	assert_int_equal(acked_at(f, u, 200), 5); /* a retry keeps the head */
	struct checkpoint_request r = ask(f, u, 3, 300);
	assert_int_equal(r.stored_id, 5);
	assert_true(r.pending);
	assert_int_equal(ask(f, u, 0, 300).stored_id, 6);
	assert_int_equal(ask(f, u, 9, 400).stored_id, 9);
	struct user_key v = user("v", NULL);
	assert_int_equal(ask(f, v, 0, 200).stored_id, 1);
	assert_int_equal(ask(f, v, 0, 200).stored_id, 2);
}

static void older_pending_ids_are_acknowledged_before_newer_ones(void **state)
{
	struct fixture *f = *state;
	struct user_key u = user("u", "c");
	ask(f, u, 42, 150);
	ask(f, u, 43, 160);
	assert_int_equal(acked_at(f, u, 155), 42);
	assert_int_equal(acked_at(f, u, 160), 43);
	commit_at(f, 155);
	assert_string_equal(news_users(f), "u/c ");
	forget_news(f);
	commit_at(f, 160);
	assert_string_equal(news_users(f), "u/c ");
	/* A smaller head for a greater supplied id covers the others. */
	ask(f, u, 50, 300);
	ask(f, u, 51, 290);
	assert_int_equal(acked_at(f, u, 290), 51);
	assert_int_equal(pending(f), 1);
}

static void generated_ids_never_lower_a_head(void **state)
{
	struct fixture *f = *state;
	struct user_key u = user("u", NULL);
	assert_int_equal(ask(f, u, 0, 120).stored_id, 1);
	assert_int_equal(ask(f, u, 0, 110).stored_id, 2);
	assert_int_equal(acked_at(f, u, 119), 0);
	assert_int_equal(acked_at(f, u, 120), 2);
}

static void users_are_two_fields(void **state)
{
	struct fixture *f = *state;
	char large[1025];
	memset(large, 'x', 1024);
	large[1024] = '\0';
	char other[1025];
	memcpy(other, large, sizeof(other));
	other[1023] = 'y';
	struct user_key users[] = {
	        user("a", "b/c"), user("a/b", "c"), user("a/b/c", NULL), user("a/b/c", ""), user("", NULL),
	        user("", ""),     user("a", large), user("a", other),    user(large, "a"),  user("\xf0\x9f\x98\x80", "x")};
	size_t n = sizeof(users) / sizeof(*users);
	struct checkpoint_request batch[10];
	for (size_t i = 0; i < n; i++)
		batch[i] = (struct checkpoint_request){.user = users[i], .id = 10 + i};
	OK(storage_request_checkpoints(f->s, batch, n, true, (struct position){0, 100}, &f->err));
	assert_int_equal(f->news_count, 1);
	reopen(f);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(batch[i].stored_id, 10 + i);
		assert_int_equal(acked_at(f, users[i], 100), 10 + i);
	}
}

static void entries_of_one_user_in_a_batch_count_once(void **state)
{
	struct fixture *f = *state;
	struct user_key u = user("u", NULL), v = user("v", NULL), w = user("w", NULL);
	ask(f, v, 10, 90);
	ask(f, w, (uint64_t)INT64_MAX, 90);
	struct checkpoint_request batch[] = {{.user = u, .id = 3},
	                                     {.user = u, .id = 0},
	                                     {.user = u, .id = 7},
	                                     {.user = v, .id = 10},
	                                     {.user = v, .id = 0},
	                                     {.user = v, .id = 4},
	                                     {.user = w, .id = 0},
	                                     {.user = user("x", NULL), .id = 0},
	                                     {.user = user("x", NULL), .id = 0}};
	OK(storage_request_checkpoints(f->s, batch, 9, true, (struct position){0, 150}, &f->err));
	/* A fresh supplied id stands for the generated request beside it. */
	assert_int_equal(batch[0].stored_id, 7);
	assert_int_equal(batch[1].stored_id, 7);
	/* A stale or equal one does not. */
	assert_int_equal(batch[3].stored_id, 11);
	assert_int_equal(batch[4].stored_id, 11);
	assert_int_equal(acked_at(f, v, 149), 10);
	assert_int_equal(acked_at(f, v, 150), 11);
	/* Saturated: answered, its head refreshed, nobody else is disturbed. */
	assert_int_equal(batch[6].stored_id, (uint64_t)INT64_MAX);
	assert_true(batch[6].pending);
	assert_int_equal(acked_at(f, w, 149), 0);
	assert_int_equal(acked_at(f, w, 150), (uint64_t)INT64_MAX);
	assert_int_equal(batch[8].stored_id, 1);
	struct checkpoint_request bad = {.user = u, .id = (uint64_t)INT64_MAX + 1};
	assert_false(storage_request_checkpoints(f->s, &bad, 1, true, (struct position){0, 1}, &f->err));
}

static void at_most_64_are_pending_and_acknowledgements_keep_flowing(void **state)
{
	struct fixture *f = *state;
	struct user_key u = user("u", "c");
	for (uint64_t i = 1; i <= 300; i++)
		ask(f, u, i, 1000 + i * 10);
	assert_int_equal(pending(f), 64);
	assert_int_equal(acked_at(f, u, 1010), 1);
	assert_int_equal(acked_at(f, u, 4000), 300);
	uint64_t last = 0, widest = 0;
	for (uint64_t lsn = 1010; lsn <= 4000; lsn += 10) {
		uint64_t id = acked_at(f, u, lsn);
		assert_true(id >= last && 1000 + id * 10 <= lsn);
		if (id != last) {
			widest = id - last > widest ? id - last : widest;
			last = id;
		}
	}
	assert_true(widest <= 8); /* 300 ids in 64 places */
	/* The index has no more than the record. */
	reopen(f);
	assert_int_equal(pending(f), 64);
}

static void unknown_heads_wait_for_a_head_that_is_read_later(void **state)
{
	struct fixture *f = *state;
	struct user_key u = user("u", "c"), v = user("v", NULL);
	struct checkpoint_request r = ask(f, u, 5, 0);
	assert_true(r.pending);
	assert_int_equal(r.stored_id, 5);
	assert_int_equal(acked_at(f, u, UINT64_MAX), 0);
	assert_int_equal(ask(f, v, 0, 0).stored_id, 1);
	assert_int_equal(pending(f), 2);
	reopen(f);
	f->s->wall_ms = test_clock;
	size_t count;
	struct waiting_heads *w = storage_waiting_heads(f->s, &count, &f->err);
	assert_int_equal(count, 2);
	/* A request that comes now has to wait for the next head. */
	assert_int_equal(ask(f, u, 6, 0).stored_id, 6);
	forget_news(f);
	OK(storage_fill_heads(f->s, w, (struct position){0, 90}, &f->err));
	waiting_heads_free(w);
	assert_int_equal(acked_at(f, u, UINT64_MAX), 0);
	assert_int_equal(acked_at(f, v, 90), 1);
	assert_string_equal(news_users(f), "v ");
	fill(f, 300);
	assert_int_equal(acked_at(f, u, 299), 0);
	assert_int_equal(acked_at(f, u, 300), 6);
	assert_int_equal(pending(f), 1);
	w = storage_waiting_heads(f->s, &count, &f->err);
	assert_int_equal(count, 0);
	waiting_heads_free(w);
}

static void a_retry_with_a_head_or_a_greater_id_ends_the_waiting(void **state)
{
	struct fixture *f = *state;
	struct user_key u = user("u", "c"), v = user("v", "c"), g = user("g", NULL);
	ask(f, u, 5, 0);
	ask(f, u, 5, 120);
	assert_int_equal(acked_at(f, u, 120), 5);
	ask(f, v, 5, 0);
	ask(f, v, 8, 130);
	assert_int_equal(acked_at(f, v, 130), 8);
	/* A generated id never overtakes a waiting one, nor any id a waiting generated one. */
	ask(f, g, 0, 0);
	assert_int_equal(ask(f, g, 0, 140).stored_id, 2);
	assert_int_equal(ask(f, g, 7, 140).stored_id, 7);
	assert_int_equal(acked_at(f, g, UINT64_MAX), 0);
	fill(f, 150);
	assert_int_equal(acked_at(f, g, 149), 0);
	assert_int_equal(acked_at(f, g, 150), 7);
}

static void heads_survive_a_restart_and_news_come_after_it(void **state)
{
	struct fixture *f = *state;
	struct user_key u = user("u", "c");
	ask(f, u, 1, 500);
	reopen(f);
	forget_news(f);
	commit_at(f, 500);
	assert_string_equal(news_users(f), "u/c ");
	assert_int_equal(acked_at(f, u, 500), 1);
}

static void nothing_is_passed_without_a_checkpoint(void **state)
{
	struct fixture *f;
	if (setup(state))
		fail();
	f = *state;
	struct user_key u = user("u", NULL);
	assert_true(ask(f, u, 1, 5).pending);
	assert_int_equal(pending(f), 1);
	commit_at(f, 50);
	assert_true(ask(f, u, 1, 5).pending);
	activate(f, "a=1");
	assert_string_equal(news_users(f), "u ");
	assert_false(ask(f, u, 1, 5).pending);
	teardown(state);
}

static void retention_removes_what_is_old_temporary_and_acknowledged(void **state)
{
	struct fixture *f = *state;
	struct user_key old = user("old", NULL), waiting = user("pending", NULL), legacy = user("legacy", NULL),
	                fresh = user("fresh", NULL), alive = user("alive", NULL), unknown = user("unknown", NULL);
	ask(f, old, 70, 90);
	ask(f, waiting, 1, 900);
	ask(f, legacy, 5, 90);
	ask(f, legacy, 0, 90);
	ask(f, alive, 2, 90);
	ask(f, unknown, 2, 0);
	clock_now += 3600000 / 2 + 1;
	ask(f, fresh, 3, 90);
	OK(storage_touch_requests(f->s, &alive, 1, &f->err));
	clock_now += 3600000 / 2 + 1;
	OK(storage_expire_requests(f->s, &f->err));
	assert_int_equal(acked_at(f, old, 100), 0);
	assert_int_equal(acked_at(f, waiting, 900), 1);
	assert_int_equal(acked_at(f, legacy, 100), 6);
	assert_int_equal(acked_at(f, fresh, 100), 3);
	assert_int_equal(acked_at(f, alive, 100), 2);
	fill(f, 100);
	assert_int_equal(acked_at(f, unknown, 100), 2);
	/* A generated id starts above all that was ever given, a supplied one is what it is. */
	assert_int_equal(ask(f, old, 0, 90).stored_id, 71);
	assert_int_equal(ask(f, user("never seen", NULL), 0, 90).stored_id, 1);
	clock_now += 3600001;
	ask(f, alive, 2, 90);
	clock_now += 3600001;
	OK(storage_expire_requests(f->s, &f->err));
	assert_int_equal(ask(f, alive, 1, 90).stored_id, 1);
	assert_int_equal(ask(f, alive, 0, 90).stored_id, 3);
}

static void a_stale_request_is_a_sign_of_life(void **state)
{
	struct fixture *f = *state;
	struct user_key u = user("u", NULL), legacy = user("l", NULL);
	ask(f, u, 9, 90);
	ask(f, legacy, 0, 90);
	clock_now += 3600000 - 10;
	ask(f, u, 4, 90);
	clock_now += 1000;
	OK(storage_expire_requests(f->s, &f->err));
	assert_int_equal(acked_at(f, u, 100), 9);
	/* A supplied id equal to a generated one makes the record temporary. */
	ask(f, legacy, 1, 90);
	clock_now += 3600001;
	OK(storage_expire_requests(f->s, &f->err));
	assert_int_equal(acked_at(f, legacy, 100), 0);
}

static void many_users_expire_in_steps(void **state)
{
	struct fixture *f = *state;
	enum { N = 2500 };
	struct checkpoint_request *batch = xcalloc(N, sizeof(*batch));
	for (int i = 0; i < N; i++) {
		struct slice subject = arena_printf(&f->arena, "user %d", i);
		batch[i] = (struct checkpoint_request){.user = {subject, {NULL, 0}}, .id = 1};
	}
	OK(storage_request_checkpoints(f->s, batch, N, true, (struct position){0, 90}, &f->err));
	clock_now += 3600001;
	OK(storage_expire_requests(f->s, &f->err));
	for (int i = 0; i < N; i++)
		assert_int_equal(storage_write_checkpoint(f->s, &batch[i].user, (struct position){0, 100}), 0);
	free(batch);
}

static void a_new_era_makes_pending_heads_unknown(void **state)
{
	struct fixture *f = *state;
	struct user_key u = user("u", NULL), done = user("done", NULL);
	bool durable;
	ask(f, u, 5, 900);
	ask(f, done, 3, 90);
	OK(storage_commit(f->s, (struct position){1, 20}, true, &durable, &f->err));
	struct position now = storage_checkpoint(f->s).position;
	assert_int_equal(now.era, 1);
	assert_int_equal(storage_write_checkpoint(f->s, &u, now), 0);
	assert_int_equal(storage_write_checkpoint(f->s, &done, now), 3);
	/* A head that was read from the former source is no head. */
	assert_true(ask(f, done, 4, 1000).pending);
	assert_int_equal(storage_write_checkpoint(f->s, &done, now), 3);
	size_t count;
	struct waiting_heads *w = storage_waiting_heads(f->s, &count, &f->err);
	assert_int_equal(count, 2);
	OK(storage_fill_heads(f->s, w, (struct position){0, 5000}, &f->err)); /* of the old era: ignored */
	OK(storage_fill_heads(f->s, w, (struct position){1, 30}, &f->err));
	waiting_heads_free(w);
	assert_int_equal(storage_write_checkpoint(f->s, &u, (struct position){1, 29}), 0);
	assert_int_equal(storage_write_checkpoint(f->s, &u, (struct position){1, 30}), 5);
}

static void the_oldest_pending_request_has_an_age(void **state)
{
	struct fixture *f = *state;
	int64_t oldest;
	assert_int_equal(storage_pending_requests(f->s, &oldest), 0);
	assert_int_equal(oldest, 0);
	ask(f, user("u", NULL), 1, 900);
	clock_now += 5000;
	ask(f, user("v", NULL), 1, 0);
	assert_int_equal(storage_pending_requests(f->s, &oldest), 2);
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	int64_t age = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000 - oldest;
	assert_true(age >= 5000 && age < 15000);
}

static void passed_index_entries_are_cleaned_up(void **state)
{
	struct fixture *f = *state;
	struct user_key u = user("u", NULL);
	for (uint64_t i = 1; i < 200; i++) {
		ask(f, u, i, 1000 + i);
		commit_at(f, 1000 + i);
	}
	struct requests_txn *t;
	const struct user_key *users;
	size_t count;
	OK(requests_passed(f->s, (struct position){0, 0}, (struct position){9, 0}, &users, &count, &t, &f->arena, &f->err));
	assert_true(count <= 2);
	f->s->backend->ops->requests_abort(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup_requests, teardown)
	        T(a_request_is_acknowledged_when_its_head_is_passed),
	        T(a_passed_head_is_acknowledged_by_the_request_itself),
	        T(the_table_of_section_3),
	        T(older_pending_ids_are_acknowledged_before_newer_ones),
	        T(generated_ids_never_lower_a_head),
	        T(users_are_two_fields),
	        T(entries_of_one_user_in_a_batch_count_once),
	        T(at_most_64_are_pending_and_acknowledgements_keep_flowing),
	        T(unknown_heads_wait_for_a_head_that_is_read_later),
	        T(a_retry_with_a_head_or_a_greater_id_ends_the_waiting),
	        T(heads_survive_a_restart_and_news_come_after_it),
	        cmocka_unit_test(nothing_is_passed_without_a_checkpoint),
	        T(retention_removes_what_is_old_temporary_and_acknowledged),
	        T(a_stale_request_is_a_sign_of_life),
	        T(many_users_expire_in_steps),
	        T(a_new_era_makes_pending_heads_unknown),
	        T(the_oldest_pending_request_has_an_age),
	        T(passed_index_entries_are_cleaned_up),
	};
	return cmocka_run_group_tests_name("requests", tests, NULL, NULL);
}
