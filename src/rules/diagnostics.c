/* diagnostics.c: faults and warnings with their place in the YAML text. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "rules/compile.h"

void diagnostics_free(struct diagnostics *d)
{
	arena_free(&d->arena);
	free(d->items);
	*d = (struct diagnostics){0};
}

static struct diagnostic *append(struct diagnostics *d)
{
	d->items = xgrow(d->items, d->count, &d->cap, sizeof(*d->items));
	struct diagnostic *item = &d->items[d->count++];
	*item = (struct diagnostic){0};
	return item;
}

static struct slice format_message(struct arena *arena, const char *format, va_list args)
{
	char text[512];
	int n = vsnprintf(text, sizeof(text), format, args);
	size_t length = n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
	return arena_copy(arena, slice_make(text, length));
}

static void add(struct compiler *c, enum diagnostic_level level, const char *class_name, size_t start, size_t end,
                const char *format, va_list args)
{
	struct diagnostics *d = c->d;
	if (level == DIAGNOSTIC_FATAL)
		d->fatal = true;
	if (d->count >= (level == DIAGNOSTIC_FATAL ? MAX_DIAGNOSTICS : MAX_DIAGNOSTICS / 2))
		return;
	struct slice text = c->doc.text;
	if (start > text.n)
		start = text.n;
	if (end < start)
		end = start;
	struct diagnostic *item = append(d);
	item->level = level;
	item->class_name = class_name;
	item->message = format_message(&d->arena, format, args);
	item->start = text_utf16_units(slice_make(text.p, start));
	item->end = item->start + text_utf16_units(slice_make(text.p + start, (end < text.n ? end : text.n) - start)) +
	            (end > text.n ? end - text.n : 0);
	text_line_column(text, start, &item->line, &item->column);
}

void diagnostic_add(struct compiler *c, enum diagnostic_level level, const char *class_name, size_t start, size_t end,
                    const char *format, ...)
{
	va_list args;
	va_start(args, format);
	add(c, level, class_name, start, end, format, args);
	va_end(args);
}

void diagnostic_add_raw(struct compiler *c, enum diagnostic_level level, const char *class_name, size_t start, size_t end,
                        const char *message)
{
	diagnostic_add(c, level, class_name, 0, 0, "%s", message);
	if (c->d->count == 0)
		return;
	struct diagnostic *item = &c->d->items[c->d->count - 1];
	item->start = start;
	item->end = end;
}

void diagnostic_node(struct compiler *c, enum diagnostic_level level, const char *class_name, const struct ynode *n,
                     const char *format, ...)
{
	va_list args;
	va_start(args, format);
	add(c, level, class_name, n->start, n->end, format, args);
	va_end(args);
}

void diagnostics_truncate(struct diagnostics *d, size_t mark)
{
	d->count = mark < d->count ? mark : d->count;
	d->fatal = false;
	for (size_t i = 0; i < d->count; i++)
		d->fatal |= d->items[i].level == DIAGNOSTIC_FATAL;
}
