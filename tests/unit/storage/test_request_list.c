/* Looking at checkpoint requests: who waits for what, also from beside the process that uses the store. */
#include "storage/requests_fixture.h"

#include "storage/request_list.h"

static int setup_list(void **state)
{
	return setup_served(state, "a=1");
}

static struct user_requests *list(struct fixture *f, struct storage *s, const char *subject, const char *client, size_t limit,
                                  size_t want)
{
	struct request_filter filter = {.subject = slice_cstr(subject), .client_id = slice_cstr(client), .limit = limit};
	struct user_requests *out;
	size_t count;
	bool more;
	OK(storage_list_requests(s, &filter, &f->arena, &out, &count, &more, &f->err));
	assert_int_equal(count, want > limit ? limit : want);
	assert_int_equal(more, want > limit);
	return out;
}

static void a_record_tells_what_waits_and_what_was_acknowledged(void **state)
{
	struct fixture *f = *state;
	struct user_key u = user("u", "c");
	ask(f, u, 3, 90);
	ask(f, u, 5, 150);
	clock_now += 2000;
	ask(f, u, 8, 160);
	ask(f, u, 9, 0);
	struct user_requests *r = list(f, f->s, "u", "c", 10, 1);
	assert_int_equal(r->newest_id, 9);
	assert_int_equal(r->acknowledged_id, 3);
	assert_int_equal(r->acknowledged_head.lsn, 90);
	assert_true(r->temporary && r->stamp_ms == clock_now);
	assert_int_equal(r->pending_count, 3);
	assert_true(r->pending[0].id == 5 && r->pending[0].head_known && r->pending[0].head.lsn == 150);
	assert_int_equal(r->pending[0].since_ms, clock_now - 2000);
	assert_true(r->pending[2].id == 9 && !r->pending[2].head_known && !r->pending[2].generated);
	commit_at(f, 155);
	r = list(f, f->s, "u", "c", 10, 1);
	assert_int_equal(r->acknowledged_id, 5);
	assert_int_equal(r->pending_count, 2);
	struct request_counts counts;
	OK(storage_count_requests(f->s, &counts, &f->err));
	assert_true(counts.pending == 2 && counts.headless == 1);
}

static void filters_take_the_two_fields_as_they_are(void **state)
{
	struct fixture *f = *state;
	char large[901];
	memset(large, 'x', 900);
	large[900] = '\0';
	ask(f, user("a", "b/c"), 1, 200);
	ask(f, user("a/b", "c"), 2, 200);
	ask(f, user("a", NULL), 0, 200);
	ask(f, user("a", ""), 4, 90);
	ask(f, user("a", large), 5, 90);
	list(f, f->s, "a", NULL, 10, 4);
	assert_int_equal(list(f, f->s, "a/b", NULL, 10, 1)->newest_id, 2);
	assert_int_equal(list(f, f->s, NULL, "c", 10, 1)->newest_id, 2);
	assert_int_equal(list(f, f->s, "a", "", 10, 1)->newest_id, 4);
	assert_int_equal(list(f, f->s, "a", large, 10, 1)->newest_id, 5);
	list(f, f->s, "nobody", NULL, 10, 0);
	list(f, f->s, "a", NULL, 3, 4);
	/* Without a filter: who waits. */
	list(f, f->s, NULL, NULL, 10, 3);
	list(f, f->s, NULL, NULL, 2, 3);
}

static void many_records_are_listed_in_steps(void **state)
{
	struct fixture *f = *state;
	enum { N = 2500 };
	struct checkpoint_request *batch = xcalloc(N, sizeof(*batch));
	for (int i = 0; i < N; i++)
		batch[i] = (struct checkpoint_request){.user = {SLICE("u"), arena_printf(&f->arena, "client %d", i)},
		                                       .id = (uint64_t)i + 1};
	OK(storage_request_checkpoints(f->s, batch, N, true, (struct position){0, 150}, &f->err));
	list(f, f->s, "u", NULL, 5000, N);
	list(f, f->s, NULL, NULL, 100, N);
	free(batch);
}

static void a_store_can_be_looked_at_beside_its_process(void **state)
{
	struct fixture *f = *state;
	struct storage_options o = {
	        .path = slice_cstr(f->folder), .map_size = (uint64_t)4 << 30, .request_retention_ms = 1, .log = &f->log};
	ask(f, user("u", "c"), 7, 150);
	assert_null(storage_open_lmdb(&o, &f->err));
	struct storage *s = storage_open_lmdb_readonly(&o, &f->err);
	assert_non_null(s);
	assert_int_equal(storage_checkpoint(s).position.lsn, 100);
	struct user_requests *r = list(f, s, "u", "c", 10, 1);
	assert_true(r->newest_id == 7 && r->pending_count == 1);
	/* What is stored later is seen, too. */
	ask(f, user("v", NULL), 1, 170);
	list(f, s, NULL, NULL, 10, 2);
	assert_true(storage_active_plan_text(s).p != NULL);
	storage_close(s);
	/* The process goes on writing, and may be asked again after it has ended. */
	commit_at(f, 200);
	storage_close(f->s);
	s = storage_open_lmdb_readonly(&o, &f->err);
	assert_non_null(s);
	assert_int_equal(list(f, s, "u", "c", 10, 1)->acknowledged_id, 7);
	storage_close(s);
	open_store(f);
}

static void there_must_be_a_store_to_look_at(void **state)
{
	struct fixture *f = *state;
	struct storage_options o = {.path = SLICE("/nonexistent/syncline"), .log = &f->log};
	assert_null(storage_open_lmdb_readonly(&o, &f->err));
	assert_non_null(strstr(f->err.message, "No such file"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup_list, teardown)
	        T(a_record_tells_what_waits_and_what_was_acknowledged),
	        T(filters_take_the_two_fields_as_they_are),
	        T(many_records_are_listed_in_steps),
	        T(a_store_can_be_looked_at_beside_its_process),
	        T(there_must_be_a_store_to_look_at),
	};
	return cmocka_run_group_tests_name("request list", tests, NULL, NULL);
}
