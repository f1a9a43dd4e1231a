/* session_world.h: a plan of a few definitions over the fake storage, and a client on it, for the tests of sessions. */
#ifndef TESTS_UNIT_SYNC_SESSION_WORLD_H
#define TESTS_UNIT_SYNC_SESSION_WORLD_H

#include "sync/client.h" /* before fake.h: libjansson comes first */
#include "sync/fake.h"

/* Definitions 0 "lists|0", 1 "alerts|0", 2 "docs|0" and the lookup 3; one static bucket of each of the first two. */
static inline struct plan basic_plan(void)
{
	struct plan p = {
	        .rules =
	                {
	                        {.definition = 0, .keys = "[]", .priority = 3, .reason = {true, 0}},
	                        {.definition = 1, .keys = "[]", .priority = 1, .reason = {true, 1}},
	                },
	        .rule_count = 2,
	        .streams = {{SLICE_INIT("lists"), true, NULL, 0}, {SLICE_INIT("alerts"), true, NULL, 0}},
	        .stream_count = 2,
	};
	return p;
}

static struct plan plan;
static struct client client;

static inline int setup(void **state)
{
	(void)state;
	client = (struct client){0};
	plan = basic_plan();
	struct storage *s = fake_new();
	fake_definition(s, "lists|0");
	fake_definition(s, "alerts|0");
	fake_definition(s, "docs|0");
	fake_definition(s, "members");
	fake_set_plan(s, &plan, 1);
	client_setup(&client, s);
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	client_teardown(&client);
	fake_free(client.storage);
	return 0;
}

/* The buckets of docs come from the lookup "u1". */
static inline void use_members(void)
{
	plan.rules[1] = (struct fake_rule){.definition = 2, .lookup = 3, .lookup_key = "u1", .priority = 2, .reason = {true, 1}};
}

static inline void only_lists(void)
{
	plan.rule_count = 1;
	plan.stream_count = 1;
}

#define STREAMS                                                                                                                  \
	"\"streams\":[{\"name\":\"lists\",\"is_default\":true,\"errors\":[]},{\"name\":\"alerts\",\"is_default\":true,"          \
	"\"errors\":[]}]"
#define OP(id)                                                                                                                   \
	"{\"op_id\":\"" #id "\",\"op\":\"PUT\",\"object_type\":\"lists\",\"object_id\":\"x\",\"checksum\":%u,\"subkey\":"        \
	"\"t1/3bbb5112-c496-51fb-bcdc-6f41c054bc14\",\"data\":\"{}\"}"
#define SUM(id) ((uint32_t)((id)*2654435761u))

static inline void put_many(uint32_t definition, size_t count)
{
	for (size_t i = 0; i < count; i++)
		fake_put(client.storage, definition, "[]", "x", "{}");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
