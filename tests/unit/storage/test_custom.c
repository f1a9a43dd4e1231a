/* Write checkpoints that come with the data: checkpoint-requests 7, and 5 for what is temporary. */
#include "storage/requests_fixture.h"

#define EVENTS "a=1\n!write_checkpoints=one"
#define OTHER_EVENTS "a=1\n!write_checkpoints=two"

static int setup_custom(void **state)
{
	return setup_served(state, EVENTS);
}

static uint64_t events_of(struct stored_plan *p)
{
	uint64_t events = p ? p->events : 0;
	stored_plan_unref(p);
	return events;
}

static void bring(struct fixture *f, struct custom_checkpoint c)
{
	if (!c.events)
		c.events = events_of(storage_active_plan(f->s));
	OK(storage_custom_checkpoint(f->s, &c, &f->err));
}

static void stream(struct fixture *f, struct user_key u, uint64_t id, uint64_t lsn)
{
	bring(f, (struct custom_checkpoint){.user = u, .id = id, .position = {0, lsn}});
}

static void stamp(struct fixture *f, struct user_key u, uint64_t id, uint64_t lsn)
{
	bring(f, (struct custom_checkpoint){.user = u, .id = id, .temporary = true, .position = {0, lsn}});
}

static uint64_t acked(struct fixture *f, struct user_key u)
{
	return storage_write_checkpoint(f->s, &u, storage_checkpoint(f->s).position);
}

static void reopen_custom(struct fixture *f)
{
	storage_close(f->s);
	open_store(f);
	f->s->wall_ms = test_clock;
	struct slice text = storage_active_plan_text(f->s);
	struct plan *p = make_plan(arena_cstr(&f->arena, text));
	OK(storage_attach_active(f->s, p, &f->err));
	bool unchanged;
	OK(storage_deploy(f->s, p, &unchanged, &f->err));
	assert_true(unchanged);
	plan_unref(p);
}

static void an_id_shows_with_the_checkpoint_of_its_transaction(void **state)
{
	struct fixture *f = *state;
	struct user_key u = user("u", "c");
	stream(f, u, 5, 150);
	assert_int_equal(acked(f, u), 0);
	OK(storage_flush(f->s, &f->err));
	assert_int_equal(acked(f, u), 0);
	commit_at(f, 150);
	assert_int_equal(acked(f, u), 5);
	assert_string_equal(news_users(f), "u/c ");
	stream(f, u, 3, 160); /* the last one wins, also if it is smaller */
	OK(storage_flush(f->s, &f->err));
	assert_int_equal(acked(f, u), 5);
	commit_at(f, 170);
	assert_int_equal(acked(f, u), 3);
}

static void users_and_clients_are_apart(void **state)
{
	struct fixture *f = *state;
	struct user_key alone = user("u", NULL), empty = user("u", ""), one = user("u", "1"), two = user("u", "2");
	struct user_key joined = user("u/1", NULL);
	stream(f, alone, 1, 110);
	stream(f, one, 2, 110);
	stream(f, two, 3, 110);
	commit_at(f, 110);
	assert_int_equal(acked(f, alone), 1);
	assert_int_equal(acked(f, empty), 0);
	assert_int_equal(acked(f, one), 2);
	assert_int_equal(acked(f, two), 3);
	assert_int_equal(acked(f, joined), 0);
	assert_string_equal(news_users(f), "u u/1 u/2 ");
	char *longer = xmalloc(2001);
	memset(longer, 'x', 2000);
	longer[2000] = '\0';
	stream(f, user(longer, "1"), 9, 120);
	commit_at(f, 120);
	assert_int_equal(acked(f, user(longer, "1")), 9);
	assert_int_equal(acked(f, user(longer, "2")), 0);
	free(longer);
}

static void half_a_transaction_does_not_show_after_a_crash(void **state)
{
	struct fixture *f = *state;
	struct user_key u = user("u", NULL);
	stream(f, u, 5, 150);
	commit_at(f, 150);
	/* The next transaction is cut; another boundary comes before it is sent again. */
	storage_in_transaction(f->s, (struct position){0, 301});
	stream(f, u, 6, 301);
	OK(storage_flush(f->s, &f->err));
	reopen_custom(f);
	assert_int_equal(acked(f, u), 5);
	commit_at(f, 200);
	assert_int_equal(acked(f, u), 5);
	storage_in_transaction(f->s, (struct position){0, 301});
	stream(f, u, 6, 301);
	commit_at(f, 310);
	assert_int_equal(acked(f, u), 6);
	reopen_custom(f);
	assert_int_equal(acked(f, u), 6);
}

static void a_hidden_boundary_and_the_transaction_after_it_are_told_apart(void **state)
{
	struct fixture *f = *state;
	struct user_key u = user("u", NULL);
	bool durable;
	stream(f, u, 5, 150);
	commit_at(f, 150);
	stream(f, u, 6, 200);
	OK(storage_commit(f->s, (struct position){0, 200}, false, &durable, &f->err));
	storage_in_transaction(f->s, (struct position){0, 251});
	stream(f, u, 7, 251);
	OK(storage_flush(f->s, &f->err));
	assert_int_equal(acked(f, u), 5);
	reopen_custom(f);
	commit_at(f, 210);
	assert_int_equal(acked(f, u), 6);
	stream(f, u, 7, 251);
	commit_at(f, 260);
	assert_int_equal(acked(f, u), 7);
}

static void a_rollback_takes_it_back(void **state)
{
	struct fixture *f = *state;
	struct user_key u = user("u", NULL);
	stream(f, u, 5, 150);
	storage_rollback(f->s);
	commit_at(f, 150);
	assert_int_equal(acked(f, u), 0);
}

static void requests_are_refused(void **state)
{
	struct fixture *f = *state;
	struct checkpoint_request r = {.user = user("u", "c"), .id = 5};
	assert_true(storage_custom_mode(f->s));
	assert_false(storage_request_checkpoints(f->s, &r, 1, true, (struct position){0, 1}, &f->err));
	assert_string_equal(f->err.code, "PSYNC_S2001");
	activate(f, "a=1");
	assert_false(storage_custom_mode(f->s));
	OK(storage_request_checkpoints(f->s, &r, 1, true, (struct position){0, 1}, &f->err));
}

static void ids_survive_deploys_that_keep_the_events(void **state)
{
	struct fixture *f = *state;
	struct user_key u = user("u", NULL);
	uint64_t events = events_of(storage_active_plan(f->s));
	stream(f, u, 5, 150);
	commit_at(f, 150);
	activate(f, "b=2\n!write_checkpoints=one");
	assert_int_equal(events_of(storage_active_plan(f->s)), events);
	assert_int_equal(acked(f, u), 5);
	/* Other payloads of the same events: what was acknowledged stays, too. */
	activate(f, OTHER_EVENTS);
	assert_true(events_of(storage_active_plan(f->s)) > events);
	assert_int_equal(acked(f, u), 5);
	reopen_custom(f);
	assert_int_equal(acked(f, u), 5);
	stream(f, u, 4, f->lsn + 5);
	commit(f);
	assert_int_equal(acked(f, u), 4);
	/* Without them nothing is left, also when they come back. */
	activate(f, "a=1");
	assert_int_equal(acked(f, u), 0);
	activate(f, OTHER_EVENTS);
	assert_true(storage_custom_mode(f->s));
	assert_int_equal(acked(f, u), 0);
}

static void ids_of_a_pending_plan_wait_for_its_activation(void **state)
{
	struct fixture *f = *state;
	struct user_key u = user("u", NULL), v = user("v", NULL);
	struct plan *p = make_plan(OTHER_EVENTS);
	bool unchanged;
	stream(f, u, 5, 150);
	commit_at(f, 150);
	OK(storage_deploy(f->s, p, &unchanged, &f->err));
	uint64_t events = events_of(storage_pending_plan(f->s));
	assert_true(events > events_of(storage_active_plan(f->s)));
	assert_true(storage_epoch(f->s) == events);
	bring(f, (struct custom_checkpoint){.events = events, .user = u, .id = 6, .position = {0, 160}});
	bring(f,
	      (struct custom_checkpoint){.events = events, .user = v, .id = 1, .origin = CUSTOM_SNAPSHOT, .position = {0, 160}});
	commit_at(f, 160);
	assert_int_equal(acked(f, u), 5);
	assert_int_equal(acked(f, v), 0);
	stream(f, v, 9, 170);
	commit_at(f, 170);
	assert_int_equal(acked(f, v), 9);
	OK(storage_activate_pending(f->s, &f->err));
	commit_at(f, 180);
	assert_true(f->everything);
	assert_int_equal(acked(f, u), 6);
	assert_int_equal(acked(f, v), 9); /* the stream says more than a row that was read */
	/* Deployed, but never activated: nothing of it counts. */
	struct plan *q = make_plan("a=1\n!write_checkpoints=three");
	OK(storage_deploy(f->s, q, &unchanged, &f->err));
	bring(f, (struct custom_checkpoint){
	                 .events = events_of(storage_pending_plan(f->s)), .user = u, .id = 99, .position = {0, 190}});
	commit_at(f, 190);
	OK(storage_deploy(f->s, p, &unchanged, &f->err));
	assert_null(storage_pending_plan(f->s));
	stream(f, v, 10, 200);
	commit_at(f, 200);
	assert_int_equal(acked(f, u), 6);
	plan_unref(p);
	plan_unref(q);
}

static void a_pending_plan_with_the_same_events_goes_on_with_its_filling(void **state)
{
	struct fixture *f = *state;
	bool unchanged;
	activate(f, "a=1");
	struct plan *p = make_plan("b=1\n!write_checkpoints=one"), *q = make_plan("c=1\n!write_checkpoints=one");
	OK(storage_deploy(f->s, p, &unchanged, &f->err));
	uint64_t events = events_of(storage_pending_plan(f->s));
	bring(f, (struct custom_checkpoint){.events = events, .user = user("u", NULL), .id = 7, .position = {0, f->lsn + 5}});
	commit(f);
	OK(storage_deploy(f->s, q, &unchanged, &f->err));
	assert_int_equal(events_of(storage_pending_plan(f->s)), events);
	reopen(f);
	f->s->wall_ms = test_clock;
	OK(storage_deploy(f->s, q, &unchanged, &f->err));
	assert_int_equal(events_of(storage_pending_plan(f->s)), events);
	assert_false(storage_custom_mode(f->s));
	struct stored_plan *sp = storage_pending_plan(f->s);
	OK(storage_definition_ready(f->s, sp->definitions[0].number, &f->err));
	stored_plan_unref(sp);
	OK(storage_activate_pending(f->s, &f->err));
	commit(f);
	assert_true(storage_custom_mode(f->s));
	assert_int_equal(acked(f, user("u", NULL)), 7);
	plan_unref(p);
	plan_unref(q);
}

static void rows_that_were_read_fill_in_what_the_stream_did_not_bring(void **state)
{
	struct fixture *f = *state;
	struct user_key u = user("u", NULL);
	const struct custom_checkpoint read = {.user = u, .origin = CUSTOM_SNAPSHOT, .position = {0, 110}};
	struct custom_checkpoint c = read;
	c.id = 5;
	bring(f, c);
	c.id = 8;
	bring(f, c);
	c.id = 6; /* of several the greatest */
	bring(f, c);
	commit_at(f, 110);
	assert_int_equal(acked(f, u), 8);
	stream(f, u, 7, 120);
	commit_at(f, 120);
	assert_int_equal(acked(f, u), 7);
	c.id = 9;
	c.position.lsn = 130;
	bring(f, c);
	commit_at(f, 130);
	assert_int_equal(acked(f, u), 7);
	/* Where changes were lost the stream has no say about what is greater. */
	c.origin = CUSTOM_REPAIR;
	c.id = 6;
	bring(f, c);
	commit_at(f, 140);
	assert_int_equal(acked(f, u), 7);
	c.id = 9;
	c.position.lsn = 150;
	bring(f, c);
	commit_at(f, 150);
	assert_int_equal(acked(f, u), 9);
}

static void temporary_ids_are_removed_and_others_stay(void **state)
{
	struct fixture *f = *state;
	struct user_key old = user("old", NULL), fresh = user("fresh", NULL), kept = user("kept", NULL), live = user("live", "c"),
	                waits = user("waits", NULL);
	stamp(f, old, 1, 110);
	stream(f, kept, 2, 110);
	stamp(f, live, 3, 110);
	commit_at(f, 110);
	clock_now += 40 * 60000;
	OK(storage_touch_requests(f->s, (const struct user_key[]){live, kept, user("nobody", NULL)}, 3, &f->err));
	commit_at(f, 120);
	stamp(f, fresh, 4, 130);
	commit_at(f, 130);
	stamp(f, waits, 5, 400);
	OK(storage_flush(f->s, &f->err));
	clock_now += 30 * 60000;
	OK(storage_expire_requests(f->s, &f->err));
	OK(storage_sync_position(f->s, &f->err)); /* an idle writer does it as well */
	assert_int_equal(acked(f, old), 0);
	assert_int_equal(acked(f, fresh), 4);
	assert_int_equal(acked(f, kept), 2);
	assert_int_equal(acked(f, live), 3);
	clock_now += 120 * 60000;
	OK(storage_expire_requests(f->s, &f->err));
	commit_at(f, 140);
	assert_int_equal(acked(f, fresh), 0);
	assert_int_equal(acked(f, kept), 2);
	assert_int_equal(acked(f, live), 0);
	commit_at(f, 400);
	assert_int_equal(acked(f, waits), 5); /* was pending */
	/* A persistent id takes the place of a temporary one, and the other way round. */
	stream(f, waits, 6, 410);
	stamp(f, kept, 7, 410);
	commit_at(f, 410);
	clock_now += 120 * 60000;
	OK(storage_expire_requests(f->s, &f->err));
	commit_at(f, 420);
	assert_int_equal(acked(f, waits), 6);
	assert_int_equal(acked(f, kept), 0);
}

static void a_clean_up_of_many_goes_in_steps(void **state)
{
	struct fixture *f = *state;
	char name[32];
	for (int i = 0; i < 3500; i++) {
		snprintf(name, sizeof(name), "user%d", i);
		if (i % 2)
			stamp(f, user(name, "c"), 1, 110);
		else
			stream(f, user(name, "c"), 1, 110);
	}
	commit_at(f, 110);
	clock_now += 120 * 60000;
	OK(storage_expire_requests(f->s, &f->err));
	for (uint64_t lsn = 120; lsn < 170; lsn += 10)
		commit_at(f, lsn);
	for (int i = 0; i < 3500; i++) {
		snprintf(name, sizeof(name), "user%d", i);
		assert_int_equal(acked(f, user(name, "c")), i % 2 ? 0 : 1);
	}
	assert_false(atomic_load(&f->s->upkeep.due));
}

/* ---- the record against its whole history ---- */

static void same_id(const struct custom_entry *a, const struct custom_entry *b)
{
	assert_int_equal(a != NULL, b != NULL);
	if (a)
		assert_true(a->id == b->id);
}

/* What counts among all entries that were ever written, by the plain rule. */
static const struct custom_entry *best_of(const struct custom_entry *all, size_t count, const struct custom_tags *tags,
                                          bool for_active, struct position p)
{
	const struct custom_entry *streamed = NULL, *read = NULL;
	for (size_t i = 0; i < count; i++) {
		const struct custom_entry *e = &all[i];
		bool counts = !for_active && e->tag == tags->pending;
		for (size_t k = 0; for_active && k < tags->active_count; k++)
			counts |= tags->active[k] == e->tag;
		if (!counts || position_cmp(e->position, p) > 0)
			continue;
		if (e->snapshot && (!read || e->id >= read->id))
			read = e;
		if (!e->snapshot && (!streamed || position_cmp(e->position, streamed->position) >= 0))
			streamed = e;
	}
	return streamed ? streamed : read;
}

static void a_record_keeps_what_a_checkpoint_can_show(void **state)
{
	(void)state;
	srand(7);
	for (int round = 0; round < 300; round++) {
		struct custom_record r = {.count = 0};
		struct custom_entry all[200];
		size_t count = 0;
		uint64_t active[3] = {1, 3, 0};
		struct custom_tags tags = {active, (size_t)(rand() % 3), rand() % 2 ? 5 : 0};
		struct custom_bounds b = {.served = {false, {0, 0}}, .applied = {0, 10}};
		for (int step = 0; step < 100; step++) {
			/* A transaction ends beyond the boundary; a row that was read belongs to the boundary. */
			int what = rand() % 10;
			if (what < 6) {
				struct custom_entry e = {.tag = (uint64_t)(rand() % 6), .id = (uint64_t)(1 + rand() % 50)};
				e.snapshot = rand() % 3 == 0;
				e.position = (struct position){0, b.applied.lsn + (e.snapshot ? 0 : 5)};
				all[count++] = e;
				custom_add(&r, &e, &tags, &b);
			} else {
				b.applied.lsn += 5 + (uint64_t)(rand() % 5);
				if (what < 8)
					b.served = (struct served){true, b.applied};
			}
			struct buf bytes = {0};
			struct error err;
			custom_encode(&bytes, &r);
			assert_true(custom_decode(&r, buf_slice(&bytes), &err));
			buf_free(&bytes);
			struct position future = {0, b.applied.lsn + 100};
			const struct position shown[] = {b.served.position, b.applied, future};
			for (size_t i = b.served.valid ? 0 : 1; i < 3; i++)
				for (int side = 0; side < 2; side++)
					if (side || tags.pending)
						same_id(custom_best(&r, &tags, side, shown[i]),
						        best_of(all, count, &tags, side, shown[i]));
			assert_true(r.count <= CUSTOM_ENTRIES_MAX);
		}
	}
}

static void damaged_records_are_errors(void **state)
{
	struct custom_record r = {
	        .count = 1, .entries = {{.tag = 1, .id = 300, .position = {1, 5000}, .temporary = true, .stamp_ms = 70000}}};
	struct buf b = {0};
	struct error err;
	(void)state;
	custom_encode(&b, &r);
	for (size_t n = 0; n < b.n; n++)
		assert_false(custom_decode(&r, slice_make(b.p, n), &err));
	assert_true(custom_decode(&r, buf_slice(&b), &err));
	assert_int_equal(r.entries[0].id, 300);
	assert_int_equal(r.entries[0].stamp_ms, 70000);
	b.p[1] = 7;
	assert_false(custom_decode(&r, buf_slice(&b), &err));
	b.p[0] = 9;
	assert_false(custom_decode(&r, buf_slice(&b), &err));
	buf_free(&b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_custom, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(an_id_shows_with_the_checkpoint_of_its_transaction),
	        TEST(users_and_clients_are_apart),
	        TEST(half_a_transaction_does_not_show_after_a_crash),
	        TEST(a_hidden_boundary_and_the_transaction_after_it_are_told_apart),
	        TEST(a_rollback_takes_it_back),
	        TEST(requests_are_refused),
	        TEST(ids_survive_deploys_that_keep_the_events),
	        TEST(ids_of_a_pending_plan_wait_for_its_activation),
	        TEST(a_pending_plan_with_the_same_events_goes_on_with_its_filling),
	        TEST(rows_that_were_read_fill_in_what_the_stream_did_not_bring),
	        TEST(temporary_ids_are_removed_and_others_stay),
	        TEST(a_clean_up_of_many_goes_in_steps),
	        cmocka_unit_test(a_record_keeps_what_a_checkpoint_can_show),
	        cmocka_unit_test(damaged_records_are_errors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
