/* Plans and definitions: incremental-deploy 1 to 5, 8. */
#include "storage/fixture.h"

static uint32_t number_of(struct stored_plan *p, const char *name)
{
	for (size_t i = 0; i < p->count; i++)
		if (slice_eq(plan_definition(p->plan, (uint32_t)i)->name, slice_cstr(name)))
			return p->definitions[i].number;
	return 0;
}

static bool deploy(struct fixture *f, const char *text)
{
	struct plan *p = make_plan(text);
	bool unchanged;
	OK(storage_deploy(f->s, p, &unchanged, &f->err));
	plan_unref(p);
	return unchanged;
}

static enum definition_state state_of(struct fixture *f, uint32_t number)
{
	for (size_t i = 0; i < f->s->definition_count; i++)
		if (f->s->definitions[i].number == number)
			return f->s->definitions[i].state;
	return DEFINITION_NONE;
}

static void the_first_plan_is_pending_until_it_is_filled(void **state)
{
	struct fixture *f = *state;
	assert_false(deploy(f, "a=1\nb=2"));
	assert_null(storage_active_plan(f->s));
	struct stored_plan *p = storage_pending_plan(f->s);
	assert_int_equal(p->count, 2);
	assert_int_equal(p->definitions[0].number, 1);
	assert_int_equal(p->definitions[1].number, 2);
	assert_int_equal(p->definitions[0].state, DEFINITION_FILLING);
	assert_int_equal(p->definitions[0].epoch, 1);
	assert_true(slice_eq(p->definitions[0].name, SLICE("a")));
	assert_false(storage_activate_pending(f->s, &f->err));
	OK(storage_definition_ready(f->s, 1, &f->err));
	OK(storage_definition_ready(f->s, 2, &f->err));
	assert_int_equal(p->definitions[0].state, DEFINITION_FILLING); /* as of when it was made */
	stored_plan_unref(p);
	p = storage_pending_plan(f->s);
	assert_int_equal(p->definitions[0].state, DEFINITION_READY);
	stored_plan_unref(p);
	OK(storage_activate_pending(f->s, &f->err));
	assert_null(storage_active_plan(f->s));
	commit(f);
	p = storage_active_plan(f->s);
	assert_non_null(p);
	assert_int_equal(storage_checkpoint(f->s).plan_id, p->id);
	assert_true(f->everything);
	stored_plan_unref(p);
	assert_null(storage_pending_plan(f->s));
	assert_true(deploy(f, "a=1\nb=2"));
}

static void unchanged_definitions_keep_number_name_and_data(void **state)
{
	struct fixture *f = *state;
	activate(f, "a=1\nb=2");
	uint32_t t = table(f, "t", 1);
	write_puts_of(f, t, "k", NULL, PUTS(entry(1, "[]", "t", "k", "{}"), entry(2, "[]", "t", "k", "{}")));
	commit(f);
	assert_false(deploy(f, "renamed=1\nc=3"));
	struct stored_plan *p = storage_pending_plan(f->s);
	assert_int_equal(p->definitions[0].number, 1);
	assert_int_equal(p->definitions[0].state, DEFINITION_READY);
	assert_true(slice_eq(p->definitions[0].name, SLICE("a")));
	assert_int_equal(p->definitions[1].number, 3);
	assert_int_equal(p->definitions[1].epoch, 2);
	stored_plan_unref(p);
	OK(storage_definition_ready(f->s, 3, &f->err));
	OK(storage_activate_pending(f->s, &f->err));
	commit(f);
	assert_int_equal(state_of(f, 2), DEFINITION_DROPPING);
	/* What a dropped definition gave goes without an operation; the others are compared as ever. */
	uint64_t before = storage_checkpoint(f->s).op_id;
	compare_puts_of(f, t, "k", PUTS(entry(1, "[]", "t", "k", "{}"), entry(3, "[]", "t", "k", "{}")));
	commit(f);
	assert_int_equal(storage_checkpoint(f->s).op_id, before + 1);
	assert_string_equal(bucket(f, 1, "[]"), "PUT 1 t/k {}|");
	assert_string_equal(bucket(f, 2, "[]"), "PUT 2 t/k {}|");
	assert_string_equal(bucket(f, 3, "[]"), "PUT 3 t/k {}|");
	delete_row(f, t, "k");
	commit(f);
	assert_string_equal(bucket(f, 2, "[]"), "PUT 2 t/k {}|");
	/* The same content again: a new number, its old data has holes. */
	assert_false(deploy(f, "a=1\nb=2\nc=3"));
	p = storage_pending_plan(f->s);
	assert_int_equal(number_of(p, "b"), 4);
	stored_plan_unref(p);
}

static void a_pending_plan_is_replaced_and_cancelled(void **state)
{
	struct fixture *f = *state;
	activate(f, "a=1");
	deploy(f, "a=1\nb=2\nc=3");
	deploy(f, "a=1\nb=2\nd=4");
	assert_int_equal(state_of(f, 2), DEFINITION_FILLING);
	assert_int_equal(state_of(f, 3), DEFINITION_DROPPING);
	assert_int_equal(state_of(f, 4), DEFINITION_FILLING);
	assert_false(deploy(f, "a=1\nb=2\nd=4")); /* pending already: nothing */
	assert_int_equal(f->s->definition_count, 4);
	assert_false(deploy(f, "a=1")); /* cancels */
	assert_null(storage_pending_plan(f->s));
	assert_int_equal(state_of(f, 2), DEFINITION_DROPPING);
	assert_int_equal(state_of(f, 1), DEFINITION_READY);
	assert_true(deploy(f, "a=1"));
	reopen(f);
	assert_null(storage_pending_plan_text(f->s).p);
	assert_true(deploy(f, "a=1"));
}

static void plans_survive_a_restart(void **state)
{
	struct fixture *f = *state;
	activate(f, "a=1");
	deploy(f, "a=1\nb=2");
	OK(storage_definition_ready(f->s, 2, &f->err));
	commit(f);
	reopen(f);
	struct stored_plan *p = storage_active_plan(f->s);
	assert_int_equal(p->definitions[0].number, 1);
	stored_plan_unref(p);
	assert_true(slice_eq(storage_active_plan_text(f->s), SLICE("a=1")));
	assert_true(slice_eq(storage_pending_plan_text(f->s), SLICE("a=1\nb=2")));
	assert_null(storage_pending_plan(f->s));
	assert_false(deploy(f, "a=1\nb=2"));
	p = storage_pending_plan(f->s);
	assert_int_equal(p->definitions[1].number, 2);
	assert_int_equal(p->definitions[1].state, DEFINITION_READY);
	stored_plan_unref(p);
	OK(storage_activate_pending(f->s, &f->err));
	commit(f);
	reopen(f);
	assert_true(slice_eq(storage_active_plan_text(f->s), SLICE("a=1\nb=2")));
	assert_null(storage_pending_plan_text(f->s).p);
}

static void a_rolled_back_ready_is_filling_again(void **state)
{
	struct fixture *f = *state;
	deploy(f, "a=1");
	OK(storage_definition_ready(f->s, 1, &f->err));
	OK(storage_activate_pending(f->s, &f->err));
	storage_rollback(f->s);
	struct stored_plan *p = storage_pending_plan(f->s);
	assert_int_equal(p->definitions[0].state, DEFINITION_FILLING);
	stored_plan_unref(p);
	commit(f);
	assert_null(storage_active_plan(f->s));
}

static void a_program_that_reads_the_text_differently_fills_again(void **state)
{
	struct fixture *f = *state;
	activate(f, "a=1\nb=2");
	storage_close(f->s);
	open_store(f);
	/* The same text, but another content of its second definition: as after a fix of a function. */
	struct plan *p = make_plan("a=1\nb=2");
	p->definitions[1].content = SLICE("2'");
	sha256_slices(&p->definitions[1].content, 1, p->definitions[1].hash);
	OK(storage_attach_active(f->s, p, &f->err));
	struct stored_plan *sp = storage_active_plan(f->s);
	assert_int_equal(sp->definitions[1].number, 2);
	stored_plan_unref(sp);
	bool unchanged;
	OK(storage_deploy(f->s, p, &unchanged, &f->err));
	assert_false(unchanged);
	sp = storage_pending_plan(f->s);
	assert_int_equal(sp->definitions[0].number, 1);
	assert_int_equal(sp->definitions[1].number, 3);
	assert_int_equal(sp->definitions[1].state, DEFINITION_FILLING);
	stored_plan_unref(sp);
	OK(storage_definition_ready(f->s, 3, &f->err));
	OK(storage_activate_pending(f->s, &f->err));
	commit(f);
	OK(storage_deploy(f->s, p, &unchanged, &f->err));
	assert_true(unchanged);
	plan_unref(p);
}

static void operations_of_a_filling_definition_are_hidden_by_their_name_only(void **state)
{
	struct fixture *f = *state;
	activate(f, "a=1");
	uint32_t t = table(f, "t", 1);
	deploy(f, "a=1\nb=2");
	write_puts_of(f, t, "k", NULL, PUTS(entry(2, "[]", "t", "k", "{}")));
	commit(f);
	/* The checkpoint of the active plan moves on; op ids are one sequence. */
	assert_int_equal(storage_checkpoint(f->s).op_id, 1);
	assert_true(storage_checkpoint(f->s).valid);
}

static void deploying_keeps_what_was_written_before(void **state)
{
	struct fixture *f = *state;
	activate(f, "a=1");
	uint32_t t = table(f, "t", 1);
	write_puts_of(f, t, "k", NULL, PUTS(entry(1, "[]", "t", "k", "{}")));
	deploy(f, "a=1\nb=2");
	storage_rollback(f->s);
	assert_string_equal(bucket_at(f, 1, "[]", 10), "PUT 1 t/k {}|");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	        T(the_first_plan_is_pending_until_it_is_filled),
	        T(unchanged_definitions_keep_number_name_and_data),
	        T(a_pending_plan_is_replaced_and_cancelled),
	        T(plans_survive_a_restart),
	        T(a_rolled_back_ready_is_filling_again),
	        T(a_program_that_reads_the_text_differently_fills_again),
	        T(operations_of_a_filling_definition_are_hidden_by_their_name_only),
	        T(deploying_keeps_what_was_written_before),
	};
	return cmocka_run_group_tests_name("plans", tests, NULL, NULL);
}
