/*
 * row_model.h: a small world of rows whose right outcome is known, for the random and the crash test.
 *
 * A row gives up to four entries in ten buckets and up to two lookup entries. The model keeps what each row gives; the store's
 * operations, reduced (storage-semantics 9), must say the same.
 */
#ifndef TESTS_STORAGE_ROW_MODEL_H
#define TESTS_STORAGE_ROW_MODEL_H

#include "storage/fixture.h"

enum { MODEL_TABLES = 2, MODEL_KEYS = 24, MODEL_BUCKETS = 10, MODEL_LOOKUPS = 4, MODEL_PUTS = 4 };
#define MODEL_PLAN "b=1\n?l=2"

struct model_put {
	uint8_t bucket, id;
	uint32_t data;
};

struct model_row {
	bool found, incomplete;
	uint8_t put_count, lookup_count;
	struct model_put puts[MODEL_PUTS];
	struct {
		uint8_t key;
		uint32_t results;
	} lookups[2];
};

struct model {
	struct model_row rows[MODEL_TABLES][MODEL_KEYS];
};

UNUSED static uint64_t model_random(uint64_t *seed, uint64_t n)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed % n;
}

UNUSED static void model_key_text(char out[600], int key)
{
	int n = snprintf(out, 600, "key%d", key);
	if (key % 5 == 0) { /* some are longer than a key of the database may be */
		memset(out + n, 'k', 500);
		out[n + 500] = '\0';
	}
}

UNUSED static struct row_key model_key(char scratch[600], int key)
{
	model_key_text(scratch, key);
	return row_key(scratch);
}

UNUSED static void model_data(struct buf *out, uint32_t data)
{
	buf_clear(out);
	buf_printf(out, "{\"v\":%u", data);
	if (data % 7 == 0)
		for (uint32_t i = 0; i < 300; i++)
			buf_printf(out, ",\"c%u\":%u", i, i * data);
	if (data % 3 == 0)
		buf_printf(out, ",\"text\":\"%060u\"", data);
	buf_lit(out, "}");
	buf_putc(out, '\0');
	out->n--;
}

/* What the row gives from now on; data numbers come from *seed. */
UNUSED static void model_fill(struct model_row *r, uint64_t *seed, const struct model_row *like)
{
	*r = (struct model_row){.found = true};
	if (like && model_random(seed, 3) == 0) { /* the same again */
		*r = *like;
		r->incomplete = false;
		return;
	}
	int puts = (int)model_random(seed, MODEL_PUTS + 1), lookups = (int)model_random(seed, 3);
	uint32_t data = (uint32_t)model_random(seed, 1000);
	for (int i = 0; i < puts; i++) {
		struct model_put p = {(uint8_t)model_random(seed, MODEL_BUCKETS), (uint8_t)model_random(seed, 3), data};
		bool twice = false;
		if (model_random(seed, 3) == 0)
			p.data = data = (uint32_t)model_random(seed, 1000);
		for (int k = 0; k < r->put_count; k++)
			twice |= r->puts[k].bucket == p.bucket && r->puts[k].id == p.id;
		if (!twice)
			r->puts[r->put_count++] = p;
	}
	for (int i = 0; i < lookups; i++) {
		uint8_t l = (uint8_t)((model_random(seed, 2) + (uint64_t)i * 2) % MODEL_LOOKUPS);
		r->lookups[r->lookup_count].key = l;
		r->lookups[r->lookup_count++].results = (uint32_t)model_random(seed, 5);
	}
}

UNUSED static void model_write(struct fixture *f, uint32_t t, int key, int old, const struct model_row *r,
                               enum row_write_mode mode)
{
	char scratch[600], scratch_old[600], keys[MODEL_PUTS][16], ids[MODEL_PUTS][16], lookup_keys[2][16];
	struct buf data[MODEL_PUTS] = {{0}}, results[2] = {{0}};
	struct put_entry puts[MODEL_PUTS];
	struct lookup_entry lookups[2];
	for (int i = 0; i < r->put_count; i++) {
		snprintf(keys[i], sizeof(keys[i]), "[%d]", r->puts[i].bucket);
		snprintf(ids[i], sizeof(ids[i]), "o%d", r->puts[i].id);
		/* Equal data are the same bytes, as the evaluator gives them. */
		int same = 0;
		while (r->puts[same].data != r->puts[i].data)
			same++;
		if (same == i)
			model_data(&data[i], r->puts[i].data);
		puts[i] = entry(1, keys[i], "t", ids[i], data[same].p);
	}
	for (int i = 0; i < r->lookup_count; i++) {
		snprintf(lookup_keys[i], sizeof(lookup_keys[i]), "[%d]", r->lookups[i].key);
		buf_printf(&results[i], "[{\"0\":%u}]", r->lookups[i].results);
		lookups[i] = (struct lookup_entry){2, slice_cstr(lookup_keys[i]), buf_slice(&results[i])};
	}
	struct row_key k = model_key(scratch, key), former = model_key(scratch_old, old < 0 ? key : old);
	struct row_contributions c = {
	        .puts = puts, .put_count = r->put_count, .lookups = lookups, .lookup_count = r->lookup_count};
	OK(storage_write_row(f->s, t, &k, old < 0 ? NULL : &former, &c, NO_IMAGE, mode, &f->err));
	for (size_t i = 0; i < MODEL_PUTS; i++)
		buf_free(&data[i]);
	for (size_t i = 0; i < 2; i++)
		buf_free(&results[i]);
}

/* One random change of a row, in the model and in the store (f NULL: in the model alone). again: the store may have it already. */
UNUSED static void model_step(struct fixture *f, const uint32_t *tables, struct model *m, uint64_t *seed, bool again)
{
	char scratch[600], scratch_old[600];
	int t = (int)model_random(seed, MODEL_TABLES), key = (int)model_random(seed, MODEL_KEYS), old = -1;
	struct model_row *rows = m->rows[t], *row = &rows[key];
	uint64_t what = model_random(seed, 100);
	if (model_random(seed, 4) == 0)
		old = (int)model_random(seed, MODEL_KEYS);
	if (what < 65) {
		enum row_write_mode mode = model_random(seed, 2) ? ROW_STREAM : ROW_COMPARE;
		struct model_row next;
		model_fill(&next, seed, row->found ? row : NULL);
		if (f)
			model_write(f, tables[t], key, old, &next, mode);
		if (old >= 0)
			rows[old] = (struct model_row){.found = false};
		rows[key] = next;
	} else if (what < 75) {
		if (f) {
			struct row_key k = model_key(scratch, key), o = model_key(scratch_old, old < 0 ? key : old);
			OK(storage_write_incomplete_row(f->s, tables[t], &k, old < 0 ? NULL : &o, SLICE("partial"), NULL,
			                                &f->err));
		}
		row->found = row->incomplete = true;
		if (old >= 0 && old != key)
			rows[old] = (struct model_row){.found = false};
	} else if (what < 99) {
		if (f) {
			struct row_key k = model_key(scratch, key);
			OK(storage_delete_row(f->s, tables[t], &k, &f->err));
		}
		*row = (struct model_row){.found = false};
	} else {
		uint64_t removed = 0, count = 0;
		for (int i = 0; i < MODEL_KEYS; i++) {
			count += rows[i].found;
			rows[i] = (struct model_row){.found = false};
		}
		if (f) {
			OK(storage_truncate_table(f->s, tables[t], &removed, &f->err));
			if (!again)
				assert_int_equal(removed, count);
		}
	}
}

/* ---- comparing ---- */

UNUSED static int compare_strings(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

UNUSED static char *join_sorted(char **lines, size_t count)
{
	struct buf out = {0};
	if (count)
		qsort(lines, count, sizeof(*lines), compare_strings);
	for (size_t i = 0; i < count; i++)
		buf_printf(&out, "%s\n", lines[i]);
	buf_putc(&out, '\0');
	return out.p;
}

UNUSED static char *line_of(const char *subkey_table, const uint8_t *uuid, const char *id, size_t id_n, const char *data,
                            size_t data_n)
{
	struct buf b = {0};
	char text[UUID_TEXT];
	uuid_text(uuid, text);
	buf_printf(&b, "%.*s %s/%.*s %.*s", (int)id_n, id, subkey_table, UUID_TEXT, text, (int)data_n, data);
	buf_putc(&b, '\0');
	return b.p;
}

static void free_lines(char **lines, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(lines[i]);
	free(lines);
}

UNUSED static char *model_bucket(struct fixture *f, const uint32_t *tables, const struct model *m, int number)
{
	char **lines = NULL, scratch[600];
	size_t count = 0, cap = 0;
	struct buf data = {0};
	for (int t = 0; t < MODEL_TABLES; t++)
		for (int k = 0; k < MODEL_KEYS; k++)
			for (int i = 0; i < m->rows[t][k].put_count; i++) {
				const struct model_put *p = &m->rows[t][k].puts[i];
				if (p->bucket != number)
					continue;
				char id[16];
				struct row_key key = model_key(scratch, k);
				snprintf(id, sizeof(id), "o%d", p->id);
				model_data(&data, p->data);
				lines = xgrow(lines, count, &cap, sizeof(*lines));
				lines[count++] = line_of(names_get(&f->s->table_names, tables[t]).p, key.uuid, id, strlen(id),
				                         data.p, data.n);
			}
	char *text = join_sorted(lines, count);
	free_lines(lines, count);
	buf_free(&data);
	return text;
}

/* The operations up to c, reduced; checks order, checksum and count. */
UNUSED static char *store_bucket(struct fixture *f, struct storage_reader *r, int number, uint64_t c)
{
	char keys[16], **lines = NULL;
	size_t count = 0, cap = 0;
	snprintf(keys, sizeof(keys), "[%d]", number);
	uint32_t b = reader_bucket(r, 1, slice_cstr(keys)), sum = 0;
	uint64_t last = 0, ops = 0;
	struct op_cursor *cursor = reader_ops(r, b, 0, c, &f->err);
	struct op_view op;
	int got;
	while ((got = op_cursor_next(cursor, &op, &f->err)) > 0) {
		if (op.kind == OP_MOVE || op.kind == OP_CLEAR) {
			assert_true(op.op_id > last && op.op_id <= c);
			last = op.op_id;
			sum += op.checksum;
			ops++;
			while (op.kind == OP_CLEAR && count)
				free(lines[--count]);
			continue;
		}
		char *row = line_of(op.subkey_table, op.subkey_uuid, op.object_id.p, op.object_id.n, op.data.p ? op.data.p : "",
		                    op.data.n);
		size_t head = (size_t)(strchr(strchr(row, ' ') + 1, ' ') - row) + 1;
		assert_true(op.op_id > last && op.op_id <= c);
		last = op.op_id;
		sum += op.checksum;
		ops++;
		for (size_t i = 0; i < count; i++)
			if (strncmp(lines[i], row, head) == 0) {
				free(lines[i]);
				lines[i--] = lines[--count];
			}
		if (op.kind == OP_PUT) {
			lines = xgrow(lines, count, &cap, sizeof(*lines));
			lines[count++] = row;
		} else {
			free(row);
		}
	}
	if (got < 0)
		fail_msg("%s", f->err.message);
	op_cursor_close(cursor);
	struct bucket_checksum checksum;
	OK(reader_checksum(r, b, c, &checksum, &f->err));
	assert_int_equal(checksum.checksum, sum);
	assert_int_equal(checksum.count, ops);
	char *text = join_sorted(lines, count);
	free_lines(lines, count);
	return text;
}

UNUSED static void compare_lookups(struct fixture *f, struct storage_reader *r, const struct model *m, uint64_t c)
{
	for (int l = 0; l < MODEL_LOOKUPS; l++) {
		char key[16];
		unsigned want[5] = {0}, have[5] = {0};
		for (int t = 0; t < MODEL_TABLES; t++)
			for (int k = 0; k < MODEL_KEYS; k++)
				for (int i = 0; i < m->rows[t][k].lookup_count; i++)
					if (m->rows[t][k].lookups[i].key == l)
						want[m->rows[t][k].lookups[i].results]++;
		snprintf(key, sizeof(key), "[%d]", l);
		struct lookup_read read = {.definition = 2, .key = slice_cstr(key)};
		struct arena arena = {0};
		OK(reader_lookups(r, &read, 1, c, SIZE_MAX, &arena, &f->err));
		for (size_t i = 0; i < read.count; i++) {
			assert_int_equal(read.results[i].n, 7); /* {"0":N} */
			have[read.results[i].p[5] - '0']++;
		}
		assert_memory_equal(want, have, sizeof(want));
		arena_free(&arena);
	}
}

UNUSED static void compare_all(struct fixture *f, const uint32_t *tables, const struct model *m, uint64_t c)
{
	struct storage_reader *r = storage_read_begin(f->s, &f->err);
	assert_non_null(r);
	for (int b = 0; b < MODEL_BUCKETS; b++) {
		char *want = model_bucket(f, tables, m, b), *have = store_bucket(f, r, b, c);
		assert_string_equal(have, want);
		free(want);
		free(have);
	}
	compare_lookups(f, r, m, c);
	storage_read_end(r);
}

#endif
