/* Random rows against a model: reduced buckets, checksums and lookups, at the newest checkpoint and at older ones. */
#include "storage/row_model.h"

enum { KEPT = 4 };

struct shown {
	uint64_t c;
	struct model m;
};

static void run(struct fixture *f, uint64_t seed, int steps)
{
	struct model *current = xcalloc(1, sizeof(*current)), *durable = xcalloc(1, sizeof(*durable));
	struct shown *shown = xcalloc(KEPT, sizeof(*shown));
	size_t count = 0;
	uint64_t last_op = 0;
	activate(f, MODEL_PLAN);
	uint32_t tables[MODEL_TABLES] = {table(f, "t1", 1), table(f, "t2", 2)};
	commit(f);
	for (int i = 0; i < steps; i++) {
		uint64_t x = model_random(&seed, 200);
		if (x < 184) {
			model_step(f, tables, current, &seed, false);
			continue;
		}
		if (x < 187) {
			OK(storage_flush(f->s, &f->err));
			*durable = *current;
		} else if (x < 189) {
			storage_rollback(f->s);
			*current = *durable;
		} else if (x < 190) {
			reopen(f);
			count = 0; /* nobody holds a checkpoint of the process before */
			*current = *durable;
		} else if (x < 191) {
			bool d;
			f->lsn += 10;
			OK(storage_commit(f->s, (struct position){0, f->lsn}, false, &d, &f->err));
			*durable = *current;
		} else {
			commit(f);
			*durable = *current;
			uint64_t c = storage_checkpoint(f->s).op_id;
			assert_true(c >= last_op);
			last_op = c;
			if (count && shown[(count - 1) % KEPT].c == c)
				count--; /* the same checkpoint: nothing may have changed but by commits without operations */
			shown[count % KEPT] = (struct shown){c, *current};
			count++;
			for (size_t k = count > KEPT ? count - KEPT : 0; k < count; k++)
				compare_all(f, tables, &shown[k % KEPT].m, shown[k % KEPT].c);
		}
	}
	free(current);
	free(durable);
	free(shown);
}

static void random_rows_agree_with_the_model(void **state)
{
	const char *given = getenv("SEED");
	run(*state, given ? strtoull(given, NULL, 0) : 4242, 3000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(random_rows_agree_with_the_model, setup, teardown)};
	return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
