/* Rows that hold up compaction are written again, and only they (defrag.h). */
#include "storage/compact.h"
#include "storage/row_model.h"

static const struct compact_options by_schedule = {.buckets = true, .min_dead = 50, .min_share = 0.2, .defragment_share = 0.5};

static struct compact_report compact(struct fixture *f)
{
	struct compact_report report;
	OK(storage_compact(f->s, &by_schedule, &report, &f->err));
	return report;
}

static void write_times(struct fixture *f, uint32_t t, const char *id, int times)
{
	char data[64];
	for (int i = 0; i < times; i++) {
		snprintf(data, sizeof(data), "{\"v\":%d}", i);
		write_puts_of(f, t, id, NULL, PUTS(entry(1, "[0]", "t", id, data)));
	}
}

static uint64_t operations(struct fixture *f, uint32_t definition)
{
	struct bucket_checksum out;
	struct storage_reader *r = storage_read_begin(f->s, &f->err);
	OK(reader_checksum(r, reader_bucket(r, definition, SLICE("[0]")), UINT64_MAX, &out, &f->err));
	storage_read_end(r);
	return out.count;
}

/* One row that stays as it is, then one that changes all the time. */
static uint32_t hold_up(struct fixture *f)
{
	activate(f, "a=1\nb=2");
	uint32_t t = table(f, "t1", 1);
	write_times(f, t, "still", 1);
	write_times(f, t, "busy", 200);
	commit(f);
	return t;
}

static void rows_that_hold_up_a_clear_are_written_again(void **state)
{
	struct fixture *f = *state;
	hold_up(f);
	struct compact_report r = compact(f);
	assert_int_equal(r.moved, 199);
	assert_int_equal(r.cleared, 0);
	assert_int_equal(r.asked, 1);
	assert_int_equal(operations(f, 1), 201);
	uint64_t op = f->s->state.op_seq, checkpoint = storage_checkpoint(f->s).op_id;
	forget_news(f);
	commit(f);
	assert_int_equal(f->s->state.op_seq, op + 1);
	assert_int_equal(storage_checkpoint(f->s).op_id, checkpoint + 1);
	assert_true(f->bucket_count > 0);
	assert_int_equal(operations(f, 1), 202);
	/* The bucket is due by itself. */
	r = compact(f);
	assert_int_equal(r.moved, 1);
	assert_int_equal(operations(f, 1), 3);
	assert_int_equal(r.asked, 0);
	commit(f);
	assert_int_equal(f->s->state.op_seq, op + 1);
}

static void a_row_that_changed_meanwhile_is_left(void **state)
{
	struct fixture *f = *state;
	uint32_t t = hold_up(f);
	assert_int_equal(compact(f).asked, 1);
	write_times(f, t, "still", 1);
	uint64_t op = f->s->state.op_seq;
	commit(f);
	assert_int_equal(f->s->state.op_seq, op);
}

static void a_row_that_went_meanwhile_does_not_come_back(void **state)
{
	struct fixture *f = *state;
	uint32_t t = hold_up(f);
	assert_int_equal(compact(f).asked, 1);
	delete_row(f, t, "still");
	uint64_t op = f->s->state.op_seq;
	commit(f);
	assert_int_equal(f->s->state.op_seq, op);
	struct compact_options all = {.buckets = true};
	struct compact_report report;
	OK(storage_compact(f->s, &all, &report, &f->err));
	assert_int_equal(operations(f, 1), 3); /* CLEAR, the other row, REMOVE */
}

static void nothing_is_written_for_a_definition_that_goes(void **state)
{
	struct fixture *f = *state;
	hold_up(f);
	assert_int_equal(compact(f).asked, 1);
	activate(f, "b=2");
	uint64_t op = f->s->state.op_seq;
	commit(f);
	assert_int_equal(f->s->state.op_seq, op);
}

static void text_that_another_bucket_has_is_written_again_as_well(void **state)
{
	struct fixture *f = *state;
	static const char text[] = "{\"text\":\"long enough to be stored once only, whatever number of buckets\"}";
	activate(f, "a=1\nb=2");
	uint32_t t = table(f, "t1", 1);
	write_puts_of(f, t, "still", NULL, PUTS(entry(1, "[0]", "t", "s", text), entry(2, "[0]", "t", "s", text)));
	for (int i = 0; i < 200; i++)
		write_puts_of(f, t, "busy", NULL, PUTS(entry(1, "[0]", "t", "b", "{}"), entry(2, "[0]", "t", "b", "{}")));
	commit(f);
	assert_int_equal(compact(f).asked, 2);
	commit(f);
	commit(f);
	compact(f);
	assert_int_equal(operations(f, 1), 3);
	assert_int_equal(operations(f, 2), 3);
	assert_non_null(strstr(bucket_at(f, 1, "[0]", UINT64_MAX), text));
	assert_non_null(strstr(bucket_at(f, 2, "[0]", UINT64_MAX), text));
	reopen(f);
	assert_non_null(strstr(bucket_at(f, 2, "[0]", UINT64_MAX), text));
}

static struct defrag_request *choose(const struct defrag_walk *w, uint64_t leading)
{
	return defrag_choose(w, 1, 1000000, leading, 100, 0.3);
}

static size_t chosen(const struct defrag_walk *w, uint64_t leading, uint64_t *gain)
{
	struct defrag_request *q = choose(w, leading);
	size_t n = q ? q->count : 0;
	*gain = q ? q->gain : 0;
	if (q) {
		arena_free(&q->arena);
		free(q);
	}
	return n;
}

static void several_operations_are_gained_for_each_row(void **state)
{
	struct defrag_walk *w = xcalloc(1, sizeof(*w));
	uint64_t gain;
	(void)state;
	/* From the newest: 50 others, a PUT, 1000 others, three PUTs. */
	w->others = 50;
	defrag_put(w, 2000, SLICE("d"));
	w->others = 1050;
	for (int i = 0; i < 3; i++)
		defrag_put(w, 900 - (uint64_t)i, SLICE("c"));
	assert_int_equal(chosen(w, 0, &gain), 4);
	assert_int_equal(gain, 1050);
	/* What is before them is cleared anyway. */
	w->others = 2000;
	assert_int_equal(chosen(w, 950, &gain), 4);
	assert_int_equal(gain, 1050);
	/* Two thousand rows for a thousand operations: no. */
	for (int i = 0; i < 2000; i++)
		defrag_put(w, 800, SLICE("e"));
	w->others = 2950;
	assert_int_equal(chosen(w, 950, &gain), 0);
	w->puts = 0;
	w->others = 90; /* too few */
	defrag_put(w, 5, SLICE("x"));
	w->others = 180;
	assert_int_equal(chosen(w, 90, &gain), 0);
	w->incomplete = true;
	w->others = 5000;
	assert_int_equal(chosen(w, 0, &gain), 0);
	free(w);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(rows_that_hold_up_a_clear_are_written_again),
	        T(a_row_that_changed_meanwhile_is_left),
	        T(a_row_that_went_meanwhile_does_not_come_back),
	        T(nothing_is_written_for_a_definition_that_goes),
	        T(text_that_another_bucket_has_is_written_again_as_well),
	        cmocka_unit_test(several_operations_are_gained_for_each_row),
	};
	return cmocka_run_group_tests_name("defrag", tests, NULL, NULL);
}
