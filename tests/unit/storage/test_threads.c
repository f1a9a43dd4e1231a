/* The writer, readers, the request thread and the maintenance thread side by side (run it under ThreadSanitizer, too). */
#include "storage/row_model.h"

#include <pthread.h>
#include <stdatomic.h>

enum { COMMITS = 300, READERS = 2 };

struct shared {
	struct fixture *f;
	uint32_t tables[MODEL_TABLES];
	atomic_bool stop;
	atomic_ulong reads, requests, told;
};

static void count_news(void *ctx, const struct storage_news *n)
{
	struct shared *s = ctx;
	atomic_fetch_add(&s->told, n->user_count);
}

/* cmocka's assertions belong to the main thread. */
static void must(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "%s\n", what);
		abort();
	}
}

/* At each checkpoint that it takes, a reader finds sums that fit the operations. */
static void *read_on(void *arg)
{
	struct shared *s = arg;
	struct error err;
	while (!atomic_load(&s->stop)) {
		struct checkpoint c = storage_checkpoint(s->f->s);
		struct stored_plan *p = storage_active_plan(s->f->s);
		struct storage_reader *r = storage_read_begin(s->f->s, &err);
		must(r && p && p->id == c.plan_id, "no reader");
		for (int b = 0; b < MODEL_BUCKETS; b++) {
			char keys[16];
			struct op_view op;
			uint32_t sum = 0;
			uint64_t count = 0;
			struct bucket_checksum checksum;
			snprintf(keys, sizeof(keys), "[%d]", b);
			uint32_t bucket = reader_bucket(r, 1, slice_cstr(keys));
			struct op_cursor *cursor = reader_ops(r, bucket, 0, c.op_id, &err);
			while (op_cursor_next(cursor, &op, &err) > 0) {
				must(op.object_type.n == 1 && strlen(op.subkey_table) == UUID_TEXT, "names");
				sum += op.checksum;
				count++;
			}
			op_cursor_close(cursor);
			must(reader_checksum(r, bucket, c.op_id, &checksum, &err), "checksum");
			must(checksum.checksum == sum && checksum.count == count, "the sum is that of the operations");
		}
		storage_read_end(r);
		stored_plan_unref(p);
		atomic_fetch_add(&s->reads, 1);
	}
	return NULL;
}

static void *request_on(void *arg)
{
	struct shared *s = arg;
	struct error err;
	for (uint64_t id = 1; !atomic_load(&s->stop); id++) {
		struct position p = storage_checkpoint(s->f->s).position;
		struct checkpoint_request r[2] = {{.user = {SLICE("u"), SLICE("c")}, .id = id},
		                                  {.user = {SLICE("v"), {NULL, 0}}}};
		must(storage_request_checkpoints(s->f->s, r, 2, id % 7 > 0, (struct position){0, p.lsn + id % 3}, &err),
		     "request");
		must(r[0].stored_id == id, "id");
		size_t count;
		struct waiting_heads *w = storage_waiting_heads(s->f->s, &count, &err);
		must(storage_fill_heads(s->f->s, w, (struct position){0, p.lsn + 1}, &err), "heads");
		waiting_heads_free(w);
		must(storage_write_checkpoint(s->f->s, &r[0].user, (struct position){0, UINT64_MAX}) == id, "read");
		atomic_fetch_add(&s->requests, 1);
	}
	return NULL;
}

static void *maintain_on(void *arg)
{
	struct shared *s = arg;
	struct error err;
	while (!atomic_load(&s->stop)) {
		int64_t oldest;
		struct user_key u = {SLICE("u"), SLICE("c")};
		must(storage_touch_requests(s->f->s, &u, 1, &err) && storage_expire_requests(s->f->s, &err), "maintenance");
		storage_pending_requests(s->f->s, &oldest);
		storage_durable_position(s->f->s);
		usleep(1000);
	}
	return NULL;
}

static void all_threads_at_once(void **state)
{
	struct fixture *f = *state;
	struct shared s = {.f = f};
	uint64_t seed = 99;
	struct model m = {0};
	pthread_t threads[READERS + 2];
	storage_subscribe(f->s, count_news, &s);
	activate(f, MODEL_PLAN);
	s.tables[0] = table(f, "t1", 1);
	s.tables[1] = table(f, "t2", 2);
	commit(f);
	for (int i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_on, &s), 0);
	assert_int_equal(pthread_create(&threads[READERS], NULL, request_on, &s), 0);
	assert_int_equal(pthread_create(&threads[READERS + 1], NULL, maintain_on, &s), 0);
	for (int i = 0; i < COMMITS; i++) {
		for (int k = 0; k < 5; k++)
			model_step(f, s.tables, &m, &seed, false);
		if (i % 10 == 0)
			OK(storage_flush(f->s, &f->err));
		commit(f);
	}
	atomic_store(&s.stop, true);
	for (int i = 0; i < READERS + 2; i++)
		pthread_join(threads[i], NULL);
	compare_all(f, s.tables, &m, storage_checkpoint(f->s).op_id);
	print_message("%lu reads, %lu requests, %lu users told\n", atomic_load(&s.reads), atomic_load(&s.requests),
	              atomic_load(&s.told));
	assert_true(atomic_load(&s.told) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(all_threads_at_once, setup, teardown)};
	return cmocka_run_group_tests_name("threads", tests, NULL, NULL);
}
