/* Rows become operations: storage-semantics 5.3 with the *Syncline* rules, interleaved-snapshot 5 and 6. */
#include "storage/fixture.h"

#define PLAN "todos=a\nall=b\n?lists=c"
enum { TODOS = 1, ALL = 2, LISTS = 3 };

static void a_written_row_is_read_back_at_the_checkpoint(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	write_puts_of(f, t, "t1", NULL, PUTS(entry(TODOS, "[\"u1\"]", "todos", "t1", "{\"id\":\"t1\"}")));
	assert_string_equal(bucket(f, TODOS, "[\"u1\"]"), "none");
	commit(f);
	assert_int_equal(storage_checkpoint(f->s).op_id, 1);
	assert_string_equal(bucket(f, TODOS, "[\"u1\"]"), "PUT 1 todos/t1 {\"id\":\"t1\"}|");
	assert_string_equal(bucket(f, TODOS, "[\"u2\"]"), "none");
}

static void checksums_are_those_of_the_specification(void **state)
{
	struct fixture *f = *state;
	struct put_entry e = entry(1, "[]", "notes", "n1", "{\"id\":\"n1\",\"title\":\"a\"}");
	uint8_t uuid[16] = {0x37, 0xcb, 0xbe, 0x06, 0x73, 0x38, 0x5b, 0x9e, 0xbb, 0x6a, 0x62, 0x81, 0x0d, 0xb1, 0x1e, 0x3f};
	(void)f;
	assert_int_equal((uint32_t)e.digest[0] | (uint32_t)e.digest[1] << 8 | (uint32_t)e.digest[2] << 16 |
	                         (uint32_t)e.digest[3] << 24,
	                 1325047712);
	assert_int_equal(remove_checksum("65a1f0c2b7d84e1f9a3c0001", uuid), 42473914);
}

static void an_update_writes_again_and_removes_what_is_not_given_any_more(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	write_puts_of(f, t, "t1", NULL, PUTS(entry(TODOS, "[1]", "todos", "t1", "{}"), entry(ALL, "[]", "todos", "t1", "{}")));
	commit(f);
	write_puts_of(f, t, "t1", NULL, PUTS(entry(TODOS, "[2]", "todos", "t1", "{}"), entry(ALL, "[]", "todos", "t1", "{}")));
	commit(f);
	assert_string_equal(bucket(f, TODOS, "[1]"), "PUT 1 todos/t1 {}|REMOVE 5 todos/t1|");
	assert_string_equal(bucket(f, TODOS, "[2]"), "PUT 3 todos/t1 {}|");
	assert_string_equal(bucket(f, ALL, "[]"), "PUT 2 todos/t1 {}|PUT 4 todos/t1 {}|");
	assert_string_equal(bucket_at(f, ALL, "[]", 3), "PUT 2 todos/t1 {}|");
}

static void a_delete_removes_everything_once(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	write_puts_of(f, t, "t1", NULL, PUTS(entry(TODOS, "[1]", "todos", "t1", "{}"), entry(ALL, "[]", "todos", "x", "{}")));
	delete_row(f, t, "t1");
	delete_row(f, t, "t1");
	delete_row(f, t, "unknown");
	commit(f);
	assert_string_equal(bucket(f, TODOS, "[1]"), "PUT 1 todos/t1 {}|REMOVE 3 todos/t1|");
	assert_string_equal(bucket(f, ALL, "[]"), "PUT 2 todos/x {}|REMOVE 4 todos/x|");
	assert_int_equal(storage_checkpoint(f->s).op_id, 4);
}

static void a_changed_client_id_removes_the_old_one(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	write_puts_of(f, t, "t1", NULL, PUTS(entry(ALL, "[]", "todos", "a", "{}")));
	write_puts_of(f, t, "t1", NULL, PUTS(entry(ALL, "[]", "todos", "b", "{}")));
	commit(f);
	assert_string_equal(bucket(f, ALL, "[]"), "PUT 1 todos/a {}|PUT 2 todos/b {}|REMOVE 3 todos/a|");
}

static void a_changed_key_removes_under_the_old_subkey_first(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	write_puts_of(f, t, "k1", NULL, PUTS(entry(ALL, "[]", "todos", "a", "{}")));
	write_puts_of(f, t, "k2", "k1", PUTS(entry(ALL, "[]", "todos", "a", "{}")));
	commit(f);
	assert_string_equal(bucket(f, ALL, "[]"), "PUT 1 todos/a {}|REMOVE 2 todos/a|PUT 3 todos/a {}|");
	struct storage_reader *r = storage_read_begin(f->s, &f->err);
	struct op_cursor *c = reader_ops(r, reader_bucket(r, ALL, SLICE("[]")), 1, 3, &f->err);
	struct op_view op;
	struct row_key k1 = row_key("k1"), k2 = row_key("k2");
	assert_int_equal(op_cursor_next(c, &op, &f->err), 1);
	assert_memory_equal(op.subkey_uuid, k1.uuid, 16);
	assert_int_equal(op_cursor_next(c, &op, &f->err), 1);
	assert_memory_equal(op.subkey_uuid, k2.uuid, 16);
	assert_int_equal(op_cursor_next(c, &op, &f->err), 0);
	op_cursor_close(c);
	storage_read_end(r);
	/* The row under the old key is gone: deleting it does nothing. */
	delete_row(f, t, "k1");
	commit(f);
	assert_int_equal(storage_checkpoint(f->s).op_id, 3);
}

static void rows_that_trade_keys_end_right(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	write_puts_of(f, t, "a", NULL, PUTS(entry(ALL, "[]", "t", "a", "{\"v\":1}")));
	write_puts_of(f, t, "b", NULL, PUTS(entry(ALL, "[]", "t", "b", "{\"v\":2}")));
	write_puts_of(f, t, "tmp", "a", PUTS(entry(ALL, "[]", "t", "tmp", "{\"v\":1}")));
	write_puts_of(f, t, "a", "b", PUTS(entry(ALL, "[]", "t", "a", "{\"v\":2}")));
	write_puts_of(f, t, "b", "tmp", PUTS(entry(ALL, "[]", "t", "b", "{\"v\":1}")));
	commit(f);
	assert_string_equal(
	        bucket_at(f, ALL, "[]", 100),
	        "PUT 1 t/a {\"v\":1}|PUT 2 t/b {\"v\":2}|REMOVE 3 t/a|PUT 4 t/tmp {\"v\":1}|REMOVE 5 t/b|PUT 6 t/a {\"v\":2}|"
	        "REMOVE 7 t/tmp|PUT 8 t/b {\"v\":1}|");
}

static void an_insert_over_a_stored_row_is_an_update(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	write_puts_of(f, t, "k", NULL, PUTS(entry(TODOS, "[1]", "t", "k", "{}")));
	commit(f);
	reopen(f);
	write_puts_of(f, t, "k", NULL, PUTS(entry(TODOS, "[2]", "t", "k", "{}")));
	commit(f);
	assert_string_equal(bucket(f, TODOS, "[1]"), "PUT 1 t/k {}|REMOVE 3 t/k|");
	assert_string_equal(bucket(f, TODOS, "[2]"), "PUT 2 t/k {}|");
}

static void a_key_change_onto_a_stored_row_removes_that_rows_buckets(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	write_puts_of(f, t, "a", NULL, PUTS(entry(TODOS, "[1]", "t", "a", "{}")));
	write_puts_of(f, t, "b", NULL, PUTS(entry(TODOS, "[2]", "t", "b", "{}")));
	write_puts_of(f, t, "b", "a", PUTS(entry(TODOS, "[3]", "t", "b", "{}")));
	commit(f);
	assert_string_equal(bucket(f, TODOS, "[1]"), "PUT 1 t/a {}|REMOVE 3 t/a|");
	assert_string_equal(bucket(f, TODOS, "[2]"), "PUT 2 t/b {}|REMOVE 5 t/b|");
	assert_string_equal(bucket(f, TODOS, "[3]"), "PUT 4 t/b {}|");
}

static void comparing_writes_only_differences(void **state)
{
	struct fixture *f = *state;
	bool durable;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	compare_puts_of(f, t, "k", PUTS(entry(TODOS, "[1]", "t", "k", "{\"v\":1}"), entry(ALL, "[]", "t", "k", "{}")));
	commit(f);
	compare_puts_of(f, t, "k", PUTS(entry(TODOS, "[1]", "t", "k", "{\"v\":1}"), entry(ALL, "[]", "t", "k", "{}")));
	assert_int_equal(storage_batch_size(f->s), 0);
	OK(storage_commit(f->s, (struct position){0, 1000}, true, &durable, &f->err));
	assert_false(durable);
	assert_int_equal(storage_checkpoint(f->s).op_id, 2);
	compare_puts_of(f, t, "k", PUTS(entry(TODOS, "[1]", "t", "k", "{\"v\":2}"), entry(ALL, "[]", "t", "k", "{}")));
	commit_at(f, 2000);
	assert_string_equal(bucket(f, TODOS, "[1]"), "PUT 1 t/k {\"v\":1}|PUT 3 t/k {\"v\":2}|");
	assert_string_equal(bucket(f, ALL, "[]"), "PUT 2 t/k {}|");
	compare_puts_of(f, t, "k", PUTS(entry(ALL, "[]", "t", "k", "{}")));
	commit_at(f, 3000);
	assert_string_equal(bucket(f, TODOS, "[1]"), "PUT 1 t/k {\"v\":1}|PUT 3 t/k {\"v\":2}|REMOVE 4 t/k|");
}

static void streaming_writes_unchanged_rows_again(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	write_puts_of(f, t, "k", NULL, PUTS(entry(ALL, "[]", "t", "k", "{}")));
	write_puts_of(f, t, "k", NULL, PUTS(entry(ALL, "[]", "t", "k", "{}")));
	commit(f);
	assert_string_equal(bucket(f, ALL, "[]"), "PUT 1 t/k {}|PUT 2 t/k {}|");
}

static void an_entry_given_twice_is_written_once(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	write_puts_of(f, t, "k", NULL, PUTS(entry(ALL, "[]", "t", "k", "{}"), entry(ALL, "[]", "t", "k", "{}")));
	write_puts_of(f, t, "k", NULL, PUTS(entry(ALL, "[]", "t", "k", "{}"), entry(ALL, "[]", "t", "k", "{}")));
	commit(f);
	assert_string_equal(bucket(f, ALL, "[]"), "PUT 1 t/k {}|PUT 2 t/k {}|");
}

static void data_of_any_size_and_shared_data_comes_back_as_it_was(void **state)
{
	struct fixture *f = *state;
	static const size_t sizes[] = {2, 47, 48, 500, 1800, 1801, 5000, 70000, 3000000};
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		for (int random = 0; random < 2; random++) {
			char *data = xmalloc(sizes[i] + 1);
			for (size_t k = 0; k < sizes[i]; k++)
				data[k] = random ? (char)(' ' + rand() % 90) : 'a';
			data[sizes[i]] = '\0';
			char id[32];
			snprintf(id, sizeof(id), "%zu-%d", sizes[i], random);
			write_puts_of(
			        f, t, id, NULL,
			        PUTS(entry(TODOS, arena_cstr(&f->arena, arena_printf(&f->arena, "[\"%s\"]", id)), "t", id, data),
			             entry(ALL, "[]", "t", id, data), entry(TODOS, "[\"third\"]", "t", id, data)));
			commit(f);
			struct slice want = arena_printf(&f->arena, "PUT %llu t/%s %s|",
			                                 (unsigned long long)storage_checkpoint(f->s).op_id - 2, id, data);
			assert_string_equal(bucket(f, TODOS, arena_cstr(&f->arena, arena_printf(&f->arena, "[\"%s\"]", id))),
			                    want.p);
			struct storage_reader *r = storage_read_begin(f->s, &f->err);
			for (int b = 0; b < 2; b++) {
				uint64_t c = storage_checkpoint(f->s).op_id;
				struct op_cursor *cursor = reader_ops(
				        r, b ? reader_bucket(r, ALL, SLICE("[]")) : reader_bucket(r, TODOS, SLICE("[\"third\"]")),
				        c - 2, c, &f->err);
				struct op_view op;
				assert_int_equal(op_cursor_next(cursor, &op, &f->err), 1);
				assert_true(slice_eq(op.data, slice_cstr(data)));
				assert_int_equal(op_cursor_next(cursor, &op, &f->err), 0);
				op_cursor_close(cursor);
			}
			storage_read_end(r);
			free(data);
		}
	}
}

static void keys_of_any_length_are_kept_apart(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	char a[2000], b[2000];
	memset(a, 'x', sizeof(a));
	memset(b, 'x', sizeof(b));
	a[1999] = b[1999] = '\0';
	b[1998] = 'y';
	const char *ka = arena_cstr(&f->arena, arena_printf(&f->arena, "[\"%s\"]", a));
	const char *kb = arena_cstr(&f->arena, arena_printf(&f->arena, "[\"%s\"]", b));
	write_row_mode(f, t, a, NULL, ROW_STREAM, PUTS(entry(TODOS, ka, "t", a, "{}")), NO_LOOKUPS, SLICE("image a"));
	write_row_mode(f, t, b, NULL, ROW_STREAM, PUTS(entry(TODOS, kb, "t", b, "{}")), NO_LOOKUPS, SLICE("image b"));
	commit(f);
	reopen(f);
	struct row_key key = row_key(a);
	struct stored_row row;
	OK(storage_read_row(f->s, t, &key, &f->arena, &row, &f->err));
	assert_true(row.found && slice_eq(row.image, SLICE("image a")));
	delete_row(f, t, a);
	commit(f);
	assert_non_null(strstr(bucket(f, TODOS, ka), "REMOVE"));
	assert_null(strstr(bucket(f, TODOS, kb), "REMOVE"));
	uint64_t removed;
	OK(storage_truncate_table(f->s, t, &removed, &f->err));
	assert_int_equal(removed, 1);
	commit(f);
	assert_non_null(strstr(bucket(f, TODOS, kb), "REMOVE"));
}

static void a_row_with_many_entries_is_matched_like_one_with_few(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	struct put_entry many[400];
	for (int i = 0; i < 400; i++)
		many[i] = entry(TODOS, arena_cstr(&f->arena, arena_printf(&f->arena, "[%d]", i % 7)), "t",
		                arena_cstr(&f->arena, arena_printf(&f->arena, "o%d", i)), "{}");
	write_puts_of(f, t, "k", NULL, many, 400);
	commit(f);
	assert_int_equal(storage_checkpoint(f->s).op_id, 400);
	compare_puts_of(f, t, "k", many, 400);
	commit(f);
	assert_int_equal(storage_checkpoint(f->s).op_id, 400);
	struct put_entry swap = many[3];
	many[3] = many[390];
	many[390] = swap;
	many[100] = entry(TODOS, "[0]", "t", "new", "{}");
	compare_puts_of(f, t, "k", many, 400);
	commit(f);
	assert_int_equal(storage_checkpoint(f->s).op_id, 402); /* the new one, and the REMOVE of o100 */
	write_puts_of(f, t, "k", NULL, many + 200, 100);
	commit(f);
	assert_int_equal(storage_checkpoint(f->s).op_id, 402 + 100 + 300);
}

/* Not those of Postgres: a document's _id, say. */
static void rows_whose_ids_are_no_uuids_have_subkeys_without_a_table(void **state)
{
	struct fixture *f = *state;
	struct put_entry e = entry(ALL, "[]", "t", "o", "{}");
	struct row_contributions c = {.puts = &e, .put_count = 1, .lookups = NULL, .lookup_count = 0};
	uint64_t removed;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	struct row_key key = row_key("a"), plain = row_key("b");
	key.uuid_alone = true;
	OK(storage_write_row(f->s, t, &key, NULL, &c, NO_IMAGE, ROW_STREAM, &f->err));
	OK(storage_write_row(f->s, t, &plain, NULL, &c, NO_IMAGE, ROW_STREAM, &f->err));
	commit(f);
	reopen(f);
	OK(storage_truncate_table(f->s, t, &removed, &f->err));
	commit(f);
	struct storage_reader *r = storage_read_begin(f->s, &f->err);
	struct op_cursor *cursor = reader_ops(r, reader_bucket(r, ALL, SLICE("[]")), 0, UINT64_MAX, &f->err);
	struct op_view op;
	size_t ops = 0;
	for (; op_cursor_next(cursor, &op, &f->err) > 0; ops++) {
		bool alone = memcmp(op.subkey_uuid, key.uuid, 16) == 0;
		assert_int_equal(strlen(op.subkey_table), alone ? 0 : UUID_TEXT);
		if (op.kind == OP_REMOVE)
			assert_int_equal(op.checksum, remove_checksum(op.subkey_table, op.subkey_uuid));
	}
	assert_int_equal(ops, 4);
	op_cursor_close(cursor);
	storage_read_end(r);
}

/* ---- images and incomplete rows ---- */

static void the_image_and_epoch_of_a_row_are_kept(void **state)
{
	struct fixture *f = *state;
	struct stored_row row;
	struct row_key key = row_key("k");
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	OK(storage_read_row(f->s, t, &key, &f->arena, &row, &f->err));
	assert_false(row.found);
	char large[9000];
	memset(large, 'z', sizeof(large));
	write_row_mode(f, t, "k", NULL, ROW_STREAM, NO_PUTS, NO_LOOKUPS, slice_make(large, sizeof(large)));
	OK(storage_read_row(f->s, t, &key, &f->arena, &row, &f->err));
	assert_true(row.found && !row.incomplete && slice_eq(row.image, slice_make(large, sizeof(large))));
	assert_int_equal(row.epoch, 1);
	write_row_mode(f, t, "k", NULL, ROW_STREAM, NO_PUTS, NO_LOOKUPS, NO_IMAGE);
	OK(storage_read_row(f->s, t, &key, &f->arena, &row, &f->err));
	assert_true(row.found && row.image.n == 0);
}

static void an_incomplete_row_keeps_its_contributions_and_can_be_found(void **state)
{
	struct fixture *f = *state;
	struct row_key key = row_key("k");
	struct stored_row row;
	struct row_key *keys;
	size_t count;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1), other = table(f, "other", 2);
	write_puts_of(f, t, "k", NULL, PUTS(entry(ALL, "[]", "t", "k", "{}")));
	OK(storage_write_incomplete_row(f->s, t, &key, NULL, SLICE("partial"), NULL, &f->err));
	struct row_key fresh = row_key("fresh");
	OK(storage_write_incomplete_row(f->s, t, &fresh, NULL, SLICE("p2"), NULL, &f->err));
	OK(storage_write_incomplete_row(f->s, other, &fresh, NULL, SLICE("p3"), NULL, &f->err));
	commit(f);
	assert_string_equal(bucket(f, ALL, "[]"), "PUT 1 t/k {}|");
	OK(storage_read_row(f->s, t, &key, &f->arena, &row, &f->err));
	assert_true(row.found && row.incomplete && slice_eq(row.image, SLICE("partial")));
	OK(storage_incomplete_rows(f->s, t, NO_IMAGE, 10, &f->arena, &keys, &count, &f->err));
	assert_int_equal(count, 2);
	assert_true(slice_eq(keys[0].bytes, SLICE("fresh")) && slice_eq(keys[1].bytes, SLICE("k")));
	assert_memory_equal(keys[1].uuid, key.uuid, 16);
	OK(storage_incomplete_rows(f->s, t, SLICE("fresh"), 10, &f->arena, &keys, &count, &f->err));
	assert_int_equal(count, 1);
	OK(storage_incomplete_rows(f->s, t, NO_IMAGE, 1, &f->arena, &keys, &count, &f->err));
	assert_int_equal(count, 1);
	write_puts_of(f, t, "k", NULL, PUTS(entry(ALL, "[]", "t", "k", "{\"v\":2}")));
	delete_row(f, t, "fresh");
	commit(f);
	OK(storage_incomplete_rows(f->s, t, NO_IMAGE, 10, &f->arena, &keys, &count, &f->err));
	assert_int_equal(count, 0);
	assert_string_equal(bucket(f, ALL, "[]"), "PUT 1 t/k {}|PUT 2 t/k {\"v\":2}|");
}

/* The old subkey is free for another row at once: a REMOVE that came later would take that row away from the clients. */
static void an_incomplete_row_under_a_new_key_is_removed_under_the_old_one(void **state)
{
	struct fixture *f = *state;
	struct row_key a = row_key("a"), b = row_key("b");
	struct lookup_entry l = {LISTS, SLICE("[\"u\"]"), SLICE("[{\"0\":1}]")};
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1);
	write_row_mode(f, t, "a", NULL, ROW_STREAM, PUTS(entry(ALL, "[]", "t", "x", "{}")), LOOKUPS(l), NO_IMAGE);
	OK(storage_write_incomplete_row(f->s, t, &b, &a, SLICE("partial"), NULL, &f->err));
	write_puts_of(f, t, "a", NULL, PUTS(entry(ALL, "[]", "t", "x", "{\"v\":2}")));
	commit(f);
	assert_string_equal(bucket(f, ALL, "[]"), "PUT 1 t/x {}|REMOVE 3 t/x|PUT 5 t/x {\"v\":2}|");
	assert_string_equal(lookup(f, LISTS, "[\"u\"]"), "");
	write_row_mode(f, t, "b", NULL, ROW_COMPARE, PUTS(entry(ALL, "[]", "t", "y", "{}")), LOOKUPS(l), NO_IMAGE);
	commit(f);
	assert_string_equal(bucket(f, ALL, "[]"), "PUT 1 t/x {}|REMOVE 3 t/x|PUT 5 t/x {\"v\":2}|PUT 6 t/y {}|");
	assert_string_equal(lookup(f, LISTS, "[\"u\"]"), "{\"0\":1}");
}

/* ---- lookups ---- */

static void lookups_are_read_as_of_a_checkpoint(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "lists", 1);
	struct lookup_entry one = {LISTS, SLICE("[\"u1\"]"), SLICE("[{\"0\":\"a\"},{\"0\":\"b,[]{}\\\"\"}]")};
	struct lookup_entry two = {LISTS, SLICE("[\"u1\"]"), SLICE("[{\"0\":\"c\"}]")};
	write_row_mode(f, t, "r1", NULL, ROW_STREAM, NO_PUTS, LOOKUPS(one), NO_IMAGE);
	write_row_mode(f, t, "r2", NULL, ROW_STREAM, NO_PUTS, LOOKUPS(two), NO_IMAGE);
	commit(f);
	uint64_t c1 = storage_checkpoint(f->s).op_id;
	assert_string_equal(lookup(f, LISTS, "[\"u1\"]"), "{\"0\":\"a\"} {\"0\":\"b,[]{}\\\"\"} {\"0\":\"c\"}");
	write_row_mode(f, t, "r1", NULL, ROW_STREAM, NO_PUTS, NO_LOOKUPS, NO_IMAGE);
	commit(f);
	uint64_t c2 = storage_checkpoint(f->s).op_id;
	delete_row(f, t, "r2");
	commit(f);
	assert_string_equal(lookup_at(f, LISTS, "[\"u1\"]", c1), "{\"0\":\"a\"} {\"0\":\"b,[]{}\\\"\"} {\"0\":\"c\"}");
	assert_string_equal(lookup_at(f, LISTS, "[\"u1\"]", c2), "{\"0\":\"c\"}");
	assert_string_equal(lookup(f, LISTS, "[\"u1\"]"), "");
	assert_string_equal(lookup(f, LISTS, "[\"u2\"]"), "");
}

static void many_lookups_are_read_in_one_call(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "lists", 1);
	struct lookup_entry one = {LISTS, SLICE("[\"u1\"]"), SLICE("[{\"0\":\"a\"},{\"0\":\"b\"}]")};
	struct lookup_entry two = {LISTS, SLICE("[\"u1\"]"), SLICE("[{\"0\":\"c\"}]")};
	struct lookup_entry three = {LISTS, SLICE("[\"u3\"]"), SLICE("[{\"0\":\"d\"}]")};
	write_row_mode(f, t, "r1", NULL, ROW_STREAM, NO_PUTS, LOOKUPS(one), NO_IMAGE);
	write_row_mode(f, t, "r2", NULL, ROW_STREAM, NO_PUTS, LOOKUPS(two), NO_IMAGE);
	write_row_mode(f, t, "r3", NULL, ROW_STREAM, NO_PUTS, LOOKUPS(three), NO_IMAGE);
	commit(f);
	uint64_t c = storage_checkpoint(f->s).op_id;
	struct lookup_read keys[] = {{.definition = LISTS, .key = SLICE("[\"u1\"]")},
	                             {.definition = LISTS, .key = SLICE("[\"u2\"]")},
	                             {.definition = LISTS, .key = SLICE("[\"u3\"]")}};
	struct storage_reader *r = storage_read_begin(f->s, &f->err);
	OK(reader_lookups(r, keys, 3, c, SIZE_MAX, &f->arena, &f->err));
	assert_int_equal(keys[0].count, 3);
	assert_int_equal(keys[1].count, 0);
	assert_int_equal(keys[2].count, 1);
	assert_true(slice_eq(keys[2].results[0], SLICE("{\"0\":\"d\"}")));
	/* Beyond the limit of rows no further key is looked at. */
	OK(reader_lookups(r, keys, 3, c, 1, &f->arena, &f->err));
	assert_int_equal(keys[0].count, 3);
	assert_int_equal(keys[2].count, 0);
	storage_read_end(r);
}

static void many_versions_of_a_lookup_do_not_pile_up(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "lists", 1);
	/* Make all checkpoints old at once. */
	for (int i = 0; i < 50; i++) {
		struct slice results = arena_printf(&f->arena, "[{\"0\":%d}]", i);
		struct lookup_entry l = {LISTS, SLICE("[\"u1\"]"), results};
		write_row_mode(f, t, "r1", NULL, ROW_STREAM, NO_PUTS, LOOKUPS(l), NO_IMAGE);
		commit(f);
		f->s->sample_count = 0;
		f->s->samples[f->s->sample_count].op_id = storage_checkpoint(f->s).op_id;
		f->s->samples[f->s->sample_count++].mono_ms = -1000000;
	}
	uint64_t c = storage_checkpoint(f->s).op_id;
	assert_string_equal(lookup_at(f, LISTS, "[\"u1\"]", c), "{\"0\":49}");
	assert_string_equal(lookup_at(f, LISTS, "[\"u1\"]", c - 1), "{\"0\":48}");
	assert_string_equal(lookup_at(f, LISTS, "[\"u1\"]", c - 2), ""); /* gone */
}

static void only_changed_lookups_are_news(void **state)
{
	struct fixture *f = *state;
	activate(f, PLAN);
	uint32_t t = table(f, "lists", 1);
	struct lookup_entry l = {LISTS, SLICE("[\"u1\"]"), SLICE("[{\"0\":1}]")};
	write_row_mode(f, t, "r1", NULL, ROW_STREAM, NO_PUTS, LOOKUPS(l), NO_IMAGE);
	forget_news(f);
	commit(f);
	assert_int_equal(f->lookup_count, 1);
	assert_int_equal(f->lookups[0], lookup_hash(LISTS, SLICE("[\"u1\"]")));
	forget_news(f);
	write_row_mode(f, t, "r1", NULL, ROW_STREAM, NO_PUTS, LOOKUPS(l), NO_IMAGE);
	commit(f);
	assert_int_equal(f->news_count, 1);
	assert_int_equal(f->lookup_count, 0);
	assert_string_equal(lookup(f, LISTS, "[\"u1\"]"), "{\"0\":1}");
}

/* ---- truncate ---- */

static void truncate_removes_all_rows_of_the_table_only(void **state)
{
	struct fixture *f = *state;
	uint64_t removed;
	activate(f, PLAN);
	uint32_t t = table(f, "todos", 1), other = table(f, "other", 2);
	for (int i = 0; i < 2000; i++) {
		const char *id = arena_cstr(&f->arena, arena_printf(&f->arena, "r%d", i));
		write_puts_of(f, t, id, NULL, PUTS(entry(TODOS, "[]", "t", id, "{}")));
	}
	write_puts_of(f, other, "k", NULL, PUTS(entry(ALL, "[]", "o", "k", "{}")));
	commit(f);
	OK(storage_truncate_table(f->s, t, &removed, &f->err));
	assert_int_equal(removed, 2000);
	commit(f);
	struct storage_reader *r = storage_read_begin(f->s, &f->err);
	struct bucket_checksum sum;
	OK(reader_checksum(r, reader_bucket(r, TODOS, SLICE("[]")), storage_checkpoint(f->s).op_id, &sum, &f->err));
	assert_int_equal(sum.count, 4000);
	storage_read_end(r);
	assert_string_equal(bucket(f, ALL, "[]"), "PUT 2001 o/k {}|");
	OK(storage_truncate_table(f->s, t, &removed, &f->err));
	assert_int_equal(removed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	        T(a_written_row_is_read_back_at_the_checkpoint),
	        T(checksums_are_those_of_the_specification),
	        T(an_update_writes_again_and_removes_what_is_not_given_any_more),
	        T(a_delete_removes_everything_once),
	        T(a_changed_client_id_removes_the_old_one),
	        T(a_changed_key_removes_under_the_old_subkey_first),
	        T(rows_that_trade_keys_end_right),
	        T(an_insert_over_a_stored_row_is_an_update),
	        T(a_key_change_onto_a_stored_row_removes_that_rows_buckets),
	        T(comparing_writes_only_differences),
	        T(streaming_writes_unchanged_rows_again),
	        T(an_entry_given_twice_is_written_once),
	        T(data_of_any_size_and_shared_data_comes_back_as_it_was),
	        T(keys_of_any_length_are_kept_apart),
	        T(a_row_with_many_entries_is_matched_like_one_with_few),
	        T(rows_whose_ids_are_no_uuids_have_subkeys_without_a_table),
	        T(the_image_and_epoch_of_a_row_are_kept),
	        T(an_incomplete_row_keeps_its_contributions_and_can_be_found),
	        T(an_incomplete_row_under_a_new_key_is_removed_under_the_old_one),
	        T(lookups_are_read_as_of_a_checkpoint),
	        T(many_lookups_are_read_in_one_call),
	        T(many_versions_of_a_lookup_do_not_pile_up),
	        T(only_changed_lookups_are_news),
	        T(truncate_removes_all_rows_of_the_table_only),
	};
	return cmocka_run_group_tests_name("rows", tests, NULL, NULL);
}
