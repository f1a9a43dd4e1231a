/* error.c: errors as values. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool error_set(struct error *e, const char *code, const char *format, ...)
{
	if (!e)
		return false;
	va_list args;
	va_start(args, format);
	e->code = code ? code : "";
	vsnprintf(e->message, sizeof(e->message), format, args);
	va_end(args);
	e->detail[0] = 0;
	return false;
}

bool error_detail(struct error *e, const char *format, ...)
{
	if (!e)
		return false;
	va_list args;
	va_start(args, format);
	vsnprintf(e->detail, sizeof(e->detail), format, args);
	va_end(args);
	return false;
}

bool error_prefix(struct error *e, const char *format, ...)
{
	if (!e)
		return false;
	char old[sizeof(e->message)];
	memcpy(old, e->message, sizeof(old));
	va_list args;
	va_start(args, format);
	int n = vsnprintf(e->message, sizeof(e->message), format, args);
	va_end(args);
	if (n >= 0 && (size_t)n < sizeof(e->message))
		snprintf(e->message + n, sizeof(e->message) - (size_t)n, "%s", old);
	return false;
}
