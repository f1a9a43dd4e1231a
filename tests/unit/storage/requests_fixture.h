/* requests_fixture.h: a store with an active plan, a served checkpoint at 100 and a clock that stands still, and short ways to ask. */
#ifndef TESTS_STORAGE_REQUESTS_FIXTURE_H
#define TESTS_STORAGE_REQUESTS_FIXTURE_H

#include "storage/fixture.h"

static int64_t clock_now = 1000000000;

static int64_t test_clock(void)
{
	return clock_now;
}

static int setup_served(void **state, const char *plan)
{
	if (setup(state))
		return -1;
	struct fixture *f = *state;
	f->s->wall_ms = test_clock;
	activate(f, plan);
	commit_at(f, 100);
	forget_news(f);
	return 0;
}

static struct user_key user(const char *subject, const char *client)
{
	return (struct user_key){slice_cstr(subject), slice_cstr(client)};
}

/* head 0: not known. */
UNUSED static struct checkpoint_request ask(struct fixture *f, struct user_key u, uint64_t id, uint64_t head)
{
	struct checkpoint_request r = {.user = u, .id = id};
	OK(storage_request_checkpoints(f->s, &r, 1, head != 0, (struct position){0, head}, &f->err));
	return r;
}

#endif
