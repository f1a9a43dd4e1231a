/* Plans and definitions: incremental-deploy 1 to 5, 8. */
#include "storage/fixture.h"
#include "storage/preview.h"

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

static void what_a_newer_program_filled_is_refused_by_name(void **state)
{
	struct fixture *f = *state;
	activate(f, "a=types@1 (upper@1 x)\nb=types@1 (>@1 (datetime@12 x) s:\"@3\")");
	storage_close(f->s);
	open_store(f);
	/* Older than what is stored in the second definition, newer in the first. */
	struct plan *p = make_plan("a=types@2 (upper@1 x)\nb=types@2 (>@1 (datetime@9 x) s:\"@3\")");
	assert_false(storage_attach_active(f->s, p, &f->err));
	assert_string_equal(f->err.code, "PSYNC_S1005");
	assert_non_null(strstr(f->err.message, "datetime@12"));
	assert_null(storage_active_plan(f->s));
	plan_unref(p);
	p = make_plan("a=types@2 (upper@3 x)\nb=types@2 (>@1 (datetime@13 x) s:\"@3\")");
	OK(storage_attach_active(f->s, p, &f->err));
	plan_unref(p);
	assert_true(slice_eq(revision_unknown(SLICE("a@2"), SLICE("a@1")), SLICE("a@2")));
	assert_null(revision_unknown(SLICE("a@2"), SLICE("b@1")).p);
	assert_null(revision_unknown(SLICE("a@"), SLICE("a@1")).p);
	assert_null(revision_unknown(SLICE(""), SLICE("")).p);
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

/* ---- replaced plans ---- */

static int64_t pretended_ms;

static int64_t pretended(void)
{
	return pretended_ms;
}

static void keep_replaced(struct fixture *f)
{
	f->s->wall_ms = pretended;
	f->s->retirement_ms = 1000;
	pretended_ms = 1000000;
}

static void activate_pending(struct fixture *f)
{
	OK(storage_activate_pending(f->s, &f->err));
	commit(f);
}

static size_t retired_count(struct fixture *f)
{
	struct stored_plan *plans[MAX_RETIRED_PLANS];
	size_t n = storage_retired_plans(f->s, plans);
	for (size_t i = 0; i < n; i++)
		stored_plan_unref(plans[i]);
	return n;
}

static bool expire(struct fixture *f)
{
	bool expired;
	OK(storage_expire_plans(f->s, &expired, &f->err));
	return expired;
}

static void going_back_in_time_fills_nothing(void **state)
{
	struct fixture *f = *state;
	keep_replaced(f);
	activate(f, "a=1\nb=2");
	activate(f, "a=1\nc=3");
	assert_int_equal(state_of(f, 2), DEFINITION_RETIRED);
	assert_int_equal(retired_count(f), 1);
	assert_false(deploy(f, "a=1\nb=2"));
	assert_int_equal(state_of(f, 2), DEFINITION_READY);
	activate_pending(f);
	assert_int_equal(f->s->definition_count, 3);
	assert_int_equal(state_of(f, 3), DEFINITION_RETIRED);
	assert_int_equal(retired_count(f), 1);
	/* A deploy that is taken back leaves it as it was. */
	deploy(f, "a=1\nc=3\nd=4");
	assert_int_equal(state_of(f, 3), DEFINITION_READY);
	deploy(f, "a=1\nb=2");
	assert_int_equal(state_of(f, 3), DEFINITION_RETIRED);
	assert_int_equal(state_of(f, 4), DEFINITION_DROPPING);
}

static void after_its_time_a_replaced_plan_is_dropped(void **state)
{
	struct fixture *f = *state;
	keep_replaced(f);
	activate(f, "a=1\nb=2");
	activate(f, "a=1");
	pretended_ms += 999;
	assert_false(storage_plans_expire(f->s));
	assert_false(expire(f));
	pretended_ms++;
	assert_true(storage_plans_expire(f->s));
	assert_true(expire(f));
	assert_int_equal(state_of(f, 2), DEFINITION_DROPPING);
	assert_int_equal(retired_count(f), 0);
	deploy(f, "a=1\nb=2");
	assert_int_equal(state_of(f, 3), DEFINITION_FILLING);
	reopen(f);
	assert_null(storage_retired_plan_text(f->s, 0).p);
	assert_int_equal(state_of(f, 2), DEFINITION_DROPPING);
}

static void a_plan_without_definitions_of_its_own_is_not_kept(void **state)
{
	struct fixture *f = *state;
	keep_replaced(f);
	activate(f, "a=1");
	activate(f, "a=1\nb=2");
	assert_int_equal(retired_count(f), 0);
}

static void no_more_plans_are_kept_than_can_be_maintained(void **state)
{
	struct fixture *f = *state;
	keep_replaced(f);
	activate(f, "a=1");
	activate(f, "b=2");
	activate(f, "c=3");
	activate(f, "d=4");
	activate(f, "e=5");
	assert_int_equal(retired_count(f), MAX_RETIRED_PLANS);
	assert_int_equal(state_of(f, 1), DEFINITION_DROPPING);
	assert_int_equal(state_of(f, 2), DEFINITION_RETIRED);
	assert_int_equal(state_of(f, 4), DEFINITION_RETIRED);
}

static void attach(struct fixture *f, size_t index, const char *text)
{
	struct plan *p = make_plan(text);
	storage_attach_retired(f->s, index, p);
	plan_unref(p);
}

static void replaced_plans_survive_a_restart_if_they_are_attached(void **state)
{
	struct fixture *f = *state;
	keep_replaced(f);
	activate(f, "a=1\nb=2");
	activate(f, "a=1\nc=3");
	activate(f, "a=1\nd=4");
	reopen(f);
	keep_replaced(f);
	assert_string_equal(arena_cstr(&f->arena, storage_retired_plan_text(f->s, 0)), "a=1\nc=3");
	assert_string_equal(arena_cstr(&f->arena, storage_retired_plan_text(f->s, 1)), "a=1\nb=2");
	assert_null(storage_retired_plan_text(f->s, 2).p);
	assert_int_equal(state_of(f, 2), DEFINITION_RETIRED);
	attach(f, 0, "a=1\nc=3'"); /* this program makes something else of it */
	attach(f, 1, "a=1\nb=2");
	assert_true(deploy(f, "a=1\nd=4"));
	assert_int_equal(state_of(f, 2), DEFINITION_RETIRED);
	assert_int_equal(state_of(f, 3), DEFINITION_DROPPING);
	assert_int_equal(retired_count(f), 1);
	assert_false(deploy(f, "a=1\nb=2"));
	activate_pending(f);
	assert_int_equal(state_of(f, 2), DEFINITION_READY);
	assert_int_equal(state_of(f, 4), DEFINITION_RETIRED);
}

static void a_program_that_knows_no_replaced_plans_leaves_them_to_be_dropped(void **state)
{
	struct fixture *f = *state;
	keep_replaced(f);
	activate(f, "a=1\nb=2");
	activate(f, "a=1");
	assert_int_equal(state_of(f, 2), DEFINITION_RETIRED);
	/* Such a program writes the state without the list. */
	f->s->state.retired_count = f->s->committed.retired_count = 0;
	uint32_t t = table(f, "t", 1);
	write_puts_of(f, t, "k", NULL, PUTS(entry(1, "[]", "t", "k", "{}")));
	commit(f);
	reopen(f);
	assert_int_equal(state_of(f, 2), DEFINITION_DROPPING);
	deploy(f, "a=1\nb=2");
	assert_int_equal(state_of(f, 3), DEFINITION_FILLING);
}

static void a_preview_tells_what_is_kept_taken_up_new_and_removed(void **state)
{
	struct fixture *f = *state;
	keep_replaced(f);
	activate(f, "a=1\nb=2");
	activate(f, "a=1\nc=3");
	struct plan *p = make_plan("renamed=1\nb=2\nd=4");
	struct plan_preview v;
	storage_preview(f->s, p, &v);
	assert_false(v.unchanged);
	assert_int_equal(v.count, 4);
	assert_int_equal(v.changes[0].kind, CHANGE_KEPT);
	assert_int_equal(v.changes[0].number, 1);
	assert_int_equal(v.changes[1].kind, CHANGE_REUSABLE);
	assert_int_equal(v.changes[1].number, 2);
	assert_int_equal(v.changes[2].kind, CHANGE_NEW);
	assert_int_equal(v.changes[3].kind, CHANGE_REMOVED);
	assert_int_equal(v.changes[3].number, 3);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(v.counts[i], 1);
	plan_preview_free(&v);
	plan_unref(p);
	p = make_plan("a=1\nc=3");
	storage_preview(f->s, p, &v);
	assert_true(v.unchanged);
	plan_preview_free(&v);
	plan_unref(p);
}

/* ---- random deploys ---- */

/* What each definition content's number must be, by the rules of incremental-deploy 4 and 8, told by the states before. */
static void deploys_in_random_order_keep_what_is_maintained(void **state)
{
	struct fixture *f = *state;
	keep_replaced(f);
	unsigned seed = 20261125;
	uint32_t known[8] = {0}; /* content -> number, while maintained */
	for (int round = 0; round < 400; round++) {
		char text[128] = "";
		unsigned mask = (unsigned)rand_r(&seed) % 255 + 1, most = f->s->state.last_definition;
		for (unsigned i = 0; i < 8; i++)
			if (mask >> i & 1)
				snprintf(text + strlen(text), sizeof(text) - strlen(text), "d%u=c%u\n", i, i);
		switch (rand_r(&seed) % 8) {
		case 0:
			pretended_ms += rand_r(&seed) % 1500;
			expire(f);
			break;
		case 1:
			if (f->s->active_plan) {
				/* Only the texts are in the store: they are made again, some of them. */
				char *active = arena_cstr(&f->arena, f->s->active_record.text);
				char *pending =
				        f->s->pending_record.id ? arena_cstr(&f->arena, f->s->pending_record.text) : active;
				int64_t now = pretended_ms;
				reopen(f);
				keep_replaced(f);
				pretended_ms = now;
				struct plan *p = make_plan(active);
				OK(storage_attach_active(f->s, p, &f->err));
				plan_unref(p);
				for (size_t i = 0; storage_retired_plan_text(f->s, i).p; i++)
					if (rand_r(&seed) % 4)
						attach(f, i, arena_cstr(&f->arena, storage_retired_plan_text(f->s, i)));
				deploy(f, pending);
			}
			break;
		case 2:
		case 3:
		case 4:
			deploy(f, text);
			break;
		default:
			if (f->s->pending_plan) {
				for (size_t i = 0; i < f->s->pending_record.count; i++)
					OK(storage_definition_ready(f->s, f->s->pending_record.numbers[i], &f->err));
				activate_pending(f);
			}
		}
		for (size_t i = 0; i < f->s->definition_count; i++) {
			const struct definition_record *r = &f->s->definitions[i];
			unsigned content = (unsigned)(r->content.p[1] - '0');
			if (r->state == DEFINITION_DROPPING) {
				if (known[content] == r->number)
					known[content] = 0;
				continue;
			}
			/* One maintained definition of a content, and a number is never taken up again once it was given up. */
			assert_true(known[content] == 0 || known[content] == r->number);
			assert_true(known[content] == r->number || r->number > most);
			known[content] = r->number;
			bool needed = plan_needs(&f->s->active_record, r->number) || plan_needs(&f->s->pending_record, r->number);
			assert_int_equal(needed, r->state != DEFINITION_RETIRED);
		}
		for (size_t i = 0; i < f->s->active_record.count; i++)
			assert_int_equal(state_of(f, f->s->active_record.numbers[i]), DEFINITION_READY);
		assert_int_equal(f->s->retired_plan_count, f->s->committed.retired_count);
	}
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
	        T(what_a_newer_program_filled_is_refused_by_name),
	        T(operations_of_a_filling_definition_are_hidden_by_their_name_only),
	        T(deploying_keeps_what_was_written_before),
	        T(going_back_in_time_fills_nothing),
	        T(after_its_time_a_replaced_plan_is_dropped),
	        T(a_plan_without_definitions_of_its_own_is_not_kept),
	        T(no_more_plans_are_kept_than_can_be_maintained),
	        T(replaced_plans_survive_a_restart_if_they_are_attached),
	        T(a_program_that_knows_no_replaced_plans_leaves_them_to_be_dropped),
	        T(a_preview_tells_what_is_kept_taken_up_new_and_removed),
	        T(deploys_in_random_order_keep_what_is_maintained),
	};
	return cmocka_run_group_tests_name("plans", tests, NULL, NULL);
}
