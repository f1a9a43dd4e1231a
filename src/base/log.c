/* log.c: formats a line and writes it in one piece. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"

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

static void append_json_text(struct buf *b, const char *s)
{
	buf_putc(b, '"');
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;
		if (c == '"' || c == '\\') {
			buf_putc(b, '\\');
			buf_putc(b, (char)c);
		} else if (c < 0x20) {
			buf_printf(b, "\\u%04x", c);
		} else {
			buf_putc(b, (char)c);
		}
	}
	buf_putc(b, '"');
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

void log_line(const struct log *log, enum log_level level, const char *format, ...)
{
	if (!log_on(log, level))
		return;
	char when[CLOCK_ISO_SIZE];
	struct buf text = {0}, line = {0};
	va_list args;
	va_start(args, format);
	int n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (n < 0)
		return;
	va_start(args, format);
	vsnprintf(buf_reserve(&text, (size_t)n + 1), (size_t)n + 1, format, args);
	va_end(args);
	clock_iso(clock_wall_ms(), when);
	if (log->json) {
		buf_printf(&line, "{\"level\":\"%s\",\"message\":", names[level]);
		append_json_text(&line, text.p);
		buf_printf(&line, ",\"timestamp\":\"%s\"}\n", when);
	} else {
		buf_printf(&line, "%s %-5s ", when, names[level]);
		append_plain_text(&line, text.p);
		buf_putc(&line, '\n');
	}
	ssize_t ignored = write(log->fd, line.p, line.n);
	(void)ignored;
	buf_free(&text);
	buf_free(&line);
}
