/*
 * pull_state.c: buckets as a client keeps them: positions, checksums, and which rows they hold (sync-protocol 4, 5).
 *
 * NOLINT: clang's analyzer does not follow uthash's links through a deletion, and takes what was freed for still linked.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>

#include "base/alloc.h"
#include "cli/pull.h"

/* One entry of a bucket: the newest PUT under its key. */
struct held {
	char *key; /* type, id and subkey, with \x1f between */
	struct pull_row *row;
	struct held *next_of_row, *previous_of_row;
	char *data;
	uint64_t op_id;
	UT_hash_handle hh;
};

struct pull_bucket {
	char *name;
	uint64_t after;
	uint32_t sum, want;
	uint64_t count, want_count;
	bool wanted;
	struct held *held;
	UT_hash_handle hh;
};

/* A row of the result: what all buckets together hold under its type and id. */
struct pull_row {
	char *key; /* type \x1f id */
	struct held *held;
	bool changed, shown; /* since the last pull_state_changes; it was told of then */
	struct pull_row *next_changed;
	UT_hash_handle hh;
};

struct pull_state {
	struct pull_bucket *buckets;
	struct pull_row *rows, *changed;
	struct pull_counts counts;
};

struct pull_state *pull_state_new(void)
{
	return xcalloc(1, sizeof(struct pull_state));
}

/* ---- rows -------------------------------------------------------------------------------------------------------------------- */

static void touch(struct pull_state *s, struct pull_row *row)
{
	if (row->changed)
		return;
	row->changed = true;
	row->next_changed = s->changed;
	s->changed = row;
}

static struct pull_row *find_row(struct pull_state *s, const char *type, const char *id)
{
	struct buf key = {0};
	struct pull_row *row;
	buf_printf(&key, "%s\x1f%s", type, id);
	HASH_FIND(hh, s->rows, key.p, key.n, row);
	if (!row) {
		row = xcalloc(1, sizeof(*row));
		row->key = xstrdup(buf_slice(&key));
		HASH_ADD_KEYPTR(hh, s->rows, row->key, key.n, row);
	}
	buf_free(&key);
	return row;
}

static void drop_held(struct pull_state *s, struct pull_bucket *b, struct held *h)
{
	if (h->next_of_row)
		h->next_of_row->previous_of_row = h->previous_of_row;
	if (h->previous_of_row)
		h->previous_of_row->next_of_row = h->next_of_row;
	else
		h->row->held = h->next_of_row;
	touch(s, h->row);
	HASH_DEL(b->held, h); /* NOLINT */
	free(h->key);
	free(h->data);
	free(h);
}

static void drop_all(struct pull_state *s, struct pull_bucket *b)
{
	struct held *h, *next;
	HASH_ITER(hh, b->held, h, next)
	{
		drop_held(s, b, h);
	}
}

static void drop_bucket(struct pull_state *s, struct pull_bucket *b)
{
	drop_all(s, b);
	HASH_DEL(s->buckets, b); /* NOLINT */
	free(b->name);
	free(b);
}

void pull_state_free(struct pull_state *s)
{
	struct pull_bucket *b, *next;
	struct pull_row *row, *next_row;
	HASH_ITER(hh, s->buckets, b, next)
	{
		drop_bucket(s, b);
	}
	HASH_ITER(hh, s->rows, row, next_row)
	{
		HASH_DEL(s->rows, row); /* NOLINT */
		free(row->key);
		free(row);
	}
	free(s);
}

/* ---- operations -------------------------------------------------------------------------------------------------------------- */

static const char *text_of(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));
	return s ? s : "";
}

static uint64_t id_of(const json_t *o, const char *name)
{
	return strtoull(text_of(o, name), NULL, 10);
}

static void put(struct pull_state *s, struct pull_bucket *b, const json_t *op, const char *key, size_t n)
{
	struct held *h = xcalloc(1, sizeof(*h));
	h->key = xstrdup(slice_make(key, n));
	h->data = xstrdup(slice_cstr(text_of(op, "data")));
	h->op_id = id_of(op, "op_id");
	h->row = find_row(s, text_of(op, "object_type"), text_of(op, "object_id"));
	h->next_of_row = h->row->held;
	if (h->next_of_row)
		h->next_of_row->previous_of_row = h;
	h->row->held = h;
	HASH_ADD_KEYPTR(hh, b->held, h->key, n, h);
	touch(s, h->row);
}

static bool apply(struct pull_state *s, struct pull_bucket *b, const json_t *op, struct error *err)
{
	const char *kind = text_of(op, "op");
	uint32_t checksum = (uint32_t)json_integer_value(json_object_get(op, "checksum"));
	s->counts.operations++;
	b->count++;
	if (strcmp(kind, "CLEAR") == 0) {
		drop_all(s, b);
		b->sum = checksum;
		b->count = 1;
		return true;
	}
	b->sum += checksum;
	if (strcmp(kind, "MOVE") == 0)
		return true;
	if (strcmp(kind, "PUT") != 0 && strcmp(kind, "REMOVE") != 0)
		return error_set(err, "", "unknown operation '%s'", kind);
	struct buf key = {0};
	struct held *old;
	buf_printf(&key, "%s\x1f%s\x1f%s", text_of(op, "object_type"), text_of(op, "object_id"), text_of(op, "subkey"));
	HASH_FIND(hh, b->held, key.p, key.n, old);
	if (old)
		drop_held(s, b, old);
	if (kind[0] == 'P')
		put(s, b, op, key.p, key.n);
	buf_free(&key);
	return true;
}

/* ---- lines ------------------------------------------------------------------------------------------------------------------- */

static struct pull_bucket *find_bucket(struct pull_state *s, const char *name)
{
	struct pull_bucket *b;
	HASH_FIND_STR(s->buckets, name, b);
	return b;
}

static void want(struct pull_state *s, const json_t *list)
{
	size_t i;
	json_t *item;
	json_array_foreach(list, i, item)
	{
		const char *name = text_of(item, "bucket");
		struct pull_bucket *b = find_bucket(s, name);
		if (!b) {
			b = xcalloc(1, sizeof(*b));
			b->name = xstrdup(slice_cstr(name));
			HASH_ADD_KEYPTR(hh, s->buckets, b->name, strlen(b->name), b);
		}
		b->wanted = true;
		b->want = (uint32_t)json_integer_value(json_object_get(item, "checksum"));
		b->want_count = (uint64_t)json_integer_value(json_object_get(item, "count"));
	}
}

/* A whole checkpoint: what it does not list is gone. */
static void checkpoint(struct pull_state *s, const json_t *line)
{
	struct pull_bucket *b, *next;
	HASH_ITER(hh, s->buckets, b, next)
	{
		b->wanted = false;
	}
	want(s, json_object_get(line, "buckets"));
	HASH_ITER(hh, s->buckets, b, next)
	{
		if (!b->wanted)
			drop_bucket(s, b);
	}
}

static void checkpoint_diff(struct pull_state *s, const json_t *line)
{
	size_t i;
	json_t *name;
	want(s, json_object_get(line, "updated_buckets"));
	json_array_foreach(json_object_get(line, "removed_buckets"), i, name)
	{
		struct pull_bucket *b = find_bucket(s, json_string_value(name) ? json_string_value(name) : "");
		if (b)
			drop_bucket(s, b);
	}
}

static bool data(struct pull_state *s, const json_t *line, struct error *err)
{
	size_t i;
	json_t *op;
	struct pull_bucket *b = find_bucket(s, text_of(line, "bucket"));
	if (!b)
		return error_set(err, "", "data of the bucket %.200s, which is not in the checkpoint", text_of(line, "bucket"));
	json_array_foreach(json_object_get(line, "data"), i, op)
	{
		if (!apply(s, b, op, err))
			return false;
	}
	b->after = id_of(line, "next_after");
	return true;
}

static bool verify(struct pull_state *s, struct error *err)
{
	struct pull_bucket *b, *next;
	HASH_ITER(hh, s->buckets, b, next)
	{
		if (b->sum != b->want)
			return error_set(
			        err, "",
			        "checksum of bucket %.200s: computed %d over %llu operations, the service says %d over %llu",
			        b->name, (int32_t)b->sum, (unsigned long long)b->count, (int32_t)b->want,
			        (unsigned long long)b->want_count);
	}
	s->counts.checkpoints++;
	return true;
}

static void expect(struct pull_state *s)
{
	s->counts.expected = s->counts.operations;
	for (const struct pull_bucket *b = s->buckets; b; b = b->hh.next)
		if (b->want_count > b->count)
			s->counts.expected += b->want_count - b->count;
}

bool pull_state_line(struct pull_state *s, const json_t *line, bool *complete, struct error *err)
{
	const json_t *body;
	*complete = false;
	s->counts.lines++;
	if ((body = json_object_get(line, "checkpoint")))
		checkpoint(s, body);
	else if ((body = json_object_get(line, "checkpoint_diff")))
		checkpoint_diff(s, body);
	else if ((body = json_object_get(line, "data")))
		return data(s, body, err);
	else if (json_object_get(line, "checkpoint_complete"))
		return *complete = verify(s, err);
	if (body)
		expect(s);
	return true;
}

json_t *pull_state_positions(const struct pull_state *s)
{
	json_t *list = json_array();
	for (const struct pull_bucket *b = s->buckets; b; b = b->hh.next) {
		char after[24];
		snprintf(after, sizeof(after), "%llu", (unsigned long long)b->after);
		json_array_append_new(list, json_pack("{s:s,s:s}", "name", b->name, "after", after));
	}
	return list;
}

bool pull_state_changes(struct pull_state *s, pull_row_fn each, void *ctx, struct error *err)
{
	while (s->changed) {
		struct pull_row *row = s->changed;
		const struct held *newest = row->held;
		char *id = strchr(row->key, '\x1f');
		for (const struct held *h = row->held; h; h = h->next_of_row)
			if (h->op_id > newest->op_id)
				newest = h;
		*id = '\0';
		bool ok = (!newest && !row->shown) || each(ctx, row->key, id + 1, newest ? newest->data : NULL, err);
		*id = '\x1f';
		if (!ok)
			return false;
		s->changed = row->next_changed;
		row->changed = false;
		row->shown = newest != NULL;
		if (!newest) {
			HASH_DEL(s->rows, row); /* NOLINT */
			free(row->key);
			free(row);
		}
	}
	return true;
}

void pull_state_counts(const struct pull_state *s, struct pull_counts *out)
{
	*out = s->counts;
	out->buckets = HASH_COUNT(s->buckets);
}
