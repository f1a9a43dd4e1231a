/*
 * progress.h: the one line of a long command that a person watches: shown on standard error while that is a terminal, and nowhere else;
 * never with --json.
 */
#ifndef SYNCLINE_CLI_PROGRESS_H
#define SYNCLINE_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct progress {
	const char *what; /* "Compacting"; static */
	int fd;           /* -1: nobody watches */
	int columns;
	bool shown; /* the line stands there */
	int64_t began_ms, next_ms;
};

/* quiet: --json was given. */
struct progress progress_begin(const char *what, bool quiet);
/* part: 0 to 1, below 0: not known. A few times a second at most, so call it as often as it suits. */
void progress_show(struct progress *p, double part, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same, but always: the work that begins now may take long without another call. */
void progress_step(struct progress *p, double part, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Takes the line away: before anything else is printed, and at the end. */
void progress_clear(struct progress *p);

/* The line's text, at most columns wide: "Compacting  [#####---------------]  25 %, 12 s left  text". elapsed_ms: since the begin. */
void progress_line(struct buf *out, int columns, const char *what, double part, int64_t elapsed_ms, const char *text);

#endif
