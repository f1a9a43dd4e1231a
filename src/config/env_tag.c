/* env_tag.c: "key: !env PS_NAME::cast", values from the environment (configuration 1.3). */
#include <stdlib.h>
#include <strings.h>

#include "config/node.h"

/* Up to the next "::" or the end; moves s behind it. */
static struct slice next_part(struct slice *s)
{
	struct slice part = *s;
	for (size_t i = 0; i + 1 < s->n; i++)
		if (s->p[i] == ':' && s->p[i + 1] == ':') {
			part.n = i;
			*s = slice_drop(*s, i + 2);
			return part;
		}
	*s = slice_drop(*s, s->n);
	return part;
}

static bool cast_value(struct slice cast, const char *value, struct node *node)
{
	if (slice_eq(cast, SLICE("number"))) {
		node->kind = NODE_NUMBER;
		return number_from_text(slice_cstr(value), &node->number);
	}
	node->kind = NODE_BOOLEAN;
	node->boolean = strcasecmp(value, "true") == 0;
	return node->boolean || strcasecmp(value, "false") == 0;
}

bool env_tag_resolve(struct slice tag_text, struct node *node, struct arena *arena, struct findings *d)
{
	struct slice rest = tag_text;
	struct slice name = next_part(&rest);
	bool has_cast = name.n < tag_text.n;
	struct slice cast = has_cast ? next_part(&rest) : SLICE("string");
	node->from_env = true;
	node->kind = NODE_NULL;

	if (!slice_starts(name, SLICE("PS_")))
		return findings_error(d, node->line, node->column,
		                      "!env %.*s: only variables whose names start with PS_ can be used", SLICE_ARG(tag_text));
	bool as_string = slice_eq(cast, SLICE("string"));
	if (!as_string && !slice_eq(cast, SLICE("number")) && !slice_eq(cast, SLICE("boolean")))
		return findings_error(d, node->line, node->column,
		                      "!env %.*s: unknown type \"%.*s\" (allowed: string, number, boolean)", SLICE_ARG(tag_text),
		                      SLICE_ARG(cast));
	const char *value = memchr(name.p, '\0', name.n) ? NULL : getenv(arena_cstr(arena, name));
	if (!value)
		return findings_error(d, node->line, node->column, "!env %.*s: the environment variable is not set",
		                      SLICE_ARG(tag_text));
	if (as_string) {
		node->kind = NODE_STRING;
		node->text = slice_cstr(arena_cstr(arena, slice_cstr(value)));
		return true;
	}
	/* The value may be a secret in the wrong place: it is not shown. */
	if (!cast_value(cast, value, node))
		return findings_error(d, node->line, node->column, "!env %.*s: the value of the variable is not %s",
		                      SLICE_ARG(tag_text), node->kind == NODE_NUMBER ? "a number" : "true or false");
	return true;
}
