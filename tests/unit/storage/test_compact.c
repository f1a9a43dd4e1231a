/* Compaction against a model of what a client holds (storage-semantics 9), removal of definitions, and all of it beside a writer. */
#include <pthread.h>
#include <stdatomic.h>

#include "storage/compact.h"
#include "storage/row_model.h"

/* ---- r(B): what a client holds ---- */

struct held {
	char **rows; /* "checksum identity data" of the PUTs */
	uint32_t *sums;
	size_t count, cap, sums_cap;
	uint32_t rest;
};

static void held_forget(struct held *h, size_t i)
{
	free(h->rows[i]);
	h->rows[i] = h->rows[--h->count];
	h->sums[i] = h->sums[h->count];
}

static void held_free(struct held *h)
{
	while (h->count)
		held_forget(h, 0);
	free(h->rows);
	free(h->sums);
}

static void held_apply(struct held *h, const struct op_view *op)
{
	if (op->kind == OP_MOVE) {
		h->rest += op->checksum;
		return;
	}
	if (op->kind == OP_CLEAR) {
		while (h->count)
			held_forget(h, 0);
		h->rest = op->checksum;
		return;
	}
	char *row = line_of(op->subkey_table, op->subkey_uuid, op->object_id.p, op->object_id.n, op->data.p ? op->data.p : "",
	                    op->data.n);
	size_t head = (size_t)(strchr(strchr(row, ' ') + 1, ' ') - row) + 1;
	for (size_t i = 0; i < h->count; i++)
		if (strncmp(h->rows[i], row, head) == 0) {
			h->rest += h->sums[i];
			held_forget(h, i);
			break;
		}
	if (op->kind == OP_REMOVE) {
		h->rest += op->checksum;
		free(row);
		return;
	}
	h->sums = xgrow(h->sums, h->count, &h->sums_cap, sizeof(*h->sums));
	h->rows = xgrow(h->rows, h->count, &h->cap, sizeof(*h->rows));
	h->sums[h->count] = op->checksum;
	h->rows[h->count++] = row;
}

static void held_read(struct fixture *f, struct held *h, int number, uint64_t after, uint64_t up_to)
{
	char keys[16];
	struct op_view op;
	int got;
	snprintf(keys, sizeof(keys), "[%d]", number);
	struct storage_reader *r = storage_read_begin(f->s, &f->err);
	struct op_cursor *c = reader_ops(r, reader_bucket(r, 1, slice_cstr(keys)), after, up_to, &f->err);
	while ((got = op_cursor_next(c, &op, &f->err)) > 0)
		held_apply(h, &op);
	if (got < 0)
		fail_msg("%s", f->err.message);
	op_cursor_close(c);
	storage_read_end(r);
}

/* Sorted text of all of it. */
static char *held_text(struct held *h)
{
	char *rows = join_sorted(h->rows, h->count);
	struct buf out = {0};
	buf_printf(&out, "rest %u\n%s", h->rest, rows);
	buf_putc(&out, '\0');
	free(rows);
	return out.p;
}

/* join_sorted orders the rows but not their sums, so a text is made of a state that is read for that alone. */
static char *text_between(struct fixture *f, struct held *from, int number, uint64_t after, uint64_t up_to)
{
	held_read(f, from, number, after, up_to);
	char *text = held_text(from);
	held_free(from);
	return text;
}

static char *text_at(struct fixture *f, int number, uint64_t c)
{
	struct held h = {0};
	return text_between(f, &h, number, 0, c);
}

static uint64_t bucket_ops(struct fixture *f, int number, uint32_t *sum)
{
	char keys[16];
	struct bucket_checksum out;
	snprintf(keys, sizeof(keys), "[%d]", number);
	struct storage_reader *r = storage_read_begin(f->s, &f->err);
	OK(reader_checksum(r, reader_bucket(r, 1, slice_cstr(keys)), UINT64_MAX, &out, &f->err));
	storage_read_end(r);
	*sum = out.checksum;
	return out.count;
}

static struct compact_report compact(struct fixture *f, const struct compact_options *o)
{
	struct compact_report report;
	OK(storage_compact(f->s, o, &report, &f->err));
	return report;
}

static const struct compact_options everything = {.buckets = true, .lookups = true, .dropped = true};

/* ---- the properties ---- */

/* A client at each of these places when the compaction comes. */
enum { PLACES = 3 };

static void check_compaction(struct fixture *f, struct compact_options o, uint64_t *seed)
{
	struct held clients[MODEL_BUCKETS][PLACES] = {0};
	uint64_t at[PLACES], now = storage_checkpoint(f->s).op_id;
	char *before[MODEL_BUCKETS];
	uint32_t sums[MODEL_BUCKETS];
	uint64_t counts[MODEL_BUCKETS];
	for (int p = 0; p < PLACES; p++)
		at[p] = model_random(seed, now + 1);
	for (int b = 0; b < MODEL_BUCKETS; b++) {
		before[b] = text_at(f, b, now);
		counts[b] = bucket_ops(f, b, &sums[b]);
		for (int p = 0; p < PLACES; p++)
			held_read(f, &clients[b][p], b, 0, at[p]);
	}
	compact(f, &o);
	for (int b = 0; b < MODEL_BUCKETS; b++) {
		uint32_t sum;
		assert_true(bucket_ops(f, b, &sum) <= counts[b]);
		assert_int_equal(sum, sums[b]);
		char *after = text_at(f, b, now);
		assert_string_equal(after, before[b]);
		free(after);
		for (int p = 0; p < PLACES; p++) {
			after = text_between(f, &clients[b][p], b, at[p], now);
			assert_string_equal(after, before[b]);
			free(after);
		}
		free(before[b]);
	}
}

static struct compact_options random_options(struct fixture *f, uint64_t *seed)
{
	struct compact_options o = everything;
	static const size_t memories[] = {0, 0, SIZE_MAX, 300, 2000};
	o.clear_step = model_random(seed, 3) ? 1 + model_random(seed, 8) : 0;
	o.move_step = model_random(seed, 3) ? 1 + model_random(seed, 8) : 0;
	o.read_step = model_random(seed, 3) ? 1 + model_random(seed, 20) : 0;
	o.memory = memories[model_random(seed, 5)];
	if (model_random(seed, 3) == 0)
		o.max_op_id = 1 + model_random(seed, storage_checkpoint(f->s).op_id + 1);
	return o;
}

static void a_compacted_bucket_leads_every_client_to_the_same_state(void **state)
{
	struct fixture *f = *state;
	const char *given = getenv("SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : 777;
	struct model *m = xcalloc(1, sizeof(*m));
	activate(f, MODEL_PLAN);
	uint32_t tables[MODEL_TABLES] = {table(f, "t1", 1), table(f, "t2", 2)};
	for (int round = 0; round < 60; round++) {
		for (uint64_t n = model_random(&seed, 80); n > 0; n--)
			model_step(f, tables, m, &seed, false);
		commit(f);
		check_compaction(f, random_options(f, &seed), &seed);
		if (round % 10 == 5)
			reopen(f);
		compare_all(f, tables, m, storage_checkpoint(f->s).op_id);
	}
	/* With nothing left to do, nothing is done; nobody's row is hurt by a last full run. */
	compact(f, &everything);
	struct compact_report again = compact(f, &everything);
	assert_int_equal(again.moved + again.cleared + again.lookups, 0);
	compare_all(f, tables, m, storage_checkpoint(f->s).op_id);
	free(m);
}

static void an_emptied_bucket_is_one_clear(void **state)
{
	struct fixture *f = *state;
	activate(f, "b=1");
	uint32_t t = table(f, "t1", 1), sum, sum_after;
	for (int i = 0; i < 100; i++)
		write_puts_of(f, t, "r", NULL, PUTS(entry(1, "[0]", "t", "o", "{}")));
	delete_row(f, t, "r");
	commit(f);
	assert_int_equal(bucket_ops(f, 0, &sum), 101);
	struct compact_options o = {.buckets = true, .clear_step = 7};
	compact(f, &o);
	assert_int_equal(bucket_ops(f, 0, &sum_after), 1);
	assert_int_equal(sum, sum_after);
}

static void what_was_handed_out_lately_stays_valid(void **state)
{
	struct fixture *f = *state;
	activate(f, "b=1");
	uint32_t t = table(f, "t1", 1), sum;
	write_puts_of(f, t, "r", NULL, PUTS(entry(1, "[0]", "t", "o", "{\"v\":1}")));
	write_puts_of(f, t, "r", NULL, PUTS(entry(1, "[0]", "t", "o", "{\"v\":2}")));
	commit(f);
	struct compact_options o = {.buckets = true, .margin_ms = COMPACT_DEFAULT_MARGIN_MS};
	compact(f, &o);
	assert_int_equal(bucket_ops(f, 0, &sum), 2);
	/* A new process handed out nothing older. */
	reopen(f);
	struct compact_report report = compact(f, &o);
	assert_int_equal(report.moved, 1);
}

static void a_store_without_a_checkpoint_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct plan *p = make_plan("b=1");
	bool unchanged;
	OK(storage_deploy(f->s, p, &unchanged, &f->err));
	plan_unref(p);
	uint32_t t = table(f, "t1", 1), sum;
	for (int i = 0; i < 3; i++)
		write_puts_of(f, t, "r", NULL, PUTS(entry(1, "[0]", "t", "o", "{}")));
	OK(storage_flush(f->s, &f->err));
	compact(f, &everything);
	assert_int_equal(bucket_ops(f, 0, &sum), 3);
}

/* Text that several buckets share lies with the first of them: it must outlive it there. */
static void text_that_others_refer_to_outlives_its_owner(void **state)
{
	struct fixture *f = *state;
	static const char text[] = "{\"text\":\"long enough to be stored once only, whatever number of buckets\"}";
	activate(f, "b=1");
	uint32_t t = table(f, "t1", 1);
	write_puts_of(f, t, "r", NULL,
	              PUTS(entry(1, "[0]", "t", "o", text), entry(1, "[1]", "t", "o", text), entry(1, "[2]", "t", "o", text)));
	/* Bucket 0 loses the row, the others keep it as it was. */
	compare_puts_of(f, t, "r", PUTS(entry(1, "[1]", "t", "o", text), entry(1, "[2]", "t", "o", text)));
	commit(f);
	char *one = text_at(f, 1, UINT64_MAX), *two = text_at(f, 2, UINT64_MAX);
	assert_non_null(strstr(one, text));
	compact(f, &everything);
	char *one_after = text_at(f, 1, UINT64_MAX), *two_after = text_at(f, 2, UINT64_MAX);
	assert_string_equal(one, one_after);
	assert_string_equal(two, two_after);
	free(one);
	free(two);
	free(one_after);
	free(two_after);
}

static void only_named_buckets_are_compacted(void **state)
{
	struct fixture *f = *state;
	activate(f, "b=1");
	uint32_t t = table(f, "t1", 1), sum;
	for (int i = 0; i < 3; i++)
		write_puts_of(f, t, "r", NULL, PUTS(entry(1, "[0]", "t", "o", "{}"), entry(1, "[1]", "t", "o", "{}")));
	commit(f);
	struct slice names[] = {SLICE("1#b[0]"), SLICE("1#b[9]"), SLICE("nonsense["), SLICE("7#b[0]")};
	struct compact_options o = {.buckets = true, .names = names, .name_count = 4};
	struct compact_report report = compact(f, &o);
	assert_int_equal(report.unknown, 3);
	assert_int_equal(bucket_ops(f, 0, &sum), 2);
	assert_int_equal(bucket_ops(f, 1, &sum), 3);
}

static void buckets_with_little_to_gain_are_left(void **state)
{
	struct fixture *f = *state;
	char id[16];
	activate(f, "b=1");
	uint32_t t = table(f, "t1", 1), sum;
	for (int i = 0; i < 100; i++) {
		snprintf(id, sizeof(id), "r%d", i);
		write_puts_of(f, t, id, NULL, PUTS(entry(1, "[0]", "t", id, "{}")));
	}
	for (int i = 0; i < 9; i++)
		write_puts_of(f, t, "r0", NULL, PUTS(entry(1, "[0]", "t", "r0", "{}")));
	commit(f);
	struct compact_options o = {.buckets = true, .min_dead = 10, .min_share = 0.05};
	assert_int_equal(compact(f, &o).buckets, 0);
	write_puts_of(f, t, "r0", NULL, PUTS(entry(1, "[0]", "t", "r0", "{}")));
	commit(f);
	assert_int_equal(compact(f, &o).buckets, 1);
	assert_int_equal(compact(f, &o).buckets, 0); /* MOVEs that PUTs stand before are not counted as something to gain */
	assert_int_equal(bucket_ops(f, 0, &sum), 110);
}

/* ---- definitions that are not used any more ---- */

static void a_dropped_definition_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	static const char text[] = "{\"text\":\"long enough to be stored once only, whatever number of buckets\"}";
	activate(f, "a=1\nb=2\n?l=3");
	uint32_t t = table(f, "t1", 1);
	struct lookup_entry lookup = {3, SLICE("[1]"), SLICE("[{\"0\":1}]")};
	write_row_mode(f, t, "r", NULL, ROW_STREAM, PUTS(entry(1, "[0]", "t", "o", text), entry(2, "[0]", "t", "o", text)),
	               &lookup, 1, NO_IMAGE);
	commit(f);
	activate(f, "b=2");
	struct compact_report report = compact(f, &everything);
	assert_true(report.dropped > 0);
	assert_string_equal(bucket_at(f, 1, "[0]", UINT64_MAX), "none");
	assert_non_null(strstr(bucket_at(f, 2, "[0]", UINT64_MAX), text));
	/* Its contributions are gone from the row: taking it away concerns b alone. */
	uint64_t op = f->s->state.op_seq;
	delete_row(f, t, "r");
	commit(f);
	assert_int_equal(f->s->state.op_seq, op + 1);
	assert_int_equal(compact(f, &everything).dropped, 0);
	reopen(f);
	assert_int_equal(f->s->definition_count, 1);
	assert_int_equal(compact(f, &everything).dropped, 0);
	activate(f, "a=1\nb=2");
	assert_int_equal(f->s->definitions[f->s->definition_count - 1].number, 4);
}

static bool stop_at_once(void *ctx)
{
	return (*(int *)ctx)-- > 0;
}

static void a_drop_that_was_cut_goes_on(void **state)
{
	struct fixture *f = *state;
	char id[16];
	activate(f, "a=1\nb=2");
	uint32_t t = table(f, "t1", 1);
	for (int i = 0; i < 1200; i++) {
		snprintf(id, sizeof(id), "r%d", i);
		write_puts_of(f, t, id, NULL, PUTS(entry(1, "[0]", "t", id, "{}"), entry(2, "[0]", "t", id, "{}")));
	}
	commit(f);
	activate(f, "b=2");
	for (int left = 0; left < 20; left++) {
		int budget = left;
		struct compact_options o = {.dropped = true, .go_on = stop_at_once, .ctx = &budget};
		compact(f, &o);
		if (left % 4 == 1)
			reopen(f);
	}
	compact(f, &everything);
	reopen(f);
	assert_int_equal(f->s->definition_count, 1);
	assert_string_equal(bucket_at(f, 1, "[0]", UINT64_MAX), "none");
}

struct waiting {
	struct fixture *f;
	struct compact_options o;
	_Atomic bool done;
	struct compact_report report;
};

static void *drop_thread(void *arg)
{
	struct waiting *w = arg;
	struct error err;
	storage_compact(w->f->s, &w->o, &w->report, &err);
	atomic_store(&w->done, true);
	return NULL;
}

static void a_step_under_the_old_plan_holds_up_the_removal(void **state)
{
	struct fixture *f = *state;
	struct waiting w = {.f = f, .o = {.dropped = true}};
	pthread_t thread;
	activate(f, "a=1\nb=2");
	uint32_t t = table(f, "t1", 1);
	write_puts_of(f, t, "r", NULL, PUTS(entry(1, "[0]", "t", "o", "{}")));
	commit(f);
	unsigned step = storage_step_begin(f->s);
	activate(f, "b=2");
	assert_int_equal(pthread_create(&thread, NULL, drop_thread, &w), 0);
	usleep(100000);
	assert_false(atomic_load(&w.done));
	assert_string_not_equal(bucket_at(f, 1, "[0]", UINT64_MAX), "none");
	unsigned newer = storage_step_begin(f->s); /* of the new plan: nobody waits for it */
	storage_step_end(f->s, step);
	pthread_join(thread, NULL);
	storage_step_end(f->s, newer);
	assert_string_equal(bucket_at(f, 1, "[0]", UINT64_MAX), "none");
}

/* Sessions learn of a checkpoint by its announcement: until it is over, some still go by the one before. */
static void compact_within(void *ctx, const struct storage_news *news)
{
	struct waiting *w = ctx;
	pthread_t thread;
	(void)news;
	assert_int_equal(pthread_create(&thread, NULL, drop_thread, w), 0);
	pthread_join(thread, NULL);
}

static void a_checkpoint_that_is_not_announced_yet_is_no_limit(void **state)
{
	struct fixture *f = *state;
	struct waiting w = {.f = f, .o = everything};
	uint32_t sum;
	activate(f, "a=1\nb=2\n?l=3");
	uint32_t t = table(f, "t1", 1);
	struct lookup_entry lookup = {3, SLICE("[1]"), SLICE("[{\"0\":1}]")};
	write_row_mode(f, t, "r", NULL, ROW_STREAM, PUTS(entry(1, "[0]", "t", "o", "{\"v\":1}")), &lookup, 1, NO_IMAGE);
	commit(f);
	storage_subscribe(f->s, compact_within, &w);
	lookup.results = SLICE("[{\"0\":2}]");
	write_row_mode(f, t, "r", NULL, ROW_STREAM, PUTS(entry(1, "[0]", "t", "o", "{\"v\":2}")), &lookup, 1, NO_IMAGE);
	commit(f);
	assert_int_equal(w.report.moved + w.report.lookups, 0);
	activate(f, "b=2"); /* a and l are DROPPING, and may be read still */
	assert_int_equal(w.report.dropped, 0);
	assert_int_equal(w.report.moved, 1); /* of the checkpoint before */
	assert_int_equal(bucket_ops(f, 0, &sum), 1 + 1);
	storage_subscribe(f->s, note_news, f);
	assert_true(compact(f, &everything).dropped > 0);
}

/* ---- beside a writer and readers ---- */

struct beside {
	struct fixture *f;
	_Atomic bool stop;
	_Atomic uint64_t runs;
};

static void *compact_thread(void *arg)
{
	struct beside *b = arg;
	struct compact_options o = everything;
	o.clear_step = o.move_step = 16;
	o.read_step = 64;
	while (!atomic_load(&b->stop)) {
		struct compact_report report;
		struct error err;
		if (!storage_compact(b->f->s, &o, &report, &err))
			abort();
		atomic_fetch_add(&b->runs, 1);
	}
	return NULL;
}

/* Each snapshot: sum and count of what is stored are those of the operations in it. */
static void *read_thread(void *arg)
{
	struct beside *b = arg;
	struct error err;
	while (!atomic_load(&b->stop)) {
		for (int n = 0; n < MODEL_BUCKETS; n++) {
			char keys[16];
			struct op_view op;
			struct bucket_checksum sum;
			uint32_t total = 0;
			uint64_t count = 0, c = storage_checkpoint(b->f->s).op_id;
			snprintf(keys, sizeof(keys), "[%d]", n);
			struct storage_reader *r = storage_read_begin(b->f->s, &err);
			uint32_t number = reader_bucket(r, 1, slice_cstr(keys));
			if (!reader_checksum(r, number, c, &sum, &err))
				abort();
			struct op_cursor *cursor = reader_ops(r, number, 0, c, &err);
			int got;
			while ((got = op_cursor_next(cursor, &op, &err)) > 0) {
				total += op.checksum;
				count++;
			}
			op_cursor_close(cursor);
			storage_read_end(r);
			if (got < 0 || total != sum.checksum || count != sum.count)
				abort();
		}
	}
	return NULL;
}

static void writer_compaction_and_readers_do_not_disturb_each_other(void **state)
{
	struct fixture *f = *state;
	struct beside b = {.f = f};
	struct model *m = xcalloc(1, sizeof(*m));
	uint64_t seed = 99;
	pthread_t compactor, reader;
	activate(f, MODEL_PLAN);
	uint32_t tables[MODEL_TABLES] = {table(f, "t1", 1), table(f, "t2", 2)};
	commit(f);
	assert_int_equal(pthread_create(&compactor, NULL, compact_thread, &b), 0);
	assert_int_equal(pthread_create(&reader, NULL, read_thread, &b), 0);
	for (int round = 0; round < 200 || atomic_load(&b.runs) < 20; round++) {
		struct model durable = *m;
		for (int i = 0; i < 20; i++)
			model_step(f, tables, m, &seed, false);
		if (round % 9 == 8) {
			storage_rollback(f->s);
			*m = durable;
		}
		commit(f);
	}
	atomic_store(&b.stop, true);
	pthread_join(compactor, NULL);
	pthread_join(reader, NULL);
	compare_all(f, tables, m, storage_checkpoint(f->s).op_id);
	compact(f, &everything);
	compare_all(f, tables, m, storage_checkpoint(f->s).op_id);
	free(m);
}

/* ---- sizes ---- */

static void sizes_are_told_and_pages_given_back(void **state)
{
	struct fixture *f = *state;
	struct storage_sizes empty, full;
	OK(storage_sizes(f->s, &empty, &f->err));
	assert_int_equal(empty.operations + empty.lookups + empty.rows, 0);
	activate(f, "b=1");
	uint32_t t = table(f, "t1", 1);
	for (int i = 0; i < 2000; i++) {
		char id[16];
		snprintf(id, sizeof(id), "r%d", i);
		write_puts_of(f, t, id, NULL, PUTS(entry(1, "[0]", "t", id, "{\"some\":\"text that takes its place\"}")));
	}
	commit(f);
	OK(storage_sizes(f->s, &full, &f->err));
	assert_true(full.operations > 2000 * 50 && full.rows > 2000 * 20 && full.file >= full.used);
	assert_int_equal(full.lookups, 0);
	assert_true(storage_release_pages(f->s) >= full.used);
	assert_non_null(strstr(bucket_at(f, 1, "[0]", UINT64_MAX), "text that takes its place"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static void compactions_and_sizes_are_counted(void **state)
{
	struct fixture *f = *state;
	struct metrics *m = metrics_new();
	struct buf text = {0};
	storage_close(f->s);
	struct storage_options o = {.path = slice_cstr(f->folder), .map_size = (uint64_t)4 << 30, .log = &f->log, .metrics = m};
	f->s = storage_open_lmdb(&o, &f->err);
	metrics_print(m, &text);
	buf_putc(&text, '\0');
	assert_non_null(strstr(text.p, "\npowersync_operation_storage_size_bytes 0\n")); /* nothing is active */
	activate(f, "b=1");
	uint32_t t = table(f, "t1", 1);
	for (int i = 0; i < 10; i++)
		write_puts_of(f, t, "r", NULL, PUTS(entry(1, "[0]", "t", "o", "{}")));
	commit(f);
	compact(f, &everything);
	f->s->meter.measured_at_ms = 0; /* a minute later */
	buf_clear(&text);
	metrics_print(m, &text);
	buf_putc(&text, '\0');
	assert_non_null(strstr(text.p, "\nsyncline_compaction_runs_total 1\n"));
	assert_non_null(strstr(text.p, "\nsyncline_compaction_operations_moved_total 9\n"));
	assert_non_null(strstr(text.p, "\nsyncline_compaction_operations_cleared_total 8\n"));
	assert_non_null(strstr(text.p, "\nsyncline_compaction_last_run_timestamp_seconds 1"));
	assert_null(strstr(text.p, "\npowersync_operation_storage_size_bytes 0\n"));
	assert_non_null(strstr(text.p, "\npowersync_replication_storage_size_bytes "));
	assert_non_null(strstr(text.p, "\npowersync_parameter_storage_size_bytes "));
	buf_free(&text);
	storage_close(f->s);
	metrics_free(m);
	open_store(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(a_compacted_bucket_leads_every_client_to_the_same_state),
	        T(an_emptied_bucket_is_one_clear),
	        T(what_was_handed_out_lately_stays_valid),
	        T(a_store_without_a_checkpoint_is_left_alone),
	        T(text_that_others_refer_to_outlives_its_owner),
	        T(only_named_buckets_are_compacted),
	        T(buckets_with_little_to_gain_are_left),
	        T(a_dropped_definition_leaves_nothing),
	        T(a_drop_that_was_cut_goes_on),
	        T(a_step_under_the_old_plan_holds_up_the_removal),
	        T(a_checkpoint_that_is_not_announced_yet_is_no_limit),
	        T(writer_compaction_and_readers_do_not_disturb_each_other),
	        T(sizes_are_told_and_pages_given_back),
	        T(compactions_and_sizes_are_counted),
	};
	return cmocka_run_group_tests_name("compact", tests, NULL, NULL);
}
