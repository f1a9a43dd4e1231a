/*
 * dotenv.c: the file .env (configuration 1.1), in the form that Node's dotenv reads.
 *
 * NAME=value, also "export NAME=value". A value in quotes may hold line breaks and '#'; in double quotes \n and \r are line breaks.
 * Without quotes it ends at '#' or the end of the line and is trimmed.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"

#include "config/load.h"

#define MAX_DOTENV (1024 * 1024)

struct cursor {
	const char *at, *end;
};

static void skip_blanks(struct cursor *c, bool lines)
{
	while (c->at < c->end && isspace((unsigned char)*c->at) && (lines || *c->at != '\n'))
		c->at++;
}

static void skip_line(struct cursor *c)
{
	while (c->at < c->end && *c->at != '\n')
		c->at++;
}

static bool is_name_char(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '.' || c == '-';
}

static struct slice read_name(struct cursor *c)
{
	const char *start = c->at;
	while (c->at < c->end && is_name_char(*c->at))
		c->at++;
	return slice_make(start, (size_t)(c->at - start));
}

/* The value in quotes at the cursor, or false when the quote is not closed. */
static bool read_quoted(struct cursor *c, struct buf *out)
{
	char quote = *c->at;
	const char *end = c->at + 1;
	while (end < c->end && (*end != quote || end[-1] == '\\'))
		end++;
	if (end == c->end)
		return false;
	for (const char *p = c->at + 1; p < end; p++) {
		bool line_break = quote == '"' && *p == '\\' && p + 1 < end && (p[1] == 'n' || p[1] == 'r');
		if (line_break) {
			p++;
			buf_putc(out, *p == 'n' ? '\n' : '\r');
		} else {
			buf_putc(out, *p);
		}
	}
	c->at = end + 1;
	return true;
}

static void read_plain(struct cursor *c, struct buf *out)
{
	const char *start = c->at;
	while (c->at < c->end && *c->at != '\n' && *c->at != '#')
		c->at++;
	const char *end = c->at;
	while (end > start && isspace((unsigned char)end[-1]))
		end--;
	buf_append(out, start, (size_t)(end - start));
}

static void read_line(struct cursor *c)
{
	struct slice name = read_name(c);
	if (slice_eq(name, SLICE("export")) && c->at < c->end && (*c->at == ' ' || *c->at == '\t')) {
		skip_blanks(c, false);
		name = read_name(c);
	}
	skip_blanks(c, false);
	if (name.n == 0 || c->at == c->end || (*c->at != '=' && *c->at != ':'))
		return;
	c->at++;
	skip_blanks(c, false);
	struct buf value = {0};
	bool quoted = c->at < c->end && (*c->at == '"' || *c->at == '\'' || *c->at == '`');
	if (!quoted || !read_quoted(c, &value))
		read_plain(c, &value);
	char *name_text = xstrdup(name), *value_text = xstrdup(buf_slice(&value));
	setenv(name_text, value_text, 0);
	free(name_text);
	free(value_text);
	buf_free(&value);
}

void config_read_dotenv(const char *directory)
{
	struct arena arena = {0};
	FILE *f = fopen(directory ? path_resolve(&arena, directory, ".env") : ".env", "rb");
	arena_free(&arena);
	if (!f)
		return;
	struct buf text = {0};
	buf_reserve(&text, MAX_DOTENV);
	text.n = fread(text.p, 1, MAX_DOTENV, f);
	fclose(f);
	struct cursor c = {text.p, text.p + text.n};
	for (skip_blanks(&c, true); c.at < c.end; skip_blanks(&c, true)) {
		read_line(&c);
		skip_line(&c);
	}
	buf_free(&text);
}
