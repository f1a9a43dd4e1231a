/* storage_read_steps.h: the steps of storage scenarios that read: operations, checksums, lookups. */
#ifndef TESTS_VECTORS_STORAGE_READ_STEPS_H
#define TESTS_VECTORS_STORAGE_READ_STEPS_H

#include "storage_run.h"
#include "storage_shared.h"

/* ---- reading ---- */

static struct slice without_number(const char *name)
{
	const char *p = name;
	while (*p >= '0' && *p <= '9')
		p++;
	return slice_cstr(*p == '#' && p > name ? p + 1 : name);
}

/* Definition number and keys of a bucket name; 0: no such definition. */
static uint32_t split_name(struct run *r, const char *full, struct slice *keys)
{
	struct slice name = without_number(full);
	const struct pg_stream *stream = r->shared ? shared_stream(r) : NULL;
	for (uint32_t i = 0; stream && i < plan_definition_count(stream->plan); i++) {
		const struct pg_definition *d = stream->definitions[i];
		struct slice whole = slice_cstr(full);
		if (d->kind == DEFINITION_BUCKETS && slice_starts(whole, d->head) && whole.n > d->head.n &&
		    whole.p[d->head.n] == '[') {
			*keys = slice_drop(whole, d->head.n);
			return d->number;
		}
	}
	for (size_t i = 0; i < r->on->s->definition_count; i++) {
		const struct definition_record *d = &r->on->s->definitions[i];
		if (d->kind == DEFINITION_BUCKETS && slice_starts(name, d->name) && name.n > d->name.n &&
		    name.p[d->name.n] == '[') {
			*keys = slice_drop(name, d->name.n);
			return d->number;
		}
	}
	return 0;
}

static size_t utf16_length(struct slice text)
{
	size_t n = 0;
	for (size_t i = 0; i < text.n; i++) {
		uint8_t c = (uint8_t)text.p[i];
		n += (c & 0xc0) != 0x80 ? 1 + (c >= 0xf0) : 0;
	}
	return n;
}

static json_t *shown_data(struct slice data)
{
	size_t units = utf16_length(data);
	if (units <= 300)
		return json_stringn(data.p, data.n);
	uint8_t full[32];
	char hex[65];
	sha256_slices(&data, 1, full);
	for (int i = 0; i < 32; i++)
		snprintf(hex + 2 * i, 3, "%02x", full[i]);
	return json_pack("{s:I,s:s}", "length", (json_int_t)units, "sha256", hex);
}

static json_t *op_json(const struct op_view *op)
{
	static const char *const kinds[] = {"PUT", "REMOVE", "MOVE", "CLEAR"};
	char subkey[128], uuid[UUID_TEXT];
	if (op->kind == OP_MOVE || op->kind == OP_CLEAR)
		return json_pack("{s:I,s:s,s:I}", "op_id", (json_int_t)op->op_id, "op", kinds[op->kind], "checksum",
		                 (json_int_t)op->checksum);
	uuid_text(op->subkey_uuid, uuid);
	snprintf(subkey, sizeof(subkey), "%s%s%.*s", op->subkey_table, *op->subkey_table ? "/" : "", UUID_TEXT, uuid);
	json_t *o = json_pack("{s:I,s:s,s:s%,s:s%,s:s,s:I}", "op_id", (json_int_t)op->op_id, "op", kinds[op->kind], "object_type",
	                      op->object_type.p, op->object_type.n, "object_id", op->object_id.p, op->object_id.n, "subkey",
	                      subkey, "checksum", (json_int_t)op->checksum);
	if (op->kind == OP_PUT)
		json_object_set_new(o, "data", shown_data(op->data));
	return o;
}

/* The chunk being built; size is counted as the reference counts it (storage-semantics 8.1). */
struct chunks {
	json_t *all;
	json_t *open;
	size_t size, rows;
};

static void add_op(struct chunks *c, const char *bucket, uint64_t *after, const struct op_view *op, size_t chunk_limit)
{
	size_t n = op->kind == OP_PUT ? utf16_length(op->data) : 0;
	bool same = c->open && strcmp(text_of(c->open, "bucket"), bucket) == 0;
	if (!same || c->size >= chunk_limit || c->size + n > chunk_limit) {
		if (same)
			json_object_set_new(c->open, "has_more", json_true());
		c->open = json_pack("{s:s,s:I,s:b,s:[]}", "bucket", bucket, "after", (json_int_t)*after, "has_more", 0, "data");
		json_array_append_new(c->all, c->open);
		c->size = 0;
	}
	c->size += n;
	c->rows++;
	*after = op->op_id;
	if ((json_int_t)op->target_op > json_integer_value(json_object_get(c->open, "target_op")))
		json_object_set_new(c->open, "target_op", json_integer((json_int_t)op->target_op));
	json_object_set_new(c->open, "next_after", json_integer((json_int_t)op->op_id));
	json_array_append_new(json_object_get(c->open, "data"), op_json(op));
}

static json_t *read_chunks(struct run *r, json_t *step, uint64_t at)
{
	json_t *buckets = json_object_get(step, "buckets"), *v;
	size_t limit = (v = json_object_get(step, "limit")) ? (size_t)json_integer_value(v) : 1000;
	size_t chunk_limit = (v = json_object_get(step, "chunk_limit_bytes")) ? (size_t)json_integer_value(v) : 1048576;
	struct chunks c = {.all = json_array()};
	struct storage_reader *reader = storage_read_begin(r->on->s, &r->err);
	must(r, reader != NULL);
	const char *names[64];
	size_t count = json_array_size(buckets);
	for (size_t i = 0; i < count; i++)
		names[i] = json_string_value(json_array_get(json_array_get(buckets, i), 0));
	for (size_t done = 0; done < count && c.rows < limit; done++) {
		size_t next = count;
		for (size_t i = 0; i < count; i++) /* in order of names, as the recorded answers */
			if (names[i] && (next == count || strcmp(names[i], names[next]) < 0))
				next = i;
		struct slice keys;
		uint32_t definition = split_name(r, names[next], &keys);
		uint64_t after = translate(r, number_of(json_array_get(json_array_get(buckets, next), 1)));
		uint32_t bucket = definition ? reader_bucket(reader, definition, keys) : 0;
		if (number_of(json_array_get(json_array_get(buckets, next), 1)) == 0)
			after = 0;
		struct op_cursor *cursor = bucket ? reader_ops(reader, bucket, after, at, &r->err) : NULL;
		struct op_view op;
		int got = 0;
		must(r, cursor || !bucket);
		while (bucket && c.rows < limit && (got = op_cursor_next(cursor, &op, &r->err)) > 0)
			add_op(&c, names[next], &after, &op, chunk_limit);
		must(r, got >= 0);
		if (cursor)
			op_cursor_close(cursor);
		names[next] = NULL;
	}
	if (c.open && c.rows >= limit)
		json_object_set_new(c.open, "has_more", json_true());
	storage_read_end(reader);
	return c.all;
}

static bool same_text(json_t *a, json_t *b, const char *key)
{
	json_t *x = json_object_get(a, key), *y = json_object_get(b, key);
	return (!x && !y) || json_equal(x, y);
}

static bool compare_op(struct run *r, json_t *have, json_t *want)
{
	static const char *const fields[] = {"op", "object_type", "object_id", "subkey", "data"};
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
		if (!same_text(have, want, fields[i])) {
			char *a = json_dumps(have, JSON_COMPACT), *b = json_dumps(want, JSON_COMPACT);
			differ(r, "%s: got %s, want %s", fields[i], a, b);
			free(a);
			free(b);
			return false;
		}
	if ((uint32_t)json_integer_value(json_object_get(have, "checksum")) !=
	    (uint32_t)json_integer_value(json_object_get(want, "checksum")))
		return differ(r, "checksum of an operation");
	return pair_op(r, number_of(json_object_get(want, "op_id")), number_of(json_object_get(have, "op_id")));
}

/* A leading run of one operation becomes a CLEAR here, as on MongoDB storage; the recorded storage leaves it (storage-semantics 9). */
static void allow_single_clear(json_t *have, json_t *want)
{
	json_t *h = json_array_get(have, 0), *w = json_array_get(want, 0);
	bool alone = !json_array_size(want) ||
	             strcmp(text_of(json_array_get(want, 1) ? json_array_get(want, 1) : w, "op"), "PUT") == 0;
	if (h && w && alone && strcmp(text_of(h, "op"), "CLEAR") == 0 && strcmp(text_of(w, "op"), "MOVE") == 0)
		json_object_set_new(h, "op", json_string("MOVE"));
}

static bool compare_chunk(struct run *r, json_t *have, json_t *want)
{
	json_t *a = json_object_get(have, "data"), *b = json_object_get(want, "data");
	if (json_is_true(json_object_get(have, "has_more")) != json_is_true(json_object_get(want, "has_more")))
		return differ(r, "has_more of %s", text_of(want, "bucket"));
	if (json_is_object(b)) { /* a summary */
		size_t n = json_array_size(a);
		return (n == (size_t)json_integer_value(json_object_get(b, "count")) &&
		        pair_op(r, number_of(json_object_get(b, "first")),
		                number_of(json_object_get(json_array_get(a, 0), "op_id"))) &&
		        pair_op(r, number_of(json_object_get(b, "last")),
		                number_of(json_object_get(json_array_get(a, n - 1), "op_id")))) ||
		       differ(r, "%zu operations in a chunk of %s", n, text_of(want, "bucket"));
	}
	if (json_array_size(a) != json_array_size(b))
		return differ(r, "%zu operations instead of %zu in %s", json_array_size(a), json_array_size(b),
		              text_of(want, "bucket"));
	if (number_of(json_object_get(want, "after")) == 0)
		allow_single_clear(a, b);
	for (size_t i = 0; i < json_array_size(a); i++)
		if (!compare_op(r, json_array_get(a, i), json_array_get(b, i)))
			return false;
	json_t *target = json_object_get(want, "target_op");
	if (target && is_paired(r, number_of(target)) &&
	    translate(r, number_of(target)) != number_of(json_object_get(have, "target_op")))
		return differ(r, "target op %lld of %s", json_integer_value(json_object_get(have, "target_op")),
		              text_of(want, "bucket"));
	uint64_t after = number_of(json_object_get(want, "after"));
	if (translate(r, after) != number_of(json_object_get(have, "after")) && after)
		return differ(r, "after");
	return true;
}

static uint64_t checkpoint_of(struct run *r, json_t *step)
{
	json_t *at = json_object_get(step, "at");
	return at ? translate(r, number_of(at)) : served_checkpoint(r).op_id;
}

static bool do_read(struct run *r, json_t *step)
{
	json_t *want = json_object_get(json_object_get(step, "expect"), "chunks");
	json_t *have = read_chunks(r, step, checkpoint_of(r, step));
	bool ok = json_array_size(have) == json_array_size(want);
	if (!ok) {
		char *text = json_dumps(have, JSON_COMPACT);
		differ(r, "%zu chunks instead of %zu: %.2000s", json_array_size(have), json_array_size(want), text);
		free(text);
	}
	bool used[64] = {false};
	for (size_t i = 0; ok && i < json_array_size(want); i++) {
		json_t *w = json_array_get(want, i), *h = NULL;
		for (size_t k = 0; !h && k < json_array_size(have); k++)
			if (!used[k] && slice_eq(without_number(text_of(json_array_get(have, k), "bucket")),
			                         without_number(text_of(w, "bucket")))) {
				used[k] = true;
				h = json_array_get(have, k);
			}
		ok = h ? compare_chunk(r, h, w) : differ(r, "nothing for %s", text_of(w, "bucket"));
	}
	json_decref(have);
	return ok;
}

static bool do_checksums(struct run *r, json_t *step)
{
	json_t *want = json_object_get(json_object_get(step, "expect"), "checksums"), *w;
	uint64_t at = checkpoint_of(r, step);
	size_t i;
	if (r->shared && !json_is_false(json_object_get(step, "fresh")))
		shared_forget_sums(r);
	json_array_foreach(want, i, w)
	{
		struct bucket_checksum sum;
		struct slice keys;
		uint32_t definition = split_name(r, text_of(w, "bucket"), &keys);
		struct storage_reader *reader = storage_read_begin(r->on->s, &r->err);
		must(r, reader_checksum(reader, definition ? reader_bucket(reader, definition, keys) : 0, at, &sum, &r->err));
		storage_read_end(reader);
		if ((int32_t)sum.checksum != (int32_t)json_integer_value(json_object_get(w, "checksum")) ||
		    sum.count != number_of(json_object_get(w, "count")))
			return differ(r, "%s: %d, %llu operations", text_of(w, "bucket"), (int32_t)sum.checksum,
			              (unsigned long long)sum.count);
	}
	return true;
}

static void lookup_key(struct run *r, json_t *lookup, struct buf *out)
{
	buf_putc(out, '[');
	for (size_t i = 2; i < json_array_size(lookup); i++) {
		struct value v = value_of(r, json_array_get(lookup, i));
		if (i > 2)
			buf_putc(out, ',');
		value_lookup_key(out, &v);
	}
	buf_putc(out, ']');
}

static uint32_t lookup_definition(struct run *r, json_t *lookup)
{
	char name[128];
	const struct pg_stream *stream = r->shared ? shared_stream(r) : NULL;
	for (uint32_t i = 0; stream && i < plan_definition_count(stream->plan); i++) {
		const struct pg_definition *d = stream->definitions[i];
		if (d->kind == DEFINITION_LOOKUP &&
		    slice_eq(d->unique, slice_cstr(json_string_value(json_array_get(lookup, 0)))) &&
		    slice_eq(d->query_id, slice_cstr(json_string_value(json_array_get(lookup, 1)))))
			return d->number;
	}
	snprintf(name, sizeof(name), "%s#%s", json_string_value(json_array_get(lookup, 0)),
	         json_string_value(json_array_get(lookup, 1)));
	for (size_t i = 0; i < r->on->s->definition_count; i++)
		if (r->on->s->definitions[i].kind == DEFINITION_LOOKUP &&
		    slice_eq(r->on->s->definitions[i].name, slice_cstr(name)))
			return r->on->s->definitions[i].number;
	return 0;
}

/* Results as a sorted array of texts, so that order means nothing. */
static int compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool compare_results(struct run *r, const struct slice *results, size_t count, json_t *rows)
{
	if (count != json_array_size(rows))
		return differ(r, "%zu results instead of %zu", count, json_array_size(rows));
	char **have = xcalloc(count, sizeof(*have)), **want = xcalloc(count, sizeof(*want));
	bool ok = true;
	for (size_t i = 0; i < count; i++) {
		have[i] = xstrdup(results[i]);
		json_t *plain = json_object(), *v;
		const char *name;
		struct buf text = {0};
		/* The scenario writes values in its own notation. */
		buf_putc(&text, '{');
		json_object_foreach(json_array_get(rows, i), name, v)
		{
			struct value x = value_of(r, v);
			if (text.n > 1)
				buf_putc(&text, ',');
			json_append_string(&text, slice_cstr(name));
			buf_putc(&text, ':');
			value_json(&text, &x);
		}
		buf_putc(&text, '}');
		want[i] = xstrdup(buf_slice(&text));
		buf_free(&text);
		json_decref(plain);
	}
	qsort(have, count, sizeof(*have), compare_texts);
	qsort(want, count, sizeof(*want), compare_texts);
	for (size_t i = 0; ok && i < count; i++)
		ok = strcmp(have[i], want[i]) == 0 || differ(r, "result %s instead of %s", have[i], want[i]);
	for (size_t i = 0; i < count; i++) {
		free(have[i]);
		free(want[i]);
	}
	free(have);
	free(want);
	return ok;
}

static bool do_parameters(struct run *r, json_t *step)
{
	json_t *want = json_object_get(step, "expect"), *lookups = json_object_get(step, "lookups"), *one,
	       *limit_of = json_object_get(step, "limit");
	uint64_t at = checkpoint_of(r, step);
	size_t limit = limit_of ? (size_t)json_integer_value(limit_of) : 1000, total = 0, i;
	bool ok = true;
	struct lookup_read *keys = arena_calloc(&r->arena, sizeof(*keys) * (json_array_size(lookups) + 1));
	json_array_foreach(lookups, i, one)
	{
		struct buf key = {0};
		lookup_key(r, one, &key);
		keys[i] = (struct lookup_read){.definition = lookup_definition(r, one),
		                               .key = arena_copy(&r->arena, buf_slice(&key))};
		buf_free(&key);
	}
	struct storage_reader *reader = storage_read_begin(r->on->s, &r->err);
	must(r, reader_lookups(reader, keys, json_array_size(lookups), at, limit, &r->arena, &r->err));
	storage_read_end(reader);
	for (i = 0; i < json_array_size(lookups); i++) {
		total += keys[i].count;
		if (!json_object_get(want, "error"))
			ok = ok && compare_results(r, keys[i].results, keys[i].count,
			                           json_object_get(json_array_get(json_object_get(want, "results"), i), "rows"));
	}
	if (json_object_get(want, "error"))
		return total > limit || differ(r, "%zu results are within the limit", total);
	return ok;
}

static bool do_checkpoint(struct run *r, json_t *step)
{
	json_t *want = json_object_get(step, "expect");
	struct checkpoint c = served_checkpoint(r);
	const char *lsn = text_of(want, "lsn");
	if (c.valid != (lsn != NULL) || (lsn && lsn_of(lsn) != c.position.lsn))
		return differ(r, "at %llx", (unsigned long long)c.position.lsn);
	return pair_checkpoint(r, number_of(json_object_get(want, "checkpoint")), c.op_id);
}

#endif
