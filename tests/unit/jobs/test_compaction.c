/* test_compaction.c: what the service compacts by itself, and what it leaves. */
#include <poll.h>

#include "storage/row_model.h"

#include "jobs/compaction.h"

static uint64_t count_of(struct fixture *f, uint32_t definition)
{
	struct bucket_checksum out;
	struct storage_reader *r = storage_read_begin(f->s, &f->err);
	OK(reader_checksum(r, reader_bucket(r, definition, SLICE("[0]")), UINT64_MAX, &out, &f->err));
	storage_read_end(r);
	return out.count;
}

static void wait_for_count(struct fixture *f, uint32_t definition, uint64_t wanted)
{
	for (int i = 0; count_of(f, definition) != wanted && i < 10000; i++)
		poll(NULL, 0, 1);
	assert_int_equal(count_of(f, definition), wanted);
}

static void write_times(struct fixture *f, uint32_t t, uint32_t definition, const char *id, int times)
{
	for (int i = 0; i < times; i++)
		write_puts_of(f, t, id, NULL, PUTS(entry(definition, "[0]", "t", id, "{}")));
}

static void buckets_of_which_enough_is_dead_are_compacted(void **state)
{
	struct fixture *f = *state;
	activate(f, "a=1\nb=2\nc=3");
	uint32_t t = table(f, "t1", 1);
	write_times(f, t, 1, "a", 50);
	write_times(f, t, 2, "b", 20); /* too few */
	write_times(f, t, 3, "c", 40);
	for (int i = 0; i < 400; i++) { /* too small a share */
		char id[16];
		snprintf(id, sizeof(id), "c%d", i);
		write_times(f, t, 3, id, 1);
	}
	commit(f);
	reopen(f); /* so that no checkpoint was handed out lately */
	struct compaction c = {.storage = f->s, .log = &f->log, .min_dead = 30, .min_share = 0.2};
	struct maintenance_job jobs[] = {{"compaction", 3600000, compaction_run, &c}};
	struct maintenance *m = maintenance_start(jobs, 1, &f->log, &f->err);
	maintenance_wake(m, 0);
	wait_for_count(f, 1, 2);
	maintenance_stop(m);
	assert_int_equal(count_of(f, 2), 20);
	assert_int_equal(count_of(f, 3), 440);
}

static void what_a_deploy_left_is_removed_without_waiting_for_a_compaction(void **state)
{
	struct fixture *f = *state;
	activate(f, "a=1\nb=2");
	uint32_t t = table(f, "t1", 1);
	write_times(f, t, 1, "a", 5);
	write_times(f, t, 2, "b", 5);
	commit(f);
	struct compaction c = {.storage = f->s, .log = &f->log};
	struct maintenance_job jobs[] = {{"removal", 3600000, compaction_remove_dropped, &c}};
	struct maintenance *m = maintenance_start(jobs, 1, &f->log, &f->err);
	activate(f, "b=2");
	maintenance_wake(m, 0);
	wait_for_count(f, 1, 0);
	maintenance_stop(m);
	assert_int_equal(count_of(f, 2), 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(buckets_of_which_enough_is_dead_are_compacted, setup, teardown),
	        cmocka_unit_test_setup_teardown(what_a_deploy_left_is_removed_without_waiting_for_a_compaction, setup, teardown),
	};
	return cmocka_run_group_tests_name("compaction", tests, NULL, NULL);
}
