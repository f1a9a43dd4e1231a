/*
 * log.h: one line an event, to standard output, as text or JSON (configuration: system.logging).
 *
 * Any thread; a line is written with one write(). Never give it tokens, passwords or row data.
 */
#ifndef SYNCLINE_BASE_LOG_H
#define SYNCLINE_BASE_LOG_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"

enum log_level { LOG_SILLY, LOG_DEBUG, LOG_VERBOSE, LOG_HTTP, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log {
	enum log_level level; /* lines below it are dropped */
	bool json;
	int fd;
	const char *prefix; /* "[prefix] " stands before each message; NULL or "": none */
};

/* Name in the configuration; false if there is no such level. */
bool log_level_parse(struct slice name, enum log_level *out);
const char *log_level_name(enum log_level level);

static inline bool log_on(const struct log *log, enum log_level level)
{
	return log && level >= log->level;
}

void log_line(const struct log *log, enum log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));

/*
 * A line with fields that programs filter on (http-api-and-operations 8): JSON members without braces, put together with the functions
 * below. Text: they follow the message as one object; JSON: they are members of the record. Alphabetical in both, at most 37.
 */
void log_fields(const struct log *log, enum log_level level, struct slice fields, const char *format, ...)
        __attribute__((format(printf, 4, 5)));
void log_field_text(struct buf *fields, const char *name, struct slice text);
void log_field_json(struct buf *fields, const char *name, struct slice json); /* JSON text that is known to be whole */
void log_field_number(struct buf *fields, const char *name, int64_t v);

#define log_error(log, ...) log_line((log), LOG_ERROR, __VA_ARGS__)
#define log_warn(log, ...) log_line((log), LOG_WARN, __VA_ARGS__)
#define log_info(log, ...) log_line((log), LOG_INFO, __VA_ARGS__)
#define log_debug(log, ...) (log_on((log), LOG_DEBUG) ? log_line((log), LOG_DEBUG, __VA_ARGS__) : (void)0)

#endif
