/*
 * kill -9 at any instant: a child applies numbered transactions and is killed; whoever opens the store finds exactly the transactions
 * up to the applied position, every checkpoint request that was answered, and op ids that were never used before.
 */
#include "storage/row_model.h"

#include <sys/wait.h>
#include <time.h>

/* Transactions are numbered by their position, from FIRST + 1 on. */
enum { ROUNDS = 25, FIRST = 20 };

/* Transaction n changes the same rows in the same way whenever it is applied. */
static void transaction(struct fixture *f, const uint32_t *tables, struct model *m, uint64_t n)
{
	uint64_t seed = n * 0x9e3779b97f4a7c15u + 1;
	int steps = 1 + (int)model_random(&seed, 12);
	for (int i = 0; i < steps; i++) {
		model_step(f, tables, m, &seed, true);
		/* Large transactions are cut into several flushes. */
		bool cut = model_random(&seed, 6) == 0;
		if (f && cut)
			OK(storage_flush(f->s, &f->err));
	}
}

struct report {
	uint64_t answered; /* checkpoint request id that was answered */
	uint64_t shown_op; /* checkpoint that clients could see */
	uint64_t durable;  /* position that may have been confirmed to the source */
};

static void ask(struct fixture *f, uint64_t id, uint64_t head)
{
	struct checkpoint_request r = {.user = {SLICE("u"), SLICE("c")}, .id = id};
	OK(storage_request_checkpoints(f->s, &r, 1, true, (struct position){0, head}, &f->err));
}

static void child(struct fixture *f, const uint32_t *tables, int out)
{
	struct source_state st;
	struct model scratch = {0};
	open_store(f);
	reopen(f);
	OK(storage_source_state(f->s, &st, &f->err));
	for (uint64_t n = FIRST + 1; n <= st.applied.lsn; n++)
		transaction(NULL, tables, &scratch, n);
	for (uint64_t n = st.applied.lsn + 1;; n++) {
		bool durable;
		storage_in_transaction(f->s, (struct position){0, n});
		transaction(f, tables, &scratch, n);
		OK(storage_commit(f->s, (struct position){0, n}, n % 3 > 0, &durable, &f->err));
		ask(f, n, n + n % 5);
		struct report r = {n, storage_checkpoint(f->s).op_id, storage_durable_position(f->s).lsn};
		if (write(out, &r, sizeof(r)) != sizeof(r))
			_exit(1);
	}
}

/* Every op id once, over all buckets. */
static void check_op_ids(struct fixture *f)
{
	struct storage_reader *r = storage_read_begin(f->s, &f->err);
	uint8_t *seen = xcalloc(f->s->state.op_seq + 1, 1);
	for (int b = 0; b < MODEL_BUCKETS; b++) {
		char keys[16];
		struct op_view op;
		snprintf(keys, sizeof(keys), "[%d]", b);
		struct op_cursor *c = reader_ops(r, reader_bucket(r, 1, slice_cstr(keys)), 0, UINT64_MAX, &f->err);
		while (op_cursor_next(c, &op, &f->err) > 0) {
			assert_true(op.op_id <= f->s->state.op_seq);
			assert_int_equal(seen[op.op_id], 0);
			seen[op.op_id] = 1;
		}
		op_cursor_close(c);
	}
	free(seen);
	storage_read_end(r);
}

static void killed_at_any_instant_nothing_is_lost_or_doubled(void **state)
{
	struct fixture *f = *state;
	uint64_t seed = 4711, answered = 0, shown = 0, applied = FIRST;
	activate(f, MODEL_PLAN);
	uint32_t tables[MODEL_TABLES] = {table(f, "t1", 1), table(f, "t2", 2)};
	bool durable;
	OK(storage_commit(f->s, (struct position){0, FIRST}, true, &durable, &f->err));
	struct model m;
	for (int round = 0; round < ROUNDS; round++) {
		storage_close(f->s);
		f->s = NULL;
		int pipe_of[2];
		assert_int_equal(pipe(pipe_of), 0);
		pid_t pid = fork();
		if (pid == 0) {
			close(pipe_of[0]);
			child(f, tables, pipe_of[1]);
			_exit(0);
		}
		close(pipe_of[1]);
		struct timespec pause_for = {0, (long)(1000000 + model_random(&seed, 40000000))};
		nanosleep(&pause_for, NULL);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		struct report r;
		while (read(pipe_of[0], &r, sizeof(r)) == sizeof(r)) {
			answered = r.answered;
			shown = r.shown_op;
			applied = r.durable;
		}
		close(pipe_of[0]);
		open_store(f);
		reopen(f);
		struct source_state st;
		OK(storage_source_state(f->s, &st, &f->err));
		struct checkpoint c = storage_checkpoint(f->s);
		assert_true(st.applied.lsn >= applied && c.op_id >= shown);
		applied = st.applied.lsn;
		/* What the checkpoint shows is the state at its own position. */
		memset(&m, 0, sizeof(m));
		for (uint64_t n = FIRST + 1; n <= c.position.lsn; n++)
			transaction(NULL, tables, &m, n);
		compare_all(f, tables, &m, c.op_id);
		check_op_ids(f);
		if (answered) {
			struct user_key u = {SLICE("u"), SLICE("c")};
			uint64_t id = storage_write_checkpoint(f->s, &u, (struct position){0, UINT64_MAX});
			assert_true(id >= answered);
			id = storage_write_checkpoint(f->s, &u, c.position);
			assert_true(id <= c.position.lsn);
		}
	}
	print_message("%llu transactions, op id %llu\n", (unsigned long long)applied, (unsigned long long)f->s->state.op_seq);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(killed_at_any_instant_nothing_is_lost_or_doubled, setup, teardown)};
	return cmocka_run_group_tests_name("crash", tests, NULL, NULL);
}
