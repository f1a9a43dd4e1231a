/*
 * yaml_reader.c: libyaml events -> positioned tree, with the YAML 1.2 core schema (configuration 1.2).
 *
 * A syntax error ends the reading; duplicate keys and bad !env tags are collected. An anchor counts from the end of its node, so an
 * alias cannot contain itself.
 */
#include <math.h>
#include <yaml.h>

#include "base/alloc.h"

#include "config/node.h"

#include <stdlib.h>

struct anchor {
	char *name;
	const struct node *node;
};

struct reader {
	yaml_parser_t parser;
	struct arena *arena;
	struct findings *d;
	struct anchor *anchors;
	size_t anchor_count, anchor_cap;
	int depth;
};

static const struct node *read_node(struct reader *r, const yaml_event_t *event);

static bool next_event(struct reader *r, yaml_event_t *event)
{
	if (yaml_parser_parse(&r->parser, event))
		return true;
	const yaml_mark_t *mark = &r->parser.problem_mark;
	return findings_error(r->d, (int)mark->line + 1, (int)mark->column + 1, "not valid YAML: %s%s%s",
	                      r->parser.context ? r->parser.context : "", r->parser.context ? ", " : "",
	                      r->parser.problem ? r->parser.problem : "out of memory");
}

static struct node *new_node(struct reader *r, const yaml_event_t *event, enum node_kind kind)
{
	struct node *n = arena_calloc(r->arena, sizeof(*n));
	n->kind = kind;
	n->line = (int)event->start_mark.line + 1;
	n->column = (int)event->start_mark.column + 1;
	return n;
}

static bool one_of(struct slice s, const char *a, const char *b, const char *c)
{
	return slice_eq(s, slice_cstr(a)) || slice_eq(s, slice_cstr(b)) || slice_eq(s, slice_cstr(c));
}

/* Decimal integers and floats, 0x, 0o, .inf, .nan of the core schema. */
static bool core_number(struct slice s, double *out)
{
	if (s.n == 0)
		return false;
	if (one_of(s, ".nan", ".NaN", ".NAN")) {
		*out = NAN;
		return true;
	}
	bool sign = s.p[0] == '-' || s.p[0] == '+';
	struct slice rest = slice_drop(s, sign);
	if (one_of(rest, ".inf", ".Inf", ".INF")) {
		*out = s.p[0] == '-' ? -INFINITY : INFINITY;
		return true;
	}
	if (rest.n == 0 || !((rest.p[0] >= '0' && rest.p[0] <= '9') || rest.p[0] == '.'))
		return false;
	if (rest.n > 1 && rest.p[0] == '0' && (rest.p[1] | 32) >= 'b' && rest.p[1] != 'e' && rest.p[1] != 'E')
		if (sign || (rest.p[1] != 'x' && rest.p[1] != 'o'))
			return false;
	return number_from_text(s, out);
}

static void core_scalar(struct slice s, struct node *n)
{
	if (s.n == 0 || slice_eq(s, SLICE("~")) || one_of(s, "null", "Null", "NULL")) {
		n->kind = NODE_NULL;
	} else if (one_of(s, "true", "True", "TRUE") || one_of(s, "false", "False", "FALSE")) {
		n->kind = NODE_BOOLEAN;
		n->boolean = (s.p[0] | 32) == 't';
	} else if (core_number(s, &n->number)) {
		n->kind = NODE_NUMBER;
	}
}

/* A scalar with an explicit tag of the core schema must be written as that type. */
static bool tagged_scalar(struct reader *r, const char *tag, struct slice s, struct node *n)
{
	static const struct {
		const char *tag;
		enum node_kind kind;
	} tags[] = {{YAML_INT_TAG, NODE_NUMBER},
	            {YAML_FLOAT_TAG, NODE_NUMBER},
	            {YAML_BOOL_TAG, NODE_BOOLEAN},
	            {YAML_NULL_TAG, NODE_NULL}};
	if (strcmp(tag, "!env") == 0) {
		env_tag_resolve(s, n, r->arena, r->d);
		return true;
	}
	for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++)
		if (strcmp(tag, tags[i].tag) == 0) {
			core_scalar(s, n);
			if (n->kind != tags[i].kind)
				findings_error(r->d, n->line, n->column, "the value does not fit its tag");
		}
	return true;
}

static const struct node *read_scalar(struct reader *r, const yaml_event_t *event)
{
	struct node *n = new_node(r, event, NODE_STRING);
	struct slice s = slice_make(event->data.scalar.value, event->data.scalar.length);
	n->text = slice_make(arena_cstr(r->arena, s), s.n);
	const char *tag = (const char *)event->data.scalar.tag;
	struct node as_string = *n;
	if (tag)
		tagged_scalar(r, tag, s, n);
	else if (event->data.scalar.plain_implicit)
		core_scalar(s, n);
	if (n->kind == NODE_STRING && !n->from_env)
		*n = as_string; /* core_number writes into the union while it tries */
	return n;
}

/* The parts of a list or map, one by one. False: there is no other, or *ok is false. */
static bool next_part(struct reader *r, yaml_event_type_t end, const struct node *n, size_t count, yaml_event_t *event, bool *ok)
{
	*ok = next_event(r, event);
	if (!*ok)
		return false;
	if (event->type == end) {
		yaml_event_delete(event);
		return false;
	}
	if (count < NODE_MAX_MEMBERS)
		return true;
	yaml_event_delete(event);
	return *ok = findings_error(r->d, n->line, n->column, "more than %d entries", NODE_MAX_MEMBERS);
}

static const struct node *read_list(struct reader *r, const yaml_event_t *start)
{
	struct node *n = new_node(r, start, NODE_LIST);
	const struct node **items = NULL;
	size_t count = 0, cap = 0;
	yaml_event_t event;
	bool ok;
	while (next_part(r, YAML_SEQUENCE_END_EVENT, n, count, &event, &ok)) {
		items = xgrow(items, count, &cap, sizeof(*items));
		ok = (items[count++] = read_node(r, &event)) != NULL;
		yaml_event_delete(&event);
		if (!ok)
			break;
	}
	if (ok && count) {
		n->list.items = arena_array(r->arena, const struct node *, count);
		memcpy(n->list.items, items, count * sizeof(*items));
	}
	n->list.count = count;
	free(items);
	return ok ? n : NULL;
}

/* Keys are text whatever they look like; !env works on them too. */
static bool read_key(struct reader *r, const yaml_event_t *event, struct node_member *m)
{
	m->line = (int)event->start_mark.line + 1;
	m->column = (int)event->start_mark.column + 1;
	const struct node *key = read_node(r, event);
	if (!key)
		return false;
	if (key->kind == NODE_LIST || key->kind == NODE_MAP)
		return findings_error(r->d, m->line, m->column, "a key must be text");
	if (key->kind == NODE_STRING)
		m->key = key->text;
	else if (event->type == YAML_SCALAR_EVENT)
		m->key = slice_cstr(arena_cstr(r->arena, slice_make(event->data.scalar.value, event->data.scalar.length)));
	return true;
}

static bool read_member(struct reader *r, const yaml_event_t *key_event, struct node_member *m)
{
	yaml_event_t event;
	if (!read_key(r, key_event, m) || !next_event(r, &event))
		return false;
	m->value = read_node(r, &event);
	yaml_event_delete(&event);
	return m->value != NULL;
}

static void check_duplicate(struct reader *r, const struct node_member *members, size_t count)
{
	const struct node_member *last = &members[count - 1];
	for (size_t i = 0; i + 1 < count; i++)
		if (slice_eq(members[i].key, last->key)) {
			findings_error(r->d, last->line, last->column, "the key \"%.*s\" is there twice (first at line %d)",
			               SLICE_ARG(last->key), members[i].line);
			return;
		}
}

static const struct node *read_map(struct reader *r, const yaml_event_t *start)
{
	struct node *n = new_node(r, start, NODE_MAP);
	struct node_member *members = NULL;
	size_t count = 0, cap = 0;
	yaml_event_t event;
	bool ok;
	while (next_part(r, YAML_MAPPING_END_EVENT, n, count, &event, &ok)) {
		members = xgrow(members, count, &cap, sizeof(*members));
		members[count] = (struct node_member){0};
		ok = read_member(r, &event, &members[count++]);
		yaml_event_delete(&event);
		if (!ok)
			break;
		check_duplicate(r, members, count);
	}
	if (ok && count) {
		n->map.members = arena_array(r->arena, struct node_member, count);
		memcpy(n->map.members, members, count * sizeof(*members));
	}
	n->map.count = count;
	free(members);
	return ok ? n : NULL;
}

static const struct node *read_alias(struct reader *r, const yaml_event_t *event)
{
	const char *name = (const char *)event->data.alias.anchor;
	for (size_t i = r->anchor_count; i > 0; i--)
		if (strcmp(r->anchors[i - 1].name, name) == 0)
			return r->anchors[i - 1].node;
	findings_error(r->d, (int)event->start_mark.line + 1, (int)event->start_mark.column + 1,
	               "no anchor &%s before this alias", name);
	return NULL;
}

static const char *event_anchor(const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return (const char *)event->data.scalar.anchor;
	case YAML_SEQUENCE_START_EVENT:
		return (const char *)event->data.sequence_start.anchor;
	case YAML_MAPPING_START_EVENT:
		return (const char *)event->data.mapping_start.anchor;
	default:
		return NULL;
	}
}

static const struct node *read_node(struct reader *r, const yaml_event_t *event)
{
	if (event->type == YAML_ALIAS_EVENT)
		return read_alias(r, event);
	if (event->type == YAML_SCALAR_EVENT && !event->data.scalar.anchor)
		return read_scalar(r, event);
	if (++r->depth > NODE_MAX_DEPTH) {
		findings_error(r->d, (int)event->start_mark.line + 1, (int)event->start_mark.column + 1, "nested too deeply");
		return NULL;
	}
	const struct node *n;
	if (event->type == YAML_SCALAR_EVENT)
		n = read_scalar(r, event);
	else if (event->type == YAML_SEQUENCE_START_EVENT)
		n = read_list(r, event);
	else
		n = read_map(r, event);
	r->depth--;
	const char *anchor = event_anchor(event);
	if (n && anchor) {
		r->anchors = xgrow(r->anchors, r->anchor_count, &r->anchor_cap, sizeof(*r->anchors));
		r->anchors[r->anchor_count++] = (struct anchor){xstrdup(slice_cstr(anchor)), n};
	}
	return n;
}

/* Stream: at most one document. */
static const struct node *read_stream(struct reader *r)
{
	const struct node *root = NULL;
	size_t documents = 0;
	for (bool done = false; !done;) {
		yaml_event_t event;
		if (!next_event(r, &event))
			return NULL;
		switch (event.type) {
		case YAML_STREAM_START_EVENT:
		case YAML_DOCUMENT_END_EVENT:
			break;
		case YAML_DOCUMENT_START_EVENT:
			if (documents++ > 0) {
				findings_error(r->d, (int)event.start_mark.line + 1, 1, "more than one YAML document");
				done = true;
			}
			break;
		case YAML_STREAM_END_EVENT:
			done = true;
			break;
		default:
			root = read_node(r, &event);
			done = !root;
		}
		yaml_event_delete(&event);
	}
	return root;
}

const struct node *node_from_yaml(struct slice text, struct arena *arena, struct findings *d)
{
	struct reader r = {.arena = arena, .d = d};
	if (!yaml_parser_initialize(&r.parser)) {
		findings_error(d, 0, 0, "out of memory");
		return NULL;
	}
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)text.p, text.n);
	const struct node *root = read_stream(&r);
	yaml_parser_delete(&r.parser);
	for (size_t i = 0; i < r.anchor_count; i++)
		free(r.anchors[i].name);
	free(r.anchors);
	if (d->error_count || (root && root->kind == NODE_NULL))
		return NULL;
	return root;
}
