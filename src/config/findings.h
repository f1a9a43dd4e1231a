/*
 * findings.h: the errors and warnings of one reading of the configuration, each with file, line and column.
 *
 * Several errors are collected and reported together. Values of the configuration are only quoted by callers that know them not to
 * be secret.
 */
#ifndef SYNCLINE_CONFIG_FINDINGS_H
#define SYNCLINE_CONFIG_FINDINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"

#include "config/config.h"

struct findings {
	struct arena *arena;
	const char *file; /* as the operator named it; NULL for base64 */
	struct buf errors;
	size_t error_count;
	struct config_warning *warnings; /* in the arena */
	size_t warning_count, warning_cap;
};

/* line 0: no position. Always false. */
bool findings_error(struct findings *d, int line, int column, const char *format, ...) __attribute__((format(printf, 4, 5)));
void findings_warn(struct findings *d, int line, int column, const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Moves the collected errors into *err. Always false. */
bool findings_report(struct findings *d, struct error *err);
void findings_clear(struct findings *d); /* forgets the errors, keeps the warnings */
void findings_free(struct findings *d);

/* The candidate that text is most likely a misspelling of, or NULL. */
const char *config_suggest(struct slice text, const char *const *candidates, size_t count);

#endif
