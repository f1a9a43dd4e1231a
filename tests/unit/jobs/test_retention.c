/* Retention as the service runs it, over the real store: scenarios 10 and 18 of checkpoint requests. */
#include "storage/fixture.h"

#include "jobs/retention.h"

#define HOUR_MS 3600000 /* the fixture's retention */

static int64_t clock_now;

static int64_t test_clock(void)
{
	return clock_now;
}

struct live {
	struct user_key users[4];
	size_t count;
};

static void live_users(void *ctx, struct arena *arena, struct user_key **users, size_t *count)
{
	struct live *l = ctx;
	*users = arena_array(arena, struct user_key, l->count + 1);
	memcpy(*users, l->users, l->count * sizeof(*l->users));
	*count = l->count;
}

static int setup_retention(void **state)
{
	if (setup(state))
		return -1;
	struct fixture *f = *state;
	clock_now = 1000000000;
	f->s->wall_ms = test_clock;
	activate(f, "a=1");
	commit_at(f, 100);
	return 0;
}

static struct user_key user(const char *client)
{
	return (struct user_key){SLICE("u"), slice_cstr(client)};
}

static uint64_t ask(struct fixture *f, const char *client, uint64_t id, uint64_t head)
{
	struct checkpoint_request r = {.user = user(client), .id = id};
	OK(storage_request_checkpoints(f->s, &r, 1, head != 0, (struct position){0, head}, &f->err));
	return r.stored_id;
}

static uint64_t acknowledged(struct fixture *f, const char *client)
{
	struct user_key u = user(client);
	return storage_write_checkpoint(f->s, &u, storage_checkpoint(f->s).position);
}

/* So long as the service does it: every interval. */
static void pass(struct fixture *f, struct live *live, int64_t ms)
{
	struct retention r = {.storage = f->s, .live_users = live ? live_users : NULL, .ctx = live};
	struct error err = {.code = ""};
	struct log log = {.level = LOG_ERROR, .fd = 2};
	struct maintenance *m = maintenance_start(NULL, 0, &log, &err);
	for (int64_t end = clock_now + ms; clock_now < end;) {
		clock_now += retention_interval_ms(HOUR_MS);
		OK(retention_run(&r, m, &err));
	}
	maintenance_stop(m);
}

static void old_records_go_and_persistent_pending_and_refreshed_ones_stay(void **state)
{
	struct fixture *f = *state;
	ask(f, "old", 5, 90);
	ask(f, "persistent", 0, 90);
	ask(f, "pending", 6, 900);
	ask(f, "headless", 7, 0);
	ask(f, "refreshed", 8, 90);
	pass(f, NULL, HOUR_MS / 2);
	ask(f, "refreshed", 8, 90);
	pass(f, NULL, HOUR_MS / 2 + 360000);
	assert_int_equal(acknowledged(f, "old"), 0);
	assert_int_equal(acknowledged(f, "persistent"), 1);
	assert_int_equal(acknowledged(f, "refreshed"), 8);
	pass(f, NULL, 24 * (int64_t)HOUR_MS);
	assert_int_equal(acknowledged(f, "refreshed"), 0);
	size_t count;
	struct waiting_heads *w = storage_waiting_heads(f->s, &count, &f->err);
	assert_int_equal(count, 1);
	OK(storage_fill_heads(f->s, w, (struct position){0, 900}, &f->err));
	waiting_heads_free(w);
	commit_at(f, 900);
	assert_int_equal(acknowledged(f, "pending"), 6);
	assert_int_equal(acknowledged(f, "headless"), 7);
	pass(f, NULL, 2 * HOUR_MS); /* no longer pending */
	assert_int_equal(acknowledged(f, "pending"), 0);
	assert_int_equal(acknowledged(f, "headless"), 0);
	assert_int_equal(acknowledged(f, "persistent"), 1);
}

static void a_record_with_an_open_stream_stays_however_long(void **state)
{
	struct fixture *f = *state;
	struct live live = {.users = {user("open"), user("never asked")}, .count = 2};
	ask(f, "open", 5, 90);
	ask(f, "closed", 5, 90);
	pass(f, &live, 48 * (int64_t)HOUR_MS);
	assert_int_equal(acknowledged(f, "open"), 5);
	assert_int_equal(acknowledged(f, "closed"), 0);
	live.count = 0; /* it closes: from the last stamp on its time runs */
	pass(f, &live, HOUR_MS / 2 - 360000);
	assert_int_equal(acknowledged(f, "open"), 5);
	pass(f, &live, HOUR_MS);
	assert_int_equal(acknowledged(f, "open"), 0);
}

static void ids_never_go_back_for_a_removed_record(void **state)
{
	struct fixture *f = *state;
	ask(f, "c", 500, 90);
	pass(f, NULL, 2 * HOUR_MS);
	assert_int_equal(acknowledged(f, "c"), 0);
	assert_int_equal(ask(f, "c", 0, 95), 501);
	assert_int_equal(ask(f, "c", 3, 95), 501);
	reopen(f);
	f->s->wall_ms = test_clock;
	assert_int_equal(ask(f, "c", 0, 95), 502);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup_retention, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(old_records_go_and_persistent_pending_and_refreshed_ones_stay),
	        T(a_record_with_an_open_stream_stays_however_long),
	        T(ids_never_go_back_for_a_removed_record),
	};
	return cmocka_run_group_tests_name("retention", tests, NULL, NULL);
}
