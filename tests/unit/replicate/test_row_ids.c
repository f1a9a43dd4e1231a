/* What identifies a row in stores that the reference can go on with: its ids, as recorded from it (source-postgres 5.1). Needs PG_URI. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "source/pg_fixture.h"
#include "replicate/binding.h"
#include "storage/digest.h"
#include "storage/internal.h"

static struct fixture f;
static bool have_server;

static int start(void **state)
{
	(void)state;
	have_server = fixture_start(&f, "row_ids");
	return 0;
}

static struct binding *bind(const char *table, bool replica_ids)
{
	struct error err = {0};
	struct diagnostics d = {0};
	struct source_table *found;
	size_t count;
	struct source_pattern pattern = {.schema = SLICE("public"), .table = slice_cstr(table)};
	struct source_connection *c = source_connect(f.source, &err);
	if (!c || !source_discover(c, &pattern, 1, &f.arena, &found, &count, &err) || count != 1)
		fail_msg("%s", err.message);
	struct slice yaml = arena_printf(&f.arena, "bucket_definitions:\n  b:\n    data:\n      - SELECT * FROM \"%s\"\n", table);
	struct plan *plan = plan_compile(yaml, SLICE("public"), &d);
	diagnostics_free(&d);
	assert_non_null(plan);
	struct stored_definition *definition = arena_calloc(&f.arena, sizeof(*definition));
	definition->number = 1;
	struct stored_plan *stored = stored_plan_new(1, plan, definition, 1, 0);
	struct maintained_plans plans = {.plans = {stored}, .count = 1, .replica_ids = replica_ids};
	struct binding *b = binding_new(&plans, "default", found, 1, c, &f.log, &err);
	if (!b)
		fail_msg("%s", err.message);
	stored_plan_unref(stored);
	plan_unref(plan);
	source_disconnect(c);
	return b;
}

static void assert_id(const char *table, const char *uuid, size_t count, const char *const *texts)
{
	struct binding *b = bind(table, true), *plain = bind(table, false);
	struct raw_value *row = arena_array(&f.arena, struct raw_value, count);
	struct row_key key, native;
	char text[UUID_TEXT + 1] = "";
	assert_int_equal(b->table.relation.column_count, count);
	for (size_t i = 0; i < count; i++)
		row[i] = (struct raw_value){texts[i] ? RAW_TEXT : RAW_UNCHANGED, slice_cstr(texts[i])};
	binding_row_key(b, row, &f.arena, &key);
	uuid_text(key.uuid, text);
	assert_string_equal(text, uuid);
	/* The bytes are those of every store: reading tables compares them. */
	binding_row_key(plain, row, &f.arena, &native);
	assert_true(slice_eq(key.bytes, native.bytes));
	assert_memory_not_equal(key.uuid, native.uuid, sizeof(key.uuid));
	binding_unref(b);
	binding_unref(plain);
}
#define ROW(...)                                                                                                                 \
	sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), (const char *const[])                                       \
	{                                                                                                                        \
		__VA_ARGS__                                                                                                      \
	}

static void rows_have_the_ids_of_the_reference(void **state)
{
	(void)state;
	if (!have_server)
		skip();
	fixture_sql(&f, "CREATE TABLE i (id int PRIMARY KEY, note text);"
	                "CREATE TABLE t (note text, id text PRIMARY KEY);"
	                "CREATE TABLE two (b text, a int, note text, PRIMARY KEY (a, b));"
	                "CREATE TABLE r (id float8, k text, PRIMARY KEY (id, k));"
	                "CREATE TABLE u (id uuid PRIMARY KEY);"
	                "CREATE PUBLICATION powersync FOR ALL TABLES");
	assert_id("i", "e44b92eb-93fa-52fa-b4da-9ccfe1d754fe", ROW("1", NULL));
	assert_id("t", "45a2d313-df87-52f4-80ae-5af6b58dd547", ROW("x", "b1"));
	assert_id("two", "e4905523-56c9-558b-adb5-c8a2eb738c40", ROW("bb", "1", "x"));
	assert_id("r", "339950af-1cae-5443-b966-0e8adfd071bd", ROW("1", "k"));
	assert_id("r", "36047f26-06ef-53fe-bbb5-64a0c5f77902", ROW("1.5", "k2"));
	assert_id("u", "9272ba54-7620-5a96-9c6a-b982c3c3745b", ROW("00000000-0000-0000-0000-000000000001"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(rows_have_the_ids_of_the_reference)};
	return cmocka_run_group_tests(tests, start, NULL);
}
