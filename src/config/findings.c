/* findings.c: collecting positioned errors, and guessing what a misspelt word was meant to be. */
#include "config/findings.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_REPORTED 8
#define MAX_WARNINGS 200
#define MAX_WORD 64

static void append_position(struct buf *out, const struct findings *d, int line, int column)
{
	if (d->file)
		buf_printf(out, "%s:", d->file);
	if (line > 0)
		buf_printf(out, d->file ? "%d:%d:" : "line %d, column %d:", line, column);
	if (out->n && out->p[out->n - 1] == ':')
		buf_putc(out, ' ');
}

bool findings_error(struct findings *d, int line, int column, const char *format, ...)
{
	if (d->error_count++ >= MAX_REPORTED)
		return false;
	if (d->errors.n)
		buf_lit(&d->errors, "; ");
	append_position(&d->errors, d, line, column);
	char text[512];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	buf_append(&d->errors, text, strlen(text));
	return false;
}

void findings_warn(struct findings *d, int line, int column, const char *format, ...)
{
	if (d->warning_count >= MAX_WARNINGS)
		return;
	d->warnings = arena_grow(d->arena, d->warnings, d->warning_count, &d->warning_cap, sizeof(*d->warnings));
	struct buf out = {0};
	append_position(&out, d, line, column);
	char text[512];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	buf_append(&out, text, strlen(text));
	d->warnings[d->warning_count++] = (struct config_warning){.message = arena_cstr(d->arena, buf_slice(&out))};
	buf_free(&out);
}

bool findings_report(struct findings *d, struct error *err)
{
	if (d->error_count > MAX_REPORTED)
		buf_printf(&d->errors, "; and %zu more", d->error_count - MAX_REPORTED);
	error_set(err, "", "%.*s", SLICE_ARG(buf_slice(&d->errors)));
	return false;
}

void findings_clear(struct findings *d)
{
	buf_clear(&d->errors);
	d->error_count = 0;
}

void findings_free(struct findings *d)
{
	buf_free(&d->errors);
}

/* Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours. Both words at most MAX_WORD long. */
static size_t edit_distance(struct slice a, struct slice b)
{
	size_t rows[3][MAX_WORD + 1];
	size_t *before = rows[0], *last = rows[1], *row = rows[2];
	for (size_t j = 0; j <= b.n; j++)
		last[j] = j;
	for (size_t i = 1; i <= a.n; i++) {
		row[0] = i;
		for (size_t j = 1; j <= b.n; j++) {
			size_t best = last[j - 1] + (a.p[i - 1] != b.p[j - 1]);
			if (last[j] + 1 < best)
				best = last[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1] && before[j - 2] + 1 < best)
				best = before[j - 2] + 1;
			row[j] = best;
		}
		size_t *oldest = before;
		before = last;
		last = row;
		row = oldest;
	}
	return last[b.n];
}

/* Letters and digits in lower case: key_name, keyName and key-name are the same word. */
static struct slice plain_word(struct slice s, char out[MAX_WORD])
{
	size_t n = 0;
	for (size_t i = 0; i < s.n && n < MAX_WORD; i++) {
		char c = s.p[i];
		if (c >= 'A' && c <= 'Z')
			c = (char)(c + 32);
		if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
			out[n++] = c;
	}
	return slice_make(out, n);
}

const char *config_suggest(struct slice text, const char *const *candidates, size_t count)
{
	if (text.n == 0 || text.n > MAX_WORD)
		return NULL;
	char a_bytes[MAX_WORD], b_bytes[MAX_WORD];
	struct slice a = plain_word(text, a_bytes);
	const char *best = NULL;
	size_t best_distance = a.n < 4 ? 2 : a.n / 3 + 1;
	for (size_t i = 0; i < count; i++) {
		struct slice b = plain_word(slice_cstr(candidates[i]), b_bytes);
		size_t distance = edit_distance(a, b);
		if (distance < best_distance && distance < b.n) {
			best_distance = distance;
			best = candidates[i];
		}
	}
	return best;
}
