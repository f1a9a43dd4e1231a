/* load.c: find, parse, decode, resolve, in the order of configuration 3. */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"

#include "config/load.h"
#include "config/schema.h"

const char *node_text(const struct node *n, const char *otherwise)
{
	return n && n->kind == NODE_STRING ? n->text.p : otherwise;
}

bool node_flag(const struct node *n, bool otherwise)
{
	return n && n->kind == NODE_BOOLEAN ? n->boolean : otherwise;
}

double node_number(const struct node *n, double otherwise)
{
	return n && n->kind == NODE_NUMBER ? n->number : otherwise;
}

int node_int(const struct node *n, int otherwise)
{
	double v = node_number(n, otherwise);
	return v > INT_MAX ? INT_MAX : v < INT_MIN ? INT_MIN : (int)v;
}

void node_strings(const struct node *n, struct arena *arena, struct config_string_list *out)
{
	out->count = 0;
	if (!n)
		return;
	size_t count = n->kind == NODE_LIST ? n->list.count : 1;
	const char **items = arena_array(arena, const char *, count + 1);
	for (size_t i = 0; i < count; i++)
		items[i] = node_text(n->kind == NODE_LIST ? n->list.items[i] : n, "");
	out->items = items;
	out->count = count;
}

bool config_error_at(const struct config *c, const struct node *n, struct error *err, const char *code, const char *format, ...)
{
	char text[600], place[300] = "";
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (c->name && n)
		snprintf(place, sizeof(place), "%s:%d:%d: ", c->name, n->line, n->column);
	else if (n)
		snprintf(place, sizeof(place), "line %d, column %d: ", n->line, n->column);
	return error_set(err, code, "%s%s", place, text);
}

static bool read_config(struct config_load *l)
{
	const struct node *root = find_document(l);
	if (!root)
		return l->findings.error_count ? findings_report(&l->findings, l->err) : false;
	l->stage = CONFIG_DECODE;
	l->config->document = root;
	if (!schema_check(root, config_fields, &l->findings))
		return findings_report(&l->findings, l->err);
	return decode_config(l, root);
}

struct config *config_read(const struct config_arguments *arguments, enum config_stage *stage, struct error *err)
{
	struct error ignored;
	struct config *c = xcalloc(1, sizeof(*c));
	struct config_load l = {
	        .config = c, .arguments = arguments, .err = err ? err : &ignored, .findings = {.arena = &c->arena}};
	if (!arguments->keep_environment)
		config_read_dotenv(arguments->working_directory);
	bool ok = read_config(&l);
	c->warnings = l.findings.warnings;
	c->warning_count = l.findings.warning_count;
	findings_free(&l.findings);
	if (stage)
		*stage = l.stage;
	if (ok)
		return c;
	config_free(c);
	return NULL;
}

struct config *config_load(const struct config_arguments *arguments, struct error *err)
{
	struct config *c = config_read(arguments, NULL, err);
	if (c && !config_resolve_connections(c, err)) {
		config_free(c);
		return NULL;
	}
	return c;
}

void config_free(struct config *c)
{
	if (!c)
		return;
	arena_free(&c->arena);
	free(c);
}
