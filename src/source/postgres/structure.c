/*
 * structure.c: arrays, ranges, multiranges and composites from the server's text to JSON (source-postgres 14.4, 14.5).
 *
 * The parsers know the forms that the server writes; anything else is "unreadable" and the raw text is kept, at the innermost level
 * that fails. Recursion is bounded by MAX_NESTING.
 */
#include "source/postgres/mapping.h"

struct context {
	struct buf *out;
	const struct mapping_options *options;
	struct arena *arena;
};

static enum structure structure_json(struct context *c, const struct pg_type *type, struct slice text, int depth);

/* ---- elements ------------------------------------------------------------------------------------------------------------- */

/* One value inside a structure, not null. depth: containers around it. */
static enum structure element_json(struct context *c, const struct pg_type *type, struct slice text, int depth)
{
	type = type_base(type);
	if (type && type_is_structured(type, c->options)) {
		size_t before = c->out->n;
		enum structure result = structure_json(c, type, text, depth);
		if (result != STRUCTURE_UNREADABLE)
			return result;
		c->out->n = before;
		json_append_string(c->out, text);
		return STRUCTURE_OK;
	}
	struct value v = value_null();
	enum type_kind kind = type ? type->kind : TYPE_TEXT;
	if (kind == TYPE_JSON) { /* embedded as it is */
		buf_slice_append(c->out, text);
		return STRUCTURE_OK;
	}
	if (kind != TYPE_BYTEA)
		map_scalar(kind, text, c->options, c->arena, &v, NULL);
	value_json(c->out, &v);
	return STRUCTURE_OK;
}

static bool at(const struct slice *s, char c)
{
	return s->n && s->p[0] == c;
}

static bool take(struct slice *s, char c)
{
	if (!at(s, c))
		return false;
	*s = slice_drop(*s, 1);
	return true;
}

/* A quoted piece, after its opening quote: up to the closing one, backslash escapes undone; doubled: a quote may be written twice.
 * Unescaped text goes into the arena only when it differs. */
static bool take_quoted(struct slice *s, bool doubled, struct arena *arena, struct slice *out)
{
	size_t end = 0, drop = 0;
	for (;; end++) {
		if (end >= s->n)
			return false;
		bool twice = doubled && s->p[end] == '"' && end + 1 < s->n && s->p[end + 1] == '"';
		if (s->p[end] == '\\' || twice) {
			if (end + 1 >= s->n)
				return false;
			drop++;
			end++;
		} else if (s->p[end] == '"') {
			break;
		}
	}
	*out = slice_make(s->p, end);
	if (drop) {
		char *to = arena_bytes(arena, end);
		size_t n = 0;
		for (size_t i = 0; i < end; i++) {
			if (s->p[i] == '\\' || s->p[i] == '"')
				i++;
			to[n++] = s->p[i];
		}
		*out = slice_make(to, n);
	}
	*s = slice_drop(*s, end + 1);
	return true;
}

/* A bare piece up to one of the two ends. */
static bool take_bare(struct slice *s, char end, char other_end, struct slice *out)
{
	size_t n = 0;
	while (n < s->n && s->p[n] != end && s->p[n] != other_end)
		n++;
	if (n == s->n)
		return false;
	*out = slice_make(s->p, n);
	*s = slice_drop(*s, n);
	return true;
}

/* ---- arrays --------------------------------------------------------------------------------------------------------------- */

/* [2:3][0:1]= in front of an array with lower bounds other than 1. */
static void drop_bounds(struct slice *s)
{
	if (!at(s, '['))
		return;
	const char *equals = memchr(s->p, '=', s->n);
	if (equals)
		*s = slice_drop(*s, (size_t)(equals - s->p) + 1);
}

static enum structure array_json(struct context *c, const struct pg_type *element, char delimiter, struct slice *s, int depth)
{
	if (depth >= MAX_NESTING)
		return STRUCTURE_TOO_DEEP;
	if (!take(s, '{'))
		return STRUCTURE_UNREADABLE;
	buf_putc(c->out, '[');
	for (bool first = true; !take(s, '}'); first = false) {
		struct slice text;
		enum structure result = STRUCTURE_OK;
		if (!first) {
			if (!take(s, delimiter))
				return STRUCTURE_UNREADABLE;
			buf_putc(c->out, ',');
		}
		if (at(s, '{')) {
			result = array_json(c, element, delimiter, s, depth + 1);
		} else if (take(s, '"')) {
			if (!take_quoted(s, false, c->arena, &text))
				return STRUCTURE_UNREADABLE;
			result = element_json(c, element, text, depth + 1);
		} else {
			if (!take_bare(s, delimiter, '}', &text))
				return STRUCTURE_UNREADABLE;
			if (slice_eq(text, SLICE("NULL")))
				buf_lit(c->out, "null");
			else
				result = element_json(c, element, text, depth + 1);
		}
		if (result != STRUCTURE_OK)
			return result;
	}
	buf_putc(c->out, ']');
	return STRUCTURE_OK;
}

/* ---- ranges --------------------------------------------------------------------------------------------------------------- */

/* A bound up to one of the two ends; *present false: infinite. Doubled quotes are not undone (14.5: the text stays raw). */
static bool take_bound(struct slice *s, char end, char other_end, struct arena *arena, struct slice *out, bool *present)
{
	if (take(s, '"')) {
		*present = true;
		return take_quoted(s, false, arena, out) && (at(s, end) || at(s, other_end));
	}
	if (!take_bare(s, end, other_end, out))
		return false;
	*present = out->n > 0;
	return true;
}

static enum structure bound_json(struct context *c, const struct pg_type *subtype, bool present, struct slice text, int depth)
{
	if (present)
		return element_json(c, subtype, text, depth);
	buf_lit(c->out, "null");
	return STRUCTURE_OK;
}

static enum structure range_json(struct context *c, const struct pg_type *type, struct slice *s, int depth)
{
	struct slice lower = {0}, upper = {0};
	bool has_lower, has_upper, lower_exclusive = at(s, '('), upper_exclusive;
	if (slice_starts(*s, SLICE("empty"))) {
		*s = slice_drop(*s, 5);
		buf_lit(c->out, "\"empty\"");
		return STRUCTURE_OK;
	}
	if (depth >= MAX_NESTING)
		return STRUCTURE_TOO_DEEP;
	if (!take(s, '[') && !take(s, '('))
		return STRUCTURE_UNREADABLE;
	if (!take_bound(s, ',', ',', c->arena, &lower, &has_lower) || !take(s, ',') ||
	    !take_bound(s, ')', ']', c->arena, &upper, &has_upper))
		return STRUCTURE_UNREADABLE;
	upper_exclusive = at(s, ')');
	*s = slice_drop(*s, 1);
	buf_lit(c->out, "{\"lower\":");
	enum structure result = bound_json(c, type->of, has_lower, lower, depth + 1);
	buf_lit(c->out, ",\"upper\":");
	if (result == STRUCTURE_OK)
		result = bound_json(c, type->of, has_upper, upper, depth + 1);
	buf_printf(c->out, ",\"lower_exclusive\":%d,\"upper_exclusive\":%d}", lower_exclusive, upper_exclusive);
	return result;
}

static enum structure multirange_json(struct context *c, const struct pg_type *type, struct slice *s, int depth)
{
	if (depth >= MAX_NESTING)
		return STRUCTURE_TOO_DEEP;
	if (!type->of || !take(s, '{'))
		return STRUCTURE_UNREADABLE;
	buf_putc(c->out, '[');
	for (bool first = true; !take(s, '}'); first = false) {
		if (!first) {
			if (!take(s, ','))
				return STRUCTURE_UNREADABLE;
			buf_putc(c->out, ',');
		}
		enum structure result = range_json(c, type->of, s, depth + 1);
		if (result != STRUCTURE_OK)
			return result;
	}
	buf_putc(c->out, ']');
	return STRUCTURE_OK;
}

/* ---- composites ----------------------------------------------------------------------------------------------------------- */

/* A field: null if it is empty and not quoted. */
static bool take_field(struct slice *s, struct arena *arena, struct slice *out, bool *present)
{
	if (take(s, '"')) {
		*present = true;
		return take_quoted(s, true, arena, out) && (at(s, ',') || at(s, ')'));
	}
	if (!take_bare(s, ',', ')', out))
		return false;
	*present = out->n > 0;
	return true;
}

static enum structure composite_json(struct context *c, const struct pg_type *type, struct slice *s, int depth)
{
	if (depth >= MAX_NESTING)
		return STRUCTURE_TOO_DEEP;
	if (!take(s, '('))
		return STRUCTURE_UNREADABLE;
	buf_putc(c->out, '{');
	bool empty = true;
	for (size_t i = 0; i < type->attribute_count; i++) {
		const struct type_attribute *a = &type->attributes[i];
		const struct pg_type *base = type_base(a->type);
		struct slice text;
		bool present;
		if ((i && !take(s, ',')) || !take_field(s, c->arena, &text, &present))
			return STRUCTURE_UNREADABLE;
		if (present && base && base->kind == TYPE_BYTEA) /* left out, like a column of its own */
			continue;
		if (!empty)
			buf_putc(c->out, ',');
		empty = false;
		json_append_string(c->out, a->name);
		buf_putc(c->out, ':');
		enum structure result = bound_json(c, a->type, present, text, depth + 1);
		if (result != STRUCTURE_OK)
			return result;
	}
	buf_putc(c->out, '}');
	return take(s, ')') ? STRUCTURE_OK : STRUCTURE_UNREADABLE;
}

/* ---- all of them ---------------------------------------------------------------------------------------------------------- */

static enum structure structure_json(struct context *c, const struct pg_type *type, struct slice text, int depth)
{
	static const struct pg_type real = {.kind = TYPE_REAL};
	enum structure result;
	struct slice s = text;
	switch (type->kind) {
	case TYPE_ARRAY:
		drop_bounds(&s);
		/* Without the option every array is cut at commas, boxes too (14.4). */
		result = array_json(c, type->of, c->options->custom_postgres_types ? type->delimiter : ',', &s, depth);
		break;
	case TYPE_LINE:
		result = array_json(c, &real, ',', &s, depth);
		break;
	case TYPE_NAME:
		result = array_json(c, NULL, ',', &s, depth);
		break;
	case TYPE_RANGE:
		result = range_json(c, type, &s, depth);
		break;
	case TYPE_MULTIRANGE:
		result = multirange_json(c, type, &s, depth);
		break;
	case TYPE_COMPOSITE:
		result = composite_json(c, type, &s, depth);
		break;
	default:
		return STRUCTURE_UNREADABLE;
	}
	return result == STRUCTURE_OK && s.n ? STRUCTURE_UNREADABLE : result;
}

enum structure map_structure(struct buf *out, const struct pg_type *type, struct slice text,
                             const struct mapping_options *options, struct arena *arena)
{
	struct context c = {out, options, arena};
	return structure_json(&c, type, text, 0);
}
