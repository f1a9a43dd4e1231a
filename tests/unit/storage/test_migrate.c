/* Stores of older formats are migrated when they are opened, newer ones are refused (tests/data/stores). */
#include <sys/stat.h>

#include "storage/compact.h"
#include "storage/row_model.h"

static void copy_file(const char *from, const char *to)
{
	char bytes[65536];
	size_t n;
	FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
	assert_non_null(in);
	assert_non_null(out);
	while ((n = fread(bytes, 1, sizeof(bytes), in)) > 0)
		assert_int_equal(fwrite(bytes, 1, n, out), n);
	fclose(in);
	assert_int_equal(fclose(out), 0);
}

static void use_old_store(struct fixture *f)
{
	char path[128];
	storage_close(f->s);
	remove_folder(f->folder);
	assert_int_equal(mkdir(f->folder, 0700), 0);
	snprintf(path, sizeof(path), "%s/data.mdb", f->folder);
	copy_file(TEST_DATA "/stores/format-1/data.mdb", path);
	f->log.level = LOG_ERROR;
	open_store(f);
}

static void a_store_of_format_1_is_migrated(void **state)
{
	struct fixture *f = *state;
	struct model *m = xcalloc(1, sizeof(*m));
	const uint32_t tables[MODEL_TABLES] = {1, 2};
	uint64_t seed = 31;
	struct compact_report report;
	struct compact_options o = {.buckets = true, .lookups = true, .dropped = true};
	use_old_store(f);
	for (int i = 0; i < 400; i++)
		model_step(NULL, tables, m, &seed, false);
	compare_all(f, tables, m, storage_checkpoint(f->s).op_id);
	reopen(f);
	assert_int_equal(f->s->state.format, STORE_FORMAT_VERSION);
	compare_all(f, tables, m, storage_checkpoint(f->s).op_id);
	OK(storage_compact(f->s, &o, &report, &f->err));
	assert_true(report.buckets == MODEL_BUCKETS && report.cleared > 0);
	compare_all(f, tables, m, storage_checkpoint(f->s).op_id);
	for (int i = 0; i < 300; i++)
		model_step(f, tables, m, &seed, false);
	commit_at(f, 1000); /* beyond the position that the old store had */
	compare_all(f, tables, m, storage_checkpoint(f->s).op_id);
	free(m);
}

static void an_old_store_is_left_alone_when_that_is_asked_for(void **state)
{
	struct fixture *f = *state;
	struct error err = {.code = ""};
	use_old_store(f);
	storage_close(f->s);
	f->s = NULL;
	/* Opening has migrated it: once more from the old files. */
	remove_folder(f->folder);
	assert_int_equal(mkdir(f->folder, 0700), 0);
	char path[128];
	snprintf(path, sizeof(path), "%s/data.mdb", f->folder);
	copy_file(TEST_DATA "/stores/format-1/data.mdb", path);
	struct storage_options o = {.path = slice_cstr(f->folder), .log = &f->log, .keep_format = true};
	assert_null(storage_open_lmdb(&o, &err));
	assert_string_equal(err.code, "PSYNC_S1005");
	assert_non_null(strstr(err.message, "syncline migrate up"));
	open_store(f);
	assert_int_equal(f->s->state.format, STORE_FORMAT_VERSION);
}

static void a_store_of_a_newer_format_is_refused(void **state)
{
	struct fixture *f = *state;
	const struct backend_ops *ops = f->s->backend->ops;
	struct changed_buckets none = {0};
	uint8_t version[4];
	activate(f, "b=1");
	be32_put(version, STORE_FORMAT_VERSION + 1);
	assert_true(ops->write_begin(f->s->backend, &f->err));
	assert_true(ops->small_put(f->s->backend, SMALL_META, META_STATE, slice_make(version, 4), &f->err));
	assert_true(ops->write_commit(f->s->backend, &none, &f->err));
	storage_close(f->s);
	struct storage_options options = {.path = slice_cstr(f->folder), .map_size = (uint64_t)1 << 30, .log = &f->log};
	f->s = storage_open_lmdb(&options, &f->err);
	assert_null(f->s);
	assert_string_equal(f->err.code, "PSYNC_S1005");
	remove_folder(f->folder);
	assert_int_equal(mkdir(f->folder, 0700), 0);
	open_store(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(a_store_of_format_1_is_migrated, setup, teardown),
	        cmocka_unit_test_setup_teardown(an_old_store_is_left_alone_when_that_is_asked_for, setup, teardown),
	        cmocka_unit_test_setup_teardown(a_store_of_a_newer_format_is_refused, setup, teardown),
	};
	return cmocka_run_group_tests_name("migrate", tests, NULL, NULL);
}
