/*
 * diagnostics.h: the errors and warnings of one reading of the configuration, each with file, line and column.
 *
 * Several errors are collected and reported together. Values of the configuration are only quoted by callers that know them not to
 * be secret.
 */
#ifndef SYNCLINE_CONFIG_DIAGNOSTICS_H
#define SYNCLINE_CONFIG_DIAGNOSTICS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"

#include "config/config.h"

struct diagnostics {
	struct arena *arena;
	const char *file; /* as the operator named it; NULL for base64 */
	struct buf errors;
	size_t error_count;
	struct config_warning *warnings; /* in the arena */
	size_t warning_count, warning_cap;
};

/* line 0: no position. Always false. */
bool diagnostics_error(struct diagnostics *d, int line, int column, const char *format, ...)
        __attribute__((format(printf, 4, 5)));
void diagnostics_warn(struct diagnostics *d, int line, int column, const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Moves the collected errors into *err. Always false. */
bool diagnostics_report(struct diagnostics *d, struct error *err);
void diagnostics_clear(struct diagnostics *d); /* forgets the errors, keeps the warnings */
void diagnostics_free(struct diagnostics *d);

/* The candidate that text is most likely a misspelling of, or NULL. */
const char *suggest(struct slice text, const char *const *candidates, size_t count);

#endif
