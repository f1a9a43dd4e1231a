/* json.c: JSON trees: writing, comparing, paths, and as SQL values. */
#include "value/json.h"

#include <math.h>

#include "value/real.h"

/* ---- trees ------------------------------------------------------------------------------------------------------------- */

size_t json_depth(const struct json_node *n)
{
	size_t below = 0;
	if (n->kind != JSON_KIND_ARRAY && n->kind != JSON_KIND_OBJECT)
		return 0;
	for (size_t i = 0; i < (n->kind == JSON_KIND_ARRAY ? n->array.count : n->object.count); i++) {
		size_t depth = json_depth(n->kind == JSON_KIND_ARRAY ? &n->array.items[i] : &n->object.members[i].value);
		below = depth > below ? depth : below;
	}
	return below + 1;
}

const struct json_node *json_find(const struct json_node *n, struct slice key)
{
	if (n->kind != JSON_KIND_OBJECT)
		return NULL;
	for (size_t i = 0; i < n->object.count; i++)
		if (slice_eq(n->object.members[i].key, key))
			return &n->object.members[i].value;
	return NULL;
}

static bool same_items(const struct json_node *a, const struct json_node *b)
{
	if (a->array.count != b->array.count)
		return false;
	for (size_t i = 0; i < a->array.count; i++)
		if (!json_same(&a->array.items[i], &b->array.items[i]))
			return false;
	return true;
}

static bool same_members(const struct json_node *a, const struct json_node *b)
{
	if (a->object.count != b->object.count)
		return false;
	for (size_t i = 0; i < a->object.count; i++) {
		const struct json_member *x = &a->object.members[i], *y = &b->object.members[i];
		if (!slice_eq(x->key, y->key) || !json_same(&x->value, &y->value))
			return false;
	}
	return true;
}

bool json_same(const struct json_node *a, const struct json_node *b)
{
	if (a->kind != b->kind)
		return false;
	switch (a->kind) {
	case JSON_KIND_NULL:
		return true;
	case JSON_KIND_BOOLEAN:
		return a->b == b->b;
	case JSON_KIND_INTEGER:
		return a->i == b->i;
	case JSON_KIND_REAL:
		return a->r == b->r;
	case JSON_KIND_BIG_INTEGER:
	case JSON_KIND_STRING:
		return slice_eq(a->s, b->s);
	case JSON_KIND_ARRAY:
		return same_items(a, b);
	case JSON_KIND_OBJECT:
		return same_members(a, b);
	}
	return false;
}

/* ---- writing ----------------------------------------------------------------------------------------------------------- */

static void write_object(struct buf *out, const struct json_node *n, unsigned style)
{
	buf_putc(out, '{');
	for (size_t i = 0; i < n->object.count; i++) {
		if (i)
			buf_putc(out, ',');
		json_append_string(out, n->object.members[i].key);
		buf_putc(out, ':');
		json_write(out, &n->object.members[i].value, style);
	}
	buf_putc(out, '}');
}

void json_write(struct buf *out, const struct json_node *n, unsigned style)
{
	switch (n->kind) {
	case JSON_KIND_NULL:
		buf_lit(out, "null");
		break;
	case JSON_KIND_BOOLEAN:
		if (style & JSON_STYLE_BOOLEANS_AS_NUMBERS)
			buf_putc(out, n->b ? '1' : '0');
		else
			buf_slice_append(out, n->b ? SLICE("true") : SLICE("false"));
		break;
	case JSON_KIND_INTEGER:
		buf_i64(out, n->i);
		break;
	case JSON_KIND_REAL:
		if (isfinite(n->r))
			out->n += format_real(buf_reserve(out, 32), n->r, !(style & JSON_STYLE_SHORT_NUMBERS));
		else
			buf_lit(out, "null");
		break;
	case JSON_KIND_BIG_INTEGER:
		buf_slice_append(out, n->s);
		break;
	case JSON_KIND_STRING:
		json_append_string(out, n->s);
		break;
	case JSON_KIND_ARRAY:
		buf_putc(out, '[');
		for (size_t i = 0; i < n->array.count; i++) {
			if (i)
				buf_putc(out, ',');
			json_write(out, &n->array.items[i], style);
		}
		buf_putc(out, ']');
		break;
	case JSON_KIND_OBJECT:
		write_object(out, n, style);
		break;
	}
}

struct slice json_to_text(const struct json_node *n, unsigned style, struct arena *arena)
{
	struct buf b = {0};
	json_write(&b, n, style);
	struct slice text = arena_copy(arena, buf_slice(&b));
	buf_free(&b);
	return text;
}

void json_lookup_key(struct buf *out, const struct json_node *n)
{
	if (n->kind == JSON_KIND_REAL && real_is_whole(n->r))
		buf_whole_real(out, n->r);
	else
		json_write(out, n, JSON_STYLE_PLAIN);
}

/* ---- SQL values -------------------------------------------------------------------------------------------------------- */

bool json_to_value(const struct json_node *n, struct arena *arena, struct value *out, struct error *err)
{
	switch (n->kind) {
	case JSON_KIND_NULL:
		*out = value_null();
		return true;
	case JSON_KIND_BOOLEAN:
		*out = value_integer(n->b);
		return true;
	case JSON_KIND_INTEGER:
		*out = value_integer(n->i);
		return true;
	case JSON_KIND_REAL:
		*out = value_real(n->r);
		return true;
	case JSON_KIND_STRING:
		*out = value_text(n->s);
		return true;
	case JSON_KIND_BIG_INTEGER:
		return error_set(err, "", "the integer %.*s does not fit 64 bits", (int)(n->s.n < 40 ? n->s.n : 40), n->s.p);
	case JSON_KIND_ARRAY:
	case JSON_KIND_OBJECT:
		break;
	}
	*out = value_text(json_to_text(n, JSON_STYLE_PLAIN, arena));
	return true;
}

/* One step down; NULL: missing. JSON null stays null whatever the step. */
static const struct json_node *step_into(const struct json_node *n, struct slice step)
{
	uint64_t index;
	if (n->kind == JSON_KIND_NULL)
		return n;
	if (n->kind != JSON_KIND_ARRAY)
		return json_find(n, step);
	if (step.n == 0 || (step.p[0] == '0' && step.n > 1) || !slice_parse_u64(step, SIZE_MAX - 9, &index))
		return NULL;
	return index < n->array.count ? &n->array.items[index] : NULL;
}

/* All steps of a path, 11.3; NULL: missing. */
static const struct json_node *walk(const struct json_node *n, struct slice path, bool fixed)
{
	bool rooted = path.n && path.p[0] == '$';
	if (!rooted && fixed)
		return step_into(n, path);
	for (bool first = true; n; first = false) {
		const char *dot = path.n ? memchr(path.p, '.', path.n) : NULL;
		struct slice step = dot ? slice_make(path.p, (size_t)(dot - path.p)) : path;
		if (!first || !rooted)
			n = step_into(n, step);
		if (!dot)
			break;
		path = slice_drop(path, step.n + 1);
	}
	return n;
}

bool json_arrow_node(const struct json_node *root, struct slice path, bool as_json, bool fixed, struct arena *arena,
                     struct value *out, struct error *err)
{
	*out = value_null();
	if (root->kind == JSON_KIND_NULL)
		return true;
	const struct json_node *n = walk(root, path, fixed);
	if (!n)
		return true;
	if (n->kind == JSON_KIND_NULL) {
		if (as_json == fixed)
			*out = value_text(SLICE("null"));
		return true;
	}
	if (!as_json)
		return json_to_value(n, arena, out, err);
	*out = value_text(json_to_text(n, JSON_STYLE_PLAIN, arena));
	return true;
}

bool json_arrow(const struct value *x, const struct value *path, bool as_json, bool fixed, struct arena *arena, struct value *out,
                struct error *err)
{
	struct json_node root;
	if (value_is_null(x) || value_is_null(path)) {
		*out = value_null();
		return true;
	}
	if (!json_read(value_text_form(x, arena), JSON_EXACT, arena, &root, err))
		return false;
	return json_arrow_node(&root, value_text_form(path, arena), as_json, fixed, arena, out, err);
}

static bool each_value(const struct json_node *n, bool fixed, struct arena *arena, struct value *out, struct error *err)
{
	if (n->kind == JSON_KIND_NULL && !fixed) {
		*out = value_text(SLICE("null"));
		return true;
	}
	return json_to_value(n, arena, out, err);
}

bool json_each(const struct value *x, bool fixed, struct arena *arena, struct json_each_row **rows, size_t *count,
               struct error *err)
{
	struct json_node root;
	*rows = NULL;
	*count = 0;
	if (x->kind == VALUE_NULL)
		return true;
	if (x->kind != VALUE_TEXT)
		return error_set(err, "", "json_each: the argument is not JSON text");
	if (!json_read(x->s, JSON_DOUBLES, arena, &root, err))
		return error_prefix(err, "json_each: ");
	size_t n = root.kind == JSON_KIND_ARRAY ? root.array.count : root.kind == JSON_KIND_OBJECT ? root.object.count : 1;
	*rows = arena_array(arena, struct json_each_row, n ? n : 1);
	for (; *count < n; (*count)++) {
		struct json_each_row *row = &(*rows)[*count];
		const struct json_node *node = &root;
		row->key = value_null();
		if (root.kind == JSON_KIND_ARRAY) {
			row->key = value_integer((int64_t)*count);
			node = &root.array.items[*count];
		} else if (root.kind == JSON_KIND_OBJECT) {
			row->key = value_text(root.object.members[*count].key);
			node = &root.object.members[*count].value;
		}
		if (!each_value(node, fixed, arena, &row->value, err))
			return false;
	}
	return true;
}
