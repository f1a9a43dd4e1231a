/* log.c: formats a line and writes it in one piece. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

#define MAX_MEMBERS 40

static const char *const names[] = {"silly", "debug", "verbose", "http", "info", "warn", "error"};

bool log_level_parse(struct slice name, enum log_level *out)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (slice_eq(name, slice_cstr(names[i]))) {
			*out = (enum log_level)i;
			return true;
		}
	return false;
}

const char *log_level_name(enum log_level level)
{
	return names[level];
}

/* Text of others gets into messages: it must not be able to start a line of its own, or to steer a terminal. */
static void append_plain_text(struct buf *b, const char *s)
{
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;
		if (c == '\n' || c == '\r' || c == '\t')
			buf_printf(b, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
		else if (c < 0x20 || c == 0x7F)
			buf_printf(b, "\\x%02x", c);
		else
			buf_putc(b, (char)c);
	}
}

/* ---- fields ----------------------------------------------------------------------------------------------------------------- */

void log_field_text(struct buf *fields, const char *name, struct slice text)
{
	buf_printf(fields, "%s\"%s\":", fields->n ? "," : "", name);
	buf_json_text(fields, text);
}

void log_field_json(struct buf *fields, const char *name, struct slice json)
{
	buf_printf(fields, "%s\"%s\":%.*s", fields->n ? "," : "", name, SLICE_ARG(json));
}

void log_field_number(struct buf *fields, const char *name, int64_t v)
{
	buf_printf(fields, "%s\"%s\":%lld", fields->n ? "," : "", name, (long long)v);
}

struct members {
	struct slice items[MAX_MEMBERS];
	size_t count;
};

/* In alphabetical order of the names, which are plain words. */
static void add_member(struct members *m, struct slice member)
{
	if (m->count == MAX_MEMBERS)
		return;
	size_t i = m->count++;
	for (; i > 0 && slice_cmp(m->items[i - 1], member) > 0; i--)
		m->items[i] = m->items[i - 1];
	m->items[i] = member;
}

/* Cuts at the commas between the members; those in texts, lists and objects belong to a member. */
static void split_members(struct members *m, struct slice fields)
{
	size_t from = 0;
	int depth = 0;
	bool in_text = false;
	for (size_t i = 0; i < fields.n; i++) {
		char c = fields.p[i];
		if (in_text && c == '\\')
			i++;
		else if (c == '"')
			in_text = !in_text;
		else if (!in_text && (c == '{' || c == '['))
			depth++;
		else if (!in_text && (c == '}' || c == ']'))
			depth--;
		if (!in_text && depth == 0 && c == ',') {
			add_member(m, slice_make(fields.p + from, i - from));
			from = i + 1;
		}
	}
	if (from < fields.n)
		add_member(m, slice_make(fields.p + from, fields.n - from));
}

static void append_members(struct buf *line, const struct members *m)
{
	for (size_t i = 0; i < m->count; i++) {
		buf_putc(line, i ? ',' : '{');
		buf_slice_append(line, m->items[i]);
	}
	buf_putc(line, '}');
}

/* ---- lines ------------------------------------------------------------------------------------------------------------------ */

static void format_text(struct buf *line, enum log_level level, struct slice message, struct slice fields, const char *when)
{
	struct members m = {.count = 0};
	buf_printf(line, "%s %-5s ", when, names[level]);
	append_plain_text(line, message.p);
	if (fields.n) {
		split_members(&m, fields);
		buf_putc(line, ' ');
		append_members(line, &m);
	}
	buf_putc(line, '\n');
}

static void format_json(struct buf *line, enum log_level level, struct slice message, struct slice fields, const char *when)
{
	struct members m = {.count = 0};
	struct buf own = {0};
	log_field_text(&own, "level", slice_cstr(names[level]));
	log_field_text(&own, "message", message);
	log_field_text(&own, "timestamp", slice_cstr(when));
	split_members(&m, buf_slice(&own));
	split_members(&m, fields);
	append_members(line, &m);
	buf_putc(line, '\n');
	buf_free(&own);
}

static void write_line(const struct log *log, enum log_level level, struct slice fields, const char *format, va_list args)
{
	char when[CLOCK_ISO_SIZE];
	struct buf message = {0}, line = {0};
	va_list again;
	va_copy(again, args);
	int n = vsnprintf(NULL, 0, format, args);
	if (n >= 0) {
		if (log->prefix && *log->prefix)
			buf_printf(&message, "[%s] ", log->prefix);
		vsnprintf(buf_reserve(&message, (size_t)n + 1), (size_t)n + 1, format, again);
		message.n += (size_t)n;
		clock_iso(clock_wall_ms(), when);
		(log->json ? format_json : format_text)(&line, level, buf_slice(&message), fields, when);
		ssize_t ignored = write(log->fd, line.p, line.n);
		(void)ignored;
	}
	va_end(again);
	buf_free(&message);
	buf_free(&line);
}

void log_line(const struct log *log, enum log_level level, const char *format, ...)
{
	if (!log_on(log, level))
		return;
	va_list args;
	va_start(args, format);
	write_line(log, level, slice_make(NULL, 0), format, args);
	va_end(args);
}

void log_fields(const struct log *log, enum log_level level, struct slice fields, const char *format, ...)
{
	if (!log_on(log, level))
		return;
	va_list args;
	va_start(args, format);
	write_line(log, level, fields, format, args);
	va_end(args);
}
