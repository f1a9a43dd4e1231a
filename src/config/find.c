/* find.c: where the configuration and the sync config come from (configuration 1.1, 1.2, 1.4). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/base64.h"
#include "config/load.h"

#define MAX_DOCUMENT (16u * 1024 * 1024)
#define FALLBACK_FILE "powersync.yaml"

static const char *given(const char *argument, const char *variable)
{
	if (argument && *argument)
		return argument;
	const char *value = getenv(variable);
	return value && *value ? value : NULL;
}

static bool read_file(const char *path, struct arena *arena, struct slice *out, struct error *err)
{
	FILE *f = fopen(path, "rb");
	if (!f)
		return error_set(err, "", "cannot read the configuration file %s: %s", path, strerror(errno));
	struct buf text = {0};
	size_t n;
	do {
		n = fread(buf_reserve(&text, 65536), 1, 65536, f);
		text.n += n;
	} while (n > 0 && text.n <= MAX_DOCUMENT);
	bool ok = !ferror(f) && text.n <= MAX_DOCUMENT;
	if (!ok)
		error_set(err, "", "cannot read the configuration file %s: %s", path,
		          text.n > MAX_DOCUMENT ? "it is larger than 16 MiB" : strerror(errno));
	fclose(f);
	if (ok)
		*out = arena_copy(arena, buf_slice(&text));
	buf_free(&text);
	return ok;
}

/* YAML is tried first; JSON with its own escapes may pass where YAML fails. The YAML errors are the ones to show. */
static const struct node *read_either(struct slice text, struct arena *arena, struct findings *d)
{
	const struct node *root = node_from_yaml(text, arena, d);
	if (root || d->error_count == 0)
		return root;
	struct findings second = {.arena = arena};
	root = node_from_json(text, arena, &second);
	if (root)
		findings_clear(d);
	findings_free(&second);
	return root;
}

static const struct node *read_document(struct config_load *l, struct slice text, const char *name)
{
	struct slice n = slice_cstr(name);
	struct arena *arena = &l->config->arena;
	l->stage = CONFIG_PARSE;
	l->findings.file = name;
	l->config->name = name;
	if (name && (slice_ends(n, SLICE(".yaml")) || slice_ends(n, SLICE(".yml"))))
		return node_from_yaml(text, arena, &l->findings);
	/* An empty file is "nothing" to YAML and an error to JSON. */
	if (name && slice_ends(n, SLICE(".json")))
		return node_from_json(text, arena, &l->findings);
	return read_either(text, arena, &l->findings);
}

static const char *absolute_path(struct config_load *l, const char *path)
{
	char here[4096];
	const char *base = l->arguments->working_directory;
	if (!base)
		base = getcwd(here, sizeof(here)) ? here : ".";
	return path_resolve(&l->config->arena, base, path);
}

static const struct node *read_named_file(struct config_load *l, const char *name, bool fallback)
{
	struct config *c = l->config;
	struct slice text;
	const char *path = absolute_path(l, name);
	if (!read_file(path, &c->arena, &text, l->err))
		return NULL;
	const struct node *root = read_document(l, text, arena_cstr(&c->arena, slice_cstr(name)));
	if (!root)
		return NULL;
	c->path = path;
	if (!fallback) {
		l->directory = path_directory(&c->arena, path);
		c->directory = l->directory;
	}
	return root;
}

const struct node *find_document(struct config_load *l)
{
	struct config *c = l->config;
	l->stage = CONFIG_FIND;
	c->directory = l->arguments->working_directory ? arena_cstr(&c->arena, slice_cstr(l->arguments->working_directory)) : ".";
	error_set(l->err, "", "%s", "");

	const char *base64 = given(l->arguments->config_base64, "POWERSYNC_CONFIG_B64");
	if (base64) {
		const struct node *root = read_document(l, base64_decode_leniently(slice_cstr(base64), &c->arena), NULL);
		if (root || l->findings.error_count)
			return root;
	}
	l->stage = CONFIG_FIND;
	const char *path = given(l->arguments->config_path, "POWERSYNC_CONFIG_PATH");
	if (path) {
		const struct node *root = read_named_file(l, path, false);
		if (root || l->findings.error_count || l->stage == CONFIG_FIND)
			return root;
	}
	l->stage = CONFIG_FIND;
	const struct node *root = read_named_file(l, FALLBACK_FILE, true);
	if (!root && !l->findings.error_count) {
		bool empty = l->stage == CONFIG_PARSE;
		l->stage = CONFIG_FIND;
		error_set(l->err, "",
		          "no configuration: %s%s" FALLBACK_FILE " %s; give one with --config-path or POWERSYNC_CONFIG_PATH",
		          path ? path : "", path ? " is empty and " : "",
		          empty ? "is empty" : "does not exist in the working directory");
	}
	return root;
}

struct slice find_sync_config_base64(struct config_load *l)
{
	const char *text = given(l->arguments->sync_base64, "POWERSYNC_SYNC_CONFIG_B64");
	if (!text)
		text = given(NULL, "POWERSYNC_SYNC_RULES_B64");
	return text ? base64_decode_leniently(slice_cstr(text), &l->config->arena) : slice_make(NULL, 0);
}
