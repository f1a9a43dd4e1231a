/* storage_write_steps.h: the steps of storage scenarios that write rows. */
#ifndef TESTS_VECTORS_STORAGE_WRITE_STEPS_H
#define TESTS_VECTORS_STORAGE_WRITE_STEPS_H

#include "storage_stream_steps.h"

#define MAX_ROW_BYTES (15u * 1024 * 1024)

static void collect_contributions(struct run *r, const struct bound_table *b, const struct value *row,
                                  struct row_contributions *c)
{
	struct evaluation e;
	bound_evaluate(b, row, &r->arena, &e);
	struct stored_plan *sp = r->shared ? stored_plan_ref(shared_stream(r)->stored) : storage_active_plan(r->on->s);
	if (!sp)
		sp = storage_pending_plan(r->on->s);
	struct put_entry *puts = arena_array(&r->arena, struct put_entry, e.entry_count);
	struct lookup_entry *lookups = arena_array(&r->arena, struct lookup_entry, e.lookup_count);
	for (size_t i = 0; i < e.entry_count; i++) {
		const struct row_entry *x = &e.entries[i];
		puts[i] = (struct put_entry){.definition = sp->definitions[x->definition].number,
		                             .keys = x->keys,
		                             .object_type = x->object_type,
		                             .object_id = x->object_id,
		                             .data = x->data};
		put_entry_digest(&puts[i]);
	}
	for (size_t i = 0; i < e.lookup_count; i++)
		lookups[i] = (struct lookup_entry){sp->definitions[e.lookups[i].definition].number, e.lookups[i].key,
		                                   e.lookups[i].results};
	*c = (struct row_contributions){
	        .puts = puts, .put_count = e.entry_count, .lookups = lookups, .lookup_count = e.lookup_count};
	stored_plan_unref(sp);
}

/* The row with what was not sent taken from the stored image; the image is the row in the scenario's own notation. */
static json_t *merged_row(struct run *r, struct run_table *t, json_t *after, const struct row_key *old)
{
	struct stored_row stored;
	json_t *row = json_copy(after), *v;
	const char *name;
	must(r, storage_read_row(r->on->s, t->number, old, &r->arena, &stored, &r->err));
	json_t *image = stored.found && stored.image.n ? json_loadb(stored.image.p, stored.image.n, 0, NULL) : NULL;
	if (r->shared && stored.found && !image)
		image = noted_row(&stored);
	json_object_foreach(after, name, v)
	{
		json_t *kept = image ? json_object_get(image, name) : NULL;
		if (part(v, "toast") && kept)
			json_object_set(row, name, kept);
	}
	json_decref(image);
	return row;
}

/* What is saved belongs to a transaction that ends with the next commit of the writer, else (that was closed) with the last one of the scenario:
 * flushes are in the middle of it. */
static uint64_t transaction_end(const struct run *r)
{
	const char *writer = text_of(json_array_get(r->steps, r->at), "writer");
	for (size_t i = r->at; i < json_array_size(r->steps); i++) {
		json_t *step = json_array_get(r->steps, i);
		const char *by = text_of(step, "writer");
		if (strcmp(text_of(step, "do"), "commit") == 0 && strcmp(by ? by : "", writer ? writer : "") == 0)
			return lsn_of(text_of(step, "lsn"));
	}
	return r->final_lsn;
}

static void in_transaction(struct run *r)
{
	if (!r->on->dirty)
		storage_in_transaction(r->on->s, (struct position){0, transaction_end(r)});
	r->on->dirty = true;
}

static void save_row(struct run *r, struct run_table *t, const char *tag, json_t *after, struct row_key key, struct row_key *old)
{
	bool images = r->on->images && !t->complete_rows, unknown = false;
	json_t *row = images && strcmp(tag, "update") == 0 ? merged_row(r, t, after, old ? old : &key) : json_incref(after);
	size_t count = json_object_size(row), at = 0, bytes = 0;
	struct slice *names = arena_array(&r->arena, struct slice, count);
	struct value *values = arena_array(&r->arena, struct value, count);
	const char *name;
	json_t *v;
	json_object_foreach(row, name, v)
	{
		names[at] = slice_cstr(name);
		values[at] = value_of(r, v);
		if (values[at].kind == VALUE_UNKNOWN && !images)
			values[at].kind = VALUE_ABSENT;
		unknown |= values[at].kind == VALUE_UNKNOWN;
		bytes += values[at].kind == VALUE_TEXT || values[at].kind == VALUE_BLOB ? values[at].s.n : 8;
		at++;
	}
	bool too_large = images && bytes > MAX_ROW_BYTES;
	char *image = images && !too_large ? json_dumps(row, JSON_COMPACT) : NULL;
	struct slice kept = image ? slice_cstr(image) : (struct slice){NULL, 0};
	if (unknown) {
		must(r, storage_write_incomplete_row(
		                r->on->s, t->number, &key, old, kept,
		                &(struct row_contributions){.names = names, .values = values, .value_count = count}, &r->err));
	} else {
		struct row_contributions c = {.puts = NULL, .put_count = 0, .lookups = NULL, .lookup_count = 0};
		struct relation_columns columns = {SLICE("default"), SLICE("public"), slice_cstr(t->source), names, count};
		struct bound_table *b = too_large ? NULL : plan_bind(r->on->plan, &columns);
		if (b)
			collect_contributions(r, b, values, &c);
		if (kept.n) {
			c.names = names;
			c.values = values;
			c.value_count = count;
		}
		must(r, storage_write_row(r->on->s, t->number, &key, old, &c, kept, ROW_STREAM, &r->err));
		bound_table_free(b);
	}
	free(image);
	json_decref(row);
	if (++r->on->queued == 2000) {
		must(r, storage_flush(r->on->s, &r->err));
		r->on->queued = 0;
	}
}

/* As a chunk of a snapshot is applied: what the stream brought stays (interleaved-snapshot 5), and there are whole rows only. */
static bool leaves_alone(struct run *r, json_t *step, uint32_t table)
{
	const char *writer = text_of(step, "writer");
	struct stored_row stored;
	if (!writer || !*r->on->skipping_writer || strcmp(writer, r->on->skipping_writer) != 0)
		return false;
	r->on->refused |= strcmp(text_of(step, "tag"), "insert") != 0;
	struct row_key key = row_key_of(r, subkey_id(r, table), json_object_get(step, "after_id"));
	must(r, storage_read_row(r->on->s, table, &key, &r->arena, &stored, &r->err));
	return stored.found || r->on->refused;
}

static bool do_save(struct run *r, json_t *step)
{
	struct run_table *t = table_named(r, text_of(step, "table"));
	if (leaves_alone(r, step, t->number))
		return true;
	const char *tag = text_of(step, "tag");
	json_t *before_id = json_object_get(step, "before_id"), *after_id = json_object_get(step, "after_id");
	if (!plan_uses_table(r->on->plan, SLICE("default"), SLICE("public"), slice_cstr(t->source)))
		return true;
	struct row_key old = {.bytes = {NULL, 0}}, key = {.bytes = {NULL, 0}};
	if (before_id)
		old = row_key_of(r, subkey_id(r, t->number), before_id);
	in_transaction(r);
	if (strcmp(tag, "delete") == 0) {
		must(r, storage_delete_row(r->on->s, t->number, &old, &r->err));
		return true;
	}
	key = row_key_of(r, subkey_id(r, t->number), after_id);
	save_row(r, t, tag, json_object_get(step, "after"), key, before_id ? &old : NULL);
	return true;
}

static bool do_save_many(struct run *r, json_t *step)
{
	struct run_table *t = table_named(r, text_of(step, "table"));
	json_int_t from = json_integer_value(json_object_get(step, "from")), to = json_integer_value(json_object_get(step, "to"));
	in_transaction(r);
	for (json_int_t i = from; i <= to; i++) {
		json_t *row = json_object(), *v;
		const char *name;
		char id[64], number[32];
		snprintf(number, sizeof(number), "%lld", (long long)i);
		json_object_foreach(json_object_get(step, "after"), name, v)
		{
			const char *text = json_string_value(v), *mark = text ? strstr(text, "{i}") : NULL;
			if (mark) {
				char out[256];
				snprintf(out, sizeof(out), "%.*s%s%s", (int)(mark - text), text, number, mark + 3);
				json_object_set_new(row, name, json_string(out));
			} else {
				json_object_set(row, name, v);
			}
		}
		snprintf(id, sizeof(id), "%s%s", text_of(step, "id_prefix"), number);
		json_object_set_new(row, "id", json_string(id));
		json_t *key = json_pack("{s:{s:s}}", "key", "id", id);
		save_row(r, t, "insert", row, row_key_of(r, subkey_id(r, t->number), key), NULL);
		json_decref(key);
		json_decref(row);
	}
	return true;
}

static bool do_flush(struct run *r, json_t *step)
{
	json_t *want = json_object_get(step, "expect"), *op = json_object_get(want, "flushed_op");
	bool was = r->on->dirty;
	if (json_object_get(want, "error"))
		return r->on->refused || differ(r, "no error");
	must(r, storage_flush(r->on->s, &r->err));
	r->on->dirty = false;
	r->on->queued = 0;
	return json_is_null(op) == !was || differ(r, was ? "something was flushed" : "nothing was flushed");
}

static bool do_truncate(struct run *r, json_t *step)
{
	json_t *tables = json_object_get(step, "tables"), *want = json_object_get(step, "expect");
	uint64_t all = 0, removed;
	bool drop = strcmp(text_of(step, "do"), "drop") == 0;
	in_transaction(r);
	for (size_t i = 0; i < json_array_size(tables); i++) {
		uint32_t number = table_named(r, json_string_value(json_array_get(tables, i)))->number;
		must(r, storage_truncate_table(r->on->s, number, &removed, &r->err));
		all += removed;
		if (drop)
			must(r, storage_drop_table(r->on->s, number, &r->err));
	}
	r->on->dirty = !r->shared; /* flushed there */
	return !want || (all > 0) == json_is_true(json_object_get(want, "flushed")) ||
	       differ(r, "%llu rows went", (unsigned long long)all);
}

#endif
