/* Streams of the shared layout as the writer sees them: activation, and removal of what was replaced (storage-semantics 1, 6). */
#include "storage/postgres_world.h"

#include "rules/rules.h"
#include "storage/compact.h"
#include "storage/postgres/writer.h"

#define CONFIG(column) "bucket_definitions:\n  all:\n    data:\n      - SELECT id, " column " FROM notes\n"

static struct table_key_column key_column = {{"id", 2}, 25};
static const struct table_identity notes = {
        .schema = {"public", 6}, .name = {"notes", 5}, .oid = 16400, .key = &key_column, .key_count = 1};

static void take_role(struct world *w, struct node *n)
{
	char who[160];
	bool held;
	OK(storage_take_writer(n->s, &held, who, sizeof(who), &w->err));
	if (!held)
		fail_msg("the role is with %s", who);
}

static void deploy(struct world *w, struct node *n, const char *config)
{
	struct diagnostics d = {0};
	bool unchanged;
	struct plan *plan = plan_compile(slice_cstr(config), SLICE("public"), &d);
	assert_non_null(plan);
	OK(storage_deploy(n->s, plan, &unchanged, &w->err));
	assert_false(unchanged);
	plan_unref(plan);
	diagnostics_free(&d);
	take_role(w, n);
}

static uint32_t resolve(struct world *w, struct node *n)
{
	struct arena arena = {0};
	struct stored_table t;
	uint32_t *drop;
	size_t count;
	OK(storage_resolve_table(n->s, &notes, &arena, &t, &drop, &count, &w->err));
	arena_free(&arena);
	return t.number;
}

static void commit(struct world *w, struct node *n, uint64_t lsn)
{
	bool durable;
	OK(storage_commit(n->s, (struct position){0, lsn}, true, &durable, &w->err));
}

static void activate(struct world *w, struct node *n, uint64_t lsn)
{
	OK(storage_table_done(n->s, resolve(w, n), storage_epoch(n->s), &w->err));
	OK(storage_activate_pending(n->s, &w->err));
	commit(w, n, lsn);
}

static void a_stream_with_an_unread_table_is_not_activated(void **state)
{
	NEEDS_POSTGRES;
	deploy(w, &w->a, CONFIG("title"));
	uint32_t table = resolve(w, &w->a);
	OK(storage_flush(w->a.s, &w->err));
	assert_false(storage_activate_pending(w->a.s, &w->err));
	assert_string_equal(w->err.code, "PSYNC_S1101");
	assert_non_null(strstr(w->err.message, "public.notes"));
	commit(w, &w->a, 200);
	assert_string_equal(look(w, "SELECT state FROM sync_rules"), "PROCESSING");
	/* A table that comes between the question and the commit holds it up as well. */
	OK(storage_table_done(w->a.s, table, storage_epoch(w->a.s), &w->err));
	OK(storage_activate_pending(w->a.s, &w->err));
	struct pg_writer *writer = pg_store_of(w->a.s)->writer;
	writer->tables[0].parts[0].snapshot_done = false;
	writer->tables[0].parts[0].snapshot_epoch = 0;
	commit(w, &w->a, 300);
	assert_string_equal(look(w, "SELECT state FROM sync_rules"), "PROCESSING");
	OK(storage_table_done(w->a.s, table, storage_epoch(w->a.s), &w->err));
	commit(w, &w->a, 400);
	assert_string_equal(look(w, "SELECT state || last_checkpoint_lsn FROM sync_rules"), "ACTIVE00000000/00000190");
}

static void remove_dropped(struct world *w, struct node *n)
{
	struct compact_report report;
	OK(storage_compact(n->s, &(struct compact_options){.dropped = true}, &report, &w->err));
}

/* Two deploys, the first one with 12,000 operations; the second one is active. */
static void replace(struct world *w, struct node *n)
{
	deploy(w, n, CONFIG("title"));
	activate(w, n, 200);
	look(w, "INSERT INTO bucket_data (group_id, bucket_name, op_id, op, checksum) SELECT id, 'b[]', n, 'MOVE', 0"
	        " FROM sync_rules, generate_series(1, 12000) n");
	deploy(w, n, CONFIG("body"));
	activate(w, n, 300);
	assert_string_equal(look(w, "SELECT string_agg(state, ' ' ORDER BY id) FROM sync_rules"), "STOP ACTIVE");
}

static void a_replaced_stream_is_removed_beside_the_writer(void **state)
{
	NEEDS_POSTGRES;
	char slot[64];
	int32_t id, other;
	replace(w, &w->a);
	/* Something is always under way: what is queued stays queued. */
	struct row_key key = {.bytes = SLICE("n1"), .uuid = {1}};
	OK(storage_write_row(w->a.s, resolve(w, &w->a), &key, NULL, &(struct row_contributions){0}, (struct slice){NULL, 0},
	                     ROW_STREAM, &w->err));
	remove_dropped(w, &w->a);
	assert_string_equal(look(w, "SELECT count(*) FROM bucket_data"), "12000");
	OK(storage_stopped_stream(w->a.s, &id, slot, &w->err));
	assert_string_equal(look(w, "SELECT slot_name FROM sync_rules WHERE state = 'STOP'"), slot);
	storage_remove_stream(w->a.s, id);
	OK(storage_stopped_stream(w->a.s, &other, slot, &w->err));
	assert_int_equal(other, 0);
	remove_dropped(w, &w->a);
	assert_string_equal(look(w, "SELECT count(*) FROM bucket_data"), "0");
	assert_string_equal(look(w, "SELECT string_agg(state, ' ' ORDER BY id) FROM sync_rules"), "TERMINATED ACTIVE");
	assert_string_equal(look(w, "SELECT count(*) FROM current_data"), "0");
	OK(storage_flush(w->a.s, &w->err));
	assert_string_equal(look(w, "SELECT count(*) FROM current_data"), "1");
	/* And its lock is given back. */
	OK(storage_stopped_stream(w->a.s, &other, slot, &w->err));
	assert_string_equal(look(w, "SELECT count(*) FROM locks"), "1");
}

static void whoever_lost_the_lock_removes_nothing_more(void **state)
{
	NEEDS_POSTGRES;
	char slot[64];
	int32_t id;
	replace(w, &w->a);
	OK(storage_stopped_stream(w->a.s, &id, slot, &w->err));
	storage_remove_stream(w->a.s, id);
	look(w, "UPDATE locks SET lock_id = gen_random_uuid(), ts = now() WHERE name LIKE 'sync_rules_' ||"
	        " (SELECT id FROM sync_rules WHERE state = 'STOP') || '%'");
	remove_dropped(w, &w->a);
	assert_string_equal(look(w, "SELECT count(*) FROM bucket_data"), "12000");
	assert_string_equal(look(w, "SELECT state FROM sync_rules ORDER BY id"), "STOP");
}

/* ---- commits ---- */

static void write_row(struct world *w, struct node *n, uint8_t id, bool gone)
{
	struct row_key key = {.bytes = slice_make(&id, 1), .uuid = {id}};
	uint32_t table = resolve(w, n);
	OK(gone ? storage_delete_row(n->s, table, &key, &w->err)
	        : storage_write_row(
	                  n->s, table, &key, NULL,
	                  &(struct row_contributions){
	                          .puts = &(struct put_entry){.definition =
	                                                              pg_store_active(pg_store_of(n->s))->definitions[0]->number,
	                                                      .keys = SLICE("[]"),
	                                                      .object_type = SLICE("notes"),
	                                                      .object_id = SLICE("n"),
	                                                      .data = SLICE("{}")},
	                          .put_count = 1},
	                  (struct slice){NULL, 0}, ROW_STREAM, &w->err));
}

static void begin(struct node *n, uint64_t end)
{
	storage_in_transaction(n->s, (struct position){0, end});
}

static void commit_wanted(struct world *w, struct node *n, uint64_t lsn)
{
	storage_want_position(n->s, (struct position){0, lsn});
	commit(w, n, lsn);
}

static const char *shown(struct world *w)
{
	return look(w, "SELECT last_checkpoint || '@' || last_checkpoint_lsn FROM sync_rules ORDER BY id LIMIT 1");
}

static void start_with_a_row(struct world *w, struct node *n)
{
	deploy(w, n, CONFIG("title"));
	activate(w, n, 0x10);
	look(w, "ALTER SEQUENCE op_id_sequence RESTART");
	write_row(w, n, 1, false);
	commit(w, n, 0x20);
	assert_string_equal(shown(w), "1@00000000/00000020");
}

static void before_the_end_of_a_half_positions_are_shown_without_it(void **state)
{
	NEEDS_POSTGRES;
	start_with_a_row(w, &w->a);
	begin(&w->a, 0x50);
	write_row(w, &w->a, 2, false);
	OK(storage_flush(w->a.s, &w->err));
	take_role(w, &w->a); /* as after a crash */
	commit_wanted(w, &w->a, 0x30);
	assert_string_equal(shown(w), "1@00000000/00000030");
	begin(&w->a, 0x50);
	write_row(w, &w->a, 2, false);
	commit(w, &w->a, 0x50);
	assert_string_equal(shown(w), "3@00000000/00000050");
}

/* The flush took an earlier transaction along, which comes again and may have nothing to write then: a request at a position behind it must not be
 * acknowledged without it. */
static void before_the_end_of_a_half_nothing_is_shown_if_it_is_not_alone(void **state)
{
	NEEDS_POSTGRES;
	start_with_a_row(w, &w->a);
	begin(&w->a, 0x30);
	write_row(w, &w->a, 1, true);
	begin(&w->a, 0x50);
	write_row(w, &w->a, 2, false);
	OK(storage_flush(w->a.s, &w->err));
	take_role(w, &w->a);
	begin(&w->a, 0x30);
	write_row(w, &w->a, 1, true);
	commit_wanted(w, &w->a, 0x40);
	assert_string_equal(shown(w), "1@00000000/00000020");
	take_role(w, &w->a);
	commit_wanted(w, &w->a, 0x48);
	assert_string_equal(shown(w), "1@00000000/00000020");
	begin(&w->a, 0x50);
	write_row(w, &w->a, 2, false);
	commit(w, &w->a, 0x50);
	assert_string_equal(shown(w), "4@00000000/00000050");
}

static void a_boundary_below_the_last_checkpoint_shows_nothing(void **state)
{
	NEEDS_POSTGRES;
	start_with_a_row(w, &w->a);
	write_row(w, &w->a, 2, false);
	commit(w, &w->a, 0x18);
	assert_string_equal(shown(w), "1@00000000/00000020");
	commit(w, &w->a, 0x28);
	assert_string_equal(shown(w), "2@00000000/00000028");
}

static void a_blocked_commit_activates_nothing(void **state)
{
	NEEDS_POSTGRES;
	deploy(w, &w->a, CONFIG("title"));
	OK(storage_table_done(w->a.s, resolve(w, &w->a), storage_epoch(w->a.s), &w->err));
	look(w, "UPDATE sync_rules SET no_checkpoint_before = '00000000/00000040' WHERE state = 'PROCESSING'");
	OK(storage_activate_pending(w->a.s, &w->err));
	commit(w, &w->a, 0x30);
	assert_string_equal(look(w, "SELECT state FROM sync_rules"), "PROCESSING");
	commit(w, &w->a, 0x40);
	assert_string_equal(look(w, "SELECT state || last_checkpoint_lsn FROM sync_rules"), "ACTIVE00000000/00000040");
}

/* The reference cleared the flag: it knows of a table whose rows are not right. */
static void tables_that_somebody_else_wants_read_again_hold_checkpoints_back(void **state)
{
	NEEDS_POSTGRES;
	start_with_a_row(w, &w->a);
	look(w, "UPDATE sync_rules SET snapshot_done = false");
	take_role(w, &w->a);
	write_row(w, &w->a, 2, false);
	commit(w, &w->a, 0x30);
	assert_string_equal(shown(w), "1@00000000/00000020");
	OK(storage_table_done(w->a.s, resolve(w, &w->a), storage_epoch(w->a.s), &w->err));
	commit(w, &w->a, 0x40);
	assert_string_equal(shown(w), "2@00000000/00000040");
}

/* Another process deployed and activated, before this one heard of it. */
static void a_stream_that_another_process_stopped_stays_stopped(void **state)
{
	NEEDS_POSTGRES;
	start_with_a_row(w, &w->a);
	look(w, "UPDATE sync_rules SET state = 'STOP'");
	write_row(w, &w->a, 2, false);
	commit(w, &w->a, 0x30);
	assert_string_equal(shown(w), "2@00000000/00000030");
	assert_string_equal(look(w, "SELECT state FROM sync_rules"), "STOP");
}

static void a_failure_is_reported_by_whoever_has_the_lock(void **state)
{
	NEEDS_POSTGRES;
	deploy(w, &w->a, CONFIG("title"));
	OK(storage_report_failure(w->a.s, SLICE("the slot is lost"), &w->err));
	assert_string_equal(look(w, "SELECT last_fatal_error FROM sync_rules"), "the slot is lost");
	look(w, "UPDATE locks SET lock_id = gen_random_uuid(), ts = now(); UPDATE sync_rules SET last_fatal_error = NULL");
	OK(storage_report_failure(w->a.s, SLICE("locked by another process"), &w->err));
	assert_string_equal(look(w, "SELECT last_fatal_error FROM sync_rules"), "-");
}

static int end_streams(void **state)
{
	struct world *w = *state;
	if (!w->admin)
		return 0;
	storage_give_writer(w->a.s);
	close_nodes(state);
	look(w, "TRUNCATE source_tables, current_data, syncline_tables, syncline_streams, locks, syncline_locks");
	return 0;
}

#define STREAMS(name) cmocka_unit_test_setup_teardown(name, open_nodes, end_streams)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        STREAMS(a_stream_with_an_unread_table_is_not_activated),
	        STREAMS(a_replaced_stream_is_removed_beside_the_writer),
	        STREAMS(a_failure_is_reported_by_whoever_has_the_lock),
	        STREAMS(whoever_lost_the_lock_removes_nothing_more),
	        STREAMS(before_the_end_of_a_half_positions_are_shown_without_it),
	        STREAMS(before_the_end_of_a_half_nothing_is_shown_if_it_is_not_alone),
	        STREAMS(a_boundary_below_the_last_checkpoint_shows_nothing),
	        STREAMS(a_blocked_commit_activates_nothing),
	        STREAMS(tables_that_somebody_else_wants_read_again_hold_checkpoints_back),
	        STREAMS(a_stream_that_another_process_stopped_stays_stopped),
	};
	return cmocka_run_group_tests(tests, make_world, end_world);
}
