/* schema.c: the check of a document against the tables of schema_tables.c. */
#include "config/schema.h"

#include <math.h>

#define MAX_NAMES 64

struct check {
	struct findings *d;
};

static void check_map(struct check *c, const struct node *map, const struct field *fields, const char *path);

static const char *kind_name(const struct node *n)
{
	static const char *const names[] = {"null (nothing)", "a boolean", "a number", "text", "a list", "a map"};
	return names[n->kind];
}

static void wrong_type(struct check *c, const struct node *n, const char *path, const char *wanted)
{
	const char *hint = "";
	bool scalar = n->kind == NODE_NUMBER || n->kind == NODE_BOOLEAN;
	if (n->kind == NODE_NULL)
		hint = "; remove the key to leave it out";
	else if (n->from_env && n->kind == NODE_STRING && strcmp(wanted, "a number") == 0)
		hint = "; write !env NAME::number";
	else if (n->from_env && n->kind == NODE_STRING && strcmp(wanted, "true or false") == 0)
		hint = "; write !env NAME::boolean";
	else if (n->kind == NODE_STRING && strcmp(wanted, "true or false") == 0)
		hint = " (yes, no, on and off are text in YAML 1.2)";
	else if (scalar && strcmp(wanted, "text") == 0)
		hint = "; put it in quotes";
	findings_error(c->d, n->line, n->column, "%s must be %s, not %s%s", path, wanted, kind_name(n), hint);
}

static size_t field_names(const struct field *fields, const char *names[MAX_NAMES])
{
	size_t count = 0;
	for (; fields->name && count < MAX_NAMES; fields++)
		names[count++] = fields->name;
	return count;
}

static void append_words(struct buf *out, const char *const *words)
{
	for (size_t i = 0; words[i]; i++)
		buf_printf(out, "%s%s", i ? ", " : "", words[i]);
}

/* Words of a fixed list are no secrets, but the wrong word might be one put on the wrong line: only short plain words are shown. */
static bool is_plain_word(struct slice s)
{
	if (s.n == 0 || s.n > 24)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
			return false;
	}
	return true;
}

static void check_word(struct check *c, const struct node *n, const char *const *allowed, const char *path)
{
	size_t count = 0;
	for (; allowed[count]; count++)
		if (slice_eq(n->text, slice_cstr(allowed[count])))
			return;
	struct buf words = {0};
	append_words(&words, allowed);
	const char *guess = config_suggest(n->text, allowed, count);
	bool show = is_plain_word(n->text) && !n->from_env;
	findings_error(c->d, n->line, n->column, "%s must be %s%.*s%s%.*s%s%s%s%s", path, count > 1 ? "one of " : "",
	               SLICE_ARG(buf_slice(&words)), show ? ", not \"" : "", show ? (int)n->text.n : 0, n->text.p,
	               show ? "\"" : "", guess ? " (did you mean \"" : "", guess ? guess : "", guess ? "\"?)" : "");
	buf_free(&words);
}

static void check_number(struct check *c, const struct node *n, const char *path)
{
	if (n->kind != NODE_NUMBER)
		wrong_type(c, n, path, "a number");
	else if (!isfinite(n->number))
		findings_error(c->d, n->line, n->column, "%s must be a finite number", path);
}

static void check_port(struct check *c, const struct node *n, const char *path, bool any_text)
{
	double v;
	if (n->kind == NODE_STRING) {
		if (!any_text && !number_from_prefix(n->text, &v))
			findings_error(c->d, n->line, n->column, "%s must be a port number", path);
		return;
	}
	if (n->kind != NODE_NUMBER)
		wrong_type(c, n, path, "a port number");
	else
		check_number(c, n, path);
}

static void check_strings(struct check *c, const struct node *n, const char *path)
{
	if (n->kind != NODE_LIST) {
		wrong_type(c, n, path, "a list of texts");
		return;
	}
	for (size_t i = 0; i < n->list.count; i++) {
		const char *item = arena_printf(c->d->arena, "%s[%zu]", path, i).p;
		if (n->list.items[i]->kind != NODE_STRING)
			wrong_type(c, n->list.items[i], item, "text");
	}
}

static void check_free_map(struct check *c, const struct node *n, const char *path, bool scalars)
{
	if (n->kind != NODE_MAP) {
		wrong_type(c, n, path, "a map");
		return;
	}
	for (size_t i = 0; i < n->map.count; i++) {
		const struct node *v = n->map.members[i].value;
		const char *item = arena_printf(c->d->arena, "%s.%.*s", path, SLICE_ARG(n->map.members[i].key)).p;
		if (scalars && (v->kind == NODE_LIST || v->kind == NODE_MAP))
			wrong_type(c, v, item, "text, a number, true, false or null");
		else if (!scalars && v->kind != NODE_STRING)
			wrong_type(c, v, item, "text");
		else if (v->kind == NODE_NUMBER)
			check_number(c, v, item);
	}
}

static void check_submap(struct check *c, const struct node *n, const struct field *f, const char *path)
{
	if (n->kind != NODE_MAP) {
		wrong_type(c, n, path, "a map");
		return;
	}
	check_map(c, n, f->members_of ? f->members_of(n) : f->members, path);
}

static void check_maps(struct check *c, const struct node *n, const struct field *f, const char *path)
{
	if (n->kind != NODE_LIST) {
		wrong_type(c, n, path, "a list");
		return;
	}
	for (size_t i = 0; i < n->list.count; i++) {
		const char *item = arena_printf(c->d->arena, "%s[%zu]", path, i).p;
		check_submap(c, n->list.items[i], f, item);
	}
}

static void check_field(struct check *c, const struct node *n, const struct field *f, const char *path)
{
	if (n->kind == NODE_NULL && (f->flags & FIELD_NULLABLE))
		return;
	switch (f->type) {
	case FIELD_STRING:
		if (n->kind != NODE_STRING)
			wrong_type(c, n, path, "text");
		else if (f->allowed)
			check_word(c, n, f->allowed, path);
		break;
	case FIELD_NUMBER:
		check_number(c, n, path);
		break;
	case FIELD_BOOLEAN:
		if (n->kind != NODE_BOOLEAN)
			wrong_type(c, n, path, "true or false");
		break;
	case FIELD_PORT:
	case FIELD_CONNECTION_PORT:
		check_port(c, n, path, f->type == FIELD_CONNECTION_PORT);
		break;
	case FIELD_STRING_OR_STRINGS:
		if (n->kind == NODE_STRING)
			break;
		/* fall through */
	case FIELD_STRINGS:
		check_strings(c, n, path);
		break;
	case FIELD_MAP:
		check_submap(c, n, f, path);
		break;
	case FIELD_MAPS:
		check_maps(c, n, f, path);
		break;
	case FIELD_STRING_MAP:
	case FIELD_SCALAR_MAP:
		check_free_map(c, n, path, f->type == FIELD_SCALAR_MAP);
		break;
	}
}

static const struct field *field_named(const struct field *fields, struct slice name)
{
	for (; fields->name; fields++)
		if (slice_eq(slice_cstr(fields->name), name))
			return fields;
	return NULL;
}

/* A key of the map that does not exist and looks like name: what the operator probably meant by it. */
static const struct node_member *misspelt(const struct node *map, const struct field *fields, const char *name)
{
	for (size_t i = 0; i < map->map.count; i++) {
		const struct node_member *m = &map->map.members[i];
		if (!field_named(fields, m->key) && config_suggest(m->key, &name, 1))
			return m;
	}
	return NULL;
}

static void warn_unknown(struct check *c, const struct node_member *m, const struct field *fields, const char *path)
{
	const char *names[MAX_NAMES];
	size_t count = field_names(fields, names);
	if (fields[count].flags & FIELD_OPEN)
		return;
	const char *guess = config_suggest(m->key, names, count);
	size_t before = c->d->warning_count;
	findings_warn(c->d, m->line, m->column, "%s is not a known key and is ignored%s%s%s", path,
	              guess ? "; did you mean \"" : "", guess ? guess : "", guess ? "\"?" : "");
	if (c->d->warning_count > before)
		c->d->warnings[before].unknown = true;
}

static const char *join_path(struct check *c, const char *path, struct slice key)
{
	return arena_printf(c->d->arena, "%s%s%.*s", path, *path ? "." : "", key.n > 80 ? 80 : (int)key.n, key.p).p;
}

static void check_map(struct check *c, const struct node *map, const struct field *fields, const char *path)
{
	for (size_t i = 0; i < map->map.count; i++) {
		const struct node_member *m = &map->map.members[i];
		const struct field *f = field_named(fields, m->key);
		const char *item = join_path(c, path, m->key);
		if (!f) {
			warn_unknown(c, m, fields, item);
			continue;
		}
		check_field(c, m->value, f, item);
		if (f->flags & FIELD_UNUSED)
			findings_warn(c->d, m->line, m->column, "%s has no effect in Syncline", item);
	}
	for (const struct field *f = fields; f->name; f++) {
		if (!(f->flags & FIELD_REQUIRED) || node_get(map, f->name))
			continue;
		const char *item = join_path(c, path, slice_cstr(f->name));
		const struct node_member *near = misspelt(map, fields, f->name);
		if (near)
			findings_error(c->d, near->line, near->column, "%s is missing (misspelt as \"%.*s\"?)", item,
			               SLICE_ARG(near->key));
		else
			findings_error(c->d, map->line, map->column, "%s is missing", item);
	}
}

bool schema_check(const struct node *root, const struct field *fields, struct findings *d)
{
	struct check c = {d};
	if (root->kind != NODE_MAP)
		return findings_error(d, root->line, root->column, "the configuration must be a map of keys, not %s",
		                      kind_name(root));
	check_map(&c, root, fields, "");
	return d->error_count == 0;
}
