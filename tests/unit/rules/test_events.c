/* Events that bring write checkpoints with the data (checkpoint-requests 7): what they make of a row. */
#include "rules/plan_fixture.h"

#define CONFIG                                                                                                                   \
	"bucket_definitions:\n  g:\n    data:\n      - SELECT id FROM notes\nevent_definitions:\n"                               \
	"  write_checkpoints:\n    payloads:\n      - SELECT user_id, checkpoint, client_id FROM checkpoints\n"

struct made {
	struct arena arena;
	struct row_write_checkpoint items[MAX_ROW_CHECKPOINTS];
	size_t count;
};

static struct made make(const char *yaml, const char *table, struct fixture_row row)
{
	struct made m = {.count = 0};
	struct plan *p = plan_of(yaml);
	struct bound_table *b = bind_row(p, table, &row);
	if (b)
		m.count = bound_write_checkpoints(b, row.values, &m.arena, m.items);
	for (size_t i = 0; i < m.count; i++) {
		struct row_write_checkpoint *c = &m.items[i];
		c->event = arena_copy(&m.arena, c->event);
		c->user_id = arena_copy(&m.arena, c->user_id);
		if (c->client_id.p)
			c->client_id = arena_copy(&m.arena, c->client_id);
	}
	bound_table_free(b);
	plan_unref(p);
	return m;
}

static void takes(struct fixture_row row, const char *user, const char *client, uint64_t id)
{
	struct made m = make(CONFIG, "checkpoints", row);
	assert_int_equal(m.count, 1);
	if (m.items[0].outcome == ROW_CHECKPOINT_REFUSED)
		print_message("%.*s\n", SLICE_ARG(m.items[0].why));
	assert_int_equal(m.items[0].outcome, ROW_CHECKPOINT);
	assert_slice(m.items[0].user_id, user);
	assert_int_equal(m.items[0].client_id.p != NULL, client != NULL);
	if (client)
		assert_slice(m.items[0].client_id, client);
	assert_true(m.items[0].id == id);
	arena_free(&m.arena);
}

static void refuses(struct fixture_row row)
{
	struct made m = make(CONFIG, "checkpoints", row);
	assert_int_equal(m.count, 1);
	assert_int_equal(m.items[0].outcome, ROW_CHECKPOINT_REFUSED);
	assert_true(m.items[0].why.n > 0);
	arena_free(&m.arena);
}

static void a_row_gives_user_id_and_client(void **state)
{
	(void)state;
	takes(ROW("user_id", "u", "checkpoint", "#5", "client_id", "c"), "u", "c", 5);
	takes(ROW("user_id", "u", "checkpoint", "5", "client_id", "~"), "u", NULL, 5);
	takes(ROW("user_id", "u", "checkpoint", "5"), "u", NULL, 5);
	takes(ROW("user_id", "u", "checkpoint", "5", "client_id", ""), "u", "", 5);
	takes(ROW("user_id", "#12", "checkpoint", "007", "client_id", "#3"), "12", "3", 7);
	takes(ROW("user_id", "", "checkpoint", "9223372036854775807"), "", NULL, INT64_MAX);
	takes(ROW("user_id", "u/c", "checkpoint", "1", "client_id", "d/e"), "u/c", "d/e", 1);
}

static void what_is_no_checkpoint_is_refused(void **state)
{
	static const char *const bad[] = {"0",   "-1", "#0", "#-1", "9223372036854775808", "1.5", "1e3", " 7 ", "+1", "0x10", "",
	                                  "abc", "~",  "!",  "?"};
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		refuses(ROW("user_id", "u", "checkpoint", bad[i], "client_id", "c"));
	struct fixture_row real = ROW("user_id", "u", "checkpoint", "5");
	real.values[1] = value_real(5);
	refuses(real);
}

static void what_is_no_user_is_refused(void **state)
{
	(void)state;
	refuses(ROW("user_id", "~", "checkpoint", "5"));
	refuses(ROW("checkpoint", "5"));
	refuses(ROW("user_id", "!", "checkpoint", "5"));
	refuses(ROW("user_id", "u", "checkpoint", "5", "client_id", "!"));
	char *text = xmalloc(1026);
	memset(text, 'x', 1025);
	text[1024] = '\0';
	takes(ROW("user_id", "u", "checkpoint", "5", "client_id", text), "u", text, 5);
	text[1024] = 'x';
	text[1025] = '\0';
	refuses(ROW("user_id", "u", "checkpoint", "5", "client_id", text));
	free(text);
}

static void only_values_that_are_needed_must_be_known(void **state)
{
	(void)state;
	struct fixture_row row = ROW("user_id", "u", "checkpoint", "5", "body", "");
	row.values[2] = (struct value){.kind = VALUE_UNKNOWN};
	takes(row, "u", NULL, 5);
	row = ROW("user_id", "", "checkpoint", "5");
	row.values[0] = (struct value){.kind = VALUE_UNKNOWN};
	struct made m = make(CONFIG, "checkpoints", row);
	assert_int_equal(m.items[0].outcome, ROW_CHECKPOINT_UNKNOWN);
	arena_free(&m.arena);
	/* An expression, and a star beside a large column. */
	static const char expression[] = "bucket_definitions: {}\nevent_definitions:\n  write_checkpoints:\n    payloads:\n"
	                                 "      - SELECT 'u' || user_id AS user_id, checkpoint FROM checkpoints\n";
	m = make(expression, "checkpoints", row);
	assert_int_equal(m.items[0].outcome, ROW_CHECKPOINT_UNKNOWN);
	arena_free(&m.arena);
	static const char star[] = "bucket_definitions: {}\nevent_definitions:\n  write_checkpoints:\n    payloads:\n"
	                           "      - SELECT * FROM checkpoints\n";
	row = ROW("user_id", "u", "checkpoint", "5", "body", "");
	row.values[2] = (struct value){.kind = VALUE_UNKNOWN};
	m = make(star, "checkpoints", row);
	assert_int_equal(m.items[0].outcome, ROW_CHECKPOINT);
	arena_free(&m.arena);
}

static void expressions_rename_and_combine(void **state)
{
	static const char yaml[] =
	        "bucket_definitions: {}\nevent_definitions:\n  checkpoint_requests:\n    payloads:\n"
	        "      - SELECT 'p-' || owner AS user_id, n + 1 AS checkpoint, device AS client_id FROM acks WHERE 1 = 2\n";
	(void)state;
	struct made m = make(yaml, "acks", ROW("owner", "u", "n", "#4", "device", "d"));
	assert_int_equal(m.count, 1);
	assert_int_equal(m.items[0].outcome, ROW_CHECKPOINT);
	assert_slice(m.items[0].user_id, "p-u");
	assert_slice(m.items[0].client_id, "d");
	assert_int_equal(m.items[0].id, 5);
	assert_true(m.items[0].temporary);
	assert_slice(m.items[0].event, "checkpoint_requests");
	arena_free(&m.arena);
}

static void both_events_give_theirs_and_others_nothing(void **state)
{
	static const char yaml[] = "bucket_definitions: {}\nevent_definitions:\n"
	                           "  checkpoint_requests:\n    payloads:\n      - SELECT user_id, checkpoint FROM a\n"
	                           "  audit:\n    payloads:\n      - SELECT user_id, checkpoint FROM a\n"
	                           "  write_checkpoints:\n    payloads:\n      - SELECT user_id, checkpoint FROM b\n"
	                           "      - SELECT user_id, 9 AS checkpoint FROM a\n";
	(void)state;
	struct made m = make(yaml, "a", ROW("user_id", "u", "checkpoint", "5"));
	assert_int_equal(m.count, 2);
	assert_true(m.items[0].temporary);
	assert_int_equal(m.items[0].id, 5);
	assert_false(m.items[1].temporary);
	assert_int_equal(m.items[1].id, 9);
	arena_free(&m.arena);
	m = make(yaml, "b", ROW("user_id", "u", "checkpoint", "5"));
	assert_int_equal(m.count, 1);
	arena_free(&m.arena);
}

static bool hash_of(const char *yaml, uint8_t hash[32])
{
	struct plan *p = plan_of(yaml);
	bool any = plan_write_checkpoint_events(p, hash);
	plan_unref(p);
	return any;
}

static void the_hash_tells_what_the_events_make(void **state)
{
	uint8_t a[32], b[32];
	(void)state;
	assert_true(hash_of(CONFIG, a));
	assert_true(hash_of(CONFIG "  other:\n    payloads:\n      - SELECT id FROM notes\n", b));
	assert_memory_equal(a, b, 32);
	assert_true(hash_of(CONFIG "      - SELECT user_id, checkpoint FROM more\n", b));
	assert_memory_not_equal(a, b, 32);
	assert_true(hash_of("bucket_definitions: {}\nevent_definitions:\n  checkpoint_requests:\n    payloads:\n"
	                    "      - SELECT user_id, checkpoint, client_id FROM checkpoints\n",
	                    b));
	assert_memory_not_equal(a, b, 32);
	assert_false(hash_of(
	        "bucket_definitions: {}\nevent_definitions:\n  other:\n    payloads:\n      - SELECT id FROM notes\n", b));
}

static void tables_of_the_events_are_known(void **state)
{
	(void)state;
	struct plan *p = plan_of(CONFIG);
	struct slice tag = SLICE("default"), schema = SLICE("public");
	assert_true(plan_uses_table(p, tag, schema, SLICE("checkpoints")));
	assert_true(plan_write_checkpoints_from(p, tag, schema, SLICE("checkpoints")));
	assert_false(plan_write_checkpoints_from(p, tag, schema, SLICE("notes")));
	struct fixture_row row = ROW("id", "1");
	struct bound_table *checkpoints = bind_row(p, "checkpoints", &row), *notes = bind_row(p, "notes", &row);
	assert_true(bound_only_events(checkpoints));
	assert_false(bound_only_events(notes));
	bound_table_free(checkpoints);
	bound_table_free(notes);
	plan_unref(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_row_gives_user_id_and_client),
	        cmocka_unit_test(what_is_no_checkpoint_is_refused),
	        cmocka_unit_test(what_is_no_user_is_refused),
	        cmocka_unit_test(only_values_that_are_needed_must_be_known),
	        cmocka_unit_test(expressions_rename_and_combine),
	        cmocka_unit_test(both_events_give_theirs_and_others_nothing),
	        cmocka_unit_test(the_hash_tells_what_the_events_make),
	        cmocka_unit_test(tables_of_the_events_are_known),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
