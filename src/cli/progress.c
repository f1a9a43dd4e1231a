/* progress.c: see progress.h. */
#include "cli/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"

#define EVERY_MS 100
#define BAR 20
/* Before that an estimate is a guess. */
#define ESTIMATE_AFTER_MS 2000
#define ESTIMATE_FROM 0.02

static int terminal_columns(int fd)
{
	struct winsize size;
	return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

struct progress progress_begin(const char *what, bool quiet)
{
	const char *kind = getenv("TERM");
	bool watched = !quiet && isatty(STDERR_FILENO) && kind && strcmp(kind, "dumb") != 0;
	return (struct progress){.what = what,
	                         .fd = watched ? STDERR_FILENO : -1,
	                         .columns = watched ? terminal_columns(STDERR_FILENO) : 0,
	                         .began_ms = clock_mono_ms()};
}

static void put_time_left(struct buf *out, double part, int64_t elapsed_ms)
{
	if (elapsed_ms < ESTIMATE_AFTER_MS || part < ESTIMATE_FROM || part >= 1)
		return;
	double s = (double)elapsed_ms / 1000 * (1 - part) / part;
	if (s < 100)
		buf_printf(out, ", %.0f s left", s);
	else if (s < 6000)
		buf_printf(out, ", %.0f min left", s / 60);
	else
		buf_printf(out, ", %.0f h left", s / 3600);
}

void progress_line(struct buf *out, int columns, const char *what, double part, int64_t elapsed_ms, const char *text)
{
	size_t start = out->n, most = (size_t)(columns > 1 ? columns - 1 : 0); /* a full line would wrap */
	part = part > 1 ? 1 : part;
	buf_printf(out, "%s", what);
	if (part >= 0) {
		int full = (int)(part * BAR);
		buf_printf(out, "  [%.*s%.*s] %3d %%", full, "####################", BAR - full, "--------------------",
		           (int)(100 * part));
		put_time_left(out, part, elapsed_ms);
	}
	if (*text)
		buf_printf(out, "  %s", text);
	if (out->n - start > most)
		for (out->n = start + most; out->n > start && (out->p[out->n] & 0xc0) == 0x80;)
			out->n--; /* not within a character */
}

static void draw(struct progress *p, double part, int64_t now, const char *format, va_list args)
{
	struct buf line = {0};
	char text[512];
	vsnprintf(text, sizeof(text), format, args);
	buf_lit(&line, "\r");
	progress_line(&line, p->columns, p->what, part, now - p->began_ms, text);
	buf_lit(&line, "\033[K\r"); /* whatever somebody prints meanwhile begins at the left */
	ssize_t ignored = write(p->fd, line.p, line.n);
	(void)ignored;
	buf_free(&line);
	p->shown = true;
	p->next_ms = now + EVERY_MS;
}

void progress_show(struct progress *p, double part, const char *format, ...)
{
	int64_t now = p->fd >= 0 ? clock_mono_ms() : 0;
	va_list args;
	if (p->fd < 0 || now < p->next_ms)
		return;
	va_start(args, format);
	draw(p, part, now, format, args);
	va_end(args);
}

void progress_step(struct progress *p, double part, const char *format, ...)
{
	va_list args;
	if (p->fd < 0)
		return;
	va_start(args, format);
	draw(p, part, clock_mono_ms(), format, args);
	va_end(args);
}

void progress_clear(struct progress *p)
{
	if (!p->shown)
		return;
	ssize_t ignored = write(p->fd, "\033[K", 3);
	(void)ignored;
	p->shown = false;
}
