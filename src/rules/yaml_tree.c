/* yaml_tree.c: libyaml's events put together as a positioned tree. */
#include "rules/yaml_tree.h"

#include <math.h>
#include <stdlib.h>
#include <yaml.h>

#include "base/alloc.h"

struct builder {
	struct ydoc *doc;
	yaml_parser_t parser;
	uint32_t *bytes; /* code point -> byte offset; NULL if the text is ASCII */
	size_t points;
	struct frame {
		struct ynode *node;
		struct ynode **items;
		size_t count, cap;
		bool flow;
		size_t indent;
	} * stack;
	size_t depth, depth_cap;
	size_t nodes;
};

static bool fail(struct builder *b, const char *problem, size_t start, size_t end)
{
	if (!b->doc->failed) {
		b->doc->failed = true;
		b->doc->problem = problem;
		b->doc->problem_start = start;
		b->doc->problem_end = end;
	}
	return false;
}

/* libyaml counts characters; the rest of the program counts bytes. */
static size_t mark_byte(const struct builder *b, yaml_mark_t mark)
{
	size_t n = b->doc->text.n;
	if (!b->bytes)
		return mark.index < n ? mark.index : n;
	return mark.index < b->points ? b->bytes[mark.index] : n;
}

static void map_code_points(struct builder *b)
{
	struct slice t = b->doc->text;
	bool ascii = true;
	for (size_t i = 0; i < t.n && ascii; i++)
		ascii = (unsigned char)t.p[i] < 0x80;
	if (ascii)
		return;
	b->bytes = xmalloc(sizeof(*b->bytes) * t.n);
	for (size_t i = 0; i < t.n; i++)
		if (((unsigned char)t.p[i] & 0xc0) != 0x80)
			b->bytes[b->points++] = (uint32_t)i;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_break(char c)
{
	return c == '\n' || c == '\r';
}

/* Steps over tags and anchors in front of a node. */
static size_t skip_properties(struct slice t, size_t at)
{
	while (at < t.n && (t.p[at] == '&' || t.p[at] == '!')) {
		while (at < t.n && !is_blank(t.p[at]) && !is_break(t.p[at]))
			at++;
		while (at < t.n) {
			if (t.p[at] == '#')
				while (at < t.n && !is_break(t.p[at]))
					at++;
			else if (is_blank(t.p[at]) || is_break(t.p[at]))
				at++;
			else
				break;
		}
	}
	return at;
}

/* Blanks, a comment and one newline belong to a node in block style; nothing does if something else follows. */
static size_t trailing_end(struct slice t, size_t end)
{
	size_t at = end;
	while (at < t.n && is_blank(t.p[at]))
		at++;
	if (at < t.n && t.p[at] == '#' && at > 0 && (is_blank(t.p[at - 1]) || is_break(t.p[at - 1])))
		while (at < t.n && !is_break(t.p[at]))
			at++;
	if (at == t.n)
		return at;
	if (t.p[at] == '\r' && at + 1 < t.n && t.p[at + 1] == '\n')
		return at + 2;
	return t.p[at] == '\n' ? at + 1 : end;
}

static bool same_key(const struct ynode *a, const struct ynode *b)
{
	return a->kind == YNODE_SCALAR && b->kind == YNODE_SCALAR && slice_eq(a->text, b->text) &&
	       ynode_scalar_type(a) == ynode_scalar_type(b);
}

/* True if the next node of the frame is a key of a map. */
static bool expects_key(const struct frame *f)
{
	return f->node->kind == YNODE_MAP && f->count % 2 == 0;
}

static struct ynode *new_node(struct builder *b, enum ynode_kind kind, const yaml_event_t *e)
{
	struct ynode *n = arena_calloc(b->doc->arena, sizeof(*n));
	n->kind = kind;
	n->start = skip_properties(b->doc->text, mark_byte(b, e->start_mark));
	n->value_end = mark_byte(b, e->end_mark);
	if (n->value_end < n->start)
		n->start = n->value_end;
	n->end = n->value_end;
	return n;
}

/* Compares a new key with those before it. Bounded: maps of a sync config are small, huge ones are refused by the node limit. */
static bool check_key(struct builder *b, struct frame *f, struct ynode *key)
{
	for (size_t i = 0; i < f->count; i += 2)
		if (same_key(f->items[i], key))
			return fail(b, "duplicate map key", key->start, key->value_end);
	return true;
}

static bool add_to_parent(struct builder *b, struct ynode *n)
{
	if (b->depth == 0) {
		b->doc->root = n;
		return true;
	}
	struct frame *f = &b->stack[b->depth - 1];
	if (expects_key(f) && !check_key(b, f, n))
		return false;
	f->items = xgrow(f->items, f->count, &f->cap, sizeof(*f->items));
	f->items[f->count++] = n;
	return true;
}

/* Nodes in block style, other than keys, own what trails them. */
static bool owns_trail(const struct builder *b)
{
	if (b->depth == 0)
		return true;
	const struct frame *f = &b->stack[b->depth - 1];
	return !f->flow && !expects_key(f);
}

static bool open_collection(struct builder *b, struct ynode *n, bool flow, size_t column)
{
	if (b->depth >= YAML_MAX_DEPTH)
		return fail(b, "nested too deeply", n->start, n->start + 1);
	bool in_flow = b->depth && b->stack[b->depth - 1].flow;
	b->stack = xgrow(b->stack, b->depth, &b->depth_cap, sizeof(*b->stack));
	b->stack[b->depth++] = (struct frame){.node = n, .flow = flow || in_flow, .indent = column};
	return true;
}

static bool close_collection(struct builder *b, const yaml_event_t *e)
{
	struct frame *f = &b->stack[--b->depth];
	struct ynode *n = f->node;
	n->count = f->count;
	n->items = arena_array(b->doc->arena, struct ynode *, f->count + 1);
	if (f->count)
		memcpy(n->items, f->items, sizeof(*n->items) * f->count);
	bool block = !f->flow;
	free(f->items);
	f->items = NULL;
	if (block && n->count) {
		n->value_end = n->items[n->count - 1]->end;
		n->end = n->value_end;
	} else {
		n->value_end = mark_byte(b, e->end_mark);
		n->end = owns_trail(b) ? trailing_end(b->doc->text, n->value_end) : n->value_end;
	}
	return add_to_parent(b, n);
}

static bool add_scalar(struct builder *b, const yaml_event_t *e)
{
	static const enum yscalar_style styles[] = {
	        [YAML_ANY_SCALAR_STYLE] = YSCALAR_PLAIN,
	        [YAML_PLAIN_SCALAR_STYLE] = YSCALAR_PLAIN,
	        [YAML_SINGLE_QUOTED_SCALAR_STYLE] = YSCALAR_SINGLE,
	        [YAML_DOUBLE_QUOTED_SCALAR_STYLE] = YSCALAR_DOUBLE,
	        [YAML_LITERAL_SCALAR_STYLE] = YSCALAR_LITERAL,
	        [YAML_FOLDED_SCALAR_STYLE] = YSCALAR_FOLDED,
	};
	struct ynode *n = new_node(b, YNODE_SCALAR, e);
	n->style = styles[e->data.scalar.style];
	n->text = arena_copy(b->doc->arena, slice_make(e->data.scalar.value, e->data.scalar.length));
	if (e->data.scalar.tag)
		n->tag = arena_copy(b->doc->arena, slice_cstr((const char *)e->data.scalar.tag));
	n->parent_indent = b->depth ? b->stack[b->depth - 1].indent : 0;
	bool block = n->style == YSCALAR_LITERAL || n->style == YSCALAR_FOLDED;
	bool empty = n->style == YSCALAR_PLAIN && n->text.n == 0;
	if (!block && !empty && owns_trail(b))
		n->end = trailing_end(b->doc->text, n->value_end);
	return add_to_parent(b, n);
}

static bool take_event(struct builder *b, const yaml_event_t *e, size_t *documents)
{
	struct ynode *n;
	switch (e->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (++*documents > 1)
			return fail(b, "more than one document", mark_byte(b, e->start_mark), b->doc->text.n);
		return true;
	case YAML_ALIAS_EVENT:
		n = new_node(b, YNODE_ALIAS, e);
		n->end = owns_trail(b) ? trailing_end(b->doc->text, n->value_end) : n->value_end;
		return add_to_parent(b, n);
	case YAML_SCALAR_EVENT:
		return add_scalar(b, e);
	case YAML_SEQUENCE_START_EVENT:
		n = new_node(b, YNODE_LIST, e);
		return open_collection(b, n, e->data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE, e->start_mark.column);
	case YAML_MAPPING_START_EVENT:
		n = new_node(b, YNODE_MAP, e);
		return open_collection(b, n, e->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE, e->start_mark.column);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		return close_collection(b, e);
	default:
		return true;
	}
}

static void read_events(struct builder *b)
{
	size_t documents = 0;
	for (bool done = false; !done && !b->doc->failed;) {
		yaml_event_t e;
		if (!yaml_parser_parse(&b->parser, &e)) {
			size_t at = mark_byte(b, b->parser.problem_mark);
			const char *problem = b->parser.problem ? b->parser.problem : "cannot be read";
			fail(b, arena_cstr(b->doc->arena, slice_cstr(problem)), at, at + 1);
			return;
		}
		done = e.type == YAML_STREAM_END_EVENT;
		if (++b->nodes > YAML_MAX_NODES)
			fail(b, "too many nodes", mark_byte(b, e.start_mark), mark_byte(b, e.start_mark) + 1);
		else
			take_event(b, &e, &documents);
		yaml_event_delete(&e);
	}
}

void ydoc_read(struct ydoc *doc, struct slice text, struct arena *arena)
{
	*doc = (struct ydoc){.text = text, .arena = arena};
	struct builder b = {.doc = doc};
	if (text.n > YAML_MAX_TEXT) {
		fail(&b, "the text is too large", 0, 1);
		return;
	}
	if (!yaml_parser_initialize(&b.parser)) {
		fail(&b, "out of memory", 0, 1);
		return;
	}
	map_code_points(&b);
	yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&b.parser, (const unsigned char *)text.p, text.n);
	read_events(&b);
	yaml_parser_delete(&b.parser);
	while (b.depth > 0)
		free(b.stack[--b.depth].items);
	free(b.stack);
	free(b.bytes);
	if (doc->failed)
		doc->root = NULL;
}

/* ---- core schema ------------------------------------------------------------------------------------------------------ */

static bool is_one_of(struct slice s, const char *const *words)
{
	for (; *words; words++)
		if (slice_eq(s, slice_cstr(*words)))
			return true;
	return false;
}

static size_t skip_digits(struct slice s, size_t at)
{
	while (at < s.n && s.p[at] >= '0' && s.p[at] <= '9')
		at++;
	return at;
}

/* [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )? */
static bool is_decimal(struct slice s)
{
	size_t at = s.n && (s.p[0] == '-' || s.p[0] == '+');
	size_t whole = skip_digits(s, at);
	bool digits = whole > at;
	at = whole;
	if (at < s.n && s.p[at] == '.') {
		size_t fraction = skip_digits(s, at + 1);
		if (!digits && fraction == at + 1)
			return false;
		at = fraction;
	} else if (!digits) {
		return false;
	}
	if (at < s.n && (s.p[at] == 'e' || s.p[at] == 'E')) {
		at++;
		at += at < s.n && (s.p[at] == '-' || s.p[at] == '+');
		size_t exponent = skip_digits(s, at);
		if (exponent == at)
			return false;
		at = exponent;
	}
	return at == s.n;
}

/* 0o17, 0xff: digits of the base after the prefix. */
static int prefix_base(struct slice s)
{
	if (s.n < 3 || s.p[0] != '0' || (s.p[1] != 'o' && s.p[1] != 'x'))
		return 0;
	for (size_t i = 2; i < s.n; i++) {
		char c = s.p[i];
		bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
		if (s.p[1] == 'x' ? !hex : c < '0' || c > '7')
			return 0;
	}
	return s.p[1] == 'x' ? 16 : 8;
}

static const char *const infinities[] = {".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF", NULL};
static const char *const nans[] = {".nan", ".NaN", ".NAN", NULL};

enum yscalar_type ynode_scalar_type(const struct ynode *n)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
	static const char *const bools[] = {"true", "True", "TRUE", "false", "False", "FALSE", NULL};
	if (n->style != YSCALAR_PLAIN || slice_eq(n->tag, SLICE("tag:yaml.org,2002:str")))
		return YSCALAR_TEXT;
	if (is_one_of(n->text, nulls))
		return YSCALAR_NULL;
	if (is_one_of(n->text, bools))
		return YSCALAR_BOOL;
	if (is_decimal(n->text) || prefix_base(n->text) || is_one_of(n->text, infinities) || is_one_of(n->text, nans))
		return YSCALAR_NUMBER;
	return YSCALAR_TEXT;
}

bool ynode_bool(const struct ynode *n)
{
	return n->text.n == 4;
}

double ynode_number(const struct ynode *n)
{
	if (is_one_of(n->text, nans))
		return (double)NAN;
	if (is_one_of(n->text, infinities))
		return n->text.p[0] == '-' ? -(double)INFINITY : (double)INFINITY;
	int base = prefix_base(n->text);
	double r = 0;
	if (base) {
		for (size_t i = 2; i < n->text.n; i++) {
			char c = n->text.p[i];
			r = r * base + (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
		}
		return r;
	}
	char *copy = xstrdup(n->text);
	r = strtod(copy, NULL);
	free(copy);
	return r;
}

/* ---- positions -------------------------------------------------------------------------------------------------------- */

size_t text_utf16_units(struct slice text)
{
	size_t n = 0;
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];
		n += (c & 0xc0) != 0x80;
		n += c >= 0xf0;
	}
	return n;
}

void text_line_column(struct slice text, size_t offset, size_t *line, size_t *column)
{
	*line = 1;
	*column = 1;
	for (size_t i = 0; i < offset && i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];
		if (c == '\n') {
			++*line;
			*column = 1;
		} else if ((c & 0xc0) != 0x80) {
			++*column;
		}
	}
}
